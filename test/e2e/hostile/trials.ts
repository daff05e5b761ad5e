/** The attacks on a WireGuard device by strangers, from F1 to F6, and the replay of an initiation. */
import { attacked, listen } from "../support/attacker.ts";
import { type Counters, countersOf, difference } from "../support/counters.ts";
import { ours } from "../support/implementations.ts";
import { firstPing } from "../support/traffic.ts";
import { listenPort, WireGuardDevice } from "../support/wireguard.ts";
import { Battlefield } from "./battlefield.ts";
import {
  againstControl,
  atLeast,
  atMost,
  diffieHellmanPerSecondMax,
  equal,
  type Figure,
  type Form,
  perSecond,
  type Trial,
  told,
  total,
} from "./trial.ts";

const port = listenPort;
const newHandshakeSecondsMax = 1;
/** Under a quick form's load anything but failure will do. */
const newHandshakeSecondsMaxQuick = 10;
const handshakeTimeoutMs = 20_000;
/** What the limiter lets one address do. */
const sourcePerSecond = 20;
const sourceBurst = 5;
/** And before it is asked for a cookie (source_load_burst). */
const sourceBurstUnproven = 64;
/** Of anybody else, in the time of a measurement: the newcomer, and its retries. */
const honestHandshakesMax = 5;
const memoryGrowthBytesMax = 16 << 20;
const logLinesPerSecondMax = 10;

export const trials: readonly Trial[] = [
  {
    name: "F1",
    title: "a flood of initiations with a wrong MAC1",
    run: async (form) => {
      await using field = await Battlefield.open();
      const attack = { mode: "flood", kind: "bad_mac1", port, perSecond: 100_000 } as const;
      const { attacks, share, about } = await againstControl(field, form, attack, 0.9);
      return [
        share,
        equal("Diffie-Hellman", total(attacks, "diffie_hellman"), 0),
        atLeast("refused by MAC1", total(attacks, "mac1_invalid"), 1),
        ...(await unharmed(field)),
        ...about,
      ];
    },
  },
  {
    name: "F2",
    title: "a flood of initiations with a right MAC1 from spoofed sources",
    run: async (form) => {
      await using field = await Battlefield.open();
      const attack = { mode: "flood", kind: "good_mac1", port, perSecond: 50_000 } as const;
      const known = { ...attack, key: publicKey(field.victim) };
      const { attacks, share, about } = await againstControl(field, form, known, 0.85);
      const bytesIn = attacks.reduce((sum, each) => sum + each.unprovenBytes.in, 0);
      const bytesOut = attacks.reduce((sum, each) => sum + each.unprovenBytes.out, 0);
      return [
        share,
        atMost("Diffie-Hellman/s", perSecond(attacks, "diffie_hellman"), diffieHellmanPerSecondMax),
        // F4: to addresses that have proved nothing.
        atMost("F4: bytes out for each byte in", bytesOut / bytesIn, 1),
        told("F4: bytes in", bytesIn),
        told("F4: bytes out", bytesOut),
        ...(await newcomerUnder(field, form, known)),
        ...(await unharmed(field)),
        ...about,
      ];
    },
  },
  {
    name: "F3",
    title: "a flood of handshakes from one real source that proves its address",
    run: async (form) => {
      await using field = await Battlefield.open();
      const attack = { mode: "ask", kind: "good_mac1", port, perSecond: 20_000 } as const;
      const known = { ...attack, key: publicKey(field.victim) };
      const { attacks, share, about } = await againstControl(field, form, known, 0.85);
      const burst = sourceBurst + sourceBurstUnproven;
      const admitted = Math.max(
        ...attacks.map(({ counted, seconds }) => {
          const allowed = sourcePerSecond * seconds + burst + honestHandshakesMax;
          return (counted.handshakes_received ?? 0) / allowed;
        }),
      );
      return [
        share,
        atMost("handshakes admitted, of what the limit allows", admitted, 1),
        atMost("Diffie-Hellman/s", perSecond(attacks, "diffie_hellman"), diffieHellmanPerSecondMax),
        ...(await newcomerUnder(field, form, known)),
        ...(await unharmed(field)),
        ...about,
      ];
    },
  },
  {
    name: "F5",
    title: "a flood of forged data packets, for a session that lives and for none",
    run: async (form) => {
      await using field = await Battlefield.open();
      const index = await sessionIndex(field);
      const figures: Figure[] = [];
      // The dearer of the two is what a quick look is for.
      const kinds = form.quick ? ["data_index"] : ["data_index", "data_random"];
      for (const kind of kinds as ("data_index" | "data_random")[]) {
        const attack = { mode: "flood", kind, port, perSecond: 200_000, index } as const;
        const { attacks, share, about } = await againstControl(field, form, attack, 0.8);
        const refused = kind === "data_index" ? "not_authentic" : "unknown_index";
        const those: Figure[] = [
          share,
          equal("Diffie-Hellman", total(attacks, "diffie_hellman"), 0),
          atLeast(`counted as ${refused}`, total(attacks, refused), 1),
          equal("refused by the window", total(attacks, "replayed"), 0),
          ...about,
        ];
        figures.push(...those.map((figure) => ({ ...figure, what: `${kind}: ${figure.what}` })));
      }
      return [...figures, ...(await unharmed(field))];
    },
  },
  {
    name: "F6",
    title: "a storm of malformed datagrams of every length, and of segments of odd sizes",
    run: async (form) => {
      await using field = await Battlefield.open();
      const count = form.quick ? 200_000 : 10_000_000;
      const seconds = form.quick ? 4 : 170;
      const flood = { mode: "flood", kind: "malformed", port, perSecond: 1_000_000 } as const;
      const storm = { mode: "storm", port, perSecond: 1_000_000 } as const;
      // What it takes once is no growth: every buffer is touched first.
      await field.attacker.attack({ ...storm, seconds: 1, count: 20_000 });
      const [memory, lines] = [field.memoryBytes(), logLines(field)];
      const both = [
        await field.attacker.start({ ...flood, seconds, count: count * 0.8 }),
        await field.attacker.start({ ...storm, seconds, count: count * 0.2 }),
      ];
      const sent = await Promise.all(both.map(attacked));
      const took = Math.max(...sent.map((each) => each.seconds));
      const datagrams = sent.reduce((sum, each) => sum + each.sent, 0);
      return [
        // A slow machine does what it can in the time; how much that was is told.
        form.quick ? told("datagrams", datagrams) : atLeast("datagrams", datagrams, count),
        told("datagrams/s", datagrams / took),
        atMost("memory grown, bytes", field.memoryBytes() - memory, memoryGrowthBytesMax),
        atMost("lines logged a second", (logLines(field) - lines) / took, logLinesPerSecondMax),
        ...(await unharmed(field)),
      ];
    },
  },
  {
    name: "replay",
    title: "an initiation from before a restart, replayed after it",
    run: async () => {
      await using field = await Battlefield.open();
      const heard = await listen(field.victim.host, 1, port);
      await field.configure(field.newcomer, [field.victim]);
      await firstPing(field.newcomer.host, field.victimAddress);
      const initiation = await heard();
      const again = await restarted(field);
      const answersBefore = (await field.counters()).handshakes_received ?? 0;
      const answered = await replayFrom(field, initiation.payload);
      const counted = (await field.counters()).handshakes_received ?? 0;
      return [
        equal("replays that reached the handshake", counted - answersBefore, 1),
        equal("answers to the replay", answered, 0),
        equal(
          "endpoint of the one it was captured from",
          (await again.endpointOf(field.newcomer.keys.publicKey)) ?? "none",
          "none",
        ),
        equal("that one's own handshake passes", await passes(field), true),
      ];
    },
  },
];

/** The tunnel, the process and the friend's endpoint are what they were. */
async function unharmed(field: Battlefield): Promise<Figure[]> {
  const endpoint = (await field.friendEndpoint()) ?? "none";
  return [
    equal("endpoint", endpoint, `${field.friend.host.v4}:${listenPort}`),
    equal("ten pings pass after it", await field.tunnelHolds(), true),
    equal("the device lives", field.victim.daemon.running, true),
  ];
}

/** How long it takes, and where it took longer than it should: what was lost, and who said what. */
async function newcomerUnder(
  field: Battlefield,
  form: Form,
  attack: Parameters<Battlefield["measure"]>[1] & object,
): Promise<Figure[]> {
  const both = async (): Promise<readonly Counters[]> =>
    await Promise.all([countersOf(field.victim), countersOf(field.newcomer)]);
  const before = await both();
  const running = await field.attacker.start({ ...attack, seconds: form.quick ? 4 : 12 });
  await Bun.sleep(1000);
  const seconds = await field.newHandshakeSeconds(handshakeTimeoutMs);
  const after = await both();
  await running.stop();
  const [victim = {}, newcomer = {}] = after.map((all, at) => difference(before[at] ?? {}, all));
  return [
    atMost(
      "seconds to a new handshake of ours",
      seconds,
      form.quick ? newHandshakeSecondsMaxQuick : newHandshakeSecondsMax,
    ),
    told("initiations of it", newcomer.initiations_sent ?? 0),
    told("initiations sent again with a cookie", newcomer.initiations_resent ?? 0),
    told("datagrams that found the victim's socket full", victim.udp_receive_overflow ?? 0),
    told("cookie replies that were not sent", victim.cookie_replies_dropped ?? 0),
  ];
}

/** Of the victim, for packets of the friend. */
async function sessionIndex(field: Battlefield): Promise<number> {
  const heard = await listen(field.victim.host, 4, port);
  for (;;) {
    await firstPing(field.friend.host, field.victimAddress);
    const { to, payload } = await heard();
    if (to === field.victim.host.v4)
      return new DataView(payload.buffer).getUint32(payload.byteOffset + 4, true);
  }
}

function logLines(field: Battlefield): number {
  return field.victim.daemon.log().split("\n").length;
}

/** Stops the victim and starts it again, with the same keys and memory. */
async function restarted(field: Battlefield): Promise<WireGuardDevice> {
  const { victim } = field;
  await victim.daemon.stop();
  const again = await WireGuardDevice.start(victim.host, ours, victim.name, victim.keys);
  await field.restart(again);
  return again;
}

/** Sends it from the attacker's own address; how many datagrams came back within a second. */
async function replayFrom(field: Battlefield, payload: Uint8Array): Promise<number> {
  const script = [
    "let answers = 0;",
    "const socket = await Bun.udpSocket({ socket: { data() { answers += 1; } } });",
    `socket.send(Buffer.from("${Buffer.from(payload).toString("hex")}", "hex"), ${port}, "${field.victim.host.v4}");`,
    "await Bun.sleep(1000);",
    "console.log(answers); process.exit(0);",
  ].join("\n");
  return Number(await field.attackerHost.runOk([process.execPath, "-e", script]));
}

async function passes(field: Battlefield): Promise<boolean> {
  await field.newcomer.setPeer(field.victim.keys.publicKey, "remove");
  await field.configure(field.newcomer, [field.victim]);
  await firstPing(field.newcomer.host, field.victimAddress);
  return true;
}

function publicKey({ keys }: WireGuardDevice): Uint8Array {
  return Buffer.from(keys.publicKey, "base64");
}

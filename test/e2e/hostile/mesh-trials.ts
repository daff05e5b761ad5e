/** Attacks on a mesh node by strangers who know its identity. */
import { parseIdentity } from "../../../src/trust/identity.ts";
import { port } from "../support/mesh.ts";
import { MeshField } from "./mesh-field.ts";
import {
  againstControl,
  atLeast,
  atMost,
  diffieHellmanPerSecondMax,
  equal,
  type Form,
  perSecond,
  type Trial,
  told,
  total,
} from "./trial.ts";

/** Of a program that starts, asks and connects; the handshake is a small part of it. */
const newMemberSecondsMax = 8;
const newMemberSecondsMaxQuick = 20;
const connectTimeoutMs = 30_000;
const floodPerSecond = 10_000;
const coreShareMax = 0.2;
/** On a machine that has other work the quick form takes any that is no whole core. */
const coreShareMaxQuick = 0.9;

export const meshTrials: readonly Trial[] = [
  {
    name: "F2-introductions",
    title: "a flood of introductions with a valid MAC from spoofed sources",
    run: async (form) => {
      await using field = await MeshField.open();
      const key = parseIdentity(field.victim.identity);
      if (key === undefined) throw new Error(`${field.victim.identity} is no identity`);
      const kind = "introduction";
      const attack = { mode: "flood", kind, port, perSecond: 20_000, key } as const;
      const { attacks, share, about } = await againstControl(field, form, attack, 0.85);
      const bytesIn = attacks.reduce((sum, each) => sum + each.unprovenBytes.in, 0);
      const bytesOut = attacks.reduce((sum, each) => sum + each.unprovenBytes.out, 0);
      const running = await field.attacker.start({ ...attack, seconds: form.quick ? 6 : 12 });
      const seconds = await field.newMemberSeconds(connectTimeoutMs);
      await running.stop();
      return [
        share,
        atMost("Diffie-Hellman/s", perSecond(attacks, "diffie_hellman"), diffieHellmanPerSecondMax),
        atMost("F4: bytes out for each byte in", bytesOut / bytesIn, 1),
        atMost(
          "seconds until a new member is connected, from its start",
          seconds,
          form.quick ? newMemberSecondsMaxQuick : newMemberSecondsMax,
        ),
        equal("ten pings pass after it", await field.tunnelHolds(), true),
        equal("the node lives", field.victimLives, true),
        atLeast("introductions seen", seen(attacks), 1),
        told("asked for a cookie", total(attacks, "introduction_cookie_invalid")),
        ...about,
      ];
    },
  },
  {
    name: "F13",
    title: "an admitted member that sends 10,000 gossip messages a second",
    run: async (form) => {
      const quiet = form.quick ? undefined : await joinBeside(0, form);
      const flooded = await joinBeside(floodPerSecond, form);
      return [
        atLeast("messages a second that came", flooded.messagesPerSecond, floodPerSecond / 2),
        atMost(
          "share of a core that they cost",
          flooded.cpu - (quiet?.cpu ?? 0),
          form.quick ? coreShareMaxQuick : coreShareMax,
        ),
        atMost(
          "seconds until a new member is connected",
          flooded.joinSeconds,
          quiet === undefined ? newMemberSecondsMaxQuick : 2 * Math.max(quiet.joinSeconds, 1),
        ),
        told("seconds without the flood", quiet?.joinSeconds ?? "not measured"),
        equal("the victim lives", flooded.lives, true),
        told("refused as over its share", flooded.overBudget),
      ];
    },
  },
];

interface Joined {
  readonly joinSeconds: number;
  /** Of a core, that the victim used. */
  readonly cpu: number;
  readonly messagesPerSecond: number;
  readonly overBudget: number;
  readonly lives: boolean;
}

/** A member whose gossip is multiplied to so many a second, and what becomes of the victim. */
async function joinBeside(perSecondWanted: number, form: Form): Promise<Joined> {
  await using field = await MeshField.open();
  await field.rogue(perSecondWanted);
  const [before, cpuBefore, start] = [
    await field.counters(),
    field.cpuSeconds(),
    performance.now(),
  ];
  await Bun.sleep(form.quick ? 1000 : 10_000);
  const [after, cpuAfter] = [await field.counters(), field.cpuSeconds()];
  const seconds = (performance.now() - start) / 1000;
  const grown = (name: string): number => (after[name] ?? 0) - (before[name] ?? 0);
  return {
    cpu: (cpuAfter - cpuBefore) / seconds,
    messagesPerSecond: grown("session_messages_received") / seconds,
    overBudget: grown("swim_over_budget"),
    joinSeconds: await field.newMemberSeconds(connectTimeoutMs),
    lives: field.victimLives,
  };
}

function seen(attacks: Parameters<typeof total>[0]): number {
  return total(attacks, "introductions_received") + total(attacks, "introduction_cookie_invalid");
}

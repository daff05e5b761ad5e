/** What a node goes through without strangers: an end at any moment, a disk that is full, clocks. */
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { attackProgram } from "../support/attacker.ts";
import { countersOf } from "../support/counters.ts";
import { ours } from "../support/implementations.ts";
import { Node, program } from "../support/mesh.ts";
import { until } from "../support/process.ts";
import { type Host, Stage } from "../support/stage.ts";
import { answers, firstPing } from "../support/traffic.ts";
import { Tunnel } from "../support/wireguard.ts";
import { atMost, equal, type Figure, type Form, type Trial, told } from "./trial.ts";

const killsQuick = 8;
const kills = 200;
/** A daemon that is up has written all that it writes at first. */
const killWithinMs = 700;
const backSecondsMax = 8;
const hour = 3600;
const tenYears = 10 * 365 * 24 * hour;
const lockedOutSecondsMax = 120;
const stoppedSeconds = 200;

export const endurance: readonly Trial[] = [
  {
    name: "F7",
    title: "a daemon killed at random moments of its start and its writing",
    run: async (form) => {
      await using stage = Stage.open();
      const [left, right] = (await stage.switched(2)) as [Host, Host];
      const [killed, other] = await Promise.all([
        Node.make(left, "killed"),
        Node.make(right, "other"),
      ]);
      await Promise.all([killed.trust(other), other.trust(killed)]);
      await other.up();
      const rounds = form.quick ? killsQuick : kills;
      const broken = new Set<string>();
      let [regressed, sequence] = [0, 0];
      for (let round = 0; round < rounds; round += 1) {
        const daemon = killed.launch("--seed", other.seed);
        await Bun.sleep(((round * 0.618) % 1) * killWithinMs);
        daemon.kill("SIGKILL");
        await daemon.exited;
        for (const path of notWhole(killed.directory)) broken.add(path);
        const now = sequenceOf(killed.directory);
        if (now < sequence) regressed += 1;
        sequence = now;
      }
      const identity = (await killed.ok("export")).includes(killed.identity);
      const start = performance.now();
      await killed.up("--seed", other.seed);
      const address = await other.address(4);
      await until("the tunnel to be back", () => killed.reaches(address), { timeoutMs: 30_000 });
      return [
        equal("files that were not whole after a kill", [...broken].join(" "), ""),
        told("kills", rounds),
        equal("rounds after which the record's sequence was lower", regressed, 0),
        equal("the identity is the same", identity, true),
        atMost("seconds until the tunnel is back, from the start", since(start), backSecondsMax),
        told("sequence at the end", sequence),
      ];
    },
  },
  {
    name: "F8",
    title: "a state directory on a disk that is full",
    run: async () => {
      await using stage = Stage.open();
      const [left, right] = (await stage.switched(2)) as [Host, Host];
      const [full, other] = await Promise.all([Node.make(left, "full"), Node.make(right, "other")]);
      await Promise.all([full.trust(other), other.trust(full)]);
      await other.up();
      // A disk of its own that lasts as long as the daemon, with the files that were there.
      const copy = join(stage.directory, "copy");
      const script = [
        `cp -a ${full.directory} ${copy}`,
        `mount -t tmpfs -o size=256k none ${full.directory}`,
        `cp -a ${copy}/. ${full.directory}`,
        `head -c 1000000 /dev/zero > ${full.directory}/filler 2>/dev/null`,
        `exec ${program} up --seed ${other.seed}`,
      ].join("\n");
      full.daemon = left.start(["unshare", "-m", "sh", "-c", script], full.env);
      const { daemon } = full;
      await until("the daemon to be up", () => daemon.log().includes("meshvpn: up: "), {
        timeoutMs: 20_000,
        evidence: () => daemon.log(),
      });
      const address = await other.address(4);
      await until("a tunnel", () => full.reaches(address), {
        timeoutMs: 20_000,
        evidence: () => daemon.log(),
      });
      const inside = `/proc/${daemon.pid}/root${full.directory}`;
      return [
        equal("it runs", daemon.running, true),
        equal("it says that it cannot write", /(full|ENOSPC|space)/i.test(daemon.log()), true),
        equal("files that are not whole", notWhole(inside).join(" "), ""),
        equal("its identity is there", keyThere(inside), true),
      ];
    },
  },
  {
    name: "F9",
    title: "a wall clock that goes back an hour, and forward ten years, and back again",
    run: async () => {
      const clock = await Clock.make();
      await using stage = Stage.open();
      const hosts = await stage.pair();
      const shifted = { ...ours, env: clock.env(stage) };
      const tunnel = await Tunnel.open(hosts, [shifted, ours], {
        initiator: "left",
        presharedKey: false,
        outside: 4,
      });
      const there = tunnel.address(tunnel.right, 4);
      await firstPing(hosts[0], there);
      const figures: Figure[] = [];
      for (const [words, seconds] of [
        ["an hour back", -hour],
        ["ten years on", tenYears],
        ["and back to now", 0],
      ] as const) {
        clock.shift(seconds);
        const initiated = (await countersOf(tunnel.right)).handshakes_received ?? 0;
        // Its session begins anew, with a timestamp of the other clock.
        await tunnel.renew();
        const start = performance.now();
        await firstPing(hosts[0], there, lockedOutSecondsMax * 1000);
        const asked = ((await countersOf(tunnel.right)).handshakes_received ?? 0) - initiated;
        figures.push(
          atMost(`${words}: seconds to a new session`, since(start), lockedOutSecondsMax),
          atMost(`${words}: initiations it took`, asked, 2),
        );
      }
      return figures;
    },
  },
  {
    name: "F9-stopped",
    title: "a device that is stopped for 200 s does not use the key that expired meanwhile",
    run: async (form) => await stopped(form),
  },
];

async function stopped(form: Form): Promise<Figure[]> {
  if (form.quick) return [told("left out of the quick form: it takes", `${stoppedSeconds} s`)];
  await using stage = Stage.open();
  const hosts = await stage.pair();
  const tunnel = await Tunnel.open(hosts, [ours, ours], {
    initiator: "left",
    presharedKey: false,
    outside: 4,
  });
  const { left, right } = tunnel;
  const there = tunnel.address(right, 4);
  await firstPing(hosts[0], there);
  const [before, handshake] = [await countersOf(right), await left.latestHandshake()];
  left.daemon.kill("SIGSTOP");
  await Bun.sleep(stoppedSeconds * 1000);
  // Waiting in the TUN when it wakes: sealed with the old key, if with any that is there.
  const waiting = answers(hosts[0], there, "-W", "10");
  await Bun.sleep(200);
  left.daemon.kill("SIGCONT");
  const start = performance.now();
  await firstPing(hosts[0], there, lockedOutSecondsMax * 1000);
  const seconds = since(start);
  await waiting;
  const after = await countersOf(right);
  return [
    atMost("seconds to the first answer", seconds, lockedOutSecondsMax),
    equal(
      "packets with the expired key",
      (after.keypair_expired ?? 0) - (before.keypair_expired ?? 0),
      0,
    ),
    atMost(
      "initiations it took",
      (after.handshakes_received ?? 0) - (before.handshakes_received ?? 0),
      2,
    ),
    equal("the session is a new one", (await left.latestHandshake()) > handshake, true),
  ];
}

/** A wall clock that a test moves. */
class Clock {
  readonly #library: string;
  #path = "";

  private constructor(library: string) {
    this.#library = library;
  }

  static async make(): Promise<Clock> {
    return new Clock(await attackProgram("libwall_clock.so"));
  }

  env(stage: Stage): Record<string, string> {
    this.#path = join(stage.directory, "wall-clock");
    this.shift(0);
    return { LD_PRELOAD: this.#library, WALL_CLOCK_SHIFT: this.#path };
  }

  shift(seconds: number): void {
    writeFileSync(this.#path, `${seconds}`);
  }
}

/** Files that should say something and are empty, that end in the middle, or that were found damaged.
 * What was being written when it ended has another name, and is not read. */
function notWhole(directory: string): string[] {
  const unread = /(\.new|\.tmp|filler|lock)$/;
  return files(directory)
    .filter((path) => !unread.test(path) && !isWhole(path))
    .map((path) => path.slice(directory.length + 1));
}

function isWhole(path: string): boolean {
  const text = readFileSync(path, "utf8");
  if (path.endsWith(".damaged") || !text.endsWith("\n")) return false;
  if (path.endsWith(".json")) JSON.parse(text);
  return true;
}

function keyThere(directory: string): boolean {
  const path = join(directory, "identity.key");
  return existsSync(path) && statSync(path).size > 40;
}

function sequenceOf(directory: string): number {
  const path = join(directory, "node.json");
  if (!existsSync(path)) return 0;
  return Number((JSON.parse(readFileSync(path, "utf8")) as { sequence?: number }).sequence ?? 0);
}

function files(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

function since(start: number): number {
  return (performance.now() - start) / 1000;
}

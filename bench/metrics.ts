/**
 * What is measured, and the one order in which a rig goes through it: an idle tunnel first, then one
 * stream each way, four, pings under load, and the flood last. A metric needs some of these legs; only
 * the legs that a wanted metric needs are run. What one leg could not give does not end the others.
 */
import { flood, loadedPings, type Pinged, pings, stream } from "./loads.ts";
import { machineTime, processSeconds, residentMiB } from "./proc.ts";
import type { Rig } from "./rig.ts";

export type Leg = "ping" | "up" | "down" | "four-up" | "four-down" | "loaded" | "udp";

export interface Metric {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  readonly better: "more" | "less";
  /** Digits after the point. */
  readonly digits: number;
  readonly legs: readonly Leg[];
}

const more = { better: "more", unit: "Gbit/s", digits: 2 } as const;
const less = { better: "less" } as const;
const ms = { ...less, unit: "ms", digits: 3 } as const;
const both = ["up", "down"] as const;

export const metrics: readonly Metric[] = [
  { ...more, id: "tcp-up", title: "TCP up", legs: ["up"] },
  { ...more, id: "tcp-down", title: "TCP down", legs: ["down"] },
  { ...more, id: "four-up", title: "four streams up", legs: ["four-up"] },
  { ...more, id: "four-down", title: "four streams down", legs: ["four-down"] },
  {
    ...less,
    id: "retransmits-up",
    title: "retransmits up",
    unit: "in 5 s",
    digits: 0,
    legs: ["up"],
  },
  {
    ...less,
    id: "retransmits-down",
    title: "retransmits down",
    unit: "in 5 s",
    digits: 0,
    legs: ["down"],
  },
  { ...less, id: "cpu-daemons", title: "CPU of daemons", unit: "s/GB", digits: 2, legs: both },
  { ...less, id: "cpu-machine", title: "CPU of machine", unit: "s/GB", digits: 2, legs: both },
  {
    ...less,
    id: "memory",
    title: "resident, loaded",
    unit: "MiB",
    digits: 1,
    legs: [...both, "loaded"],
  },
  { ...more, id: "udp-256", title: "256 B UDP", unit: "kpkt/s", digits: 1, legs: ["udp"] },
  { ...ms, id: "ping-idle", title: "ping idle", legs: ["ping"] },
  { ...ms, id: "ping-idle-p99", title: "ping idle p99", legs: ["ping"] },
  { ...ms, id: "ping-loaded", title: "ping loaded", legs: ["loaded"] },
  { ...ms, id: "ping-loaded-p99", title: "ping loaded p99", legs: ["loaded"] },
];

/** Metrics by id, or by the first word of several: `tcp` is tcp-up and tcp-down. */
export function metricsNamed(word: string): Metric[] {
  return metrics.filter(({ id }) => id === word || id.startsWith(`${word}-`));
}

export interface Round {
  /** By metric id. */
  readonly values: Readonly<Record<string, number>>;
  /** By leg: why it gave nothing. */
  readonly failures: Readonly<Record<string, string>>;
  /** What the senders used. */
  readonly congestionControl?: string;
}

const memoryEveryMs = 100;
const datagramBytes = 256;
/** Retransmissions are counted over this long, as the target is. */
const retransmitSeconds = 5;
const bytesPerGB = 1e9;

/** What the single streams leave for the legs that are not the main thing, in whole seconds. */
export function secondarySeconds(seconds: number): number {
  return Math.max(1, Math.floor(seconds / 2));
}

/** Goes through the legs that `wanted` need. */
export async function measure(
  rig: Rig,
  wanted: readonly Metric[],
  seconds: number,
): Promise<Round> {
  const taken = new Taken(rig, seconds);
  const needed = new Set(wanted.flatMap(({ legs }) => legs));
  const failures: Record<string, string> = {};
  for (const [leg, take] of taken.legs) {
    if (!needed.has(leg)) continue;
    try {
      await take();
    } catch (error) {
      failures[leg] = error instanceof Error ? error.message : String(error);
    }
  }
  const all = taken.values();
  const values: Record<string, number> = {};
  for (const { id } of wanted) {
    const value = all[id];
    if (value !== undefined) values[id] = value;
  }
  const control = taken.congestionControl;
  return { values, failures, ...(control === undefined ? {} : { congestionControl: control }) };
}

/** What one rig gave in one round. */
class Taken {
  congestionControl: string | undefined;
  readonly legs: readonly (readonly [Leg, () => Promise<void>])[] = [
    ["ping", async () => await this.#idle()],
    ["up", async () => await this.#single("up")],
    ["down", async () => await this.#single("down")],
    ["four-up", async () => await this.#four("up")],
    ["four-down", async () => await this.#four("down")],
    ["loaded", async () => await this.#loaded()],
    ["udp", async () => await this.#flood()],
  ];
  readonly #rig: Rig;
  readonly #seconds: number;
  readonly #values: Record<string, number> = {};
  /** Of the legs with one stream. */
  #bytes = 0;
  #daemonSeconds = 0;
  #machineSeconds = 0;

  constructor(rig: Rig, seconds: number) {
    this.#rig = rig;
    this.#seconds = seconds;
  }

  values(): Readonly<Record<string, number>> {
    const values: Record<string, number> = { ...this.#values };
    if (this.#bytes > 0) {
      values["cpu-machine"] = this.#machineSeconds / (this.#bytes / bytesPerGB);
      if (this.#rig.pids.length > 0) {
        values["cpu-daemons"] = this.#daemonSeconds / (this.#bytes / bytesPerGB);
      }
    }
    return values;
  }

  #pinged(id: string, { averageMs, p99Ms }: Pinged): void {
    this.#values[id] = averageMs;
    this.#values[`${id}-p99`] = p99Ms;
  }

  async #single(direction: "up" | "down"): Promise<void> {
    const { near, far, address } = this.#rig;
    const watch = this.#watchMemory();
    const before = { daemons: this.#daemons(), machine: machineTime().busy };
    const options = { seconds: this.#seconds, streams: 1, down: direction === "down" };
    try {
      const streamed = await stream(near, far, address, options);
      this.#values[`tcp-${direction}`] = streamed.gbitPerSecond;
      this.#values[`retransmits-${direction}`] =
        (streamed.retransmitted * retransmitSeconds) / this.#seconds;
      this.#bytes += streamed.bytes;
      this.#daemonSeconds += this.#daemons() - before.daemons;
      this.#machineSeconds += machineTime().busy - before.machine;
      this.congestionControl = streamed.congestionControl;
    } finally {
      watch();
    }
  }

  async #four(direction: "up" | "down"): Promise<void> {
    const { near, far, address } = this.#rig;
    const seconds = secondarySeconds(this.#seconds);
    const options = { seconds, streams: 4, down: direction === "down" };
    const { gbitPerSecond } = await stream(near, far, address, options);
    this.#values[`four-${direction}`] = gbitPerSecond;
  }

  async #idle(): Promise<void> {
    this.#pinged("ping-idle", await pings(this.#rig.near, this.#rig.address));
  }

  async #loaded(): Promise<void> {
    const { near, far, address } = this.#rig;
    const watch = this.#watchMemory();
    try {
      this.#pinged("ping-loaded", await loadedPings(near, far, address));
    } finally {
      watch();
    }
  }

  async #flood(): Promise<void> {
    const { near, far, address } = this.#rig;
    const seconds = secondarySeconds(this.#seconds);
    const flooded = await flood(near, far, address, { seconds, bytes: datagramBytes });
    this.#values["udp-256"] = flooded.received / flooded.seconds / 1000;
  }

  #daemons(): number {
    return this.#rig.pids.reduce((sum, pid) => sum + processSeconds(pid), 0);
  }

  /** Keeps the most that either daemon held; gives what ends it. */
  #watchMemory(): () => void {
    const { pids } = this.#rig;
    if (pids.length === 0) return () => undefined;
    const look = (): void => {
      this.#values.memory = Math.max(this.#values.memory ?? 0, ...pids.map(residentMiB));
    };
    const timer = setInterval(look, memoryEveryMs);
    return () => {
      clearInterval(timer);
      look();
    };
  }
}

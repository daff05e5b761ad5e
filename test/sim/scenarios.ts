/**
 * What is made to happen to a mesh, and what must hold: one function for each scenario, from its
 * settings to its figures. `holds` says whether the bounds were kept; they stand beside the figures.
 */
import { type Profile, profileLan, suspicionMinMs, syncDelayMs } from "../../src/swim/profile.ts";
import type { SimHost } from "./sim-host.ts";
import { type Half, Simulation, type SimulationOptions } from "./simulation.ts";

export interface Settings {
  readonly nodes: number;
  readonly seed: number;
  /** Of virtual time, where the scenario leaves it open. */
  readonly minutes: number | undefined;
  readonly realCrypto: boolean;
  /** Joins a second; by the number of nodes unless said. */
  readonly rate?: number | undefined;
  /** Of failure detection; a local network's unless said. */
  readonly profile?: Profile;
  /** On two threads, each runs the scenario and has half of the hosts. */
  readonly half?: Half | undefined;
}

export interface Outcome {
  readonly holds: boolean;
  readonly traceHash: number;
  readonly figures: Readonly<Record<string, number | string>>;
}

export type Scenario = (settings: Settings) => Outcome;

const seedCount = 3;
const bytesPerSecondMax = 512 * 1024;

/** 50 joins a second, 200 where there are thousands. */
export function join(settings: Settings): Outcome {
  const { nodes } = settings;
  const large = nodes >= 5_000;
  const { rate = large ? 200 : 50 } = settings;
  const limitMs = large ? 60_000 : 10_000;
  const simulation = make(settings);
  simulation.setSeeds(seedCount);
  for (let i = 0; i < nodes; i += 1) {
    const host = simulation.hosts[i] as SimHost;
    simulation.at(i < seedCount ? 0 : 1_000 + ((i - seedCount) * 1_000) / rate, () => host.start());
  }
  const lastMs = 1_000 + (Math.max(0, nodes - seedCount - 1) * 1_000) / rate;
  simulation.run(lastMs);
  const share = (): number => shareOf(simulation);
  const reached = simulation.run(lastMs + limitMs, large ? 5_000 : 1_000, () => share() >= 0.999);
  const seconds = (simulation.nowMs - lastMs) / 1000;
  const [out = 0, into = 0] = simulation.max(simulation.maxOutPerSecond, simulation.maxInPerSecond);
  const withinRate = Math.max(out, into) <= bytesPerSecondMax;
  return outcome(simulation, reached && withinRate, {
    joins_per_second: rate,
    pairs_correct_percent: percent(share()),
    seconds_after_last_join: seconds,
    seconds_allowed: limitMs / 1000,
    peak_out_kib_per_second: Math.round(out / 1024),
    peak_in_kib_per_second: Math.round(into / 1024),
    kib_per_second_allowed: bytesPerSecondMax / 1024,
  });
}

/** One in a hundred is gone at once, without a word. */
export function kill(settings: Settings): Outcome {
  const { nodes } = settings;
  const simulation = settled(settings, 30_000);
  const deaths = watchDeaths(simulation);
  const killed = simulation.hosts.slice(-Math.max(1, Math.round(nodes / 100)));
  const killedMs = simulation.nowMs;
  for (const host of killed) {
    deaths.expected.add(host.index);
    host.crash(true);
  }
  const { profile } = simulation;
  const probes = nodes >= 5_000 ? 20 : 10;
  const allowedMs = suspicionMinMs(profile, nodes) + probes * profile.probeIntervalMs;
  const wanted = killed.length * (nodes - killed.length);
  const seen = (): number => simulation.sum(deaths.expectedSeen)[0] as number;
  const isDone = (): boolean => seen() >= wanted;
  const done = simulation.run(killedMs + allowedMs, 250, isDone);
  const seconds = (simulation.nowMs - killedMs) / 1000;
  if (!done) simulation.run(killedMs + 4 * allowedMs, 1_000, isDone);
  const [wrong = 0] = simulation.sum(deaths.wrong);
  const [first = 0] = simulation.max(-deaths.firstMs);
  return outcome(simulation, done && wrong === 0, {
    killed: killed.length,
    all_detected_seconds: done ? seconds : (simulation.nowMs - killedMs) / 1000,
    seconds_allowed: round(allowedMs / 1000),
    first_detected_seconds: round((-first - killedMs) / 1000),
    detections_missing: wanted - seen(),
    false_deaths: wrong,
  });
}

/** Every datagram may be lost. */
export function loss(settings: Settings): Outcome {
  const simulation = settled(settings, 30_000);
  simulation.network.conditions.loss = 0.05;
  return quiet(simulation, settings.minutes ?? 60, true);
}

/** Nothing happens: what does that cost? */
export function idle(settings: Settings): Outcome {
  return quiet(settled(settings, 60_000), settings.minutes ?? 10, true);
}

/** A tenth stand still for 5 to 30 s again and again; with Lifeguard, and without. */
export function slow(settings: Settings): Outcome {
  const minutes = settings.minutes ?? 10;
  const runs = [true, false].map((lifeguard) => {
    const simulation = settled(settings, 20_000, {
      profile: { ...(settings.profile ?? profileLan), lifeguard },
    });
    const slowHosts = simulation.hosts.filter((_, i) => i % 10 === 7);
    const deaths = watchDeaths(simulation);
    for (const host of slowHosts) deaths.expected.add(host.index);
    for (const host of slowHosts) stallForEver(simulation, host);
    simulation.run(simulation.nowMs + minutes * 60_000);
    return { simulation, deaths };
  });
  const [on, off] = runs as [(typeof runs)[number], (typeof runs)[number]];
  return outcome(on.simulation, on.deaths.wrong === 0, {
    minutes,
    slow_nodes: on.deaths.expected.size,
    healthy_declared_dead: on.deaths.wrong,
    healthy_declared_dead_plain_swim: off.deaths.wrong,
    factor:
      on.deaths.wrong === 0
        ? `over ${off.deaths.wrong}`
        : round(off.deaths.wrong / on.deaths.wrong),
    slow_declared_dead: on.deaths.expectedSeen,
    slow_declared_dead_plain_swim: off.deaths.expectedSeen,
  });
}

/** Half and half, for 5 minutes, and then together again. */
export function split(settings: Settings): Outcome {
  const { nodes } = settings;
  const simulation = settled(settings, 20_000);
  for (const host of simulation.hosts) simulation.network.setSide(host.index, 1 + (host.index % 2));
  simulation.network.block(1, 2);
  simulation.network.block(2, 1);
  simulation.run(simulation.nowMs + 300_000);
  const apart = shareOf(simulation);
  simulation.network.heal();
  const healedMs = simulation.nowMs;
  const allowedMs = 2 * syncDelayMs(simulation.profile, nodes);
  const merged = simulation.run(healedMs + allowedMs, 2_000, () => shareOf(simulation) === 1);
  return outcome(simulation, merged, {
    pairs_correct_percent_while_split: percent(apart),
    merged_seconds: (simulation.nowMs - healedMs) / 1000,
    seconds_allowed: allowedMs / 1000,
    pairs_correct_percent: percent(shareOf(simulation)),
  });
}

function quiet(simulation: Simulation, minutes: number, strict: boolean): Outcome {
  const deaths = watchDeaths(simulation);
  const before = simulation.bytesOut.slice();
  const untilMs = simulation.nowMs + minutes * 60_000;
  simulation.run(untilMs);
  let bytes = 0;
  let sessions = 0;
  for (const { index, running } of simulation.living) {
    bytes += (simulation.bytesOut[index] as number) - (before[index] as number);
    sessions += running.membership.table.linkedCount;
  }
  const [wrong = 0, allBytes = 0, allSessions = 0] = simulation.sum(deaths.wrong, bytes, sessions);
  const { length } = simulation.hosts;
  return outcome(simulation, !strict || wrong === 0, {
    minutes,
    loss_percent: 100 * simulation.network.conditions.loss,
    false_deaths: wrong,
    bytes_per_node_per_second: round(allBytes / length / (minutes * 60)),
    sessions_per_node: round(allSessions / length),
  });
}

function stallForEver(simulation: Simulation, host: SimHost): void {
  const { random } = simulation;
  const stall = (): void => {
    const stallMs = 5_000 + random.below(25_001);
    if (host.isUp) host.pause(stallMs);
    simulation.at(simulation.nowMs + stallMs + 1_000 + random.below(9_000), stall);
  };
  simulation.at(simulation.nowMs + random.below(10_000), stall);
}

/** A mesh in which all have known all for a while. */
export function settled(
  settings: Settings,
  restMs: number,
  more: Pick<SimulationOptions, "profile" | "organised"> = {},
): Simulation {
  const simulation = make(settings, more);
  simulation.setSeeds(seedCount);
  for (const host of simulation.hosts) host.start();
  simulation.introduceAll();
  simulation.run(restMs);
  return simulation;
}

interface Deaths {
  /** Hosts that may be declared dead. */
  readonly expected: Set<number>;
  expectedSeen: number;
  firstMs: number;
  wrong: number;
}

/** Counts verdicts of death, each by each observer, right and wrong. */
export function watchDeaths(simulation: Simulation): Deaths {
  const deaths: Deaths = {
    expected: new Set(),
    expectedSeen: 0,
    firstMs: Number.POSITIVE_INFINITY,
    wrong: 0,
  };
  simulation.onState = (observer, slot, state) => {
    if (state !== "dead") return;
    const subject = simulation.hostInSlot(observer, slot);
    if (subject === undefined || !deaths.expected.has(subject.index)) {
      deaths.wrong += 1;
      return;
    }
    deaths.expectedSeen += 1;
    deaths.firstMs = Math.min(deaths.firstMs, simulation.nowMs);
  };
  return deaths;
}

export function make(settings: Settings, more: Partial<SimulationOptions> = {}): Simulation {
  const { seed, nodes, realCrypto, profile = profileLan, half } = settings;
  return new Simulation({
    seed,
    nodes,
    realCrypto,
    profile,
    ...(half === undefined ? {} : { half }),
    ...more,
  });
}

export function shareOf(simulation: Simulation): number {
  const { right, all } = simulation.correctPairs();
  return all === 0 ? 1 : right / all;
}

export function outcome(
  simulation: Simulation,
  holds: boolean,
  figures: Record<string, number | string>,
): Outcome {
  return { holds, traceHash: simulation.traceOfAll(), figures };
}

function percent(share: number): number {
  return Math.floor(share * 100_000) / 1000;
}

export function round(value: number): number {
  return Math.round(value * 100) / 100;
}

/**
 * Everything that goes wrong, at random: loss, duplicates, reordering, partitions of both kinds,
 * nodes that stand still, crash, come back with and without their disk, clocks that are off and
 * jump, NAT boxes. Then all heals, and within what time is left everybody that runs must see everybody.
 */

import { stateCodes } from "../../src/swim/state.ts";
import { Invariants } from "./invariants.ts";
import { make, type Outcome, outcome, type Settings } from "./scenarios.ts";
import type { SimHost } from "./sim-host.ts";
import type { NatKind } from "./sim-nat.ts";
import type { Simulation } from "./simulation.ts";

const seedCount = 2;
const natKinds: readonly NatKind[] = ["open", "restricted", "symmetric_random"];
const lookMs = 1_000;
/** Everything is looked at so often, beside what a step changes. */
const checkMs = 10_000;

export function faults(settings: Settings): Outcome {
  // The size comes from the seed alone, so that the seed is all that is needed to play it again.
  const nodes = settings.nodes > 0 ? settings.nodes : 3 + ((settings.seed * 2_654_435_761) % 58);
  const simulation = make({ ...settings, nodes });
  const invariants = new Invariants(simulation);
  const minutes = settings.minutes ?? (nodes > 30 ? 2 : 5);
  const endMs = minutes * 60_000;
  const healMs = Math.round(0.4 * endMs);
  simulation.setSeeds(seedCount);
  setUp(simulation);
  const kinds = new Set<string>();
  const step = (): void => {
    if (simulation.nowMs < healMs) kinds.add(disturb(simulation));
    simulation.at(simulation.nowMs + 500 + simulation.random.below(4_000), step);
  };
  simulation.at(5_000, step);
  const look = (): boolean => {
    invariants.check();
    return false;
  };
  simulation.run(healMs, checkMs, look);
  heal(simulation);
  const isWhole = (): boolean => missing(simulation, 1) === 0;
  const healthyMs = simulation.run(endMs, lookMs, isWhole) ? simulation.nowMs : undefined;
  simulation.run(endMs, checkMs, look);
  invariants.check();
  const lacking = missing(simulation);
  const holds = invariants.count === 0 && healthyMs !== undefined;
  return outcome(simulation, holds, {
    hosts: nodes,
    minutes,
    faults: [...kinds].sort().join(" "),
    violations: invariants.count,
    first_violation: invariants.violations[0] ?? "none",
    seconds_to_heal: healthyMs === undefined ? "never" : (healthyMs - healMs) / 1000,
    pairs_not_seen_at_the_end: lacking,
  });
}

function setUp(simulation: Simulation): void {
  const { random, hosts, network } = simulation;
  const { conditions } = network;
  conditions.loss = random.below(3) === 0 ? random.below(20) / 100 : 0;
  conditions.duplicate = random.below(3) === 0 ? 0.05 : 0;
  conditions.reorder = random.below(2) === 0 ? 0.1 : 0;
  conditions.mtu = random.below(4) === 0 ? 1_260 : 1_500;
  for (const host of hosts) {
    if (host.index >= seedCount && random.below(8) === 0) {
      network.setAccess(host.index, { nat: natKinds[random.below(3)] as NatKind });
    }
    if (random.below(4) === 0) host.wallOffsetMs = random.below(1_200_000) - 600_000;
    const atMs = random.below(4_000);
    simulation.at(atMs, () => host.start());
  }
}

/** One fault; its name. */
function disturb(simulation: Simulation): string {
  const { random, hosts, network } = simulation;
  const host = hosts[random.below(hosts.length)] as SimHost;
  switch (random.below(8)) {
    case 0:
    case 1: {
      if (!host.isUp) break;
      const keepDisk = random.below(2) === 0;
      host.crash(keepDisk);
      simulation.at(simulation.nowMs + random.below(30_000), () => {
        if (!host.isUp) host.start();
      });
      return keepDisk ? "crash" : "crash-and-lost-disk";
    }
    case 2:
      if (host.isUp) host.pause(1_000 + random.below(25_000));
      return "stall";
    case 3: {
      network.heal();
      for (const each of hosts) network.setSide(each.index, 1 + random.below(2));
      network.block(1, 2);
      if (random.below(2) === 0) network.block(2, 1);
      simulation.at(simulation.nowMs + random.below(30_000), () => network.heal());
      return "partition";
    }
    case 4: {
      network.heal();
      network.setSide(host.index, 1);
      network.block(1, 0);
      simulation.at(simulation.nowMs + random.below(20_000), () => network.heal());
      return "one-way";
    }
    case 5:
      network.conditions.loss = random.below(25) / 100;
      return "loss";
    case 6:
      // A clock that is set back has its introductions refused for two minutes.
      host.wallOffsetMs +=
        hosts.length > 30 ? random.below(3_600_000) : random.below(7_200_000) - 3_600_000;
      return "clock";
    default:
      if (!host.isUp) break;
      host.leave();
      simulation.at(simulation.nowMs + random.below(20_000), () => {
        if (!host.isUp) host.start();
      });
      return "leave";
  }
  return "none";
}

function heal(simulation: Simulation): void {
  const { network, hosts } = simulation;
  network.heal();
  Object.assign(network.conditions, { loss: 0, duplicate: 0, reorder: 0 });
  for (const host of hosts) if (!host.isUp) host.start();
}

/** Pairs of which the first does not see the second as it is. Two behind NATs may not reach each other. */
function missing(simulation: Simulation, enough = Number.POSITIVE_INFINITY): number {
  const { hosts, network } = simulation;
  let count = 0;
  for (const one of hosts) {
    if (count >= enough) break;
    const { table } = one.running.membership;
    for (const other of hosts) {
      if (one === other) continue;
      const slot = table.find(other.identity.publicKey);
      const own = other.running.membership.table;
      if (slot === undefined || table.record(slot) !== own.record(0)) count += 1;
      else if (network.isBehindNat(one.index) && network.isBehindNat(other.index)) continue;
      else if (table.stateCode(slot) !== stateCodes.alive) count += 1;
    }
  }
  return count;
}

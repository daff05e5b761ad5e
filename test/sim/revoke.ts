/**
 * One in a hundred is revoked while a tenth of the nodes is cut off, and does not want to know: it
 * goes on as a member, calls on everybody and shows its record. Who can be reached must have let go of
 * it within 5 s, the others within 30 s of healing, and from then on nobody takes a word of it.
 */
import { turn } from "./hostile.ts";
import { type Outcome, outcome, round, type Settings, settled } from "./scenarios.ts";
import type { SimHost } from "./sim-host.ts";
import type { Simulation } from "./simulation.ts";

const reachedWithinMs = 5_000;
const healedWithinMs = 30_000;
const splitMs = 30_000;
const afterMs = 60_000;
const lookMs = 100;
const far = 1;

export function revoke(settings: Settings): Outcome {
  const simulation = settled(settings, 20_000, { organised: true });
  const { hosts, network } = simulation;
  const isFar = ({ index }: SimHost): boolean => index % 10 === 4;
  const count = Math.max(2, Math.round(hosts.length / 100));
  // On both sides of the partition, seeds and the operator's node excepted.
  const nearby = hosts.filter((host) => host.index > 3 && !isFar(host)).slice(0, count - 1);
  const revoked = [...nearby, hosts.findLast(isFar) as SimHost];
  const honest = hosts.filter((host) => !revoked.includes(host));
  const reachable = honest.filter((host) => !isFar(host));
  for (const host of hosts) network.setSide(host.index, isFar(host) ? far : 0);
  network.block(0, far);
  network.block(far, 0);
  for (const host of revoked) turn(simulation, host, "revoked", honest);
  const taken = watchMessages(simulation, revoked, honest);
  const statements = revoked.map((host) => simulation.organisation?.revocationOf(host)) as never;

  const operator = hosts[0] as SimHost;
  const revokedMs = simulation.nowMs;
  operator.revoke(statements);
  const cutMs = until(simulation, revokedMs + splitMs, () => areCutOff(reachable, revoked));
  simulation.run(revokedMs + splitMs);
  const farBefore = holders(honest, revoked);
  network.heal();
  const healedMs = simulation.nowMs;
  const healedCutMs = until(simulation, healedMs + afterMs, () => areCutOff(honest, revoked));
  taken.count = 0;
  let readmitted = 0;
  simulation.run(healedMs + afterMs, 1_000, () => {
    readmitted += holders(honest, revoked);
    return false;
  });
  const reached = cutMs - revokedMs;
  const healed = healedCutMs - healedMs;
  const holds =
    reached <= reachedWithinMs && healed <= healedWithinMs && readmitted + taken.count === 0;
  return outcome(simulation, holds, {
    revoked: revoked.length,
    reachable: reachable.length,
    reachable_cut_off_seconds: round(reached / 1000),
    seconds_allowed: reachedWithinMs / 1000,
    cut_off_by_the_partition: honest.length - reachable.length,
    still_held_there_before_healing: farBefore,
    all_cut_off_seconds_after_healing: round(healed / 1000),
    seconds_allowed_after_healing: healedWithinMs / 1000,
    messages_taken_after_that: taken.count,
    held_again: readmitted,
    honest_without_each_other: honest.length * (honest.length - 1) - known(honest),
  });
}

/** When it was done, or the end. */
function until(simulation: Simulation, untilMs: number, done: () => boolean): number {
  if (done()) return simulation.nowMs;
  return simulation.run(untilMs, lookMs, done) ? simulation.nowMs : Number.POSITIVE_INFINITY;
}

/** Messages of the revoked that a session of the honest still let in. */
function watchMessages(
  simulation: Simulation,
  revoked: readonly SimHost[],
  honest: readonly SimHost[],
): { count: number } {
  const taken = { count: 0 };
  const [bad, good] = [revoked, honest].map((each) => new Set(each.map(({ index }) => index)));
  simulation.onMessage = (receiver, { fromHost }) => {
    if (bad?.has(fromHost) && good?.has(receiver.index)) taken.count += 1;
  };
  return taken;
}

/** Pairs of an honest node and a revoked one that it still holds. */
function holders(honest: readonly SimHost[], revoked: readonly SimHost[]): number {
  let count = 0;
  for (const host of honest) {
    const { table } = host.running.membership;
    for (const { identity } of revoked)
      if (table.find(identity.publicKey) !== undefined) count += 1;
  }
  return count;
}

function areCutOff(honest: readonly SimHost[], revoked: readonly SimHost[]): boolean {
  return honest.every((host) => holders([host], revoked) === 0);
}

function known(honest: readonly SimHost[]): number {
  return honest.reduce(
    (sum, host) =>
      sum +
      holders(
        [host],
        honest.filter((other) => other !== host),
      ),
    0,
  );
}

/**
 * The numbers of a run and what is made of them: for each peer and metric the median of the rounds
 * with the least and the most, and its ratio to the reference peer's median. Knows no formats.
 */
import type { Metric, Round } from "./metrics.ts";
import { type Peer, reference, type Skipped } from "./peers.ts";
import type { Machine } from "./proc.ts";

export interface Settings {
  readonly seconds: number;
  readonly rounds: number;
  readonly mtu: number;
  readonly wireMtu: number;
  readonly congestionControl: string;
}

export interface PeerRounds {
  readonly peer: Peer;
  readonly rounds: Round[];
}

/** Of what meshvpn is measured for against itself. */
export interface SceneRounds {
  readonly name: string;
  readonly rounds: Round[];
}

export interface Results {
  readonly when: string;
  readonly revision: string;
  readonly machine: Machine;
  /** The share of the machine that others had before each turn, 0 to 1. */
  readonly loadByOthers: number[];
  /** Of a Bun that does nothing. */
  readonly idleBunMiB: number;
  readonly settings: Settings;
  readonly metrics: readonly Metric[];
  readonly peers: readonly PeerRounds[];
  readonly scenes: readonly SceneRounds[];
  readonly skipped: readonly Skipped[];
}

export interface Summary {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

export function summary(rounds: readonly Round[], id: string): Summary | undefined {
  return summarize(rounds.map(({ values }) => values[id]).filter((value) => value !== undefined));
}

export function summarize(values: readonly number[]): Summary | undefined {
  const sorted = [...values].sort((left, right) => left - right);
  const least = sorted[0];
  const most = sorted.at(-1);
  if (least === undefined || most === undefined) return undefined;
  const lower = sorted[(sorted.length - 1) >> 1] ?? least;
  const upper = sorted[sorted.length >> 1] ?? most;
  return { median: (lower + upper) / 2, least, most };
}

/** A peer's median, by its name. */
export function median(results: Results, name: string, id: string): number | undefined {
  const found = results.peers.find(({ peer }) => peer.name === name);
  return found && summary(found.rounds, id)?.median;
}

/** Of a scene, as `summary`. */
export function sceneSummary(results: Results, name: string, id: string): Summary | undefined {
  return summary(results.scenes.find((scene) => scene.name === name)?.rounds ?? [], id);
}

/** To the reference peer's median; nothing for the reference itself. */
export function ratio(results: Results, name: string, id: string): number | undefined {
  const own = median(results, name, id);
  const other = median(results, reference, id);
  if (name === reference || own === undefined || !other) return undefined;
  return own / other;
}

/** What went wrong, a line each. */
export function failures(results: Results): string[] {
  const measured = [
    ...results.peers.map(({ peer, rounds }) => ({ name: peer.name, rounds })),
    ...results.scenes,
  ];
  return measured.flatMap(({ name, rounds }) =>
    rounds.flatMap((round, index) =>
      Object.entries(round.failures).map(
        ([leg, reason]) => `${name}, round ${index + 1}, ${leg}: ${reason}`,
      ),
    ),
  );
}

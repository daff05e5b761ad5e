/**
 * A run as text for a terminal and as JSON for programs. The tables have a line for each peer, cells
 * with the median, the least and the most of the rounds and the ratio to the reference; below them
 * the targets, what was skipped and what failed.
 */
import type { Metric } from "./metrics.ts";
import { reference } from "./peers.ts";
import { failures, type Results, ratio, summarize, summary } from "./results.ts";
import { verdicts } from "./targets.ts";

/** One table each, so that a line fits a terminal. */
const groups: readonly (readonly string[])[] = [
  ["tcp-up", "tcp-down", "four-up", "four-down"],
  ["retransmits-up", "retransmits-down", "cpu-daemons", "cpu-machine", "memory"],
  ["udp-256", "ping-idle", "ping-idle-p99", "ping-loaded", "ping-loaded-p99"],
];
const gap = "  ";

export function text(results: Results): string {
  const { settings, machine, skipped } = results;
  const { seconds, rounds, mtu, wireMtu, congestionControl } = settings;
  const load = summarize(results.loadByOthers)?.median ?? 0;
  const failed = failures(results);
  return [
    `${machine.processors} x ${machine.processor}, ${machine.vectors}, Linux ${machine.kernel}, ${results.revision}`,
    `${rounds} rounds in turn, streams of ${seconds} s, ${congestionControl}, MTU ${mtu} inside, ${wireMtu} on the wire and for veth`,
    `median (least-most) and its ratio to ${reference}; other work took ${percent(load)} of the machine before a turn`,
    "",
    ...groups.flatMap((ids) => table(results, ids)),
    ...targets(results),
    ...results.peers.map(({ peer }) => `${peer.name}: ${peer.version}`),
    ...skipped.map(({ name, reason }) => `${name}: skipped: ${reason}`),
    ...(failed.length > 0 ? ["", "failed:", ...failed] : []),
  ].join("\n");
}

function table(results: Results, ids: readonly string[]): string[] {
  const columns = results.metrics.filter(({ id }) => ids.includes(id));
  if (columns.length === 0 || results.peers.length === 0) return [];
  const head = ["", ...columns.map(({ title, unit }) => `${title}, ${unit}`)];
  const lines = results.peers.map(({ peer }) => [
    peer.name,
    ...columns.map((metric) => cell(results, peer.name, metric)),
  ]);
  return [...aligned([head, ...lines]), ""];
}

function cell(results: Results, name: string, { id, digits }: Metric): string {
  const rounds = results.peers.find(({ peer }) => peer.name === name)?.rounds ?? [];
  const found = summary(rounds, id);
  if (found === undefined) return "-";
  const [middle, least, most] = [found.median, found.least, found.most].map((value) =>
    value.toFixed(digits),
  );
  const times = ratio(results, name, id);
  const spread = rounds.length > 1 ? ` (${least}-${most})` : "";
  return `${middle}${spread}${times === undefined ? "" : ` ${significant(times)}x`}`;
}

function targets(results: Results): string[] {
  const found = verdicts(results);
  if (found.length === 0) return [];
  const lines = found.map(({ title, target, reached, met }) => [
    title,
    `target ${target}:`,
    `${reached},`,
    met ? "met" : "NOT MET",
  ]);
  const met = found.filter((verdict) => verdict.met).length;
  return [...aligned(lines), `${met} of ${found.length} targets met`, ""];
}

export function json(results: Results): string {
  const peers = results.peers.map(({ peer, rounds }) => ({
    name: peer.name,
    version: peer.version,
    metrics: Object.fromEntries(
      results.metrics.flatMap(({ id }) => {
        const found = summary(rounds, id);
        if (found === undefined) return [];
        return [[id, { ...found, ratio: ratio(results, peer.name, id) ?? null }]];
      }),
    ),
    rounds,
  }));
  const scenes = results.scenes.map(({ name, rounds }) => {
    const ids = new Set(rounds.flatMap(({ values }) => Object.keys(values)));
    const values = [...ids].map((id) => [id, summary(rounds, id)]);
    return { name, values: Object.fromEntries(values), rounds };
  });
  const units = Object.fromEntries(results.metrics.map(({ id, unit }) => [id, unit]));
  const { metrics: _, ...rest } = results;
  return JSON.stringify({ ...rest, reference, units, peers, scenes, targets: verdicts(results) });
}

/** Two digits, whatever the size: 0.35, 2.1, 14. */
function significant(number: number): string {
  return number >= 10 ? number.toFixed(0) : number >= 1 ? number.toFixed(1) : number.toFixed(2);
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}

function aligned(lines: readonly (readonly string[])[]): string[] {
  const columns = Math.max(...lines.map((line) => line.length));
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...lines.map((line) => line[column]?.length ?? 0)),
  );
  return lines.map((line) =>
    line
      .map((word, column) => word.padEnd(widths[column] ?? 0))
      .join(gap)
      .trimEnd(),
  );
}

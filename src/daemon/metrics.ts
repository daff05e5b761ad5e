/** What a daemon shows of itself as metrics: from its status and counters to families. */
import { counterMetric, type Metric, metrics } from "../metrics/catalog.ts";
import type { Family, Sample } from "../metrics/exposition.ts";
import { readiness } from "./readiness.ts";
import { isReached, type MemberStatus, type MeshStatus } from "./status.ts";

/** Members with series of their own; a scrape of more would be slow, and so would the queries. */
export const membersListedMax = 500;

export interface ProcessFigures {
  readonly startedMs: number;
  readonly residentBytes: number;
  readonly cpuSeconds: number;
}

/** Of this process now. */
export function processFigures(startedMs: number): ProcessFigures {
  const { user, system } = process.cpuUsage();
  const residentBytes = process.memoryUsage.rss();
  return { startedMs, residentBytes, cpuSeconds: (user + system) / 1e6 };
}

/** `status` with its counters. */
export function families(status: MeshStatus, figures: ProcessFigures): readonly Family[] {
  const { members } = status;
  const connected = members.filter(isReached).length;
  const listed = members.slice(0, membersListedMax);
  return [
    one(metrics.build, 1, status.aead, status.version),
    one(metrics.node, 1, status.identity, status.name, status.network),
    one(metrics.started, figures.startedMs / 1000),
    one(metrics.ready, readiness(status).ready ? 1 : 0),
    one(metrics.trusted, status.trusted),
    { metric: metrics.members, samples: byState(members) },
    one(metrics.connected, connected),
    one(metrics.unlisted, members.length - listed.length),
    perMember(metrics.memberConnected, listed, (each) => (isReached(each) ? 1 : 0), pathKind),
    perMember(metrics.memberRtt, listed, ({ rtt_ms: ms }) => (ms === null ? null : ms / 1000)),
    perMember(metrics.memberHandshake, listed, ({ handshake_age_s: age }) => age),
    perMember(metrics.memberReceived, listed, ({ rx_bytes: bytes }) => bytes),
    perMember(metrics.memberSent, listed, ({ tx_bytes: bytes }) => bytes),
    ...Object.entries(status.counters ?? {}).flatMap(([name, count]) => {
      const metric = counterMetric(name);
      return metric === undefined ? [] : [one(metric, count)];
    }),
    one(metrics.memory, figures.residentBytes),
    one(metrics.cpu, figures.cpuSeconds),
  ];
}

function one(metric: Metric, value: number, ...labels: readonly string[]): Family {
  return { metric, samples: [{ labels, value }] };
}

function perMember(
  metric: Metric,
  members: readonly MemberStatus[],
  figureOf: (member: MemberStatus) => number | null,
  moreLabel?: (member: MemberStatus) => string,
): Family {
  const samples = members.flatMap((member): Sample[] => {
    const value = figureOf(member);
    if (value === null) return [];
    const called = member.given_name === "" ? member.name : member.given_name;
    const more = moreLabel === undefined ? [] : [moreLabel(member)];
    return [{ labels: [member.identity, called, ...more], value }];
  });
  return { metric, samples };
}

function byState(members: readonly MemberStatus[]): readonly Sample[] {
  const counts = new Map(
    ["alive", "suspect", "dead", "left", "not met"].map((state) => [state, 0]),
  );
  for (const { state } of members) counts.set(state, (counts.get(state) ?? 0) + 1);
  return [...counts].map(([state, value]) => ({ labels: [state], value }));
}

/** `direct`, `relay` or `none`: an address would make a series of each move. */
function pathKind({ path }: MemberStatus): string {
  return path === "-" ? "none" : (path.split(" ", 1)[0] as string);
}

/** Where a member may be, which way it is reached and why, as `status`, `peers` and `ping` tell it. */
import { formatEndpoint } from "../base/endpoint.ts";
import type { MemberStatus as NodeMember } from "../mesh/node.ts";

export interface PathStatus {
  /** As in `path`. */
  readonly way: string;
  /** What the member's record calls the address: announced, interface, mapped, reflexive or observed;
   * else told (inside the session), heard (it came from there), or relay. */
  readonly source: string;
  readonly used: boolean;
  /** `answers`, `failed` (it was in use and is silent), `no answer` or `not tried`. */
  readonly state: "answers" | "failed" | "no answer" | "not tried";
  readonly rtt_ms: number | null;
  /** Of the probes, 0 to 1. */
  readonly loss: number;
  /** The longest packet that it carries inside; null: nothing says that there is a limit. */
  readonly mtu: number | null;
  readonly answered_s_ago: number | null;
  readonly failed_s_ago: number | null;
}

export interface MemberPaths {
  /** Of its record, as KIND ADDRESS:PORT, the likeliest first. */
  readonly candidates: readonly string[];
  /** Why the way in use was taken; null without one. */
  readonly path_why: string | null;
  readonly paths: readonly PathStatus[];
}

const reasons = {
  first: "it was the first that answered",
  direct: "an address goes before a relay",
  shorter: "it goes through one relay, not several",
  faster: "it answers faster than the one before",
  silent: "the one before was silent",
  handshake: "the session came up by it",
} as const;

/** `nowMs`: of the engine's clock. */
export function memberPaths({ candidates, ways }: NodeMember, nowMs: number): MemberPaths {
  const { ways: known, why } = ways();
  const ago = (ms: number | undefined): number | null =>
    ms === undefined ? null : Math.max(0, Math.floor((nowMs - ms) / 1000));
  return {
    candidates: candidates.map((candidate) => `${candidate.kind} ${formatEndpoint(candidate)}`),
    path_why: why === undefined ? null : reasons[why],
    paths: known.map((way) => ({
      way: way.way,
      source: way.source,
      used: way.used,
      state: stateOf(way),
      rtt_ms: way.rttMs === undefined ? null : Math.round(way.rttMs * 1000) / 1000,
      loss: Math.round(way.loss * 1000) / 1000,
      mtu: way.mtu === 0 ? null : way.mtu,
      answered_s_ago: ago(way.answeredMs),
      failed_s_ago: ago(way.failedMs),
    })),
  };
}

function stateOf({
  answeredMs,
  failedMs,
  probedMs,
  used,
}: ReturnType<NodeMember["ways"]>["ways"][number]): PathStatus["state"] {
  if (failedMs !== undefined && (answeredMs ?? Number.NEGATIVE_INFINITY) < failedMs)
    return "failed";
  // The handshake came by it, and where there is no other nothing is asked since.
  if (answeredMs !== undefined || (used && probedMs === undefined)) return "answers";
  return probedMs === undefined ? "not tried" : "no answer";
}

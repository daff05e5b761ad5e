/** Members as `status` tells of them: what the node knows of each, and what its peers have moved. */
import type { Instant } from "../base/clock.ts";
import { formatPrefix } from "../base/ip.ts";
import type { PeerRef, PeerStats } from "../mesh/dataplane.ts";
import type { MemberStatus as NodeMember } from "../mesh/report.ts";
import { formatIdentity } from "../trust/identity.ts";
import { memberPaths } from "./path-status.ts";
import type { RestingTraffic } from "./resting-traffic.ts";
import { certificateStatus, type MemberStatus, notMet } from "./status.ts";

export interface MemberFigures {
  readonly find: (peer: PeerRef) => PeerStats | undefined;
  readonly resting: RestingTraffic;
  readonly now: Instant;
  /** The operator's own word; empty: there is none. */
  readonly givenName: (identity: string) => string;
  /** By key. */
  readonly trusted: Iterable<Uint8Array>;
  readonly withPaths: boolean;
}

/** And behind them those that are trusted and were never met. */
export function memberStatuses(
  members: readonly NodeMember[],
  figures: MemberFigures,
): readonly MemberStatus[] {
  const met = members.map((member) => statusOf(member, figures));
  const known = new Set(met.map(({ identity }) => identity));
  const unmet = Array.from(figures.trusted, formatIdentity).filter((each) => !known.has(each));
  return [...met, ...unmet.map((each) => notMet(each, figures.givenName(each)))];
}

function statusOf(member: NodeMember, figures: MemberFigures): MemberStatus {
  const { ms, wallMs } = figures.now;
  const stats = member.peer && figures.find(member.peer);
  const resting = figures.resting.of(member.slot);
  const handshakeMs = member.lastHandshakeWallMs;
  return {
    name: member.name,
    name_clash: member.nameClash,
    given_name: figures.givenName(member.identity),
    identity: member.identity,
    addresses: member.addresses,
    offers: member.offered.map(formatPrefix),
    certificate: certificateStatus(member.certificate),
    state: member.state,
    path: (member.sessionLive ? member.path : undefined) ?? "-",
    ...(figures.withPaths ? memberPaths(member, ms) : {}),
    nat: member.natKind,
    relay: member.relays,
    rtt_ms: member.rttMs === undefined ? null : Math.round(member.rttMs * 1000) / 1000,
    // A clock that was set back must not show a handshake in the future.
    handshake_age_s:
      handshakeMs === 0 ? null : Math.max(0, Math.floor((wallMs - handshakeMs) / 1000)),
    rx_bytes: resting.rxBytes + (stats?.rxBytes ?? 0),
    tx_bytes: resting.txBytes + (stats?.txBytes ?? 0),
  };
}

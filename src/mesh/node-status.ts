/** What a node tells of its members: put together here, shaped in report.ts. */
import type { Candidate } from "../base/candidate.ts";
import type { MemberTable } from "../swim/state.ts";
import { seniorityBy } from "../trust/address.ts";
import { decodeCertificate } from "../trust/certificate.ts";
import { type Bearer, nameClashes } from "../trust/names.ts";
import type { Roster } from "../trust/roster.ts";
import type { Addressing } from "./addressing.ts";
import { type Admission, noBytes } from "./admission.ts";
import type { Member } from "./member.ts";
import type { Pathfinder } from "./pathfinder.ts";
import type { PeerTable } from "./peer-table.ts";
import type { MemberStatus, NodeStatus } from "./report.ts";

export function memberStatus(
  member: Member,
  addresses: readonly string[],
  table: MemberTable,
  roster: Roster,
  pathfinder: Pathfinder,
): MemberStatus {
  const { peer, record } = member;
  const certificate = roster.certificateOf(member.name);
  return {
    identity: member.name,
    name: certificate?.name || record.name,
    nameClash: false,
    addresses,
    certificate,
    offered: record.prefixes,
    state: table.state(member.slot),
    peer: peer.ref,
    wireguardKey: peer.publicKey,
    endpoint: peer.endpoint,
    path: pathfinder.describe(peer.endpoint),
    ways: () => pathfinder.ways(member),
    candidates: record.candidates,
    natKind: record.natKind,
    relays: record.relay,
    sessionLive: peer.sessionLive,
    lastHandshakeWallMs: peer.lastHandshakeWallMs,
    rttMs: table.rttMs(member.slot),
  };
}

/** Members with their clashes of names marked, this node's own name counted too. */
export function withClashes(self: Bearer, members: readonly MemberStatus[]): MemberStatus[] {
  const bearers = members.map(({ identity, name, certificate }): Bearer => {
    return { identity, name, seniority: seniorityBy(certificate) };
  });
  const clashes = nameClashes([self, ...bearers]);
  return members.map((member) => {
    const { name, identity } = member;
    return clashes.has(name) && clashes.get(name) !== identity
      ? { ...member, nameClash: true }
      : member;
  });
}

/** What a node's status is made of. */
export interface NodeParts {
  /** Text. */
  readonly self: string;
  readonly name: string;
  readonly sequence: number;
  readonly peers: PeerTable;
  readonly addressing: Addressing;
  readonly admission: Admission;
  readonly joining: boolean;
  readonly candidates: readonly Candidate[];
  readonly members: Iterable<Member>;
  readonly table: MemberTable;
  readonly pathfinder: Pathfinder;
}

export function nodeStatus(parts: NodeParts): NodeStatus {
  const { admission, addressing, candidates, joining, name, pathfinder, table } = parts;
  const { ipv4, ipv6, ipv4Prefix, ipv6Prefix } = addressing;
  const { roster } = admission;
  const self = { identity: parts.self, name };
  const members = [...parts.members].map((member) =>
    memberStatus(member, addressing.of(member), table, roster, pathfinder),
  );
  return {
    ...self,
    wireguardKey: parts.peers.localPublicKey,
    sequence: parts.sequence,
    addresses: ipv4 === undefined ? [ipv6] : [ipv6, ipv4],
    ipv6Prefix,
    ipv4Prefix,
    trusted: roster.size,
    organisations: roster.organisationCount,
    revoked: roster.revokedCount,
    certificate: decodeCertificate(admission.certificate ?? noBytes)?.claimed,
    joining,
    candidates,
    natKind: pathfinder.lastNatKind,
    members: withClashes({ ...self, seniority: admission.seniorityOf() }, members),
  };
}

/** What a node tells of its members: put together here, shaped in report.ts. */
import type { MemberTable } from "../swim/state.ts";
import { seniorityBy } from "../trust/address.ts";
import { type Bearer, nameClashes } from "../trust/names.ts";
import type { Roster } from "../trust/roster.ts";
import type { Member } from "./member.ts";
import type { MemberStatus } from "./report.ts";

export function memberStatus(
  member: Member,
  addresses: readonly string[],
  table: MemberTable,
  roster: Roster,
): MemberStatus {
  const { peer, record } = member;
  const certificate = roster.certificateOf(member.name);
  return {
    identity: member.name,
    name: certificate?.name || record.name,
    nameClash: false,
    addresses,
    certificate,
    state: table.state(member.slot),
    peer: peer.ref,
    wireguardKey: peer.publicKey,
    endpoint: peer.endpoint,
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

/**
 * What a node tells of itself and its members: put together here, shaped in report.ts. Of ten thousand
 * members a whole status takes a while, so who asks often asks for those that concern him.
 */
import type { Candidate } from "../base/candidate.ts";
import type { MemberTable } from "../swim/state.ts";
import { seniorityBy } from "../trust/address.ts";
import { decodeCertificate } from "../trust/certificate.ts";
import { formatIdentity, parseIdentity } from "../trust/identity.ts";
import { type Bearer, nameClashes } from "../trust/names.ts";
import type { Addressing } from "./addressing.ts";
import { type Admission, noBytes } from "./admission.ts";
import type { Members } from "./member.ts";
import type { MemberPeers } from "./member-peers.ts";
import type { OwnRecord } from "./own-record.ts";
import type { Pathfinder } from "./pathfinder.ts";
import type { PeerTable } from "./peer-table.ts";
import type { RecordIntake } from "./record-intake.ts";
import type { MemberStatus, NodeStatus } from "./report.ts";

/** What it looks at. */
export interface NodeParts {
  /** Text. */
  readonly self: string;
  readonly name: string;
  readonly own: OwnRecord;
  readonly peers: PeerTable;
  readonly addressing: Addressing;
  readonly admission: Admission;
  readonly joining: () => boolean;
  readonly candidates: () => readonly Candidate[];
  readonly members: Members;
  readonly held: MemberPeers;
  readonly records: RecordIntake;
  readonly table: MemberTable;
  readonly pathfinder: Pathfinder;
}

export class NodeView {
  readonly #parts: NodeParts;

  constructor(parts: NodeParts) {
    this.#parts = parts;
  }

  status(): NodeStatus {
    const parts = this.#parts;
    const { admission, addressing, name, pathfinder, self: identity } = parts;
    const { ipv4Prefix, ipv6Prefix } = addressing;
    const { roster } = admission;
    const self = { identity, name, seniority: admission.seniorityOf() };
    return {
      identity,
      name,
      wireguardKey: parts.peers.localPublicKey,
      sequence: parts.own.sequence,
      addresses: this.addresses,
      ipv6Prefix,
      ipv4Prefix,
      trusted: roster.size,
      organisations: roster.organisationCount,
      revoked: roster.revokedCount,
      certificate: decodeCertificate(admission.certificate ?? noBytes)?.claimed,
      joining: parts.joining(),
      candidates: parts.candidates(),
      natKind: pathfinder.lastNatKind,
      members: withClashes(self, this.members()),
    };
  }

  /** This node's own: IPv6, then IPv4 where it holds one. */
  get addresses(): readonly string[] {
    const { ipv4, ipv6 } = this.#parts.addressing;
    return ipv4 === undefined ? [ipv6] : [ipv6, ipv4];
  }

  /** Sessions that live. */
  get linkedCount(): number {
    return this.#parts.table.linkedCount;
  }

  /** Members whose slots fit; no clashes of names are looked for. */
  members(fits: (slot: number) => boolean = () => true): readonly MemberStatus[] {
    const { table } = this.#parts;
    const out: MemberStatus[] = [];
    for (let slot = 1; slot < table.slotsEnd; slot += 1) {
      if (table.has(slot) && fits(slot)) out.push(memberStatus(this.#parts, slot));
    }
    return out;
  }

  /** Those that have a peer. */
  present(): readonly MemberStatus[] {
    return Array.from(this.#parts.members, ({ slot }) => memberStatus(this.#parts, slot));
  }

  /** Those that offer to lead others anywhere, or have a peer. */
  offering(): readonly MemberStatus[] {
    const { held, members } = this.#parts;
    return this.members((slot) => held.roll.offers(slot) || members.inSlot(slot) !== undefined);
  }

  /** By the text of its identity; undefined: there is no such member. */
  member(identity: string): MemberStatus | undefined {
    const slot = this.slotOf(identity);
    return slot === undefined ? undefined : memberStatus(this.#parts, slot);
  }

  slotOf(name: string): number | undefined {
    const identity = parseIdentity(name);
    // 0 is this node.
    return (identity && this.#parts.table.find(identity)) || undefined;
  }

  /** What the member calls itself. */
  nameOf(identity: string): string | undefined {
    const { records, table } = this.#parts;
    const slot = this.slotOf(identity);
    return slot === undefined ? undefined : records.of(table, slot).name;
  }

  /** Records of all members, for the disk. */
  *records(): Iterable<Uint8Array> {
    const { table } = this.#parts;
    for (let slot = 1; slot < table.slotsEnd; slot += 1) {
      if (table.has(slot)) yield table.recordBytes(slot);
    }
  }
}

function memberStatus(parts: NodeParts, slot: number): MemberStatus {
  const { addressing, admission, held, members, pathfinder, records, table } = parts;
  const member = members.inSlot(slot);
  const record = member?.record ?? records.of(table, slot);
  const peer = member?.peer;
  const identity = formatIdentity(record.identity);
  const certificate = admission.roster.certificateOf(identity);
  return {
    identity,
    name: certificate?.name || record.name,
    nameClash: false,
    addresses: addressing.of(slot),
    certificate,
    offered: record.prefixes,
    state: table.state(slot),
    slot,
    peer: peer?.ref,
    wireguardKey: record.wireguardKey,
    endpoint: peer?.endpoint,
    path: pathfinder.describe(peer?.endpoint),
    ways: () => (member === undefined ? { ways: [], why: undefined } : pathfinder.ways(member)),
    candidates: record.candidates,
    natKind: record.natKind,
    relays: record.relay,
    sessionLive: peer?.sessionLive ?? false,
    lastHandshakeWallMs: peer?.lastHandshakeWallMs || held.roll.last(slot).lastHandshakeWallMs,
    rttMs: table.rttMs(slot),
  };
}

/** Members with their clashes of names marked, this node's own name counted too. */
function withClashes(self: Bearer, members: readonly MemberStatus[]): MemberStatus[] {
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

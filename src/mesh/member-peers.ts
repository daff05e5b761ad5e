/**
 * Which members have a peer: in a small mesh all, in a large one those with a session or for whom one
 * is wanted, be it for a probe, a packet or because they came themselves; and those to whom more than
 * their own addresses is led. A peer that nothing wants any longer goes, and what has to outlive it
 * stays in the roll and among the accepted stamps. It decides nothing of sessions.
 */
import { equalBytes } from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import type { Endpoint } from "../base/endpoint.ts";
import type { MemberTable } from "../swim/state.ts";
import type { Record, Verified } from "../trust/record.ts";
import type { Addressing } from "./addressing.ts";
import type { PeerRef } from "./dataplane.ts";
import { likeliest, Member, type Members } from "./member.ts";
import type { Pathfinder } from "./pathfinder.ts";
import type { PeerTable } from "./peer-table.ts";
import { Roll } from "./roll.ts";

/** Beyond the 90 s for which a handshake is tried: by then it has come about or not. */
const restsAfterMs = 95_000;
/** All are looked at this often. */
const lookMs = 30_000;

export interface MemberPeersParts {
  readonly peers: PeerTable;
  readonly members: Members;
  readonly table: MemberTable;
  readonly recordOf: (slot: number) => Verified<Record>;
  /** undefined: members have no addresses here. */
  readonly addressing: Addressing | undefined;
  readonly pathfinder: Pathfinder;
  /** Whether every member is to have one. */
  readonly holdsAll: () => boolean;
  /** Of a peer that is new, or about to go with its counters. */
  readonly tell: (kind: "peer_coming" | "peer_resting", slot: number, peer: PeerRef) => void;
}

export class MemberPeers {
  readonly roll: Roll;
  readonly #parts: MemberPeersParts;
  /** When it is looked at whether peers are still wanted. */
  #lookAtMs: number | undefined;

  constructor(parts: MemberPeersParts) {
    this.#parts = parts;
    this.roll = new Roll((slot) => parts.table.recordBytes(slot));
  }

  /** The member in the slot with its peer, made now if it has none. */
  bring(now: Instant, slot: number): Member {
    const { addressing, members, pathfinder, peers, recordOf, tell } = this.#parts;
    const known = members.inSlot(slot);
    if (known !== undefined) return known;
    const record = recordOf(slot);
    const peer = peers.addPeer(now, record.wireguardKey);
    const member = new Member(slot, record, peer, now.ms);
    const { seen, proven } = this.roll.last(slot);
    member.seen = seen;
    member.proven = proven;
    members.add(member);
    tell("peer_coming", slot, member.peer.ref);
    pathfinder.bind(member);
    addressing?.bind(member);
    this.#lookAtMs ??= now.ms + restsAfterMs;
    return member;
  }

  inSlot(slot: number): Member | undefined {
    return this.#parts.members.inSlot(slot);
  }

  bringAll(now: Instant): readonly Member[] {
    const { table } = this.#parts;
    const out: Member[] = [];
    for (let slot = 1; slot < table.slotsEnd; slot += 1) {
      if (table.has(slot)) out.push(this.bring(now, slot));
    }
    return out;
  }

  /** Its key is another, or was, and so is its peer. */
  replace(now: Instant, member: Member): void {
    const { addressing, members, pathfinder, peers, tell } = this.#parts;
    peers.removePeer(now, member.peer);
    members.setPeer(member, peers.addPeer(now, member.record.wireguardKey));
    tell("peer_coming", member.slot, member.peer.ref);
    pathfinder.bind(member);
    addressing?.bind(member);
  }

  /** Its peer goes, unless something wants it. */
  rest(now: Instant, member: Member | undefined): void {
    const { members, peers, tell } = this.#parts;
    if (member === undefined || members.inSlot(member.slot) !== member) return;
    if (this.#isWanted(now, member)) return;
    const { peer, proven, seen, slot } = member;
    const lastHandshakeWallMs =
      peer.lastHandshakeWallMs || this.roll.last(slot).lastHandshakeWallMs;
    this.roll.rest(slot, { seen, proven, lastHandshakeWallMs });
    tell("peer_resting", slot, peer.ref);
    peers.restPeer(now, peer);
    this.#forget(member);
  }

  /** It is a member no longer. */
  remove(now: Instant, slot: number): void {
    this.roll.remove(slot);
    const member = this.#parts.members.inSlot(slot);
    if (member === undefined) return;
    this.#parts.peers.removePeer(now, member.peer);
    this.#forget(member);
  }

  /** Where the member in the slot may be, the likeliest first. */
  endpoints(slot: number): readonly Endpoint[] {
    const { members, recordOf, table } = this.#parts;
    const member = members.inSlot(slot);
    if (member !== undefined) return member.endpoints();
    if (!table.has(slot)) return [];
    const { proven, seen } = this.roll.last(slot);
    return likeliest(seen, proven, recordOf(slot));
  }

  /** One WireGuard key is one identity's: a second claimant could only take the first one's place. */
  isKeyTaken({ identity, wireguardKey }: Record): boolean {
    const { peers, table } = this.#parts;
    const own = peers.localPublicKey;
    if (own !== undefined && equalBytes(own, wireguardKey)) return true;
    const holder = this.roll.withKey(wireguardKey);
    if (holder !== undefined) return !equalBytes(table.identity(holder), identity);
    return peers.find(wireguardKey) !== undefined;
  }

  handleTimeout(now: Instant): void {
    if (this.#lookAtMs === undefined || now.ms < this.#lookAtMs) return;
    const { members } = this.#parts;
    for (const member of members) {
      if (now.ms - member.sinceMs >= restsAfterMs) this.rest(now, member);
    }
    this.#lookAtMs = members.size === 0 ? undefined : now.ms + lookMs;
  }

  nextTimeout(): number | undefined {
    return this.#lookAtMs;
  }

  #isWanted(now: Instant, member: Member): boolean {
    const { addressing, holdsAll, peers } = this.#parts;
    if (holdsAll() || member.linked || member.openAtMs !== undefined) return true;
    if (member.peer.keepaliveSeconds > 0 || addressing?.leads(member.name) === true) return true;
    return !peers.isIdle(now, member.peer);
  }

  #forget(member: Member): void {
    this.#parts.members.remove(member);
  }
}

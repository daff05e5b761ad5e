/**
 * A member that has a peer: a verified record, the peer made of it, and the endpoints at which it may
 * be; and all of them by each of their names. Owns the order in which endpoints are tried, and the one
 * peer that is each member's. Who is a member is node.ts's, which of them have a peer member-peers.ts',
 * what is thought of them SWIM's.
 */
import { grown, grownCapacity } from "../base/columns.ts";
import { type Endpoint, sameEndpoint } from "../base/endpoint.ts";
import { assert } from "../base/errors.ts";
import { formatIdentity } from "../trust/identity.ts";
import type { Record, Verified } from "../trust/record.ts";
import type { PeerRef, Transmit } from "./dataplane.ts";
import type { Peer } from "./peer-table.ts";

const capacityStart = 16;
const peerSlotsMax = 0xffff;

export class Member {
  readonly identity: Uint8Array;
  /** In SWIM's table. */
  readonly slot: number;
  record: Verified<Record>;
  peer: Peer;
  /** Where it last was, and where it answered an introduction: tried before what it advertises. */
  seen: Endpoint | undefined;
  proven: Endpoint | undefined;
  linked = false;
  /** Attempts at a session since the last one that lived. */
  attempts = 0;
  /** Monotonic ms of the next attempt: openings.ts keeps it. */
  openAtMs: number | undefined;
  /** Monotonic ms at which it came to have a peer. */
  readonly sinceMs: number;
  #at = 0;

  constructor(slot: number, record: Verified<Record>, peer: Peer, sinceMs = 0) {
    this.identity = record.identity;
    this.slot = slot;
    this.record = record;
    this.peer = peer;
    this.sinceMs = sinceMs;
  }

  /** Its identity's text: made when asked for, as it is longer than what else is held of a session. */
  get name(): string {
    return formatIdentity(this.identity);
  }

  /** Each once, the likeliest first. */
  endpoints(): readonly Endpoint[] {
    return likeliest(this.seen, this.proven, this.record);
  }

  /** Where to try next: the likeliest at first, then all in turn. */
  nextEndpoint(): Endpoint | undefined {
    const endpoints = this.endpoints();
    if (endpoints.length === 0) return undefined;
    this.#at = this.attempts === 0 ? 0 : (this.#at + 1) % endpoints.length;
    return endpoints[this.#at];
  }
}

/** A control message for the member, in its session. */
export function inSession({ peer }: Member, bytes: Uint8Array): Transmit {
  return { kind: "session_message", peer: peer.ref, bytes };
}

/** Each once, the likeliest first. */
export function likeliest(
  seen: Endpoint | undefined,
  proven: Endpoint | undefined,
  record: Record,
): readonly Endpoint[] {
  const out: Endpoint[] = [];
  for (const endpoint of [seen, proven, ...udpEndpoints(record)]) {
    if (endpoint === undefined || out.some((other) => sameEndpoint(other, endpoint))) continue;
    out.push(endpoint);
  }
  return out;
}

/** Where datagrams may reach the subject, in its own order. */
export function udpEndpoints(record: Record): readonly Endpoint[] {
  return record.candidates
    .filter(({ kind }) => kind !== "tls")
    .map(({ address, port }) => ({ address, port }));
}

/** Those with peers, by SWIM slot and by peer. */
export class Members {
  /** By SWIM's slot, the peer's slot and 1; 0: it has no peer. */
  #peerSlots = new Uint16Array(capacityStart);
  /** By the peer's slot: the table gives peers the lowest that are free. */
  readonly #members: (Member | undefined)[] = [];
  #size = 0;

  add(member: Member): void {
    this.#size += 1;
    this.#enter(member);
  }

  remove(member: Member): void {
    this.#size -= 1;
    this.#peerSlots[member.slot] = 0;
    this.#members[member.peer.ref.slot] = undefined;
  }

  /** Its WireGuard key has changed, and with it its peer. */
  setPeer(member: Member, peer: Peer): void {
    this.#members[member.peer.ref.slot] = undefined;
    member.peer = peer;
    this.#enter(member);
  }

  get size(): number {
    return this.#size;
  }

  /** Of those that come or go meanwhile some may be left out. */
  *[Symbol.iterator](): Iterator<Member> {
    for (const member of this.#members) if (member !== undefined) yield member;
  }

  inSlot(slot: number): Member | undefined {
    const peerSlot = this.#peerSlots[slot] ?? 0;
    return peerSlot === 0 ? undefined : this.#members[peerSlot - 1];
  }

  /** undefined where there is no session with it. */
  linked(slot: number | undefined): Member | undefined {
    const member = slot === undefined ? undefined : this.inSlot(slot);
    return member?.linked === true ? member : undefined;
  }

  ofPeer(ref: PeerRef | undefined): Member | undefined {
    if (ref === undefined) return undefined;
    const member = this.#members[ref.slot];
    return member?.peer.ref.generation === ref.generation ? member : undefined;
  }

  #enter(member: Member): void {
    const { slot, peer } = member;
    assert(peer.ref.slot < peerSlotsMax, "members and peers are bounded");
    if (slot >= this.#peerSlots.length) {
      const capacity = grownCapacity(slot + 1, this.#peerSlots.length);
      this.#peerSlots = grown(this.#peerSlots, new Uint16Array(capacity));
    }
    this.#peerSlots[slot] = peer.ref.slot + 1;
    this.#members[peer.ref.slot] = member;
  }
}

const hintEndpointsMax = 2;

/** Where to look for one whose record has expired. */
export function hintEndpoints(record: Record): readonly Endpoint[] {
  return udpEndpoints(record).slice(0, hintEndpointsMax);
}

/**
 * A member that has a peer: a verified record, the peer made of it, and the endpoints at which it may
 * be; and all of them by each of their names. Owns the order in which endpoints are tried, and the one
 * peer that is each member's. Who is a member is node.ts's, which of them have a peer member-peers.ts',
 * what is thought of them SWIM's.
 */
import { type Endpoint, sameEndpoint } from "../base/endpoint.ts";
import { formatIdentity } from "../trust/identity.ts";
import type { Record, Verified } from "../trust/record.ts";
import type { PeerRef } from "./dataplane.ts";
import type { Peer } from "./peer-table.ts";

export class Member {
  readonly identity: Uint8Array;
  /** Its identity's text. */
  readonly name: string;
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
  #at = 0;

  constructor(slot: number, record: Verified<Record>, peer: Peer) {
    this.identity = record.identity;
    this.name = formatIdentity(record.identity);
    this.slot = slot;
    this.record = record;
    this.peer = peer;
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

/** Those with peers, by identity, SWIM slot and peer. */
export class Members {
  readonly #byName = new Map<string, Member>();
  readonly #bySlot = new Map<number, Member>();
  readonly #byPeerSlot = new Map<number, Member>();

  add(member: Member): void {
    this.#byName.set(member.name, member);
    this.#bySlot.set(member.slot, member);
    this.#byPeerSlot.set(member.peer.ref.slot, member);
  }

  remove(member: Member): void {
    this.#byName.delete(member.name);
    this.#bySlot.delete(member.slot);
    this.#byPeerSlot.delete(member.peer.ref.slot);
  }

  /** Its WireGuard key has changed, and with it its peer. */
  setPeer(member: Member, peer: Peer): void {
    this.#byPeerSlot.delete(member.peer.ref.slot);
    member.peer = peer;
    this.#byPeerSlot.set(peer.ref.slot, member);
  }

  get size(): number {
    return this.#byName.size;
  }

  [Symbol.iterator](): Iterator<Member> {
    return this.#byName.values();
  }

  named(name: string): Member | undefined {
    return this.#byName.get(name);
  }

  /** undefined where there is no session with it. */
  linked(identity: Uint8Array): Member | undefined {
    const member = this.#byName.get(formatIdentity(identity));
    return member?.linked === true ? member : undefined;
  }

  inSlot(slot: number): Member | undefined {
    return this.#bySlot.get(slot);
  }

  ofPeer(ref: PeerRef | undefined): Member | undefined {
    if (ref === undefined) return undefined;
    const member = this.#byPeerSlot.get(ref.slot);
    return member?.peer.ref.generation === ref.generation ? member : undefined;
  }
}

const hintEndpointsMax = 2;

/** Where to look for one whose record has expired. */
export function hintEndpoints(record: Record): readonly Endpoint[] {
  return udpEndpoints(record).slice(0, hintEndpointsMax);
}

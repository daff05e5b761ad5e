/**
 * A member as the node keeps it: a verified record, the peer made of it, and the endpoints at which
 * it may be; and all of them by each of their names. Owns the order in which endpoints are tried, and
 * the one peer that is each member's. Who is a member is node.ts's, what is thought of it SWIM's.
 */
import { formatKey } from "../base/base64.ts";
import { equalBytes } from "../base/bytes.ts";
import { type Endpoint, sameEndpoint } from "../base/endpoint.ts";
import { formatIdentity } from "../trust/identity.ts";
import type { Record, Verified } from "../trust/record.ts";
import type { PeerRef } from "./dataplane.ts";
import type { Peer, PeerTable } from "./peer-table.ts";

export class Member {
  readonly identity: Uint8Array;
  /** Its identity's text. */
  readonly name: string;
  /** In SWIM's table. */
  readonly slot: number;
  readonly ipv6: string;
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

  constructor(slot: number, name: string, ipv6: string, record: Verified<Record>, peer: Peer) {
    this.identity = record.identity;
    this.name = name;
    this.slot = slot;
    this.ipv6 = ipv6;
    this.record = record;
    this.peer = peer;
  }

  /** Each once, the likeliest first. */
  endpoints(): readonly Endpoint[] {
    const out: Endpoint[] = [];
    for (const endpoint of [this.seen, this.proven, ...udpEndpoints(this.record)]) {
      if (endpoint === undefined || out.some((other) => sameEndpoint(other, endpoint))) continue;
      out.push(endpoint);
    }
    return out;
  }

  /** Where to try next: the likeliest at first, then all in turn. */
  nextEndpoint(): Endpoint | undefined {
    const endpoints = this.endpoints();
    if (endpoints.length === 0) return undefined;
    this.#at = this.attempts === 0 ? 0 : (this.#at + 1) % endpoints.length;
    return endpoints[this.#at];
  }
}

/** Where datagrams may reach the subject, in its own order. */
export function udpEndpoints(record: Record): readonly Endpoint[] {
  return record.candidates
    .filter(({ kind }) => kind !== "tls")
    .map(({ address, port }) => ({ address, port }));
}

/** The members, by identity, SWIM slot, peer and WireGuard key. */
export class Members {
  readonly #byName = new Map<string, Member>();
  readonly #bySlot = new Map<number, Member>();
  readonly #byPeerSlot = new Map<number, Member>();
  readonly #byWireguardKey = new Map<string, Member>();

  add(member: Member): void {
    this.#byName.set(member.name, member);
    this.#bySlot.set(member.slot, member);
    this.#bind(member);
  }

  remove(member: Member): void {
    this.#byName.delete(member.name);
    this.#bySlot.delete(member.slot);
    this.#unbind(member);
  }

  /** Its WireGuard key has changed, and with it its peer. */
  setPeer(member: Member, peer: Peer): void {
    this.#unbind(member);
    member.peer = peer;
    this.#bind(member);
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

  withKey(wireguardKey: Uint8Array): Member | undefined {
    return this.#byWireguardKey.get(formatKey(wireguardKey));
  }

  #bind(member: Member): void {
    this.#byPeerSlot.set(member.peer.ref.slot, member);
    this.#byWireguardKey.set(formatKey(member.peer.publicKey), member);
  }

  #unbind(member: Member): void {
    this.#byPeerSlot.delete(member.peer.ref.slot);
    this.#byWireguardKey.delete(formatKey(member.peer.publicKey));
  }
}

const hintEndpointsMax = 2;

/** Where to look for one whose record has expired. */
export function hintEndpoints(record: Record): readonly Endpoint[] {
  return udpEndpoints(record).slice(0, hintEndpointsMax);
}

/** One WireGuard key is one identity's: a second claimant could only take the first one's place. */
export function isKeyTaken(record: Record, peers: PeerTable, members: Members): boolean {
  const { identity, wireguardKey: key } = record;
  const own = peers.localPublicKey;
  if (own !== undefined && equalBytes(own, key)) return true;
  const holder = members.withKey(key);
  if (holder !== undefined) return !equalBytes(holder.identity, identity);
  return peers.find(key) !== undefined;
}

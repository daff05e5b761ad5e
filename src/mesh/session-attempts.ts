/**
 * How a session with a member comes about: it is wanted by probing, by packets that wait, or because
 * the mesh is small; tried at the member's endpoints in turn, at the pace of openings.ts, and beside
 * that by an introduction where the other side may lack our record. Who has a peer is member-peers.ts',
 * what becomes of a handshake the peer table's.
 */
import { earliest, type Instant } from "../base/clock.ts";
import { type Endpoint, sameEndpoint } from "../base/endpoint.ts";
import type { Swim } from "../swim/swim.ts";
import { formatIdentity } from "../trust/identity.ts";
import type { Addressing } from "./addressing.ts";
import type { Introducer } from "./introducer.ts";
import type { Member } from "./member.ts";
import type { MemberPeers } from "./member-peers.ts";
import { attempts, Openings } from "./openings.ts";
import type { Pathfinder } from "./pathfinder.ts";
import type { PeerTable } from "./peer-table.ts";

export interface SessionAttemptsParts {
  readonly swim: Swim;
  readonly held: MemberPeers;
  readonly peers: PeerTable;
  readonly addressing: Addressing;
  readonly pathfinder: Pathfinder;
  readonly introducer: Introducer;
  readonly counters: { session_attempts: number; destinations_unknown: number };
}

export class SessionAttempts {
  readonly #parts: SessionAttemptsParts;
  readonly #openings = new Openings();

  constructor(parts: SessionAttemptsParts) {
    this.#parts = parts;
  }

  /** At that time, or earlier if it was due earlier. */
  schedule(member: Member, atMs: number): void {
    this.#openings.schedule(member, atMs);
  }

  /** As if it had never been tried. */
  anew(now: Instant, member: Member): void {
    member.attempts = 0;
    this.#openings.schedule(member, now.ms);
  }

  /** It answers there: whatever was tried before, this is tried now. */
  proven(now: Instant, member: Member, endpoint: Endpoint): void {
    member.proven = endpoint;
    if (!this.answers(member)) member.seen = undefined;
    this.anew(now, member);
  }

  /** Seeds that are reached need no dialling. */
  tellReached(now: Instant, slot: number): void {
    const { introducer, swim } = this.#parts;
    const { eager, table } = swim;
    if (!eager && !introducer.dials(table.key(slot))) return;
    // Where sessions come and go it is enough that probes find it alive.
    const reached = (table.isLinked(slot) || !eager) && table.state(slot) === "alive";
    introducer.setLink(now, formatIdentity(table.identity(slot)), reached);
  }

  cancel(member: Member): void {
    this.#openings.cancel(member);
  }

  /** A session with the member is wanted soon. */
  open(now: Instant, slot: number): void {
    const { held, pathfinder, swim } = this.#parts;
    if (!swim.table.has(slot)) return;
    const member = held.bring(now, slot);
    if (member.linked || member.openAtMs !== undefined) return;
    if (member.attempts >= attempts.lazyMax && !swim.eager) member.attempts = 0;
    this.#openings.schedule(member, now.ms + pathfinder.headStartMs(member));
    this.#attemptDue(now);
  }

  heed(now: Instant, event: { readonly kind: "open" | "silent"; readonly slot: number }): void {
    if (event.kind === "open") this.open(now, event.slot);
    else this.#rest(now, event.slot);
  }

  /** Packets wait for an address that no peer holds. */
  seek(now: Instant, address: string): void {
    const { addressing, counters, held, pathfinder, peers } = this.#parts;
    const slot = addressing.ownerOf(address);
    if (slot === undefined) {
      counters.destinations_unknown += 1;
      addressing.refuse(address);
      return;
    }
    const member = held.bring(now, slot);
    pathfinder.seek(now, member);
    this.open(now, slot);
    const { peer } = member;
    const [endpoint] = held.endpoints(slot);
    // With a place to go to they wait, even where its turn is not yet.
    if (peer.endpoint === undefined && endpoint !== undefined)
      peers.setEndpoint(now, peer, endpoint);
  }

  /** A session says little where probes fail: the other side may have forgotten it. */
  answers(member: Member): boolean {
    return member.linked && this.#parts.swim.table.state(member.slot) === "alive";
  }

  /** It is introduced to, wherever it may be by then. */
  dial(now: Instant, slot: number, identity: Uint8Array, waitMs?: number): void {
    const { held, introducer, swim } = this.#parts;
    const endpoints = (): readonly Endpoint[] => {
      const isHere = swim.table.find(identity) === slot;
      return isHere ? held.endpoints(slot) : [];
    };
    introducer.dialMember(now, identity, endpoints, waitMs);
  }

  handleTimeout(now: Instant): void {
    this.#parts.held.handleTimeout(now);
    this.#attemptDue(now);
  }

  nextTimeout(): number | undefined {
    return earliest([this.#openings.nextTimeout(), this.#parts.held.nextTimeout()]);
  }

  #attemptDue(now: Instant): void {
    for (let next = this.#openings.take(now.ms); next; next = this.#openings.take(now.ms)) {
      this.#attempt(now, next);
    }
  }

  /**
   * It does not answer, or others say so, and no session with it lives: handshakes end, unless packets wait,
   * and it is left alone until its next turn. Else each of many that are gone together would be called for a
   * minute and a half whenever its turn comes.
   */
  #rest(now: Instant, slot: number): void {
    const { held, pathfinder, peers, swim } = this.#parts;
    const member = held.inSlot(slot);
    if (swim.eager || member === undefined || member.linked || pathfinder.seeks(slot)) return;
    this.#openings.cancel(member);
    peers.withdraw(member.peer);
    held.rest(now, member);
  }

  /** Where a session is wanted: at the next endpoint. */
  #attempt(now: Instant, member: Member): void {
    const { counters, pathfinder, peers, swim } = this.#parts;
    if (this.answers(member)) return;
    // What is left of a silent session is not led to where nobody is known to be.
    const endpoint = member.linked
      ? member.proven
      : (member.nextEndpoint() ?? pathfinder.relayWays(member, 1)[0]);
    if (endpoint === undefined) return; // it must come to us
    if (!sameEndpoint(member.peer.endpoint, endpoint)) {
      peers.setEndpoint(now, member.peer, endpoint);
    }
    member.attempts += 1;
    counters.session_attempts += 1;
    pathfinder.shakeHands(now, member);
    if (member.linked) return; // the handshake goes on by itself
    // Nobody has heard of a newcomer yet: the first few are introduced to it, and do not drop what it sends.
    if (swim.isNewcomer) this.dial(now, member.slot, member.identity, 0);
    else if (member.attempts > attempts.alone) this.dial(now, member.slot, member.identity);
    const most = swim.eager ? attempts.max : attempts.lazyMax;
    if (member.attempts < most) this.#openings.schedule(member, now.ms + attempts.intervalMs);
  }
}

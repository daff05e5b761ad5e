/**
 * Peers and sessions of a simulated node: the life cycle of WireGuard's (initiation, response,
 * confirmation by the first message, renewal after 120 s by who began it, the end after 180 s,
 * keepalives and new attempts where nobody answers) without its cryptography. What arrives was
 * sent by the node that it names, as Noise would prove; forging lower than this is left to the
 * engine's own tests. It stands where `mesh/peer-table.ts` and the data plane stand in a daemon.
 */
import type { Instant } from "../../src/base/clock.ts";
import { Deadlines } from "../../src/base/deadlines.ts";
import type { Endpoint } from "../../src/base/endpoint.ts";
import { Fifo } from "../../src/base/fifo.ts";
import type { PeerRef } from "../../src/mesh/dataplane.ts";
import type { Peer, PeerTableEvent } from "../../src/mesh/peer.ts";

export const initiationBytes = 148;
export const responseBytes = 92;
export const keepaliveBytes = 32;
const rekeyAfterMs = 120_000;
const rejectAfterMs = 180_000;
const retryMs = 5_000;
const giveUpMs = 90_000;
const noAnswerMs = 15_000;
const keepaliveMs = 10_000;
const strangersWaitingMax = 64;
const never = Number.POSITIVE_INFINITY;

export type PeerMessage = "initiation" | "response" | "message";

/** What a node sends to another's peer layer. */
export interface PeerOutput {
  send(to: Endpoint, kind: PeerMessage, session: number, bytes: Uint8Array | undefined): void;
  /** The peer of a member whose initiation came, by the identity that it proves. */
  peerOf(identity: Uint8Array): Peer | undefined;
}

class SimPeer implements Peer {
  readonly publicKey: Uint8Array;
  readonly ref: PeerRef;
  endpoint: Endpoint | undefined;
  readonly keepaliveSeconds = 0;
  readonly allowedIps = [];
  readonly presharedKey = undefined;
  lastHandshakeWallMs = 0;
  /** 0: none. */
  session = 0;
  previous = 0;
  next = 0;
  initiator = false;
  madeMs = 0;
  pending = 0;
  pendingSinceMs = 0;
  triedMs = Number.NEGATIVE_INFINITY;
  unansweredMs = never;
  keepaliveDueMs = never;
  /** In the heap; the true deadline may be later. */
  armedMs = never;

  constructor(publicKey: Uint8Array, ref: PeerRef) {
    this.publicKey = publicKey;
    this.ref = ref;
  }

  get sessionLive(): boolean {
    return this.session !== 0;
  }
}

export class SimPeers {
  readonly counters = { strangers: 0, sessions_unknown: 0, handshakes: 0, ended_early: 0 };
  readonly localPublicKey: Uint8Array;
  readonly #output: PeerOutput;
  readonly #slots: (SimPeer | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #sessions = new Map<number, SimPeer>();
  readonly #deadlines = new Deadlines<SimPeer>();
  readonly #events = new Fifo<PeerTableEvent>();
  #generation = 0;
  #nextSession: number;
  #strangersWaiting = 0;

  /** `firstSession`: session numbers of one node are not another's. */
  constructor(output: PeerOutput, localPublicKey: Uint8Array, firstSession: number) {
    this.#output = output;
    this.localPublicKey = localPublicKey;
    this.#nextSession = firstSession;
  }

  /** Whether the node has to hear something before what came with it. */
  get hasNews(): boolean {
    return this.#events.size > 0;
  }

  get sessionCount(): number {
    return this.#sessions.size;
  }

  /** The host has set it already. */
  setLocalKey(): void {
    // What it was made with.
  }

  addPeer(_now: Instant, publicKey: Uint8Array): Peer {
    const slot = this.#free.pop() ?? this.#slots.length;
    this.#generation += 1;
    const peer = new SimPeer(publicKey, { slot, generation: this.#generation });
    this.#slots[slot] = peer;
    return peer;
  }

  removePeer(_now: Instant, gone: Peer): void {
    const peer = gone as SimPeer;
    if (peer.session !== 0) this.counters.ended_early += 1;
    for (const id of [peer.session, peer.previous, peer.next, peer.pending]) this.#forget(id);
    this.#deadlines.set(peer, undefined);
    this.#slots[peer.ref.slot] = undefined;
    this.#free.push(peer.ref.slot);
  }

  find(): Peer | undefined {
    return undefined;
  }

  at(ref: PeerRef): Peer | undefined {
    const peer = this.#slots[ref.slot];
    return peer?.ref === ref ? peer : undefined;
  }

  setEndpoint(_now: Instant, peer: Peer, endpoint: Endpoint): void {
    (peer as SimPeer).endpoint = endpoint;
  }

  /** Nothing here moves by itself, and initiations go to one endpoint. */
  pin(): void {
    // A data plane's.
  }

  setFanout(): void {
    // A socket's.
  }

  initiate(now: Instant, wanted: Peer): void {
    const peer = wanted as SimPeer;
    if (peer.pending === 0) peer.pendingSinceMs = now.ms;
    this.#try(now, peer);
  }

  /** A control message for the peer; false where no session is there to carry it. */
  send(now: Instant, ref: PeerRef, bytes: Uint8Array): boolean {
    const peer = this.at(ref) as SimPeer | undefined;
    if (peer === undefined || peer.session === 0 || peer.endpoint === undefined) return false;
    peer.keepaliveDueMs = never;
    if (peer.unansweredMs === never) {
      peer.unansweredMs = now.ms;
      this.#arm(peer, now.ms + noAnswerMs);
    }
    this.#output.send(peer.endpoint, "message", peer.session, bytes);
    if (peer.initiator && now.ms - peer.madeMs >= rekeyAfterMs) this.initiate(now, peer);
    return true;
  }

  /** From whom it came is proven; `session` is the sender's word for it. */
  receiveInitiation(from: Endpoint, identity: Uint8Array, session: number): void {
    const peer = this.#output.peerOf(identity) as SimPeer | undefined;
    if (peer === undefined) {
      this.counters.strangers += 1;
      if (this.#strangersWaiting >= strangersWaitingMax) return;
      this.#strangersWaiting += 1;
      this.#events.push({ kind: "stranger", remote: from });
      return;
    }
    this.#forget(peer.next);
    peer.next = session;
    this.#sessions.set(session, peer);
    peer.endpoint = from;
    this.#output.send(from, "response", session, undefined);
  }

  receiveResponse(now: Instant, from: Endpoint, session: number): void {
    const peer = this.#sessions.get(session);
    if (peer === undefined || peer.pending !== session) {
      this.counters.sessions_unknown += 1;
      return;
    }
    peer.pending = 0;
    peer.endpoint = from;
    this.#install(now, peer, session, true);
    // The first message confirms the session to the other side.
    this.#output.send(from, "message", session, undefined);
  }

  /** Whose message it is; undefined where the session is not known, or it was only a keepalive. */
  receiveMessage(now: Instant, from: Endpoint, session: number, empty: boolean): Peer | undefined {
    const peer = this.#sessions.get(session);
    if (peer === undefined || peer.pending === session) {
      this.counters.sessions_unknown += 1;
      return undefined;
    }
    peer.endpoint = from;
    peer.unansweredMs = never;
    if (peer.next === session) {
      peer.next = 0;
      this.#install(now, peer, session, false);
    }
    if (empty) return undefined;
    if (peer.keepaliveDueMs === never) {
      peer.keepaliveDueMs = now.ms + keepaliveMs;
      this.#arm(peer, peer.keepaliveDueMs);
    }
    return peer;
  }

  handleTimeout(now: Instant): void {
    for (let peer = this.#deadlines.takeDue(now.ms); peer; peer = this.#deadlines.takeDue(now.ms)) {
      peer.armedMs = never;
      this.#due(now, peer);
    }
  }

  nextTimeout(): number | undefined {
    return this.#deadlines.next();
  }

  pollEvent(): PeerTableEvent | undefined {
    const event = this.#events.shift();
    if (event?.kind === "stranger") this.#strangersWaiting -= 1;
    return event;
  }

  pollCommand(): undefined {
    return undefined;
  }

  pollTransmit(): undefined {
    return undefined;
  }

  handleEvent(): void {
    // There is no data plane below.
  }

  handleDatagram(): void {
    // The host hands over what arrives by kind.
  }

  /** Compares with the very sums that are armed: a difference may round to just below its share. */
  #due(now: Instant, peer: SimPeer): void {
    if (peer.session !== 0 && now.ms >= peer.madeMs + rejectAfterMs) {
      this.#forget(peer.session);
      this.#forget(peer.previous);
      peer.session = 0;
      peer.previous = 0;
      peer.unansweredMs = never;
      peer.keepaliveDueMs = never;
      this.#events.push({ kind: "session_lost", peer });
    }
    if (peer.pending !== 0 && now.ms >= peer.triedMs + retryMs) {
      if (now.ms >= peer.pendingSinceMs + giveUpMs) {
        this.#forget(peer.pending);
        peer.pending = 0;
        this.#events.push({ kind: "handshake_failed", peer });
      } else {
        this.#try(now, peer);
      }
    }
    if (peer.session !== 0 && now.ms >= peer.unansweredMs + noAnswerMs) {
      peer.unansweredMs = never;
      this.initiate(now, peer);
    }
    if (now.ms >= peer.keepaliveDueMs && peer.endpoint !== undefined) {
      peer.keepaliveDueMs = never;
      if (peer.session !== 0) this.#output.send(peer.endpoint, "message", peer.session, undefined);
    }
    const next = Math.min(
      peer.session === 0 ? never : peer.madeMs + rejectAfterMs,
      peer.pending === 0 ? never : peer.triedMs + retryMs,
      peer.unansweredMs + noAnswerMs,
      peer.keepaliveDueMs,
    );
    if (next !== never) this.#arm(peer, next);
  }

  #try(now: Instant, peer: SimPeer): void {
    if (peer.endpoint === undefined || now.ms < peer.triedMs + retryMs) return;
    this.#forget(peer.pending);
    this.counters.handshakes += 1;
    peer.pending = this.#nextSession;
    this.#nextSession += 1;
    this.#sessions.set(peer.pending, peer);
    peer.triedMs = now.ms;
    this.#output.send(peer.endpoint, "initiation", peer.pending, undefined);
    this.#arm(peer, now.ms + retryMs);
  }

  #install(now: Instant, peer: SimPeer, session: number, initiator: boolean): void {
    this.#forget(peer.previous);
    peer.previous = peer.session;
    peer.session = session;
    peer.initiator = initiator;
    peer.madeMs = now.ms;
    peer.lastHandshakeWallMs = now.wallMs;
    peer.unansweredMs = never;
    this.#arm(peer, now.ms + rejectAfterMs);
    this.#events.push({ kind: "session_established", peer, initiator });
  }

  #forget(session: number): void {
    if (session !== 0) this.#sessions.delete(session);
  }

  #arm(peer: SimPeer, atMs: number): void {
    if (peer.armedMs <= atMs) return;
    peer.armedMs = atMs;
    this.#deadlines.set(peer, atMs);
  }
}

/**
 * Peers and sessions of a simulated node: the life cycle of WireGuard's (initiation, response,
 * confirmation by the first message, renewal after 120 s by who began it, the end after 180 s,
 * keepalives and new attempts where nobody answers) without its cryptography. What arrives was
 * sent by the node that it names, as Noise would prove; forging lower than this is left to the
 * engine's own tests. It stands where `mesh/peer-table.ts` and the data plane stand in a daemon.
 * With `paths` a member's endpoint moves as in zig/rx.zig; without it is where it was last heard.
 */
import type { Instant } from "../../src/base/clock.ts";
import { type Endpoint, sameEndpoint } from "../../src/base/endpoint.ts";
import { Fifo } from "../../src/base/fifo.ts";
import type { DataplaneEvent, PeerRef, Prefix } from "../../src/mesh/dataplane.ts";
import type { Peer, PeerTableEvent } from "../../src/mesh/peer.ts";
import type { Frame } from "./sim-relay.ts";
import { Waits } from "./sim-waits.ts";

const initiationBytes = 148;
const responseBytes = 92;
const keepaliveBytes = 32;
const rekeyAfterMs = 120_000;
const rejectAfterMs = 180_000;
const retryMs = 5_000;
const giveUpMs = 90_000;
const noAnswerMs = 15_000;
const keepaliveMs = 10_000;
/** Who began a session renews it before it ends, if something comes in it (WireGuard paper, 6.2). */
const renewOnReceiveMs = 165_000;
/** Of a path that members need kept open: the only interval that is asked for. */
const persistentMs = 25_000;
/** zig/constants.zig. */
const silentAfterMs = 700;
const pathHeardIntervalMs = 5_000;
const strangersWaitingMax = 64;
const never = Number.POSITIVE_INFINITY;

export type PeerMessage = "initiation" | "response" | "message";

const sessionOverhead = 32;

/** As WireGuard would send it: padded to 16 bytes, with header and tag. */
export function datagramBytes(kind: PeerMessage, bytes: Uint8Array | undefined): number {
  if (kind === "initiation") return initiationBytes;
  if (kind === "response") return responseBytes;
  if (bytes === undefined) return keepaliveBytes;
  return sessionOverhead + 16 * Math.ceil(bytes.length / 16);
}

/** What a node sends to another's peer layer. */
export interface PeerOutput {
  send(to: Endpoint, kind: PeerMessage, session: number, bytes: Uint8Array | undefined): void;
  /** To an address alone. */
  sendFrame(to: Endpoint, session: number, frame: Frame): void;
  /** The peer of a member whose initiation came, by the identity that it proves. */
  peerOf(identity: Uint8Array): Peer | undefined;
}

const nowhere: readonly Endpoint[] = [];
const nothing: readonly Prefix[] = [];

/** Its own reference: of sessions there are millions at once. */
class SimPeer implements Peer, PeerRef {
  readonly publicKey: Uint8Array;
  readonly slot: number;
  readonly generation: number;
  endpoint: Endpoint | undefined;
  keepaliveSeconds = 0;
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
  persistentDueMs = never;
  fanout = nowhere;
  /** Its newest initiation that was taken: an older one, or the same by another way, is a replay. */
  initiation = 0;
  /** Of what was heard from elsewhere, what the node was told of last. */
  other: Endpoint | undefined;
  otherToldMs = Number.NEGATIVE_INFINITY;
  silentDueMs = never;

  constructor(publicKey: Uint8Array, slot: number, generation: number) {
    this.publicKey = publicKey;
    this.slot = slot;
    this.generation = generation;
  }

  get ref(): PeerRef {
    return this;
  }

  get allowedIps(): readonly Prefix[] {
    return nothing;
  }

  get presharedKey(): undefined {
    return undefined;
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
  /** Each compares with the very sums that it was set with: a difference may round to just below. */
  readonly #ends = new Waits<SimPeer>(
    ({ session, madeMs }, atMs) => session !== 0 && madeMs + rejectAfterMs === atMs,
  );
  readonly #retries = new Waits<SimPeer>(
    ({ pending, triedMs }, atMs) => pending !== 0 && triedMs + retryMs === atMs,
  );
  readonly #answers = new Waits<SimPeer>(
    ({ unansweredMs }, atMs) => unansweredMs + noAnswerMs === atMs,
  );
  readonly #keepalives = new Waits<SimPeer>(({ keepaliveDueMs }, atMs) => keepaliveDueMs === atMs);
  readonly #persistents = new Waits<SimPeer>(
    ({ persistentDueMs }, atMs) => persistentDueMs === atMs,
  );
  readonly #silences = new Waits<SimPeer>(({ silentDueMs }, atMs) => silentDueMs === atMs);
  readonly #events = new Fifo<PeerTableEvent>();
  readonly #planeEvents = new Fifo<DataplaneEvent>();
  readonly #paths: boolean;
  #generation = 0;
  /** No later than the first of all waits: those that hold no longer are looked for when it has come. */
  #dueMs = never;
  #nextSession: number;
  #strangersWaiting = 0;

  /** `firstSession`: session numbers of one node are not another's. */
  constructor(
    output: PeerOutput,
    localPublicKey: Uint8Array,
    firstSession: number,
    paths: boolean,
  ) {
    this.#paths = paths;
    this.#output = output;
    this.localPublicKey = localPublicKey;
    this.#nextSession = firstSession;
  }

  /** Whether the node has to hear something before what came with it. */
  get hasNews(): boolean {
    return this.#events.size > 0 || this.#planeEvents.size > 0;
  }

  /** What the data plane says of itself. */
  pollPlaneEvent(): DataplaneEvent | undefined {
    return this.#planeEvents.shift();
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
    const peer = new SimPeer(publicKey, slot, this.#generation);
    this.#slots[slot] = peer;
    return peer;
  }

  /** Nothing of a peer outlives it here: no stamps are compared. */
  restPeer(now: Instant, gone: Peer): void {
    this.removePeer(now, gone);
  }

  isIdle(_now: Instant, peer: Peer): boolean {
    const { pending, session } = peer as SimPeer;
    return session === 0 && pending === 0;
  }

  removePeer(_now: Instant, gone: Peer): void {
    const peer = gone as SimPeer;
    if (peer.session !== 0) this.counters.ended_early += 1;
    for (const id of [peer.session, peer.previous, peer.next, peer.pending]) this.#forget(id);
    peer.session = 0;
    peer.pending = 0;
    peer.unansweredMs = never;
    peer.keepaliveDueMs = never;
    peer.persistentDueMs = never;
    peer.silentDueMs = never;
    this.#slots[peer.ref.slot] = undefined;
    this.#free.push(peer.ref.slot);
  }

  find(): Peer | undefined {
    return undefined;
  }

  at(ref: PeerRef): Peer | undefined {
    const peer = this.#slots[ref.slot];
    return peer?.generation === ref.generation ? peer : undefined;
  }

  setEndpoint(_now: Instant, peer: Peer, endpoint: Endpoint): void {
    (peer as SimPeer).endpoint = endpoint;
  }

  pin(): void {
    // All are members.
  }

  setFanout(peer: Peer, endpoints: readonly Endpoint[]): void {
    if (this.#paths) (peer as SimPeer).fanout = endpoints;
  }

  setKeepalive(now: Instant, wanted: Peer, seconds: number): void {
    const peer = wanted as SimPeer;
    peer.keepaliveSeconds = seconds;
    peer.persistentDueMs = seconds === 0 ? never : now.ms + persistentMs;
    if (seconds !== 0) this.#wait(this.#persistents, peer, peer.persistentDueMs);
  }

  initiate(now: Instant, wanted: Peer): void {
    const peer = wanted as SimPeer;
    if (peer.pending === 0) peer.pendingSinceMs = now.ms;
    this.#try(now, peer);
  }

  /** Packets wait for nobody here: what renews a session is all that goes on. */
  withdraw(wanted: Peer): void {
    const peer = wanted as SimPeer;
    if (peer.session !== 0) return;
    this.#forget(peer.pending);
    peer.pending = 0;
  }

  /** A control message for the peer, by a way if one is named; false where no session can carry it. */
  send(now: Instant, ref: PeerRef, bytes: Uint8Array, by?: Endpoint): boolean {
    const peer = this.at(ref) as SimPeer | undefined;
    const to = (this.#paths ? by : undefined) ?? peer?.endpoint;
    if (peer === undefined || peer.session === 0 || to === undefined) return false;
    // By a way that is named it goes beside the session's timers, as in zig/tx_ways.zig.
    if (!this.#paths || by === undefined) this.#sent(now, peer);
    this.#output.send(to, "message", peer.session, bytes);
    return true;
  }

  /** In the session with a peer that is at an address. */
  sendFrame(now: Instant, carrier: Peer, frame: Frame): boolean {
    const peer = carrier as SimPeer;
    const { endpoint, session } = peer;
    if (endpoint === undefined || endpoint.port === 0) return false;
    if (session === 0) {
      this.initiate(now, peer);
      return false;
    }
    // What is another's is no data of ours: nobody need answer it.
    peer.keepaliveDueMs = never;
    this.#renew(now, peer);
    this.#output.sendFrame(endpoint, session, frame);
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
    if (session <= peer.initiation) return;
    peer.initiation = session;
    this.#forget(peer.next);
    peer.next = session;
    this.#sessions.set(session, peer);
    if (!this.#paths) peer.endpoint = from;
    this.#output.send(from, "response", session, undefined);
  }

  receiveResponse(now: Instant, from: Endpoint, session: number): void {
    const peer = this.#sessions.get(session);
    if (peer === undefined || peer.pending !== session) {
      this.counters.sessions_unknown += 1;
      return;
    }
    peer.pending = 0;
    if (this.#paths) this.#settleAt(peer, from);
    else peer.endpoint = from;
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
    if (this.#paths) this.#learnPath(now, peer, from);
    else peer.endpoint = from;
    peer.unansweredMs = never;
    peer.silentDueMs = never;
    if (peer.next === session) {
      peer.next = 0;
      this.#install(now, peer, session, false);
    }
    const ageMs = now.ms - peer.madeMs;
    if (peer.initiator && peer.session === session && ageMs >= renewOnReceiveMs) {
      this.initiate(now, peer);
    }
    if (empty) return undefined;
    if (peer.keepaliveDueMs === never) {
      peer.keepaliveDueMs = now.ms + keepaliveMs;
      this.#wait(this.#keepalives, peer, peer.keepaliveDueMs);
    }
    return peer;
  }

  /** The host calls `tick` when that is due: most of what comes due here is no news to the node. */
  handleTimeout(): void {
    // See above.
  }

  nextTimeout(): undefined {
    return undefined;
  }

  /** When `tick` may have something to do; infinite where it has not. */
  dueMs(): number {
    return this.#dueMs;
  }

  #nextMs(): number {
    return Math.min(
      this.#ends.nextBy(never),
      this.#retries.nextBy(never),
      this.#answers.nextBy(never),
      this.#keepalives.nextBy(never),
      this.#persistents.nextBy(never),
      this.#silences.nextBy(never),
    );
  }

  tick(now: Instant): void {
    const { ms } = now;
    for (let it = this.#ends.takeDue(ms); it; it = this.#ends.takeDue(ms)) this.#end(it);
    for (let it = this.#retries.takeDue(ms); it; it = this.#retries.takeDue(ms)) {
      this.#retry(now, it);
    }
    for (let it = this.#answers.takeDue(ms); it; it = this.#answers.takeDue(ms)) {
      it.unansweredMs = never;
      if (it.session !== 0) this.initiate(now, it);
    }
    for (let it = this.#keepalives.takeDue(ms); it; it = this.#keepalives.takeDue(ms)) {
      it.keepaliveDueMs = never;
      const { session, endpoint } = it;
      if (session === 0 || endpoint === undefined) continue;
      this.#output.send(endpoint, "message", session, undefined);
    }
    for (let it = this.#persistents.takeDue(ms); it; it = this.#persistents.takeDue(ms)) {
      this.#keepOpen(now, it);
    }
    for (let it = this.#silences.takeDue(ms); it; it = this.#silences.takeDue(ms)) {
      it.silentDueMs = never;
      this.#planeEvents.push({ kind: "path_silent", peer: it.ref });
    }
    this.#dueMs = this.#nextMs();
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

  #wait(waits: Waits<SimPeer>, peer: SimPeer, atMs: number): void {
    waits.set(peer, atMs);
    if (atMs < this.#dueMs) this.#dueMs = atMs;
  }

  #keepOpen(now: Instant, peer: SimPeer): void {
    this.setKeepalive(now, peer, peer.keepaliveSeconds);
    if (peer.session === 0 || (peer.initiator && now.ms - peer.madeMs >= rekeyAfterMs)) {
      this.initiate(now, peer);
    }
    if (peer.session === 0 || peer.endpoint === undefined) return;
    this.#output.send(peer.endpoint, "message", peer.session, undefined);
  }

  #sent(now: Instant, peer: SimPeer): void {
    peer.keepaliveDueMs = never;
    if (peer.unansweredMs === never) {
      peer.unansweredMs = now.ms;
      this.#wait(this.#answers, peer, now.ms + noAnswerMs);
    }
    if (this.#paths && peer.silentDueMs === never) {
      peer.silentDueMs = now.ms + silentAfterMs;
      this.#wait(this.#silences, peer, peer.silentDueMs);
    }
    this.#renew(now, peer);
  }

  #renew(now: Instant, peer: SimPeer): void {
    if (peer.initiator && now.ms - peer.madeMs >= rekeyAfterMs) this.initiate(now, peer);
  }

  /** The answer to an initiation came from there: a peer that has a session stays where it is. */
  #settleAt(peer: SimPeer, from: Endpoint): void {
    if (sameEndpoint(peer.endpoint, from)) return;
    if (peer.session !== 0) {
      this.#events.push({ kind: "endpoint_heard", peer, remote: from });
      return;
    }
    this.#move(peer, from);
  }

  /** Something authentic came from there. */
  #learnPath(now: Instant, peer: SimPeer, from: Endpoint): void {
    if (sameEndpoint(peer.endpoint, from)) return;
    if (peer.session === 0) {
      this.#move(peer, from);
      return;
    }
    const isTold =
      sameEndpoint(peer.other, from) && now.ms - peer.otherToldMs < pathHeardIntervalMs;
    if (isTold) return;
    peer.other = from;
    peer.otherToldMs = now.ms;
    this.#planeEvents.push({ kind: "path_heard", peer: peer.ref, remote: from });
  }

  #move(peer: SimPeer, to: Endpoint): void {
    peer.endpoint = to;
    this.#events.push({ kind: "endpoint_changed", peer });
  }

  #end(peer: SimPeer): void {
    this.#forget(peer.session);
    this.#forget(peer.previous);
    peer.session = 0;
    peer.previous = 0;
    peer.unansweredMs = never;
    peer.keepaliveDueMs = never;
    this.#events.push({ kind: "session_lost", peer });
  }

  #retry(now: Instant, peer: SimPeer): void {
    if (now.ms < peer.pendingSinceMs + giveUpMs) {
      this.#try(now, peer);
      return;
    }
    this.#forget(peer.pending);
    peer.pending = 0;
    this.#events.push({ kind: "handshake_failed", peer });
  }

  #try(now: Instant, peer: SimPeer): void {
    if (peer.endpoint === undefined || now.ms < peer.triedMs + retryMs) return;
    this.#forget(peer.pending);
    this.counters.handshakes += 1;
    peer.pending = this.#nextSession;
    this.#nextSession += 1;
    this.#sessions.set(peer.pending, peer);
    peer.triedMs = now.ms;
    this.#wait(this.#retries, peer, now.ms + retryMs);
    this.#output.send(peer.endpoint, "initiation", peer.pending, undefined);
    for (const to of peer.fanout) {
      if (sameEndpoint(to, peer.endpoint)) continue;
      this.#output.send(to, "initiation", peer.pending, undefined);
    }
  }

  #install(now: Instant, peer: SimPeer, session: number, initiator: boolean): void {
    this.#forget(peer.previous);
    peer.previous = peer.session;
    peer.session = session;
    peer.initiator = initiator;
    peer.madeMs = now.ms;
    peer.lastHandshakeWallMs = now.wallMs;
    peer.unansweredMs = never;
    this.#wait(this.#ends, peer, now.ms + rejectAfterMs);
    this.#events.push({ kind: "session_established", peer, initiator });
  }

  #forget(session: number): void {
    if (session !== 0) this.#sessions.delete(session);
  }
}

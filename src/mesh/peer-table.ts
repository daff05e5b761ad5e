/**
 * WireGuard's control side, for the plain device and the mesh node alike: which peers there are,
 * their endpoints, allowed IPs and sessions, and whose each session index is. It alone allots slots
 * and generations of peers. It owns no socket and no clock: datagrams and events of the data plane
 * come in; commands, transmits and events go out, each in order. Commands go before transmits: a
 * keypair is installed before its response leaves. What the network sends is never an error here.
 */
import { formatKey } from "../base/base64.ts";
import { compareBytes, equalBytes } from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import type { NoiseCrypto, Secret } from "../base/crypto.ts";
import { Deadlines } from "../base/deadlines.ts";
import { type Endpoint, sameEndpoint } from "../base/endpoint.ts";
import { assert, MeshError } from "../base/errors.ts";
import { Fifo } from "../base/fifo.ts";
import type { Random } from "../base/random.ts";
import { openInitiation, releaseOpened, wireguardProtocol } from "../noise/handshake.ts";
import {
  decodeCookieReply,
  decodeInitiation,
  decodeResponse,
  initiationBytes,
  responseBytes,
} from "../noise/message.ts";
import {
  handshakeCounters,
  type LocalSide,
  Session,
  type SessionContext,
  type SessionStep,
  type Wish,
} from "../noise/session.ts";
import { SessionIndices } from "../noise/session-indices.ts";
import { StampMap } from "../noise/stamps.ts";
import { SentTimestamps } from "../noise/timestamp.ts";
import type {
  Command,
  DataplaneEvent,
  PeerRef,
  Prefix,
  ReceivedDatagram,
  Transmit,
} from "./dataplane.ts";
import type { HandshakeHistory, Peer, PeerTableCounters, PeerTableEvent } from "./peer.ts";
import { PeerSlots } from "./peer-slots.ts";
import { PrefixOwners } from "./prefix-owners.ts";
import { Prospects } from "./prospects.ts";

export type { HandshakeHistory, Peer, PeerTableCounters, PeerTableEvent } from "./peer.ts";

/** As many as the data plane's tables hold (zig/constants.zig). */
export const peersMax = 1 << 16;
/** Events of initiations from strangers that wait to be polled; more are only counted. */
export const strangersWaitingMax = 64;

/** Keys that are no peer's yet and may become one when they come. */
export interface Strangers {
  knows(publicKey: Uint8Array): boolean;
  /** Its initiation is authentic and new: `addPeer` is called before this returns. */
  admit(now: Instant, publicKey: Uint8Array): void;
}

/** The history is that of the first local key to be set. */
export interface PeerTableOptions extends HandshakeHistory {
  readonly crypto: NoiseCrypto;
  readonly random: Random;
  readonly peersMax?: number;
  /** Of the data plane; a power of two, 1 unless given. */
  readonly lanes?: number;
  /** Nobody unless given. */
  readonly strangers?: Strangers;
}

const nowhere: readonly Endpoint[] = [];

class PeerState implements Peer {
  readonly publicKey: Uint8Array;
  readonly name: string;
  /** Given when it becomes a peer: see prospects.ts. */
  ref!: PeerRef;
  readonly session: Session<PeerState>;
  endpoint: Endpoint | undefined;
  keepaliveSeconds = 0;
  lastHandshakeWallMs = 0;
  pinned = false;
  fanout: readonly Endpoint[] = nowhere;

  readonly #prefixes: PrefixOwners<PeerState>;

  constructor(
    context: SessionContext<PeerState>,
    prefixes: PrefixOwners<PeerState>,
    publicKey: Uint8Array,
  ) {
    this.#prefixes = prefixes;
    this.publicKey = publicKey;
    this.name = formatKey(publicKey);
    this.session = new Session(context, this, publicKey);
  }

  get allowedIps(): readonly Prefix[] {
    return this.#prefixes.of(this);
  }

  get presharedKey(): Secret | undefined {
    return this.session.presharedKey;
  }

  get sessionLive(): boolean {
    return this.session.live;
  }
}

/** What sessions share, with the one thing in it that changes. */
class Context implements SessionContext<PeerState> {
  readonly crypto: NoiseCrypto;
  readonly random: Random;
  readonly protocol;
  readonly indices: SessionIndices<PeerState>;
  readonly counters: PeerTableCounters;
  local: LocalSide | undefined;

  constructor({ crypto, random, lanes = 1 }: PeerTableOptions) {
    this.crypto = crypto;
    this.random = random;
    this.protocol = wireguardProtocol(crypto);
    const laneOf = (peer: PeerState): number => peer.ref.slot;
    this.indices = new SessionIndices(random, { count: lanes, laneOf });
    this.counters = {
      ...handshakeCounters(),
      messages_malformed: 0,
      strangers: 0,
      strangers_unreported: 0,
      indices_unknown: 0,
      no_local_key: 0,
      no_endpoint: 0,
    };
  }
}

export class PeerTable {
  readonly #context: Context;
  readonly #peersMax: number;
  readonly #peers = new Map<string, PeerState>();
  readonly #slots = new PeerSlots<PeerState>();
  readonly #prefixes = new PrefixOwners<PeerState>();
  readonly #deadlines = new Deadlines<PeerState>();
  readonly #commands = new Fifo<Command>();
  readonly #transmits = new Fifo<Transmit>();
  readonly #events = new Fifo<PeerTableEvent>();
  readonly #strangers: Strangers | undefined;
  readonly #prospects = new Prospects<PeerState>();
  /** From an earlier life, until the key that it belongs to is set. */
  #lastSent: Uint8Array | undefined;
  /** Of an earlier life, and of peers that rest. */
  #accepted = new StampMap();
  #strangersWaiting = 0;
  #timestampSent: Uint8Array | undefined;

  constructor(options: PeerTableOptions) {
    this.#context = new Context(options);
    this.#peersMax = options.peersMax ?? peersMax;
    this.#strangers = options.strangers;
    this.#restore(options);
  }

  get counters(): Readonly<PeerTableCounters> {
    return this.#context.counters;
  }

  get localPublicKey(): Uint8Array | undefined {
    return this.#context.local?.publicKey;
  }

  /** Session indices in use. */
  get indexCount(): number {
    return this.#context.indices.size;
  }

  /** Allowed IPs of all peers. */
  get prefixCount(): number {
    return this.#prefixes.size;
  }

  /**
   * Takes the key. The same key again changes nothing. Another one ends all sessions and removes
   * itself as a peer; `history` is what was kept under it, where it was used before.
   */
  setLocalKey(now: Instant, key: Secret | undefined, history?: HandshakeHistory): void {
    const { crypto, local } = this.#context;
    const publicKey = key === undefined ? undefined : crypto.publicKey(key);
    if (key !== undefined && local !== undefined && publicKey !== undefined) {
      if (equalBytes(publicKey, local.publicKey)) {
        crypto.release(key);
        return;
      }
    }
    for (const peer of this.#peers.values()) {
      this.#dropSession(peer);
      peer.session.reset();
      this.#schedule(peer);
    }
    this.#prospects.clear();
    if (local !== undefined) crypto.release(local.secret);
    this.#context.local = undefined;
    if (key !== undefined && publicKey !== undefined) {
      if (history !== undefined) this.#restore(history);
      const sent = new SentTimestamps(this.#lastSent);
      this.#lastSent = undefined;
      this.#context.local = { secret: key, publicKey, sent };
      for (const peer of this.#peers.values()) this.#restoreAccepted(peer);
    }
    this.#commands.push({ kind: "local_key_set", publicKey });
    const self = publicKey === undefined ? undefined : this.find(publicKey);
    if (self !== undefined) this.removePeer(now, self);
  }

  /**
   * The peer of that key, a new one if need be.
   * @throws MeshError peers_full; peer_is_self, for our own key can be no peer.
   */
  addPeer(_now: Instant, publicKey: Uint8Array): Peer {
    const known = this.find(publicKey);
    if (known !== undefined) return known;
    const { local } = this.#context;
    if (local !== undefined && equalBytes(local.publicKey, publicKey)) {
      throw new MeshError(
        "peer_is_self",
        "cannot add the peer",
        "its public key is this device's own",
        "remove it from the peers",
      );
    }
    if (this.#peers.size >= this.#peersMax) {
      throw new MeshError(
        "peers_full",
        "cannot add the peer",
        `there are ${this.#peersMax} peers already`,
        "remove a peer first",
      );
    }
    const made = this.#prospects.take(formatKey(publicKey)) ?? this.#make(publicKey);
    const peer = this.#slots.put((ref) => {
      made.ref = ref;
      return made;
    });
    this.#peers.set(peer.name, peer);
    this.#commands.push({ kind: "peer_add", peer: peer.ref, publicKey: peer.publicKey });
    return peer;
  }

  #make(publicKey: Uint8Array): PeerState {
    const made = new PeerState(this.#context, this.#prefixes, publicKey.slice());
    this.#restoreAccepted(made);
    return made;
  }

  /** Releases all that is the peer's; the largest stamp accepted from it is forgotten too. */
  removePeer(now: Instant, peer: Peer): void {
    this.restPeer(now, peer);
    this.#accepted.delete(formatKey(peer.publicKey));
  }

  /** Whether no handshake is under way with it, and no session usable or about to be. */
  isIdle(now: Instant, peer: Peer): boolean {
    return this.#state(peer).session.isIdle(now);
  }

  /** As if it were removed, but what was accepted from it stays accepted: it may come again. */
  restPeer(_now: Instant, peer: Peer): void {
    const state = this.#state(peer);
    const { accepted } = state.session;
    if (accepted !== undefined) this.#accepted.set(state.name, accepted);
    state.session.close();
    this.#deadlines.set(state, undefined);
    this.#prefixes.clear(state);
    this.#peers.delete(state.name);
    this.#slots.remove(state);
    this.#transmits.retain((transmit) => transmit.peer !== state.ref);
    this.#commands.push({ kind: "peer_remove", peer: state.ref });
  }

  peers(): Iterable<Peer> {
    return this.#peers.values();
  }

  find(publicKey: Uint8Array): Peer | undefined {
    return this.#peers.get(formatKey(publicKey));
  }

  /** The peer that the reference names, unless its slot has passed to another since. */
  at(ref: PeerRef): Peer | undefined {
    return this.#slots.at(ref);
  }

  /** Takes the secret; the next handshake mixes it in. */
  setPresharedKey(peer: Peer, secret: Secret | undefined): void {
    this.#state(peer).session.setPresharedKey(secret);
  }

  setEndpoint(_now: Instant, peer: Peer, endpoint: Endpoint): void {
    const state = this.#state(peer);
    state.endpoint = endpoint;
    this.#clearSource(state, endpoint);
  }

  /** From now on a handshake does not move it while it has a session; its owner is told instead. */
  pin(peer: Peer): void {
    this.#state(peer).pinned = true;
  }

  /** Where else its initiations go: the first that arrives counts, the others are replays. */
  setFanout(peer: Peer, endpoints: readonly Endpoint[]): void {
    this.#state(peer).fanout = endpoints;
  }

  setKeepalive(_now: Instant, peer: Peer, seconds: number): void {
    assert(Number.isInteger(seconds) && seconds >= 0 && seconds <= 65535, "keepalive is a u16");
    const state = this.#state(peer);
    state.keepaliveSeconds = seconds;
    this.#commands.push({ kind: "peer_keepalive_set", peer: state.ref, seconds });
  }

  /**
   * A prefix that another peer holds moves.
   * @throws MeshError prefixes_full
   */
  allowIp(peer: Peer, prefix: Prefix): void {
    const state = this.#state(peer);
    if (!this.#prefixes.give(state, prefix)) return;
    this.#commands.push({ kind: "allowed_ip_add", peer: state.ref, prefix });
  }

  disallowIp(peer: Peer, prefix: Prefix): void {
    const state = this.#state(peer);
    if (!this.#prefixes.take(state, prefix)) return;
    this.#commands.push({ kind: "allowed_ip_remove", peer: state.ref, prefix });
  }

  clearAllowedIps(peer: Peer): void {
    const state = this.#state(peer);
    if (!this.#prefixes.clear(state)) return;
    this.#commands.push({ kind: "allowed_ips_clear", peer: state.ref });
  }

  /** Opens a session, or renews one, although no packet waits; again within 5 s is postponed. */
  initiate(now: Instant, peer: Peer): void {
    this.#want(now, this.#state(peer), "asked");
  }

  /** Takes back what `initiate` asked for: the handshake ends, unless packets wait for it too. */
  withdraw(peer: Peer): void {
    const state = this.#state(peer);
    state.session.withdraw();
    this.#schedule(state);
  }

  handleEvent(now: Instant, event: DataplaneEvent): void {
    switch (event.kind) {
      case "handshake_wanted":
      case "keypair_confirmed":
      case "session_expired":
      case "endpoint_roamed": {
        const peer = this.#slots.at(event.peer);
        // An event may be older than the removal of its peer.
        if (peer !== undefined) this.#handlePeerEvent(now, peer, event);
        return;
      }
      default:
        return; // the device's own; not about peers
    }
  }

  /** Initiations, responses and cookie replies that passed the gate; other kinds are not for it. */
  handleDatagram(now: Instant, datagram: ReceivedDatagram): void {
    switch (datagram.kind) {
      case "initiation":
        this.#handleInitiation(now, datagram);
        return;
      case "response":
        this.#handleResponse(now, datagram);
        return;
      case "cookie_reply":
        this.#handleCookieReply(now, datagram);
        return;
      default:
        return;
    }
  }

  handleTimeout(now: Instant): void {
    for (;;) {
      const peer = this.#deadlines.takeDue(now.ms);
      if (peer === undefined) return;
      const step = peer.session.handleTimeout(now);
      if (step !== undefined) this.#take(now, peer, step);
      this.#schedule(peer);
    }
  }

  nextTimeout(): number | undefined {
    return this.#deadlines.next();
  }

  pollCommand(): Command | undefined {
    return this.#commands.shift();
  }

  pollTransmit(): Transmit | undefined {
    return this.#transmits.shift();
  }

  pollEvent(): PeerTableEvent | undefined {
    if (this.#timestampSent !== undefined) {
      const tai64n = this.#timestampSent;
      this.#timestampSent = undefined;
      return { kind: "timestamp_sent", tai64n };
    }
    const event = this.#events.shift();
    if (event?.kind === "stranger") this.#strangersWaiting -= 1;
    return event;
  }

  #handlePeerEvent(
    now: Instant,
    peer: PeerState,
    event: Extract<DataplaneEvent, { readonly peer: PeerRef }>,
  ): void {
    switch (event.kind) {
      case "handshake_wanted":
        this.#want(now, peer, event.reason);
        return;
      case "keypair_confirmed":
        if (peer.session.confirm(now, event.localIndex)) this.#established(now, peer, false);
        return;
      case "session_expired":
        this.#dropSession(peer);
        this.#schedule(peer);
        return;
      case "endpoint_roamed":
        this.#roam(peer, event.remote);
        return;
    }
  }

  #want(now: Instant, peer: PeerState, wish: Wish): void {
    const { counters, local } = this.#context;
    if (local === undefined) {
      counters.no_local_key += 1;
    } else if (peer.endpoint === undefined) {
      counters.no_endpoint += 1;
    } else {
      const step = peer.session.want(now, wish);
      if (step !== undefined) this.#take(now, peer, step);
      this.#schedule(peer);
    }
  }

  #handleInitiation(now: Instant, datagram: ReceivedDatagram): void {
    const { crypto, protocol, counters, local } = this.#context;
    const message = decodeInitiation(datagram.bytes);
    if (message === undefined) {
      counters.messages_malformed += 1;
      return;
    }
    if (local === undefined) {
      counters.no_local_key += 1;
      return;
    }
    const opened = openInitiation(crypto, protocol, local, message.ephemeral, message.sealedStatic);
    if (opened === undefined) {
      counters.initiations_not_authentic += 1;
      return;
    }
    const known = this.#peers.get(formatKey(opened.remotePublicKey));
    const peer = known ?? this.#prospect(opened.remotePublicKey);
    if (peer === undefined) {
      releaseOpened(crypto, opened);
      this.#meetStranger(datagram.remote);
      return;
    }
    const consumed = peer.session.openInitiation(now, opened, message);
    if (consumed === undefined) return;
    // From here on it is whose key it names.
    if (known === undefined) this.#strangers?.admit(now, peer.publicKey);
    assert(this.#peers.get(peer.name) === peer, "whoever is known is admitted");
    const step = peer.session.respond(now, consumed, message.sender);
    if (step === undefined) return;
    // It is answered where it came from, but the peer is there for us only once it has confirmed:
    // an old initiation that somebody replays at a node that forgot it moves nothing.
    this.#countReceived(peer, initiationBytes);
    this.#take(now, peer, step, datagram);
    this.#schedule(peer);
  }

  /** Of a key that may become a peer: its claim is proved, at what it costs once, before it does. */
  #prospect(publicKey: Uint8Array): PeerState | undefined {
    if (this.#strangers?.knows(publicKey) !== true) return undefined;
    const known = this.#prospects.find(formatKey(publicKey));
    if (known !== undefined) return known;
    const made = this.#make(publicKey);
    this.#prospects.add(made);
    return made;
  }

  #handleResponse(now: Instant, datagram: ReceivedDatagram): void {
    const { counters, indices } = this.#context;
    const message = decodeResponse(datagram.bytes);
    if (message === undefined) {
      counters.messages_malformed += 1;
      return;
    }
    const peer = indices.find(message.receiver);
    if (peer === undefined) {
      counters.indices_unknown += 1;
      return;
    }
    const wasLive = peer.session.live;
    const step = peer.session.consumeResponse(now, message);
    if (step === undefined) return;
    this.#countReceived(peer, responseBytes);
    this.#settleAt(peer, datagram, wasLive);
    this.#take(now, peer, step);
    this.#schedule(peer);
  }

  #handleCookieReply(now: Instant, datagram: ReceivedDatagram): void {
    const { counters, indices } = this.#context;
    const message = decodeCookieReply(datagram.bytes);
    if (message === undefined) {
      counters.messages_malformed += 1;
      return;
    }
    const peer = indices.find(message.receiver);
    if (peer === undefined) {
      counters.indices_unknown += 1;
      return;
    }
    const step = peer.session.consumeCookieReply(now, message);
    if (step !== undefined) this.#take(now, peer, step);
    this.#schedule(peer);
  }

  /** Carries out what a session asks; `from` is the datagram that a reply answers. */
  #take(now: Instant, peer: PeerState, step: SessionStep, from?: ReceivedDatagram): void {
    switch (step.kind) {
      case "initiation":
        if (step.tai64n !== undefined) this.#timestampSent = step.tai64n;
        assert(peer.endpoint !== undefined, "initiations need an endpoint");
        // Perhaps there is no way from the address that the peer knew: data gives it up as well
        // (kernel `timers.c`, wg_expired_retransmit_handshake). Initiations never insist on one.
        if (step.retry === true) this.#clearSource(peer, peer.endpoint);
        this.#transmit(peer, peer.endpoint, undefined, step.bytes);
        for (const endpoint of peer.fanout) {
          if (sameEndpoint(endpoint, peer.endpoint)) continue;
          this.#transmit(peer, endpoint, undefined, step.bytes);
        }
        return;
      case "keypair":
        this.#installKeypair(now, peer, step);
        if (step.reply !== undefined && from !== undefined) {
          this.#transmit(peer, from.remote, from.local, step.reply);
        }
        return;
      case "gave_up":
        this.#commands.push({ kind: "staged_drop", peer: peer.ref });
        this.#events.push({ kind: "handshake_failed", peer });
        return;
      case "expired":
        this.#events.push({ kind: "session_lost", peer });
        return;
    }
  }

  #installKeypair(
    now: Instant,
    peer: PeerState,
    step: Extract<SessionStep, { readonly kind: "keypair" }>,
  ): void {
    const { initiator, send, receive, localIndex, remoteIndex, tai64n } = step;
    this.#commands.push({
      kind: "keypair_install",
      peer: peer.ref,
      initiator,
      send,
      receive,
      localIndex,
      remoteIndex,
    });
    if (tai64n !== undefined) {
      this.#events.push({ kind: "timestamp_accepted", publicKey: peer.publicKey, tai64n });
    }
    if (initiator) this.#established(now, peer, true);
  }

  #established(now: Instant, peer: PeerState, initiator: boolean): void {
    peer.lastHandshakeWallMs = now.wallMs;
    this.#events.push({ kind: "session_established", peer, initiator });
    this.#schedule(peer);
  }

  /** An authentic handshake message of so many bytes came from the peer. */
  #countReceived(peer: PeerState, bytes: number): void {
    this.#commands.push({ kind: "handshake_received", peer: peer.ref, bytes });
  }

  /** The answer to our initiation came from there. */
  #settleAt(peer: PeerState, datagram: ReceivedDatagram, wasLive: boolean): void {
    const { remote, local } = datagram;
    if (peer.pinned && wasLive && !sameEndpoint(peer.endpoint, remote)) {
      this.#events.push({ kind: "endpoint_heard", peer, remote });
      return;
    }
    const base = { kind: "peer_endpoint_set", peer: peer.ref, remote } as const;
    this.#commands.push(local === undefined ? base : { ...base, local });
    this.#roam(peer, remote);
  }

  #clearSource(peer: PeerState, remote: Endpoint): void {
    this.#commands.push({ kind: "peer_endpoint_set", peer: peer.ref, remote });
  }

  #roam(peer: PeerState, remote: Endpoint): void {
    if (sameEndpoint(peer.endpoint, remote)) return;
    peer.endpoint = remote;
    this.#events.push({ kind: "endpoint_changed", peer });
  }

  #meetStranger(remote: Endpoint): void {
    const { counters } = this.#context;
    counters.strangers += 1;
    if (this.#strangersWaiting >= strangersWaitingMax) {
      counters.strangers_unreported += 1;
      return;
    }
    this.#strangersWaiting += 1;
    this.#events.push({ kind: "stranger", remote });
  }

  #transmit(peer: PeerState, to: Endpoint, from: Endpoint | undefined, bytes: Uint8Array): void {
    const base = { kind: "datagram", to, bytes, peer: peer.ref } as const;
    this.#transmits.push(from === undefined ? base : { ...base, from });
  }

  #dropSession(peer: PeerState): void {
    const { session } = peer;
    if (!session.keypairs.empty) this.#commands.push({ kind: "keypairs_drop", peer: peer.ref });
    if (session.live) this.#events.push({ kind: "session_lost", peer });
    session.dropKeypairs();
  }

  #schedule(peer: PeerState): void {
    this.#deadlines.set(peer, peer.session.nextTimeout());
  }

  #state(peer: Peer): PeerState {
    const state = this.#slots.at(peer.ref);
    assert(state === peer, "a peer of this table that was not removed");
    return state;
  }

  /** The largest stamp counts, whether heard in this life or an earlier one. */
  #restoreAccepted(peer: PeerState): void {
    const kept = this.#accepted.get(peer.name);
    const { session } = peer;
    if (kept === undefined) return;
    if (session.accepted === undefined || compareBytes(kept, session.accepted) > 0) {
      session.accepted = kept;
    }
  }

  #restore({ lastSent, accepted }: HandshakeHistory): void {
    this.#lastSent = lastSent;
    this.#accepted = new StampMap(accepted);
  }
}

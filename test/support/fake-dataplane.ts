/**
 * The data plane in memory, for tests of the control plane: the commands and events of
 * `mesh/dataplane.ts`, WireGuard's three keypair slots, staging, keepalives and timers, the gate's
 * MACs and cookies. It seals for real, so two ends agree on keys or nothing arrives. Time is an
 * argument; what would go to the socket is polled.
 */
import { Reader, Writer } from "../../src/base/bytes.ts";
import type { Instant } from "../../src/base/clock.ts";
import type { NoiseCrypto, Secret } from "../../src/base/crypto.ts";
import { type Endpoint, sameEndpoint } from "../../src/base/endpoint.ts";
import { assert } from "../../src/base/errors.ts";
import { Fifo } from "../../src/base/fifo.ts";
import { formatPrefix } from "../../src/base/ip.ts";
import type {
  Command,
  DataplaneEvent,
  HandshakeReason,
  PeerRef,
  ReceivedDatagram,
  Transmit,
} from "../../src/mesh/dataplane.ts";
import { FakeGate } from "./fake-gate.ts";

const rekeyAfterMs = 120_000;
const rekeyOnReceiveMs = 165_000;
const rejectAfterMs = 180_000;
const wipeAfterMs = 540_000;
const keepaliveMs = 10_000;
const noAnswerMs = 15_000;
const wantedEveryMs = 1_000;
const stagedMax = 128;
const transportOverhead = 32;
const typeTransport = 4;
const typeIntroduction = 0x3169766d;
const introductionBytes = 1200;
const empty = new Uint8Array(0);

interface Keypair {
  readonly send: Secret;
  readonly receive: Secret;
  readonly localIndex: number;
  readonly remoteIndex: number;
  readonly initiator: boolean;
  readonly installedMs: number;
  readonly seen: Set<number>;
  sendCounter: number;
  lastMinuteAsked: boolean;
}

class FakePeer {
  readonly ref: PeerRef;
  readonly publicKey: Uint8Array;
  readonly allowedIps = new Set<string>();
  readonly staged: Uint8Array[] = [];
  endpoint: Endpoint | undefined;
  keepaliveMs = 0;
  previous: Keypair | undefined;
  current: Keypair | undefined;
  next: Keypair | undefined;
  wantedMs = Number.NEGATIVE_INFINITY;
  keepaliveDueMs: number | undefined;
  noAnswerDueMs: number | undefined;
  persistentDueMs: number | undefined;
  wipeDueMs: number | undefined;
  receivedBytes = 0;
  stagedDropped = 0;

  constructor(ref: PeerRef, publicKey: Uint8Array) {
    this.ref = ref;
    this.publicKey = publicKey;
  }
}

export interface InnerPacket {
  readonly peer: PeerRef;
  readonly bytes: Uint8Array;
}

export interface Outgoing {
  readonly to: Endpoint;
  readonly from: Endpoint | undefined;
  readonly bytes: Uint8Array;
}

export class FakeDataplane {
  readonly gate: FakeGate;
  /** Sealed packets that did not open, were replayed, too old, or named no session. */
  refused = 0;
  readonly #crypto: NoiseCrypto;
  readonly #peers = new Map<number, FakePeer>();
  readonly #sessions = new Map<number, { readonly peer: FakePeer; readonly keypair: Keypair }>();
  readonly #events = new Fifo<DataplaneEvent>();
  readonly #datagrams = new Fifo<ReceivedDatagram>();
  readonly #outgoing = new Fifo<Outgoing>();
  readonly #packets = new Fifo<InnerPacket>();
  /** Packets for addresses that no peer holds. */
  readonly #awaited = new Map<string, Uint8Array[]>();
  unreachable = 0;

  constructor(crypto: NoiseCrypto) {
    this.#crypto = crypto;
    this.gate = new FakeGate(crypto);
  }

  apply(now: Instant, command: Command): void {
    switch (command.kind) {
      case "local_key_set":
        this.gate.setLocalKey(command.publicKey);
        return;
      case "peer_add":
        assert(!this.#peers.has(command.peer.slot), "the slot is free");
        this.#peers.set(command.peer.slot, new FakePeer(command.peer, command.publicKey));
        return;
      case "peer_remove":
      case "peer_endpoint_set":
      case "handshake_received":
      case "peer_keepalive_set":
      case "allowed_ip_add":
      case "allowed_ip_remove":
      case "allowed_ips_clear":
      case "keypair_install":
      case "keypairs_drop":
      case "staged_drop":
        this.#applyToPeer(now, this.#peer(command.peer), command);
        return;
      case "destination_refuse":
        this.unreachable += this.#awaited.get(command.prefix.address)?.length ?? 0;
        this.#awaited.delete(command.prefix.address);
        return;
      default:
        return; // the interface's own; nothing to imitate
    }
  }

  /** A packet from the interface to an address of the mesh: its peer's, or it waits for one. */
  sendTo(now: Instant, address: string, bytes: Uint8Array): void {
    const prefix = formatPrefix({ address, bits: address.includes(":") ? 128 : 32 });
    for (const peer of this.#peers.values()) {
      if (peer.allowedIps.has(prefix)) {
        this.sendPacket(now, peer.ref, bytes);
        return;
      }
    }
    const waiting = this.#awaited.get(address) ?? [];
    if (waiting.length === 0) this.#events.push({ kind: "destination_wanted", address });
    this.#awaited.set(address, [...waiting, bytes]);
  }

  /** A packet from the interface for that peer: sealed, or staged while there is no keypair. */
  sendPacket(now: Instant, peer: PeerRef, bytes: Uint8Array): void {
    const state = this.#peer(peer);
    if (this.#seal(now, state, bytes)) {
      state.noAnswerDueMs ??= now.ms + noAnswerMs;
      return;
    }
    state.staged.push(bytes);
    if (state.staged.length > stagedMax) {
      state.staged.shift();
      state.stagedDropped += 1;
    }
    this.#want(now, state, "no_keypair");
  }

  /** What the control plane transmits. */
  send(now: Instant, transmit: Transmit): void {
    if (transmit.kind === "session_message") {
      const state = this.#peers.get(transmit.peer.slot);
      // As in the library: a peer that was removed meanwhile is counted there, and nothing more.
      if (state?.ref.generation === transmit.peer.generation) {
        this.sendPacket(now, state.ref, transmit.bytes);
      }
      return;
    }
    this.#outgoing.push({ to: transmit.to, from: transmit.from, bytes: transmit.bytes });
  }

  receiveDatagram(now: Instant, remote: Endpoint, bytes: Uint8Array, local?: Endpoint): void {
    const type = new Reader(bytes).u32();
    const base = local === undefined ? { bytes, remote } : { bytes, remote, local };
    if (type === 1 && bytes.length === 148) {
      if (this.#passes(now, base)) this.#datagrams.push({ kind: "initiation", ...base });
    } else if (type === 2 && bytes.length === 92) {
      if (this.#passes(now, base)) this.#datagrams.push({ kind: "response", ...base });
    } else if (type === 3 && bytes.length === 64) {
      this.#datagrams.push({ kind: "cookie_reply", ...base });
    } else if (type === typeTransport && bytes.length >= transportOverhead) {
      this.#open(now, remote, bytes);
    } else if (type === typeIntroduction && bytes.length === introductionBytes) {
      this.#datagrams.push({ kind: "introduction", ...base });
    } else {
      this.refused += 1;
    }
  }

  handleTimeout(now: Instant): void {
    for (const peer of this.#peers.values()) {
      if (isDue(peer.keepaliveDueMs, now)) {
        peer.keepaliveDueMs = undefined;
        this.#seal(now, peer, empty);
      }
      if (isDue(peer.noAnswerDueMs, now)) {
        peer.noAnswerDueMs = undefined;
        this.#want(now, peer, "no_answer");
      }
      if (isDue(peer.persistentDueMs, now)) {
        peer.persistentDueMs = now.ms + peer.keepaliveMs;
        if (!this.#seal(now, peer, empty)) this.#want(now, peer, "persistent_keepalive");
      }
      if (isDue(peer.wipeDueMs, now)) {
        peer.wipeDueMs = undefined;
        this.#events.push({ kind: "session_expired", peer: peer.ref });
      }
    }
  }

  nextTimeout(): number | undefined {
    let next = Number.POSITIVE_INFINITY;
    for (const peer of this.#peers.values()) {
      const { keepaliveDueMs, noAnswerDueMs, persistentDueMs, wipeDueMs } = peer;
      for (const due of [keepaliveDueMs, noAnswerDueMs, persistentDueMs, wipeDueMs]) {
        if (due !== undefined && due < next) next = due;
      }
    }
    return next === Number.POSITIVE_INFINITY ? undefined : next;
  }

  /** Whether events wait. */
  get eventful(): boolean {
    return this.#events.size > 0;
  }

  pollEvent(): DataplaneEvent | undefined {
    return this.#events.shift();
  }

  pollDatagram(): ReceivedDatagram | undefined {
    return this.#datagrams.shift();
  }

  /** For the network. */
  pollOutgoing(): Outgoing | undefined {
    return this.#outgoing.shift();
  }

  /** An inner packet that arrived, for the interface. */
  pollPacket(): InnerPacket | undefined {
    return this.#packets.shift();
  }

  /** Session indices held, over all peers. */
  get sessionCount(): number {
    return this.#sessions.size;
  }

  /** The peer as this side sees it, for assertions. */
  inspect(peer: PeerRef): Readonly<FakePeer> {
    return this.#peer(peer);
  }

  /** Wipes everything, as closing a device does. */
  close(): void {
    for (const peer of this.#peers.values()) this.#dropKeypairs(peer);
    this.#peers.clear();
  }

  #applyToPeer(
    now: Instant,
    peer: FakePeer,
    command: Extract<Command, { readonly peer: PeerRef }>,
  ): void {
    switch (command.kind) {
      case "peer_remove":
        this.#dropKeypairs(peer);
        this.#peers.delete(peer.ref.slot);
        return;
      case "peer_endpoint_set":
        peer.endpoint = command.remote;
        return;
      case "handshake_received":
        peer.receivedBytes += command.bytes;
        return;
      case "peer_keepalive_set":
        peer.keepaliveMs = command.seconds * 1000;
        peer.persistentDueMs = command.seconds === 0 ? undefined : now.ms;
        return;
      case "allowed_ip_add":
        for (const other of this.#peers.values()) {
          other.allowedIps.delete(formatPrefix(command.prefix));
        }
        peer.allowedIps.add(formatPrefix(command.prefix));
        for (const bytes of this.#awaited.get(command.prefix.address) ?? []) {
          this.sendPacket(now, peer.ref, bytes);
        }
        this.#awaited.delete(command.prefix.address);
        return;
      case "allowed_ip_remove":
        peer.allowedIps.delete(formatPrefix(command.prefix));
        return;
      case "allowed_ips_clear":
        peer.allowedIps.clear();
        return;
      case "keypairs_drop":
        this.#dropKeypairs(peer);
        return;
      case "staged_drop":
        peer.stagedDropped += peer.staged.length;
        peer.staged.length = 0;
        return;
      case "keypair_install":
        this.#install(now, peer, command);
        return;
      case "peer_add":
        return;
    }
  }

  /** WireGuard's slots: kernel `noise.c`, add_new_keypair. */
  #install(
    now: Instant,
    peer: FakePeer,
    command: Extract<Command, { readonly kind: "keypair_install" }>,
  ): void {
    const { send, receive, localIndex, remoteIndex, initiator } = command;
    const keypair: Keypair = {
      send,
      receive,
      localIndex,
      remoteIndex,
      initiator,
      installedMs: now.ms,
      seen: new Set(),
      sendCounter: 0,
      lastMinuteAsked: false,
    };
    assert(!this.#sessions.has(localIndex), "a session index is unique");
    this.#sessions.set(localIndex, { peer, keypair });
    this.#drop(peer.previous);
    if (initiator) {
      if (peer.next === undefined) {
        peer.previous = peer.current;
      } else {
        this.#drop(peer.current);
        peer.previous = peer.next;
        peer.next = undefined;
      }
      peer.current = keypair;
    } else {
      peer.previous = undefined;
      this.#drop(peer.next);
      peer.next = keypair;
    }
    peer.wantedMs = Number.NEGATIVE_INFINITY;
    peer.wipeDueMs = now.ms + wipeAfterMs;
    // The responder may not use it before our first packet: send one at once.
    if (initiator && !this.#flush(now, peer)) this.#seal(now, peer, empty);
  }

  #open(now: Instant, remote: Endpoint, bytes: Uint8Array): void {
    const reader = new Reader(bytes.subarray(4));
    const session = this.#sessions.get(reader.u32() ?? 0);
    const counter = Number(reader.u64());
    if (session === undefined || now.ms - session.keypair.installedMs >= rejectAfterMs) {
      this.refused += 1;
      return;
    }
    const { peer, keypair } = session;
    const text = this.#crypto.open(keypair.receive, counter, empty, reader.rest());
    if (text === undefined || keypair.seen.has(counter)) {
      this.refused += 1;
      return;
    }
    keypair.seen.add(counter);
    if (!sameEndpoint(peer.endpoint, remote)) {
      peer.endpoint = remote;
      this.#events.push({ kind: "endpoint_roamed", peer: peer.ref, remote });
    }
    if (keypair === peer.next) {
      this.#drop(peer.previous);
      peer.previous = peer.current;
      peer.current = keypair;
      peer.next = undefined;
      const { localIndex } = keypair;
      this.#events.push({ kind: "keypair_confirmed", peer: peer.ref, localIndex });
      this.#flush(now, peer);
    }
    peer.noAnswerDueMs = undefined;
    this.#keepFreshOnReceive(now, peer);
    if (text.length > 0) this.#hand(now, peer, remote, text);
  }

  #hand(now: Instant, peer: FakePeer, remote: Endpoint, text: Uint8Array): void {
    peer.keepaliveDueMs ??= now.ms + keepaliveMs;
    if ((text[0] as number) >> 4 !== 0) {
      this.#packets.push({ peer: peer.ref, bytes: text });
      return;
    }
    // A control message: type, flags, length of the whole.
    const length = new Reader(text.subarray(2)).u16() ?? 0;
    if (length < 4 || length > text.length) {
      this.refused += 1;
      return;
    }
    const bytes = text.slice(0, length);
    this.#datagrams.push({ kind: "session_message", bytes, remote, peer: peer.ref });
  }

  /** Whether there was a keypair to seal with. Without an endpoint, what is sealed goes nowhere. */
  #seal(now: Instant, peer: FakePeer, text: Uint8Array): boolean {
    const keypair = peer.current;
    if (keypair === undefined || now.ms - keypair.installedMs >= rejectAfterMs) return false;
    const counter = keypair.sendCounter;
    keypair.sendCounter += 1;
    const bytes = new Writer(transportOverhead + text.length)
      .u32(typeTransport)
      .u32(keypair.remoteIndex)
      .u64(BigInt(counter))
      .bytes(this.#crypto.seal(keypair.send, counter, empty, text))
      .finish();
    if (peer.endpoint !== undefined) {
      this.#outgoing.push({ to: peer.endpoint, from: undefined, bytes });
    }
    peer.keepaliveDueMs = undefined;
    if (peer.keepaliveMs > 0) peer.persistentDueMs = now.ms + peer.keepaliveMs;
    this.#keepFreshOnSend(now, peer);
    return true;
  }

  /** Whether anything was staged. */
  #flush(now: Instant, peer: FakePeer): boolean {
    const staged = peer.staged.splice(0);
    for (const bytes of staged) this.sendPacket(now, peer.ref, bytes);
    return staged.length > 0;
  }

  #keepFreshOnSend(now: Instant, peer: FakePeer): void {
    const keypair = peer.current;
    if (keypair?.initiator === true && now.ms - keypair.installedMs >= rekeyAfterMs) {
      this.#want(now, peer, "keypair_age");
    }
  }

  #keepFreshOnReceive(now: Instant, peer: FakePeer): void {
    const keypair = peer.current;
    if (keypair?.initiator !== true || keypair.lastMinuteAsked) return;
    if (now.ms - keypair.installedMs < rekeyOnReceiveMs) return;
    keypair.lastMinuteAsked = true;
    this.#want(now, peer, "keypair_age");
  }

  #want(now: Instant, peer: FakePeer, reason: HandshakeReason): void {
    if (now.ms - peer.wantedMs < wantedEveryMs) return;
    peer.wantedMs = now.ms;
    this.#events.push({ kind: "handshake_wanted", peer: peer.ref, reason });
  }

  #passes(
    now: Instant,
    datagram: { readonly bytes: Uint8Array; readonly remote: Endpoint },
  ): boolean {
    const verdict = this.gate.judge(now, datagram.remote, datagram.bytes);
    if (verdict.kind === "cookie") {
      this.#outgoing.push({ to: datagram.remote, from: undefined, bytes: verdict.reply });
    }
    return verdict.kind === "pass";
  }

  #dropKeypairs(peer: FakePeer): void {
    for (const keypair of [peer.previous, peer.current, peer.next]) this.#drop(keypair);
    peer.previous = undefined;
    peer.current = undefined;
    peer.next = undefined;
    peer.staged.length = 0;
    peer.wipeDueMs = undefined;
    peer.keepaliveDueMs = undefined;
    peer.noAnswerDueMs = undefined;
  }

  #drop(keypair: Keypair | undefined): void {
    if (keypair === undefined) return;
    this.#sessions.delete(keypair.localIndex);
    this.#crypto.release(keypair.send, keypair.receive);
  }

  #peer(ref: PeerRef): FakePeer {
    const peer = this.#peers.get(ref.slot);
    assert(peer !== undefined && peer.ref.generation === ref.generation, "a peer that exists");
    return peer;
  }
}

function isDue(at: number | undefined, now: Instant): boolean {
  return at !== undefined && now.ms >= at;
}

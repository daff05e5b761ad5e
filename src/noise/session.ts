/**
 * The life of one peer's handshakes (WireGuard paper, sections 5.1, 6.1 to 6.4): when to initiate,
 * retry, give up, accept or refuse. It makes messages and keys; endpoints, sockets and packets are
 * not known here. Always: at most one initiation of ours in flight, an initiation of theirs does
 * not disturb it (so simultaneous initiations converge), and only an authentic message moves it.
 */
import { compareBytes } from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import type { NoiseCrypto, Secret } from "../base/crypto.ts";
import { assert } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import { MacStamp } from "./cookie.ts";
import * as noise from "./handshake.ts";
import { KeypairSlots } from "./keypair-slots.ts";
import * as message from "./message.ts";
import type { SessionIndices } from "./session-indices.ts";
import { type SentTimestamps, timestampBytes } from "./timestamp.ts";

export const rekeyTimeout_ms = 5_000;
export const rekeyJitter_ms = 334;
/**
 * Whoever was answered confirms within a round trip, unless it asked long ago: after a sleep the oldest
 * initiation that waits is the one that is answered. The kernel waits for REKEY_TIMEOUT here too.
 */
export const confirmTimeout_ms = 1_000;
/** 90 s (REKEY_ATTEMPT_TIME) of tries, 5 s each. */
export const attemptsMax = 18;
export const rekeyAfter_ms = 120_000;
export const rejectAfter_ms = 180_000;
/** At most 50 initiations a second are accepted from a peer. */
export const initiationInterval_ms = 20;

/** A wish that was raised for an older keypair is recognised by how young the newest one is. */
const staleAgeWish_ms = rekeyAfter_ms - 1_000;
const staleNoAnswerWish_ms = rekeyTimeout_ms;
const staleOtherWish_ms = 1_000;

/** Why a session is wanted. */
export type Wish =
  | "no_keypair"
  | "keypair_age"
  | "keypair_messages"
  | "no_answer"
  | "persistent_keepalive"
  | "asked";

export interface HandshakeCounters {
  initiations_sent: number;
  initiations_resent: number;
  initiations_accepted: number;
  initiations_replayed: number;
  initiations_too_frequent: number;
  initiations_not_authentic: number;
  responses_accepted: number;
  responses_not_authentic: number;
  responses_unexpected: number;
  cookies_accepted: number;
  cookies_refused: number;
  low_order_refused: number;
  handshakes_given_up: number;
  wishes_stale: number;
}

export function handshakeCounters(): HandshakeCounters {
  return {
    initiations_sent: 0,
    initiations_resent: 0,
    initiations_accepted: 0,
    initiations_replayed: 0,
    initiations_too_frequent: 0,
    initiations_not_authentic: 0,
    responses_accepted: 0,
    responses_not_authentic: 0,
    responses_unexpected: 0,
    cookies_accepted: 0,
    cookies_refused: 0,
    low_order_refused: 0,
    handshakes_given_up: 0,
    wishes_stale: 0,
  };
}

/** This device: its static key, and the stamps sent under it. */
export interface LocalSide extends noise.LocalStatic {
  readonly sent: SentTimestamps;
}

/** What all sessions of a device share. */
export interface SessionContext<Owner> {
  readonly crypto: NoiseCrypto;
  readonly random: Random;
  readonly protocol: noise.Protocol;
  readonly indices: SessionIndices<Owner>;
  readonly counters: HandshakeCounters;
  /** undefined while the device has no key. */
  readonly local: LocalSide | undefined;
}

/** What a session asks of its owner. */
export type SessionStep =
  /** Send these 148 bytes; `tai64n` is the stamp inside, where it is a new one. */
  | {
      readonly kind: "initiation";
      readonly bytes: Uint8Array;
      readonly tai64n?: Uint8Array;
      /** The one before was not answered in its time. */
      readonly retry?: boolean;
    }
  /** Install the keypair, whose secrets pass on; then send `reply`, where there is one. */
  | {
      readonly kind: "keypair";
      readonly initiator: boolean;
      readonly send: Secret;
      readonly receive: Secret;
      readonly localIndex: number;
      readonly remoteIndex: number;
      readonly reply?: Uint8Array;
      /** The stamp of the initiation that was accepted. */
      readonly tai64n?: Uint8Array;
    }
  /** Nobody answered for 90 s. */
  | { readonly kind: "gave_up" }
  /** The newest keypair is 180 s old. */
  | { readonly kind: "expired" };

type State =
  | { readonly kind: "idle" }
  /** A session is wanted, but a handshake message was sent a moment ago. */
  | { readonly kind: "postponed"; readonly atMs: number }
  | {
      readonly kind: "created_initiation";
      readonly localIndex: number;
      readonly noise: noise.Initiated;
      readonly bytes: Uint8Array;
      readonly attempt: number;
      retryAtMs: number;
    };

const idle: State = { kind: "idle" };
const nothing = new Uint8Array(0);

export class Session<Owner> {
  /** The largest stamp that was accepted from the peer, 12 bytes. */
  accepted: Uint8Array | undefined;
  readonly keypairs: KeypairSlots;
  readonly #context: SessionContext<Owner>;
  readonly #owner: Owner;
  readonly #remotePublicKey: Uint8Array;
  readonly #stamp: MacStamp;
  #state: State = idle;
  /** Whether a packet or an older session is behind the handshake, and not only that it was asked for. */
  #isNeeded = false;
  #presharedKey: Secret | undefined;
  /** Computed when first needed; "zero" for a low-order peer. */
  #staticStatic: Secret | "zero" | undefined;
  /** When an initiation was last sent to the peer, retries included; and when a response was. */
  #lastSentMs = Number.NEGATIVE_INFINITY;
  #lastAnsweredMs = Number.NEGATIVE_INFINITY;
  #lastAcceptedMs = Number.NEGATIVE_INFINITY;
  /** When the newest keypair became usable, and until when it is. */
  #establishedMs = Number.NEGATIVE_INFINITY;
  #liveUntilMs: number | undefined;

  constructor(context: SessionContext<Owner>, owner: Owner, remotePublicKey: Uint8Array) {
    this.#context = context;
    this.#owner = owner;
    this.#remotePublicKey = remotePublicKey;
    this.#stamp = new MacStamp(context.crypto, remotePublicKey);
    this.keypairs = new KeypairSlots(context.indices);
  }

  /** Whether a keypair younger than 180 s is usable. */
  get live(): boolean {
    return this.#liveUntilMs !== undefined;
  }

  get presharedKey(): Secret | undefined {
    return this.#presharedKey;
  }

  /** Takes the secret. A live session stays; the next handshake to finish mixes this one in. */
  setPresharedKey(secret: Secret | undefined): void {
    if (this.#presharedKey !== undefined) this.#context.crypto.release(this.#presharedKey);
    this.#presharedKey = secret;
  }

  /** A handshake is wanted: begins one unless one is in flight or was just answered, 5 s after ours at the soonest. */
  want(now: Instant, wish: Wish): SessionStep | undefined {
    if (this.#state.kind !== "idle") {
      if (wish !== "asked") this.#isNeeded = true;
      return undefined;
    }
    if (this.#isStale(now, wish)) {
      this.#context.counters.wishes_stale += 1;
      return undefined;
    }
    this.#isNeeded = wish !== "asked";
    const soonestMs = Math.max(
      this.#lastSentMs + rekeyTimeout_ms,
      this.#lastAnsweredMs + confirmTimeout_ms,
    );
    if (now.ms < soonestMs) {
      this.#state = { kind: "postponed", atMs: soonestMs };
      return undefined;
    }
    return this.#initiate(now, 1);
  }

  /** What was only asked for is wanted no longer. */
  withdraw(): void {
    if (!this.#isNeeded) this.#becomeIdle();
  }

  handleTimeout(now: Instant): SessionStep | undefined {
    if (this.#liveUntilMs !== undefined && now.ms >= this.#liveUntilMs) {
      this.#liveUntilMs = undefined;
      return { kind: "expired" };
    }
    const state = this.#state;
    switch (state.kind) {
      case "idle":
        return undefined;
      case "postponed":
        return now.ms < state.atMs ? undefined : this.#initiate(now, 1);
      case "created_initiation":
        if (now.ms < state.retryAtMs) return undefined;
        if (state.attempt < attemptsMax) return this.#initiate(now, state.attempt + 1);
        this.#becomeIdle();
        this.#context.counters.handshakes_given_up += 1;
        return { kind: "gave_up" };
    }
  }

  nextTimeout(): number | undefined {
    const live = this.#liveUntilMs ?? Number.POSITIVE_INFINITY;
    const state = this.#state;
    const handshake =
      state.kind === "postponed"
        ? state.atMs
        : state.kind === "created_initiation"
          ? state.retryAtMs
          : Number.POSITIVE_INFINITY;
    const next = Math.min(live, handshake);
    return next === Number.POSITIVE_INFINITY ? undefined : next;
  }

  /** Whether no handshake is under way, and no keypair is usable or waits to be. */
  isIdle(now: Instant): boolean {
    const next = this.keypairs.next?.installedMs ?? Number.NEGATIVE_INFINITY;
    return this.#state.kind === "idle" && !this.live && now.ms >= next + rejectAfter_ms;
  }

  /** An initiation that claims to be this peer's: as `openInitiation`, and then `respond`. */
  consumeInitiation(
    now: Instant,
    opened: noise.OpenedInitiation,
    initiation: message.Initiation,
  ): SessionStep | undefined {
    const consumed = this.openInitiation(now, opened, initiation);
    return consumed && this.respond(now, consumed, initiation.sender);
  }

  /**
   * Whether an initiation that claims to be this peer's is, and is new; then it counts as accepted, and
   * is for `respond`. Takes `opened`.
   */
  openInitiation(
    now: Instant,
    opened: noise.OpenedInitiation,
    initiation: message.Initiation,
  ): noise.ConsumedInitiation | undefined {
    const { crypto, counters } = this.#context;
    const staticStatic = this.#sharedStatic();
    if (staticStatic === undefined) {
      noise.releaseOpened(crypto, opened);
      return undefined;
    }
    const consumed = noise.openPayload(crypto, opened, staticStatic, initiation.sealedTimestamp);
    if (consumed === undefined) {
      counters.initiations_not_authentic += 1;
      return undefined;
    }
    assert(consumed.payload.length === timestampBytes, "28 sealed bytes hold a stamp of 12");
    if (this.accepted !== undefined && compareBytes(consumed.payload, this.accepted) <= 0) {
      noise.releaseConsumed(crypto, consumed);
      counters.initiations_replayed += 1;
      return undefined;
    }
    if (now.ms < this.#lastAcceptedMs + initiationInterval_ms) {
      noise.releaseConsumed(crypto, consumed);
      counters.initiations_too_frequent += 1;
      return undefined;
    }
    this.accepted = consumed.payload;
    this.#lastAcceptedMs = now.ms;
    counters.initiations_accepted += 1;
    return consumed;
  }

  /** A response to `receiver`, which is an index of this peer's. */
  consumeResponse(now: Instant, response: message.Response): SessionStep | undefined {
    const { crypto, counters, local } = this.#context;
    const state = this.#state;
    if (
      state.kind !== "created_initiation" ||
      state.localIndex !== response.receiver ||
      local === undefined
    ) {
      counters.responses_unexpected += 1;
      return undefined;
    }
    const consumed = noise.consumeResponse(
      crypto,
      state.noise,
      local,
      this.#presharedKey,
      response.ephemeral,
      response.sealedNothing,
    );
    if (consumed === undefined) {
      counters.responses_not_authentic += 1;
      return undefined;
    }
    counters.responses_accepted += 1;
    noise.releaseInitiated(crypto, state.noise);
    this.#state = idle; // the index stays in use: it is the keypair's now
    const { localIndex } = state;
    this.keypairs.install({ localIndex, initiator: true, installedMs: now.ms });
    this.#establish(now, now.ms);
    const { send, receive } = consumed.keys;
    const remoteIndex = response.sender;
    return { kind: "keypair", initiator: true, send, receive, localIndex, remoteIndex };
  }

  /** A cookie, taken only for the last message sent; an initiation it refused is sent again once. */
  consumeCookieReply(now: Instant, reply: message.CookieReply): SessionStep | undefined {
    const { counters } = this.#context;
    if (!this.#stamp.consumeReply(now, reply)) {
      counters.cookies_refused += 1;
      return undefined;
    }
    counters.cookies_accepted += 1;
    const state = this.#state;
    if (state.kind !== "created_initiation" || state.localIndex !== reply.receiver)
      return undefined;
    // Whoever sees our messages can make such replies, but only one for each initiation, and the
    // next initiation is 5 s from here: they cannot make us send at will.
    this.#lastSentMs = now.ms;
    state.retryAtMs = this.#retryAt(now);
    this.#stamp.stampAgain(now, state.bytes);
    counters.initiations_resent += 1;
    return { kind: "initiation", bytes: state.bytes.slice() };
  }

  /** The peer's first packet on a keypair that we made as responder. Whether a slot held it. */
  confirm(now: Instant, localIndex: number): boolean {
    const confirmed = this.keypairs.confirm(localIndex);
    if (confirmed === undefined) return false;
    // What we were about to negotiate is there; a late response would only make a second one.
    this.#becomeIdle();
    this.#establish(now, confirmed.installedMs);
    return true;
  }

  /** Forgets all keypairs; a handshake in flight stays. */
  dropKeypairs(): void {
    this.keypairs.clear();
    this.#liveUntilMs = undefined;
    this.#establishedMs = Number.NEGATIVE_INFINITY;
  }

  /** The local key is about to change: nothing of the old one may be used again. */
  reset(): void {
    this.#becomeIdle();
    this.dropKeypairs();
    this.#releaseStatic();
    this.#lastSentMs = Number.NEGATIVE_INFINITY;
    this.#lastAnsweredMs = Number.NEGATIVE_INFINITY;
  }

  /** The end: every secret and index is released. */
  close(): void {
    this.reset();
    this.setPresharedKey(undefined);
  }

  #initiate(now: Instant, attempt: number): SessionStep | undefined {
    const { crypto, protocol, indices, counters, local } = this.#context;
    this.#becomeIdle();
    if (local === undefined) return undefined;
    const staticStatic = this.#sharedStatic();
    if (staticStatic === undefined) return undefined;
    const remote = { publicKey: this.#remotePublicKey, staticStatic };
    const tai64n = local.sent.next(now);
    const ephemeral = crypto.generate();
    const created = noise.createInitiation(crypto, protocol, local, remote, ephemeral, tai64n);
    assert(created !== undefined, "the peer's key is of prime order, or staticStatic were zero");
    const localIndex = indices.allot(this.#owner);
    const bytes = message.encodeInitiation({
      sender: localIndex,
      ephemeral: created.ephemeralPublic,
      sealedStatic: created.sealedStatic,
      sealedTimestamp: created.sealedPayload,
    });
    this.#stamp.stamp(now, bytes);
    this.#lastSentMs = now.ms;
    counters.initiations_sent += 1;
    this.#state = {
      kind: "created_initiation",
      localIndex,
      noise: created.state,
      bytes,
      attempt,
      retryAtMs: this.#retryAt(now),
    };
    return { kind: "initiation", bytes: bytes.slice(), tai64n, retry: attempt > 1 };
  }

  /** Answers what `openInitiation` gave, which it takes. */
  respond(
    now: Instant,
    consumed: noise.ConsumedInitiation,
    remoteIndex: number,
  ): SessionStep | undefined {
    const { crypto, indices, counters } = this.#context;
    const tai64n = consumed.payload;
    const ephemeral = crypto.generate();
    const created = noise.createResponse(crypto, consumed, this.#presharedKey, ephemeral, nothing);
    if (created === undefined) {
      counters.low_order_refused += 1;
      return undefined;
    }
    const localIndex = indices.allot(this.#owner);
    const reply = message.encodeResponse({
      sender: localIndex,
      receiver: remoteIndex,
      ephemeral: created.ephemeralPublic,
      sealedNothing: created.sealedPayload,
    });
    this.#stamp.stamp(now, reply);
    this.#lastAnsweredMs = now.ms;
    this.keypairs.install({ localIndex, initiator: false, installedMs: now.ms });
    const { send, receive } = created.keys;
    return {
      kind: "keypair",
      initiator: false,
      send,
      receive,
      localIndex,
      remoteIndex,
      reply,
      tai64n,
    };
  }

  #establish(now: Instant, installedMs: number): void {
    this.#establishedMs = now.ms;
    this.#liveUntilMs = installedMs + rejectAfter_ms;
  }

  #isStale(now: Instant, wish: Wish): boolean {
    const ageMs = now.ms - this.#establishedMs;
    switch (wish) {
      case "asked":
        return false;
      case "keypair_age":
        return ageMs < staleAgeWish_ms;
      case "no_answer":
        return ageMs < staleNoAnswerWish_ms;
      default:
        return ageMs < staleOtherWish_ms;
    }
  }

  #retryAt(now: Instant): number {
    return now.ms + rekeyTimeout_ms + this.#context.random.below(rekeyJitter_ms);
  }

  #becomeIdle(): void {
    if (this.#state.kind === "created_initiation") {
      noise.releaseInitiated(this.#context.crypto, this.#state.noise);
      this.#context.indices.release(this.#state.localIndex);
    }
    this.#state = idle;
  }

  #sharedStatic(): Secret | undefined {
    const { crypto, local, counters } = this.#context;
    assert(local !== undefined, "handshakes need a local key");
    this.#staticStatic ??= crypto.dh(local.secret, this.#remotePublicKey) ?? "zero";
    if (this.#staticStatic !== "zero") return this.#staticStatic;
    counters.low_order_refused += 1;
    return undefined;
  }

  #releaseStatic(): void {
    const held = this.#staticStatic;
    this.#staticStatic = undefined;
    if (held !== undefined && held !== "zero") this.#context.crypto.release(held);
  }
}

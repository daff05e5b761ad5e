/**
 * Who is introduced to whom, and when: dials seeds for ever until a session with the node behind
 * them lives, and answers requests of admitted identities with one reply of the same length. To
 * everybody else it is silent. It proves who is there; sessions are the peer table's.
 * An unproven address gets no more than it sent: only a reply to our own request proves one.
 */
import { equalBytes, toHex } from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import type { Crypto } from "../base/crypto.ts";
import { type Endpoint, formatEndpoint, sameEndpoint } from "../base/endpoint.ts";
import { assert } from "../base/errors.ts";
import { formatAddress, maskHostBits, parseAddress } from "../base/ip.ts";
import type { Random } from "../base/random.ts";
import { formatIdentity, type Identity } from "../trust/identity.ts";
import type { Record, Verified } from "../trust/record.ts";
import type { Roster } from "../trust/roster.ts";
import type { ReceivedDatagram, Transmit } from "./dataplane.ts";
import {
  exchangeIdBytes,
  type Introduction,
  isCookieFor,
  openIntroduction,
  openIntroductionCookie,
  type SealOptions,
  sealIntroduction,
  withCookie,
} from "./introduction.ts";

/** Where to ask for the mesh, and whom, where that is known. */
export interface Seed {
  readonly identity?: Uint8Array;
  readonly endpoint: Endpoint;
}

export const seedsMax = 64;
export const hintsMax = 64;
/** Members dialled at once because their sessions do not come about, or have fallen silent. */
export const dialledMembersMax = 256;
/** A seed without a key is tried for each trusted identity, up to this many. */
export const unkeyedIdentitiesMax = 16;
export const dialDelayMinMs = 1_000;
export const dialDelayMaxMs = 60_000;
/** A member's, of which there may be many: as rare as probes of the dead. */
export const memberDialDelayMinMs = 5_000;
export const memberDialDelayMaxMs = 600_000;

/** The wait is an eighth of the time it has failed: quick after a short outage, rare after days. */
const dialDelayShare = 1 / 8;
/** After an answer: time for the handshake, its first retry included. */
const handshakeGraceMs = 6_000;
const exchangesMax = 1_024;
const exchangeLifetimeMs = 30_000;
const sourcesMax = 1_024;
const sourceBurst = 20;
const sourcePerSecond = 10;
const globalBurst = 400;
const globalPerSecond = 400;
/** A request not newer than the last accepted is a replay, for this long; then clocks may differ. */
const replayMemoryMs = 120_000;
/** As long as whoever made it honours a cookie (WireGuard paper, section 5.4.7). */
const cookieLifetimeMs = 120_000;
const transmitsMax = 256;
const eventsMax = 256;

export type IntroducerEvent =
  /** `endpoint`: it answered our request there; undefined where it asked us. */
  | { readonly kind: "introduced"; readonly record: Verified<Record>; readonly endpoint?: Endpoint }
  /** This node's own record, as whoever answered holds it: newer than ours, or another's work. */
  | { readonly kind: "echoed"; readonly bytes: Uint8Array }
  /** Without its key the seed cannot be asked: more than 16 identities are trusted. */
  | { readonly kind: "seed_key_needed"; readonly endpoint: Endpoint }
  /** The seed's key is not trusted here, so it is not asked. */
  | { readonly kind: "seed_not_trusted"; readonly endpoint: Endpoint };

export interface IntroducerOptions {
  readonly crypto: Crypto;
  readonly random: Random;
  readonly networkId: Uint8Array;
  readonly identity: Identity;
  readonly roster: Roster;
  /** This node's current signed record. */
  readonly record: () => Uint8Array;
  /** What is held of an admitted identity, if anything. */
  readonly held: (identity: Uint8Array) => Record | undefined;
}

export interface IntroducerCounters {
  requestsSent: number;
  requestsReceived: number;
  repliesSent: number;
  repliesReceived: number;
  malformed: number;
  notAdmitted: number;
  notAuthentic: number;
  limited: number;
  replayed: number;
  cookiesReceived: number;
  unexpected: number;
  overflow: number;
}

interface Target {
  /** Of a member: the endpoint that is dialled next is found anew each time. */
  seed: Seed;
  readonly endpoints: (() => readonly Endpoint[]) | undefined;
  dials: number;
  /** Text of the identity behind it: the seed's own, or who answered. */
  identity: string | undefined;
  failingSinceMs: number;
  nextAtMs: number;
  /** It answered since it was last reached. */
  answered: boolean;
  warned: boolean;
  /** It was under load, and this proves our address to it. */
  cookie: { readonly bytes: Uint8Array; readonly untilMs: number } | undefined;
}

interface Exchange {
  readonly receiver: Uint8Array;
  readonly target: Target;
  readonly endpoint: Endpoint;
  readonly sentAtMs: number;
  readonly bytes: Uint8Array;
  /** Sent a second time, with a cookie. */
  repeated: boolean;
}

interface Bucket {
  tokens: number;
  atMs: number;
}

export class Introducer {
  readonly counters: IntroducerCounters = {
    requestsSent: 0,
    requestsReceived: 0,
    repliesSent: 0,
    repliesReceived: 0,
    malformed: 0,
    notAdmitted: 0,
    notAuthentic: 0,
    limited: 0,
    replayed: 0,
    cookiesReceived: 0,
    unexpected: 0,
    overflow: 0,
  };
  readonly #options: IntroducerOptions;
  #seeds: Target[] = [];
  #hints: Target[] = [];
  /** By identity. */
  readonly #members = new Map<string, Target>();
  readonly #live = new Set<string>();
  readonly #exchanges = new Map<string, Exchange>();
  readonly #sources = new Map<string, Bucket>();
  readonly #global: Bucket = { tokens: globalBurst, atMs: 0 };
  readonly #accepted = new Map<string, { sentWallMs: number; atMs: number }>();
  #lastSentWallMs = 0;
  readonly #transmits: Transmit[] = [];
  readonly #events: IntroducerEvent[] = [];

  constructor(options: IntroducerOptions) {
    this.#options = options;
  }

  /** Replaces the seeds; those that were there already keep their pace. */
  setSeeds(now: Instant, seeds: readonly Seed[]): void {
    assert(seeds.length <= seedsMax, "too many seeds");
    this.#seeds = seeds.map((seed) => {
      const known = this.#seeds.find((target) => sameSeed(target.seed, seed));
      return known ?? newTarget(now, seed);
    });
  }

  /** Where a member was last seen whose record can no longer be used: dialled like a seed. */
  addHint(now: Instant, seed: Seed): void {
    if (this.#hints.length >= hintsMax) {
      this.counters.overflow += 1;
      return;
    }
    this.#hints.push(newTarget(now, seed));
  }

  /**
   * A member that ought to be reached and is not: dialled at its endpoints in turn, ever more rarely,
   * until it is. Our request brings it our record, which it may lack.
   */
  dialMember(now: Instant, identity: Uint8Array, endpoints: () => readonly Endpoint[]): void {
    const name = formatIdentity(identity);
    if (this.#live.has(name) || this.#members.has(name)) return;
    const [endpoint] = endpoints();
    if (endpoint === undefined) return; // it must come to us
    if (this.#members.size >= dialledMembersMax) {
      this.counters.overflow += 1;
      return;
    }
    const target = newTarget(now, { identity, endpoint }, endpoints);
    target.nextAtMs += this.#options.random.below(dialDelayMinMs);
    this.#members.set(name, target);
  }

  /** The roster changed: everyone unreached is asked again at once, hints of others are dropped. */
  rosterChanged(now: Instant): void {
    const { roster } = this.#options;
    this.#hints = this.#hints.filter(
      ({ seed }) => seed.identity !== undefined && roster.admits(seed.identity),
    );
    for (const name of this.#members.keys()) {
      if (!roster.admitsText(name)) this.#members.delete(name);
    }
    for (const name of this.#accepted.keys()) {
      if (!roster.admitsText(name)) this.#accepted.delete(name);
    }
    for (const target of this.#targets()) {
      target.warned = false;
      target.nextAtMs = Math.min(target.nextAtMs, now.ms);
    }
  }

  /** This node says something new of itself: who was not reached with the old is asked again. */
  recordChanged(now: Instant): void {
    for (const target of this.#targets()) {
      if (target.answered) target.nextAtMs = Math.min(target.nextAtMs, now.ms + dialDelayMinMs);
    }
  }

  /** Whether the identity is reached: a session lives and its probes are answered. Then it is not dialled. */
  setLink(now: Instant, identity: string, live: boolean): void {
    if (live === this.#live.has(identity)) return;
    if (live) {
      this.#live.add(identity);
      this.#members.delete(identity);
      return;
    }
    this.#live.delete(identity);
    for (const target of this.#targets()) {
      if (target.identity !== identity) continue;
      target.failingSinceMs = now.ms;
      target.answered = false;
      target.nextAtMs = now.ms + this.#options.random.below(dialDelayMinMs);
    }
  }

  /** An introduction, or the answer to ours of a node under load. */
  handleDatagram(now: Instant, datagram: ReceivedDatagram): void {
    if (datagram.kind === "introduction_cookie") {
      this.#handleCookie(now, datagram.bytes);
      return;
    }
    if (!this.#allow(now, datagram.remote)) {
      this.counters.limited += 1;
      return;
    }
    const { crypto, networkId, identity, roster } = this.#options;
    const result = openIntroduction(
      { crypto, networkId, receiver: identity, admits: (sender) => roster.admits(sender) },
      datagram.bytes,
      now,
    );
    switch (result.kind) {
      case "malformed":
        this.counters.malformed += 1;
        return;
      case "not_admitted":
        this.counters.notAdmitted += 1;
        return;
      case "not_authentic":
        this.counters.notAuthentic += 1;
        return;
      case "opened":
        if (result.introduction.kind === "request") {
          this.#handleRequest(now, result.introduction, datagram);
        } else {
          this.#handleReply(now, result.introduction);
        }
    }
  }

  handleTimeout(now: Instant): void {
    for (const target of this.#targets()) {
      if (this.#isReached(target) || target.nextAtMs > now.ms) continue;
      this.#dial(now, target);
    }
    for (const [id, exchange] of this.#exchanges) {
      if (exchange.sentAtMs + exchangeLifetimeMs > now.ms) break;
      this.#exchanges.delete(id);
    }
  }

  nextTimeout(): number | undefined {
    let next: number | undefined;
    for (const target of this.#targets()) {
      if (this.#isReached(target)) continue;
      if (next === undefined || target.nextAtMs < next) next = target.nextAtMs;
    }
    return next;
  }

  pollTransmit(): Transmit | undefined {
    return this.#transmits.shift();
  }

  pollEvent(): IntroducerEvent | undefined {
    return this.#events.shift();
  }

  #handleRequest(now: Instant, introduction: Introduction, datagram: ReceivedDatagram): void {
    const { identity } = introduction.record;
    const name = formatIdentity(identity);
    const last = this.#accepted.get(name);
    if (
      last !== undefined &&
      introduction.sentWallMs <= last.sentWallMs &&
      now.ms < last.atMs + replayMemoryMs
    ) {
      this.counters.replayed += 1;
      return;
    }
    this.#accepted.set(name, { sentWallMs: introduction.sentWallMs, atMs: now.ms });
    this.counters.requestsReceived += 1;
    // Another record of his than he sent is about: he must know, or nobody will heed his own.
    const held = this.#options.held(identity);
    const isOther =
      held !== undefined &&
      held.sequence >= introduction.record.sequence &&
      !equalBytes(held.bytes, introduction.record.bytes);
    this.#emit({ kind: "introduced", record: introduction.record });
    const { exchangeId } = introduction;
    const echo = isOther ? held.bytes : undefined;
    const bytes = this.#seal(now, identity, { kind: "reply", exchangeId, echo });
    if (bytes === undefined) return;
    const from = datagram.local === undefined ? {} : { from: datagram.local };
    if (this.#send({ kind: "datagram", to: datagram.remote, ...from, bytes })) {
      this.counters.repliesSent += 1;
    }
  }

  #handleReply(now: Instant, introduction: Introduction): void {
    const id = toHex(introduction.exchangeId);
    const exchange = this.#exchanges.get(id);
    const { identity } = introduction.record;
    const name = formatIdentity(identity);
    if (exchange === undefined || !equalBytes(exchange.receiver, identity)) {
      this.counters.unexpected += 1;
      return;
    }
    this.#exchanges.delete(id);
    this.counters.repliesReceived += 1;
    const { target, endpoint } = exchange;
    target.identity = name;
    target.answered = true;
    target.nextAtMs = Math.max(target.nextAtMs, now.ms + handshakeGraceMs);
    if (introduction.echo.length > 0) this.#emit({ kind: "echoed", bytes: introduction.echo });
    this.#emit({ kind: "introduced", record: introduction.record, endpoint });
  }

  /** Sends the introduction that it answers once more, with the cookie. */
  #handleCookie(now: Instant, answer: Uint8Array): void {
    const { crypto } = this.#options;
    for (const exchange of this.#exchanges.values()) {
      const { receiver, bytes, target, endpoint } = exchange;
      if (exchange.repeated || !isCookieFor(bytes, answer)) continue;
      const cookie = openIntroductionCookie(crypto, receiver, bytes, answer);
      if (cookie === undefined) break;
      exchange.repeated = true;
      target.cookie = { bytes: cookie, untilMs: now.ms + cookieLifetimeMs };
      this.counters.cookiesReceived += 1;
      const again = withCookie(crypto, bytes, cookie);
      this.#send({ kind: "datagram", to: endpoint, bytes: again });
      return;
    }
    this.counters.unexpected += 1;
  }

  #dial(now: Instant, target: Target): void {
    const { random, roster } = this.#options;
    const failed = (now.ms - target.failingSinceMs) * dialDelayShare;
    const [minMs, maxMs] =
      target.endpoints === undefined
        ? [dialDelayMinMs, dialDelayMaxMs]
        : [memberDialDelayMinMs, memberDialDelayMaxMs];
    const delay = Math.min(maxMs, Math.max(minMs, failed));
    // A fifth of jitter either way, so that nodes that lost one seed together do not return together.
    target.nextAtMs = now.ms + Math.round(delay * (0.8 + random.below(401) / 1000));
    turnEndpoint(target);
    const { identity, endpoint } = target.seed;
    if (identity !== undefined) {
      if (roster.admits(identity)) this.#request(now, target, identity);
      else this.#warn(target, { kind: "seed_not_trusted", endpoint });
      return;
    }
    if (roster.size > unkeyedIdentitiesMax) {
      this.#warn(target, { kind: "seed_key_needed", endpoint });
      return;
    }
    for (const trusted of roster.identities()) this.#request(now, target, trusted);
  }

  /** Once for a target, until the roster changes. */
  #warn(target: Target, event: IntroducerEvent): void {
    if (!target.warned) this.#emit(event);
    target.warned = true;
  }

  #request(now: Instant, target: Target, receiver: Uint8Array): void {
    const exchangeId = this.#options.random.bytes(exchangeIdBytes);
    const bytes = this.#seal(now, receiver, { kind: "request", exchangeId });
    if (bytes === undefined) return;
    const { cookie } = target;
    const { endpoint } = target.seed;
    const isFresh = cookie !== undefined && now.ms < cookie.untilMs;
    const sent = isFresh ? withCookie(this.#options.crypto, bytes, cookie.bytes) : bytes;
    if (!this.#send({ kind: "datagram", to: endpoint, bytes: sent })) return;
    if (this.#exchanges.size >= exchangesMax) {
      const oldest = this.#exchanges.keys().next().value;
      if (oldest !== undefined) this.#exchanges.delete(oldest);
    }
    this.#exchanges.set(toHex(exchangeId), {
      receiver,
      target,
      endpoint,
      sentAtMs: now.ms,
      bytes,
      repeated: false,
    });
    this.counters.requestsSent += 1;
  }

  #seal(
    now: Instant,
    receiver: Uint8Array,
    content: Pick<SealOptions, "kind" | "exchangeId" | "echo">,
  ): Uint8Array | undefined {
    const { crypto, networkId, identity } = this.#options;
    // Never the same stamp twice, however coarse the clock: the receiver takes that as a replay.
    this.#lastSentWallMs = Math.max(now.wallMs, this.#lastSentWallMs + 1);
    return sealIntroduction({
      crypto,
      networkId,
      sender: identity,
      record: this.#options.record(),
      receiver,
      ...content,
      sentWallMs: this.#lastSentWallMs,
    });
  }

  /** Before any cryptography: opening costs a Diffie-Hellman, and anyone may send. */
  #allow(now: Instant, remote: Endpoint): boolean {
    if (!takeToken(this.#global, now.ms, globalPerSecond, globalBurst)) return false;
    const source = sourceOf(remote);
    let bucket = this.#sources.get(source);
    if (bucket === undefined) {
      if (this.#sources.size >= sourcesMax) {
        const oldest = this.#sources.keys().next().value;
        if (oldest !== undefined) this.#sources.delete(oldest);
      }
      bucket = { tokens: sourceBurst, atMs: now.ms };
    } else {
      this.#sources.delete(source);
    }
    // Set anew, so that the map's order is that of last use.
    this.#sources.set(source, bucket);
    return takeToken(bucket, now.ms, sourcePerSecond, sourceBurst);
  }

  *#targets(): Iterable<Target> {
    yield* this.#seeds;
    yield* this.#hints;
    yield* this.#members.values();
  }

  #isReached(target: Target): boolean {
    return target.identity !== undefined && this.#live.has(target.identity);
  }

  #send(transmit: Transmit): boolean {
    if (this.#transmits.length >= transmitsMax) {
      this.counters.overflow += 1;
      return false;
    }
    this.#transmits.push(transmit);
    return true;
  }

  #emit(event: IntroducerEvent): void {
    if (this.#events.length >= eventsMax) this.counters.overflow += 1;
    else this.#events.push(event);
  }
}

function newTarget(now: Instant, seed: Seed, endpoints?: () => readonly Endpoint[]): Target {
  const identity = seed.identity === undefined ? undefined : formatIdentity(seed.identity);
  return {
    seed,
    endpoints,
    dials: 0,
    identity,
    failingSinceMs: now.ms,
    nextAtMs: now.ms,
    answered: false,
    warned: false,
    cookie: undefined,
  };
}

/** A member's endpoints in turn, as they are known now. */
function turnEndpoint(target: Target): void {
  const endpoints = target.endpoints?.() ?? [];
  const endpoint = endpoints[target.dials % endpoints.length];
  if (endpoint === undefined) return;
  target.dials += 1;
  target.seed = { ...target.seed, endpoint };
}

function sameSeed(a: Seed, b: Seed): boolean {
  const name = (seed: Seed): string =>
    seed.identity === undefined ? "" : formatIdentity(seed.identity);
  return sameEndpoint(a.endpoint, b.endpoint) && name(a) === name(b);
}

/** One bucket for an IPv4 address, and for the /64 of an IPv6 one: what a single host commands. */
function sourceOf(remote: Endpoint): string {
  const address = parseAddress(remote.address);
  if (address === undefined) return formatEndpoint(remote);
  return formatAddress(maskHostBits(address, address.family === 4 ? 32 : 64));
}

function takeToken(bucket: Bucket, nowMs: number, perSecond: number, burst: number): boolean {
  bucket.tokens = Math.min(burst, bucket.tokens + ((nowMs - bucket.atMs) * perSecond) / 1000);
  bucket.atMs = nowMs;
  if (bucket.tokens < 1) return false;
  bucket.tokens -= 1;
  return true;
}

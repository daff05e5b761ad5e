/**
 * Who is introduced to whom, and when: dials seeds for ever until a session with the node behind
 * them lives, and answers requests of admitted identities with one reply of the same length. To
 * everybody else it is silent. It proves who is there; sessions are the peer table's.
 * An unproven address gets no more than it sent: only a reply to our own request proves one.
 */
import { equalBytes, toHex } from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import type { Crypto } from "../base/crypto.ts";
import type { Endpoint } from "../base/endpoint.ts";
import { assert } from "../base/errors.ts";
import { Pruning } from "../base/prune.ts";
import type { Random } from "../base/random.ts";
import { keyOf } from "../swim/store.ts";
import { formatIdentity, type Identity } from "../trust/identity.ts";
import type { Record, Verified } from "../trust/record.ts";
import type { Roster } from "../trust/roster.ts";
import type { Arrivals, Refusal } from "./arrivals.ts";
import type { ReceivedDatagram, Transmit } from "./dataplane.ts";
import {
  dialDelayMinMs,
  type Joining,
  newTarget,
  nextDelayMs,
  type Seed,
  sameSeed,
  type Target,
  turnEndpoint,
  whyNotAsked,
} from "./dial-target.ts";
import {
  type Claimed,
  type Extra,
  exchangeIdBytes,
  type Introduction,
  isCookieFor,
  type OpenOptions,
  openForwarded,
  openIntroduction,
  openIntroductionCookie,
  type SealOptions,
  sealForwarded,
  sealIntroduction,
  withCookie,
} from "./introduction.ts";
import { SourceLimiter } from "./source-limiter.ts";

export {
  dialDelayMaxMs,
  dialDelayMinMs,
  memberDialDelayMaxMs,
  memberDialDelayMinMs,
  type Seed,
} from "./dial-target.ts";

export const seedsMax = 64;
export const hintsMax = 64;
/** Members dialled at once because their sessions do not come about, or have fallen silent. */
export const dialledMembersMax = 256;
/** In a large mesh: each dial costs keys' work and 1,200 bytes, and a few that come back bring the others. */
export const dialledMembersMaxLarge = 32;

/** After an answer: time for the handshake, its first retry included. */
const handshakeGraceMs = 6_000;
/** The other seeds are asked after this where the first does not answer, and else after that. */
const otherSeedsMs = 1_000;
const seedLeadMs = 5_000;
const exchangesMax = 1_024;
const exchangeLifetimeMs = 30_000;
const rates = { sourcePerSecond: 10, sourceBurst: 20, allPerSecond: 400, allBurst: 400 };
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
  /** What the secret of our invitation was redeemed for; unverified. */
  | { readonly kind: "granted"; readonly bytes: Uint8Array }
  /** For another node, by its identity; a reply goes to where this came from. */
  | {
      readonly kind: "forward";
      readonly receiver: Uint8Array;
      readonly sealed: Uint8Array;
      readonly datagram: ReceivedDatagram;
    }
  /** Without its key the seed cannot be asked: organisations or more than 16 identities are trusted. */
  | { readonly kind: "seed_key_needed"; readonly endpoint: Endpoint }
  /** The seed's key is not trusted here, so it is not asked. */
  | { readonly kind: "seed_not_trusted"; readonly endpoint: Endpoint };

/** The issuer's side of invitations. */
export interface Redeemer {
  knows(secret: Uint8Array): boolean;
  /** The certificate for whoever introduces himself so; undefined: none. */
  redeem(now: Instant, secret: Uint8Array, record: Verified<Record>): Uint8Array | undefined;
}

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
  /** Whether a mesh that this node is part of already holds it alive: then it is not looked for. */
  readonly isAlive: (identity: Uint8Array) => boolean;
  /** Whether there are more members than a session is kept with. */
  readonly isLarge: () => boolean;
  /** undefined: this node invites nobody. */
  readonly redeemer?: Redeemer | undefined;
  /** Where it is noted what came of introductions, for those who are to read it. */
  readonly arrivals?: Arrivals | undefined;
}

export interface IntroducerCounters {
  requestsSent: number;
  requestsReceived: number;
  repliesSent: number;
  repliesReceived: number;
  malformed: number;
  notAdmitted: number;
  invitesRefused: number;
  notAuthentic: number;
  limited: number;
  replayed: number;
  cookiesReceived: number;
  unexpected: number;
  overflow: number;
  hintsNotAsked: number;
}

interface Exchange {
  readonly receiver: Uint8Array;
  /** At whose door it was left: the receiver, unless it is to be passed on. */
  readonly gate: Uint8Array;
  readonly target: Target;
  readonly endpoint: Endpoint;
  readonly sentAtMs: number;
  readonly bytes: Uint8Array;
  /** Sent a second time, with a cookie. */
  repeated: boolean;
}

export class Introducer {
  readonly counters: IntroducerCounters = {
    requestsSent: 0,
    requestsReceived: 0,
    repliesSent: 0,
    repliesReceived: 0,
    malformed: 0,
    notAdmitted: 0,
    invitesRefused: 0,
    notAuthentic: 0,
    limited: 0,
    replayed: 0,
    cookiesReceived: 0,
    unexpected: 0,
    overflow: 0,
    hintsNotAsked: 0,
  };
  readonly #options: IntroducerOptions;
  #seeds: Target[] = [];
  #hints: Target[] = [];
  /** When the first is dialled next, unless something has changed since. */
  #nextMs: number | undefined;
  #isStale = true;
  #invitation: Joining | undefined;
  #joining: Target[] = [];
  /** By identity. */
  readonly #members = new Map<string, Target>();
  /** By key, whom all of them are for, and whether he is a door: asked at every verdict on every member. */
  #named: Map<number, boolean> | undefined;
  readonly #live = new Set<string>();
  readonly #exchanges = new Map<string, Exchange>();
  readonly #limiter = new SourceLimiter(rates);
  readonly #accepted = new Map<string, { sentWallMs: number; atMs: number }>();
  readonly #pruning = new Pruning();
  #lastSentWallMs = 0;
  readonly #transmits: Transmit[] = [];
  readonly #events: IntroducerEvent[] = [];

  constructor(options: IntroducerOptions) {
    this.#options = options;
  }

  /**
   * Replaces the seeds; those that were there already keep their pace. One of the first is asked at
   * once and the others a second later, unless it answers: in a large mesh it leads to them.
   */
  setSeeds(now: Instant, seeds: readonly Seed[]): void {
    assert(seeds.length <= seedsMax, "too many seeds");
    this.#changed();
    const isFirst = this.#seeds.length === 0;
    this.#seeds = seeds.map((seed) => {
      const known = this.#seeds.find((target) => sameSeed(target.seed, seed));
      return known ?? newTarget(now, seed);
    });
    this.#dialForInvitation(now);
    if (!isFirst || seeds.length < 2) return;
    const { random } = this.#options;
    const chosen = this.#seeds[random.below(seeds.length)];
    for (const target of this.#seeds) {
      if (target !== chosen) target.nextAtMs += otherSeedsMs + random.below(otherSeedsMs / 2);
    }
  }

  /** Asks for the invitation to be redeemed until that is taken back, when it was. */
  setJoining(now: Instant, joining: Joining | undefined): void {
    this.#invitation = joining;
    this.#dialForInvitation(now);
  }

  /**
   * Whoever the token names is asked where the token says, and where the operator says that it is: its
   * addresses may be shut where a stream gets through.
   */
  #dialForInvitation(now: Instant): void {
    this.#changed();
    const joining = this.#invitation;
    const places: Seed[] = [...(joining?.seeds ?? [])];
    const named = places.map(({ identity }) => identity as Uint8Array);
    if (joining !== undefined) named.push(joining.issuer);
    for (const { seed } of this.#seeds) {
      const { identity } = seed;
      if (identity === undefined || places.some((place) => sameSeed(place, seed))) continue;
      if (named.some((name) => equalBytes(name, identity))) places.push(seed);
    }
    this.#joining = places.map((place) => {
      const known = this.#joining.find((target) => sameSeed(target.seed, place));
      return known ?? newTarget(now, place, undefined, joining);
    });
  }

  /** Where a member was last seen whose record can no longer be used: dialled like a seed. */
  addHint(now: Instant, seed: Seed): void {
    if (this.#hints.length >= hintsMax) {
      this.counters.overflow += 1;
      return;
    }
    this.#hints.push(newTarget(now, seed));
    this.#changed();
  }

  /**
   * A member that ought to be reached and is not: dialled at its endpoints in turn, ever more rarely,
   * until it is. Our request brings it our record, which it may lack.
   */
  dialMember(
    now: Instant,
    identity: Uint8Array,
    endpoints: () => readonly Endpoint[],
    waitMs = this.#options.random.below(dialDelayMinMs),
  ): void {
    const name = formatIdentity(identity);
    if (this.#live.has(name) || this.#members.has(name)) return;
    const [endpoint] = endpoints();
    if (endpoint === undefined) return; // it must come to us
    const most = this.#options.isLarge() ? dialledMembersMaxLarge : dialledMembersMax;
    if (this.#members.size >= most) {
      this.counters.overflow += 1;
      return;
    }
    const target = newTarget(now, { identity, endpoint }, endpoints);
    target.nextAtMs += waitMs;
    this.#members.set(name, target);
    this.#changed();
  }

  /** The roster changed: everyone unreached is asked again at once, hints of others are dropped. */
  rosterChanged(now: Instant): void {
    this.#changed();
    const { roster } = this.#options;
    this.#hints = this.#hints.filter(
      ({ seed }) => seed.identity !== undefined && this.#options.roster.mayAsk(seed.identity),
    );
    for (const name of this.#members.keys()) {
      if (!roster.admitsText(name)) this.#members.delete(name);
    }
    for (const name of this.#accepted.keys()) {
      if (!roster.admitsText(name)) this.#accepted.delete(name);
    }
    this.#each((target) => {
      target.warned = false;
      target.nextAtMs = Math.min(target.nextAtMs, now.ms);
    });
  }

  /** This node says something new of itself: who was not reached with the old is asked again. */
  recordChanged(now: Instant): void {
    this.#isStale = true;
    this.#each((target) => {
      if (target.answered) target.nextAtMs = Math.min(target.nextAtMs, now.ms + dialDelayMinMs);
    });
  }

  /** Whether whoever has the key is one of those that are dialled until they are reached. */
  dials(key: number): boolean {
    return this.#namedNow().has(key);
  }

  /** Whether it is where this node comes in: not a member that was dialled because it ought to be reached. */
  isDoor(key: number): boolean {
    return this.#namedNow().get(key) === true;
  }

  /** Whether the identity is reached: a session lives and its probes are answered. Then it is not dialled. */
  setLink(now: Instant, identity: string, live: boolean): void {
    if (live === this.#live.has(identity)) return;
    this.#changed();
    if (live) {
      this.#live.add(identity);
      this.#members.delete(identity);
      return;
    }
    this.#live.delete(identity);
    this.#each((target) => {
      if (target.identity !== identity) return;
      target.failingSinceMs = now.ms;
      target.answered = false;
      target.nextAtMs = now.ms + this.#options.random.below(dialDelayMinMs);
    });
  }

  /** An introduction, or the answer to ours of a node under load. */
  handleDatagram(now: Instant, datagram: ReceivedDatagram): void {
    if (datagram.kind === "introduction_cookie") {
      this.#handleCookie(now, datagram.bytes);
      return;
    }
    if (!this.#limiter.allow(now.ms, datagram.remote)) {
      this.counters.limited += 1;
      return;
    }
    const result = openIntroduction(this.#openOptions(), datagram.bytes, now);
    if (result.kind === "forward") {
      const { receiver, sealed } = result;
      this.#emit({ kind: "forward", receiver, sealed, datagram });
      return;
    }
    const introduction = this.#admitted(now, result);
    if (introduction === undefined) return;
    if (introduction.kind === "reply") {
      this.#handleReply(now, introduction);
      return;
    }
    const bytes = this.#handleRequest(now, introduction);
    if (bytes === undefined) return;
    const from = datagram.local === undefined ? {} : { from: datagram.local };
    if (this.#send({ kind: "datagram", to: datagram.remote, ...from, bytes })) {
      this.counters.repliesSent += 1;
    }
  }

  /** A request that a member passed on; the reply, for it to send on. */
  handleForwarded(now: Instant, sealed: Uint8Array): Uint8Array | undefined {
    const result = openForwarded(this.#openOptions(), sealed, now);
    const introduction = result.kind === "forward" ? undefined : this.#admitted(now, result);
    if (introduction?.kind !== "request") return undefined;
    const reply = this.#handleRequest(now, introduction);
    if (reply !== undefined) this.counters.repliesSent += 1;
    return reply;
  }

  handleTimeout(now: Instant): void {
    for (const [id, exchange] of this.#exchanges) {
      if (!isOver(now, exchange)) break;
      this.#exchanges.delete(id);
    }
    const dueMs = this.nextTimeout();
    if (dueMs === undefined || dueMs > now.ms) return;
    this.#isStale = true;
    this.#each((target) => {
      if (target.nextAtMs <= now.ms && !this.#isReached(target)) this.#dial(now, target);
    });
  }

  nextTimeout(): number | undefined {
    if (this.#isStale) {
      let nextMs = Number.POSITIVE_INFINITY;
      this.#each((target) => {
        if (target.nextAtMs < nextMs && !this.#isReached(target)) nextMs = target.nextAtMs;
      });
      this.#nextMs = nextMs === Number.POSITIVE_INFINITY ? undefined : nextMs;
      this.#isStale = false;
    }
    return this.#nextMs;
  }

  pollTransmit(): Transmit | undefined {
    return this.#transmits.shift();
  }

  pollEvent(): IntroducerEvent | undefined {
    return this.#events.shift();
  }

  #openOptions(): OpenOptions {
    const { crypto, networkId, identity: receiver } = this.#options;
    const admits = (record: Record, extra: Extra): boolean => this.#mayAdmit(record, extra);
    return { crypto, networkId, receiver, admits };
  }

  #mayAdmit(record: Record, extra: Extra): boolean {
    const { roster, redeemer } = this.#options;
    if (roster.mayAdmit(record)) return true;
    if (extra.kind !== "secret" || roster.isRevoked(record.identity)) return false;
    return redeemer?.knows(extra.bytes) === true;
  }

  #admitted(
    now: Instant,
    result: Exclude<ReturnType<typeof openIntroduction>, { kind: "forward" }>,
  ): Introduction | undefined {
    switch (result.kind) {
      case "malformed":
        this.counters.malformed += 1;
        return undefined;
      case "not_admitted":
        this.counters.notAdmitted += 1;
        if (result.claimed !== undefined) this.#refuse(now, result.claimed);
        return undefined;
      case "not_authentic": {
        this.counters.notAuthentic += 1;
        const { claimed } = result;
        if (claimed === undefined) return undefined;
        const { record, sentWallMs, isOld } = claimed;
        this.#note(
          now,
          record,
          isOld ? "too_old" : "other_network",
          isOld ? sentWallMs : undefined,
        );
        return undefined;
      }
      case "opened":
        return result.introduction;
    }
  }

  /** Noted with what the roster has against it; that a secret is wrong counts for more. */
  #refuse(now: Instant, { record, extra }: Pick<Claimed, "record" | "extra">): void {
    const name = formatIdentity(record.identity);
    const { why, aboutWallMs } = this.#options.roster.whyNot(name, now.wallMs, record);
    const isInvited = extra.kind === "secret" && why !== "revoked";
    if (isInvited) this.#note(now, record, "invitation");
    else this.#note(now, record, why, aboutWallMs);
  }

  #note(
    now: Instant,
    { identity, name }: Record,
    outcome: "admitted" | Refusal,
    aboutWallMs?: number,
  ): void {
    const { arrivals } = this.#options;
    arrivals?.note(now.ms, { identity: formatIdentity(identity), name, outcome, aboutWallMs });
  }

  /** The reply; undefined where there is none to give. */
  #handleRequest(now: Instant, introduction: Introduction): Uint8Array | undefined {
    const { roster } = this.#options;
    const { record, extra, exchangeId } = introduction;
    const { identity } = record;
    const name = formatIdentity(identity);
    const last = this.#accepted.get(name);
    if (
      last !== undefined &&
      introduction.sentWallMs <= last.sentWallMs &&
      now.ms < last.atMs + replayMemoryMs
    ) {
      this.counters.replayed += 1;
      return undefined;
    }
    const granted = extra.kind === "secret" ? this.#redeem(now, extra.bytes, record) : undefined;
    if (!roster.judge(now, record)) {
      this.counters.notAdmitted += 1;
      this.#refuse(now, introduction);
      return undefined;
    }
    this.#pruning.run(this.#accepted, ({ atMs }) => now.ms >= atMs + replayMemoryMs);
    this.#accepted.set(name, { sentWallMs: introduction.sentWallMs, atMs: now.ms });
    this.#note(now, record, "admitted");
    this.counters.requestsReceived += 1;
    // Another record of his than he sent is about: he must know, or nobody will heed his own.
    const held = this.#options.held(identity);
    const isOther =
      held !== undefined &&
      held.sequence >= record.sequence &&
      !equalBytes(held.bytes, record.bytes);
    this.#emit({ kind: "introduced", record });
    const echo: Extra = isOther ? { kind: "echo", bytes: held.bytes } : { kind: "none" };
    return this.#seal(now, identity, { kind: "reply", exchangeId, extra: granted ?? echo });
  }

  #redeem(now: Instant, secret: Uint8Array, record: Verified<Record>): Extra | undefined {
    const bytes = this.#options.redeemer?.redeem(now, secret, record);
    if (bytes !== undefined) return { kind: "certificate", bytes };
    this.counters.invitesRefused += 1;
    return undefined;
  }

  #handleReply(now: Instant, introduction: Introduction): void {
    const id = toHex(introduction.exchangeId);
    const exchange = this.#exchanges.get(id);
    const { identity } = introduction.record;
    const name = formatIdentity(identity);
    const isAwaited = exchange !== undefined && !isOver(now, exchange);
    if (!isAwaited || !equalBytes(exchange.receiver, identity)) {
      this.counters.unexpected += 1;
      return;
    }
    this.#exchanges.delete(id);
    if (!this.#options.roster.judge(now, introduction.record)) {
      this.counters.notAdmitted += 1;
      this.#refuse(now, introduction);
      return;
    }
    this.counters.repliesReceived += 1;
    const { target, endpoint, gate, receiver } = exchange;
    target.identity = name;
    target.key ??= keyOf(identity);
    target.answered = true;
    this.#changed();
    target.nextAtMs = Math.max(target.nextAtMs, now.ms + handshakeGraceMs);
    for (const seed of this.#seeds) {
      if (!seed.tried) seed.nextAtMs = Math.max(seed.nextAtMs, now.ms + seedLeadMs);
    }
    const { extra, record } = introduction;
    if (extra.kind === "echo") this.#emit({ kind: "echoed", bytes: extra.bytes });
    if (extra.kind === "certificate" && target.joining !== undefined) {
      this.#emit({ kind: "granted", bytes: extra.bytes });
    }
    // Who answers through another is not where that one is.
    const isDirect = equalBytes(gate, receiver);
    this.#emit({ kind: "introduced", record, ...(isDirect ? { endpoint } : {}) });
  }

  /** Sends the introduction that it answers once more, with the cookie. */
  #handleCookie(now: Instant, answer: Uint8Array): void {
    const { crypto } = this.#options;
    for (const exchange of this.#exchanges.values()) {
      const { gate, bytes, target, endpoint } = exchange;
      if (exchange.repeated || isOver(now, exchange)) continue;
      if (!isCookieFor(bytes, answer)) continue;
      const cookie = openIntroductionCookie(crypto, gate, bytes, answer);
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
    const { random, roster, isAlive } = this.#options;
    const together = this.#options.isLarge() ? this.#members.size : 0;
    target.nextAtMs = now.ms + nextDelayMs(now, target, random, together);
    turnEndpoint(target);
    const { identity, endpoint } = target.seed;
    const isNew = !target.tried;
    target.tried = true;
    if (isNew && target.identity !== undefined && identity !== undefined && isAlive(identity)) {
      this.#live.add(target.identity);
      return;
    }
    if (target.joining !== undefined) {
      this.#request(now, target, target.joining.issuer);
      return;
    }
    const whyNot = whyNotAsked(identity, roster);
    if (whyNot !== undefined) {
      this.#warn(target, { kind: whyNot, endpoint });
      return;
    }
    if (identity !== undefined) {
      this.#request(now, target, identity);
      return;
    }
    for (const trusted of roster.identities()) this.#request(now, target, trusted);
  }

  /** Once for a target, until the roster changes. */
  #warn(target: Target, event: IntroducerEvent): void {
    if (target.seed.hint === true) this.counters.hintsNotAsked += 1;
    else if (!target.warned) this.#emit(event);
    target.warned = true;
  }

  #request(now: Instant, target: Target, receiver: Uint8Array): void {
    const exchangeId = this.#options.random.bytes(exchangeIdBytes);
    const { cookie, joining } = target;
    const { endpoint, identity } = target.seed;
    const gate = joining === undefined ? receiver : (identity as Uint8Array);
    const extra: Extra =
      joining === undefined ? { kind: "none" } : { kind: "secret", bytes: joining.secret };
    const bytes = this.#seal(now, receiver, { kind: "request", exchangeId, extra }, gate);
    if (bytes === undefined) return;
    const isFresh = cookie !== undefined && now.ms < cookie.untilMs;
    const sent = isFresh ? withCookie(this.#options.crypto, bytes, cookie.bytes) : bytes;
    if (!this.#send({ kind: "datagram", to: endpoint, bytes: sent })) return;
    if (this.#exchanges.size >= exchangesMax) {
      const oldest = this.#exchanges.keys().next().value;
      if (oldest !== undefined) this.#exchanges.delete(oldest);
    }
    const sentAtMs = now.ms;
    const exchange = { receiver, gate, target, endpoint, sentAtMs, bytes, repeated: false };
    this.#exchanges.set(toHex(exchangeId), exchange);
    this.counters.requestsSent += 1;
  }

  #seal(
    now: Instant,
    receiver: Uint8Array,
    content: Pick<SealOptions, "kind" | "exchangeId" | "extra">,
    gate = receiver,
  ): Uint8Array | undefined {
    const { crypto, networkId, identity } = this.#options;
    // Never the same stamp twice, however coarse the clock: the receiver takes that as a replay.
    this.#lastSentWallMs = Math.max(now.wallMs, this.#lastSentWallMs + 1);
    const options: SealOptions = {
      crypto,
      networkId,
      sender: identity,
      record: this.#options.record(),
      receiver,
      ...content,
      sentWallMs: this.#lastSentWallMs,
    };
    return equalBytes(gate, receiver) ? sealIntroduction(options) : sealForwarded(options, gate);
  }

  #namedNow(): ReadonlyMap<number, boolean> {
    if (this.#named !== undefined) return this.#named;
    const named = new Map<number, boolean>();
    this.#each(({ key, endpoints }) => {
      if (key === undefined) return;
      named.set(key, endpoints === undefined || named.get(key) === true);
    });
    this.#named = named;
    return named;
  }

  /** Who is dialled, or when, has changed. */
  #changed(): void {
    this.#isStale = true;
    this.#named = undefined;
  }

  #each(visit: (target: Target) => void): void {
    for (const target of this.#seeds) visit(target);
    for (const target of this.#hints) visit(target);
    for (const target of this.#joining) visit(target);
    for (const target of this.#members.values()) visit(target);
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

/** Too long ago for an answer to count. */
function isOver(now: Instant, { sentAtMs }: Exchange): boolean {
  return sentAtMs + exchangeLifetimeMs <= now.ms;
}

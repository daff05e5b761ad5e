/**
 * Paths to members: finds ways that work, keeps the best in use, and never stops looking for a better
 * one. For each member with a session it says where both may be (whereabouts), probes every way at
 * once while the other does the same, takes a way after an authenticated answer by it, and checks the
 * one in use when the data plane says that it is silent. Members are named by slot. Pure: five verbs.
 *
 * At most 64 probes to a member at once and 120 a minute for long, answers not counted; and where one
 * NAT is symmetric and the other restricted, 1,024 guesses or 256 sprayed probes in a minute. What a node
 * sends to all together is bounded too (probe-limits.ts). What a way carries (path-size.ts) is asked only while long packets go by it.
 */

import type { NatKind } from "../base/candidate.ts";
import { earliest, type Instant } from "../base/clock.ts";
import { Deadlines } from "../base/deadlines.ts";
import { type Endpoint, relayWayOf, sameEndpoint } from "../base/endpoint.ts";
import type { Random } from "../base/random.ts";
import { birthdayRole, Guesses, outsideOf, Sprays } from "./birthday.ts";
import { knowsEnough } from "./kind.ts";
import type { LinkTerms } from "./link-terms.ts";
import {
  answerMs,
  answerMsMin,
  type Choice,
  isDown,
  MemberPaths,
  type Way,
} from "./member-paths.ts";
import {
  candidatesMax,
  decodePathMessage,
  encodePathMessage,
  type PathMessage,
} from "./message.ts";
import { pathCounters } from "./path-counters.ts";
import { PathSize } from "./path-size.ts";
import { ProbeLimits } from "./probe-limits.ts";

export const probesBurst = 64;
export const probesPerMinute = 120;
/** Of one that is not sought: so many rounds of a search, and the next no sooner. */
const idleRounds = 3;
const idleRetryMs = 60_000;
/** A way by which a member is heard is not asked again sooner for that. */
const heardAgainMs = 1_000;
/** A way in use that answered so recently is not asked for what is heard by a relay. */
const heardElsewhereMs = 20_000;
/** For so long one is sought that asked for it. */
const askedMs = 15_000;
/** Answers and whereabouts that a member gets for what it sends, a second. */
const answersPerSecond = 40;
/** Between the probes of a search, in ms. */
const searchWaitsMs = [100, 150, 250, 400, 600, 1_000];
/** A relayed member is searched for again after this long, and then ever more slowly. */
const retryMsMin = 4_000;
const retryMsMax = 60_000;
const retryGrowth = 1.25;
/** Searches at the least wait before it grows. */
const retriesAtOnce = 40;
const checksMax = 6;
/** Side sockets that a spray uses (zig/constants.zig). */
export const sideSocketsMax = 256;
/** Side sockets wait so long for a guess at them, and this long for nothing once one was hit. */
const sprayedMs = 35_000;
const hitMs = 2_000;
/** One that is in use may be so no longer: looked at this often. */
const socketsMs = 60_000;
/** Of a member that is reached directly other addresses are asked so often: it need not be punched. */
const directRoundsMax = 2;
/** Searches in vain before ports are guessed at. */
const searchesBeforeBirthday = 0;
/** Whoever was sent long packets so recently is probably still. */
const sizeAskedMs = 60_000;
/** Whereabouts are told again no sooner, but for an answer. */
const tellMsMin = 500;
const queueMax = 8_192;

export interface PathTransmit {
  readonly to: number;
  /** undefined: where the data plane takes the member to be. */
  readonly by: Endpoint | undefined;
  readonly bytes: Uint8Array;
  /** To how many bytes it is padded inside the session, and then not fragmented. */
  readonly padded?: number;
}

export type PathEvent =
  | {
      readonly kind: "use";
      readonly slot: number;
      readonly endpoint: Endpoint;
      readonly why: Choice;
    }
  /** The member sees us there: as its own way leads to it, a NAT included. */
  | {
      readonly kind: "observed";
      readonly slot: number;
      readonly by: Endpoint;
      readonly seen: Endpoint;
    }
  /** No longer packet than this goes by the way in use; 0: nothing says that there is a limit. */
  | { readonly kind: "size"; readonly slot: number; readonly bytes: number }
  /** Side sockets are needed, for the transmits that follow; or no more than are in use. */
  | { readonly kind: "sockets"; readonly open: boolean }
  /** Nothing answers by any way: perhaps the other side has forgotten the session. */
  | { readonly kind: "lost"; readonly slot: number };

interface State {
  readonly slot: number;
  readonly paths: MemberPaths;
  linked: boolean;
  tokens: number;
  answers: number;
  tokensAtMs: number;
  /** A search: which of its probes comes next. */
  searching: number | undefined;
  searchAtMs: number;
  retries: number;
  retryAtMs: number | undefined;
  /** A check of the way in use. */
  check: { startedMs: number; round: number; atMs: number } | undefined;
  toldAtMs: number;
  /** Until then a better way than a relay is looked for with all means. */
  soughtUntilMs: number;
  nat: NatKind;
  told: readonly Endpoint[];
  /** Where birthday probing was tried. */
  guesses: Guesses | undefined;
  sprays: Sprays | undefined;
  /** As the data plane knows it. */
  sizeTold: number;
  /** When long packets went to it, and as long as any may be. */
  sizeAsked: { readonly atMs: number; readonly bytesMax: number } | undefined;
}

export class Paths {
  readonly counters = pathCounters();
  readonly #random: Random;
  /** Ways through members that relay, the best first: asked for where an address does not do. */
  readonly #relaysOf: (slot: number) => readonly Endpoint[];
  /** Of members with a session alone: one without costs nothing. */
  readonly #states = new Map<number, State>();
  readonly #deadlines = new Deadlines<State>();
  readonly #transmits: PathTransmit[] = [];
  readonly #events: PathEvent[] = [];
  /** When side sockets are closed. */
  #socketsAtMs: number | undefined;
  readonly #limits = new ProbeLimits();
  #own: readonly Endpoint[] = [];
  #nat: NatKind = "unknown";

  constructor(random: Random, relaysOf: (slot: number) => readonly Endpoint[]) {
    this.#random = random;
    this.#relaysOf = relaysOf;
  }

  /** Where this node may be: told to members where it is news. Whether it is. */
  setOwn(now: Instant, candidates: readonly Endpoint[], nat: NatKind): boolean {
    const next = candidates.slice(0, candidatesMax);
    const same = nat === this.#nat && knowsEnough(nat, next, this.#own);
    if (same) return false;
    this.#own = next;
    this.#nat = nat;
    for (const state of this.#states.values()) {
      if (!state.linked) continue;
      this.#tell(now, state, false);
      this.#schedule(state);
    }
    return true;
  }

  /** A session came up, or was renewed, by this way. */
  link(now: Instant, slot: number, endpoint: Endpoint | undefined, terms: LinkTerms): void {
    const state = this.#state(now, slot);
    const isNew = !state.linked;
    if (endpoint !== undefined && (isNew || state.paths.current === undefined)) {
      state.paths.use(endpoint, "handshake");
      this.#sizeAnew(now, state);
    }
    state.linked = true;
    if (terms.seek) state.soughtUntilMs = Number.POSITIVE_INFINITY;
    const { current } = state.paths;
    if (terms.observe && current?.relayed === false) this.#probe(now, state, current);
    if (!isNew) return;
    if (terms.tell || current?.relayed !== false) this.#tell(now, state, false);
    this.#search(now, state);
    this.#schedule(state);
  }

  /** There is something for the member. */
  seek(now: Instant, slot: number): void {
    const state = this.#states.get(slot);
    if (state === undefined || state.soughtUntilMs === Number.POSITIVE_INFINITY) return;
    state.soughtUntilMs = Number.POSITIVE_INFINITY;
    if (!state.linked || state.paths.current?.relayed === false) return;
    state.retryAtMs = now.ms;
    this.#schedule(state);
  }

  /** Its session has ended: with the next one all begins anew. */
  unlink(slot: number): void {
    const state = this.#states.get(slot);
    if (state === undefined) return;
    this.#deadlines.set(state, undefined);
    this.#states.delete(slot);
    if (state.sizeTold !== 0) this.#emit({ kind: "size", slot, bytes: 0 });
  }

  paths(slot: number): MemberPaths | undefined {
    return this.#states.get(slot)?.paths;
  }

  /** An authentic packet of the member came by another way than the one in use. */
  handleHeard(now: Instant, slot: number, remote: Endpoint): void {
    const state = this.#states.get(slot);
    if (state === undefined || !state.linked) return;
    const way = state.paths.hear(remote);
    // It may have left the way in use, or never been there: that is asked too. Of two relays each side may
    // have its own by which it sends, and says nothing new by the other one.
    const confirmedMs = state.paths.current?.confirmedMs;
    const isSettled =
      way.relayed && confirmedMs !== undefined && now.ms - confirmedMs < heardElsewhereMs;
    const isKnown = isSettled && way.confirmedMs !== undefined;
    // Whoever copies its packets has them come from anywhere: then the way in use is asked when silent.
    if (!this.#hasSpare(now, state)) return;
    // Its answer is heard too: of two that are heard in turn each would have the other asked for ever.
    if (!isKnown && now.ms - way.sentMs >= heardAgainMs) this.#probe(now, state, way);
    if (!isSettled) this.#startCheck(now, state);
    this.#schedule(state);
  }

  /** The data plane has moved the member itself: its own way was silent. */
  handleMoved(now: Instant, slot: number, remote: Endpoint): void {
    const state = this.#states.get(slot);
    if (state === undefined || sameEndpoint(state.paths.current?.endpoint, remote)) return;
    state.paths.fail(now.ms);
    state.paths.use(remote, "silent");
    this.#sizeAnew(now, state);
    this.#startCheck(now, state);
    this.#schedule(state);
  }

  handleSilent(now: Instant, slot: number): void {
    const state = this.#states.get(slot);
    if (state === undefined || !state.linked) return;
    this.#startCheck(now, state);
    this.#schedule(state);
  }

  /** Packets of up to so many bytes are sent to the member: whether they pass is not known, or was long ago. */
  handleSizeWanted(now: Instant, slot: number, bytesMax: number): void {
    const state = this.#states.get(slot);
    if (state === undefined || !state.linked) return;
    state.sizeAsked = { atMs: now.ms, bytesMax };
    this.#sizeAnew(now, state);
    this.#schedule(state);
  }

  /** Addresses or routes have changed here: every way in use is asked, and all are told. */
  networkChanged(now: Instant): void {
    for (const state of this.#states.values()) {
      if (!state.linked) continue;
      state.toldAtMs = Number.NEGATIVE_INFINITY;
      this.#tell(now, state, true);
      this.#startCheck(now, state);
      this.#schedule(state);
    }
  }

  /** A path message out of the member's session, and the way it came. */
  handleMessage(now: Instant, slot: number, bytes: Uint8Array, remote: Endpoint): void {
    const message = decodePathMessage(bytes);
    if (message === undefined) {
      this.counters.malformed += 1;
      return;
    }
    const state = this.#states.get(slot);
    if (state === undefined) return;
    switch (message.kind) {
      case "probe":
        this.#answer(now, state, message.number, remote);
        break;
      case "reply":
        this.#handleReply(now, state, message, remote);
        break;
      case "whereabouts":
        this.#handleWhereabouts(now, state, message);
    }
    this.#schedule(state);
  }

  handleTimeout(now: Instant): void {
    if (this.#socketsAtMs !== undefined && this.#socketsAtMs <= now.ms) this.#closeSockets(now);
    for (let state = this.#deadlines.takeDue(now.ms); state; ) {
      this.#act(now, state);
      this.#schedule(state);
      state = this.#deadlines.takeDue(now.ms);
    }
  }

  nextTimeout(): number | undefined {
    return earliest([this.#deadlines.next(), this.#socketsAtMs]);
  }

  pollTransmit(): PathTransmit | undefined {
    return this.#transmits.shift();
  }

  pollEvent(): PathEvent | undefined {
    return this.#events.shift();
  }

  #act(now: Instant, state: State): void {
    if (state.check !== undefined && state.check.atMs <= now.ms) this.#judge(now, state);
    if (state.searching !== undefined && state.searchAtMs <= now.ms) this.#searchOn(now, state);
    if (state.retryAtMs !== undefined && state.retryAtMs <= now.ms) {
      state.retryAtMs = undefined;
      state.retries += 1;
      // Both probe at once: what a NAT lets in, it lets in because something went out.
      this.#tell(now, state, state.soughtUntilMs === Number.POSITIVE_INFINITY);
      this.#search(now, state);
      if (state.retries > searchesBeforeBirthday) this.#celebrate(now, state);
    }
    this.#guess(now, state);
    this.#probeSize(now, state);
  }

  /** Where one NAT has a mapping for each destination, chance is helped along: birthday.ts. */
  #celebrate(now: Instant, state: State): void {
    const role = birthdayRole(this.#nat, state.nat);
    const outside = outsideOf(state.told);
    if (role === undefined || outside === undefined || !isSought(now, state)) return;
    if (!this.#limits.hasBirthday(now.ms)) return;
    if (role === "guess") {
      state.guesses ??= new Guesses(this.#random);
      if (state.guesses.start(now.ms, outside.address)) this.#limits.takeBirthday();
      return;
    }
    state.sprays ??= new Sprays();
    if (this.#limits.spare(now.ms) >= sideSocketsMax && state.sprays.start(now.ms)) {
      this.#limits.takeBirthday();
      this.#emit({ kind: "sockets", open: true });
      this.#socketsAtMs = now.ms + sprayedMs;
      for (let socket = 1; socket <= sideSocketsMax; socket += 1) {
        const bytes = encodePathMessage({ kind: "probe", number: this.#newNumber() });
        this.#limits.take(now.ms);
        this.#send(state, { ...outside, socket }, bytes);
        this.counters.sprays += 1;
      }
    }
  }

  #closeSockets(now: Instant): void {
    this.#emit({ kind: "sockets", open: false });
    const used = [...this.#states.values()].some(({ paths }) => paths.current?.endpoint.socket);
    this.#socketsAtMs = used ? now.ms + socketsMs : undefined;
  }

  /** The member was found: its sockets need not wait any longer, unless another's still do. */
  #endSpray(now: Instant, state: State): void {
    if (state.sprays?.waits !== true) return;
    state.sprays.waits = false;
    for (const { sprays } of this.#states.values()) if (sprays?.waits === true) return;
    this.#socketsAtMs = now.ms + hitMs;
  }

  #guess(now: Instant, state: State): void {
    const { guesses, paths } = state;
    if (guesses === undefined) return;
    if (paths.current?.relayed === false) guesses.stop();
    for (const guess of guesses.take(now.ms, this.#limits.spare(now.ms))) {
      this.#limits.take(now.ms);
      const number = this.#newNumber();
      guesses.sent(number, guess);
      this.counters.guesses += 1;
      this.#send(state, guess, encodePathMessage({ kind: "probe", number }));
    }
  }

  /** Probes every way but the one in use, several times over a few seconds. */
  #search(now: Instant, state: State): void {
    state.searching = 0;
    state.searchAtMs = now.ms;
    this.#searchOn(now, state);
  }

  #searchOn(now: Instant, state: State): void {
    const round = state.searching ?? 0;
    const { current } = state.paths;
    const direct = current !== undefined && !current.relayed && !isDown(current);
    if (direct) {
      if (round >= directRoundsMax || !this.#compare(now, state, current)) {
        state.searching = undefined;
        return;
      }
    } else this.#probeAll(now, state, round);
    const wait =
      direct || isSought(now, state) || round < idleRounds ? searchWaitsMs[round] : undefined;
    state.searching = wait === undefined ? undefined : round + 1;
    if (wait !== undefined) state.searchAtMs = now.ms + wait;
    else if (!direct) state.retryAtMs = now.ms + this.#retryMs(now, state);
  }

  /** Whether another address is better than the one in use. False where there is none to ask. */
  #compare(now: Instant, state: State, current: Way): boolean {
    const others = state.paths.ways.filter((way) => way !== current && !way.relayed);
    if (others.length === 0) return false;
    if (current.rttMs === undefined) this.#probe(now, state, current);
    for (const way of others) if (this.#hasSpare(now, state)) this.#probe(now, state, way);
    return true;
  }

  #probeAll(now: Instant, state: State, round: number): void {
    const { paths } = state;
    const sought = isSought(now, state);
    if (round === 0) paths.setRelays(this.#relaysOf(state.slot));
    for (const way of paths.ways) {
      if (!paths.isAsked(now.ms, way, round, sought)) continue;
      if (this.#hasSpare(now, state) && this.#limits.takeSearch(now.ms, sought)) {
        this.#probe(now, state, way);
      } else this.counters.probesHeld += 1;
    }
  }

  #retryMs(now: Instant, state: State): number {
    const over = Math.max(0, state.retries - retriesAtOnce);
    const wait = !isSought(now, state)
      ? idleRetryMs
      : Math.min(retryMsMax, retryMsMin * retryGrowth ** over);
    return wait * (0.75 + this.#random.below(500) / 1_000);
  }

  #startCheck(now: Instant, state: State): void {
    const { current } = state.paths;
    if (state.check !== undefined) return;
    state.check = { startedMs: now.ms, round: 0, atMs: now.ms + answerMs(current) };
    if (current !== undefined) this.#probe(now, state, current);
  }

  /** The time in which the way in use should have answered is over. */
  #judge(now: Instant, state: State): void {
    const { check, paths } = state;
    if (check === undefined) return;
    const { current } = paths;
    if (current?.confirmedMs !== undefined && current.confirmedMs >= check.startedMs) {
      state.check = undefined;
      return;
    }
    const best = paths.bestSince(check.startedMs);
    if (best !== undefined) {
      paths.fail(now.ms);
      state.check = undefined;
      this.#use(now, state, best, "silent");
      return;
    }
    if (check.round >= checksMax) {
      state.check = undefined;
      paths.fail(now.ms);
      this.counters.lost += 1;
      this.#emit({ kind: "lost", slot: state.slot });
      state.retryAtMs ??= now.ms + this.#retryMs(now, state);
      return;
    }
    check.round += 1;
    check.atMs = now.ms + answerMsMin * check.round;
    paths.setRelays(this.#relaysOf(state.slot));
    for (const way of paths.ways) this.#probe(now, state, way);
    if (check.round === 1 || check.round === 3) this.#tellByAll(now, state);
  }

  /** The member may hear us by one way or another: it is asked to probe. */
  #tellByAll(now: Instant, state: State): void {
    state.toldAtMs = now.ms;
    const bytes = this.#whereabouts(true);
    const ways = state.paths.ways.filter((way) => way === state.paths.current || way.relayed);
    for (const way of ways) this.#send(state, way.endpoint, bytes);
  }

  #use(now: Instant, state: State, way: Way, why: Choice): void {
    state.paths.use(way.endpoint, why);
    this.counters.switches += 1;
    this.#emit({ kind: "use", slot: state.slot, endpoint: way.endpoint, why });
    this.#sizeAnew(now, state);
    state.retries = 0;
    // It worked a moment ago, so it is looked for eagerly again.
    if (way.relayed) state.retryAtMs ??= now.ms + this.#retryMs(now, state);
    else {
      state.retryAtMs = undefined;
      this.#endSpray(now, state);
    }
  }

  /** The way in use is another, or is asked about: what it carries is told, and looked for. */
  #sizeAnew(now: Instant, state: State): void {
    const { sizeAsked } = state;
    const way = state.paths.current;
    if (way !== undefined && sizeAsked !== undefined && now.ms - sizeAsked.atMs < sizeAskedMs) {
      way.size ??= new PathSize();
      way.size.start(now.ms, sizeAsked.bytesMax);
    }
    this.#tellSize(state);
  }

  #tellSize(state: State): void {
    const bytes = state.paths.current?.size?.limit ?? 0;
    if (bytes === state.sizeTold) return;
    state.sizeTold = bytes;
    this.#emit({ kind: "size", slot: state.slot, bytes });
  }

  /** A probe as long as the packets are, and a short one beside it: which of both is lost says why. */
  #probeSize(now: Instant, state: State): void {
    const way = state.paths.current;
    const due = way?.size?.atMs;
    if (way?.size === undefined || due === undefined || due > now.ms) return;
    way.size.missed(now.ms, way.confirmedMs);
    this.#tellSize(state);
    const number = this.#newNumber();
    const padded = way.size.take(now.ms, number, answerMs(way));
    if (padded === undefined) return;
    this.#refill(now, state);
    this.#limits.take(now.ms);
    state.tokens -= 1;
    this.counters.sizeProbes += 1;
    this.#send(state, way.endpoint, encodePathMessage({ kind: "probe", number }), padded);
    this.#probe(now, state, way);
  }

  #handleReply(
    now: Instant,
    state: State,
    reply: PathMessage & { kind: "reply" },
    by: Endpoint,
  ): void {
    const guess = state.guesses?.answered(reply.number);
    // Chance has found a way: from now on it is probed like any other.
    if (guess !== undefined) this.#probe(now, state, state.paths.hear(guess));
    const way = state.paths.answered(now.ms, reply.number, by);
    if (guess !== undefined) return;
    if (state.paths.current?.size?.answered(now.ms, reply.number)) {
      this.counters.probesAnswered += 1;
      this.#tellSize(state);
      return;
    }
    if (way === undefined) {
      this.counters.answersUnexpected += 1;
      return;
    }
    this.counters.probesAnswered += 1;
    const { observed: seen } = reply;
    if (seen !== undefined && !way.relayed) {
      this.#emit({ kind: "observed", slot: state.slot, by: way.endpoint, seen });
    }
    const why = state.paths.isBetter(now.ms, way);
    if (why !== undefined) this.#use(now, state, way, why);
    // One that failed has to prove itself, and does so at once.
    else if (way !== state.paths.current && state.paths.current?.relayed && !way.relayed) {
      this.#probe(now, state, way);
    } else if (way === state.paths.current) {
      state.check = undefined;
      if (way.straight === 0) this.#straighten(now, state, state.paths.hear(by));
    }
  }

  /** The way in use leads through that one too: it is taken alone, if it answers. */
  #straighten(now: Instant, state: State, way: Way): void {
    const isFresh = way.confirmedMs !== undefined && now.ms - way.confirmedMs < heardAgainMs;
    const why = isFresh ? state.paths.isBetter(now.ms, way) : undefined;
    if (why !== undefined) this.#use(now, state, way, why);
    else if (now.ms - way.sentMs >= heardAgainMs) this.#probe(now, state, way);
  }

  #handleWhereabouts(
    now: Instant,
    state: State,
    message: PathMessage & { kind: "whereabouts" },
  ): void {
    if (!this.#mayAnswer(now, state)) return;
    state.paths.setTold(message.candidates);
    state.told = message.candidates;
    state.nat = message.nat;
    if (message.ask) {
      state.soughtUntilMs = Math.max(state.soughtUntilMs, now.ms + askedMs);
      this.#send(state, undefined, this.#whereabouts(false));
    }
    if (state.searching === undefined || state.searching > 1) this.#search(now, state);
    else {
      // A search has just begun: what it did not know of yet is probed too.
      const fresh = state.paths.ways.filter(({ sentMs }) => sentMs < 0);
      for (const way of fresh) if (this.#hasSpare(now, state)) this.#probe(now, state, way);
    }
  }

  #answer(now: Instant, state: State, number: number, remote: Endpoint): void {
    if (!this.#mayAnswer(now, state)) return;
    this.counters.answersSent += 1;
    const observed = relayWayOf(remote) === undefined ? remote : undefined;
    this.#send(state, remote, encodePathMessage({ kind: "reply", number, observed }));
  }

  #mayAnswer(now: Instant, state: State): boolean {
    this.#refill(now, state);
    if (state.answers < 1) {
      this.counters.answersHeld += 1;
      return false;
    }
    state.answers -= 1;
    return true;
  }

  #probe(now: Instant, state: State, way: Way): void {
    this.#refill(now, state);
    if (state.tokens < 1 || !this.#limits.take(now.ms)) {
      this.counters.probesHeld += 1;
      return;
    }
    state.tokens -= 1;
    const number = this.#newNumber();
    state.paths.sent(now.ms, way, number);
    this.counters.probesSent += 1;
    this.#send(state, way.endpoint, encodePathMessage({ kind: "probe", number }));
  }

  /** One that could be guessed would be answered for a stranger's address, which data then went to. */
  #newNumber(): number {
    return this.#random.below(2 ** 32);
  }

  /** Whether it may be sent a probe that is no check of the way in use. */
  #hasSpare(now: Instant, state: State): boolean {
    this.#refill(now, state);
    return this.#limits.hasSpare(now.ms, state.tokens);
  }

  #refill(now: Instant, state: State): void {
    const seconds = Math.max(0, now.ms - state.tokensAtMs) / 1_000;
    state.tokensAtMs = now.ms;
    state.tokens = Math.min(probesBurst, state.tokens + (seconds * probesPerMinute) / 60);
    state.answers = Math.min(2 * answersPerSecond, state.answers + seconds * answersPerSecond);
  }

  #tell(now: Instant, state: State, ask: boolean): void {
    if (now.ms - state.toldAtMs < tellMsMin) return;
    state.toldAtMs = now.ms;
    this.#send(state, undefined, this.#whereabouts(ask));
  }

  #whereabouts(ask: boolean): Uint8Array {
    return encodePathMessage({ kind: "whereabouts", ask, nat: this.#nat, candidates: this.#own });
  }

  #send(state: State, by: Endpoint | undefined, bytes: Uint8Array, padded?: number): void {
    if (this.#transmits.length >= queueMax) this.counters.dropped += 1;
    else this.#transmits.push({ to: state.slot, by, bytes, ...(padded && { padded }) });
  }

  #emit(event: PathEvent): void {
    if (this.#events.length >= queueMax) this.counters.dropped += 1;
    else this.#events.push(event);
  }

  #schedule(state: State): void {
    const searchAtMs = state.searching === undefined ? undefined : state.searchAtMs;
    const sizeAtMs = state.paths.current?.size?.atMs;
    const { check, guesses, retryAtMs } = state;
    const next = earliest([check?.atMs, searchAtMs, retryAtMs, guesses?.atMs, sizeAtMs]);
    this.#deadlines.set(state, next);
  }

  #state(now: Instant, slot: number): State {
    const known = this.#states.get(slot);
    if (known !== undefined) return known;
    const state: State = {
      slot,
      paths: new MemberPaths(),
      linked: false,
      tokens: probesBurst,
      answers: answersPerSecond,
      tokensAtMs: now.ms,
      searching: undefined,
      searchAtMs: 0,
      retries: 0,
      retryAtMs: undefined,
      check: undefined,
      toldAtMs: Number.NEGATIVE_INFINITY,
      soughtUntilMs: Number.NEGATIVE_INFINITY,
      nat: "unknown",
      told: [],
      guesses: undefined,
      sprays: undefined,
      sizeTold: 0,
      sizeAsked: undefined,
    };
    this.#states.set(slot, state);
    return state;
  }
}

function isSought(now: Instant, { soughtUntilMs }: State): boolean {
  return now.ms < soughtUntilMs;
}

/**
 * The ways to one member: addresses and relays, what probes said of each, and which is in use. A way
 * is used only after an authenticated answer by it. It decides what to probe and when to switch;
 * paths.ts sends, paces and keeps the clock. Pure.
 */
import { type Endpoint, isCarried, relayWayOf, sameEndpoint } from "../base/endpoint.ts";
import { isPrivate } from "../base/ip.ts";
import type { PathSize } from "./path-size.ts";

/** Where a way comes from; what was heard is kept least long. */
export type WaySource = "told" | "heard" | "relay";

export interface Way {
  readonly endpoint: Endpoint;
  /** By a member that relays, or in a stream: left for an address as soon as one answers. */
  readonly relayed: boolean;
  /** Of a local network: ours, where no NAT need be opened by probes, or another, where none arrives. */
  readonly isPrivate: boolean;
  source: WaySource;
  /** Of the probe that waits for an answer. */
  number: number | undefined;
  sentMs: number;
  /** When the last answer came; undefined: none yet. */
  confirmedMs: number | undefined;
  rttMs: number | undefined;
  /** Share of probes lost, smoothed. */
  loss: number;
  /**
   * Of a relay: answers since one came by another. Whoever answers sends by the relay that a probe came
   * by, so there were several on the way.
   */
  straight: number;
  /** When it was given up while in use. */
  failedMs: number | undefined;
  /** Answers since it failed. */
  streak: number;
  /** How long a packet it carries, where that was asked. */
  size: PathSize | undefined;
}

/** Why the way in use was taken, or changed. */
export type Choice = "first" | "direct" | "shorter" | "faster" | "silent" | "handshake";

export const toldWaysMax = 12;
export const heardWaysMax = 4;
export const relayWaysMax = 3;
/** Rounds of a search in which an address of a local network is asked: two find what is there. */
const privateRounds = [0, 3];
/** While a relay is in use and works, others are asked no more often. */
const relaysAgainMs = 20_000;
/** A way that failed a short while ago has to answer more often before it is trusted. */
const failedRecentlyMs = 30_000;
const streakAfterFailure = 3;
/** So many must come by itself before it counts as the only one again: it may do so when it is not used. */
const straightAfterWinding = 8;
/** How long an answer by a way may take, at least. */
export const answerMsMin = 250;
const answerRtts = 4;
const rttGain = 0.25;
const lossGain = 0.2;
/** A loss of 1 % weighs as much as so many ms. */
const lossWeightMs = 5;
/** Whatever the one in use loses above this has other relays asked; one probe of the last three is more. */
const lossNoted = 0.1;
/** One relay goes before several where it loses no more than this, and stays until it loses that. */
const lossTaken = 0.2;
const lossLeft = 0.4;
/** Among ways of a kind, a switch must be worth it: this share, and this many ms. */
const fasterShare = 0.7;
const fasterMsMin = 2;

export class MemberPaths {
  readonly #ways: Way[] = [];
  current: Way | undefined;
  why: Choice = "first";

  get ways(): readonly Way[] {
    return this.#ways;
  }

  /** What the member says of itself, the likeliest first: in place of what it said before. */
  setTold(endpoints: readonly Endpoint[]): void {
    this.#replace("told", endpoints.slice(0, toldWaysMax));
  }

  setRelays(endpoints: readonly Endpoint[]): void {
    this.#replace("relay", endpoints.slice(0, relayWaysMax));
  }

  /** An authentic packet of the member came from there. */
  hear(endpoint: Endpoint): Way {
    const known = this.find(endpoint);
    if (known !== undefined) return known;
    this.#forget(heardWaysMax - 1);
    return this.#add(endpoint, "heard");
  }

  find(endpoint: Endpoint): Way | undefined {
    return this.#ways.find((way) => sameEndpoint(way.endpoint, endpoint));
  }

  /** The data plane or a handshake says that this is the way in use. */
  use(endpoint: Endpoint, why: Choice): Way {
    this.current = this.hear(endpoint);
    this.why = why;
    return this.current;
  }

  /** In this round of a search for one that no address is known to reach. */
  isAsked(nowMs: number, way: Way, round: number, sought: boolean): boolean {
    const { current } = this;
    const isUp = current !== undefined && !isDown(current);
    if (way === current) {
      if (!isUp || way.rttMs === undefined) return true;
      // A relay in use that loses much is silent for nobody: it is measured with the others.
      return way.relayed && round === 0;
    }
    if (!way.relayed) return !way.isPrivate || privateRounds.includes(round);
    // Relays are asked once: they answer, or they are not there.
    if (round > 0) return false;
    // A first answer may have come before the one in use was measured.
    const isDue = sought && (way.streak === 1 || nowMs - way.sentMs >= relaysAgainMs);
    return !isUp || current.loss > lossNoted || isDue;
  }

  /** A probe goes out by the way; one that has waited for an answer as long as one may take is lost. */
  sent(nowMs: number, way: Way, number: number): void {
    if (way.number !== undefined && nowMs - way.sentMs >= answerMs(way)) this.#lost(way);
    way.number = number;
    way.sentMs = nowMs;
  }

  /** An answer, and by which way; undefined where nothing of that number is awaited. */
  answered(nowMs: number, number: number, by: Endpoint): Way | undefined {
    const way = this.#ways.find((each) => each.number === number);
    if (way === undefined) return undefined;
    way.number = undefined;
    way.confirmedMs = nowMs;
    const winds = relayWayOf(way.endpoint) !== undefined && !sameEndpoint(way.endpoint, by);
    way.straight = winds ? 0 : way.straight + 1;
    way.streak += 1;
    const rttMs = nowMs - way.sentMs;
    way.rttMs = way.rttMs === undefined ? rttMs : way.rttMs + rttGain * (rttMs - way.rttMs);
    way.loss -= lossGain * way.loss;
    return way;
  }

  /** Whether the way that has just answered should be taken in place of the current one. */
  isBetter(nowMs: number, way: Way): Choice | undefined {
    const { current } = this;
    if (way === current) return undefined;
    const failed = way.failedMs !== undefined && nowMs - way.failedMs < failedRecentlyMs;
    if (failed && way.streak < streakAfterFailure) return undefined;
    if (current === undefined) return "first";
    if (isDown(current)) return "silent";
    if (current.relayed !== way.relayed) return current.relayed ? "direct" : undefined;
    // What others send through this node has fewer hops left than its own: one relay, where one does.
    if (current.straight === 0 && !isWinding(way) && way.loss <= lossTaken) return "shorter";
    if (!isWinding(current) && isWinding(way) && current.loss <= lossLeft) return undefined;
    // A way that has not been measured is not judged slow.
    if (current.rttMs === undefined) return undefined;
    const gain = cost(current) - cost(way);
    return gain >= fasterMsMin && cost(way) < fasterShare * cost(current) ? "faster" : undefined;
  }

  /** The best of the ways that answered since then: direct before relayed, one relay before several, then by rtt and loss. */
  bestSince(sinceMs: number): Way | undefined {
    return this.#ways
      .filter(({ confirmedMs }) => confirmedMs !== undefined && confirmedMs >= sinceMs)
      .toSorted((a, b) => detour(a) - detour(b) || cost(a) - cost(b))[0];
  }

  /** The current way is silent, and another one is taken. */
  fail(nowMs: number): void {
    const { current } = this;
    if (current === undefined) return;
    current.failedMs = nowMs;
    current.streak = 0;
    current.number = undefined;
    this.#lost(current);
  }

  #lost(way: Way): void {
    way.loss += lossGain * (1 - way.loss);
  }

  #replace(source: WaySource, endpoints: readonly Endpoint[]): void {
    for (const way of this.#ways.filter((each) => each.source === source)) {
      if (endpoints.some((endpoint) => sameEndpoint(endpoint, way.endpoint))) continue;
      // The one in use stays until another is: that it is named no longer proves nothing.
      if (way === this.current) way.source = "heard";
      else this.#drop(way);
    }
    for (const endpoint of endpoints) {
      const known = this.find(endpoint);
      if (known === undefined) this.#add(endpoint, source);
      else known.source = source;
    }
    this.#forget(heardWaysMax);
  }

  /** Of those that were only heard, or are named no longer, so many stay beside the one in use. */
  #forget(most: number): void {
    const heard = this.#ways.filter((way) => way.source === "heard" && way !== this.current);
    for (const way of heard.slice(0, Math.max(0, heard.length - most))) this.#drop(way);
  }

  #add(endpoint: Endpoint, source: WaySource): Way {
    const relayed = relayWayOf(endpoint) !== undefined || isCarried(endpoint);
    const way: Way = {
      endpoint,
      relayed,
      isPrivate: !relayed && isPrivate(endpoint.address),
      source,
      number: undefined,
      sentMs: Number.NEGATIVE_INFINITY,
      confirmedMs: undefined,
      rttMs: undefined,
      loss: 0,
      straight: straightAfterWinding,
      failedMs: undefined,
      streak: 0,
      size: undefined,
    };
    this.#ways.push(way);
    return way;
  }

  #drop(way: Way): void {
    this.#ways.splice(this.#ways.indexOf(way), 1);
  }
}

/** It failed, and has not answered since. */
export function isDown({ failedMs, confirmedMs }: Way): boolean {
  return failedMs !== undefined && (confirmedMs ?? Number.NEGATIVE_INFINITY) < failedMs;
}

/** How long an answer by the way may take. */
export function answerMs(way: Way | undefined): number {
  return Math.max(answerMsMin, answerRtts * (way?.rttMs ?? 0));
}

function isWinding({ straight }: Way): boolean {
  return straight < straightAfterWinding;
}

function detour(way: Way): number {
  return Number(way.relayed) + Number(isWinding(way));
}

function cost(way: Way): number {
  return (way.rttMs ?? 1_000) + way.loss * 100 * lossWeightMs;
}

/**
 * What stands between this node and the others, judged by where they see it (RFC 4787 section 4.1):
 * as many observers as possible, each by its own address. Pure.
 */
import type { NatKind } from "../base/candidate.ts";
import { type Endpoint, formatEndpoint, sameEndpoint } from "../base/endpoint.ts";
import { isGlobal } from "../base/ip.ts";

export interface Observation {
  /** Who saw it: two at one address are one observer. */
  readonly observer: Endpoint;
  readonly seen: Endpoint;
  readonly atMs: number;
}

export interface Judgement {
  readonly kind: NatKind;
  /** One observer's word for a NAT, or nobody's but neighbours' for there being none. */
  readonly isGuess: boolean;
}

/** Newest observations of distinct observers that are kept. */
export const observationsMax = 16;
/** An observation says nothing of a network that may have changed since. */
export const observationLifetimeMs = 180_000;
/** So many observers must agree before an address is told to others. */
const agreeingMin = 2;

export class Observations {
  readonly #byObserver = new Map<string, Observation>();

  add(observation: Observation): void {
    const key = observation.observer.address;
    this.#byObserver.delete(key);
    this.#byObserver.set(key, observation);
    const [oldest] = this.#byObserver.keys();
    if (this.#byObserver.size > observationsMax && oldest !== undefined) {
      this.#byObserver.delete(oldest);
    }
  }

  /** How many say something now, of either family. */
  observers(nowMs: number): number {
    let count = 0;
    for (const { atMs } of this.#byObserver.values()) {
      if (nowMs - atMs < observationLifetimeMs) count += 1;
    }
    return count;
  }

  clear(): void {
    this.#byObserver.clear();
  }

  /**
   * IPv4 alone: IPv6 is not translated where it works at all. `own`: addresses and the port of this
   * node. Of one observer it is assumed that a NAT that keeps the port keeps it for all, and that one
   * that does not has a mapping for each. Where nobody but neighbours sees it, their word is all there is.
   */
  judge(nowMs: number, own: readonly string[], port: number): Judgement {
    const current = this.#current(nowMs).filter(({ seen }) => !seen.address.includes(":"));
    if (current.length === 0) return { kind: "unknown", isGuess: true };
    const outside = current.filter((it) => !isNeighbour(it, own));
    if (outside.length === 0) return { kind: "none", isGuess: true };
    const isPublic = outside.some(
      ({ seen }) => own.includes(seen.address) && isGlobal(seen.address),
    );
    // A private address may go untranslated to some network: what the others see is the NAT's.
    const translated = outside.filter(({ seen }) => !own.includes(seen.address));
    if (isPublic || translated.length === 0) return { kind: "none", isGuess: false };
    const isGuess = translated.length < agreeingMin;
    const mappings = new Set(translated.map(({ seen }) => formatEndpoint(seen)));
    if (mappings.size > 1) return { kind: "hard", isGuess };
    const isKept = translated[0]?.seen.port === port;
    return { kind: !isGuess || isKept ? "easy" : "hard", isGuess };
  }

  /**
   * Where others may reach this node from outside, the most often seen first: what two observers
   * agree on, and while there is only one observer, what that one says. A symmetric NAT's mappings
   * are told too: its address is right, and a member can guess at the port.
   */
  candidates(nowMs: number): readonly Endpoint[] {
    const counts = new Map<string, { endpoint: Endpoint; count: number }>();
    const current = this.#current(nowMs);
    for (const { seen } of current) {
      const key = formatEndpoint(seen);
      const known = counts.get(key) ?? { endpoint: seen, count: 0 };
      known.count += 1;
      counts.set(key, known);
    }
    return [...counts.values()]
      .toSorted((a, b) => b.count - a.count)
      .map(({ endpoint }) => endpoint);
  }

  #current(nowMs: number): readonly Observation[] {
    return [...this.#byObserver.values()].filter(
      ({ atMs }) => nowMs - atMs < observationLifetimeMs,
    );
  }
}

/** Between private addresses nothing need be translated, whatever is on the way to the internet. */
function isNeighbour({ observer, seen }: Observation, own: readonly string[]): boolean {
  return own.includes(seen.address) && !isGlobal(seen.address) && !isGlobal(observer.address);
}

/**
 * Whether who was told the one need not be told the other: the order is no news, and of a NAT that has a
 * mapping for each destination only its addresses help anybody.
 */
export function knowsEnough(
  nat: NatKind,
  next: readonly Endpoint[],
  told: readonly Endpoint[],
): boolean {
  if (nat === "hard") {
    return next.every(({ address }) => told.some((known) => known.address === address));
  }
  const isTold = (endpoint: Endpoint): boolean => told.some((it) => sameEndpoint(it, endpoint));
  return next.length === told.length && next.every(isTold);
}

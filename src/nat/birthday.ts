/**
 * Birthday probing, where one side's NAT has a mapping for each destination and the other's lets in
 * only whom it was sent to: the first sends a packet to the second from each of its side sockets, which
 * makes as many mappings; the second guesses at ports. 256 mappings and 1,024 guesses meet with a
 * probability of 98 %. Owns whose turn it is and which ports are guessed; paths.ts sends. Pure.
 */
import type { NatKind } from "../base/candidate.ts";
import type { Endpoint } from "../base/endpoint.ts";
import { parseAddress } from "../base/ip.ts";
import type { Random } from "../base/random.ts";

export const guessesMax = 1_024;
const guessesAtOnce = 64;
const guessEveryMs = 250;
/** Ports below are given to nobody by a NAT that draws them. */
const portMin = 1_024;
/** After the last guess of a try that found nothing. */
const restMs = 60_000;

export type BirthdayRole = "spray" | "guess";

/** What this node does for a pair of NATs; undefined: nothing, for it would not help. */
export function birthdayRole(own: NatKind, other: NatKind): BirthdayRole | undefined {
  if (own === "hard" && other === "easy") return "spray";
  if (own === "easy" && other === "hard") return "guess";
  return undefined;
}

/** The address outside that the other is seen at: of IPv4, and no private one (RFC 1918, RFC 6598). */
export function outsideOf(candidates: readonly Endpoint[]): Endpoint | undefined {
  return candidates.find(({ address }) => {
    const parsed = parseAddress(address);
    if (parsed === undefined || parsed.family !== 4) return false;
    const [first = 0, second = 0] = parsed.bytes;
    if (first === 10 || (first === 192 && second === 168)) return false;
    if (first === 172 && second >= 16 && second < 32) return false;
    return !(first === 100 && second >= 64 && second < 128) && !(first === 169 && second === 254);
  });
}

/** One side's guesses at one member's ports, a few at a time. */
export class Guesses {
  readonly #random: Random;
  #ports: number[] = [];
  #address = "";
  #nextAtMs = 0;
  #restUntilMs = Number.NEGATIVE_INFINITY;
  /** By the number of the probe that carries the guess. */
  readonly #byNumber = new Map<number, Endpoint>();

  constructor(random: Random) {
    this.#random = random;
  }

  /** When the next few are due. */
  get atMs(): number | undefined {
    return this.#ports.length === 0 ? undefined : this.#nextAtMs;
  }

  /** Begins, unless it rests or is at it. */
  start(nowMs: number, address: string): boolean {
    if (this.#ports.length > 0 || nowMs < this.#restUntilMs) return false;
    this.#address = address;
    this.#byNumber.clear();
    const ports = new Set<number>();
    while (ports.size < guessesMax) ports.add(portMin + this.#random.below(65_536 - portMin));
    this.#ports = [...ports];
    this.#nextAtMs = nowMs;
    this.#restUntilMs = nowMs + restMs;
    return true;
  }

  stop(): void {
    this.#ports = [];
  }

  /** Those that are due, `most` at most: the others wait. */
  take(nowMs: number, most: number): readonly Endpoint[] {
    if (this.#ports.length === 0 || nowMs < this.#nextAtMs) return [];
    this.#nextAtMs = nowMs + guessEveryMs;
    this.#restUntilMs = nowMs + restMs;
    const address = this.#address;
    return this.#ports.splice(0, Math.min(guessesAtOnce, most)).map((port) => ({ address, port }));
  }

  sent(number: number, guess: Endpoint): void {
    this.#byNumber.set(number, guess);
  }

  /** The guess that was right. */
  answered(number: number): Endpoint | undefined {
    const guess = this.#byNumber.get(number);
    if (guess !== undefined) this.stop();
    return guess;
  }
}

/** When this side last made its mappings for a member. */
export class Sprays {
  /** For somebody to guess at one of them. */
  waits = false;
  #restUntilMs = Number.NEGATIVE_INFINITY;

  start(nowMs: number): boolean {
    if (nowMs < this.#restUntilMs) return false;
    this.#restUntilMs = nowMs + restMs / 2;
    this.waits = true;
    return true;
  }
}

/**
 * What a node may send to find paths, to all members together: in a large mesh many are reached by a
 * relay at any time, and what each one is granted by itself would add up. Whoever there is something
 * for goes first, and what is in use is asked even when searches and chance have used up their share.
 * Answers are not counted. Time is an argument.
 */
import { hasToken, refill, type TokenBucket, takeToken } from "../base/token-bucket.ts";

/** Probes of all kinds. */
export const nodeProbesPerSecond = 80;
export const nodeProbesBurst = 3_072;
/** So many of them are left to checks of ways in use. */
const checksKept = 512;
/** And so many of a member's own. */
const memberChecksKept = 16;
/** Probes of searches. Who is not sought has none of the last half. */
export const searchProbesPerSecond = 60;
export const searchProbesBurst = 600;
/** Members for whom chance is tried, at once and in a minute. */
export const birthdaysMax = 4;

export class ProbeLimits {
  readonly #all: TokenBucket = { tokens: nodeProbesBurst, atMs: 0 };
  readonly #searches: TokenBucket = { tokens: searchProbesBurst, atMs: 0 };
  readonly #birthdays: TokenBucket = { tokens: birthdaysMax, atMs: 0 };

  /** Takes a probe, if there is one: each that is sent, whatever for. */
  take(nowMs: number): boolean {
    return takeToken(this.#all, nowMs, nodeProbesPerSecond, nodeProbesBurst);
  }

  /** How many there are beside those that are left to checks. */
  spare(nowMs: number): number {
    const all = refill(this.#all, nowMs, nodeProbesPerSecond, nodeProbesBurst);
    return Math.max(0, Math.floor(all - checksKept));
  }

  /** Whether there are such, and beside those of the member's own that are left to its check. */
  hasSpare(nowMs: number, tokens: number): boolean {
    return tokens > memberChecksKept && this.spare(nowMs) > 0;
  }

  /** Takes a search's share in a probe, if there is one. */
  takeSearch(nowMs: number, sought: boolean): boolean {
    const searches = refill(this.#searches, nowMs, searchProbesPerSecond, searchProbesBurst);
    if (searches < (sought ? 1 : searchProbesBurst / 2)) return false;
    if (this.spare(nowMs) === 0) return false;
    this.#searches.tokens -= 1;
    return true;
  }

  hasBirthday(nowMs: number): boolean {
    return hasToken(this.#birthdays, nowMs, birthdaysMax / 60, birthdaysMax);
  }

  takeBirthday(): void {
    this.#birthdays.tokens -= 1;
  }
}

/**
 * What looking for better ways may send to all members together: in a large mesh many are reached by a
 * relay at any time, and what each one is granted by itself would add up. Whoever there is something
 * for goes first. Time is an argument.
 */
import { hasToken, type TokenBucket } from "../base/token-bucket.ts";

/** Probes of searches. Who is not sought has none of the last half. */
export const searchProbesPerSecond = 60;
export const searchProbesBurst = 600;
/** Members for whom chance is tried, at once and in a minute. */
export const birthdaysMax = 4;

export class ProbeLimits {
  readonly #searches: TokenBucket = { tokens: searchProbesBurst, atMs: 0 };
  readonly #birthdays: TokenBucket = { tokens: birthdaysMax, atMs: 0 };

  /** Takes a probe, if there is one. */
  takeSearch(nowMs: number, sought: boolean): boolean {
    hasToken(this.#searches, nowMs, searchProbesPerSecond, searchProbesBurst);
    if (this.#searches.tokens < (sought ? 1 : searchProbesBurst / 2)) return false;
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

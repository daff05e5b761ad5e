/**
 * When to try for a session with whom: members due at a time, taken at a bounded rate, so that
 * learning of a thousand members at once is no burst of a thousand handshakes. It paces; what an
 * attempt is, node.ts knows.
 */
import { Deadlines } from "../base/deadlines.ts";
import type { Member } from "./member.ts";

/** At a session. */
export const attempts = {
  /** Between two, each at the next endpoint; above WireGuard's 5 s. */
  intervalMs: 5_400,
  /** Then probing takes over, ever more slowly. */
  max: 16,
  /** In a large mesh one unanswered probe after the other asks again. */
  lazyMax: 2,
  /** Who asked for an introduction opens the session; after this we try ourselves. */
  askedGraceMs: 1_000,
  /** So many in vain: it may lack our record, and is introduced to us. */
  alone: 2,
} as const;

export const openingsPerSecond = 100;
export const openingsBurst = 64;
const spacingMs = 1000 / openingsPerSecond;

export class Openings {
  readonly #due = new Deadlines<Member>();
  /**
   * When the rate lets the next one go. A time and no count of tokens: what is waited for is then the
   * number that is compared, and not a sum that may round to just before it, and have it waited for again.
   */
  #freeAtMs = Number.NEGATIVE_INFINITY;

  /** At that time, or earlier if it was due earlier. */
  schedule(member: Member, atMs: number): void {
    if (member.openAtMs !== undefined && member.openAtMs <= atMs) return;
    member.openAtMs = atMs;
    this.#due.set(member, atMs);
  }

  cancel(member: Member): void {
    member.openAtMs = undefined;
    this.#due.set(member, undefined);
  }

  /** The next member that is due, within the rate; it is scheduled no longer. */
  take(nowMs: number): Member | undefined {
    if (nowMs < this.#freeAtMs) return undefined;
    const member = this.#due.takeDue(nowMs);
    if (member === undefined) return undefined;
    member.openAtMs = undefined;
    this.#freeAtMs = Math.max(this.#freeAtMs, nowMs - (openingsBurst - 1) * spacingMs) + spacingMs;
    return member;
  }

  nextTimeout(): number | undefined {
    const due = this.#due.next();
    return due === undefined ? undefined : Math.max(due, this.#freeAtMs);
  }
}

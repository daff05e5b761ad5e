/**
 * What has been asked for and is not here yet, so that nothing is fetched twice at a time, from
 * whomever it is announced; and the announcements that wait for their subject's record. Bounded: what
 * does not fit is left to anti-entropy. Two subjects that share a key delay each other, and no more.
 */
import { shortKey } from "./store.ts";

export const fetchesMax = 4_096;
export const announcedMax = 1_024;
const triesMax = 4;
/** After this it may be asked for again. */
export const fetchTimeoutMs = 1_000;

export interface Announced {
  readonly low: number;
  readonly high: number;
  readonly statement: Uint8Array;
  /** Who told of it last, by slot. */
  readonly from: number;
  tries: number;
}

export class Fetches {
  /** When each may be asked for again, in the order of being asked for. */
  readonly #pending = new Map<number, number>();
  /** Statements about records that are not here, unverified. */
  readonly #announced = new Map<number, Announced>();
  dropped = 0;

  get size(): number {
    return this.#pending.size;
  }

  get announcedCount(): number {
    return this.#announced.size;
  }

  /** Whether it is to be asked for now; then it counts as asked for. */
  want(nowMs: number, low: number, high: number): boolean {
    const key = shortKey(low, high);
    const until = this.#pending.get(key);
    if (until !== undefined && until > nowMs) return false;
    if (until !== undefined) this.#pending.delete(key);
    if (this.#pending.size >= fetchesMax) this.#expire(nowMs);
    if (this.#pending.size >= fetchesMax) {
      this.dropped += 1;
      return false;
    }
    this.#pending.set(key, nowMs + fetchTimeoutMs);
    return true;
  }

  arrived(low: number, high: number): void {
    this.#pending.delete(shortKey(low, high));
  }

  /** Kept until the record is here: the newest of each subject. */
  announce(low: number, high: number, from: number, statement: Uint8Array): void {
    const key = shortKey(low, high);
    const tries = this.#announced.get(key)?.tries ?? 0;
    this.#announced.delete(key);
    if (this.#announced.size >= announcedMax) {
      this.#announced.delete(this.#announced.keys().next().value as number);
      this.dropped += 1;
    }
    this.#announced.set(key, { low, high, statement, from, tries });
  }

  takeAnnounced(low: number, high: number): Uint8Array | undefined {
    if (this.#announced.size === 0) return undefined;
    const key = shortKey(low, high);
    const announced = this.#announced.get(key);
    if (announced !== undefined) this.#announced.delete(key);
    return announced?.statement;
  }

  /** What was asked for in vain and is to be asked for once more: a few times, and no more. */
  overdue(nowMs: number): readonly Announced[] {
    const out: Announced[] = [];
    for (const [key, announced] of this.#announced) {
      if ((this.#pending.get(key) ?? 0) > nowMs) continue;
      announced.tries += 1;
      if (announced.tries >= triesMax) this.#announced.delete(key);
      else out.push(announced);
    }
    return out;
  }

  #expire(nowMs: number): void {
    for (const [key, until] of this.#pending) {
      if (until > nowMs) return;
      this.#pending.delete(key);
    }
  }
}

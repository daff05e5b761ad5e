/**
 * Virtual time for simulations: what is to happen, in order of time and then of being scheduled, so
 * that one seed has one history.
 */
import type { Instant } from "../../src/base/clock.ts";

export const wallStartMs = 1_750_000_000_000;

interface Entry {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

export class EventQueue {
  /** A binary heap: the earliest first. */
  readonly #heap: Entry[] = [];
  #order = 0;
  #nowMs = 0;

  get now(): Instant {
    return { ms: this.#nowMs, wallMs: wallStartMs + this.#nowMs };
  }

  schedule(atMs: number, run: () => void): void {
    this.#order += 1;
    const entry: Entry = { atMs: Math.max(atMs, this.#nowMs), order: this.#order, run };
    let at = this.#heap.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (isBefore(this.#heap[parent] as Entry, entry)) break;
      this.#heap[at] = this.#heap[parent] as Entry;
      at = parent;
    }
    this.#heap[at] = entry;
  }

  /** Runs everything until then, or until `done` says so; the time at which it stopped. */
  runUntil(untilMs: number, done: () => boolean = () => false): number {
    while (!done()) {
      const next = this.#heap[0];
      if (next === undefined || next.atMs > untilMs) {
        this.#nowMs = Math.max(this.#nowMs, untilMs);
        break;
      }
      this.#pop();
      this.#nowMs = next.atMs;
      next.run();
    }
    return this.#nowMs;
  }

  #pop(): void {
    const last = this.#heap.pop() as Entry;
    const length = this.#heap.length;
    if (length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= length) break;
      const right = child + 1;
      if (right < length && isBefore(this.#heap[right] as Entry, this.#heap[child] as Entry)) {
        child = right;
      }
      if (isBefore(last, this.#heap[child] as Entry)) break;
      this.#heap[at] = this.#heap[child] as Entry;
      at = child;
    }
    this.#heap[at] = last;
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.atMs === b.atMs ? a.order < b.order : a.atMs < b.atMs;
}

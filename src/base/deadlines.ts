/**
 * Deadlines of many items, at most one each, on one monotonic clock: the earliest at once, any
 * change in logarithmic time. A binary heap whose entries know where they stand.
 */
import { assert } from "./errors.ts";

interface Entry<T> {
  readonly item: T;
  atMs: number;
  /** Where it stands in the heap. */
  place: number;
}

export class Deadlines<T> {
  readonly #heap: Entry<T>[] = [];
  readonly #entries = new Map<T, Entry<T>>();

  get size(): number {
    return this.#heap.length;
  }

  /** The earliest deadline. */
  next(): number | undefined {
    return this.#heap[0]?.atMs;
  }

  /** Sets, moves or, with undefined, removes the item's deadline. */
  set(item: T, atMs: number | undefined): void {
    const entry = this.#entries.get(item);
    if (atMs === undefined) {
      if (entry !== undefined) this.#remove(entry);
    } else if (entry === undefined) {
      const added = { item, atMs, place: this.#heap.length };
      this.#entries.set(item, added);
      this.#heap.push(added);
      this.#rise(added);
    } else if (entry.atMs !== atMs) {
      entry.atMs = atMs;
      this.#rise(entry);
      this.#sink(entry);
    }
  }

  /** Takes out the item with the earliest deadline, if that is due. */
  takeDue(nowMs: number): T | undefined {
    const first = this.#heap[0];
    if (first === undefined || first.atMs > nowMs) return undefined;
    this.#remove(first);
    return first.item;
  }

  #remove(entry: Entry<T>): void {
    this.#entries.delete(entry.item);
    const last = this.#heap.pop();
    assert(last !== undefined, "the heap holds what is removed");
    if (last === entry) return;
    this.#put(entry.place, last);
    this.#rise(last);
    this.#sink(last);
  }

  #rise(entry: Entry<T>): void {
    let { place } = entry;
    while (place > 0) {
      const above = this.#heap[(place - 1) >> 1] as Entry<T>;
      if (above.atMs <= entry.atMs) break;
      this.#put(place, above);
      place = (place - 1) >> 1;
    }
    this.#put(place, entry);
  }

  #sink(entry: Entry<T>): void {
    const heap = this.#heap;
    let { place } = entry;
    for (;;) {
      let at = 2 * place + 1;
      if (at >= heap.length) break;
      const right = heap[at + 1];
      if (right !== undefined && right.atMs < (heap[at] as Entry<T>).atMs) at += 1;
      const below = heap[at] as Entry<T>;
      if (below.atMs >= entry.atMs) break;
      this.#put(place, below);
      place = at;
    }
    this.#put(place, entry);
  }

  #put(place: number, entry: Entry<T>): void {
    this.#heap[place] = entry;
    entry.place = place;
  }
}

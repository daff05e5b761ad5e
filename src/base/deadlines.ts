/**
 * Deadlines of many items, at most one each, on one monotonic clock: the earliest at once, any
 * change in logarithmic time. A binary heap that knows where each item stands in it.
 */
import { assert } from "./errors.ts";

interface Entry<T> {
  readonly item: T;
  atMs: number;
}

export class Deadlines<T> {
  readonly #heap: Entry<T>[] = [];
  readonly #places = new Map<T, number>();

  get size(): number {
    return this.#heap.length;
  }

  /** The earliest deadline. */
  next(): number | undefined {
    return this.#heap[0]?.atMs;
  }

  /** Sets, moves or, with undefined, removes the item's deadline. */
  set(item: T, atMs: number | undefined): void {
    const place = this.#places.get(item);
    if (atMs === undefined) {
      if (place !== undefined) this.#remove(place);
    } else if (place === undefined) {
      this.#heap.push({ item, atMs });
      this.#rise(this.#heap.length - 1);
    } else {
      this.#at(place).atMs = atMs;
      this.#sink(this.#rise(place));
    }
  }

  /** Takes out the item with the earliest deadline, if that is due. */
  takeDue(nowMs: number): T | undefined {
    const first = this.#heap[0];
    if (first === undefined || first.atMs > nowMs) return undefined;
    this.#remove(0);
    return first.item;
  }

  #remove(place: number): void {
    this.#places.delete(this.#at(place).item);
    const last = this.#heap.pop();
    assert(last !== undefined, "the heap holds what is removed");
    if (place === this.#heap.length) return;
    this.#put(place, last);
    this.#sink(this.#rise(place));
  }

  #rise(from: number): number {
    const entry = this.#at(from);
    let place = from;
    while (place > 0) {
      const above = (place - 1) >> 1;
      if (this.#at(above).atMs <= entry.atMs) break;
      this.#put(place, this.#at(above));
      place = above;
    }
    this.#put(place, entry);
    return place;
  }

  #sink(from: number): void {
    const entry = this.#at(from);
    let place = from;
    for (;;) {
      let below = 2 * place + 1;
      if (below >= this.#heap.length) break;
      const right = this.#heap[below + 1];
      if (right !== undefined && right.atMs < this.#at(below).atMs) below += 1;
      if (this.#at(below).atMs >= entry.atMs) break;
      this.#put(place, this.#at(below));
      place = below;
    }
    this.#put(place, entry);
  }

  #put(place: number, entry: Entry<T>): void {
    this.#heap[place] = entry;
    this.#places.set(entry.item, place);
  }

  #at(place: number): Entry<T> {
    const entry = this.#heap[place];
    assert(entry !== undefined, "a place inside the heap");
    return entry;
  }
}

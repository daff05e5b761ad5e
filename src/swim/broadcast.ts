/**
 * Which statements still have to be told, and how often: each one a bounded number of times, least
 * told first. It chooses; whom it is told to, in which message, and whether a statement still holds
 * is swim.ts's. Bounded: the most told gives way, is left to anti-entropy, and counted.
 */
import type { StoredId } from "./store.ts";

export const broadcastsMax = 1_024;

export class BroadcastQueue {
  /** Statements, each before its subject's slot, by how often they were told: each level in the order of arrival. */
  readonly #levels: number[][] = [];
  #size = 0;
  dropped = 0;
  readonly #release: (statement: StoredId) => void;

  /** `release`: the queue lets go of a statement that it was given. */
  constructor(release: (statement: StoredId) => void) {
    this.#release = release;
  }

  get size(): number {
    return this.#size;
  }

  /** Takes over the caller's hold of the statement about the member in the slot. */
  add(statement: StoredId, slot: number): void {
    if (this.#size >= broadcastsMax) this.#dropMostTold();
    this.#push(0, statement, slot);
    this.#size += 1;
  }

  /**
   * The bytes of statements that fit in `bytesFree` together, least told first; each is counted as
   * told once. Those for which `bytesOf` is undefined, by how often they were told, are forgotten.
   */
  pick(
    bytesFree: number,
    limit: number,
    bytesOf: (statement: StoredId, slot: number, told: number) => Uint8Array | undefined,
  ): readonly Uint8Array[] {
    if (this.#size === 0) return none;
    const out: Uint8Array[] = [];
    const moved: number[] = [];
    let left = bytesFree;
    let full = false;
    for (let level = 0; level < this.#levels.length && !full; level += 1) {
      const queue = this.#levels[level] as number[];
      let taken = 0;
      for (; taken < queue.length; taken += 2) {
        const statement = queue[taken] as StoredId;
        const slot = queue[taken + 1] as number;
        const bytes = bytesOf(statement, slot, level);
        if (bytes === undefined) {
          this.#forget(statement);
          continue;
        }
        full = bytes.length > left;
        if (full) break;
        left -= bytes.length;
        out.push(bytes);
        moved.push(level + 1, statement, slot);
      }
      if (taken > 0) queue.splice(0, taken);
    }
    for (let i = 0; i < moved.length; i += 3) {
      const level = moved[i] as number;
      const statement = moved[i + 1] as StoredId;
      if (level >= limit) this.#forget(statement);
      else this.#push(level, statement, moved[i + 2] as number);
    }
    return out;
  }

  #push(level: number, statement: StoredId, slot: number): void {
    while (this.#levels.length <= level) this.#levels.push([]);
    (this.#levels[level] as number[]).push(statement, slot);
  }

  #forget(statement: StoredId): void {
    this.#size -= 1;
    this.#release(statement);
  }

  #dropMostTold(): void {
    for (let level = this.#levels.length - 1; level >= 0; level -= 1) {
      const [statement] = (this.#levels[level] as number[]).splice(0, 2);
      if (statement === undefined) continue;
      this.dropped += 1;
      this.#forget(statement);
      return;
    }
  }
}

const none: readonly Uint8Array[] = [];

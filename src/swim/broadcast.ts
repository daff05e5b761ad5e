/**
 * Which statements still have to be told, and how often: each one a bounded number of times, least
 * told first. It chooses; whom it is told to, in which message, and whether a statement still holds
 * is swim.ts's. Bounded: the most told gives way, is left to anti-entropy, and counted.
 */
import type { StoredId } from "./store.ts";

export const broadcastsMax = 1_024;

export class BroadcastQueue {
  /** Statements by how often they were told, each level in the order of arrival. */
  readonly #levels: StoredId[][] = [];
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

  /** Takes over the caller's hold of the statement. */
  add(statement: StoredId): void {
    if (this.#size >= broadcastsMax) this.#dropMostTold();
    this.#push(0, statement);
    this.#size += 1;
  }

  /**
   * The bytes of statements that fit in `bytesFree` together, least told first; each is counted as
   * told once. Those for which `bytesOf` is undefined, by how often they were told, are forgotten.
   */
  pick(
    bytesFree: number,
    limit: number,
    bytesOf: (statement: StoredId, told: number) => Uint8Array | undefined,
  ): readonly Uint8Array[] {
    if (this.#size === 0) return none;
    const out: Uint8Array[] = [];
    const moved: number[] = [];
    let left = bytesFree;
    let full = false;
    for (let level = 0; level < this.#levels.length && !full; level += 1) {
      const queue = this.#levels[level] as StoredId[];
      let taken = 0;
      for (; taken < queue.length; taken += 1) {
        const statement = queue[taken] as StoredId;
        const bytes = bytesOf(statement, level);
        if (bytes === undefined) {
          this.#forget(statement);
          continue;
        }
        full = bytes.length > left;
        if (full) break;
        left -= bytes.length;
        out.push(bytes);
        moved.push(level + 1, statement);
      }
      if (taken > 0) queue.splice(0, taken);
    }
    for (let i = 0; i < moved.length; i += 2) {
      const [level, statement] = [moved[i] as number, moved[i + 1] as StoredId];
      if (level >= limit) this.#forget(statement);
      else this.#push(level, statement);
    }
    return out;
  }

  #push(level: number, statement: StoredId): void {
    while (this.#levels.length <= level) this.#levels.push([]);
    (this.#levels[level] as StoredId[]).push(statement);
  }

  #forget(statement: StoredId): void {
    this.#size -= 1;
    this.#release(statement);
  }

  #dropMostTold(): void {
    for (let level = this.#levels.length - 1; level >= 0; level -= 1) {
      const statement = (this.#levels[level] as StoredId[]).shift();
      if (statement === undefined) continue;
      this.dropped += 1;
      this.#forget(statement);
      return;
    }
  }
}

const none: readonly Uint8Array[] = [];

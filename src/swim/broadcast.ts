/**
 * Which news still have to be told, and how often: each member's newest record, at most one entry a
 * member, told `retransmitMultiplier` x ceil(log10(n + 1)) times, least told first. It chooses;
 * whom it is told to and in which message is swim.ts's. Bounded: what does not fit is left to
 * anti-entropy, and counted.
 */

export const retransmitMultiplier = 4;
export const broadcastsMax = 256;

/** How often each piece of news is sent by each node (SWIM section 4.1; memberlist's figure). */
export function retransmitLimit(members: number): number {
  return retransmitMultiplier * Math.ceil(Math.log10(members + 1));
}

export class BroadcastQueue {
  /** Times told so far, by slot, in the order of arrival. */
  readonly #told = new Map<number, number>();
  dropped = 0;

  get size(): number {
    return this.#told.size;
  }

  /** News of the member: told from the beginning, whatever was told of it before. */
  add(slot: number): void {
    if (!this.#told.delete(slot) && this.#told.size >= broadcastsMax) {
      this.dropped += 1;
      return;
    }
    this.#told.set(slot, 0);
  }

  remove(slot: number): void {
    this.#told.delete(slot);
  }

  /**
   * Slots whose records fit in `bytesFree` together, least told first; each is counted as told
   * once. `bytesOf` includes what a record takes in the message. `except`: whom it is for.
   */
  pick(
    bytesFree: number,
    members: number,
    bytesOf: (slot: number) => number,
    except: number,
  ): readonly number[] {
    if (this.#told.size === 0) return [];
    const limit = retransmitLimit(members);
    const order = [...this.#told].sort((a, b) => a[1] - b[1]);
    const out: number[] = [];
    let left = bytesFree;
    for (const [slot, told] of order) {
      const bytes = bytesOf(slot);
      if (slot === except || bytes > left) continue;
      left -= bytes;
      out.push(slot);
      if (told + 1 >= limit) this.#told.delete(slot);
      else this.#told.set(slot, told + 1);
    }
    return out;
  }
}

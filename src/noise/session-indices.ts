/**
 * The session indices that are in use, by handshakes in flight and by keypairs alike, and whose
 * each is. An index is random, so that it tells nothing of how many sessions there are, never zero,
 * and unique for as long as it is held (WireGuard paper, section 5.4.2). Where the data plane has
 * several lanes, the low bits of an index say which one owns it.
 */
import { assert } from "../base/errors.ts";
import type { Random } from "../base/random.ts";

export interface Lanes<Owner> {
  /** A power of two. */
  readonly count: number;
  /** Only the low bits count. */
  laneOf(owner: Owner): number;
}

export class SessionIndices<Owner> {
  readonly #random: Random;
  readonly #lanes: Lanes<Owner>;
  readonly #owners = new Map<number, Owner>();

  constructor(random: Random, lanes: Lanes<Owner> = { count: 1, laneOf: () => 0 }) {
    assert(lanes.count >= 1 && (lanes.count & (lanes.count - 1)) === 0, "lanes are a power of two");
    this.#random = random;
    this.#lanes = lanes;
  }

  get size(): number {
    return this.#owners.size;
  }

  allot(owner: Owner): number {
    // Far below the number of indices, so that a free one is found at once.
    assert(this.#owners.size < 2 ** 24, "session indices are bounded by the peers");
    const { count, laneOf } = this.#lanes;
    const lane = laneOf(owner) & (count - 1);
    for (;;) {
      const index = this.#random.below(2 ** 32 / count) * count + lane;
      if (index === 0 || this.#owners.has(index)) continue;
      this.#owners.set(index, owner);
      return index;
    }
  }

  find(index: number): Owner | undefined {
    return this.#owners.get(index);
  }

  release(index: number): void {
    const held = this.#owners.delete(index);
    assert(held, "releases only an index that is held");
  }
}

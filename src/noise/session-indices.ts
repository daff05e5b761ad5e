/**
 * The session indices that are in use, by handshakes in flight and by keypairs alike, and whose
 * each is. An index is random, so that it tells nothing of how many sessions there are, never zero,
 * and unique for as long as it is held (WireGuard paper, section 5.4.2).
 */
import { assert } from "../base/errors.ts";
import type { Random } from "../base/random.ts";

export class SessionIndices<Owner> {
  readonly #random: Random;
  readonly #owners = new Map<number, Owner>();

  constructor(random: Random) {
    this.#random = random;
  }

  get size(): number {
    return this.#owners.size;
  }

  allot(owner: Owner): number {
    // Far below the number of indices, so that a free one is found at once.
    assert(this.#owners.size < 2 ** 24, "session indices are bounded by the peers");
    for (;;) {
      const index = this.#random.below(2 ** 32);
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

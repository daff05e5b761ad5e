/**
 * Which peer stands in which slot, and in which use of it. The data plane knows a peer by slot and
 * generation alone; a reference from before a removal finds nobody, even when the slot is taken
 * again. Slots stay dense: the data plane indexes arrays by them.
 */
import { assert } from "../base/errors.ts";
import type { PeerRef } from "./dataplane.ts";

export class PeerSlots<T extends { readonly ref: PeerRef }> {
  readonly #items: (T | undefined)[] = [];
  readonly #generations: number[] = [];
  readonly #free: number[] = [];

  /** Fills a slot with what `make` makes for its reference. */
  put(make: (ref: PeerRef) => T): T {
    const slot = this.#free.pop() ?? this.#items.length;
    // Never 0, which names no peer; it wraps as the data plane's u32 does.
    const generation = ((this.#generations[slot] ?? 0) + 1) >>> 0 || 1;
    this.#generations[slot] = generation;
    const item = make({ slot, generation });
    this.#items[slot] = item;
    return item;
  }

  at(ref: PeerRef): T | undefined {
    const item = this.#items[ref.slot];
    return item?.ref.generation === ref.generation ? item : undefined;
  }

  remove(item: T): void {
    assert(this.at(item.ref) === item, "only what stands in its slot is removed");
    this.#items[item.ref.slot] = undefined;
    this.#free.push(item.ref.slot);
  }
}

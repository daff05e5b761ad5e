/**
 * What went to and came from members by peers that they no longer have: the data plane counts for a
 * peer, and forgets with it. By the member's slot, in columns.
 */
import { grown, grownCapacity } from "../base/columns.ts";
import type { PeerRef, PeerStats } from "../mesh/dataplane.ts";
import { statsBySlot } from "./peer-stats.ts";

export interface Traffic {
  readonly txBytes: number;
  readonly rxBytes: number;
}

const nothing: Traffic = { txBytes: 0, rxBytes: 0 };

export class RestingTraffic {
  #tx = new Float64Array(0);
  #rx = new Float64Array(0);

  /** Its peer goes, with these counters. */
  rest(slot: number, all: readonly PeerStats[], peer: PeerRef): void {
    const stats = statsBySlot(all)(peer);
    if (stats === undefined || stats.txBytes + stats.rxBytes === 0) return;
    if (slot >= this.#tx.length) {
      const capacity = grownCapacity(slot + 1, this.#tx.length);
      this.#tx = grown(this.#tx, new Float64Array(capacity));
      this.#rx = grown(this.#rx, new Float64Array(capacity));
    }
    this.#tx[slot] = (this.#tx[slot] as number) + stats.txBytes;
    this.#rx[slot] = (this.#rx[slot] as number) + stats.rxBytes;
  }

  of(slot: number): Traffic {
    const txBytes = this.#tx[slot];
    return txBytes === undefined ? nothing : { txBytes, rxBytes: this.#rx[slot] as number };
  }

  /** The slot is another member's from now on. */
  forget(slot: number): void {
    if (slot >= this.#tx.length) return;
    this.#tx[slot] = 0;
    this.#rx[slot] = 0;
  }
}

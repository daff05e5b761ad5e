/** What the data plane counted for a peer, among all that it tells. */
import type { PeerRef, PeerStats } from "../mesh/dataplane.ts";

/** Finds a peer's counters; undefined for a peer that the data plane does not have. */
export function statsBySlot(all: readonly PeerStats[]): (ref: PeerRef) => PeerStats | undefined {
  const bySlot = new Map(all.map((stats) => [stats.peer.slot, stats]));
  return ({ slot, generation }) => {
    const stats = bySlot.get(slot);
    return stats?.peer.generation === generation ? stats : undefined;
  };
}

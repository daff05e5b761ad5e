/**
 * In a large mesh sessions come and go, and a node that nobody reaches by an address would be reached by
 * nobody: the relays would have no session with it either. So each such node keeps sessions with two of
 * the members that relay, and others know which two: they follow from its identity and from who relays
 * (rendezvous hashing: Thaler and Ravishankar 1998), so that nothing has to be said, and each relay has
 * its share. Knows which members relay; sessions are node.ts's, and ways are pathfinder.ts's.
 */
import { frameIdOf } from "../nat/message.ts";
import { type MemberTable, stateCodes } from "../swim/state.ts";

/** Of each member. */
export const homesMax = 2;
/** More that relay are not looked at. */
export const offeringMax = 256;

export class HomeRelays {
  readonly #table: MemberTable;
  /** Members whose records say that they relay, and their names in frames, by slot. */
  readonly #offering = new Map<number, number>();

  constructor(table: MemberTable) {
    this.#table = table;
  }

  /** What the newest record of the member in the slot says. */
  set(slot: number, relays: boolean): void {
    if (!relays) this.#offering.delete(slot);
    else if (this.#offering.size < offeringMax) {
      this.#offering.set(slot, frameIdOf(this.#table.identity(slot)));
    }
  }

  /** Slots of the relays that whoever has that name keeps sessions with: only of those that live. */
  of(id: number): readonly number[] {
    if (this.#offering.size === 0) return none;
    const out: { slot: number; weight: number }[] = [];
    for (const [slot, relay] of this.#offering) {
      if (!this.#table.has(slot)) {
        // A member no longer, and nobody's home.
        this.#offering.delete(slot);
        continue;
      }
      if (relay === id || this.#table.stateCode(slot) >= stateCodes.dead) continue;
      out.push({ slot, weight: weightOf(id, relay) });
    }
    return out
      .sort((a, b) => b.weight - a.weight)
      .slice(0, homesMax)
      .map(({ slot }) => slot);
  }

  /** Nobody relays. */
  get isEmpty(): boolean {
    return this.#offering.size === 0;
  }

  offers(slot: number): boolean {
    return this.#offering.has(slot);
  }
}

/** The finaliser of MurmurHash3 over both names' halves. */
function weightOf(a: number, b: number): number {
  let hash = 0;
  for (const word of [a % 2 ** 32, Math.floor(a / 2 ** 32), b % 2 ** 32, Math.floor(b / 2 ** 32)]) {
    hash ^= word;
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    hash ^= hash >>> 16;
  }
  return hash >>> 0;
}

const none: readonly number[] = [];

import { expect, test } from "bun:test";
import { KeypairSlots } from "../../../src/noise/keypair-slots.ts";
import { SessionIndices } from "../../../src/noise/session-indices.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

/** The kernel's three slots, written down as its rules read. */
class Reference {
  previous = 0;
  current = 0;
  next = 0;

  initiated(index: number): void {
    this.previous = this.next === 0 ? this.current : this.next;
    this.next = 0;
    this.current = index;
  }

  responded(index: number): void {
    this.next = index;
    this.previous = 0;
  }

  receivedOnNext(): void {
    this.previous = this.current;
    this.current = this.next;
    this.next = 0;
  }

  held(): number[] {
    return [this.previous, this.current, this.next].filter((index) => index !== 0);
  }
}

function mirror(): { slots: KeypairSlots; held: Set<number>; install: (i: boolean) => number } {
  const held = new Set<number>();
  let count = 0;
  const release = (index: number): void => {
    if (!held.delete(index)) throw new Error(`freed twice: ${index}`);
  };
  const slots = new KeypairSlots({ release });
  const install = (initiator: boolean): number => {
    count += 1;
    held.add(count);
    slots.install({ localIndex: count, initiator, installedMs: count });
    return count;
  };
  return { slots, held, install };
}

test("all orders of six events leave the mirror with the kernel's slots", () => {
  for (let order = 0; order < 3 ** 6; order += 1) {
    const { slots, held, install } = mirror();
    const reference = new Reference();
    for (let rest = order, i = 0; i < 6; i += 1, rest = Math.floor(rest / 3)) {
      if (rest % 3 === 0) reference.initiated(install(true));
      if (rest % 3 === 1) reference.responded(install(false));
      if (rest % 3 === 2 && reference.next !== 0) {
        expect(slots.confirm(reference.next)?.localIndex).toBe(reference.next);
        reference.receivedOnNext();
      }
      expect(slots.current?.localIndex ?? 0).toBe(reference.current);
      // One more may be kept: the one whose promotion may not have been heard of yet.
      for (const index of reference.held()) expect(held.has(index)).toBe(true);
      expect(held.size).toBeLessThanOrEqual(4);
    }
    slots.clear();
    expect(held.size).toBe(0);
    expect(slots.empty).toBe(true);
  }
});

test("a promotion that is heard of late never loses an index that the data plane still holds", () => {
  const random = new SeededRandom(8);
  for (let round = 0; round < 3_000; round += 1) {
    const { slots, held, install } = mirror();
    const reference = new Reference();
    const confirmations: number[] = [];
    for (let step = 0; step < 12; step += 1) {
      // Events are read first; then the data plane may promote unseen; then at most two handshakes
      // end in one turn, one as responder and one as initiator, in either order.
      for (const index of confirmations.splice(0)) slots.confirm(index);
      expect(slots.current?.localIndex ?? 0).toBe(reference.current);
      for (const index of reference.held()) expect(held.has(index)).toBe(true);
      if (random.chance(0.5) && reference.next !== 0) {
        confirmations.push(reference.next);
        reference.receivedOnNext();
      }
      const ends = [true, false].filter(() => random.chance(0.4));
      if (random.chance(0.5)) ends.reverse();
      for (const initiator of ends) {
        const index = install(initiator);
        if (initiator) reference.initiated(index);
        else reference.responded(index);
      }
    }
  }
});

test("what no slot holds is not confirmed", () => {
  const { slots, install } = mirror();
  const first = install(false);
  expect(slots.confirm(99)).toBeUndefined();
  expect(slots.confirm(first)?.localIndex).toBe(first);
  expect(slots.confirm(first)).toBeUndefined();
});

test("session indices are unique even where randomness repeats, never zero, and reusable", () => {
  const given = [0, 7, 7, 7, 8, 8, 9];
  const random = { bytes: (n: number) => new Uint8Array(n), below: () => given.shift() ?? 1 };
  const indices = new SessionIndices<string>(random);
  expect([indices.allot("a"), indices.allot("b"), indices.allot("c")]).toEqual([7, 8, 9]);
  expect(indices.find(8)).toBe("b");
  indices.release(8);
  expect(indices.find(8)).toBeUndefined();
  expect(indices.size).toBe(2);
  expect(() => indices.release(8)).toThrow();
});

test("session indices use all 32 bits", () => {
  const indices = new SessionIndices<number>(new SeededRandom(4));
  const counts = new Array<number>(256).fill(0);
  for (let i = 0; i < 25_600; i += 1) {
    const index = indices.allot(i);
    counts[index >>> 24] = (counts[index >>> 24] as number) + 1;
  }
  // Chi-square with 255 degrees of freedom: 400 is far beyond chance.
  const chiSquare = counts.reduce((sum, count) => sum + (count - 100) ** 2 / 100, 0);
  expect(chiSquare).toBeLessThan(400);
});

test("with several lanes an index ends in its owner's lane, and is random otherwise", () => {
  const lanes = { count: 4, laneOf: (slot: number) => slot };
  const indices = new SessionIndices<number>(new SeededRandom(5), lanes);
  const seen = new Set<number>();
  for (let slot = 0; slot < 1000; slot += 1) {
    const index = indices.allot(slot);
    expect(index % 4).toBe(slot % 4);
    expect(index).toBeGreaterThan(0);
    expect(index).toBeLessThan(2 ** 32);
    seen.add(index >>> 2);
  }
  expect(seen.size).toBe(1000);
  expect(() => new SessionIndices(new SeededRandom(6), { count: 3, laneOf: () => 0 })).toThrow();
});

import { expect, test } from "bun:test";
import { digestWord, membersMax, selfSlot, stateCodes } from "../../../src/swim/state.ts";
import { SeededRandom } from "../../support/seeded-random.ts";
import { put, tableOf } from "../../support/swim-parts.ts";

function identity(random: SeededRandom): Uint8Array {
  return random.bytes(32);
}

test("two tables with the same records have the same summary, however they came by them", () => {
  const random = new SeededRandom(1);
  const identities = Array.from({ length: 50 }, () => identity(random));
  const self = identities[0] as Uint8Array;
  const a = tableOf(self);
  const b = tableOf(identities[1] as Uint8Array, 2);
  for (const [i, of] of identities.slice(2).entries()) put(a, of, i + 2);
  for (const [i, of] of [...identities.slice(2).entries()].reverse()) {
    if (i % 2 === 0) put(b, of, i + 2);
    else {
      put(b, of, i + 1);
      put(b, of, i + 2);
    }
  }
  expect(a.summary()).toEqual(b.summary());
  put(b, identities[7] as Uint8Array, 99);
  const differing = [...a.summary()].filter((value, i) => value !== b.summary()[i]);
  expect(differing).toHaveLength(1);
});

test("a member that was removed leaves nothing behind, and its slot serves another", () => {
  const random = new SeededRandom(2);
  const table = tableOf(identity(random));
  const before = table.summary().slice();
  const gone = identity(random);
  const slot = put(table, gone, 7);
  table.setLinked(0, slot, true);
  table.setState(slot, stateCodes.dead);
  table.measured(slot, 12);
  expect(table.summary()).not.toEqual(before);
  table.remove(slot);
  expect(table.summary()).toEqual(before);
  expect(table.find(gone)).toBeUndefined();
  expect(table.linkedCount).toBe(0);
  expect(table.countOf("dead")).toBe(0);
  const next = put(table, identity(random), 9);
  expect(next).toBe(slot);
  expect(table.sequence(next)).toBe(9);
  expect(table.state(next)).toBe("alive");
  expect(table.rttMs(next)).toBeUndefined();
  expect(table.statement(next)).toBe(0);
  expect(table.records.size).toBe(1);
});

test("states are counted, and this node is not", () => {
  const random = new SeededRandom(3);
  const table = tableOf(identity(random));
  const slots = Array.from({ length: 20 }, () => put(table, identity(random)));
  table.setState(slots[3] as number, stateCodes.suspect);
  table.setState(slots[4] as number, stateCodes.dead);
  expect([table.countOf("alive"), table.countOf("suspect"), table.countOf("dead")]).toEqual([
    18, 1, 1,
  ]);
  expect(table.liveCount).toBe(20);
  expect(table.size).toBe(21);
});

test("only members with sessions are picked, each at most once, without the excepted one", () => {
  const random = new SeededRandom(4);
  const table = tableOf(identity(random));
  const slots = Array.from({ length: 40 }, () => put(table, identity(random)));
  expect(table.pickLinked(random, 3, selfSlot)).toEqual([]);
  for (const count of [1, 3, 5, 30]) {
    for (const slot of slots.slice(0, count)) table.setLinked(0, slot, true);
    const picked = new Set<number>();
    for (let i = 0; i < 300; i += 1) {
      const pick = table.pickLinked(random, 3, slots[0] as number);
      expect(new Set(pick).size).toBe(pick.length);
      for (const slot of pick) picked.add(slot);
    }
    expect([...picked].sort((a, b) => a - b)).toEqual(slots.slice(1, count));
  }
});

test("links come and go in any order", () => {
  const random = new SeededRandom(5);
  const table = tableOf(identity(random));
  const slots = Array.from({ length: 30 }, () => put(table, identity(random)));
  const model = new Set<number>();
  for (let i = 0; i < 2_000; i += 1) {
    const slot = slots[random.below(slots.length)] as number;
    const live = random.chance(0.5);
    table.setLinked(0, slot, live);
    if (live) model.add(slot);
    else model.delete(slot);
    expect(table.linkedCount).toBe(model.size);
    expect(table.isLinked(slot)).toBe(live);
  }
});

test("a round trip is smoothed by an eighth", () => {
  const table = tableOf(new Uint8Array(32).fill(1));
  const slot = put(table, new Uint8Array(32).fill(2));
  expect(table.rttMs(slot)).toBeUndefined();
  table.measured(slot, 80);
  expect(table.rttMs(slot)).toBe(80);
  table.measured(slot, 160);
  expect(table.rttMs(slot)).toBe(90);
});

test("the table has a limit", () => {
  const table = tableOf(new Uint8Array(32));
  const of = (i: number): Uint8Array => {
    const out = new Uint8Array(32).fill(1);
    new DataView(out.buffer).setUint32(2, i);
    return out;
  };
  for (let i = 1; i < membersMax; i += 1) put(table, of(i));
  expect(() => put(table, of(membersMax))).toThrow("full");
  expect(table.size).toBe(membersMax);
});

test("the word that stands for a record is the protocol page's", () => {
  expect(digestWord(1, 2, 3 + 4 * 2 ** 32, 5)).toBe(0x143d693f);
  expect(digestWord(1, 2, 3, 5)).not.toBe(digestWord(1, 2, 3, 4));
});

import { expect, test } from "bun:test";
import { digestWord, MemberTable, membersMax, selfSlot } from "../../../src/swim/state.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const record = Uint8Array.of(1);

function identity(random: SeededRandom): Uint8Array {
  return random.bytes(32);
}

test("two tables with the same records have the same summary, however they came by them", () => {
  const random = new SeededRandom(1);
  const identities = Array.from({ length: 50 }, () => identity(random));
  const self = identities[0] as Uint8Array;
  const a = new MemberTable(self);
  const b = new MemberTable(identities[1] as Uint8Array);
  const put = (table: MemberTable, of: Uint8Array, sequence: number): void => {
    const slot = table.find(of) ?? table.add(0, of);
    if (slot === undefined) throw new Error("full");
    table.update(slot, sequence, record);
  };
  for (const [i, of] of identities.entries()) put(a, of, i + 1);
  for (const [i, of] of [...identities.entries()].reverse()) {
    if (i % 2 === 0) put(b, of, i + 1);
    else {
      put(b, of, i);
      put(b, of, i + 1);
    }
  }
  expect(a.summary()).toEqual(b.summary());
  put(b, identities[7] as Uint8Array, 99);
  const differing = [...a.summary()].filter((value, i) => value !== b.summary()[i]);
  expect(differing).toHaveLength(1);
});

test("a member that was removed leaves nothing behind, and its slot serves another", () => {
  const random = new SeededRandom(2);
  const table = new MemberTable(identity(random));
  const before = table.summary();
  const gone = identity(random);
  const slot = table.add(5, gone) as number;
  table.update(slot, 7, record);
  table.setLinked(slot, true);
  table.setState(6, slot, "dead");
  table.measured(slot, 12);
  expect(table.summary()).not.toEqual(before);
  table.remove(slot);
  expect(table.summary()).toEqual(before);
  expect(table.find(gone)).toBeUndefined();
  expect(table.linkedCount).toBe(0);
  expect(table.countOf("dead")).toBe(0);
  const next = table.add(9, identity(random)) as number;
  expect(next).toBe(slot);
  expect(table.sequence(next)).toBe(0);
  expect(table.state(next)).toBe("alive");
  expect(table.rttMs(next)).toBeUndefined();
  expect(table.record(next)).toBeUndefined();
});

test("states are counted, and this node is not", () => {
  const random = new SeededRandom(3);
  const table = new MemberTable(identity(random));
  const slots = Array.from({ length: 20 }, () => table.add(0, identity(random)) as number);
  table.setState(10, slots[3] as number, "suspect");
  table.setState(11, slots[4] as number, "dead");
  expect([table.countOf("alive"), table.countOf("suspect"), table.countOf("dead")]).toEqual([
    18, 1, 1,
  ]);
  expect(table.stateSinceMs(slots[4] as number)).toBe(11);
  expect(table.size).toBe(21);
});

test("only members with sessions are picked, each at most once, without the excepted one", () => {
  const random = new SeededRandom(4);
  const table = new MemberTable(identity(random));
  const slots = Array.from({ length: 40 }, () => table.add(0, identity(random)) as number);
  expect(table.pickLinked(random, 3, selfSlot)).toEqual([]);
  for (const count of [1, 3, 5, 30]) {
    for (const slot of slots.slice(0, count)) table.setLinked(slot, true);
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
  const table = new MemberTable(identity(random));
  const slots = Array.from({ length: 30 }, () => table.add(0, identity(random)) as number);
  const model = new Set<number>();
  for (let i = 0; i < 2_000; i += 1) {
    const slot = slots[random.below(slots.length)] as number;
    const live = random.chance(0.5);
    table.setLinked(slot, live);
    if (live) model.add(slot);
    else model.delete(slot);
    expect(table.linkedCount).toBe(model.size);
    expect(table.isLinked(slot)).toBe(live);
  }
});

test("a round trip is smoothed by an eighth", () => {
  const table = new MemberTable(new Uint8Array(32).fill(1));
  const slot = table.add(0, new Uint8Array(32).fill(2)) as number;
  expect(table.rttMs(slot)).toBeUndefined();
  table.measured(slot, 80);
  expect(table.rttMs(slot)).toBe(80);
  table.measured(slot, 160);
  expect(table.rttMs(slot)).toBe(90);
});

test("the table has a limit", () => {
  const table = new MemberTable(new Uint8Array(32));
  const of = (i: number): Uint8Array => {
    const out = new Uint8Array(32).fill(1);
    new DataView(out.buffer).setUint32(2, i);
    return out;
  };
  for (let i = 1; i < membersMax; i += 1) expect(table.add(0, of(i))).toBeDefined();
  expect(table.add(0, of(membersMax))).toBeUndefined();
  expect(table.size).toBe(membersMax);
});

test("the word that stands for a record is the protocol page's", () => {
  expect(digestWord([1, 2, 3, 4])).toBe(0xdfdca0e7);
  expect(digestWord([1, 2, 3, 5])).not.toBe(digestWord([1, 2, 3, 4]));
});

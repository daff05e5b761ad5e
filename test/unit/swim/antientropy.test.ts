import { expect, test } from "bun:test";
import { AntiEntropy } from "../../../src/swim/antientropy.ts";
import { Budgets } from "../../../src/swim/budget.ts";
import { Fetches } from "../../../src/swim/fetches.ts";
import { Hearsay } from "../../../src/swim/hearsay.ts";
import type { DigestEntry, Message, Want } from "../../../src/swim/message.ts";
import { profileLan, syncDelayMs } from "../../../src/swim/profile.ts";
import { wordAt } from "../../../src/swim/store.ts";
import { SeededRandom } from "../../support/seeded-random.ts";
import { put, tableOf } from "../../support/swim-parts.ts";

const random = new SeededRandom(1);

function entry(
  identity: Uint8Array,
  sequence: number,
  incarnation = 0,
  heard = false,
): DigestEntry {
  return { low: wordAt(identity, 0), high: wordAt(identity, 4), sequence, incarnation, heard };
}

function want(identity: Uint8Array, statementOnly = false): Want {
  return { low: wordAt(identity, 0), high: wordAt(identity, 4), statementOnly };
}

class Side {
  readonly table = tableOf(random.bytes(32));
  readonly hearsay = new Hearsay();
  readonly sent: Message[] = [];
  readonly pushed: number[] = [];
  readonly antiEntropy = new AntiEntropy({
    table: this.table,
    hearsay: this.hearsay,
    budgets: new Budgets(),
    fetches: new Fetches(),
    random,
    output: {
      send: (_to, message) => this.sent.push(message),
      sendHeld: (_to, slots) => this.pushed.push(...slots),
    },
  });

  hold(identity: Uint8Array, sequence: number): number {
    return put(this.table, identity, sequence);
  }

  digest(entries: readonly DigestEntry[], complete = new Uint8Array(32)): void {
    this.antiEntropy.handleDigest(0, 1, complete, entries);
  }
}

test.each([
  [2, 30_000],
  [32, 30_000],
  [33, 60_000],
  [1_000, 180_000],
  [10_000, 300_000],
])("with %d members an exchange is due every %d ms", (members, ms) => {
  expect(syncDelayMs(profileLan, members)).toBe(ms);
});

test("what is newer there is fetched, what is newer here is pushed, the same is left alone", () => {
  const side = new Side();
  const identities = [random.bytes(32), random.bytes(32), random.bytes(32), random.bytes(32)];
  const [newer, older, same, unknown] = identities as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ];
  side.hold(newer, 5);
  const slot = side.hold(older, 5);
  side.hold(same, 5);
  side.digest([entry(newer, 6), entry(older, 4), entry(same, 5), entry(unknown, 1)]);
  expect(side.sent).toEqual([{ kind: "fetch", wants: [want(newer), want(unknown)] }]);
  expect(side.pushed).toEqual([slot]);
});

test("what the other only heard of is not fetched there, nor what we heard of ourselves", () => {
  const side = new Side();
  const [foreign, heard] = [random.bytes(32), random.bytes(32)];
  side.hearsay.add(heard, 9, Uint8Array.of(1));
  side.digest([entry(foreign, 5, 0, true), entry(heard, 9)]);
  expect(side.sent).toEqual([]);
});

test("what is absent is pushed only where the bucket was listed in full", () => {
  const side = new Side();
  const identity = random.bytes(32);
  const slot = side.hold(identity, 5);
  side.digest([]);
  expect(side.pushed).toEqual([]);
  const complete = new Uint8Array(32);
  const bucket = identity[0] as number;
  complete[bucket >> 3] = 1 << (bucket & 7);
  side.digest([], complete);
  expect(side.pushed).toEqual([slot]);
});

test("a summary is answered by what differs, and by an empty digest where nothing does", () => {
  const [a, b] = [new Side(), new Side()];
  const identity = random.bytes(32);
  a.hold(identity, 5);
  a.antiEntropy.handleSummary(0, 1, a.table.summary());
  expect(a.sent.pop()).toEqual({ kind: "digest", complete: new Uint8Array(32), entries: [] });
  a.antiEntropy.handleSummary(0, 1, b.table.summary());
  expect(a.sent.pop()).toMatchObject({
    entries: [entry(identity, 5)],
  });
});

test("an exchange that nobody answers is tried three times and then given up", () => {
  const side = new Side();
  side.antiEntropy.start(0, 1);
  for (let now = 0; now < 60_000; now += 100) side.antiEntropy.handleTimeout(now);
  expect(side.sent).toHaveLength(3);
  expect(side.antiEntropy.nextTimeout()).toBeUndefined();
});

test("and so is one whose other side only gossips meanwhile", () => {
  const side = new Side();
  side.antiEntropy.start(0, 1);
  for (let now = 0; now < 60_000; now += 100) {
    side.antiEntropy.learntFrom(1);
    side.antiEntropy.handleTimeout(now);
  }
  expect(side.sent).toHaveLength(3);
});

test("of a door that many ask a few records are fetched, once, and it is asked twice where it is silent", () => {
  const [side, silent] = [new Side(), new Side()];
  side.antiEntropy.start(0, 1, true);
  side.digest(Array.from({ length: 58 }, () => entry(random.bytes(32), 5)));
  const [, fetch] = side.sent;
  expect(fetch?.kind === "fetch" && fetch.wants.length).toBe(16);
  side.antiEntropy.received(1, 1, 16);
  for (let i = 0; i < 16; i += 1) side.antiEntropy.learntFrom(1);
  side.antiEntropy.handleTimeout(1);
  expect(side.sent).toHaveLength(2);
  silent.antiEntropy.start(0, 1, true);
  for (let now = 0; now < 60_000; now += 100) silent.antiEntropy.handleTimeout(now);
  expect(silent.sent).toHaveLength(2);
});

test("rounds go on while they bring something new, and end however many records come", () => {
  const side = new Side();
  const one = entry(random.bytes(32), 5);
  const two = entry(random.bytes(32), 5);
  side.antiEntropy.start(0, 1);
  side.digest([one]);
  expect(side.sent.map(({ kind }) => kind)).toEqual(["summary", "fetch"]);
  side.antiEntropy.received(1, 1, 1);
  side.antiEntropy.learntFrom(1);
  side.antiEntropy.handleTimeout(1);
  expect(side.sent.map(({ kind }) => kind)).toEqual(["summary", "fetch", "summary"]);
  side.digest([two]);
  side.antiEntropy.received(2, 1, 1);
  side.antiEntropy.handleTimeout(2);
  expect(side.sent.map(({ kind }) => kind)).toEqual(["summary", "fetch", "summary", "fetch"]);
  expect(side.antiEntropy.nextTimeout()).toBeUndefined();
});

test("a member can fetch no more than its budget", () => {
  const side = new Side();
  const wants: Want[] = [];
  for (let i = 0; i < 64; i += 1) {
    const identity = random.bytes(32);
    put(side.table, identity, 1, 512);
    wants.push(want(identity));
  }
  for (let i = 0; i < 20; i += 1) side.antiEntropy.handleFetch(0, 1, wants);
  // Nor can all members together fetch more than this node can serve: 96 KiB at once.
  for (let from = 2; from < 20; from += 1) side.antiEntropy.handleFetch(0, from, wants);
  expect(side.pushed.length).toBe(192);
});

test("where only the incarnation differs the statement alone is asked for, or pushed", () => {
  const side = new Side();
  const [ahead, same] = [random.bytes(32), random.bytes(32)];
  side.hold(ahead, 5);
  side.hold(same, 5);
  side.digest([entry(ahead, 5, 1), entry(same, 5, 0)]);
  expect(side.sent).toEqual([{ kind: "fetch", wants: [want(ahead, true)] }]);
  expect(side.pushed).toEqual([]);
});

test("nothing is fetched from two members at a time", () => {
  const side = new Side();
  const one = entry(random.bytes(32), 5);
  side.digest([one]);
  side.digest([one]);
  expect(side.sent).toHaveLength(1);
});

/** So many members in each of the first buckets, those that were learnt last at the end. */
function fill(side: Side, buckets: number, each: number): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let i = 0; i < each; i += 1) {
    for (let bucket = 0; bucket < buckets; bucket += 1) {
      const identity = random.bytes(32);
      identity[0] = bucket;
      side.hold(identity, 5);
      out.push(identity);
    }
  }
  return out;
}

function digestFor(
  side: Side,
  theirs: Uint32Array,
  nowMs = 0,
): Extract<Message, { kind: "digest" }> {
  side.antiEntropy.handleSummary(nowMs, 1, theirs);
  const message = side.sent.pop();
  if (message?.kind !== "digest") throw new Error("no digest");
  return message;
}

/** How many entries of each bucket. */
function spread(entries: readonly DigestEntry[]): Map<number, number> {
  const out = new Map<number, number>();
  for (const { low } of entries) out.set(low & 0xff, (out.get(low & 0xff) ?? 0) + 1);
  return out;
}

test("a newcomer is told whole buckets, so that none looks as if it had a part of it", () => {
  const side = new Side();
  fill(side, 40, 20);
  const { complete, entries } = digestFor(side, new Uint32Array(256));
  expect([...spread(entries).values()]).toEqual([20, 20]);
  expect(complete.reduce((sum, byte) => sum + byte.toString(2).replaceAll("0", "").length, 0)).toBe(
    2,
  );
});

test("and those first of which it has nothing", () => {
  const side = new Side();
  fill(side, 40, 5);
  const theirs = side.table.summary().map((word, i) => (word === 0 || i % 8 === 0 ? 0 : word ^ 1));
  for (let i = 0; i < 10; i += 1) {
    const { entries } = digestFor(side, theirs, 1_000 * i);
    expect(entries.slice(0, 25).every(({ low }) => (low & 0xff) % 8 === 0)).toBe(true);
  }
});

test("who has something of all is told what is newest of many, or whole buckets by turns", () => {
  const side = new Side();
  const all = fill(side, 40, 20);
  const newest = new Set(all.slice(-3 * 40).map((identity) => wordAt(identity, 4)));
  const theirs = side.table.summary().map((word) => (word === 0 ? 0 : word ^ 1));
  const kinds = new Set<string>();
  for (let i = 0; i < 40; i += 1) {
    const { entries } = digestFor(side, theirs, 1_000 * i);
    expect(entries.length).toBe(58);
    const isNewest = entries.every(({ high }) => newest.has(high));
    kinds.add(isNewest ? "newest" : "whole");
    expect(spread(entries).size).toBe(isNewest ? 20 : 3);
  }
  expect([...kinds].sort()).toEqual(["newest", "whole"]);
});

test("where many ask, each is told of a few to ask instead", () => {
  const side = new Side();
  fill(side, 40, 20);
  let brief = 0;
  for (let from = 1; from <= 70; from += 1) {
    side.antiEntropy.handleSummary(0, from, new Uint32Array(256));
    const message = side.sent.pop();
    if (message?.kind === "digest" && message.entries.length <= 12) brief += 1;
  }
  expect(brief).toBeGreaterThan(20);
});

test("no more is asked for than may come: the rest waits for its turn", () => {
  const side = new Side();
  const entries = (): DigestEntry[] => Array.from({ length: 58 }, () => entry(random.bytes(32), 5));
  for (let from = 1; from <= 8; from += 1) {
    side.antiEntropy.start(0, from);
    side.antiEntropy.handleDigest(0, from, new Uint8Array(32), entries());
  }
  const wanted = side.sent.flatMap((it) => (it.kind === "fetch" ? it.wants : []));
  expect(wanted.length).toBeLessThan(58 * 4);
  expect(side.antiEntropy.underWay).toBe(8);
  side.sent.length = 0;
  side.antiEntropy.handleTimeout(1_000);
  expect(side.sent.length).toBeGreaterThan(0);
});

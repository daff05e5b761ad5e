import { expect, test } from "bun:test";
import { AntiEntropy, syncDelayMs } from "../../../src/swim/antientropy.ts";
import { Budgets } from "../../../src/swim/budget.ts";
import { Hearsay } from "../../../src/swim/hearsay.ts";
import { type DigestEntry, type Message, shortId } from "../../../src/swim/message.ts";
import { MemberTable } from "../../../src/swim/state.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const random = new SeededRandom(1);

class Side {
  readonly table = new MemberTable(random.bytes(32));
  readonly hearsay = new Hearsay();
  readonly sent: Message[] = [];
  readonly pushed: number[] = [];
  readonly antiEntropy = new AntiEntropy(this.table, this.hearsay, new Budgets(), {
    send: (_to, message) => this.sent.push(message),
    sendRecords: (_to, slots) => this.pushed.push(...slots),
  });

  hold(identity: Uint8Array, sequence: number): number {
    const slot = this.table.add(0, identity) as number;
    this.table.update(slot, sequence, Uint8Array.of(1));
    return slot;
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
  expect(syncDelayMs(members)).toBe(ms);
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
  side.digest([
    { id: shortId(newer), sequence: 6, heard: false },
    { id: shortId(older), sequence: 4, heard: false },
    { id: shortId(same), sequence: 5, heard: false },
    { id: shortId(unknown), sequence: 1, heard: false },
  ]);
  expect(side.sent).toEqual([{ kind: "fetch", ids: [shortId(newer), shortId(unknown)] }]);
  expect(side.pushed).toEqual([slot]);
});

test("what the other only heard of is not fetched there, nor what we heard of ourselves", () => {
  const side = new Side();
  const [foreign, heard] = [random.bytes(32), random.bytes(32)];
  side.hearsay.add(heard, 9, Uint8Array.of(1));
  side.digest([
    { id: shortId(foreign), sequence: 5, heard: true },
    { id: shortId(heard), sequence: 9, heard: false },
  ]);
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
    entries: [{ id: shortId(identity), sequence: 5, heard: false }],
  });
});

test("an exchange that nobody answers is tried three times and then given up", () => {
  const side = new Side();
  side.antiEntropy.start(0, 1);
  for (let now = 0; now < 60_000; now += 100) side.antiEntropy.handleTimeout(now);
  expect(side.sent).toHaveLength(3);
  expect(side.antiEntropy.nextTimeout()).toBeUndefined();
});

test("rounds go on while they bring something new, and end however many records come", () => {
  const side = new Side();
  const entry = { id: shortId(random.bytes(32)), sequence: 5, heard: false };
  side.antiEntropy.start(0, 1);
  side.digest([entry]);
  expect(side.sent.map(({ kind }) => kind)).toEqual(["summary", "fetch"]);
  side.antiEntropy.received(1, 1, 1);
  side.antiEntropy.learntFrom(1);
  side.antiEntropy.handleTimeout(1);
  expect(side.sent.map(({ kind }) => kind)).toEqual(["summary", "fetch", "summary"]);
  side.digest([entry]);
  side.antiEntropy.received(2, 1, 1);
  side.antiEntropy.handleTimeout(2);
  expect(side.sent.map(({ kind }) => kind)).toEqual(["summary", "fetch", "summary", "fetch"]);
  expect(side.antiEntropy.nextTimeout()).toBeUndefined();
});

test("a member can fetch no more than its budget", () => {
  const side = new Side();
  const ids: string[] = [];
  for (let i = 0; i < 64; i += 1) {
    const identity = random.bytes(32);
    const slot = side.table.add(0, identity) as number;
    side.table.update(slot, 1, new Uint8Array(512));
    ids.push(shortId(identity));
  }
  for (let i = 0; i < 20; i += 1) side.antiEntropy.handleFetch(0, 1, ids);
  expect(side.pushed.length).toBe(256);
});

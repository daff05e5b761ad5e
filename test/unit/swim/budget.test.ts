import { expect, test } from "bun:test";
import {
  Budgets,
  creditMax,
  fetchedBytesPerSecond,
  servedBytesPerSecond,
  servedRecordsMax,
} from "../../../src/swim/budget.ts";

function taken(budgets: Budgets, nowMs: number, kind: "ping" | "records", bytes = 100): number {
  let count = 0;
  while (count < 10_000 && budgets.take(nowMs, 1, kind, bytes)) count += 1;
  return count;
}

test("a member has 20 messages a second, and two seconds' worth at once", () => {
  const budgets = new Budgets();
  expect(taken(budgets, 0, "ping")).toBe(40);
  expect(taken(budgets, 1_000, "ping")).toBe(20);
  expect(taken(budgets, 1_500, "ping")).toBe(10);
  expect(taken(budgets, 100_000, "ping")).toBe(40);
});

test("and 64 KiB a second", () => {
  const budgets = new Budgets();
  expect(taken(budgets, 0, "ping", 32 * 1024)).toBe(4);
  expect(taken(budgets, 1_000, "ping", 32 * 1024)).toBe(2);
});

test("one member's excess is not another's", () => {
  const budgets = new Budgets();
  taken(budgets, 0, "ping");
  expect(budgets.take(0, 2, "ping", 100)).toBe(true);
});

test("what we asked for is beyond the budget, for 5 s, and pays for nothing else", () => {
  const budgets = new Budgets();
  taken(budgets, 0, "ping");
  budgets.grant(0, 1, 10);
  expect(taken(budgets, 0, "ping")).toBe(0);
  expect(taken(budgets, 0, "records")).toBe(10);
  budgets.grant(0, 1, 10);
  expect(taken(budgets, 5_000, "records")).toBe(40);
});

test("whoever asks us over and over earns no more than one credit a second by it", () => {
  const budgets = new Budgets();
  taken(budgets, 0, "ping");
  for (let i = 0; i < 50; i += 1) budgets.grantUnasked(0, 1, creditMax);
  expect(taken(budgets, 0, "records")).toBe(creditMax);
  budgets.grantUnasked(900, 1, creditMax);
  expect(taken(budgets, 900, "records")).toBe(18);
});

test("fetching is charged by the bytes of the answer, to the member and to all together", () => {
  const budgets = new Budgets();
  const fetched = (nowMs: number, slot: number): number => {
    let bytes = 0;
    budgets.servable(nowMs);
    while (budgets.takeBytes(nowMs, slot, 500)) bytes += 500;
    return bytes;
  };
  expect(fetched(0, 1)).toBeGreaterThan(servedBytesPerSecond / 2 - 500);
  expect(fetched(0, 2)).toBe(0);
  expect(budgets.servable(200)).toBeLessThan(servedRecordsMax);
  // Half a second later there is as much again, but the first has had most of its two seconds' worth.
  expect(fetched(500, 1)).toBeLessThan(2 * 64 * 1024 + 32 * 1024 - servedBytesPerSecond / 2 + 500);
  expect(fetched(500, 2)).toBeGreaterThan(0);
});

test("what is asked for of all together is bounded, by the size of the records that come", () => {
  const budgets = new Budgets();
  const asked = (nowMs: number): number => {
    const records = budgets.fetchable(nowMs);
    budgets.fetching(nowMs, records);
    return records;
  };
  budgets.fetching(0, 100);
  for (let i = 0; i < 100; i += 1) budgets.received(200);
  expect(asked(1_000)).toBeGreaterThan(200);
  expect(asked(1_000)).toBe(0);
  let bytes = 0;
  for (let now = 1_010; now <= 11_000; now += 10) bytes += 200 * asked(now);
  expect(bytes / 10).toBeLessThanOrEqual(fetchedBytesPerSecond);
  expect(bytes / 10).toBeGreaterThan(0.95 * fetchedBytesPerSecond);
});

test("what is pushed is not asked for as well, and what was asked for counts once", () => {
  const budgets = new Budgets();
  const all = budgets.fetchable(0);
  budgets.fetching(0, 20);
  for (let i = 0; i < 20; i += 1) budgets.received(400);
  const left = budgets.fetchable(0);
  expect(left).toBe(all - 20);
  for (let i = 0; i < 10; i += 1) budgets.received(400);
  expect(budgets.fetchable(0)).toBe(left - 10);
  // However much is pushed, half a second later there is something to ask for again.
  for (let i = 0; i < 10_000; i += 1) budgets.received(400);
  expect(budgets.fetchable(499)).toBe(0);
  expect(budgets.fetchable(510)).toBeGreaterThan(0);
});

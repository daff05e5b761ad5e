import { expect, test } from "bun:test";
import { BroadcastQueue, broadcastsMax, retransmitLimit } from "../../../src/swim/broadcast.ts";

const hundred = (): number => 100;

test.each([
  [1, 4],
  [9, 4],
  [10, 8],
  [99, 8],
  [1_000, 16],
  [10_000, 20],
])("in a mesh of %d news are told %d times", (members, times) => {
  expect(retransmitLimit(members)).toBe(times);
  const queue = new BroadcastQueue();
  queue.add(3);
  let told = 0;
  while (queue.pick(1000, members, hundred, -1).length > 0) told += 1;
  expect(told).toBe(times);
  expect(queue.size).toBe(0);
});

test("the least told goes first, and only what fits", () => {
  const queue = new BroadcastQueue();
  queue.add(1);
  queue.add(2);
  expect(queue.pick(100, 9, hundred, -1)).toEqual([1]);
  expect(queue.pick(100, 9, hundred, -1)).toEqual([2]);
  queue.add(3);
  expect(queue.pick(200, 9, hundred, -1)).toEqual([3, 1]);
  expect(queue.pick(99, 9, hundred, -1)).toEqual([]);
});

test("a large record does not hold up the small ones behind it", () => {
  const queue = new BroadcastQueue();
  queue.add(1);
  queue.add(2);
  expect(queue.pick(150, 9, (slot) => (slot === 1 ? 400 : 100), -1)).toEqual([2]);
});

test("nobody is told of himself", () => {
  const queue = new BroadcastQueue();
  queue.add(1);
  expect(queue.pick(1000, 9, hundred, 1)).toEqual([]);
  expect(queue.pick(1000, 9, hundred, 2)).toEqual([1]);
});

test("newer news of a member are told as often as any", () => {
  const queue = new BroadcastQueue();
  queue.add(1);
  for (let i = 0; i < 3; i += 1) queue.pick(1000, 9, hundred, -1);
  queue.add(1);
  expect(queue.size).toBe(1);
  let told = 0;
  while (queue.pick(1000, 9, hundred, -1).length > 0) told += 1;
  expect(told).toBe(4);
});

test("what does not fit the queue is counted, and what was there stays", () => {
  const queue = new BroadcastQueue();
  for (let slot = 0; slot < broadcastsMax + 5; slot += 1) queue.add(slot);
  expect(queue.size).toBe(broadcastsMax);
  expect(queue.dropped).toBe(5);
  queue.add(0);
  expect(queue.dropped).toBe(5);
  queue.remove(0);
  queue.add(9_999);
  expect(queue.size).toBe(broadcastsMax);
});

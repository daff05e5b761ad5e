import { expect, test } from "bun:test";
import { BroadcastQueue, broadcastsMax } from "../../../src/swim/broadcast.ts";
import { profileLan, retransmitLimit } from "../../../src/swim/profile.ts";

/** Statement i is 100 bytes of i. */
const hundred = (id: number): Uint8Array => new Uint8Array(100).fill(id);

function queueOf(...ids: number[]): { queue: BroadcastQueue; released: number[] } {
  const released: number[] = [];
  const queue = new BroadcastQueue((id) => released.push(id));
  for (const id of ids) queue.add(id, 0);
  return { queue, released };
}

function picked(queue: BroadcastQueue, bytes: number, limit = 4): number[] {
  return queue.pick(bytes, limit, hundred).map((statement) => statement[0] as number);
}

test.each([
  [1, 4],
  [9, 4],
  [10, 8],
  [99, 8],
  [1_000, 16],
  [10_000, 20],
])("in a mesh of %d news are told %d times, and then let go of", (members, times) => {
  const limit = retransmitLimit(profileLan, members);
  expect(limit).toBe(times);
  const { queue, released } = queueOf(3);
  let told = 0;
  while (picked(queue, 1000, limit).length > 0) told += 1;
  expect(told).toBe(times);
  expect(queue.size).toBe(0);
  expect(released).toEqual([3]);
});

test("the least told goes first, and only what fits", () => {
  const { queue } = queueOf(1, 2);
  expect(picked(queue, 100)).toEqual([1]);
  expect(picked(queue, 100)).toEqual([2]);
  queue.add(3, 0);
  expect(picked(queue, 200)).toEqual([3, 1]);
  expect(picked(queue, 99)).toEqual([]);
});

test("what no longer holds is forgotten instead of told", () => {
  const { queue, released } = queueOf(1, 2);
  expect(queue.pick(1000, 4, (id) => (id === 1 ? undefined : hundred(id)))).toHaveLength(1);
  expect(released).toEqual([1]);
  expect(queue.size).toBe(1);
});

test("what does not fit the queue takes the place of what was told most, and is counted", () => {
  const { queue, released } = queueOf();
  for (let id = 1; id <= broadcastsMax; id += 1) queue.add(id, 0);
  expect(picked(queue, 100)).toEqual([1]);
  queue.add(5_000, 0);
  expect(queue.size).toBe(broadcastsMax);
  expect(queue.dropped).toBe(1);
  expect(released).toEqual([1]);
});

import { expect, test } from "bun:test";
import { measure } from "./member-memory.ts";

test("two thousand members cost a node a KB each at the most, and nothing in the data plane", () => {
  const {
    heap_bytes_per_member: bytes,
    members,
    objects_per_member: objects,
    peers,
  } = measure(2_000);
  expect([members, peers]).toEqual([2_000, 0]);
  // 922 of ten thousand; here what every node has once counts five times as much.
  expect(bytes).toBeLessThan(1_300);
  expect(objects).toBeLessThan(1);
}, 60_000);

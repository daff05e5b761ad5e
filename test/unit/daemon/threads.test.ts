import { expect, test } from "bun:test";
import { lanesFor, workersFor } from "../../../src/daemon/threads.ts";

test("auto is one lane for every four processors, a power of two, one at least and eight at most", () => {
  const asked = [1, 2, 4, 7, 8, 15, 16, 31, 32, 128];
  expect(asked.map((processors) => lanesFor("auto", processors))).toEqual([
    1, 1, 1, 1, 2, 2, 4, 4, 8, 8,
  ]);
  expect(lanesFor("4", 1)).toBe(4);
});

test("auto has a worker beside each packet thread from four processors on", () => {
  expect([1, 2, 3, 4, 64].map((processors) => workersFor("auto", processors))).toEqual([
    0, 0, 0, 1, 1,
  ]);
  expect(workersFor("3", 1)).toBe(3);
});

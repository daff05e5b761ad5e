import { expect, test } from "bun:test";
import { steady } from "../../../src/daemon/clock.ts";

test("a clock that jumps back goes on from where it was", () => {
  let raw = 100;
  const clock = steady(() => raw);
  const at = (value: number): number => {
    raw = value;
    return clock();
  };
  expect([at(100), at(105), at(105)]).toEqual([100, 105, 105]);
  expect([at(3), at(4), at(10)]).toEqual([105, 106, 112]);
  expect([at(1), at(2)]).toEqual([112, 113]);
  // And ahead with it, however far.
  expect(at(1_000_002)).toBe(1_000_113);
});

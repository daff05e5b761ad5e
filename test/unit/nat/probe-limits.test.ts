import { expect, test } from "bun:test";
import {
  birthdaysMax,
  ProbeLimits,
  searchProbesBurst,
  searchProbesPerSecond,
} from "../../../src/nat/probe-limits.ts";

test("all searches together are bounded, and the last half is for whom there is something", () => {
  const limits = new ProbeLimits();
  const taken = (nowMs: number, sought: boolean): number => {
    let count = 0;
    while (limits.takeSearch(nowMs, sought)) count += 1;
    return count;
  };
  expect(taken(0, false)).toBe(searchProbesBurst / 2 + 1);
  expect(taken(0, true)).toBe(searchProbesBurst / 2 - 1);
  expect(taken(1_000, false)).toBe(0);
  expect(taken(1_000, true)).toBe(searchProbesPerSecond);
});

test("chance is tried for four members at once, and for four more a minute later", () => {
  const limits = new ProbeLimits();
  for (let i = 0; i < birthdaysMax; i += 1) {
    expect(limits.hasBirthday(0)).toBe(true);
    limits.takeBirthday();
  }
  expect(limits.hasBirthday(0)).toBe(false);
  expect(limits.hasBirthday(60_000 / birthdaysMax)).toBe(true);
});

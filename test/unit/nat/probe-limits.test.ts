import { expect, test } from "bun:test";
import {
  birthdaysMax,
  nodeProbesBurst,
  nodeProbesPerSecond,
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

test("what a node sends in any minute is bounded, and searches and chance leave the last of it to checks", () => {
  const limits = new ProbeLimits();
  let spared = 0;
  for (; limits.spare(0) > 0; spared += 1) expect(limits.take(0)).toBe(true);
  expect(spared).toBeLessThan(nodeProbesBurst);
  expect(limits.takeSearch(0, true)).toBe(false);
  let taken = spared;
  for (let ms = 0; ms < 60_000; ms += 10) while (limits.take(ms)) taken += 1;
  expect(taken).toBeLessThanOrEqual(nodeProbesBurst + 60 * nodeProbesPerSecond);
  expect(taken).toBeGreaterThan(nodeProbesBurst + 59 * nodeProbesPerSecond);
});

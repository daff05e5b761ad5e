import { expect, test } from "bun:test";
import type { Member } from "../../../src/mesh/member.ts";
import { Openings, openingsBurst, openingsPerSecond } from "../../../src/mesh/openings.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

function waiting(count: number, atMs: number): Openings {
  const openings = new Openings();
  for (let i = 0; i < count; i += 1) openings.schedule({ openAtMs: undefined } as Member, atMs);
  return openings;
}

test("many that are due at once go in a burst, and then at the rate", () => {
  const openings = waiting(1_000, 5_000);
  const takeAll = (nowMs: number): number => {
    let count = 0;
    while (openings.take(nowMs) !== undefined) count += 1;
    return count;
  };
  expect(takeAll(4_999)).toBe(0);
  expect(takeAll(5_000)).toBe(openingsBurst);
  expect(takeAll(5_500)).toBe(openingsPerSecond / 2);
  // What was not used counts up to a burst, and no further.
  expect(takeAll(60_000)).toBe(openingsBurst);
});

test("at the time that is asked for, one goes: or a virtual clock would stand still there", () => {
  const random = new SeededRandom(1);
  for (let run = 0; run < 200; run += 1) {
    let nowMs = random.below(1_000_000) / 7;
    const openings = waiting(300, nowMs);
    for (let left = 300; left > 0; left -= 1) {
      // Whatever else happens meanwhile has it asked earlier, too.
      const due = openings.nextTimeout() as number;
      if (due > nowMs) openings.take(nowMs + ((due - nowMs) * random.below(1_000)) / 1_001);
      nowMs = Math.max(nowMs, openings.nextTimeout() as number);
      expect(openings.take(nowMs)).toBeDefined();
    }
  }
});

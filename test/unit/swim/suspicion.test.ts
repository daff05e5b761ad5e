import { expect, test } from "bun:test";
import { Suspicions, suspicionTimeoutMs } from "../../../src/swim/suspicion.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

// members, confirmations, wanted, milliseconds at a probe interval of 1 s
const table: [number, number, number, number][] = [
  [1, 0, 0, 4_000],
  [10, 0, 0, 4_000],
  [100, 0, 0, 8_000],
  [1_000, 0, 0, 12_000],
  [10_000, 0, 0, 16_000],
  [1_000, 0, 3, 72_000],
  [1_000, 1, 3, 42_000],
  [1_000, 2, 3, 24_451],
  [1_000, 3, 3, 12_000],
  [1_000, 9, 3, 12_000],
  [10_000, 0, 3, 96_000],
  [5, 0, 1, 24_000],
  [5, 1, 1, 4_000],
];

test.each(table)(
  "%d members, %d of %d confirmations: %d ms",
  (members, confirmations, wanted, ms) => {
    const terms = { members, probeIntervalMs: 1_000, confirmations, confirmationsWanted: wanted };
    expect(Math.round(suspicionTimeoutMs(terms))).toBe(ms);
  },
);

test("the time-out scales with the probe interval", () => {
  const terms = { members: 100, probeIntervalMs: 5_000, confirmations: 0, confirmationsWanted: 0 };
  expect(suspicionTimeoutMs(terms)).toBe(40_000);
});

/** Runs to `untilMs`; every probe asked for fails where `fails`. */
function run(
  suspicions: Suspicions,
  untilMs: number,
  fails: boolean,
): { probes: number[]; deadAt?: number } {
  const probes: number[] = [];
  for (let now = 0; now <= untilMs; now += 50) {
    for (const verdict of suspicions.due(now, 5)) {
      if (verdict.kind === "dead") return { probes, deadAt: now };
      probes.push(now);
      if (fails) suspicions.probeFailed(now, verdict.slot);
    }
  }
  return { probes };
}

test("a member whose probes go on failing is dead at the end of its suspicion, not before", () => {
  const suspicions = new Suspicions(new SeededRandom(1), 1_000);
  suspicions.probeFailed(0, 1);
  const { probes, deadAt } = run(suspicions, 20_000, true);
  expect(probes.length).toBeGreaterThanOrEqual(2);
  expect(deadAt).toBe(4_000);
  expect(suspicions.has(1)).toBe(false);
});

test("one failed probe alone is never death: another must fail", () => {
  const suspicions = new Suspicions(new SeededRandom(1), 1_000);
  suspicions.probeFailed(0, 1);
  expect(run(suspicions, 60_000, false).deadAt).toBeUndefined();
  expect(suspicions.has(1)).toBe(true);
});

test("a suspicion that ended starts from the beginning", () => {
  const suspicions = new Suspicions(new SeededRandom(1), 1_000);
  suspicions.probeFailed(0, 1);
  suspicions.probeFailed(3_000, 1);
  suspicions.end(1);
  expect(suspicions.nextTimeout(5)).toBeUndefined();
  suspicions.probeFailed(3_900, 1);
  expect(suspicions.due(4_100, 5)).toEqual([]);
});

import { expect, test } from "bun:test";
import {
  accusersWanted,
  profileLan,
  profileWan,
  suspicionMaxMs,
  suspicionMinMs,
} from "../../../src/swim/profile.ts";
import { Suspicions } from "../../../src/swim/suspicion.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const thousand = { members: 1_000, wanted: 3 };

function suspicions(profile = profileLan): Suspicions {
  return new Suspicions(profile, new SeededRandom(1));
}

/** When the slot is declared dead, looking every 100 ms until then; and the probes asked for. */
function run(
  of: Suspicions,
  untilMs: number,
  terms = thousand,
): { deadMs?: number; probes: number } {
  let probes = 0;
  for (let now = 0; now <= untilMs; now += 100) {
    for (const { kind } of of.due(now, terms)) {
      if (kind === "dead") return { deadMs: now, probes };
      probes += 1;
    }
  }
  return { probes };
}

test.each([
  [10, 4_000, 24_000],
  [1_000, 12_000, 72_000],
  [10_000, 16_000, 96_000],
])("with %d members a suspicion lasts %d to %d ms", (members, min, max) => {
  expect(suspicionMinMs(profileLan, members)).toBeCloseTo(min, 6);
  expect(suspicionMaxMs(profileLan, members)).toBeCloseTo(max, 6);
  expect(suspicionMinMs(profileWan, members)).toBeCloseTo(min * 7.5, 6);
});

test.each([
  [1, 1],
  [2, 1],
  [3, 2],
  [4, 2],
  [5, 3],
  [8, 3],
  [10_000, 3],
])("of %d live members %d distinct accusers shorten it", (live, wanted) => {
  expect(accusersWanted(live)).toBe(wanted);
});

test("three distinct accusers end it at the minimum, without a probe of one's own", () => {
  const of = suspicions();
  for (const accuser of [7, 8, 7, 9]) of.accuse(0, 5, accuser, thousand);
  expect(of.accusersOf(5)).toBe(3);
  expect(run(of, 100_000)).toEqual({ deadMs: 12_000, probes: 0 });
  expect(of.has(5)).toBe(false);
});

test("the same accuser counts once, and a fourth not at all", () => {
  const of = suspicions();
  expect([7, 7, 8, 9, 10].map((accuser) => of.accuse(0, 5, accuser, thousand))).toEqual([
    true,
    false,
    true,
    true,
    false,
  ]);
});

test("with fewer it never ends by their word alone, but asks for a look of one's own", () => {
  const of = suspicions();
  of.accuse(0, 5, 7, thousand);
  of.accuse(0, 5, 8, thousand);
  const { deadMs, probes } = run(of, 200_000);
  expect(deadMs).toBeUndefined();
  expect(probes).toBeGreaterThan(0);
});

test("whom the third accusation does not reach looks before the minimum is over, and no sooner than most are told", () => {
  const of = suspicions();
  for (let slot = 1; slot <= 20; slot += 1) of.accuse(0, slot, 100, thousand);
  expect(of.due(8_900, thousand)).toEqual([]);
  const asked = new Set(of.due(12_000, thousand).map(({ slot }) => slot));
  expect(asked.size).toBe(20);
});

test("and ends at the maximum once a probe of one's own has failed", () => {
  const of = suspicions();
  of.accuse(0, 5, 7, thousand);
  of.probeFailed(3_000, 5, thousand);
  expect(run(of, 200_000).deadMs).toBe(72_000);
});

test("each look of one's own that was in vain doubles the wait for the next", () => {
  const of = suspicions();
  of.accuse(0, 5, 0, thousand);
  let looks = 0;
  for (let now = 0; now < 70_000; now += 100) {
    for (const { kind } of of.due(now, thousand)) {
      expect(kind).toBe("probe");
      looks += 1;
      of.probeFailed(now, 5, thousand);
    }
  }
  expect(looks).toBeGreaterThanOrEqual(4);
  expect(looks).toBeLessThanOrEqual(8);
});

test("what is over when its last accuser comes is due at once, and not before", () => {
  const of = suspicions();
  for (const accuser of [7, 8]) of.accuse(0, 5, accuser, thousand);
  expect(of.due(40_000, thousand)).not.toContainEqual({ kind: "dead", slot: 5 });
  of.accuse(50_000, 5, 9, thousand);
  expect(of.nextTimeout()).toBe(50_000);
  expect(of.due(50_000, thousand)).toEqual([{ kind: "dead", slot: 5 }]);
});

test("one's own suspicion is looked into every second or two, and needs a second failure", () => {
  const of = suspicions();
  for (const accuser of [0, 8, 9]) of.accuse(0, 5, accuser, thousand);
  const { deadMs, probes } = run(of, 60_000);
  expect(deadMs).toBeUndefined();
  expect(probes).toBeGreaterThanOrEqual(30);
  of.probeFailed(60_000, 5, thousand);
  expect(of.due(60_000, thousand)).toEqual([{ kind: "dead", slot: 5 }]);
});

test("plain SWIM ends every suspicion at the minimum, whoever said so", () => {
  const of = suspicions({ ...profileLan, lifeguard: false });
  of.accuse(0, 5, 7, thousand);
  expect(run(of, 100_000).deadMs).toBe(12_000);
});

test("whoever was heard from is not suspected, and the others still are, in any order", () => {
  const of = suspicions();
  for (let slot = 1; slot <= 50; slot += 1) {
    for (const accuser of [60, 61, 62]) of.accuse(0, slot, accuser, thousand);
  }
  for (let slot = 1; slot <= 50; slot += 3) of.end(slot);
  expect(of.size).toBe(33);
  const dead = of.due(12_000, thousand).map(({ slot }) => slot);
  expect(dead.sort((a, b) => a - b)).toEqual(
    Array.from({ length: 50 }, (_, i) => i + 1).filter((slot) => slot % 3 !== 1),
  );
  expect(of.size).toBe(0);
  expect(of.nextTimeout()).toBeUndefined();
});

test("the time that this node itself stood still does not count", () => {
  const of = suspicions();
  for (const accuser of [7, 8, 9]) of.accuse(0, 5, accuser, thousand);
  of.postpone(20_000);
  expect(run(of, 100_000).deadMs).toBe(32_000);
});

test("of thousands at once each ends in its time, in order, whichever ended before", () => {
  const of = suspicions();
  const terms = { members: 10_000, wanted: 3 };
  const count = 4_000;
  for (let slot = 1; slot <= count; slot += 1) {
    for (const accuser of [7_001, 7_002, 7_003])
      of.accuse((slot * 7) % 1_000, slot, accuser, terms);
  }
  for (let slot = 3; slot <= count; slot += 3) of.end(slot);
  expect(of.size).toBe(count - Math.floor(count / 3));
  const ended = new Map<number, number>();
  let now = 0;
  for (let next = of.nextTimeout(); next !== undefined; next = of.nextTimeout()) {
    expect(next).toBeGreaterThanOrEqual(now);
    now = next;
    for (const { kind, slot } of of.due(now, terms)) {
      expect(kind).toBe("dead");
      ended.set(slot, now);
    }
  }
  expect(ended.size).toBe(count - Math.floor(count / 3));
  for (const [slot, atMs] of ended) expect(atMs).toBeCloseTo(((slot * 7) % 1_000) + 16_000, 6);
});

test("half of a large mesh suspected on others' word is looked into at a bounded rate", () => {
  const of = suspicions();
  const terms = { members: 10_000, wanted: 3 };
  for (let slot = 1; slot <= 5_000; slot += 1) of.accuse(0, slot, 7_000, terms);
  let probes = 0;
  for (let now = 0; now < 96_000; now += 100) probes += of.due(now, terms).length;
  expect(probes / 96).toBeLessThan(8);
  expect(probes / 96).toBeGreaterThan(2);
});

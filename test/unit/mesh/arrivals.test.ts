import { describe, expect, test } from "bun:test";
import {
  type Arrival,
  Arrivals,
  arrivalLifetimeMs,
  arrivalsMax,
} from "../../../src/mesh/arrivals.ts";

function from(identity: string, outcome: Arrival["outcome"]): Parameters<Arrivals["note"]>[1] {
  return { identity, name: "", outcome, aboutWallMs: undefined };
}

function news(of: Arrivals): string[] {
  const out: string[] = [];
  for (let it = of.pollNews(); it !== undefined; it = of.pollNews()) {
    out.push(`${it.identity} ${it.outcome}`);
  }
  return out;
}

describe("arrivals", () => {
  test("know the last outcome of each, how often in a row, and for how long", () => {
    const arrivals = new Arrivals();
    arrivals.note(0, from("a", "not_trusted"));
    arrivals.note(1_000, from("a", "not_trusted"));
    arrivals.note(2_000, from("b", "admitted"));
    expect(arrivals.of(3_000, "a")).toMatchObject({ count: 2, atMs: 1_000 });
    expect(arrivals.refused(3_000).map(({ identity }) => identity)).toEqual(["a"]);
    arrivals.note(4_000, from("a", "admitted"));
    expect(arrivals.refused(5_000)).toEqual([]);
    expect(arrivals.of(4_000 + arrivalLifetimeMs, "a")).toBeUndefined();
  });

  test("are news once, again for another reason, and again after an hour", () => {
    const arrivals = new Arrivals();
    for (let ms = 0; ms < 3_600_000; ms += 60_000) arrivals.note(ms, from("a", "too_old"));
    expect(news(arrivals)).toEqual(["a too_old"]);
    arrivals.note(3_600_000, from("a", "too_old"));
    arrivals.note(3_610_000, from("a", "revoked"));
    arrivals.note(3_620_000, from("a", "admitted"));
    expect(news(arrivals)).toEqual(["a too_old", "a revoked"]);
  });

  test("with a spent invitation are news once, though they ask without it as well", () => {
    const arrivals = new Arrivals();
    for (let ms = 0; ms < 5_000; ms += 1_000) {
      arrivals.note(ms, from("a", "invitation"));
      arrivals.note(ms + 500, from("a", "not_trusted"));
    }
    expect(news(arrivals)).toEqual(["a invitation"]);
    expect(arrivals.of(5_000, "a")).toMatchObject({ outcome: "invitation", count: 10 });
  });

  test("that change between two reasons are news once of each", () => {
    const arrivals = new Arrivals();
    for (let ms = 0; ms < 60_000; ms += 20_000) {
      arrivals.note(ms, from("a", "too_old"));
      arrivals.note(ms + 10_000, from("a", "revoked"));
    }
    expect(news(arrivals)).toEqual(["a too_old", "a revoked"]);
  });

  test("of strangers fill neither the log nor the place of others", () => {
    const arrivals = new Arrivals();
    arrivals.note(0, from("late", "too_old"));
    for (let at = 0; at < 10_000; at += 1) arrivals.note(at, from(`stranger ${at}`, "not_trusted"));
    expect(news(arrivals)).toHaveLength(1 + 8);
    expect(arrivals.refused(10_000)).toHaveLength(arrivalsMax);
    expect(arrivals.of(10_000, "late")?.outcome).toBe("too_old");
    expect(arrivals.counters).toEqual({ forgotten: 10_001 - arrivalsMax, untold: 10_000 - 8 });
    // And whoever is wanted is told of meanwhile.
    arrivals.note(10_000, from("expired", "certificate_expired"));
    expect(news(arrivals)).toEqual(["expired certificate_expired"]);
  });
});

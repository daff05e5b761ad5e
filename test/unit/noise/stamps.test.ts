import { expect, test } from "bun:test";
import { formatKey } from "../../../src/base/base64.ts";
import { StampMap } from "../../../src/noise/stamps.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

test("stamps by keys are as in a map", () => {
  const random = new SeededRandom(2);
  const names = Array.from({ length: 50 }, () => formatKey(random.bytes(32)));
  const stamps = new StampMap();
  const model = new Map<string, Uint8Array>();
  for (let step = 0; step < 2_000; step += 1) {
    const name = names[random.below(names.length)] as string;
    if (random.chance(0.3)) expect(stamps.delete(name)).toBe(model.delete(name));
    else {
      const stamp = random.bytes(12);
      stamps.set(name, stamp);
      model.set(name, stamp);
    }
    expect(stamps.get(name)).toEqual(model.get(name) as Uint8Array);
  }
  expect(new Map(stamps)).toEqual(model);
  expect([...new StampMap(model).keys()].toSorted()).toEqual([...model.keys()].toSorted());
  expect(stamps.get("no key")).toBeUndefined();
  expect(stamps.delete("no key")).toBe(false);
});

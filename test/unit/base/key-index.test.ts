import { expect, test } from "bun:test";
import { toHex } from "../../../src/base/bytes.ts";
import { KeyIndex } from "../../../src/base/key-index.ts";
import { Pruning } from "../../../src/base/prune.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

test("keys have numbers of their own, dense and found again, as in a map", () => {
  const random = new SeededRandom(1);
  // Few, so that the same come and go; and some that differ in one byte only.
  const keys = Array.from({ length: 300 }, (_, i) => {
    const key = i % 3 === 0 ? new Uint8Array(32).fill(7) : random.bytes(32);
    key[31] = i & 255;
    key[30] = i >> 8;
    return key;
  });
  const index = new KeyIndex();
  const model = new Map<string, number>();
  for (let step = 0; step < 20_000; step += 1) {
    const key = keys[random.below(keys.length)] as Uint8Array;
    const name = toHex(key);
    expect(index.find(key)).toBe(model.get(name));
    if (random.chance(0.5)) {
      const id = index.add(key);
      expect(model.get(name) ?? id).toBe(id);
      expect(index.key(id)).toEqual(key);
      model.set(name, id);
    } else {
      expect(index.remove(key)).toBe(model.get(name));
      model.delete(name);
    }
    expect(index.size).toBe(model.size);
  }
  expect(new Set(model.values()).size).toBe(model.size);
  expect(index.end).toBeLessThanOrEqual(300);
});

test("what is stale goes when there is twice as much, and not before", () => {
  const pruning = new Pruning();
  const map = new Map<number, boolean>();
  for (let i = 0; i < 10_000; i += 1) {
    pruning.run(map, (isStale) => isStale);
    map.set(i, i % 100 !== 0);
  }
  expect(map.size).toBeLessThan(300);
  expect([...map.values()].filter((isStale) => !isStale)).toHaveLength(100);
});

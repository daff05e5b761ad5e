import { expect, test } from "bun:test";
import { PackedBytes } from "../../../src/base/packed-bytes.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

test("what is packed is there as it was, whatever came and went, in twice the room at most", () => {
  const random = new SeededRandom(1);
  const packed = new PackedBytes();
  const model = new Map<number, Uint8Array>();
  for (let step = 0; step < 40_000; step += 1) {
    const id = random.below(600);
    if (model.delete(id)) packed.delete(id);
    if (random.chance(0.8)) {
      const bytes = random.bytes(1 + random.below(900));
      packed.set(id, bytes);
      model.set(id, bytes);
    }
  }
  let held = 0;
  for (let id = 0; id < 600; id += 1) {
    const bytes = model.get(id);
    expect(packed.has(id)).toBe(bytes !== undefined);
    expect(packed.length(id)).toBe(bytes?.length ?? 0);
    if (bytes === undefined) continue;
    held += bytes.length;
    expect(packed.get(id)).toEqual(bytes);
    expect(packed.equals(id, bytes)).toBe(true);
    expect(packed.equals(id, new Uint8Array(bytes.length).fill(1))).toBe(false);
  }
  // And the buffer that is being filled, and the one before it.
  expect(packed.capacity).toBeLessThan(2 * held + 3 * 65_536);
  for (const id of model.keys()) packed.delete(id);
  expect(packed.capacity).toBeLessThanOrEqual(2 * 65_536);
});

test("what was read stays as it was", () => {
  const packed = new PackedBytes();
  packed.set(0, Uint8Array.of(1, 2, 3));
  const read = packed.get(0);
  packed.delete(0);
  packed.set(0, Uint8Array.of(9, 9, 9));
  expect(read).toEqual(Uint8Array.of(1, 2, 3));
  expect(() => packed.set(0, read)).toThrow("not in use");
  expect(() => packed.get(1)).toThrow("nothing has this number");
});

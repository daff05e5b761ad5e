import { expect, test } from "bun:test";
import { Hearsay, hearsayMax } from "../../../src/swim/hearsay.ts";
import { shortId } from "../../../src/swim/message.ts";

function identity(number: number): Uint8Array {
  const out = new Uint8Array(32);
  new DataView(out.buffer).setUint32(0, number);
  return out;
}

test("the newest of what was heard is kept, and taken once", () => {
  const hearsay = new Hearsay();
  hearsay.add(identity(1), 5, Uint8Array.of(5));
  hearsay.add(identity(1), 4, Uint8Array.of(4));
  expect(hearsay.sequence(shortId(identity(1)))).toBe(5);
  hearsay.add(identity(1), 6, Uint8Array.of(6));
  expect([...hearsay.inBucket(0)]).toEqual([shortId(identity(1))]);
  expect(hearsay.take(identity(1))).toEqual(Uint8Array.of(6));
  expect(hearsay.take(identity(1))).toBeUndefined();
  expect([...hearsay.inBucket(0)]).toEqual([]);
});

test("beyond its limit the one longest unheard of is forgotten", () => {
  const hearsay = new Hearsay();
  for (let i = 0; i <= hearsayMax; i += 1) {
    if (i === hearsayMax) hearsay.add(identity(0), 2, Uint8Array.of(2));
    hearsay.add(identity(i), 1, Uint8Array.of(1));
  }
  expect(hearsay.size).toBe(hearsayMax);
  expect(hearsay.sequence(shortId(identity(0)))).toBe(2);
  expect(hearsay.sequence(shortId(identity(1)))).toBe(0);
});

test("a million unknown subjects cost less than 2 MiB", () => {
  const hearsay = new Hearsay();
  const record = new Uint8Array(240);
  const add = (i: number): void => hearsay.add(identity(i), 1, record.slice());
  for (let i = 0; i < 2 * hearsayMax; i += 1) add(i);
  Bun.gc(true);
  const before = process.memoryUsage().heapUsed + process.memoryUsage().external;
  for (let i = 0; i < 1_000_000; i += 1) add(i);
  Bun.gc(true);
  const grown = process.memoryUsage().heapUsed + process.memoryUsage().external - before;
  expect(hearsay.size).toBe(hearsayMax);
  expect(grown).toBeLessThan(2 * 2 ** 20);
}, 120_000);

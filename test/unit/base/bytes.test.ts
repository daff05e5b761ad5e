import { expect, test } from "bun:test";
import { decodeBase64, encodeBase64, formatKey, parseKey } from "../../../src/base/base64.ts";
import {
  compareBytes,
  concatBytes,
  equalBytes,
  equalConstantTime,
  fromHex,
  isZero,
  Reader,
  toHex,
  Writer,
} from "../../../src/base/bytes.ts";
import { MeshError } from "../../../src/base/errors.ts";

test("the reader gives back what the writer wrote, field by field", () => {
  const bytes = new Writer(1)
    .u8(7)
    .u16(0x0102)
    .u32(0xfffefdfc)
    .u64(0x0102030405060708n)
    .bytes(Uint8Array.of(9, 8))
    .zeros(2)
    .finish();
  expect(toHex(bytes)).toBe("070201fcfdfeff080706050403020109080000");
  const reader = new Reader(bytes);
  expect(reader.u8()).toBe(7);
  expect(reader.u16()).toBe(0x0102);
  expect(reader.u32()).toBe(0xfffefdfc);
  expect(reader.u64()).toBe(0x0102030405060708n);
  expect(reader.bytes(2)).toEqual(Uint8Array.of(9, 8));
  expect(reader.rest()).toEqual(Uint8Array.of(0, 0));
  expect(reader.remaining).toBe(0);
});

test("a read beyond the end is undefined and consumes nothing", () => {
  const reader = new Reader(Uint8Array.of(1, 2, 3));
  expect(reader.u32()).toBeUndefined();
  expect(reader.u64()).toBeUndefined();
  expect(reader.bytes(4)).toBeUndefined();
  expect(reader.bytes(-1)).toBeUndefined();
  expect(reader.bytes(1.5)).toBeUndefined();
  expect(reader.u16()).toBe(0x0201);
  expect(reader.u16()).toBeUndefined();
  expect(reader.u8()).toBe(3);
  expect(reader.u8()).toBeUndefined();
});

test("the reader respects the offset of the view it is given", () => {
  const reader = new Reader(Uint8Array.of(1, 2, 3, 4, 5, 6).subarray(2, 4));
  expect(reader.u16()).toBe(0x0403);
  expect(reader.u8()).toBeUndefined();
});

test("the writer asserts that values fit their fields", () => {
  expect(() => new Writer().u8(256)).toThrow();
  expect(() => new Writer().u16(-1)).toThrow();
  expect(() => new Writer().u32(2 ** 32)).toThrow();
  expect(() => new Writer().u64(-1n)).toThrow();
});

test("comparisons agree with one another", () => {
  const a = Uint8Array.of(1, 2, 3);
  const b = Uint8Array.of(1, 3, 0);
  expect(equalBytes(a, a.slice())).toBe(true);
  expect(equalConstantTime(a, a.slice())).toBe(true);
  for (const equal of [equalBytes, equalConstantTime]) {
    expect(equal(a, b)).toBe(false);
    expect(equal(a, a.subarray(0, 2))).toBe(false);
  }
  expect(compareBytes(a, b)).toBeLessThan(0);
  expect(compareBytes(b, a)).toBeGreaterThan(0);
  expect(compareBytes(a, a)).toBe(0);
  expect(isZero(new Uint8Array(3))).toBe(true);
  expect(isZero(Uint8Array.of(0, 0, 1))).toBe(false);
  expect(concatBytes(a, new Uint8Array(0), b)).toEqual(Uint8Array.of(1, 2, 3, 1, 3, 0));
});

test("hexadecimal decodes in either case and refuses everything else", () => {
  expect(fromHex("00fFA1")).toEqual(Uint8Array.of(0, 255, 161));
  expect(toHex(Uint8Array.of(0, 255, 161))).toBe("00ffa1");
  for (const bad of ["0", "0g", " 00", "0x00", "ÿÿ"]) expect(fromHex(bad)).toBeUndefined();
});

test("base64 agrees with the platform's at every length", () => {
  for (let length = 0; length < 70; length += 1) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 73 + length * 31) & 255);
    const text = encodeBase64(bytes);
    expect(text).toBe(Buffer.from(bytes).toString("base64"));
    expect(decodeBase64(text)).toEqual(bytes);
  }
});

test("only canonical base64 decodes", () => {
  const bad = ["A", "AA", "AAA", "AB==", "AAB=", "A===", "AA=A", "====", "AAAA\n", "AA-_", "AA ="];
  for (const text of bad) expect(decodeBase64(text)).toBeUndefined();
});

test("a key's text has exactly one form", () => {
  const key = Uint8Array.from({ length: 32 }, (_, i) => 255 - i);
  const text = formatKey(key);
  expect(text).toHaveLength(44);
  expect(parseKey(text)).toEqual(key);
  expect(parseKey(`${text.slice(0, 42)}B=`)).toBeUndefined(); // unused bits set
  expect(parseKey(text.slice(0, 43))).toBeUndefined();
  expect(parseKey(`${text} `)).toBeUndefined();
  expect(parseKey(encodeBase64(new Uint8Array(33)))).toBeUndefined();
  expect(parseKey(encodeBase64(new Uint8Array(31)))).toBeUndefined();
});

test("an operator's error says what, why and what to do in one line", () => {
  const error = new MeshError("key_open", "cannot use the key file", "others may read it", "chmod");
  expect(error).toBeInstanceOf(Error);
  expect(error.code).toBe("key_open");
  expect(error.sentence()).toBe("cannot use the key file: others may read it; chmod");
});

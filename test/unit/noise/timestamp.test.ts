import { expect, test } from "bun:test";
import { compareBytes, toHex } from "../../../src/base/bytes.ts";
import { encodeTimestamp, SentTimestamps } from "../../../src/noise/timestamp.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

test("a stamp is TAI64N: 2^62 + 10 s + Unix time, then nanoseconds without their low 24 bits", () => {
  expect(toHex(encodeTimestamp(0))).toBe("400000000000000a00000000");
  expect(toHex(encodeTimestamp(1_000))).toBe("400000000000000b00000000");
  expect(toHex(encodeTimestamp(1_700_000_000_016))).toBe("400000006553f10a00000000");
  expect(toHex(encodeTimestamp(1_700_000_000_017))).toBe("400000006553f10a01000000");
  expect(toHex(encodeTimestamp(1_700_000_000_999))).toBe("400000006553f10a3b000000");
  expect(toHex(encodeTimestamp(-5))).toBe("400000000000000a00000000");
});

test("stamps rise strictly, whatever the wall clock does", () => {
  const random = new SeededRandom(3);
  const sent = new SentTimestamps();
  let wallMs = 1_700_000_000_000;
  let last = new Uint8Array(12);
  for (let i = 0; i < 5_000; i += 1) {
    wallMs += random.chance(0.1) ? random.below(7_200_000) - 3_600_000 : random.below(3);
    const stamp = sent.next({ ms: i, wallMs });
    expect(compareBytes(stamp, last)).toBeGreaterThan(0);
    last = new Uint8Array(stamp);
  }
});

test("the stamps of an earlier life are exceeded, and the clock is used once it is ahead", () => {
  const wallMs = 1_700_000_000_000;
  const late = encodeTimestamp(wallMs + 3_600_000);
  const sent = new SentTimestamps(late);
  const first = sent.next({ ms: 0, wallMs });
  expect(toHex(first)).toBe(`${toHex(late).slice(0, 22)}01`);
  expect(sent.next({ ms: 0, wallMs: wallMs + 3_700_000 })).toEqual(
    encodeTimestamp(wallMs + 3_700_000),
  );
});

test("a carry runs through all bytes, and the largest stamp of all stays", () => {
  const low = new Uint8Array(12).fill(255, 4);
  low[3] = 64;
  low[0] = 65;
  const next = new SentTimestamps(low).next({ ms: 0, wallMs: 0 });
  expect(toHex(next)).toBe("410000410000000000000000");
  const largest = new Uint8Array(12).fill(255);
  expect(new SentTimestamps(largest).next({ ms: 0, wallMs: 0 })).toEqual(largest);
});

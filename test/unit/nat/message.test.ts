import { expect, test } from "bun:test";
import {
  candidatesMax,
  decodePathMessage,
  encodeFrame,
  encodePathMessage,
  frameIdOf,
  isPathMessage,
  type PathMessage,
} from "../../../src/nat/message.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const v4 = { address: "192.0.2.7", port: 51_820 };
const v6 = { address: "2001:db8::7", port: 1 };

const messages: readonly PathMessage[] = [
  { kind: "probe", number: 0xffffffff },
  { kind: "reply", number: 7, observed: v4 },
  { kind: "reply", number: 7, observed: v6 },
  { kind: "reply", number: 0, observed: undefined },
  { kind: "whereabouts", ask: true, nat: "easy", candidates: [] },
  { kind: "whereabouts", ask: false, nat: "easy", candidates: new Array(candidatesMax).fill(v6) },
];

test("path messages come out as they went in, padded or not", () => {
  for (const message of messages) {
    const bytes = encodePathMessage(message);
    expect(isPathMessage(bytes)).toBe(true);
    expect(decodePathMessage(bytes)).toEqual(message);
    const padded = new Uint8Array(bytes.length + 15);
    padded.set(bytes);
    expect(decodePathMessage(padded)).toEqual(message);
  }
});

test("no answer is longer than the probe that asks for it", () => {
  const probe = encodePathMessage({ kind: "probe", number: 1 });
  for (const observed of [v4, v6, undefined]) {
    const reply = encodePathMessage({ kind: "reply", number: 1, observed });
    expect(reply.length).toBeLessThanOrEqual(probe.length);
  }
});

test("what is cut off, too long or names no place to send to is refused", () => {
  for (const message of messages) {
    const bytes = encodePathMessage(message);
    for (let length = 0; length < bytes.length; length += 1) {
      const cut = bytes.slice(0, length);
      expect(decodePathMessage(cut)).toBeUndefined();
      // With a length that fits, the fields do not.
      if (length >= 4) new DataView(cut.buffer).setUint16(2, length, true);
      if (length >= 4) expect(decodePathMessage(cut)).toBeUndefined();
    }
  }
  for (const address of [
    "127.0.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "::1",
    "ff02::1",
    "255.255.255.255",
  ]) {
    const bytes = encodePathMessage({
      kind: "whereabouts",
      ask: false,
      nat: "easy",
      candidates: [{ address, port: 9 }],
    });
    expect(decodePathMessage(bytes)).toBeUndefined();
  }
});

test("bytes at random are refused or are a message, and never throw", () => {
  const random = new SeededRandom(7);
  for (let round = 0; round < 20_000; round += 1) {
    const bytes = random.bytes(4 + random.below(60));
    bytes[0] = [11, 13, 14][random.below(3)] as number;
    bytes[1] = 0;
    new DataView(bytes.buffer).setUint16(2, bytes.length, true);
    const message = decodePathMessage(bytes);
    if (message !== undefined)
      expect(decodePathMessage(encodePathMessage(message))).toEqual(message);
  }
});

test("a frame's header names both ends by the first 6 bytes of their identities", () => {
  const identity = Uint8Array.from({ length: 32 }, (_, at) => at + 1);
  expect(frameIdOf(identity)).toBe(0x0605_0403_0201);
  const frame = encodeFrame(frameIdOf(identity), 9, new Uint8Array([1, 2]));
  expect([...frame]).toEqual([12, 3, 18, 0, 1, 2, 3, 4, 5, 6, 9, 0, 0, 0, 0, 0, 1, 2]);
});

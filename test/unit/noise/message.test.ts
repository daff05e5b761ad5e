import { expect, test } from "bun:test";
import { Reader, toHex } from "../../../src/base/bytes.ts";
import * as message from "../../../src/noise/message.ts";

const bytes = (length: number, from: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (from + i) & 255);

const initiation: message.Initiation = {
  sender: 0x04030201,
  ephemeral: bytes(32, 1),
  sealedStatic: bytes(48, 50),
  sealedTimestamp: bytes(28, 100),
};
const response: message.Response = {
  sender: 0x04030201,
  receiver: 0x08070605,
  ephemeral: bytes(32, 1),
  sealedNothing: bytes(16, 50),
};
const cookieReply: message.CookieReply = {
  receiver: 0xfffefdfc,
  nonce: bytes(24, 1),
  sealedCookie: bytes(32, 50),
};

test("each message has WireGuard's layout and length (paper, section 5.4)", () => {
  const one = message.encodeInitiation(initiation);
  expect(one).toHaveLength(148);
  expect(toHex(one.subarray(0, 8))).toBe("0100000001020304");
  expect(one.subarray(8, 40)).toEqual(initiation.ephemeral);
  expect(one.subarray(40, 88)).toEqual(initiation.sealedStatic);
  expect(one.subarray(88, 116)).toEqual(initiation.sealedTimestamp);
  expect(one.subarray(116)).toEqual(new Uint8Array(32));
  const two = message.encodeResponse(response);
  expect(two).toHaveLength(92);
  expect(toHex(two.subarray(0, 12))).toBe("020000000102030405060708");
  expect(two.subarray(12, 44)).toEqual(response.ephemeral);
  expect(two.subarray(44, 60)).toEqual(response.sealedNothing);
  expect(two.subarray(60)).toEqual(new Uint8Array(32));
  const three = message.encodeCookieReply(cookieReply);
  expect(three).toHaveLength(64);
  expect(toHex(three.subarray(0, 8))).toBe("03000000fcfdfeff");
  expect(three.subarray(8, 32)).toEqual(cookieReply.nonce);
  expect(three.subarray(32)).toEqual(cookieReply.sealedCookie);
});

test("what is encoded decodes to the same", () => {
  expect(message.decodeInitiation(message.encodeInitiation(initiation))).toEqual(initiation);
  expect(message.decodeResponse(message.encodeResponse(response))).toEqual(response);
  expect(message.decodeCookieReply(message.encodeCookieReply(cookieReply))).toEqual(cookieReply);
});

test("another length, type or reserved byte is no message", () => {
  const decoders = [message.decodeInitiation, message.decodeResponse, message.decodeCookieReply];
  const lengths = [148, 92, 64];
  for (let length = 0; length <= 200; length += 1) {
    for (let type = 0; type <= 5; type += 1) {
      const given = new Uint8Array(length);
      if (length > 0) given[0] = type;
      for (const [i, decode] of decoders.entries()) {
        expect(decode(given) !== undefined).toBe(length === lengths[i] && type === i + 1);
      }
      for (let reserved = 1; reserved < 4 && reserved < length; reserved += 1) {
        const odd = given.slice();
        odd[reserved] = 1;
        for (const decode of decoders) expect(decode(odd)).toBeUndefined();
      }
    }
  }
});

test("a decoded message keeps nothing of the buffer it came in", () => {
  const buffer = message.encodeInitiation(initiation);
  const decoded = message.decodeInitiation(buffer);
  buffer.fill(0xff);
  expect(decoded).toEqual(initiation);
  expect(new Reader(buffer).u32()).toBe(0xffffffff);
});

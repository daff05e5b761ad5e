import { describe, expect, test } from "bun:test";
import { fromHex } from "../../../src/base/bytes.ts";
import { decodeBindingAnswer, encodeBindingRequest } from "../../../src/nat/stun.ts";
import { answerBytes, readRequest } from "../../support/stun-answers.ts";

const id = Uint8Array.from({ length: 12 }, (_, at) => at + 1);
const mapped = { address: "192.0.2.1", port: 32_853 };

function hex(text: string): Uint8Array {
  return fromHex(text.replaceAll(/\s/g, "")) as Uint8Array;
}

/** RFC 5769 sections 2.2 and 2.3: sample answers, with SOFTWARE, MESSAGE-INTEGRITY and FINGERPRINT. */
const sample4 =
  hex(`0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643
  000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96`);
const sample6 =
  hex(`010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f722000200014
  0002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c`);

describe("a binding answer", () => {
  test("is read as the RFC's samples say", () => {
    expect(decodeBindingAnswer(sample4)?.mapped).toEqual(mapped);
    expect(decodeBindingAnswer(sample6)?.mapped).toEqual({
      address: "2001:db8:1234:5678:11:2233:4455:6677",
      port: 32_853,
    });
  });

  test("of an old server, and with another address of the server", () => {
    expect(decodeBindingAnswer(answerBytes(id, { mapped, plain: true }))?.mapped).toEqual(mapped);
    const other = { address: "2001:db8::9", port: 3479 };
    const whole = decodeBindingAnswer(answerBytes(id, { mapped, other }));
    expect(whole).toEqual({ id, mapped, other, error: undefined });
    expect(decodeBindingAnswer(answerBytes(id, { error: 420 }))?.error).toBe(420);
  });

  const wrong: readonly [string, Uint8Array][] = [
    ["nothing", new Uint8Array(0)],
    ["a request", encodeBindingRequest(id)],
    ["an answer without an address", answerBytes(id, {})],
    ["an error without a number", answerBytes(id, { error: 99 })],
    ["what must be understood and is not", answerBytes(id, { mapped, more: [[0x7fff, [0]]] })],
    ["a port of 0", answerBytes(id, { mapped: { ...mapped, port: 0 } })],
    ["an address of a wrong length", answerBytes(id, { more: [[0x20, [0, 1, 1, 1, 1]]] })],
    [
      "an attribute beyond the end",
      (() => {
        const bytes = answerBytes(id, { mapped });
        bytes[23] = 200;
        return bytes;
      })(),
    ],
    ["a hundred attributes", answerBytes(id, { mapped, more: Array(100).fill([0x8022, []]) })],
    ["one byte too many", Uint8Array.from([...answerBytes(id, { mapped }), 0])],
  ];
  for (const [what, bytes] of wrong) {
    test(`is not ${what}`, () => expect(decodeBindingAnswer(bytes)).toBeUndefined());
  }

  test("cut anywhere is none", () => {
    for (let length = 0; length < sample6.length; length += 1) {
      expect(decodeBindingAnswer(sample6.subarray(0, length))).toBeUndefined();
    }
  });
});

test("a request is what a server reads", () => {
  const plain = { id, changeAddress: false, changePort: false };
  expect(readRequest(encodeBindingRequest(id))).toEqual(plain);
  const change = { address: true, port: true };
  const both = { id, changeAddress: true, changePort: true };
  expect(readRequest(encodeBindingRequest(id, change))).toEqual(both);
});

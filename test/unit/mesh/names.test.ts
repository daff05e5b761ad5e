import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { answerQuery, type Zone } from "../../../src/mesh/names.ts";

const laptop = ["fd00::1:2", "10.99.1.2"];
const zone: Zone = {
  addressesOf: (name) => (name === "laptop" ? laptop : undefined),
  nameOf: (address) => (laptop.includes(address) ? "laptop" : undefined),
};
const [a, ptr, mx, aaaa, any] = [1, 12, 15, 28, 255];

function query(name: string, type: number, flags = 0x0100, questions = 1): Uint8Array {
  const labels = name === "" ? [] : name.split(".");
  const encoded = labels.flatMap((label) => [label.length, ...Buffer.from(label)]);
  const words = [0x1234, flags, questions, 0, 0, 0].flatMap((word) => [word >> 8, word & 255]);
  return Uint8Array.from([...words, ...encoded, 0, 0, type, 0, 1]);
}

interface Answer {
  readonly code: number;
  readonly data: readonly string[];
}

/** Code and data of the answer, the data in hexadecimal. */
function ask(name: string, type: number, flags?: number): Answer {
  const asked = query(name, type, flags);
  const bytes = Buffer.from(answerQuery(asked, zone) ?? []);
  expect(bytes.readUInt16BE(0)).toBe(0x1234);
  // A response, authoritative.
  expect(bytes.readUInt16BE(2) & 0x8400).toBe(0x8400);
  expect(bytes.subarray(12, asked.length)).toEqual(Buffer.from(asked.subarray(12)));
  const data: string[] = [];
  for (let at = asked.length; at < bytes.length; ) {
    expect(bytes.readUInt16BE(at)).toBe(0xc00c);
    expect(bytes.readUInt32BE(at + 6)).toBe(5);
    const length = bytes.readUInt16BE(at + 10);
    data.push(bytes.toString("hex", at + 12, at + 12 + length));
    at += 12 + length;
  }
  expect(data).toHaveLength(bytes.readUInt16BE(6));
  return { code: bytes.readUInt16BE(2) & 15, data };
}

describe("a name in the mesh", () => {
  test("has its addresses, by family or both, in any case of letters", () => {
    expect(ask("laptop.mesh", a)).toEqual({ code: 0, data: ["0a630102"] });
    const ipv6 = "fd000000000000000000000000010002";
    expect(ask("LapTop.MESH", aaaa)).toEqual({ code: 0, data: [ipv6] });
    expect(ask("laptop.mesh", any)).toEqual({ code: 0, data: [ipv6, "0a630102"] });
  });

  test("has nothing else, which is no error", () => {
    expect(ask("laptop.mesh", mx)).toEqual({ code: 0, data: [] });
    expect(ask("mesh", a)).toEqual({ code: 0, data: [] });
  });

  test("is unknown where nobody is called so", () => {
    expect(ask("tablet.mesh", a)).toEqual({ code: 3, data: [] });
    expect(ask("a.laptop.mesh", a)).toEqual({ code: 3, data: [] });
  });

  test("of another zone is refused, so that somebody else is asked", () => {
    expect(ask("laptop.example", a).code).toBe(5);
    expect(ask("", a).code).toBe(5);
    expect(ask("mesh.example", a).code).toBe(5);
  });

  test("is found by its address", () => {
    const name = Buffer.from("\x06laptop\x04mesh\x00").toString("hex");
    expect(ask("2.1.99.10.in-addr.arpa", ptr)).toEqual({ code: 0, data: [name] });
    const nibbles = [..."fd000000000000000000000000010002"].toReversed().join(".");
    expect(ask(`${nibbles}.ip6.arpa`, ptr)).toEqual({ code: 0, data: [name] });
    expect(ask("1.1.1.1.in-addr.arpa", ptr).code).toBe(5);
  });
});

describe("what is no query", () => {
  test("has no answer: a response, no or two questions, a name that does not end", () => {
    expect(answerQuery(query("laptop.mesh", a, 0x8100), zone)).toBeUndefined();
    expect(answerQuery(query("laptop.mesh", a, 0x0100, 0), zone)).toBeUndefined();
    expect(answerQuery(query("laptop.mesh", a, 0x0100, 2), zone)).toBeUndefined();
    const whole = query("laptop.mesh", a);
    for (let length = 0; length < whole.length; length += 1) {
      expect(answerQuery(whole.subarray(0, length), zone)).toBeUndefined();
    }
    expect(answerQuery(new Uint8Array(513), zone)).toBeUndefined();
  });

  test("of another kind of operation is not implemented", () => {
    expect(ask("laptop.mesh", a, 0x2800).code).toBe(4);
  });

  test("never throws, whatever the bytes, and no answer is longer than 512 bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        expect(answerQuery(bytes, zone)?.length ?? 0).toBeLessThanOrEqual(512);
        const header = query("", a).subarray(0, 12);
        const answer = answerQuery(Uint8Array.from([...header, ...bytes]), zone);
        expect(answer?.length ?? 0).toBeLessThanOrEqual(600);
      }),
      { numRuns: 2_000 },
    );
  });
});

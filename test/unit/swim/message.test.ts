import { describe, expect, test } from "bun:test";
import { concatBytes, toHex } from "../../../src/base/bytes.ts";
import {
  decodeMessage,
  digestEntriesMax,
  encodeMessage,
  type Message,
  shortId,
} from "../../../src/swim/message.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const id = shortId(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 255, 9));
const record = new Uint8Array(200).fill(7);

const messages: Message[] = [
  { kind: "ping", number: 0x01020304, records: [] },
  { kind: "ping", number: 1, records: [record, new Uint8Array(512).fill(1), Uint8Array.of(9)] },
  { kind: "ack", number: 0xffffffff, records: [record] },
  { kind: "pingRequest", number: 5, target: new Uint8Array(32).fill(3), records: [record] },
  { kind: "records", records: [record, record] },
  { kind: "records", records: [] },
  { kind: "summary", buckets: new Uint32Array(256).map((_, i) => i * 0x01010101) },
  { kind: "digest", complete: new Uint8Array(32).fill(0x5a), entries: [] },
  {
    kind: "digest",
    complete: new Uint8Array(32),
    entries: [
      { id, sequence: Number.MAX_SAFE_INTEGER, heard: false },
      { id, sequence: 1, heard: true },
    ],
  },
  { kind: "fetch", ids: [id, shortId(new Uint8Array(32))] },
];

test.each(messages.map((message) => [message.kind, message] as const))(
  "a %s reads as it was written, padded or not",
  (_, message) => {
    const bytes = encodeMessage(message);
    expect(decodeMessage(bytes)).toEqual(message);
    expect(decodeMessage(concatBytes(bytes, new Uint8Array(15)))).toEqual(message);
    expect((bytes[0] as number) >> 4).toBe(0);
  },
);

test("the bytes are those of the protocol's page", () => {
  const ping = encodeMessage({ kind: "ping", number: 0x01020304, records: [Uint8Array.of(7)] });
  expect(toHex(ping)).toBe("01000b00" + "04030201" + "010007");
  const fetch = encodeMessage({ kind: "fetch", ids: [id] });
  expect(toHex(fetch)).toBe("08000c00" + "01020304050607ff");
  const digest = encodeMessage({
    kind: "digest",
    complete: new Uint8Array(32),
    entries: [{ id, sequence: 2, heard: true }],
  });
  expect(toHex(digest)).toBe(`07003400${"00".repeat(32)}01020304050607ff0200000000000080`);
});

test("the largest digest fits a message", () => {
  const entries = Array.from({ length: digestEntriesMax }, () => ({
    id,
    sequence: 1,
    heard: false,
  }));
  const bytes = encodeMessage({ kind: "digest", complete: new Uint8Array(32), entries });
  expect(bytes.length).toBeLessThanOrEqual(1232);
  expect(bytes.length + 16).toBeGreaterThan(1232);
});

describe("no message:", () => {
  const good = encodeMessage({ kind: "ping", number: 1, records: [record] });
  const changed = (at: number, value: number): Uint8Array => {
    const bytes = good.slice();
    bytes[at] = value;
    return bytes;
  };
  const fetch65 = new Uint8Array(4 + 65 * 8);
  fetch65.set([8, 0, fetch65.length & 255, fetch65.length >> 8]);
  const cases: [string, Uint8Array][] = [
    ["nothing", new Uint8Array(0)],
    ["half a header", good.subarray(0, 3)],
    ["type 0", changed(0, 0)],
    ["reserved type", changed(0, 4)],
    ["unknown type", changed(0, 15)],
    ["flags", changed(1, 1)],
    ["a length beyond the bytes", changed(2, 255)],
    ["a length below the header", Uint8Array.of(1, 0, 3, 0, 0, 0, 0, 0)],
    ["a ping without a number", Uint8Array.of(1, 0, 6, 0, 1, 1)],
    ["an empty record", Uint8Array.of(5, 0, 6, 0, 0, 0)],
    ["a record cut short", Uint8Array.of(5, 0, 8, 0, 3, 0, 1, 1)],
    [
      "a record beyond 752",
      concatBytes(Uint8Array.of(5, 0, 0xf7, 2, 0xf1, 2), new Uint8Array(753)),
    ],
    ["a short summary", Uint8Array.of(6, 0, 8, 0, 1, 2, 3, 4)],
    ["a digest cut in an entry", concatBytes(Uint8Array.of(7, 0, 40, 0), new Uint8Array(36))],
    ["65 identities to fetch", fetch65],
    [
      "a request for the zero identity",
      concatBytes(Uint8Array.of(3, 0, 40, 0), new Uint8Array(36)),
    ],
  ];
  test.each(cases)("%s", (_, bytes) => {
    expect(decodeMessage(bytes)).toBeUndefined();
  });
});

test("random bytes, and damaged messages, throw nothing", () => {
  const random = new SeededRandom(3);
  for (let i = 0; i < 20_000; i += 1) {
    const bytes = random.bytes(random.below(1300));
    if (bytes.length > 3) {
      bytes[0] = random.below(16);
      bytes[1] = 0;
      bytes[3] = random.below(5);
    }
    const message = decodeMessage(bytes);
    if (message !== undefined) expect(decodeMessage(encodeMessage(message))).toEqual(message);
  }
});

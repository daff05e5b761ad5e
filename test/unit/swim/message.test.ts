import { describe, expect, test } from "bun:test";
import { concatBytes, toHex } from "../../../src/base/bytes.ts";
import {
  decodeMessage,
  digestEntriesMax,
  encodeMessage,
  type Message,
  type Run,
  recordLengthAt,
} from "../../../src/swim/message.ts";
import {
  accusationBytes,
  statementBytes,
  statementKinds,
  statementLength,
} from "../../../src/swim/statement.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const names = { low: 0x04030201, high: 0xff070605 };
const word = new Uint8Array(statementBytes).fill(8);
word[0] = statementKinds.alive;
const accusation = new Uint8Array(accusationBytes).fill(9);
accusation[0] = statementKinds.suspect;
const record = new Uint8Array(200).fill(7);

const messages: Message[] = [
  { kind: "ping", number: 0x01020304, statements: [] },
  { kind: "ping", number: 1, statements: [word, accusation, word] },
  { kind: "ack", number: 0xffffffff, statements: [word] },
  { kind: "nack", number: 7, statements: [] },
  { kind: "gossip", statements: [accusation, word] },
  { kind: "records", records: [record, new Uint8Array(512).fill(1), Uint8Array.of(9)] },
  { kind: "pingRequest", number: 5, target: new Uint8Array(32).fill(3), statements: [word] },
  { kind: "records", records: [record, record] },
  { kind: "records", records: [] },
  { kind: "summary", buckets: new Uint32Array(256).map((_, i) => i * 0x01010101) },
  { kind: "digest", complete: new Uint8Array(32).fill(0x5a), entries: [] },
  {
    kind: "digest",
    complete: new Uint8Array(32),
    entries: [
      { ...names, sequence: Number.MAX_SAFE_INTEGER, incarnation: 3, heard: false },
      { ...names, sequence: 1, incarnation: 0, heard: true },
    ],
  },
  {
    kind: "fetch",
    wants: [
      { ...names, statementOnly: false },
      { low: 0, high: 0, statementOnly: true },
    ],
  },
];

/** With statements and records as they were given. */
function read(bytes: Uint8Array): Message | undefined {
  const message = decodeMessage(bytes);
  if (message === undefined) return undefined;
  if ("statements" in message) {
    const length = (at: number): number => statementLength(bytes[at] as number) ?? 0;
    return { ...message, statements: parts(message.statements, 0, length) };
  }
  if (message.kind !== "records") return message;
  return { ...message, records: parts(message.records, 2, (at) => recordLengthAt(bytes, at)) };
}

function parts({ bytes, from, to }: Run, before: number, lengthAt: (at: number) => number) {
  const out: Uint8Array[] = [];
  for (let at = from; at < to; ) {
    const start = at + before;
    at = start + lengthAt(at);
    out.push(bytes.slice(start, at));
  }
  return out;
}

test.each(messages.map((message) => [message.kind, message] as const))(
  "a %s reads as it was written, padded or not",
  (_, message) => {
    const bytes = encodeMessage(message);
    expect(read(bytes)).toEqual(message);
    expect(read(concatBytes(bytes, new Uint8Array(15)))).toEqual(message);
    expect((bytes[0] as number) >> 4).toBe(0);
  },
);

test("the bytes are those of the protocol's page", () => {
  const ping = encodeMessage({ kind: "ping", number: 0x01020304, statements: [word] });
  expect(toHex(ping)).toBe(`01007500040302010${"1"}${"08".repeat(108)}`);
  const records = encodeMessage({ kind: "records", records: [Uint8Array.of(7)] });
  expect(toHex(records)).toBe("05000700" + "010007");
  const fetch = encodeMessage({ kind: "fetch", wants: [{ ...names, statementOnly: true }] });
  expect(toHex(fetch)).toBe("08000d00" + "01020304050607ff" + "01");
  const digest = encodeMessage({
    kind: "digest",
    complete: new Uint8Array(32),
    entries: [{ ...names, sequence: 2, incarnation: 3, heard: true }],
  });
  expect(toHex(digest)).toBe(`07003800${"00".repeat(32)}01020304050607ff020000000000008003000000`);
});

test("the largest digest fits a message", () => {
  const entries = Array.from({ length: digestEntriesMax }, () => ({
    ...names,
    sequence: 1,
    incarnation: 0,
    heard: false,
  }));
  const bytes = encodeMessage({ kind: "digest", complete: new Uint8Array(32), entries });
  expect(bytes.length).toBeLessThanOrEqual(1200);
  expect(bytes.length + 20).toBeGreaterThan(1200);
});

describe("no message:", () => {
  const good = encodeMessage({ kind: "ping", number: 1, statements: [word] });
  const changed = (at: number, value: number): Uint8Array => {
    const bytes = good.slice();
    bytes[at] = value;
    return bytes;
  };
  const fetch65 = new Uint8Array(4 + 65 * 9);
  fetch65.set([8, 0, fetch65.length & 255, fetch65.length >> 8]);
  const cases: [string, Uint8Array][] = [
    ["nothing", new Uint8Array(0)],
    ["half a header", good.subarray(0, 3)],
    ["type 0", changed(0, 0)],
    ["an unknown statement", changed(8, 4)],
    ["a statement cut short", changed(2, 116)],
    ["a fetch of neither kind", Uint8Array.of(8, 0, 13, 0, 1, 2, 3, 4, 5, 6, 7, 8, 2)],
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
    if (message !== undefined) expect(read(encodeMessage(message))).toEqual(read(bytes));
  }
});

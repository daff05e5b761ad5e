import { describe, expect, test } from "bun:test";
import { decode, encode, type Packet } from "dns-packet";
import {
  decodeMdns,
  encodeAnswer,
  encodeLegacyAnswer,
  encodeQuestion,
  instanceOf,
  mayConcern,
  serviceName,
} from "../../../src/daemon/mdns-message.ts";
import { parseIdentity } from "../../../src/trust/identity.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const key = "hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=";
const port = 51_820;

describe("a message", () => {
  test("of more records than are read is not looked into: each may point to long names", () => {
    const long = Array.from("abc".repeat(16).match(/.{3}/g) ?? []).flatMap((text) => [
      text.length,
      ...Buffer.from(text),
    ]);
    const name = [8, ...Buffer.from("_meshvpn"), ...long, 0];
    const bytes = [0, 0, 0x84, 0, 0, 0, 0, 0, 0, 0, 0, 0, ...name];
    let records = 0;
    for (let owner = [] as number[]; bytes.length < 1_400; owner = [0xc0, 12]) {
      bytes.push(...owner, 0, 12, 0, 1, 0, 0, 0, 1, 0, 2, 0xc0, 12);
      records += 1;
    }
    const message = Buffer.from(bytes);
    message.writeUInt16BE(records, 6);
    expect(decode(message).answers).toHaveLength(records);
    expect([records > 64, mayConcern(message)]).toEqual([true, false]);
    message.writeUInt16BE(64, 6);
    expect(mayConcern(message)).toBe(true);
  });

  test("of another service is not looked into, and of ours is in whatever case it is said", () => {
    const question = (name: string): Uint8Array =>
      encode({ type: "query", questions: [{ type: "PTR", name }] });
    expect(mayConcern(question("_ipp._tcp.local"))).toBe(false);
    expect(mayConcern(question("_MeshVPN._udp.local"))).toBe(true);
    expect(mayConcern(new Uint8Array(11))).toBe(false);
  });
});

describe("an announcement", () => {
  test("comes out as it went in", () => {
    const identity = parseIdentity(key) as Uint8Array;
    const found = [{ key, identity, port, ttlSeconds: 120 }];
    expect(decodeMdns(encodeAnswer({ key, port }, 120))).toEqual({ kind: "answer", found });
  });

  test("is an authoritative response of PTR, SRV and TXT, as DNS-SD has it", () => {
    const bytes = encodeAnswer({ key, port }, 120);
    expect([...bytes.subarray(0, 12)]).toEqual([0, 0, 0x84, 0, 0, 0, 0, 3, 0, 0, 0, 0]);
    const { answers = [] } = decode(Buffer.from(bytes));
    expect(answers.map(({ name, type }) => [type, name])).toEqual([
      ["PTR", serviceName],
      ["SRV", instanceOf(key)],
      ["TXT", instanceOf(key)],
    ]);
    expect(instanceOf(key)).toBe("hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY._meshvpn._udp.local");
  });

  test("with a lifetime of a century lasts two minutes, and with none ends", () => {
    const ttl = (seconds: number): unknown => {
      const message = decodeMdns(encodeAnswer({ key, port }, seconds));
      return message?.kind === "answer" ? message.found[0]?.ttlSeconds : undefined;
    };
    expect([ttl(4_000_000_000), ttl(0)]).toEqual([120, 0]);
  });
});

test("an answer to a resolver repeats its question and number, and is not kept for long", () => {
  const packet = decode(Buffer.from(encodeLegacyAnswer({ key, port }, 0x1234)));
  expect(packet).toMatchObject({ id: 0x1234, questions: [{ name: serviceName, type: "PTR" }] });
  for (const answer of packet.answers ?? []) expect(answer).toMatchObject({ ttl: 10 });
  expect(packet.answers?.some((answer) => "flush" in answer && answer.flush)).toBe(false);
});

test("a question names whom the asker knows", () => {
  const known = [instanceOf(key)];
  const asked = { kind: "question", id: 0, unicast: false, known } as const;
  expect(decodeMdns(encodeQuestion(known))).toEqual(asked);
  // The last two bytes of a question are its class, whose first bit asks for an answer to the asker alone.
  const alone = encodeQuestion([]);
  alone.set([0x80], alone.length - 2);
  alone.set([0x12, 0x34]);
  expect(decodeMdns(alone)).toEqual({ kind: "question", id: 0x1234, unicast: true, known: [] });
  const other = encode({ type: "query", questions: [{ type: "PTR", name: "_ipp._tcp.local" }] });
  expect(decodeMdns(other)).toBeUndefined();
});

function altered(change: (answers: NonNullable<Packet["answers"]>) => void): Uint8Array {
  const packet = decode(Buffer.from(encodeAnswer({ key, port }, 120)));
  change(packet.answers ?? []);
  return encode(packet);
}

describe("nothing is taken of", () => {
  const wrong: readonly [string, Uint8Array][] = [
    [
      "a port of 0",
      altered(([, srv]) => srv?.type === "SRV" && Object.assign(srv.data, { port: 0 })),
    ],
    [
      "a text without a version",
      altered(([, , txt]) => Object.assign(txt as object, { data: [`key=${key}`] })),
    ],
    [
      "a text without a key",
      altered(([, , txt]) => Object.assign(txt as object, { data: ["meshvpn1"] })),
    ],
    [
      "another's name",
      altered(([, , txt]) => Object.assign(txt as object, { name: `x.${serviceName}` })),
    ],
    ["a text without a service", altered((answers) => answers.splice(1, 1))],
    [
      "too many records",
      altered((answers) => {
        for (let at = 0; at < 70; at += 1) answers.push({ type: "A", name: "a", data: "1.2.3.4" });
      }),
    ],
    ["more bytes than a frame has", new Uint8Array(1_500)],
    ["nothing", new Uint8Array(0)],
  ];
  for (const [what, bytes] of wrong) {
    test(what, () => expect(decodeMdns(bytes)).toBeUndefined());
  }

  test("bytes at random, which never throw and take little time", () => {
    const random = new SeededRandom(8);
    const start = performance.now();
    for (let at = 0; at < 20_000; at += 1) {
      const bytes = random.chance(0.3)
        ? random.bytes(random.below(1_440))
        : Uint8Array.from(encodeAnswer({ key, port }, 120));
      for (let bit = 0; bit < 4 && bytes.length > 0; bit += 1) {
        bytes[random.below(bytes.length)] = random.below(256);
      }
      decodeMdns(bytes);
    }
    expect((performance.now() - start) / 20_000).toBeLessThan(1);
  });
});

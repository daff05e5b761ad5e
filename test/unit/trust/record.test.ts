import { describe, expect, test } from "bun:test";
import { concatBytes, toHex } from "../../../src/base/bytes.ts";
import type { Instant } from "../../../src/base/clock.ts";
import { identityOf, networkIdOf } from "../../../src/trust/identity.ts";
import {
  decodeRecord,
  isAdvertisable,
  type Record,
  type RecordFields,
  recordBytesMax,
  sanitizeName,
  signRecord,
  verifyRecord,
  verifyStoredRecord,
} from "../../../src/trust/record.ts";
import { NobleCrypto } from "../../support/noble-crypto.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const crypto = new NobleCrypto();
const networkId = networkIdOf(crypto, "test");
const identity = identityOf(crypto, crypto.importSecret(new Uint8Array(32).fill(1)));
const wireguardKey = new Uint8Array(32).fill(9);
const now: Instant = { ms: 5, wallMs: 1_700_000_000_000 };

const plain: RecordFields = {
  sequence: 1_700_000_000_000,
  expiresWallMs: 1_700_086_400_000,
  wireguardKey,
  name: "ant",
  candidates: [
    { kind: "announced", address: "192.0.2.1", port: 51820 },
    { kind: "reflexive", address: "2001:db8::1", port: 51821 },
  ],
  natKind: "hard",
  relay: true,
  ipv4: { candidate: 3, prefix: { address: "10.99.0.0", bits: 16 } },
  prefixes: [{ address: "10.1.0.0", bits: 16 }],
};

function sign(changes: Partial<RecordFields> = {}): Uint8Array {
  return signRecord(crypto, networkId, identity, { ...plain, ...changes });
}

/** Any body under a signature that holds, to reach the decoder's own refusals. */
function signBody(body: Uint8Array): Uint8Array {
  const message = concatBytes(new TextEncoder().encode("meshvpn record v1\0"), networkId, body);
  return concatBytes(body, crypto.sign(identity.seed, message));
}

function verified(bytes: Uint8Array, at: Instant = now): Record | undefined {
  const unverified = decodeRecord(bytes);
  return unverified && verifyRecord(crypto, networkId, unverified, at);
}

test("a record says what its subject said, and nothing else", () => {
  const record = verified(sign());
  expect(record).toEqual({ ...plain, identity: identity.publicKey, bytes: sign() } as Record);
});

test("the bytes are those of the protocol's page", () => {
  const body = concatBytes(
    identity.publicKey,
    Uint8Array.of(0x00, 0x68, 0xe5, 0xcf, 0x8b, 0x01, 0, 0),
    Uint8Array.of(0x00, 0xc4, 0x0b, 0xd5, 0x8b, 0x01, 0, 0),
    wireguardKey,
    Uint8Array.of(1, 3),
    Uint8Array.of(3, 16, 10, 99, 0, 0),
    new Uint8Array(16),
    Uint8Array.of(3, 0x61, 0x6e, 0x74),
    Uint8Array.of(2),
    Uint8Array.of(1, 4, 192, 0, 2, 1, 0x6c, 0xca),
    Uint8Array.of(4, 6, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x6d, 0xca),
    Uint8Array.of(1),
    Uint8Array.of(4, 16, 10, 1, 0, 0),
  );
  expect(toHex(sign())).toBe(toHex(signBody(body)));
  expect(toHex(crypto.digest(16, sign()))).toBe("784b3299101ff3c6e9197aa95a70ddad");
});

test("a record with nothing optional is whole", () => {
  const { ipv4, ...rest } = plain;
  expect(ipv4).toBeDefined();
  const bytes = signRecord(crypto, networkId, identity, {
    ...rest,
    name: "",
    candidates: [],
    prefixes: [],
  });
  const record = verified(bytes);
  expect(record?.ipv4).toBeUndefined();
  expect(record?.name).toBe("");
  expect(bytes.length).toBe(171);
});

test("one flipped bit anywhere is no record", () => {
  const bytes = sign();
  for (let bit = 0; bit < 8 * bytes.length; bit += 1) {
    const damaged = bytes.slice();
    damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7));
    expect(verified(damaged)).toBeUndefined();
  }
}, 60_000);

test("every shorter and every longer text is no record", () => {
  const bytes = sign();
  for (let length = 0; length < bytes.length; length += 1) {
    expect(verified(bytes.subarray(0, length))).toBeUndefined();
  }
  const body = bytes.subarray(0, bytes.length - 64);
  expect(verified(signBody(body))).toBeDefined();
  expect(verified(signBody(concatBytes(body, Uint8Array.of(0))))).toBeUndefined();
});

test("random bytes decode to nothing and throw nothing", () => {
  const random = new SeededRandom(4);
  for (let i = 0; i < 5_000; i += 1) {
    const bytes = random.bytes(random.below(600));
    expect(decodeRecord(bytes)).toBeUndefined();
  }
});

test("a record of another network, and one by another signer, do not verify", () => {
  const unverified = decodeRecord(sign());
  if (unverified === undefined) throw new Error("the record is well formed");
  expect(verifyRecord(crypto, networkIdOf(crypto, "other"), unverified, now)).toBeUndefined();
  const stranger = identityOf(crypto, crypto.importSecret(new Uint8Array(32).fill(2)));
  const forged = sign();
  forged.set(stranger.publicKey, 0);
  expect(verified(forged)).toBeUndefined();
});

test("an expired record is refused from others and read from our own files", () => {
  const bytes = sign();
  expect(verified(bytes, { ms: 0, wallMs: plain.expiresWallMs - 1 })).toBeDefined();
  expect(verified(bytes, { ms: 0, wallMs: plain.expiresWallMs })).toBeUndefined();
  const unverified = decodeRecord(bytes);
  expect(unverified && verifyStoredRecord(crypto, networkId, unverified)).toBeDefined();
});

describe("a signed record is refused where it is malformed:", () => {
  const good = sign().subarray(0, -64);
  const cases: [string, (body: Uint8Array) => void][] = [
    ["zero identity", (body) => body.fill(0, 0, 32)],
    ["sequence zero", (body) => body.fill(0, 32, 40)],
    ["sequence beyond 2^53", (body) => body.fill(0xff, 32, 40)],
    ["expiry beyond 2^53", (body) => body.fill(0xff, 40, 48)],
    ["zero WireGuard key", (body) => body.fill(0, 48, 80)],
    ["reserved flags", (body) => body.fill(2, 80, 81)],
    ["NAT kind 5", (body) => body.fill(5, 81, 82)],
    ["IPv4 candidate 16", (body) => body.fill(16, 82, 83)],
    ["no IPv4 candidate, but a prefix", (body) => body.fill(255, 82, 83)],
    ["IPv4 prefix of 33 bits", (body) => body.fill(33, 83, 84)],
    ["host bits in the IPv4 prefix", (body) => body.fill(1, 87, 88)],
    ["name of upper case", (body) => body.fill(0x41, 105, 106)],
    ["name that starts with a hyphen", (body) => body.fill(0x2d, 105, 106)],
    ["the hash of a certificate that is not there", (body) => body.fill(1, 88, 89)],
    ["nine candidates", (body) => body.fill(9, 108, 109)],
    ["candidate kind 7", (body) => body.fill(7, 109, 110)],
    ["endpoint family 5", (body) => body.fill(5, 110, 111)],
    ["loopback endpoint", (body) => body.fill(127, 111, 112)],
    ["multicast endpoint", (body) => body.fill(224, 111, 112)],
    ["endpoint 0.x", (body) => body.fill(0, 111, 112)],
    ["port zero", (body) => body.fill(0, 115, 117)],
    ["seventeen prefixes", (body) => body.fill(17, 137, 138)],
    ["prefix of 33 bits", (body) => body.fill(33, 139, 140)],
    ["host bits in a prefix", (body) => body.fill(1, 143, 144)],
  ];
  test.each(cases)("%s", (_, damage) => {
    const body = good.slice();
    damage(body);
    expect(verified(signBody(body))).toBeUndefined();
  });
});

test("a record beyond 512 bytes is an error for the operator, and one of 512 is not", () => {
  const prefixes = Array.from({ length: 15 }, (_, i) => ({ address: `fd00:${i}::`, bits: 32 }));
  const { candidates } = plain;
  expect(() => sign({ prefixes, candidates, name: "a".repeat(63) })).toThrow(
    "cannot describe this node",
  );
  const name = "a".repeat(recordBytesMax - sign({ prefixes, candidates, name: "" }).length);
  expect(sign({ prefixes, candidates, name }).length).toBe(512);
  expect(verified(sign({ prefixes, candidates, name }))?.name).toBe(name);
});

test("a host's name becomes a label of a to z, digits and hyphens", () => {
  expect(sanitizeName("Web-01.example.org")).toBe("web-01");
  expect(sanitizeName("--Büro PC--")).toBe("b-ro-pc");
  expect(sanitizeName("")).toBe("");
  expect(sanitizeName("_")).toBe("");
  expect(sanitizeName("x".repeat(80))).toBe("x".repeat(63));
});

test("only endpoints that mean the same everywhere are told to others", () => {
  const told = ["192.0.2.1", "10.0.0.1", "169.254.1.1", "2001:db8::1", "fd00::1"];
  const kept = ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1"];
  for (const address of told) expect(isAdvertisable({ address, port: 1 })).toBe(true);
  for (const address of [...kept, "fe80::1%2", "ff02::1", "::ffff:192.0.2.1", "ant"]) {
    expect(isAdvertisable({ address, port: 1 })).toBe(false);
  }
  expect(isAdvertisable({ address: "192.0.2.1", port: 0 })).toBe(false);
});

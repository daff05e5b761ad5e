import { describe, expect, test } from "bun:test";
import { concatBytes, toHex } from "../../../src/base/bytes.ts";
import type { Instant } from "../../../src/base/clock.ts";
import {
  type Certificate,
  type CertificateFields,
  canonicalGroups,
  certificateBytesMax,
  certificateHash,
  decodeCertificate,
  signCertificate,
  verifyCertificate,
} from "../../../src/trust/certificate.ts";
import { identityOf, networkIdOf } from "../../../src/trust/identity.ts";
import {
  decodeRecord,
  type RecordFields,
  signRecord,
  verifyRecord,
} from "../../../src/trust/record.ts";
import {
  decodeRevocation,
  signRevocation,
  verifyRevocation,
} from "../../../src/trust/revocation.ts";
import { NobleCrypto } from "../../support/noble-crypto.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const crypto = new NobleCrypto();
const networkId = networkIdOf(crypto, "test");
const organisation = identityOf(crypto, crypto.importSecret(new Uint8Array(32).fill(7)));
const subject = identityOf(crypto, crypto.importSecret(new Uint8Array(32).fill(1)));
const now: Instant = { ms: 5, wallMs: 1_700_000_000_000 };

const plain: CertificateFields = {
  identity: subject.publicKey,
  issuedWallMs: 1_700_000_000_000,
  expiresWallMs: 1_700_086_400_000,
  isVouch: false,
  name: "ant",
  groups: ["office", "web"],
};

function sign(changes: Partial<CertificateFields> = {}): Uint8Array {
  return signCertificate(crypto, networkId, organisation, { ...plain, ...changes });
}

function verified(bytes: Uint8Array, at: Instant = now): Certificate | undefined {
  const unverified = decodeCertificate(bytes);
  return unverified && verifyCertificate(crypto, networkId, unverified, at);
}

function signBody(body: Uint8Array): Uint8Array {
  const prefix = new TextEncoder().encode("meshvpn certificate v1\0");
  return concatBytes(body, crypto.sign(organisation.seed, concatBytes(prefix, networkId, body)));
}

/** Every text that differs from it in one bit. */
function* damaged(bytes: Uint8Array): Iterable<Uint8Array> {
  for (let bit = 0; bit < 8 * bytes.length; bit += 1) {
    const copy = bytes.slice();
    copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
    yield copy;
  }
}

describe("a certificate", () => {
  test("says what the organisation said", () => {
    const expected = { ...plain, organisation: organisation.publicKey, bytes: sign() };
    expect(verified(sign())).toEqual(expected as Certificate);
    expect(verified(sign({ isVouch: true }))?.isVouch).toBe(true);
  });

  test("has the bytes of the protocol's page", () => {
    const body = concatBytes(
      organisation.publicKey,
      subject.publicKey,
      Uint8Array.of(0x00, 0x68, 0xe5, 0xcf, 0x8b, 0x01, 0, 0),
      Uint8Array.of(0x00, 0xc4, 0x0b, 0xd5, 0x8b, 0x01, 0, 0),
      Uint8Array.of(0),
      Uint8Array.of(3, 0x61, 0x6e, 0x74),
      Uint8Array.of(2, 6, 0x6f, 0x66, 0x66, 0x69, 0x63, 0x65, 3, 0x77, 0x65, 0x62),
    );
    expect(toHex(sign())).toBe(toHex(signBody(body)));
    expect(toHex(certificateHash(crypto, sign()))).toBe("af85c1e2751179ab7a16e840a69c01f1");
  });

  test("with one flipped bit anywhere is none", () => {
    for (const bytes of damaged(sign())) expect(verified(bytes)).toBeUndefined();
  }, 60_000);

  test("that is shorter or longer is none", () => {
    const bytes = sign();
    for (let length = 0; length < bytes.length; length += 1) {
      expect(verified(bytes.subarray(0, length))).toBeUndefined();
    }
    const body = bytes.subarray(0, bytes.length - 64);
    expect(verified(signBody(body))).toBeDefined();
    expect(verified(signBody(concatBytes(body, Uint8Array.of(0))))).toBeUndefined();
  });

  test("of another network, or past its time, does not verify", () => {
    const unverified = decodeCertificate(sign());
    if (unverified === undefined) throw new Error("it is well formed");
    const other = networkIdOf(crypto, "other");
    expect(verifyCertificate(crypto, other, unverified, now)).toBeUndefined();
    expect(verified(sign(), { ms: 0, wallMs: plain.expiresWallMs - 1 })).toBeDefined();
    expect(verified(sign(), { ms: 0, wallMs: plain.expiresWallMs })).toBeUndefined();
  });

  const good = sign().subarray(0, -64);
  test.each<[string, (body: Uint8Array) => void]>([
    ["a zero organisation", (body) => body.fill(0, 0, 32)],
    ["a zero identity", (body) => body.fill(0, 32, 64)],
    ["a time beyond 2^53", (body) => body.fill(0xff, 64, 72)],
    ["an expiry beyond 2^53", (body) => body.fill(0xff, 72, 80)],
    ["unknown flags", (body) => body.fill(2, 80, 81)],
    ["a name of upper case", (body) => body.fill(0x41, 82, 83)],
    ["nine groups", (body) => body.fill(9, 85, 86)],
    ["an empty group", (body) => body.fill(0, 86, 87)],
    ["groups out of order", (body) => body.fill(0x78, 87, 88)],
  ])("with %s is malformed, whoever signed it", (_, damage) => {
    const body = good.slice();
    damage(body);
    expect(verified(signBody(body))).toBeUndefined();
  });

  test("that would be too large is an error for the operator, and one that just fits is not", () => {
    const fits = { name: "n".repeat(29), groups: ["a".repeat(31), "b".repeat(31)] };
    expect(sign(fits).length).toBe(certificateBytesMax);
    expect(verified(sign(fits))).toBeDefined();
    expect(() => sign({ ...fits, name: "n".repeat(30) })).toThrow("cannot make the certificate");
  });

  test("takes groups sorted, each once, and only names", () => {
    expect(canonicalGroups(["web", "a", "web"])).toEqual(["a", "web"]);
    expect(canonicalGroups(["A"])).toBeUndefined();
    expect(canonicalGroups([""])).toBeUndefined();
    expect(canonicalGroups(Array.from({ length: 9 }, (_, i) => `g${i}`))).toBeUndefined();
  });
});

describe("a record that carries a certificate", () => {
  const fields: RecordFields = {
    sequence: now.wallMs,
    expiresWallMs: now.wallMs + 1000,
    wireguardKey: new Uint8Array(32).fill(9),
    name: "",
    candidates: [],
    natKind: "unknown",
    relay: false,
    prefixes: [],
  };
  const withCertificate = (certificate: Uint8Array): Uint8Array =>
    signRecord(crypto, networkId, subject, fields, certificate);
  const accepted = (bytes: Uint8Array): boolean => {
    const unverified = decodeRecord(bytes);
    return unverified !== undefined && !!verifyRecord(crypto, networkId, unverified, now);
  };

  test("is whole with it, and nothing without it or with another", () => {
    const bytes = withCertificate(sign());
    expect(decodeRecord(bytes)?.claimed.certificate?.claimed.name).toBe("ant");
    expect(accepted(bytes)).toBe(true);
    const bare = bytes.subarray(0, bytes.length - sign().length);
    expect(accepted(bare)).toBe(false);
    expect(accepted(concatBytes(bare, sign({ name: "bee" })))).toBe(false);
    expect(accepted(concatBytes(signRecord(crypto, networkId, subject, fields), sign()))).toBe(
      false,
    );
  });

  test("names only one of its own subject, and no vouch", () => {
    expect(accepted(withCertificate(sign({ identity: organisation.publicKey })))).toBe(false);
    expect(accepted(withCertificate(sign({ isVouch: true })))).toBe(false);
  });

  test("with one flipped bit anywhere is none", () => {
    for (const bytes of damaged(withCertificate(sign()))) expect(accepted(bytes)).toBe(false);
  }, 60_000);
});

describe("a revocation", () => {
  const revoke = (): Uint8Array =>
    signRevocation(crypto, networkId, organisation, subject.publicKey, now.wallMs);
  const holds = (bytes: Uint8Array, network = networkId): boolean => {
    const unverified = decodeRevocation(bytes);
    return unverified !== undefined && !!verifyRevocation(crypto, network, unverified);
  };

  test("has the bytes of the protocol's page", () => {
    const body = concatBytes(
      organisation.publicKey,
      subject.publicKey,
      Uint8Array.of(0x00, 0x68, 0xe5, 0xcf, 0x8b, 0x01, 0, 0),
    );
    const prefix = new TextEncoder().encode("meshvpn revocation v1\0");
    const signature = crypto.sign(organisation.seed, concatBytes(prefix, networkId, body));
    expect(toHex(revoke())).toBe(toHex(concatBytes(body, signature)));
    expect(toHex(crypto.digest(16, revoke()))).toBe("587c40f0b962e10ffdaf6e57ee4c86e7");
    expect(decodeRevocation(revoke())?.claimed.key).toEqual(subject.publicKey);
  });

  test("holds in its network, and with one flipped bit anywhere not at all", () => {
    expect(holds(revoke())).toBe(true);
    expect(holds(revoke(), networkIdOf(crypto, "other"))).toBe(false);
    for (const bytes of damaged(revoke())) expect(holds(bytes)).toBe(false);
  }, 60_000);

  test("of any other length is none", () => {
    expect(decodeRevocation(revoke().subarray(1))).toBeUndefined();
    expect(decodeRevocation(concatBytes(revoke(), Uint8Array.of(0)))).toBeUndefined();
  });
});

test("random bytes are neither, and throw nothing", () => {
  const random = new SeededRandom(4);
  for (let i = 0; i < 3_000; i += 1) {
    const bytes = random.bytes(random.below(260));
    expect(verified(bytes)).toBeUndefined();
    const unverified = decodeRevocation(bytes);
    expect(unverified && verifyRevocation(crypto, networkId, unverified)).toBeUndefined();
  }
});

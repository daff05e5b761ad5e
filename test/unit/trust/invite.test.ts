import { describe, expect, test } from "bun:test";
import { fromUrl, toUrl } from "../../../src/base/base64.ts";
import { toHex } from "../../../src/base/bytes.ts";
import type { Instant } from "../../../src/base/clock.ts";
import { decodeCertificate, verifyCertificate } from "../../../src/trust/certificate.ts";
import { identityOf, networkIdOf } from "../../../src/trust/identity.ts";
import { formatInvite, type Invite, parseInvite, verifyInvite } from "../../../src/trust/invite.ts";
import {
  InviteBook,
  type InviteEntry,
  inviteKeptMs,
  invitesMax,
} from "../../../src/trust/invite-book.ts";
import { NobleCrypto } from "../../support/noble-crypto.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const crypto = new NobleCrypto();
const networkId = networkIdOf(crypto, "test");
const identity = (byte: number) =>
  identityOf(crypto, crypto.importSecret(new Uint8Array(32).fill(byte)));
const issuer = identity(1);
const organisation = identity(7);
const [bee, cat] = [identity(2).publicKey, identity(3).publicKey];
const at = (ms: number): Instant => ({ ms, wallMs: 1_700_000_000_000 + ms });

const invite: Invite = {
  networkId,
  name: "office",
  organisation: organisation.publicKey,
  issuer: issuer.publicKey,
  secret: new Uint8Array(16).fill(5),
  expiresWallMs: 1_700_000_000_000,
  ipv4Prefix: { address: "10.99.0.0", bits: 16 },
  seeds: [
    { identity: issuer.publicKey, endpoint: { address: "192.0.2.1", port: 51820 } },
    { identity: bee, endpoint: { address: "2001:db8::1", port: 7 } },
  ],
};

function read(text: string): Invite | undefined {
  const unverified = parseInvite(text);
  return unverified && verifyInvite(crypto, unverified);
}

describe("a token", () => {
  const text = formatInvite(crypto, issuer, invite);

  test("is one word, and says what its issuer said", () => {
    expect(text).toMatch(/^mvjoin1_[A-Za-z0-9_-]{330,420}$/);
    expect(read(text)).toMatchObject(invite);
  });

  test("has the bytes of the protocol's page", () => {
    const bytes = fromUrl(text.slice("mvjoin1_".length)) as Uint8Array;
    expect(bytes.length).toBe(257);
    expect(toHex(bytes.subarray(96, 112))).toBe("05".repeat(16));
    expect(toHex(bytes.subarray(120, 125))).toBe("100a630000");
    expect(toHex(crypto.digest(16, bytes))).toBe("9b4cb102ba88efba8592f5b726c8ed4f");
  });

  test("with one flipped bit anywhere leads nowhere", () => {
    const bytes = fromUrl(text.slice("mvjoin1_".length)) as Uint8Array;
    for (let bit = 0; bit < 8 * bytes.length; bit += 1) {
      const damaged = bytes.slice();
      damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(read(`mvjoin1_${toUrl(damaged)}`)).toBeUndefined();
    }
  }, 60_000);

  test("that is cut, lengthened or spelt otherwise leads nowhere", () => {
    for (let length = 0; length < text.length; length += 7) {
      expect(read(text.slice(0, length))).toBeUndefined();
    }
    for (const other of [`${text}A`, `${text}=`, text.toUpperCase(), "", "mvjoin1_"]) {
      expect(read(other)).toBeUndefined();
    }
  });
});

describe("the issuer's book", () => {
  const terms = {
    expiresWallMs: at(1000).wallMs,
    uses: 1,
    name: "",
    groups: ["web"],
    certificateMs: 5_000,
  };

  function book(entries: readonly InviteEntry[] = []): {
    book: InviteBook;
    saved: InviteEntry[][];
    disk: { works: boolean };
  } {
    const saved: InviteEntry[][] = [];
    const disk = { works: true };
    const save = (all: readonly InviteEntry[]): boolean => {
      if (disk.works) saved.push([...all]);
      return disk.works;
    };
    const random = new SeededRandom(3);
    const made = new InviteBook({ crypto, random, networkId, organisation, entries, save });
    return { book: made, saved, disk };
  }

  test("gives a certificate for a secret once, and to the same node again and again", () => {
    const { book: issued } = book();
    const secret = issued.issue(at(0), terms);
    expect(secret.length).toBe(16);
    const certificate = issued.redeem(at(1), secret, bee);
    const decoded = certificate && decodeCertificate(certificate.bytes);
    expect(decoded && verifyCertificate(crypto, networkId, decoded, at(1))).toMatchObject({
      identity: bee,
      organisation: organisation.publicKey,
      groups: ["web"],
      expiresWallMs: at(1).wallMs + 5_000,
    });
    expect(issued.redeem(at(2), secret, bee)?.bytes).toEqual(certificate?.bytes as Uint8Array);
    expect(issued.redeem(at(2), secret, cat)).toBeUndefined();
    // Also when it has expired: the answer may have been lost.
    expect(issued.redeem(at(9_999), secret, bee)?.bytes).toEqual(certificate?.bytes as Uint8Array);
  });

  test("gives nothing for a secret that is none, expired or spent", () => {
    const { book: issued } = book();
    const secret = issued.issue(at(0), { ...terms, uses: 2 });
    expect(issued.redeem(at(1), new Uint8Array(16), bee)).toBeUndefined();
    expect(issued.redeem(at(1_000), secret, bee)).toBeUndefined();
    expect(issued.redeem(at(999), secret, bee)).toBeDefined();
    expect(issued.redeem(at(999), secret, cat)).toBeDefined();
    expect(issued.redeem(at(999), secret, identity(4).publicKey)).toBeUndefined();
  });

  test("has a redemption on disk before anybody hears of it, or it did not happen", () => {
    const { book: issued, saved, disk } = book();
    const secret = issued.issue(at(0), terms);
    disk.works = false;
    expect(issued.redeem(at(1), secret, bee)).toBeUndefined();
    disk.works = true;
    expect(issued.redeem(at(1), secret, cat)).toBeDefined();
    expect(saved.at(-1)?.[0]?.redeemed.map((each) => each.identity)).toEqual([cat]);
    // What was saved is all that the next life knows.
    const { book: next } = book(saved.at(-1));
    expect(next.redeem(at(2), secret, bee)).toBeUndefined();
    expect(next.redeem(at(2), secret, cat)).toBeDefined();
  });

  test("keeps no secret, and forgets what has expired long ago", () => {
    const { book: issued, saved } = book();
    const secret = issued.issue(at(0), terms);
    expect(JSON.stringify(saved)).not.toContain(JSON.stringify([...secret]).slice(1, -1));
    issued.issue(at(1_001 + inviteKeptMs), terms);
    expect(issued.entries().length).toBe(1);
    expect(issued.knows(secret)).toBe(false);
  });

  test("is bounded", () => {
    const { book: issued } = book();
    for (let i = 0; i < invitesMax; i += 1) issued.issue(at(0), terms);
    expect(() => issued.issue(at(0), terms)).toThrow("cannot invite another node");
  });
});

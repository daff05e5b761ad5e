/**
 * What every implementation of `base/crypto.ts` must do, as tests. Published vectors where there
 * are any; otherwise the same operation, done independently here over the @noble packages.
 */
import { describe, expect, test } from "bun:test";
import { chacha20poly1305, xchacha20poly1305 } from "@noble/ciphers/chacha.js";
import { blake2s } from "@noble/hashes/blake2.js";
import { hmac } from "@noble/hashes/hmac.js";
import { concatBytes, fromHex, toHex } from "../../src/base/bytes.ts";
import type { Crypto, Secret } from "../../src/base/crypto.ts";
import { NobleCrypto } from "../support/noble-crypto.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { vectors } from "./vectors.ts";

/** An implementation, with the two things that only tests may ask of it. */
export interface CryptoUnderTest {
  readonly crypto: Crypto;
  importSecret(bytes: Uint8Array): Secret;
  /** How many secrets live, in the whole process if need be: only differences are compared. */
  live(): number;
}

const empty = new Uint8Array(0);

export function cryptoContract(name: string, make: () => CryptoUnderTest): void {
  describe(`${name} crypto`, () => {
    const under = make();
    secrets(under);
    diffieHellman(under);
    hashes(under);
    sealing(under);
    identities(under);
    sealedBoxes(under);
    vectors(under);
  });
}

function hex(text: string): Uint8Array {
  const bytes = fromHex(text);
  if (bytes === undefined) throw new Error(`not hexadecimal: ${text}`);
  return bytes;
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("expected a value");
  return value;
}

/** Runs `body` and expects that it released every secret it got. */
function balanced({ live }: CryptoUnderTest, body: () => void): void {
  const before = live();
  body();
  expect(live()).toBe(before);
}

function secrets(under: CryptoUnderTest): void {
  const { crypto, live } = under;

  test("a secret lives until its owner releases it", () => {
    balanced(under, () => {
      const before = live();
      const made = [crypto.generate(), crypto.generate(), under.importSecret(fill(3))];
      expect(live()).toBe(before + 3);
      expect(new Set(made).size).toBe(3);
      expect(made).not.toContain(0 as Secret);
      crypto.release();
      crypto.release(...made);
    });
  });

  test("generated keys differ", () => {
    balanced(under, () => {
      const a = crypto.generate();
      const b = crypto.generate();
      expect(crypto.publicKey(a)).not.toEqual(crypto.publicKey(b));
      expect(crypto.publicKey(a)).toEqual(crypto.publicKey(a));
      crypto.release(a, b);
    });
  });
}

function diffieHellman(under: CryptoUnderTest): void {
  const { crypto } = under;

  test("X25519 gives RFC 7748's result (section 6.1)", () => {
    balanced(under, () => {
      const alice = under.importSecret(
        hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"),
      );
      const bob = under.importSecret(
        hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"),
      );
      const alicePublic = hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
      const bobPublic = hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
      const shared = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
      expect(toHex(crypto.publicKey(alice))).toBe(toHex(alicePublic));
      expect(toHex(crypto.publicKey(bob))).toBe(toHex(bobPublic));
      const ab = present(crypto.dh(alice, bobPublic));
      const ba = present(crypto.dh(bob, alicePublic));
      expect(crypto.hash(empty, ab)).toEqual(crypto.hash(shared));
      expect(crypto.hash(empty, ba)).toEqual(crypto.hash(shared));
      crypto.release(alice, bob, ab, ba);
    });
  });

  test("every low-order point is refused", () => {
    const points = [
      "0000000000000000000000000000000000000000000000000000000000000000",
      "0100000000000000000000000000000000000000000000000000000000000000",
      "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
      "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
      "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
      "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
      "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    balanced(under, () => {
      const secret = crypto.generate();
      for (const point of points) expect(crypto.dh(secret, hex(point))).toBeUndefined();
      crypto.release(secret);
    });
  });
}

function hashes(under: CryptoUnderTest): void {
  const { crypto } = under;

  test("the hash is BLAKE2s-256 (RFC 7693 appendix B), a secret appended", () => {
    balanced(under, () => {
      const abc = "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982";
      expect(toHex(crypto.hash(text("abc")))).toBe(abc);
      const secret = under.importSecret(fill(9));
      for (const length of [0, 1, 32, 64, 65, 200]) {
        const data = fill(5, length);
        expect(crypto.hash(data)).toEqual(blake2s(data));
        expect(crypto.hash(data, secret)).toEqual(blake2s(concatBytes(data, fill(9))));
      }
      crypto.release(secret);
    });
  });

  test("the MAC is keyed BLAKE2s-128 with keys of 1 to 32 bytes", () => {
    for (const keyLength of [1, 16, 32]) {
      for (const length of [0, 64, 116]) {
        const key = fill(keyLength, keyLength);
        const data = fill(7, length);
        expect(crypto.mac(key, data)).toEqual(blake2s(data, { key, dkLen: 16 }));
      }
    }
  });

  test("the digest is BLAKE2b of any length from 16 to 64 (RFC 7693 appendix A)", () => {
    expect(toHex(crypto.digest(64, text("abc")))).toBe(
      "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1" +
        "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
    );
    expect(crypto.digest(16, text("abc"))).toHaveLength(16);
    expect(crypto.digest(32, empty)).not.toEqual(crypto.digest(64, empty).slice(0, 32));
  });

  test("the KDF is HKDF over HMAC-BLAKE2s, secrets and public bytes alike", () => {
    const chain = fill(1);
    const input = fill(2);
    const prk = hmac(blake2s, chain, input);
    const first = hmac(blake2s, prk, Uint8Array.of(1));
    const second = hmac(blake2s, prk, concatBytes(first, Uint8Array.of(2)));
    const third = hmac(blake2s, prk, concatBytes(second, Uint8Array.of(3)));
    const expected = [first, second, third].map((output) => toHex(blake2s(output)));
    balanced(under, () => {
      const chainSecret = under.importSecret(chain);
      const inputSecret = under.importSecret(input);
      for (const outputs of [1, 2, 3] as const) {
        for (const c of [chain, chainSecret]) {
          for (const i of [input, inputSecret]) {
            const made = crypto.kdf(c, i, outputs);
            const hashed = made.map((secret) => toHex(crypto.hash(empty, secret)));
            expect(hashed).toEqual(expected.slice(0, outputs));
            crypto.release(...made);
          }
        }
      }
      const ofNothing = crypto.kdf(chain, empty, 1);
      const nothing = hmac(blake2s, hmac(blake2s, chain, empty), Uint8Array.of(1));
      expect(crypto.hash(empty, present(ofNothing[0]))).toEqual(blake2s(nothing));
      crypto.release(chainSecret, inputSecret, ...ofNothing);
    });
  });
}

function sealing(under: CryptoUnderTest): void {
  const { crypto } = under;

  test("seal is ChaCha20-Poly1305 with the counter as nonce, and open undoes it", () => {
    balanced(under, () => {
      const key = under.importSecret(fill(4));
      for (const counter of [0, 1, 0xffffffff]) {
        for (const length of [0, 1, 12, 32, 64, 1000]) {
          const nonce = new Uint8Array(12);
          new DataView(nonce.buffer).setUint32(4, counter, true);
          const plain = fill(length, length);
          const sealed = crypto.seal(key, counter, fill(6), plain);
          expect(sealed).toEqual(chacha20poly1305(fill(4), nonce, fill(6)).encrypt(plain));
          expect(crypto.open(key, counter, fill(6), sealed)).toEqual(plain);
        }
      }
      crypto.release(key);
    });
  });

  test("nothing opens with a bit changed, or under another nonce, key or associated data", () => {
    balanced(under, () => {
      const key = under.importSecret(fill(4));
      const other = under.importSecret(fill(5));
      const sealed = crypto.seal(key, 7, fill(6), text("twelve bytes"));
      for (let i = 0; i < sealed.length; i += 1) {
        expect(crypto.open(key, 7, fill(6), flipped(sealed, i))).toBeUndefined();
      }
      expect(crypto.open(key, 8, fill(6), sealed)).toBeUndefined();
      expect(crypto.open(other, 7, fill(6), sealed)).toBeUndefined();
      expect(crypto.open(key, 7, fill(7), sealed)).toBeUndefined();
      expect(crypto.open(key, 7, fill(6), sealed.slice(0, 27))).toBeUndefined();
      expect(crypto.open(key, 7, fill(6), sealed.slice(0, 15))).toBeUndefined();
      expect(crypto.open(key, 7, fill(6), empty)).toBeUndefined();
      crypto.release(key, other);
    });
  });

  test("cookies are sealed by XChaCha20-Poly1305", () => {
    const key = fill(1);
    const nonce = fill(2, 24);
    const data = fill(3, 16);
    const cookie = fill(4, 16);
    const sealed = crypto.sealCookie(key, nonce, data, cookie);
    expect(sealed).toEqual(xchacha20poly1305(key, nonce, data).encrypt(cookie));
    expect(crypto.openCookie(key, nonce, data, sealed)).toEqual(cookie);
    expect(crypto.openCookie(key, nonce, fill(5, 16), sealed)).toBeUndefined();
    expect(crypto.openCookie(key, nonce, data, flipped(sealed, 0))).toBeUndefined();
    expect(crypto.openCookie(key, nonce, data, sealed.slice(0, 8))).toBeUndefined();
  });
}

function identities(under: CryptoUnderTest): void {
  const { crypto } = under;

  test("signatures are Ed25519's (RFC 8032 section 7.1, test 2)", () => {
    balanced(under, () => {
      const seed = under.importSecret(
        hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"),
      );
      const publicKey = crypto.identityPublicKey(seed);
      expect(toHex(publicKey)).toBe(
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
      );
      const signature = crypto.sign(seed, Uint8Array.of(0x72));
      expect(toHex(signature)).toBe(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da" +
          "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
      );
      expect(crypto.verify(publicKey, Uint8Array.of(0x72), signature)).toBe(true);
      crypto.release(seed);
    });
  });

  test("a signature verifies for its key and message only", () => {
    balanced(under, () => {
      const seed = crypto.generate();
      const other = crypto.generate();
      const publicKey = crypto.identityPublicKey(seed);
      const message = text("a message");
      const signature = crypto.sign(seed, message);
      expect(crypto.verify(publicKey, message, signature)).toBe(true);
      expect(crypto.verify(crypto.identityPublicKey(other), message, signature)).toBe(false);
      expect(crypto.verify(publicKey, text("b message"), signature)).toBe(false);
      for (let i = 0; i < 64; i += 1) {
        expect(crypto.verify(publicKey, message, flipped(signature, i))).toBe(false);
      }
      expect(crypto.verify(publicKey, message, withOrderAdded(signature))).toBe(false);
      expect(crypto.verify(fill(0), message, signature)).toBe(false);
      expect(crypto.verify(fill(255), message, signature)).toBe(false);
      crypto.release(seed, other);
    });
  });
}

function sealedBoxes(under: CryptoUnderTest): void {
  const { crypto } = under;

  test("a box sealed to an identity is opened by its seed, here and elsewhere", () => {
    balanced(under, () => {
      const seedBytes = new SeededRandom(11).bytes(32);
      const seed = under.importSecret(seedBytes);
      const elsewhere = new NobleCrypto({ random: new SeededRandom(12) });
      const seedElsewhere = elsewhere.importSecret(seedBytes);
      const identity = crypto.identityPublicKey(seed);
      for (const length of [0, 1, 63, 64, 65, 1000]) {
        const message = fill(length, length);
        const sealed = present(crypto.sealTo(identity, message));
        expect(sealed).toHaveLength(length + 48);
        expect(crypto.openSealed(seed, sealed)).toEqual(message);
        expect(elsewhere.openSealed(seedElsewhere, sealed)).toEqual(message);
        const foreign = present(elsewhere.sealTo(identity, message));
        expect(crypto.openSealed(seed, foreign)).toEqual(message);
        expect(crypto.sealTo(identity, message)).not.toEqual(sealed);
      }
      crypto.release(seed);
    });
  });

  test("a box that was changed, cut or sealed to another does not open", () => {
    balanced(under, () => {
      const seed = crypto.generate();
      const other = crypto.generate();
      const sealed = present(crypto.sealTo(crypto.identityPublicKey(seed), text("message")));
      for (let i = 0; i < sealed.length; i += 1) {
        // The top bit of an X25519 point is ignored, but the nonce still depends on it.
        expect(crypto.openSealed(seed, flipped(sealed, i))).toBeUndefined();
      }
      expect(crypto.openSealed(other, sealed)).toBeUndefined();
      for (let length = 0; length < sealed.length; length += 1) {
        expect(crypto.openSealed(seed, sealed.slice(0, length))).toBeUndefined();
      }
      crypto.release(seed, other);
    });
  });

  test("nothing is sealed to what is not an identity", () => {
    const one = new Uint8Array(32);
    one[0] = 1; // the neutral element
    for (const bad of [fill(0), one, fill(2), fill(255)]) {
      expect(crypto.sealTo(bad, text("message"))).toBeUndefined();
    }
  });
}

function fill(value: number, length = 32): Uint8Array {
  return new Uint8Array(length).fill(value);
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const out = bytes.slice();
  out[at] = present(out[at]) ^ 0x80;
  return out;
}

/** S + L: the same signature by arithmetic, refused by RFC 8032 section 5.1.7. */
function withOrderAdded(signature: Uint8Array): Uint8Array {
  const order = 2n ** 252n + 27742317777372353535851937790883648493n;
  const out = signature.slice();
  let s = order;
  for (let i = 0; i < 32; i += 1) s += BigInt(present(out[32 + i])) << BigInt(8 * i);
  for (let i = 0; i < 32; i += 1) out[32 + i] = Number((s >> BigInt(8 * i)) & 255n);
  return out;
}

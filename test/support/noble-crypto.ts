/**
 * The cryptography of `base/crypto.ts` over the @noble packages: an implementation independent of
 * the native one, deterministic by its seeded randomness, that counts the secrets that live.
 * Secrets are plain bytes in a map here; nothing outside tests may import this.
 */
import { chacha20poly1305, xchacha20poly1305 } from "@noble/ciphers/chacha.js";
import { hsalsa, secretbox } from "@noble/ciphers/salsa.js";
import { ed25519, x25519 } from "@noble/curves/ed25519.js";
import { blake2b, blake2s } from "@noble/hashes/blake2.js";
import { hmac } from "@noble/hashes/hmac.js";
import { concatBytes, isZero } from "../../src/base/bytes.ts";
import type { Crypto, Secret } from "../../src/base/crypto.ts";
import { assert } from "../../src/base/errors.ts";
import type { Random } from "../../src/base/random.ts";
import { SeededRandom } from "./seeded-random.ts";

export interface NobleOptions {
  readonly random?: Random;
  /**
   * Replaces X25519 by multiplication modulo a prime: no security at all, a thousand times faster,
   * for simulations of thousands of handshakes. Everything else stays real.
   */
  readonly pretendDh?: boolean;
}

export class NobleCrypto implements Crypto {
  readonly #secrets = new Map<Secret, Uint8Array>();
  readonly #random: Random;
  readonly #pretendDh: boolean;
  #next = 1;
  /** X25519 operations so far, public keys included. */
  dhCount = 0;

  constructor(options: NobleOptions = {}) {
    this.#random = options.random ?? new SeededRandom(1);
    this.#pretendDh = options.pretendDh ?? false;
  }

  /** How many secrets live. */
  live(): number {
    return this.#secrets.size;
  }

  importSecret(bytes: Uint8Array): Secret {
    assert(bytes.length === 32, "a secret is 32 bytes");
    const handle = this.#next as Secret;
    this.#next += 1;
    this.#secrets.set(handle, bytes.slice());
    return handle;
  }

  generate(): Secret {
    return this.importSecret(this.#random.bytes(32));
  }

  release(...secrets: readonly Secret[]): void {
    for (const secret of secrets) assert(this.#secrets.delete(secret), "released twice");
  }

  publicKey(secret: Secret): Uint8Array {
    this.dhCount += 1;
    const bytes = this.#bytes(secret);
    return this.#pretendDh ? pretendPublic(bytes) : x25519.getPublicKey(bytes);
  }

  dh(secret: Secret, point: Uint8Array): Secret | undefined {
    assert(point.length === 32, "a point is 32 bytes");
    this.dhCount += 1;
    const bytes = this.#bytes(secret);
    const shared = this.#pretendDh ? pretendShared(bytes, point) : sharedSecret(bytes, point);
    return shared === undefined || isZero(shared) ? undefined : this.importSecret(shared);
  }

  hash(data: Uint8Array, secret?: Secret): Uint8Array {
    return blake2s(secret === undefined ? data : concatBytes(data, this.#bytes(secret)));
  }

  mac(key: Uint8Array, data: Uint8Array): Uint8Array {
    assert(key.length >= 1 && key.length <= 32, "a MAC key is 1 to 32 bytes");
    return blake2s(data, { key, dkLen: 16 });
  }

  kdf(chain: Secret | Uint8Array, input: Secret | Uint8Array, outputs: 1 | 2 | 3): Secret[] {
    const prk = hmac(blake2s, this.#resolve(chain), this.#resolve(input));
    const out: Secret[] = [];
    let previous = new Uint8Array(0);
    for (let i = 1; i <= outputs; i += 1) {
      previous = hmac(blake2s, prk, concatBytes(previous, Uint8Array.of(i)));
      out.push(this.importSecret(previous));
    }
    return out;
  }

  seal(key: Secret, counter: number, data: Uint8Array, text: Uint8Array): Uint8Array {
    return chacha20poly1305(this.#bytes(key), counterNonce(counter), data).encrypt(text);
  }

  open(key: Secret, counter: number, data: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
    const cipher = chacha20poly1305(this.#bytes(key), counterNonce(counter), data);
    return attempt(() => cipher.decrypt(sealed));
  }

  sealCookie(key: Uint8Array, nonce: Uint8Array, data: Uint8Array, text: Uint8Array): Uint8Array {
    return xchacha20poly1305(key, nonce, data).encrypt(text);
  }

  openCookie(
    key: Uint8Array,
    nonce: Uint8Array,
    data: Uint8Array,
    sealed: Uint8Array,
  ): Uint8Array | undefined {
    return attempt(() => xchacha20poly1305(key, nonce, data).decrypt(sealed));
  }

  identityPublicKey(seed: Secret): Uint8Array {
    return ed25519.getPublicKey(this.#bytes(seed));
  }

  sign(seed: Secret, message: Uint8Array): Uint8Array {
    return ed25519.sign(message, this.#bytes(seed));
  }

  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
    return attempt(() => ed25519.verify(signature, message, publicKey, { zip215: false })) ?? false;
  }

  sealTo(identity: Uint8Array, message: Uint8Array): Uint8Array | undefined {
    const recipient = attempt(() => ed25519.utils.toMontgomery(identity));
    if (recipient === undefined || !isPrimeOrder(identity)) return undefined;
    const secret = this.#random.bytes(32);
    const ephemeral = x25519.getPublicKey(secret);
    const key = boxKey(secret, recipient);
    if (key === undefined) return undefined;
    const nonce = blake2b(concatBytes(ephemeral, recipient), { dkLen: 24 });
    return concatBytes(ephemeral, secretbox(key, nonce).seal(message));
  }

  openSealed(seed: Secret, sealed: Uint8Array): Uint8Array | undefined {
    if (sealed.length < 48) return undefined;
    const bytes = this.#bytes(seed);
    const secret = ed25519.utils.toMontgomerySecret(bytes);
    const recipient = ed25519.utils.toMontgomery(ed25519.getPublicKey(bytes));
    const ephemeral = sealed.slice(0, 32);
    const key = boxKey(secret, recipient, ephemeral);
    if (key === undefined) return undefined;
    const nonce = blake2b(concatBytes(ephemeral, recipient), { dkLen: 24 });
    return attempt(() => secretbox(key, nonce).open(sealed.slice(32)));
  }

  digest(bytes: number, data: Uint8Array): Uint8Array {
    assert(bytes >= 16 && bytes <= 64, "a digest is 16 to 64 bytes");
    return blake2b(data, { dkLen: bytes });
  }

  #resolve(value: Secret | Uint8Array): Uint8Array {
    return typeof value === "number" ? this.#bytes(value) : value;
  }

  #bytes(secret: Secret): Uint8Array {
    const bytes = this.#secrets.get(secret);
    assert(bytes !== undefined, "no such secret");
    return bytes;
  }
}

function attempt<T>(operation: () => T): T | undefined {
  try {
    return operation();
  } catch {
    return undefined; // the libraries throw where the contract says undefined
  }
}

function sharedSecret(secret: Uint8Array, point: Uint8Array): Uint8Array | undefined {
  return attempt(() => x25519.getSharedSecret(secret, point));
}

/** crypto_box's key: HSalsa20 over the X25519 result and a zero nonce. */
function boxKey(
  secret: Uint8Array,
  recipient: Uint8Array,
  point: Uint8Array = recipient,
): Uint8Array | undefined {
  const shared = sharedSecret(secret, point);
  if (shared === undefined) return undefined;
  const sigma = words(new TextEncoder().encode("expand 32-byte k"));
  const out = new Uint32Array(8);
  hsalsa(sigma, words(shared), words(new Uint8Array(16)), out);
  return new Uint8Array(out.buffer);
}

function words(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.slice().buffer);
}

/** As libsodium's conversion to X25519 demands: on the curve, of the prime order's subgroup. */
function isPrimeOrder(identity: Uint8Array): boolean {
  const point = attempt(() => ed25519.Point.fromBytes(identity));
  return point !== undefined && !point.is0() && point.isTorsionFree();
}

function counterNonce(counter: number): Uint8Array {
  const nonce = new Uint8Array(12);
  new DataView(nonce.buffer).setBigUint64(4, BigInt(counter), true);
  return nonce;
}

const pretendPrime = 2n ** 61n - 1n;

function pretendScalar(bytes: Uint8Array): bigint {
  return (pretendElement(bytes) % (pretendPrime - 1n)) + 1n;
}

function pretendElement(bytes: Uint8Array): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset, 32).getBigUint64(0, true) % pretendPrime;
}

function pretendBytes(element: bigint): Uint8Array {
  const out = new Uint8Array(32);
  new DataView(out.buffer).setBigUint64(0, element, true);
  return out;
}

function pretendPublic(secret: Uint8Array): Uint8Array {
  return pretendBytes((pretendScalar(secret) * 9n) % pretendPrime);
}

function pretendShared(secret: Uint8Array, point: Uint8Array): Uint8Array {
  return pretendBytes((pretendScalar(secret) * pretendElement(point)) % pretendPrime);
}

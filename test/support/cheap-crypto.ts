/**
 * The cryptography of `base/crypto.ts` for simulations of thousands of nodes: the true sizes, no
 * security outside the process, and a fraction of the time. What a forger in the simulation would
 * need stays out of its reach: signatures, shared secrets and sealed boxes are computed from the
 * secret seed, which a verifier finds in a table that no simulated node can read. One instance serves
 * a whole process, and follows from its randomness alone.
 */
import { equalBytes } from "../../src/base/bytes.ts";
import type { Crypto, Secret } from "../../src/base/crypto.ts";
import { assert } from "../../src/base/errors.ts";
import type { Random } from "../../src/base/random.ts";
import { keyOf } from "../../src/swim/store.ts";

const tagBytes = 16;
const boxOverhead = 48;

export class CheapCrypto implements Crypto {
  readonly #random: Random;
  readonly #secrets = new Map<Secret, Uint8Array>();
  /** What no simulated node sees: public keys to their secrets. */
  readonly #oracle = new Map<number, Uint8Array>();
  #next = 1;

  constructor(random: Random) {
    this.#random = random;
  }

  importSecret(bytes: Uint8Array): Secret {
    const handle = this.#next as Secret;
    this.#next += 1;
    this.#secrets.set(handle, bytes.slice());
    return handle;
  }

  generate(): Secret {
    return this.importSecret(this.#random.bytes(32));
  }

  release(...secrets: readonly Secret[]): void {
    for (const secret of secrets) this.#secrets.delete(secret);
  }

  publicKey(secret: Secret): Uint8Array {
    return this.#public(1, this.#bytes(secret));
  }

  identityPublicKey(seed: Secret): Uint8Array {
    return this.#public(2, this.#bytes(seed));
  }

  dh(secret: Secret, point: Uint8Array): Secret | undefined {
    const own = this.#bytes(secret);
    const other = this.#oracle.get(keyOf(point)) ?? point;
    const [a, b] = isBelow(own, other) ? [own, other] : [other, own];
    return this.importSecret(digestOf(3, 32, a, b));
  }

  hash(data: Uint8Array, secret?: Secret): Uint8Array {
    return digestOf(4, 32, data, secret === undefined ? empty : this.#bytes(secret));
  }

  mac(key: Uint8Array, data: Uint8Array): Uint8Array {
    return digestOf(5, 16, key, data);
  }

  kdf(chain: Secret | Uint8Array, input: Secret | Uint8Array, outputs: 1 | 2 | 3): Secret[] {
    const [a, b] = [this.#either(chain), this.#either(input)];
    return Array.from({ length: outputs }, (_, i) => this.importSecret(digestOf(6 + i, 32, a, b)));
  }

  seal(key: Secret, counter: number, data: Uint8Array, text: Uint8Array): Uint8Array {
    return sealed(10 + counter, this.#bytes(key), data, text);
  }

  open(key: Secret, counter: number, data: Uint8Array, box: Uint8Array): Uint8Array | undefined {
    return opened(10 + counter, this.#bytes(key), data, box);
  }

  sealCookie(key: Uint8Array, nonce: Uint8Array, data: Uint8Array, text: Uint8Array): Uint8Array {
    return sealed(nonce[0] ?? 0, key, data, text);
  }

  openCookie(
    key: Uint8Array,
    nonce: Uint8Array,
    data: Uint8Array,
    box: Uint8Array,
  ): Uint8Array | undefined {
    return opened(nonce[0] ?? 0, key, data, box);
  }

  sign(seed: Secret, message: Uint8Array): Uint8Array {
    return digestOf(7, 64, this.#bytes(seed), message);
  }

  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
    const seed = this.#oracle.get(keyOf(publicKey));
    if (seed === undefined || signature.length !== 64) return false;
    if (!equalBytes(this.#public(2, seed), publicKey)) return false;
    return equalBytes(digestOf(7, 64, seed, message), signature);
  }

  sealTo(identity: Uint8Array, message: Uint8Array): Uint8Array | undefined {
    const seed = this.#oracle.get(keyOf(identity));
    if (seed === undefined) return undefined;
    const out = new Uint8Array(boxOverhead + message.length);
    out.set(this.#random.bytes(32));
    out.set(sealed(9, seed, out.subarray(0, 32), message), 32);
    return out;
  }

  openSealed(seed: Secret, box: Uint8Array): Uint8Array | undefined {
    if (box.length < boxOverhead) return undefined;
    return opened(9, this.#bytes(seed), box.subarray(0, 32), box.subarray(32));
  }

  digest(bytes: number, data: Uint8Array): Uint8Array {
    return digestOf(8, bytes, data, empty);
  }

  #public(domain: number, secret: Uint8Array): Uint8Array {
    const key = digestOf(domain, 32, secret, empty);
    this.#oracle.set(keyOf(key), secret);
    return key;
  }

  #either(value: Secret | Uint8Array): Uint8Array {
    return typeof value === "number" ? this.#bytes(value) : value;
  }

  #bytes(secret: Secret): Uint8Array {
    const bytes = this.#secrets.get(secret);
    assert(bytes !== undefined, "no such secret");
    return bytes;
  }
}

const empty = new Uint8Array(0);

function digestOf(domain: number, bytes: number, a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(bytes);
  let one = Bun.hash.xxHash32(a, domain);
  one = Bun.hash.xxHash32(b, one);
  let two = Bun.hash.xxHash32(b, Math.imul(domain, 0x9e3779b1) >>> 0);
  two = Bun.hash.xxHash32(a, two);
  for (let i = 0; i < bytes; i += 1) {
    if (i % 4 === 0) {
      one = (Math.imul(one ^ (one >>> 15), 0x85ebca6b) + two) >>> 0;
      two = (Math.imul(two ^ (two >>> 13), 0xc2b2ae35) + i) >>> 0;
    }
    out[i] = (one >>> (8 * (i % 4))) & 0xff;
  }
  return out;
}

/** The text stays legible: nobody in a simulation reads what is not his. */
function sealed(domain: number, key: Uint8Array, data: Uint8Array, text: Uint8Array): Uint8Array {
  const out = new Uint8Array(text.length + tagBytes);
  out.set(text);
  const inner = digestOf(domain >>> 0, tagBytes, key, data);
  out.set(digestOf(domain >>> 0, tagBytes, inner, text), text.length);
  return out;
}

function opened(
  domain: number,
  key: Uint8Array,
  data: Uint8Array,
  box: Uint8Array,
): Uint8Array | undefined {
  if (box.length < tagBytes) return undefined;
  const text = box.slice(0, box.length - tagBytes);
  const inner = digestOf(domain >>> 0, tagBytes, key, data);
  const tag = digestOf(domain >>> 0, tagBytes, inner, text);
  return equalBytes(tag, box.subarray(text.length)) ? text : undefined;
}

function isBelow(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < a.length; i += 1) {
    if (a[i] !== b[i]) return (a[i] as number) < (b[i] as number);
  }
  return true;
}

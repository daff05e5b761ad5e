/**
 * The cryptography of `base/crypto.ts` over the library. Secrets stay in its arena; what passes here
 * is public bytes and handles. A result that an attacker can cause (a forged tag, a low-order point)
 * is `undefined`; every other failure is a mistake or an exhausted machine, and throws.
 */
import { dirname } from "node:path";
import type { Crypto, Secret } from "../base/crypto.ts";
import { assert, diskFull, MeshError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import { isFullOrReadOnly } from "./disk.ts";
import { type ErrorName, errorName, type Library } from "./library.ts";

const tagBytes = 16;
const sealedBoxBytes = 48;
const storeReplace = 1;

export class NativeCrypto implements Crypto, Random {
  readonly #symbols: Library["symbols"];
  readonly #handles = new Uint32Array(3);
  #diffieHellman = 0;

  constructor(library: Library) {
    this.#symbols = library.symbols;
  }

  generate(): Secret {
    this.#check(this.#symbols.meshvpn_secret_generate(this.#handles), "make a key");
    return this.#handle(0);
  }

  release(...secrets: readonly Secret[]): void {
    for (const secret of secrets) {
      this.#check(this.#symbols.meshvpn_secret_free(secret), "release a secret");
    }
  }

  /** A secret from bytes that the caller already has: vectors in tests, never a private key. */
  import(secret: Uint8Array): Secret {
    assert(secret.length === 32, "a secret is 32 bytes");
    this.#check(this.#symbols.meshvpn_secret_import(secret, this.#handles), "import a secret");
    return this.#handle(0);
  }

  /** Secrets in the arena; tests use it to see that none is left behind. */
  secretCount(): number {
    return this.#symbols.meshvpn_secret_count();
  }

  /** A key file's secret. Throws MeshError saying what is wrong with the file. */
  load(path: string): Secret {
    const name = new TextEncoder().encode(path);
    const code = this.#symbols.meshvpn_secret_load(name, name.length, this.#handles);
    if (code < 0) throw keyFileError(errorName(code), "read", path);
    return this.#handle(0);
  }

  /** Writes a key file, 0600; an existing one only where `replace` says so. */
  store(secret: Secret, path: string, replace = false): void {
    const name = new TextEncoder().encode(path);
    const flags = replace ? storeReplace : 0;
    const code = this.#symbols.meshvpn_secret_store(secret, name, name.length, flags);
    if (code < 0) throw keyFileError(errorName(code), "write", path);
  }

  publicKey(secret: Secret): Uint8Array {
    const out = new Uint8Array(32);
    this.#check(this.#symbols.meshvpn_x25519_public(secret, out), "derive a public key");
    return out;
  }

  /** How often X25519 was asked, the dearest thing that a stranger can make this node do: by `dh`,
   * and by `openSealed`. */
  get diffieHellman(): number {
    return this.#diffieHellman;
  }

  dh(secret: Secret, point: Uint8Array): Secret | undefined {
    assert(point.length === 32, "a point is 32 bytes");
    this.#diffieHellman += 1;
    const code = this.#symbols.meshvpn_x25519(secret, point, this.#handles);
    return this.#refused(code, "low_order_point", "agree on a key") ? undefined : this.#handle(0);
  }

  hash(data: Uint8Array, secret?: Secret): Uint8Array {
    const out = new Uint8Array(32);
    const code = this.#symbols.meshvpn_hash(data, data.length, secret ?? 0, out);
    this.#check(code, "hash");
    return out;
  }

  mac(key: Uint8Array, data: Uint8Array): Uint8Array {
    assert(key.length >= 1 && key.length <= 32, "a MAC's key is 1 to 32 bytes");
    const out = new Uint8Array(16);
    const code = this.#symbols.meshvpn_mac(key, key.length, data, data.length, out);
    this.#check(code, "compute a MAC");
    return out;
  }

  kdf(chain: Secret | Uint8Array, input: Secret | Uint8Array, outputs: 1 | 2 | 3): Secret[] {
    const chainBytes = typeof chain === "number" ? null : chain;
    const inputBytes = typeof input === "number" ? null : input;
    assert(chainBytes === null || chainBytes.length === 32, "a chain key is 32 bytes");
    const code = this.#symbols.meshvpn_kdf(
      chainBytes,
      typeof chain === "number" ? chain : 0,
      inputBytes,
      inputBytes?.length ?? 0,
      typeof input === "number" ? input : 0,
      outputs,
      this.#handles,
    );
    this.#check(code, "derive keys");
    return Array.from({ length: outputs }, (_, at) => this.#handle(at));
  }

  seal(key: Secret, counter: number, data: Uint8Array, text: Uint8Array): Uint8Array {
    const out = new Uint8Array(text.length + tagBytes);
    const code = this.#symbols.meshvpn_aead_seal(
      key,
      counter,
      data,
      data.length,
      text,
      text.length,
      out,
    );
    this.#check(code, "seal");
    return out;
  }

  open(key: Secret, counter: number, data: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
    if (sealed.length < tagBytes) return undefined;
    const out = new Uint8Array(sealed.length - tagBytes);
    const code = this.#symbols.meshvpn_aead_open(
      key,
      counter,
      data,
      data.length,
      sealed,
      sealed.length,
      out,
    );
    return this.#refused(code, "not_authentic", "open") ? undefined : out;
  }

  sealCookie(key: Uint8Array, nonce: Uint8Array, data: Uint8Array, text: Uint8Array): Uint8Array {
    assert(key.length === 32 && nonce.length === 24, "a cookie's key is 32 bytes, its nonce 24");
    const out = new Uint8Array(text.length + tagBytes);
    const code = this.#symbols.meshvpn_xaead_seal(
      key,
      nonce,
      data,
      data.length,
      text,
      text.length,
      out,
    );
    this.#check(code, "seal a cookie");
    return out;
  }

  openCookie(
    key: Uint8Array,
    nonce: Uint8Array,
    data: Uint8Array,
    sealed: Uint8Array,
  ): Uint8Array | undefined {
    assert(key.length === 32 && nonce.length === 24, "a cookie's key is 32 bytes, its nonce 24");
    if (sealed.length < tagBytes) return undefined;
    const out = new Uint8Array(sealed.length - tagBytes);
    const code = this.#symbols.meshvpn_xaead_open(
      key,
      nonce,
      data,
      data.length,
      sealed,
      sealed.length,
      out,
    );
    return this.#refused(code, "not_authentic", "open a cookie") ? undefined : out;
  }

  identityPublicKey(seed: Secret): Uint8Array {
    const out = new Uint8Array(32);
    this.#check(this.#symbols.meshvpn_ed25519_public(seed, out), "derive an identity");
    return out;
  }

  sign(seed: Secret, message: Uint8Array): Uint8Array {
    const out = new Uint8Array(64);
    const code = this.#symbols.meshvpn_ed25519_sign(seed, message, message.length, out);
    this.#check(code, "sign");
    return out;
  }

  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
    if (publicKey.length !== 32 || signature.length !== 64) return false;
    const { length } = message;
    const code = this.#symbols.meshvpn_ed25519_verify(publicKey, message, length, signature);
    return !this.#refused(code, "not_authentic", "verify a signature");
  }

  sealTo(identity: Uint8Array, message: Uint8Array): Uint8Array | undefined {
    if (identity.length !== 32) return undefined;
    const out = new Uint8Array(message.length + sealedBoxBytes);
    const code = this.#symbols.meshvpn_identity_seal(identity, message, message.length, out);
    return this.#refused(code, "low_order_point", "seal to an identity") ? undefined : out;
  }

  openSealed(seed: Secret, sealed: Uint8Array): Uint8Array | undefined {
    if (sealed.length < sealedBoxBytes) return undefined;
    this.#diffieHellman += 1;
    const out = new Uint8Array(sealed.length - sealedBoxBytes);
    const code = this.#symbols.meshvpn_identity_open(seed, sealed, sealed.length, out);
    return this.#refused(code, "not_authentic", "open what was sealed to us") ? undefined : out;
  }

  digest(bytes: number, data: Uint8Array): Uint8Array {
    assert(bytes >= 16 && bytes <= 64, "a digest is 16 to 64 bytes");
    const out = new Uint8Array(bytes);
    this.#check(this.#symbols.meshvpn_blake2b(out, bytes, data, data.length), "hash");
    return out;
  }

  /** `length` unpredictable bytes from the kernel. */
  bytes(length: number): Uint8Array {
    const out = new Uint8Array(length);
    this.#check(this.#symbols.meshvpn_random(out, length), "draw random bytes");
    return out;
  }

  /** Uniform in [0, bound): draws again where the last, incomplete run of values was hit. */
  below(bound: number): number {
    assert(Number.isInteger(bound) && bound >= 1 && bound <= 2 ** 32, "bound out of range");
    const limit = 2 ** 32 - (2 ** 32 % bound);
    for (;;) {
      const drawn = this.bytes(4);
      const value = new DataView(drawn.buffer).getUint32(0, true);
      if (value < limit) return value % bound;
    }
  }

  #handle(at: number): Secret {
    const handle = this.#handles[at] as number;
    assert(handle !== 0, "a handle is never 0");
    return handle as Secret;
  }

  /** Whether the answer is the one refusal that input can cause; any other failure throws. */
  #refused(code: number, refusal: ErrorName, what: string): boolean {
    if (code < 0 && errorName(code) === refusal) return true;
    this.#check(code, what);
    return false;
  }

  #check(code: number, what: string): void {
    if (code >= 0) return;
    const name = errorName(code);
    const [why, remedy] =
      name === "table_full" || name === "out_of_memory"
        ? ["the arena of secrets is full", "remove peers, or report this as a leak"]
        : [`the library answered ${name}`, "report this with the log"];
    throw new MeshError(name, `cannot ${what}`, why, remedy);
  }
}

function keyFileError(name: ErrorName, verb: "read" | "write", path: string): MeshError {
  const what = `cannot ${verb} the key file ${path}`;
  const known: Partial<Record<ErrorName, readonly [string, string]>> = {
    key_file_open_to_others: ["others than its owner may read or write it", `chmod 600 ${path}`],
    key_file_invalid: ["it does not hold one key in base64", "restore it, or make a new one"],
    no_such_file: ["there is no such file", "check the path"],
    file_exists: ["it exists", "move it away first, or ask for it to be replaced"],
    permission_denied: ["permission denied", "run as root or as the file's owner"],
  };
  // The library has no word for it of its own.
  const isVague = known[name] === undefined || name === "permission_denied";
  if (isVague && verb === "write" && isFullOrReadOnly(dirname(path))) {
    return new MeshError("state_unwritable", what, ...diskFull);
  }
  const [why, remedy] = known[name] ?? [`the system refused (${name})`, "check the path"];
  return new MeshError(name, what, why, remedy);
}

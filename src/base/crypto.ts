/**
 * The cryptography that the cores are given. Secrets are opaque handles: their bytes live in the
 * native arena and never enter the JavaScript heap. The native implementation is
 * `native/crypto.ts`; tests also run the same contract over an independent one.
 * Every returned `Secret` belongs to the caller, who releases it exactly once.
 */

declare const secretBrand: unique symbol;

/** Handle of a 32-byte secret; never 0. */
export type Secret = number & { readonly [secretBrand]: true };

/** Primitives of Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (WireGuard paper, section 5.4). */
export interface NoiseCrypto {
  /** A fresh X25519 private key. */
  generate(): Secret;
  release(...secrets: readonly Secret[]): void;
  /** 32 bytes. */
  publicKey(secret: Secret): Uint8Array;
  /** X25519; undefined where the result is all zero (low-order point, RFC 7748 section 6.1). */
  dh(secret: Secret, point: Uint8Array): Secret | undefined;
  /** BLAKE2s-256 over the bytes, then over the secret where one is given. 32 bytes. */
  hash(data: Uint8Array, secret?: Secret): Uint8Array;
  /** Keyed BLAKE2s with 16 bytes of output; key of 1 to 32 bytes. */
  mac(key: Uint8Array, data: Uint8Array): Uint8Array;
  /** HKDF over HMAC-BLAKE2s: the first `outputs` outputs. */
  kdf(chain: Secret | Uint8Array, input: Secret | Uint8Array, outputs: 1 | 2 | 3): Secret[];
  /** ChaCha20-Poly1305 (RFC 8439), nonce = 4 zero bytes and the counter little-endian. */
  seal(key: Secret, counter: number, data: Uint8Array, text: Uint8Array): Uint8Array;
  /** undefined where the tag does not verify. */
  open(key: Secret, counter: number, data: Uint8Array, sealed: Uint8Array): Uint8Array | undefined;
  /** XChaCha20-Poly1305 with a public 32-byte key and a 24-byte nonce: cookies (paper 5.4.7). */
  sealCookie(key: Uint8Array, nonce: Uint8Array, data: Uint8Array, text: Uint8Array): Uint8Array;
  openCookie(
    key: Uint8Array,
    nonce: Uint8Array,
    data: Uint8Array,
    sealed: Uint8Array,
  ): Uint8Array | undefined;
}

/** Primitives over an Ed25519 identity, whose 32-byte seed is a secret. */
export interface IdentityCrypto {
  identityPublicKey(seed: Secret): Uint8Array;
  /** 64 bytes (RFC 8032). */
  sign(seed: Secret, message: Uint8Array): Uint8Array;
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
  /** libsodium's crypto_box_seal to the X25519 form of an identity: 48 bytes longer. */
  sealTo(identity: Uint8Array, message: Uint8Array): Uint8Array | undefined;
  openSealed(seed: Secret, sealed: Uint8Array): Uint8Array | undefined;
  /** BLAKE2b with `bytes` (16 to 64) of output, unkeyed. */
  digest(bytes: number, data: Uint8Array): Uint8Array;
}

export type Crypto = NoiseCrypto & IdentityCrypto;

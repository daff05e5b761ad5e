/**
 * Who a node is: an Ed25519 key, made once, whose seed stays in the native arena; and which network
 * it belongs to. An identity's text is the base64 of its public key (44 characters), and that text
 * is its name in every map. The network id is 32 bytes that every signature of this network covers,
 * so nothing that was signed for one network is valid in another.
 */
import { encodeBase64, parseKey } from "../base/base64.ts";
import { concatBytes, isZero } from "../base/bytes.ts";
import type { IdentityCrypto, Secret } from "../base/crypto.ts";
import { assert } from "../base/errors.ts";

export const identityBytes = 32;
export const networkIdBytes = 32;
export const networkNameDefault = "meshvpn";

/** This node's own identity. The caller keeps the seed and releases it after the node's end. */
export interface Identity {
  readonly publicKey: Uint8Array;
  readonly seed: Secret;
}

export function identityOf(crypto: IdentityCrypto, seed: Secret): Identity {
  const publicKey = crypto.identityPublicKey(seed);
  assert(publicKey.length === identityBytes, "an identity is 32 bytes");
  return { publicKey, seed };
}

/** 44 characters of base64. */
export function formatIdentity(publicKey: Uint8Array): string {
  assert(publicKey.length === identityBytes, "an identity is 32 bytes");
  return encodeBase64(publicKey);
}

/** undefined for anything but the canonical text of 32 bytes that are not all zero. */
export function parseIdentity(text: string): Uint8Array | undefined {
  const key = parseKey(text);
  return key === undefined || isZero(key) ? undefined : key;
}

/** Bytes that start what is hashed or signed, so no two uses share an input: `label`, then 0. */
export function domain(label: string): Uint8Array {
  return new TextEncoder().encode(`${label}\0`);
}

const networkDomain = domain("meshvpn network v1");

/** BLAKE2b-32 of the configured network name, domain-separated. */
export function networkIdOf(crypto: IdentityCrypto, name: string): Uint8Array {
  return crypto.digest(networkIdBytes, concatBytes(networkDomain, new TextEncoder().encode(name)));
}

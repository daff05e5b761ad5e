/**
 * The revocation: an organisation's word, signed by its key, that a key is never to be accepted
 * again; of an identity, of another signer, or of the organisation itself. It has no expiry and
 * cannot be taken back, so that copies may come late, twice and in any order.
 */
import { concatBytes, isZero, Reader, Writer } from "../base/bytes.ts";
import type { IdentityCrypto } from "../base/crypto.ts";
import { assert } from "../base/errors.ts";
import { domain, type Identity, identityBytes, networkIdBytes } from "./identity.ts";
import { toInteger } from "./text.ts";
import { signatureBytes, type Unverified, type Verified } from "./verified.ts";

export const revocationBytes = 2 * identityBytes + 8 + signatureBytes;

const signatureDomain = domain("meshvpn revocation v1");

export interface Revocation {
  readonly organisation: Uint8Array;
  /** The key that is revoked. */
  readonly key: Uint8Array;
  /** Unix time, for people. */
  readonly issuedWallMs: number;
  readonly bytes: Uint8Array;
}

export function signRevocation(
  crypto: IdentityCrypto,
  networkId: Uint8Array,
  organisation: Identity,
  key: Uint8Array,
  issuedWallMs: number,
): Uint8Array {
  assert(key.length === identityBytes, "a key is 32 bytes");
  const body = new Writer(revocationBytes)
    .bytes(organisation.publicKey)
    .bytes(key)
    .u64(BigInt(issuedWallMs))
    .finish();
  return concatBytes(body, crypto.sign(organisation.seed, signedBytes(networkId, body)));
}

/** Well-formed, or undefined. Nothing is true of it but its form. */
export function decodeRevocation(bytes: Uint8Array): Unverified<Revocation> | undefined {
  if (bytes.length !== revocationBytes) return undefined;
  const kept = bytes.slice();
  const reader = new Reader(kept);
  const organisation = reader.bytes(identityBytes);
  const key = reader.bytes(identityBytes);
  const issuedWallMs = toInteger(reader.u64());
  if (organisation === undefined || isZero(organisation)) return undefined;
  if (key === undefined || isZero(key) || issuedWallMs === undefined) return undefined;
  return { claimed: { organisation, key, issuedWallMs, bytes: kept } };
}

/** undefined where the organisation did not sign it for this network. */
export function verifyRevocation(
  crypto: IdentityCrypto,
  networkId: Uint8Array,
  unverified: Unverified<Revocation>,
): Verified<Revocation> | undefined {
  const { claimed } = unverified;
  const split = claimed.bytes.length - signatureBytes;
  const message = signedBytes(networkId, claimed.bytes.subarray(0, split));
  const holds = crypto.verify(claimed.organisation, message, claimed.bytes.subarray(split));
  return holds ? (claimed as Verified<Revocation>) : undefined;
}

function signedBytes(networkId: Uint8Array, body: Uint8Array): Uint8Array {
  assert(networkId.length === networkIdBytes, "a network id is 32 bytes");
  return concatBytes(signatureDomain, networkId, body);
}

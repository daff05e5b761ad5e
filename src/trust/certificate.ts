/**
 * The certificate: an organisation's word, signed by its key, that an identity belongs to it. Whoever
 * accepts the organisation accepts the identity. Owns the bytes, their limits and their signature;
 * which organisations are accepted, and what was revoked, is the roster's. A vouch has the same form
 * and goes about by itself, for an identity that carries no certificate of the organisation.
 */
import { concatBytes, isZero, Reader, Writer } from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import type { IdentityCrypto } from "../base/crypto.ts";
import { assert, MeshError } from "../base/errors.ts";
import { domain, type Identity, identityBytes, networkIdBytes } from "./identity.ts";
import { isName, readName, sequenceMax, toInteger, writeName } from "./text.ts";
import { signatureBytes, type Unverified, type Verified } from "./verified.ts";

export const certificateBytesMax = 240;
export const certificateHashBytes = 16;
export const groupsMax = 8;
export const groupBytesMax = 32;

const signatureDomain = domain("meshvpn certificate v1");
const vouchFlag = 1;

export interface CertificateFields {
  readonly identity: Uint8Array;
  /** Unix time; of two holders of one IPv4 address the older certificate keeps it. */
  readonly issuedWallMs: number;
  /** Unix time. */
  readonly expiresWallMs: number;
  /** It goes about by itself, and its subject may not know of it. */
  readonly isVouch: boolean;
  /** What the organisation calls the node; empty: whatever that says itself. */
  readonly name: string;
  /** For policies; sorted, each once. */
  readonly groups: readonly string[];
}

export interface Certificate extends CertificateFields {
  readonly organisation: Uint8Array;
  readonly bytes: Uint8Array;
}

/** The signed bytes. MeshError where name and groups do not fit. */
export function signCertificate(
  crypto: IdentityCrypto,
  networkId: Uint8Array,
  organisation: Identity,
  fields: CertificateFields,
): Uint8Array {
  const body = encodeBody(organisation.publicKey, fields);
  const length = body.length + signatureBytes;
  if (length > certificateBytesMax) {
    throw new MeshError(
      "certificate_too_large",
      "cannot make the certificate",
      `it takes ${length} bytes and the limit is ${certificateBytesMax}`,
      "give it fewer groups, or shorter names",
    );
  }
  const message = signedBytes(networkId, body);
  return concatBytes(body, crypto.sign(organisation.seed, message));
}

/** Well-formed, or undefined. Nothing is true of it but its form. */
export function decodeCertificate(bytes: Uint8Array): Unverified<Certificate> | undefined {
  if (bytes.length > certificateBytesMax || bytes.length < signatureBytes) return undefined;
  const kept = bytes.slice();
  const reader = new Reader(bytes.subarray(0, bytes.length - signatureBytes));
  const organisation = reader.bytes(identityBytes);
  const identity = reader.bytes(identityBytes);
  const issuedWallMs = toInteger(reader.u64());
  const expiresWallMs = toInteger(reader.u64());
  const flags = reader.u8();
  const name = readName(reader);
  const groups = readGroups(reader);
  if (organisation === undefined || isZero(organisation)) return undefined;
  if (identity === undefined || isZero(identity)) return undefined;
  if (issuedWallMs === undefined || expiresWallMs === undefined) return undefined;
  if (flags === undefined || (flags & ~vouchFlag) !== 0) return undefined;
  if (name === undefined || groups === undefined || reader.remaining !== 0) return undefined;
  const isVouch = flags === vouchFlag;
  const subject = { organisation, identity, issuedWallMs, expiresWallMs };
  return { claimed: { ...subject, isVouch, name, groups, bytes: kept } };
}

/** undefined where it has expired, or the organisation did not sign it for this network. */
export function verifyCertificate(
  crypto: IdentityCrypto,
  networkId: Uint8Array,
  unverified: Unverified<Certificate>,
  now: Instant,
): Verified<Certificate> | undefined {
  const { claimed } = unverified;
  if (claimed.expiresWallMs <= now.wallMs) return undefined;
  const split = claimed.bytes.length - signatureBytes;
  const message = signedBytes(networkId, claimed.bytes.slice(0, split));
  const holds = crypto.verify(claimed.organisation, message, claimed.bytes.slice(split));
  return holds ? (claimed as Verified<Certificate>) : undefined;
}

/** What a record calls it by. */
export function certificateHash(crypto: IdentityCrypto, bytes: Uint8Array): Uint8Array {
  return crypto.digest(certificateHashBytes, bytes);
}

/** Groups as a certificate holds them; undefined where one is no name, or there are too many. */
export function canonicalGroups(groups: readonly string[]): readonly string[] | undefined {
  const sorted = [...new Set(groups)].toSorted();
  const fit = sorted.every((group) => isGroup(group));
  return fit && sorted.length <= groupsMax ? sorted : undefined;
}

function signedBytes(networkId: Uint8Array, body: Uint8Array): Uint8Array {
  assert(networkId.length === networkIdBytes, "a network id is 32 bytes");
  return concatBytes(signatureDomain, networkId, body);
}

function encodeBody(organisation: Uint8Array, fields: CertificateFields): Uint8Array {
  assert(fields.identity.length === identityBytes, "an identity is 32 bytes");
  assert(fields.expiresWallMs <= sequenceMax, "expiry out of range");
  const groups = canonicalGroups(fields.groups);
  assert(groups?.length === fields.groups.length, "groups are sorted names, each once");
  const writer = new Writer(certificateBytesMax)
    .bytes(organisation)
    .bytes(fields.identity)
    .u64(BigInt(fields.issuedWallMs))
    .u64(BigInt(fields.expiresWallMs))
    .u8(fields.isVouch ? vouchFlag : 0);
  writeName(writer, fields.name);
  writer.u8(fields.groups.length);
  for (const group of fields.groups) writeName(writer, group);
  return writer.finish();
}

/** Sorted and each once: one certificate has one form. */
function readGroups(reader: Reader): readonly string[] | undefined {
  const count = reader.u8();
  if (count === undefined || count > groupsMax) return undefined;
  const groups: string[] = [];
  for (let i = 0; i < count; i += 1) {
    const group = readName(reader);
    if (group === undefined || !isGroup(group)) return undefined;
    if (i > 0 && group <= (groups[i - 1] as string)) return undefined;
    groups.push(group);
  }
  return groups;
}

function isGroup(text: string): boolean {
  return text !== "" && text.length <= groupBytesMax && isName(text);
}

/**
 * The record: what a node says of itself, signed by its identity, and the only thing about it that
 * is ever copied from node to node, with its certificate behind it where it has one. Owns the bytes,
 * their limits and their signature; it knows nothing of admission or freshness. Bytes become a
 * `Verified<Record>` only through `verifyRecord`.
 */
import { concatBytes, equalBytes, isZero, Reader, Writer } from "../base/bytes.ts";
import {
  type Candidate,
  candidateKindOf,
  candidateKinds,
  type NatKind,
  natKindOf,
  natKinds,
} from "../base/candidate.ts";
import type { Instant } from "../base/clock.ts";
import type { IdentityCrypto } from "../base/crypto.ts";
import type { Endpoint } from "../base/endpoint.ts";
import { assert, MeshError } from "../base/errors.ts";
import {
  familyOf,
  formatAddress,
  type IpAddress,
  type IpPrefix,
  isUnicast,
  maskHostBits,
  parseAddress,
} from "../base/ip.ts";
import {
  type Certificate,
  certificateBytesMax,
  certificateHash,
  certificateHashBytes,
  decodeCertificate,
} from "./certificate.ts";
import { domain, type Identity, identityBytes, networkIdBytes } from "./identity.ts";
import { readName, sequenceMax, toInteger, writeName } from "./text.ts";
import { signatureBytes, type Unverified, type Verified } from "./verified.ts";

export { nameBytesMax, sanitizeName, sequenceMax } from "./text.ts";
export type { Unverified, Verified } from "./verified.ts";

/** Without the certificate behind it. */
export const recordBytesMax = 512;
/** As it travels. */
export const recordWithCertificateBytesMax = recordBytesMax + certificateBytesMax;
export const recordCandidatesMax = 8;
export const recordPrefixesMax = 16;
export const recordLifetimeMs = 24 * 3_600_000;
export const recordRefreshMs = 6 * 3_600_000;
/** IPv4 candidates that an identity has; see address.ts. */
export const ipv4CandidatesMax = 16;

/** Everything in a record but prefixes, where each of its other parts is as long as it may be. */
const besidePrefixesBytesMax = 104 + 1 + 63 + 1 + recordCandidatesMax * 20 + 1 + signatureBytes;

/** Whether a record holds them, whatever else it says. */
export function prefixesFit(prefixes: readonly IpPrefix[]): boolean {
  const bytes = prefixes.map(({ address }) => (familyOf(address) === 4 ? 6 : 18));
  const all = bytes.reduce((sum, each) => sum + each, besidePrefixesBytesMax);
  return prefixes.length <= recordPrefixesMax && all <= recordBytesMax;
}

/** Behind the identity, the sequence and the expiry. */
const wireguardKeyOffset = identityBytes + 16;
/** Where the certificate's hash stands. */
const hashOffset = 88;
const relayFlag = 1;
const ipv4None = 255;
const signatureDomain = domain("meshvpn record v1");

export interface Ipv4Claim {
  /** 0 to 15: which of the identity's hash candidates. */
  readonly candidate: number;
  /** The prefix that the subject is configured with; equal in the whole network. */
  readonly prefix: IpPrefix;
}

export interface RecordFields {
  /** Only the subject advances it; the larger one replaces the other. */
  readonly sequence: number;
  /** Unix time. */
  readonly expiresWallMs: number;
  readonly wireguardKey: Uint8Array;
  /** Empty, or as `sanitizeName` leaves it. */
  readonly name: string;
  /** Where it may be reached, the likeliest first. */
  readonly candidates: readonly Candidate[];
  readonly natKind: NatKind;
  /** It forwards between members that cannot reach each other. */
  readonly relay: boolean;
  readonly ipv4?: Ipv4Claim;
  /** What it offers to route into; heeded only where an operator says so. */
  readonly prefixes: readonly IpPrefix[];
}

export interface Record extends RecordFields {
  readonly identity: Uint8Array;
  /** What it carries. The record's signature says nothing of the certificate but that it is this. */
  readonly certificate?: Unverified<Certificate>;
  /** The whole record as it travels: signature and certificate included. */
  readonly bytes: Uint8Array;
}

/**
 * The signed bytes, and behind them the certificate that they name. MeshError where the record alone
 * would exceed 512 bytes: too many prefixes and candidates.
 */
export function signRecord(
  crypto: IdentityCrypto,
  networkId: Uint8Array,
  identity: Identity,
  fields: RecordFields,
  certificate: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const hash =
    certificate.length === 0
      ? new Uint8Array(certificateHashBytes)
      : certificateHash(crypto, certificate);
  const body = encodeBody(identity.publicKey, fields, hash);
  if (body.length + signatureBytes > recordBytesMax) {
    throw new MeshError(
      "record_too_large",
      "cannot describe this node to the mesh",
      `its record takes ${body.length + signatureBytes} bytes and the limit is ${recordBytesMax}`,
      "advertise fewer prefixes or addresses",
    );
  }
  const signature = crypto.sign(identity.seed, signedBytes(networkId, body));
  return concatBytes(body, signature, certificate);
}

/** Well-formed, or undefined. Nothing is true of it but its form. */
export function decodeRecord(bytes: Uint8Array): Unverified<Record> | undefined {
  if (bytes.length > recordWithCertificateBytesMax) return undefined;
  // Read from the caller's: what a view was taken of costs more memory for as long as it is kept.
  const kept = bytes.slice();
  const reader = new Reader(bytes);
  const identity = reader.bytes(identityBytes);
  const sequence = toInteger(reader.u64());
  const expiresWallMs = toInteger(reader.u64());
  const wireguardKey = reader.bytes(32);
  const flags = reader.u8();
  const nat = reader.u8();
  if (identity === undefined || isZero(identity)) return undefined;
  if (sequence === undefined || sequence === 0 || expiresWallMs === undefined) return undefined;
  if (wireguardKey === undefined || isZero(wireguardKey)) return undefined;
  // A later version that gives other bits a meaning signs under another prefix.
  if (flags === undefined || (flags & ~relayFlag) !== 0) return undefined;
  const natKind = nat === undefined ? undefined : natKindOf(nat);
  const ipv4 = readIpv4Claim(reader);
  if (natKind === undefined || ipv4 === undefined) return undefined;
  const hash = reader.bytes(certificateHashBytes);
  const name = readName(reader);
  const candidates = readList(reader, recordCandidatesMax, readCandidate);
  const prefixes = readList(reader, recordPrefixesMax, readPrefix);
  if (name === undefined || candidates === undefined || prefixes === undefined) return undefined;
  const signature = reader.bytes(signatureBytes);
  if (hash === undefined || signature === undefined) return undefined;
  const certificate = readCertificate(reader, identity, hash);
  if (certificate === undefined) return undefined;
  if (kept.length - certificateLength(certificate) > recordBytesMax) return undefined;
  const claimed: Record = {
    identity,
    sequence,
    expiresWallMs,
    wireguardKey,
    name,
    candidates,
    natKind,
    relay: flags === relayFlag,
    ...(ipv4 === "none" ? {} : { ipv4 }),
    prefixes,
    ...(certificate === "none" ? {} : { certificate }),
    bytes: kept,
  };
  return { claimed };
}

/** Of a well-formed record. */
export function wireguardKeyOf(record: Uint8Array): Uint8Array {
  return record.slice(wireguardKeyOffset, wireguardKeyOffset + 32);
}

/** undefined where the signature does not hold in this network, or the record has expired. */
export function verifyRecord(
  crypto: IdentityCrypto,
  networkId: Uint8Array,
  unverified: Unverified<Record>,
  now: Instant,
): Verified<Record> | undefined {
  if (unverified.claimed.expiresWallMs <= now.wallMs) return undefined;
  return verifySignature(crypto, networkId, unverified);
}

/**
 * As `verifyRecord`, whatever the time: for this node's own files, where an expired record still
 * says where its subject was last seen. What this returns is never sent to others.
 */
export function verifyStoredRecord(
  crypto: IdentityCrypto,
  networkId: Uint8Array,
  unverified: Unverified<Record>,
): Record | undefined {
  return verifySignature(crypto, networkId, unverified);
}

/**
 * Whether others may be told of the endpoint: unicast, and with the same meaning everywhere.
 * Loopback and scoped addresses would have others send to themselves.
 */
export function isAdvertisable(endpoint: Endpoint): boolean {
  const address = parseAddress(endpoint.address);
  if (address === undefined || address.scope !== 0) return false;
  return endpoint.port >= 1 && endpoint.port <= 65535 && isUnicast(address);
}

function verifySignature(
  crypto: IdentityCrypto,
  networkId: Uint8Array,
  unverified: Unverified<Record>,
): Verified<Record> | undefined {
  const { claimed } = unverified;
  const signed = claimed.bytes.length - certificateLength(claimed.certificate);
  const split = signed - signatureBytes;
  if (claimed.certificate !== undefined) {
    const hash = certificateHash(crypto, claimed.certificate.claimed.bytes);
    const named = claimed.bytes.slice(hashOffset, hashOffset + certificateHashBytes);
    if (!equalBytes(hash, named)) return undefined;
  }
  const message = signedBytes(networkId, claimed.bytes.slice(0, split));
  const signature = claimed.bytes.slice(split, signed);
  if (!crypto.verify(claimed.identity, message, signature)) return undefined;
  return claimed as Verified<Record>;
}

function signedBytes(networkId: Uint8Array, body: Uint8Array): Uint8Array {
  assert(networkId.length === networkIdBytes, "a network id is 32 bytes");
  return concatBytes(signatureDomain, networkId, body);
}

function encodeBody(identity: Uint8Array, fields: RecordFields, hash: Uint8Array): Uint8Array {
  assert(fields.sequence > 0 && fields.sequence <= sequenceMax, "sequence out of range");
  assert(fields.candidates.length <= recordCandidatesMax, "too many candidates");
  assert(fields.prefixes.length <= recordPrefixesMax, "too many prefixes");
  const writer = new Writer(recordBytesMax)
    .bytes(identity)
    .u64(BigInt(fields.sequence))
    .u64(BigInt(fields.expiresWallMs))
    .bytes(fields.wireguardKey)
    .u8(fields.relay ? relayFlag : 0)
    .u8(natKinds[fields.natKind]);
  writeIpv4Claim(writer, fields.ipv4);
  assert(writer.length === hashOffset, "the certificate's hash has its place");
  writer.bytes(hash);
  writeName(writer, fields.name);
  writer.u8(fields.candidates.length);
  for (const candidate of fields.candidates) {
    assert(isAdvertisable(candidate), "an endpoint that others must not be told of");
    const { kind, address, port } = candidate;
    writer.u8(candidateKinds[kind]).u8(familyOf(address)).bytes(addressBytes(address)).u16(port);
  }
  writer.u8(fields.prefixes.length);
  for (const prefix of fields.prefixes) {
    writer.u8(familyOf(prefix.address)).u8(prefix.bits).bytes(addressBytes(prefix.address));
  }
  return writer.finish();
}

function addressBytes(text: string): Uint8Array {
  const address = parseAddress(text);
  assert(address !== undefined, "not an address");
  return address.bytes;
}

function writeIpv4Claim(writer: Writer, claim: Ipv4Claim | undefined): void {
  if (claim === undefined) {
    writer.u8(ipv4None).u8(0).zeros(4);
    return;
  }
  assert(claim.candidate >= 0 && claim.candidate < ipv4CandidatesMax, "no such candidate");
  writer.u8(claim.candidate).u8(claim.prefix.bits).bytes(addressBytes(claim.prefix.address));
}

function readIpv4Claim(reader: Reader): Ipv4Claim | "none" | undefined {
  const candidate = reader.u8();
  const bits = reader.u8();
  const bytes = reader.bytes(4);
  if (candidate === undefined || bits === undefined || bytes === undefined) return undefined;
  if (candidate === ipv4None) return bits === 0 && isZero(bytes) ? "none" : undefined;
  if (candidate >= ipv4CandidatesMax) return undefined;
  const prefix = prefixOf(4, bits, bytes);
  return prefix === undefined ? undefined : { candidate, prefix };
}

/** What is left: nothing where the record names no certificate, else one of its own subject. */
function readCertificate(
  reader: Reader,
  identity: Uint8Array,
  hash: Uint8Array,
): Unverified<Certificate> | "none" | undefined {
  const rest = reader.rest();
  if (isZero(hash)) return rest.length === 0 ? "none" : undefined;
  const certificate = decodeCertificate(rest);
  if (certificate === undefined || certificate.claimed.isVouch) return undefined;
  return equalBytes(certificate.claimed.identity, identity) ? certificate : undefined;
}

function certificateLength(certificate: Unverified<Certificate> | "none" | undefined): number {
  if (certificate === undefined || certificate === "none") return 0;
  return certificate.claimed.bytes.length;
}

function readList<T>(
  reader: Reader,
  max: number,
  read: (reader: Reader) => T | undefined,
): readonly T[] | undefined {
  const count = reader.u8();
  if (count === undefined || count > max) return undefined;
  const out: T[] = [];
  for (let i = 0; i < count; i += 1) {
    const item = read(reader);
    if (item === undefined) return undefined;
    out.push(item);
  }
  return out;
}

function readCandidate(reader: Reader): Candidate | undefined {
  const kind = candidateKindOf(reader.u8() ?? 0);
  const family = reader.u8();
  if (kind === undefined || (family !== 4 && family !== 6)) return undefined;
  const bytes = reader.bytes(family === 4 ? 4 : 16);
  const port = reader.u16();
  if (bytes === undefined || port === undefined || port === 0) return undefined;
  const address: IpAddress = { family, bytes, scope: 0 };
  return isUnicast(address) ? { kind, address: formatAddress(address), port } : undefined;
}

function readPrefix(reader: Reader): IpPrefix | undefined {
  const family = reader.u8();
  const bits = reader.u8();
  if ((family !== 4 && family !== 6) || bits === undefined) return undefined;
  const bytes = reader.bytes(family === 4 ? 4 : 16);
  return bytes === undefined ? undefined : prefixOf(family, bits, bytes);
}

/** undefined where a host bit is set: one prefix has one form. */
function prefixOf(family: 4 | 6, bits: number, bytes: Uint8Array): IpPrefix | undefined {
  if (bits > bytes.length * 8) return undefined;
  const text = formatAddress({ family, bytes, scope: 0 });
  const masked = formatAddress(maskHostBits({ family, bytes, scope: 0 }, bits));
  return masked === text ? { address: text, bits } : undefined;
}

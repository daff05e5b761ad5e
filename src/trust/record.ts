/**
 * The record: what a node says of itself, signed by its identity, and the only thing about it that
 * is ever copied from node to node. Owns the bytes, their limits and their signature; it knows
 * nothing of admission or freshness. Bytes become a `Verified<Record>` only through `verifyRecord`,
 * and whatever changes state asks for that type: what is unsigned cannot compile.
 */
import { concatBytes, isZero, Reader, Writer } from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import type { IdentityCrypto } from "../base/crypto.ts";
import type { Endpoint } from "../base/endpoint.ts";
import { assert, MeshError } from "../base/errors.ts";
import {
  familyOf,
  formatAddress,
  type IpAddress,
  type IpPrefix,
  maskHostBits,
  parseAddress,
} from "../base/ip.ts";
import { domain, type Identity, identityBytes, networkIdBytes } from "./identity.ts";

export const recordBytesMax = 512;
export const recordEndpointsMax = 8;
export const recordPrefixesMax = 16;
export const nameBytesMax = 63;
export const recordLifetimeMs = 24 * 3_600_000;
export const recordRefreshMs = 6 * 3_600_000;
/** IPv4 candidates that an identity has; see address.ts. */
export const ipv4CandidatesMax = 16;
/** JavaScript's exact integers; a sequence is Unix time in milliseconds, so this is no bound. */
export const sequenceMax = Number.MAX_SAFE_INTEGER;

const signatureBytes = 64;
const ipv4None = 255;
const signatureDomain = domain("meshvpn record v1");

declare const verifiedBrand: unique symbol;

/** A value whose signature held, of this network, within its time. */
export type Verified<T> = T & { readonly [verifiedBrand]: true };

/** A value that was well formed, and nothing more. */
export interface Unverified<T> {
  readonly claimed: T;
}

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
  readonly endpoints: readonly Endpoint[];
  /** 0 unknown; the rest is reserved. */
  readonly natKind: number;
  readonly ipv4?: Ipv4Claim;
  readonly prefixes: readonly IpPrefix[];
}

export interface Record extends RecordFields {
  readonly identity: Uint8Array;
  /** The whole record as it travels, signature included. */
  readonly bytes: Uint8Array;
}

/** The signed bytes. MeshError where it would exceed 512 bytes: too many prefixes and endpoints. */
export function signRecord(
  crypto: IdentityCrypto,
  networkId: Uint8Array,
  identity: Identity,
  fields: RecordFields,
): Uint8Array {
  const body = encodeBody(identity.publicKey, fields);
  if (body.length + signatureBytes > recordBytesMax) {
    throw new MeshError(
      "record_too_large",
      "cannot describe this node to the mesh",
      `its record takes ${body.length + signatureBytes} bytes and the limit is ${recordBytesMax}`,
      "advertise fewer prefixes or endpoints",
    );
  }
  const signature = crypto.sign(identity.seed, signedBytes(networkId, body));
  return concatBytes(body, signature);
}

/** Well-formed, or undefined. Nothing is true of it but its form. */
export function decodeRecord(bytes: Uint8Array): Unverified<Record> | undefined {
  if (bytes.length > recordBytesMax || bytes.length < signatureBytes) return undefined;
  const kept = bytes.slice();
  const reader = new Reader(kept.subarray(0, kept.length - signatureBytes));
  const identity = reader.bytes(identityBytes);
  const sequence = integer(reader.u64());
  const expiresWallMs = integer(reader.u64());
  const wireguardKey = reader.bytes(32);
  const flags = reader.u8();
  const natKind = reader.u8();
  if (identity === undefined || isZero(identity)) return undefined;
  if (sequence === undefined || sequence === 0 || expiresWallMs === undefined) return undefined;
  if (wireguardKey === undefined || isZero(wireguardKey)) return undefined;
  // Reserved: a later version that gives them a meaning signs under another prefix.
  if (flags !== 0 || natKind !== 0) return undefined;
  const ipv4 = readIpv4Claim(reader);
  if (ipv4 === undefined) return undefined;
  const name = readName(reader);
  const endpoints = readList(reader, recordEndpointsMax, readEndpoint);
  const prefixes = readList(reader, recordPrefixesMax, readPrefix);
  if (name === undefined || endpoints === undefined || prefixes === undefined) return undefined;
  if (reader.remaining !== 0) return undefined;
  const claimed: Record = {
    identity,
    sequence,
    expiresWallMs,
    wireguardKey,
    name,
    endpoints,
    natKind,
    ...(ipv4 === "none" ? {} : { ipv4 }),
    prefixes,
    bytes: kept,
  };
  return { claimed };
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

/** A host name as a name of the mesh: a DNS label of `a-z0-9-`, possibly empty. */
export function sanitizeName(text: string): string {
  return (text.split(".", 1)[0] as string)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, nameBytesMax)
    .replace(/^-+|-+$/g, "");
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
  const split = claimed.bytes.length - signatureBytes;
  const message = signedBytes(networkId, claimed.bytes.subarray(0, split));
  if (!crypto.verify(claimed.identity, message, claimed.bytes.subarray(split))) return undefined;
  return claimed as Verified<Record>;
}

function signedBytes(networkId: Uint8Array, body: Uint8Array): Uint8Array {
  assert(networkId.length === networkIdBytes, "a network id is 32 bytes");
  return concatBytes(signatureDomain, networkId, body);
}

function encodeBody(identity: Uint8Array, fields: RecordFields): Uint8Array {
  assert(fields.sequence > 0 && fields.sequence <= sequenceMax, "sequence out of range");
  assert(fields.endpoints.length <= recordEndpointsMax, "too many endpoints");
  assert(fields.prefixes.length <= recordPrefixesMax, "too many prefixes");
  assert(isName(fields.name), "the name is not sanitised");
  assert(fields.natKind === 0, "reserved");
  const writer = new Writer(recordBytesMax)
    .bytes(identity)
    .u64(BigInt(fields.sequence))
    .u64(BigInt(fields.expiresWallMs))
    .bytes(fields.wireguardKey)
    .u8(0)
    .u8(fields.natKind);
  writeIpv4Claim(writer, fields.ipv4);
  writer.u8(fields.name.length).bytes(new TextEncoder().encode(fields.name));
  writer.u8(fields.endpoints.length);
  for (const endpoint of fields.endpoints) {
    assert(isAdvertisable(endpoint), "an endpoint that others must not be told of");
    writer.u8(familyOf(endpoint.address)).bytes(addressBytes(endpoint.address)).u16(endpoint.port);
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

function readName(reader: Reader): string | undefined {
  const length = reader.u8();
  if (length === undefined || length > nameBytesMax) return undefined;
  const bytes = reader.bytes(length);
  if (bytes === undefined) return undefined;
  const name = String.fromCharCode(...bytes);
  return isName(name) ? name : undefined;
}

function isName(name: string): boolean {
  return name === "" || /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name);
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

function readEndpoint(reader: Reader): Endpoint | undefined {
  const family = reader.u8();
  if (family !== 4 && family !== 6) return undefined;
  const bytes = reader.bytes(family === 4 ? 4 : 16);
  const port = reader.u16();
  if (bytes === undefined || port === undefined || port === 0) return undefined;
  const address: IpAddress = { family, bytes, scope: 0 };
  return isUnicast(address) ? { address: formatAddress(address), port } : undefined;
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

/** Not unspecified, loopback, multicast, broadcast, link-local IPv6 or IPv4-mapped. */
function isUnicast(address: IpAddress): boolean {
  const [first = 0, second = 0] = address.bytes;
  if (address.family === 4) return first !== 0 && first !== 127 && first < 224;
  if (isZero(address.bytes.subarray(0, 10))) return false;
  if (first === 0xfe && (second & 0xc0) === 0x80) return false;
  return first !== 0xff;
}

/** undefined beyond JavaScript's exact integers. */
function integer(value: bigint | undefined): number | undefined {
  return value === undefined || value > BigInt(sequenceMax) ? undefined : Number(value);
}

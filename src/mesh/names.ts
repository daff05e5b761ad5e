/**
 * Names of members in DNS: NAME.mesh to addresses and back (RFC 1035, RFC 3596). Pure: a query's
 * bytes in, an answer's out. Knows one zone and asks nobody; a query for anything else is refused, so
 * that a resolver asks elsewhere. What cannot be read is undefined, for the caller to count.
 */
import { Writer } from "../base/bytes.ts";
import { assert } from "../base/errors.ts";
import { canonicalAddress, parseAddress } from "../base/ip.ts";

export const zoneName = "mesh";
export const queryBytesMax = 512;
/** Members move and are renamed; nobody shall remember for long. */
const ttlSeconds = 5;
const types = { A: 1, PTR: 12, AAAA: 28, ANY: 255 } as const;
const classIn = 1;
const responseCodes = { ok: 0, formatError: 1, noName: 3, notImplemented: 4, refused: 5 } as const;
const headerBytes = 12;
/** A pointer to the question's name, at byte 12. */
const pointerToQuestion = 0xc00c;
const labelBytesMax = 63;
const labelsMax = 40;

export interface Zone {
  /** Canonical addresses; undefined: nobody is called so. */
  addressesOf(name: string): readonly string[] | undefined;
  /** What the owner of an address is called; undefined: it is nobody's. */
  nameOf(address: string): string | undefined;
}

interface Query {
  readonly id: number;
  readonly opcode: number;
  readonly recursionDesired: boolean;
  /** Lower case. */
  readonly labels: readonly string[];
  readonly type: number;
  readonly class: number;
  /** From the header to the end of the question. */
  readonly question: Uint8Array;
}

/** undefined for what is no query. */
export function answerQuery(bytes: Uint8Array, zone: Zone): Uint8Array | undefined {
  const query = parseQuery(bytes);
  if (query === undefined) return undefined;
  if (query.opcode !== 0) return response(query, responseCodes.notImplemented, []);
  const reverse = reverseAddress(query.labels);
  if (reverse !== undefined) return answerReverse(query, zone.nameOf(reverse));
  if (query.labels.at(-1) !== zoneName || query.class !== classIn) {
    return response(query, responseCodes.refused, []);
  }
  // The zone itself is there, and has nothing to say.
  if (query.labels.length === 1) return response(query, responseCodes.ok, []);
  const name = query.labels.slice(0, -1).join(".");
  const addresses = zone.addressesOf(name);
  if (addresses === undefined) return response(query, responseCodes.noName, []);
  const records = addresses.map(addressRecord).filter(({ type }) => asks(query, type));
  return response(query, responseCodes.ok, records);
}

interface ResourceRecord {
  readonly type: number;
  readonly data: Uint8Array;
}

function asks(query: Query, type: number): boolean {
  return query.type === type || query.type === types.ANY;
}

function answerReverse(query: Query, name: string | undefined): Uint8Array {
  // Addresses of others are for others to name.
  if (name === undefined) return response(query, responseCodes.refused, []);
  const data = new Writer(255);
  for (const label of [name, zoneName]) {
    const text = new TextEncoder().encode(label);
    data.u8(text.length).bytes(text);
  }
  const record = { type: types.PTR, data: data.u8(0).finish() };
  return response(query, responseCodes.ok, asks(query, types.PTR) ? [record] : []);
}

function response(query: Query, code: number, records: readonly ResourceRecord[]): Uint8Array {
  const length = records.reduce((sum, { data }) => sum + 12 + data.length, query.question.length);
  const out = new Writer(headerBytes + length);
  // A response, authoritative, with the recursion that was desired and is not available.
  const flags = 0x8400 | (query.recursionDesired ? 0x0100 : 0) | code;
  for (const field of [query.id, flags, 1, records.length, 0, 0]) u16(out, field);
  out.bytes(query.question);
  for (const { type, data } of records) {
    u16(out, pointerToQuestion);
    u16(out, type);
    u16(out, classIn);
    u16(out, 0);
    u16(out, ttlSeconds);
    u16(out, data.length);
    out.bytes(data);
  }
  return out.finish();
}

/** Big-endian, which DNS is and nothing else here. */
function u16(out: Writer, value: number): void {
  out.u8(value >> 8).u8(value & 0xff);
}

function parseQuery(bytes: Uint8Array): Query | undefined {
  if (bytes.length < headerBytes + 5 || bytes.length > queryBytesMax) return undefined;
  const at = (index: number): number =>
    ((bytes[index] as number) << 8) | (bytes[index + 1] as number);
  const flags = at(2);
  // A response is not answered, or two servers could talk for ever; one question, as everybody asks.
  if ((flags & 0x8000) !== 0 || at(4) !== 1) return undefined;
  const labels: string[] = [];
  let offset = headerBytes;
  for (;;) {
    const length = bytes[offset];
    if (length === undefined || length > labelBytesMax || labels.length > labelsMax)
      return undefined;
    offset += 1;
    if (length === 0) break;
    if (offset + length > bytes.length) return undefined;
    labels.push(asciiLower(bytes.subarray(offset, offset + length)));
    offset += length;
  }
  if (offset + 4 > bytes.length) return undefined;
  return {
    id: at(0),
    opcode: (flags >> 11) & 15,
    recursionDesired: (flags & 0x0100) !== 0,
    labels,
    type: at(offset),
    class: at(offset + 2),
    question: bytes.subarray(headerBytes, offset + 4),
  };
}

function asciiLower(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes).toLowerCase();
}

function addressRecord(address: string): ResourceRecord {
  const parsed = parseAddress(address);
  assert(parsed !== undefined, "the zone gives canonical addresses");
  return { type: parsed.family === 4 ? types.A : types.AAAA, data: parsed.bytes };
}

/** `4.3.2.1.in-addr.arpa` or 32 nibbles and `ip6.arpa` as an address; undefined for another name. */
function reverseAddress(labels: readonly string[]): string | undefined {
  const [kind, root] = labels.slice(-2);
  if (root !== "arpa") return undefined;
  const parts = labels.slice(0, -2).toReversed();
  if (kind === "in-addr" && parts.length === 4) {
    return canonicalAddress(parts.join("."));
  }
  if (kind !== "ip6" || parts.length !== 32) return undefined;
  if (!parts.every((part) => /^[0-9a-f]$/.test(part))) return undefined;
  return canonicalAddress((parts.join("").match(/.{4}/g) ?? []).join(":"));
}

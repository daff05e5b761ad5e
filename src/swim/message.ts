/**
 * The control messages of membership, as they travel inside sessions. Owns their bytes and limits;
 * the session has authenticated the sender, and nothing more: what a message says of a third node
 * counts only if that node signed it. Records are opaque here. A malformed message is undefined.
 */
import { isZero, Reader, Writer } from "../base/bytes.ts";
import { assert } from "../base/errors.ts";

export const messageHeaderBytes = 4;
export const messageBytesMax = 1232;
export const memberIdBytes = 32;
/** The first bytes of an identity, by which digests and fetches name it. */
export const shortIdBytes = 8;
/** With the certificate that it carries. */
export const recordBytesMax = 752;
export const bucketCount = 256;

export const digestEntriesMax = Math.floor(
  (messageBytesMax - messageHeaderBytes - bucketCount / 8) / (shortIdBytes + 8),
);
export const fetchIdsMax = 64;
/** Bytes that a record takes in a message beyond its own. */
export const recordOverheadBytes = 2;

const types = {
  ping: 1,
  ack: 2,
  pingRequest: 3,
  records: 5,
  summary: 6,
  digest: 7,
  fetch: 8,
} as const;

const heardBit = 1n << 63n;

export interface DigestEntry {
  /** `shortId` of the identity. */
  readonly id: string;
  readonly sequence: number;
  /** The sender knows of it but does not hold it for others: not to be fetched from there. */
  readonly heard: boolean;
}

export type Message =
  /** An ack with the same number is asked for. */
  | { readonly kind: "ping"; readonly number: number; readonly records: readonly Uint8Array[] }
  | { readonly kind: "ack"; readonly number: number; readonly records: readonly Uint8Array[] }
  /** The receiver is to ping `target` and to pass its ack on under this number. */
  | {
      readonly kind: "pingRequest";
      readonly number: number;
      readonly target: Uint8Array;
      readonly records: readonly Uint8Array[];
    }
  | { readonly kind: "records"; readonly records: readonly Uint8Array[] }
  /** 256 numbers: one over all records held whose identity starts with that byte. */
  | { readonly kind: "summary"; readonly buckets: Uint32Array }
  /** What the sender holds in the buckets of the bitmap (32 bytes, bit i of byte i/8, all of it). */
  | {
      readonly kind: "digest";
      readonly complete: Uint8Array;
      readonly entries: readonly DigestEntry[];
    }
  | { readonly kind: "fetch"; readonly ids: readonly string[] };

/** The first 8 bytes of an identity as a string of 8 characters, for maps. */
export function shortId(identity: Uint8Array): string {
  assert(identity.length >= shortIdBytes, "an identity is 32 bytes");
  return String.fromCharCode(...identity.subarray(0, shortIdBytes));
}

/** At most 1,232 bytes; more is a mistake of ours. */
export function encodeMessage(message: Message): Uint8Array {
  const writer = new Writer(messageBytesMax).u8(types[message.kind]).u8(0).u16(0);
  switch (message.kind) {
    case "ping":
    case "ack":
      writer.u32(message.number);
      writeRecords(writer, message.records);
      break;
    case "pingRequest":
      writer.u32(message.number).bytes(message.target);
      writeRecords(writer, message.records);
      break;
    case "records":
      writeRecords(writer, message.records);
      break;
    case "summary":
      assert(message.buckets.length === bucketCount, "a summary has 256 buckets");
      for (const value of message.buckets) writer.u32(value);
      break;
    case "digest":
      writer.bytes(message.complete);
      for (const entry of message.entries) {
        writeShortId(writer, entry.id);
        writer.u64(BigInt(entry.sequence) | (entry.heard ? heardBit : 0n));
      }
      break;
    case "fetch":
      for (const id of message.ids) writeShortId(writer, id);
  }
  const bytes = writer.finish();
  assert(bytes.length <= messageBytesMax, "a control message is too long");
  new DataView(bytes.buffer).setUint16(2, bytes.length, true);
  return bytes;
}

/** `bytes` may be padded, as WireGuard pads; the header's length counts. */
export function decodeMessage(bytes: Uint8Array): Message | undefined {
  const header = new Reader(bytes.subarray(0, messageHeaderBytes));
  const type = header.u8();
  const flags = header.u8();
  const length = header.u16();
  if (type === undefined || flags !== 0 || length === undefined) return undefined;
  if (length < messageHeaderBytes || length > messageBytesMax || length > bytes.length) {
    return undefined;
  }
  const reader = new Reader(bytes.subarray(messageHeaderBytes, length));
  switch (type) {
    case types.ping:
      return readNumbered(reader, "ping");
    case types.ack:
      return readNumbered(reader, "ack");
    case types.pingRequest:
      return readPingRequest(reader);
    case types.records: {
      const records = readRecords(reader);
      return records === undefined ? undefined : { kind: "records", records };
    }
    case types.summary:
      return readSummary(reader);
    case types.digest:
      return readDigest(reader);
    case types.fetch: {
      const ids = readShortIds(reader);
      return ids === undefined ? undefined : { kind: "fetch", ids };
    }
    default:
      return undefined;
  }
}

function writeRecords(writer: Writer, records: readonly Uint8Array[]): void {
  for (const record of records) {
    assert(record.length > 0 && record.length <= recordBytesMax, "a record is too long");
    writer.u16(record.length).bytes(record);
  }
}

function writeShortId(writer: Writer, id: string): void {
  assert(id.length === shortIdBytes, "a short id is 8 bytes");
  for (let i = 0; i < shortIdBytes; i += 1) writer.u8(id.charCodeAt(i));
}

function readNumbered(reader: Reader, kind: "ping" | "ack"): Message | undefined {
  const number = reader.u32();
  const records = readRecords(reader);
  return number === undefined || records === undefined ? undefined : { kind, number, records };
}

function readPingRequest(reader: Reader): Message | undefined {
  const number = reader.u32();
  const target = reader.bytes(memberIdBytes);
  if (number === undefined || target === undefined || isZero(target)) return undefined;
  const records = readRecords(reader);
  return records === undefined ? undefined : { kind: "pingRequest", number, target, records };
}

/** Records until the end of the message. */
function readRecords(reader: Reader): readonly Uint8Array[] | undefined {
  const records: Uint8Array[] = [];
  while (reader.remaining > 0) {
    const length = reader.u16();
    if (length === undefined || length === 0 || length > recordBytesMax) return undefined;
    const record = reader.bytes(length);
    if (record === undefined) return undefined;
    records.push(record);
  }
  return records;
}

function readSummary(reader: Reader): Message | undefined {
  if (reader.remaining !== 4 * bucketCount) return undefined;
  const buckets = new Uint32Array(bucketCount);
  for (let i = 0; i < bucketCount; i += 1) buckets[i] = reader.u32() as number;
  return { kind: "summary", buckets };
}

function readDigest(reader: Reader): Message | undefined {
  const complete = reader.bytes(bucketCount / 8);
  if (complete === undefined) return undefined;
  const entries: DigestEntry[] = [];
  while (reader.remaining > 0) {
    const id = readShortId(reader);
    const value = reader.u64();
    if (id === undefined || value === undefined) return undefined;
    const sequence = value & ~heardBit;
    if (sequence > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
    entries.push({ id, sequence: Number(sequence), heard: (value & heardBit) !== 0n });
  }
  return { kind: "digest", complete, entries };
}

function readShortIds(reader: Reader): readonly string[] | undefined {
  if (reader.remaining % shortIdBytes !== 0) return undefined;
  if (reader.remaining > fetchIdsMax * shortIdBytes) return undefined;
  const ids: string[] = [];
  while (reader.remaining > 0) ids.push(readShortId(reader) as string);
  return ids;
}

function readShortId(reader: Reader): string | undefined {
  const bytes = reader.bytes(shortIdBytes);
  return bytes === undefined ? undefined : shortId(bytes);
}

/**
 * The control messages of membership, as they travel inside sessions. Owns their bytes and limits;
 * the session has authenticated the sender, and nothing more: what a message says of a third node
 * counts only if that node signed it. Records and statements are opaque here. Statements and records are
 * read where they lie, for most are known already; all else that is decoded is a copy (a view of so few bytes costs
 * more than they do). A malformed message is undefined.
 */
import { isZero } from "../base/bytes.ts";
import { assert } from "../base/errors.ts";
import { bucketCount } from "./state.ts";
import { statementLength } from "./statement.ts";
import { wordAt } from "./store.ts";

export const messageHeaderBytes = 4;
/** In a session this is a datagram of 1,232 bytes: with its headers IPv6's smallest MTU. */
export const messageBytesMax = 1200;
export const memberIdBytes = 32;
/** The first bytes of an identity, by which digests and fetches name it. */
export const shortIdBytes = 8;
/** With the certificate that it carries. */
export const recordBytesMax = 752;
/** Bytes that a record takes in a message beyond its own. */
export const recordOverheadBytes = 2;
/** Room for statements beside a number. */
export const numberedRoom = messageBytesMax - messageHeaderBytes - 4;
export const gossipRoom = messageBytesMax - messageHeaderBytes;

const entryBytes = shortIdBytes + 8 + 4;
const wantBytes = shortIdBytes + 1;
const bitmapBytes = bucketCount / 8;
export const digestEntriesMax = Math.floor(
  (messageBytesMax - messageHeaderBytes - bitmapBytes) / entryBytes,
);
export const fetchMax = 64;

const types = {
  ping: 1,
  ack: 2,
  pingRequest: 3,
  nack: 4,
  records: 5,
  summary: 6,
  digest: 7,
  fetch: 8,
  gossip: 9,
} as const;

/** Of the upper half of a sequence: the sender knows of it but does not hold it for others. */
const heardBit = 0x8000_0000;

export interface DigestEntry {
  readonly low: number;
  readonly high: number;
  readonly sequence: number;
  readonly incarnation: number;
  /** Not to be fetched from there. */
  readonly heard: boolean;
}

export interface Want {
  readonly low: number;
  readonly high: number;
  /** Only its newest statement: the record is here. */
  readonly statementOnly: boolean;
}

/** Statements, or records with their lengths, one after another from here to there: each of them whole. */
export interface Run {
  readonly bytes: Uint8Array;
  readonly from: number;
  readonly to: number;
}

/** To be sent. */
export type Message = MessageOf<readonly Uint8Array[]>;
export type ReceivedMessage = MessageOf<Run>;

type MessageOf<Parts> =
  /** An ack with the same number is asked for. */
  | {
      readonly kind: "ping" | "ack" | "nack";
      readonly number: number;
      readonly statements: Parts;
    }
  /** The receiver is to ping `target` and to pass its ack on under this number. */
  | {
      readonly kind: "pingRequest";
      readonly number: number;
      readonly target: Uint8Array;
      readonly statements: Parts;
    }
  | { readonly kind: "gossip"; readonly statements: Parts }
  | { readonly kind: "records"; readonly records: Parts }
  /** 256 numbers: one over all that is held of members whose identity starts with that byte. */
  | { readonly kind: "summary"; readonly buckets: Uint32Array }
  /** What the sender holds in the buckets of the bitmap (32 bytes, bit i of byte i/8, all of it). */
  | {
      readonly kind: "digest";
      readonly complete: Uint8Array;
      readonly entries: readonly DigestEntry[];
    }
  | { readonly kind: "fetch"; readonly wants: readonly Want[] };

/** The first 8 bytes of an identity as a string of 8 characters, for maps. */
export function shortId(identity: Uint8Array): string {
  assert(identity.length >= shortIdBytes, "an identity is 32 bytes");
  return String.fromCharCode(...identity.subarray(0, shortIdBytes));
}

/** The same from its first two words. */
export function shortIdOf(low: number, high: number): string {
  const bytes = [
    low,
    low >>> 8,
    low >>> 16,
    low >>> 24,
    high,
    high >>> 8,
    high >>> 16,
    high >>> 24,
  ];
  return String.fromCharCode(...bytes.map((byte) => byte & 0xff));
}

const scratch = new Uint8Array(messageBytesMax);
const scratchView = new DataView(scratch.buffer);

/** At most 1,232 bytes; more is a mistake of ours. */
export function encodeMessage(message: Message | ReceivedMessage): Uint8Array {
  const end = writeBody(message);
  scratch[0] = types[message.kind];
  scratch[1] = 0;
  scratchView.setUint16(2, end, true);
  return scratch.slice(0, end);
}

function writeBody(message: Message | ReceivedMessage): number {
  let at = messageHeaderBytes;
  switch (message.kind) {
    case "ping":
    case "ack":
    case "nack":
      scratchView.setUint32(at, message.number, true);
      return writeAll(at + 4, message.statements);
    case "pingRequest":
      scratchView.setUint32(at, message.number, true);
      scratch.set(message.target, at + 4);
      return writeAll(at + 4 + memberIdBytes, message.statements);
    case "gossip":
      return writeAll(at, message.statements);
    case "records":
      if ("from" in message.records) return writeAll(at, message.records);
      for (const record of message.records) {
        assert(record.length > 0 && record.length <= recordBytesMax, "a record is too long");
        scratchView.setUint16(at, record.length, true);
        scratch.set(record, at + recordOverheadBytes);
        at += recordOverheadBytes + record.length;
      }
      return at;
    case "summary":
      assert(message.buckets.length === bucketCount, "a summary has 256 buckets");
      for (let i = 0; i < bucketCount; i += 1) {
        scratchView.setUint32(at + 4 * i, message.buckets[i] as number, true);
      }
      return at + 4 * bucketCount;
    case "digest":
      scratch.set(message.complete, at);
      at += bitmapBytes;
      for (const entry of message.entries) at = writeEntry(at, entry);
      return at;
    case "fetch":
      for (const { low, high, statementOnly } of message.wants) {
        scratchView.setUint32(at, low, true);
        scratchView.setUint32(at + 4, high, true);
        scratch[at + 8] = statementOnly ? 1 : 0;
        at += wantBytes;
      }
      return at;
  }
}

/** `bytes` may be padded, as WireGuard pads; the header's length counts. */
export function decodeMessage(bytes: Uint8Array): ReceivedMessage | undefined {
  if (bytes.length < messageHeaderBytes || bytes[1] !== 0) return undefined;
  const length = (bytes[2] as number) | ((bytes[3] as number) << 8);
  if (length < messageHeaderBytes || length > messageBytesMax || length > bytes.length) {
    return undefined;
  }
  switch (bytes[0]) {
    case types.ping:
      return readNumbered(bytes, length, "ping");
    case types.ack:
      return readNumbered(bytes, length, "ack");
    case types.nack:
      return readNumbered(bytes, length, "nack");
    case types.pingRequest:
      return readPingRequest(bytes, length);
    case types.gossip: {
      const statements = readStatements(bytes, messageHeaderBytes, length);
      return statements && { kind: "gossip", statements };
    }
    case types.records:
      return readRecords(bytes, length);
    case types.summary:
      return readSummary(bytes, length);
    case types.digest:
      return readDigest(bytes, length);
    case types.fetch:
      return readFetch(bytes, length);
    default:
      return undefined;
  }
}

function writeAll(from: number, parts: readonly Uint8Array[] | Run): number {
  let at = from;
  if ("from" in parts) {
    scratch.set(parts.bytes.subarray(parts.from, parts.to), at);
    return at + parts.to - parts.from;
  }
  for (const part of parts) {
    scratch.set(part, at);
    at += part.length;
  }
  return at;
}

function writeEntry(at: number, entry: DigestEntry): number {
  scratchView.setUint32(at, entry.low, true);
  scratchView.setUint32(at + 4, entry.high, true);
  scratchView.setUint32(at + 8, entry.sequence % 2 ** 32, true);
  const upper = Math.floor(entry.sequence / 2 ** 32);
  scratchView.setUint32(at + 12, (entry.heard ? upper | heardBit : upper) >>> 0, true);
  scratchView.setUint32(at + 16, entry.incarnation, true);
  return at + entryBytes;
}

const numberEnd = messageHeaderBytes + 4;

function readNumbered(
  bytes: Uint8Array,
  end: number,
  kind: "ping" | "ack" | "nack",
): ReceivedMessage | undefined {
  if (end < numberEnd) return undefined;
  const statements = readStatements(bytes, numberEnd, end);
  return statements && { kind, number: wordAt(bytes, messageHeaderBytes), statements };
}

function readPingRequest(bytes: Uint8Array, end: number): ReceivedMessage | undefined {
  const targetEnd = numberEnd + memberIdBytes;
  if (end < targetEnd) return undefined;
  const target = bytes.slice(numberEnd, targetEnd);
  const statements = readStatements(bytes, targetEnd, end);
  if (statements === undefined || isZero(target)) return undefined;
  return { kind: "pingRequest", number: wordAt(bytes, messageHeaderBytes), target, statements };
}

/** Statements until the end of the message; each kind has one length. */
function readStatements(bytes: Uint8Array, from: number, to: number): Run | undefined {
  for (let at = from; at < to; ) {
    const length = statementLength(bytes[at] as number);
    if (length === undefined || at + length > to) return undefined;
    at += length;
  }
  return { bytes, from, to };
}

/** Of the record of a run whose length stands there. */
export function recordLengthAt(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
}

/** Records until the end of the message. */
function readRecords(bytes: Uint8Array, end: number): ReceivedMessage | undefined {
  for (let at = messageHeaderBytes; at < end; ) {
    if (at + recordOverheadBytes > end) return undefined;
    const length = recordLengthAt(bytes, at);
    at += recordOverheadBytes + length;
    if (length === 0 || length > recordBytesMax || at > end) return undefined;
  }
  return { kind: "records", records: { bytes, from: messageHeaderBytes, to: end } };
}

function readSummary(bytes: Uint8Array, end: number): ReceivedMessage | undefined {
  if (end !== messageHeaderBytes + 4 * bucketCount) return undefined;
  const buckets = new Uint32Array(bucketCount);
  for (let i = 0; i < bucketCount; i += 1) buckets[i] = wordAt(bytes, messageHeaderBytes + 4 * i);
  return { kind: "summary", buckets };
}

function readDigest(bytes: Uint8Array, end: number): ReceivedMessage | undefined {
  const entriesAt = messageHeaderBytes + bitmapBytes;
  if (end < entriesAt || (end - entriesAt) % entryBytes !== 0) return undefined;
  const entries: DigestEntry[] = [];
  for (let at = entriesAt; at < end; at += entryBytes) {
    const upper = wordAt(bytes, at + 12);
    const heard = upper >= heardBit;
    const sequence = wordAt(bytes, at + 8) + (heard ? upper - heardBit : upper) * 2 ** 32;
    if (sequence > Number.MAX_SAFE_INTEGER) return undefined;
    const incarnation = wordAt(bytes, at + 16);
    const [low, high] = [wordAt(bytes, at), wordAt(bytes, at + 4)];
    entries.push({ low, high, sequence, incarnation, heard });
  }
  return { kind: "digest", complete: bytes.slice(messageHeaderBytes, entriesAt), entries };
}

function readFetch(bytes: Uint8Array, end: number): ReceivedMessage | undefined {
  const length = end - messageHeaderBytes;
  if (length % wantBytes !== 0 || length > fetchMax * wantBytes) return undefined;
  const wants: Want[] = [];
  for (let at = messageHeaderBytes; at < end; at += wantBytes) {
    const flag = bytes[at + 8] as number;
    if (flag > 1) return undefined;
    wants.push({ low: wordAt(bytes, at), high: wordAt(bytes, at + 4), statementOnly: flag === 1 });
  }
  return { kind: "fetch", wants };
}

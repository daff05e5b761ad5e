/**
 * The control messages of trust, inside sessions: statements of organisations on their way to
 * everybody, and introductions that a member passes on to whoever they are for. One type of message,
 * told apart by the first byte of its body. Owns their bytes and limits. Malformed: undefined.
 */
import { fromHex, Reader, toHex, Writer } from "../base/bytes.ts";
import { assert } from "../base/errors.ts";
import { statementBytesMax, statementIdBytes } from "../trust/statement.ts";
import { forwardedBytes, introductionBytes } from "./introduction.ts";

export const trustMessageType = 15;
const messageBytesMax = 1232;
const headerBytes = 4;
const bodyBytesMax = messageBytesMax - headerBytes - 1;

const kinds = { statements: 1, digest: 2, ids: 3, want: 4, forward: 5, forwarded: 6 } as const;

export const digestHashBytes = 16;
export const forwardTicketBytes = 8;
/** Of a list of ids: its two bounds stand before them. */
export const idsMax = Math.floor((bodyBytesMax - 2 * statementIdBytes) / statementIdBytes);
export const wantMax = 64;
/** Bytes that a statement takes in a message beyond its own. */
const statementOverheadBytes = 2;

export type TrustMessage =
  | { readonly kind: "statements"; readonly statements: readonly Uint8Array[] }
  /** How many statements the sender holds, and the exclusive or of their hashes. */
  | { readonly kind: "digest"; readonly count: number; readonly hash: Uint8Array }
  /** All that the sender holds from `first` to `last`, ascending; ids are hexadecimal. */
  | {
      readonly kind: "ids";
      readonly first: string;
      readonly last: string;
      readonly ids: readonly string[];
    }
  | { readonly kind: "want"; readonly ids: readonly string[] }
  /** Of an introduction, what is sealed to the receiver of this message. */
  | { readonly kind: "forward"; readonly ticket: Uint8Array; readonly sealed: Uint8Array }
  /** The reply to it, to be sent to where the introduction came from. */
  | { readonly kind: "forwarded"; readonly ticket: Uint8Array; readonly datagram: Uint8Array };

export function isTrustMessage(bytes: Uint8Array): boolean {
  return bytes[0] === trustMessageType;
}

/** As many of the statements, from the first, as one message holds. */
export function statementsThatFit(statements: readonly Uint8Array[]): readonly Uint8Array[] {
  let bytesFree = bodyBytesMax;
  const out: Uint8Array[] = [];
  for (const statement of statements) {
    bytesFree -= statement.length + statementOverheadBytes;
    if (bytesFree < 0) break;
    out.push(statement);
  }
  return out;
}

/** At most 1,232 bytes; more is a mistake of ours. */
export function encodeTrustMessage(message: TrustMessage): Uint8Array {
  const writer = new Writer(messageBytesMax).u8(trustMessageType).u8(0).u16(0);
  writer.u8(kinds[message.kind]);
  switch (message.kind) {
    case "statements":
      for (const statement of message.statements) writer.u16(statement.length).bytes(statement);
      break;
    case "digest":
      writer.u32(message.count).bytes(message.hash);
      break;
    case "ids":
      for (const id of [message.first, message.last, ...message.ids]) writeId(writer, id);
      break;
    case "want":
      for (const id of message.ids) writeId(writer, id);
      break;
    case "forward":
      writer.bytes(message.ticket).bytes(message.sealed);
      break;
    case "forwarded":
      writer.bytes(message.ticket).bytes(message.datagram);
  }
  const bytes = writer.finish();
  assert(bytes.length <= messageBytesMax, "a control message is too long");
  new DataView(bytes.buffer).setUint16(2, bytes.length, true);
  return bytes;
}

/** `bytes` may be padded, as WireGuard pads; the header's length counts. */
export function decodeTrustMessage(bytes: Uint8Array): TrustMessage | undefined {
  const header = new Reader(bytes.subarray(0, headerBytes));
  const type = header.u8();
  const flags = header.u8();
  const length = header.u16();
  if (type !== trustMessageType || flags !== 0 || length === undefined) return undefined;
  if (length <= headerBytes || length > messageBytesMax || length > bytes.length) return undefined;
  const reader = new Reader(bytes.subarray(headerBytes, length));
  switch (reader.u8()) {
    case kinds.statements:
      return readStatements(reader);
    case kinds.digest: {
      const count = reader.u32();
      const hash = reader.bytes(digestHashBytes);
      if (count === undefined || hash === undefined || reader.remaining > 0) return undefined;
      return { kind: "digest", count, hash };
    }
    case kinds.ids:
      return readIds(reader);
    case kinds.want: {
      const ids = readAll(reader);
      return ids === undefined || ids.length > wantMax ? undefined : { kind: "want", ids };
    }
    case kinds.forward: {
      const ticket = reader.bytes(forwardTicketBytes);
      const sealed = reader.bytes(forwardedBytes);
      if (ticket === undefined || sealed === undefined || reader.remaining > 0) return undefined;
      return { kind: "forward", ticket, sealed };
    }
    case kinds.forwarded: {
      const ticket = reader.bytes(forwardTicketBytes);
      const datagram = reader.bytes(introductionBytes);
      if (ticket === undefined || datagram === undefined || reader.remaining > 0) return undefined;
      return { kind: "forwarded", ticket, datagram };
    }
    default:
      return undefined;
  }
}

function readStatements(reader: Reader): TrustMessage | undefined {
  const statements: Uint8Array[] = [];
  while (reader.remaining > 0) {
    const length = reader.u16();
    if (length === undefined || length === 0 || length > statementBytesMax) return undefined;
    const statement = reader.bytes(length);
    if (statement === undefined) return undefined;
    statements.push(statement);
  }
  return { kind: "statements", statements };
}

function readIds(reader: Reader): TrustMessage | undefined {
  const [first, last, ...ids] = readAll(reader) ?? [];
  if (first === undefined || last === undefined || first > last) return undefined;
  let before = "";
  for (const id of ids) {
    if (id <= before || id < first || id > last) return undefined;
    before = id;
  }
  return { kind: "ids", first, last, ids };
}

function readAll(reader: Reader): readonly string[] | undefined {
  if (reader.remaining % statementIdBytes !== 0) return undefined;
  const ids: string[] = [];
  while (reader.remaining > 0) ids.push(toHex(reader.bytes(statementIdBytes) as Uint8Array));
  return ids;
}

function writeId(writer: Writer, id: string): void {
  const bytes = fromHex(id);
  assert(bytes?.length === statementIdBytes, "an id is 8 bytes in hexadecimal");
  writer.bytes(bytes);
}

/**
 * WireGuard's three handshake messages as bytes (paper, sections 5.4.2 to 5.4.7): initiation,
 * response and cookie reply. Only layout: nothing here is authentic yet. A message has exactly its
 * length and a type whose three reserved bytes are zero, or it is no message at all.
 */
import { Reader, Writer } from "../base/bytes.ts";
import { assert } from "../base/errors.ts";

export const initiationBytes = 148;
export const responseBytes = 92;
export const cookieReplyBytes = 64;

/** Both MACs end an initiation or a response: MAC1, then MAC2, 16 bytes each. */
export const macBytes = 16;

const typeInitiation = 1;
const typeResponse = 2;
const typeCookieReply = 3;

export interface Initiation {
  /** The initiator's session index. */
  readonly sender: number;
  /** 32 bytes. */
  readonly ephemeral: Uint8Array;
  /** 48 bytes: the initiator's static public key, sealed. */
  readonly sealedStatic: Uint8Array;
  /** 28 bytes: a TAI64N stamp, sealed. */
  readonly sealedTimestamp: Uint8Array;
}

export interface Response {
  /** The responder's session index. */
  readonly sender: number;
  /** The initiator's session index, from the initiation. */
  readonly receiver: number;
  /** 32 bytes. */
  readonly ephemeral: Uint8Array;
  /** 16 bytes: nothing, sealed. */
  readonly sealedNothing: Uint8Array;
}

export interface CookieReply {
  /** The session index that the refused message named as its sender. */
  readonly receiver: number;
  /** 24 bytes. */
  readonly nonce: Uint8Array;
  /** 32 bytes: a 16-byte cookie, sealed. */
  readonly sealedCookie: Uint8Array;
}

/** 148 bytes with both MACs zero; `MacStamp` fills them in. */
export function encodeInitiation(message: Initiation): Uint8Array {
  const bytes = new Writer(initiationBytes)
    .u32(typeInitiation)
    .u32(message.sender)
    .bytes(message.ephemeral)
    .bytes(message.sealedStatic)
    .bytes(message.sealedTimestamp)
    .zeros(2 * macBytes)
    .finish();
  assert(bytes.length === initiationBytes, "an initiation is 148 bytes");
  return bytes;
}

export function decodeInitiation(bytes: Uint8Array): Initiation | undefined {
  if (bytes.length !== initiationBytes) return undefined;
  const reader = new Reader(bytes);
  if (reader.u32() !== typeInitiation) return undefined;
  const sender = reader.u32();
  const ephemeral = reader.bytes(32);
  const sealedStatic = reader.bytes(48);
  const sealedTimestamp = reader.bytes(28);
  if (sender === undefined || ephemeral === undefined) return undefined;
  if (sealedStatic === undefined || sealedTimestamp === undefined) return undefined;
  return { sender, ephemeral, sealedStatic, sealedTimestamp };
}

/** 92 bytes with both MACs zero. */
export function encodeResponse(message: Response): Uint8Array {
  const bytes = new Writer(responseBytes)
    .u32(typeResponse)
    .u32(message.sender)
    .u32(message.receiver)
    .bytes(message.ephemeral)
    .bytes(message.sealedNothing)
    .zeros(2 * macBytes)
    .finish();
  assert(bytes.length === responseBytes, "a response is 92 bytes");
  return bytes;
}

export function decodeResponse(bytes: Uint8Array): Response | undefined {
  if (bytes.length !== responseBytes) return undefined;
  const reader = new Reader(bytes);
  if (reader.u32() !== typeResponse) return undefined;
  const sender = reader.u32();
  const receiver = reader.u32();
  const ephemeral = reader.bytes(32);
  const sealedNothing = reader.bytes(16);
  if (sender === undefined || receiver === undefined) return undefined;
  if (ephemeral === undefined || sealedNothing === undefined) return undefined;
  return { sender, receiver, ephemeral, sealedNothing };
}

export function encodeCookieReply(message: CookieReply): Uint8Array {
  const bytes = new Writer(cookieReplyBytes)
    .u32(typeCookieReply)
    .u32(message.receiver)
    .bytes(message.nonce)
    .bytes(message.sealedCookie)
    .finish();
  assert(bytes.length === cookieReplyBytes, "a cookie reply is 64 bytes");
  return bytes;
}

export function decodeCookieReply(bytes: Uint8Array): CookieReply | undefined {
  if (bytes.length !== cookieReplyBytes) return undefined;
  const reader = new Reader(bytes);
  if (reader.u32() !== typeCookieReply) return undefined;
  const receiver = reader.u32();
  const nonce = reader.bytes(24);
  const sealedCookie = reader.bytes(32);
  if (receiver === undefined || nonce === undefined || sealedCookie === undefined) {
    return undefined;
  }
  return { receiver, nonce, sealedCookie };
}

/**
 * STUN (RFC 8489) as a client needs it: the binding request, with the change request of RFC 5780, and
 * the answers to it. Owns their bytes and limits; numbers are big-endian. An answer is hostile input:
 * whatever deviates is undefined. Whether it may be believed is stun-client.ts's to say. Pure.
 */
import type { Endpoint } from "../base/endpoint.ts";
import { assert } from "../base/errors.ts";
import { formatAddress } from "../base/ip.ts";

export const stunIdBytes = 12;
export const stunPortDefault = 3478;
/** Servers that an operator may name. */
export const stunNamesMax = 4;
/** Longer ones the data plane drops (zig/constants.zig). */
export const stunAnswerBytesMax = 1_232;

const headerBytes = 20;
const magicCookie = 0x2112a442;
const types = { request: 0x0001, success: 0x0101, error: 0x0111 } as const;
const attributes = {
  mappedAddress: 0x0001,
  changeRequest: 0x0003,
  errorCode: 0x0009,
  xorMappedAddress: 0x0020,
  otherAddress: 0x802c,
} as const;
/** To be understood, and of no use here: RFC 8489 section 18.3, and what RFC 3489's servers send. */
const ignored = [0x0004, 0x0005, 0x0006, 0x0008, 0x000a, 0x000b, 0x0014, 0x0015, 0x001c, 0x001e];
const attributesMax = 32;
const changeFlags = { address: 4, port: 2 } as const;

/** Where the answer is wanted from: RFC 5780 section 7.2. */
export interface Change {
  readonly address: boolean;
  readonly port: boolean;
}

export interface StunAnswer {
  readonly id: Uint8Array;
  /** Where the server saw the request come from; undefined: it answered with an error. */
  readonly mapped: Endpoint | undefined;
  /** The server's other address and port, where it has them. */
  readonly other: Endpoint | undefined;
  /** Of an error: 300 to 699. */
  readonly error: number | undefined;
}

export function encodeBindingRequest(id: Uint8Array, change?: Change): Uint8Array {
  assert(id.length === stunIdBytes, "a transaction id is 12 bytes");
  const bodyBytes = change === undefined ? 0 : 8;
  const bytes = new Uint8Array(headerBytes + bodyBytes);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, types.request);
  view.setUint16(2, bodyBytes);
  view.setUint32(4, magicCookie);
  bytes.set(id, 8);
  if (change !== undefined) {
    view.setUint16(headerBytes, attributes.changeRequest);
    view.setUint16(headerBytes + 2, 4);
    const flags = (change.address ? changeFlags.address : 0) | (change.port ? changeFlags.port : 0);
    view.setUint32(headerBytes + 4, flags);
  }
  return bytes;
}

export function decodeBindingAnswer(bytes: Uint8Array): StunAnswer | undefined {
  if (bytes.length < headerBytes || bytes.length > stunAnswerBytesMax) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const type = view.getUint16(0);
  if (type !== types.success && type !== types.error) return undefined;
  if (view.getUint16(2) + headerBytes !== bytes.length || bytes.length % 4 !== 0) return undefined;
  if (view.getUint32(4) !== magicCookie) return undefined;
  const found = new Map<number, Uint8Array>();
  let at = headerBytes;
  for (let count = 0; at < bytes.length; count += 1) {
    if (count >= attributesMax || bytes.length - at < 4) return undefined;
    const name = view.getUint16(at);
    const length = view.getUint16(at + 2);
    const end = at + 4 + length;
    if (end > bytes.length) return undefined;
    // Of several the first counts: section 14.
    if (!found.has(name)) found.set(name, bytes.subarray(at + 4, end));
    at = end + ((4 - (length % 4)) % 4);
  }
  if (at !== bytes.length) return undefined;
  return read(type, bytes.slice(8, headerBytes), found);
}

function read(
  type: number,
  id: Uint8Array,
  found: ReadonlyMap<number, Uint8Array>,
): StunAnswer | undefined {
  const known: readonly number[] = [...Object.values(attributes), ...ignored];
  // An answer with something that must be understood and is not means something else: section 6.3.
  for (const name of found.keys()) if (name < 0x8000 && !known.includes(name)) return undefined;
  const { errorCode, mappedAddress, otherAddress, xorMappedAddress } = attributes;
  const other = readAddress(found.get(otherAddress));
  if (type === types.error) {
    const error = readError(found.get(errorCode));
    return error === undefined ? undefined : { id, mapped: undefined, other: undefined, error };
  }
  const hidden = found.get(xorMappedAddress);
  const mapped =
    hidden === undefined ? readAddress(found.get(mappedAddress)) : readAddress(unmask(hidden, id));
  return mapped === undefined ? undefined : { id, mapped, other, error: undefined };
}

/** 0, family, port, address: section 14.1. */
function readAddress(value: Uint8Array | undefined): Endpoint | undefined {
  if (value === undefined) return undefined;
  const [, family, high = 0, low = 0] = value;
  const length = family === 1 ? 4 : family === 2 ? 16 : 0;
  const port = high * 256 + low;
  if (length === 0 || value.length !== 4 + length || port === 0) return undefined;
  const bytes = value.slice(4);
  return { address: formatAddress({ family: length === 4 ? 4 : 6, bytes, scope: 0 }), port };
}

/** Port and address are covered by the cookie, and IPv6 by the id as well: section 14.2. */
function unmask(value: Uint8Array, id: Uint8Array): Uint8Array {
  const mask = new Uint8Array(4 + stunIdBytes);
  new DataView(mask.buffer).setUint32(0, magicCookie);
  mask.set(id, 4);
  return value.map((byte, at) =>
    at < 2 ? byte : byte ^ ((at < 4 ? mask[at - 2] : mask[at - 4]) ?? 0),
  );
}

function readError(value: Uint8Array | undefined): number | undefined {
  if (value === undefined || value.length < 4) return undefined;
  const hundreds = (value[2] as number) & 7;
  const rest = value[3] as number;
  return hundreds >= 3 && hundreds <= 6 && rest <= 99 ? hundreds * 100 + rest : undefined;
}

/**
 * The bytes of the introduction: the one datagram by which two nodes that trust each other's
 * identities learn each other's WireGuard keys. Sealed to the receiver's identity, signed by the
 * sender, padded to 1,200 bytes both ways. Pure: it neither admits nor answers; see introducer.ts.
 * The data plane's gate has checked length, type and MAC before anything here sees a datagram.
 */
import {
  concatBytes,
  equalBytes,
  equalConstantTime,
  isZero,
  Reader,
  Writer,
} from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import type { Crypto } from "../base/crypto.ts";
import { assert } from "../base/errors.ts";
import { domain, type Identity, identityBytes } from "../trust/identity.ts";
import {
  decodeRecord,
  type Record,
  recordWithCertificateBytesMax,
  type Verified,
  verifyRecord,
} from "../trust/record.ts";

/** "mvi1", little-endian. */
export const introductionType = 0x3169766d;
export const introductionBytes = 1200;
export const exchangeIdBytes = 16;
/** "mvc1": what a node under load answers instead; a cookie reply in all but type and key. */
export const introductionCookieType = 0x3163766d;
export const introductionCookieBytes = 64;
/** A request older than this, by the receiver's wall clock, is refused, as its record would be. */
export const introductionAgeMaxMs = 24 * 3_600_000;

const typeBytes = 4;
const macBytes = 16;
const macOffset = introductionBytes - 2 * macBytes;
const sealBytes = 48;
const textBytes = macOffset - typeBytes - sealBytes;
const headerBytes = 4 + exchangeIdBytes + 8;
const signatureBytes = 64;
/** Bytes for both records together. */
const recordsBytesMax = textBytes - headerBytes - 2 * 2 - signatureBytes;
const kinds = { request: 1, reply: 2 } as const;
const cookieBytes = 16;
const nonceBytes = 24;
const cookieDomain = new TextEncoder().encode("mvcookie");
const macDomain = new TextEncoder().encode("mvintro-");
const signatureDomain = domain("meshvpn introduction v1");

export type IntroductionKind = keyof typeof kinds;

export interface Introduction {
  readonly kind: IntroductionKind;
  /** Random in a request, repeated in its reply. */
  readonly exchangeId: Uint8Array;
  /** When it was sealed, Unix time by the sender. */
  readonly sentWallMs: number;
  /** The sender's; its identity made the signature. */
  readonly record: Verified<Record>;
  /** In a reply: the receiver's own record as the sender holds it, where that is not the one that
   * the request brought. Unverified, and empty as a rule. */
  readonly echo: Uint8Array;
}

export interface SealOptions {
  readonly crypto: Crypto;
  readonly networkId: Uint8Array;
  readonly sender: Identity;
  /** The sender's signed record. */
  readonly record: Uint8Array;
  /** The receiver's identity. */
  readonly receiver: Uint8Array;
  /** See `Introduction`; left out where there is no room for it. */
  readonly echo?: Uint8Array | undefined;
  readonly kind: IntroductionKind;
  readonly exchangeId: Uint8Array;
  readonly sentWallMs: number;
}

/** The key of the introduction's MAC: of public bytes, so it only tells apart who knows whom. */
export function introductionMacKey(crypto: Crypto, receiver: Uint8Array): Uint8Array {
  assert(receiver.length === identityBytes, "an identity is 32 bytes");
  return crypto.hash(concatBytes(macDomain, receiver));
}

/** 1,200 bytes; undefined where the receiver's key is no point that anything can be sealed to. */
export function sealIntroduction(options: SealOptions): Uint8Array | undefined {
  const { crypto, record, receiver } = options;
  assert(record.length <= recordWithCertificateBytesMax, "the record is too long");
  assert(options.exchangeId.length === exchangeIdBytes, "an exchange id is 16 bytes");
  const wanted = options.echo ?? new Uint8Array(0);
  const fits = record.length + wanted.length <= recordsBytesMax;
  const echo = fits ? wanted : new Uint8Array(0);
  const head = new Writer(textBytes)
    .u8(kinds[options.kind])
    .zeros(3)
    .bytes(options.exchangeId)
    .u64(BigInt(options.sentWallMs))
    .u16(record.length)
    .bytes(record)
    .u16(echo.length)
    .bytes(echo);
  const signed = signedBytes(options.networkId, receiver, head.finish());
  head.bytes(crypto.sign(options.sender.seed, signed));
  const text = head.zeros(textBytes - head.length).finish();
  const sealed = crypto.sealTo(receiver, text);
  if (sealed === undefined) return undefined;
  assert(sealed.length === textBytes + sealBytes, "a sealed box is 48 bytes longer");
  const open = new Writer(introductionBytes).u32(introductionType).bytes(sealed).finish();
  const mac = crypto.mac(introductionMacKey(crypto, receiver), open);
  return concatBytes(open, mac, new Uint8Array(macBytes));
}

/** Whether type, length and MAC are right for the receiver: the gate's check, for tests and fakes. */
export function introductionPassesGate(
  crypto: Crypto,
  receiver: Uint8Array,
  datagram: Uint8Array,
): boolean {
  if (datagram.length !== introductionBytes) return false;
  if (new Reader(datagram).u32() !== introductionType) return false;
  const mac = crypto.mac(introductionMacKey(crypto, receiver), datagram.subarray(0, macOffset));
  return equalConstantTime(mac, datagram.subarray(macOffset, macOffset + macBytes));
}

/** Whether the answer of a node under load is to this introduction: it repeats bytes 4 to 7. */
export function isCookieFor(introduction: Uint8Array, answer: Uint8Array): boolean {
  return (
    answer.length === introductionCookieBytes &&
    new Reader(answer).u32() === introductionCookieType &&
    equalBytes(answer.subarray(4, 8), introduction.subarray(4, 8))
  );
}

/** The cookie in the answer to an introduction; undefined unless whoever saw that one made it. */
export function openIntroductionCookie(
  crypto: Crypto,
  receiver: Uint8Array,
  introduction: Uint8Array,
  answer: Uint8Array,
): Uint8Array | undefined {
  if (!isCookieFor(introduction, answer)) return undefined;
  const key = crypto.hash(concatBytes(cookieDomain, receiver));
  const nonce = answer.subarray(8, 8 + nonceBytes);
  const mac = introduction.subarray(macOffset, macOffset + macBytes);
  const cookie = crypto.openCookie(key, nonce, mac, answer.subarray(8 + nonceBytes));
  return cookie?.length === cookieBytes ? cookie : undefined;
}

/** The introduction with the proof that its sender receives what goes to its address. */
export function withCookie(
  crypto: Crypto,
  introduction: Uint8Array,
  cookie: Uint8Array,
): Uint8Array {
  const covered = introduction.subarray(0, introductionBytes - macBytes);
  return concatBytes(covered, crypto.mac(cookie, covered));
}

export interface OpenOptions {
  readonly crypto: Crypto;
  readonly networkId: Uint8Array;
  readonly receiver: Identity;
  /** Whether the claimed sender is worth two signature checks; false ends it there. */
  readonly admits: (identity: Uint8Array) => boolean;
}

export type OpenResult =
  | { readonly kind: "opened"; readonly introduction: Introduction }
  | { readonly kind: "malformed" | "not_admitted" | "not_authentic" };

/** Opens, decodes and verifies; cheap refusals first. Never throws on bytes. */
export function openIntroduction(
  options: OpenOptions,
  datagram: Uint8Array,
  now: Instant,
): OpenResult {
  const { crypto, networkId, receiver } = options;
  if (datagram.length !== introductionBytes) return { kind: "malformed" };
  if (new Reader(datagram).u32() !== introductionType) return { kind: "malformed" };
  const text = crypto.openSealed(receiver.seed, datagram.subarray(typeBytes, macOffset));
  if (text === undefined) return { kind: "not_authentic" };
  const parts = decodeText(text);
  if (parts === undefined) return { kind: "malformed" };
  const unverified = decodeRecord(parts.record);
  if (unverified === undefined) return { kind: "malformed" };
  const { identity } = unverified.claimed;
  if (!options.admits(identity)) return { kind: "not_admitted" };
  const signed = signedBytes(networkId, receiver.publicKey, parts.signed);
  if (!crypto.verify(identity, signed, parts.signature)) return { kind: "not_authentic" };
  if (parts.sentWallMs + introductionAgeMaxMs <= now.wallMs) return { kind: "not_authentic" };
  const record = verifyRecord(crypto, networkId, unverified, now);
  if (record === undefined) return { kind: "not_authentic" };
  const { kind, exchangeId, sentWallMs, echo } = parts;
  return { kind: "opened", introduction: { kind, exchangeId, sentWallMs, record, echo } };
}

interface TextParts {
  readonly kind: IntroductionKind;
  readonly exchangeId: Uint8Array;
  readonly sentWallMs: number;
  readonly record: Uint8Array;
  readonly echo: Uint8Array;
  /** What the signature covers, before its prefix. */
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
}

function decodeText(text: Uint8Array): TextParts | undefined {
  const reader = new Reader(text);
  const kind = reader.u8();
  const reserved = reader.bytes(3);
  const exchangeId = reader.bytes(exchangeIdBytes);
  const sentWallMs = reader.u64();
  if (kind !== kinds.request && kind !== kinds.reply) return undefined;
  if (reserved === undefined || !isZero(reserved)) return undefined;
  if (exchangeId === undefined || sentWallMs === undefined) return undefined;
  if (sentWallMs > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  const record = readRecord(reader);
  const echo = readRecord(reader);
  if (record === undefined || echo === undefined) return undefined;
  // Only a reply has anything to echo.
  if (kind === kinds.request && echo.length > 0) return undefined;
  const signed = text.slice(0, text.length - reader.remaining);
  const signature = reader.bytes(signatureBytes);
  if (signature === undefined || !isZero(reader.rest())) return undefined;
  return {
    kind: kind === kinds.request ? "request" : "reply",
    exchangeId,
    sentWallMs: Number(sentWallMs),
    record,
    echo,
    signed,
    signature,
  };
}

/** A length and as many bytes; perhaps none. */
function readRecord(reader: Reader): Uint8Array | undefined {
  const length = reader.u16();
  return length === undefined || length > recordWithCertificateBytesMax
    ? undefined
    : reader.bytes(length);
}

/** Binds the introduction to its network and its receiver: it cannot be reflected or passed on. */
function signedBytes(networkId: Uint8Array, receiver: Uint8Array, head: Uint8Array): Uint8Array {
  return concatBytes(signatureDomain, networkId, receiver, head);
}

/**
 * The bytes of the introduction: the one datagram by which two nodes that trust each other's
 * identities learn each other's WireGuard keys. Sealed to the receiver's identity, signed by the
 * sender, padded to 1,200 bytes both ways; for a receiver whom a third node must ask, sealed once more
 * to that. Pure: it neither admits nor answers; see introducer.ts.
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
import { certificateBytesMax } from "../trust/certificate.ts";
import { domain, type Identity, identityBytes } from "../trust/identity.ts";
import { inviteSecretBytes } from "../trust/invite.ts";
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
const signatureBytes = 64;
const kinds = { request: 1, reply: 2 } as const;
/** Of a text that holds another one for somebody else. */
const forwardKind = 3;
const forwardHeaderBytes = 4 + exchangeIdBytes + identityBytes;
/** What is passed on: sealed to the issuer of an invitation. */
export const forwardedBytes = textBytes - forwardHeaderBytes;
/** What a text may hold behind the record. */
const extras = { none: 0, echo: 1, secret: 2, certificate: 3 } as const;
const extraHeaderBytes = 3;
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
  readonly extra: Extra;
}

/** Unverified. */
export type Extra =
  | { readonly kind: "none" }
  /** In a reply: the receiver's own record as the sender holds it, where that is not the one that
   * the request brought. */
  | { readonly kind: "echo"; readonly bytes: Uint8Array }
  /** In a request: the secret of an invitation, for its issuer. */
  | { readonly kind: "secret"; readonly bytes: Uint8Array }
  /** In a reply: what the secret was redeemed for. */
  | { readonly kind: "certificate"; readonly bytes: Uint8Array };

export interface SealOptions {
  readonly crypto: Crypto;
  readonly networkId: Uint8Array;
  readonly sender: Identity;
  /** The sender's signed record. */
  readonly record: Uint8Array;
  /** The receiver's identity. */
  readonly receiver: Uint8Array;
  /** Left out where there is no room for it; a certificate always has room. */
  readonly extra?: Extra | undefined;
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
  return sealText(options.crypto, options.receiver, encodeText(options, textBytes));
}

/**
 * The same request, to be passed on to the receiver by `gate`, at whose door it arrives. It has room for
 * any record.
 */
export function sealForwarded(options: SealOptions, gate: Uint8Array): Uint8Array | undefined {
  const { crypto, receiver, exchangeId } = options;
  const inner = crypto.sealTo(receiver, encodeText(options, forwardedBytes - sealBytes));
  if (inner === undefined) return undefined;
  const text = new Writer(textBytes)
    .u8(forwardKind)
    .zeros(3)
    .bytes(exchangeId)
    .bytes(receiver)
    .bytes(inner)
    .finish();
  return sealText(crypto, gate, text);
}

function encodeText(options: SealOptions, length: number): Uint8Array {
  const { crypto, record, receiver } = options;
  assert(record.length <= recordWithCertificateBytesMax, "the record is too long");
  assert(options.exchangeId.length === exchangeIdBytes, "an exchange id is 16 bytes");
  const head = new Writer(length)
    .u8(kinds[options.kind])
    .zeros(3)
    .bytes(options.exchangeId)
    .u64(BigInt(options.sentWallMs))
    .u16(record.length)
    .bytes(record);
  const extra = options.extra ?? { kind: "none" };
  const bytes = extra.kind === "none" ? new Uint8Array(0) : extra.bytes;
  const fits = head.length + extraHeaderBytes + bytes.length + signatureBytes <= length;
  assert(fits || extra.kind === "echo", "there is room for it");
  const kept = fits ? bytes : new Uint8Array(0);
  head
    .u8(fits ? extras[extra.kind] : extras.none)
    .u16(kept.length)
    .bytes(kept);
  const signed = signedBytes(options.networkId, receiver, head.finish());
  head.bytes(crypto.sign(options.sender.seed, signed));
  return head.zeros(length - head.length).finish();
}

function sealText(crypto: Crypto, receiver: Uint8Array, text: Uint8Array): Uint8Array | undefined {
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
  /** Whether what is claimed is worth its signature checks; false ends it there. */
  readonly admits: (record: Record, extra: Extra) => boolean;
}

export type OpenResult =
  | { readonly kind: "opened"; readonly introduction: Introduction }
  /** For another: the receiver's identity, and what is sealed to it. */
  | { readonly kind: "forward"; readonly receiver: Uint8Array; readonly sealed: Uint8Array }
  | {
      readonly kind: "malformed" | "not_admitted" | "not_authentic";
      /** Whom it is said to be from, where that was read; only `isOld` is proven. */
      readonly claimed?: Claimed;
    };

export interface Claimed {
  readonly record: Record;
  readonly extra: Extra;
  readonly sentWallMs: number;
  /** Signed as it should be, and too long ago by our clock. */
  readonly isOld: boolean;
}

/** Opens, decodes and verifies; cheap refusals first. Never throws on bytes. */
export function openIntroduction(
  options: OpenOptions,
  datagram: Uint8Array,
  now: Instant,
): OpenResult {
  const { crypto, receiver } = options;
  if (datagram.length !== introductionBytes) return { kind: "malformed" };
  if (new Reader(datagram).u32() !== introductionType) return { kind: "malformed" };
  const text = crypto.openSealed(receiver.seed, datagram.subarray(typeBytes, macOffset));
  if (text === undefined) return { kind: "not_authentic" };
  return text[0] === forwardKind ? decodeForward(text) : openText(options, text, now);
}

/** What another node passed on to us. */
export function openForwarded(options: OpenOptions, sealed: Uint8Array, now: Instant): OpenResult {
  if (sealed.length !== forwardedBytes) return { kind: "malformed" };
  const text = options.crypto.openSealed(options.receiver.seed, sealed);
  return text === undefined ? { kind: "not_authentic" } : openText(options, text, now);
}

function decodeForward(text: Uint8Array): OpenResult {
  if (!isZero(text.subarray(1, 4))) return { kind: "malformed" };
  const receiver = text.slice(4 + exchangeIdBytes, forwardHeaderBytes);
  if (isZero(receiver)) return { kind: "malformed" };
  return { kind: "forward", receiver, sealed: text.slice(forwardHeaderBytes) };
}

function openText(options: OpenOptions, text: Uint8Array, now: Instant): OpenResult {
  const { crypto, networkId, receiver } = options;
  const parts = decodeText(text);
  if (parts === undefined) return { kind: "malformed" };
  const unverified = decodeRecord(parts.record);
  if (unverified === undefined) return { kind: "malformed" };
  const { identity, expiresWallMs } = unverified.claimed;
  const { kind, exchangeId, sentWallMs, extra } = parts;
  const claimed = { record: unverified.claimed, extra, sentWallMs, isOld: false };
  if (!options.admits(unverified.claimed, extra)) return { kind: "not_admitted", claimed };
  const signed = signedBytes(networkId, receiver.publicKey, parts.signed);
  if (!crypto.verify(identity, signed, parts.signature)) return { kind: "not_authentic", claimed };
  if (Math.min(sentWallMs + introductionAgeMaxMs, expiresWallMs) <= now.wallMs) {
    return { kind: "not_authentic", claimed: { ...claimed, isOld: true } };
  }
  const record = verifyRecord(crypto, networkId, unverified, now);
  if (record === undefined) return { kind: "not_authentic", claimed };
  return { kind: "opened", introduction: { kind, exchangeId, sentWallMs, record, extra } };
}

interface TextParts {
  readonly kind: IntroductionKind;
  readonly exchangeId: Uint8Array;
  readonly sentWallMs: number;
  readonly record: Uint8Array;
  readonly extra: Extra;
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
  const extra = readExtra(reader, kind === kinds.request ? "request" : "reply");
  if (record === undefined || extra === undefined) return undefined;
  const signed = text.slice(0, text.length - reader.remaining);
  const signature = reader.bytes(signatureBytes);
  if (signature === undefined || !isZero(reader.rest())) return undefined;
  return {
    kind: kind === kinds.request ? "request" : "reply",
    exchangeId,
    sentWallMs: Number(sentWallMs),
    record,
    extra,
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

/** Each in its own direction only, and of its own length. */
function readExtra(reader: Reader, kind: IntroductionKind): Extra | undefined {
  const code = reader.u8();
  const length = reader.u16();
  if (length === undefined || length > recordWithCertificateBytesMax) return undefined;
  const bytes = reader.bytes(length);
  if (bytes === undefined) return undefined;
  if (code === extras.none) return length === 0 ? { kind: "none" } : undefined;
  if (kind === "request") {
    const isSecret = code === extras.secret && length === inviteSecretBytes;
    return isSecret ? { kind: "secret", bytes } : undefined;
  }
  if (code === extras.echo && length > 0) return { kind: "echo", bytes };
  const isCertificate = code === extras.certificate && length <= certificateBytesMax;
  return isCertificate && length > 0 ? { kind: "certificate", bytes } : undefined;
}

/** Binds the introduction to its network and its receiver: it cannot be reflected or passed on. */
function signedBytes(networkId: Uint8Array, receiver: Uint8Array, head: Uint8Array): Uint8Array {
  return concatBytes(signatureDomain, networkId, receiver, head);
}

/**
 * What an organisation says that goes about by itself: a revocation or a vouch. One form for the
 * disk, for messages between members and, as a line of text, for people: a kind, then the bytes.
 */
import { fromUrl, toUrl } from "../base/base64.ts";
import { concatBytes } from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import type { IdentityCrypto } from "../base/crypto.ts";
import {
  type Certificate,
  certificateBytesMax,
  decodeCertificate,
  verifyCertificate,
} from "./certificate.ts";
import { decodeRevocation, type Revocation, verifyRevocation } from "./revocation.ts";
import type { Unverified, Verified } from "./verified.ts";

export const statementBytesMax = 1 + certificateBytesMax;
export const statementIdBytes = 8;

const kinds = { revocation: 1, vouch: 2, certificate: 3 } as const;
const textPrefix = "mvtrust1_";
const textBytesMax = 512;

export type Statement =
  | { readonly kind: "revocation"; readonly revocation: Revocation }
  | { readonly kind: "vouch"; readonly vouch: Certificate };

export type VerifiedStatement =
  | { readonly kind: "revocation"; readonly revocation: Verified<Revocation> }
  | { readonly kind: "vouch"; readonly vouch: Verified<Certificate> };

export function encodeStatement(statement: Statement): Uint8Array {
  const bytes =
    statement.kind === "revocation" ? statement.revocation.bytes : statement.vouch.bytes;
  return concatBytes(Uint8Array.of(kinds[statement.kind]), bytes);
}

/** Well-formed, or undefined. Nothing is true of it but its form. */
export function decodeStatement(bytes: Uint8Array): Unverified<Statement> | undefined {
  const rest = bytes.subarray(1);
  if (bytes[0] === kinds.revocation) {
    const revocation = decodeRevocation(rest)?.claimed;
    return revocation && { claimed: { kind: "revocation", revocation } };
  }
  if (bytes[0] !== kinds.vouch) return undefined;
  const vouch = decodeCertificate(rest)?.claimed;
  return vouch?.isVouch === true ? { claimed: { kind: "vouch", vouch } } : undefined;
}

export function organisationOf(statement: Statement): Uint8Array {
  return statement.kind === "revocation"
    ? statement.revocation.organisation
    : statement.vouch.organisation;
}

/** undefined where its organisation did not sign it for this network, or it has expired. */
export function verifyStatement(
  crypto: IdentityCrypto,
  networkId: Uint8Array,
  { claimed }: Unverified<Statement>,
  now: Instant,
): VerifiedStatement | undefined {
  if (claimed.kind === "revocation") {
    const unverified = { claimed: claimed.revocation };
    const revocation = verifyRevocation(crypto, networkId, unverified);
    return revocation && { kind: "revocation", revocation };
  }
  const vouch = verifyCertificate(crypto, networkId, { claimed: claimed.vouch }, now);
  return vouch && { kind: "vouch", vouch };
}

/** What an organisation signed, as one word for people and files: statements, and certificates. */
export function formatSigned(
  signed: Statement | { kind: "certificate"; bytes: Uint8Array },
): string {
  const bytes =
    signed.kind === "certificate"
      ? concatBytes(Uint8Array.of(kinds.certificate), signed.bytes)
      : encodeStatement(signed);
  return textPrefix + toUrl(bytes);
}

export function looksLikeSigned(text: string): boolean {
  return text.startsWith(textPrefix);
}

/** Well-formed, or undefined. */
export function parseSigned(
  text: string,
): Unverified<Statement | { kind: "certificate"; certificate: Certificate }> | undefined {
  if (!looksLikeSigned(text) || text.length > textBytesMax) return undefined;
  const bytes = fromUrl(text.slice(textPrefix.length));
  if (bytes?.[0] !== kinds.certificate) return bytes && decodeStatement(bytes);
  const certificate = decodeCertificate(bytes.subarray(1))?.claimed;
  if (certificate === undefined || certificate.isVouch) return undefined;
  return { claimed: { kind: "certificate", certificate } };
}

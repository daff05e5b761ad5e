/**
 * The token of an invitation: one line that brings a node into a network. It names the network, the
 * organisation, the issuer and where they may be found, and holds a secret that the issuer alone
 * redeems. Signed by the issuer, so a token that was changed on its way leads nowhere. Owns the
 * bytes and the text; who may still redeem what, invite-book.ts knows.
 */
import { fromUrl, toUrl } from "../base/base64.ts";
import { concatBytes, equalBytes, isZero, Reader, Writer } from "../base/bytes.ts";
import type { IdentityCrypto } from "../base/crypto.ts";
import type { Endpoint } from "../base/endpoint.ts";
import { assert } from "../base/errors.ts";
import { familyOf, formatAddress, type IpPrefix, maskHostBits, parseAddress } from "../base/ip.ts";
import { domain, type Identity, identityBytes, networkIdBytes } from "./identity.ts";
import { isAdvertisable } from "./record.ts";
import { readName, toInteger, writeName } from "./text.ts";
import { signatureBytes, type Unverified, type Verified } from "./verified.ts";

/** 128 bits. */
export const inviteSecretBytes = 16;
export const inviteSeedsMax = 8;

const textPrefix = "mvjoin1_";
const textBytesMax = 1_024;
const signatureDomain = domain("meshvpn invite v1");

/** Who may be asked where: the issuer, or a member that passes the question on to it. */
export interface InviteSeed {
  readonly identity: Uint8Array;
  readonly endpoint: Endpoint;
}

export interface Invite {
  readonly networkId: Uint8Array;
  /** What the network is called; may be empty. */
  readonly name: string;
  /** Whose certificates its members carry. */
  readonly organisation: Uint8Array;
  readonly issuer: Uint8Array;
  readonly secret: Uint8Array;
  readonly expiresWallMs: number;
  /** Where members' IPv4 addresses come from. */
  readonly ipv4Prefix: IpPrefix;
  readonly seeds: readonly InviteSeed[];
}

/** The token's line; `invite.issuer` is the identity that signs. */
export function formatInvite(crypto: IdentityCrypto, issuer: Identity, invite: Invite): string {
  assert(equalBytes(issuer.publicKey, invite.issuer), "its issuer signs it");
  const body = encodeBody(invite);
  const signature = crypto.sign(issuer.seed, signedBytes(invite.networkId, body));
  return textPrefix + toUrl(concatBytes(body, signature));
}

export function looksLikeInvite(text: string): boolean {
  return text.startsWith(textPrefix);
}

/** Well-formed, or undefined. */
export function parseInvite(text: string): Unverified<Invite & { bytes: Uint8Array }> | undefined {
  if (!looksLikeInvite(text) || text.length > textBytesMax) return undefined;
  const bytes = fromUrl(text.slice(textPrefix.length));
  if (bytes === undefined || bytes.length < signatureBytes) return undefined;
  const reader = new Reader(bytes.subarray(0, bytes.length - signatureBytes));
  const networkId = reader.bytes(networkIdBytes);
  const organisation = reader.bytes(identityBytes);
  const issuer = reader.bytes(identityBytes);
  const secret = reader.bytes(inviteSecretBytes);
  const expiresWallMs = toInteger(reader.u64());
  const ipv4Prefix = readPrefix(reader);
  const name = readName(reader);
  if (networkId === undefined || organisation === undefined || isZero(organisation)) {
    return undefined;
  }
  if (issuer === undefined || isZero(issuer) || secret === undefined) return undefined;
  if (expiresWallMs === undefined || ipv4Prefix === undefined || name === undefined) {
    return undefined;
  }
  const seeds = readSeeds(reader, issuer);
  if (seeds === undefined || reader.remaining !== 0) return undefined;
  const about = { networkId, name, organisation, issuer, secret };
  return { claimed: { ...about, expiresWallMs, ipv4Prefix, seeds, bytes } };
}

/** undefined where the issuer that it names did not make it: it was changed, or cut. */
export function verifyInvite(
  crypto: IdentityCrypto,
  { claimed }: Unverified<Invite & { bytes: Uint8Array }>,
): Verified<Invite> | undefined {
  const split = claimed.bytes.length - signatureBytes;
  const message = signedBytes(claimed.networkId, claimed.bytes.subarray(0, split));
  const holds = crypto.verify(claimed.issuer, message, claimed.bytes.subarray(split));
  return holds ? (claimed as unknown as Verified<Invite>) : undefined;
}

function signedBytes(networkId: Uint8Array, body: Uint8Array): Uint8Array {
  return concatBytes(signatureDomain, networkId, body);
}

function encodeBody(invite: Invite): Uint8Array {
  assert(invite.secret.length === inviteSecretBytes, "a secret is 16 bytes");
  assert(invite.seeds.length <= inviteSeedsMax, "too many seeds");
  const writer = new Writer(256)
    .bytes(invite.networkId)
    .bytes(invite.organisation)
    .bytes(invite.issuer)
    .bytes(invite.secret)
    .u64(BigInt(invite.expiresWallMs))
    .u8(invite.ipv4Prefix.bits)
    .bytes(addressBytes(invite.ipv4Prefix.address));
  writeName(writer, invite.name);
  writer.u8(invite.seeds.length);
  for (const { identity, endpoint } of invite.seeds) {
    assert(isAdvertisable(endpoint), "an endpoint that others must not be told of");
    const isIssuer = equalBytes(identity, invite.issuer);
    writer.u8(isIssuer ? 0 : 1).bytes(isIssuer ? new Uint8Array(0) : identity);
    writer.u8(familyOf(endpoint.address)).bytes(addressBytes(endpoint.address)).u16(endpoint.port);
  }
  return writer.finish();
}

function readSeeds(reader: Reader, issuer: Uint8Array): readonly InviteSeed[] | undefined {
  const count = reader.u8();
  if (count === undefined || count > inviteSeedsMax) return undefined;
  const seeds: InviteSeed[] = [];
  for (let i = 0; i < count; i += 1) {
    const who = reader.u8();
    if (who !== 0 && who !== 1) return undefined;
    const identity = who === 0 ? issuer : reader.bytes(identityBytes);
    const family = reader.u8();
    if (identity === undefined || (family !== 4 && family !== 6)) return undefined;
    const bytes = reader.bytes(family === 4 ? 4 : 16);
    const port = reader.u16();
    if (bytes === undefined || port === undefined) return undefined;
    const endpoint = { address: formatAddress({ family, bytes, scope: 0 }), port };
    if (!isAdvertisable(endpoint)) return undefined;
    seeds.push({ identity, endpoint });
  }
  return seeds;
}

function readPrefix(reader: Reader): IpPrefix | undefined {
  const bits = reader.u8();
  const bytes = reader.bytes(4);
  if (bits === undefined || bits < 8 || bits > 30 || bytes === undefined) return undefined;
  const address = { family: 4, bytes, scope: 0 } as const;
  const text = formatAddress(address);
  return formatAddress(maskHostBits(address, bits)) === text ? { address: text, bits } : undefined;
}

function addressBytes(text: string): Uint8Array {
  const address = parseAddress(text);
  assert(address !== undefined, "not an address");
  return address.bytes;
}

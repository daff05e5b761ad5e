/**
 * The issuer's book of its invitations: which secret may still be redeemed, how often and until
 * when, and who had what for it. Only hashes of secrets are kept. A redemption is on disk before
 * anybody hears of it, or it did not happen; the same secret from the same identity gets the same
 * certificate again.
 */
import { equalBytes, toHex } from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import type { IdentityCrypto } from "../base/crypto.ts";
import { MeshError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import { type Certificate, decodeCertificate, signCertificate } from "./certificate.ts";
import type { Identity } from "./identity.ts";
import { inviteSecretBytes } from "./invite.ts";
import type { Verified } from "./verified.ts";

export const invitesMax = 256;
export const inviteUsesMax = 1_000;
/** So long a redemption can be repeated after the invitation has expired. */
export const inviteKeptMs = 7 * 24 * 3_600_000;

export interface Redeemed {
  readonly identity: Uint8Array;
  readonly certificate: Uint8Array;
}

export interface InviteEntry {
  /** BLAKE2b-128 of the secret. */
  readonly hash: Uint8Array;
  readonly expiresWallMs: number;
  readonly uses: number;
  /** What the certificates say: a name (empty: the node's own), groups, and how long they last. */
  readonly name: string;
  readonly groups: readonly string[];
  readonly certificateMs: number;
  readonly redeemed: readonly Redeemed[];
}

export type InviteTerms = Pick<InviteEntry, "expiresWallMs" | "uses" | "name" | "groups"> & {
  readonly certificateMs: number;
};

export interface InviteBookOptions {
  readonly crypto: IdentityCrypto;
  readonly random: Random;
  readonly networkId: Uint8Array;
  /** Its seed signs the certificates. */
  readonly organisation: Identity;
  readonly entries: Iterable<InviteEntry>;
  /** On disk when it returns true; false: it could not be kept. */
  readonly save: (entries: readonly InviteEntry[]) => boolean;
}

export class InviteBook {
  readonly #options: InviteBookOptions;
  /** By the text of the hash. */
  #entries: Map<string, InviteEntry>;

  constructor(options: InviteBookOptions) {
    this.#options = options;
    this.#entries = new Map(Array.from(options.entries, (entry) => [toHex(entry.hash), entry]));
  }

  get organisation(): Uint8Array {
    return this.#options.organisation.publicKey;
  }

  entries(): readonly InviteEntry[] {
    return [...this.#entries.values()];
  }

  /** The secret of a new invitation. MeshError where there are too many, or the disk refuses. */
  issue(now: Instant, terms: InviteTerms): Uint8Array {
    const { crypto, random } = this.#options;
    const secret = random.bytes(inviteSecretBytes);
    const hash = crypto.digest(16, secret);
    const kept = this.entries().filter((entry) => entry.expiresWallMs + inviteKeptMs > now.wallMs);
    if (kept.length >= invitesMax) {
      throw new MeshError(
        "invites_full",
        "cannot invite another node",
        `${invitesMax} invitations are kept`,
        "wait until some have expired, or give one token more --uses",
      );
    }
    if (!this.#replace([...kept, { ...terms, hash, redeemed: [] }])) {
      throw new MeshError(
        "state_unwritable",
        "cannot invite a node",
        "the invitation could not be kept on disk",
        "make room in the state directory",
      );
    }
    return secret;
  }

  /** Whether the secret is one of ours: what the rest is worth checking for. */
  knows(secret: Uint8Array): boolean {
    return this.#find(secret) !== undefined;
  }

  /** The certificate for the identity; undefined where the invitation is none, spent or expired. */
  redeem(
    now: Instant,
    secret: Uint8Array,
    identity: Uint8Array,
  ): Verified<Certificate> | undefined {
    const entry = this.#find(secret);
    if (entry === undefined) return undefined;
    const before = entry.redeemed.find((each) => equalBytes(each.identity, identity));
    if (before !== undefined) return ours(before.certificate);
    if (entry.expiresWallMs <= now.wallMs || entry.redeemed.length >= entry.uses) return undefined;
    const { crypto, networkId, organisation } = this.#options;
    const issuedWallMs = Math.floor(now.wallMs);
    const certificate = signCertificate(crypto, networkId, organisation, {
      identity,
      issuedWallMs,
      expiresWallMs: issuedWallMs + entry.certificateMs,
      isVouch: false,
      name: entry.name,
      groups: entry.groups,
    });
    const redeemed = [...entry.redeemed, { identity, certificate }];
    const next = this.entries().map((each) => (each === entry ? { ...entry, redeemed } : each));
    return this.#replace(next) ? ours(certificate) : undefined;
  }

  #find(secret: Uint8Array): InviteEntry | undefined {
    if (secret.length !== inviteSecretBytes) return undefined;
    return this.#entries.get(toHex(this.#options.crypto.digest(16, secret)));
  }

  #replace(entries: readonly InviteEntry[]): boolean {
    if (!this.#options.save(entries)) return false;
    this.#entries = new Map(entries.map((entry) => [toHex(entry.hash), entry]));
    return true;
  }
}

/** Signed here, a moment or a week ago. */
function ours(bytes: Uint8Array): Verified<Certificate> | undefined {
  return decodeCertificate(bytes)?.claimed as Verified<Certificate> | undefined;
}

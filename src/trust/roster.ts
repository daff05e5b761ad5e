/**
 * Whom this node admits: identities that its operator trusts by key, and those that an organisation
 * which he trusts has certified or vouched for; less whatever was revoked. Closed by default: an
 * empty roster admits nobody. Trust is a local decision and not transitive. Revocation goes by key
 * over the whole chain, an organisation's own key included, and beats every way of being admitted.
 */
import { earliest, type Instant } from "../base/clock.ts";
import type { IdentityCrypto } from "../base/crypto.ts";
import { assert, MeshError } from "../base/errors.ts";
import { type Certificate, verifyCertificate } from "./certificate.ts";
import { CertificateTable } from "./certificate-table.ts";
import { formatIdentity, identityBytes, parseIdentity } from "./identity.ts";
import type { Record } from "./record.ts";
import type { Revocation } from "./revocation.ts";
import type { Unverified, Verified } from "./verified.ts";

/** As many as there may be members; and at most so many certificates and revocations. */
export const trustedMax = 16_384;
export const organisationsMax = 64;

/** Of those that had one, so many are remembered once it has expired. */
const expiredMax = 1_024;

/** Why an identity is not admitted. */
export type Inadmissible =
  | "not_trusted"
  | "revoked"
  | "organisation_not_trusted"
  | "certificate_expired"
  /** Its organisation did not sign it, or not for this network. */
  | "certificate_invalid";

export interface RosterOptions {
  readonly crypto: IdentityCrypto;
  readonly networkId: Uint8Array;
  /** Never admitted: a node is no peer of its own. */
  readonly self: Uint8Array;
}

/** What the operator decided, as the disk has it. */
export interface LocalTrust {
  readonly trusted: Iterable<Uint8Array>;
  readonly organisations: Iterable<Uint8Array>;
  /** Keys never to be accepted here, whoever says otherwise. */
  readonly revoked: Iterable<Uint8Array>;
}

export class Roster {
  readonly #options: RosterOptions;
  readonly #self: string;
  readonly #trusted = new Map<string, Uint8Array>();
  readonly #organisations = new Map<string, Uint8Array>();
  /** Of one organisation each that is or was trusted. */
  readonly #certificates = new CertificateTable();
  readonly #vouches = new CertificateTable();
  /** By identity: when its certificate or vouch expired, Unix time. For people only. */
  readonly #expired = new Map<string, number>();
  /** By revoked key: the organisations that said so, and "" for the operator himself. */
  readonly #revoked = new Map<string, Set<string>>();

  constructor(options: RosterOptions) {
    this.#options = options;
    this.#self = formatIdentity(options.self);
  }

  /** False where it was trusted already, or is this node. MeshError when the roster is full. */
  trust(identity: Uint8Array): boolean {
    return this.#add(this.#trusted, trustedMax, identity);
  }

  /** False where it was not trusted. It may still be admitted by a certificate. */
  distrust(identity: Uint8Array): boolean {
    return this.#trusted.delete(formatIdentity(identity));
  }

  trustOrganisation(key: Uint8Array): boolean {
    return this.#add(this.#organisations, organisationsMax, key);
  }

  distrustOrganisation(key: Uint8Array): boolean {
    return this.#organisations.delete(formatIdentity(key));
  }

  /** The operator's own word, which no organisation can take back. */
  revokeHere(key: Uint8Array): boolean {
    return this.#revoke(formatIdentity(key), "");
  }

  /** Takes the disk's word for all that the operator decides. What organisations revoked stays. */
  setLocal(local: LocalTrust): void {
    replace(this.#trusted, local.trusted, (identity) => this.trust(identity));
    replace(this.#organisations, local.organisations, (key) => this.trustOrganisation(key));
    for (const [name, by] of this.#revoked) {
      by.delete("");
      if (by.size === 0) this.#revoked.delete(name);
    }
    for (const key of local.revoked) this.revokeHere(key);
  }

  /** False where nothing new was said, or the organisation is not trusted here. */
  takeRevocation(revocation: Verified<Revocation>): boolean {
    const organisation = formatIdentity(revocation.organisation);
    if (!this.#organisations.has(organisation)) return false;
    return this.#revoke(formatIdentity(revocation.key), organisation);
  }

  takeVouch(vouch: Verified<Certificate>): boolean {
    assert(vouch.isVouch, "a certificate travels with its record");
    return this.#take(this.#vouches, vouch);
  }

  /** A certificate that this node made itself, or had made for itself. */
  takeCertificate(certificate: Verified<Certificate>): boolean {
    return this.#take(this.#certificates, certificate);
  }

  /** Whether its signatures are worth checking: an admitted subject, or one of a trusted organisation. */
  mayAdmit(record: Record): boolean {
    const name = formatIdentity(record.identity);
    if (name === this.#self || this.#revoked.has(name)) return false;
    if (this.admits(record.identity)) return true;
    const certificate = record.certificate?.claimed;
    return certificate !== undefined && this.acceptsOrganisation(certificate.organisation);
  }

  /** Whether the subject is admitted, by what its record carries too, which is kept. */
  judge(now: Instant, record: Record): boolean {
    if (record.certificate !== undefined) this.#learn(now, record.certificate);
    return this.admits(record.identity);
  }

  admits(identity: Uint8Array): boolean {
    const name = formatIdentity(identity);
    if (name === this.#self || this.#revoked.has(name)) return false;
    return this.#trusted.has(name) || this.#certifier(identity) !== undefined;
  }

  admitsText(name: string): boolean {
    const identity = parseIdentity(name);
    return identity !== undefined && this.admits(identity);
  }

  /** Whether an identity of which nothing is known may turn out to be admitted. */
  get mayAdmitUnknown(): boolean {
    return this.#organisations.size > 0;
  }

  /** Admitted, or it may turn out to be by a certificate that it carries. */
  mayAsk(identity: Uint8Array): boolean {
    return this.admits(identity) || (this.mayAdmitUnknown && !this.isRevoked(identity));
  }

  acceptsOrganisation(key: Uint8Array): boolean {
    return this.#accepts(formatIdentity(key));
  }

  #accepts(organisation: string): boolean {
    return this.#organisations.has(organisation) && !this.#revoked.has(organisation);
  }

  isRevoked(key: Uint8Array): boolean {
    return this.isRevokedText(formatIdentity(key));
  }

  isRevokedText(name: string): boolean {
    return this.#revoked.has(name);
  }

  /**
   * Why whoever is not admitted is not, by what is known here or by the record that he shows; for
   * people. `aboutWallMs`: when his certificate expired.
   */
  whyNot(
    name: string,
    wallMs: number,
    record?: Record,
  ): { readonly why: Inadmissible; readonly aboutWallMs?: number } {
    if (this.#revoked.has(name)) return { why: "revoked" };
    const shown = record?.certificate?.claimed;
    const expiredWallMs = shown?.expiresWallMs ?? this.#expired.get(name);
    if (shown !== undefined) {
      if (this.isRevoked(shown.organisation)) return { why: "revoked" };
      if (!this.acceptsOrganisation(shown.organisation)) return { why: "organisation_not_trusted" };
    }
    if (expiredWallMs !== undefined && expiredWallMs <= wallMs) {
      return { why: "certificate_expired", aboutWallMs: expiredWallMs };
    }
    return { why: shown === undefined ? "not_trusted" : "certificate_invalid" };
  }

  /** What an accepted organisation says of the identity: by certificate, else by vouch. */
  certificateOf(name: string): Verified<Certificate> | undefined {
    const identity = parseIdentity(name);
    return identity && this.#certifier(identity)?.get(identity);
  }

  /** Where that stands. */
  #certifier(identity: Uint8Array): CertificateTable | undefined {
    for (const held of [this.#certificates, this.#vouches]) {
      const organisation = held.organisationOf(identity);
      if (organisation !== undefined && this.#accepts(organisation)) return held;
    }
    return undefined;
  }

  /** Lets go of what has expired; true where anything had. */
  expire(wallMs: number): boolean {
    let any = false;
    for (const held of [this.#certificates, this.#vouches]) {
      held.expire(wallMs, (identity, expiresWallMs) => {
        any = true;
        const [oldest] = this.#expired.keys();
        if (this.#expired.size >= expiredMax && oldest !== undefined) this.#expired.delete(oldest);
        this.#expired.set(formatIdentity(identity), expiresWallMs);
      });
    }
    return any;
  }

  /** Unix time at which the first of them expires. */
  get nextExpiryWallMs(): number | undefined {
    return earliest([this.#certificates.nextExpiryWallMs, this.#vouches.nextExpiryWallMs]);
  }

  /** Trusted by key. */
  get size(): number {
    return this.#trusted.size;
  }

  get organisationCount(): number {
    return this.#organisations.size;
  }

  get revokedCount(): number {
    return this.#revoked.size;
  }

  /** By key, in the order in which they were trusted, less the revoked. */
  *identities(): Iterable<Uint8Array> {
    for (const [name, identity] of this.#trusted) if (!this.#revoked.has(name)) yield identity;
  }

  organisations(): Iterable<Uint8Array> {
    return this.#organisations.values();
  }

  #learn(now: Instant, unverified: Unverified<Certificate>): void {
    const { claimed } = unverified;
    // Signed once, checked once: records come anew every few hours, certificates do not.
    if (this.#certificates.holds(claimed.identity, claimed.bytes)) return;
    if (!this.acceptsOrganisation(claimed.organisation)) return;
    const { crypto, networkId } = this.#options;
    const certificate = verifyCertificate(crypto, networkId, unverified, now);
    if (certificate !== undefined) this.takeCertificate(certificate);
  }

  /** The later one counts, unless its organisation is none of ours. */
  #take(held: CertificateTable, certificate: Verified<Certificate>): boolean {
    if (!this.acceptsOrganisation(certificate.organisation)) return false;
    const { identity, issuedWallMs } = certificate;
    const before = held.organisationOf(identity);
    if (before === undefined && held.size >= trustedMax) return false;
    const isBeforeAccepted = before !== undefined && this.#accepts(before);
    if (isBeforeAccepted && (held.issuedOf(identity) as number) >= issuedWallMs) return false;
    held.put(certificate);
    this.#expired.delete(formatIdentity(identity));
    return true;
  }

  #revoke(name: string, by: string): boolean {
    const known = this.#revoked.get(name);
    if (known === undefined && this.#revoked.size >= trustedMax) return false;
    if (known?.has(by) === true) return false;
    this.#revoked.set(name, (known ?? new Set()).add(by));
    return true;
  }

  #add(map: Map<string, Uint8Array>, max: number, key: Uint8Array): boolean {
    assert(key.length === identityBytes, "a key is 32 bytes");
    const name = formatIdentity(key);
    if (name === this.#self || map.has(name)) return false;
    if (map.size >= max) {
      throw new MeshError(
        "roster_full",
        "cannot trust another key",
        `${max} are trusted already`,
        "remove one that is no longer used",
      );
    }
    map.set(name, key.slice());
    return true;
  }
}

function replace(
  map: Map<string, Uint8Array>,
  keys: Iterable<Uint8Array>,
  add: (key: Uint8Array) => boolean,
): void {
  const wanted = new Map(Array.from(keys, (key) => [formatIdentity(key), key]));
  for (const name of [...map.keys()]) if (!wanted.has(name)) map.delete(name);
  for (const key of wanted.values()) add(key);
}

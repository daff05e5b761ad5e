/**
 * This node's own record: when it is signed anew, and under which sequence. Only the subject advances
 * a sequence, and it never goes back: not after a restart, not with a clock set back, not when the
 * disk forgot. What the record says of addresses is trust/address.ts's.
 */
import { equalBytes } from "../base/bytes.ts";
import type { Candidate, NatKind } from "../base/candidate.ts";
import type { Instant } from "../base/clock.ts";
import type { IdentityCrypto } from "../base/crypto.ts";
import { sameEndpoint } from "../base/endpoint.ts";
import type { IpPrefix } from "../base/ip.ts";
import type { Identity } from "../trust/identity.ts";
import {
  type Ipv4Claim,
  isAdvertisable,
  type Record,
  type RecordFields,
  recordCandidatesMax,
  recordLifetimeMs,
  recordRefreshMs,
  sequenceMax,
  signRecord,
  type Verified,
} from "../trust/record.ts";

/** A node that meets its own newer record jumps above it, at most this often. */
export const jumpIntervalMs = 10_000;
/** A jump is by up to so much: an earlier life may have signed the next sequences too, in other words. */
export const jumpMax = 1_009;

export interface OwnRecordOptions {
  readonly crypto: IdentityCrypto;
  readonly networkId: Uint8Array;
  readonly identity: Identity;
  readonly name: string;
  /** The last that may have left this node. */
  readonly sequence: number;
}

export interface OwnFields {
  readonly wireguardKey: Uint8Array;
  readonly candidates: readonly Candidate[];
  readonly ipv4: Ipv4Claim | undefined;
  /** Unless said: unknown, no, none. */
  readonly natKind?: NatKind;
  readonly relay?: boolean;
  readonly prefixes?: readonly IpPrefix[];
  readonly certificate?: Uint8Array | undefined;
}

export class OwnRecord {
  readonly #options: OwnRecordOptions;
  #sequence: number;
  #bytes: Uint8Array = new Uint8Array(0);
  #dueMs = Number.POSITIVE_INFINITY;
  #jumpedMs = Number.NEGATIVE_INFINITY;

  constructor(options: OwnRecordOptions) {
    this.#options = options;
    this.#sequence = options.sequence;
  }

  get sequence(): number {
    return this.#sequence;
  }

  /** As it was last signed; empty before that. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** When it is to be signed again, monotonic ms. */
  get dueMs(): number {
    return this.#dueMs;
  }

  /** Never before it was signed once. */
  nextTimeout(): number | undefined {
    return this.#dueMs === Number.POSITIVE_INFINITY ? undefined : this.#dueMs;
  }

  sign(now: Instant, fields: OwnFields): void {
    const { crypto, networkId, identity, name } = this.#options;
    this.#sequence = Math.max(this.#sequence + 1, Math.floor(now.wallMs));
    const record: RecordFields = {
      sequence: this.#sequence,
      expiresWallMs: Math.floor(now.wallMs) + recordLifetimeMs,
      wireguardKey: fields.wireguardKey,
      name,
      candidates: fields.candidates,
      natKind: fields.natKind ?? "unknown",
      relay: fields.relay ?? false,
      ...(fields.ipv4 === undefined ? {} : { ipv4: fields.ipv4 }),
      prefixes: fields.prefixes ?? [],
    };
    this.#bytes = signRecord(crypto, networkId, identity, record, fields.certificate);
    this.#dueMs = now.ms + recordRefreshMs;
  }

  /** Not what we said ourselves, nor older. */
  isNews(claimed: Record): boolean {
    if (claimed.sequence !== this.#sequence) return claimed.sequence > this.#sequence;
    return !equalBytes(claimed.bytes, this.#bytes);
  }

  /**
   * A record of ours came back. True where it is newer than what we know: our disk went back in
   * time, or another runs under our identity. The next one is signed above it, soon, but not at once
   * each time, or two nodes of one identity would drive each other on without end.
   */
  meet(now: Instant, record: Verified<Record>): boolean {
    if (!this.isNews(record)) return false;
    this.#sequence = Math.min(
      record.sequence + 1 + (Math.floor(now.ms) % jumpMax),
      sequenceMax - 1,
    );
    // One jump above it is on its way already, however often it is met until then.
    if (this.#jumpedMs > now.ms) return false;
    const dueMs = Math.max(now.ms, this.#jumpedMs + jumpIntervalMs);
    // The next one is on its way, and will be above this one too.
    if (this.#dueMs <= dueMs) return false;
    this.#jumpedMs = dueMs;
    this.#dueMs = dueMs;
    return true;
  }
}

/** What others may be told of it, as many as a record holds. */
export function advertised(candidates: readonly Candidate[]): readonly Candidate[] {
  return candidates.filter(isAdvertisable).slice(0, recordCandidatesMax);
}

export function sameCandidates(one: readonly Candidate[], other: readonly Candidate[]): boolean {
  return (
    one.length === other.length &&
    one.every((it, i) => it.kind === other[i]?.kind && sameEndpoint(it, other[i]))
  );
}

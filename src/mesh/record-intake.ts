/**
 * From bytes to verified records, each verified once: what the store holds was verified when it
 * came, and only its time may have passed since. Knows nothing of admission.
 */
import { equalBytes } from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import type { IdentityCrypto } from "../base/crypto.ts";
import type { Endpoint } from "../base/endpoint.ts";
import { assert } from "../base/errors.ts";
import { shortId } from "../swim/message.ts";
import type { MemberTable } from "../swim/state.ts";
import { SignedStore, type StoredId, wordAt } from "../swim/store.ts";
import type { Swim } from "../swim/swim.ts";
import {
  decodeRecord,
  type Record,
  type Verified,
  verifyRecord,
  verifyStoredRecord,
} from "../trust/record.ts";
import { hintEndpoints } from "./member.ts";
import type { OwnRecord } from "./own-record.ts";

/** What the store holds was verified when it came. */
function readVerified(bytes: Uint8Array): Verified<Record> {
  const decoded = decodeRecord(bytes);
  assert(decoded !== undefined, "what was verified was well formed");
  return decoded.claimed as Verified<Record>;
}

/** How a record came to this node. */
export interface RecordSource {
  /** From our own disk. */
  readonly stored?: boolean;
  /** The SWIM slot of the member that sent it. */
  readonly from?: number;
  /** It came by an introduction; with an endpoint, in answer to our own. */
  readonly introduced?: { readonly endpoint?: Endpoint };
}

/** Where somebody may be. */
export interface Hint {
  readonly identity: Uint8Array;
  readonly endpoint: Endpoint;
}

export type Refused = "malformed" | "not_authentic" | "old";

/** Whether the claim would be news here, if its signature held. */
export function isNews(claimed: Record, own: OwnRecord, { table, hearsay }: Swim): boolean {
  if (equalBytes(claimed.identity, table.self)) return own.isNews(claimed);
  const slot = table.find(claimed.identity);
  if (slot !== undefined) return claimed.sequence > table.sequence(slot);
  return hearsay.size === 0 || claimed.sequence > hearsay.sequence(shortId(claimed.identity));
}

export class RecordIntake {
  readonly store: SignedStore<Verified<Record>>;
  readonly #crypto: IdentityCrypto;
  readonly #networkId: Uint8Array;

  constructor(
    crypto: IdentityCrypto,
    networkId: Uint8Array,
    store: SignedStore<Verified<Record>> = new SignedStore(readVerified),
  ) {
    this.#crypto = crypto;
    this.#networkId = networkId;
    this.store = store;
  }

  /** `isNews` is asked before the signature, which costs the most. */
  read(
    now: Instant,
    bytes: Uint8Array,
    isNews: (claimed: Record) => boolean = () => true,
  ): Verified<Record> | Refused {
    const known = this.store.find(bytes);
    if (known !== undefined) {
      const record = this.store.value(known);
      if (!isNews(record)) return "old";
      return record.expiresWallMs > now.wallMs ? record : "not_authentic";
    }
    const unverified = decodeRecord(bytes);
    if (unverified === undefined) return "malformed";
    if (!isNews(unverified.claimed)) return "old";
    return verifyRecord(this.#crypto, this.#networkId, unverified, now) ?? "not_authentic";
  }

  /**
   * From our own disk: a record that holds now, or where its subject, who is admitted, was when it did.
   * undefined: nothing that this node signed off on.
   */
  restore(
    now: Instant,
    bytes: Uint8Array,
    admits: (record: Record) => boolean,
  ): { readonly record: Verified<Record> } | { readonly hints: readonly Hint[] } | undefined {
    const record = this.read(now, bytes);
    if (typeof record !== "string") return admits(record) ? { record } : { hints: [] };
    const unverified = decodeRecord(bytes);
    const stored = unverified && verifyStoredRecord(this.#crypto, this.#networkId, unverified);
    if (stored === undefined) return undefined;
    if (!admits(stored)) return { hints: [] };
    const { identity } = stored;
    return { hints: hintEndpoints(stored).map((endpoint) => ({ identity, endpoint })) };
  }

  /** The record of the member in the slot. */
  of(table: MemberTable, slot: number): Verified<Record> {
    return this.store.value(table.record(slot));
  }

  /** What is held of the member. */
  held(table: MemberTable, identity: Uint8Array): Record | undefined {
    const slot = table.find(identity);
    return slot === undefined ? undefined : this.store.value(table.record(slot));
  }

  /** Gives the record's number to `use`, which holds it if it wants it longer. */
  with<T>(record: Verified<Record>, use: (stored: StoredId) => T): T {
    const stored = putRecord(this.store, record);
    const out = use(stored);
    this.store.release(stored);
    return out;
  }
}

/** Held once by the caller. */
export function putRecord(
  store: SignedStore<Verified<Record>>,
  record: Verified<Record>,
): StoredId {
  const { identity, sequence, bytes } = record;
  const keys = { low: wordAt(identity, 0), high: wordAt(identity, 4), sequence, incarnation: 0 };
  return store.put(bytes, keys, record);
}

/**
 * Making two members' records equal, whatever was lost between them: one sends a summary of 256
 * numbers, the other answers with a digest of the buckets that differ, and each pushes what it
 * holds newer and fetches what it lacks. Also how a joiner gets the bulk: rounds are repeated while
 * they bring something, each bounded, paced by the one who lacks. Records stay opaque and unverified.
 */
import { type Budgets, creditMax } from "./budget.ts";
import type { Hearsay } from "./hearsay.ts";
import {
  bucketCount,
  type DigestEntry,
  digestEntriesMax,
  fetchIdsMax,
  type Message,
  shortId,
} from "./message.ts";
import type { MemberTable } from "./state.ts";

export const syncIntervalMs = 30_000;
/** For this long after a new member exchanges are this much more frequent: who joins together with
 * others may have missed the telling of some. */
export const settlingMs = 30_000;
export const settlingShare = 1 / 20;
/** Records pushed in one round; the fetch is bounded by its message. */
export const pushMax = 64;
/** Exchanges under way that we began. */
export const syncsMax = 64;
const answerTimeoutMs = 1_000;
const triesMax = 3;

interface Sync {
  triesLeft: number;
  dueMs: number;
  /** Newly learnt records since the last summary. */
  learnt: number;
  /** Records asked for and not yet here. */
  missing: number;
}

/** Between two exchanges; it stretches as the mesh grows (memberlist's formula). */
export function syncDelayMs(members: number): number {
  return members <= 32 ? syncIntervalMs : syncIntervalMs * (Math.ceil(Math.log2(members) - 5) + 1);
}

export interface AntiEntropyOutput {
  send(to: number, message: Message): void;
  /** Sends the records of these slots, in as many messages as it takes. */
  sendRecords(to: number, slots: readonly number[]): void;
}

export class AntiEntropy {
  readonly #table: MemberTable;
  readonly #hearsay: Hearsay;
  readonly #budgets: Budgets;
  readonly #output: AntiEntropyOutput;
  readonly #syncs = new Map<number, Sync>();

  constructor(table: MemberTable, hearsay: Hearsay, budgets: Budgets, output: AntiEntropyOutput) {
    this.#table = table;
    this.#hearsay = hearsay;
    this.#budgets = budgets;
    this.#output = output;
  }

  /** Begins an exchange with the member, unless one is under way. */
  start(nowMs: number, slot: number): void {
    if (this.#syncs.has(slot) || this.#syncs.size >= syncsMax) return;
    const sync: Sync = { triesLeft: triesMax, dueMs: 0, learnt: 0, missing: 0 };
    this.#syncs.set(slot, sync);
    this.#sendSummary(nowMs, slot, sync);
  }

  forget(slot: number): void {
    this.#syncs.delete(slot);
  }

  /** A record that the member sent was new to us. */
  learntFrom(slot: number): void {
    const sync = this.#syncs.get(slot);
    if (sync !== undefined) sync.learnt += 1;
  }

  /**
   * The member sent this many records, new or not. When all that was fetched is here the next round
   * is due at once: at the next `handleTimeout`, when the caller has said which of them were new.
   */
  received(nowMs: number, slot: number, records: number): void {
    const sync = this.#syncs.get(slot);
    if (sync === undefined || sync.missing === 0) return;
    sync.missing -= Math.min(records, sync.missing);
    if (sync.missing > 0) return;
    sync.dueMs = nowMs;
    sync.triesLeft = 0;
  }

  /** Answers with what we hold in the buckets that differ, or with an empty digest: all is equal. */
  handleSummary(nowMs: number, from: number, theirs: Uint32Array): void {
    const ours = this.#table.summary();
    const complete = new Uint8Array(bucketCount / 8);
    const entries: DigestEntry[] = [];
    // From a rotating start, so that buckets beyond the digest's room get their turn.
    const start = ((this.#table.sequence(0) + nowMs) % bucketCount) | 0;
    for (let i = 0; i < bucketCount && entries.length < digestEntriesMax; i += 1) {
      const bucket = (start + i) % bucketCount;
      if (ours[bucket] === theirs[bucket]) continue;
      const inBucket = this.#entries(bucket);
      const room = digestEntriesMax - entries.length;
      entries.push(...inBucket.slice(0, room));
      // A bucket told in part may be fetched from, but says nothing of what is absent.
      if (inBucket.length <= room) setBit(complete, bucket);
    }
    this.#budgets.grantUnasked(nowMs, from, creditMax);
    this.#output.send(from, { kind: "digest", complete, entries });
  }

  handleDigest(
    nowMs: number,
    from: number,
    complete: Uint8Array,
    entries: readonly DigestEntry[],
  ): void {
    const wanted: string[] = [];
    const push: number[] = [];
    const told = new Set<string>();
    for (const { id, sequence, heard } of entries) {
      told.add(id);
      const slot = this.#table.findShort(id);
      const ours = slot === undefined ? this.#hearsay.sequence(id) : this.#table.sequence(slot);
      if (sequence > ours && !heard && wanted.length < fetchIdsMax) wanted.push(id);
      if (slot !== undefined && ours > sequence && push.length < pushMax) push.push(slot);
    }
    for (let bucket = 0; bucket < bucketCount && push.length < pushMax; bucket += 1) {
      if (!hasBit(complete, bucket)) continue;
      for (const slot of this.#table.inBucket(bucket)) {
        if (push.length >= pushMax || this.#table.sequence(slot) === 0) continue;
        if (!told.has(shortId(this.#table.identity(slot)))) push.push(slot);
      }
    }
    if (push.length > 0) this.#output.sendRecords(from, push);
    const sync = this.#syncs.get(from);
    if (wanted.length > 0) {
      this.#budgets.grant(nowMs, from, wanted.length);
      this.#output.send(from, { kind: "fetch", ids: wanted });
      if (sync !== undefined) {
        sync.missing = wanted.length;
        sync.dueMs = nowMs + answerTimeoutMs;
      }
    } else {
      this.#syncs.delete(from);
    }
  }

  /** Sends what is asked for, within the budget of who asks. */
  handleFetch(nowMs: number, from: number, ids: readonly string[]): void {
    const slots: number[] = [];
    for (const id of ids) {
      const slot = this.#table.findShort(id);
      const record = slot === undefined ? undefined : this.#table.record(slot);
      if (slot === undefined || record === undefined) continue;
      if (!this.#budgets.takeBytes(nowMs, from, record.length)) break;
      slots.push(slot);
    }
    if (slots.length > 0) this.#output.sendRecords(from, slots);
  }

  handleTimeout(nowMs: number): void {
    for (const [slot, sync] of this.#syncs) {
      if (sync.dueMs > nowMs) continue;
      // Another round only where the last one brought something: it ends however others behave.
      if (sync.learnt > 0) sync.triesLeft = triesMax;
      if (sync.triesLeft > 0) this.#sendSummary(nowMs, slot, sync);
      else this.#syncs.delete(slot);
    }
  }

  nextTimeout(): number | undefined {
    let next: number | undefined;
    for (const { dueMs } of this.#syncs.values()) {
      if (next === undefined || dueMs < next) next = dueMs;
    }
    return next;
  }

  #sendSummary(nowMs: number, slot: number, sync: Sync): void {
    sync.triesLeft -= 1;
    sync.learnt = 0;
    sync.missing = 0;
    sync.dueMs = nowMs + answerTimeoutMs;
    this.#budgets.grant(nowMs, slot, 1);
    this.#output.send(slot, { kind: "summary", buckets: this.#table.summary() });
  }

  /** What we hold and what we only heard of, in one bucket. */
  #entries(bucket: number): DigestEntry[] {
    const out: DigestEntry[] = [];
    for (const slot of this.#table.inBucket(bucket)) {
      const sequence = this.#table.sequence(slot);
      if (sequence === 0) continue;
      out.push({ id: shortId(this.#table.identity(slot)), sequence, heard: false });
    }
    for (const id of this.#hearsay.inBucket(bucket)) {
      out.push({ id, sequence: this.#hearsay.sequence(id), heard: true });
    }
    return out;
  }
}

function setBit(bits: Uint8Array, index: number): void {
  bits[index >> 3] = (bits[index >> 3] as number) | (1 << (index & 7));
}

function hasBit(bits: Uint8Array, index: number): boolean {
  return (((bits[index >> 3] as number) >> (index & 7)) & 1) === 1;
}

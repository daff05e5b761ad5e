/**
 * Making two members' views equal, whatever was lost between them: one sends a summary of 256
 * numbers, the other answers with a digest of the buckets that differ, and each pushes what it
 * holds newer and fetches what it lacks. Also how a joiner gets the bulk: rounds are repeated while
 * they bring something, each bounded, paced by the one who lacks, with several members at a time.
 * Records and statements stay opaque and unverified.
 */
import type { Random } from "../base/random.ts";
import { type Budgets, creditMax } from "./budget.ts";
import type { Fetches } from "./fetches.ts";
import type { Hearsay } from "./hearsay.ts";
import {
  type DigestEntry,
  digestEntriesMax,
  fetchMax,
  type Message,
  messageBytesMax,
  type Want,
} from "./message.ts";
import { bucketCount, type MemberTable, membersMax } from "./state.ts";
import { statementBytes } from "./statement.ts";
import { wordAt } from "./store.ts";

/** Records and statements pushed in one round; the fetch is bounded by its message. */
export const pushMax = 64;
/** Exchanges under way that we began. */
export const syncsMax = 8;
const answerTimeoutMs = 1_000;
/** All that differs is on its way from others, or enough is for now: look again then. */
const pauseMs = 300;
/** With fewer records to ask for the next round waits: a summary and a digest cost as much as ten. */
const roundFetchMin = 16;
const triesMax = 3;
/** Many ask a door: it is asked twice, and for so many records, enough to find others to ask. */
const doorTriesMax = 2;
/** With so many entries a digest of a door's was brief. */
const briefEntriesMax = 12;
/** Of each bucket, where not all that differ fit. */
const newestListed = 3;
/** Whoever knows so many others asks them. */
const doorNeededMax = 64;
const doorFetchMax = 16;

/** Buckets in which two summaries differ, while one is looked at. */
const differing = new Uint8Array(bucketCount);
const behind = new Uint8Array(bucketCount);
/** By slot, the digest that told of it last: of those that this process handles, one at a time. */
const told = new Uint32Array(membersMax);
let toldRound = 0;

interface Sync {
  triesLeft: number;
  /** A digest has come: it is no silence that the next round repeats. */
  answered: boolean;
  dueMs: number;
  /** Newly learnt since the last summary. */
  learnt: number;
  /** Asked for and not yet here. */
  missing: number;
  /** Many ask this member: where it has much to tell, one round is enough to find others to ask. */
  readonly door: boolean;
  brief: boolean;
}

export interface AntiEntropyOutput {
  send(to: number, message: Message): void;
  /** Sends the records, or the statements alone, of these slots, in as many messages as it takes. */
  sendHeld(to: number, slots: readonly number[], statementsOnly: readonly boolean[]): void;
}

export interface AntiEntropyParts {
  readonly table: MemberTable;
  readonly hearsay: Hearsay;
  readonly budgets: Budgets;
  readonly fetches: Fetches;
  readonly random: Random;
  readonly output: AntiEntropyOutput;
}

export class AntiEntropy {
  readonly #table: MemberTable;
  readonly #hearsay: Hearsay;
  readonly #budgets: Budgets;
  readonly #fetches: Fetches;
  readonly #random: Random;
  readonly #output: AntiEntropyOutput;
  readonly #syncs = new Map<number, Sync>();

  constructor(parts: AntiEntropyParts) {
    this.#table = parts.table;
    this.#hearsay = parts.hearsay;
    this.#budgets = parts.budgets;
    this.#fetches = parts.fetches;
    this.#random = parts.random;
    this.#output = parts.output;
  }

  get underWay(): number {
    return this.#syncs.size;
  }

  /** Begins an exchange with the member, unless one is under way. */
  start(nowMs: number, slot: number, door = false): void {
    if (this.#syncs.has(slot) || this.#syncs.size >= syncsMax) return;
    const triesLeft = door ? doorTriesMax : triesMax;
    const flags = { answered: false, door, brief: false };
    const sync: Sync = { triesLeft, dueMs: 0, learnt: 0, missing: 0, ...flags };
    this.#syncs.set(slot, sync);
    this.#sendSummary(nowMs, slot, sync);
  }

  forget(slot: number): void {
    this.#syncs.delete(slot);
  }

  /** What the member sent was new to us. Whether that is so in an exchange that we began. */
  learntFrom(slot: number): boolean {
    const sync = this.#syncs.get(slot);
    if (sync !== undefined) sync.learnt += 1;
    return sync !== undefined;
  }

  /**
   * The member sent this many records or statements, new or not. When all that was fetched is here
   * the next round is due at once: at the next `handleTimeout`, when the caller has said which of
   * them were new.
   */
  received(nowMs: number, slot: number, count: number): void {
    const sync = this.#syncs.get(slot);
    if (sync === undefined || sync.missing === 0) return;
    sync.missing -= Math.min(count, sync.missing);
    if (sync.missing > 0) {
      // What is not here a little after the others is lost: the next round asks for it.
      sync.dueMs = Math.min(sync.dueMs, nowMs + pauseMs);
      return;
    }
    sync.dueMs = nowMs;
    sync.triesLeft = 0;
  }

  /**
   * Answers with what we hold in the buckets that differ, or with an empty digest: all is equal. Where it
   * does not fit: whole buckets of which the other has nothing, as a newcomer; else either what is
   * newest in each, which is what two that have exchanged before differ in, or whole buckets all the same.
   */
  handleSummary(nowMs: number, from: number, theirs: Uint32Array): void {
    if (!this.#budgets.takeServed(nowMs, messageBytesMax)) return;
    const complete = new Uint8Array(bucketCount / 8);
    const entries: DigestEntry[] = [];
    const count = this.#differing(theirs);
    if (count > 0 && this.#budgets.isScarce(nowMs)) {
      this.#listSome(entries);
    } else {
      const fits = this.#count(0, count, digestEntriesMax + 1) <= digestEntriesMax;
      const most = fits || this.#random.below(2) === 0 ? digestEntriesMax : newestListed;
      for (let i = 0; i < count && entries.length < digestEntriesMax; i += 1) {
        const bucket = differing[i] as number;
        const isNew = theirs[bucket] === 0;
        const room = digestEntriesMax - entries.length;
        // What is begun and not ended looks as if the other had something of it.
        if (isNew && entries.length > 0 && this.#count(i, i + 1, room + 1) > room) break;
        if (this.#list(bucket, entries, isNew ? digestEntriesMax : most)) setBit(complete, bucket);
      }
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
    const sync = this.#syncs.get(from);
    if (sync !== undefined) {
      sync.answered = true;
      sync.brief = sync.door && entries.length >= briefEntriesMax;
    }
    const most = sync?.brief === true ? doorFetchMax : fetchMax;
    const wantsMax = Math.min(most, this.#budgets.fetchable(nowMs));
    const wants: Want[] = [];
    const push: number[] = [];
    const only: boolean[] = [];
    toldRound = (toldRound + 1) >>> 0;
    if (toldRound === 0) told.fill(0);
    let pending = false;
    for (const { low, high, sequence, incarnation, heard } of entries) {
      const slot = this.#table.findKey(low, high);
      if (slot !== undefined) told[slot] = toldRound;
      const held = slot === undefined ? 0 : this.#table.sequence(slot);
      const ours = slot === undefined ? this.#hearsay.sequenceOf(low, high) : held;
      const heldIncarnation = slot === undefined ? 0 : this.#table.incarnation(slot);
      const same = slot !== undefined && sequence === held;
      if (sequence > ours || (same && incarnation > heldIncarnation)) {
        if (heard || slot === 0) continue;
        if (wants.length < wantsMax && this.#fetches.want(nowMs, low, high)) {
          wants.push({ low, high, statementOnly: same });
        } else pending = true;
      } else if (slot !== undefined && push.length < pushMax) {
        if (held <= sequence && !(same && heldIncarnation > incarnation)) continue;
        if (!this.#mayPush(nowMs, slot, same)) continue;
        push.push(slot);
        only.push(same);
      }
    }
    this.#pushAbsent(nowMs, complete, push, only);
    if (push.length > 0) this.#output.sendHeld(from, push, only);
    if (wants.length > 0) {
      this.#budgets.grant(nowMs, from, wants.length);
      this.#budgets.fetching(nowMs, wants.length);
      this.#output.send(from, { kind: "fetch", wants });
      if (sync !== undefined) {
        sync.missing = wants.length;
        sync.dueMs = nowMs + answerTimeoutMs;
      }
    } else if (pending && sync !== undefined) {
      sync.dueMs = nowMs + pauseMs;
    } else {
      this.#syncs.delete(from);
    }
  }

  /** Sends what is asked for, within the budget of who asks and of all. */
  handleFetch(nowMs: number, from: number, wants: readonly Want[]): void {
    const slots: number[] = [];
    const only: boolean[] = [];
    const most = this.#budgets.servable(nowMs);
    for (const { low, high, statementOnly } of wants) {
      if (slots.length >= most) break;
      const slot = this.#table.findKey(low, high);
      if (slot === undefined) continue;
      const record = this.#table.record(slot);
      if (record === 0) continue;
      if (!this.#budgets.takeBytes(nowMs, from, this.#table.recordLength(slot))) break;
      slots.push(slot);
      only.push(statementOnly);
    }
    if (slots.length > 0) this.#output.sendHeld(from, slots, only);
  }

  /** How many exchanges ended here before the two sides were equal. */
  handleTimeout(nowMs: number): number {
    let undone = 0;
    for (const [slot, sync] of this.#syncs) {
      if (sync.dueMs > nowMs) continue;
      // Another round only where the last one brought something: it ends however others behave.
      if (sync.brief || this.#isDoorSpared(sync)) sync.triesLeft = 0;
      else if (sync.learnt > 0 && sync.answered) sync.triesLeft = triesMax;
      if (sync.triesLeft > 0 && this.#budgets.fetchable(nowMs) < roundFetchMin) {
        sync.dueMs = nowMs + pauseMs;
      } else if (sync.triesLeft > 0) {
        this.#sendSummary(nowMs, slot, sync);
      } else {
        this.#syncs.delete(slot);
        if (!sync.brief) undone += 1;
      }
    }
    return undone;
  }

  nextTimeout(): number | undefined {
    let next: number | undefined;
    if (this.#syncs.size === 0) return next;
    for (const { dueMs } of this.#syncs.values()) {
      if (next === undefined || dueMs < next) next = dueMs;
    }
    return next;
  }

  /** It is silent because many ask it, and is needed no longer. */
  #isDoorSpared({ answered, door }: Sync): boolean {
    return door && !answered && this.#table.size > doorNeededMax;
  }

  #sendSummary(nowMs: number, slot: number, sync: Sync): void {
    sync.triesLeft -= 1;
    sync.learnt = 0;
    sync.missing = 0;
    sync.answered = false;
    sync.dueMs = nowMs + (sync.door ? 2 : 1) * answerTimeoutMs;
    this.#budgets.grant(nowMs, slot, 1);
    this.#output.send(slot, { kind: "summary", buckets: this.#table.summary() });
  }

  /** What a bucket that was told in whole lacks. */
  #pushAbsent(nowMs: number, complete: Uint8Array, push: number[], only: boolean[]): void {
    for (let bucket = 0; bucket < bucketCount && push.length < pushMax; bucket += 1) {
      if (!hasBit(complete, bucket)) continue;
      for (let slot = this.#table.firstInBucket(bucket); slot >= 0; ) {
        if (push.length >= pushMax) break;
        if (told[slot] !== toldRound) {
          if (!this.#mayPush(nowMs, slot, false)) return;
          push.push(slot);
          only.push(false);
        }
        slot = this.#table.nextInBucket(slot);
      }
    }
  }

  /** What is pushed is within what all may have, as what is fetched here is. */
  #mayPush(nowMs: number, slot: number, statementOnly: boolean): boolean {
    const bytes = statementOnly ? statementBytes : this.#table.recordLength(slot);
    return this.#budgets.takeServed(nowMs, bytes);
  }

  /**
   * From a random start, so that those beyond the digest's room get their turn, and a joiner that asks
   * several members is told different parts. First come those of which the other has nothing. How many
   * there are: they stand in `differing`.
   */
  #differing(theirs: Uint32Array): number {
    const ours = this.#table.summary();
    const start = this.#random.below(bucketCount);
    let lacking = 0;
    let others = 0;
    for (let i = 0; i < bucketCount; i += 1) {
      const bucket = (start + i) & (bucketCount - 1);
      const word = theirs[bucket] as number;
      if (ours[bucket] === word) continue;
      if (word === 0) {
        differing[lacking] = bucket;
        lacking += 1;
      } else {
        behind[others] = bucket;
        others += 1;
      }
    }
    for (let i = 0; i < others; i += 1) differing[lacking + i] = behind[i] as number;
    return lacking + others;
  }

  /** How many entries these of the differing buckets have together; not counted on from `most`. */
  #count(from: number, to: number, most: number): number {
    const hasHearsay = this.#hearsay.size > 0;
    let count = 0;
    for (let i = from; i < to; i += 1) {
      const bucket = differing[i] as number;
      if (hasHearsay) for (const _ of this.#hearsay.inBucket(bucket)) count += 1;
      for (let slot = this.#table.firstInBucket(bucket); slot >= 0 && count < most; ) {
        count += 1;
        slot = this.#table.nextInBucket(slot);
      }
      if (count >= most) break;
    }
    return count;
  }

  /** Many ask: a few at random, for the other to ask. */
  #listSome(entries: DigestEntry[]): void {
    const known = this.#table.slotsEnd - 1;
    for (let i = 0; i < briefEntriesMax && known > 0; i += 1) {
      const slot = 1 + this.#random.below(known);
      if (this.#table.has(slot)) entries.push(this.#entryOf(slot));
    }
  }

  /**
   * Adds what we hold and what we only heard of in one bucket, at most so many, what was learnt last
   * first. False where that was not all.
   */
  #list(bucket: number, entries: DigestEntry[], most: number): boolean {
    const table = this.#table;
    const end = Math.min(digestEntriesMax, entries.length + most);
    for (let slot = table.firstInBucket(bucket); slot >= 0; slot = table.nextInBucket(slot)) {
      if (entries.length >= end) return false;
      entries.push(this.#entryOf(slot));
    }
    if (this.#hearsay.size === 0) return true;
    for (const id of this.#hearsay.inBucket(bucket)) {
      if (entries.length >= end) return false;
      const identity = this.#hearsay.identity(id);
      const [low, high] = [wordAt(identity, 0), wordAt(identity, 4)];
      const sequence = this.#hearsay.sequence(id);
      entries.push({ low, high, sequence, incarnation: 0, heard: true });
    }
    return true;
  }

  #entryOf(slot: number): DigestEntry {
    const table = this.#table;
    return {
      low: table.low(slot),
      high: table.high(slot),
      sequence: table.sequence(slot),
      incarnation: table.incarnation(slot),
      heard: false,
    };
  }
}

function setBit(bits: Uint8Array, index: number): void {
  bits[index >> 3] = (bits[index >> 3] as number) | (1 << (index & 7));
}

function hasBit(bits: Uint8Array, index: number): boolean {
  return (((bits[index >> 3] as number) >> (index & 7)) & 1) === 1;
}

/**
 * What this node holds of each member, in columns of numbers by slot: which record and statement
 * (by their numbers in the stores), incarnation, state, round trip. Some thirty bytes a member, so
 * that ten thousand cost little, and a simulation of ten thousand nodes fits in memory. Owns the
 * summary that anti-entropy compares. Slot 0 is this node itself. A member leaves only by `remove`:
 * states say how it is probed, never whether it belongs.
 */

import { grown, grownCapacity } from "../base/columns.ts";
import { assert } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import { type SignedStore, type StoredId, shortKey, wordAt } from "./store.ts";

export const membersMax = 16_384;
/** This node's own slot. */
export const selfSlot = 0;
export const bucketCount = 256;

export type MemberState = "alive" | "suspect" | "dead" | "left";
export type StateCode = 0 | 1 | 2 | 3;
export const stateCodes = { alive: 0, suspect: 1, dead: 2, left: 3 } as const;
export const stateNames: readonly MemberState[] = ["alive", "suspect", "dead", "left"];

const capacityStart = 16;
const rttUnitMs = 1 / 8;
const identityBytes = 32;

/** A session with a member, as membership uses it. */
export interface Link {
  readonly slot: number;
  /** Monotonic ms since when this session, or the one in its place, lives. */
  sinceMs: number;
  heardMs: number;
  /** When something from it last ended a suspicion. */
  clearedMs: number;
  /** When gossip last went to it. */
  toldMs: number;
  /** Not opened at random, but to enter the mesh: many hold one with the same member. */
  entry: boolean;
  /** Place among the links. */
  place: number;
}

export class MemberTable {
  readonly records: SignedStore<unknown>;
  readonly statements: SignedStore;
  readonly self: Uint8Array;
  #record = new Uint32Array(capacityStart);
  #statement = new Uint32Array(capacityStart);
  #incarnation = new Uint32Array(capacityStart);
  #state = new Uint8Array(capacityStart);
  #rtt = new Uint16Array(capacityStart);
  /** The next slot in the same bucket and 1; 0 ends it. */
  #next = new Uint16Array(capacityStart);
  readonly #heads = new Uint16Array(bucketCount);
  /** Open addressing by the identity's first 8 bytes: slot and 1. */
  #index = new Uint16Array(2 * capacityStart);
  readonly #salt: number;
  readonly #buckets = new Uint32Array(bucketCount);
  readonly #free: number[] = [];
  #end = 1;
  #size = 1;
  /** How often a record, a statement or who is a member has changed: for those who watch. */
  changes = 0;
  readonly #counts = new Uint32Array(4);
  /** By slot, its place among the sessions and 1; 0: none. */
  #places = new Uint16Array(capacityStart);
  readonly #linked: Link[] = [];

  constructor(
    self: Uint8Array,
    records: SignedStore<unknown>,
    statements: SignedStore,
    random: Random,
  ) {
    assert(self.length === identityBytes, "an identity is 32 bytes");
    this.self = self;
    this.records = records;
    this.statements = statements;
    this.#salt = random.below(2 ** 32);
  }

  /** Members known, this node included. */
  get size(): number {
    return this.#size;
  }

  /** Slots are below this. */
  get slotsEnd(): number {
    return this.#end;
  }

  countOf(state: MemberState): number {
    return this.#counts[stateCodes[state]] as number;
  }

  /** Alive or suspected, this node included. */
  get liveCount(): number {
    return 1 + (this.#counts[0] as number) + (this.#counts[1] as number);
  }

  /** A new member, alive until probing says otherwise; undefined where the table is full. */
  add(record: StoredId): number | undefined {
    if (this.#size >= membersMax) return undefined;
    const slot = this.#free.pop() ?? this.#end;
    if (slot >= this.#record.length) this.#grow(slot + 1);
    this.#end = Math.max(this.#end, slot + 1);
    this.#size += 1;
    this.#state[slot] = 0;
    this.#rtt[slot] = 0;
    this.#statement[slot] = 0;
    this.#incarnation[slot] = 0;
    this.#counts[0] = (this.#counts[0] as number) + 1;
    this.#take(slot, record);
    return slot;
  }

  remove(slot: number): void {
    assert(slot !== selfSlot && this.has(slot), "no member in this slot");
    this.setLinked(0, slot, false);
    this.#digest(slot);
    this.#unchain(slot);
    this.#unindex(slot);
    this.records.release(this.#record[slot] as number);
    this.#setStatement(slot, 0);
    this.#counts[this.#state[slot] as number] =
      (this.#counts[this.#state[slot] as number] ?? 1) - 1;
    this.#record[slot] = 0;
    this.#size -= 1;
    this.#free.push(slot);
  }

  has(slot: number): boolean {
    return slot === selfSlot || (slot < this.#end && this.#record[slot] !== 0);
  }

  /** The slot of the identity itself. */
  find(identity: Uint8Array): number | undefined {
    const slot = this.findKey(wordAt(identity, 0), wordAt(identity, 4));
    return slot !== undefined && this.hasIdentity(slot, identity, 0) ? slot : undefined;
  }

  /** Whether the member's identity stands there, after the two words by which it was found. */
  hasIdentity(slot: number, bytes: Uint8Array, at: number): boolean {
    const held = slot === selfSlot ? this.self : this.recordBytes(slot);
    for (let i = 8; i < identityBytes; i += 1) if (held[i] !== bytes[at + i]) return false;
    return true;
  }

  /** The slot of the one whose identity starts with these two words. */
  findKey(low: number, high: number): number | undefined {
    const mask = this.#index.length - 1;
    const { low: lows, high: highs } = this.records;
    for (let at = this.#home(low, high); ; at = (at + 1) & mask) {
      const entry = this.#index[at] as number;
      if (entry === 0) return undefined;
      const record = this.#record[entry - 1] as number;
      if (lows[record] === low && highs[record] === high) return entry - 1;
    }
  }

  identity(slot: number): Uint8Array {
    if (slot === selfSlot) return this.self;
    // A copy: a view would make the record's own bytes cost more for as long as they are kept.
    return this.recordBytes(slot).slice(0, identityBytes);
  }

  low(slot: number): number {
    return this.records.low[this.#record[slot] as number] as number;
  }

  high(slot: number): number {
    return this.records.high[this.#record[slot] as number] as number;
  }

  /** A short name of it, which hardly any two share. */
  key(slot: number): number {
    return shortKey(this.low(slot), this.high(slot));
  }

  /** 0 where this node has not signed its first yet. */
  record(slot: number): StoredId {
    return this.#record[slot] as number;
  }

  recordBytes(slot: number): Uint8Array {
    return this.records.bytes(this.#record[slot] as number);
  }

  recordLength(slot: number): number {
    return this.records.length(this.#record[slot] as number);
  }

  /** 0 where no record is held. */
  sequence(slot: number): number {
    const record = this.#record[slot] as number;
    return record === 0 ? 0 : (this.records.sequence[record] as number);
  }

  /** The newest alive or leave statement; 0 none: the record says the same of incarnation 0. */
  statement(slot: number): StoredId {
    return this.#statement[slot] as number;
  }

  incarnation(slot: number): number {
    return this.#incarnation[slot] as number;
  }

  /** Whether (sequence, incarnation) is above what is held of the member. */
  isNewer(slot: number, sequence: number, incarnation: number): boolean {
    const held = this.sequence(slot);
    return sequence === held ? incarnation > (this.#incarnation[slot] as number) : sequence > held;
  }

  /** A newer record takes the old one's place, and its statements are of another sequence. */
  setRecord(slot: number, record: StoredId): void {
    const old = this.#record[slot] as number;
    this.#digest(slot);
    if (old === 0) {
      this.#take(slot, record);
      return;
    }
    assert(
      (this.records.sequence[record] as number) > (this.records.sequence[old] as number),
      "only a newer record replaces one",
    );
    this.records.retain(record);
    this.records.release(old);
    this.#record[slot] = record;
    this.#setStatement(slot, 0);
    this.#incarnation[slot] = 0;
    this.#digest(slot);
  }

  /** A statement of the subject about the record that is held. */
  setStatement(slot: number, statement: StoredId): void {
    assert(this.statements.sequence[statement] === this.sequence(slot), "of another record");
    const incarnation = this.statements.incarnation[statement] as number;
    this.statements.retain(statement);
    this.#setStatement(slot, statement);
    this.changes += 1;
    // The record says as much as the first word of its subject.
    if (incarnation === this.#incarnation[slot]) return;
    this.#digest(slot);
    this.#incarnation[slot] = incarnation;
    this.#digest(slot);
  }

  state(slot: number): MemberState {
    return stateNames[this.#state[slot] as number] as MemberState;
  }

  stateCode(slot: number): StateCode {
    return this.#state[slot] as StateCode;
  }

  setState(slot: number, code: StateCode): void {
    assert(slot !== selfSlot && this.has(slot), "no member in this slot");
    const old = this.#state[slot] as number;
    this.#counts[old] = (this.#counts[old] as number) - 1;
    this.#counts[code] = (this.#counts[code] as number) + 1;
    this.#state[slot] = code;
  }

  /** Smoothed as in RFC 6298 (an eighth of each new one); undefined before the first. */
  rttMs(slot: number): number | undefined {
    const rtt = this.#rtt[slot] as number;
    return rtt === 0 ? undefined : (rtt - 1) * rttUnitMs;
  }

  measured(slot: number, rttMs: number): void {
    const old = this.rttMs(slot);
    const rtt = old === undefined ? rttMs : old + (rttMs - old) / 8;
    this.#rtt[slot] = 1 + Math.min(0xfffe, Math.round(rtt / rttUnitMs));
  }

  /** Whether a session with it lives. */
  isLinked(slot: number): boolean {
    return (this.#places[slot] ?? 0) !== 0;
  }

  link(slot: number): Link | undefined {
    const place = this.#places[slot] ?? 0;
    return place === 0 ? undefined : this.#linked[place - 1];
  }

  /** All sessions; the order means nothing. */
  get links(): readonly Link[] {
    return this.#linked;
  }

  get linkedCount(): number {
    return this.#linked.length;
  }

  setLinked(nowMs: number, slot: number, linked: boolean): void {
    const link = this.link(slot);
    if ((link !== undefined) === linked) return;
    if (link === undefined) {
      const place = this.#linked.length;
      const times = { sinceMs: nowMs, heardMs: nowMs, toldMs: -1e9, clearedMs: -1e9 };
      const made: Link = { slot, ...times, entry: false, place };
      this.#linked.push(made);
      this.#places[slot] = this.#linked.length;
      return;
    }
    this.#places[slot] = 0;
    const last = this.#linked.pop() as Link;
    if (last === link) return;
    this.#linked[link.place] = last;
    last.place = link.place;
    this.#places[last.slot] = link.place + 1;
  }

  /** Up to `count` different members with live sessions, at random, that are not dead, and fit. */
  pickLinked(
    random: Random,
    count: number,
    except: number,
    also: (link: Link) => boolean = () => true,
  ): number[] {
    const out: number[] = [];
    const total = this.#linked.length;
    if (total === 0) return out;
    const fits = (link: Link): boolean =>
      link.slot !== except && (this.#state[link.slot] as number) < 2 && also(link);
    // Tries are bounded: where few are linked, a walk from a random start finds them all.
    const start = random.below(total);
    if (total <= 4 * (count + 1)) {
      for (let i = 0; i < total && out.length < count; i += 1) {
        const link = this.#linked[(start + i) % total] as Link;
        if (fits(link)) out.push(link.slot);
      }
      return out;
    }
    for (let i = 0; i < 8 * count && out.length < count; i += 1) {
      const link = this.#linked[random.below(total)] as Link;
      if (fits(link) && !out.includes(link.slot)) out.push(link.slot);
    }
    return out;
  }

  /** 256 numbers, each the exclusive or over its members' (identity, sequence, incarnation). */
  summary(): Uint32Array {
    return this.#buckets;
  }

  /** The first slot whose identity starts with the byte; -1 none. Then `nextInBucket`. */
  firstInBucket(bucket: number): number {
    return (this.#heads[bucket] as number) - 1;
  }

  nextInBucket(slot: number): number {
    return (this.#next[slot] as number) - 1;
  }

  #take(slot: number, record: StoredId): void {
    this.records.retain(record);
    this.#record[slot] = record;
    if (2 * this.#size > this.#index.length) this.#reindex(2 * this.#index.length);
    else this.#enter(slot);
    const bucket = this.low(slot) & 0xff;
    this.#next[slot] = this.#heads[bucket] as number;
    this.#heads[bucket] = slot + 1;
    this.#digest(slot);
  }

  #setStatement(slot: number, statement: StoredId): void {
    const old = this.#statement[slot] as number;
    if (old !== 0) this.statements.release(old);
    this.#statement[slot] = statement;
  }

  #unchain(slot: number): void {
    const bucket = this.low(slot) & 0xff;
    const next = this.#next[slot] as number;
    if (this.#heads[bucket] === slot + 1) {
      this.#heads[bucket] = next;
      return;
    }
    let at = (this.#heads[bucket] as number) - 1;
    while (this.#next[at] !== slot + 1) at = (this.#next[at] as number) - 1;
    this.#next[at] = next;
  }

  #home(low: number, high: number): number {
    const mixed = Math.imul(low ^ this.#salt, 0x9e3779b1) ^ high;
    return (mixed ^ (mixed >>> 15)) & (this.#index.length - 1);
  }

  #enter(slot: number): void {
    const mask = this.#index.length - 1;
    let at = this.#home(this.low(slot), this.high(slot));
    while (this.#index[at] !== 0) at = (at + 1) & mask;
    this.#index[at] = slot + 1;
  }

  #reindex(length: number): void {
    this.#index = new Uint16Array(length);
    for (let slot = 0; slot < this.#end; slot += 1) if (this.#record[slot] !== 0) this.#enter(slot);
  }

  /** Those behind it in its run move up, so that no look-up stops too early. */
  #unindex(slot: number): void {
    const mask = this.#index.length - 1;
    let hole = this.#home(this.low(slot), this.high(slot));
    while (this.#index[hole] !== slot + 1) hole = (hole + 1) & mask;
    for (let at = (hole + 1) & mask; this.#index[at] !== 0; at = (at + 1) & mask) {
      const other = (this.#index[at] as number) - 1;
      const home = this.#home(this.low(other), this.high(other));
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      this.#index[hole] = other + 1;
      hole = at;
    }
    this.#index[hole] = 0;
  }

  #grow(least: number): void {
    const capacity = grownCapacity(least, this.#record.length);
    this.#record = grown(this.#record, new Uint32Array(capacity));
    this.#statement = grown(this.#statement, new Uint32Array(capacity));
    this.#incarnation = grown(this.#incarnation, new Uint32Array(capacity));
    this.#state = grown(this.#state, new Uint8Array(capacity));
    this.#rtt = grown(this.#rtt, new Uint16Array(capacity));
    this.#next = grown(this.#next, new Uint16Array(capacity));
    this.#places = grown(this.#places, new Uint16Array(capacity));
  }

  /** Adds the slot's part to its bucket, or takes it out: exclusive or is its own inverse. */
  #digest(slot: number): void {
    this.changes += 1;
    const sequence = this.sequence(slot);
    if (sequence === 0) return;
    const low = this.low(slot);
    const word = digestWord(low, this.high(slot), sequence, this.#incarnation[slot] as number);
    const bucket = low & 0xff;
    this.#buckets[bucket] = ((this.#buckets[bucket] as number) ^ word) >>> 0;
  }
}

/** The finaliser of MurmurHash3 over each word in turn: spreads, and promises no more. */
export function digestWord(
  low: number,
  high: number,
  sequence: number,
  incarnation: number,
): number {
  let hash = mix(0x9747b28c, low);
  hash = mix(hash, high);
  hash = mix(hash, sequence % 2 ** 32);
  hash = mix(hash, Math.floor(sequence / 2 ** 32));
  return mix(hash, incarnation) >>> 0;
}

function mix(before: number, word: number): number {
  let hash = before ^ word;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

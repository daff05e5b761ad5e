/**
 * What this node holds of each member: identity, record, state, link and measured round trip, in
 * columns by slot, so that a large mesh is arrays of numbers and not objects. Owns the summary that
 * anti-entropy compares. Slot 0 is this node itself. A member leaves only by `remove`: states say
 * how it is probed, never whether it belongs.
 */
import { assert } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import { bucketCount, shortId } from "./message.ts";

export const membersMax = 16_384;
/** This node's own slot. */
export const selfSlot = 0;

export type MemberState = "alive" | "suspect" | "dead";

const stateNames: readonly MemberState[] = ["alive", "suspect", "dead"];
const capacityStart = 16;

export class MemberTable {
  readonly #identities: (Uint8Array | undefined)[] = [];
  readonly #records: (Uint8Array | undefined)[] = [];
  readonly #byShortId = new Map<string, number>();
  #sequence = new Float64Array(capacityStart);
  #state = new Uint8Array(capacityStart);
  #stateSinceMs = new Float64Array(capacityStart);
  #heardAtMs = new Float64Array(capacityStart);
  #rttMs = new Float64Array(capacityStart);
  /** Position in `#linked` and 1, or 0 where no session lives. */
  #linkPosition = new Uint32Array(capacityStart);
  readonly #linked: number[] = [];
  readonly #free: number[] = [];
  readonly #stateCounts: [number, number, number] = [0, 0, 0];
  readonly #buckets = new Uint32Array(bucketCount);
  readonly #bucketSlots: number[][] = Array.from({ length: bucketCount }, () => []);

  /** `record` may come later: see `update`. */
  constructor(self: Uint8Array) {
    const slot = this.#allot(self);
    assert(slot === selfSlot, "self comes first");
  }

  /** Members known, this node included. */
  get size(): number {
    return this.#byShortId.size;
  }

  /** Slots are below this. */
  get slotsEnd(): number {
    return this.#identities.length;
  }

  /** In this state, this node not counted. */
  countOf(state: MemberState): number {
    return this.#stateCounts[stateNames.indexOf(state)] as number;
  }

  /** A new member, alive until probing says otherwise; undefined where the table is full. */
  add(nowMs: number, identity: Uint8Array): number | undefined {
    assert(this.find(identity) === undefined, "the member is there already");
    if (this.size >= membersMax) return undefined;
    const slot = this.#allot(identity);
    this.#state[slot] = 0;
    this.#stateSinceMs[slot] = nowMs;
    this.#heardAtMs[slot] = 0;
    this.#rttMs[slot] = Number.NaN;
    this.#stateCounts[0] += 1;
    return slot;
  }

  remove(slot: number): void {
    assert(slot !== selfSlot, "this node stays");
    const identity = this.identity(slot);
    this.setLinked(slot, false);
    this.#digest(slot);
    const bucket = this.#bucketSlots[identity[0] as number] as number[];
    bucket.splice(bucket.indexOf(slot), 1);
    this.#stateCounts[this.#state[slot] as 0 | 1 | 2] -= 1;
    this.#byShortId.delete(shortId(identity));
    this.#identities[slot] = undefined;
    this.#records[slot] = undefined;
    this.#sequence[slot] = 0;
    this.#free.push(slot);
  }

  has(slot: number): boolean {
    return this.#identities[slot] !== undefined;
  }

  /** The slot of an identity, or of one that starts with the same 8 bytes. */
  find(identity: Uint8Array): number | undefined {
    return this.#byShortId.get(shortId(identity));
  }

  findShort(id: string): number | undefined {
    return this.#byShortId.get(id);
  }

  identity(slot: number): Uint8Array {
    const identity = this.#identities[slot];
    assert(identity !== undefined, "no member in this slot");
    return identity;
  }

  record(slot: number): Uint8Array | undefined {
    return this.#records[slot];
  }

  /** 0 where no record is held. */
  sequence(slot: number): number {
    return this.#sequence[slot] as number;
  }

  /** A verified record of the member, newer than what is held. */
  update(slot: number, sequence: number, record: Uint8Array): void {
    assert(sequence > this.sequence(slot), "only a newer record replaces one");
    this.#digest(slot);
    this.#sequence[slot] = sequence;
    this.#records[slot] = record;
    this.#digest(slot);
  }

  state(slot: number): MemberState {
    return stateNames[this.#state[slot] as number] as MemberState;
  }

  stateSinceMs(slot: number): number {
    return this.#stateSinceMs[slot] as number;
  }

  setState(nowMs: number, slot: number, state: MemberState): void {
    assert(slot !== selfSlot && this.has(slot), "no member in this slot");
    const code = stateNames.indexOf(state) as 0 | 1 | 2;
    this.#stateCounts[this.#state[slot] as 0 | 1 | 2] -= 1;
    this.#stateCounts[code] += 1;
    this.#state[slot] = code;
    this.#stateSinceMs[slot] = nowMs;
  }

  /** Monotonic ms of the last message from it; 0 never. */
  heardAtMs(slot: number): number {
    return this.#heardAtMs[slot] as number;
  }

  setHeard(nowMs: number, slot: number): void {
    this.#heardAtMs[slot] = nowMs;
  }

  /** Smoothed as in RFC 6298 (an eighth of each new one); undefined before the first. */
  rttMs(slot: number): number | undefined {
    const rtt = this.#rttMs[slot] as number;
    return Number.isNaN(rtt) ? undefined : rtt;
  }

  measured(slot: number, rttMs: number): void {
    const old = this.rttMs(slot);
    this.#rttMs[slot] = old === undefined ? rttMs : old + (rttMs - old) / 8;
  }

  /** Whether a session with it lives. */
  isLinked(slot: number): boolean {
    return this.#linkPosition[slot] !== 0;
  }

  get linkedCount(): number {
    return this.#linked.length;
  }

  setLinked(slot: number, linked: boolean): void {
    if (this.isLinked(slot) === linked) return;
    if (linked) {
      this.#linked.push(slot);
      this.#linkPosition[slot] = this.#linked.length;
      return;
    }
    const position = (this.#linkPosition[slot] as number) - 1;
    const last = this.#linked.pop() as number;
    if (last !== slot) {
      this.#linked[position] = last;
      this.#linkPosition[last] = position + 1;
    }
    this.#linkPosition[slot] = 0;
  }

  /** Up to `count` different members with live sessions, at random, without `except`. */
  pickLinked(random: Random, count: number, except: number): number[] {
    const out: number[] = [];
    const total = this.#linked.length;
    // Tries are bounded: where few are linked, a walk from a random start finds them all.
    const start = total === 0 ? 0 : random.below(total);
    if (total <= 2 * (count + 1)) {
      for (let i = 0; i < total && out.length < count; i += 1) {
        const slot = this.#linked[(start + i) % total] as number;
        if (slot !== except) out.push(slot);
      }
      return out;
    }
    for (let i = 0; i < 8 * count && out.length < count; i += 1) {
      const slot = this.#linked[random.below(total)] as number;
      if (slot !== except && !out.includes(slot)) out.push(slot);
    }
    return out;
  }

  /** 256 numbers, each the exclusive or over its members' (identity, sequence). */
  summary(): Uint32Array {
    return this.#buckets.slice();
  }

  /** Slots whose identities start with the byte. */
  inBucket(bucket: number): readonly number[] {
    return this.#bucketSlots[bucket] as number[];
  }

  #allot(identity: Uint8Array): number {
    const slot = this.#free.pop() ?? this.#identities.length;
    if (slot >= this.#sequence.length) this.#growColumns();
    this.#identities[slot] = identity;
    this.#byShortId.set(shortId(identity), slot);
    (this.#bucketSlots[identity[0] as number] as number[]).push(slot);
    return slot;
  }

  #growColumns(): void {
    const capacity = 2 * this.#sequence.length;
    this.#sequence = grown(this.#sequence, new Float64Array(capacity));
    this.#state = grown(this.#state, new Uint8Array(capacity));
    this.#stateSinceMs = grown(this.#stateSinceMs, new Float64Array(capacity));
    this.#heardAtMs = grown(this.#heardAtMs, new Float64Array(capacity));
    this.#rttMs = grown(this.#rttMs, new Float64Array(capacity));
    this.#linkPosition = grown(this.#linkPosition, new Uint32Array(capacity));
  }

  /** Adds the slot's part to its bucket, or takes it out: exclusive or is its own inverse. */
  #digest(slot: number): void {
    const sequence = this.sequence(slot);
    if (sequence === 0) return;
    const identity = this.identity(slot);
    const view = new DataView(identity.buffer, identity.byteOffset, identity.length);
    const words = [
      view.getUint32(0, true),
      view.getUint32(4, true),
      sequence % 2 ** 32,
      Math.floor(sequence / 2 ** 32),
    ];
    const bucket = identity[0] as number;
    this.#buckets[bucket] = ((this.#buckets[bucket] as number) ^ digestWord(words)) >>> 0;
  }
}

/** The finaliser of MurmurHash3 over each word in turn: spreads, and promises no more. */
export function digestWord(words: readonly number[]): number {
  let hash = 0x9747b28c;
  for (const word of words) {
    hash ^= word;
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    hash ^= hash >>> 16;
  }
  return hash >>> 0;
}

function grown<T extends Float64Array | Uint8Array | Uint32Array>(from: T, to: T): T {
  to.set(from);
  return to;
}

/**
 * The suspicions that run, in columns: whom, since when, who accused it, and how many probes of this
 * node's own failed meanwhile. The columns are a heap, the next that is due first: where a mesh falls
 * apart half of it is suspected at once. With as many distinct accusers as are wanted a suspicion ends at the
 * minimum; with fewer at the maximum, and only if a probe of one's own failed. Anything heard from
 * the member ends it (Lifeguard, section IV-B; the ways an accusation is judged are swim.ts's).
 */
import { grown, grownCapacity } from "../base/columns.ts";
import type { Random } from "../base/random.ts";
import { accusersMax, type Profile, suspicionMaxMs, suspicionMinMs } from "./profile.ts";

export type SuspicionVerdict = { readonly kind: "probe" | "dead"; readonly slot: number };

const capacityStart = 8;
/** Where very many are suspected on others' word, so much time for each probe of one's own. */
const othersSpacingMs = 125;
/** And so much for each beyond so many: every look costs four members something. */
const othersManySpacingMs = 1_000;
const othersMany = 64;
/** So much of the shortest suspicion is left to others' word before this node probes, too. */
const othersShare = 3 / 4;
/** The wait for the next look at one's own suspicion doubles with each that was in vain, so often. */
const doublingsMax = 5;
const never = Number.POSITIVE_INFINITY;

/** How many members there are: the length of a suspicion follows from it. */
export interface SuspicionTerms {
  readonly members: number;
  readonly wanted: number;
}

export class Suspicions {
  readonly #profile: Profile;
  readonly #random: Random;
  /** By slot, its place in the columns and 1; 0: it is not suspected. */
  #places = new Uint16Array(0);
  #count = 0;
  #slots = new Uint16Array(capacityStart);
  #startedMs = new Float64Array(capacityStart);
  /** When it is to be probed again. */
  #probeMs = new Float64Array(capacityStart);
  /** When it is to be looked at: no later than it is to be probed, or ends. */
  #dueMs = new Float64Array(capacityStart);
  /** Of this node's own probes, since then: enough to know that there were some. */
  #failures = new Uint8Array(capacityStart);
  #accuserCounts = new Uint8Array(capacityStart);
  #own = new Uint8Array(capacityStart);
  #accusers = new Uint16Array(capacityStart * accusersMax);
  /** What the times when they are due were reckoned with. */
  #members = 0;
  #wanted = 0;

  constructor(profile: Profile, random: Random) {
    this.#profile = profile;
    this.#random = random;
  }

  get size(): number {
    return this.#count;
  }

  has(slot: number): boolean {
    return this.#placeOf(slot) !== undefined;
  }

  /** An accuser, this node included (slot 0). False where it is known, or enough are. */
  accuse(nowMs: number, slot: number, accuser: number, terms: SuspicionTerms): boolean {
    const at = this.#placeOf(slot) ?? this.#start(nowMs, slot, accuser, terms);
    const count = this.#accuserCounts[at] as number;
    const base = at * accusersMax;
    if (this.#isAccuser(at, accuser)) return false;
    if (count >= Math.min(accusersMax, terms.wanted)) return false;
    this.#accusers[base + count] = accuser;
    this.#accuserCounts[at] = count + 1;
    // The minimum decides without us where enough accuse it.
    if (count + 1 >= terms.wanted && this.#own[at] === 0) this.#probeMs[at] = never;
    this.#setDueFrom(nowMs, at, terms);
    return true;
  }

  /** This node itself stood still for so long: what it did not hear meanwhile is no evidence. */
  postpone(ms: number): void {
    for (let at = 0; at < this.#count; at += 1) {
      this.#startedMs[at] = (this.#startedMs[at] as number) + ms;
      this.#dueMs[at] = 0;
    }
  }

  accusersOf(slot: number): number {
    const at = this.#placeOf(slot);
    return at === undefined ? 0 : (this.#accuserCounts[at] as number);
  }

  hasAccuser(slot: number, accuser: number): boolean {
    const at = this.#placeOf(slot);
    return at !== undefined && this.#isAccuser(at, accuser);
  }

  /** A probe of one's own failed while it is suspected. */
  probeFailed(nowMs: number, slot: number, terms: SuspicionTerms): void {
    const at = this.#placeOf(slot);
    if (at === undefined) return;
    this.#failures[at] = Math.min(0xff, (this.#failures[at] as number) + 1);
    this.#setDueFrom(nowMs, at, terms);
  }

  /** Heard from, or gone: no longer suspected. */
  end(slot: number): void {
    const at = this.#placeOf(slot);
    if (at === undefined) return;
    this.#places[slot] = 0;
    this.#count -= 1;
    if (at === this.#count) return;
    this.#move(this.#count, at);
    this.#rise(at);
    this.#sink(at);
  }

  /** Who is to be probed again and who is dead; the dead are suspected no longer. */
  due(nowMs: number, terms: SuspicionTerms): readonly SuspicionVerdict[] {
    if (this.#count === 0) return none;
    if (terms.members !== this.#members || terms.wanted !== this.#wanted) this.#reckon(terms);
    if (nowMs < (this.#dueMs[0] as number)) return none;
    const out: SuspicionVerdict[] = [];
    while (this.#count > 0 && (this.#dueMs[0] as number) <= nowMs) {
      const slot = this.#slots[0] as number;
      const endsMs = this.#endsMs(0, terms);
      if (nowMs >= endsMs) {
        out.push({ kind: "dead", slot });
        this.end(slot);
        continue;
      }
      if (nowMs >= (this.#probeMs[0] as number)) {
        this.#probeMs[0] = nowMs + Math.max(1, this.#probeDelayMs(0, terms));
        out.push({ kind: "probe", slot });
      }
      this.#setDue(0, Math.min(endsMs, this.#probeMs[0] as number));
    }
    return out;
  }

  nextTimeout(): number | undefined {
    const next = this.#count === 0 ? never : (this.#dueMs[0] as number);
    return next === never ? undefined : next;
  }

  #isAccuser(at: number, accuser: number): boolean {
    const base = at * accusersMax;
    const end = base + (this.#accuserCounts[at] as number);
    for (let i = base; i < end; i += 1) if (this.#accusers[i] === accuser) return true;
    return false;
  }

  #placeOf(slot: number): number | undefined {
    const place = this.#places[slot] ?? 0;
    return place === 0 ? undefined : place - 1;
  }

  #start(nowMs: number, slot: number, accuser: number, terms: SuspicionTerms): number {
    const at = this.#count;
    if (at >= this.#slots.length - 1) this.#grow();
    if (slot >= this.#places.length) {
      const capacity = grownCapacity(Math.max(terms.members, slot + 1), this.#places.length);
      this.#places = grown(this.#places, new Uint16Array(capacity));
    }
    this.#count += 1;
    this.#places[slot] = at + 1;
    this.#slots[at] = slot;
    this.#startedMs[at] = nowMs;
    this.#failures[at] = 0;
    this.#accuserCounts[at] = 0;
    this.#own[at] = accuser === 0 ? 1 : 0;
    this.#probeMs[at] = nowMs + this.#probeDelayMs(at, terms);
    this.#dueMs[at] = this.#probeMs[at] as number;
    return at;
  }

  /** One more than there are suspicions is room to swap two. */
  #grow(): void {
    const capacity = grownCapacity(this.#count + 2, this.#slots.length);
    this.#slots = grown(this.#slots, new Uint16Array(capacity));
    this.#startedMs = grown(this.#startedMs, new Float64Array(capacity));
    this.#probeMs = grown(this.#probeMs, new Float64Array(capacity));
    this.#dueMs = grown(this.#dueMs, new Float64Array(capacity));
    this.#failures = grown(this.#failures, new Uint8Array(capacity));
    this.#accuserCounts = grown(this.#accuserCounts, new Uint8Array(capacity));
    this.#own = grown(this.#own, new Uint8Array(capacity));
    this.#accusers = grown(this.#accusers, new Uint16Array(capacity * accusersMax));
  }

  /** There are more members, or fewer: all may end at other times. */
  #reckon(terms: SuspicionTerms): void {
    this.#members = terms.members;
    this.#wanted = terms.wanted;
    for (let at = 0; at < this.#count; at += 1) {
      this.#dueMs[at] = Math.min(this.#endsMs(at, terms), this.#probeMs[at] as number);
    }
    for (let at = (this.#count >> 1) - 1; at >= 0; at -= 1) this.#sink(at);
  }

  /** Never before now, though it may be over already: whoever is behind its time is taken to have stood still. */
  #setDueFrom(nowMs: number, at: number, terms: SuspicionTerms): void {
    const dueMs = Math.min(this.#endsMs(at, terms), this.#probeMs[at] as number);
    this.#setDue(at, Math.max(nowMs, dueMs));
  }

  #setDue(at: number, dueMs: number): void {
    this.#dueMs[at] = dueMs;
    this.#rise(at);
    this.#sink(at);
  }

  #rise(from: number): void {
    for (let at = from; at > 0; ) {
      const above = (at - 1) >> 1;
      if ((this.#dueMs[above] as number) <= (this.#dueMs[at] as number)) return;
      this.#swap(at, above);
      at = above;
    }
  }

  #sink(from: number): void {
    for (let at = from; ; ) {
      let below = 2 * at + 1;
      if (below >= this.#count) return;
      const right = below + 1;
      const isRight =
        right < this.#count && (this.#dueMs[right] as number) < (this.#dueMs[below] as number);
      if (isRight) below = right;
      if ((this.#dueMs[at] as number) <= (this.#dueMs[below] as number)) return;
      this.#swap(at, below);
      at = below;
    }
  }

  #swap(a: number, b: number): void {
    const spare = this.#count;
    this.#move(a, spare);
    this.#move(b, a);
    this.#move(spare, b);
  }

  #move(from: number, to: number): void {
    const slot = this.#slots[from] as number;
    this.#slots[to] = slot;
    this.#places[slot] = to + 1;
    this.#startedMs[to] = this.#startedMs[from] as number;
    this.#probeMs[to] = this.#probeMs[from] as number;
    this.#dueMs[to] = this.#dueMs[from] as number;
    this.#failures[to] = this.#failures[from] as number;
    this.#accuserCounts[to] = this.#accuserCounts[from] as number;
    this.#own[to] = this.#own[from] as number;
    for (let i = 0; i < accusersMax; i += 1) {
      this.#accusers[to * accusersMax + i] = this.#accusers[from * accusersMax + i] as number;
    }
  }

  #endsMs(at: number, { members, wanted }: SuspicionTerms): number {
    const started = this.#startedMs[at] as number;
    const minMs = started + suspicionMinMs(this.#profile, members);
    const failures = this.#failures[at] as number;
    // Where this node's own probe began it, one of those since must have failed too.
    if (failures === 0 && this.#own[at] === 1) return never;
    if (!this.#profile.lifeguard || (this.#accuserCounts[at] as number) >= wanted) return minMs;
    return failures === 0 ? never : started + suspicionMaxMs(this.#profile, members);
  }

  /**
   * One's own suspicion is looked into at once, and again and again, ever more rarely: each look costs four
   * members something. Of another's the missing accusers are waited for most of the minimum, or a refutation;
   * whom neither reaches sees for itself before it is over. Where half of a large mesh is suspected that takes
   * longer: then it is others' word that ends it.
   */
  #probeDelayMs(at: number, { members, wanted }: SuspicionTerms): number {
    const { probeIntervalMs } = this.#profile;
    if (this.#own[at] === 1) {
      const waitMs = probeIntervalMs * 2 ** Math.min(doublingsMax, this.#failures[at] as number);
      return waitMs + this.#random.below(waitMs);
    }
    if ((this.#accuserCounts[at] as number) >= wanted) return never;
    const minMs = suspicionMinMs(this.#profile, members);
    const spacedMs =
      Math.min(this.#count, othersMany) * othersSpacingMs +
      Math.max(0, this.#count - othersMany) * othersManySpacingMs;
    const spreadMs = Math.max(minMs * (1 - othersShare), spacedMs);
    return Math.ceil(minMs * othersShare) + this.#random.below(Math.ceil(spreadMs));
  }
}

const none: readonly SuspicionVerdict[] = [];

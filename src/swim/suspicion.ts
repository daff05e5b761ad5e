/**
 * The suspicions that run, in columns: whom, since when, who accused it, and how many probes of this
 * node's own failed meanwhile. With as many distinct accusers as are wanted a suspicion ends at the
 * minimum; with fewer at the maximum, and only if a probe of one's own failed. Anything heard from
 * the member ends it (Lifeguard, section IV-B; the ways an accusation is judged are swim.ts's).
 */
import type { Random } from "../base/random.ts";
import { accusersMax, type Profile, suspicionMaxMs, suspicionMinMs } from "./profile.ts";

export type SuspicionVerdict = { readonly kind: "probe" | "dead"; readonly slot: number };

const fields = 6;
const never = Number.POSITIVE_INFINITY;

/** How many members there are: the length of a suspicion follows from it. */
export interface SuspicionTerms {
  readonly members: number;
  readonly wanted: number;
}

export class Suspicions {
  readonly #profile: Profile;
  readonly #random: Random;
  readonly #places = new Map<number, number>();
  /** For each: slot, started, probe due, failures, accusers, whether it is this node's own. */
  #columns: number[] = [];
  #accusers: number[] = [];
  #nextMs = never;

  constructor(profile: Profile, random: Random) {
    this.#profile = profile;
    this.#random = random;
  }

  get size(): number {
    return this.#places.size;
  }

  has(slot: number): boolean {
    return this.#places.has(slot);
  }

  /** An accuser, this node included (slot 0). False where it is known, or enough are. */
  accuse(nowMs: number, slot: number, accuser: number, terms: SuspicionTerms): boolean {
    const at = this.#places.get(slot) ?? this.#start(nowMs, slot, accuser, terms);
    const count = this.#columns[at + 4] as number;
    const base = (at / fields) * accusersMax;
    for (let i = 0; i < count; i += 1) if (this.#accusers[base + i] === accuser) return false;
    if (count >= Math.min(accusersMax, terms.wanted)) return false;
    this.#accusers[base + count] = accuser;
    this.#columns[at + 4] = count + 1;
    // The minimum decides without us where enough accuse it.
    if (count + 1 >= terms.wanted && this.#columns[at + 5] === 0) this.#columns[at + 2] = never;
    this.#nextMs = Math.min(this.#nextMs, nowMs);
    return true;
  }

  /** This node itself stood still for so long: what it did not hear meanwhile is no evidence. */
  postpone(ms: number): void {
    for (let at = 0; at < this.#columns.length; at += fields) {
      this.#columns[at + 1] = (this.#columns[at + 1] as number) + ms;
    }
    this.#nextMs = 0;
  }

  accusersOf(slot: number): number {
    const at = this.#places.get(slot);
    return at === undefined ? 0 : (this.#columns[at + 4] as number);
  }

  /** A probe of one's own failed while it is suspected. */
  probeFailed(nowMs: number, slot: number): void {
    const at = this.#places.get(slot);
    if (at === undefined) return;
    this.#columns[at + 3] = (this.#columns[at + 3] as number) + 1;
    this.#nextMs = Math.min(this.#nextMs, nowMs);
  }

  /** Heard from, or gone: no longer suspected. */
  end(slot: number): void {
    const at = this.#places.get(slot);
    if (at === undefined) return;
    this.#places.delete(slot);
    const last = this.#columns.length - fields;
    if (at !== last) {
      for (let i = 0; i < fields; i += 1) this.#columns[at + i] = this.#columns[last + i] as number;
      const [to, from] = [(at / fields) * accusersMax, (last / fields) * accusersMax];
      for (let i = 0; i < accusersMax; i += 1) {
        this.#accusers[to + i] = this.#accusers[from + i] as number;
      }
      this.#places.set(this.#columns[at] as number, at);
    }
    this.#columns.length = last;
    this.#accusers.length = (last / fields) * accusersMax;
  }

  /** Who is to be probed again and who is dead; the dead are suspected no longer. */
  due(nowMs: number, terms: SuspicionTerms): readonly SuspicionVerdict[] {
    if (nowMs < this.#nextMs) return none;
    const out: SuspicionVerdict[] = [];
    let nextMs = never;
    for (let at = this.#columns.length - fields; at >= 0; at -= fields) {
      const slot = this.#columns[at] as number;
      const endsMs = this.#endsMs(at, terms);
      if (nowMs >= endsMs) {
        out.push({ kind: "dead", slot });
        // The last takes its place, and was looked at already.
        this.end(slot);
        continue;
      }
      if (nowMs >= (this.#columns[at + 2] as number)) {
        this.#columns[at + 2] = nowMs + this.#probeDelayMs(at, terms);
        out.push({ kind: "probe", slot });
      }
      nextMs = Math.min(nextMs, endsMs, this.#columns[at + 2] as number);
    }
    this.#nextMs = nextMs;
    return out;
  }

  nextTimeout(): number | undefined {
    return this.#nextMs === never || this.#places.size === 0 ? undefined : this.#nextMs;
  }

  #start(nowMs: number, slot: number, accuser: number, terms: SuspicionTerms): number {
    const at = this.#columns.length;
    this.#places.set(slot, at);
    this.#columns.push(slot, nowMs, 0, 0, 0, accuser === 0 ? 1 : 0);
    for (let i = 0; i < accusersMax; i += 1) this.#accusers.push(-1);
    this.#columns[at + 2] = nowMs + this.#probeDelayMs(at, terms);
    this.#nextMs = Math.min(this.#nextMs, this.#columns[at + 2] as number);
    return at;
  }

  #endsMs(at: number, { members, wanted }: SuspicionTerms): number {
    const started = this.#columns[at + 1] as number;
    const minMs = started + suspicionMinMs(this.#profile, members);
    const failures = this.#columns[at + 3] as number;
    // Where this node's own probe began it, one of those since must have failed too.
    if (failures === 0 && this.#columns[at + 5] === 1) return never;
    if (!this.#profile.lifeguard || (this.#columns[at + 4] as number) >= wanted) return minMs;
    return failures === 0 ? never : started + suspicionMaxMs(this.#profile, members);
  }

  /** One's own suspicion is looked into at once, again and again; another's at some time in it. */
  #probeDelayMs(at: number, { members, wanted }: SuspicionTerms): number {
    const { probeIntervalMs } = this.#profile;
    if (this.#columns[at + 5] === 1) return probeIntervalMs + this.#random.below(probeIntervalMs);
    if ((this.#columns[at + 4] as number) >= wanted) return never;
    return this.#random.below(Math.ceil(suspicionMaxMs(this.#profile, members)));
  }
}

const none: readonly SuspicionVerdict[] = [];

/**
 * Who is probed and when: round and round over all members in random order, one each interval; a
 * ping, then the same through three others, then a verdict. Targets are chosen some seconds ahead,
 * so that a session with them can be opened by then. Also the errands for others: pings made for a
 * member that could not reach the target itself. It measures; what a failure means is swim.ts's.
 * Dead members are probed ever more rarely, and for ever.
 */

import { grown } from "../base/columns.ts";
import { assert } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import { Awareness } from "./awareness.ts";
import { type Profile, profileLan } from "./profile.ts";
import { type MemberTable, selfSlot, stateCodes } from "./state.ts";

export const deadProbeDelayMinMs = 5_000;
export const deadProbeDelayMaxMs = 600_000;
/** How long before a probe its session is opened. */
export const openAheadMs = 6_000;
/** Probes of our own under way at once, and errands for others. */
export const probesMax = 64;
export const errandsMax = 256;
/** An errand that brought no ack in this share of the timeout is answered by a nack. */
const nackShare = 0.8;
const dueUnitMs = 100;
const never = Number.POSITIVE_INFINITY;
/** When several come back from the dead together, the others are hurried once. */
const hurryIntervalMs = 2_000;
/** In a mesh of so few the dead do not wait for their turn in the round, every other time at most. */
const deadFirstMembersMax = 64;

export type ProbeAction =
  | { readonly kind: "ping"; readonly to: number; readonly number: number }
  | { readonly kind: "pingRequest"; readonly to: number; number: number; readonly target: number }
  /** To whom we ran the errand for: the ack of the target, or that there was none in time. */
  | { readonly kind: "ack" | "nack"; readonly to: number; readonly number: number }
  /** A session with it will be wanted, or is wanted no longer. */
  | { readonly kind: "open" | "silent"; readonly slot: number }
  | { readonly kind: "failed"; readonly target: number };

interface Probe {
  readonly target: number;
  readonly number: number;
  readonly helpers: readonly number[];
  /** Undefined: there is no session yet, and the ping waits for one. */
  sentAtMs: number | undefined;
  /** When the next stage is due. */
  dueMs: number;
  readonly endsMs: number;
  indirect: boolean;
  nacks: number;
}

interface Errand {
  readonly forSlot: number;
  readonly number: number;
  readonly target: number;
  readonly nackMs: number;
  readonly untilMs: number;
  sent: boolean;
  nacked: boolean;
}

export class Prober {
  readonly awareness: Awareness;
  readonly #table: MemberTable;
  readonly #random: Random;
  readonly #profile: Profile;
  /** Slots in the order of this round; the first `#at` have had their turn. */
  #order = new Uint16Array(16);
  #count = 0;
  #at = 0;
  #nextTickMs: number | undefined;
  /** The last to be chosen was one of them. */
  #choseDead = false;
  /** Chosen and not yet probed, in order. */
  readonly #ahead: number[] = [];
  /** Slots to probe before the round goes on. */
  readonly #urgent = new Set<number>();
  /** Of the dead, by slot: when each is probed next, in 100 ms, and the wait that led there. */
  #deadDue = new Uint32Array(0);
  #deadDelay = new Uint32Array(0);
  #hurriedMs = Number.NEGATIVE_INFINITY;
  readonly #probes = new Map<number, Probe>();
  readonly #errands = new Map<number, Errand>();
  #number: number;
  /** When the first is due of the probes and nacks; undefined: to be looked up, for they have changed. */
  #firstMs: number | undefined;
  readonly #actions: ProbeAction[] = [];

  constructor(table: MemberTable, random: Random, profile: Profile = profileLan) {
    assert(profile.probeTimeoutMs < profile.probeIntervalMs, "a probe ends within its interval");
    this.#table = table;
    this.#random = random;
    this.#profile = profile;
    this.awareness = new Awareness(profile.lifeguard);
    this.#number = random.below(2 ** 32);
  }

  /** A new member: its first turn is at a random place in this round. */
  add(nowMs: number, slot: number): void {
    if (this.#count === this.#order.length) {
      this.#order = grown(this.#order, new Uint16Array(Math.ceil(1.5 * this.#count)));
    }
    this.#order[this.#count] = slot;
    this.#count += 1;
    const place = this.#at + this.#random.below(this.#count - this.#at);
    this.#swap(place, this.#count - 1);
    // Random from the start, or nodes that started together would probe together.
    this.#nextTickMs ??= nowMs + this.#random.below(this.#profile.probeIntervalMs);
  }

  remove(slot: number): void {
    const place = this.#order.indexOf(slot);
    assert(place >= 0 && place < this.#count, "no such member");
    this.#order.copyWithin(place, place + 1, this.#count);
    this.#count -= 1;
    if (place < this.#at) this.#at -= 1;
    this.#urgent.delete(slot);
    for (let i = this.#ahead.length - 1; i >= 0; i -= 1) {
      if (this.#ahead[i] === slot) this.#ahead.splice(i, 1);
    }
    for (const [number, probe] of this.#probes) {
      if (probe.target === slot) this.#probes.delete(number);
    }
    for (const [number, errand] of this.#errands) {
      if (errand.target === slot || errand.forSlot === slot) this.#errands.delete(number);
    }
    this.#firstMs = undefined;
    if (this.#count === 0) this.#nextTickMs = undefined;
  }

  /** Probed now rather than in its turn: its session ended, or its suspicion wants a second look. */
  probeNow(nowMs: number, slot: number): void {
    if (this.#isProbed(slot)) return;
    if (this.#probes.size < probesMax) this.#start(nowMs, slot);
    else if (this.#urgent.size < probesMax) this.#urgent.add(slot);
  }

  /** Dead, or left: probed at a falling rate from now on. */
  setDead(nowMs: number, slot: number): void {
    if (slot >= this.#deadDue.length) {
      const capacity = Math.max(slot + 1, this.#order.length);
      this.#deadDue = grown(this.#deadDue, new Uint32Array(capacity));
      this.#deadDelay = grown(this.#deadDelay, new Uint32Array(capacity));
    }
    this.#deadDelay[slot] = deadProbeDelayMinMs;
    this.#deadDue[slot] = Math.ceil((nowMs + deadProbeDelayMinMs) / dueUnitMs);
  }

  /** One came back from the dead: the others may have too, so they are probed soon. */
  hurryDead(nowMs: number): void {
    if (nowMs - this.#hurriedMs < hurryIntervalMs) return;
    this.#hurriedMs = nowMs;
    const spreadMs = this.#profile.probeIntervalMs * (this.#table.countOf("dead") + 1);
    for (let slot = 1; slot < this.#deadDue.length; slot += 1) {
      if (!this.#isDead(slot)) continue;
      const dueMs = nowMs + this.#random.below(Math.min(spreadMs, 2 ** 31));
      const due = Math.ceil(dueMs / dueUnitMs);
      if (due < (this.#deadDue[slot] as number)) this.#deadDue[slot] = due;
      this.#deadDelay[slot] = deadProbeDelayMinMs;
    }
  }

  /** A session with it came up: pings that waited for it go now. */
  linked(nowMs: number, slot: number): void {
    for (const probe of this.#probes.values()) {
      if (probe.target !== slot || probe.sentAtMs !== undefined) continue;
      probe.sentAtMs = nowMs;
      this.#actions.push({ kind: "ping", to: slot, number: probe.number });
    }
    for (const [number, errand] of this.#errands) {
      if (errand.target !== slot || errand.sent) continue;
      errand.sent = true;
      this.#actions.push({ kind: "ping", to: slot, number });
    }
  }

  /**
   * An ack from a member. Returns the target of the probe that it answers and the round trip where
   * it is the target's own, or undefined where we asked for no such thing.
   */
  handleAck(
    nowMs: number,
    from: number,
    number: number,
  ): { target: number; rttMs?: number } | undefined {
    const errand = this.#errands.get(number);
    if (errand !== undefined && errand.target === from) {
      this.#errands.delete(number);
      this.#firstMs = undefined;
      this.#actions.push({ kind: "ack", to: errand.forSlot, number: errand.number });
      return { target: from };
    }
    const probe = this.#probes.get(number);
    if (probe === undefined) return undefined;
    const direct = probe.target === from;
    if (!direct && !(probe.indirect && probe.helpers.includes(from))) return undefined;
    this.#probes.delete(number);
    this.#firstMs = undefined;
    this.awareness.apply(-1);
    if (!direct || probe.sentAtMs === undefined) return { target: probe.target };
    return { target: from, rttMs: nowMs - probe.sentAtMs };
  }

  /** A helper reached us but not the target. False where we did not ask it. */
  handleNack(from: number, number: number): boolean {
    const probe = this.#probes.get(number);
    if (probe === undefined || !probe.indirect || !probe.helpers.includes(from)) return false;
    probe.nacks += 1;
    return true;
  }

  /** A member cannot reach the target and asks us to try. */
  handlePingRequest(nowMs: number, from: number, number: number, target: number): void {
    if (target === selfSlot || target === from) return;
    if (this.#errands.size >= errandsMax) this.#expireErrands(nowMs);
    if (this.#errands.size >= errandsMax) return;
    this.#firstMs = undefined;
    const own = this.#nextNumber();
    const sent = this.#table.isLinked(target);
    const { probeTimeoutMs, probeIntervalMs } = this.#profile;
    this.#errands.set(own, {
      forSlot: from,
      number,
      target,
      nackMs: nowMs + nackShare * probeTimeoutMs,
      untilMs: nowMs + probeIntervalMs,
      sent,
      nacked: false,
    });
    if (sent) this.#actions.push({ kind: "ping", to: target, number: own });
    else this.#actions.push({ kind: "open", slot: target });
  }

  handleTimeout(nowMs: number): void {
    this.#firstMs ??= this.#first();
    if (this.#firstMs <= nowMs) {
      this.#firstMs = undefined;
      for (const probe of this.#probes.values()) {
        if (probe.dueMs <= nowMs) this.#advance(probe);
      }
    }
    // The end of one that has been answered is worth no turn of its own.
    if (this.#errands.size > 0) this.#expireErrands(nowMs);
    if (this.#nextTickMs === undefined || this.#nextTickMs > nowMs) return;
    // Late after a stall: the beats that were missed are not made up for.
    const intervalMs = this.awareness.scale(this.#profile.probeIntervalMs);
    this.#nextTickMs = Math.max(this.#nextTickMs + intervalMs, nowMs + 1);
    const target = this.#nextTarget(nowMs);
    if (target !== undefined && this.#probes.size < probesMax) this.#start(nowMs, target);
  }

  nextTimeout(): number | undefined {
    this.#firstMs ??= this.#first();
    const next = Math.min(this.#firstMs, this.#nextTickMs ?? never);
    return next === never ? undefined : next;
  }

  /** This node itself stood still: what was not answered meanwhile is no evidence. */
  stalled(): void {
    this.#probes.clear();
    this.#firstMs = undefined;
    this.awareness.apply(1);
  }

  pollAction(): ProbeAction | undefined {
    return this.#actions.length === 0 ? undefined : this.#actions.shift();
  }

  #first(): number {
    let first = never;
    for (const probe of this.#probes.values()) first = Math.min(first, probe.dueMs);
    for (const { nacked, nackMs } of this.#errands.values()) {
      if (!nacked) first = Math.min(first, nackMs);
    }
    return first;
  }

  #start(nowMs: number, target: number): void {
    this.#firstMs = undefined;
    const number = this.#nextNumber();
    const helpers = this.#table.pickLinked(this.#random, this.#profile.indirect, target);
    const linked = this.#table.isLinked(target);
    this.#probes.set(number, {
      target,
      number,
      helpers,
      sentAtMs: linked ? nowMs : undefined,
      dueMs: nowMs + this.awareness.scale(this.#profile.probeTimeoutMs),
      endsMs: nowMs + this.awareness.scale(this.#profile.probeIntervalMs),
      indirect: false,
      nacks: 0,
    });
    if (linked) this.#actions.push({ kind: "ping", to: target, number });
    else this.#actions.push({ kind: "open", slot: target });
  }

  /** No answer in time: first others are asked, then the probe has failed. */
  #advance(probe: Probe): void {
    const { number, target } = probe;
    if (!probe.indirect && probe.helpers.length > 0) {
      probe.indirect = true;
      probe.dueMs = probe.endsMs;
      for (const to of probe.helpers) {
        if (!this.#table.has(to)) continue;
        this.#actions.push({ kind: "pingRequest", to, number, target });
      }
      return;
    }
    this.#probes.delete(number);
    // A helper that says it could not reach the target either shows that we can be reached. Of one
    // that is dead to us already, silence says nothing of us.
    if (!this.#isDead(target)) {
      this.awareness.apply(probe.indirect ? probe.helpers.length - probe.nacks : 1);
    }
    this.#actions.push({ kind: "failed", target });
  }

  #nextTarget(nowMs: number): number | undefined {
    for (const slot of this.#urgent) {
      this.#urgent.delete(slot);
      return slot;
    }
    const lookahead = Math.min(
      Math.ceil(openAheadMs / this.#profile.probeIntervalMs),
      this.#count - 1,
    );
    while (this.#ahead.length <= lookahead) {
      const slot = this.#choose(nowMs);
      if (slot === undefined) break;
      this.#ahead.push(slot);
      if (!this.#table.isLinked(slot)) this.#actions.push({ kind: "open", slot });
    }
    while (this.#ahead.length > 0) {
      const slot = this.#ahead.shift() as number;
      if (!this.#isProbed(slot)) return slot;
    }
    return undefined;
  }

  /** The next whose turn it is, of those that are not dead or are due. */
  #choose(nowMs: number): number | undefined {
    const dead = this.#choseDead ? undefined : this.#dueDead(nowMs);
    this.#choseDead = dead !== undefined;
    if (dead !== undefined) return this.#delayDead(nowMs, dead);
    for (let tries = this.#count; tries > 0; tries -= 1) {
      if (this.#at >= this.#count) this.#startRound();
      const slot = this.#order[this.#at] as number;
      this.#at += 1;
      if (!this.#isDead(slot)) return slot;
      if ((this.#deadDue[slot] as number) * dueUnitMs <= nowMs) return this.#delayDead(nowMs, slot);
    }
    return undefined;
  }

  /** The one that is due for longest. */
  #dueDead(nowMs: number): number | undefined {
    const table = this.#table;
    const isAny = table.countOf("dead") + table.countOf("left") > 0;
    if (!isAny || this.#count > deadFirstMembersMax) return undefined;
    let first: number | undefined;
    let firstDue = Math.floor(nowMs / dueUnitMs) + 1;
    for (let place = 0; place < this.#count; place += 1) {
      const slot = this.#order[place] as number;
      const due = this.#deadDue[slot] as number;
      if (!this.#isDead(slot) || due >= firstDue) continue;
      first = slot;
      firstDue = due;
    }
    return first;
  }

  /** It is probed now, and then not for longer than before. */
  #delayDead(nowMs: number, slot: number): number {
    const delayMs = Math.min(2 * (this.#deadDelay[slot] as number), deadProbeDelayMaxMs);
    const dueMs = nowMs + delayMs + this.#random.below(delayMs);
    this.#deadDue[slot] = Math.ceil(dueMs / dueUnitMs);
    this.#deadDelay[slot] = delayMs;
    return slot;
  }

  /** A new round in a new order (SWIM section 4.3: bounds the time until each is probed). */
  #startRound(): void {
    this.#at = 0;
    for (let i = this.#count - 1; i > 0; i -= 1) this.#swap(i, this.#random.below(i + 1));
  }

  #isDead(slot: number): boolean {
    return this.#table.stateCode(slot) >= stateCodes.dead;
  }

  #isProbed(slot: number): boolean {
    for (const probe of this.#probes.values()) if (probe.target === slot) return true;
    return false;
  }

  #expireErrands(nowMs: number): void {
    for (const [number, errand] of this.#errands) {
      if (!errand.nacked && errand.nackMs <= nowMs) {
        errand.nacked = true;
        this.#actions.push({ kind: "nack", to: errand.forSlot, number: errand.number });
      }
      if (errand.untilMs > nowMs) continue;
      this.#errands.delete(number);
      const { sent, target } = errand;
      if (sent || this.#isProbed(target) || this.#ahead.includes(target)) continue;
      this.#actions.push({ kind: "silent", slot: target });
    }
  }

  #nextNumber(): number {
    this.#number = (this.#number + 1) % 2 ** 32;
    return this.#number;
  }

  #swap(i: number, j: number): void {
    const held = this.#order[i] as number;
    this.#order[i] = this.#order[j] as number;
    this.#order[j] = held;
  }
}

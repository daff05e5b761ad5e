/**
 * Who is probed and when: round and round over all members in random order, one each interval; a
 * ping, then the same through three others, then a verdict. Also the errands for others: pings made
 * for a member that could not reach the target itself. It measures; what a failure means is
 * swim.ts's. Dead members are probed ever more rarely, and for ever.
 */
import { assert } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import { type MemberTable, selfSlot } from "./state.ts";

export interface ProbeTimes {
  readonly intervalMs: number;
  /** From the ping to the first request for indirect ones. */
  readonly timeoutMs: number;
  /** Members asked to ping in our place. */
  readonly indirect: number;
}

/** A local network's figures; memberlist's, which have served for years. */
export const probeTimesDefault: ProbeTimes = { intervalMs: 1_000, timeoutMs: 500, indirect: 3 };

export const deadProbeDelayMinMs = 5_000;
export const deadProbeDelayMaxMs = 600_000;
/** Probes of our own under way at once, and errands for others. */
export const probesMax = 64;
export const errandsMax = 256;

export type ProbeAction =
  | { readonly kind: "ping"; readonly to: number; readonly number: number }
  | { readonly kind: "pingRequest"; readonly to: number; number: number; readonly target: number }
  /** An ack to pass on to whom we ran the errand for. */
  | { readonly kind: "ack"; readonly to: number; readonly number: number }
  | { readonly kind: "failed"; readonly target: number };

interface Probe {
  readonly target: number;
  readonly sentAtMs: number;
  readonly helpers: readonly number[];
  /** When the next stage is due. */
  dueMs: number;
  indirect: boolean;
}

interface Errand {
  readonly forSlot: number;
  readonly number: number;
  readonly target: number;
  readonly untilMs: number;
}

export class Prober {
  readonly #table: MemberTable;
  readonly #random: Random;
  readonly times: ProbeTimes;
  /** Slots in the order of this round; the first `#at` have had their turn. */
  readonly #order: number[] = [];
  #at = 0;
  #nextTickMs: number | undefined;
  /** Slots to probe before the round goes on. */
  readonly #urgent = new Set<number>();
  /** Dead slots: when each is probed next, and the wait that led there. */
  readonly #dead = new Map<number, { dueMs: number; delayMs: number }>();
  readonly #probes = new Map<number, Probe>();
  readonly #errands = new Map<number, Errand>();
  #number: number;
  readonly #actions: ProbeAction[] = [];

  constructor(table: MemberTable, random: Random, times: ProbeTimes = probeTimesDefault) {
    assert(times.timeoutMs < times.intervalMs, "a probe ends within its interval");
    this.#table = table;
    this.#random = random;
    this.times = times;
    this.#number = random.below(2 ** 32);
  }

  /** A new member: its first turn is at a random place in this round. */
  add(nowMs: number, slot: number): void {
    const place = this.#at + this.#random.below(this.#order.length - this.#at + 1);
    this.#order.push(slot);
    this.#swap(place, this.#order.length - 1);
    // Random from the start, or nodes that started together would probe together.
    this.#nextTickMs ??= nowMs + this.#random.below(this.times.intervalMs);
  }

  remove(slot: number): void {
    const place = this.#order.indexOf(slot);
    assert(place >= 0, "no such member");
    this.#order.splice(place, 1);
    if (place < this.#at) this.#at -= 1;
    this.#urgent.delete(slot);
    this.#dead.delete(slot);
    for (const [number, probe] of this.#probes) {
      if (probe.target === slot) this.#probes.delete(number);
    }
    for (const [number, errand] of this.#errands) {
      if (errand.target === slot || errand.forSlot === slot) this.#errands.delete(number);
    }
    if (this.#order.length === 0) this.#nextTickMs = undefined;
  }

  /** Probed now rather than in its turn: its session ended, or its suspicion wants a second look. */
  probeNow(nowMs: number, slot: number): void {
    if (this.#isProbed(slot)) return;
    if (this.#probes.size < probesMax) this.#start(nowMs, slot);
    else if (this.#urgent.size < probesMax) this.#urgent.add(slot);
  }

  setDead(nowMs: number, slot: number, dead: boolean): void {
    if (!dead) {
      this.#dead.delete(slot);
    } else if (!this.#dead.has(slot)) {
      this.#dead.set(slot, { dueMs: nowMs + deadProbeDelayMinMs, delayMs: deadProbeDelayMinMs });
    }
  }

  /** One came back from the dead: the others may have too, so they are probed soon. */
  hurryDead(nowMs: number): void {
    const spreadMs = this.times.intervalMs * (this.#dead.size + 1);
    for (const dead of this.#dead.values()) {
      dead.dueMs = Math.min(dead.dueMs, nowMs + this.#random.below(spreadMs));
      dead.delayMs = deadProbeDelayMinMs;
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
      this.#actions.push({ kind: "ack", to: errand.forSlot, number: errand.number });
      return { target: from };
    }
    const probe = this.#probes.get(number);
    if (probe === undefined) return undefined;
    if (probe.target === from) {
      this.#probes.delete(number);
      return { target: from, rttMs: nowMs - probe.sentAtMs };
    }
    if (!probe.indirect || !probe.helpers.includes(from)) return undefined;
    this.#probes.delete(number);
    return { target: probe.target };
  }

  /** A member cannot reach the target and asks us to try. Silent where we cannot reach it either. */
  handlePingRequest(nowMs: number, from: number, number: number, target: number): void {
    if (target === selfSlot || target === from || !this.#table.isLinked(target)) return;
    if (this.#errands.size >= errandsMax) this.#expireErrands(nowMs);
    if (this.#errands.size >= errandsMax) return;
    const own = this.#nextNumber();
    const untilMs = nowMs + this.times.intervalMs;
    this.#errands.set(own, { forSlot: from, number, target, untilMs });
    this.#actions.push({ kind: "ping", to: target, number: own });
  }

  handleTimeout(nowMs: number): void {
    for (const [number, probe] of this.#probes) {
      if (probe.dueMs <= nowMs) this.#advance(nowMs, number, probe);
    }
    if (this.#nextTickMs === undefined || this.#nextTickMs > nowMs) return;
    this.#expireErrands(nowMs);
    // Late after a stall: the beats that were missed are not made up for.
    this.#nextTickMs = Math.max(this.#nextTickMs + this.times.intervalMs, nowMs + 1);
    const target = this.#nextTarget(nowMs);
    if (target !== undefined && this.#probes.size < probesMax) this.#start(nowMs, target);
  }

  nextTimeout(): number | undefined {
    let next = this.#nextTickMs;
    for (const { dueMs } of this.#probes.values()) {
      if (next === undefined || dueMs < next) next = dueMs;
    }
    return next;
  }

  pollAction(): ProbeAction | undefined {
    return this.#actions.shift();
  }

  #start(nowMs: number, target: number): void {
    const number = this.#nextNumber();
    const helpers = this.#table.pickLinked(this.#random, this.times.indirect, target);
    const dueMs = nowMs + this.times.timeoutMs;
    this.#probes.set(number, { target, sentAtMs: nowMs, helpers, dueMs, indirect: false });
    this.#actions.push({ kind: "ping", to: target, number });
  }

  /** No answer in time: first others are asked, then the probe has failed. */
  #advance(nowMs: number, number: number, probe: Probe): void {
    if (!probe.indirect && probe.helpers.length > 0) {
      probe.indirect = true;
      probe.dueMs = nowMs + this.times.intervalMs - this.times.timeoutMs;
      for (const to of probe.helpers) {
        if (!this.#table.has(to)) continue;
        this.#actions.push({ kind: "pingRequest", to, number, target: probe.target });
      }
      return;
    }
    this.#probes.delete(number);
    this.#actions.push({ kind: "failed", target: probe.target });
  }

  #nextTarget(nowMs: number): number | undefined {
    for (const slot of this.#urgent) {
      this.#urgent.delete(slot);
      return slot;
    }
    for (let tries = this.#order.length; tries > 0; tries -= 1) {
      if (this.#at >= this.#order.length) this.#startRound();
      const slot = this.#order[this.#at] as number;
      this.#at += 1;
      if (this.#isProbed(slot)) continue;
      const dead = this.#dead.get(slot);
      if (dead === undefined) return slot;
      if (dead.dueMs > nowMs) continue;
      const delayMs = Math.min(2 * dead.delayMs, deadProbeDelayMaxMs);
      const dueMs = nowMs + delayMs + this.#random.below(delayMs);
      this.#dead.set(slot, { dueMs, delayMs });
      return slot;
    }
    return undefined;
  }

  /** A new round in a new order (SWIM section 4.3: bounds the time until each is probed). */
  #startRound(): void {
    this.#at = 0;
    for (let i = this.#order.length - 1; i > 0; i -= 1) this.#swap(i, this.#random.below(i + 1));
  }

  #isProbed(slot: number): boolean {
    for (const probe of this.#probes.values()) if (probe.target === slot) return true;
    return false;
  }

  #expireErrands(nowMs: number): void {
    for (const [number, errand] of this.#errands) {
      if (errand.untilMs > nowMs) return;
      this.#errands.delete(number);
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

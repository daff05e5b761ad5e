/**
 * Membership among nodes that hold sessions with one another: probes, suspicion, dissemination and
 * anti-entropy of signed records, after SWIM (Das, Gupta, Motivala 2002). Owns what is thought of
 * each member; the caller owns who is one, verifies every record, and carries the messages inside
 * sessions. A verdict here changes how a member is probed, never whether it belongs. Members are
 * named by slot.
 */
import { equalBytes } from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import { AntiEntropy, settlingMs, settlingShare, syncDelayMs } from "./antientropy.ts";
import { BroadcastQueue } from "./broadcast.ts";
import { Budgets } from "./budget.ts";
import { Hearsay } from "./hearsay.ts";
import {
  decodeMessage,
  encodeMessage,
  type Message,
  memberIdBytes,
  messageBytesMax,
  messageHeaderBytes,
  recordOverheadBytes,
} from "./message.ts";
import { type ProbeAction, Prober, type ProbeTimes, probeTimesDefault } from "./probe.ts";
import { type MemberState, MemberTable, selfSlot } from "./state.ts";
import { Suspicions } from "./suspicion.ts";

export const gossipIntervalMs = 200;
export const gossipTargets = 3;
const transmitsMax = 4_096;
const eventsMax = 4_096;
/** Exchanges of all records when sessions come up: the first few at once, then one in 2 s. */
const joinSyncBurst = 3;
const joinSyncRefillMs = 2_000;
/** Exchanges because a record seems to be lacking: with this many members, a few at once. */
const lackSyncTargets = 3;
const lackSyncBurst = 4;
const lackSyncRefillMs = 4_000;
const lackSyncIntervalMs = 1_000;

export interface SwimOptions {
  /** This node's identity. */
  readonly self: Uint8Array;
  readonly random: Random;
  readonly times?: ProbeTimes;
}

export interface SwimTransmit {
  readonly to: number;
  /** A control message: at most 1,232 bytes. */
  readonly bytes: Uint8Array;
}

export type SwimEvent =
  /** Somebody's record, by its bytes alone: to be verified, then given to `learn`. */
  | { readonly kind: "record"; readonly from: number; readonly bytes: Uint8Array }
  | { readonly kind: "state"; readonly slot: number; readonly state: MemberState };

export interface SwimCounters {
  messagesSent: number;
  messagesReceived: number;
  malformed: number;
  overBudget: number;
  unexpectedAcks: number;
  probesFailed: number;
  recordsReceived: number;
  transmitsDropped: number;
  eventsDropped: number;
}

export class Swim {
  readonly table: MemberTable;
  readonly hearsay = new Hearsay();
  readonly counters: SwimCounters = {
    messagesSent: 0,
    messagesReceived: 0,
    malformed: 0,
    overBudget: 0,
    unexpectedAcks: 0,
    probesFailed: 0,
    recordsReceived: 0,
    transmitsDropped: 0,
    eventsDropped: 0,
  };
  readonly #random: Random;
  readonly #prober: Prober;
  readonly #suspicions: Suspicions;
  readonly #broadcasts = new BroadcastQueue();
  readonly #budgets = new Budgets();
  readonly #antiEntropy: AntiEntropy;
  #gossipAtMs = 0;
  #syncAtMs: number | undefined;
  /** Until then members are new, and exchanges frequent. */
  #settlingUntilMs = 0;
  #joinSyncs = joinSyncBurst;
  #joinSyncsAtMs = 0;
  #lackSyncs = lackSyncBurst;
  #lackSyncsAtMs = Number.NEGATIVE_INFINITY;
  readonly #transmits: SwimTransmit[] = [];
  readonly #events: SwimEvent[] = [];

  constructor(options: SwimOptions) {
    const times = options.times ?? probeTimesDefault;
    this.#random = options.random;
    this.table = new MemberTable(options.self);
    this.#prober = new Prober(this.table, options.random, times);
    this.#suspicions = new Suspicions(options.random, times.intervalMs);
    this.#antiEntropy = new AntiEntropy(this.table, this.hearsay, this.#budgets, {
      send: (to, message) => this.#send(to, message),
      sendRecords: (to, slots) => this.#sendRecords(to, slots),
    });
  }

  /** This node's own new record. */
  setSelf(now: Instant, sequence: number, record: Uint8Array): void {
    this.table.update(selfSlot, sequence, record);
    this.#spread(now, selfSlot);
  }

  /**
   * A verified record of an admitted identity, from a member or elsewhere. Its slot, or undefined
   * where the table is full (or two identities share their first 8 bytes). Older news change nothing.
   */
  learn(
    now: Instant,
    identity: Uint8Array,
    sequence: number,
    record: Uint8Array,
    from?: number,
  ): number | undefined {
    let slot = this.table.find(identity);
    if (slot === undefined) {
      slot = this.table.add(now.ms, identity);
      if (slot === undefined) return undefined;
      this.#prober.add(now.ms, slot);
      this.hearsay.take(identity);
      this.#settlingUntilMs = now.ms + settlingMs;
      const syncAtMs = now.ms + this.#syncDelayMs(now);
      this.#syncAtMs = Math.min(this.#syncAtMs ?? syncAtMs, syncAtMs);
    } else if (!equalBytes(this.table.identity(slot), identity) || slot === selfSlot) {
      return undefined;
    }
    if (sequence > this.table.sequence(slot)) {
      this.table.update(slot, sequence, record);
      this.#spread(now, slot);
      if (from !== undefined) this.#antiEntropy.learntFrom(from);
    }
    return slot;
  }

  /** The identity is no longer admitted. */
  forget(slot: number): void {
    this.#prober.remove(slot);
    this.#suspicions.end(slot);
    this.#broadcasts.remove(slot);
    this.#budgets.forget(slot);
    this.#antiEntropy.forget(slot);
    this.table.remove(slot);
  }

  /** A session with the member came up, was made anew, or ended. */
  setLink(now: Instant, slot: number, live: boolean): void {
    if (this.table.isLinked(slot) === live) {
      // A session in place of one that lived: as good a sign of life as any message.
      if (live) this.#heard(now, slot);
      return;
    }
    this.table.setLinked(slot, live);
    if (live) {
      this.#heard(now, slot);
      this.#joinSync(now, slot);
    } else {
      this.#antiEntropy.forget(slot);
      this.#prober.probeNow(now.ms, slot);
      this.#act(now);
    }
  }

  /**
   * There may be a member of whom we lack the record: a few members are asked at once. Anybody may
   * bring this about, so it is at most once a second, and once in 4 s for long.
   */
  syncForLack(now: Instant): void {
    const elapsed = now.ms - this.#lackSyncsAtMs;
    if (elapsed < lackSyncIntervalMs) return;
    const tokens = Math.min(lackSyncBurst, this.#lackSyncs + elapsed / lackSyncRefillMs);
    if (tokens < 1) return;
    this.#lackSyncs = tokens - 1;
    this.#lackSyncsAtMs = now.ms;
    for (const to of this.table.pickLinked(this.#random, lackSyncTargets, selfSlot)) {
      this.#antiEntropy.start(now.ms, to);
    }
  }

  /** A control message out of the member's session. */
  handleMessage(now: Instant, from: number, bytes: Uint8Array): void {
    this.counters.messagesReceived += 1;
    // Whatever it says, the member is alive and can reach us.
    this.#heard(now, from);
    const message = decodeMessage(bytes);
    if (message === undefined) {
      this.counters.malformed += 1;
      return;
    }
    // What answers a number of ours costs nothing; a number that we did not give is charged.
    const answer =
      message.kind === "ack" ? this.#prober.handleAck(now.ms, from, message.number) : undefined;
    if (answer === undefined && !this.#budgets.take(now.ms, from, message.kind, bytes.length)) {
      this.counters.overBudget += 1;
      return;
    }
    if (answer !== undefined) {
      this.#heard(now, answer.target);
      if (answer.rttMs !== undefined) this.table.measured(answer.target, answer.rttMs);
    }
    this.#dispatch(now, from, message, answer !== undefined);
    this.#act(now);
  }

  handleTimeout(now: Instant): void {
    this.#prober.handleTimeout(now.ms);
    this.#act(now);
    for (const verdict of this.#suspicions.due(now.ms, this.table.size)) {
      if (verdict.kind === "probe") this.#prober.probeNow(now.ms, verdict.slot);
      else this.#die(now, verdict.slot);
    }
    this.#act(now);
    this.#antiEntropy.handleTimeout(now.ms);
    this.#sync(now);
    this.#gossip(now);
  }

  nextTimeout(): number | undefined {
    let next = this.#isGossipDue() ? this.#gossipAtMs : undefined;
    for (const at of [
      this.#prober.nextTimeout(),
      this.#suspicions.nextTimeout(this.table.size),
      this.#antiEntropy.nextTimeout(),
      this.#syncAtMs,
    ]) {
      if (at !== undefined && (next === undefined || at < next)) next = at;
    }
    return next;
  }

  pollTransmit(): SwimTransmit | undefined {
    return this.#transmits.shift();
  }

  pollEvent(): SwimEvent | undefined {
    return this.#events.shift();
  }

  #dispatch(now: Instant, from: number, message: Message, answered: boolean): void {
    switch (message.kind) {
      case "ping":
        this.#receiveRecords(now, from, message.records);
        this.#sendNumbered(from, { kind: "ack", number: message.number });
        return;
      case "ack":
        if (!answered) this.counters.unexpectedAcks += 1;
        this.#receiveRecords(now, from, message.records);
        return;
      case "pingRequest": {
        this.#receiveRecords(now, from, message.records);
        const target = this.table.find(message.target);
        if (target === undefined || !equalBytes(this.table.identity(target), message.target))
          return;
        this.#prober.handlePingRequest(now.ms, from, message.number, target);
        return;
      }
      case "records":
        this.#receiveRecords(now, from, message.records);
        return;
      case "summary":
        this.#antiEntropy.handleSummary(now.ms, from, message.buckets);
        return;
      case "digest":
        this.#antiEntropy.handleDigest(now.ms, from, message.complete, message.entries);
        return;
      case "fetch":
        this.#antiEntropy.handleFetch(now.ms, from, message.ids);
    }
  }

  #receiveRecords(now: Instant, from: number, records: readonly Uint8Array[]): void {
    this.counters.recordsReceived += records.length;
    for (const bytes of records) this.#emit({ kind: "record", from, bytes });
    this.#antiEntropy.received(now.ms, from, records.length);
  }

  /** An authentic sign of life. */
  #heard(now: Instant, slot: number): void {
    this.table.setHeard(now.ms, slot);
    if (this.table.state(slot) === "alive") return;
    const wasDead = this.table.state(slot) === "dead";
    this.#suspicions.end(slot);
    this.#prober.setDead(now.ms, slot, false);
    this.#setState(now, slot, "alive");
    // What happened on the other side of a partition is learnt at once, not at the next turn.
    if (!wasDead) return;
    this.#prober.hurryDead(now.ms);
    if (this.table.isLinked(slot)) this.#joinSync(now, slot);
  }

  #probeFailed(now: Instant, slot: number): void {
    this.counters.probesFailed += 1;
    if (this.table.state(slot) === "dead") return;
    this.#suspicions.probeFailed(now.ms, slot);
    if (this.table.state(slot) === "alive") this.#setState(now, slot, "suspect");
  }

  #die(now: Instant, slot: number): void {
    this.#prober.setDead(now.ms, slot, true);
    this.#setState(now, slot, "dead");
  }

  #setState(now: Instant, slot: number, state: MemberState): void {
    this.table.setState(now.ms, slot, state);
    this.#emit({ kind: "state", slot, state });
  }

  /** Does what the prober asks for. */
  #act(now: Instant): void {
    for (let action = this.#prober.pollAction(); action; action = this.#prober.pollAction()) {
      this.#actOn(action, now);
    }
  }

  #actOn(action: ProbeAction, now: Instant): void {
    switch (action.kind) {
      case "failed":
        this.#probeFailed(now, action.target);
        return;
      case "pingRequest": {
        const { to, number } = action;
        const target = this.table.identity(action.target);
        const records = this.#piggyback(to, 4 + memberIdBytes);
        this.#send(to, { kind: "pingRequest", number, target, records });
        return;
      }
      default:
        this.#sendNumbered(action.to, action);
    }
  }

  #sendNumbered(to: number, { kind, number }: { kind: "ping" | "ack"; number: number }): void {
    this.#send(to, { kind, number, records: this.#piggyback(to, 4) });
  }

  /** Records that fit beside `bodyBytes` of a message to the member. */
  #piggyback(to: number, bodyBytes: number): Uint8Array[] {
    const bytesFree = messageBytesMax - messageHeaderBytes - bodyBytes;
    const slots = this.#broadcasts.pick(
      bytesFree,
      this.table.size,
      (slot) => (this.table.record(slot) as Uint8Array).length + recordOverheadBytes,
      to,
    );
    return slots.map((slot) => this.table.record(slot) as Uint8Array);
  }

  #spread(now: Instant, slot: number): void {
    if (this.#broadcasts.size === 0) {
      // A little of jitter, so that news that reach many at once are not passed on all at once.
      this.#gossipAtMs = Math.max(
        this.#gossipAtMs,
        now.ms + this.#random.below(gossipIntervalMs / 4),
      );
    }
    this.#broadcasts.add(slot);
  }

  #isGossipDue(): boolean {
    return this.#broadcasts.size > 0 && this.table.linkedCount > 0;
  }

  #gossip(now: Instant): void {
    if (!this.#isGossipDue() || this.#gossipAtMs > now.ms) return;
    this.#gossipAtMs = now.ms + gossipIntervalMs;
    for (const to of this.table.pickLinked(this.#random, gossipTargets, selfSlot)) {
      const records = this.#piggyback(to, 0);
      if (records.length > 0) this.#send(to, { kind: "records", records });
    }
  }

  #sync(now: Instant): void {
    if (this.#syncAtMs === undefined || this.#syncAtMs > now.ms) return;
    this.#syncAtMs = now.ms + this.#syncDelayMs(now);
    for (const to of this.table.pickLinked(this.#random, 1, selfSlot)) {
      this.#antiEntropy.start(now.ms, to);
    }
  }

  #syncDelayMs(now: Instant): number {
    const share = now.ms < this.#settlingUntilMs ? settlingShare : 1;
    const delayMs = Math.round(syncDelayMs(this.table.size) * share);
    return delayMs / 2 + this.#random.below(delayMs);
  }

  #joinSync(now: Instant, slot: number): void {
    const refill = (now.ms - this.#joinSyncsAtMs) / joinSyncRefillMs;
    this.#joinSyncs = Math.min(joinSyncBurst, this.#joinSyncs + refill);
    this.#joinSyncsAtMs = now.ms;
    if (this.#joinSyncs < 1) return;
    this.#joinSyncs -= 1;
    this.#antiEntropy.start(now.ms, slot);
  }

  #sendRecords(to: number, slots: readonly number[]): void {
    let records: Uint8Array[] = [];
    let bytesFree = messageBytesMax - messageHeaderBytes;
    for (const slot of slots) {
      const record = this.table.record(slot) as Uint8Array;
      const bytes = record.length + recordOverheadBytes;
      if (bytes > bytesFree) {
        this.#send(to, { kind: "records", records });
        records = [];
        bytesFree = messageBytesMax - messageHeaderBytes;
      }
      records.push(record);
      bytesFree -= bytes;
    }
    if (records.length > 0) this.#send(to, { kind: "records", records });
  }

  #send(to: number, message: Message): void {
    if (this.#transmits.length >= transmitsMax) {
      this.counters.transmitsDropped += 1;
      return;
    }
    this.counters.messagesSent += 1;
    this.#transmits.push({ to, bytes: encodeMessage(message) });
  }

  #emit(event: SwimEvent): void {
    if (this.#events.length >= eventsMax) this.counters.eventsDropped += 1;
    else this.#events.push(event);
  }
}

/**
 * Membership among nodes that hold sessions with one another: probes, suspicion, dissemination and
 * anti-entropy of signed statements and records, after SWIM (Das, Gupta, Motivala 2002) with
 * Lifeguard. Owns what is thought of each member; the caller owns who is one, verifies every record,
 * opens the sessions that are asked for, and carries the messages inside them. A verdict here changes
 * how a member is probed, never whether it belongs. Members are named by slot.
 */
import { equalBytes } from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import { Fifo } from "../base/fifo.ts";
import type { Random } from "../base/random.ts";
import { AntiEntropy } from "./antientropy.ts";
import { Budgets } from "./budget.ts";
import { Fetches, fetchTimeoutMs } from "./fetches.ts";
import { Gossip, type GossipCounters, type StatementSigner } from "./gossip.ts";
import { Hearsay } from "./hearsay.ts";
import {
  decodeMessage,
  fetchMax,
  gossipRoom,
  type Message,
  memberIdBytes,
  numberedRoom,
  type ReceivedMessage,
  type Run,
  recordLengthAt,
  recordOverheadBytes,
  type Want,
} from "./message.ts";
import { Outbox, type SwimTransmit } from "./outbox.ts";
import { type ProbeAction, Prober } from "./probe.ts";
import { accusersWanted, isApart, type Profile, profileLan, syncDelayMs } from "./profile.ts";
import {
  type Link,
  type MemberState,
  MemberTable,
  type StateCode,
  selfSlot,
  stateCodes,
  stateNames,
} from "./state.ts";
import { accusationBytes, statementLength } from "./statement.ts";
import { SignedStore, type StoredId } from "./store.ts";
import { Suspicions, type SuspicionTerms } from "./suspicion.ts";
import { Telling } from "./telling.ts";

/** With so many sessions a node is part of a large mesh. */
const largeLinksMin = 8;
/** With so many beside doors a node is heard of soon. */
const newcomerLinks = 3;
const fetchDelayMs = 50;
const leaveTargets = 16;
const heardFreshMs = 2_000;
/** Whoever was heard from while suspected is not suspected on others' word again for so long. */
const clearedMs = 5_000;
/** While members are new, exchanges are this frequent: some may have missed the telling. */
const settlingMs = 30_000;
const settlingShare = 1 / 10;
const syncAgainMs = 500;
const eventsMax = 4_096;
/** Exchanges when sessions come up: the first few at once, then one in 2 s. */
const joinSyncBurst = 3;
const joinSyncRefillMs = 2_000;
/** Exchanges because a record seems to be lacking: with this many members, a few at once. */
const lackSyncTargets = 3;
const lackSyncBurst = 4;
const lackSyncRefillMs = 4_000;
const lackSyncIntervalMs = 1_000;
/** Whoever lacks much fetches from several at a time: so many learnt in one look is much. */
const bulkLookMs = 250;
const bulkLearnt = 8;
const bulkSyncs = 4;
/**
 * So many, and gossip of others who are not known is passed over for a while: they come with the bulk, by
 * buckets, and one at a time they would make a newcomer look as if it had a part of each.
 */
const bulkMuch = 32;
const bulkHoldMs = 500;

export interface SwimOptions {
  /** This node's identity. */
  readonly self: Uint8Array;
  readonly random: Random;
  readonly signer: StatementSigner;
  readonly profile?: Profile;
  /** Shared by all tables of a process. */
  readonly records?: SignedStore<unknown>;
  readonly statements?: SignedStore;
}

export type SwimEvent =
  /** Somebody's record, by its bytes alone: to be verified, then given to `learn`. */
  | { readonly kind: "record"; readonly from: number; readonly bytes: Uint8Array }
  | { readonly kind: "state"; readonly slot: number; readonly state: MemberState }
  /** A session with it is wanted; it does not answer, and none is for now. */
  | { readonly kind: "open" | "silent"; readonly slot: number };

export interface SwimCounters extends GossipCounters {
  messagesSent: number;
  messagesReceived: number;
  statementsReceived: number;
  malformed: number;
  overBudget: number;
  unexpectedAcks: number;
  probesFailed: number;
  recordsReceived: number;
  fetchesDropped: number;
  broadcastsDropped: number;
  transmitsDropped: number;
  eventsDropped: number;
  stalls: number;
}

export class Swim {
  readonly table: MemberTable;
  readonly hearsay = new Hearsay();
  readonly #own = {
    messagesReceived: 0,
    statementsReceived: 0,
    malformed: 0,
    overBudget: 0,
    unexpectedAcks: 0,
    probesFailed: 0,
    recordsReceived: 0,
    eventsDropped: 0,
    stalls: 0,
  };
  readonly #random: Random;
  readonly #profile: Profile;
  readonly #prober: Prober;
  readonly #suspicions: Suspicions;
  readonly #fetches = new Fetches();
  readonly #gossip: Gossip;
  readonly #telling: Telling;
  readonly #budgets = new Budgets();
  readonly #antiEntropy: AntiEntropy;
  /** Records to fetch, by whom they were announced. */
  readonly #lacking = new Map<number, Want[]>();
  #fetchAtMs: number | undefined;
  #syncAtMs: number | undefined;
  /** Until then members are new, and exchanges frequent. */
  #settlingUntilMs = 0;
  #joinSyncs = joinSyncBurst;
  #joinSyncsAtMs = 0;
  #lackSyncs = lackSyncBurst;
  #lackSyncsAtMs = Number.NEGATIVE_INFINITY;
  #bulkAtMs: number | undefined;
  #bulkLearnt = 0;
  #bulkUntilMs = Number.NEGATIVE_INFINITY;
  readonly #outbox: Outbox;
  readonly #events = new Fifo<SwimEvent>();

  constructor(options: SwimOptions) {
    const { self, random, signer, profile = profileLan } = options;
    const records = options.records ?? new SignedStore<unknown>();
    const statements = options.statements ?? new SignedStore(() => undefined);
    this.#random = random;
    this.#profile = profile;
    this.table = new MemberTable(self, records, statements, random);
    this.#outbox = new Outbox(this.table);
    this.#prober = new Prober(this.table, random, profile);
    this.#suspicions = new Suspicions(profile, random);
    this.#gossip = new Gossip(this.table, profile, signer, this.#fetches, {
      alive: (now, slot) => this.#alive(now, slot),
      left: (now, slot) => this.#left(now, slot),
      accused: (now, slot, accuser) => this.#accused(now, slot, accuser),
      isAccusable: (now, slot) => this.#isAccusable(now, slot),
      hasAccused: (slot, accuser) => this.#suspicions.hasAccuser(slot, accuser),
      lacks: (now, from, low, high) => this.#lacks(now, from, low, high),
      isHearsay: (low, high, sequence) => this.hearsay.sequenceOf(low, high) >= sequence,
      fetchesBulk: (now) => now.ms < this.#bulkUntilMs,
    });
    this.#telling = new Telling(this.table, this.#gossip, this.#outbox, random, profile);
    const { table, hearsay } = this;
    const output = this.#outbox;
    const budgets = this.#budgets;
    this.#antiEntropy = new AntiEntropy({
      table,
      hearsay,
      budgets,
      fetches: this.#fetches,
      random,
      output,
    });
  }

  get counters(): Readonly<SwimCounters> {
    return {
      ...this.#own,
      ...this.#gossip.counters,
      messagesSent: this.#outbox.sent,
      transmitsDropped: this.#outbox.dropped,
      fetchesDropped: this.#fetches.dropped,
      broadcastsDropped: this.#gossip.queue.dropped,
    };
  }

  /** Lifeguard's measure of this node's own health: 0 good, to 7. */
  get awareness(): number {
    return this.#prober.awareness.score;
  }

  /** Whether a session is to be held with every member. */
  get eager(): boolean {
    return this.table.size <= this.#profile.heldMax;
  }

  /** It came in by a door, and has sessions with hardly anybody else. */
  get isNewcomer(): boolean {
    const { links, linkedCount } = this.table;
    if (linkedCount >= largeLinksMin) return false;
    const others = links.reduce((count, { entry }) => count + (entry ? 0 : 1), 0);
    return others < linkedCount && others < newcomerLinks;
  }

  /** Whether a large mesh that this node is part of holds it alive: so it need not be looked for. */
  isAlive(identity: Uint8Array): boolean {
    if (this.eager || this.table.linkedCount < largeLinksMin) return false;
    const slot = this.table.find(identity);
    return slot !== undefined && this.table.stateCode(slot) === stateCodes.alive;
  }

  /** This node's own new record. */
  setSelf(now: Instant, record: StoredId): void {
    this.table.setRecord(selfSlot, record);
    this.#gossip.ownRecord();
    this.#telling.hurry(now);
  }

  /**
   * A verified record of an admitted identity, from a member or elsewhere. Its slot, or undefined
   * where the table is full (or two identities share their first 8 bytes). Older news change nothing.
   */
  learn(now: Instant, record: StoredId, from?: number): number | undefined {
    const { low, high, sequence } = this.table.records;
    let slot = this.table.findKey(low[record] as number, high[record] as number);
    if (slot === undefined) {
      slot = this.table.add(record);
      if (slot === undefined) return undefined;
      this.#prober.add(now.ms, slot);
      if (this.hearsay.size > 0) this.hearsay.take(this.table.identity(slot));
      this.#settlingUntilMs = now.ms + settlingMs;
      const syncAtMs = now.ms + this.#syncDelayMs(now);
      this.#syncAtMs = Math.min(this.#syncAtMs ?? syncAtMs, syncAtMs);
    } else {
      if (slot === selfSlot) return undefined;
      const identity = this.table.records.bytes(record).slice(0, memberIdBytes);
      if (!equalBytes(this.table.identity(slot), identity)) return undefined;
      if ((sequence[record] as number) <= this.table.sequence(slot)) return slot;
      this.table.setRecord(slot, record);
      // Its own word, and a newer one than any suspicion was about.
      this.#alive(now, slot);
    }
    this.#gossip.recordArrived(now, slot);
    this.#telling.hurry(now);
    if (from !== undefined) this.#learntFrom(now, from);
    return slot;
  }

  /** The identity is no longer admitted. */
  forget(slot: number): void {
    this.#prober.remove(slot);
    this.#suspicions.end(slot);
    this.#gossip.forget(slot);
    this.#budgets.forget(slot);
    this.#antiEntropy.forget(slot);
    this.#lacking.delete(slot);
    this.table.remove(slot);
  }

  /** Says to others that this node goes: once, and whatever it says later says so too. */
  leave(now: Instant): void {
    this.#gossip.leave();
    const count = this.eager ? this.table.size : leaveTargets;
    for (const to of this.table.pickLinked(this.#random, count, selfSlot)) {
      this.#send(to, { kind: "gossip", statements: this.#gossip.pick(gossipRoom) });
    }
    this.#telling.hurry(now);
  }

  /**
   * A session with the member came up, was made anew, or ended. `entry`: it was opened because the
   * member is a door to the mesh, as it is to others.
   */
  setLink(now: Instant, slot: number, live: boolean, entry = false): void {
    const link = this.table.link(slot);
    if ((link !== undefined) === live) {
      if (link === undefined) return;
      // A session in place of one that lived: as good a sign of life as any message.
      link.sinceMs = now.ms;
      this.heard(now, slot);
      this.#prober.linked(now.ms, slot);
      this.#act(now);
      return;
    }
    this.table.setLinked(now.ms, slot, live);
    if (live) {
      (this.table.link(slot) as Link).entry = entry;
      this.heard(now, slot);
      this.#prober.linked(now.ms, slot);
      // Whoever knows many asks them for the rest, and not the doors that all ask.
      if (!entry || this.eager) this.#joinSync(now, slot);
    } else {
      this.#antiEntropy.forget(slot);
      this.#budgets.forget(slot);
      this.#lacking.delete(slot);
      // Where every session is kept one that ends says something; elsewhere most just lapse.
      if (this.eager && this.table.stateCode(slot) < stateCodes.dead) {
        this.#prober.probeNow(now.ms, slot);
      }
    }
    this.#act(now);
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
    for (const to of this.#telling.pickFair(now, lackSyncTargets)) this.#exchange(now, to);
  }

  /** A control message out of the member's session. */
  handleMessage(now: Instant, from: number, bytes: Uint8Array): void {
    this.#own.messagesReceived += 1;
    // Whatever it says, the member is alive and can reach us.
    this.heard(now, from);
    const message = decodeMessage(bytes);
    if (message === undefined) {
      this.#own.malformed += 1;
      return;
    }
    // What answers a number of ours costs nothing; a number that we did not give is charged.
    const { kind } = message;
    const answer =
      kind === "ack" ? this.#prober.handleAck(now.ms, from, message.number) : undefined;
    const nacked = kind === "nack" && this.#prober.handleNack(from, message.number);
    if (answer === undefined && !nacked && !this.#budgets.take(now.ms, from, kind, bytes.length)) {
      this.#own.overBudget += 1;
      return;
    }
    if (answer !== undefined) {
      this.heard(now, answer.target);
      if (answer.rttMs !== undefined) this.table.measured(answer.target, answer.rttMs);
    } else if (kind === "ack") {
      this.#own.unexpectedAcks += 1;
    }
    this.#dispatch(now, from, message);
    this.#act(now);
  }

  handleTimeout(now: Instant): void {
    this.#notice(now);
    this.#prober.handleTimeout(now.ms);
    this.#act(now);
    for (const verdict of this.#suspicions.due(now.ms, this.#terms())) {
      if (verdict.kind === "probe") this.#prober.probeNow(now.ms, verdict.slot);
      else this.#die(now, verdict.slot);
    }
    this.#act(now);
    // What is known to differ still is not left to the next turn.
    const undone = this.#antiEntropy.handleTimeout(now.ms);
    if (undone > 0 && this.#syncAtMs !== undefined) {
      this.#syncAtMs = Math.min(this.#syncAtMs, now.ms + syncAgainMs);
    }
    this.#look(now);
    this.#sync(now);
    this.#fetch(now);
    this.#telling.handleTimeout(now);
  }

  nextTimeout(): number | undefined {
    let next = this.#telling.nextTimeout() ?? Number.POSITIVE_INFINITY;
    next = Math.min(next, this.#prober.nextTimeout() ?? next);
    next = Math.min(next, this.#suspicions.nextTimeout() ?? next);
    next = Math.min(next, this.#antiEntropy.nextTimeout() ?? next);
    next = Math.min(next, this.#syncAtMs ?? next, this.#fetchAtMs ?? next, this.#bulkAtMs ?? next);
    return next === Number.POSITIVE_INFINITY ? undefined : next;
  }

  pollTransmit(): SwimTransmit | undefined {
    return this.#outbox.poll();
  }

  get hasEvents(): boolean {
    return this.#events.size > 0;
  }

  pollEvent(): SwimEvent | undefined {
    return this.#events.shift();
  }

  #dispatch(now: Instant, from: number, message: ReceivedMessage): void {
    switch (message.kind) {
      case "ping":
        this.#receiveStatements(now, from, message.statements);
        this.#sendNumbered(now, from, "ack", message.number);
        return;
      case "ack":
      case "nack":
      case "gossip":
        this.#receiveStatements(now, from, message.statements);
        return;
      case "pingRequest": {
        this.#receiveStatements(now, from, message.statements);
        const target = this.table.find(message.target);
        if (target === undefined) return;
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
        this.#antiEntropy.handleFetch(now.ms, from, message.wants);
    }
  }

  #receiveRecords(now: Instant, from: number, { bytes, from: first, to }: Run): void {
    const { records } = this.table;
    let count = 0;
    for (let at = first; at < to; count += 1) {
      const start = at + recordOverheadBytes;
      at = start + recordLengthAt(bytes, at);
      this.#budgets.received(at - start);
      const known = records.find(bytes, start, at);
      if (known !== undefined && this.#holds(known)) continue;
      const record = known === undefined ? bytes.slice(start, at) : records.bytes(known);
      this.#emit({ kind: "record", from, bytes: record });
    }
    this.#own.recordsReceived += count;
    this.#antiEntropy.received(now.ms, from, count);
  }

  /** Whether that very record is held of its subject. */
  #holds(record: StoredId): boolean {
    const { low, high } = this.table.records;
    const slot = this.table.findKey(low[record] as number, high[record] as number);
    return slot !== undefined && this.table.record(slot) === record;
  }

  #receiveStatements(now: Instant, from: number, statements: Run): void {
    const { bytes, to } = statements;
    if (statements.from === to) return;
    const waiting = this.#gossip.queue.size;
    let count = 0;
    for (let at = statements.from; at < to; ) {
      if (this.#gossip.receive(now, from, bytes, at)) this.#antiEntropy.learntFrom(from);
      at += statementLength(bytes[at] as number) as number;
      count += 1;
    }
    this.#own.statementsReceived += count;
    this.#antiEntropy.received(now.ms, from, count);
    if (waiting === 0) this.#telling.hurry(now);
  }

  /** An authentic sign of life. */
  heard(now: Instant, slot: number): void {
    const link = this.table.link(slot);
    if (link !== undefined) link.heardMs = now.ms;
    const state = this.table.stateCode(slot);
    // What a member that has left still sends was on its way.
    if (state === stateCodes.alive || state === stateCodes.left) return;
    if (link !== undefined) link.clearedMs = now.ms;
    this.#alive(now, slot);
    if (state !== stateCodes.dead) return;
    // What happened on the other side of a partition is learnt at once, not at the next turn.
    this.#gossip.assertSelf(now);
    this.#prober.hurryDead(now.ms);
    if (this.table.isLinked(slot)) this.#joinSync(now, slot);
  }

  #alive(now: Instant, slot: number): void {
    // One of many comes back: this node was most likely among as many there, and says so though nobody asks it.
    const isDead = this.table.stateCode(slot) === stateCodes.dead;
    if (isDead && isApart(this.table.countOf("dead"), this.table.size))
      this.#gossip.assertSelf(now);
    this.#suspicions.end(slot);
    this.#gossip.endAccusations(slot);
    if (this.table.stateCode(slot) !== stateCodes.alive) this.#setState(slot, stateCodes.alive);
    this.#telling.hurry(now);
  }

  #left(now: Instant, slot: number): void {
    this.#suspicions.end(slot);
    this.#prober.setDead(now.ms, slot);
    this.#setState(slot, stateCodes.left);
  }

  #die(now: Instant, slot: number): void {
    this.#prober.setDead(now.ms, slot);
    this.#setState(slot, stateCodes.dead);
    this.#emit({ kind: "silent", slot });
  }

  #probeFailed(now: Instant, slot: number): void {
    this.#own.probesFailed += 1;
    if (this.table.stateCode(slot) >= stateCodes.dead) {
      this.#emit({ kind: "silent", slot });
      return;
    }
    const running = this.#suspicions.has(slot);
    const counts = this.#suspicions.accuse(now.ms, slot, selfSlot, this.#terms());
    if (running) this.#suspicions.probeFailed(now.ms, slot, this.#terms());
    else this.#setState(slot, stateCodes.suspect);
    if (counts) this.#gossip.accuse(now, slot);
    this.#telling.hurry(now);
  }

  #isAccusable(now: Instant, slot: number): boolean {
    if (this.table.stateCode(slot) >= stateCodes.dead) return false;
    const accusers = this.#suspicions.accusersOf(slot);
    if (accusers > 0 && accusers >= accusersWanted(this.table.liveCount)) return false;
    const link = this.table.link(slot);
    return link === undefined || now.ms - link.clearedMs >= clearedMs;
  }

  #accused(now: Instant, slot: number, accuser: number): boolean {
    if (!this.#suspicions.accuse(now.ms, slot, accuser, this.#terms())) return false;
    if (this.table.stateCode(slot) !== stateCodes.suspect) this.#setState(slot, stateCodes.suspect);
    // Heard from just now: it is asked at once, and not at some time.
    const link = this.table.link(slot);
    if (link !== undefined && now.ms - link.heardMs < heardFreshMs) {
      this.#prober.probeNow(now.ms, slot);
    }
    return true;
  }

  #terms(): SuspicionTerms {
    return { members: this.table.size, wanted: accusersWanted(this.table.liveCount) };
  }

  #setState(slot: number, code: StateCode): void {
    this.table.setState(slot, code);
    this.#emit({ kind: "state", slot, state: stateNames[code] as MemberState });
  }

  /** Far behind its time: this node stood still, and says nothing of others for it. */
  #notice(now: Instant): void {
    if (!this.#profile.lifeguard) return;
    const due = this.nextTimeout();
    if (due === undefined || now.ms - due < this.#profile.probeIntervalMs) return;
    this.#own.stalls += 1;
    this.#prober.stalled();
    this.#suspicions.postpone(now.ms - due);
  }

  /** Does what the prober asks for. */
  #act(now: Instant): void {
    for (let action = this.#prober.pollAction(); action; action = this.#prober.pollAction()) {
      this.#actOn(now, action);
    }
  }

  #actOn(now: Instant, action: ProbeAction): void {
    switch (action.kind) {
      case "failed":
        this.#probeFailed(now, action.target);
        return;
      case "open":
      case "silent":
        this.#emit(action);
        return;
      case "pingRequest": {
        const { to, number } = action;
        const target = this.table.identity(action.target);
        const statements = this.#telling.beside(now.ms, to, numberedRoom - memberIdBytes);
        this.#send(to, { kind: "pingRequest", number, target, statements });
        return;
      }
      case "ping": {
        const { to, number } = action;
        // Who is suspected is told so, and can refute it.
        const accusation = this.#accusationFor(now, to);
        if (accusation === undefined) {
          this.#sendNumbered(now, to, "ping", number);
          return;
        }
        const more = this.#telling.beside(now.ms, to, numberedRoom - accusationBytes);
        const statements = [accusation, ...more];
        this.#send(to, { kind: "ping", number, statements });
        return;
      }
      default:
        this.#sendNumbered(now, action.to, action.kind, action.number);
    }
  }

  #accusationFor(now: Instant, slot: number): Uint8Array | undefined {
    const state = this.table.stateCode(slot);
    if (state !== stateCodes.suspect && state !== stateCodes.dead) return undefined;
    return this.#gossip.accusationOf(slot) ?? this.#gossip.accuse(now, slot);
  }

  #sendNumbered(now: Instant, to: number, kind: "ping" | "ack" | "nack", number: number): void {
    this.#send(to, { kind, number, statements: this.#telling.beside(now.ms, to, numberedRoom) });
  }

  #lacks(now: Instant, from: number, low: number, high: number): void {
    if (!this.table.isLinked(from) || !this.#fetches.want(now.ms, low, high)) return;
    const wants = this.#lacking.get(from) ?? [];
    if (wants.length >= fetchMax) return;
    wants.push({ low, high, statementOnly: false });
    this.#lacking.set(from, wants);
    this.#fetchAtMs = Math.min(this.#fetchAtMs ?? now.ms + fetchDelayMs, now.ms + fetchDelayMs);
  }

  #fetch(now: Instant): void {
    if (this.#fetchAtMs === undefined || this.#fetchAtMs > now.ms) return;
    this.#fetchAtMs = undefined;
    for (const { low, high, from } of this.#fetches.overdue(now.ms)) {
      const [other] = this.table.pickLinked(this.#random, 1, selfSlot);
      const to = this.table.isLinked(from) ? from : other;
      if (to !== undefined) this.#lacks(now, to, low, high);
    }
    for (const [to, wants] of this.#lacking) {
      this.#budgets.grant(now.ms, to, wants.length);
      this.#budgets.fetching(now.ms, wants.length);
      this.#send(to, { kind: "fetch", wants });
    }
    this.#lacking.clear();
    this.#fetchAtMs = this.#fetches.announcedCount > 0 ? now.ms + fetchTimeoutMs : undefined;
  }

  #learntFrom(now: Instant, from: number): void {
    // What gossip told of, and was fetched for that, says nothing of how much is lacking.
    if (!this.#antiEntropy.learntFrom(from)) return;
    this.#bulkLearnt += 1;
    this.#bulkAtMs ??= now.ms + bulkLookMs;
  }

  /** Whoever learnt much just now lacks more: with several members at a time. */
  #look(now: Instant): void {
    if (this.#bulkAtMs === undefined || this.#bulkAtMs > now.ms) return;
    this.#bulkAtMs = undefined;
    const learnt = this.#bulkLearnt;
    this.#bulkLearnt = 0;
    if (learnt < bulkLearnt) return;
    if (!this.eager && learnt >= bulkMuch) this.#bulkUntilMs = now.ms + bulkHoldMs;
    const wanted = bulkSyncs - this.#antiEntropy.underWay;
    const others = this.table.pickLinked(this.#random, wanted, selfSlot, (link) => !link.entry);
    for (const to of others) this.#antiEntropy.start(now.ms, to);
    // Whoever knows but the door opens others, without waiting for the turn of each.
    const known = this.table.slotsEnd - 1;
    for (let i = others.length; i < wanted && known > 0 && !this.eager; i += 1) {
      const slot = 1 + this.#random.below(known);
      if (this.table.has(slot) && !this.table.isLinked(slot)) this.#emit({ kind: "open", slot });
    }
  }

  #sync(now: Instant): void {
    if (this.#syncAtMs === undefined || this.#syncAtMs > now.ms) return;
    this.#syncAtMs = now.ms + this.#syncDelayMs(now);
    for (const to of this.#telling.pickFair(now, 1)) this.#exchange(now, to);
  }

  #syncDelayMs(now: Instant): number {
    const settling = now.ms < this.#settlingUntilMs;
    const delayMs = settling
      ? this.#profile.syncIntervalMs * settlingShare
      : syncDelayMs(this.#profile, this.table.size);
    return delayMs / 2 + this.#random.below(delayMs);
  }

  #joinSync(now: Instant, slot: number): void {
    const refill = (now.ms - this.#joinSyncsAtMs) / joinSyncRefillMs;
    this.#joinSyncs = Math.min(joinSyncBurst, this.#joinSyncs + refill);
    this.#joinSyncsAtMs = now.ms;
    if (this.#joinSyncs < 1) return;
    this.#joinSyncs -= 1;
    this.#exchange(now, slot);
  }

  /** With the door of a large mesh one round only: it shows others, and has others to show them to. */
  #exchange(now: Instant, slot: number): void {
    this.#antiEntropy.start(now.ms, slot, this.table.link(slot)?.entry === true);
  }

  #send(to: number, message: Message): void {
    this.#outbox.send(to, message);
  }

  #emit(event: SwimEvent): void {
    if (this.#events.size >= eventsMax) this.#own.eventsDropped += 1;
    else this.#events.push(event);
  }
}

/**
 * Statements: which of those that come are believed, what they change, and which are passed on.
 * A subject's own word (alive, leave) counts by its signature and its newness; an accusation counts
 * if it names what the subject last signed, its accuser is a member, has not accused within 10 s,
 * and too few have accused already. Owns this node's incarnation and its accusations of others.
 */
import type { Instant } from "../base/clock.ts";
import { grown } from "../base/columns.ts";
import { BroadcastQueue } from "./broadcast.ts";
import type { Fetches } from "./fetches.ts";
import { type Profile, retransmitLimit } from "./profile.ts";
import { type MemberTable, selfSlot, stateCodes } from "./state.ts";
import {
  accusationBytes,
  accuserAt,
  incarnationOf,
  sequenceOf,
  signatureOf,
  signedPart,
  signerOf,
  statementBody,
  statementBytes,
  statementKeys,
  statementKind,
  statementKinds,
  subjectAt,
} from "./statement.ts";
import { type StoredId, wordAt } from "./store.ts";

/** Each accuser's accusations are heeded, and made, at most this often. */
export const accusationIntervalMs = 10_000;
/** Own new incarnations, whatever others say. */
const refuteIntervalMs = 1_000;
const assertIntervalMs = 30_000;
const accusationsMax = 256;
const tickMs = 100;

/** Signatures over statements: the caller's domain and network are in them. */
export interface StatementSigner {
  sign(body: Uint8Array): Uint8Array;
  verify(identity: Uint8Array, body: Uint8Array, signature: Uint8Array): boolean;
}

export interface GossipCounters {
  statementsNotAuthentic: number;
  accusationsRefused: number;
  accusationsMade: number;
  refutations: number;
}

/** What believing a statement comes to. */
export interface GossipOutput {
  /** The subject said so itself. */
  alive(now: Instant, slot: number): void;
  left(now: Instant, slot: number): void;
  /** False where it does not count: enough have accused, or it is dead already. */
  accused(now: Instant, slot: number, accuser: number): boolean;
  /** Whether another accuser would still count. */
  isAccusable(now: Instant, slot: number): boolean;
  /** Whether this one counts already. */
  hasAccused(slot: number, accuser: number): boolean;
  /** The record that a statement speaks of is not here: it came from there. */
  lacks(now: Instant, from: number, low: number, high: number): void;
  isHearsay(low: number, high: number, sequence: number): boolean;
  /** Whether whoever is not known yet comes with the bulk. */
  fetchesBulk(now: Instant): boolean;
}

export class Gossip {
  readonly queue: BroadcastQueue;
  readonly counters: GossipCounters = {
    statementsNotAuthentic: 0,
    accusationsRefused: 0,
    accusationsMade: 0,
    refutations: 0,
  };
  readonly #table: MemberTable;
  readonly #profile: Profile;
  readonly #signer: StatementSigner;
  readonly #fetches: Fetches;
  readonly #output: GossipOutput;
  #incarnation = 0;
  #accusedMs = Number.NEGATIVE_INFINITY;
  #refutedMs = Number.NEGATIVE_INFINITY;
  #assertedMs = Number.NEGATIVE_INFINITY;
  #leaving = false;
  /** The latest of each suspect, to be shown to it: bounded, for it costs a refutation little. */
  readonly #accusations = new Map<number, Uint8Array>();
  /** By slot, in 100 ms: when an accuser's next accusation counts. */
  #accuserDue = new Uint32Array(0);

  constructor(
    table: MemberTable,
    profile: Profile,
    signer: StatementSigner,
    fetches: Fetches,
    output: GossipOutput,
  ) {
    this.#table = table;
    this.#profile = profile;
    this.#signer = signer;
    this.#fetches = fetches;
    this.#output = output;
    this.queue = new BroadcastQueue((statement) => table.statements.release(statement));
  }

  /** This node has a new record: it says that it lives. */
  ownRecord(): void {
    this.#incarnation = 0;
    this.#state(this.#leaving ? statementKinds.leave : statementKinds.alive);
  }

  /** Says that it goes; every later word of this life says so too. */
  leave(): void {
    this.#leaving = true;
    this.#incarnation += 1;
    this.#state(statementKinds.leave);
  }

  /** Who was dead to us most likely held us dead: says anew that it lives, but not all the time. */
  assertSelf(now: Instant): void {
    if (this.#leaving || now.ms - this.#assertedMs < assertIntervalMs) return;
    this.#assertedMs = now.ms;
    this.#incarnation += 1;
    this.#state(statementKinds.alive);
  }

  /** An accusation of this node's own, unless its last is too fresh: signed, told, and returned. */
  accuse(now: Instant, slot: number): Uint8Array | undefined {
    const table = this.#table;
    if (this.#leaving || now.ms - this.#accusedMs < accusationIntervalMs) return undefined;
    if (table.sequence(selfSlot) === 0) return undefined;
    this.#accusedMs = now.ms;
    this.counters.accusationsMade += 1;
    const bytes = this.#sign({
      kind: statementKinds.suspect,
      subject: table.identity(slot),
      sequence: table.sequence(slot),
      incarnation: table.incarnation(slot),
      accuser: table.self,
    });
    this.queue.add(this.#store(bytes), slot);
    this.#remember(slot, bytes);
    return bytes;
  }

  /** One about what is held of the subject now, to be shown to it. */
  accusationOf(slot: number): Uint8Array | undefined {
    const bytes = this.#accusations.get(slot);
    return bytes !== undefined && incarnationOf(bytes, 0) === this.#table.incarnation(slot)
      ? bytes
      : undefined;
  }

  endAccusations(slot: number): void {
    this.#accusations.delete(slot);
  }

  /** The slot may be another's soon. */
  forget(slot: number): void {
    this.#accusations.delete(slot);
    if (slot < this.#accuserDue.length) this.#accuserDue[slot] = 0;
  }

  /** Statements that fit, those least told first. */
  pick(bytesFree: number): readonly Uint8Array[] {
    if (this.queue.size === 0) return none;
    return this.queue.pick(bytesFree, this.#limit(), this.#bytesOf);
  }

  /** The statement that stands there. Whether it was news that changed what is held of the subject. */
  receive(now: Instant, from: number, bytes: Uint8Array, at = 0): boolean {
    const low = wordAt(bytes, at + subjectAt);
    const high = wordAt(bytes, at + subjectAt + 4);
    const slot = this.#table.findKey(low, high);
    if (statementKind(bytes, at) === statementKinds.suspect) {
      if (slot !== undefined) this.#receiveAccusation(now, slot, bytes, at);
      return false;
    }
    const sequence = sequenceOf(bytes, at);
    if (sequence > Number.MAX_SAFE_INTEGER) return false;
    if (slot === undefined) {
      if (this.#output.fetchesBulk(now)) return false;
      if (this.#output.isHearsay(low, high, sequence)) return false;
    } else {
      const held = this.#table.sequence(slot);
      if (sequence < held) return false;
      if (sequence === held) return this.#receiveWord(now, slot, bytes, at);
    }
    this.#fetches.announce(low, high, from, bytes.slice(at, at + statementBytes));
    this.#output.lacks(now, from, low, high);
    return false;
  }

  /** The record of this member has come: so may what was said of it before. */
  recordArrived(now: Instant, slot: number): void {
    const [low, high] = [this.#table.low(slot), this.#table.high(slot)];
    this.#fetches.arrived(low, high);
    const announced = this.#fetches.takeAnnounced(low, high);
    if (announced === undefined) return;
    if (sequenceOf(announced, 0) === this.#table.sequence(slot)) {
      this.#receiveWord(now, slot, announced, 0);
    }
  }

  #receiveWord(now: Instant, slot: number, bytes: Uint8Array, at: number): boolean {
    const table = this.#table;
    const incarnation = incarnationOf(bytes, at);
    const held = table.incarnation(slot);
    if (slot === selfSlot || incarnation < held) return false;
    if (incarnation === held && table.statement(slot) !== 0) return false;
    if (!table.hasIdentity(slot, bytes, at + subjectAt)) return false;
    const id = this.#verified(bytes, at, at + statementBytes);
    if (id === undefined) return false;
    table.setStatement(slot, id);
    this.queue.add(id, slot);
    this.#fetches.arrived(table.low(slot), table.high(slot));
    if (statementKind(bytes, at) === statementKinds.leave) this.#output.left(now, slot);
    else if (incarnation > held) this.#output.alive(now, slot);
    return incarnation > held;
  }

  #receiveAccusation(now: Instant, slot: number, bytes: Uint8Array, at: number): void {
    const table = this.#table;
    if (sequenceOf(bytes, at) !== table.sequence(slot)) return;
    if (incarnationOf(bytes, at) !== this.#incarnationOf(slot)) return;
    if (slot !== selfSlot && !this.#output.isAccusable(now, slot)) return;
    // Most have been told before, and are neither copied nor looked at any further.
    const accuser = table.findKey(wordAt(bytes, at + accuserAt), wordAt(bytes, at + accuserAt + 4));
    if (accuser === undefined || accuser === selfSlot || accuser === slot) return;
    if (slot !== selfSlot && this.#output.hasAccused(slot, accuser)) return;
    if (!table.hasIdentity(accuser, bytes, at + accuserAt)) return;
    if (!table.hasIdentity(slot, bytes, at + subjectAt)) return;
    const to = at + accusationBytes;
    if (table.statements.find(bytes, at, to) === undefined && !this.#mayAccuse(now, accuser)) {
      this.counters.accusationsRefused += 1;
      return;
    }
    const id = this.#verified(bytes, at, to);
    if (id === undefined) return;
    if (slot !== selfSlot && this.#output.accused(now, slot, accuser)) {
      this.#charge(now, accuser);
      this.#remember(slot, table.statements.bytes(id));
      this.queue.add(id, slot);
      return;
    }
    table.statements.release(id);
    if (slot === selfSlot) this.#refute(now);
  }

  #remember(slot: number, accusation: Uint8Array): void {
    if (this.#accusations.size < accusationsMax) this.#accusations.set(slot, accusation);
  }

  #refute(now: Instant): void {
    if (this.#leaving || now.ms - this.#refutedMs < refuteIntervalMs) return;
    this.#refutedMs = now.ms;
    this.counters.refutations += 1;
    this.#incarnation += 1;
    this.#state(statementKinds.alive);
  }

  #incarnationOf(slot: number): number {
    return slot === selfSlot ? this.#incarnation : this.#table.incarnation(slot);
  }

  /** Signs and tells what this node says of itself. */
  #state(kind: 1 | 2): void {
    const table = this.#table;
    if (table.sequence(selfSlot) === 0) return;
    const bytes = this.#sign({
      kind,
      subject: table.self,
      sequence: table.sequence(selfSlot),
      incarnation: this.#incarnation,
    });
    const id = this.#store(bytes);
    table.setStatement(selfSlot, id);
    this.queue.add(id, selfSlot);
  }

  #sign(fields: Parameters<typeof statementBody>[0]): Uint8Array {
    const body = statementBody(fields);
    const signature = this.#signer.sign(body);
    const out = new Uint8Array(body.length + signature.length);
    out.set(body);
    out.set(signature, body.length);
    return out;
  }

  /** Held once by the caller; undefined where the signature does not hold. */
  #verified(bytes: Uint8Array, from: number, to: number): StoredId | undefined {
    const { statements } = this.#table;
    const known = statements.find(bytes, from, to);
    if (known !== undefined) {
      statements.retain(known);
      return known;
    }
    const statement = bytes.slice(from, to);
    const body = signedPart(statement);
    if (!this.#signer.verify(signerOf(statement), body, signatureOf(statement))) {
      this.counters.statementsNotAuthentic += 1;
      return undefined;
    }
    return this.#store(statement);
  }

  #store(bytes: Uint8Array): StoredId {
    return this.#table.statements.put(bytes, statementKeys(bytes), undefined);
  }

  #mayAccuse(now: Instant, accuser: number): boolean {
    return (this.#accuserDue[accuser] ?? 0) * tickMs <= now.ms;
  }

  /** What comes late may come close to the next: half the interval is granted to the way. */
  #charge(now: Instant, accuser: number): void {
    if (accuser >= this.#accuserDue.length) {
      this.#accuserDue = grown(this.#accuserDue, new Uint32Array(this.#table.slotsEnd));
    }
    this.#accuserDue[accuser] = Math.ceil((now.ms + accusationIntervalMs / 2) / tickMs);
  }

  /** undefined: it no longer holds, for the subject has said something since, or is gone. */
  readonly #bytesOf = (id: StoredId, slot: number, told: number): Uint8Array | undefined => {
    const table = this.#table;
    const { statements } = table;
    if (table.statement(slot) === id) return statements.bytes(id);
    const bytes = statements.bytes(id);
    if (statementKind(bytes) !== statementKinds.suspect || !table.has(slot)) return undefined;
    const isOfMember =
      statements.low[id] === table.low(slot) && statements.high[id] === table.high(slot);
    if (!isOfMember || statements.sequence[id] !== table.sequence(slot)) return undefined;
    if (statements.incarnation[id] !== table.incarnation(slot)) return undefined;
    const state = table.stateCode(slot);
    // Who is dead here was accused a while ago, and others know: half of the telling does.
    const isOld = state === stateCodes.dead && told >= this.#limit() / 2;
    return isOld || state === stateCodes.left ? undefined : bytes;
  };

  #limit(): number {
    return retransmitLimit(this.#profile, this.#table.size);
  }
}

const none: readonly Uint8Array[] = [];

/**
 * How what organisations say reaches everybody: revocations and vouches, a set that every member who
 * accepts the organisation ends up with. News go to three members at a time, every fifth of a second,
 * as often as it takes to reach all; and when a session comes up, and every half minute, two members
 * compare digests and exchange what differs, so that a partition heals. Owns the set and its spread;
 * what a statement does to the roster is node.ts's.
 */
import { toHex } from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import type { IdentityCrypto } from "../base/crypto.ts";
import { assert } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import {
  decodeStatement,
  encodeStatement,
  statementIdBytes,
  type VerifiedStatement,
  verifyStatement,
} from "../trust/statement.ts";
import {
  digestHashBytes,
  encodeTrustMessage,
  idsMax,
  statementsThatFit,
  type TrustMessage,
  wantMax,
} from "./trust-message.ts";

export const statementsMax = 16_384;
export const spreadIntervalMs = 200;
export const spreadTargets = 3;
export const compareIntervalMs = 30_000;
/** In a large mesh by such sessions alone: others lapse where nothing else needs them. */
const youngMs = 100_000;
/** Two members compare what they hold at most this often, but for what is new. */
const exchangeIntervalMs = 5_000;
const exchangesMax = 1_024;
/** Known to be of no use here, so that they are not fetched again. */
const refusedMax = 1_024;
/** Messages in one answer to a digest: with these, all that may be held is listed. */
const idMessagesMax = Math.ceil(statementsMax / idsMax);
const transmitsMax = 512;
const idFirst = "00".repeat(statementIdBytes);
const idLast = "ff".repeat(statementIdBytes);

export interface TrustSpreadOptions {
  readonly crypto: IdentityCrypto;
  readonly random: Random;
  readonly networkId: Uint8Array;
  /** Whether what the organisation says counts here. */
  readonly accepts: (organisation: Uint8Array) => boolean;
  /** Some members with live sessions, at random, in a large mesh since then; and how many there are in all. */
  readonly pickLinked: (count: number, sinceMs?: number) => readonly number[];
  readonly memberCount: () => number;
}

export interface TrustSpreadCounters {
  statementsReceived: number;
  statementsRefused: number;
  statementsOverflow: number;
  exchanges: number;
}

interface Held {
  readonly bytes: Uint8Array;
  /** Unix ms; of a vouch. */
  readonly expiresWallMs: number;
  readonly hash: Uint8Array;
  /** How often it is still to be told. */
  left: number;
}

export class TrustSpread {
  readonly counters: TrustSpreadCounters = {
    statementsReceived: 0,
    statementsRefused: 0,
    statementsOverflow: 0,
    exchanges: 0,
  };
  readonly #options: TrustSpreadOptions;
  /** By id: the first 8 bytes of its hash. */
  readonly #held = new Map<string, Held>();
  readonly #news = new Set<string>();
  readonly #refused = new Set<string>();
  readonly #digest = new Uint8Array(digestHashBytes);
  /** By member's slot, monotonic ms. */
  readonly #exchangedAtMs = new Map<number, number>();
  #spreadAtMs = 0;
  #compareAtMs: number | undefined;
  readonly #transmits: { to: number; bytes: Uint8Array }[] = [];
  readonly #learnt: VerifiedStatement[] = [];

  constructor(options: TrustSpreadOptions) {
    this.#options = options;
  }

  /** All that is held, for the disk. */
  all(): Iterable<Uint8Array> {
    return Array.from(this.#held.values(), ({ bytes }) => bytes);
  }

  get size(): number {
    return this.#held.size;
  }

  /**
   * From the disk, the operator or a member. True where it is new and holds; then it is told to
   * everybody, and comes out of `pollLearnt`.
   */
  take(now: Instant, bytes: Uint8Array): boolean {
    const { crypto, networkId, accepts } = this.#options;
    const id = this.#idOf(bytes);
    if (this.#held.has(id)) return false;
    const unverified = decodeStatement(bytes);
    const organisation =
      unverified?.claimed.kind === "revocation"
        ? unverified.claimed.revocation.organisation
        : unverified?.claimed.vouch.organisation;
    if (unverified === undefined || organisation === undefined || !accepts(organisation)) {
      this.#refuse(id);
      return false;
    }
    const statement = verifyStatement(crypto, networkId, unverified, now);
    if (statement === undefined) {
      this.#refuse(id);
      return false;
    }
    if (this.#held.size >= statementsMax) {
      this.counters.statementsOverflow += 1;
      return false;
    }
    const encoded = encodeStatement(statement);
    const expiresWallMs =
      statement.kind === "vouch" ? statement.vouch.expiresWallMs : Number.POSITIVE_INFINITY;
    const hash = crypto.digest(digestHashBytes, encoded);
    const held: Held = { bytes: encoded, expiresWallMs, hash, left: this.#repeats() };
    this.#held.set(id, held);
    this.#mix(hash);
    this.#refused.delete(id);
    if (this.#news.size === 0) this.#spreadAtMs = now.ms;
    this.#news.add(id);
    this.#learnt.push(statement);
    return true;
  }

  /** Another organisation is accepted: what was of no use may be now. */
  acceptanceChanged(): void {
    this.#refused.clear();
  }

  /** A session with the member came up: do both hold the same? */
  linked(now: Instant, slot: number): void {
    this.#compareAtMs ??= now.ms + compareIntervalMs;
    // Who holds nothing is told by who does.
    if (this.#held.size > 0) this.#sendDigest(slot);
  }

  handle(now: Instant, from: number, message: TrustMessage): void {
    switch (message.kind) {
      case "statements":
        this.counters.statementsReceived += message.statements.length;
        for (const bytes of message.statements) this.take(now, bytes);
        return;
      case "digest":
        if (message.count === this.#held.size && toHex(message.hash) === toHex(this.#digest)) {
          return;
        }
        this.#exchange(now, from);
        return;
      case "ids":
        this.#reconcile(from, message);
        return;
      case "want":
        this.#sendStatements(
          from,
          message.ids.flatMap((id) => this.#held.get(id)?.bytes ?? []),
        );
        return;
      default:
        return; // an introduction on its way: not ours
    }
  }

  handleTimeout(now: Instant): void {
    if (this.#news.size > 0 && now.ms >= this.#spreadAtMs) this.#spread(now);
    if (this.#compareAtMs !== undefined && now.ms >= this.#compareAtMs) {
      this.#compareAtMs = now.ms + compareIntervalMs;
      this.#expire(now);
      const [slot] = this.#options.pickLinked(1, now.ms - youngMs);
      if (slot !== undefined) this.#sendDigest(slot);
    }
  }

  nextTimeout(): number | undefined {
    const spread = this.#news.size > 0 ? this.#spreadAtMs : undefined;
    if (spread === undefined || this.#compareAtMs === undefined) return spread ?? this.#compareAtMs;
    return Math.min(spread, this.#compareAtMs);
  }

  pollLearnt(): VerifiedStatement | undefined {
    return this.#learnt.shift();
  }

  pollTransmit(): { readonly to: number; readonly bytes: Uint8Array } | undefined {
    return this.#transmits.shift();
  }

  /** As SWIM tells its news: enough for everybody, with a margin that grows with the logarithm. */
  #repeats(): number {
    return 4 * Math.ceil(Math.log10(this.#options.memberCount() + 2));
  }

  #spread(now: Instant): void {
    this.#spreadAtMs = now.ms + spreadIntervalMs;
    const targets = this.#options.pickLinked(spreadTargets);
    // Nobody to tell: whoever comes is told by the digest.
    if (targets.length === 0) {
      this.#news.clear();
      return;
    }
    const held = [...this.#news].map((id) => [id, this.#held.get(id) as Held] as const);
    held.sort(([, a], [, b]) => b.left - a.left);
    const told = statementsThatFit(held.map(([, { bytes }]) => bytes));
    for (const to of targets) this.#send(to, { kind: "statements", statements: told });
    for (const [id, each] of held.slice(0, told.length)) {
      each.left -= 1;
      if (each.left <= 0) this.#news.delete(id);
    }
  }

  /** The other holds something else: all ids, in ranges, each complete in itself. */
  #exchange(now: Instant, to: number): void {
    const lastMs = this.#exchangedAtMs.get(to);
    if (lastMs !== undefined && now.ms < lastMs + exchangeIntervalMs) return;
    if (this.#exchangedAtMs.size >= exchangesMax) this.#exchangedAtMs.clear();
    this.#exchangedAtMs.set(to, now.ms);
    this.counters.exchanges += 1;
    const ids = [...this.#held.keys()].toSorted();
    let first = idFirst;
    for (let message = 0; message < idMessagesMax; message += 1) {
      const part = ids.slice(message * idsMax, (message + 1) * idsMax);
      const isLast = (message + 1) * idsMax >= ids.length;
      const last = isLast ? idLast : (part.at(-1) as string);
      this.#send(to, { kind: "ids", first, last, ids: part });
      if (isLast) return;
      first = next(last);
    }
  }

  #reconcile(from: number, { first, last, ids }: TrustMessage & { kind: "ids" }): void {
    const theirs = new Set(ids);
    const ours = [...this.#held.keys()].filter((id) => id >= first && id <= last);
    const lacking = ours.filter((id) => !theirs.has(id));
    this.#sendStatements(
      from,
      lacking.map((id) => (this.#held.get(id) as Held).bytes),
    );
    const wanted = ids.filter((id) => !this.#held.has(id) && !this.#refused.has(id));
    for (let at = 0; at < wanted.length; at += wantMax) {
      this.#send(from, { kind: "want", ids: wanted.slice(at, at + wantMax) });
    }
  }

  #sendStatements(to: number, statements: readonly Uint8Array[]): void {
    for (let at = 0; at < statements.length; ) {
      const some = statementsThatFit(statements.slice(at));
      this.#send(to, { kind: "statements", statements: some });
      at += some.length;
    }
  }

  #sendDigest(to: number): void {
    this.#send(to, { kind: "digest", count: this.#held.size, hash: this.#digest.slice() });
  }

  #send(to: number, message: TrustMessage): void {
    if (this.#transmits.length >= transmitsMax) {
      this.counters.statementsOverflow += 1;
      return;
    }
    this.#transmits.push({ to, bytes: encodeTrustMessage(message) });
  }

  #expire(now: Instant): void {
    for (const [id, { expiresWallMs, hash }] of this.#held) {
      if (expiresWallMs > now.wallMs) continue;
      this.#held.delete(id);
      this.#news.delete(id);
      this.#mix(hash);
    }
  }

  #refuse(id: string): void {
    this.counters.statementsRefused += 1;
    if (this.#refused.size >= refusedMax) this.#refused.clear();
    this.#refused.add(id);
  }

  #idOf(bytes: Uint8Array): string {
    const { crypto } = this.#options;
    return toHex(crypto.digest(digestHashBytes, bytes).subarray(0, statementIdBytes));
  }

  /** In or out: exclusive or is its own inverse. */
  #mix(hash: Uint8Array): void {
    assert(hash.length === digestHashBytes, "a hash is 16 bytes");
    for (let i = 0; i < digestHashBytes; i += 1) {
      this.#digest[i] = (this.#digest[i] as number) ^ (hash[i] as number);
    }
  }
}

/** The id after this one. */
function next(id: string): string {
  return (BigInt(`0x${id}`) + 1n).toString(16).padStart(2 * statementIdBytes, "0");
}

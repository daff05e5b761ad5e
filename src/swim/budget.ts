/**
 * What a member may send us without being asked: 20 messages and 64 KiB a second, with a burst of
 * two seconds' worth; what it fetches from us is charged to the same bytes. What we ask for is
 * granted ahead as credit, for a few seconds, and pays only for what anti-entropy brings. And how much
 * we ask for: whoever lacks everything asks several at a time, and they know nothing of each other. It
 * judges by slot and knows nothing of contents.
 */
import { Pruning } from "../base/prune.ts";
import { refill, type TokenBucket } from "../base/token-bucket.ts";
import type { Message } from "./message.ts";

export const budgetMessagesPerSecond = 20;
export const budgetBytesPerSecond = 64 * 1024;
export const budgetBurstSeconds = 2;
export const creditMax = 64;
const creditLifetimeMs = 5_000;
/** What all members together may fetch: a seed that many join through has more to do. */
export const servedBytesPerSecond = 192 * 1024;
const servedBurstBytes = servedBytesPerSecond / 2;
/** Served at once for one fetch while much, or little, of that is left. */
export const servedRecordsMax = 64;
const servedRecordsScarce = 8;
/** What is asked for of all members together, a second, and at once. */
export const fetchedBytesPerSecond = 192 * 1024;
const fetchedBurstBytes = 48 * 1024;
/** What is pushed takes from that, and stops it for half a second at most. */
const pushedBytesMax = fetchedBytesPerSecond / 2;
/** Of a record, before any has come. */
const recordBytesGuess = 400;
const recordBytesGain = 1 / 16;
/** Credit that the member brought about, by its summary, is given at most this often. */
const unaskedGrantIntervalMs = 1_000;

const creditable: ReadonlySet<Message["kind"]> = new Set(["records", "gossip", "digest", "fetch"]);

interface Account {
  messages: number;
  bytes: number;
  atMs: number;
  credit: number;
  creditUntilMs: number;
  unaskedGrantAtMs: number;
}

export class Budgets {
  readonly #accounts = new Map<number, Account>();
  readonly #pruning = new Pruning();
  /** Of bytes, both. */
  readonly #served: TokenBucket = { tokens: servedBurstBytes, atMs: 0 };
  readonly #fetched: TokenBucket = { tokens: fetchedBurstBytes, atMs: 0 };
  /** Of the records that came lately. */
  #recordBytes = recordBytesGuess;
  /** Records that were asked for and have not come yet; those that never come are forgotten in time. */
  #awaited = 0;

  /** We asked the member for something that may take this many messages. */
  grant(nowMs: number, slot: number, messages: number): void {
    const account = this.#account(nowMs, slot);
    const left = nowMs < account.creditUntilMs ? account.credit : 0;
    account.credit = Math.min(creditMax, left + messages);
    account.creditUntilMs = nowMs + creditLifetimeMs;
  }

  /** The member asked us to begin an exchange in which it will send. */
  grantUnasked(nowMs: number, slot: number, messages: number): void {
    const account = this.#account(nowMs, slot);
    if (nowMs < account.unaskedGrantAtMs + unaskedGrantIntervalMs) return;
    account.unaskedGrantAtMs = nowMs;
    this.grant(nowMs, slot, messages);
  }

  /** Whether the message is within the member's credit or budget; it is charged for it. */
  take(nowMs: number, slot: number, kind: Message["kind"], bytes: number): boolean {
    const account = this.#account(nowMs, slot);
    if (nowMs < account.creditUntilMs && account.credit > 0 && creditable.has(kind)) {
      account.credit -= 1;
      return true;
    }
    this.#refill(nowMs, account);
    if (account.messages < 1 || account.bytes < bytes) return false;
    account.messages -= 1;
    account.bytes -= bytes;
    return true;
  }

  /** How many records one fetch may bring now. */
  servable(nowMs: number): number {
    return this.isScarce(nowMs) ? servedRecordsScarce : servedRecordsMax;
  }

  /** Whether little is left of what all may have: then each gets a little. */
  isScarce(nowMs: number): boolean {
    this.#refillServed(nowMs);
    return this.#served.tokens <= servedBytesPerSecond / 4;
  }

  /** Whether an answer of this size to anybody is within what all may have. */
  takeServed(nowMs: number, bytes: number): boolean {
    this.#refillServed(nowMs);
    if (this.#served.tokens < bytes) return false;
    this.#served.tokens -= bytes;
    return true;
  }

  /** Whether the member may have this many bytes from us for its asking. */
  takeBytes(nowMs: number, slot: number, bytes: number): boolean {
    const account = this.#account(nowMs, slot);
    this.#refill(nowMs, account);
    if (account.bytes < bytes || this.#served.tokens < bytes) return false;
    account.bytes -= bytes;
    this.#served.tokens -= bytes;
    return true;
  }

  /** How many records may be asked for now, for all that came and is on its way. */
  fetchable(nowMs: number): number {
    this.#refillFetched(nowMs);
    return Math.max(0, Math.floor(this.#fetched.tokens / this.#recordBytes));
  }

  /** So many were asked for. */
  fetching(nowMs: number, records: number): void {
    this.#refillFetched(nowMs);
    this.#fetched.tokens -= records * this.#recordBytes;
    this.#awaited += records;
  }

  /**
   * A record of this length came: the next are taken to be as long. Whoever is pushed records that it
   * did not ask for asks for so much less.
   */
  received(length: number): void {
    this.#recordBytes += recordBytesGain * (length - this.#recordBytes);
    if (this.#awaited > 0) this.#awaited -= 1;
    else this.#fetched.tokens = Math.max(-pushedBytesMax, this.#fetched.tokens - length);
  }

  #refillFetched(nowMs: number): void {
    const tokens = refill(this.#fetched, nowMs, fetchedBytesPerSecond, fetchedBurstBytes);
    // Nothing was asked for lately.
    if (tokens === fetchedBurstBytes) this.#awaited = 0;
  }

  #refillServed(nowMs: number): void {
    refill(this.#served, nowMs, servedBytesPerSecond, servedBurstBytes);
  }

  forget(slot: number): void {
    this.#accounts.delete(slot);
  }

  #refill(nowMs: number, account: Account): void {
    const elapsed = (nowMs - account.atMs) / 1000;
    account.atMs = nowMs;
    const messagesMax = budgetMessagesPerSecond * budgetBurstSeconds;
    const bytesMax = budgetBytesPerSecond * budgetBurstSeconds;
    account.messages = Math.min(messagesMax, account.messages + elapsed * budgetMessagesPerSecond);
    account.bytes = Math.min(bytesMax, account.bytes + elapsed * budgetBytesPerSecond);
  }

  #account(nowMs: number, slot: number): Account {
    let account = this.#accounts.get(slot);
    if (account === undefined) {
      account = {
        messages: budgetMessagesPerSecond * budgetBurstSeconds,
        bytes: budgetBytesPerSecond * budgetBurstSeconds,
        atMs: nowMs,
        credit: 0,
        creditUntilMs: 0,
        unaskedGrantAtMs: Number.NEGATIVE_INFINITY,
      };
      // One that has all it may have is as good as none.
      this.#pruning.run(this.#accounts, (it) => {
        return nowMs >= Math.max(it.atMs + 1_000 * budgetBurstSeconds, it.creditUntilMs);
      });
      this.#accounts.set(slot, account);
    }
    return account;
  }
}

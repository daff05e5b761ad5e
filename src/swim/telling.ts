/**
 * How much of what is known goes to whom, and when: gossip on its own, what travels beside pings and
 * acks, and whom an exchange is held with. In a large mesh everybody comes in by a few doors and
 * holds a session with them, so that they hear and say no more than if few knew them. What is told,
 * and how often, gossip.ts chooses.
 */
import type { Instant } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import { refill, type TokenBucket } from "../base/token-bucket.ts";
import type { Gossip } from "./gossip.ts";
import { gossipRoom, messageBytesMax } from "./message.ts";
import type { Outbox } from "./outbox.ts";
import type { Profile } from "./profile.ts";
import { type Link, type MemberTable, selfSlot } from "./state.ts";
import { statementBytes } from "./statement.ts";

/** Gossip uses younger sessions only, so that those that nothing else needs lapse by themselves. */
const gossipSessionMs = 100_000;
/** Under backlog a tick sends more than one datagram a target, up to 64 KiB/s together. */
const gossipBytesPerSecond = 64 * 1024;
const gossipDatagramsMax = 3;
const gossipAgainMs = 500;
const doorAgainMs = 2_000;
const backlogLinksMin = 8;
const backlogMin = 32;
/** Beside pings, acks, nacks and ping requests, all together: whom all ask answers all, but briefly. */
const besideBytesPerSecond = 32 * 1024;
/** From a newcomer, and beside numbers while much waits, to a door: it hears everything from somebody. */
const doorRoom = 4 * statementBytes;

export class Telling {
  readonly #table: MemberTable;
  readonly #gossip: Gossip;
  readonly #outbox: Outbox;
  readonly #random: Random;
  readonly #profile: Profile;
  #atMs = 0;
  /** Of bytes, a second's worth at once. */
  readonly #beside: TokenBucket = { tokens: besideBytesPerSecond, atMs: 0 };

  constructor(
    table: MemberTable,
    gossip: Gossip,
    outbox: Outbox,
    random: Random,
    profile: Profile,
  ) {
    this.#table = table;
    this.#gossip = gossip;
    this.#outbox = outbox;
    this.#random = random;
    this.#profile = profile;
  }

  /** There is something new to tell. */
  hurry(now: Instant): void {
    if (this.#atMs > now.ms) return;
    // A little of jitter, so that news that reach many at once are not passed on all at once.
    this.#atMs = now.ms + this.#random.below(this.#profile.gossipIntervalMs / 4);
  }

  nextTimeout(): number | undefined {
    return this.#isDue() ? this.#atMs : undefined;
  }

  handleTimeout(now: Instant): void {
    if (!this.#isDue() || this.#atMs > now.ms) return;
    const { gossipIntervalMs, gossipTargets } = this.#profile;
    this.#atMs = now.ms + gossipIntervalMs;
    const targets = this.#targets(now, gossipTargets);
    let bytesLeft = (gossipBytesPerSecond * gossipIntervalMs) / 1000;
    for (let turn = 0; turn < gossipDatagramsMax && targets.length > 0; turn += 1) {
      for (const to of targets) {
        if (bytesLeft < messageBytesMax) return;
        const brief = this.#table.linkedCount < backlogLinksMin && this.#isDoor(to);
        const statements = this.#gossip.pick(brief ? doorRoom : gossipRoom);
        if (statements.length === 0) return;
        this.#outbox.send(to, { kind: "gossip", statements });
        bytesLeft -= messageBytesMax;
      }
      // More only where the last ones were full, and not to the few that a newcomer knows.
      if (this.#gossip.queue.size < backlogMin || this.#table.linkedCount < backlogLinksMin) return;
    }
  }

  /** What goes beside a number to the member, with so much room for it. */
  beside(nowMs: number, to: number, room: number): readonly Uint8Array[] {
    if (this.#gossip.queue.size === 0) return none;
    const bytes = refill(this.#beside, nowMs, besideBytesPerSecond, besideBytesPerSecond);
    const brief = this.#gossip.queue.size >= backlogMin && this.#isDoor(to);
    const statements = this.#gossip.pick(Math.min(bytes, brief ? doorRoom : room));
    for (const { length } of statements) this.#beside.tokens -= length;
    return statements;
  }

  /**
   * Members with sessions at random, as if none were known to more than others: everybody holds a
   * session with the doors, and would choose them ever so often. One of them where there is nobody else.
   */
  pickFair(now: Instant, count: number, fits: (link: Link) => boolean = () => true): number[] {
    const { size, linkedCount } = this.#table;
    const fair = (link: Link): boolean => !link.entry || this.#random.below(size - 1) < linkedCount;
    const random = this.#random;
    const out = this.#table.pickLinked(random, count, selfSlot, (link) => fits(link) && fair(link));
    if (out.length > 0) return out;
    // A newcomer that knows only doors has little to say to them.
    const rarely = (link: Link): boolean => fits(link) && now.ms - link.toldMs >= doorAgainMs;
    return this.#table.pickLinked(random, 1, selfSlot, rarely);
  }

  #isDue(): boolean {
    return this.#gossip.queue.size > 0 && this.#table.linkedCount > 0;
  }

  #isDoor(slot: number): boolean {
    return this.#isLarge && this.#table.link(slot)?.entry === true;
  }

  get #isLarge(): boolean {
    return this.#table.size > this.#profile.heldMax;
  }

  /**
   * In a large mesh: young sessions only, so that those that nothing else needs lapse; not the same
   * member twice in a row; and the doors, which all know, no oftener than if few knew them.
   */
  #targets(now: Instant, count: number): number[] {
    const large = this.#isLarge;
    const isYoung = (link: Link): boolean => now.ms - link.sinceMs <= gossipSessionMs;
    const targets = this.pickFair(
      now,
      count,
      (link) => !large || (isYoung(link) && now.ms - link.toldMs >= gossipAgainMs),
    );
    for (const slot of targets) (this.#table.link(slot) as Link).toldMs = now.ms;
    return targets;
  }
}

const none: readonly Uint8Array[] = [];

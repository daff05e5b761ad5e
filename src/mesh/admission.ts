/**
 * Everything by which identities come to be admitted and cease to be, gathered for the node: the
 * roster, what organisations say and its spread, this node's own certificate, the invitations that it
 * issued, and those that it passes on. It decides nothing about sessions: the node removes members
 * that the roster no longer admits when `takeChanged` says that something may have changed.
 */
import { equalBytes, toHex } from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import type { Crypto } from "../base/crypto.ts";
import type { Endpoint } from "../base/endpoint.ts";
import { Pruning } from "../base/prune.ts";
import type { Random } from "../base/random.ts";
import { type TokenBucket, takeToken } from "../base/token-bucket.ts";
import { type Seniority, seniorityBy } from "../trust/address.ts";
import { decodeCertificate, verifyCertificate } from "../trust/certificate.ts";
import type { InviteBook } from "../trust/invite-book.ts";
import type { Record as MemberRecord } from "../trust/record.ts";
import { type LocalTrust, Roster } from "../trust/roster.ts";
import type { ReceivedDatagram } from "./dataplane.ts";
import type { Redeemer } from "./introducer.ts";
import { forwardedBytes } from "./introduction.ts";
import {
  decodeTrustMessage,
  encodeTrustMessage,
  forwardTicketBytes,
  type TrustMessage,
} from "./trust-message.ts";
import { TrustSpread } from "./trust-spread.ts";

/** What the operator and earlier runs left on the disk. */
export interface TrustState extends LocalTrust {
  /** What organisations said; see trust/statement.ts. */
  readonly statements: Iterable<Uint8Array>;
  /** This node's own, if it has one. */
  readonly certificate?: Uint8Array | undefined;
}

export interface AdmissionOptions {
  readonly crypto: Crypto;
  readonly random: Random;
  readonly networkId: Uint8Array;
  readonly self: Uint8Array;
  readonly trust: TrustState;
  readonly book?: InviteBook | undefined;
  /** SWIM slots of members with live sessions, at random, in a large mesh since then. */
  readonly pickLinked: (count: number, sinceMs?: number) => readonly number[];
  readonly memberCount: () => number;
}

/** What the node is to send, for the admission's sake. */
export type AdmissionTransmit =
  | { readonly kind: "message"; readonly to: number; readonly bytes: Uint8Array }
  | {
      readonly kind: "datagram";
      readonly to: Endpoint;
      readonly from?: Endpoint;
      readonly bytes: Uint8Array;
    };

/** A member, as far as it matters here. */
export interface Correspondent {
  readonly slot: number;
  readonly name: string;
}

export interface AdmissionCounters {
  malformed: number;
  overBudget: number;
  forwardsSent: number;
  forwardsRefused: number;
  forwardsAnswered: number;
}

/** Messages of trust that a member may send. */
const messagesPerSecond = 16;
const messagesBurst = 128;
/** Introductions passed on for strangers, all together. */
const forwardsPerSecond = 10;
const forwardsBurst = 20;
const forwardsOutstandingMax = 64;
const forwardLifetimeMs = 30_000;
/** A wall clock may jump, so expiries are looked at this often at least. */
const expiryCheckMs = 60_000;

interface Forward {
  readonly issuer: string;
  readonly datagram: ReceivedDatagram;
  readonly atMs: number;
}

export class Admission {
  readonly roster: Roster;
  readonly counters: AdmissionCounters = {
    malformed: 0,
    overBudget: 0,
    forwardsSent: 0,
    forwardsRefused: 0,
    forwardsAnswered: 0,
  };
  readonly #options: AdmissionOptions;
  readonly #statements: TrustSpread;
  #certificate: Uint8Array | undefined;
  /** By member's slot. */
  readonly #budgets = new Map<number, TokenBucket>();
  readonly #pruning = new Pruning();
  readonly #forwards = new Map<string, Forward>();
  readonly #forwardBudget: TokenBucket = { tokens: forwardsBurst, atMs: 0 };
  #changed = false;
  #statementsChanged = false;
  #expiryAtMs = Number.POSITIVE_INFINITY;
  readonly #transmits: AdmissionTransmit[] = [];

  constructor(options: AdmissionOptions) {
    const { crypto, random, networkId, self, trust, pickLinked, memberCount } = options;
    this.#options = options;
    this.roster = new Roster({ crypto, networkId, self });
    this.roster.setLocal(trust);
    const accepts = (organisation: Uint8Array): boolean =>
      this.roster.acceptsOrganisation(organisation);
    const spread = { crypto, random, networkId, accepts, pickLinked, memberCount };
    this.#statements = new TrustSpread(spread);
  }

  /** Takes up what the disk holds. */
  start(now: Instant): void {
    this.#takeDisk(now, this.#options.trust);
    this.#statementsChanged = false;
    this.#changed = false;
  }

  /** The operator decided otherwise; the disk has it. Whether this node carries another certificate now. */
  setTrust(now: Instant, trust: TrustState): boolean {
    const before = this.#certificate;
    this.roster.setLocal(trust);
    this.#statements.acceptanceChanged();
    this.#takeDisk(now, trust);
    this.#changed = true;
    return !equalBytes(before ?? noBytes, this.#certificate ?? noBytes);
  }

  /** This node's own certificate, as it stands behind its record. */
  get certificate(): Uint8Array | undefined {
    return this.#certificate;
  }

  /** Since when an organisation has known the member, or this node, by its certificate. */
  seniorityOf(name?: string): Seniority | undefined {
    if (name !== undefined) return seniorityBy(this.roster.certificateOf(name));
    return this.#certificate && seniorityBy(decodeCertificate(this.#certificate)?.claimed);
  }

  /** What our invitation was redeemed for. False where it is not for us, or nobody we accept made it. */
  takeGranted(now: Instant, bytes: Uint8Array): boolean {
    const { crypto, networkId, self } = this.#options;
    const unverified = decodeCertificate(bytes);
    if (unverified === undefined || unverified.claimed.isVouch) return false;
    if (!equalBytes(unverified.claimed.identity, self)) return false;
    if (!this.roster.acceptsOrganisation(unverified.claimed.organisation)) return false;
    if (verifyCertificate(crypto, networkId, unverified, now) === undefined) return false;
    this.#certificate = bytes;
    return true;
  }

  /** The issuer's side, where this node issues invitations. */
  get redeemer(): Redeemer | undefined {
    const { book } = this.#options;
    if (book === undefined) return undefined;
    return {
      knows: (secret) => book.knows(secret),
      redeem: (now, secret, { identity }) => {
        if (this.roster.isRevoked(identity) || this.roster.isRevoked(book.organisation)) {
          return undefined;
        }
        const certificate = book.redeem(now, secret, identity);
        if (certificate !== undefined) this.roster.takeCertificate(certificate);
        return certificate?.bytes;
      },
    };
  }

  /** True once after anything by which somebody may be admitted no longer, or now. */
  takeChanged(): boolean {
    const changed = this.#changed;
    this.#changed = false;
    return changed;
  }

  /** What organisations said, where that is more than the disk has. */
  takeStatements(): readonly Uint8Array[] | undefined {
    if (!this.#statementsChanged) return undefined;
    this.#statementsChanged = false;
    return [...this.#statements.all()];
  }

  linked(now: Instant, member: Correspondent): void {
    this.#statements.linked(now, member.slot);
    this.#drain();
  }

  forget(slot: number): void {
    this.#budgets.delete(slot);
  }

  /**
   * A message of trust out of the member's session. `answer` is asked for the reply to an
   * introduction that the member passes on to us.
   */
  handleMessage(
    now: Instant,
    member: Correspondent,
    bytes: Uint8Array,
    answer: (sealed: Uint8Array) => Uint8Array | undefined,
  ): void {
    // A full one is as good as none.
    const fullAfterMs = (1_000 * messagesBurst) / messagesPerSecond;
    this.#pruning.run(this.#budgets, ({ atMs }) => now.ms >= atMs + fullAfterMs);
    const budget = this.#budgets.get(member.slot) ?? { tokens: messagesBurst, atMs: now.ms };
    this.#budgets.set(member.slot, budget);
    if (!takeToken(budget, now.ms, messagesPerSecond, messagesBurst)) {
      this.counters.overBudget += 1;
      return;
    }
    const message = decodeTrustMessage(bytes);
    if (message === undefined) {
      this.counters.malformed += 1;
      return;
    }
    if (message.kind === "forward") this.#answerForward(member, message, answer);
    else if (message.kind === "forwarded") this.#passBack(now, member, message);
    else this.#statements.handle(now, member.slot, message);
    this.#drain();
    this.#learn();
  }

  /** An introduction that came here for `issuer`: it is passed on inside its session. */
  forward(
    now: Instant,
    issuer: Correspondent | undefined,
    sealed: Uint8Array,
    datagram: ReceivedDatagram,
  ): void {
    for (const [ticket, { atMs }] of this.#forwards) {
      if (now.ms < atMs + forwardLifetimeMs) break;
      this.#forwards.delete(ticket);
    }
    const isRefused =
      issuer === undefined ||
      sealed.length !== forwardedBytes ||
      this.#forwards.size >= forwardsOutstandingMax ||
      !takeToken(this.#forwardBudget, now.ms, forwardsPerSecond, forwardsBurst);
    if (isRefused) {
      this.counters.forwardsRefused += 1;
      return;
    }
    const ticket = this.#options.random.bytes(forwardTicketBytes);
    this.#forwards.set(toHex(ticket), { issuer: issuer.name, datagram, atMs: now.ms });
    this.counters.forwardsSent += 1;
    this.#message(issuer.slot, { kind: "forward", ticket, sealed });
  }

  handleTimeout(now: Instant): void {
    this.#statements.handleTimeout(now);
    this.#drain();
    if (now.ms < this.#expiryAtMs) return;
    if (this.roster.expire(now.wallMs)) this.#changed = true;
    this.#setExpiry(now);
  }

  /** What was learnt of a certificate with a record: is it the next to expire? */
  recordTaken(now: Instant, { certificate }: MemberRecord): void {
    const expiresWallMs = certificate?.claimed.expiresWallMs ?? Number.POSITIVE_INFINITY;
    const atMs = now.ms + Math.max(0, expiresWallMs - now.wallMs);
    if (atMs < this.#expiryAtMs) this.#setExpiry(now);
  }

  nextTimeout(): number | undefined {
    const at = Math.min(
      this.#statements.nextTimeout() ?? Number.POSITIVE_INFINITY,
      this.#expiryAtMs,
    );
    return at === Number.POSITIVE_INFINITY ? undefined : at;
  }

  pollTransmit(): AdmissionTransmit | undefined {
    return this.#transmits.shift();
  }

  allCounters(): Readonly<Record<string, number>> {
    return { ...this.counters, ...this.#statements.counters };
  }

  #takeDisk(now: Instant, trust: TrustState): void {
    const { crypto, networkId, self } = this.#options;
    for (const bytes of trust.statements) this.#statements.take(now, bytes);
    this.#learn();
    // Expired or not: it is for others to judge, and for the daemon to warn of.
    const own = trust.certificate && decodeCertificate(trust.certificate);
    const isOurs = own !== undefined && equalBytes(own.claimed.identity, self);
    this.#certificate = isOurs ? trust.certificate : undefined;
    if (own !== undefined && isOurs) {
      const verified = verifyCertificate(crypto, networkId, own, now);
      if (verified === undefined) this.#certificate = undefined;
    }
    this.#setExpiry(now);
  }

  #learn(): void {
    for (let it = this.#statements.pollLearnt(); it; it = this.#statements.pollLearnt()) {
      this.#statementsChanged = true;
      if (it.kind === "revocation") this.roster.takeRevocation(it.revocation);
      else this.roster.takeVouch(it.vouch);
      this.#changed = true;
    }
  }

  #answerForward(
    member: Correspondent,
    message: TrustMessage & { kind: "forward" },
    answer: (sealed: Uint8Array) => Uint8Array | undefined,
  ): void {
    const datagram = answer(message.sealed);
    if (datagram === undefined) return;
    this.counters.forwardsAnswered += 1;
    this.#message(member.slot, { kind: "forwarded", ticket: message.ticket, datagram });
  }

  /** One reply, of the request's length, to where the request came from. */
  #passBack(
    now: Instant,
    member: Correspondent,
    message: TrustMessage & { kind: "forwarded" },
  ): void {
    const ticket = toHex(message.ticket);
    const forward = this.#forwards.get(ticket);
    const isOurs = forward?.issuer === member.name && now.ms < forward.atMs + forwardLifetimeMs;
    if (forward === undefined || !isOurs) {
      this.counters.forwardsRefused += 1;
      return;
    }
    this.#forwards.delete(ticket);
    const { remote: to, local } = forward.datagram;
    const from = local === undefined ? {} : { from: local };
    this.#transmits.push({ kind: "datagram", to, ...from, bytes: message.datagram });
  }

  #message(to: number, message: TrustMessage): void {
    this.#transmits.push({ kind: "message", to, bytes: encodeTrustMessage(message) });
  }

  #drain(): void {
    for (let it = this.#statements.pollTransmit(); it; it = this.#statements.pollTransmit()) {
      this.#transmits.push({ kind: "message", ...it });
    }
  }

  #setExpiry(now: Instant): void {
    const next = this.roster.nextExpiryWallMs;
    this.#expiryAtMs =
      next === undefined
        ? Number.POSITIVE_INFINITY
        : now.ms + Math.min(expiryCheckMs, Math.max(0, next - now.wallMs));
  }
}

export const noBytes = new Uint8Array(0);

/** What is left unsaid is nothing. */
export function trustOf(
  trusted: Iterable<Uint8Array>,
  { organisations = [], revoked = [], statements = [], certificate }: Partial<TrustState> = {},
): TrustState {
  return { trusted, organisations, revoked, statements, certificate };
}

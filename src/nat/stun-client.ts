/**
 * Asks STUN servers where this node is seen, from the node's own UDP socket. Owns the transactions:
 * random ids, retransmission by RFC 8489 section 6.2.1, how often and how much is asked, and from where
 * an answer may come; what the answers say together is stun-verdict.ts's. Requests go to configured
 * addresses only: another address that a server names (RFC 5780) is where an answer may come from,
 * never where a request goes, so a server can point this node at nobody. Pure: five verbs.
 */
import { toHex } from "../base/bytes.ts";
import { earliest, type Instant } from "../base/clock.ts";
import { type Endpoint, formatEndpoint, sameEndpoint } from "../base/endpoint.ts";
import { Fifo } from "../base/fifo.ts";
import type { Random } from "../base/random.ts";
import { type TokenBucket, takeToken } from "../base/token-bucket.ts";
import { type Change, decodeBindingAnswer, encodeBindingRequest, stunIdBytes } from "./stun.ts";
import { type Behaviour, isPlausible, judge, type Seen, type Verdict } from "./stun-verdict.ts";

export interface StunServer {
  /** As it is configured. */
  readonly name: string;
  readonly endpoint: Endpoint;
}

/** Addresses that are asked. */
export const stunServersMax = 8;
const rtoMs = 500;
/**
 * Rc and Rm of RFC 8489: 39.5 s in all, but for a question that somebody waits for. A test that may go
 * unanswered on purpose ends sooner.
 */
const schedules = { mapping: { sends: 7, last: 16 }, test: { sends: 3, last: 4 } } as const;
/** A mapping is kept up by it too: RFC 4787 has them last 2 min, and many NATs 30 s. */
const roundMs = 25_000;
const roundMsMax = 300_000;
/** An answer says nothing of a network that may have changed since. */
const freshMs = 3 * roundMs;
const requestsPerSecond = 1;
const requestsBurst = 40;
/** What is told of this node's place changes no more often, but for three times at once. */
const newsPerSecond = 1 / 60;
const newsBurst = 3;

type Purpose = "mapping" | "filter-any" | "filter-port" | "other-port";

interface Server extends StunServer {
  seen: { mapped: Endpoint; atMs: number; rttMs: number | undefined } | undefined;
  other: Endpoint | undefined;
  /** Of its last transaction. */
  outcome: "asked" | "answered" | "reserved" | "silent" | number;
  failures: number;
  dueMs: number;
}

interface Transaction {
  readonly id: Uint8Array;
  readonly key: string;
  readonly server: Server;
  readonly purpose: Purpose;
  readonly to: Endpoint;
  readonly bytes: Uint8Array;
  readonly startedMs: number;
  /** Then it is over. */
  endsMs: number;
  sends: number;
  atMs: number;
}

export interface StunTransmit {
  readonly to: Endpoint;
  readonly bytes: Uint8Array;
}

/** One answer with this id may pass the gate, for so long. */
export interface StunExpectation {
  readonly id: Uint8Array;
  readonly ms: number;
}

/** For a status. */
export interface StunServerStatus {
  readonly name: string;
  readonly endpoint: Endpoint;
  /** A number is an error that it answered with. */
  readonly outcome: Server["outcome"];
  readonly rttMs: number | undefined;
  readonly mapped: Endpoint | undefined;
  /** Another server says the same, and it is taken to be true. */
  readonly believed: boolean;
}

export class StunClient {
  readonly counters = {
    requestsSent: 0,
    requestsHeld: 0,
    answers: 0,
    malformed: 0,
    unexpected: 0,
    sourceWrong: 0,
    reserved: 0,
    disagreed: 0,
    errors: 0,
    unanswered: 0,
  };
  readonly #random: Random;
  readonly #servers = new Map<string, Server>();
  readonly #transactions = new Map<string, Transaction>();
  readonly #transmits = new Fifo<StunTransmit>();
  readonly #expectations = new Fifo<StunExpectation>();
  readonly #bucket: TokenBucket = { tokens: requestsBurst, atMs: 0 };
  readonly #news: TokenBucket = { tokens: newsBurst, atMs: 0 };
  #own: readonly string[] = [];
  #told = "";
  #filtering: Behaviour = "unknown";
  #portDependent: boolean | undefined;
  /** The server whose other address has been used for the tests of this network. */
  #tester: Server | undefined;
  #canTell = true;
  /** For whoever asked last: so long it waits, and until then it does. */
  #awaited = { withinMs: Number.POSITIVE_INFINITY, untilMs: Number.NEGATIVE_INFINITY };

  constructor(random: Random) {
    this.#random = random;
  }

  /** At most `stunServersMax`, each address once; those that are new are asked at once. */
  setServers(now: Instant, servers: readonly StunServer[]): void {
    const wanted = new Map(
      servers.slice(0, stunServersMax).map((server) => [formatEndpoint(server.endpoint), server]),
    );
    for (const [key, server] of this.#servers) {
      if (wanted.get(key)?.name === server.name) continue;
      this.#servers.delete(key);
      for (const it of this.#of(server)) this.#transactions.delete(it.key);
    }
    for (const [key, { name, endpoint }] of wanted) {
      if (this.#servers.has(key)) continue;
      const fresh = { seen: undefined, other: undefined, outcome: "asked", failures: 0 } as const;
      this.#servers.set(key, { name, endpoint, ...fresh, dueMs: now.ms });
    }
    this.handleTimeout(now);
  }

  /** Addresses of this node's interfaces. */
  setOwn(addresses: readonly string[]): void {
    this.#own = addresses;
  }

  /** Nothing that was said before holds any more. */
  networkChanged(now: Instant): void {
    this.#filtering = "unknown";
    this.#portDependent = undefined;
    this.#tester = undefined;
    this.#canTell = true;
    this.#transactions.clear();
    for (const server of this.#servers.values()) {
      server.seen = undefined;
      server.failures = 0;
      server.dueMs = now.ms;
    }
    this.handleTimeout(now);
  }

  /** Asks all again now, for somebody who waits: who is silent for so long counts as silent. */
  refresh(now: Instant, withinMs: number): void {
    this.#awaited = { withinMs, untilMs: now.ms + withinMs };
    for (const server of this.#servers.values()) {
      const running = this.#of(server).find(({ purpose }) => purpose === "mapping");
      if (running?.sends === 1) {
        running.endsMs = Math.min(running.endsMs, now.ms + withinMs);
        running.atMs = Math.min(running.atMs, running.endsMs);
        continue;
      }
      // The next try of one that was asked in vain may be far away.
      if (running !== undefined) this.#transactions.delete(running.key);
      server.dueMs = Number.POSITIVE_INFINITY;
      this.#ask(now, server, "mapping");
    }
  }

  /** A datagram that passed the gate as an answer. */
  handle(now: Instant, bytes: Uint8Array, remote: Endpoint): void {
    const answer = decodeBindingAnswer(bytes);
    if (answer === undefined) {
      this.counters.malformed += 1;
      return;
    }
    const transaction = this.#transactions.get(toHex(answer.id));
    if (transaction === undefined) {
      this.counters.unexpected += 1;
      return;
    }
    const { server, purpose } = transaction;
    const isOwn = sameEndpoint(remote, transaction.to);
    const isOther = !isOwn && sameEndpoint(remote, otherSource(server, purpose));
    if (!isOwn && !isOther) {
      this.counters.sourceWrong += 1;
      // The gate let this one pass for it; the right one may still come.
      this.#expect(now, transaction);
      return;
    }
    this.#transactions.delete(transaction.key);
    if (answer.error !== undefined) this.counters.errors += 1;
    else this.counters.answers += 1;
    if (purpose === "mapping") this.#learn(now, transaction, answer);
    else this.#testAnswered(now, transaction, answer.mapped, isOther);
  }

  handleTimeout(now: Instant): void {
    for (const transaction of [...this.#transactions.values()]) {
      if (transaction.atMs > now.ms) continue;
      const { sends } = schedules[transaction.purpose === "mapping" ? "mapping" : "test"];
      const isOver = transaction.sends >= sends || transaction.endsMs <= now.ms;
      if (!isOver) this.#send(now, transaction);
      else this.#unanswered(now, transaction);
    }
    for (const server of this.#servers.values()) {
      if (server.dueMs > now.ms || this.#isAsked(server)) continue;
      server.dueMs = Number.POSITIVE_INFINITY;
      this.#ask(now, server, "mapping");
    }
  }

  nextTimeout(): number | undefined {
    const due = [...this.#servers.values()].map((server) =>
      this.#isAsked(server) ? undefined : server.dueMs,
    );
    const next = earliest([...due, ...[...this.#transactions.values()].map(({ atMs }) => atMs)]);
    return next === Number.POSITIVE_INFINITY ? undefined : next;
  }

  /** To be carried out before what is sent. */
  pollExpectation(): StunExpectation | undefined {
    return this.#expectations.shift();
  }

  pollTransmit(): StunTransmit | undefined {
    return this.#transmits.shift();
  }

  /** Whether the verdict is another than was last taken. */
  takeNews(now: Instant): boolean {
    const { reflexive, kind } = this.verdict(now);
    const text = `${kind} ${reflexive.map(formatEndpoint).join(" ")}`;
    if (text === this.#told || (this.#told === "" && text === "unknown ")) return false;
    if (!takeToken(this.#news, now.ms, newsPerSecond, newsBurst)) return false;
    this.#told = text;
    return true;
  }

  verdict(now: Instant): Verdict {
    const verdict = judge(this.#seen(now), this.#own, this.#portDependent);
    return verdict.kind === "unknown" && this.#isBlocked()
      ? { ...verdict, kind: "blocked" }
      : verdict;
  }

  get filtering(): Behaviour {
    return this.#filtering;
  }

  /** Answers are awaited. */
  get busy(): boolean {
    return this.#transactions.size > 0;
  }

  status(now: Instant): readonly StunServerStatus[] {
    const { reflexive } = this.verdict(now);
    return [...this.#servers.values()].map(({ name, endpoint, outcome, seen }) => ({
      name,
      endpoint,
      outcome,
      rttMs: seen?.rttMs,
      mapped: seen?.mapped,
      believed: reflexive.some((each) => sameEndpoint(each, seen?.mapped)),
    }));
  }

  #seen(now: Instant): readonly Seen[] {
    return [...this.#servers.values()].flatMap(({ name, endpoint: server, seen }) =>
      seen === undefined || now.ms - seen.atMs > freshMs
        ? []
        : [{ name, server, mapped: seen.mapped }],
    );
  }

  /** No server has answered at all, and there are two of them. */
  #isBlocked(): boolean {
    const servers = [...this.#servers.values()];
    const names = new Set(servers.map(({ name }) => name));
    return names.size >= 2 && servers.every(({ failures }) => failures > 0);
  }

  #learn(
    now: Instant,
    { server, sends, startedMs }: Transaction,
    { error, mapped, other }: NonNullable<ReturnType<typeof decodeBindingAnswer>>,
  ): void {
    server.dueMs = now.ms + roundMs;
    server.failures = 0;
    if (mapped === undefined) {
      server.outcome = error ?? 0;
      server.seen = undefined;
      server.dueMs = now.ms + roundMsMax;
      return;
    }
    if (!isPlausible(server.endpoint, mapped)) {
      this.counters.reserved += 1;
      server.outcome = "reserved";
      server.seen = undefined;
      return;
    }
    server.outcome = "answered";
    // Of one that was sent again nobody knows which was answered.
    const rttMs = sends === 1 ? now.ms - startedMs : server.seen?.rttMs;
    server.seen = { mapped, atMs: now.ms, rttMs };
    server.other = isOtherOf(server.endpoint, other) ? other : undefined;
    const { reflexive } = this.verdict(now);
    const rest = this.#seen(now).filter(({ name }) => name !== server.name);
    const ofFamily = rest.filter((it) => isPlausible(server.endpoint, it.mapped));
    if (ofFamily.length > 0 && !reflexive.some((each) => sameEndpoint(each, mapped))) {
      this.counters.disagreed += 1;
    }
    if (this.#tester === undefined && server.other !== undefined) {
      this.#tester = server;
      this.#ask(now, server, "filter-any");
      this.#ask(now, server, "filter-port");
    }
  }

  /** RFC 5780 section 4.4, and of its section 4.3 what asks nobody who is not configured. */
  #testAnswered(
    now: Instant,
    { purpose, server }: Transaction,
    mapped: Endpoint | undefined,
    fromOther: boolean,
  ): void {
    if (purpose === "other-port") {
      const { seen } = server;
      if (seen !== undefined && mapped !== undefined && !fromOther) {
        this.#portDependent = !sameEndpoint(seen.mapped, mapped);
      }
      return;
    }
    if (fromOther && purpose === "filter-any") this.#filtering = "endpoint-independent";
    else if (fromOther && this.#filtering === "unknown") this.#filtering = "address-dependent";
    // One that answers from where it was asked cannot tell.
    else if (!fromOther) this.#canTell = false;
    this.#tested(now, server);
  }

  /** Only when both tests are over: what is sent to the other port opens the filter for it. */
  #tested(now: Instant, server: Server): void {
    if (this.#of(server).some(({ purpose }) => purpose.startsWith("filter"))) return;
    if (this.#canTell && this.#filtering === "unknown") {
      this.#filtering = "address-and-port-dependent";
    }
    this.#ask(now, server, "other-port");
  }

  #unanswered(now: Instant, transaction: Transaction): void {
    const { purpose, server } = transaction;
    this.#transactions.delete(transaction.key);
    switch (purpose) {
      case "mapping":
        this.counters.unanswered += 1;
        server.outcome = "silent";
        server.dueMs = now.ms + Math.min(roundMsMax, roundMs * 2 ** server.failures);
        server.failures = Math.min(server.failures + 1, 8);
        return;
      case "filter-any":
      case "filter-port":
        this.#tested(now, server);
        return;
      case "other-port":
        return;
    }
  }

  #ask(now: Instant, server: Server, purpose: Purpose): void {
    const id = this.#random.bytes(stunIdBytes);
    const bytes = encodeBindingRequest(id, changeOf(purpose));
    const { address, port } = server.endpoint;
    const to =
      purpose === "other-port" ? { address, port: server.other?.port ?? port } : server.endpoint;
    const key = toHex(id);
    const { sends, last } = schedules[purpose === "mapping" ? "mapping" : "test"];
    const { withinMs, untilMs } = this.#awaited;
    const isAwaited = purpose === "mapping" && now.ms < untilMs;
    const fullMs = rtoMs * (2 ** (sends - 1) - 1 + last);
    const endsMs = now.ms + (isAwaited ? Math.min(withinMs, fullMs) : fullMs);
    const clock = { startedMs: now.ms, endsMs, sends: 0, atMs: now.ms };
    const transaction = { id, key, server, purpose, to, bytes, ...clock };
    this.#transactions.set(key, transaction);
    this.#expect(now, transaction);
    this.#send(now, transaction);
  }

  /** The wait doubles; after the last one it is longer still. */
  #send(now: Instant, transaction: Transaction): void {
    const { sends, last } = schedules[transaction.purpose === "mapping" ? "mapping" : "test"];
    transaction.sends += 1;
    const wait = transaction.sends === sends ? last : 2 ** (transaction.sends - 1);
    transaction.atMs = Math.min(transaction.endsMs, now.ms + rtoMs * wait);
    if (!takeToken(this.#bucket, now.ms, requestsPerSecond, requestsBurst)) {
      this.counters.requestsHeld += 1;
      return;
    }
    this.counters.requestsSent += 1;
    this.#transmits.push({ to: transaction.to, bytes: transaction.bytes });
  }

  #expect(now: Instant, { id, endsMs }: Transaction): void {
    this.#expectations.push({ id, ms: Math.max(1, endsMs - now.ms) });
  }

  #isAsked(server: Server): boolean {
    return this.#of(server).some(({ purpose }) => purpose === "mapping");
  }

  #of(server: Server): readonly Transaction[] {
    return [...this.#transactions.values()].filter((it) => it.server === server);
  }
}

function changeOf(purpose: Purpose): Change | undefined {
  if (purpose === "filter-any") return { address: true, port: true };
  return purpose === "filter-port" ? { address: false, port: true } : undefined;
}

/** Where the answer comes from that a test asks for. */
function otherSource({ endpoint, other }: Server, purpose: Purpose): Endpoint | undefined {
  if (purpose === "filter-any") return other;
  return purpose === "filter-port" && other !== undefined
    ? { address: endpoint.address, port: other.port }
    : undefined;
}

/** Both are others: then the server can answer from there (RFC 5780 section 7.4). */
function isOtherOf(server: Endpoint, other: Endpoint | undefined): boolean {
  if (other === undefined || server.address.includes(":") !== other.address.includes(":"))
    return false;
  return other.address !== server.address && other.port !== server.port;
}

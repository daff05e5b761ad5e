/**
 * Many nodes on one virtual clock and network. Everything follows from the seed: `trace` is a number
 * over every datagram that arrived, so that two runs of a seed can be compared. Owns hosts, time and
 * measures; what is to happen to the hosts is the scenarios'.
 */
import type { Crypto, Secret } from "../../src/base/crypto.ts";
import type { Endpoint } from "../../src/base/endpoint.ts";
import { putRecord } from "../../src/mesh/record-intake.ts";
import { frameIdOf } from "../../src/nat/message.ts";
import { type Profile, profileLan } from "../../src/swim/profile.ts";
import { type MemberState, selfSlot, stateCodes } from "../../src/swim/state.ts";
import { statementKeys } from "../../src/swim/statement.ts";
import { keyOf, SignedStore, type StoredId, shortKey } from "../../src/swim/store.ts";
import { networkIdOf } from "../../src/trust/identity.ts";
import { decodeRecord, type Record, type Verified, verifyRecord } from "../../src/trust/record.ts";
import { CheapCrypto } from "../support/cheap-crypto.ts";
import { NobleCrypto } from "../support/noble-crypto.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { Halves, type SharedHalves } from "./sim-halves.ts";
import { SimHost } from "./sim-host.ts";
import { type Packet, regionCount, SimNetwork, underlayBytes } from "./sim-network.ts";
import { SimOrganisation } from "./sim-organisation.ts";
import { datagramBytes } from "./sim-peers.ts";
import { type Frame, frameHeaderBytes } from "./sim-relay.ts";
import { Timeline } from "./timeline.ts";

export interface SimulationOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly profile?: Profile;
  /** One way between regions, from the nearest to the farthest. */
  readonly latencyMs?: readonly [number, number];
  /** Real signatures and sealed boxes: some hundred times slower. */
  readonly realCrypto?: boolean;
  /** Members' paths move as a data plane moves them, and frames are forwarded. */
  readonly paths?: boolean;
  /** Members are admitted by an organisation's certificates, not by being nodes. */
  readonly organised?: boolean;
  /** On two threads: this one has that half of the hosts. */
  readonly half?: Half;
}

export interface Half {
  readonly index: 0 | 1;
  readonly shared: SharedHalves;
}

export type SimCrypto = Crypto & { importSecret(bytes: Uint8Array): Secret };

/** Something that is to be done at a time. */
type Item = Packet | SimHost | (() => void);

export class Simulation {
  readonly seed: number;
  readonly wallStartMs = Date.UTC(2026, 0, 1);
  readonly random: SeededRandom;
  readonly timeline = new Timeline<Item>();
  readonly network: SimNetwork;
  readonly crypto: SimCrypto;
  readonly networkId: Uint8Array;
  readonly profile: Profile;
  readonly simulatesPaths: boolean;
  readonly records = new SignedStore<Verified<Record>>();
  readonly statements = new SignedStore();
  readonly admitted = new Set<number>();
  readonly organisation: SimOrganisation | undefined;
  readonly hosts: SimHost[] = [];
  /** Bytes on the wire, UDP and IPv4 headers included, by host: in all, and in this second. */
  readonly bytesOut: Float64Array;
  readonly bytesIn: Float64Array;
  readonly #secondOut: Float64Array;
  readonly #secondIn: Float64Array;
  /** The most that any host sent, or received, in a second. */
  maxOutPerSecond = 0;
  maxInPerSecond = 0;
  trace = 0x811c9dc5;
  events = 0;
  /** Called with every verdict of every node. */
  onState: ((observer: SimHost, slot: number, state: MemberState) => void) | undefined;
  /** Called when a host has taken its turn. */
  onTurn: ((host: SimHost) => void) | undefined;
  /** Called with every message that a node's session lets in, before the node sees it. */
  onMessage: ((receiver: SimHost, packet: Pick<Packet, "fromHost">) => void) | undefined;
  readonly #byName = new Map<number, SimHost>();
  readonly #byFrameId = new Map<number, Uint8Array>();
  readonly #halves: Halves | undefined;
  /** The regions whose hosts are here, by bits. */
  readonly #regions: number = -1;
  /** What the other half sends is on its way for so long at least. */
  readonly #lookaheadMs: number = Number.POSITIVE_INFINITY;
  #second = 0;

  constructor(options: SimulationOptions) {
    const { seed, nodes, latencyMs = [2, 60] } = options;
    this.seed = seed;
    this.random = new SeededRandom(seed);
    this.profile = options.profile ?? profileLan;
    this.simulatesPaths = options.paths ?? false;
    const random = new SeededRandom(this.random.u32());
    this.crypto =
      options.realCrypto === true ? new NobleCrypto({ random }) : new CheapCrypto(random);
    this.networkId = networkIdOf(this.crypto, "sim");
    if (options.organised === true) this.organisation = new SimOrganisation(this);
    this.network = new SimNetwork(nodes, new SeededRandom(this.random.u32()), latencyMs);
    if (options.half !== undefined) {
      const { index, shared } = options.half;
      const { regions, lookaheadMs } = this.network.halves();
      this.#regions = index === 0 ? regions : ~regions;
      this.#lookaheadMs = lookaheadMs;
      this.#halves = new Halves(shared, index, this.#deliver);
    }
    this.bytesOut = new Float64Array(nodes);
    this.bytesIn = new Float64Array(nodes);
    this.#secondOut = new Float64Array(nodes);
    this.#secondIn = new Float64Array(nodes);
    for (let index = 0; index < nodes; index += 1) {
      const host = new SimHost(this, index);
      this.hosts.push(host);
      this.admitted.add(keyOf(host.identity.publicKey));
      this.#byName.set(keyOf(host.identity.publicKey), host);
    }
  }

  get nowMs(): number {
    return this.timeline.nowMs;
  }

  /** Those that are up, here. */
  get living(): SimHost[] {
    return this.hosts.filter((host) => host.isUp && host.isHere);
  }

  /** Where there are two halves, of both. */
  traceOfAll(): number {
    const [sum = 0] = this.sum(this.trace);
    return sum >>> 0;
  }

  hasHere(host: number): boolean {
    return ((this.#regions >> (host % regionCount)) & 1) === 1;
  }

  /** Of what was counted here, the sums over all hosts. Where there are two halves, both ask at once. */
  sum(...values: readonly number[]): readonly number[] {
    return this.#halves?.sum(values) ?? values;
  }

  /** As `sum`, the larger of both. */
  max(...values: readonly number[]): readonly number[] {
    return this.#halves?.max(values) ?? values;
  }

  /** All but the first `count` dial the first `count`. */
  setSeeds(count: number): void {
    const seeds = this.hosts.slice(0, count).map(({ identity, endpoint }) => ({
      identity: identity.publicKey,
      endpoint,
    }));
    for (const host of this.hosts) {
      host.seeds = seeds.filter(({ endpoint }) => endpoint !== host.endpoint);
    }
  }

  at(atMs: number, action: () => void): void {
    this.timeline.schedule(atMs, action);
  }

  /** Lets time pass until then, or until `done` says so, asked every `everyMs`. */
  run(untilMs: number, everyMs = untilMs, done: () => boolean = () => false): boolean {
    const { timeline } = this;
    let lookMs = Math.min(untilMs, timeline.nowMs + everyMs);
    for (;;) {
      while (timeline.nowMs + this.#lookaheadMs < lookMs) {
        this.#pass(timeline.nowMs + this.#lookaheadMs);
      }
      this.#pass(lookMs);
      if (done()) return true;
      if (lookMs >= untilMs) return false;
      lookMs = Math.min(untilMs, lookMs + everyMs);
    }
  }

  /** What is due until then, and not what the other half will send for later. */
  #pass(untilMs: number): void {
    const { timeline } = this;
    for (
      let next = timeline.next();
      next !== undefined && next <= untilMs;
      next = timeline.next()
    ) {
      this.#do(timeline.take());
    }
    timeline.nowMs = untilMs;
    this.#countSeconds();
    this.#halves?.meet();
  }

  send(
    from: SimHost,
    to: Endpoint,
    kind: Packet["kind"],
    session: number,
    bytes: Uint8Array | undefined,
    frame?: Frame,
  ): void {
    const size = sizeOf(kind, bytes, frame) + underlayBytes;
    this.#countSeconds();
    this.bytesOut[from.index] = (this.bytesOut[from.index] as number) + size;
    this.#secondOut[from.index] = (this.#secondOut[from.index] as number) + size;
    const what = { kind, session, bytes, frame, size };
    this.network.send(this.nowMs, from.index, to, what, this.#deliver);
  }

  watch(observer: SimHost, slot: number, state: MemberState): void {
    this.onState?.(observer, slot, state);
  }

  /** Of all pairs of those that are up, how many are right: the newest record, and alive. */
  correctPairs(): { readonly right: number; readonly all: number } {
    const current = this.#currentRecords();
    const living = this.living;
    let right = 0;
    for (const host of living) {
      const { table } = host.running.membership;
      for (let slot = 1; slot < table.slotsEnd; slot += 1) {
        const record = table.record(slot);
        if (record === 0 || current[record] !== 1) continue;
        if (table.stateCode(slot) === stateCodes.alive) right += 1;
      }
    }
    const [rightOfAll = 0, count = 0] = this.sum(right, living.length);
    return { right: rightOfAll, all: count * (count - 1) };
  }

  /** All that are up know all others, as if they had for long. */
  introduceAll(): void {
    const known = this.#introductions();
    for (const host of this.living) {
      const { membership, roster } = host.running;
      for (const { index, record, statement } of known) {
        if (index === host.index) continue;
        if (this.organisation !== undefined) roster.judge(host.now, this.records.value(record));
        const slot = membership.learn(host.now, record);
        // Else everybody would tell everybody of everybody's start.
        if (slot !== undefined && statement !== 0) membership.table.setStatement(slot, statement);
      }
      // It was not told: what is due for a large mesh is asked again.
      host.running.peerOf(host.now, host.identity.publicKey);
      host.settle();
    }
  }

  /** Whose frames bear that id. */
  identityOfFrameId(id: number): Uint8Array | undefined {
    if (this.#byFrameId.size === 0) {
      for (const { identity } of this.hosts) {
        this.#byFrameId.set(frameIdOf(identity.publicKey), identity.publicKey);
      }
    }
    return this.#byFrameId.get(id);
  }

  hostOf(identity: Uint8Array): SimHost | undefined {
    return this.#byName.get(keyOf(identity));
  }

  hostInSlot(observer: SimHost, slot: number): SimHost | undefined {
    const { table } = observer.running.membership;
    if (slot === selfSlot) return observer;
    const host = this.#byName.get(table.key(slot));
    if (host === undefined) return undefined;
    const [{ publicKey }, record] = [host.identity, table.recordBytes(slot)];
    for (let i = 0; i < publicKey.length; i += 1) if (record[i] !== publicKey[i]) return undefined;
    return host;
  }

  /** Of all that are up, what they say of themselves: those of the other half say it by datagrams. */
  #introductions(): { index: number; record: StoredId; statement: StoredId }[] {
    const out = this.living.map(({ index, running }) => {
      const { table } = running.membership;
      return { index, record: table.record(0), statement: table.statement(0) };
    });
    const halves = this.#halves;
    if (halves === undefined) return out;
    halves.meet();
    for (const { index, record, statement } of out) {
      const what = {
        fromHost: index,
        toHost: index,
        kind: "datagram",
        session: 0,
        size: 0,
      } as const;
      halves.post(this.nowMs, { ...what, bytes: this.records.bytes(record) });
      halves.post(this.nowMs, { ...what, bytes: this.statements.bytes(statement) });
    }
    let record: StoredId | undefined;
    halves.meet((_, { fromHost, bytes = new Uint8Array(0) }) => {
      if (record === undefined) record = this.#putRecord(bytes);
      else {
        const statement = this.statements.put(bytes, statementKeys(bytes), undefined);
        out.push({ index: fromHost, record, statement });
        record = undefined;
      }
    });
    return out.sort((a, b) => a.index - b.index);
  }

  #putRecord(bytes: Uint8Array): StoredId {
    const decoded = decodeRecord(bytes);
    const now = { ms: this.nowMs, wallMs: this.wallStartMs };
    const record = decoded && verifyRecord(this.crypto, this.networkId, decoded, now);
    if (record === undefined) throw new Error("the other half's record does not verify");
    return putRecord(this.records, record);
  }

  #currentRecords(): Uint8Array {
    const current = new Uint8Array(this.records.low.length);
    for (const host of this.living) current[host.running.membership.table.record(0)] = 1;
    const halves = this.#halves;
    if (halves === undefined) return current;
    const { sequences } = halves;
    for (const { index, isHere, node } of this.hosts) {
      if (isHere) sequences[index] = node?.membership.table.sequence(selfSlot) ?? 0;
    }
    halves.meet();
    const { low, high, sequence } = this.records;
    for (let id = 1; id < current.length; id += 1) {
      const host = this.#byName.get(shortKey(low[id] as number, high[id] as number));
      if (host === undefined || host.isHere) continue;
      if (sequence[id] === sequences[host.index]) current[id] = 1;
    }
    return current;
  }

  #do(item: Item): void {
    this.events += 1;
    if (typeof item === "function") {
      item();
    } else if (item instanceof SimHost) {
      item.tick();
      this.onTurn?.(item);
    } else {
      const host = this.hosts[item.toHost];
      if (host === undefined || !host.isUp) return;
      this.#count(item);
      host.receive(item);
      this.onTurn?.(host);
    }
  }

  readonly #deliver = (atMs: number, packet: Packet): void => {
    if (this.hasHere(packet.toHost)) this.timeline.schedule(atMs, packet);
    else this.#halves?.post(atMs, packet);
  };

  #count({ fromHost, toHost, size, frame, bytes = frame?.bytes }: Packet): void {
    this.#countSeconds();
    this.bytesIn[toHost] = (this.bytesIn[toHost] as number) + size;
    this.#secondIn[toHost] = (this.#secondIn[toHost] as number) + size;
    let trace = Math.imul(this.trace ^ this.nowMs, 0x01000193);
    trace = Math.imul(trace ^ (fromHost * 65_599 + toHost), 0x01000193);
    trace = Math.imul(trace ^ size, 0x01000193);
    if (bytes !== undefined) {
      // Spread over the message: a number of it, a signature of it.
      for (let at = 0; at < bytes.length; at += 37) {
        trace = Math.imul(trace ^ (bytes[at] as number), 0x01000193);
      }
    }
    this.trace = trace >>> 0;
  }

  #countSeconds(): void {
    const second = Math.floor(this.nowMs / 1000);
    if (second === this.#second) return;
    this.#second = second;
    for (let i = 0; i < this.#secondOut.length; i += 1) {
      this.maxOutPerSecond = Math.max(this.maxOutPerSecond, this.#secondOut[i] as number);
      this.maxInPerSecond = Math.max(this.maxInPerSecond, this.#secondIn[i] as number);
    }
    this.#secondOut.fill(0);
    this.#secondIn.fill(0);
  }
}

/** On the wire, without UDP's headers. */
function sizeOf(kind: Packet["kind"], bytes: Uint8Array | undefined, frame?: Frame): number {
  if (kind === "datagram") return bytes?.length ?? 0;
  if (kind !== "frame") return datagramBytes(kind, bytes);
  const inside = frameHeaderBytes + (frame?.size ?? 0);
  return 32 + 16 * Math.ceil(inside / 16);
}

/**
 * The network between simulated nodes: regions and their latencies, loss, duplication, reordering,
 * an MTU, partitions of both kinds, and NAT boxes in front of hosts. It decides when and whether a
 * datagram arrives; what it says it does not look at. All chance comes from the one seed.
 */
import type { Endpoint } from "../../src/base/endpoint.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import type { PeerMessage } from "./sim-peers.ts";

/** IPv4 and UDP headers. */
export const underlayBytes = 28;
export const nodePort = 51820;
const natTimeoutMs = 120_000;
const natPortFirst = 20_000;

export interface Packet {
  readonly fromHost: number;
  readonly toHost: number;
  /** As the receiver sees it. */
  readonly from: Endpoint;
  readonly kind: PeerMessage | "datagram";
  readonly session: number;
  readonly bytes: Uint8Array | undefined;
  readonly size: number;
}

/** Who a mapping lets in: anybody, or only those that were sent to. Symmetric: one mapping for each. */
export type NatKind = "open" | "restricted" | "symmetric";

interface Mapping {
  readonly port: number;
  untilMs: number;
  readonly sentTo: Set<string>;
}

export interface Nat {
  readonly address: string;
  readonly kind: NatKind;
  readonly mappings: Map<string, Mapping>;
}

export interface Conditions {
  loss: number;
  duplicate: number;
  /** Probability that a datagram is late by up to `reorderMs`. */
  reorder: number;
  reorderMs: number;
  /** Largest datagram with its headers; larger ones vanish. */
  mtu: number;
}

export function addressOf(host: number): string {
  return `10.${(host >> 16) & 255}.${(host >> 8) & 255}.${host & 255}`;
}

const regionCount = 8;

export class SimNetwork {
  readonly conditions: Conditions = { loss: 0, duplicate: 0, reorder: 0, reorderMs: 50, mtu: 1500 };
  /** Sides of a partition, by host: 0 reaches all. */
  readonly #sides: Uint8Array;
  /** One way only: from side to side, bit (8 * from + to). */
  readonly #blocked = new Set<number>();
  readonly #nats: (Nat | undefined)[] = [];
  readonly #byNat = new Map<string, number>();
  readonly #random: SeededRandom;
  readonly #latency = new Float64Array(regionCount * regionCount);
  lost = 0;
  refused = 0;
  duplicated = 0;

  /** `latencyMs`: the range of one way between regions. */
  constructor(hosts: number, random: SeededRandom, latencyMs: readonly [number, number]) {
    this.#sides = new Uint8Array(hosts);
    this.#random = random;
    const [least, most] = latencyMs;
    for (let a = 0; a < regionCount; a += 1) {
      for (let b = a; b < regionCount; b += 1) {
        const ms = a === b ? least : least + random.below(most - least + 1);
        this.#latency[a * regionCount + b] = ms;
        this.#latency[b * regionCount + a] = ms;
      }
    }
  }

  setSide(host: number, side: number): void {
    this.#sides[host] = side;
  }

  /** From now on nothing gets from one side to the other; the way back is its own. */
  block(from: number, to: number): void {
    this.#blocked.add(8 * from + to);
  }

  heal(): void {
    this.#blocked.clear();
    this.#sides.fill(0);
  }

  reaches(from: number, to: number): boolean {
    if (this.#blocked.size === 0) return true;
    return !this.#blocked.has(8 * (this.#sides[from] as number) + (this.#sides[to] as number));
  }

  setNat(host: number, kind: NatKind): void {
    const address = `198.18.${(host >> 8) & 255}.${host & 255}`;
    this.#nats[host] = { address, kind, mappings: new Map() };
    this.#byNat.set(address, host);
  }

  isBehindNat(host: number): boolean {
    return this.#nats[host] !== undefined;
  }

  /** Hands each copy that arrives to `deliver`, with its time. */
  send(
    nowMs: number,
    fromHost: number,
    to: Endpoint,
    what: Pick<Packet, "kind" | "session" | "bytes" | "size">,
    deliver: (atMs: number, packet: Packet) => void,
  ): void {
    const { loss, duplicate, reorder, reorderMs, mtu } = this.conditions;
    const from = this.#leave(nowMs, fromHost, to);
    const toHost = this.#arrive(nowMs, from, to);
    if (toHost === undefined || !this.reaches(fromHost, toHost) || what.size > mtu) {
      this.refused += 1;
      return;
    }
    const copies = duplicate > 0 && this.#random.chance(duplicate) ? 2 : 1;
    this.duplicated += copies - 1;
    for (let i = 0; i < copies; i += 1) {
      if (loss > 0 && this.#random.chance(loss)) {
        this.lost += 1;
        continue;
      }
      let delayMs = this.#latency[
        (fromHost % regionCount) * regionCount + (toHost % regionCount)
      ] as number;
      delayMs += this.#random.below(3);
      if (reorder > 0 && this.#random.chance(reorder)) delayMs += this.#random.below(reorderMs);
      const { kind, session, bytes, size } = what;
      deliver(nowMs + delayMs, { fromHost, toHost, from, kind, session, bytes, size });
    }
  }

  /** The source as others see it. */
  #leave(nowMs: number, host: number, to: Endpoint): Endpoint {
    const nat = this.#nats[host];
    if (nat === undefined) return hostEndpoint(host);
    const target = `${to.address} ${to.port}`;
    const key = nat.kind === "symmetric" ? target : "";
    let mapping = nat.mappings.get(key);
    if (mapping === undefined || mapping.untilMs < nowMs) {
      const port = natPortFirst + this.#random.below(40_000);
      mapping = { port, untilMs: 0, sentTo: new Set() };
      nat.mappings.set(key, mapping);
    }
    mapping.untilMs = nowMs + natTimeoutMs;
    mapping.sentTo.add(target);
    return { address: nat.address, port: mapping.port };
  }

  #arrive(nowMs: number, from: Endpoint, to: Endpoint): number | undefined {
    const host = hostAt(to);
    if (host !== undefined) return this.#nats[host] === undefined ? host : undefined;
    const behind = this.#byNat.get(to.address);
    const nat = behind === undefined ? undefined : this.#nats[behind];
    if (nat === undefined) return undefined;
    for (const mapping of nat.mappings.values()) {
      if (mapping.port !== to.port || mapping.untilMs < nowMs) continue;
      const isLetIn = nat.kind === "open" || mapping.sentTo.has(`${from.address} ${from.port}`);
      return isLetIn ? behind : undefined;
    }
    return undefined;
  }
}

const endpoints: Endpoint[] = [];

export function hostEndpoint(host: number): Endpoint {
  endpoints[host] ??= { address: addressOf(host), port: nodePort };
  return endpoints[host] as Endpoint;
}

const hostsByAddress = new Map<string, number>();

function hostAt({ address, port }: Endpoint): number | undefined {
  if (port !== nodePort || !address.startsWith("10.")) return undefined;
  let host = hostsByAddress.get(address);
  if (host === undefined) {
    const [, a, b, c] = address.split(".").map(Number) as [number, number, number, number];
    host = a * 65536 + b * 256 + c;
    hostsByAddress.set(address, host);
  }
  return host;
}

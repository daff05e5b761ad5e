/**
 * The network between simulated nodes: regions and their latencies, loss, duplication, reordering,
 * an MTU, partitions of both kinds, addresses of both families, and what keeps UDP from hosts. It
 * decides when and whether a datagram arrives; what it says it does not look at. All chance comes from
 * the one seed.
 */
import type { Endpoint } from "../../src/base/endpoint.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import {
  carriedEndpoint,
  hostAt,
  hostEndpoint,
  hostEndpoint6,
  NatBox,
  type NatKind,
  natAddress,
  streamEndpoint,
  streamTo,
} from "./sim-nat.ts";
import type { PeerMessage } from "./sim-peers.ts";
import type { Frame } from "./sim-relay.ts";

/** IPv4 and UDP headers. */
export const underlayBytes = 28;

export interface Packet {
  readonly fromHost: number;
  readonly toHost: number;
  /** As the receiver sees it. */
  readonly from: Endpoint;
  readonly kind: PeerMessage | "datagram" | "frame";
  readonly session: number;
  readonly bytes: Uint8Array | undefined;
  /** Of kind frame. */
  readonly frame: Frame | undefined;
  readonly size: number;
}

/** How a host is connected; none of it: by IPv4, without a box in front. */
export interface Access {
  /** Of IPv4. */
  readonly nat?: NatKind;
  readonly ipv4?: boolean;
  readonly ipv6?: boolean;
  /** UDP gets neither out nor in: what there is are streams to relays. */
  readonly blocked?: boolean;
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

const plain: Access = {};
export const regionCount = 8;

export class SimNetwork {
  readonly conditions: Conditions = { loss: 0, duplicate: 0, reorder: 0, reorderMs: 50, mtu: 1500 };
  /** Sides of a partition, by host: 0 reaches all. */
  readonly #sides: Uint8Array;
  /** One way only: from side to side, bit (8 * from + to). */
  readonly #blocked = new Set<number>();
  readonly #nats: (NatBox | undefined)[] = [];
  readonly #byNat = new Map<string, number>();
  /** Of those that are not connected by IPv4 alone. */
  readonly #access: (Access | undefined)[] = [];
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

  /**
   * Half of the regions, by bits, such that the two halves are as far from one another as can be; and
   * how long a datagram between them is on its way at least.
   */
  halves(): { readonly regions: number; readonly lookaheadMs: number } {
    let best = { regions: 0, lookaheadMs: 0 };
    for (let regions = 1; regions < 1 << regionCount; regions += 2) {
      if (bitCount(regions) !== regionCount / 2) continue;
      let lookaheadMs = Number.POSITIVE_INFINITY;
      for (const [i, ms] of this.#latency.entries()) {
        const isBetween =
          isSet(regions, Math.floor(i / regionCount)) !== isSet(regions, i % regionCount);
        if (isBetween) lookaheadMs = Math.min(lookaheadMs, ms);
      }
      if (lookaheadMs > best.lookaheadMs) best = { regions, lookaheadMs };
    }
    return best;
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

  setAccess(host: number, access: Access): void {
    this.#access[host] = access;
    if (access.nat === undefined) return;
    const address = natAddress(host);
    this.#nats[host] = new NatBox(address, access.nat, this.#random);
    this.#byNat.set(address, host);
  }

  accessOf(host: number): Access {
    return this.#access[host] ?? plain;
  }

  isBehindNat(host: number): boolean {
    return this.#nats[host] !== undefined;
  }

  /** Hands each copy that arrives to `deliver`, with its time. */
  send(
    nowMs: number,
    fromHost: number,
    to: Endpoint,
    what: Pick<Packet, "kind" | "session" | "bytes" | "frame" | "size">,
    deliver: (atMs: number, packet: Packet) => void,
  ): void {
    const { loss, duplicate, reorder, reorderMs, mtu } = this.conditions;
    const way = this.#way(nowMs, fromHost, to);
    if (way === undefined || !this.reaches(fromHost, way.toHost) || what.size > mtu) {
      this.refused += 1;
      return;
    }
    const { toHost, from } = way;
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
      const { kind, session, bytes, frame, size } = what;
      deliver(nowMs + delayMs, { fromHost, toHost, from, kind, session, bytes, frame, size });
    }
  }

  /** For whom it is, and where it comes from as he sees it. */
  #way(
    nowMs: number,
    fromHost: number,
    to: Endpoint,
  ): { readonly toHost: number; readonly from: Endpoint } | undefined {
    const access = this.#access[fromHost];
    const carried = to.address.startsWith("127.") ? streamTo(to) : undefined;
    if (carried !== undefined) {
      const isOurs = to.address === "127.0.0.1";
      return {
        toHost: carried,
        from: isOurs ? carriedEndpoint(fromHost) : streamEndpoint(fromHost),
      };
    }
    if (access?.blocked === true) return undefined;
    const isIpv6 = to.address.includes(":");
    if (isIpv6 ? access?.ipv6 !== true : access?.ipv4 === false) return undefined;
    if (isIpv6) {
      const toHost = hostAt(to)?.host;
      const isThere = toHost !== undefined && this.#access[toHost]?.ipv6 === true;
      return isThere ? { toHost, from: hostEndpoint6(fromHost) } : undefined;
    }
    const from = this.#nats[fromHost]?.leave(nowMs, to) ?? hostEndpoint(fromHost);
    const toHost = hostAt(to)?.host;
    if (toHost !== undefined) {
      const { blocked, ipv4 = true } = this.#access[toHost] ?? {};
      return this.#nats[toHost] === undefined && ipv4 && blocked !== true
        ? { toHost, from }
        : undefined;
    }
    const behind = this.#byNat.get(to.address);
    const socket = behind === undefined ? 0 : this.#nats[behind]?.arrive(nowMs, from, to.port);
    if (behind === undefined || socket === undefined) return undefined;
    return { toHost: behind, from: socket === 0 ? from : { ...from, socket } };
  }
}

function isSet(bits: number, at: number): boolean {
  return ((bits >> at) & 1) === 1;
}

function bitCount(bits: number): number {
  return bits === 0 ? 0 : (bits & 1) + bitCount(bits >> 1);
}

/**
 * The boxes in front of simulated hosts, and the addresses that hosts have: whose mapping a datagram
 * leaves by, and which host one that comes to a mapping is for. Ports and times only; who may speak to
 * whom at all is the network's.
 */
import type { Endpoint } from "../../src/base/endpoint.ts";
import type { SeededRandom } from "../support/seeded-random.ts";

export const nodePort = 51820;
const natTimeoutMs = 120_000;
const portFirst = 20_000;
const portCount = 40_000;
/** More are looked through for those whose time is over. */
const mappingsMany = 2_048;

/**
 * Who a mapping lets in: anybody, or only addresses and ports that were sent to. Symmetric: one mapping
 * for each destination, with the next port, or with any.
 */
export type NatKind = "open" | "restricted" | "symmetric" | "symmetric_random";

interface Mapping {
  readonly port: number;
  /** Of the host behind it; 0 is the main one. */
  readonly socket: number;
  untilMs: number;
  readonly sentTo: Set<string>;
}

export class NatBox {
  readonly address: string;
  readonly kind: NatKind;
  readonly #random: SeededRandom;
  readonly #mappings = new Map<string, Mapping>();
  readonly #byPort = new Map<number, Mapping>();
  #lastPort: number;

  constructor(address: string, kind: NatKind, random: SeededRandom) {
    this.address = address;
    this.kind = kind;
    this.#random = random;
    this.#lastPort = portFirst + random.below(portCount);
  }

  /** Where what goes there comes from, as seen outside. */
  leave(nowMs: number, to: Endpoint): Endpoint {
    const socket = to.socket ?? 0;
    const target = `${to.address} ${to.port}`;
    const isSymmetric = this.kind === "symmetric" || this.kind === "symmetric_random";
    const key = isSymmetric ? `${target} ${socket}` : `${socket}`;
    let mapping = this.#mappings.get(key);
    if (mapping === undefined || mapping.untilMs < nowMs) {
      if (mapping !== undefined) this.#byPort.delete(mapping.port);
      if (this.#mappings.size >= mappingsMany) this.#expire(nowMs);
      mapping = { port: this.#freePort(), socket, untilMs: 0, sentTo: new Set() };
      this.#mappings.set(key, mapping);
      this.#byPort.set(mapping.port, mapping);
    }
    mapping.untilMs = nowMs + natTimeoutMs;
    mapping.sentTo.add(target);
    return { address: this.address, port: mapping.port };
  }

  /** The socket that what comes from there to the port is let in to. */
  arrive(nowMs: number, from: Endpoint, port: number): number | undefined {
    const mapping = this.#byPort.get(port);
    if (mapping === undefined || mapping.untilMs < nowMs) return undefined;
    const isLetIn = this.kind === "open" || mapping.sentTo.has(`${from.address} ${from.port}`);
    return isLetIn ? mapping.socket : undefined;
  }

  #freePort(): number {
    do {
      this.#lastPort =
        this.kind === "symmetric"
          ? portFirst + ((this.#lastPort + 1 - portFirst) % portCount)
          : portFirst + this.#random.below(portCount);
    } while (this.#byPort.has(this.#lastPort));
    return this.#lastPort;
  }

  #expire(nowMs: number): void {
    for (const [key, mapping] of this.#mappings) {
      if (mapping.untilMs >= nowMs) continue;
      this.#mappings.delete(key);
      this.#byPort.delete(mapping.port);
    }
  }
}

/** A host's own address, which knows its host: most datagrams go to one. */
export class HostEndpoint implements Endpoint {
  readonly address: string;
  readonly port = nodePort;
  readonly host: number;

  constructor(address: string, host: number) {
    this.address = address;
    this.host = host;
  }
}

const endpoints: HostEndpoint[] = [];
const endpoints6: HostEndpoint[] = [];
const byAddress = new Map<string, HostEndpoint>();

/** IPv4. */
export function hostEndpoint(host: number): HostEndpoint {
  endpoints[host] ??= entered(`11.${(host >> 16) & 255}.${(host >> 8) & 255}.${host & 255}`, host);
  return endpoints[host] as HostEndpoint;
}

export function hostEndpoint6(host: number): HostEndpoint {
  const [high, low] = [1 + (host >> 12), 1 + (host & 0xfff)].map((part) => part.toString(16));
  endpoints6[host] ??= entered(`2001:db8:1:1:1:1:${high}:${low}`, host);
  return endpoints6[host] as HostEndpoint;
}

function entered(address: string, host: number): HostEndpoint {
  const endpoint = new HostEndpoint(address, host);
  byAddress.set(address, endpoint);
  return endpoint;
}

export function hostAt(endpoint: Endpoint): HostEndpoint | undefined {
  if (endpoint instanceof HostEndpoint) return endpoint;
  return endpoint.port === nodePort ? byAddress.get(endpoint.address) : undefined;
}

/** The address that a host behind a NAT has, and tells: nobody else reaches it there. */
export function privateEndpoint(host: number): Endpoint {
  return { address: `192.168.${(host >> 8) & 255}.${host & 255}`, port: nodePort };
}

export function natAddress(host: number): string {
  return `198.18.${(host >> 8) & 255}.${host & 255}`;
}

const streamPortFirst = 30_000;
const streamPort = 40_000;

/** The end, on a host that UDP does not get out of, of its stream to a relay. */
export function streamEndpoint(relay: number): Endpoint {
  return { address: "127.0.0.1", port: streamPortFirst + relay };
}

/** The end of a stream at the relay. */
export function carriedEndpoint(host: number): Endpoint {
  return { address: `127.64.${(host >> 8) & 255}.${host & 255}`, port: streamPort };
}

/** Which host the end of a stream stands for, to the host that has that end. */
export function streamTo({ address, port }: Endpoint): number | undefined {
  if (address === "127.0.0.1") return port - streamPortFirst;
  if (!address.startsWith("127.64.")) return undefined;
  const [, , high, low] = address.split(".").map(Number);
  return (high as number) * 256 + (low as number);
}

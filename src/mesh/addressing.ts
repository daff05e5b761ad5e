/**
 * Addresses as they are used here: this node's on the interface, and each member's as the allowed
 * IPs of its peer, while it has one. IPv6 always; IPv4 where the member holds what it claims. Whose an
 * address is can be asked of members without peers too, which are named by SWIM's slots. Commands for
 * the interface come out of it; who claims what with which right is trust/address.ts's.
 */

import { grown, grownCapacity } from "../base/columns.ts";
import type { IdentityCrypto } from "../base/crypto.ts";
import { assert } from "../base/errors.ts";
import { Fifo } from "../base/fifo.ts";
import { formatAddress, formatPrefix, type IpPrefix, parseAddress } from "../base/ip.ts";
import { wordAt } from "../swim/store.ts";
import { Ipv4Claims, ipv6Address, ipv6Host, ipv6Prefix, type Seniority } from "../trust/address.ts";
import { formatIdentity } from "../trust/identity.ts";
import type { Ipv4Claim, Record } from "../trust/record.ts";
import type { Command } from "./dataplane.ts";
import type { Member, Members } from "./member.ts";
import type { PeerTable } from "./peer-table.ts";

export interface AddressingOptions {
  readonly crypto: IdentityCrypto;
  readonly networkId: Uint8Array;
  /** This node's identity. */
  readonly self: Uint8Array;
  readonly ipv4Prefix: IpPrefix;
  /** The settled claim that was persisted, if any. */
  readonly candidate: number | undefined;
  readonly peers: PeerTable;
  readonly members: Members;
  /** By whose certificate a member is admitted, or this node where none is named, and since when. */
  readonly seniorityOf: (member?: string) => Seniority | undefined;
}

export interface MemberClaim {
  /** This node gave way: its own record must say so. */
  readonly moved: boolean;
  /** Why the member has no IPv4 here although it claims one. */
  readonly refused: "ipv4_contested" | "ipv4_prefix_differs" | undefined;
}

export class Addressing {
  readonly ipv6: string;
  readonly ipv6Prefix: IpPrefix;
  readonly ipv4Prefix: IpPrefix;
  readonly #options: AddressingOptions;
  readonly #claims: Ipv4Claims;
  readonly #commands = new Fifo<Command>();
  #started = false;
  /** As the interface has it. */
  #ipv4: string | undefined;
  #settledTold = false;
  #routes: ReadonlyMap<string, readonly IpPrefix[]> = new Map();
  readonly #network: Uint8Array;
  /** By slot, the last 8 bytes of each member's IPv6 address; 0: nobody's. */
  #hostLow = new Uint32Array(16);
  #hostHigh = new Uint32Array(16);

  constructor(options: AddressingOptions) {
    const { crypto, networkId, self, ipv4Prefix: prefix, candidate } = options;
    this.#options = options;
    this.ipv6 = ipv6Address(crypto, networkId, self);
    this.ipv6Prefix = ipv6Prefix(crypto, networkId);
    const network = parseAddress(this.ipv6Prefix.address);
    assert(network !== undefined, "a prefix's address is canonical");
    this.#network = network.bytes.slice(0, 8);
    this.ipv4Prefix = prefix;
    const base = { crypto, prefix, self };
    this.#claims = new Ipv4Claims(candidate === undefined ? base : { ...base, candidate });
  }

  /** Addresses, then the link, then routes: a route needs a link that is up. */
  start(nowMs: number, mtu: number): void {
    this.#started = true;
    this.#commands.push({ kind: "mtu_set", mtu });
    this.#commands.push({ kind: "address_add", prefix: { address: this.ipv6, bits: 128 } });
    this.#claims.start(nowMs);
    this.#assign();
    this.#commands.push({ kind: "link_up" });
    for (const prefix of [this.ipv6Prefix, this.ipv4Prefix]) {
      this.#commands.push({ kind: "route_add", prefix });
      // More specific than what leads everything to an exit node.
      this.#commands.push({ kind: "destinations_await", prefix });
    }
  }

  /** undefined where all 16 candidates are held by others. */
  get ipv4(): string | undefined {
    return this.#ipv4;
  }

  /** As this node's record says it. */
  get claim(): Ipv4Claim | undefined {
    return this.#claims.own;
  }

  /** Of the claim, once it has settled: kept over restarts. */
  settledCandidate(nowMs: number): number | undefined {
    return this.#claims.settled(nowMs) ? this.#claims.own?.candidate : undefined;
  }

  /** When `takeSettled` is to be asked; undefined: not until the claim changes. */
  nextTimeout(): number | undefined {
    return this.#settledTold ? undefined : this.#claims.settlesAtMs;
  }

  /** True once for each claim that settles. */
  takeSettled(nowMs: number): boolean {
    if (this.#settledTold || !this.#claims.settled(nowMs)) return false;
    this.#settledTold = true;
    return true;
  }

  /** What the member is reached at: IPv6, then the IPv4 that it holds here. */
  of(slot: number): readonly string[] {
    const ipv4 = this.#claims.heldBy(slot);
    const ipv6 = this.#ipv6Of(slot);
    return ipv4 === undefined ? [ipv6] : [ipv6, ipv4];
  }

  /** The member whose address it is, whether it has a peer or not. */
  ownerOf(address: string): number | undefined {
    const parsed = parseAddress(address);
    if (parsed === undefined) return undefined;
    if (parsed.family === 4) return this.#claims.holderOf(address);
    const { bytes } = parsed;
    for (let i = 0; i < 8; i += 1) if (bytes[i] !== this.#network[i]) return undefined;
    const [low, high] = [wordAt(bytes, 8), wordAt(bytes, 12)];
    if (low === 0 && high === 0) return undefined;
    const column = this.#hostLow;
    for (let slot = column.indexOf(low); slot >= 0; slot = column.indexOf(low, slot + 1)) {
      if (this.#hostHigh[slot] === high) return slot;
    }
    return undefined;
  }

  /** Nobody's, or nobody's who can be reached: who sent there is told so. */
  refuse(address: string): void {
    const prefix = { address, bits: address.includes(":") ? 128 : 32 };
    this.#commands.push({ kind: "destination_refuse", prefix });
  }

  /** The member has a peer, new or another one. */
  bind(member: Member): void {
    this.#route([member]);
  }

  /** Whether more than its own addresses is led to the member. */
  leads(name: string): boolean {
    return this.#routes.has(name);
  }

  /** What the member's record claims now. */
  take(nowMs: number, slot: number, record: Pick<Record, "identity" | "ipv4">): MemberClaim {
    const { identity, ipv4 } = record;
    this.#setHost(slot, ipv6Host(this.#options.crypto, identity));
    const address = this.#claims.addressOf(identity, ipv4);
    const { seniorityOf } = this.#options;
    this.#claims.setOwnSeniority(seniorityOf());
    const seniority = seniorityOf(formatIdentity(identity));
    const stored = !this.#started;
    const outcome = this.#claims.claim(nowMs, slot, address, { seniority, stored });
    this.#routeSlots(outcome.changed);
    const moved = outcome.moved && this.#started;
    if (moved) this.#assign();
    if (outcome.contested) return { moved, refused: "ipv4_contested" };
    const foreign = ipv4 !== undefined && address === undefined;
    return { moved, refused: foreign ? "ipv4_prefix_differs" : undefined };
  }

  /** The member is no more; what it held may be another's now. */
  release(nowMs: number, slot: number): void {
    if (slot < this.#hostLow.length) {
      this.#hostLow[slot] = 0;
      this.#hostHigh[slot] = 0;
    }
    this.#routeSlots(this.#claims.forget(nowMs, slot));
  }

  pollCommand(): Command | undefined {
    return this.#commands.shift();
  }

  /** Makes the interface's IPv4 address the one that is claimed. */
  #assign(): void {
    const next = this.#claims.ownAddress;
    if (this.#ipv4 !== undefined) {
      this.#commands.push({ kind: "address_remove", prefix: { address: this.#ipv4, bits: 32 } });
    }
    if (next !== undefined) {
      this.#commands.push({ kind: "address_add", prefix: { address: next, bits: 32 } });
    }
    this.#ipv4 = next;
    this.#settledTold = false;
  }

  /**
   * By each member what is led to it beside its own addresses; nobody has what another holds. Of those
   * without a peer nothing is routed until they have one.
   */
  setRoutes(routes: ReadonlyMap<string, readonly IpPrefix[]>): void {
    const concerned = new Set([...this.#routes.keys(), ...routes.keys()]);
    this.#routes = routes;
    const { members } = this.#options;
    if (concerned.size > 0) this.#route([...members].filter(({ name }) => concerned.has(name)));
  }

  #routeSlots(slots: readonly number[]): void {
    const { members } = this.#options;
    this.#route(slots.flatMap((slot) => members.inSlot(slot) ?? []));
  }

  /** Gives each the addresses that it holds and what is led to it, and nothing else. */
  #route(members: readonly Member[]): void {
    const { peers } = this.#options;
    for (const { name, peer, slot } of members) {
      const held = this.#claims.heldBy(slot);
      const wanted = [
        { address: this.#ipv6Of(slot), bits: 128 },
        ...(held === undefined ? [] : [{ address: held, bits: 32 }]),
        ...(this.#routes.get(name) ?? []),
      ];
      const texts = new Set(wanted.map(formatPrefix));
      for (const prefix of [...peer.allowedIps]) {
        if (!texts.has(formatPrefix(prefix))) peers.disallowIp(peer, prefix);
      }
      for (const prefix of wanted) peers.allowIp(peer, prefix);
    }
  }

  #ipv6Of(slot: number): string {
    const bytes = new Uint8Array(16);
    bytes.set(this.#network);
    const view = new DataView(bytes.buffer);
    view.setUint32(8, this.#hostLow[slot] as number, true);
    view.setUint32(12, this.#hostHigh[slot] as number, true);
    return formatAddress({ family: 6, bytes, scope: 0 });
  }

  #setHost(slot: number, host: Uint8Array): void {
    if (slot >= this.#hostLow.length) {
      const capacity = grownCapacity(slot + 1, this.#hostLow.length);
      this.#hostLow = grown(this.#hostLow, new Uint32Array(capacity));
      this.#hostHigh = grown(this.#hostHigh, new Uint32Array(capacity));
    }
    this.#hostLow[slot] = wordAt(host, 0);
    this.#hostHigh[slot] = wordAt(host, 4);
  }
}

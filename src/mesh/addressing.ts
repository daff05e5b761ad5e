/**
 * Addresses as they are used here: this node's on the interface, and each member's as the allowed
 * IPs of its peer. IPv6 always; IPv4 where the member holds what it claims. Commands for the
 * interface come out of it; who claims what with which right is trust/address.ts's.
 */
import type { IdentityCrypto } from "../base/crypto.ts";
import { Fifo } from "../base/fifo.ts";
import { formatPrefix, type IpPrefix } from "../base/ip.ts";
import { Ipv4Claims, ipv6Address, ipv6Prefix, type Seniority } from "../trust/address.ts";
import type { Ipv4Claim } from "../trust/record.ts";
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

  constructor(options: AddressingOptions) {
    const { crypto, networkId, self, ipv4Prefix: prefix, candidate } = options;
    this.#options = options;
    this.ipv6 = ipv6Address(crypto, networkId, self);
    this.ipv6Prefix = ipv6Prefix(crypto, networkId);
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
    this.#commands.push({ kind: "route_add", prefix: this.ipv6Prefix });
    this.#commands.push({ kind: "route_add", prefix: this.ipv4Prefix });
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
  get settlesAtMs(): number | undefined {
    return this.#settledTold ? undefined : this.#claims.settlesAtMs;
  }

  /** True once for each claim that settles. */
  takeSettled(nowMs: number): boolean {
    if (this.#settledTold || !this.#claims.settled(nowMs)) return false;
    this.#settledTold = true;
    return true;
  }

  ipv6Of(identity: Uint8Array): string {
    const { crypto, networkId } = this.#options;
    return ipv6Address(crypto, networkId, identity);
  }

  /** What the member is reached at: IPv6, then the IPv4 that it holds here. */
  of(member: Member): readonly string[] {
    const ipv4 = this.#claims.heldBy(member.name);
    return ipv4 === undefined ? [member.ipv6] : [member.ipv6, ipv4];
  }

  /** The member has a peer, new or another one. */
  bind(member: Member): void {
    this.#route([member.name]);
  }

  /** What the member's record claims now. */
  take(nowMs: number, member: Member): MemberClaim {
    const { ipv4 } = member.record;
    const address = this.#claims.addressOf(member.identity, ipv4);
    const { seniorityOf } = this.#options;
    this.#claims.setOwnSeniority(seniorityOf());
    const seniority = seniorityOf(member.name);
    const stored = !this.#started;
    const outcome = this.#claims.claim(nowMs, member.name, address, { seniority, stored });
    this.#route(outcome.changed);
    const moved = outcome.moved && this.#started;
    if (moved) this.#assign();
    if (outcome.contested) return { moved, refused: "ipv4_contested" };
    const foreign = ipv4 !== undefined && address === undefined;
    return { moved, refused: foreign ? "ipv4_prefix_differs" : undefined };
  }

  /** The member is no more; what it held may be another's now. */
  release(nowMs: number, member: Member): void {
    this.#route(this.#claims.forget(nowMs, member.name));
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

  /** By each member what is led to it beside its own addresses; nobody has what another holds. */
  setRoutes(routes: ReadonlyMap<string, readonly IpPrefix[]>): void {
    const concerned = new Set([...this.#routes.keys(), ...routes.keys()]);
    this.#routes = routes;
    this.#route([...concerned]);
  }

  /** Gives each the IPv4 address that it holds and what is led to it, and nothing else. */
  #route(names: readonly string[]): void {
    const { peers, members } = this.#options;
    for (const name of names) {
      const member = members.named(name);
      if (member === undefined) continue;
      const held = this.#claims.heldBy(name);
      const wanted = [
        { address: member.ipv6, bits: 128 },
        ...(held === undefined ? [] : [{ address: held, bits: 32 }]),
        ...(this.#routes.get(name) ?? []),
      ];
      const texts = new Set(wanted.map(formatPrefix));
      for (const prefix of [...member.peer.allowedIps]) {
        if (!texts.has(formatPrefix(prefix))) peers.disallowIp(member.peer, prefix);
      }
      for (const prefix of wanted) peers.allowIp(member.peer, prefix);
    }
  }
}

/**
 * The addresses of identities. IPv6 follows from network id and identity and cannot be argued
 * about. IPv4 is one of 16 hash candidates of the identity in the configured prefix, claimed in the
 * record; `Ipv4Claims` says who holds which here. What had time to settle stays: a newcomer takes it
 * from nobody, however it chose its key, but by an older certificate of the same organisation.
 */
import { concatBytes, Reader } from "../base/bytes.ts";
import { grown, grownCapacity } from "../base/columns.ts";
import type { IdentityCrypto } from "../base/crypto.ts";
import { assert, MeshError } from "../base/errors.ts";
import { familyOf, formatAddress, type IpPrefix, parseAddress, samePrefix } from "../base/ip.ts";
import type { Certificate } from "./certificate.ts";
import { domain, formatIdentity, identityBytes, networkIdBytes } from "./identity.ts";
import { type Ipv4Claim, ipv4CandidatesMax } from "./record.ts";

export const ipv4PrefixDefault: IpPrefix = { address: "10.99.0.0", bits: 16 };
/** Below this a claim yields to another's; from then on it stays. */
export const ipv4SettleMs = 60_000;

const ipv6PrefixDomain = domain("meshvpn ipv6 prefix v1");
const ipv6HostDomain = domain("meshvpn ipv6 address v1");
const ipv4Domain = domain("meshvpn ipv4 candidates v1");

/** The network's /64: fd, then 7 bytes of a hash of the network id (RFC 4193 by shape). */
export function ipv6Prefix(crypto: IdentityCrypto, networkId: Uint8Array): IpPrefix {
  return {
    address: formatAddress({ family: 6, bytes: networkBytes(crypto, networkId), scope: 0 }),
    bits: 64,
  };
}

/** The identity's address in the network: the prefix, then 8 bytes of a hash of the identity. */
export function ipv6Address(
  crypto: IdentityCrypto,
  networkId: Uint8Array,
  identity: Uint8Array,
): string {
  const bytes = networkBytes(crypto, networkId);
  bytes.set(ipv6Host(crypto, identity), 8);
  return formatAddress({ family: 6, bytes, scope: 0 });
}

/** The last 8 bytes of the identity's address. */
export function ipv6Host(crypto: IdentityCrypto, identity: Uint8Array): Uint8Array {
  assert(identity.length === identityBytes, "an identity is 32 bytes");
  return crypto.digest(32, concatBytes(ipv6HostDomain, identity)).slice(0, 8);
}

/** MeshError for a prefix that IPv4 addresses of members cannot be taken from. */
export function checkIpv4Prefix(prefix: IpPrefix): void {
  if (familyOf(prefix.address) === 4 && prefix.bits >= 8 && prefix.bits <= 30) return;
  throw new MeshError(
    "ipv4_prefix_invalid",
    `cannot take members' addresses from ${prefix.address}/${prefix.bits}`,
    "it is not an IPv4 prefix of 8 to 30 bits",
    "choose one like 10.99.0.0/16, the same on every node",
  );
}

/** The identity's 16 candidates, in order; repeats are possible in a small prefix. Never the
 * network's or the broadcast address. */
export function ipv4Candidates(
  crypto: IdentityCrypto,
  prefix: IpPrefix,
  identity: Uint8Array,
): readonly string[] {
  const parsed = parseAddress(prefix.address);
  assert(parsed?.family === 4 && prefix.bits >= 8 && prefix.bits <= 30, "not a usable IPv4 prefix");
  const network = new DataView(parsed.bytes.buffer, parsed.bytes.byteOffset, 4).getUint32(0);
  const hosts = 2 ** (32 - prefix.bits) - 2;
  const hash = new Reader(crypto.digest(4 * ipv4CandidatesMax, concatBytes(ipv4Domain, identity)));
  const out: string[] = [];
  for (let i = 0; i < ipv4CandidatesMax; i += 1) {
    const value = hash.u32();
    assert(value !== undefined, "the hash has 4 bytes a candidate");
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, network + 1 + (value % hosts));
    out.push(formatAddress({ family: 4, bytes, scope: 0 }));
  }
  return out;
}

/** How long an organisation has known somebody: of two by the same one, the older goes first. */
export interface Seniority {
  /** Text of the organisation's key. */
  readonly organisation: string;
  /** When the certificate was issued. */
  readonly issuedWallMs: number;
}

export function seniorityBy(certificate: Certificate | undefined): Seniority | undefined {
  if (certificate === undefined) return undefined;
  const { organisation, issuedWallMs } = certificate;
  return { organisation: formatIdentity(organisation), issuedWallMs };
}

export interface Ipv4ClaimsOptions {
  readonly crypto: IdentityCrypto;
  /** The same on every node; a record that names another has no IPv4 here. */
  readonly prefix: IpPrefix;
  /** This node's identity. */
  readonly self: Uint8Array;
  /** The settled claim that was persisted, if any. */
  readonly candidate?: number;
}

/** This node, among the numbers of claimants. */
const selfNumber = 0;
const capacityStart = 16;
/** Holds nothing; below every time. */
const heldNever = Number.NaN;

/**
 * Who holds which IPv4 address here. Others are named by numbers of the caller's, small and from 1 on.
 * Alone, a claimant holds what it claims. Of several: whoever held it for `ipv4SettleMs` (or over a
 * restart) keeps it, unless a certificate of the same organisation is older; where nobody has settled,
 * the oldest certificate, and without one to compare nobody, until all but one have moved. `self` moves
 * to its next candidate where it would not hold its own. Claims stand in columns, for they may be many,
 * and who claims an address is looked for in them.
 */
export class Ipv4Claims {
  readonly prefix: IpPrefix;
  readonly #crypto: IdentityCrypto;
  readonly #own: readonly string[];
  /** The address that each claims; 0: none. */
  #address = new Uint32Array(capacityStart);
  /** Monotonic ms since when it holds the address here. */
  #heldSinceMs = new Float64Array(capacityStart).fill(heldNever);
  /** Whose certificate it has, from 1 on in `#organisations`, and since when; 0: nobody's. */
  #organisation = new Uint16Array(capacityStart);
  #issuedWallMs = new Float64Array(capacityStart);
  readonly #organisations: string[] = [];
  #candidate: number | undefined;
  /** Monotonic ms from which on the own claim stays; undefined: before `start`. */
  #settlesAtMs: number | undefined;

  constructor(options: Ipv4ClaimsOptions) {
    checkIpv4Prefix(options.prefix);
    this.prefix = options.prefix;
    this.#crypto = options.crypto;
    this.#own = ipv4Candidates(options.crypto, options.prefix, options.self);
    this.#candidate = options.candidate;
    if (options.candidate !== undefined) {
      assert(options.candidate >= 0 && options.candidate < ipv4CandidatesMax, "no such candidate");
      this.#settlesAtMs = Number.NEGATIVE_INFINITY;
    }
  }

  /** This node's claim, as its record says it; undefined where all 16 candidates are held. */
  get own(): Ipv4Claim | undefined {
    return this.#candidate === undefined
      ? undefined
      : { candidate: this.#candidate, prefix: this.prefix };
  }

  get ownAddress(): string | undefined {
    return this.#candidate === undefined ? undefined : this.#own[this.#candidate];
  }

  settled(nowMs: number): boolean {
    return this.#settlesAtMs !== undefined && nowMs >= this.#settlesAtMs;
  }

  /** When the claim settles or settled; undefined where nothing is claimed, or it was persisted. */
  get settlesAtMs(): number | undefined {
    const at = this.#settlesAtMs;
    return at === Number.NEGATIVE_INFINITY ? undefined : at;
  }

  /** This node's own certificate. */
  setOwnSeniority(seniority: Seniority | undefined): void {
    this.#setSeniority(selfNumber, seniority);
  }

  /** Takes the first candidate that nobody known claims, unless a settled one was persisted. */
  start(nowMs: number): void {
    if (this.#candidate === undefined) this.#take(nowMs, 0);
  }

  /** The address that the claim names, for the subject; undefined where it names none of ours. */
  addressOf(identity: Uint8Array, claim: Ipv4Claim | undefined): string | undefined {
    if (claim === undefined || !samePrefix(claim.prefix, this.prefix)) return undefined;
    return ipv4Candidates(this.#crypto, this.prefix, identity)[claim.candidate];
  }

  /**
   * A member claims `address` (undefined: none). What it held before is free, and passes to a
   * claimant that waits for it. `stored`: it did so before this node's restart, and has settled.
   * Returns who holds anything else than before, and whether this node's own claim moved.
   */
  claim(
    nowMs: number,
    member: number,
    address: string | undefined,
    { seniority, stored = false }: { seniority?: Seniority | undefined; stored?: boolean } = {},
  ): ClaimOutcome {
    assert(member > selfNumber, "0 is this node");
    if (member >= this.#address.length) this.#grow(member + 1);
    const claimed = address === undefined ? 0 : numberOf(address);
    const changed = new Set<number>();
    if (this.#address[member] !== claimed) this.#drop(nowMs, member, changed);
    if (claimed === 0) return { changed: [...changed], moved: false, contested: false };
    this.#address[member] = claimed;
    this.#setSeniority(member, seniority);
    const moved = this.#resolve(nowMs, claimed, changed);
    if (stored && this.#holds(member)) this.#heldSinceMs[member] = Number.NEGATIVE_INFINITY;
    return { changed: [...changed], moved, contested: !this.#holds(member) };
  }

  /** The member is gone: its address is free. Returns who got one thereby. */
  forget(nowMs: number, member: number): readonly number[] {
    const changed = new Set<number>();
    this.#drop(nowMs, member, changed);
    changed.delete(member);
    return [...changed];
  }

  /** What the member holds here; undefined where it claims nothing or its claim is contested. */
  heldBy(member: number): string | undefined {
    return this.#holds(member) ? textOf(this.#address[member] as number) : undefined;
  }

  /** The member that holds the address here. */
  holderOf(address: string): number | undefined {
    return this.#claimants(numberOf(address)).find((member) => this.#holds(member));
  }

  isContested(member: number): boolean {
    return (this.#address[member] ?? 0) !== 0 && !this.#holds(member);
  }

  #holds(member: number): boolean {
    return !Number.isNaN(this.#heldSinceMs[member] ?? heldNever);
  }

  /** This node's own left out. */
  #claimants(address: number): readonly number[] {
    const out: number[] = [];
    if (address === 0) return out;
    const column = this.#address;
    for (let at = column.indexOf(address); at >= 0; at = column.indexOf(address, at + 1)) {
      out.push(at);
    }
    return out;
  }

  #drop(nowMs: number, member: number, changed: Set<number>): void {
    const address = this.#address[member] ?? 0;
    if (address === 0) return;
    if (this.#holds(member)) changed.add(member);
    this.#address[member] = 0;
    this.#heldSinceMs[member] = heldNever;
    this.#setSeniority(member, undefined);
    if (this.#claimants(address).length > 0) this.#resolve(nowMs, address, changed);
  }

  /** Decides anew who holds the address; true where this node's own claim moved on. */
  #resolve(nowMs: number, address: number, changed: Set<number>): boolean {
    const others = this.#claimants(address);
    const { ownAddress } = this;
    const isOwn = ownAddress !== undefined && address === numberOf(ownAddress);
    const winner = this.#winner(nowMs, isOwn ? [selfNumber, ...others] : others);
    for (const member of others) {
      const holds = member === winner;
      if (holds === this.#holds(member)) continue;
      this.#heldSinceMs[member] = holds ? nowMs : heldNever;
      changed.add(member);
    }
    if (!isOwn || winner === selfNumber) return false;
    this.#take(nowMs, (this.#candidate as number) + 1);
    // Without us there may be a holder.
    this.#resolve(nowMs, address, changed);
    return true;
  }

  #winner(nowMs: number, members: readonly number[]): number | undefined {
    if (members.length === 1) return members[0];
    const incumbent = members.find((member) => this.#hasSettled(nowMs, member));
    // Where nobody has settled, whoever is older than every other one.
    const eldest = (member: number): boolean =>
      members.every((other) => other === member || this.#isOlder(member, other));
    if (incumbent === undefined) return members.find(eldest);
    return members.reduce(
      (best, member) => (this.#isOlder(member, best) ? member : best),
      incumbent,
    );
  }

  #hasSettled(nowMs: number, member: number): boolean {
    if (member === selfNumber) return this.settled(nowMs);
    // Never of NaN.
    return nowMs >= (this.#heldSinceMs[member] as number) + ipv4SettleMs;
  }

  #isOlder(a: number, b: number): boolean {
    const organisation = this.#organisation[a] as number;
    if (organisation === 0 || organisation !== this.#organisation[b]) return false;
    return (this.#issuedWallMs[a] as number) < (this.#issuedWallMs[b] as number);
  }

  #setSeniority(member: number, seniority: Seniority | undefined): void {
    this.#issuedWallMs[member] = seniority?.issuedWallMs ?? 0;
    this.#organisation[member] =
      seniority === undefined ? 0 : this.#organisationNumber(seniority.organisation);
  }

  #organisationNumber(organisation: string): number {
    const known = this.#organisations.indexOf(organisation);
    return 1 + (known >= 0 ? known : this.#organisations.push(organisation) - 1);
  }

  #grow(least: number): void {
    const capacity = grownCapacity(least, this.#address.length);
    const held = new Float64Array(capacity).fill(heldNever);
    this.#heldSinceMs = grown(this.#heldSinceMs, held);
    this.#address = grown(this.#address, new Uint32Array(capacity));
    this.#organisation = grown(this.#organisation, new Uint16Array(capacity));
    this.#issuedWallMs = grown(this.#issuedWallMs, new Float64Array(capacity));
  }

  /** The first candidate from `first` on, round once, that nobody known claims. */
  #take(nowMs: number, first: number): void {
    for (let i = 0; i < ipv4CandidatesMax; i += 1) {
      const candidate = (first + i) % ipv4CandidatesMax;
      if (this.#claimants(numberOf(this.#own[candidate] as string)).length > 0) continue;
      this.#candidate = candidate;
      this.#settlesAtMs = nowMs + ipv4SettleMs;
      return;
    }
    this.#candidate = undefined;
    this.#settlesAtMs = undefined;
  }
}

export interface ClaimOutcome {
  readonly changed: readonly number[];
  readonly moved: boolean;
  /** Another claims the same; the member has no IPv4 here. */
  readonly contested: boolean;
}

function numberOf(address: string): number {
  const parsed = parseAddress(address);
  assert(parsed?.family === 4, "an IPv4 address");
  return new DataView(parsed.bytes.buffer, parsed.bytes.byteOffset, 4).getUint32(0);
}

function textOf(address: number): string {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, address);
  return formatAddress({ family: 4, bytes, scope: 0 });
}

function networkBytes(crypto: IdentityCrypto, networkId: Uint8Array): Uint8Array {
  assert(networkId.length === networkIdBytes, "a network id is 32 bytes");
  const out = new Uint8Array(16);
  out[0] = 0xfd;
  const hash = crypto.digest(32, concatBytes(ipv6PrefixDomain, networkId));
  out.set(hash.subarray(0, 7), 1);
  return out;
}

/**
 * The addresses of identities. IPv6 follows from network id and identity and cannot be argued
 * about. IPv4 is one of 16 hash candidates of the identity in the configured prefix, claimed in the
 * record; `Ipv4Claims` says who holds which here. What had time to settle stays: a newcomer takes it
 * from nobody, however it chose its key, but by an older certificate of the same organisation.
 */
import { concatBytes, Reader } from "../base/bytes.ts";
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
  assert(identity.length === identityBytes, "an identity is 32 bytes");
  const bytes = networkBytes(crypto, networkId);
  bytes.set(crypto.digest(32, concatBytes(ipv6HostDomain, identity)).subarray(0, 8), 8);
  return formatAddress({ family: 6, bytes, scope: 0 });
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

interface Claim {
  readonly address: string;
  readonly seniority: Seniority | undefined;
  /** Monotonic ms since when it holds the address here; undefined: it does not. */
  heldSinceMs: number | undefined;
}

/** This node, among the names of claimants. */
const selfName = "";

/**
 * Who holds which IPv4 address here. Others are named by the text of their identities. Alone, a
 * claimant holds what it claims. Of several: whoever held it for `ipv4SettleMs` (or over a restart)
 * keeps it, unless a certificate of the same organisation is older; where nobody has settled, the
 * oldest certificate, and without one to compare nobody, until all but one have moved. `self` moves
 * to its next candidate where it would not hold its own.
 */
export class Ipv4Claims {
  readonly prefix: IpPrefix;
  readonly #crypto: IdentityCrypto;
  readonly #own: readonly string[];
  readonly #claims = new Map<string, Claim>();
  /** Address to the names that claim it, this node's own left out. */
  readonly #claimants = new Map<string, readonly string[]>();
  #ownSeniority: Seniority | undefined;
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
    this.#ownSeniority = seniority;
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
   * Returns who holds anything else than before, as texts of identities, and whether this node's own
   * claim moved.
   */
  claim(
    nowMs: number,
    member: string,
    address: string | undefined,
    { seniority, stored = false }: { seniority?: Seniority | undefined; stored?: boolean } = {},
  ): ClaimOutcome {
    const before = this.#claims.get(member);
    const changed = new Set<string>();
    if (before !== undefined && before.address !== address) this.#drop(nowMs, member, changed);
    if (address === undefined) return { changed: [...changed], moved: false, contested: false };
    const same = before?.address === address ? before : undefined;
    const heldSinceMs = same?.heldSinceMs;
    this.#claims.set(member, { address, seniority, heldSinceMs });
    const claimants = this.#claimants.get(address) ?? [];
    if (!claimants.includes(member)) this.#claimants.set(address, [...claimants, member]);
    const moved = this.#resolve(nowMs, address, changed);
    const claim = this.#claims.get(member) as Claim;
    if (stored && claim.heldSinceMs !== undefined) claim.heldSinceMs = Number.NEGATIVE_INFINITY;
    const contested = claim.heldSinceMs === undefined;
    return { changed: [...changed], moved, contested };
  }

  /** The member is gone: its address is free. Returns who got one thereby. */
  forget(nowMs: number, member: string): readonly string[] {
    const changed = new Set<string>();
    this.#drop(nowMs, member, changed);
    changed.delete(member);
    return [...changed];
  }

  /** What the member holds here; undefined where it claims nothing or its claim is contested. */
  heldBy(member: string): string | undefined {
    const claim = this.#claims.get(member);
    return claim?.heldSinceMs === undefined ? undefined : claim.address;
  }

  isContested(member: string): boolean {
    const claim = this.#claims.get(member);
    return claim !== undefined && claim.heldSinceMs === undefined;
  }

  #drop(nowMs: number, member: string, changed: Set<string>): void {
    const claim = this.#claims.get(member);
    if (claim === undefined) return;
    this.#claims.delete(member);
    if (claim.heldSinceMs !== undefined) changed.add(member);
    const claimants = this.#claimants.get(claim.address) ?? [];
    const others = claimants.filter((name) => name !== member);
    if (others.length === 0) {
      this.#claimants.delete(claim.address);
      return;
    }
    this.#claimants.set(claim.address, others);
    this.#resolve(nowMs, claim.address, changed);
  }

  /** Decides anew who holds the address; true where this node's own claim moved on. */
  #resolve(nowMs: number, address: string, changed: Set<string>): boolean {
    const others = this.#claimants.get(address) ?? [];
    const isOwn = address === this.ownAddress;
    const winner = this.#winner(nowMs, isOwn ? [selfName, ...others] : others);
    for (const name of others) {
      const claim = this.#claims.get(name) as Claim;
      const holds = name === winner;
      if (holds === (claim.heldSinceMs !== undefined)) continue;
      claim.heldSinceMs = holds ? nowMs : undefined;
      changed.add(name);
    }
    if (!isOwn || winner === selfName) return false;
    this.#take(nowMs, (this.#candidate as number) + 1);
    // Without us there may be a holder.
    this.#resolve(nowMs, address, changed);
    return true;
  }

  #winner(nowMs: number, names: readonly string[]): string | undefined {
    if (names.length === 1) return names[0];
    const incumbent = names.find((name) => this.#hasSettled(nowMs, name));
    // Where nobody has settled, whoever is older than every other one.
    const eldest = (name: string): boolean =>
      names.every((other) => other === name || this.#isOlder(name, other));
    if (incumbent === undefined) return names.find(eldest);
    return names.reduce((best, name) => (this.#isOlder(name, best) ? name : best), incumbent);
  }

  #hasSettled(nowMs: number, name: string): boolean {
    if (name === selfName) return this.settled(nowMs);
    const since = this.#claims.get(name)?.heldSinceMs;
    return since !== undefined && nowMs >= since + ipv4SettleMs;
  }

  #isOlder(a: string, b: string): boolean {
    const [first, second] = [this.#seniorityOf(a), this.#seniorityOf(b)];
    if (first === undefined || first.organisation !== second?.organisation) return false;
    return first.issuedWallMs < second.issuedWallMs;
  }

  #seniorityOf(name: string): Seniority | undefined {
    return name === selfName ? this.#ownSeniority : this.#claims.get(name)?.seniority;
  }

  /** The first candidate from `first` on, round once, that nobody known claims. */
  #take(nowMs: number, first: number): void {
    for (let i = 0; i < ipv4CandidatesMax; i += 1) {
      const candidate = (first + i) % ipv4CandidatesMax;
      if (this.#claimants.has(this.#own[candidate] as string)) continue;
      this.#candidate = candidate;
      this.#settlesAtMs = nowMs + ipv4SettleMs;
      return;
    }
    this.#candidate = undefined;
    this.#settlesAtMs = undefined;
  }
}

export interface ClaimOutcome {
  readonly changed: readonly string[];
  readonly moved: boolean;
  /** Another claims the same; the member has no IPv4 here. */
  readonly contested: boolean;
}

function networkBytes(crypto: IdentityCrypto, networkId: Uint8Array): Uint8Array {
  assert(networkId.length === networkIdBytes, "a network id is 32 bytes");
  const out = new Uint8Array(16);
  out[0] = 0xfd;
  const hash = crypto.digest(32, concatBytes(ipv6PrefixDomain, networkId));
  out.set(hash.subarray(0, 7), 1);
  return out;
}

/**
 * The addresses of identities. IPv6 follows from network id and identity and cannot be argued
 * about. IPv4 is one of 16 hash candidates of the identity in the configured prefix, claimed in the
 * record; `Ipv4Claims` says who holds which here. What is held stays held: a newcomer never takes
 * an installed address, however it chose its key, and a claim that had time to settle never moves.
 */
import { concatBytes, Reader } from "../base/bytes.ts";
import type { IdentityCrypto } from "../base/crypto.ts";
import { assert, MeshError } from "../base/errors.ts";
import { familyOf, formatAddress, type IpPrefix, parseAddress, samePrefix } from "../base/ip.ts";
import { domain, identityBytes, networkIdBytes } from "./identity.ts";
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

export interface Ipv4ClaimsOptions {
  readonly crypto: IdentityCrypto;
  /** The same on every node; a record that names another has no IPv4 here. */
  readonly prefix: IpPrefix;
  /** This node's identity. */
  readonly self: Uint8Array;
  /** The settled claim that was persisted, if any. */
  readonly candidate?: number;
}

/**
 * Who holds which IPv4 address here. Others are named by the text of their identities. First come,
 * first held; `self` moves to its next candidate while its own claim is younger than
 * `ipv4SettleMs`.
 */
export class Ipv4Claims {
  readonly prefix: IpPrefix;
  readonly #crypto: IdentityCrypto;
  readonly #own: readonly string[];
  /** Address to holder. */
  readonly #holders = new Map<string, string>();
  /** Holder to address held, and claimant to address wanted. */
  readonly #held = new Map<string, string>();
  readonly #wanted = new Map<string, string>();
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

  /** Takes the first candidate that nobody known holds, unless a settled one was persisted. */
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
   * claimant that waits for it. Returns who holds anything else than before, as texts of
   * identities, and whether this node's own claim moved.
   */
  claim(nowMs: number, member: string, address: string | undefined): ClaimOutcome {
    const changed: string[] = [];
    const held = this.#held.get(member);
    if (held !== undefined && held !== address) changed.push(...this.#free(member, held));
    this.#wanted.delete(member);
    if (address === undefined) return { changed, moved: false, contested: false };
    if (held === address) return { changed, moved: false, contested: false };
    const holder = this.#holders.get(address);
    if (holder !== undefined) {
      this.#wanted.set(member, address);
      return { changed, moved: false, contested: true };
    }
    if (address === this.ownAddress) {
      if (this.settled(nowMs)) {
        this.#wanted.set(member, address);
        return { changed, moved: false, contested: true };
      }
      this.#hold(member, address);
      this.#take(nowMs, (this.#candidate as number) + 1);
      return { changed: [...changed, member], moved: true, contested: false };
    }
    this.#hold(member, address);
    return { changed: [...changed, member], moved: false, contested: false };
  }

  /** The member is gone: its address is free. Returns who got one thereby. */
  forget(member: string): readonly string[] {
    this.#wanted.delete(member);
    const held = this.#held.get(member);
    return held === undefined ? [] : this.#free(member, held).filter((name) => name !== member);
  }

  /** What the member holds here; undefined where it claims nothing or its claim is contested. */
  heldBy(member: string): string | undefined {
    return this.#held.get(member);
  }

  isContested(member: string): boolean {
    return this.#wanted.has(member);
  }

  #hold(member: string, address: string): void {
    this.#holders.set(address, member);
    this.#held.set(member, address);
  }

  #free(member: string, address: string): string[] {
    this.#holders.delete(address);
    this.#held.delete(member);
    for (const [waiting, wanted] of this.#wanted) {
      if (wanted !== address || waiting === member) continue;
      this.#wanted.delete(waiting);
      this.#hold(waiting, address);
      return [member, waiting];
    }
    return [member];
  }

  /** The first candidate from `first` on, round once, that nobody known holds. */
  #take(nowMs: number, first: number): void {
    for (let i = 0; i < ipv4CandidatesMax; i += 1) {
      const candidate = (first + i) % ipv4CandidatesMax;
      if (this.#holders.has(this.#own[candidate] as string)) continue;
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
  /** Another holds what the member claims; it has no IPv4 here. */
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

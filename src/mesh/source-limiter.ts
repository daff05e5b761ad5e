/**
 * How often strangers may ask: a bucket for each source and one for all together, before any
 * cryptography is spent on them. A source is an IPv4 address or the /64 of an IPv6 one: what a single
 * host commands.
 */
import { type Endpoint, formatEndpoint } from "../base/endpoint.ts";
import { formatAddress, maskHostBits, parseAddress } from "../base/ip.ts";
import { type TokenBucket, takeToken } from "../base/token-bucket.ts";

const sourcesMax = 1_024;

export interface LimiterRates {
  readonly sourcePerSecond: number;
  readonly sourceBurst: number;
  readonly allPerSecond: number;
  readonly allBurst: number;
}

export class SourceLimiter {
  readonly #rates: LimiterRates;
  /** In order of last use. */
  readonly #sources = new Map<string, TokenBucket>();
  readonly #all: TokenBucket;

  constructor(rates: LimiterRates) {
    this.#rates = rates;
    this.#all = { tokens: rates.allBurst, atMs: 0 };
  }

  allow(nowMs: number, remote: Endpoint): boolean {
    const { sourcePerSecond, sourceBurst, allPerSecond, allBurst } = this.#rates;
    if (!takeToken(this.#all, nowMs, allPerSecond, allBurst)) return false;
    const source = sourceOf(remote);
    let bucket = this.#sources.get(source);
    if (bucket === undefined) {
      if (this.#sources.size >= sourcesMax) {
        const oldest = this.#sources.keys().next().value;
        if (oldest !== undefined) this.#sources.delete(oldest);
      }
      bucket = { tokens: sourceBurst, atMs: nowMs };
    } else {
      this.#sources.delete(source);
    }
    // Set anew, so that the map's order is that of last use.
    this.#sources.set(source, bucket);
    return takeToken(bucket, nowMs, sourcePerSecond, sourceBurst);
  }
}

function sourceOf(remote: Endpoint): string {
  const address = parseAddress(remote.address);
  if (address === undefined) return formatEndpoint(remote);
  return formatAddress(maskHostBits(address, address.family === 4 ? 32 : 64));
}

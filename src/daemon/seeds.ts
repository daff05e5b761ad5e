/**
 * Seeds: where the operator says that members may be found, and what their names mean now. Names
 * are asked of the system's resolver, again after a failure at growing intervals, and now and then
 * after a success, for addresses move. Owns names and addresses; dialling is `mesh/introducer.ts`'s.
 */
import { canonicalAddress } from "../base/ip.ts";
import { type Seed, seedsMax } from "../mesh/introducer.ts";
import { parseIdentity } from "../trust/identity.ts";

export interface SeedName {
  readonly identity?: Uint8Array;
  /** A canonical address, or a name to resolve. */
  readonly host: string;
  readonly port: number;
}

const retryMsMin = 1_000;
const retryMsMax = 60_000;
const refreshMs = 300_000;
/** Addresses taken from one name. */
const addressesMax = 8;

/** `[KEY@]HOST:PORT`, IPv6 in brackets; undefined for anything else. */
export function parseSeed(text: string): SeedName | undefined {
  const at = text.lastIndexOf("@");
  const key = at < 0 ? undefined : text.slice(0, at);
  const identity = key === undefined ? undefined : parseIdentity(key);
  if (key !== undefined && identity === undefined) return undefined;
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(text.slice(at + 1));
  if (match === null) return undefined;
  const [, bracketed, plain, portText] = match;
  const port = Number(portText);
  if (port < 1 || port > 65_535) return undefined;
  const host = bracketed === undefined ? hostOf(plain as string) : canonicalAddress(bracketed);
  if (host === undefined || (bracketed !== undefined && !host.includes(":"))) return undefined;
  return identity === undefined ? { host, port } : { identity, host, port };
}

/** An IPv4 address or a host name (RFC 1123 section 2.1, and an underscore is tolerated). */
function hostOf(text: string): string | undefined {
  const address = canonicalAddress(text);
  if (address !== undefined) return address;
  // What ends in a number is an address or a mistake, never a name.
  if (/(^|\.)[0-9]+\.?$/.test(text) || text.length > 253) return undefined;
  const label = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?";
  return new RegExp(`^${label}(\\.${label})*\\.?$`).test(text) ? text : undefined;
}

export interface SeedResolverOptions {
  /** Texts of the addresses that the name has now; rejects where it has none. */
  readonly lookup: (host: string) => Promise<readonly string[]>;
  /** Calls back after so many ms; what it returns takes that back. */
  readonly later: (ms: number, call: () => void) => () => void;
  /** The seeds, each time that they are others than before. */
  readonly changed: (seeds: readonly Seed[]) => void;
  readonly warn: (text: string) => void;
}

interface Name {
  readonly seed: SeedName;
  addresses: readonly string[];
  failures: number;
}

export class SeedResolver {
  readonly #options: SeedResolverOptions;
  readonly #names: readonly Name[];
  readonly #waits = new Map<Name, () => void>();
  #told = "";
  #stopped = false;

  constructor(seeds: readonly SeedName[], options: SeedResolverOptions) {
    this.#options = options;
    this.#names = seeds.map((seed) => {
      const address = canonicalAddress(seed.host);
      return { seed, addresses: address === undefined ? [] : [address], failures: 0 };
    });
  }

  /** Each as it was named, and how many addresses are known for it. */
  places(): readonly { readonly place: string; readonly addresses: number }[] {
    return this.#names.map(({ seed: { host, port }, addresses }) => ({
      place: host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`,
      addresses: addresses.length,
    }));
  }

  /** Tells of the addresses at once, and resolves the names. */
  start(): void {
    this.#tell();
    for (const name of this.#names) {
      if (canonicalAddress(name.seed.host) === undefined) void this.#resolve(name);
    }
  }

  stop(): void {
    this.#stopped = true;
    for (const cancel of this.#waits.values()) cancel();
    this.#waits.clear();
  }

  /** A name that can no longer be resolved keeps the addresses that it had. */
  async #resolve(name: Name): Promise<void> {
    const outcome = await this.#options.lookup(name.seed.host).then(
      (texts) => texts.flatMap((text) => canonicalAddress(text) ?? []).slice(0, addressesMax),
      (error: unknown) => (error instanceof Error ? error : new Error(String(error))),
    );
    if (this.#stopped) return;
    if (outcome instanceof Error || outcome.length === 0) {
      this.#failed(name, outcome instanceof Error ? outcome.message : "it has no address");
      return;
    }
    name.failures = 0;
    // Sorted: resolvers turn their answers round, which is no change.
    name.addresses = outcome.toSorted();
    this.#tell();
    this.#wait(name, refreshMs);
  }

  #failed(name: Name, why: string): void {
    if (name.failures === 0) {
      this.#options.warn(
        `cannot resolve the seed ${name.seed.host}: ${why}; it is tried again, check the name and DNS`,
      );
    }
    const delay = Math.min(retryMsMax, retryMsMin * 2 ** name.failures);
    name.failures = Math.min(name.failures + 1, 16);
    this.#wait(name, delay);
  }

  #wait(name: Name, ms: number): void {
    this.#waits.set(
      name,
      this.#options.later(ms, () => {
        this.#waits.delete(name);
        void this.#resolve(name);
      }),
    );
  }

  #tell(): void {
    const seeds = this.#names.flatMap(({ seed, addresses }) =>
      addresses.map((address): Seed => {
        const endpoint = { address, port: seed.port };
        return seed.identity === undefined ? { endpoint } : { identity: seed.identity, endpoint };
      }),
    );
    const bounded = seeds.slice(0, seedsMax);
    const text = JSON.stringify(bounded.map(({ endpoint, identity }) => [endpoint, identity]));
    if (text === this.#told) return;
    this.#told = text;
    this.#options.changed(bounded);
  }
}

/**
 * Places that are named by host and port, and what the names mean now. Names are asked of the system's
 * resolver, again after a failure at growing intervals, and now and then after a success, for addresses
 * move. Owns names and addresses; what is done with them is its user's.
 */
import { canonicalAddress } from "../base/ip.ts";

export interface HostPlace {
  /** A canonical address, or a name to resolve. */
  readonly host: string;
  readonly port: number;
}

export interface Found<Place> {
  readonly place: Place;
  readonly address: string;
}

const retryMsMin = 1_000;
const retryMsMax = 60_000;
const refreshMs = 300_000;
/** Addresses taken from one name. */
const addressesMax = 8;

export interface ResolverClock {
  /** Texts of the addresses that the name has now; rejects where it has none. */
  readonly lookup: (host: string) => Promise<readonly string[]>;
  /** Calls back after so many ms; what it returns takes that back. */
  readonly later: (ms: number, call: () => void) => () => void;
  readonly warn: (text: string) => void;
}

export interface HostResolverOptions<Place> extends ResolverClock {
  /** In a warning: `the seed`. */
  readonly what: string;
  /** All that is known, each time that it is other than before. */
  readonly changed: (found: readonly Found<Place>[]) => void;
}

interface Name<Place> {
  readonly place: Place;
  addresses: readonly string[];
  failures: number;
}

export class HostResolver<Place extends HostPlace> {
  readonly #options: HostResolverOptions<Place>;
  readonly #names: readonly Name<Place>[];
  readonly #waits = new Map<Name<Place>, () => void>();
  #told = "";
  #stopped = false;

  constructor(places: readonly Place[], options: HostResolverOptions<Place>) {
    this.#options = options;
    this.#names = places.map((place) => {
      const address = canonicalAddress(place.host);
      return { place, addresses: address === undefined ? [] : [address], failures: 0 };
    });
  }

  /** Each as it was named, and how many addresses are known for it. */
  places(): readonly { readonly place: string; readonly addresses: number }[] {
    return this.#names.map(({ place, addresses }) => ({
      place: placeText(place),
      addresses: addresses.length,
    }));
  }

  /** A name was asked for that has been neither found nor missed so far. */
  get resolving(): boolean {
    return this.#names.some(({ addresses, failures }) => addresses.length === 0 && failures === 0);
  }

  /** Tells of the addresses at once, and resolves the names. */
  start(): void {
    this.#tell();
    for (const name of this.#names) {
      if (canonicalAddress(name.place.host) === undefined) void this.#resolve(name);
    }
  }

  stop(): void {
    this.#stopped = true;
    for (const cancel of this.#waits.values()) cancel();
    this.#waits.clear();
  }

  /** Nobody answers where the names led: they are asked again before their time. */
  refresh(): void {
    for (const [name, cancel] of [...this.#waits]) {
      cancel();
      this.#waits.delete(name);
      void this.#resolve(name);
    }
  }

  /** A name that can no longer be resolved keeps the addresses that it had. */
  async #resolve(name: Name<Place>): Promise<void> {
    const outcome = await this.#options.lookup(name.place.host).then(
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

  #failed(name: Name<Place>, why: string): void {
    const { warn, what } = this.#options;
    if (name.failures === 0) {
      warn(
        `cannot resolve ${what} ${name.place.host}: ${why}; it is tried again, check the name and DNS`,
      );
    }
    const delay = Math.min(retryMsMax, retryMsMin * 2 ** name.failures);
    name.failures = Math.min(name.failures + 1, 16);
    this.#wait(name, delay);
  }

  #wait(name: Name<Place>, ms: number): void {
    this.#waits.set(
      name,
      this.#options.later(ms, () => {
        this.#waits.delete(name);
        void this.#resolve(name);
      }),
    );
  }

  #tell(): void {
    const found = this.#names.flatMap(({ place, addresses }) =>
      addresses.map((address): Found<Place> => ({ place, address })),
    );
    const text = JSON.stringify(found.map(({ place, address }) => [placeText(place), address]));
    if (text === this.#told) return;
    this.#told = text;
    this.#options.changed(found);
  }
}

/** `HOST:PORT`, IPv6 in brackets. */
export function placeText({ host, port }: HostPlace): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** `HOST[:PORT]`, IPv6 in brackets where a port follows; undefined for anything else. */
export function parseHostPlace(text: string, portDefault?: number): HostPlace | undefined {
  const bare = canonicalAddress(text);
  if (bare !== undefined && portDefault !== undefined) return { host: bare, port: portDefault };
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::([0-9]{1,5}))?$/.exec(text);
  if (match === null) return undefined;
  const [, bracketed, plain, portText] = match;
  const port = portText === undefined ? portDefault : Number(portText);
  if (port === undefined || port < 1 || port > 65_535) return undefined;
  const host = bracketed === undefined ? hostOf(plain as string) : canonicalAddress(bracketed);
  if (host === undefined || (bracketed !== undefined && !host.includes(":"))) return undefined;
  return { host, port };
}

/** An IPv4 address or a host name (RFC 1123 section 2.1, and an underscore is tolerated). */
function hostOf(text: string): string | undefined {
  const address = canonicalAddress(text);
  if (address !== undefined) return address;
  return isHostName(text) ? text : undefined;
}

export function isHostName(text: string): boolean {
  // What ends in a number is an address or a mistake, never a name.
  if (/(^|\.)[0-9]+\.?$/.test(text) || text.length > 253) return false;
  const label = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?";
  return new RegExp(`^${label}(\\.${label})*\\.?$`).test(text);
}

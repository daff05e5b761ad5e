/**
 * Where a domain says that members are: TXT records `_meshvpn.DOMAIN` of the form
 * `meshvpn1 [KEY@]HOST:PORT`, and SRV records `_meshvpn._udp.DOMAIN`. Hints only: whoever is found there
 * has to be trusted as anywhere else. Owns what is asked and when, and the bounds of what is taken; the
 * names that come of it are host-resolver.ts's to resolve.
 */
import { isHostName } from "./host-resolver.ts";
import { parseSeed, type SeedName } from "./seeds.ts";

export const dnsDomainsMax = 2;
/** Of all domains together: operators' own seeds keep their places. */
export const dnsHintsMax = 16;
const recordsMax = 64;
const textCharactersMax = 400;
const retryMsMin = 1_000;
const retryMsMax = 60_000;
const refreshMs = 300_000;
const form = /^meshvpn1 (\S+)$/;

export interface ServiceRecord {
  readonly name: string;
  readonly port: number;
  readonly priority: number;
  readonly weight: number;
}

export interface DnsHintsOptions {
  /** Reject where there are none. */
  readonly resolveTxt: (name: string) => Promise<readonly (readonly string[])[]>;
  readonly resolveSrv: (name: string) => Promise<readonly ServiceRecord[]>;
  readonly later: (ms: number, call: () => void) => () => void;
  /** All that is known, each time that it is other than before. */
  readonly changed: (hints: readonly SeedName[]) => void;
  readonly warn: (text: string) => void;
}

interface Domain {
  readonly name: string;
  hints: readonly SeedName[];
  failures: number;
  /** Why it said nothing when it was last asked. */
  why: string | undefined;
  cancel: (() => void) | undefined;
}

export class DnsHints {
  /** Records of the domains that are of no use: of another form, or too many. */
  refused = 0;
  readonly #options: DnsHintsOptions;
  readonly #domains: readonly Domain[];
  #told = "[]";
  #stopped = false;

  constructor(domains: readonly string[], options: DnsHintsOptions) {
    this.#options = options;
    this.#domains = domains.map((name) => {
      return { name, hints: [], failures: 0, why: undefined, cancel: undefined };
    });
  }

  start(): void {
    for (const domain of this.#domains) void this.#ask(domain);
  }

  stop(): void {
    this.#stopped = true;
    for (const { cancel } of this.#domains) cancel?.();
  }

  /** Each domain, and how many places it named or why none. */
  domains(): readonly { readonly domain: string; readonly hints: number; readonly why?: string }[] {
    return this.#domains.map(({ name, hints, why }) => {
      return { domain: name, hints: hints.length, ...(why === undefined ? {} : { why }) };
    });
  }

  /** Nobody answers where the records led: they are asked for again before their time. */
  refresh(): void {
    for (const domain of this.#domains) {
      if (domain.cancel === undefined) continue; // it is being asked
      domain.cancel();
      domain.cancel = undefined;
      void this.#ask(domain);
    }
  }

  /** A domain that answers no more keeps what it said. */
  async #ask(domain: Domain): Promise<void> {
    const { later, resolveSrv, resolveTxt, warn } = this.#options;
    const [texts, services] = await Promise.allSettled([
      resolveTxt(`_meshvpn.${domain.name}`),
      resolveSrv(`_meshvpn._udp.${domain.name}`),
    ]);
    if (this.#stopped) return;
    const found = [
      ...(texts.status === "fulfilled" ? this.#ofTexts(texts.value) : []),
      ...(services.status === "fulfilled" ? this.#ofServices(services.value) : []),
    ];
    let waitMs = refreshMs;
    if (found.length > 0) {
      domain.failures = 0;
      domain.why = undefined;
      domain.hints = found;
      this.#tell();
    } else {
      domain.why = texts.status === "rejected" ? messageOf(texts.reason) : "none is of that form";
      if (domain.failures === 0) {
        warn(
          `${domain.name} names no member: ${domain.why}; give _meshvpn.${domain.name} a TXT record "meshvpn1 KEY@HOST:PORT"`,
        );
      }
      waitMs = Math.min(retryMsMax, retryMsMin * 2 ** domain.failures);
      domain.failures = Math.min(domain.failures + 1, 16);
    }
    domain.cancel = later(waitMs, () => {
      domain.cancel = undefined;
      void this.#ask(domain);
    });
  }

  #ofTexts(records: readonly (readonly string[])[]): readonly SeedName[] {
    this.refused += Math.max(0, records.length - recordsMax);
    return records.slice(0, recordsMax).flatMap((chunks) => {
      const text = chunks.join("");
      const said = text.length > textCharactersMax ? undefined : form.exec(text)?.[1];
      const seed = said === undefined ? undefined : parseSeed(said);
      if (seed === undefined) this.refused += 1;
      return seed ?? [];
    });
  }

  /** The lowest priority first, of one the heaviest: all are tried anyhow. */
  #ofServices(records: readonly ServiceRecord[]): readonly SeedName[] {
    this.refused += Math.max(0, records.length - recordsMax);
    return records
      .slice(0, recordsMax)
      .toSorted((a, b) => a.priority - b.priority || b.weight - a.weight)
      .flatMap(({ name, port }) => {
        // A target of "." says that there is no such service (RFC 2782).
        if (isHostName(name) && port >= 1 && port <= 65_535) return { host: name, port };
        this.refused += 1;
        return [];
      });
  }

  #tell(): void {
    const all = this.#domains.flatMap(({ hints }) => hints);
    const hints = all.slice(0, dnsHintsMax);
    this.refused += all.length - hints.length;
    const text = JSON.stringify(hints);
    if (text === this.#told) return;
    this.#told = text;
    this.#options.changed(hints);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

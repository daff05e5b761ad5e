/**
 * What a daemon asks of its surroundings, beside its members: STUN servers by name, the gateway for a
 * port, and a domain and the local networks for where members are. Owns what resolves and what listens for it; what comes of it is
 * mesh/outlook.ts's, and the introducer's to dial.
 */
import { lookup, resolveSrv, resolveTxt } from "node:dns/promises";
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import type { Instant } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import type { Seed } from "../mesh/node.ts";
import type { Outlook } from "../mesh/outlook.ts";
import { prefixed } from "../mesh/report.ts";
import { stunServersMax } from "../nat/stun-client.ts";
import { DnsHints } from "./dns-hints.ts";
import { defaultGateway } from "./gateway.ts";
import { type HostPlace, HostResolver, placeText, type ResolverClock } from "./host-resolver.ts";
import { Mdns, mdnsCounters } from "./mdns.ts";
import { PortMapper, type PortMapperStatus } from "./port-mapper.ts";
import { SeedResolver } from "./seeds.ts";

const lookMs = 5_000;
/** Without a session for so long, names may lead elsewhere by now. */
const aloneMsMax = 15_000;
/** And are asked again no more often. */
const refreshMsMin = 30_000;

export interface SurroundingsOptions {
  readonly outlook: Outlook;
  readonly random: Random;
  /** The UDP port that is listened on. */
  readonly port: number;
  /** The tunnel interface, where there is one. */
  readonly interfaceName: string | undefined;
  /** The gateway is asked to forward the port. */
  readonly portmap: boolean;
  readonly stun: readonly HostPlace[];
  /** Members on the local networks are found, and find this node. */
  readonly mdns: boolean;
  /** Text. */
  readonly identity: string;
  /** Whether an identity that is found may be asked for an introduction. */
  readonly admits: (identity: Uint8Array) => boolean;
  /** Domains. */
  readonly dns: readonly string[];
  /** Says something to the engine between turns. */
  readonly tell: (say: (now: Instant) => void) => void;
  /** Where members may be, by somebody's word that grants no trust. */
  readonly hinted: (hints: readonly Seed[]) => void;
  /** No session with any member lives. */
  readonly isAlone: () => boolean;
  /** The operator's own names are to be resolved anew. */
  readonly refreshSeeds: () => void;
  readonly nowMs: () => number;
  readonly warn: (text: string) => void;
}

export interface DomainStatus {
  readonly domain: string;
  /** Places that it named. */
  readonly hints: number;
  /** Why it named none when it was last asked. */
  readonly why?: string;
  readonly addresses: number;
}

export class Surroundings {
  readonly #options: SurroundingsOptions;
  readonly #stun: HostResolver<HostPlace>;
  readonly #dns: DnsHints;
  readonly #mapper: PortMapper;
  readonly #mdns: Mdns | undefined;
  #found: { dns: readonly Seed[]; mdns: readonly Seed[] } = { dns: [], mdns: [] };
  #dnsNames: SeedResolver | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #aloneSinceMs: number | undefined;
  #refreshedMs = Number.NEGATIVE_INFINITY;

  constructor(options: SurroundingsOptions) {
    this.#options = options;
    const { dns, outlook, stun, tell, warn } = options;
    const clock = systemResolver(warn);
    this.#stun = new HostResolver(stun, {
      ...clock,
      what: "the STUN server",
      changed: (found) => {
        const servers = found.map(({ place, address }) => {
          return { name: placeText(place), endpoint: { address, port: place.port } };
        });
        tell((now) => outlook.stun.setServers(now, spread(servers).slice(0, stunServersMax)));
      },
    });
    this.#mapper = new PortMapper({
      random: options.random,
      internalPort: options.port,
      gateway: () => {
        const routes = readFileSync("/proc/self/net/route", "utf8");
        return defaultGateway(routes, networkInterfaces(), options.interfaceName);
      },
      changed: (mapped) =>
        tell((now) =>
          outlook.setMapped(now, mapped === undefined ? [] : [{ kind: "mapped", ...mapped }]),
        ),
      nowMs: options.nowMs,
    });
    this.#dns = new DnsHints(dns, {
      ...clock,
      resolveTxt,
      resolveSrv,
      changed: (names) => {
        this.#dnsNames?.stop();
        this.#dnsNames = new SeedResolver(names, {
          ...clock,
          changed: (seeds) => {
            this.#found.dns = seeds.map((seed) => ({ ...seed, hint: true }));
            this.#hint();
          },
        });
        this.#dnsNames.start();
      },
    });
    this.#mdns = !options.mdns
      ? undefined
      : new Mdns({
          key: options.identity,
          port: options.port,
          own: options.interfaceName,
          admits: options.admits,
          changed: (found) => {
            this.#found.mdns = found;
            this.#hint();
          },
          nowMs: options.nowMs,
          warn,
        });
  }

  async start(): Promise<void> {
    this.#stun.start();
    this.#dns.start();
    if (this.#options.portmap) this.#mapper.start();
    this.#timer = setInterval(() => this.#look(), lookMs);
    await this.#mdns?.start();
  }

  /** Resolves when what was borrowed is given back, or nobody takes it. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#stun.stop();
    this.#dns.stop();
    this.#dnsNames?.stop();
    await Promise.all([this.#mapper.stop(), this.#mdns?.stop()]);
  }

  networkChanged(): void {
    if (this.#options.portmap) this.#mapper.networkChanged();
    this.#mdns?.networkChanged();
  }

  portMapping(): PortMapperStatus {
    return this.#mapper.status();
  }

  /** Of the STUN servers, as they were named: which have no address, and whether that may change yet. */
  stunNames(): { readonly unresolved: readonly string[]; readonly resolving: boolean } {
    const places = this.#stun.places().filter(({ addresses }) => addresses === 0);
    return { unresolved: places.map(({ place }) => place), resolving: this.#stun.resolving };
  }

  /** The domains that were asked, for doctor; `addresses`: of all the places that they named. */
  domains(): readonly DomainStatus[] {
    const places = this.#dnsNames?.places() ?? [];
    const addresses = places.reduce((sum, each) => sum + each.addresses, 0);
    return this.#dns.domains().map((each) => ({ ...each, addresses }));
  }

  counters(): Readonly<Record<string, number>> {
    return {
      hints_refused: this.#dns.refused,
      ...prefixed("portmap", this.#mapper.counters),
      ...prefixed("mdns", this.#mdns?.counters ?? mdnsCounters()),
    };
  }

  /** Who is near goes first. */
  #hint(): void {
    this.#options.hinted([...this.#found.mdns, ...this.#found.dns]);
  }

  #look(): void {
    const { isAlone, nowMs, refreshSeeds } = this.#options;
    const now = nowMs();
    if (!isAlone()) this.#aloneSinceMs = undefined;
    else this.#aloneSinceMs ??= now;
    if (this.#aloneSinceMs === undefined || now - this.#aloneSinceMs < aloneMsMax) return;
    if (now - this.#refreshedMs < refreshMsMin) return;
    this.#refreshedMs = now;
    refreshSeeds();
    this.#dns.refresh();
    this.#dnsNames?.refresh();
  }
}

/** One address of each name and family before the second of any: so no name crowds others out. */
function spread<Server extends { readonly name: string; readonly endpoint: { address: string } }>(
  servers: readonly Server[],
): readonly Server[] {
  const seen = new Map<string, number>();
  const ranked = servers.map((server) => {
    const kind = `${server.name} ${server.endpoint.address.includes(":")}`;
    const rank = seen.get(kind) ?? 0;
    seen.set(kind, rank + 1);
    return { server, rank };
  });
  return ranked.toSorted((a, b) => a.rank - b.rank).map(({ server }) => server);
}

export function systemResolver(warn: (text: string) => void): ResolverClock {
  return {
    lookup: async (host) => (await lookup(host, { all: true })).map(({ address }) => address),
    later: (ms, call) => {
      const timer = setTimeout(call, ms);
      return () => clearTimeout(timer);
    },
    warn,
  };
}

/**
 * What a daemon asks of its surroundings, beside its members, and how: the names of STUN servers. Owns
 * what resolves and what listens for it; what comes of it is mesh/outlook.ts's.
 */
import { lookup } from "node:dns/promises";
import type { Instant } from "../base/clock.ts";
import type { Outlook } from "../mesh/outlook.ts";
import { stunServersMax } from "../nat/stun-client.ts";
import { type HostPlace, HostResolver, placeText, type ResolverClock } from "./host-resolver.ts";

export interface SurroundingsOptions {
  readonly outlook: Outlook;
  readonly stun: readonly HostPlace[];
  /** Says something to the engine between turns. */
  readonly tell: (say: (now: Instant) => void) => void;
  readonly warn: (text: string) => void;
}

export class Surroundings {
  readonly #stun: HostResolver<HostPlace>;

  constructor({ outlook, stun, tell, warn }: SurroundingsOptions) {
    this.#stun = new HostResolver(stun, {
      ...systemResolver(warn),
      what: "the STUN server",
      changed: (found) => {
        const servers = found.map(({ place, address }) => {
          return { name: placeText(place), endpoint: { address, port: place.port } };
        });
        tell((now) => outlook.stun.setServers(now, spread(servers).slice(0, stunServersMax)));
      },
    });
  }

  start(): void {
    this.#stun.start();
  }

  stop(): void {
    this.#stun.stop();
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

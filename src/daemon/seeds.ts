/**
 * Seeds: where the operator says that members may be found. Owns their text; what their names mean now
 * is host-resolver.ts's, and dialling `mesh/introducer.ts`'s.
 */
import { type Seed, seedsMax } from "../mesh/introducer.ts";
import { parseIdentity } from "../trust/identity.ts";
import {
  type HostPlace,
  HostResolver,
  parseHostPlace,
  type ResolverClock,
} from "./host-resolver.ts";

export interface SeedName extends HostPlace {
  readonly identity?: Uint8Array;
}

/** `[KEY@]HOST:PORT`, IPv6 in brackets; undefined for anything else. */
export function parseSeed(text: string): SeedName | undefined {
  const at = text.lastIndexOf("@");
  const key = at < 0 ? undefined : text.slice(0, at);
  const identity = key === undefined ? undefined : parseIdentity(key);
  if (key !== undefined && identity === undefined) return undefined;
  const place = parseHostPlace(text.slice(at + 1));
  if (place === undefined || identity === undefined) return place;
  return { identity, ...place };
}

export interface SeedResolverOptions extends ResolverClock {
  /** The seeds, each time that they are others than before. */
  readonly changed: (seeds: readonly Seed[]) => void;
}

export class SeedResolver extends HostResolver<SeedName> {
  constructor(seeds: readonly SeedName[], options: SeedResolverOptions) {
    super(seeds, {
      ...options,
      what: "the seed",
      changed: (found) => {
        const all = found.map(({ place: { identity, port }, address }): Seed => {
          const endpoint = { address, port };
          return identity === undefined ? { endpoint } : { identity, endpoint };
        });
        options.changed(all.slice(0, seedsMax));
      },
    });
  }
}

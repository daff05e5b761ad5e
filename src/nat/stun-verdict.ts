/**
 * What the answers of several STUN servers say together: where this node is seen from outside, and how
 * its NAT maps and filters (RFC 4787, RFC 5780). One server's word is worth nothing: an address is
 * believed where two of different names and addresses say the same and no other is said as often. Pure.
 */
import type { NatKind } from "../base/candidate.ts";
import { type Endpoint, formatEndpoint } from "../base/endpoint.ts";
import { familyOf, isGlobal, isUnicast, parseAddress } from "../base/ip.ts";

/** Of a mapping: what else makes it another. Of filtering: what a sender must have been sent to by. */
export type Behaviour =
  | "endpoint-independent"
  | "address-dependent"
  | "address-and-port-dependent"
  | "unknown";

export interface Seen {
  /** Of the server, as it is configured: two addresses of one name are one witness. */
  readonly name: string;
  readonly server: Endpoint;
  readonly mapped: Endpoint;
}

export interface Verdict {
  /** Believed: at most one of each family. */
  readonly reflexive: readonly Endpoint[];
  readonly mapping: Behaviour;
  readonly kind: NatKind;
}

/** Whether a server there can see anybody at that address. */
export function isPlausible(server: Endpoint, mapped: Endpoint): boolean {
  if (familyOf(server.address) !== familyOf(mapped.address)) return false;
  if (isGlobal(mapped.address)) return true;
  // A server inside of a private network sees its addresses; one outside of it does not.
  const address = parseAddress(mapped.address);
  return !isGlobal(server.address) && address !== undefined && isUnicast(address);
}

/** The one that two witnesses agree on, and that no other two do as well. */
export function agreed(seen: readonly Seen[]): Endpoint | undefined {
  const said = new Map<string, { endpoint: Endpoint; names: Set<string>; servers: Set<string> }>();
  for (const { mapped, name, server } of seen) {
    const key = formatEndpoint(mapped);
    const group = said.get(key) ?? { endpoint: mapped, names: new Set(), servers: new Set() };
    group.names.add(name);
    group.servers.add(server.address);
    said.set(key, group);
  }
  const [first, second] = [...said.values()]
    .map(({ endpoint, names, servers }) => {
      return { endpoint, witnesses: Math.min(names.size, servers.size) };
    })
    .toSorted((a, b) => b.witnesses - a.witnesses);
  if (first === undefined || first.witnesses < 2) return undefined;
  return second?.witnesses === first.witnesses ? undefined : first.endpoint;
}

/**
 * `own`: addresses of this node's interfaces. `portDependent`: whether a server's other port at the
 * same address saw another port; undefined: not known.
 */
export function judge(
  seen: readonly Seen[],
  own: readonly string[],
  portDependent: boolean | undefined,
): Verdict {
  const plausible = seen.filter(({ server, mapped }) => isPlausible(server, mapped));
  const [v4, v6] = [4, 6].map((family) =>
    plausible.filter(({ mapped }) => familyOf(mapped.address) === family),
  ) as [Seen[], Seen[]];
  const [agreed4, agreed6] = [agreed(v4), agreed(v6)];
  const reflexive = [agreed4, agreed6].filter((endpoint) => endpoint !== undefined);
  const mapping = agreed4 === undefined ? dependence(v4, portDependent) : "endpoint-independent";
  return { reflexive, mapping, kind: kindOf(mapping, agreed4, own) };
}

/** Of IPv4 alone: IPv6 is not translated where it works at all. */
function kindOf(mapping: Behaviour, seen: Endpoint | undefined, own: readonly string[]): NatKind {
  if (mapping === "unknown") return "unknown";
  if (seen === undefined) return "hard";
  return own.includes(seen.address) ? "none" : "easy";
}

/** Where all see the same address and each another port, the destination decides the mapping. */
function dependence(seen: readonly Seen[], portDependent: boolean | undefined): Behaviour {
  const addresses = new Set(seen.map(({ mapped }) => mapped.address));
  const mappings = new Set(seen.map(({ mapped }) => formatEndpoint(mapped)));
  const names = new Set(seen.map(({ name }) => name));
  if (addresses.size !== 1 || mappings.size < 2 || names.size < 2) return "unknown";
  return portDependent === false ? "address-dependent" : "address-and-port-dependent";
}

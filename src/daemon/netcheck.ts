/** What `meshvpn netcheck` tells: where this node stands in the network, by whose word, and what follows
 * for members behind each kind of NAT. The form of it, which programs read too. */
import type { CandidateKind, NatKind } from "../base/candidate.ts";
import { type Endpoint, formatEndpoint, isCarried, relayWayOf } from "../base/endpoint.ts";
import { familyOf, isGlobal } from "../base/ip.ts";
import type { NodeStatus } from "../mesh/node.ts";
import { type Prospect, prospect } from "../nat/prospects.ts";
import type { StunServerStatus } from "../nat/stun-client.ts";
import type { Behaviour } from "../nat/stun-verdict.ts";
import type { ControlRequest } from "./control.ts";
import type { PortMapperStatus } from "./port-mapper.ts";

export const netcheckSchema = 1;

/** For how long a server may be silent before somebody who waits is told that it is. */
export const netcheckSeconds = { least: 1, usual: 5, most: 30 } as const;

/** Of a family: whether UDP gets out and back in. */
export type Reach = "works" | "no answer" | "no address" | "not known";

export interface NetcheckReport {
  readonly schema: typeof netcheckSchema;
  /** Servers are still being asked. */
  readonly asking: boolean;
  readonly port: number;
  readonly nat: {
    readonly kind: NatKind;
    readonly mapping: Behaviour;
    readonly filtering: Behaviour;
  };
  readonly udp: { readonly ipv4: Reach; readonly ipv6: Reach };
  /** Where members are told that this node may be. */
  readonly addresses: readonly {
    readonly kind: CandidateKind;
    readonly address: string;
    readonly port: number;
  }[];
  readonly stun: readonly {
    readonly server: string;
    /** Empty: its name has none. */
    readonly address: string;
    /** `asked`, `answered`, `reserved`, `silent`, `no address`, or `error N`. */
    readonly outcome: string;
    readonly rtt_ms: number | null;
    readonly seen: string | null;
    /** Another server says the same, and nothing else is said as often. */
    readonly believed: boolean;
  }[];
  /** What came of asking the gateway, and what it forwards. */
  readonly port_mapping: PortMapperStatus;
  readonly relay: {
    /** This node relays for others. */
    readonly offered: boolean;
    /** Members with a session that do. */
    readonly members: readonly string[];
    /** Members that are reached through one now. */
    readonly used: number;
  };
  readonly tcp: {
    readonly listens: number | null;
    readonly members: number;
  };
  readonly peers: readonly { readonly nat: NatKind; readonly expect: Prospect }[];
}

/** For how many ms servers that are asked anew are waited for; undefined: none is asked. */
export function refreshOf({ refresh, timeout_s: said }: ControlRequest): number | undefined {
  if (refresh !== true) return undefined;
  const { least, most, usual } = netcheckSeconds;
  const seconds = typeof said === "number" && said >= least ? Math.min(said, most) : usual;
  return seconds * 1_000;
}

export interface NetcheckSources {
  readonly node: NodeStatus;
  /** The operator's own word; empty: there is none. */
  readonly givenName: (identity: string) => string;
  readonly port: number;
  readonly stun: readonly StunServerStatus[];
  /** Servers whose names have no address. */
  readonly unresolved: readonly string[];
  /** Some of them may still be found. */
  readonly resolving: boolean;
  readonly asking: boolean;
  readonly mapping: Behaviour;
  readonly filtering: Behaviour;
  readonly portMapping: PortMapperStatus;
  readonly offersRelay: boolean;
  readonly tcpListens: number;
  readonly tcpMembers: number;
}

export function netcheck(sources: NetcheckSources): NetcheckReport {
  const { filtering, mapping, node, port, stun, unresolved } = sources;
  const ways = node.members.flatMap(({ endpoint, sessionLive }) =>
    sessionLive && endpoint !== undefined ? [endpoint] : [],
  );
  const forwarded = node.candidates.some(({ kind }) => kind === "announced" || kind === "mapped");
  const own = { kind: node.natKind, filtering, forwarded };
  return {
    schema: netcheckSchema,
    asking: sources.asking || sources.resolving,
    port,
    nat: { kind: node.natKind, mapping: mappingOf(node.natKind, mapping), filtering },
    udp: { ipv4: reach(4, node, stun, ways), ipv6: reach(6, node, stun, ways) },
    addresses: node.candidates.map(({ kind, address, port }) => ({ kind, address, port })),
    stun: [...stun.map(asked), ...unresolved.map(withoutAddress)],
    port_mapping: sources.portMapping,
    relay: {
      offered: sources.offersRelay,
      members: node.members
        .filter(({ relays, sessionLive }) => relays && sessionLive)
        .map(({ identity, name }) => sources.givenName(identity) || name || identity),
      used: ways.filter((endpoint) => relayWayOf(endpoint) !== undefined).length,
    },
    tcp: {
      listens: sources.tcpListens === 0 ? null : sources.tcpListens,
      members: sources.tcpMembers,
    },
    peers: (["none", "easy", "hard", "blocked"] as const).map((nat) => ({
      nat,
      expect: prospect(own, nat),
    })),
  };
}

function asked(server: StunServerStatus): NetcheckReport["stun"][number] {
  const { believed, endpoint, mapped, name, outcome, rttMs } = server;
  return {
    server: name,
    address: formatEndpoint(endpoint),
    outcome: typeof outcome === "number" ? `error ${outcome}` : outcome,
    rtt_ms: rttMs === undefined ? null : Math.round(rttMs * 1000) / 1000,
    seen: mapped === undefined ? null : formatEndpoint(mapped),
    believed,
  };
}

function withoutAddress(server: string): NetcheckReport["stun"][number] {
  const nothing = { rtt_ms: null, seen: null, believed: false } as const;
  return { server, address: "", outcome: "no address", ...nothing };
}

/** What members see says it too. */
function mappingOf(kind: NatKind, byStun: Behaviour): Behaviour {
  if (byStun !== "unknown" || (kind !== "easy" && kind !== "none")) return byStun;
  return "endpoint-independent";
}

function reach(
  family: 4 | 6,
  { candidates }: NodeStatus,
  stun: readonly StunServerStatus[],
  ways: readonly Endpoint[],
): Reach {
  const isOf = ({ address }: Endpoint): boolean => familyOf(address) === family;
  const direct = ways.filter((way) => relayWayOf(way) === undefined && !isCarried(way));
  const asked = stun.filter(({ endpoint }) => isOf(endpoint));
  // What a server saw before it fell silent says nothing of now.
  const heard = asked.some(({ mapped, outcome }) => mapped !== undefined && outcome !== "silent");
  if (direct.some(isOf) || heard) return "works";
  const own = candidates.filter(({ kind }) => kind === "interface").filter(isOf);
  if (own.length === 0 || (family === 6 && !own.some(({ address }) => isGlobal(address)))) {
    return "no address";
  }
  return asked.some(({ outcome }) => outcome === "silent") ? "no answer" : "not known";
}

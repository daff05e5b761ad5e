/** What `meshvpn status` tells: the form of it, which programs read too, so changes raise `schema`. */

import type { NatKind } from "../base/candidate.ts";
import type { Certificate } from "../trust/certificate.ts";
import { formatIdentity } from "../trust/identity.ts";
import type { RouteState } from "../trust/routes.ts";
import type { MemberPaths } from "./path-status.ts";

export const statusSchema = 1;

export interface CertificateStatus {
  readonly organisation: string;
  /** What the organisation calls the node; may be empty. */
  readonly name: string;
  readonly groups: readonly string[];
  /** Unix seconds. */
  readonly expires: number;
}

/** With its paths only where they were asked for. */
export interface MemberStatus extends Partial<MemberPaths> {
  /** What it calls itself; empty before it is met. */
  readonly name: string;
  /** Another bears that name too, and by the older certificate; or nobody can tell whose it is. */
  readonly name_clash: boolean;
  /** What the operator calls it here, which wins; may be empty. */
  readonly given_name: string;
  readonly identity: string;
  readonly addresses: readonly string[];
  /** Networks that it offers to lead others into. */
  readonly offers: readonly string[];
  /** null: it is trusted by its key. */
  readonly certificate: CertificateStatus | null;
  /** Of membership: what gossip says of it, or `not met`: trusted, and never heard of. */
  readonly state: string;
  /** `direct IP:PORT`, `relay NAME`, `tcp`, or `-` where nothing reaches it now. */
  readonly path: string;
  /** What is before it, as it says: `none`, `easy` (one port for all), `hard` (a port for each), `unknown`. */
  readonly nat: NatKind;
  /** It relays for others. */
  readonly relay: boolean;
  readonly rtt_ms: number | null;
  readonly handshake_age_s: number | null;
  readonly rx_bytes: number;
  readonly tx_bytes: number;
}

/** A network that a member offers, or that was approved for it. */
export interface RouteStatus {
  readonly identity: string;
  readonly prefix: string;
  /** See trust/routes.ts. */
  readonly state: RouteState;
}

export interface MeshStatus {
  readonly schema: typeof statusSchema;
  readonly version: string;
  readonly pid: number;
  readonly identity: string;
  readonly name: string;
  readonly network: string;
  /** null: the daemon was told to make none. */
  readonly interface: string | null;
  readonly addresses: readonly string[];
  readonly port: number;
  /** What is before this node, as it tells the others; see MemberStatus. */
  readonly nat: NatKind;
  /** What seals and opens packets here, such as `avx512ifma` or `libsodium`. */
  readonly aead: string;
  /** Pairs of packet threads. */
  readonly lanes: number;
  /** Whether packets go through io_uring: `off`, `on`, `sqpoll`, or `refused` and the kernel's reason. */
  readonly io_uring: string;
  /** How many identities are trusted here. */
  readonly trusted: number;
  /** How many organisations are. */
  readonly organisations: number;
  /** This node's own; null: it has none. */
  readonly certificate: CertificateStatus | null;
  /** It holds an invitation that was not redeemed yet. */
  readonly joining: boolean;
  /** What stands in the way, as far as only the operator can mend it: what, why and what to do. */
  readonly warnings: readonly string[];
  /** Networks behind this node that it offers to lead members into. */
  readonly offers: readonly string[];
  /** Whether this daemon has the kernel forward for it: `off`, `on`, `masquerade` or `refused`. */
  readonly forward: string;
  /** What members offer, and what is made of it here. */
  readonly routes: readonly RouteStatus[];
  /** The member through which everything else goes; null: there is none. */
  readonly exit_node: string | null;
  readonly members: readonly MemberStatus[];
  /** By name; only where they were asked for. */
  readonly counters?: Readonly<Record<string, number>>;
}

/** A session may outlive whoever was at its other end. */
export function isReached({ path, state }: Pick<MemberStatus, "path" | "state">): boolean {
  return path !== "-" && state !== "dead" && state !== "left";
}

/** Of an identity that is trusted here and has not shown itself. */
export function notMet(identity: string, givenName: string): MemberStatus {
  return {
    name: "",
    name_clash: false,
    given_name: givenName,
    identity,
    addresses: [],
    offers: [],
    certificate: null,
    state: "not met",
    path: "-",
    nat: "unknown",
    relay: false,
    rtt_ms: null,
    handshake_age_s: null,
    rx_bytes: 0,
    tx_bytes: 0,
  };
}

export function certificateStatus(certificate: Certificate | undefined): CertificateStatus | null {
  if (certificate === undefined) return null;
  const { organisation, name, groups, expiresWallMs } = certificate;
  return {
    organisation: formatIdentity(organisation),
    name,
    groups,
    expires: Math.floor(expiresWallMs / 1000),
  };
}

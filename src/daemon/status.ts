/** What `meshvpn status` tells: the form of it, which programs read too, so changes raise `schema`. */

export const statusSchema = 1;

export interface MemberStatus {
  /** What it calls itself; empty before it is met. */
  readonly name: string;
  /** What the operator calls it here, which wins; may be empty. */
  readonly given_name: string;
  readonly identity: string;
  readonly addresses: readonly string[];
  /** Of membership: what gossip says of it, or `not met`: trusted, and never heard of. */
  readonly state: string;
  /** `direct IP:PORT`, or `-` where nothing reaches it now. */
  readonly path: string;
  readonly rtt_ms: number | null;
  readonly handshake_age_s: number | null;
  readonly rx_bytes: number;
  readonly tx_bytes: number;
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
  /** What seals and opens packets here, such as `avx512ifma` or `libsodium`. */
  readonly aead: string;
  /** How many identities are trusted here. */
  readonly trusted: number;
  readonly members: readonly MemberStatus[];
  /** By name; only where they were asked for. */
  readonly counters?: Readonly<Record<string, number>>;
}

/** Of an identity that is trusted here and has not shown itself. */
export function notMet(identity: string, givenName: string): MemberStatus {
  return {
    name: "",
    given_name: givenName,
    identity,
    addresses: [],
    state: "not met",
    path: "-",
    rtt_ms: null,
    handshake_age_s: null,
    rx_bytes: 0,
    tx_bytes: 0,
  };
}

/**
 * What a mesh node is given: its keys, what it kept, and whom it is to trust. Shapes only.
 */
import type { Candidate } from "../base/candidate.ts";
import type { Crypto, Secret } from "../base/crypto.ts";
import type { IpPrefix } from "../base/ip.ts";
import type { Random } from "../base/random.ts";
import type { Profile } from "../swim/profile.ts";
import type { MemberState } from "../swim/state.ts";
import type { SignedStore } from "../swim/store.ts";
import type { Identity } from "../trust/identity.ts";
import type { InviteBook } from "../trust/invite-book.ts";
import type { Record, Verified } from "../trust/record.ts";
import type { Roster } from "../trust/roster.ts";
import type { TrustState } from "./admission.ts";
import type { Arrivals } from "./arrivals.ts";
import type { Joining, Seed } from "./dial-target.ts";
import type { RelayOffer } from "./pathfinder.ts";
import type { HandshakeHistory, PeerTable } from "./peer-table.ts";
import type { NodeMemory } from "./report.ts";

export interface MeshNodeOptions {
  readonly crypto: Crypto;
  readonly random: Random;
  /** The seed stays the caller's. */
  readonly identity: Identity;
  readonly networkId: Uint8Array;
  /** As `sanitizeName` leaves it. */
  readonly name: string;
  /** X25519; the node's from now on. */
  readonly wireguardKey: Secret;
  readonly ipv4Prefix: IpPrefix;
  readonly mtu: number;
  readonly trusted: Iterable<Uint8Array>;
  /** Whatever else of trust is on the disk: see admission.ts. */
  readonly trust?: Partial<Omit<TrustState, "trusted">>;
  /** Where this node issues invitations. */
  readonly book?: InviteBook | undefined;
  /** An invitation that this node holds. */
  readonly joining?: Joining | undefined;
  readonly seeds: readonly Seed[];
  /** Where this node can be reached, the likeliest first; what others must not be told is left out. */
  readonly candidates: readonly Candidate[];
  /** Networks that this node offers to lead members into, as they are now; they fit its record. */
  readonly offered?: () => readonly IpPrefix[];
  readonly memory?: NodeMemory;
  /** Members' records as `persist_member` gave them. */
  readonly members?: Iterable<Uint8Array>;
  readonly history?: HandshakeHistory;
  /** Of the data plane. */
  readonly lanes?: number;
  /** It forwards between members that cannot reach each other. */
  readonly relay?: RelayOffer | undefined;
  readonly profile?: Profile;
  /** Where it notes what came of introductions. */
  readonly arrivals?: Arrivals;
  /** For many nodes in one process. */
  readonly shared?: SharedParts;
}

/**
 * What a process of many nodes (a simulation) gives each of them in place of its own: the stores of
 * signed bytes, whom it admits, and its peers. Then a member has a peer only while a session with it
 * lives or is wanted, no routes and no place on disk: that is the simulation's.
 */
export interface SharedParts {
  readonly records: SignedStore<Verified<Record>>;
  readonly statements: SignedStore;
  /** Else its own, as in a daemon. */
  readonly roster?: Roster | undefined;
  readonly peers: PeerTable;
  /** Sees every verdict on a member, by its slot. */
  readonly watch?: (slot: number, state: MemberState) => void;
}

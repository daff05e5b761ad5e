/**
 * What a node says to its daemon: events, warnings, the status and the counters. Shapes, and how counters are named.
 */
import type { Candidate, NatKind } from "../base/candidate.ts";
import type { Endpoint } from "../base/endpoint.ts";
import type { IpPrefix } from "../base/ip.ts";
import type { MemberState } from "../swim/state.ts";
import type { Certificate } from "../trust/certificate.ts";
import type { PeerRef } from "./dataplane.ts";
import type { MemberWays } from "./pathfinder.ts";
import type { PeerTableEvent } from "./peer-table.ts";

/** What must outlive a restart, beside members' records and the handshake history. */
export interface NodeMemory {
  /** Of the last record that may have left this node. */
  readonly sequence: number;
  /** The IPv4 claim, once it has settled. */
  readonly ipv4Candidate?: number;
}

export type NodeEvent =
  | { readonly kind: "member_joined"; readonly identity: string; readonly name: string }
  /** No longer admitted: what was persisted of it can go. */
  | {
      readonly kind: "member_left";
      readonly identity: string;
      readonly name: string;
      /** As in its status. */
      readonly slot: number;
    }
  /** The member in the slot has this peer from now on: packets may come by it, and go. */
  | { readonly kind: "peer_coming"; readonly slot: number; readonly peer: PeerRef }
  /** The member in the slot has no peer from now on: what is to be kept of the peer is read now. */
  | { readonly kind: "peer_resting"; readonly slot: number; readonly peer: PeerRef }
  | { readonly kind: "member_state"; readonly identity: string; readonly state: MemberState }
  | { readonly kind: "session_up" | "session_down"; readonly identity: string }
  /** This node's addresses are these from now on. */
  | { readonly kind: "address_assigned"; readonly ipv6: string; readonly ipv4: string | undefined }
  /** To be kept before the transmits leave, as are the next and the timestamps. */
  | ({ readonly kind: "persist_record" } & NodeMemory)
  /** All that organisations said and that counts here. */
  | { readonly kind: "persist_statements"; readonly statements: readonly Uint8Array[] }
  /** This node's certificate, for its invitation; that is spent. */
  | { readonly kind: "persist_certificate"; readonly certificate: Uint8Array }
  | { readonly kind: "persist_member"; readonly identity: string; readonly record: Uint8Array }
  | Extract<PeerTableEvent, { readonly kind: "timestamp_sent" | "timestamp_accepted" }>
  | { readonly kind: "warning"; readonly code: WarningCode; readonly subject: string };

/** Each once for a subject: an identity, or a seed's endpoint. */
export type WarningCode =
  /** subject: a seed without a key, and more than 16 identities are trusted. */
  | "seed_key_needed"
  /** subject: a seed whose key is not trusted. */
  | "seed_not_trusted"
  /** subject: a member whose IPv4 address is another's; it has only IPv6 here. */
  | "ipv4_contested"
  /** subject: a member configured with another IPv4 prefix. */
  | "ipv4_prefix_differs"
  /** This node: all 16 candidates are held by others. */
  | "ipv4_exhausted"
  /** subject: a member whose WireGuard key is already somebody else's. */
  | "wireguard_key_duplicate"
  /** This node: a newer record of it is about; another may run under its identity. */
  | "own_record_newer"
  /** subject: a member for which there is no room. */
  | "members_full";

/** All at zero. */
export function nodeCounters() {
  return {
    records_malformed: 0,
    records_not_authentic: 0,
    records_not_admitted: 0,
    wireguard_key_duplicates: 0,
    members_refused: 0,
    own_record_jumps: 0,
    strangers: 0,
    destinations_unknown: 0,
    messages_without_member: 0,
    session_attempts: 0,
  };
}

export type NodeCounters = ReturnType<typeof nodeCounters>;

export interface MemberStatus {
  /** Text. */
  readonly identity: string;
  /** What it calls itself; may be empty. */
  readonly name: string;
  /** Another bears the name too, and it is not this one's: see trust/names.ts. */
  readonly nameClash: boolean;
  /** IPv6, then IPv4 where it holds one here. */
  readonly addresses: readonly string[];
  /** By whose word it is admitted, where that is an organisation's. */
  readonly certificate: Certificate | undefined;
  /** What it offers to lead others into. */
  readonly offered: readonly IpPrefix[];
  readonly state: MemberState;
  /** Small, and its own for as long as it is a member. */
  readonly slot: number;
  /** undefined: it has no session, and none is wanted. */
  readonly peer: PeerRef | undefined;
  readonly wireguardKey: Uint8Array;
  readonly endpoint: Endpoint | undefined;
  /** `direct IP:PORT` or `relay NAME`: the way that packets take. */
  readonly path: string | undefined;
  /** Every way to it that is known, asked for where it is wanted: in a large mesh they are many. */
  readonly ways: () => MemberWays;
  /** Where its record says that it may be, and behind what. */
  readonly candidates: readonly Candidate[];
  readonly natKind: NatKind;
  /** It offers to relay. */
  readonly relays: boolean;
  readonly sessionLive: boolean;
  /** Unix time; 0 never. */
  readonly lastHandshakeWallMs: number;
  readonly rttMs: number | undefined;
}

export interface NodeStatus {
  readonly identity: string;
  readonly name: string;
  readonly wireguardKey: Uint8Array | undefined;
  readonly sequence: number;
  readonly addresses: readonly string[];
  readonly ipv6Prefix: IpPrefix;
  readonly ipv4Prefix: IpPrefix;
  /** How many identities are trusted by key, and how many organisations. */
  readonly trusted: number;
  readonly organisations: number;
  readonly revoked: number;
  /** Where this node says that it may be reached. */
  readonly candidates: readonly Candidate[];
  /** What it is behind, as far as members and STUN servers can tell. */
  readonly natKind: NatKind;
  /** This node's own, as it stands behind its record. */
  readonly certificate: Certificate | undefined;
  /** It holds an invitation that was not redeemed yet. */
  readonly joining: boolean;
  readonly members: readonly MemberStatus[];
}

/** Counters of a part, by names of the whole. */
export function prefixed(
  prefix: string,
  counters: Readonly<globalThis.Record<string, number>> | object,
): globalThis.Record<string, number> {
  return Object.fromEntries(
    Object.entries(counters).map(([name, value]) => [
      `${prefix}_${name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`,
      value as number,
    ]),
  );
}

/** What a node knows of itself and of one other identity: the evidence that doctor puts side by side. */
import type { NatKind } from "../base/candidate.ts";
import type { PolicyStanding } from "../trust/policy.ts";
import type { RefusalStatus } from "./refusal.ts";
import type { MeshStatus } from "./status.ts";

export interface NodeView {
  readonly schema: 1;
  readonly identity: string;
  readonly name: string;
  readonly version: string;
  readonly network: string;
  readonly prefix: string;
  readonly mtu: number;
  readonly port: number;
  /** Unix time there, when it answered. */
  readonly wall_ms: number;
  /** Of the identity that was asked about: */
  readonly about: string;
  readonly trusts: boolean;
  /** Why it is not let in, or why what it sends does not hold; absent in older versions. */
  readonly refusal?: RefusalStatus | null;
  /** Since it last asked here to be introduced, whatever came of it; null: not lately. */
  readonly asked_age_s?: number | null;
  /** What it may begin here. */
  readonly policy?: PolicyStanding;
  /** As in `status`; null: it knows no such member. */
  readonly state: string | null;
  readonly path: string;
  readonly rtt_ms: number | null;
  readonly handshake_age_s: number | null;
  /** What is before this node, and before that one as its record has it; absent in older versions. */
  readonly nat?: NatKind;
  readonly about_nat?: NatKind;
  /** Members that relay for others and are reached directly, and whether the one in `path` does. */
  readonly relays?: number;
  readonly relay_offered?: boolean;
  /** At which that one is reached here: IPv6, and IPv4 where it has one. */
  readonly about_addresses?: readonly string[];
}

/** Of a node's own settings, what a view tells. */
export interface ViewSettings {
  readonly prefix: string;
  readonly mtu: number;
  readonly wallMs: number;
}

/** Of the identity that is asked about. */
export interface Standing {
  readonly trusts: boolean;
  readonly refusal: RefusalStatus | null;
  readonly asked_age_s: number | null;
  readonly policy: PolicyStanding;
}

export function viewOf(
  status: MeshStatus,
  { prefix, mtu, wallMs }: ViewSettings,
  about: string,
  standing: Standing,
): NodeView {
  const { members } = status;
  const member = members.find(({ identity }) => identity === about);
  const relay = /^relay (.+)$/.exec(member?.path ?? "")?.[1];
  return {
    schema: 1,
    identity: status.identity,
    name: status.name,
    version: status.version,
    network: status.network,
    prefix,
    mtu,
    port: status.port,
    wall_ms: Math.round(wallMs),
    about,
    ...standing,
    state: member?.state ?? null,
    path: member?.path ?? "-",
    rtt_ms: member?.rtt_ms ?? null,
    handshake_age_s: member?.handshake_age_s ?? null,
    about_addresses: member?.addresses ?? [],
    nat: status.nat,
    about_nat: member?.nat ?? "unknown",
    relays: members.filter((each) => each.relay && each.path.startsWith("direct ")).length,
    relay_offered: members.some(
      (each) => each.relay && (each.name === relay || each.identity === relay),
    ),
  };
}

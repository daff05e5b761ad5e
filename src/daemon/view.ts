/** What a node knows of itself and of one other identity: the evidence that doctor puts side by side. */
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
  /** As in `status`; null: it knows no such member. */
  readonly state: string | null;
  readonly path: string;
  readonly rtt_ms: number | null;
  readonly handshake_age_s: number | null;
}

/** Of a node's own settings, what a view tells. */
export interface ViewSettings {
  readonly prefix: string;
  readonly mtu: number;
  readonly wallMs: number;
}

export function viewOf(
  status: MeshStatus,
  { prefix, mtu, wallMs }: ViewSettings,
  about: string,
  trusts: boolean,
): NodeView {
  const member = status.members.find(({ identity }) => identity === about);
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
    trusts,
    state: member?.state ?? null,
    path: member?.path ?? "-",
    rtt_ms: member?.rtt_ms ?? null,
    handshake_age_s: member?.handshake_age_s ?? null,
  };
}

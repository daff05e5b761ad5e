/**
 * A peer as the peer table shows it, and what the table tells its owner. Values only: whoever reads
 * a `Peer` sees it change as the table works, and changes it through the table alone.
 */
import type { Secret } from "../base/crypto.ts";
import type { Endpoint } from "../base/endpoint.ts";
import type { HandshakeCounters } from "../noise/session.ts";
import type { Stamps } from "../noise/stamps.ts";
import type { PeerRef, Prefix } from "./dataplane.ts";

export interface Peer {
  readonly publicKey: Uint8Array;
  readonly ref: PeerRef;
  readonly endpoint: Endpoint | undefined;
  /** 0: off. */
  readonly keepaliveSeconds: number;
  readonly allowedIps: readonly Prefix[];
  /** Stays the table's. */
  readonly presharedKey: Secret | undefined;
  /** Unix time; 0: never. */
  readonly lastHandshakeWallMs: number;
  /** Whether a keypair younger than 180 s is usable. */
  readonly sessionLive: boolean;
}

export type PeerTableEvent =
  /** A first keypair or a renewed one: the response came, or the first packet confirmed ours. */
  | { readonly kind: "session_established"; readonly peer: Peer; readonly initiator: boolean }
  /** The newest keypair is 180 s old, or was dropped. */
  | { readonly kind: "session_lost"; readonly peer: Peer }
  /** Nobody answered for 90 s. */
  | { readonly kind: "handshake_failed"; readonly peer: Peer }
  | { readonly kind: "endpoint_changed"; readonly peer: Peer }
  /** A pinned peer shook hands from elsewhere, and stays where it is. */
  | { readonly kind: "endpoint_heard"; readonly peer: Peer; readonly remote: Endpoint }
  /** To be kept before the transmits leave, as is the next. The latest only. */
  | { readonly kind: "timestamp_sent"; readonly tai64n: Uint8Array }
  | {
      readonly kind: "timestamp_accepted";
      readonly publicKey: Uint8Array;
      readonly tai64n: Uint8Array;
    }
  /** An initiation from a key that is no peer. */
  | { readonly kind: "stranger"; readonly remote: Endpoint };

export interface PeerTableCounters extends HandshakeCounters {
  messages_malformed: number;
  strangers: number;
  strangers_unreported: number;
  indices_unknown: number;
  no_local_key: number;
  no_endpoint: number;
}

/** What must outlive a restart, for one static key. */
export interface HandshakeHistory {
  /** The largest stamp that was sent, 12 bytes. */
  readonly lastSent?: Uint8Array | undefined;
  /** By the peer's public key in base64: the largest stamp that was accepted from it, 12 bytes. */
  readonly accepted?: Stamps | undefined;
}

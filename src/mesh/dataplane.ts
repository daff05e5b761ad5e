/**
 * What the control plane says to the data plane, and hears from it. Mirrors zig/abi.zig in
 * TypeScript's terms; `native/dataplane.ts` translates, `test/sim` has a fake one, and both run
 * the same contract tests. Peers are named by slot and generation, which the control plane allots.
 * All times are milliseconds of one monotonic clock that counts suspend (CLOCK_BOOTTIME).
 */
import type { Secret } from "../base/crypto.ts";
import type { Endpoint } from "../base/endpoint.ts";

export interface PeerRef {
  readonly slot: number;
  /** At least 1. */
  readonly generation: number;
}

export interface Prefix {
  /** Canonical text, host bits zero for a route or an allowed IP. */
  readonly address: string;
  readonly bits: number;
}

/** A peer of whom rules of the policy speak by name: which, by their places. */
export interface NamedPeer {
  readonly peer: PeerRef;
  readonly rules: readonly number[];
}

/** A rule of the kernel's policy routing. */
export interface RoutingRule {
  /** Where packets go to whom it is for; of 0 bits: anywhere in that family. */
  readonly prefix: Prefix;
  readonly priority: number;
  /** What is looked up. */
  readonly table?: number;
  /** Routes of so many bits or fewer do not count. */
  readonly suppress?: number;
  /** Without a table, for what the device itself sends: where the search goes on. */
  readonly jump?: number;
}

export type Command =
  | { readonly kind: "peer_add"; readonly peer: PeerRef; readonly publicKey: Uint8Array }
  | { readonly kind: "peer_remove"; readonly peer: PeerRef }
  | {
      readonly kind: "peer_endpoint_set";
      readonly peer: PeerRef;
      readonly remote: Endpoint;
      /** The address that the handshake message was sent to, to answer from. */
      readonly local?: Endpoint;
    }
  /** An authentic handshake message of so many bytes came from the peer. */
  | { readonly kind: "handshake_received"; readonly peer: PeerRef; readonly bytes: number }
  | { readonly kind: "peer_keepalive_set"; readonly peer: PeerRef; readonly seconds: number }
  | { readonly kind: "allowed_ip_add"; readonly peer: PeerRef; readonly prefix: Prefix }
  | { readonly kind: "allowed_ip_remove"; readonly peer: PeerRef; readonly prefix: Prefix }
  | { readonly kind: "allowed_ips_clear"; readonly peer: PeerRef }
  | {
      readonly kind: "keypair_install";
      readonly peer: PeerRef;
      readonly initiator: boolean;
      /** Both are consumed. */
      readonly send: Secret;
      readonly receive: Secret;
      readonly localIndex: number;
      readonly remoteIndex: number;
    }
  | { readonly kind: "keypairs_drop"; readonly peer: PeerRef }
  | { readonly kind: "staged_drop"; readonly peer: PeerRef }
  /** undefined: this device has no key and refuses handshakes. */
  | { readonly kind: "local_key_set"; readonly publicKey: Uint8Array | undefined }
  | { readonly kind: "introduction_key_set"; readonly identity: Uint8Array | undefined }
  /** It is a member: `id` is the first 6 bytes of its identity, little-endian. */
  | { readonly kind: "peer_member_set"; readonly peer: PeerRef; readonly id: number }
  /** This node's own id, and what it forwards for each pair of members; 0: without a limit. */
  | { readonly kind: "relay_set"; readonly id: number; readonly kibPerSecond: number }
  /** One answer to this STUN transaction may pass, for so long. */
  | { readonly kind: "stun_expect"; readonly id: Uint8Array; readonly ms: number }
  /** Side sockets for birthday probing; and that all go by which no peer is spoken to. */
  | { readonly kind: "side_sockets_open" | "side_sockets_close" }
  /** No longer packet goes to the peer than passes on its path; 0: than the interface lets in. */
  | { readonly kind: "peer_mtu_set"; readonly peer: PeerRef; readonly bytes: number }
  | { readonly kind: "listen_port_set"; readonly port: number }
  | { readonly kind: "fwmark_set"; readonly fwmark: number }
  | { readonly kind: "mtu_set"; readonly mtu: number }
  | { readonly kind: "link_up" }
  | { readonly kind: "address_add" | "address_remove"; readonly prefix: Prefix }
  /** In the main table unless another is named. */
  | {
      readonly kind: "route_add" | "route_remove";
      readonly prefix: Prefix;
      readonly table?: number;
    }
  | { readonly kind: "rule_add" | "rule_remove"; readonly rule: RoutingRule }
  /** Where no peer holds an address of this, packets wait, and it is said that one is wanted. */
  | { readonly kind: "destinations_await"; readonly prefix: Prefix }
  /** One address, that is nobody's: what waits for it is answered as unreachable. */
  | { readonly kind: "destination_refuse"; readonly prefix: Prefix };

export type HandshakeReason =
  | "no_keypair"
  | "keypair_age"
  | "keypair_messages"
  | "no_answer"
  | "persistent_keepalive";

export type DataplaneEvent =
  | { readonly kind: "handshake_wanted"; readonly peer: PeerRef; readonly reason: HandshakeReason }
  | { readonly kind: "keypair_confirmed"; readonly peer: PeerRef; readonly localIndex: number }
  | { readonly kind: "session_expired"; readonly peer: PeerRef }
  | { readonly kind: "endpoint_roamed"; readonly peer: PeerRef; readonly remote: Endpoint }
  /** An authentic packet of a member came by another path than its own. */
  | { readonly kind: "path_heard"; readonly peer: PeerRef; readonly remote: Endpoint }
  /** A member was sent data, and nothing came back for a second. */
  | { readonly kind: "path_silent"; readonly peer: PeerRef }
  /** Long packets go to a member: whether its path carries them is to be asked. `mtu`: the interface's. */
  | { readonly kind: "path_mtu_wanted"; readonly peer: PeerRef; readonly mtu: number }
  /** Addresses or routes of this machine have changed. */
  | { readonly kind: "network_changed" }
  /** Packets wait for an address that is to be awaited and that no peer holds. */
  | { readonly kind: "destination_wanted"; readonly address: string }
  | { readonly kind: "link_gone" }
  | { readonly kind: "mtu_changed"; readonly mtu: number }
  | { readonly kind: "link_changed"; readonly up: boolean }
  | { readonly kind: "fatal"; readonly errno: number }
  | { readonly kind: "uapi_request" };

/** A datagram that passed the gate; `bytes` is valid only during the call that hands it over. */
export interface ReceivedDatagram {
  readonly kind:
    | "initiation"
    | "response"
    | "cookie_reply"
    | "session_message"
    | "introduction"
    | "introduction_cookie"
    | "stun";
  readonly bytes: Uint8Array;
  readonly remote: Endpoint;
  readonly local?: Endpoint;
  /** session_message: whose session. */
  readonly peer?: PeerRef;
}

export type Transmit =
  | {
      readonly kind: "datagram";
      readonly to: Endpoint;
      /** The address to send from; undefined lets the kernel choose. */
      readonly from?: Endpoint;
      readonly bytes: Uint8Array;
      /** A handshake message: the peer whose counters and timers it moves. */
      readonly peer?: PeerRef;
    }
  | {
      readonly kind: "session_message";
      readonly peer: PeerRef;
      readonly bytes: Uint8Array;
      /** By this way, and not where the peer is taken to be. */
      readonly to?: Endpoint;
      readonly from?: Endpoint;
      /** With `to`: padded to so many bytes, and then sent unfragmented or not at all. */
      readonly padded?: number;
    };

export interface PeerStats {
  readonly peer: PeerRef;
  readonly txBytes: number;
  readonly rxBytes: number;
  readonly txPackets: number;
  readonly rxPackets: number;
  readonly lastSentMs: number;
  readonly lastReceivedMs: number;
  readonly keypairAtMs: number;
  readonly stagedPackets: number;
  readonly remote: Endpoint | undefined;
}

/**
 * What a simulated node's data plane does with relayed frames (zig/relay.zig, rx.zig and tx_ways.zig):
 * takes those that are for it, and passes the others on, each in the session with the next hop, within
 * the pair's quota and the hops that are left. What is inside a frame it does not look at.
 */
import type { PeerRef } from "../../src/mesh/dataplane.ts";
import type { Peer } from "../../src/mesh/peer.ts";
import { frameHopsMax } from "../../src/nat/message.ts";
import type { PeerMessage } from "./sim-peers.ts";

export interface Frame {
  /** How many more times it may be forwarded. */
  readonly hops: number;
  /** Frame ids of both ends. */
  readonly source: number;
  readonly destination: number;
  readonly fromHost: number;
  readonly kind: PeerMessage;
  readonly session: number;
  readonly bytes: Uint8Array | undefined;
  /** Of the datagram inside. */
  readonly size: number;
}

export const frameHeaderBytes = 16;
const burstBytesMin = 64 * 1024;
const pairsMax = 65_536;

export interface RelayOutput {
  /** It is for this node, and came through that peer. */
  arrived(carrier: PeerRef, frame: Frame): void;
  /** The peer of that id, if the node has one now. */
  peerOf(id: number): Peer | undefined;
  /** False where no session is there to carry it: one is opened then. */
  forward(to: Peer, frame: Frame): boolean;
  /** A frame for one with whom there is no session: in a daemon its peer asks for a handshake. */
  wanted(id: number): void;
}

export class SimRelay {
  readonly counters = { forwarded: 0, refused: 0, over_quota: 0, unavailable: 0 };
  own = 0;
  /** For each pair; 0: without a limit. */
  bytesPerSecond = 0;
  readonly #output: RelayOutput;
  readonly #buckets = new Map<string, { tokens: number; atMs: number }>();

  constructor(output: RelayOutput) {
    this.#output = output;
  }

  /** As this node sends it to the first hop. */
  frame(destination: number, datagram: Omit<Frame, "hops" | "source" | "destination">): Frame {
    return { hops: frameHopsMax, source: this.own, destination, ...datagram };
  }

  take(nowMs: number, carrier: Peer, frame: Frame): void {
    if (frame.source === this.own) {
      this.counters.refused += 1;
      return;
    }
    if (frame.destination === this.own) {
      this.#output.arrived(carrier.ref, frame);
      return;
    }
    const to = this.#output.peerOf(frame.destination);
    if (frame.hops === 0 || to === carrier) {
      this.counters.refused += 1;
      return;
    }
    if (to === undefined) {
      this.counters.unavailable += 1;
      this.#output.wanted(frame.destination);
      return;
    }
    const pair = [carrier.ref.slot, to.ref.slot].toSorted((a, b) => a - b).join(" ");
    if (!this.#charge(nowMs, pair, frameHeaderBytes + frame.size)) {
      this.counters.over_quota += 1;
      return;
    }
    if (this.#output.forward(to, { ...frame, hops: frame.hops - 1 })) this.counters.forwarded += 1;
    else this.counters.unavailable += 1;
  }

  #charge(nowMs: number, pair: string, bytes: number): boolean {
    if (this.bytesPerSecond === 0) return true;
    const burst = Math.max(this.bytesPerSecond / 4, burstBytesMin);
    let bucket = this.#buckets.get(pair);
    if (bucket === undefined) {
      if (this.#buckets.size >= pairsMax) this.#buckets.clear();
      bucket = { tokens: burst, atMs: nowMs };
      this.#buckets.set(pair, bucket);
    }
    const earned = ((nowMs - bucket.atMs) / 1000) * this.bytesPerSecond;
    bucket.tokens = Math.min(burst, bucket.tokens + earned);
    bucket.atMs = nowMs;
    if (bucket.tokens < bytes) return false;
    bucket.tokens -= bytes;
    return true;
  }
}

/**
 * A device that can be configured and does nothing: the model that mesh/uapi.ts is tested with. It
 * keeps count of secrets, and one that is released twice is an error.
 */
import { formatKey } from "../../src/base/base64.ts";
import { toHex } from "../../src/base/bytes.ts";
import type { Instant } from "../../src/base/clock.ts";
import type { Secret } from "../../src/base/crypto.ts";
import type { Endpoint } from "../../src/base/endpoint.ts";
import { MeshError } from "../../src/base/errors.ts";
import { samePrefix } from "../../src/base/ip.ts";
import type { PeerRef, Prefix } from "../../src/mesh/dataplane.ts";
import { answerUapi, type UapiDevice, type UapiPeers } from "../../src/mesh/uapi.ts";

const now: Instant = { ms: 1000, wallMs: 1_700_000_000_000 };

export interface ModelPeer {
  readonly publicKey: Uint8Array;
  readonly ref: PeerRef;
  endpoint?: Endpoint;
  keepaliveSeconds: number;
  allowedIps: Prefix[];
  presharedKey?: Secret | undefined;
  lastHandshakeWallMs: number;
}

/** Handles of secrets are numbers; the public key of n is 32 bytes of n. */
export class ModelDevice implements UapiDevice<ModelPeer>, UapiPeers<ModelPeer> {
  readonly table = this;
  readonly byKey = new Map<string, ModelPeer>();
  readonly live = new Set<number>();
  localKey: Secret | undefined;
  listenPort = 0;
  fwmark = 0;
  portsInUse = [53];
  peersMax = 100;
  settled = 0;
  keysSet = 0;
  removed: string[] = [];

  get localPublicKey(): Uint8Array | undefined {
    return this.localKey === undefined ? undefined : this.publicKeyOf(this.localKey);
  }
  peers(): Iterable<ModelPeer> {
    return this.byKey.values();
  }
  find(publicKey: Uint8Array): ModelPeer | undefined {
    return this.byKey.get(formatKey(publicKey));
  }
  addPeer(_now: Instant, publicKey: Uint8Array): ModelPeer {
    if (this.byKey.size >= this.peersMax) throw new MeshError("table_full", "a", "b", "c");
    const ref = { slot: this.byKey.size, generation: 1 };
    const peer = { publicKey, ref, keepaliveSeconds: 0, allowedIps: [], lastHandshakeWallMs: 0 };
    this.byKey.set(formatKey(publicKey), peer);
    return peer;
  }
  removePeer(_now: Instant, peer: ModelPeer): void {
    this.removed.push(toHex(peer.publicKey).slice(0, 2));
    if (peer.presharedKey !== undefined) this.release(peer.presharedKey);
    this.byKey.delete(formatKey(peer.publicKey));
  }
  setPresharedKey(peer: ModelPeer, secret: Secret | undefined): void {
    if (peer.presharedKey !== undefined) this.release(peer.presharedKey);
    peer.presharedKey = secret;
  }
  setEndpoint(_now: Instant, peer: ModelPeer, endpoint: Endpoint): void {
    peer.endpoint = endpoint;
  }
  setKeepalive(_now: Instant, peer: ModelPeer, seconds: number): void {
    peer.keepaliveSeconds = seconds;
  }
  allowIp(peer: ModelPeer, prefix: Prefix): void {
    for (const other of this.byKey.values()) this.disallowIp(other, prefix);
    peer.allowedIps.push(prefix);
  }
  disallowIp(peer: ModelPeer, prefix: Prefix): void {
    peer.allowedIps = peer.allowedIps.filter((own) => !samePrefix(own, prefix));
  }
  clearAllowedIps(peer: ModelPeer): void {
    peer.allowedIps = [];
  }
  setLocalKey(_now: Instant, key: Secret | undefined): void {
    this.keysSet += 1;
    if (this.localKey !== undefined) this.release(this.localKey);
    this.localKey = key;
  }
  setListenPort(port: number): number {
    if (this.portsInUse.includes(port)) return 98;
    this.listenPort = port;
    return 0;
  }
  setFwmark(fwmark: number): number {
    this.fwmark = fwmark;
    return 0;
  }
  settle(): number {
    return this.settled;
  }
  publicKeyOf(secret: Secret): Uint8Array {
    return new Uint8Array(32).fill(secret % 1000);
  }
  release(secret: Secret): void {
    if (!this.live.delete(secret)) throw new Error(`released twice: ${secret}`);
  }
  traffic(): () => { txBytes: number; rxBytes: number } {
    return () => ({ txBytes: 11, rxBytes: 22 });
  }
  scopeOf = (name: string): number | undefined => (name === "eth0" ? 2 : undefined);

  /** Asks with the library's conversion of key lines: `@N` is a live secret from then on. */
  ask(...lines: string[]): string {
    for (const line of lines) {
      const handle = /_key=@([1-9][0-9]*)$/.exec(line)?.[1];
      if (handle !== undefined) this.live.add(Number(handle));
    }
    return answerUapi(now, `${lines.join("\n")}\n\n`, this);
  }
  set(...lines: string[]): string {
    return this.ask("set=1", ...lines);
  }
}

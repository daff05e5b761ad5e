/**
 * WireGuard's UAPI of a mesh node, so that `wg show` works on its interface. For looking only: peers
 * are members, and who is a member is not for `wg` to say. All members are shown, also those that have
 * no peer in a large mesh, as peers without an endpoint.
 */
import type { Instant } from "../base/clock.ts";
import type { Secret } from "../base/crypto.ts";
import { assert } from "../base/errors.ts";
import type { PeerRef } from "../mesh/dataplane.ts";
import type { MeshNode } from "../mesh/node.ts";
import { answerUapi, type UapiDevice, type UapiPeer, type UapiPeers } from "../mesh/uapi.ts";
import type { NativeCrypto } from "../native/crypto.ts";
import type { NativeDataplane } from "../native/dataplane.ts";
import { statsBySlot } from "./peer-stats.ts";
import type { RestingTraffic, Traffic } from "./resting-traffic.ts";

/** EOPNOTSUPP: plain peers beside members come later. */
const refusal = "errno=-95\n\n";

/** A member, as wg(8) sees it. */
interface Shown extends UapiPeer {
  readonly member: number;
}

/** Peers without one in the data plane are of no generation. */
const noPeer: PeerRef = { slot: 0, generation: 0 };

export class MeshUapi implements UapiDevice<Shown> {
  readonly table: UapiPeers<Shown>;
  readonly localKey: Secret;
  readonly fwmark: number;
  readonly #dataplane: NativeDataplane;
  readonly #crypto: NativeCrypto;
  readonly #resting: RestingTraffic;

  constructor(
    node: MeshNode,
    localKey: Secret,
    dataplane: NativeDataplane,
    crypto: NativeCrypto,
    resting: RestingTraffic,
    fwmark = 0,
  ) {
    this.fwmark = fwmark;
    this.table = new ShownPeers(node);
    this.localKey = localKey;
    this.#dataplane = dataplane;
    this.#crypto = crypto;
    this.#resting = resting;
  }

  /** Every handle of the request is released, whatever it asks. */
  answer(now: Instant, request: string): string {
    if (/^get=1\r?\n/.test(request)) return answerUapi(now, request, this);
    if (!/^set=1\r?\n/.test(request)) return answerUapi(now, request, this);
    // As an operation that does not exist: its keys are released and nothing is done.
    answerUapi(now, request.replace("set=1", "refused=1"), this);
    return refusal;
  }

  get listenPort(): number {
    return this.#dataplane.deviceState().listenPort;
  }

  traffic(): (peer: Shown) => Traffic {
    const find = statsBySlot(this.#dataplane.peerStats());
    return ({ member, ref }) => {
      const resting = this.#resting.of(member);
      const stats = find(ref);
      if (stats === undefined) return resting;
      return {
        txBytes: resting.txBytes + stats.txBytes,
        rxBytes: resting.rxBytes + stats.rxBytes,
      };
    };
  }

  publicKeyOf(secret: Secret): Uint8Array {
    return this.#crypto.publicKey(secret);
  }

  release(secret: Secret): void {
    this.#crypto.release(secret);
  }

  readonly scopeOf = (): undefined => undefined;

  setLocalKey(): never {
    return readOnly();
  }

  removePeer(): never {
    return readOnly();
  }

  setListenPort(): never {
    return readOnly();
  }

  setFwmark(): never {
    return readOnly();
  }

  settle(): never {
    return readOnly();
  }
}

/** Members in the place of a table of peers. */
class ShownPeers implements UapiPeers<Shown> {
  readonly #node: MeshNode;

  constructor(node: MeshNode) {
    this.#node = node;
  }

  get localPublicKey(): Uint8Array | undefined {
    return this.#node.peers.localPublicKey;
  }

  *peers(): Iterable<Shown> {
    for (const member of this.#node.view.members()) {
      const peer = member.peer && this.#node.peers.at(member.peer);
      const addresses = member.addresses.map((address) => ({
        address,
        bits: address.includes(":") ? 128 : 32,
      }));
      yield {
        publicKey: member.wireguardKey,
        ref: peer?.ref ?? noPeer,
        endpoint: peer?.endpoint,
        keepaliveSeconds: peer?.keepaliveSeconds ?? 0,
        allowedIps: peer?.allowedIps ?? addresses,
        lastHandshakeWallMs: member.lastHandshakeWallMs,
        member: member.slot,
      };
    }
  }

  /** Only what changes peers asks. */
  find(): undefined {
    return undefined;
  }

  addPeer(): never {
    return readOnly();
  }

  setPresharedKey(): never {
    return readOnly();
  }

  setEndpoint(): never {
    return readOnly();
  }

  setKeepalive(): never {
    return readOnly();
  }

  allowIp(): never {
    return readOnly();
  }

  disallowIp(): never {
    return readOnly();
  }

  clearAllowedIps(): never {
    return readOnly();
  }
}

function readOnly(): never {
  assert(false, "a set never gets here");
}

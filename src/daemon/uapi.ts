/**
 * WireGuard's UAPI of a mesh node, so that `wg show` works on its interface. For looking only: peers
 * are members, and who is a member is not for `wg` to say.
 */
import type { Instant } from "../base/clock.ts";
import type { Secret } from "../base/crypto.ts";
import { assert } from "../base/errors.ts";
import type { PeerRef, PeerStats } from "../mesh/dataplane.ts";
import type { Peer, PeerTable } from "../mesh/peer-table.ts";
import { answerUapi, type UapiDevice } from "../mesh/uapi.ts";
import type { NativeCrypto } from "../native/crypto.ts";
import type { NativeDataplane } from "../native/dataplane.ts";

/** EOPNOTSUPP: plain peers beside members come later. */
const refusal = "errno=-95\n\n";

export class MeshUapi implements UapiDevice<Peer> {
  readonly table: PeerTable;
  readonly localKey: Secret;
  readonly fwmark: number;
  readonly #dataplane: NativeDataplane;
  readonly #crypto: NativeCrypto;

  constructor(
    table: PeerTable,
    localKey: Secret,
    dataplane: NativeDataplane,
    crypto: NativeCrypto,
    fwmark = 0,
  ) {
    this.fwmark = fwmark;
    this.table = table;
    this.localKey = localKey;
    this.#dataplane = dataplane;
    this.#crypto = crypto;
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

  traffic(): (ref: PeerRef) => { txBytes: number; rxBytes: number } {
    const find = statsBySlot(this.#dataplane.peerStats());
    return (ref) => find(ref) ?? { txBytes: 0, rxBytes: 0 };
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

/** Finds a peer's counters; undefined for a peer that the data plane does not have. */
export function statsBySlot(all: readonly PeerStats[]): (ref: PeerRef) => PeerStats | undefined {
  const bySlot = new Map(all.map((stats) => [stats.peer.slot, stats]));
  return ({ slot, generation }) => {
    const stats = bySlot.get(slot);
    return stats?.peer.generation === generation ? stats : undefined;
  };
}

function readOnly(): never {
  assert(false, "a set never gets here");
}

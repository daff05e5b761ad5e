/**
 * A tunnel of one peer between two hosts on a wire, ready for loads: whatever the peer is, a rig has
 * the two hosts, the inside addresses and the processes that carry the packets. It waits until the
 * first ping has come back. The stage that it stands on ends it.
 */
import { type Host, Stage } from "../test/e2e/support/stage.ts";
import { firstPing } from "../test/e2e/support/traffic.ts";
import { Tunnel, tunnelMtu } from "../test/e2e/support/wireguard.ts";
import { openMesh } from "./mesh-rig.ts";
import { openNebula } from "./nebula.ts";
import type { Peer } from "./peers.ts";

/** Of the wire, and of a peer that has no tunnel. */
export const wireMtu = 1500;
export const mtu: number = tunnelMtu;
const openTimeoutMs = 20_000;

export interface Rig {
  readonly near: Host;
  readonly far: Host;
  /** The far host's, inside the tunnel. */
  readonly address: string;
  /** Of the daemons, the near one first; none where the kernel does their work. */
  readonly pids: readonly number[];
}

/** Runs `measure` on a rig of its own and takes everything down. */
export async function withRig<Result>(
  peer: Peer,
  measure: (rig: Rig) => Promise<Result>,
): Promise<Result> {
  await using stage = Stage.open();
  const hosts = await stage.pair({ mtu: wireMtu });
  const rig = await open(peer, hosts);
  await firstPing(rig.near, rig.address, openTimeoutMs);
  return await measure(rig);
}

async function open({ tunnelled }: Peer, hosts: [Host, Host]): Promise<Rig> {
  const [near, far] = hosts;
  switch (tunnelled.kind) {
    case "none":
      return { near, far, address: far.v4, pids: [] };
    case "nebula": {
      const { address, pids } = await openNebula(tunnelled.folder, hosts, mtu);
      return { near, far, address, pids };
    }
    case "mesh": {
      const { address, pids } = await openMesh(hosts, tunnelled.rules, mtu);
      return { near, far, address, pids };
    }
    case "wireguard": {
      const { implementation, daemon } = tunnelled;
      const options = { initiator: "left", presharedKey: false, outside: 4 } as const;
      const tunnel = await Tunnel.open(hosts, [implementation, implementation], options);
      const pids = daemon ? [tunnel.left.daemon.pid, tunnel.right.daemon.pid] : [];
      return { near, far, address: tunnel.address(tunnel.right, 4), pids };
    }
  }
}

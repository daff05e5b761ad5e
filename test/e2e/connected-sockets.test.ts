/**
 * Busy peers with connected sockets of their own: streams both ways, a peer whose address changes
 * under a stream, a port that changes, and a peer that is taken out and comes back.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { ours } from "./support/implementations.ts";
import { checkTransfer } from "./support/interop.ts";
import { closeStages, Stage } from "./support/stage.ts";
import { firstPing, ping, transfer } from "./support/traffic.ts";
import { Tunnel, type WireGuardDevice } from "./support/wireguard.ts";

const bytes = 10_000_000;
const connecting = {
  ...ours,
  name: "meshvpn, connected",
  env: { MESHVPN_CONNECTED_SOCKETS: "on" },
};

afterAll(closeStages);

/** Of the device's host: how many UDP sockets are on its port, that of handshakes too, and how many are
 * connected. */
async function sockets(device: WireGuardDevice): Promise<{ all: number; connected: number }> {
  const port = (await device.wg("show", "listen-port")).trim();
  const lines = (await device.host.runOk(["ss", "-Huan"])).split("\n");
  const own = lines.filter((line) => line.split(/\s+/)[3]?.endsWith(`:${port}`));
  return { all: own.length, connected: own.filter((line) => line.startsWith("ESTAB")).length };
}

describe("connected sockets", () => {
  test("are there for a busy peer, wherever it goes, and for it alone", async () => {
    await using stage = Stage.open();
    const hosts = await stage.pair();
    const options = { initiator: "left", presharedKey: false, outside: 4 } as const;
    const tunnel = await Tunnel.open(hosts, [connecting, connecting], options);
    const [near, far] = hosts;
    const [left, right] = [tunnel.address(tunnel.left, 4), tunnel.address(tunnel.right, 4)];
    await firstPing(near, right);
    expect(await sockets(tunnel.left)).toEqual({ all: 3, connected: 0 });
    const both = async (): Promise<void> => {
      checkTransfer(await transfer(near, far, right, bytes), bytes);
      checkTransfer(await transfer(far, near, left, bytes), bytes);
      for (const device of [tunnel.left, tunnel.right]) {
        expect(await sockets(device)).toEqual({ all: 4, connected: 1 });
      }
    };
    await both();

    // Roams to another address.
    await near.ip(`address delete ${near.v4}/24 dev eth0`);
    await near.ip(`address add ${near.v4.replace(/\d+$/, "99")}/24 dev eth0`);
    await ping(near, right);
    expect(await tunnel.right.wg("show", "endpoints")).toContain(".99:");
    await both();

    await tunnel.left.wg("set", "listen-port", "51999");
    await ping(near, right);
    expect(await tunnel.right.wg("show", "endpoints")).toContain(":51999");
    await both();

    await tunnel.right.wg("set", "peer", tunnel.left.keys.publicKey, "remove");
    const peer = ["peer", tunnel.left.keys.publicKey, "allowed-ips", `${left}/32`];
    await tunnel.right.wg("set", ...peer, "endpoint", `${near.v4.replace(/\d+$/, "99")}:51999`);
    await firstPing(far, left);
    await both();
  }, 60_000);
});

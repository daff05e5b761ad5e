/**
 * A tunnel whose packets go through io_uring: everything that crosses an ordinary one, against a
 * device without it and against one like itself, and a peer that comes from elsewhere meanwhile.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { ours } from "./support/implementations.ts";
import { checkTransfer, play } from "./support/interop.ts";
import { closeStages, Stage } from "./support/stage.ts";
import { firstPing, ping, transfer } from "./support/traffic.ts";
import { Tunnel } from "./support/wireguard.ts";

const bytes = 10_000_000;
const withRing = { ...ours, name: "meshvpn, io_uring", env: { MESHVPN_IO_URING: "on" } };

afterAll(closeStages);

describe("io_uring", () => {
  for (const peer of [ours, withRing]) {
    test(`carries pings, streams and datagrams to ${peer.name}`, async () => {
      await using stage = Stage.open();
      const hosts = await stage.pair();
      const cell = { peer, initiator: "we", presharedKey: false, inside: 4, outside: 6 } as const;
      await play(hosts, withRing, cell, bytes);
    }, 60_000);
  }

  test("follows a peer whose port changes, and its own port", async () => {
    await using stage = Stage.open();
    const hosts = await stage.pair();
    const options = { initiator: "left", presharedKey: false, outside: 4 } as const;
    const tunnel = await Tunnel.open(hosts, [withRing, withRing], options);
    const [near, far] = hosts;
    const address = tunnel.address(tunnel.right, 4);
    await firstPing(near, address);
    await tunnel.left.wg("set", "listen-port", "51999");
    await ping(near, address);
    expect(await tunnel.right.wg("show", "endpoints")).toContain(":51999");
    checkTransfer(await transfer(far, near, tunnel.address(tunnel.left, 4), bytes), bytes);
  }, 60_000);
});

/**
 * A tunnel whose packets do not fit the network below it: MTU 1420 inside, 1400 outside. Segmented
 * sends fail there as a whole, so they are sent again one by one and fragmented below, as the
 * kernel's WireGuard would have it; nothing is lost for it and nothing stands still.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { ours } from "./support/implementations.ts";
import { checkTransfer } from "./support/interop.ts";
import { Node, untilConnected } from "./support/mesh.ts";
import { until } from "./support/process.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";
import { firstPing, ping, SteadyStream, transfer } from "./support/traffic.ts";
import { Tunnel, tunnelMtu } from "./support/wireguard.ts";

const underlayMtu = 1400;
const bytes = 30_000_000;
const stallMsMax = 1000;
/** IPv4 and ICMP headers. */
const pingHeaderBytes = 28;

afterAll(closeStages);

describe("an underlay of MTU 1400 below a tunnel of 1420", () => {
  for (const outside of [4, 6] as const) {
    test(`carries streams and whole packets both ways over IPv${outside}`, async () => {
      await using stage = Stage.open();
      const hosts = await stage.pair({ mtu: underlayMtu });
      const options = { initiator: "left", presharedKey: false, outside } as const;
      const tunnel = await Tunnel.open(hosts, [ours, ours], options);
      const [left, right] = [tunnel.address(tunnel.left, 4), tunnel.address(tunnel.right, 4)];
      await firstPing(hosts[0], right);
      const size = tunnelMtu - pingHeaderBytes;
      await ping(hosts[0], right, { size, count: 20 });
      await ping(hosts[1], left, { size, count: 20 });
      for (const [from, to, address] of [
        [hosts[0], hosts[1], right],
        [hosts[1], hosts[0], left],
      ] as const) {
        const moved = await transfer(from, to, address, bytes);
        checkTransfer(moved, bytes);
        expect(moved.received.stallMs).toBeLessThan(stallMsMax);
      }
    }, 60_000);
  }

  test("may become so under a stream, which goes on", async () => {
    await using stage = Stage.open();
    const hosts = await stage.pair();
    const options = { initiator: "left", presharedKey: false, outside: 4 } as const;
    const tunnel = await Tunnel.open(hosts, [ours, ours], options);
    const address = tunnel.address(tunnel.right, 4);
    await firstPing(hosts[0], address);
    const stream = await SteadyStream.start(hosts[0], hosts[1], address, 4_000_000);
    await carried(hosts[1], tunnel.right.name, 2_000_000);
    for (const host of hosts) await host.ip(`link set eth0 mtu ${underlayMtu}`);
    const before = await receivedBytes(hosts[1], tunnel.right.name);
    await carried(hosts[1], tunnel.right.name, before + 4_000_000);
    const { sent, received } = await stream.end();
    checkTransfer({ sent, received }, sent.bytes);
    expect(received.stallMs).toBeLessThan(stallMsMax);
  }, 60_000);

  test("is counted once for a path, not for every packet, and loses none", async () => {
    await using stage = Stage.open();
    const hosts = await stage.pair({ mtu: underlayMtu });
    const nodes = [await Node.make(hosts[0], "alpha"), await Node.make(hosts[1], "beta")] as const;
    await nodes[0].trust(nodes[1]);
    await nodes[1].trust(nodes[0]);
    await nodes[0].up("--mtu", `${tunnelMtu}`);
    await nodes[1].up("--mtu", `${tunnelMtu}`, "--seed", nodes[0].seed);
    await untilConnected(nodes, 10_000);
    expect((await counters(nodes[0])).dataplane_udp_segmentation_refused).toBe(0);
    // Paced, so that no buffer below overflows and a packet that is missing was lost by us.
    const address = await nodes[1].address(4);
    const stream = await SteadyStream.start(hosts[0], hosts[1], address, 2_000_000);
    await carried(hosts[1], nodes[1].interfaceName, 2_000_000);
    const { sent, received } = await stream.end();
    checkTransfer({ sent, received }, sent.bytes);
    const ours = await counters(nodes[0]);
    expect(ours.dataplane_udp_segmentation_refused).toBeGreaterThan(0);
    expect(ours.dataplane_udp_segmentation_refused).toBeLessThan(100);
    // Asked after: what was under way has come, but for probes of what the path carries.
    const probes = ours.paths_size_probes ?? 0;
    expect(probes).toBeGreaterThan(0);
    const theirs = await counters(nodes[1]);
    expect(theirs.dataplane_opened_packets).toBeGreaterThanOrEqual(
      (ours.dataplane_sealed_packets ?? 0) - probes - 2,
    );
  }, 60_000);
});

async function counters(node: Node): Promise<Readonly<Record<string, number>>> {
  return JSON.parse(await node.ok("status", "--json", "--counters")).counters;
}

async function carried(host: Host, interfaceName: string, total: number): Promise<void> {
  await until(
    `${total} bytes through the tunnel`,
    async () => (await receivedBytes(host, interfaceName)) >= total,
    { everyMs: 50 },
  );
}

async function receivedBytes(host: Host, interfaceName: string): Promise<number> {
  const shown = await host.runOk(["wg", "show", interfaceName, "transfer"]);
  return Number(shown.trim().split("\t")[1]);
}

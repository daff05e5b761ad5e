/** Tunnels in tunnels, tunnels that lead into themselves, and rules that choose the way. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../support/implementations.ts";
import { until } from "../support/process.ts";
import { answers, firstPing, flood } from "../support/traffic.ts";
import { Wall } from "../support/wall.ts";
import { generateKeys, listenPort, type WireGuardDevice } from "../support/wireguard.ts";
import { type End, endsOf, exercise } from "./exercise.ts";
import type { Scenario, Scene } from "./scenario.ts";

/** What the kernel allows itself for ten pings that lead nowhere. */
const loopBytesMax = 70_000;
const innerMtu = 1340;

export const routing: readonly Scenario[] = [
  {
    title: "a tunnel carries another tunnel",
    cases: [18],
    play: async (scene) => {
      const tunnel = await scene.tunnel();
      const outer = endsOf(tunnel);
      await firstPing(outer[0].host, outer[1].v4);
      const devices: WireGuardDevice[] = [];
      for (const { host } of outer) devices.push(await scene.device(host));
      const inner: End[] = [];
      for (const [index, { host }] of outer.entries()) {
        const device = devices[index] as WireGuardDevice;
        const peer = devices[1 - index] as WireGuardDevice;
        const there = outer[1 - index]?.v6;
        await device.setconf(
          configuration(device.keys.privateKey, 5, [
            `PublicKey = ${peer.keys.publicKey}`,
            `AllowedIPs = 10.79.0.${2 - index}/32, fd79::${2 - index}/128`,
            `Endpoint = [${there}]:5`,
          ]),
        );
        await host.addAddress(`10.79.0.${index + 1}/24`, device.name);
        await host.addAddress(`fd79::${index + 1}/64`, device.name);
        await host.ip(`link set ${device.name} mtu ${innerMtu} up`);
        inner.push({ host, v4: `10.79.0.${index + 1}`, v6: `fd79::${index + 1}` });
      }
      await exercise([inner[0] as End, inner[1] as End]);
    },
  },
  {
    title: "an endpoint that is routed into its own tunnel does not feed on itself",
    cases: [19],
    play: async (scene) => {
      const tunnel = await scene.tunnel();
      const { left, right } = tunnel;
      const [, there] = endsOf(tunnel);
      await firstPing(left.host, there.v4);
      await left.setPeer(right.keys.publicKey, `endpoint ${there.v4}:${listenPort}`);
      const before = await left.transferred();
      await left.host.run(["ping", "-n", "-q", "-f", "-c", "10", "-W", "1", there.v4]);
      await Bun.sleep(1000);
      const after = await left.transferred();
      const grown = after.sent - before.sent;
      assert.ok(grown < loopBytesMax, `${grown} bytes were sent`);
      assert.ok(left.daemon.running);
    },
  },
  {
    title: "a ping bound to the interface passes, also where its mark changes its route",
    cases: [22, 23],
    play: async (scene) => {
      const tunnel = await scene.tunnel();
      const [left, right] = endsOf(tunnel);
      await firstPing(left.host, right.v4);
      assert.ok(await answers(left.host, right.v4, "-I", tunnel.left.name));
      const wall = await Wall.build(left.host);
      await wall.rule("reroute", "meta mark set 1");
      assert.ok(await answers(left.host, right.v4));
      assert.ok(await answers(left.host, right.v4, "-I", tunnel.left.name));
      await wall.open("reroute");
      assert.ok(await answers(left.host, right.v4));
    },
  },
  {
    title: "a peer of the same interface may be reached through another peer of it",
    cases: [24],
    play: async (scene) => {
      const { tunnel, inner } = await onion(scene);
      assert.ok(await answers(tunnel.left.host, inner, "-W", "5"));
    },
  },
  {
    title: "a peer that is only reached through itself is not reached, and the device lives on",
    cases: [25],
    play: async (scene) => {
      const { tunnel, inner, peer } = await onion(scene);
      await tunnel.left.setPeer(peer, `endpoint ${inner}:5`);
      assert.ok(!(await answers(tunnel.left.host, inner, "-W", "1")));
      assert.ok(tunnel.left.daemon.running);
      await tunnel.left.setPeer(peer, "remove");
      assert.ok(await answers(tunnel.left.host, tunnel.address(tunnel.right, 4)));
    },
  },
  {
    title: "wg-quick's default route with a mark carries a flood of pings over both families",
    cases: [26],
    play: async (scene) => {
      const [left, right] = await scene.stage.pair();
      // A gateway's address of IPv6 on the wire is what tempts routes out of the tunnel.
      await left.ip(`-6 route add default via ${right.v6}`);
      const keys = await generateKeys();
      const device = await scene.device(right);
      await device.setconf(
        configuration(device.keys.privateKey, listenPort, [
          `PublicKey = ${keys.publicKey}`,
          "AllowedIPs = 10.77.0.1/32, fd77::1/128",
        ]),
      );
      await right.addAddress("192.168.99.7/32", device.name);
      await right.addAddress("abab::1111/128", device.name);
      await right.ip(`link set ${device.name} up`);
      await right.ip(`route add 10.77.0.1/32 dev ${device.name}`);
      await right.ip(`route add fd77::1/128 dev ${device.name}`);

      const name = scene.stage.interfaceName();
      const path = join(scene.stage.directory, `${name}.conf`);
      const text = configuration(
        keys.privateKey,
        listenPort,
        [
          `PublicKey = ${device.keys.publicKey}`,
          "AllowedIPs = 0.0.0.0/0, ::/0",
          `Endpoint = ${right.v4}:${listenPort}`,
        ],
        ["Address = 10.77.0.1/32, fd77::1/128"],
      );
      writeFileSync(path, text, { mode: 0o600 });
      const env = {
        WG_QUICK_USERSPACE_IMPLEMENTATION: scene.implementation.program,
        MESHVPN_STATE_DIR: join(scene.stage.directory, "quick"),
        PATH: `${join(root, "bin")}:${process.env.PATH}`,
      };
      await left.runOk(["wg-quick", "up", path], { env });
      await flood(left, "192.168.99.7", 100);
      await flood(left, "abab::1111", 100);
      await left.runOk(["wg-quick", "down", path], { env });
      await until("the device to end", async () => (await left.processes()).length === 0);
    },
  },
  {
    title: "a host behind a peer that has no way on is told so at once, by an ICMP error",
    cases: [27],
    play: async (scene) => {
      const { stage } = scene;
      const [left, router] = await stage.pair();
      const client = await stage.bare();
      await stage.wire(
        { host: router, name: "behind", addresses: ["10.0.0.100/24"] },
        { host: client, name: "eth0", addresses: ["10.0.0.1/24"] },
      );
      const tunnel = await scene.tunnelBetween([left, router]);
      const [here, there] = endsOf(tunnel);
      await firstPing(left, there.v4);
      await router.runOk(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
      const wall = await Wall.build(router);
      await wall.rule(
        "postrouting",
        `ip saddr 10.0.0.0/24 oifname ${tunnel.right.name} masquerade`,
      );
      await client.ip(`route add ${here.v4}/32 via 10.0.0.100`);
      assert.ok(await answers(client, here.v4));
      await tunnel.right.setPeer(tunnel.left.keys.publicKey, "remove");
      const { stdout } = await client.run(["ping", "-n", "-c", "1", "-W", "2", here.v4]);
      assert.match(stdout, /icmp_seq=1 Destination (Host|Net) Unreachable/);
    },
  },
];

/** A tunnel, and in it a second device of the right, which is a peer of the left's only device. */
async function onion(
  scene: Scene,
): Promise<{ tunnel: Awaited<ReturnType<Scene["tunnel"]>>; inner: string; peer: string }> {
  const tunnel = await scene.tunnel();
  const { left, right } = tunnel;
  const inner = "10.78.0.2";
  const [, there] = endsOf(tunnel);
  await firstPing(left.host, there.v4);
  const device = await scene.device(right.host);
  await device.setconf(
    configuration(device.keys.privateKey, 5, [
      `PublicKey = ${left.keys.publicKey}`,
      "AllowedIPs = 10.78.0.1/32",
    ]),
  );
  await right.host.addAddress(`${inner}/24`, device.name);
  await right.host.ip(`link set ${device.name} up`);
  await left.host.addAddress("10.78.0.1/24", left.name);
  const words = `allowed-ips ${inner}/32 endpoint ${there.v4}:5`;
  await left.setPeer(device.keys.publicKey, words);
  return { tunnel, inner, peer: device.keys.publicKey };
}

function configuration(
  privateKey: string,
  port: number,
  peer: readonly string[],
  more: readonly string[] = [],
): string {
  const device = [`PrivateKey = ${privateKey}`, `ListenPort = ${port}`, ...more];
  return ["[Interface]", ...device, "[Peer]", ...peer, ""].join("\n");
}

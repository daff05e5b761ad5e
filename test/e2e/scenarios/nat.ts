/** A peer behind a router that translates addresses and forgets them after two seconds. */
import assert from "node:assert/strict";
import type { Host, Stage } from "../support/stage.ts";
import { answers, firstPing } from "../support/traffic.ts";
import { Wall } from "../support/wall.ts";
import { listenPort, type Tunnel } from "../support/wireguard.ts";
import { endsOf } from "./exercise.ts";
import type { Scenario, Scene } from "./scenario.ts";

const forgetsAfterSeconds = 2;
const server = "10.0.0.100";
const router = "10.0.0.1";

export const nat: readonly Scenario[] = [
  {
    title: "behind NAT, a persistent keepalive keeps a peer within reach",
    cases: [20, 21],
    play: async (scene) => {
      const { tunnel } = await behindNat(scene, `snat ip to ${router}`);
      const { left, right } = tunnel;
      await left.setPeer(right.keys.publicKey, "persistent-keepalive 1");
      const [here, there] = endsOf(tunnel);
      await firstPing(left.host, there.v4);
      assert.ok(await answers(right.host, here.v4));
      assert.equal(await right.endpointOf(left.keys.publicKey), `${router}:${listenPort}`);
      await Bun.sleep((forgetsAfterSeconds + 1.5) * 1000);
      assert.ok(await answers(right.host, here.v4));
    },
  },
  {
    title:
      "without a keepalive the router forgets it, and the peer's next packet opens the way again",
    cases: [20],
    play: async (scene) => {
      const { tunnel } = await behindNat(scene, `snat ip to ${router}`);
      const [here, there] = endsOf(tunnel);
      await firstPing(tunnel.left.host, there.v4);
      await Bun.sleep((forgetsAfterSeconds + 1.5) * 1000);
      assert.ok(!(await answers(tunnel.right.host, here.v4, "-W", "1")));
      assert.ok(await answers(tunnel.left.host, there.v4));
      assert.ok(await answers(tunnel.right.host, here.v4));
    },
  },
  {
    title: "a router that gives it another port each time is followed from port to port",
    cases: [20],
    play: async (scene) => {
      const { tunnel } = await behindNat(scene, "masquerade fully-random");
      const { left, right } = tunnel;
      const [here, there] = endsOf(tunnel);
      const seen = new Set<string | undefined>();
      for (let round = 0; round < 3; round += 1) {
        await firstPing(left.host, there.v4);
        assert.ok(await answers(right.host, here.v4));
        seen.add(await right.endpointOf(left.keys.publicKey));
        if (round < 2) await Bun.sleep((forgetsAfterSeconds + 0.5) * 1000);
      }
      // Two of 2^16 ports are the same now and then, three hardly ever.
      assert.ok(seen.size > 1, [...seen].join(" "));
    },
  },
];

/** The left in a private network, the right outside, and between them a router. */
async function behindNat(scene: Scene, translation: string): Promise<{ tunnel: Tunnel }> {
  const { stage } = scene;
  const [left, middle, right] = await Promise.all([stage.bare(), stage.bare(), stage.bare()]);
  await lay(stage, left, middle, right);
  for (const [name, value] of [
    ["ip_forward", 1],
    ["netfilter/nf_conntrack_udp_timeout", forgetsAfterSeconds],
    ["netfilter/nf_conntrack_udp_timeout_stream", forgetsAfterSeconds],
  ] as const) {
    const path = `/proc/sys/net/${name.includes("/") ? name : `ipv4/${name}`}`;
    await middle.runOk(["sh", "-c", `echo ${value} > ${path}`]);
  }
  const wall = await Wall.build(middle);
  await wall.rule("postrouting", `ip saddr 192.168.1.0/24 oifname outer ${translation}`);
  await wall.rule("forward", "iifname outer ct state new drop");
  const endpoint = `${server}:${listenPort}`;
  return { tunnel: await scene.tunnelBetween([left, right], { endpoint }) };
}

async function lay(stage: Stage, left: Host, middle: Host, right: Host): Promise<void> {
  await stage.wire(
    { host: left, name: "eth0", addresses: ["192.168.1.100/24"] },
    { host: middle, name: "inner", addresses: ["192.168.1.1/24"] },
  );
  await stage.wire(
    { host: middle, name: "outer", addresses: [`${router}/24`] },
    { host: right, name: "eth0", addresses: [`${server}/24`] },
  );
  await left.ip("route add default via 192.168.1.1");
}

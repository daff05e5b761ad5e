/** Where a peer is: wherever it last spoke from and proved itself. And what of it is let in. */
import assert from "node:assert/strict";
import { until } from "../support/process.ts";
import { answers, firstPing } from "../support/traffic.ts";
import { Wall } from "../support/wall.ts";
import { generateKeys, listenPort } from "../support/wireguard.ts";
import { endsOf } from "./exercise.ts";
import type { Scenario } from "./scenario.ts";

export const roaming: readonly Scenario[] = [
  {
    title: "a peer is followed to another port over IPv4, and then to IPv6",
    cases: [14, 15],
    play: async (scene) => {
      const tunnel = await scene.tunnel();
      const { left, right } = tunnel;
      const [here, there] = endsOf(tunnel);
      await firstPing(left.host, there.v4);
      await left.wg("set", "listen-port", "9999");
      assert.ok(await answers(left.host, there.v6));
      assert.equal(await right.endpointOf(left.keys.publicKey), `${left.host.v4}:9999`);

      await left.wg("set", "listen-port", "9998");
      const v6 = `[${right.host.v6}]:${listenPort}`;
      await left.setPeer(right.keys.publicKey, `endpoint ${v6}`);
      assert.ok(await answers(left.host, there.v4));
      assert.equal(await right.endpointOf(left.keys.publicKey), `[${left.host.v6}]:9998`);
      assert.ok(await answers(right.host, here.v4));
    },
  },
  {
    title:
      "a packet whose source belongs to another peer is dropped, and its sender still followed",
    cases: [16],
    play: async (scene) => {
      const tunnel = await scene.tunnel();
      const { left, right } = tunnel;
      const [here, there] = endsOf(tunnel);
      await left.setPeer(right.keys.publicKey, "allowed-ips 10.77.0.0/24");
      await firstPing(left.host, there.v4);
      const wall = await Wall.build(left.host);
      const arrived = await wall.count("input", `iifname ${left.name} icmp type echo-request`);
      assert.ok(await answers(right.host, here.v4));
      assert.equal(await arrived(), 1);

      const other = await generateKeys();
      await left.setPeer(other.publicKey, `allowed-ips ${there.v4}/32`);
      await right.wg("set", "listen-port", "9997");
      assert.ok(!(await answers(right.host, here.v4, "-W", "1")));
      assert.equal(await arrived(), 1);
      const moved = `${right.host.v4}:9997`;
      await until("the peer to be followed", async () => {
        return (await left.endpointOf(right.keys.publicKey)) === moved;
      });

      await left.setPeer(other.publicKey, "remove");
      await left.setPeer(right.keys.publicKey, `allowed-ips ${there.v4}/32`);
      assert.ok(await answers(right.host, here.v4));
      assert.equal(await arrived(), 2);
    },
  },
];

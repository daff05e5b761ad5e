/** Which of its own addresses a device speaks from: the one it was spoken to, while it has it. */
import assert from "node:assert/strict";
import { answers, firstPing } from "../support/traffic.ts";
import { listenPort } from "../support/wireguard.ts";
import { endsOf } from "./exercise.ts";
import type { Scenario } from "./scenario.ts";

export const sticky: readonly Scenario[] = [
  {
    title: "an IPv4 address that goes away is replaced by another at once",
    cases: [28],
    play: async (scene) => {
      const [left, right] = await scene.stage.pair();
      const tunnel = await scene.tunnelBetween([left, right]);
      const [here, there] = endsOf(tunnel);
      await firstPing(left, there.v4);
      await left.addAddress("192.0.2.10/24", "eth0");
      // Or the second address would go with the first.
      const promote = "echo 1 > /proc/sys/net/ipv4/conf/eth0/promote_secondaries";
      await left.runOk(["sh", "-c", promote]);
      await left.ip(`address delete ${left.v4}/24 dev eth0`);
      assert.ok(await answers(left, there.v4));
      const endpoint = await tunnel.right.endpointOf(tunnel.left.keys.publicKey);
      assert.equal(endpoint, `192.0.2.10:${listenPort}`);
      assert.ok(await answers(right, here.v4));
    },
  },
  {
    title: "an IPv6 address that goes away is replaced by another at once",
    cases: [29],
    play: async (scene) => {
      const [left, right] = await scene.stage.pair();
      const tunnel = await scene.tunnelBetween([left, right], { outside: 6 });
      const [here, there] = endsOf(tunnel);
      await firstPing(left, there.v4);
      await left.addAddress("2001:db8::10/64", "eth0");
      await left.ip(`address delete ${left.v6}/64 dev eth0`);
      assert.ok(await answers(left, there.v4));
      const endpoint = await tunnel.right.endpointOf(tunnel.left.keys.publicKey);
      assert.equal(endpoint, `[2001:db8::10]:${listenPort}`);
      assert.ok(await answers(right, here.v4));
    },
  },
  {
    title: "of four addresses each is answered from, where it was asked",
    cases: [30],
    play: async (scene) => {
      const [left, right] = await scene.stage.pair();
      await left.addAddress("192.0.2.10/24", "eth0");
      await left.addAddress("2001:db8::10/64", "eth0");
      const tunnel = await scene.tunnelBetween([left, right], { initiator: "right" });
      const [here] = endsOf(tunnel);
      for (const address of [left.v4, `[${left.v6}]`, "192.0.2.10", "[2001:db8::10]"]) {
        const endpoint = `${address}:${listenPort}`;
        await tunnel.right.setPeer(tunnel.left.keys.publicKey, `endpoint ${endpoint}`);
        assert.ok(await answers(right, here.v4), endpoint);
        assert.equal(await tunnel.right.endpointOf(tunnel.left.keys.publicKey), endpoint);
      }
    },
  },
  {
    title: "an address of another interface is answered from when it is asked",
    cases: [31],
    play: async (scene) => {
      const [left, right] = await scene.stage.pair();
      const end = { host: left, addresses: [] };
      await scene.stage.wire(
        { ...end, name: "far0", addresses: ["10.50.0.1/24"] },
        { ...end, name: "far1" },
      );
      await right.ip(`route add 10.50.0.0/24 via ${left.v4}`);
      const endpoint = `10.50.0.1:${listenPort}`;
      const tunnel = await scene.tunnelBetween([left, right], { initiator: "right", endpoint });
      const [here] = endsOf(tunnel);
      assert.ok(await answers(right, here.v4));
      assert.equal(await tunnel.right.endpointOf(tunnel.left.keys.publicKey), endpoint);
      await left.ip("address delete 10.50.0.1/24 dev far0");
      await tunnel.right.setPeer(tunnel.left.keys.publicKey, `endpoint ${left.v4}:${listenPort}`);
      assert.ok(await answers(right, here.v4));
    },
  },
  {
    title: "a better way out over another interface is taken, with that interface's address",
    cases: [32],
    play: async (scene) => {
      const { stage } = scene;
      const [left, right] = await Promise.all([stage.bare(), stage.bare()]);
      const ends = [left, right] as const;
      for (const name of ["one", "two"]) {
        await stage.wire({ host: left, name, addresses: [] }, { host: right, name, addresses: [] });
      }
      for (const host of ends) {
        const off = "for path in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $path; done";
        await host.runOk(["sh", "-c", off]);
      }
      await left.addAddress("10.0.0.1/32", "one");
      await left.addAddress("10.0.0.3/32", "two");
      await right.addAddress("10.0.0.2/32", "one");
      await left.ip("route add 10.0.0.2/32 dev one src 10.0.0.1 metric 2");
      await right.ip("route add 10.0.0.1/32 dev one src 10.0.0.2");
      await right.ip("route add 10.0.0.3/32 dev two src 10.0.0.2");
      const endpoint = `10.0.0.2:${listenPort}`;
      const tunnel = await scene.tunnelBetween(ends, { endpoint });
      const [, there] = endsOf(tunnel);
      const seen = (): Promise<string | undefined> =>
        tunnel.right.endpointOf(tunnel.left.keys.publicKey);
      assert.ok(await answers(left, there.v4));
      assert.equal(await seen(), `10.0.0.1:${listenPort}`);
      await left.ip("route add 10.0.0.2/32 dev two src 10.0.0.3 metric 1");
      assert.ok(await answers(left, there.v4));
      assert.equal(await seen(), `10.0.0.3:${listenPort}`);
    },
  },
];

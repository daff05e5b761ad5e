/** Padding: whole units of 16 bytes hide lengths, but never make a packet that does not fit. */
import assert from "node:assert/strict";
import { ping } from "../support/traffic.ts";
import { Wall } from "../support/wall.ts";
import { endsOf } from "./exercise.ts";
import type { Scenario } from "./scenario.ts";

/** No multiple of 16, so that padding would exceed it. The kernel's test sets a route's MTU, which
 * a program in user space does not see; the interface's is the same to what pads. */
const oddMtu = 1299;
/** IPv4, UDP and WireGuard around a packet. */
const outsideBytes = 20 + 8 + 32;
const pingHeaderBytes = 28;

export const mtu: readonly Scenario[] = [
  {
    title: "padding does not make a packet longer than the interface's MTU allows",
    cases: [13],
    play: async (scene) => {
      const tunnel = await scene.tunnel({ mtu: oddMtu });
      const [left, right] = endsOf(tunnel);
      for (const { host } of [left, right]) {
        const wall = await Wall.build(host);
        await wall.rule("input", `meta l4proto udp ip length > ${oddMtu + outsideBytes} drop`);
      }
      await ping(left.host, right.v4, { count: 1 });
      for (let length = oddMtu - 20; length <= oddMtu; length += 1) {
        await ping(left.host, right.v4, { count: 1, size: length - pingHeaderBytes });
      }
      await ping(right.host, left.v4, { count: 3, size: oddMtu - pingHeaderBytes });
    },
  },
  {
    title: "packets of nearby lengths are equally long outside",
    cases: [13],
    play: async (scene) => {
      const tunnel = await scene.tunnel();
      const [left, right] = endsOf(tunnel);
      await ping(left.host, right.v4, { count: 1 });
      const wall = await Wall.build(right.host);
      // 100 bytes of payload are 128 inside, and so are all others down to the next unit of 16.
      const padded = 128 + outsideBytes;
      const seen = await wall.count("input", `meta l4proto udp ip length ${padded}`);
      const others = await wall.count("input", `meta l4proto udp ip length != ${padded}`);
      for (let size = 100 - 15; size <= 100; size += 1) {
        await ping(left.host, right.v4, { count: 1, size });
      }
      assert.deepEqual([await seen(), await others()], [16, 0]);
    },
  },
];

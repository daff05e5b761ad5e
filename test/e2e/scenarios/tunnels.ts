/** What a tunnel carries, over either family and in packets of any size, and what it counts. */
import assert from "node:assert/strict";
import { flood } from "../support/traffic.ts";
import { endsOf, exercise } from "./exercise.ts";
import type { Scenario } from "./scenario.ts";

/** The kernel's: of a loopback interface of old, less WireGuard's headers. */
const jumboMtu = 34_816 - 80;
const wireMtu = 65_535;
/** 56 bytes of payload and 28 of headers, padded to 96, and 32 of WireGuard's. */
const pingBytes = 96 + 32;
const initiationBytes = 148;
const responseBytes = 92;
const keepaliveBytes = 32;

export const tunnels: readonly Scenario[] = [
  {
    title: "pings, TCP, UDP and many streams at once pass over an outside of IPv4",
    cases: [1, 2, 3, 4, 5, 6, 7, 9],
    play: async (scene) => exercise(endsOf(await scene.tunnel())),
  },
  {
    title: "they pass over an outside of IPv6",
    cases: [11],
    play: async (scene) => exercise(endsOf(await scene.tunnel({ outside: 6 }))),
  },
  {
    title: "they pass in packets of 34 KB over IPv4",
    cases: [10],
    play: async (scene) => {
      const hosts = await scene.stage.pair({ mtu: wireMtu });
      await exercise(endsOf(await scene.tunnelBetween(hosts, { mtu: jumboMtu })));
    },
  },
  {
    title: "they pass in packets of 34 KB over IPv6",
    cases: [12],
    play: async (scene) => {
      const hosts = await scene.stage.pair({ mtu: wireMtu });
      await exercise(endsOf(await scene.tunnelBetween(hosts, { mtu: jumboMtu, outside: 6 })));
    },
  },
  {
    title: "wg counts every byte of ten pings and of the handshake before them, and its time",
    cases: [8],
    play: async (scene) => {
      const tunnel = await scene.tunnel();
      const { left, right } = tunnel;
      await flood(left.host, tunnel.address(right, 4), 10);
      const first = await left.transferred();
      const second = await right.transferred();
      const data = 10 * pingBytes;
      assert.equal(first.received, data + responseBytes);
      assert.equal(second.sent, data + responseBytes);
      // An initiator whose first packet waited may confirm the session by a keepalive.
      const sent = [data + initiationBytes, data + initiationBytes + keepaliveBytes];
      assert.ok(sent.includes(first.sent), `${first.sent} bytes sent`);
      assert.equal(second.received, first.sent);
      const now = Date.now() / 1000;
      for (const device of [left, right]) {
        const age = now - (await device.latestHandshake());
        assert.ok(age >= -1 && age < 30, `a handshake ${age} s ago`);
      }
    },
  },
];

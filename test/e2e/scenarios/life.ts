/** What a device holds: as much after it was used as before, and nothing when it has ended. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { answers, firstPing, flood } from "../support/traffic.ts";
import { uapiPath } from "../support/uapi.ts";
import { generateKeys, type WireGuardDevice } from "../support/wireguard.ts";
import { endsOf } from "./exercise.ts";
import type { Scenario } from "./scenario.ts";

const rounds = 20;

export const life: readonly Scenario[] = [
  {
    title: "a device whose namespace is taken away with its sockets and its interface ends",
    cases: [43],
    play: async (scene) => {
      const tunnel = await scene.tunnel();
      const { left } = tunnel;
      const [, there] = endsOf(tunnel);
      await firstPing(left.host, there.v4);
      // The namespace itself lives as long as a process is in it; what is in it goes now.
      await left.host.ip("link delete eth0");
      await left.host.ip(`link delete ${left.name}`);
      assert.equal(await left.daemon.exited, 0);
      assert.deepEqual(await left.host.processes(), []);
      assert.ok(!existsSync(uapiPath(left.name)));
    },
  },
  {
    title: "going down and up, and peers that come and go, leave no descriptor and no thread",
    cases: [44],
    play: async (scene) => {
      const tunnel = await scene.tunnel();
      const { left, right } = tunnel;
      const [here, there] = endsOf(tunnel);
      await flood(left.host, there.v4, 10);
      await churn(left, right.keys.publicKey);
      const before = held(left);
      await churn(left, right.keys.publicKey);
      const after = held(left);
      // A run-time's own threads come and go; what each round leaves behind would add up.
      assert.ok(after.descriptors - before.descriptors < rounds / 4, JSON.stringify(after));
      assert.ok(after.threads - before.threads < rounds / 4, JSON.stringify(after));
      await left.host.ip(`address replace ${here.v6}/64 dev ${left.name} nodad`);
      assert.ok(await answers(left.host, there.v4));
      assert.ok(await answers(right.host, here.v4));
    },
  },
];

async function churn(device: WireGuardDevice, stays: string): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    await device.host.ip(`link set ${device.name} down`);
    await device.wg("set", "listen-port", `${40_000 + round}`);
    await device.setPeer((await generateKeys()).publicKey, "allowed-ips 10.99.0.0/24");
    await device.host.ip(`link set ${device.name} up`);
  }
  const peers = (await device.wg("show", "peers")).trim().split("\n");
  assert.equal(peers.length, 1 + rounds);
  for (const peer of peers) if (peer !== stays) await device.setPeer(peer, "remove");
}

/** By the program that runs in the foreground, not by what started it. */
function held({ daemon }: WireGuardDevice): { descriptors: number; threads: number } {
  const threads = /^Threads:\t(\d+)$/m.exec(readFileSync(`/proc/${daemon.pid}/status`, "utf8"));
  return {
    descriptors: readdirSync(`/proc/${daemon.pid}/fd`).length,
    threads: Number(threads?.[1]),
  };
}

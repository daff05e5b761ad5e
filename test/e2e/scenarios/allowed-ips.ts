/** Lists of allowed IPs of every length come back from `wg` as they went in. */
import assert from "node:assert/strict";
import { generateKeys, type WireGuardDevice } from "../support/wireguard.ts";
import type { Scenario, Scene } from "./scenario.ts";

export const allowedIps: readonly Scenario[] = [
  {
    title: "65,280 prefixes of each family on one peer come back whole",
    cases: [33],
    play: async (scene) => {
      const v4: string[] = [];
      const v6: string[] = [];
      for (let high = 0; high < 255; high += 1) {
        for (let low = 0; low < 256; low += 1) {
          v4.push(`10.${high}.${low}.0/24`);
          v6.push(`fd${hex(high)}:${(low + 1).toString(16)}::/64`);
        }
      }
      await roundTrip(scene, [[...v4, ...v6]]);
    },
  },
  {
    title: "40 peers with 52 prefixes each come back whole",
    cases: [34],
    play: async (scene) => {
      const peers = Array.from({ length: 40 }, (_, peer) =>
        Array.from({ length: 52 }, (_, index) => `10.${peer}.${index}.0/24`),
      );
      await roundTrip(scene, peers);
    },
  },
  {
    title: "29 peers without a prefix and one with one come back whole",
    cases: [35],
    play: async (scene) => {
      const none = Array.from({ length: 29 }, () => []);
      await roundTrip(scene, [...none, ["10.0.0.1/32"]]);
    },
  },
  {
    title: "197 prefixes of IPv6 on one peer come back whole",
    cases: [36],
    play: async (scene) => {
      const prefixes = Array.from(
        { length: 197 },
        (_, index) => `fd00:${(index + 1).toString(16)}::1/128`,
      );
      await roundTrip(scene, [prefixes]);
    },
  },
  {
    title: "a prefix that another peer is given is its own from then on, and taken back again",
    cases: [41],
    play: async (scene) => {
      const [host] = await scene.stage.pair();
      const device = await scene.device(host);
      const keys = await Promise.all([generateKeys(), generateKeys(), generateKeys()]);
      const [one, two, three] = keys.map((pair) => pair.publicKey) as [string, string, string];
      const prefixes = "10.0.0.0/8,10.1.0.0/16,10.1.2.0/24,fd00::/8";
      await device.setPeer(one, `allowed-ips ${prefixes}`);
      for (const owner of [two, three, one, two, one]) {
        await device.setPeer(owner, "allowed-ips 10.1.0.0/16,fd00::/8");
        const shown = await allowedOf(device);
        assert.deepEqual(shown.get(owner)?.toSorted(), ["10.1.0.0/16", "fd00::/8"]);
        const all = [...shown.values()].flat();
        assert.equal(new Set(all).size, all.length, "each prefix has one owner");
      }
      // With its host part set, and again with less of the address.
      await device.setPeer(two, "allowed-ips 10.1.255.255/16,10.255.0.1/8");
      const shown = await allowedOf(device);
      assert.deepEqual(shown.get(two)?.toSorted(), ["10.0.0.0/8", "10.1.0.0/16"]);
      assert.deepEqual(shown.get(one), ["fd00::/8"]);
    },
  },
];

async function roundTrip(scene: Scene, lists: readonly (readonly string[])[]): Promise<void> {
  const [host] = await scene.stage.pair();
  const device = await scene.device(host);
  const keys = await Promise.all(lists.map(() => generateKeys()));
  const expected = new Map(keys.map(({ publicKey }, index) => [publicKey, lists[index] ?? []]));
  const lines = [...expected].flatMap(([publicKey, prefixes]) => [
    "[Peer]",
    `PublicKey = ${publicKey}`,
    ...chunks(prefixes, 256).map((some) => `AllowedIPs = ${some.join(", ")}`),
  ]);
  await device.setconf(`${lines.join("\n")}\n`);
  const shown = await allowedOf(device);
  assert.equal(shown.size, expected.size);
  for (const [publicKey, prefixes] of expected) {
    const found = shown.get(publicKey)?.toSorted() ?? [];
    // All of a long list would be printed where one is missing.
    const at = prefixes.toSorted().findIndex((prefix, index) => prefix !== found[index]);
    assert.ok(at < 0 && found.length === prefixes.length, `${found.length}, ${found[at]}`);
  }
}

async function allowedOf(device: WireGuardDevice): Promise<Map<string, string[]>> {
  const lines = (await device.wg("show", "allowed-ips")).trim().split("\n");
  return new Map(
    lines.map((line) => {
      const [publicKey = "", prefixes = ""] = line.split("\t");
      return [publicKey, prefixes === "(none)" ? [] : prefixes.split(" ")];
    }),
  );
}

function chunks<Item>(items: readonly Item[], size: number): Item[][] {
  const rows = Math.ceil(items.length / size);
  return Array.from({ length: rows }, (_, row) => items.slice(row * size, (row + 1) * size));
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}

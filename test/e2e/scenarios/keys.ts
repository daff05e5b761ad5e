/** Keys: set, shown, taken away and changed under a tunnel, and those that no peer may have. */
import assert from "node:assert/strict";
import { runOk } from "../support/process.ts";
import { answers, firstPing } from "../support/traffic.ts";
import { Wall } from "../support/wall.ts";
import { generateKeys } from "../support/wireguard.ts";
import { endsOf } from "./exercise.ts";
import type { Scenario } from "./scenario.ts";

/** Points of Curve25519 whose product with any key is zero, and their twins above the prime. */
const lowOrderKeys = [
  "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
  "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
  "4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=",
  "X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc=",
  "7P///////////////////////////////////////38=",
  "7f///////////////////////////////////////38=",
  "7v///////////////////////////////////////38=",
] as const;
const quietMs = 2000;

export const keys: readonly Scenario[] = [
  {
    title: "with changed private keys on either side the next ping passes at once",
    cases: [17],
    play: async (scene) => {
      const tunnel = await scene.tunnel();
      const { left, right } = tunnel;
      const [here, there] = endsOf(tunnel);
      await firstPing(left.host, there.v4);
      const psk = (await runOk(["wg", "genpsk"])).trim();
      const fresh = await generateKeys();
      await left.wg("set", "private-key", left.keyFile(fresh.privateKey));
      const peer = ["set", "peer", right.keys.publicKey] as const;
      await left.wg(...peer, "preshared-key", left.keyFile(psk));
      await right.setPeer(left.keys.publicKey, "remove");
      const changed = ["set", "peer", fresh.publicKey] as const;
      await right.wg(...changed, "preshared-key", right.keyFile(psk));
      await right.setPeer(fresh.publicKey, `allowed-ips ${here.v4}/32`);
      assert.ok(await answers(left.host, there.v4));

      const again = await generateKeys();
      await left.wg("set", "private-key", left.keyFile(again.privateKey));
      await right.setPeer(fresh.publicKey, "remove");
      const last = ["set", "peer", again.publicKey] as const;
      await right.wg(...last, "preshared-key", right.keyFile(psk));
      await right.setPeer(again.publicKey, `allowed-ips ${here.v4}/32`);
      assert.ok(await answers(left.host, there.v4));
      assert.ok(await answers(right.host, here.v4));
    },
  },
  {
    title: "an interface that does not exist cannot be shown",
    cases: [37],
    play: async (scene) => {
      const [host] = await scene.stage.pair();
      const { code } = await host.run(["wg", "show", scene.stage.interfaceName()]);
      assert.notEqual(code, 0);
    },
  },
  {
    title: "private and preshared keys are set, shown and taken away",
    cases: [38],
    play: async (scene) => {
      const [host] = await scene.stage.pair();
      const device = await scene.device(host);
      const [own, peer] = await Promise.all([generateKeys(), generateKeys()]);
      const psk = (await runOk(["wg", "genpsk"])).trim();
      const show = async (what: string): Promise<string> => (await device.wg("show", what)).trim();
      assert.equal(await show("private-key"), "(none)");
      await device.wg("set", "private-key", device.keyFile(own.privateKey));
      assert.equal(await show("private-key"), own.privateKey);
      assert.equal(await show("public-key"), own.publicKey);

      await device.setPeer(peer.publicKey, "allowed-ips 10.0.0.1/32");
      assert.equal(await show("preshared-keys"), `${peer.publicKey}\t(none)`);
      const set = ["set", "peer", peer.publicKey, "preshared-key"] as const;
      await device.wg(...set, device.keyFile(psk));
      assert.equal(await show("preshared-keys"), `${peer.publicKey}\t${psk}`);
      await device.wg(...set, "/dev/null");
      assert.equal(await show("preshared-keys"), `${peer.publicKey}\t(none)`);
      await device.wg("set", "private-key", "/dev/null");
      assert.equal(await show("private-key"), "(none)");
      assert.equal(await show("peers"), peer.publicKey);
    },
  },
  {
    title: "a device is no peer of its own, whichever is set first",
    cases: [39],
    play: async (scene) => {
      const [host] = await scene.stage.pair();
      const device = await scene.device(host);
      const [one, two] = await Promise.all([generateKeys(), generateKeys()]);
      const peers = async (): Promise<string> => (await device.wg("show", "peers")).trim();
      await device.wg("set", "private-key", device.keyFile(one.privateKey));
      await host.run(["wg", "set", device.name, "peer", one.publicKey]);
      assert.equal(await peers(), "");
      await device.setPeer(two.publicKey, "allowed-ips 10.0.0.1/32");
      assert.equal(await peers(), two.publicKey);
      await device.wg("set", "private-key", device.keyFile(two.privateKey));
      assert.equal(await peers(), "");
    },
  },
  {
    title: "a private key reads back in the form that Curve25519 uses",
    cases: [40],
    play: async (scene) => {
      const [host] = await scene.stage.pair();
      const device = await scene.device(host);
      const given = new Uint8Array(32).fill(0xff);
      const used = given.with(0, 0xf8).with(31, 0x7f);
      await device.wg("set", "private-key", device.keyFile(Buffer.from(given).toString("base64")));
      const shown = (await device.wg("show", "private-key")).trim();
      assert.equal(shown, Buffer.from(used).toString("base64"));
    },
  },
  {
    title: "to a peer whose public key is of low order no packet is sent",
    cases: [42],
    play: async (scene) => {
      const [left, right] = await scene.stage.pair();
      const device = await scene.device(left);
      const wall = await Wall.build(right);
      const arrived = await wall.count("input", "udp dport 1111");
      await device.wg("set", "private-key", device.keyFile(device.keys.privateKey));
      const words = `persistent-keepalive 1 endpoint ${right.v4}:1111`;
      for (const publicKey of lowOrderKeys) await device.setPeer(publicKey, words);
      assert.notEqual((await device.wg("show", "peers")).trim(), "");
      await left.ip(`link set ${device.name} up`);
      await Bun.sleep(quietMs);
      assert.equal(await arrived(), 0);
      // Any other key would have been asked by now.
      await device.setPeer((await generateKeys()).publicKey, words);
      await Bun.sleep(quietMs / 2);
      assert.equal(await arrived(), 1);
    },
  },
];

/**
 * Members of a large mesh have a peer only while a session with them lives or is wanted: whole nodes
 * with the real engine, in a mesh that counts as large from the first member on and probes so rarely
 * that nothing but packets opens sessions.
 */
import { describe, expect, test } from "bun:test";
import type { NoiseCrypto } from "../../src/base/crypto.ts";
import { initiationBytes } from "../../src/noise/message.ts";
import { profileLan } from "../../src/swim/profile.ts";
import { type MeshHost, MeshWorld } from "./mesh-world.ts";

const hourMs = 3_600_000;
const profile = {
  ...profileLan,
  heldMax: 0,
  probeIntervalMs: 10 * hourMs,
  syncIntervalMs: 10 * hourMs,
};

/** As a driver, which takes a turn every few seconds: a node that takes none has slept. */
function pass(world: MeshWorld, ms: number, done: () => boolean = () => false): void {
  for (let passed = 0; passed < ms && !done(); passed += 10_000) {
    world.run(10_000);
    for (const host of world.hosts) {
      host.running.handleTimeout(host.now);
      host.turn();
    }
  }
}

/** Three that know one another and have let go of their sessions. */
function resting(seed: number): { world: MeshWorld; hosts: [MeshHost, MeshHost, MeshHost] } {
  const world = new MeshWorld(seed);
  const hosts = world.mesh(3, { profile }) as [MeshHost, MeshHost, MeshHost];
  for (const host of hosts) host.start();
  world.run(60_000, () => hosts.every((host) => host.running.view.members().length === 2));
  // Without a seed nobody is dialled.
  for (const host of hosts) host.running.setSeeds(host.now, []);
  pass(world, 400_000, () => hosts.every((host) => host.peerCount === 0));
  return { world, hosts };
}

describe("a member without a session", () => {
  test("has no peer, and is a member with its addresses all the same", () => {
    const { hosts } = resting(1);
    for (const host of hosts) {
      expect(host.peerCount).toBe(0);
      const members = host.running.status().members;
      expect(members).toHaveLength(2);
      for (const { addresses, peer, sessionLive, state } of members) {
        expect(addresses).toHaveLength(2);
        expect([peer, sessionLive, state]).toEqual([undefined, false, "alive"]);
      }
      // What it is known by is still taken.
      expect(host.running.peers.prefixCount).toBe(0);
    }
  });

  test("gets one when a packet is for it, on both sides, and the packet arrives there alone", () => {
    const { world, hosts } = resting(2);
    const [ant, bee, cat] = hosts;
    ant.ping(bee, "hello");
    ant.ping(bee, "again");
    world.run(2_000, () => bee.packets.length === 2);
    expect(bee.heard().toSorted()).toEqual(["again", "hello"]);
    expect(cat.heard()).toEqual([]);
    expect([ant.peerCount, bee.peerCount, cat.peerCount]).toEqual([1, 1, 0]);
    bee.ping(ant, "yes");
    world.run(1_000, () => ant.packets.length === 1);
    expect(ant.heard()).toEqual(["yes"]);
  });

  test("lets go of it again, over and over, and every secret and index with it", () => {
    const { world, hosts } = resting(3);
    const [ant, bee] = hosts;
    for (let turn = 0; turn < 5; turn += 1) {
      const [from, to] = turn % 2 === 0 ? [ant, bee] : [bee, ant];
      from.ping(to, `${turn}`);
      world.run(2_000, () => to.packets.length === 1);
      expect(to.heard()).toEqual([`${turn}`]);
      pass(world, 400_000, () => ant.peerCount + bee.peerCount === 0);
      expect([ant.peerCount, bee.peerCount]).toEqual([0, 0]);
      expect([ant, bee].map((host) => host.running.peers.indexCount)).toEqual([0, 0]);
      expect([ant, bee].map((host) => host.dataplane?.sessionCount)).toEqual([0, 0]);
    }
    const kinds = ant.events.map(({ kind }) => kind);
    const count = (kind: string): number => kinds.filter((each) => each === kind).length;
    expect(count("peer_coming")).toBe(count("peer_resting"));
  });

  test("is not made one by an initiation that came before, whatever became of its peer", () => {
    const { world, hosts } = resting(4);
    const [ant, bee] = hosts;
    const heard: Uint8Array[] = [];
    world.network.filter = ({ bytes }) => {
      if (bytes.length === initiationBytes) heard.push(bytes.slice());
      return true;
    };
    ant.ping(bee, "hello");
    world.run(2_000, () => bee.packets.length === 1);
    pass(world, 400_000, () => ant.peerCount + bee.peerCount === 0);
    const [initiation] = heard as [Uint8Array];
    const { initiations_replayed: before } = bee.running.peers.counters;
    world.network.send(world.now.ms, ant.endpoint, bee.endpoint, initiation);
    world.run(2_000);
    expect(bee.peerCount).toBe(0);
    expect(bee.running.peers.counters.initiations_replayed).toBe(before + 1);
    // Each more costs one Diffie-Hellman, as it would cost a peer.
    let asked = 0;
    const crypto = bee.crypto as NoiseCrypto;
    const dh = crypto.dh.bind(crypto);
    crypto.dh = (...args) => {
      asked += 1;
      return dh(...args);
    };
    for (let i = 0; i < 10; i += 1) {
      world.network.send(world.now.ms, ant.endpoint, bee.endpoint, initiation);
      world.run(1_000);
    }
    expect(asked).toBe(10);
    expect(bee.peerCount).toBe(0);
  });

  test("is shown with when it last shook hands", () => {
    const { world, hosts } = resting(5);
    const [ant, bee] = hosts;
    ant.ping(bee, "hello");
    world.run(2_000, () => bee.packets.length === 1);
    const { wallMs } = ant.now;
    pass(world, 400_000, () => ant.peerCount + bee.peerCount === 0);
    const member = ant.running.view.member(bee.identityText);
    expect(Math.abs((member?.lastHandshakeWallMs ?? 0) - wallMs)).toBeLessThan(3_000);
  });
});

test("in a mesh that has become small again everybody has one", () => {
  const world = new MeshWorld(8);
  const hosts = world.mesh(4, { profile: { ...profile, heldMax: 3 } });
  const [ant, bee] = hosts as [MeshHost, MeshHost];
  for (const host of hosts) host.start();
  world.run(60_000, () => hosts.every((host) => host.running.view.members().length === 3));
  for (const host of hosts) host.running.setSeeds(host.now, []);
  pass(world, 400_000, () => ant.peerCount === 0);
  expect([ant.peerCount, ant.running.view.members().length]).toEqual([0, 3]);
  ant.distrust(bee);
  world.run(5_000, () => ant.running.view.linkedCount === 2);
  expect([ant.peerCount, ant.running.view.linkedCount]).toEqual([2, 2]);
});

test("a packet to an address that is nobody's is told to be unreachable", () => {
  const { world, hosts } = resting(6);
  const [ant] = hosts;
  ant.dataplane?.sendTo(ant.now, "10.99.255.254", new Uint8Array([0x45]));
  ant.turn();
  world.run(10);
  expect(ant.dataplane?.unreachable).toBe(1);
  expect(ant.running.counters.destinations_unknown).toBe(1);
});

test("a member to whom a network is led keeps its peer", () => {
  const { world, hosts } = resting(7);
  const [ant, bee] = hosts;
  const prefix = { address: "192.168.7.0", bits: 24 };
  ant.running.setRoutes(ant.now, new Map([[bee.identityText, [prefix]]]));
  ant.turn();
  pass(world, 600_000);
  expect(ant.peerCount).toBe(1);
  expect(ant.running.peers.prefixCount).toBe(3);
  ant.running.setRoutes(ant.now, new Map());
  ant.turn();
  pass(world, 600_000, () => ant.peerCount === 0);
  expect(ant.peerCount).toBe(0);
});

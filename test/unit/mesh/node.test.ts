import { describe, expect, test } from "bun:test";
import type { Command } from "../../../src/mesh/dataplane.ts";
import { encodeMessage } from "../../../src/swim/message.ts";
import {
  decodeRecord,
  recordLifetimeMs,
  recordRefreshMs,
  signRecord,
} from "../../../src/trust/record.ts";
import { areConnected, type MeshHost, MeshWorld } from "../../sim/mesh-world.ts";

/** Two that trust each other; the second dials the first. Neither runs yet. */
function pair(
  seed: number,
  options: ConstructorParameters<typeof MeshWorld>[1] = {},
): [MeshWorld, MeshHost, MeshHost] {
  const world = new MeshWorld(seed, options);
  const [ant, bee] = world.mesh(2) as [MeshHost, MeshHost];
  return [world, ant, bee];
}

function connected(seed: number): [MeshWorld, MeshHost, MeshHost] {
  const [world, ant, bee] = pair(seed);
  ant.start();
  bee.start();
  world.run(5_000, () => areConnected([ant, bee]));
  expect(areConnected([ant, bee])).toBe(true);
  return [world, ant, bee];
}

function ofKind<Kind extends Command["kind"]>(
  host: MeshHost,
  kind: Kind,
): Extract<Command, { kind: Kind }>[] {
  return host.commands.filter(
    (command): command is Extract<Command, { kind: Kind }> => command.kind === kind,
  );
}

describe("a start", () => {
  test("sets up the interface in an order that works: addresses, link, routes", () => {
    const [, ant] = pair(1);
    ant.start();
    const [ipv6, ipv4] = ant.running.status().addresses as [string, string];
    const { ipv6Prefix } = ant.running.status();
    const ipv4Prefix = { address: "10.99.0.0", bits: 16 };
    expect(ant.commands.slice(0, 9)).toEqual([
      { kind: "introduction_key_set", identity: ant.identity },
      { kind: "mtu_set", mtu: 1360 },
      { kind: "address_add", prefix: { address: ipv6, bits: 128 } },
      { kind: "address_add", prefix: { address: ipv4, bits: 32 } },
      { kind: "link_up" },
      { kind: "route_add", prefix: ipv6Prefix },
      { kind: "destinations_await", prefix: ipv6Prefix },
      { kind: "route_add", prefix: ipv4Prefix },
      { kind: "destinations_await", prefix: ipv4Prefix },
    ]);
    expect(ofKind(ant, "local_key_set")).toHaveLength(1);
    expect(ant.events).toContainEqual({ kind: "address_assigned", ipv6, ipv4 });
  });

  test("keeps the sequence of the record on disk before anything leaves", () => {
    const [, ant] = pair(2);
    ant.start();
    expect(ant.memory).toEqual({ sequence: ant.running.status().sequence });
    expect(ant.running.status().sequence).toBe(ant.now.wallMs);
  });

  test("goes on above the old sequence, even with a clock that went back", () => {
    const [, ant] = pair(3);
    ant.memory = { sequence: ant.now.wallMs + 1_000_000 };
    ant.start();
    expect(ant.running.status().sequence).toBe(ant.now.wallMs + 1_000_001);
  });
});

describe("a member", () => {
  test("has a peer with exactly its own addresses, and a session that nobody waited for", () => {
    const [, ant, bee] = connected(4);
    const member = ant.member(bee);
    expect(member?.addresses).toEqual(bee.running.status().addresses);
    const allowed = ofKind(ant, "allowed_ip_add").map(({ prefix }) => prefix);
    const [ipv6, ipv4] = bee.running.status().addresses as [string, string];
    expect(allowed).toEqual([
      { address: ipv6, bits: 128 },
      { address: ipv4, bits: 32 },
    ]);
    expect(member?.endpoint).toEqual(bee.endpoint);
    expect(ant.events).toContainEqual({
      kind: "member_joined",
      identity: bee.identityText,
      name: "host-2",
    });
  });

  test("is persisted as the record that it signed, and found again without any seed", () => {
    const [world, ant, bee] = connected(5);
    const stored = ant.members.get(bee.identityText);
    expect(stored && decodeRecord(stored)?.claimed.identity).toEqual(bee.identity);
    ant.stop();
    bee.stop();
    bee.seeds = [];
    world.run(1_000);
    ant.start();
    bee.start();
    expect(world.run(5_000, () => areConnected([ant, bee]))).toBeLessThan(1_000);
    // What came from disk is not written again; the record of this start is.
    world.run(3_000);
    expect(ant.events.filter((event) => event.kind === "persist_member")).toHaveLength(1);
  });

  test("whose stored record has expired is looked for where it was", () => {
    const [world, ant, bee] = connected(6);
    ant.stop();
    bee.stop();
    bee.seeds = [];
    bee.members.clear();
    world.run(recordLifetimeMs + 1_000);
    bee.start();
    ant.start();
    expect(ant.member(bee)).toBeUndefined();
    expect(world.run(20_000, () => areConnected([ant, bee]))).toBeLessThan(5_000);
  });

  test("that is trusted no longer takes its peer and addresses with it", () => {
    const [, ant, bee] = connected(7);
    ant.distrust(bee);
    expect(ofKind(ant, "peer_remove")).toHaveLength(1);
    expect(ant.running.status().members).toEqual([]);
    expect(ant.running.peers.prefixCount).toBe(0);
    expect([...ant.running.peers.peers()]).toEqual([]);
    expect(ant.members.size).toBe(0);
  });

  test("publishes again every 6 h, so that nobody's record of it expires", () => {
    const [world, ant] = pair(8);
    ant.start();
    const first = ant.running.status().sequence;
    world.run(recordRefreshMs - 1);
    expect(ant.running.status().sequence).toBe(first);
    world.run(1);
    expect(ant.running.status().sequence).toBe(first + recordRefreshMs);
    expect(ant.memory?.sequence).toBe(first + recordRefreshMs);
  });

  test("tells others of new endpoints, and nothing when they are the old ones", () => {
    const [world, ant, bee] = connected(9);
    const before = bee.running.status().sequence;
    const kind = "interface";
    const usual = { kind, ...bee.endpoint } as const;
    bee.running.setCandidates(bee.now, [usual, { kind, address: "127.0.0.1", port: 1 }]);
    expect(bee.running.status().sequence).toBe(before);
    world.run(10);
    bee.running.setCandidates(bee.now, [{ kind, address: "198.51.100.1", port: 7 }, usual]);
    bee.turn();
    expect(bee.running.status().sequence).toBeGreaterThan(before);
    world.run(2_000);
    const held = ant.members.get(bee.identityText);
    expect(held && decodeRecord(held)?.claimed.candidates[0]).toEqual({
      kind,
      address: "198.51.100.1",
      port: 7,
    });
  });
});

describe("IPv4 addresses", () => {
  /** Two that want the same one of 6 addresses first, found by trying; they do not run yet. */
  function rivals(): [MeshWorld, MeshHost, MeshHost] {
    for (let seed = 100; seed < 200; seed += 1) {
      const [world, ant, bee] = pair(seed, { ipv4Prefix: { address: "10.0.0.0", bits: 29 } });
      ant.start();
      bee.start();
      const [a, b] = [ant, bee].map((host) => host.running.status().addresses[1]);
      if (a !== b) continue;
      for (const host of [ant, bee]) {
        host.stop();
        host.memory = undefined;
      }
      world.run(1_000);
      return [world, ant, bee];
    }
    throw new Error("no two hosts want one address");
  }

  test("claimed by two that just started are given up by one of them, at the least", () => {
    const [world, ant, bee] = rivals();
    ant.start();
    bee.start();
    world.run(10_000);
    const [a, b] = [ant, bee].map((host) => host.running.status().addresses[1]);
    expect(a).not.toBe(b as string);
    expect(ant.member(bee)?.addresses[1]).toBe(b as string);
    expect(bee.member(ant)?.addresses[1]).toBe(a as string);
    const removed = [ant, bee].flatMap((host) => ofKind(host, "address_remove"));
    expect(removed.length).toBeGreaterThan(0);
  });

  test("that have settled stay with their holder; the newcomer moves", () => {
    const [world, ant, bee] = rivals();
    ant.start();
    const wanted = ant.running.status().addresses[1] as string;
    world.run(59_000);
    expect(ant.memory?.ipv4Candidate).toBeUndefined();
    world.run(2_000);
    expect(ant.memory?.ipv4Candidate).toBe(0);
    bee.start();
    world.run(10_000);
    expect(ant.running.status().addresses[1]).toBe(wanted);
    expect(bee.running.status().addresses[1]).not.toBe(wanted);
    expect(ant.member(bee)?.addresses[1]).toBe(bee.running.status().addresses[1] as string);
  });

  test("are kept over a restart once they have settled", () => {
    const [world, ant, bee] = rivals();
    ant.start();
    bee.start();
    world.run(70_000);
    const before = [ant, bee].map((host) => host.running.status().addresses[1]);
    ant.stop();
    bee.stop();
    bee.start();
    ant.start();
    world.run(10_000);
    expect([ant, bee].map((host) => host.running.status().addresses[1])).toEqual(before);
  });

  test("settled on both sides of a partition: each keeps its own, and neither routes the other's", () => {
    const [world, ant, bee] = rivals();
    world.network.filter = (): boolean => false;
    ant.start();
    bee.start();
    world.run(70_000);
    const address = ant.running.status().addresses[1];
    expect(bee.running.status().addresses[1]).toBe(address as string);
    world.network.filter = (): boolean => true;
    world.run(30_000, () => areConnected([ant, bee]));
    expect(areConnected([ant, bee])).toBe(true);
    expect(ant.member(bee)?.addresses).toHaveLength(1);
    expect(bee.member(ant)?.addresses).toHaveLength(1);
    expect(ant.warnings()).toEqual(["ipv4_contested"]);
  });

  test("of a member with another prefix are not routed, and the operator is told", () => {
    const world = new MeshWorld(10);
    const other = new MeshWorld(11, { ipv4Prefix: { address: "10.7.0.0", bits: 16 } });
    const ant = world.host();
    const bee = other.host({ name: "bee" });
    ant.trust(bee);
    bee.trust(ant);
    bee.start();
    ant.start();
    const record = recordOf(bee);
    // Its record comes by way of the disk, as it would by way of the network.
    ant.stop();
    ant.members.set(bee.identityText, record);
    ant.start();
    expect(ant.member(bee)?.addresses).toHaveLength(1);
    expect(ant.warnings()).toEqual(["ipv4_prefix_differs"]);
  });

  function recordOf(host: MeshHost): Uint8Array {
    const { crypto } = host;
    if (crypto === undefined) throw new Error("it runs");
    return signRecord(
      crypto,
      host.world.networkId,
      { publicKey: host.identity, seed: crypto.importSecret(host.identitySeed) },
      {
        sequence: host.now.wallMs,
        expiresWallMs: host.now.wallMs + recordLifetimeMs,
        wireguardKey: host.running.status().wireguardKey ?? new Uint8Array(32),
        name: "bee",
        candidates: [],
        natKind: "unknown",
        relay: false,
        ipv4: { candidate: 0, prefix: host.world.ipv4Prefix },
        prefixes: [],
      },
    );
  }
});

describe("hostile input", () => {
  test.each([0, 1_000])(
    "two nodes with one identity, started %d ms apart, do not drive each other's sequence on without end",
    (gapMs) => {
      const world = new MeshWorld(12);
      const [ant, bee] = world.mesh(2) as [MeshHost, MeshHost];
      const twin = world.host({ identitySeed: bee.identitySeed });
      twin.trust(ant);
      twin.seeds = [ant.asSeed()];
      for (const host of [ant, bee]) host.start();
      world.run(gapMs);
      twin.start();
      world.run(300_000);
      const jumps = bee.running.counters.own_record_jumps + twin.running.counters.own_record_jumps;
      expect(jumps).toBeGreaterThan(0);
      expect(jumps).toBeLessThan(2 * 32);
      const warned = [...bee.warnings(), ...twin.warnings()];
      expect(warned).toContain("own_record_newer");
      expect(warned.length).toBeLessThan(8);
    },
    60_000,
  );

  test("a member that sends forged and foreign records changes nothing but counters", () => {
    const [world, ant, bee] = connected(13);
    const peer = ant.member(bee)?.peer;
    const dataplane = bee.dataplane;
    const towards = bee.member(ant)?.peer;
    if (peer === undefined || dataplane === undefined || towards === undefined) {
      throw new Error("they are connected");
    }
    const before = JSON.stringify(ant.running.status());
    const genuine = ant.members.get(bee.identityText) as Uint8Array;
    const forged = genuine.slice();
    forged[38] = 1; // a later sequence under the old signature
    for (const record of [forged, world.random.bytes(200), genuine.subarray(0, 150), genuine]) {
      dataplane.sendPacket(
        world.now,
        towards,
        encodeMessage({ kind: "records", records: [record] }),
      );
    }
    bee.turn();
    world.run(6);
    expect(ant.running.counters.records_not_authentic).toBe(1);
    expect(ant.running.counters.records_malformed).toBe(2);
    expect(JSON.stringify(ant.running.status())).toBe(before);
  });

  test("a session's message from a peer that is no member is counted and dropped", () => {
    const [, ant] = connected(14);
    ant.running.handleDatagram(ant.now, {
      kind: "session_message",
      bytes: encodeMessage({ kind: "ping", number: 1, statements: [] }),
      remote: { address: "192.0.2.77", port: 1 },
      peer: { slot: 60_000, generation: 1 },
    });
    ant.running.handleDatagram(ant.now, {
      kind: "session_message",
      bytes: new Uint8Array(0),
      remote: { address: "192.0.2.77", port: 1 },
    });
    expect(ant.running.counters.messages_without_member).toBe(2);
    expect(ant.running.pollTransmit()).toBeUndefined();
  });

  test("with a disk full of damaged records a node starts, and finds its mesh by the seed", () => {
    const [world, ant, bee] = pair(15);
    ant.start();
    for (let i = 0; i < 50; i += 1) bee.members.set(`${i}`, world.random.bytes(i * 11));
    bee.start();
    expect(bee.running.counters.records_malformed).toBe(50);
    expect(world.run(5_000, () => areConnected([ant, bee]))).toBeLessThan(1_000);
  });
});

test("a node that has said what it had to say is silent until its next time", () => {
  const [world, ant, bee] = connected(16);
  world.run(100_000);
  for (const host of [ant, bee]) {
    const next = host.running.nextTimeout();
    expect(next).toBeGreaterThan(world.now.ms);
    expect(host.running.pollCommand()).toBeUndefined();
    expect(host.running.pollEvent()).toBeUndefined();
    expect(host.running.pollTransmit()).toBeUndefined();
  }
});

test("nothing that a node made outlives its peers: every secret is accounted for", () => {
  const [world, ant, bee] = connected(17);
  world.run(400_000);
  ant.distrust(bee);
  world.run(1_000);
  // Its identity, its WireGuard key, and the keypairs of nobody.
  expect(ant.crypto?.live()).toBe(2);
});

import { expect, test } from "bun:test";
import { encodeBase64 } from "../../../src/base/base64.ts";
import { fromHex } from "../../../src/base/bytes.ts";
import type { Instant } from "../../../src/base/clock.ts";
import { MeshError } from "../../../src/base/errors.ts";
import type { Command } from "../../../src/mesh/dataplane.ts";
import { PeerTable, strangersWaitingMax } from "../../../src/mesh/peer-table.ts";
import { NobleCrypto } from "../../support/noble-crypto.ts";
import { World } from "../../support/peer-world.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const now: Instant = { ms: 1_000, wallMs: 1_700_000_000_000 };
const endpoint = { address: "192.0.2.9", port: 51820 };

function key(value: number): Uint8Array {
  return new Uint8Array(32).fill(value);
}

function scene(options: { peersMax?: number } = {}): { table: PeerTable; crypto: NobleCrypto } {
  const crypto = new NobleCrypto({ pretendDh: true });
  const table = new PeerTable({ crypto, random: new SeededRandom(1), ...options });
  return { table, crypto };
}

function commands(table: PeerTable): Command[] {
  const out: Command[] = [];
  for (let it = table.pollCommand(); it !== undefined; it = table.pollCommand()) out.push(it);
  return out;
}

test("a peer is added once, found by key and by reference, and removed", () => {
  const { table } = scene();
  const peer = table.addPeer(now, key(1));
  expect(table.addPeer(now, key(1))).toBe(peer);
  expect(table.find(key(1))).toBe(peer);
  expect(table.find(key(2))).toBeUndefined();
  expect(table.at(peer.ref)).toBe(peer);
  expect([...table.peers()]).toEqual([peer]);
  table.removePeer(now, peer);
  expect(table.find(key(1))).toBeUndefined();
  expect(table.at(peer.ref)).toBeUndefined();
  expect(commands(table)).toEqual([
    { kind: "peer_add", peer: peer.ref, publicKey: key(1) },
    { kind: "peer_remove", peer: peer.ref },
  ]);
});

test("a slot that is used again has another generation, and old references find nobody", () => {
  const { table } = scene();
  const first = table.addPeer(now, key(1));
  const second = table.addPeer(now, key(2));
  table.removePeer(now, first);
  const third = table.addPeer(now, key(3));
  expect(third.ref.slot).toBe(first.ref.slot);
  expect(third.ref.generation).not.toBe(first.ref.generation);
  expect(table.at(first.ref)).toBeUndefined();
  expect(table.at(third.ref)).toBe(third);
  expect(second.ref.generation).toBeGreaterThan(0);
  // Events of the data plane may be older than a removal.
  for (const ref of [first.ref, { slot: 99, generation: 1 }]) {
    table.handleEvent(now, { kind: "handshake_wanted", peer: ref, reason: "no_keypair" });
    table.handleEvent(now, { kind: "keypair_confirmed", peer: ref, localIndex: 5 });
    table.handleEvent(now, { kind: "session_expired", peer: ref });
    table.handleEvent(now, { kind: "endpoint_roamed", peer: ref, remote: endpoint });
  }
  table.handleEvent(now, { kind: "link_gone" });
  expect(table.pollTransmit()).toBeUndefined();
  expect(() => table.removePeer(now, first)).toThrow();
});

test("the number of peers has a limit, and a device is not its own peer", () => {
  const { table, crypto } = scene({ peersMax: 2 });
  const secret = crypto.generate();
  table.setLocalKey(now, secret);
  expect(() => table.addPeer(now, crypto.publicKey(secret))).toThrow(MeshError);
  table.addPeer(now, key(1));
  table.addPeer(now, key(2));
  expect(() => table.addPeer(now, key(3))).toThrow(MeshError);
  expect(table.addPeer(now, key(2)).publicKey).toEqual(key(2));
});

test("an allowed IP has one owner, and moves", () => {
  const { table } = scene();
  const [a, b] = [table.addPeer(now, key(1)), table.addPeer(now, key(2))];
  commands(table);
  const one = { address: "10.0.0.0", bits: 8 };
  const two = { address: "2001:db8::", bits: 32 };
  table.allowIp(a, one);
  table.allowIp(a, one);
  table.allowIp(a, two);
  table.allowIp(b, one);
  expect(a.allowedIps).toEqual([two]);
  expect(b.allowedIps).toEqual([one]);
  table.disallowIp(a, one); // no longer its own
  table.disallowIp(b, one);
  table.clearAllowedIps(b); // has none
  table.clearAllowedIps(a);
  expect([a.allowedIps, b.allowedIps]).toEqual([[], []]);
  expect(commands(table)).toEqual([
    { kind: "allowed_ip_add", peer: a.ref, prefix: one },
    { kind: "allowed_ip_add", peer: a.ref, prefix: two },
    { kind: "allowed_ip_add", peer: b.ref, prefix: one },
    { kind: "allowed_ip_remove", peer: b.ref, prefix: one },
    { kind: "allowed_ips_clear", peer: a.ref },
  ]);
  table.allowIp(a, one);
  table.allowIp(a, two);
  expect(table.prefixCount).toBe(2);
  table.removePeer(now, a);
  expect(table.prefixCount).toBe(0);
  table.allowIp(b, one);
  expect(b.allowedIps).toEqual([one]);
});

test("endpoint and keepalive are told to the data plane", () => {
  const { table } = scene();
  const peer = table.addPeer(now, key(1));
  commands(table);
  table.setEndpoint(now, peer, endpoint);
  table.setKeepalive(now, peer, 25);
  expect(peer.endpoint).toEqual(endpoint);
  expect(peer.keepaliveSeconds).toBe(25);
  expect(commands(table)).toEqual([
    { kind: "peer_endpoint_set", peer: peer.ref, remote: endpoint },
    { kind: "peer_keepalive_set", peer: peer.ref, seconds: 25 },
  ]);
});

test("initiations insist on no source address, and each retry makes data forget the one it had", () => {
  const { table, crypto } = scene();
  table.setLocalKey(now, crypto.generate());
  const peer = table.addPeer(now, crypto.publicKey(crypto.generate()));
  table.setEndpoint(now, peer, endpoint);
  commands(table);
  table.initiate(now, peer);
  expect(commands(table)).toEqual([]);
  for (let at = now.ms, retries = 0; retries < 3; retries += 1) {
    const sent = table.pollTransmit();
    expect(sent).toMatchObject({ kind: "datagram", to: endpoint });
    expect(sent).not.toHaveProperty("from");
    at += 6_000;
    table.handleTimeout({ ms: at, wallMs: at });
    expect(commands(table)).toEqual([
      { kind: "peer_endpoint_set", peer: peer.ref, remote: endpoint },
    ]);
  }
});

test("without a local key or an endpoint nothing is sent, and it is counted", () => {
  const { table, crypto } = scene();
  const peer = table.addPeer(now, crypto.publicKey(crypto.generate()));
  table.initiate(now, peer);
  expect(table.counters.no_local_key).toBe(1);
  table.setLocalKey(now, crypto.generate());
  table.initiate(now, peer);
  expect(table.counters.no_endpoint).toBe(1);
  expect(table.pollTransmit()).toBeUndefined();
  table.setEndpoint(now, peer, endpoint);
  table.initiate(now, peer);
  expect(table.pollTransmit()).toMatchObject({ kind: "datagram", to: endpoint, peer: peer.ref });
});

test("the stamp of an initiation is reported before the initiation is handed out", () => {
  const { table, crypto } = scene();
  table.setLocalKey(now, crypto.generate());
  for (let i = 0; i < 3; i += 1) {
    const peer = table.addPeer(now, crypto.publicKey(crypto.generate()));
    table.setEndpoint(now, peer, endpoint);
    table.initiate(now, peer);
  }
  const event = table.pollEvent();
  expect(event?.kind).toBe("timestamp_sent");
  // Three were sent; the largest says it all: three stamps, each one more than the last.
  expect(event).toMatchObject({ tai64n: fromHex("400000006553f10a00000002") });
  expect(table.pollEvent()).toBeUndefined();
});

test("a keypair is installed before its response leaves, from the address that was asked", () => {
  const world = new World(1);
  const [a, b] = world.pair();
  a.initiate(b);
  const initiation = a.transmits[0];
  if (initiation?.kind !== "datagram") throw new Error("no initiation");
  const local = { address: "192.0.2.200", port: 51820 };
  const remote = { address: "203.0.113.1", port: 4321 };
  const { bytes } = initiation;
  b.table.handleDatagram(world.now, { kind: "initiation", bytes, remote, local });
  const kinds = commands(b.table);
  expect(kinds).toMatchObject([
    { kind: "handshake_received", bytes: 148 },
    { kind: "keypair_install", initiator: false },
  ]);
  const response = b.table.pollTransmit();
  expect(response).toMatchObject({ kind: "datagram", to: remote, from: local });
  expect(response?.peer).toEqual(b.peer(a).ref);
  expect(b.table.pollEvent()?.kind).toBe("timestamp_accepted");
  const installed = kinds[1];
  if (installed?.kind === "keypair_install") b.crypto.release(installed.send, installed.receive);
  expect([a.close(), b.close()]).toEqual([0, 0]);
});

test("a peer with a low-order key gets no packet, and can send none", () => {
  const points = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
  ];
  const world = new World(2);
  const a = world.node({ realDh: true });
  for (const [i, point] of points.entries()) {
    const peer = a.table.addPeer(world.now, fromHex(point) as Uint8Array);
    a.table.setEndpoint(world.now, peer, endpoint);
    a.table.setKeepalive(world.now, peer, 1);
    a.table.initiate(world.now, peer);
    a.turn();
    expect(a.table.counters.low_order_refused).toBeGreaterThan(i);
  }
  world.run(10_000);
  expect(a.transmits).toHaveLength(0);
  expect(a.table.nextTimeout()).toBeUndefined();
  expect(a.close()).toBe(0);
});

test("an initiation from a stranger is reported, not answered, and reports are bounded", () => {
  const world = new World(3);
  const [a, b] = [world.node(), world.node()];
  a.meet(b);
  a.initiate(b);
  const initiation = a.transmits[0];
  if (initiation?.kind !== "datagram") throw new Error("no initiation");
  const { bytes } = initiation;
  const before = b.crypto.live();
  for (let i = 0; i < strangersWaitingMax + 10; i += 1) {
    b.table.handleDatagram(world.now, { kind: "initiation", bytes, remote: endpoint });
  }
  expect(b.table.counters.strangers).toBe(strangersWaitingMax + 10);
  expect(b.table.counters.strangers_unreported).toBe(10);
  b.turn();
  expect(b.events[0]).toEqual({ kind: "stranger", remote: endpoint });
  expect(b.count("stranger")).toBe(strangersWaitingMax);
  b.table.handleDatagram(world.now, { kind: "initiation", bytes, remote: endpoint });
  expect(b.table.pollEvent()?.kind).toBe("stranger");
  expect(b.transmits).toHaveLength(0);
  expect(b.crypto.live()).toBe(before);
  expect([a.close(), b.close()]).toEqual([0, 0]);
});

test("random bytes of any kind and length are counted and change nothing", () => {
  const world = new World(4);
  const [a, b] = world.pair();
  a.send(b, "x");
  world.run(1_000);
  const before = [b.crypto.live(), b.table.indexCount, b.table.nextTimeout(), b.events.length];
  const kinds = ["initiation", "response", "cookie_reply", "introduction"] as const;
  for (let i = 0; i < 3_000; i += 1) {
    const kind = kinds[world.random.below(4)] as (typeof kinds)[number];
    const length = ([148, 92, 64] as const)[world.random.below(3)] ?? 0;
    const bytes = world.random.bytes(world.random.chance(0.8) ? length : world.random.below(200));
    if (world.random.chance(0.9)) {
      bytes.set(Uint8Array.of(kinds.indexOf(kind) + 1, 0, 0, 0).subarray(0, bytes.length));
    }
    b.table.handleDatagram(world.now, { kind, bytes, remote: endpoint });
  }
  const after = [b.crypto.live(), b.table.indexCount, b.table.nextTimeout(), b.events.length];
  expect(after).toEqual(before);
  expect(b.table.pollCommand()).toBeUndefined();
  expect(b.table.counters.messages_malformed).toBeGreaterThan(100);
  expect(b.table.counters.initiations_not_authentic).toBeGreaterThan(100);
  expect(b.table.counters.indices_unknown).toBeGreaterThan(100);
  expect([a.close(), b.close()]).toEqual([0, 0]);
});

test("a new local key ends sessions and handshakes, and peers are met anew under it", () => {
  const world = new World(5);
  const [a, b] = world.pair();
  const c = world.node();
  a.meet(c);
  a.send(b, "x");
  world.run(1_000);
  world.network.filter = ({ to }) => to !== c.endpoint;
  a.send(c, "in flight");
  a.table.setLocalKey(world.now, a.crypto.importSecret(key(0x42)));
  a.turn();
  expect(a.count("session_lost")).toBe(1);
  expect([a.dataplane.sessionCount, a.table.indexCount]).toEqual([0, 0]);
  // Static key alone: nothing of the old one is kept.
  expect(a.crypto.live()).toBe(1);
  b.meet(a);
  a.send(b, "under the new key");
  world.run(1_000);
  expect(b.heard()).toEqual(["x", "under the new key"]);
  expect([a.close(), b.close(), c.close()]).toEqual([0, 0, 0]);
});

test("the same local key again changes nothing", () => {
  const world = new World(6);
  const [a, b] = world.pair();
  a.send(b, "x");
  world.run(1_000);
  const live = a.crypto.live();
  a.table.setLocalKey(world.now, a.crypto.importSecret(a.keyBytes));
  expect(a.table.pollCommand()).toBeUndefined();
  expect(a.crypto.live()).toBe(live);
  expect(a.peer(b).sessionLive).toBe(true);
  expect([a.close(), b.close()]).toEqual([0, 0]);
});

test("a key that a peer has removes that peer; no key refuses everything", () => {
  const { table, crypto } = scene();
  const secret = crypto.generate();
  const peer = table.addPeer(now, crypto.publicKey(secret));
  table.setPresharedKey(peer, crypto.generate());
  const publicKey = crypto.publicKey(secret);
  table.setLocalKey(now, secret);
  expect([...table.peers()]).toEqual([]);
  expect(table.localPublicKey).toEqual(publicKey);
  table.setLocalKey(now, undefined);
  expect(table.localPublicKey).toBeUndefined();
  expect(commands(table)).toEqual([
    { kind: "peer_add", peer: peer.ref, publicKey },
    { kind: "local_key_set", publicKey },
    { kind: "peer_remove", peer: peer.ref },
    { kind: "local_key_set", publicKey: undefined },
  ]);
  expect(crypto.live()).toBe(0);
  const bytes = new Uint8Array(148);
  bytes[0] = 1;
  table.handleDatagram(now, { kind: "initiation", bytes, remote: endpoint });
  expect(table.counters.no_local_key).toBe(1);
});

test("what was accepted in an earlier life is restored with its key, and forgotten with its peer", () => {
  const world = new World(7);
  const [a, b] = world.pair();
  a.send(b, "x");
  world.run(1_000);
  const initiation = a.transmits[0];
  if (initiation?.kind !== "datagram") throw new Error("no initiation");
  const accepted = new Map([[encodeBase64(a.publicKey), b.accepted.values().next().value]]) as Map<
    string,
    Uint8Array
  >;
  const { crypto } = b;
  const table = new PeerTable({ crypto, random: new SeededRandom(9) });
  const peer = table.addPeer(world.now, a.publicKey);
  // The device learns its key, and that key's history, after it started.
  table.setLocalKey(world.now, crypto.importSecret(b.keyBytes), { accepted });
  const replay = { kind: "initiation", bytes: initiation.bytes, remote: endpoint } as const;
  table.handleDatagram(world.now, replay);
  expect(table.counters.initiations_replayed).toBe(1);
  table.removePeer(world.now, peer);
  table.addPeer(world.now, a.publicKey);
  table.handleDatagram(world.now, replay);
  expect(table.counters.initiations_accepted).toBe(1);
  for (const command of commands(table)) {
    if (command.kind === "keypair_install") crypto.release(command.send, command.receive);
  }
  for (const each of [...table.peers()]) table.removePeer(world.now, each);
  table.setLocalKey(world.now, undefined);
  expect([a.close(), b.close()]).toEqual([0, 0]);
});

test("what waited to be sent to a peer is not sent once it is removed", () => {
  const { table, crypto } = scene();
  table.setLocalKey(now, crypto.generate());
  const [a, b] = [5, 6].map((value) => {
    const peer = table.addPeer(now, key(value));
    table.setEndpoint(now, peer, endpoint);
    table.initiate(now, peer);
    return peer;
  });
  if (a === undefined || b === undefined) return;
  table.removePeer(now, a);
  expect(table.pollTransmit()?.peer).toEqual(b.ref);
  expect(table.pollTransmit()).toBeUndefined();
});

test("removing a peer in the middle of a handshake releases all of it", () => {
  const world = new World(8, { delayMs: [50, 50] });
  for (const delay of [0, 30, 60, 110, 1_000]) {
    const [a, b] = world.pair();
    const [aBefore, bBefore] = [a.crypto.live(), b.crypto.live()];
    a.presharedKey(b, key(1));
    b.presharedKey(a, key(1));
    a.send(b, "x");
    world.run(delay);
    a.table.removePeer(world.now, a.peer(b));
    b.table.removePeer(world.now, b.peer(a));
    a.turn();
    b.turn();
    expect([a.crypto.live(), b.crypto.live()]).toEqual([aBefore, bBefore]);
    expect([a.table.indexCount, b.table.indexCount]).toEqual([0, 0]);
    world.run(1_000);
    expect([a.close(), b.close()]).toEqual([0, 0]);
  }
});

test("ten thousand peers initiate, and the next timeout is at hand after each", () => {
  const { table, crypto } = scene();
  table.setLocalKey(now, crypto.generate());
  for (let i = 0; i < 10_000; i += 1) {
    const publicKey = new Uint8Array(32);
    new DataView(publicKey.buffer).setUint32(0, i + 2);
    const peer = table.addPeer(now, publicKey);
    table.setEndpoint(now, peer, endpoint);
    if (i % 5 === 0) table.initiate({ ms: now.ms + i, wallMs: now.wallMs + i }, peer);
    expect(table.nextTimeout()).toBeLessThan(now.ms + 5_334);
  }
  let sent = 0;
  while (table.pollTransmit() !== undefined) sent += 1;
  expect(sent).toBe(2_000);
  expect(table.indexCount).toBe(2_000);
  table.handleTimeout({ ms: now.ms + 5_334, wallMs: now.wallMs });
  while (table.pollTransmit() !== undefined) sent += 1;
  expect(sent).toBeGreaterThan(2_000);
  expect(table.indexCount).toBe(2_000);
  for (const peer of [...table.peers()]) table.removePeer(now, peer);
  expect(table.nextTimeout()).toBeUndefined();
  expect(crypto.live()).toBe(1);
}, 30_000);

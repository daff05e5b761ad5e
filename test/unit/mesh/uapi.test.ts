/**
 * WireGuard's configuration protocol over a small model of a device. What is refused, and with which
 * number, and what a failing request leaves behind is what Debian's wireguard-go 0.0.20220316 did.
 */
import { expect, test } from "bun:test";
import { ModelDevice, type ModelPeer } from "../../support/uapi-device.ts";

const zeros = "0".repeat(64);

const peerLine = (byte: number): string =>
  `public_key=${byte.toString(16).padStart(2, "0").repeat(32)}`;

test("an unconfigured device answers with nothing but success", () => {
  expect(new ModelDevice().ask("get=1")).toBe("errno=0\n\n");
});

test("everything that was set is told again, in the protocol's order", () => {
  const device = new ModelDevice();
  expect(
    device.set(
      "private_key=@7",
      "listen_port=51820",
      "fwmark=4096",
      peerLine(0xaa),
      "preshared_key=@8",
      "endpoint=[fe80::1%eth0]:4242",
      "persistent_keepalive_interval=25",
      "replace_allowed_ips=true",
      "allowed_ip=10.1.2.3/16",
      "allowed_ip=FD00::1/64",
      peerLine(0xbb),
      "protocol_version=1",
      "endpoint=[::ffff:192.0.2.1]:1",
    ),
  ).toBe("errno=0\n\n");
  const first = device.byKey.values().next().value as ModelPeer;
  first.lastHandshakeWallMs = 1_700_000_000_250;
  expect(device.ask("get=1")).toBe(
    `${[
      "private_key=@7",
      "listen_port=51820",
      "fwmark=4096",
      peerLine(0xaa),
      "preshared_key=@8",
      "protocol_version=1",
      "endpoint=[fe80::1%2]:4242",
      "last_handshake_time_sec=1700000000",
      "last_handshake_time_nsec=250000000",
      "tx_bytes=11",
      "rx_bytes=22",
      "persistent_keepalive_interval=25",
      "allowed_ip=10.1.0.0/16",
      "allowed_ip=fd00::/64",
      peerLine(0xbb),
      "preshared_key=@0",
      "protocol_version=1",
      "endpoint=192.0.2.1:1",
      "last_handshake_time_sec=0",
      "last_handshake_time_nsec=0",
      "tx_bytes=11",
      "rx_bytes=22",
      "persistent_keepalive_interval=0",
      "errno=0",
    ].join("\n")}\n\n`,
  );
});

const p = peerLine(0xaa);
const refused: [string[], number][] = [
  [["get=2"], 22],
  [["get=1", "x"], 22],
  [["hello"], 22],
  [["set=1", "private_key="], 22],
  [["set=1", "private_key=5"], 22],
  [["set=1", "listen_port=65536"], 22],
  [["set=1", "listen_port=+5"], 22],
  [["set=1", "listen_port=-1"], 22],
  [["set=1", "listen_port="], 22],
  [["set=1", "listen_port= 7"], 22],
  [["set=1", "listen_port=53"], 98],
  [["set=1", "fwmark=4294967296"], 22],
  [["set=1", "fwmark=0x10"], 22],
  [["set=1", "replace_peers=false"], 22],
  [["set=1", "foo=1"], 22],
  [["set=1", "foo"], 71],
  [["set=1", "="], 22],
  [["set=1", "preshared_key=@9"], 22],
  [["set=1", "allowed_ip=10.0.0.0/8"], 22],
  [["set=1", "public_key=abcd"], 22],
  [["set=1", `public_key=${"bb".repeat(33)}`], 22],
  [["set=1", p, "foo=1"], 22],
  [["set=1", p, "private_key=@9"], 22],
  [["set=1", p, "endpoint=1.2.3.4"], 22],
  [["set=1", p, "endpoint=1.2.3.4:65536"], 22],
  [["set=1", p, "endpoint=::1:5"], 22],
  [["set=1", p, "endpoint=localhost:5"], 22],
  [["set=1", p, "endpoint=[fe80::1%nowhere]:5"], 22],
  [["set=1", p, "endpoint="], 22],
  [["set=1", p, "persistent_keepalive_interval=65536"], 22],
  [["set=1", p, "persistent_keepalive_interval=off"], 22],
  [["set=1", p, "allowed_ip=10.1.2.3"], 22],
  [["set=1", p, "allowed_ip=10.1.2.3/33"], 22],
  [["set=1", p, "allowed_ip=10.1.2.3/-1"], 22],
  [["set=1", p, "allowed_ip=010.1.2.3/16"], 22],
  [["set=1", p, "allowed_ip=fe80::1%eth0/64"], 22],
  [["set=1", p, "replace_allowed_ips=false"], 22],
  [["set=1", p, "protocol_version=2"], 22],
  [["set=1", p, "update_only=false"], 22],
  [["set=1", p, "remove=1"], 22],
  [["set=1", p, "preshared_key=12"], 22],
  [["set=1", p, "remove=true", "endpoint=bad"], 22],
];

test.each(refused)("%j is refused with errno %d, and no handle is left behind", (lines, errno) => {
  const device = new ModelDevice();
  expect(device.ask(...lines)).toBe(`errno=${-errno}\n\n`);
  expect(device.live.size).toBe(0);
});

test("leading zeros, carriage returns and port 0 are accepted", () => {
  const device = new ModelDevice();
  expect(device.set("listen_port=007\r", "fwmark=010\r")).toBe("errno=0\n\n");
  expect([device.listenPort, device.fwmark]).toEqual([7, 10]);
  expect(device.set("listen_port=0", "fwmark=0")).toBe("errno=0\n\n");
  expect(device.ask("get=1")).toBe("errno=0\n\n");
});

test("lines before the one that fails stay in effect, and those after it have none", () => {
  const device = new ModelDevice();
  const answer = device.set(
    "listen_port=4444",
    p,
    "allowed_ip=10.0.0.0/8",
    "foo=1",
    "private_key=@9",
  );
  expect(answer).toBe("errno=-22\n\n");
  expect(device.listenPort).toBe(4444);
  expect(device.byKey.size).toBe(1);
  expect(device.localKey).toBeUndefined();
  expect(device.live.size).toBe(0);
});

test("a bad line leaves its peer, made and empty", () => {
  const device = new ModelDevice();
  device.set(p, "foo=1");
  expect(device.byKey.size).toBe(1);
});

test("update_only makes no peer, and its lines do nothing", () => {
  const device = new ModelDevice();
  const lines = [p, "update_only=true", "preshared_key=@5", "allowed_ip=1.2.3.4/32"];
  expect(device.set(...lines)).toBe("errno=0\n\n");
  expect(device.byKey.size).toBe(0);
  expect(device.removed).toEqual([]);
  expect(device.live.size).toBe(0);
});

test("update_only changes a peer that is there", () => {
  const device = new ModelDevice();
  device.set(p);
  device.set(p, "update_only=true", "persistent_keepalive_interval=9");
  expect([...device.peers()].map((peer) => peer.keepaliveSeconds)).toEqual([9]);
});

test("a removed peer takes its secrets with it, and the lines after it do nothing", () => {
  const device = new ModelDevice();
  device.set(p, "preshared_key=@5");
  expect(device.set(p, "remove=true", "preshared_key=@6", "allowed_ip=1.2.3.4/32")).toBe(
    "errno=0\n\n",
  );
  expect(device.byKey.size).toBe(0);
  expect(device.live.size).toBe(0);
});

test("removing a peer that is not there succeeds and removes nothing", () => {
  const device = new ModelDevice();
  expect(device.set(p, "remove=true")).toBe("errno=0\n\n");
  expect(device.removed).toEqual([]);
});

test("replace_peers removes them all", () => {
  const device = new ModelDevice();
  device.set(p, peerLine(1), peerLine(2));
  device.set("replace_peers=true", peerLine(3));
  expect([...device.peers()].map((peer) => peer.publicKey[0])).toEqual([3]);
});

test("this device's own key is no peer, and says so to nobody", () => {
  const device = new ModelDevice();
  device.set("private_key=@7");
  expect(device.set(peerLine(7), "allowed_ip=1.2.3.4/32", "preshared_key=@5")).toBe("errno=0\n\n");
  expect(device.byKey.size).toBe(0);
  expect([...device.live]).toEqual([7]);
});

test("setting the private key that is there already changes nothing", () => {
  const device = new ModelDevice();
  device.set("private_key=@7");
  device.set("private_key=@1007"); // another handle, the same key
  expect(device.keysSet).toBe(1);
  expect([...device.live]).toEqual([7]);
});

test("a key of zeros takes the private or preshared key away", () => {
  const device = new ModelDevice();
  device.set("private_key=@7", p, "preshared_key=@8");
  device.set("private_key=@0", p, "preshared_key=@0");
  expect(device.ask("get=1")).not.toContain("private_key");
  expect(device.live.size).toBe(0);
  expect(zeros).toHaveLength(64);
});

test("an allowed IP moves to the peer that names it last", () => {
  const device = new ModelDevice();
  device.set(p, "allowed_ip=10.0.0.0/8", peerLine(1), "allowed_ip=10.0.0.1/8");
  expect([...device.peers()].map((peer) => peer.allowedIps.length)).toEqual([0, 1]);
});

test("a minus takes exactly that allowed IP away, from that peer only", () => {
  const device = new ModelDevice();
  device.set(p, "allowed_ip=10.0.0.0/8", "allowed_ip=10.0.0.0/16", peerLine(1), "allowed_ip=::/0");
  expect(device.set(p, "allowed_ip=-10.0.0.0/8", "allowed_ip=-::/0")).toBe("errno=0\n\n");
  expect([...device.peers()].map((peer) => peer.allowedIps)).toEqual([
    [{ address: "10.0.0.0", bits: 16 }],
    [{ address: "::", bits: 0 }],
  ]);
});

test("a full table of peers is an error that keeps what fits", () => {
  const device = new ModelDevice();
  device.peersMax = 1;
  expect(device.set(p, "preshared_key=@5", peerLine(1), "preshared_key=@6")).toBe("errno=-28\n\n");
  expect([...device.live]).toEqual([5]);
});

test("what the data plane refuses fails the request", () => {
  const device = new ModelDevice();
  device.settled = 12;
  expect(device.set(p)).toBe("errno=-12\n\n");
});

test("whatever bytes come, there is an answer and no handle is lost", () => {
  const words = [
    "set=1",
    "get=1",
    p,
    "private_key=@3",
    "preshared_key=@4",
    "remove=true",
    "=",
    "\r",
  ];
  const more = ["endpoint=[", "allowed_ip=-", "allowed_ip=/", "\u0000", "update_only=true", "@1"];
  const all = [...words, ...more];
  let state = 1;
  const next = (bound: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % bound;
  };
  for (let round = 0; round < 20_000; round += 1) {
    const device = new ModelDevice();
    const lines = Array.from({ length: next(8) }, () => all[next(all.length)] as string);
    // A handle stands in one line only.
    const unique = lines.map((line, at) => line.replace(/@[34]$/, `@${at + 3}`));
    expect(device.ask(...unique)).toMatch(/^(?:.*\n)*errno=-?[0-9]+\n\n$/);
    const owned = [device.localKey, ...[...device.peers()].map((peer) => peer.presharedKey)];
    const expected = owned.filter((secret) => secret !== undefined).map(Number);
    expect([...device.live].sort()).toEqual(expected.sort());
  }
});

/**
 * A device with several lanes, and workers in each: peers, streams and datagrams find their lane whichever the kernel
 * gives their packets to, and what moves an endpoint or renews a session works in all of them.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { ours } from "./support/implementations.ts";
import { type Host, Stage } from "./support/stage.ts";
import { datagrams, firstPing, ping, transfer } from "./support/traffic.ts";
import { tunnelMtu, WireGuardDevice } from "./support/wireguard.ts";

const lanes = { ...ours, env: { MESHVPN_LANES: "4", MESHVPN_ENCRYPT_WORKERS: "2" } };
/** More than lanes, so that some share one. */
const peers = 6;
const port = 51820;

let stage: Stage;
let hub: Host;
let hosts: Host[];
let devices: WireGuardDevice[];
const inside = (number: number): string => `10.78.0.${number}`;

beforeAll(async () => {
  stage = Stage.open();
  const [first, ...others] = await stage.switched(peers + 1);
  hub = first as Host;
  hosts = others;
  devices = await Promise.all(
    [hub, ...hosts].map((host) => WireGuardDevice.start(host, host === hub ? lanes : ours)),
  );
  const [centre, ...ends] = devices as [WireGuardDevice, ...WireGuardDevice[]];
  const section = ({ keys }: WireGuardDevice): string =>
    `[Interface]\nPrivateKey = ${keys.privateKey}\nListenPort = ${port}\n`;
  const peer = ({ keys }: WireGuardDevice, allowed: string, endpoint: string): string =>
    `[Peer]\nPublicKey = ${keys.publicKey}\nAllowedIPs = ${allowed}\n${endpoint}`;
  // The hub knows no endpoint: it learns all of them.
  await centre.setconf(
    section(centre) + ends.map((end, index) => peer(end, `${inside(index + 2)}/32`, "")).join(""),
  );
  for (const end of ends) {
    const endpoint = `Endpoint = ${hub.v4}:${port}\n`;
    await end.setconf(section(end) + peer(centre, `${inside(1)}/32`, endpoint));
  }
  for (const [index, { host, name }] of devices.entries()) {
    await host.ip(`address add ${inside(index + 1)}/24 dev ${name}`);
    await host.ip(`link set ${name} mtu ${tunnelMtu} up`);
  }
  await Promise.all(hosts.map((host) => firstPing(host, inside(1))));
});
afterAll(() => stage.close());

test("every peer reaches the hub, and the hub every peer", async () => {
  for (const [index, host] of hosts.entries()) {
    await ping(host, inside(1));
    await ping(hub, inside(index + 2));
  }
});

test("streams of all peers at once arrive whole, both ways", async () => {
  const bytes = 4_000_000;
  const all = hosts.flatMap((host, index) => [
    transfer(host, hub, inside(1), bytes, index),
    transfer(hub, host, inside(index + 2), bytes, index + 100),
  ]);
  for (const { sent, received } of await Promise.all(all)) {
    expect(received.bytes).toBe(bytes);
    expect(received.sha256).toBe(sent.sha256);
  }
});

test("datagrams come back from every peer", async () => {
  for (const [index, host] of hosts.entries()) {
    const echoed = await datagrams(hub, host, inside(index + 2), 1300, 50);
    expect(echoed).toEqual({ sent: 50, same: 50, different: 0 });
  }
});

test("another port in the middle of it all is taken by every lane", async () => {
  const [centre] = devices as [WireGuardDevice];
  await centre.host.runOk(["wg", "set", centre.name, "listen-port", `${port + 1}`]);
  // Peers learn it from the first packet that the hub sends them.
  for (const [index, host] of hosts.entries()) {
    await ping(hub, inside(index + 2));
    await ping(host, inside(1));
  }
});

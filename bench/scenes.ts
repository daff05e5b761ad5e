/**
 * What only meshvpn is measured for, against itself: eight peers at once against one of them, a
 * tunnel whose JavaScript loop stands still against the same tunnel before, and memory over a long
 * load. A scene gives numbers like a round of a peer does.
 */
import { join } from "node:path";
import { ours } from "../test/e2e/support/implementations.ts";
import { until } from "../test/e2e/support/process.ts";
import { type Host, Stage } from "../test/e2e/support/stage.ts";
import { firstPing } from "../test/e2e/support/traffic.ts";
import { Tunnel, WireGuardDevice } from "../test/e2e/support/wireguard.ts";
import { blockedLine, blockedMs, freeLine } from "./block-loop.ts";
import { BackgroundStream, loadedPings, stream } from "./loads.ts";
import { type Round, secondarySeconds } from "./metrics.ts";
import { processSeconds, residentMiB } from "./proc.ts";
import { summarize } from "./results.ts";
import { mtu, wireMtu } from "./rig.ts";

export const sceneNames = ["eight", "blocked", "soak"] as const;
export type SceneName = (typeof sceneNames)[number];

export interface SceneOptions {
  readonly seconds: number;
  readonly soakMinutes: number;
}

type Values = Record<string, number>;

const scenes: Readonly<Record<SceneName, (options: SceneOptions) => Promise<Values>>> = {
  eight: async ({ seconds }) => await eightPeers(secondarySeconds(seconds)),
  blocked: async ({ seconds }) => await blockedLoop(Math.min(seconds, blockedSecondsMost)),
  soak: async ({ soakMinutes }) => await soak(soakMinutes),
};

const peersAtOnce = 8;
const listenPort = 51820;
const directions = ["up", "down"] as const;
/** With the pings under load it has to fit into the time for which the loop stands still. */
const blockedSecondsMost = 5;
const bytesPerGB = 1e9;
const soakEveryMs = 1000;
const msPerMinute = 60_000;

export async function play(name: SceneName, options: SceneOptions): Promise<Round> {
  try {
    return { values: await scenes[name](options), failures: {} };
  } catch (error) {
    return {
      values: {},
      failures: { [name]: error instanceof Error ? error.message : `${error}` },
    };
  }
}

/** One device with eight peers, each a host of its own on one switch: `one-up`, `eight-up`, and
 * down, in Gbit/s; the eight are added up. */
async function eightPeers(seconds: number): Promise<Values> {
  await using stage = Stage.open();
  const [hub, ...hosts] = await stage.switched(peersAtOnce + 1, { mtu: wireMtu });
  const [first] = hosts;
  if (hub === undefined || first === undefined) throw new Error("a switch without hosts");
  const addresses = await star(hub, hosts);
  const values: Values = {};
  for (const way of directions) {
    const options = { seconds, streams: 1, down: way === "down" };
    const to = async (host: Host, index: number): Promise<number> =>
      (await stream(hub, host, addresses[index] ?? "", options)).gbitPerSecond;
    values[`one-${way}`] = await to(first, 0);
    const all = await Promise.all(hosts.map(to));
    values[`eight-${way}`] = all.reduce((sum, gbit) => sum + gbit, 0);
  }
  return values;
}

/** Devices on all hosts, each a peer of the hub's; the inside addresses of the others. */
async function star(hub: Host, hosts: readonly Host[]): Promise<string[]> {
  const [centre, ...ends] = await Promise.all(
    [hub, ...hosts].map(async (host) => await WireGuardDevice.start(host, ours)),
  );
  if (centre === undefined) throw new Error("a hub without a device");
  const addresses = ends.map((_, index) => `10.77.0.${index + 2}`);
  const section = (device: WireGuardDevice): string =>
    `[Interface]\nPrivateKey = ${device.keys.privateKey}\nListenPort = ${listenPort}\n`;
  const peer = (device: WireGuardDevice, allowed: string): string => {
    const endpoint = `Endpoint = ${device.host.v4}:${listenPort}\n`;
    return `[Peer]\nPublicKey = ${device.keys.publicKey}\n${endpoint}AllowedIPs = ${allowed}\n`;
  };
  const others = ends.map((device, index) => peer(device, `${addresses[index]}/32`));
  await centre.setconf([section(centre), ...others].join(""));
  await plug(centre, "10.77.0.1");
  for (const [index, device] of ends.entries()) {
    await device.setconf(section(device) + peer(centre, "10.77.0.1/32"));
    await plug(device, addresses[index] ?? "");
  }
  for (const address of addresses) await firstPing(hub, address);
  return addresses;
}

async function plug(device: WireGuardDevice, address: string): Promise<void> {
  await device.host.ip(`address add ${address}/24 dev ${device.name}`);
  await device.host.ip(`link set ${device.name} mtu ${mtu} up`);
}

/** `control-` and `blocked-`, each with `tcp` in Gbit/s, `cpu` of both daemons in s/GB, `ping` and
 * `ping-p99` under load in ms. */
async function blockedLoop(seconds: number): Promise<Values> {
  await using stage = Stage.open();
  const tunnel = await openTunnel(stage, {
    BUN_OPTIONS: `--preload ${join(import.meta.dir, "block-loop.ts")}`,
    MESHVPN_BENCH_BLOCK: "1",
  });
  const daemons = [tunnel.left.daemon, tunnel.right.daemon];
  const control = await underLoad(tunnel, seconds, "control");
  for (const daemon of daemons) {
    daemon.kill("SIGUSR2");
    await until("a daemon's loop to stand still", () => daemon.log().includes(blockedLine), {
      evidence: () => daemon.log(),
    });
  }
  const blocked = await underLoad(tunnel, seconds, "blocked");
  if (daemons.some((daemon) => daemon.log().includes(freeLine))) {
    throw new Error(
      `the loads took longer than the ${blockedMs / 1000} s of a loop that is blocked`,
    );
  }
  return { ...control, ...blocked };
}

async function underLoad(tunnel: Tunnel, seconds: number, prefix: string): Promise<Values> {
  const { left, right } = tunnel;
  const [near, far, address] = [left.host, right.host, tunnel.address(right, 4)];
  const spent = (): number => processSeconds(left.daemon.pid) + processSeconds(right.daemon.pid);
  const before = spent();
  const streamed = await stream(near, far, address, { seconds, streams: 1, down: false });
  const cpu = (spent() - before) / (streamed.bytes / bytesPerGB);
  const pinged = await loadedPings(near, far, address);
  return {
    [`${prefix}-tcp`]: streamed.gbitPerSecond,
    [`${prefix}-cpu`]: cpu,
    [`${prefix}-ping`]: pinged.averageMs,
    [`${prefix}-ping-p99`]: pinged.p99Ms,
  };
}

/** Resident memory of the larger daemon under one stream, in MiB: the medians of the first and of
 * the last fifth of the time, and the most. */
async function soak(minutes: number): Promise<Values> {
  await using stage = Stage.open();
  const tunnel = await openTunnel(stage, {});
  const { left, right } = tunnel;
  const load = await BackgroundStream.start(left.host, right.host, tunnel.address(right, 4));
  const seen: number[] = [];
  try {
    const end = performance.now() + minutes * msPerMinute;
    while (performance.now() < end) {
      await Bun.sleep(soakEveryMs);
      seen.push(Math.max(residentMiB(left.daemon.pid), residentMiB(right.daemon.pid)));
    }
  } finally {
    await load.stop();
  }
  const part = Math.ceil(seen.length / 5);
  const first = summarize(seen.slice(0, part))?.median ?? 0;
  const last = summarize(seen.slice(-part))?.median ?? 0;
  return { first, last, most: Math.max(...seen), minutes };
}

async function openTunnel(stage: Stage, env: Record<string, string>): Promise<Tunnel> {
  const hosts = await stage.pair({ mtu: wireMtu });
  const implementation = { ...ours, env };
  const options = { initiator: "left", presharedKey: false, outside: 4 } as const;
  const tunnel = await Tunnel.open(hosts, [implementation, implementation], options);
  await firstPing(tunnel.left.host, tunnel.address(tunnel.right, 4));
  return tunnel;
}

/**
 * A tunnel between two hosts made of any two WireGuard implementations under wireguard-go's calling
 * convention, set up with `wg setconf` as an operator would, and what `wg` says about it after.
 * The side that initiates is the only one that knows the other's endpoint.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Running, runOk, until } from "./process.ts";
import type { Host } from "./stage.ts";

export const listenPort = 51820;
/** Inside addresses of the first and the second device. */
const inside = { 4: ["10.77.0.1", "10.77.0.2"], 6: ["fd77::1", "fd77::2"] } as const;
export const tunnelMtu = 1420;
/** A socket's flags in /proc/net/unix: __SO_ACCEPTCON of linux/net.h. */
const listening = "00010000";

export interface Implementation {
  /** Short, for tables. */
  readonly name: string;
  /** `PROGRAM -f IFNAME` runs it in the foreground. */
  readonly program: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface TunnelOptions {
  readonly initiator: "left" | "right";
  readonly presharedKey: boolean;
  readonly outside: 4 | 6;
  /** Of the responder, where its host has another address than the stage's. */
  readonly endpoint?: string;
  readonly mtu?: number;
}

export interface Keys {
  readonly privateKey: string;
  readonly publicKey: string;
}

export async function generateKeys(): Promise<Keys> {
  const privateKey = (await runOk(["wg", "genkey"])).trim();
  const publicKey = (await runOk(["wg", "pubkey"], { input: privateKey })).trim();
  return { privateKey, publicKey };
}

/** One end of a tunnel. */
export class WireGuardDevice {
  readonly host: Host;
  readonly name: string;
  readonly keys: Keys;
  readonly daemon: Running;

  private constructor(host: Host, name: string, keys: Keys, daemon: Running) {
    this.host = host;
    this.name = name;
    this.keys = keys;
    this.daemon = daemon;
  }

  /** Up and answering `wg`, without a configuration; with the keys of an earlier one, or its own. */
  static async start(
    host: Host,
    implementation: Implementation,
    name: string = host.stage.interfaceName(),
    keys?: Keys,
  ): Promise<WireGuardDevice> {
    const state = join(host.stage.directory, "state");
    const env = { LOG_LEVEL: "error", MESHVPN_STATE_DIR: state, ...implementation.env };
    const daemon = host.start([implementation.program, "-f", name], env);
    const device = new WireGuardDevice(host, name, keys ?? (await generateKeys()), daemon);
    await until(`${implementation.name} to answer wg`, () => device.#answers(), {
      timeoutMs: 15_000,
      everyMs: 50,
      evidence: () => daemon.log(),
    });
    return device;
  }

  /** `wg` with the interface's name after the first word. */
  async wg(verb: string, ...words: readonly string[]): Promise<string> {
    return await this.host.runOk(["wg", verb, this.name, ...words]);
  }

  /** A file that holds a key, as `wg set` wants keys. */
  keyFile(key: string): string {
    const path = join(this.host.stage.directory, `${this.name}.${Bun.hash(key)}.key`);
    writeFileSync(path, `${key}\n`, { mode: 0o600 });
    return path;
  }

  async setconf(configuration: string): Promise<void> {
    await this.#configure("setconf", configuration);
  }

  async addconf(configuration: string): Promise<void> {
    await this.#configure("addconf", configuration);
  }

  async syncconf(configuration: string): Promise<void> {
    await this.#configure("syncconf", configuration);
  }

  /** Bytes from and to the only peer. */
  async transferred(): Promise<{ received: number; sent: number }> {
    const [, received, sent] = (await this.wg("show", "transfer")).trim().split("\t").map(Number);
    return { received: received ?? 0, sent: sent ?? 0 };
  }

  /** Where the peer is, as `wg` writes it; undefined where it is not known. */
  async endpointOf(publicKey: string): Promise<string | undefined> {
    const line = (await this.wg("show", "endpoints"))
      .split("\n")
      .find((text) => text.startsWith(publicKey));
    const endpoint = line?.split("\t")[1];
    return endpoint === "(none)" ? undefined : endpoint;
  }

  /** Changes the peer, by words of `wg set`. */
  async setPeer(publicKey: string, words: string): Promise<void> {
    await this.wg("set", "peer", publicKey, ...words.split(" "));
  }

  /** Unix seconds, 0 for never; of the only peer. */
  async latestHandshake(): Promise<number> {
    const shown = await this.wg("show", "latest-handshakes");
    return Number(shown.trim().split("\t")[1]);
  }

  async #configure(verb: string, configuration: string): Promise<void> {
    const path = join(this.host.stage.directory, `${this.name}.${verb}`);
    writeFileSync(path, configuration, { mode: 0o600 });
    await this.wg(verb, path);
  }

  /**
   * `wg` removes a socket that is bound and not yet listened at, for that is how a dead process
   * leaves it; wireguard-go then ends. So `wg` may not look before the daemon listens.
   */
  #listens(): boolean {
    const sockets = readFileSync(`/proc/${this.daemon.pid}/net/unix`, "utf8");
    return sockets.split("\n").some((line) => {
      const [, , , flags, , , , path] = line.trim().split(/\s+/);
      return flags === listening && path?.includes(`/${this.name}.sock`);
    });
  }

  async #answers(): Promise<boolean> {
    if (!this.daemon.running) {
      throw new Error(`${this.daemon.command} ended:\n${this.daemon.log()}`);
    }
    return this.#listens() && (await this.host.run(["wg", "show", this.name])).code === 0;
  }
}

export class Tunnel {
  readonly left: WireGuardDevice;
  readonly right: WireGuardDevice;
  readonly initiator: WireGuardDevice;
  readonly responder: WireGuardDevice;

  private constructor(left: WireGuardDevice, right: WireGuardDevice, options: TunnelOptions) {
    this.left = left;
    this.right = right;
    this.initiator = options.initiator === "left" ? left : right;
    this.responder = options.initiator === "left" ? right : left;
  }

  /** Configured and addressed; no handshake has been made. */
  static async open(
    hosts: readonly [Host, Host],
    implementations: readonly [Implementation, Implementation],
    options: TunnelOptions,
  ): Promise<Tunnel> {
    const [left, right] = await Promise.all([
      WireGuardDevice.start(hosts[0], implementations[0]),
      WireGuardDevice.start(hosts[1], implementations[1]),
    ]);
    const tunnel = new Tunnel(left, right, options);
    const presharedKey = options.presharedKey ? (await runOk(["wg", "genpsk"])).trim() : undefined;
    for (const device of [left, right]) {
      await device.setconf(tunnel.#configuration(device, presharedKey, options));
      for (const family of [4, 6] as const) {
        const bits = family === 4 ? "24" : "64 nodad";
        const address = `${tunnel.address(device, family)}/${bits}`.split(" ");
        await device.host.ip(["address add", ...address, "dev", device.name].join(" "));
      }
      await device.host.ip(`link set ${device.name} mtu ${options.mtu ?? tunnelMtu} up`);
    }
    return tunnel;
  }

  /** A device's address inside the tunnel. */
  address(device: WireGuardDevice, family: 4 | 6): string {
    return inside[family][device === this.left ? 0 : 1];
  }

  /** The initiator forgets its session, and begins another with its next packet. */
  async renew(): Promise<void> {
    const { initiator, responder } = this;
    const key = responder.keys.publicKey;
    const endpoint = await initiator.endpointOf(key);
    const allowed = `${this.address(responder, 4)}/32,${this.address(responder, 6)}/128`;
    await initiator.setPeer(key, "remove");
    await initiator.setPeer(key, `allowed-ips ${allowed} endpoint ${endpoint}`);
  }

  async close(): Promise<void> {
    await Promise.all([this.left, this.right].map((device) => device.daemon.stop()));
  }

  #configuration(
    device: WireGuardDevice,
    presharedKey: string | undefined,
    { outside, endpoint }: TunnelOptions,
  ): string {
    const peer = device === this.left ? this.right : this.left;
    const allowed = `${this.address(peer, 4)}/32, ${this.address(peer, 6)}/128`;
    const address = outside === 4 ? peer.host.v4 : `[${peer.host.v6}]`;
    const found = endpoint ?? `${address}:${listenPort}`;
    return [
      "[Interface]",
      `PrivateKey = ${device.keys.privateKey}`,
      `ListenPort = ${listenPort}`,
      "[Peer]",
      `PublicKey = ${peer.keys.publicKey}`,
      ...(presharedKey === undefined ? [] : [`PresharedKey = ${presharedKey}`]),
      ...(device === this.initiator ? [`Endpoint = ${found}`] : []),
      `AllowedIPs = ${allowed}`,
      "",
    ].join("\n");
  }
}

/** A battlefield of plain devices: a newcomer too, whom the victim knows and who has not spoken. */
import { readFileSync } from "node:fs";
import { Attacker } from "../support/attacker.ts";
import { type Counters, countersOf } from "../support/counters.ts";
import { ours } from "../support/implementations.ts";
import { type Host, Stage } from "../support/stage.ts";
import { firstPing } from "../support/traffic.ts";
import { type Implementation, listenPort, WireGuardDevice } from "../support/wireguard.ts";
import { Field } from "./field.ts";

const mtu = 1420;

export class Battlefield extends Field {
  #victim: WireGuardDevice;
  readonly friend: WireGuardDevice;
  readonly newcomer: WireGuardDevice;
  readonly victimAddress = "10.77.0.1";

  private constructor(
    stage: Stage,
    devices: readonly [WireGuardDevice, WireGuardDevice, WireGuardDevice],
    attacker: Attacker,
    attackerHost: Host,
  ) {
    super(stage, attacker, attackerHost);
    [this.#victim, this.friend, this.newcomer] = devices;
  }

  get victim(): WireGuardDevice {
    return this.#victim;
  }

  get victimHost(): Host {
    return this.#victim.host;
  }

  get friendHost(): Host {
    return this.friend.host;
  }

  get victimLives(): boolean {
    return this.#victim.daemon.running;
  }

  /** With the tunnel between victim and friend established. */
  static async open(newcomer: Implementation = ours): Promise<Battlefield> {
    const stage = Stage.open();
    const hosts = (await stage.switched(4)) as [Host, Host, Host, Host];
    const attacker = await Attacker.on(hosts[3], hosts[0]);
    const devices = (await Promise.all([
      WireGuardDevice.start(hosts[0], ours),
      WireGuardDevice.start(hosts[1], ours),
      WireGuardDevice.start(hosts[2], newcomer),
    ])) as [WireGuardDevice, WireGuardDevice, WireGuardDevice];
    const field = new Battlefield(stage, devices, attacker, hosts[3]);
    await field.configure(field.victim, [field.friend, field.newcomer]);
    await field.configure(field.friend, [field.victim]);
    await field.countUnproven();
    await firstPing(field.friend.host, field.victimAddress);
    return field;
  }

  /** Also of a device that was started again. The victim knows nobody's endpoint. */
  async configure(device: WireGuardDevice, peers: readonly WireGuardDevice[]): Promise<void> {
    const lines = ["[Interface]", `PrivateKey = ${device.keys.privateKey}`];
    lines.push(`ListenPort = ${listenPort}`);
    for (const peer of peers) {
      lines.push("[Peer]", `PublicKey = ${peer.keys.publicKey}`);
      lines.push(`AllowedIPs = ${this.inside(peer)}/32`);
      if (peer === this.victim) lines.push(`Endpoint = ${peer.host.v4}:${listenPort}`);
    }
    await device.setconf(`${lines.join("\n")}\n`);
    await device.host.ip(`address replace ${this.inside(device)}/24 dev ${device.name}`);
    await device.host.ip(`link set ${device.name} mtu ${mtu} up`);
  }

  /** The victim is another process from now on, configured as the one before. */
  async restart(victim: WireGuardDevice): Promise<void> {
    this.#victim = victim;
    await this.configure(victim, [this.friend, this.newcomer]);
  }

  inside(device: WireGuardDevice): string {
    return `10.77.0.${device.host.v4.split(".").at(-1)}`;
  }

  /** All the victim's counters. */
  async counters(): Promise<Counters> {
    return await countersOf(this.victim);
  }

  async friendEndpoint(): Promise<string | undefined> {
    return await this.victim.endpointOf(this.friend.keys.publicKey);
  }

  /** Resident memory of the victim. */
  memoryBytes(): number {
    const status = readFileSync(`/proc/${this.victim.daemon.pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
  }

  /** How long the newcomer takes from its first packet to the first answer, in seconds. */
  async newHandshakeSeconds(timeoutMs: number): Promise<number> {
    await this.configure(this.newcomer, [this.victim]);
    const start = performance.now();
    await firstPing(this.newcomer.host, this.victimAddress, timeoutMs);
    return (performance.now() - start) / 1000;
  }
}

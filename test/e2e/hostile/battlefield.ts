/**
 * Where the hostile tests are fought: a victim and a friend with a tunnel under load, a newcomer
 * that the victim knows and that has not spoken yet, and an attacker, all on one switch. What an
 * attack costs is always what it costs beside a control: equal packets to a port that nobody has.
 */
import { readFileSync } from "node:fs";
import {
  type Attack,
  Attacker,
  attacked,
  spoofedPrefix,
  unboundPort,
} from "../support/attacker.ts";
import { type Counters, countersOf, difference } from "../support/counters.ts";
import { ours } from "../support/implementations.ts";
import { until } from "../support/process.ts";
import { type Host, Stage } from "../support/stage.ts";
import { answers, firstPing } from "../support/traffic.ts";
import { type Implementation, listenPort, WireGuardDevice } from "../support/wireguard.ts";

const mtu = 1420;
/** An attack lasts this much longer than what is measured, half of it before. */
const marginSeconds = 1;
const loadPort = "5201";

export interface Measured {
  /** Of the tunnel, from the friend to the victim. */
  readonly gbitPerSecond: number;
  readonly attack: {
    readonly sent: number;
    readonly perSecond: number;
    readonly answers: number;
  };
  /** What the victim's counters grew by, from before the attack to after it. */
  readonly counted: Counters;
  readonly seconds: number;
  /** From and to addresses that prove nothing. */
  readonly unprovenBytes: { readonly in: number; readonly out: number };
}

export class Battlefield implements AsyncDisposable {
  readonly stage: Stage;
  #victim: WireGuardDevice;
  readonly friend: WireGuardDevice;
  readonly newcomer: WireGuardDevice;
  readonly attacker: Attacker;
  /** Whence the attacker speaks where it does not pretend. */
  readonly attackerHost: Host;
  readonly victimAddress = "10.77.0.1";

  private constructor(
    stage: Stage,
    devices: readonly [WireGuardDevice, WireGuardDevice, WireGuardDevice],
    attacker: Attacker,
    attackerHost: Host,
  ) {
    this.stage = stage;
    [this.#victim, this.friend, this.newcomer] = devices;
    this.attacker = attacker;
    this.attackerHost = attackerHost;
  }

  get victim(): WireGuardDevice {
    return this.#victim;
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
    await field.#countUnproven();
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

  /** The load alone, or under an attack. */
  async measure(seconds: number, attack?: Omit<Attack, "seconds">): Promise<Measured> {
    const before = await this.counters();
    const bytesBefore = await this.#unprovenBytes();
    const start = performance.now();
    const running =
      attack && (await this.attacker.start({ ...attack, seconds: seconds + marginSeconds }));
    await Bun.sleep((marginSeconds * 1000) / 2);
    const gbitPerSecond = await this.#load(seconds);
    const sent = running && (await attacked(running));
    const after = await this.counters();
    const bytesAfter = await this.#unprovenBytes();
    return {
      gbitPerSecond,
      attack: {
        sent: sent?.sent ?? 0,
        perSecond: sent?.per_second ?? 0,
        answers: sent?.answers ?? 0,
      },
      counted: difference(before, after),
      seconds: (performance.now() - start) / 1000,
      unprovenBytes: {
        in: bytesAfter.in - bytesBefore.in,
        out: bytesAfter.out - bytesBefore.out,
      },
    };
  }

  /** Equal packets that reach no socket. */
  async control(seconds: number, attack: Omit<Attack, "seconds">): Promise<Measured> {
    return await this.measure(seconds, { ...attack, port: unboundPort });
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

  /** That a tunnel that was there is there still: ten pings, at once. */
  async tunnelHolds(): Promise<boolean> {
    for (let count = 0; count < 10; count += 1) {
      if (!(await answers(this.friend.host, this.victimAddress, "-W", "2"))) return false;
    }
    return this.victim.daemon.running;
  }

  /** How long the newcomer takes from its first packet to the first answer, in seconds. */
  async newHandshakeSeconds(timeoutMs: number): Promise<number> {
    await this.configure(this.newcomer, [this.victim]);
    const start = performance.now();
    await firstPing(this.newcomer.host, this.victimAddress, timeoutMs);
    return (performance.now() - start) / 1000;
  }

  async close(): Promise<void> {
    await this.stage.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #load(seconds: number): Promise<number> {
    const { host } = this.victim;
    const words = ["-s", "-1", "--forceflush", "-B", this.victimAddress, "-p", loadPort];
    const server = host.start(["iperf3", ...words]);
    await until("iperf3 to listen", () => server.log().includes("listening"), {
      evidence: () => server.log(),
    });
    const client = ["-J", "-c", this.victimAddress, "-p", loadPort, "-t", `${seconds}`];
    const ran = await this.friend.host.run(["iperf3", ...client], {
      timeoutMs: 20_000 + seconds * 1000,
    });
    await server.stop();
    // A load that could not even begin or end is one of which nothing passed.
    if (ran.code !== 0) return 0;
    const report: { end: { sum_received: { bits_per_second: number } } } = JSON.parse(ran.stdout);
    return report.end.sum_received.bits_per_second / 1e9;
  }

  async #countUnproven(): Promise<void> {
    const rules = [
      "table ip unproven {",
      "counter came {}",
      "counter went {}",
      `chain input { type filter hook input priority -10; udp dport ${listenPort} ip saddr ${spoofedPrefix} counter name came; }`,
      `chain output { type filter hook output priority -10; udp sport ${listenPort} ip daddr ${spoofedPrefix} counter name went; }`,
      "}",
    ];
    await this.victim.host.runOk(["nft", "-f", "-"], { input: `${rules.join("\n")}\n` });
  }

  /** With their IP headers, as nftables counts. */
  async #unprovenBytes(): Promise<{ in: number; out: number }> {
    const shown = await this.victim.host.runOk(["nft", "list", "table", "ip", "unproven"]);
    const [, cameBytes] = /counter came \{\s*packets \d+ bytes (\d+)/.exec(shown) ?? [];
    const [, wentBytes] = /counter went \{\s*packets \d+ bytes (\d+)/.exec(shown) ?? [];
    return { in: Number(cameBytes), out: Number(wentBytes) };
  }
}

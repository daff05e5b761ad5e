/**
 * Where the hostile tests are fought: a victim and a friend with a tunnel under load, and an attacker,
 * on one switch. What an attack costs is always what it costs beside a control: equal packets to a
 * port that nobody has.
 */
import {
  type Attack,
  type Attacker,
  attacked,
  spoofedPrefix,
  unboundPort,
} from "../support/attacker.ts";
import { type Counters, difference } from "../support/counters.ts";
import { until } from "../support/process.ts";
import type { Host, Stage } from "../support/stage.ts";
import { answers, firstPing } from "../support/traffic.ts";
import { listenPort } from "../support/wireguard.ts";

/** An attack lasts this much longer than what is measured, half of it before. */
const marginSeconds = 1;
const drainTimeoutMs = 10_000;
const loadPort = "5201";
const ethernetBytes = 14;

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

export abstract class Field implements AsyncDisposable {
  readonly stage: Stage;
  readonly attacker: Attacker;
  /** Whence the attacker speaks where it does not pretend. */
  readonly attackerHost: Host;
  abstract readonly victimHost: Host;
  abstract readonly friendHost: Host;
  /** Inside the tunnel. */
  abstract readonly victimAddress: string;

  protected constructor(stage: Stage, attacker: Attacker, attackerHost: Host) {
    this.stage = stage;
    this.attacker = attacker;
    this.attackerHost = attackerHost;
  }

  /** All the victim's counters, the data plane's by their own names. */
  abstract counters(): Promise<Counters>;
  abstract readonly victimLives: boolean;

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

  /** That a tunnel that was there is there still: ten pings, once what waited in sockets is gone. */
  async tunnelHolds(): Promise<boolean> {
    await firstPing(this.friendHost, this.victimAddress, drainTimeoutMs);
    for (let count = 0; count < 10; count += 1) {
      if (!(await answers(this.friendHost, this.victimAddress, "-W", "5"))) return false;
    }
    return this.victimLives;
  }

  async close(): Promise<void> {
    await this.stage.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #load(seconds: number): Promise<number> {
    const host = this.victimHost;
    const words = ["-s", "-1", "--forceflush", "-B", this.victimAddress, "-p", loadPort];
    const server = host.start(["iperf3", ...words]);
    await until("iperf3 to listen", () => server.log().includes("listening"), {
      evidence: () => server.log(),
    });
    const client = ["-J", "-c", this.victimAddress, "-p", loadPort, "-t", `${seconds}`];
    const ran = await this.friendHost.run(["iperf3", ...client], {
      timeoutMs: 20_000 + seconds * 1000,
    });
    await server.stop();
    // A load that could not even begin or end is one of which nothing passed.
    if (ran.code !== 0) return 0;
    const report: { end: { sum_received: { bits_per_second: number } } } = JSON.parse(ran.stdout);
    return report.end.sum_received.bits_per_second / 1e9;
  }

  /** Also ends what goes there where the victim's wire begins: beyond it is the work of others, which in one machine
   * is done by whoever sends. */
  protected async countUnproven(): Promise<void> {
    const went = `udp sport ${listenPort} ip daddr ${spoofedPrefix} counter name went`;
    const rules = [
      "table netdev unproven {",
      "counter went {}",
      `chain egress { type filter hook egress device "eth0" priority 0; ${went}; ip daddr ${spoofedPrefix} drop; }`,
      "}",
      "table ip unproven {",
      "counter came {}",
      `chain input { type filter hook input priority -10; udp dport ${listenPort} ip saddr ${spoofedPrefix} counter name came; }`,
      "}",
    ];
    await this.victimHost.runOk(["nft", "-f", "-"], { input: `${rules.join("\n")}\n` });
  }

  /** With their IP headers; nftables counts what goes with Ethernet's. */
  async #unprovenBytes(): Promise<{ in: number; out: number }> {
    const shown = await this.victimHost.runOk(["nft", "list", "counters"]);
    const [, cameBytes] = /counter came \{\s*packets \d+ bytes (\d+)/.exec(shown) ?? [];
    const [, packets, wentBytes] = /counter went \{\s*packets (\d+) bytes (\d+)/.exec(shown) ?? [];
    return { in: Number(cameBytes), out: Number(wentBytes) - ethernetBytes * Number(packets) };
  }
}

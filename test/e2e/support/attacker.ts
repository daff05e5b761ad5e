/**
 * A host from which strangers attack: what its program (test/attack) sends, from whose addresses, at
 * what rate, and what it hears on the wire.
 */
import { join } from "node:path";
import { root } from "./implementations.ts";
import { type Running, runOk, until } from "./process.ts";
import type { Host } from "./stage.ts";

/** Addresses that attackers pretend to have; the way to them leads to the attacker's host. */
export const spoofedPrefix = "198.18.0.0/15";
const spoofedFirst = "c6120001";
export const spoofedSources = 100_000;
/** Nobody listens here. */
export const unboundPort = 9;
const buildTimeoutMs = 300_000;

export type Forged =
  | "bad_mac1"
  | "good_mac1"
  | "introduction"
  | "data_random"
  | "data_index"
  | "malformed";

export interface Attack {
  readonly mode: "flood" | "storm" | "ask";
  readonly kind?: Forged;
  readonly port: number;
  readonly perSecond: number;
  readonly seconds: number;
  /** What the victim is known by: its WireGuard key, or its identity for introductions. */
  readonly key?: Uint8Array;
  /** Of a session that lives. */
  readonly index?: number;
  readonly sources?: number;
  readonly count?: number;
}

export interface Attacked {
  readonly sent: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly per_second: number;
  readonly answers: number;
  readonly answer_bytes: number;
}

export interface Heard {
  readonly from: string;
  readonly fromPort: number;
  readonly to: string;
  readonly toPort: number;
  readonly payload: Uint8Array;
}

const built = new Map<string, Promise<string>>();

/** A program of test/attack, built where that is needed. */
export async function attackProgram(
  name: "attacker" | "relay" | "libwall_clock.so" | "libmeshvpn-hostile-relay.so",
): Promise<string> {
  const command = [join(root, "scripts/lib/attack-program"), name];
  const building = built.get(name) ?? runOk(command, { timeoutMs: buildTimeoutMs });
  built.set(name, building);
  return (await building).trim();
}

export class Attacker {
  readonly #host: Host;
  readonly #victim: Host;
  readonly #program: string;
  #seed = 0;

  private constructor(host: Host, victim: Host, program: string) {
    this.#host = host;
    this.#victim = victim;
    this.#program = program;
  }

  /** Both hosts are on one switch. */
  static async on(host: Host, victim: Host): Promise<Attacker> {
    await victim.ip(`route add ${spoofedPrefix} via ${host.v4}`);
    // Its neighbours are known before any flood begins.
    await victim.run(["ping", "-c", "1", "-W", "2", host.v4]);
    return new Attacker(host, victim, await attackProgram("attacker"));
  }

  /** Begins it; `attacked` gives what came of it. A flood begins at the victim's port of the switch: on the way
   * there it would be work of a switch and of another machine, done on the victim's processors. */
  async start(attack: Attack): Promise<Running> {
    this.#seed += 1;
    const { switched, name } = this.#victim.stage.portOf(this.#victim);
    const [whence, via] = attack.mode === "flood" ? [switched, name] : [this.#host, "eth0"];
    const [own, theirs] = await Promise.all([link(whence, via), link(this.#victim, "eth0")]);
    const words: Record<string, string | number> = {
      kind: attack.kind ?? "malformed",
      interface: own.index,
      mac: theirs.mac,
      "own-mac": own.mac,
      to: hexAddress(this.#victim.v4),
      port: attack.port,
      from: spoofedFirst,
      sources: attack.sources ?? spoofedSources,
      rate: attack.perSecond,
      seconds: attack.seconds,
      index: attack.index ?? 0,
      seed: this.#seed,
    };
    if (attack.key !== undefined) words.key = Buffer.from(attack.key).toString("hex");
    if (attack.count !== undefined) words.count = attack.count;
    const options = Object.entries(words).flatMap(([name, value]) => [`--${name}`, `${value}`]);
    return whence.start([this.#program, attack.mode, ...options]);
  }

  /** To its end. */
  async attack(attack: Attack): Promise<Attacked> {
    return await attacked(await this.start(attack));
  }
}

export async function attacked(running: Running): Promise<Attacked> {
  const code = await running.exited;
  const last = running.log().trim().split("\n").at(-1) ?? "";
  if (code !== 0 || !last.startsWith("{")) throw new Error(`${running.command}: ${running.log()}`);
  return JSON.parse(last);
}

/** Begins to listen for datagrams of WireGuard's message type to or from a port; gives one. */
export async function listen(
  host: Host,
  type: number,
  port: number,
): Promise<() => Promise<Heard>> {
  const { index } = await link(host, "eth0");
  const options = { interface: index, index: type, port, seconds: 60, count: 1 };
  const words = Object.entries(options).flatMap(([name, value]) => [`--${name}`, `${value}`]);
  const running = host.start([await attackProgram("attacker"), "listen", ...words]);
  const lines = (): string[] => running.log().split("\n").slice(0, -1);
  await until("the listener to listen", () => lines().includes("listening"));
  return async () => {
    const line = await until("a datagram on the wire", () => lines()[1]);
    const [from = "", fromPort, to = "", toPort, payload = ""] = line.split(" ");
    return {
      from: dotted(from),
      fromPort: Number(fromPort),
      to: dotted(to),
      toPort: Number(toPort),
      payload: Buffer.from(payload, "hex"),
    };
  };
}

async function link(host: Host, name: string): Promise<{ index: number; mac: string }> {
  const [found]: { ifindex: number; address: string }[] = JSON.parse(
    await host.ip(`-json link show ${name}`),
  );
  if (found === undefined) throw new Error(`there is no ${name}`);
  return { index: found.ifindex, mac: found.address.replaceAll(":", "") };
}

function hexAddress(address: string): string {
  return address
    .split(".")
    .map((byte) => Number(byte).toString(16).padStart(2, "0"))
    .join("");
}

function dotted(hex: string): string {
  return [0, 2, 4, 6].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)).join(".");
}

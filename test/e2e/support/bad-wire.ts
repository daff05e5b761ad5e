/**
 * Two hosts on a wire that is bad on purpose: between their interfaces a relay (test/attack) delays,
 * loses, doubles, damages, cuts and replays WireGuard's datagrams, as a seed says.
 */
import { attackProgram } from "./attacker.ts";
import { type Running, until } from "./process.ts";
import type { Host, Stage } from "./stage.ts";

/** Shares in datagrams of a thousand. */
export interface Faults {
  readonly seed: number;
  readonly delay?: number;
  readonly delayMs?: number;
  readonly lose?: number;
  readonly duplicate?: number;
  readonly corrupt?: number;
  readonly truncate?: number;
  readonly replay?: number;
}

/** What befell the datagrams. */
export interface Befell {
  readonly carried: number;
  readonly lost: number;
  readonly delayed: number;
  readonly duplicated: number;
  readonly corrupted: number;
  readonly truncated: number;
  readonly replayed: number;
}

export class BadWire {
  readonly left: Host;
  readonly right: Host;
  readonly #relay: Running;

  private constructor(left: Host, right: Host, relay: Running) {
    this.left = left;
    this.right = right;
    this.#relay = relay;
  }

  static async lay(stage: Stage, faults: Faults): Promise<BadWire> {
    const program = await attackProgram("relay");
    const [left, middle, right] = await Promise.all([stage.host(1), stage.bare(), stage.host(2)]);
    const end = { host: middle, addresses: [] };
    await stage.wire({ host: left, name: "eth0", addresses: [] }, { ...end, name: "left" });
    await stage.wire({ host: right, name: "eth0", addresses: [] }, { ...end, name: "right" });
    for (const host of [left, right]) {
      await host.plug({});
      // The relay is to see datagrams one by one, as a wire would carry them.
      await host.ip("link set eth0 gso_max_segs 1");
    }
    const { seed, delayMs, ...shares } = faults;
    const words = {
      left: await index(middle, "left"),
      right: await index(middle, "right"),
      seed,
      ...(delayMs === undefined ? {} : { "delay-ms": delayMs }),
      ...shares,
    };
    const options = Object.entries(words).flatMap(([name, value]) => [`--${name}`, `${value}`]);
    const relay = middle.start([program, ...options]);
    const evidence = (): string => relay.log();
    await until("the relay", () => relay.log().includes("ready"), { evidence });
    return new BadWire(left, right, relay);
  }

  /** Ends the relay, and with it the wire. */
  async end(): Promise<Befell> {
    await this.#relay.stop();
    return JSON.parse(this.#relay.log().trim().split("\n").at(-1) ?? "");
  }
}

async function index(host: Host, name: string): Promise<number> {
  const [link]: { ifindex: number }[] = JSON.parse(await host.ip(`-json link show ${name}`));
  if (link === undefined) throw new Error(`there is no ${name}`);
  return link.ifindex;
}

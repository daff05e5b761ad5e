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
  /** Somebody on the wire who sends copies as from `thiefV4`; he begins and ends by `nextTheft`. */
  readonly thief?: boolean;
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
  /** Copies that the thief sent, and what came to him. */
  readonly stolen: number;
  readonly stolen_bytes: number;
  readonly answers: number;
  readonly answer_bytes: number;
  readonly answer_longest: number;
}

/** On the wire's own network, so that whoever answers him needs no route. */
export const thiefV4 = "192.0.2.66";
const thiefNumber = 0xc000_0242;

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
    if (faults.thief) {
      for (const host of [left, right]) {
        await host.ip(`neighbor add ${thiefV4} lladdr 02:00:00:00:00:42 dev eth0`);
      }
    }
    const { seed, delayMs, thief, ...shares } = faults;
    const words = {
      left: await index(middle, "left"),
      right: await index(middle, "right"),
      seed,
      ...(thief ? { thief: thiefNumber } : {}),
      ...(delayMs === undefined ? {} : { "delay-ms": delayMs }),
      ...shares,
    };
    const options = Object.entries(words).flatMap(([name, value]) => [`--${name}`, `${value}`]);
    const relay = middle.start([program, ...options]);
    const evidence = (): string => relay.log();
    await until("the relay", () => relay.log().includes("ready"), { evidence });
    return new BadWire(left, right, relay);
  }

  /** From none to copies ahead of the originals, from those to copies behind them, and back to none. */
  nextTheft(): void {
    this.#relay.kill("SIGUSR1");
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

/**
 * A scenario is a story of WireGuard's kernel tests, told with `wg`, `ip` and `nft`, and played by
 * any implementation under wireguard-go's calling convention. The same stories on wireguard-go say
 * whether they are told right: where it ends otherwise, `differences.ts` explains why, and an
 * explanation that is not needed is a failure too.
 */

import { type Host, Stage } from "../support/stage.ts";
import {
  type Implementation,
  Tunnel,
  type TunnelOptions,
  WireGuardDevice,
} from "../support/wireguard.ts";
import { differences } from "./differences.ts";

export interface Scenario {
  /** A sentence about a tunnel. */
  readonly title: string;
  /** Which of the kernel's cases these are, by the numbers of `cases.ts`. */
  readonly cases: readonly number[];
  play(scene: Scene): Promise<void>;
}

/** What a scenario is played on. */
export class Scene {
  readonly stage: Stage;
  readonly implementation: Implementation;
  readonly #devices: WireGuardDevice[] = [];

  constructor(stage: Stage, implementation: Implementation) {
    this.stage = stage;
    this.implementation = implementation;
  }

  /** Two hosts on a wire, and a tunnel between them of which only the left knows the right. */
  async tunnel(options: Partial<TunnelOptions> = {}): Promise<Tunnel> {
    return await this.tunnelBetween(await this.stage.pair(), options);
  }

  async tunnelBetween(
    hosts: readonly [Host, Host],
    options: Partial<TunnelOptions> = {},
  ): Promise<Tunnel> {
    const { implementation } = this;
    const tunnel = await Tunnel.open(hosts, [implementation, implementation], {
      initiator: "left",
      presharedKey: false,
      outside: 4,
      ...options,
    });
    this.#devices.push(tunnel.left, tunnel.right);
    return tunnel;
  }

  /** One that answers `wg` and is not configured. */
  async device(host: Host): Promise<WireGuardDevice> {
    const device = await WireGuardDevice.start(host, this.implementation);
    this.#devices.push(device);
    return device;
  }

  /** The last of what each device said. */
  logs(): string {
    return this.#devices
      .map(({ daemon }) => `${daemon.command}:\n${daemon.log().slice(-2000)}`)
      .join("\n");
  }
}

export type Verdict = "passed" | "explained" | "failed";

export interface Outcome {
  readonly scenario: Scenario;
  readonly implementation: string;
  readonly verdict: Verdict;
  readonly seconds: number;
  /** Of a failure, and of a difference. */
  readonly why?: string;
}

/** Plays one; never rejects. */
export async function play(scenario: Scenario, implementation: Implementation): Promise<Outcome> {
  const start = performance.now();
  const error = await attempt(scenario, implementation);
  const seconds = (performance.now() - start) / 1000;
  const explanation = differences[scenario.title]?.[implementation.name];
  const outcome = { scenario, implementation: implementation.name, seconds };
  if (explanation === undefined) {
    return error === undefined
      ? { ...outcome, verdict: "passed" }
      : { ...outcome, verdict: "failed", why: error };
  }
  return error === undefined
    ? { ...outcome, verdict: "failed", why: `it passed, so this is wrong: ${explanation}` }
    : { ...outcome, verdict: "explained", why: explanation };
}

async function attempt(
  scenario: Scenario,
  implementation: Implementation,
): Promise<string | undefined> {
  await using stage = Stage.open();
  const scene = new Scene(stage, implementation);
  try {
    await scenario.play(scene);
    return undefined;
  } catch (error) {
    const words = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return `${words}\n${scene.logs()}`;
  }
}

/** Plays all, some at a time in their order; each outcome can be awaited on its own. */
export function playAll(
  scenarios: readonly Scenario[],
  implementation: Implementation,
  atATime: number,
): Map<Scenario, Promise<Outcome>> {
  const waiting = scenarios.map((scenario) => ({
    scenario,
    ...Promise.withResolvers<Outcome>(),
  }));
  const outcomes = new Map(waiting.map(({ scenario, promise }) => [scenario, promise]));
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      next.resolve(await play(next.scenario, implementation));
    }
  };
  for (let lane = 0; lane < atATime; lane += 1) void work();
  return outcomes;
}

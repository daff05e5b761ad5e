/**
 * A tunnel over a wire that delays, loses, doubles, damages, cuts and replays: what passes through it
 * is unharmed, and nothing that was sent twice, changed or sent again long after is taken, or says
 * where a peer is. A seed replays what befell the wire. The wires are tried together: they wait more
 * than they work.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { attackProgram } from "./support/attacker.ts";
import { BadWire, type Befell, type Faults } from "./support/bad-wire.ts";
import { countersOf } from "./support/counters.ts";
import { ours } from "./support/implementations.ts";
import { checkTransfer } from "./support/interop.ts";
import { until } from "./support/process.ts";
import { closeStages, Stage } from "./support/stage.ts";
import { answers, datagrams, firstPing, transfer } from "./support/traffic.ts";
import { listenPort, Tunnel } from "./support/wireguard.ts";

const buildTimeoutMs = 300_000;
const timeoutMs = 120_000;
const bytes = 2_000_000;
const seeds = [1, 2] as const;

/** By name, so that a failure says what it was. */
const wires: Readonly<Record<string, Omit<Faults, "seed">>> = {
  "overtakes itself": { delay: 200, delayMs: 4 },
  "doubles and replays": { duplicate: 200, replay: 200 },
  "damages and cuts": { corrupt: 8, truncate: 8 },
  "does all of it, and loses some": {
    delay: 100,
    delayMs: 4,
    duplicate: 100,
    replay: 100,
    corrupt: 5,
    truncate: 5,
    lose: 5,
  },
};

beforeAll(async () => {
  await attackProgram("relay");
}, buildTimeoutMs);
afterAll(closeStages);

interface Carried {
  readonly befell: Befell;
  /** Both devices' counters. */
  readonly refused: { replayed: number; not_authentic: number; malformed: number };
  readonly opened: number;
  readonly sealed: number;
}

async function carry(faults: Faults): Promise<Carried> {
  await using stage = Stage.open();
  const wire = await BadWire.lay(stage, faults);
  const { left, right } = wire;
  const tunnel = await Tunnel.open([left, right], [ours, ours], {
    initiator: "left",
    presharedKey: false,
    outside: 4,
  });
  const [here, there] = [tunnel.address(tunnel.left, 4), tunnel.address(tunnel.right, 4)];
  await firstPing(left, there, 30_000);
  checkTransfer(await transfer(left, right, there, bytes, faults.seed), bytes);
  checkTransfer(await transfer(right, left, here, bytes, faults.seed + 100), bytes);
  const echoed = await datagrams(left, right, there, 1200, 50);
  expect(echoed.different).toBe(0);

  expect(await tunnel.left.endpointOf(tunnel.right.keys.publicKey)).toBe(
    `${right.v4}:${listenPort}`,
  );
  expect(await tunnel.right.endpointOf(tunnel.left.keys.publicKey)).toBe(
    `${left.v4}:${listenPort}`,
  );
  const both = await Promise.all([tunnel.left, tunnel.right].map(countersOf));
  const sum = (name: string): number =>
    both.reduce((total, counters) => total + (counters[name] ?? 0), 0);
  await until("a ping through it", () => answers(left, there));
  return {
    befell: await wire.end(),
    refused: {
      replayed: sum("replayed"),
      not_authentic: sum("not_authentic"),
      malformed: sum("malformed"),
    },
    opened: sum("opened_packets"),
    sealed: sum("sealed_packets"),
  };
}

describe("a stream passes unharmed, and every datagram once, over a wire that", () => {
  for (const [name, faults] of Object.entries(wires)) {
    for (const seed of seeds) {
      test.concurrent(
        `${name} (seed ${seed})`,
        async () => {
          const { befell, refused, opened, sealed } = await carry({ seed, ...faults });
          expect(befell.carried).toBeGreaterThan(1000);
          for (const [fault, done] of [
            ["delay", befell.delayed],
            ["duplicate", befell.duplicated],
            ["replay", befell.replayed],
            ["corrupt", befell.corrupted],
            ["truncate", befell.truncated],
            ["lose", befell.lost],
          ] as const) {
            if (faults[fault] === undefined) expect(done).toBe(0);
            else expect(done).toBeGreaterThan(0);
          }
          // No packet was taken twice: what was opened was sealed, once each.
          expect(opened).toBeLessThanOrEqual(sealed);
          if (befell.duplicated + befell.replayed > 0) expect(refused.replayed).toBeGreaterThan(0);
          else expect(refused.replayed).toBe(0);
          if (befell.corrupted > 0) expect(refused.not_authentic).toBeGreaterThan(0);
        },
        timeoutMs,
      );
    }
  }
});

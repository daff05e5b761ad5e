import { describe, expect, test } from "bun:test";
import { type Profile, profileLan, profileWan } from "../../src/swim/profile.ts";
import { faults } from "./faults.ts";
import { hostile } from "./hostile.ts";
import { nat } from "./nat.ts";
import { revoke } from "./revoke.ts";
import { join, kill, loss, type Outcome, type Scenario, slow, split } from "./scenarios.ts";
import type { SimHost } from "./sim-host.ts";
import { Simulation } from "./simulation.ts";
import { Timeline } from "./timeline.ts";

/** Seeds of random faults; scripts/test plays 200 beside these, by scripts/simulate --scenario faults --seeds. */
const faultSeeds = 4;

function run(
  scenario: Scenario,
  nodes: number,
  more: { seed?: number; minutes?: number; realCrypto?: boolean; profile?: Profile } = {},
): Outcome {
  const { seed = 1, minutes, realCrypto = false, profile = profileLan } = more;
  return scenario({ nodes, seed, minutes, realCrypto, profile });
}

interface Played {
  readonly [figure: string]: number | string | boolean;
}

/** By the command, for it is a process of its own that has two threads. */
async function simulated(options: readonly string[]): Promise<Played> {
  const script = `${import.meta.dir}/simulate.ts`;
  const command = [process.execPath, script, "--scenario", "kill", "--nodes", "100", "--json"];
  const child = Bun.spawn([...command, ...options], { stdout: "pipe" });
  return JSON.parse(await new Response(child.stdout).text());
}

/** With the figures, where it does not hold. */
function holds(outcome: Outcome): void {
  expect({ ...outcome.figures, holds: outcome.holds }).toMatchObject({ holds: true });
}

test("one seed has one history, and another seed another", () => {
  const [once, again, other] = [7, 7, 8].map((seed) => run(faults, 0, { seed }).traceHash);
  expect(again).toBe(once as number);
  expect(other).not.toBe(once as number);
}, 60_000);

test("on two threads one seed has one history too, and the same comes of it", async () => {
  const lines = await Promise.all(
    [1, 2, 2].map((threads) => simulated(["--threads", `${threads}`])),
  );
  const [one, two, again] = lines as [Played, Played, Played];
  expect(again.trace_hash).toBe(two.trace_hash);
  for (const { holds, killed, detections_missing, false_deaths } of lines) {
    expect({ holds, killed, detections_missing, false_deaths }).toEqual({
      holds: true,
      killed: one.killed,
      detections_missing: 0,
      false_deaths: 0,
    });
  }
}, 60_000);

test("what is to happen happens in order of time, and then of being scheduled", () => {
  const timeline = new Timeline<number>();
  const times = Array.from({ length: 3_000 }, (_, i) => (i * 7_919) % 500);
  for (const [i, time] of times.entries()) timeline.schedule(time, i);
  const order = times
    .map((_, i) => i)
    .sort((a, b) => (times[a] as number) - (times[b] as number) || a - b);
  expect(Array.from({ length: 3_000 }, () => timeline.take())).toEqual(order);
  expect(timeline.next()).toBeUndefined();
});

describe("the scenarios hold in a small mesh:", () => {
  test("150 join through three seeds", () => {
    holds(run(join, 150));
  }, 60_000);

  test("20 join with real signatures", () => {
    holds(run(join, 20, { realCrypto: true }));
  }, 60_000);

  test("one in a hundred is killed", () => {
    holds(run(kill, 120));
  }, 60_000);

  test("one in a hundred is killed, where paths are slow", () => {
    holds(run(kill, 120, { profile: profileWan }));
  }, 60_000);

  test("a twentieth of all datagrams is lost, for two minutes", () => {
    holds(run(loss, 60, { minutes: 2 }));
  }, 60_000);

  test("a tenth are slow, and kill nobody", () => {
    holds(run(slow, 60, { minutes: 2 }));
  }, 60_000);

  test("two halves find each other", () => {
    holds(run(split, 24));
  }, 60_000);

  test("and where a session is not held with everybody", () => {
    holds(run(split, 150));
  }, 120_000);

  test("a third are hostile", () => {
    holds(run(hostile, 30, { minutes: 1 }));
  }, 60_000);

  test("behind NATs of every kind all reach all, and probing keeps its bounds", () => {
    holds(run(nat, 70, { minutes: 1 }));
  }, 120_000);

  test("the revoked are cut off, and stay so", () => {
    holds(run(revoke, 80));
  }, 60_000);
});

test.each(Array.from({ length: faultSeeds }, (_, i) => i + 1))(
  "everything goes wrong at once and heals (seed %d)",
  (seed) => {
    holds(run(faults, 0, { seed }));
  },
  60_000,
);

test.each([
  [101, "a time that is no whole number of ms does not stop the clock"],
  [121, "a lost disk and a clock set back do not make two records of one sequence"],
  [306, "the dead do not wait for their turn in a round of sixty"],
])(
  "what seed %d found: %s",
  (seed) => {
    holds(run(faults, 0, { seed }));
  },
  60_000,
);

test("an accusation of a member that lives is refuted before anybody believes it", () => {
  const simulation = new Simulation({ seed: 3, nodes: 12 });
  simulation.setSeeds(3);
  for (const host of simulation.hosts) host.start();
  simulation.introduceAll();
  simulation.run(20_000);
  const victim = simulation.hosts[5] as SimHost;
  const before = victim.running.membership.table.incarnation(0);
  // Nobody's probes reach it for a while, and then they do again.
  simulation.network.setSide(5, 1);
  simulation.network.block(0, 1);
  simulation.run(simulation.nowMs + 4_000);
  simulation.network.heal();
  simulation.run(simulation.nowMs + 20_000);
  expect(victim.running.membership.table.incarnation(0)).toBeGreaterThan(before);
  for (const host of simulation.hosts) {
    const { table } = host.running.membership;
    const slot = host === victim ? undefined : table.find(victim.identity.publicKey);
    if (slot === undefined) continue;
    expect(table.state(slot)).toBe("alive");
    expect(table.incarnation(slot)).toBe(victim.running.membership.table.incarnation(0));
  }
});

test("a node that asks for a turn at which it does nothing ends the run, in place of time standing still", () => {
  const simulation = new Simulation({ seed: 1, nodes: 3 });
  simulation.setSeeds(1);
  for (const host of simulation.hosts) host.start();
  simulation.run(5_000);
  const { node } = simulation.hosts[2] as SimHost;
  Object.assign(node as object, { nextTimeout: () => simulation.nowMs });
  expect(() => simulation.run(10_000)).toThrow("host 2");
});

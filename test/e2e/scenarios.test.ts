/**
 * The kernel's WireGuard scenarios on our device. Several are played at a time, begun together and
 * awaited one after the other. `scripts/scenarios` plays them on wireguard-go too.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { kernelCases, scenarios } from "./scenarios/cases.ts";
import { differences } from "./scenarios/differences.ts";
import { type Outcome, playAll, type Scenario } from "./scenarios/scenario.ts";
import { ours } from "./support/implementations.ts";
import { closeStages } from "./support/stage.ts";

/** Of all that were begun before it. */
const timeoutMs = 240_000;
/** They wait more than they work. */
const atATime = 4;

let outcomes: Map<Scenario, Promise<Outcome>>;

beforeAll(() => {
  outcomes = playAll(scenarios, ours, atATime);
});
afterAll(closeStages);

describe("the kernel's scenarios", () => {
  test("all have a story, and each story has another title", () => {
    const told = new Set(scenarios.flatMap(({ cases }) => cases));
    expect([...told].toSorted((one, two) => one - two)).toEqual(
      Object.keys(kernelCases).map(Number),
    );
    const titles = new Set(scenarios.map(({ title }) => title));
    expect(titles.size).toBe(scenarios.length);
    for (const title of Object.keys(differences)) expect(titles).toContain(title);
  });

  for (const scenario of scenarios) {
    test(
      scenario.title,
      async () => {
        const outcome = await outcomes.get(scenario);
        if (outcome?.verdict === "failed") throw new Error(outcome.why);
        if (outcome?.verdict === "explained") console.log(`${scenario.title}: ${outcome.why}`);
      },
      timeoutMs,
    );
  }
});

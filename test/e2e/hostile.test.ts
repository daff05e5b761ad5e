/**
 * Strangers attack a device of ours while a tunnel of it is under load: the quick form, which gates
 * crashes, Diffie-Hellman, bytes out, endpoint, window, and half of the control's throughput. One
 * trial runs at a time, since it measures. `scripts/hostile` is the full form.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { allTrials, tryOne } from "./hostile/campaign.ts";
import { quickForm } from "./hostile/trial.ts";
import { attackProgram } from "./support/attacker.ts";
import { closeStages } from "./support/stage.ts";

const timeoutMs = 120_000;
const buildTimeoutMs = 300_000;

beforeAll(async () => {
  await attackProgram("attacker");
}, buildTimeoutMs);
afterAll(closeStages);

describe("a node under attack holds its tunnel and its peace:", () => {
  for (const trial of allTrials) {
    test(
      `${trial.name}, ${trial.title}`,
      async () => {
        const { figures, holds, error } = await tryOne(trial, quickForm);
        if (error !== undefined) throw new Error(error);
        expect(figures.filter((figure) => !figure.holds)).toEqual([]);
        expect(holds).toBe(true);
      },
      timeoutMs,
    );
  }
});

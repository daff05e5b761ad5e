/**
 * Daemons behind NATs; `scripts/e2e-nat` plays every kind against every kind.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Matrix, type Pair } from "./support/nat-matrix.ts";
import { closeStages, Stage } from "./support/stage.ts";

let matrix: Matrix;

beforeAll(async () => {
  matrix = await Matrix.open(Stage.open());
}, 60_000);

afterAll(closeStages);

const pairs: readonly Pair[] = [
  ["restricted", "restricted"],
  ["full-cone", "symmetric-random"],
  ["symmetric", "symmetric-random"],
  ["udp-blocked", "restricted"],
];

for (const pair of pairs) {
  test(`${pair.join(" and ")} find each other`, async () => {
    const outcome = await matrix.run(pair);
    expect(outcome).toMatchObject({ holds: true });
  }, 60_000);
}

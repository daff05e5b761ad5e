/**
 * Daemons behind NATs; `scripts/e2e-nat` plays every kind against every kind.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { descriptorsOf } from "./support/nat-birthday.ts";
import { Matrix, type Outcome, type Pair } from "./support/nat-matrix.ts";
import { until } from "./support/process.ts";
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

test("restricted and symmetric-random meet by chance, and all sockets but the one that was hit are closed", async () => {
  let outcome: Outcome | undefined;
  // Chance fails them once in fifty times.
  for (let run = 0; run < 3 && !outcome?.holds; run += 1) {
    outcome = await matrix.run(["restricted", "symmetric-random"], async ([a, b]) => {
      if (!(await b.member(a))?.path.startsWith("direct ")) return;
      await until("the sockets to be closed", async () => (await descriptorsOf(b)) < 128, {
        timeoutMs: 30_000,
      });
      expect((await b.member(a))?.path).toStartWith("direct ");
      expect(await a.reaches(await b.address(4))).toBe(true);
    });
  }
  expect(outcome).toMatchObject({ holds: true });
}, 180_000);

/** Paths that live: what changes under a stream must not break it. Longer cases: scripts/e2e-nat. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  addressesChange,
  type Case,
  familyChanges,
  natClosesAndOpens,
} from "./support/nat-cases.ts";
import { Matrix } from "./support/nat-matrix.ts";
import { closeStages, Stage } from "./support/stage.ts";

let matrix: Matrix;

beforeAll(async () => {
  matrix = await Matrix.open(Stage.open());
}, 60_000);

afterAll(closeStages);

const cases: readonly [string, Case][] = [
  [
    "a pair falls back to the relay when its NAT closes, and is direct again when it opens",
    natClosesAndOpens,
  ],
  ["a stream goes on when IPv4 is closed between two members, and when IPv6 is", familyChanges],
  ["a stream goes on when one end changes its address, or both do", addressesChange],
];

for (const [sentence, play] of cases) {
  test(sentence, async () => {
    for (const { what, ms, msMax } of await play(matrix)) {
      console.log(`${what}: ${Math.round(ms)} ms`);
      expect(ms, what).toBeLessThanOrEqual(msMax);
    }
  }, 120_000);
}

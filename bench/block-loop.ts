/**
 * Loaded into a daemon by the benchmark, ahead of the program: on SIGUSR2 the JavaScript loop stands
 * still for ten seconds, as it would under the worst of garbage collections, and says so.
 */
import { writeSync } from "node:fs";

export const blockedMs = 10_000;
export const blockedLine = "the loop is blocked";
export const freeLine = "the loop is free";

const stderr = 2;

if (process.env.MESHVPN_BENCH_BLOCK === "1") {
  process.on("SIGUSR2", () => {
    writeSync(stderr, `${blockedLine}\n`);
    Bun.sleepSync(blockedMs);
    writeSync(stderr, `${freeLine}\n`);
  });
}

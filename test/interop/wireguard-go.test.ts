/**
 * Our WireGuard device and wireguard-go, Debian's and the newest, through pings, streams and
 * datagrams: every two factors of the matrix meet at least once. `scripts/interop` plays it whole.
 * The sessions that are renewed under traffic take two minutes and run beside the rest.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { others, ours } from "../e2e/support/implementations.ts";
import {
  matrix,
  pairs,
  pairwise,
  play,
  type Rekeyed,
  rekeyUnderTraffic,
  title,
} from "../e2e/support/interop.ts";
import { closeStages, Stage } from "../e2e/support/stage.ts";

const bytes = 50_000_000;
const cellTimeoutMs = 120_000;
const rekeyTimeoutMs = 200_000;

const { present, missing } = await others();
for (const { name, reason } of missing) console.log(`interop: skipping ${name}: ${reason}`);
const cells = matrix(present);
const chosen = pairwise(cells);

afterAll(closeStages);

describe("the chosen cells", () => {
  test("hold every pair of values that the matrix has", () => {
    expect(new Set(chosen.flatMap(pairs))).toEqual(new Set(cells.flatMap(pairs)));
    expect(chosen.length).toBeLessThan(Math.max(2, cells.length / 2));
  });
});

// Begun at once, awaited last.
const peer = present.at(-1);
const rekeys = new Map<"we" | "they", Promise<Rekeyed | Error>>();
if (peer !== undefined) {
  for (const initiator of ["we", "they"] as const) rekeys.set(initiator, rekey(initiator));
}

describe("packets pass between our device and", () => {
  for (const cell of chosen) {
    test(
      title(cell),
      async () => {
        await using stage = Stage.open();
        const played = await play(await stage.pair(), ours, cell, bytes);
        expect(played.pingMs).toBeGreaterThan(0);
      },
      cellTimeoutMs,
    );
  }
});

describe("a stream passes unharmed through a rekey", () => {
  for (const [initiator, outcome] of rekeys) {
    test(
      initiator === "we" ? "that we begin" : "that the other side begins",
      async () => {
        const rekeyed = await outcome;
        if (rekeyed instanceof Error) throw rekeyed;
        expect(rekeyed.seconds).toBeGreaterThan(115);
      },
      rekeyTimeoutMs,
    );
  }
});

/** Never rejects: nobody looks at it until the other tests have ended. */
async function rekey(initiator: "we" | "they"): Promise<Rekeyed | Error> {
  if (peer === undefined) return new Error("there is no peer");
  await using stage = Stage.open();
  try {
    return await rekeyUnderTraffic(await stage.pair(), ours, peer, initiator);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/**
 * Plays the interop matrix of test/e2e/support/interop.ts and prints it as a table. What cannot be
 * played is skipped with its reason; what fails does not keep the rest from running.
 */
import { type Missing, others, ours } from "../../test/e2e/support/implementations.ts";
import {
  type Cell,
  matrix,
  type Played,
  pairwise,
  play,
  rekeyUnderTraffic,
} from "../../test/e2e/support/interop.ts";
import { Stage } from "../../test/e2e/support/stage.ts";
import type { Implementation } from "../../test/e2e/support/wireguard.ts";

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

const columns = [22, 6, 5, 9, 8, 9, 11, 11, 0] as const;
const head = [
  "peer",
  "first",
  "psk",
  "outside",
  "inside",
  "ping ms",
  "out Gbit/s",
  "in Gbit/s",
  "",
];

async function main(megabytes: number, quick: boolean): Promise<number> {
  const { present, missing } = await others();
  const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
  // Whatever the whole matrix would have had for those who are not here.
  const perPeer = matrix([ours]).length;
  print(head);
  const all = matrix(present);
  for (const cell of quick ? pairwise(all) : all) await playCell(cell, megabytes, tally);
  for (const peer of present) await playRekeys(peer, tally);
  for (const absent of missing) skip(absent, perPeer, tally);
  console.log(`${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped`);
  return tally.failed === 0 && tally.passed > 0 ? 0 : 1;
}

async function playCell(cell: Cell, megabytes: number, tally: Tally): Promise<void> {
  await using stage = Stage.open();
  try {
    const played = await play(await stage.pair(), ours, cell, megabytes * 1_000_000);
    tally.passed += 1;
    print([...words(cell), ...numbers(played), "passed"]);
  } catch (error) {
    tally.failed += 1;
    print([...words(cell), "", "", "", `FAILED: ${text(error)}`]);
  }
}

/** One from each side, at the same time: they mostly wait. */
async function playRekeys(peer: Implementation, tally: Tally): Promise<void> {
  console.log(`${peer.name}: a session renewed under a stream, from each side; two minutes`);
  const outcomes = (["we", "they"] as const).map(async (initiator) => {
    await using stage = Stage.open();
    try {
      const hosts = await stage.pair();
      const { seconds, stallMs } = await rekeyUnderTraffic(hosts, ours, peer, initiator);
      tally.passed += 1;
      print([
        peer.name,
        initiator,
        "yes",
        "IPv4",
        "IPv4",
        `passed: ${seconds.toFixed(0)} s, no byte for at most ${stallMs} ms`,
      ]);
    } catch (error) {
      tally.failed += 1;
      print([peer.name, initiator, "yes", "IPv4", "IPv4", `FAILED: ${text(error)}`]);
    }
  });
  await Promise.all(outcomes);
}

function skip({ name, reason }: Missing, cells: number, tally: Tally): void {
  tally.skipped += cells;
  console.log(`${name}: skipped: ${reason}`);
}

function words({ peer, initiator, presharedKey, outside, inside }: Cell): string[] {
  return [peer.name, initiator, presharedKey ? "yes" : "no", `IPv${outside}`, `IPv${inside}`];
}

function numbers({ pingMs, gbitPerSecond }: Played): string[] {
  return [pingMs, ...gbitPerSecond].map((number) => number.toFixed(2));
}

function print(cells: readonly string[]): void {
  console.log(
    cells
      .map((cell, index) => cell.padEnd(columns[index] ?? 0))
      .join("")
      .trimEnd(),
  );
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

// scripts/interop has checked what it was given.
process.exit(await main(Number(process.argv[2]), process.argv[3] === "true"));

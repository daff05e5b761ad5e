/**
 * `scripts/e2e-nat`: runs the matrix of NATs, two pairs at a time, and what else paths must show, and
 * prints it. Arguments: json, quick, relayed (true or false), a pair or nothing, and how many runs of
 * birthday probing or nothing. `relayed` and runs are that part alone.
 */

import { type NatKind, natKinds } from "../../test/e2e/support/nat.ts";
import { type Birthdays, birthdays } from "../../test/e2e/support/nat-birthday.ts";
import { cases, type Measured } from "../../test/e2e/support/nat-cases.ts";
import {
  allPairs,
  Matrix,
  type Outcome,
  type Pair,
  quickPairs,
} from "../../test/e2e/support/nat-matrix.ts";
import { type RelayedShare, relayedShare } from "../../test/e2e/support/nat-throughput.ts";
import { Stage } from "../../test/e2e/support/stage.ts";

const atOnce = 2;
const birthdayRuns = 20;
const [json, quick, relayedAlone, only = "", runs = ""] = process.argv.slice(2);
/** One part was asked for. */
const isPart = relayedAlone === "true" || runs !== "";
/** Not a few pairs, nor one part. */
const isWhole = quick !== "true" && only === "" && !isPart;

const pairs = isPart ? [] : choose();
await using stage = Stage.open();
const matrix = await Matrix.open(stage);
const outcomes: Outcome[] = [];
const waiting = [...pairs];
await Promise.all(
  Array.from({ length: atOnce }, async () => {
    for (let pair = waiting.shift(); pair; pair = waiting.shift()) {
      const outcome = await matrix.run(pair);
      console.error(`e2e-nat: ${describe(outcome)}`);
      outcomes.push(outcome);
    }
  }),
);

const live = isWhole ? await liveCases() : [];
const relay = isWhole || relayedAlone === "true" ? await relayShare() : undefined;
const birthday = isWhole || runs !== "" ? await birthdayRun() : undefined;
const holds =
  outcomes.every((outcome) => outcome.holds) &&
  live.every(({ ms, msMax }) => ms <= msMax) &&
  relay?.holds !== false &&
  birthday?.holds !== false;
const count = (test: (outcome: Outcome) => boolean): number => outcomes.filter(test).length;
const direct = count(({ directMs }) => directMs !== undefined);
const connected = count(({ connectedMs }) => connectedMs !== undefined);
if (json === "true") {
  const cells = Object.fromEntries(
    outcomes.map(({ pair, ...rest }) => [
      pair,
      { ...rest, connectedMs: round(rest.connectedMs), directMs: round(rest.directMs) },
    ]),
  );
  console.log(
    JSON.stringify({
      pairs: outcomes.length,
      connected,
      direct,
      relayed: connected - direct,
      matrix: cells,
      live: live.map(({ ms, ...rest }) => ({ ...rest, ms: round(ms) })),
      relay,
      birthday,
      holds,
    }),
  );
} else {
  const verdict = holds ? "holds" : "DOES NOT HOLD";
  const share = Math.round((100 * direct) / Math.max(1, outcomes.length));
  if (!isPart) for (const line of table()) console.log(line);
  if (relay !== undefined) console.log(sayRelay(relay));
  if (birthday !== undefined) console.log(sayBirthday(birthday));
  console.log(
    isPart
      ? verdict
      : `${outcomes.length} pairs, ${connected} connected, ${direct} direct (${share} %), ${connected - direct} relayed: ${verdict}`,
  );
}
await stage.close();
process.exit(holds && (isPart || outcomes.length > 0) ? 0 : 1);

async function relayShare(): Promise<RelayedShare> {
  const measured = await relayedShare(matrix);
  console.error(`e2e-nat: ${sayRelay(measured)}`);
  return measured;
}

function sayRelay({ direct: straight, relayed, share, shareMin }: RelayedShare): string {
  const list = (rates: readonly number[]): string => rates.map((it) => it.toFixed(2)).join(" ");
  return `relayed ${list(relayed)} Gbit/s, direct ${list(straight)}: a share of ${share.toFixed(2)}, at least ${shareMin} wanted`;
}

async function birthdayRun(): Promise<Birthdays> {
  const wanted = runs === "" ? birthdayRuns : Number(runs);
  return await birthdays(matrix, wanted, atOnce, (outcome) => {
    console.error(`e2e-nat: ${describe(outcome)}`);
  });
}

function sayBirthday({ runs: all, direct: met, directMin, ms }: Birthdays): string {
  const times = ms.map((each) => each ?? "-").join(" ");
  return `birthday probing: ${met} of ${all} direct, at least ${directMin} wanted (${times} ms)`;
}

/** What paths survive: each measured against its limit; what does not come is infinite. */
async function liveCases(): Promise<readonly Measured[]> {
  const out: Measured[] = [];
  for (const [name, play] of Object.entries(cases)) {
    try {
      out.push(...(await play(matrix)));
    } catch (error) {
      console.error(`e2e-nat: ${name}: ${error instanceof Error ? error.message : error}`);
      out.push({ what: name, ms: Number.POSITIVE_INFINITY, msMax: 0 });
    }
  }
  for (const { what, ms, msMax } of out) {
    console.error(`e2e-nat: ${what}: ${round(ms)} ms of at most ${msMax}`);
  }
  return out;
}

function choose(): readonly Pair[] {
  if (only !== "") {
    const kinds = only.split("/");
    const known = kinds.filter((kind): kind is NatKind => natKinds.some((each) => each === kind));
    if (kinds.length === 2 && known.length === 2) return [known as unknown as Pair];
    console.error(`e2e-nat: error: ${only} is no pair of ${natKinds.join(", ")}; write KIND/KIND`);
    process.exit(2);
  }
  return quick === "true" ? quickPairs : allPairs();
}

function describe(outcome: Outcome): string {
  const { pair, owed, connectedMs, directMs, paths } = outcome;
  const time = (ms: number | undefined): string => (ms === undefined ? "no" : `${round(ms)} ms`);
  const verdict = outcome.holds ? "" : `, but owed ${owed === "any" ? "a connection" : owed}`;
  return `${pair}: connected ${time(connectedMs)}, direct ${time(directMs)}${verdict} (${paths.join(", ")})`;
}

function round(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.round(ms);
}

/** A cell: D direct, R relayed, - not connected; ! where more was owed. */
function table(): string[] {
  const found = new Map(outcomes.map((outcome) => [outcome.pair, outcome]));
  const width = 18;
  const lines = [
    ["", ...natKinds]
      .map((word) => word.padEnd(width))
      .join("")
      .trimEnd(),
  ];
  for (const a of natKinds) {
    const cells = natKinds.map((b) => {
      const outcome = found.get(`${a}/${b}`) ?? found.get(`${b}/${a}`);
      if (outcome === undefined) return "";
      const ms = outcome.directMs ?? outcome.connectedMs;
      const letter = outcome.directMs !== undefined ? "D" : ms !== undefined ? "R" : "-";
      return `${letter}${outcome.holds ? "" : "!"} ${ms === undefined ? "" : round(ms)}`;
    });
    lines.push(
      [a, ...cells]
        .map((word) => word.padEnd(width))
        .join("")
        .trimEnd(),
    );
  }
  return lines;
}

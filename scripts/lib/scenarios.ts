/**
 * Plays the scenarios of test/e2e/scenarios on whoever is asked for and prints a line for each, or
 * one line of JSON for all. A difference that is explained is none that fails.
 */
import { scenarios as all, kernelCases } from "../../test/e2e/scenarios/cases.ts";
import { type Outcome, playAll } from "../../test/e2e/scenarios/scenario.ts";
import { type Missing, others, ours } from "../../test/e2e/support/implementations.ts";
import type { Implementation } from "../../test/e2e/support/wireguard.ts";

const atATime = 4;

async function main(against: string, form: string, only: string): Promise<number> {
  const scenarios = all.filter(({ title }) => title.includes(only));
  const { players, missing } = await whoPlays(against);
  const outcomes: Outcome[] = [];
  for (const player of players) {
    for (const promised of playAll(scenarios, player, atATime).values()) {
      const outcome = await promised;
      outcomes.push(outcome);
      if (form !== "json") print(outcome);
    }
  }
  const skipped = missing.length * scenarios.length;
  const of = (verdict: Outcome["verdict"]): number =>
    outcomes.filter((outcome) => outcome.verdict === verdict).length;
  const sums = {
    passed: of("passed"),
    explained: of("explained"),
    failed: of("failed"),
    skipped,
  };
  const holds = sums.failed === 0 && sums.passed > 0;
  if (form === "json") {
    console.log(JSON.stringify({ ...sums, holds, missing, scenarios: outcomes.map(row) }));
  } else {
    for (const { name, reason } of missing) console.log(`${name}: skipped: ${reason}`);
    const words = Object.entries(sums).map(([verdict, count]) => `${count} ${verdict}`);
    console.log(words.join(", "));
  }
  return holds ? 0 : 1;
}

async function whoPlays(
  against: string,
): Promise<{ players: Implementation[]; missing: readonly Missing[] }> {
  const players = against === "wireguard-go" ? [] : [ours];
  if (against === "meshvpn") return { players, missing: [] };
  const { present, missing } = await others();
  return { players: [...players, ...present], missing };
}

function print({ scenario, implementation, verdict, seconds, why }: Outcome): void {
  const cases = scenario.cases.join(" ");
  console.log(
    `${implementation}: ${verdict} in ${seconds.toFixed(1)} s: ${scenario.title} (${cases})`,
  );
  if (why !== undefined) console.log(why.replaceAll(/^/gm, "    "));
}

function row({ scenario, ...outcome }: Outcome): object {
  const cases = scenario.cases.map((number) => ({ number, what: kernelCases[number] }));
  return { title: scenario.title, cases, ...outcome };
}

// scripts/scenarios has checked what it was given.
const [against = "both", form = "table", only = ""] = process.argv.slice(2);
process.exit(await main(against, form, only));

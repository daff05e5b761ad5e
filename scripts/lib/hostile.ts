/**
 * Runs the trials of test/e2e/hostile, one after the other, and prints each figure beside its limit,
 * or one line of JSON for all.
 */
import { allTrials, type Tried, tryOne } from "../../test/e2e/hostile/campaign.ts";
import { fullForm, quickForm } from "../../test/e2e/hostile/trial.ts";

async function main(quick: boolean, json: boolean, only: readonly string[]): Promise<number> {
  const chosen = allTrials.filter(({ name }) => only.length === 0 || only.includes(name));
  if (chosen.length === 0) {
    const names = allTrials.map(({ name }) => name).join(", ");
    console.error(`hostile: error: there is no such trial; there are ${names}`);
    return 2;
  }
  const form = quick ? quickForm : fullForm;
  const tried: Tried[] = [];
  for (const trial of chosen) {
    const result = await tryOne(trial, form);
    tried.push(result);
    if (!json) print(result);
  }
  const holds = tried.every((each) => each.holds);
  if (json) console.log(JSON.stringify({ quick, holds, ...byName(tried) }));
  else console.log(`${tried.filter((each) => each.holds).length} of ${tried.length} hold`);
  return holds ? 0 : 1;
}

/** By the trial's name. What other trials measure of F4 stands under that name too. */
function byName(tried: readonly Tried[]): object {
  const rows: [string, object][] = tried.map(({ name, figures, ...rest }) => [
    name,
    {
      ...rest,
      figures: Object.fromEntries(figures.map(({ what, ...figure }) => [what, figure])),
    },
  ]);
  const reflected = tried.flatMap(({ name, figures }) =>
    figures
      .filter(({ what }) => what.startsWith("F4: "))
      .map(({ what, ...figure }) => [`${name}: ${what.slice(4)}`, figure] as const),
  );
  if (reflected.length > 0) {
    const holds = reflected.every(([, figure]) => figure.holds);
    rows.push(["F4", { holds, figures: Object.fromEntries(reflected) }]);
  }
  return Object.fromEntries(rows);
}

function print({ name, title, seconds, figures, holds, error }: Tried): void {
  console.log(`${name}: ${holds ? "holds" : "FAILED"}: ${title} (${seconds.toFixed(0)} s)`);
  for (const figure of figures) {
    const limit = figure.limit === undefined ? "" : ` (${figure.limit})`;
    console.log(
      `    ${figure.holds ? "      " : "FAILED"} ${figure.what}: ${figure.value}${limit}`,
    );
  }
  if (error !== undefined) console.log(error.replaceAll(/^/gm, "    "));
}

// scripts/hostile has checked what it was given.
const [quick, json, ...only] = process.argv.slice(2);
process.exit(await main(quick === "true", json === "true", only));

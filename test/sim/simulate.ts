/**
 * The command line of the simulator: one scenario, its figures, and an exit code that says whether it
 * held. What fails prints its seed and the command that plays it again.
 */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { type ProfileName, profiles } from "../../src/swim/profile.ts";
import { faults } from "./faults.ts";
import { hostile } from "./hostile.ts";
import { nat } from "./nat.ts";
import { revoke } from "./revoke.ts";
import {
  idle,
  join,
  kill,
  loss,
  type Outcome,
  type Scenario,
  type Settings,
  slow,
  split,
} from "./scenarios.ts";
import { Halves, type SharedHalves, shareHalves } from "./sim-halves.ts";

const scenarios: Readonly<Record<string, Scenario>> = {
  join,
  kill,
  loss,
  idle,
  slow,
  split,
  hostile,
  revoke,
  nat,
  faults,
};

/** Those that look at nobody of the other half but by sums. */
const halvable = ["join", "kill", "loss", "idle", "split"];
/** From so many nodes on, whatever the machine: the history of a seed is another on two threads. */
const halvedNodesMin = 4_000;

const usage = `usage: scripts/simulate --scenario NAME [--nodes N] [--rate R] [--minutes M] [--seed S] [--seeds COUNT] [--threads 1|2] [--json] [--crypto real] [--detection wan]
  --scenario  ${Object.keys(scenarios).join(", ")}
  --nodes     how many (default 1000; faults: 3 to 60, by the seed)
  --rate      joins a second, in join (default 50, 200 from 5000 nodes on)
  --minutes   of virtual time, where the scenario leaves it open
  --seed      what all chance follows from (default 1)
  --seeds     so many runs, with this seed and those after it
  --workers   so many processes for them (default: as many as there are processors)
  --threads   2: each has half of the nodes (${halvable.join(", ")}; default from ${halvedNodesMin} nodes on)
  --json      one line for each run, for machines
  --crypto    real: real signatures, for small meshes
  --detection lan or wan: as a node's setting of that name (default lan)`;

/** What a worker says of its seeds to whoever started it. */
const tallyWord = "tally";

async function main(): Promise<number> {
  let values: Readonly<Record<string, string | boolean | undefined>>;
  try {
    ({ values } = parseArgs({
      options: {
        scenario: { type: "string" },
        nodes: { type: "string" },
        rate: { type: "string" },
        minutes: { type: "string" },
        seed: { type: "string" },
        seeds: { type: "string" },
        workers: { type: "string" },
        threads: { type: "string" },
        tally: { type: "boolean" },
        crypto: { type: "string" },
        detection: { type: "string" },
        json: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    }));
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n${usage}`);
    return 2;
  }
  if (values.help === true) {
    console.log(usage);
    return 0;
  }
  const name = String(values.scenario ?? "");
  const scenario = scenarios[name];
  if (scenario === undefined) {
    console.error(`no scenario ${JSON.stringify(name)}\n${usage}`);
    return 2;
  }
  const numbers = ["nodes", "minutes", "seed", "seeds", "workers", "rate", "threads"].map(
    (option) => wholeNumber(values, option),
  );
  const detection = String(values.detection ?? "lan");
  const [nodes, minutes, seed = 1, seeds = 1, workers = availableParallelism(), rate] = numbers;
  const canHalve = halvable.includes(name) && values.crypto !== "real";
  const threads = numbers[6] ?? (canHalve && (nodes ?? 0) >= halvedNodesMin ? 2 : 1);
  const isHalved = threads === 2;
  const fits = threads <= 2 && (canHalve || !isHalved);
  if (numbers.includes(Number.NaN) || !(detection in profiles) || !fits) {
    console.error(usage);
    return 2;
  }
  if (seeds > 1 && workers > 1 && values.tally !== true) {
    const held = await share(seed, seeds, Math.min(workers, seeds));
    console.log(`${name}: ${held} of ${seeds} seeds hold`);
    return held === seeds ? 0 : 1;
  }
  let held = 0;
  for (let at = seed; at < seed + seeds; at += 1) {
    const startedMs = performance.now();
    const settings = {
      nodes: nodes ?? (name === "faults" ? 0 : 1_000),
      minutes,
      seed: at,
      rate,
      realCrypto: values.crypto === "real",
      profile: profiles[detection as ProfileName],
    };
    const outcome = isHalved ? await playInHalves(name, settings) : scenario(settings);
    if (outcome.holds) held += 1;
    const quiet = seeds > 1 && outcome.holds && values.json !== true;
    if (!quiet) report(name, settings.nodes, at, outcome, startedMs, values.json === true);
    if (!outcome.holds) {
      const nodesOption = nodes === undefined ? "" : ` --nodes ${nodes}`;
      const rateOption = rate === undefined ? "" : ` --rate ${rate}`;
      const minutesOption = minutes === undefined ? "" : ` --minutes ${minutes}`;
      const threadsOption = numbers[6] === undefined ? "" : ` --threads ${threads}`;
      const detectionOption = detection === "lan" ? "" : ` --detection ${detection}`;
      console.error(
        `does not hold: seed ${at}; again with: scripts/simulate --scenario ${name}${nodesOption}${rateOption}${minutesOption}${threadsOption}${detectionOption} --seed ${at}`,
      );
    }
  }
  if (values.tally === true) console.log(`${tallyWord} ${held}`);
  else if (seeds > 1) console.log(`${name}: ${held} of ${seeds} seeds hold`);
  return held === seeds ? 0 : 1;
}

interface HalfOfRun {
  readonly name: string;
  readonly settings: Settings;
  readonly shared: SharedHalves;
}

/** Both threads play the scenario, each with its half of the nodes, and come to the same outcome. */
async function playInHalves(name: string, settings: Settings): Promise<Outcome> {
  const shared = shareHalves(settings.nodes);
  const work: HalfOfRun = { name, settings, shared };
  const worker = new Worker(import.meta.path, { workerData: work });
  await new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  const outcome = playHalf(work, 0);
  await worker.terminate();
  return outcome;
}

function playHalf({ name, settings, shared }: HalfOfRun, index: 0 | 1): Outcome {
  try {
    return (scenarios[name] as Scenario)({ ...settings, half: { index, shared } });
  } catch (error) {
    Halves.end(shared, index);
    throw error;
  }
}

/** Runs the seeds in as many processes, each with a part of them, and passes on what they say. How many hold. */
async function share(seed: number, seeds: number, workers: number): Promise<number> {
  const parts = Array.from({ length: workers }, (_, at) => [
    seed + Math.floor((at * seeds) / workers),
    Math.floor(((at + 1) * seeds) / workers) - Math.floor((at * seeds) / workers),
  ]);
  const counts = await Promise.all(
    parts.map(async ([first, count]) => {
      const options = ["--seed", `${first}`, "--seeds", `${count}`, "--tally"];
      const command = [process.execPath, import.meta.path, ...process.argv.slice(2), ...options];
      const child = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
      const lines = (await new Response(child.stdout).text()).trimEnd().split("\n");
      for (const line of lines.slice(0, -1)) console.log(line);
      const [word, held] = (lines.at(-1) ?? "").split(" ");
      return word === tallyWord ? Number(held) : 0;
    }),
  );
  return counts.reduce((a, b) => a + b, 0);
}

function wholeNumber(
  values: Readonly<Record<string, string | boolean | undefined>>,
  option: string,
): number | undefined {
  const text = values[option];
  if (text === undefined) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) && value > 0 ? value : Number.NaN;
}

function report(
  scenario: string,
  nodes: number,
  seed: number,
  { holds, traceHash, figures }: Outcome,
  startedMs: number,
  json: boolean,
): void {
  const trace_hash = traceHash.toString(16).padStart(8, "0");
  const run_seconds = Math.round((performance.now() - startedMs) / 100) / 10;
  const memory_mib = Math.round(process.memoryUsage.rss() / 2 ** 20);
  const all = { scenario, nodes, seed, holds, trace_hash, ...figures, run_seconds, memory_mib };
  if (json) {
    console.log(JSON.stringify(all));
    return;
  }
  for (const [key, value] of Object.entries(all)) {
    console.log(`${key.replaceAll("_", " ").padEnd(36)} ${value}`);
  }
}

if (isMainThread) process.exitCode = await main();
else {
  parentPort?.postMessage("ready");
  playHalf(workerData, 1);
}

/**
 * The benchmark's command line: brings the peers, runs the rounds in turn, and writes the table, the
 * JSON and the chart. A peer that fails in a round is reported and does not keep the rest from
 * running; the exit code says so at the end.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { root } from "../test/e2e/support/implementations.ts";
import { run } from "../test/e2e/support/process.ts";
import { chart } from "./chart.ts";
import { congestionControl } from "./loads.ts";
import { type Metric, measure, metrics, metricsNamed, type Round } from "./metrics.ts";
import { bringPeers, type Peer, peerNames } from "./peers.ts";
import { machine, machineLoad, residentMiB } from "./proc.ts";
import { json, text } from "./report.ts";
import { failures, type Results, type Settings } from "./results.ts";
import { mtu, wireMtu, withRig } from "./rig.ts";
import { play, type SceneName, type SceneOptions, sceneNames } from "./scenes.ts";

const usageExitCode = 2;
const resultsDirectory = join(root, "bench-results");
/** How long the machine is watched before each turn. */
const loadOverMs = 150;
/** An idle Bun has its memory by then. */
const idleBunMs = 500;
const scenesDefault: readonly SceneName[] = ["eight", "blocked"];

const usage = `usage: scripts/bench [OPTION...]
  --peers NAME,...    of ${peerNames.join(", ")} (all)
  --rounds R          each runs every peer once (5)
  --seconds S         of one TCP stream; four streams and the flood take half (5)
  --only METRIC,...   of ${metrics.map(({ id }) => id).join(", ")};
                      or the first word of several: tcp, four, ping (all)
  --scenes NAME,...   of ${sceneNames.join(", ")}: meshvpn alone, with eight peers against one, with its
                      JavaScript loop blocked, and its memory over a long load
                      (eight and blocked, or none where --peers or --only is given; alone it
                      leaves the peers out)
  --soak-minutes M    of the long load, which is run once (10)
  --json FILE         the whole run; - is one line on stdout, instead of the table
                      (bench-results/bench.json)
  --svg FILE          a chart of it (bench-results/bench.svg)
Needs root. Takes about R x peers x (3 S + 5) seconds.`;

interface Options extends SceneOptions {
  readonly peers: ReadonlySet<string>;
  readonly metrics: readonly Metric[];
  readonly rounds: number;
  readonly scenes: readonly SceneName[];
  readonly json: string;
  readonly svg: string;
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options === undefined) return 0;
  const { peers, skipped } = await bringPeers(options.peers);
  for (const { name, reason } of skipped) console.error(`bench: ${name}: skipped: ${reason}`);
  if (peers.length === 0 && options.scenes.length === 0)
    throw new Error("none of these peers can be measured here");

  const { seconds, rounds } = options;
  const settings: Settings = { seconds, rounds, mtu, wireMtu, congestionControl };
  const results: Results = {
    when: new Date().toISOString(),
    revision: await revision(),
    machine: machine(),
    loadByOthers: [],
    idleBunMiB: await idleBun(),
    settings,
    metrics: options.metrics,
    peers: peers.map((peer) => ({ peer, rounds: [] })),
    scenes: options.scenes.map((name) => ({ name, rounds: [] })),
    skipped,
  };
  for (let round = 1; round <= rounds; round += 1) {
    for (const { peer, rounds: taken } of results.peers) {
      results.loadByOthers.push(await machineLoad(loadOverMs));
      const values = await turn(peer, options.metrics, seconds);
      taken.push(values);
      console.error(`bench: round ${round} of ${rounds}, ${peer.name}: ${brief(values)}`);
    }
    for (const name of options.scenes) {
      if (name === "soak" && round < rounds) continue;
      results.loadByOthers.push(await machineLoad(loadOverMs));
      const values = await play(name, options);
      results.scenes.find((scene) => scene.name === name)?.rounds.push(values);
      console.error(`bench: round ${round} of ${rounds}, ${name}: ${sceneBrief(values)}`);
    }
  }
  write(options.svg, chart(results));
  if (options.json === "-") {
    console.log(json(results));
  } else {
    write(options.json, `${json(results)}\n`);
    console.log(text(results));
    console.error(`bench: written to ${options.json} and ${options.svg}`);
  }
  return failures(results).length === 0 ? 0 : 1;
}

function readOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      peers: { type: "string" },
      rounds: { type: "string", default: "5" },
      seconds: { type: "string", default: "5" },
      only: { type: "string" },
      scenes: { type: "string" },
      "soak-minutes": { type: "string", default: "10" },
      json: { type: "string", default: join(resultsDirectory, "bench.json") },
      svg: { type: "string", default: join(resultsDirectory, "bench.svg") },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return undefined;
  }
  const everything = values.peers === undefined && values.only === undefined;
  const peers = everything && values.scenes !== undefined ? [] : peerNames;
  return {
    peers: new Set(named("peer", values.peers, peerNames) ?? peers),
    scenes: named("scene", values.scenes, sceneNames) ?? (everything ? scenesDefault : []),
    soakMinutes: wholeNumber("--soak-minutes", values["soak-minutes"], 10_000),
    metrics: values.only === undefined ? metrics : wantedMetrics(values.only.split(",")),
    rounds: wholeNumber("--rounds", values.rounds, 1000),
    seconds: wholeNumber("--seconds", values.seconds, 3600),
    json: values.json,
    svg: values.svg,
  };
}

class UsageError extends Error {}

function named<Name extends string>(
  what: string,
  given: string | undefined,
  known: readonly Name[],
): Name[] | undefined {
  return given?.split(",").map((word) => {
    const found = known.find((name) => name === word);
    if (found === undefined) {
      throw new UsageError(`no ${what} ${word}: there are ${known.join(", ")}`);
    }
    return found;
  });
}

function wantedMetrics(words: readonly string[]): Metric[] {
  const unknown = words.find((word) => metricsNamed(word).length === 0);
  if (unknown !== undefined) {
    throw new UsageError(
      `no metric ${unknown}: there are ${metrics.map(({ id }) => id).join(", ")}`,
    );
  }
  const named = new Set(words.flatMap(metricsNamed));
  return metrics.filter((metric) => named.has(metric));
}

function wholeNumber(name: string, given: string, most: number): number {
  const number = Number(given);
  if (Number.isInteger(number) && number >= 1 && number <= most) return number;
  throw new UsageError(`${name} takes a whole number from 1 to ${most}, not ${given}`);
}

async function turn(peer: Peer, wanted: readonly Metric[], seconds: number): Promise<Round> {
  try {
    return await withRig(peer, async (rig) => await measure(rig, wanted, seconds));
  } catch (error) {
    return { values: {}, failures: { tunnel: message(error) } };
  }
}

function brief({ values, failures: failed }: Round): string {
  const shown = metrics.flatMap(({ id, title, digits }) => {
    const value = values[id];
    return value === undefined ? [] : [`${title} ${value.toFixed(digits)}`];
  });
  return [...shown.slice(0, 4), ...Object.keys(failed).map((leg) => `${leg} FAILED`)].join(", ");
}

function sceneBrief({ values, failures: failed }: Round): string {
  const shown = Object.entries(values).map(([id, value]) => `${id} ${value.toFixed(2)}`);
  return [...shown, ...Object.keys(failed).map((leg) => `${leg} FAILED`)].join(", ");
}

async function revision(): Promise<string> {
  const { code, stdout } = await run(["git", "-C", root, "describe", "--always", "--dirty"]);
  return code === 0 ? stdout.trim() : "no revision";
}

async function idleBun(): Promise<number> {
  const idle = Bun.spawn([process.execPath, "-e", "setInterval(() => undefined, 1e9)"], {
    stdio: ["ignore", "ignore", "ignore"],
  });
  try {
    await Bun.sleep(idleBunMs);
    return residentMiB(idle.pid);
  } finally {
    idle.kill("SIGKILL");
    await idle.exited;
  }
}

function write(path: string, content: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

try {
  process.exit(await main());
} catch (error) {
  console.error(`bench: error: ${message(error)}`);
  const usageError = error instanceof UsageError || (error instanceof TypeError && "code" in error);
  process.exit(usageError ? usageExitCode : 1);
}

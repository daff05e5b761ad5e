/**
 * Profiles the real tunnel: two devices, one TCP stream through them, and perf on both daemons.
 * Leaves a flame graph, perf's own report and a table by function in bench-results/. The library is
 * the one that MESHVPN_LIBRARY names: scripts/profile builds it with frame pointers.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ours, root } from "../test/e2e/support/implementations.ts";
import { describe, run, runOk } from "../test/e2e/support/process.ts";
import { flamegraph } from "./flamegraph.ts";
import { BackgroundStream, congestionControl } from "./loads.ts";
import type { Peer } from "./peers.ts";
import { mtu, withRig } from "./rig.ts";
import {
  byFunction,
  byOwner,
  byThread,
  inSource,
  type Owner,
  type Sample,
  samples,
  scriptFields,
} from "./stacks.ts";

const directory = join(root, "bench-results");
/** Not 1000, so that samples do not keep step with timers. */
const samplesPerSecond = 999;
const secondsDefault = 5;
const secondsMost = 600;
const rulesMost = 1_000;
const settleMs = 500;
const reportTimeoutMs = 120_000;
/** Of functions in the table, in percent of all samples. */
const shareLeast = 0.05;
const usageExitCode = 2;

/** undefined: two plain devices; else two members of a mesh with a policy of so many rules. */
async function main(seconds: number, rules: number | undefined): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const data = join(directory, "perf.data");
  const clock = await clockEvent();
  const peer: Peer = {
    name: ours.name,
    version: "",
    tunnelled:
      rules === undefined
        ? { kind: "wireguard", implementation: ours, daemon: true }
        : { kind: "mesh", rules },
  };
  await withRig(peer, async ({ near, far, address, pids }) => {
    const load = await BackgroundStream.start(near, far, address);
    await Bun.sleep(settleMs);
    const what = ["-F", `${samplesPerSecond}`, "-g", "-e", clock, "-p", pids.join(",")];
    const record = ["perf", "record", "-q", ...what, "-o", data, "--", "sleep", `${seconds}`];
    const ran = await run(record, { timeoutMs: seconds * 1000 + reportTimeoutMs });
    await load.stop();
    if (ran.code !== 0) throw new Error(`perf record: ${describe(ran)}`);
    // While the daemons run, so that their memory maps can still be looked at.
    const lines = ["--stdio", "--no-inline", "--no-children", "--percent-limit", "0.5"];
    const report = ["perf", "report", "-i", data, ...lines, "-g", "graph,0.5,caller"];
    const timeoutMs = reportTimeoutMs;
    writeFileSync(join(directory, "perf-report.txt"), await runOk(report, { timeoutMs }));
    const script = ["perf", "script", "-i", data, "--no-inline", "-F", scriptFields];
    await write(samples(await runOk(script, { timeoutMs })), seconds, clock, rules);
  });
}

/** Cycles where the processor shows its counters; a guest often has none. */
async function clockEvent(): Promise<string> {
  const { code, stderr } = await run(["perf", "stat", "-e", "cycles", "--", "true"]);
  return code === 0 && !/not (supported|counted)/.test(stderr) ? "cycles" : "cpu-clock";
}

async function write(
  taken: readonly Sample[],
  seconds: number,
  clock: string,
  rules: number | undefined,
): Promise<void> {
  if (taken.length === 0) throw new Error("perf took no samples of the daemons");
  const policy = rules === undefined ? "" : `, a policy of ${rules} rules`;
  const title =
    `meshvpn: both daemons under one TCP stream, ${congestionControl}, MTU ${mtu}${policy}: ` +
    `${taken.length} samples in ${seconds} s by ${clock}`;
  const table = functionTable(taken, title);
  writeFileSync(join(directory, "flamegraph.svg"), flamegraph(taken, title));
  writeFileSync(join(directory, "by-function.txt"), table);
  console.log(table.split("\n").slice(0, 40).join("\n"));
  if (rules !== undefined) console.log(`\n${await policyShare(taken)}`);
  console.error(`profile: flamegraph.svg, perf-report.txt and by-function.txt are in ${directory}`);
}

/** Of all samples, those in zig/policy.zig or in what it called, wherever it was inlined. */
async function policyShare(taken: readonly Sample[]): Promise<string> {
  const library = process.env.MESHVPN_LIBRARY ?? "";
  const addresses = new Set(
    taken.flatMap(({ frames }) =>
      frames.flatMap(({ owner, address }) => (owner === "library" ? [`0x${address}`] : [])),
    ),
  );
  const input = [...addresses].join("\n");
  const places = await run(["addr2line", "-i", "-a", "-e", library], { input });
  if (places.code !== 0) throw new Error(`addr2line: ${describe(places)}`);
  const inside = inSource(taken, places.stdout, "policy.zig");
  const share = ((inside / taken.length) * 100).toFixed(2);
  return `policy: ${share} % of the daemons' samples (${inside} of ${taken.length})`;
}

const ownerNames: Readonly<Record<Owner, string>> = {
  library: "daemon",
  kernel: "kernel",
  bun: "daemon (Bun)",
  other: "other",
};

function functionTable(taken: readonly Sample[], title: string): string {
  const percent = (count: number): string => ((count / taken.length) * 100).toFixed(2).padStart(6);
  const shares = <Key extends string>(
    counts: ReadonlyMap<Key, number>,
    name: (key: Key) => string,
  ): string[] => [...counts].map(([key, count]) => `${percent(count)} %  ${name(key)}`);
  const functions = byFunction(taken)
    .filter(({ self, total }) => (Math.max(self, total) / taken.length) * 100 >= shareLeast)
    .map(({ name, owner, self, total }) =>
      [percent(self), percent(total), ownerNames[owner].padEnd(12), name].join("  "),
    );
  return [
    title,
    "",
    "whose code was running:",
    ...shares(byOwner(taken), (owner) => ownerNames[owner]),
    "",
    "threads:",
    ...shares(byThread(taken), (thread) => thread),
    "",
    "self %: in the function; total %: in it or in what it called",
    "self %  total %  whose        function",
    ...functions,
    "",
  ].join("\n");
}

const usage = `usage: scripts/profile [--seconds S] [--policy RULES]
  --seconds S     how long perf looks (${secondsDefault})
  --policy RULES  two members of a mesh instead of two plain devices, each with a policy of so many
                  rules (40 is the figure to reach; 0 is without, for comparison), and its share
Needs root. Settings of the daemons, such as LOG_LEVEL, are taken from the environment.`;

try {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: `${secondsDefault}` },
      policy: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  const seconds = Number(values.seconds);
  const rules = values.policy === undefined ? undefined : Number(values.policy);
  if (values.help) {
    console.log(usage);
  } else if (!Number.isInteger(seconds) || seconds < 1 || seconds > secondsMost) {
    console.error(
      `profile: error: --seconds takes 1 to ${secondsMost}, not ${values.seconds}; see --help`,
    );
    process.exit(usageExitCode);
  } else if (
    rules !== undefined &&
    !(Number.isInteger(rules) && rules >= 0 && rules <= rulesMost)
  ) {
    console.error(
      `profile: error: --policy takes 0 to ${rulesMost}, not ${values.policy}; see --help`,
    );
    process.exit(usageExitCode);
  } else {
    await main(seconds, rules);
  }
  process.exit(0);
} catch (error) {
  const wrongWords = error instanceof TypeError && "code" in error;
  console.error(`profile: error: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(wrongWords ? usageExitCode : 1);
}

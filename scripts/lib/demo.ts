/**
 * The demonstration behind scripts/demo: a mesh of real daemons on the stage of the end-to-end
 * tests. Measures the time from the last daemon's start until every node has had an answer from
 * every other one over IPv4 and IPv6, the round trip, and TCP both ways where there is iperf3.
 */
import { join } from "node:path";
import { Node } from "../../test/e2e/support/mesh.ts";
import { until } from "../../test/e2e/support/process.ts";
import { Stage } from "../../test/e2e/support/stage.ts";
import { ping } from "../../test/e2e/support/traffic.ts";

interface Options {
  readonly nodes: number;
  readonly seconds: number;
  readonly json: boolean;
  readonly keep: boolean;
}

/** What --json prints. A pair is ordered; it is connected when both families answered. */
interface Result {
  readonly nodes: number;
  pairs_connected: number;
  readonly pairs_total: number;
  /** null: it did not become one. */
  seconds_to_full_mesh: number | null;
  ping_ms: number | null;
  /** null: there is no iperf3. */
  tcp_gbit_s: { readonly up: number; readonly down: number } | null;
}

interface Member {
  readonly node: Node;
  /** Inside the mesh. */
  readonly v4: string;
  readonly v6: string;
}

const names =
  "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi psi omega".split(
    " ",
  );
const upTimeoutMs = 30_000;
const meshTimeoutMs = 30_000;
/** Pings a second that all pairs together may send while they wait for their first answer. */
const pingsPerSecondMax = 500;
const logLinesShown = 8;
/** Of nodes that did not connect, and of pairs. */
const failuresShown = 6;

async function main(options: Options): Promise<number> {
  await using stage = Stage.open({ keep: options.keep });
  const nodes = await step(`${options.nodes} namespaces on a switch`, () =>
    makeNodes(stage, options.nodes),
  );
  await step(`${nodes[0]?.name} makes a network and invites the others`, () => invite(nodes));
  const startedMs = launch(nodes.slice(1));
  const members = await step("daemons up", () => Promise.all(nodes.map(up)));
  const result: Result = {
    nodes: nodes.length,
    pairs_connected: 0,
    pairs_total: nodes.length * (nodes.length - 1),
    seconds_to_full_mesh: null,
    ping_ms: null,
    tcp_gbit_s: null,
  };
  await step("every node reaches every other one", async () => {
    result.pairs_connected = await connect(members);
    if (result.pairs_connected < result.pairs_total) return;
    result.seconds_to_full_mesh = round((performance.now() - startedMs) / 1000);
  });
  const complete = result.seconds_to_full_mesh !== null;
  if (complete) await measure(members, options.seconds, result);
  else showLogs(nodes);
  console.log(options.json ? JSON.stringify(result) : table(members, result));
  if (options.keep) {
    explain(members);
    stage.leave();
    process.exit(complete ? 0 : 1);
  }
  await step("all taken down", () => stage.close());
  return complete ? 0 : 1;
}

async function makeNodes(stage: Stage, count: number): Promise<Node[]> {
  const hosts = await stage.switched(count);
  return hosts.map((host, index) => Node.fresh(host, names[index] ?? ""));
}

/** The first is up with a network of its own, and each of the others holds its token. */
async function invite([first, ...others]: readonly Node[]): Promise<void> {
  if (first === undefined) throw new Error("a mesh has a first node");
  await first.ok("init", "--name", "demo");
  first.launch();
  await up(first);
  const token = (await first.ok("invite", "--uses", `${others.length}`)).trim();
  await Promise.all(others.map((node) => node.ok("join", token, "--no-up")));
}

/** Starts the daemons; when the last one was started, in ms. */
function launch(nodes: readonly Node[]): number {
  for (const node of nodes) node.launch();
  return performance.now();
}

async function up(node: Node): Promise<Member> {
  const { daemon } = node;
  const evidence = (): string => daemon?.log() ?? "";
  await until(
    `${node.name} to be up`,
    () => {
      if (daemon?.running === false) throw new Error(`${node.name} ended:\n${evidence()}`);
      return evidence().includes("meshvpn: up: ");
    },
    { timeoutMs: upTimeoutMs, evidence },
  );
  const { addresses } = await node.status();
  const address = (family: 4 | 6): string => {
    const found = addresses.find((one) => one.includes(":") === (family === 6));
    if (found === undefined) throw new Error(`${node.name} has no IPv${family} address`);
    return found;
  };
  return { node, v4: address(4), v6: address(6) };
}

/** How many ordered pairs had their answers before the deadline. */
async function connect(members: readonly Member[]): Promise<number> {
  const pairs = members.flatMap((from) =>
    members.filter((to) => to !== from).map((to) => ({ from, to })),
  );
  const everySeconds = Math.max(0.1, (pairs.length * 2) / pingsPerSecondMax);
  const deadlineMs = performance.now() + meshTimeoutMs;
  const unanswered = await Promise.all(
    pairs.map(async ({ from, to }) => {
      const answers = await Promise.all(
        [to.v4, to.v6].map((address) => answer(from.node, address, everySeconds, deadlineMs)),
      );
      const missing = ["IPv4", "IPv6"].filter((_, index) => !answers[index]).join(" and ");
      return missing && `${from.node.name} has no answer from ${to.node.name} over ${missing}`;
    }),
  );
  const failures = unanswered.filter((words) => words !== "");
  for (const words of failures.slice(0, failuresShown)) say(words);
  if (failures.length > failuresShown) say(`and ${failures.length - failuresShown} more pairs`);
  return pairs.length - failures.length;
}

/** Pings until one is answered. An error from the network ends a ping early, so there are several. */
async function answer(
  from: Node,
  address: string,
  everySeconds: number,
  deadlineMs: number,
): Promise<boolean> {
  for (;;) {
    const leftSeconds = Math.ceil((deadlineMs - performance.now()) / 1000);
    if (leftSeconds <= 0) return false;
    const limits = ["-c", "1", "-i", everySeconds.toFixed(2), "-w", `${leftSeconds}`];
    const ran = await from.host.run(["ping", "-n", "-q", ...limits, address], {
      timeoutMs: meshTimeoutMs + 5000,
    });
    if (ran.code === 0) return true;
    await Bun.sleep(everySeconds * 1000);
  }
}

async function measure(members: readonly Member[], seconds: number, result: Result): Promise<void> {
  const [left, right] = members as [Member, Member, ...Member[]];
  const between = `${left.node.name} and ${right.node.name}`;
  result.ping_ms = await step(`ping between ${between}`, async () =>
    round(await ping(left.node.host, right.v4, { count: 10 })),
  );
  if (Bun.which("iperf3") === null) return;
  result.tcp_gbit_s = await step(`iperf3 between ${between}, ${seconds} s each way`, async () => {
    const server = right.node.host.start(["iperf3", "--server", "--forceflush", "-B", right.v4]);
    await until("iperf3 to listen", () => server.log().includes("listening"));
    const up = await iperf3(left, right, seconds);
    const down = await iperf3(left, right, seconds, "--reverse");
    await server.stop();
    return { up, down };
  });
}

/** Gbit/s of one TCP stream, as its receiver counted. */
async function iperf3(
  from: Member,
  to: Member,
  seconds: number,
  ...words: readonly string[]
): Promise<number> {
  const command = ["iperf3", "--client", to.v4, "--time", `${seconds}`, "--json", ...words];
  const said = await from.node.host.runOk(command, { timeoutMs: (seconds + 20) * 1000 });
  // It may end well and yet have failed.
  const { end, error }: { end?: { sum_received?: { bits_per_second: number } }; error?: string } =
    JSON.parse(said);
  if (end?.sum_received === undefined) throw new Error(`iperf3: ${error ?? "no result"}`);
  return round(end.sum_received.bits_per_second / 1e9);
}

function table(members: readonly Member[], result: Result): string {
  const rows = [["node", "outside", "IPv4 inside", "IPv6 inside"]];
  for (const { node, v4, v6 } of members) rows.push([node.name, node.host.v4, v4, v6]);
  const widths = [9, 13, 17, 0];
  const lines = rows.map((row) => row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(""));
  const [left, right] = members.map(({ node }) => node.name);
  const tcp = result.tcp_gbit_s;
  lines.push(
    "",
    `pairs connected  ${result.pairs_connected} of ${result.pairs_total}, over IPv4 and IPv6`,
    `full mesh        ${result.seconds_to_full_mesh ?? "-"} s after the last daemon's start`,
    `ping             ${result.ping_ms ?? "-"} ms`,
    `TCP up           ${tcp?.up ?? "-"} Gbit/s, ${left} to ${right}`,
    `TCP down         ${tcp?.down ?? "-"} Gbit/s, ${right} to ${left}`,
  );
  return lines.join("\n");
}

/** How to look at what was kept, and how to take it down. */
function explain(members: readonly Member[]): void {
  const [{ node }] = members as [Member, ...Member[]];
  const { stage } = node.host;
  const program = join(import.meta.dir, "../../bin/meshvpn");
  const inside = `ip netns exec ${node.host.namespace}`;
  const text = `
It is still running. To look at it:
  MESHVPN_CONTROL_SOCKET=${node.socket} ${program} status
  ${inside} ping ${members[1]?.v4}
To take it down:
  for n in ${stage.namespaces.join(" ")}; do ip netns pids $n | xargs -r kill; ip netns delete $n; done; rm -r ${stage.directory}`;
  console.error(text);
}

function showLogs(nodes: readonly Node[]): void {
  for (const { name, daemon } of nodes.slice(0, failuresShown)) {
    const lines = (daemon?.log() ?? "").trimEnd().split("\n").slice(-logLinesShown);
    console.error([`${name} says:`, ...lines].join("\n  "));
  }
}

/** A line of progress when it is done. */
async function step<Done>(what: string, work: () => Promise<Done>): Promise<Done> {
  const startedMs = performance.now();
  const done = await work();
  say(`${what}: ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
  return done;
}

function say(text: string): void {
  console.error(`demo: ${text}`);
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

const [nodes, seconds, json, keep] = process.argv.slice(2);
try {
  // scripts/demo has checked what it was given.
  const options = { nodes: Number(nodes), seconds: Number(seconds) };
  process.exitCode = await main({ ...options, json: json === "true", keep: keep === "true" });
} catch (error) {
  say(`error: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
process.exit();

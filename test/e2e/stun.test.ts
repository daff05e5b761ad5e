/** Nodes that ask STUN servers, honest and lying ones, behind real NATs. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import type { NetcheckReport } from "../../src/daemon/netcheck.ts";
import { schemaErrors } from "../support/json-schema.ts";
import { Node } from "./support/mesh.ts";
import { Internet, type NatKind } from "./support/nat.ts";
import { until } from "./support/process.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";

const serverProgram = join(import.meta.dir, "support/stun-server.ts");
let internet: Internet;
/** Two that are honest, of which the first has a second address. */
let honest: readonly string[];

beforeAll(async () => {
  internet = await Internet.open(Stage.open());
  const first = await internet.public([4]);
  const second = await internet.public([4]);
  await first.addAddress("192.0.2.251/24", "eth0");
  honest = [await serve(first, "--other", "192.0.2.251"), await serve(second)];
}, 60_000);

afterAll(closeStages);

async function serve(host: Host, ...options: string[]): Promise<string> {
  const server = host.start([process.execPath, serverProgram, host.v4, ...options]);
  await until("the STUN server", () => server.log().includes("ready"), { timeoutMs: 20_000 });
  return host.v4;
}

function stunFlags(servers: readonly string[]): string[] {
  return servers.flatMap((server) => ["--stun", server]);
}

let made = 0;

async function behind(kind: NatKind, servers: readonly string[]) {
  const { host, outsideV4 } = await internet.behind(kind);
  made += 1;
  const node = await Node.make(host, `n${made}`);
  await node.up(...stunFlags(servers));
  return { node, outsideV4 };
}

async function netcheck(node: Node): Promise<NetcheckReport> {
  const said = await node.ok("netcheck", "--json");
  expect(schemaErrors("netcheck", said)).toEqual([]);
  return JSON.parse(said);
}

async function stunCounters(node: Node): Promise<Record<string, number>> {
  const said = JSON.parse(await node.ok("status", "--json", "--counters"));
  return Object.fromEntries(
    Object.entries<number>(said.counters).filter(([name]) => name.startsWith("stun_")),
  );
}

const nats: readonly (readonly [NatKind, string, Partial<NetcheckReport["nat"]>])[] = [
  ["open", "none", { kind: "none", filtering: "endpoint-independent" }],
  ["full-cone", "easy", { kind: "easy", filtering: "endpoint-independent" }],
  ["restricted", "easy", { kind: "easy", filtering: "address-and-port-dependent" }],
  ["symmetric", "hard", { kind: "hard" }],
  ["symmetric-random", "hard", { kind: "hard" }],
];

for (const [kind, word, expected] of nats) {
  test(`netcheck says that ${kind} is ${word}, with nobody but STUN servers to ask`, async () => {
    const { node, outsideV4 } = await behind(kind, honest);
    const report = await netcheck(node);
    expect(report.nat).toMatchObject(expected);
    expect(report.udp.ipv4).toBe("works");
    const reflexive = report.addresses.filter((it) => it.kind === "reflexive");
    if (word !== "easy") expect(reflexive).toEqual([]);
    else expect(reflexive).toMatchObject([{ address: outsideV4 }]);
    const text = await node.ok("netcheck");
    expect(text).toContain(`nat\t${expected.kind}\n`);
    await node.ok("down");
  }, 60_000);
}

test("no server, and netcheck says so instead of guessing", async () => {
  const { node } = await behind("restricted", []);
  const report = await netcheck(node);
  expect(report).toMatchObject({ asking: false, stun: [], nat: { kind: "unknown" } });
  await node.ok("down");
}, 30_000);

test("servers that are silent are named after as long as the operator waits, and UDP is said to be blocked", async () => {
  const silent = await Promise.all([internet.public([4]), internet.public([4])]);
  const { node } = await behind(
    "restricted",
    silent.map(({ v4 }) => v4),
  );
  let report: NetcheckReport | undefined;
  // Addresses that come and go have all asked anew.
  await until(
    "both to be silent",
    async () => {
      report = JSON.parse(await node.ok("netcheck", "--json", "--timeout", "2")) as NetcheckReport;
      return report.stun.every(({ outcome }) => outcome === "silent");
    },
    { timeoutMs: 20_000, evidence: () => JSON.stringify(report) },
  );
  if (report === undefined) throw new Error("there is a report");
  expect(report).toMatchObject({ asking: false, nat: { kind: "blocked" } });
  expect(report.udp.ipv4).toBe("no answer");
  await node.ok("down");
}, 30_000);

test("servers by name are found again, and one alone is not believed", async () => {
  const { node } = await behind("restricted", honest.slice(0, 1));
  const report = await netcheck(node);
  expect(report.nat.kind).toBe("unknown");
  expect(report.stun).toMatchObject([{ outcome: "answered", believed: false }]);
  expect(report.addresses.map(({ kind }) => kind)).toEqual(["interface"]);
  await node.ok("down");
}, 30_000);

const victim = "192.0.2.240";
const lies: readonly [string, string, string][] = [
  ["puts the node elsewhere", `${victim}:53`, "stun_disagreed"],
  ["names a reserved address", "reserved", "stun_reserved"],
];

for (const [what, lie, counter] of lies) {
  test(`a STUN server that ${what} moves nothing, and is counted`, async () => {
    const liar = await serve(await internet.public([4]), "--lie", lie);
    const { node, outsideV4 } = await behind("restricted", [...honest, liar]);
    const report = await netcheck(node);
    const reflexive = report.addresses.filter((it) => it.kind === "reflexive");
    expect(reflexive).toMatchObject([{ address: outsideV4 }]);
    expect(JSON.stringify(report.addresses)).not.toContain(victim);
    expect(report.nat.kind).toBe("easy");
    expect((await stunCounters(node))[counter]).toBeGreaterThanOrEqual(1);
    await node.ok("down");
    // With one honest server there is nobody to agree with, and nothing is told.
    const { node: alone } = await behind("restricted", [honest[0] as string, liar]);
    const doubtful = await netcheck(alone);
    expect(doubtful.addresses.map(({ kind }) => kind)).toEqual(["interface"]);
    await alone.ok("down");
  }, 60_000);
}

test("a STUN server that floods, or points at a stranger, has nobody else sent to", async () => {
  const stranger = await internet.public([4]);
  const flooding = await serve(await internet.public([4]), "--lie", "flood");
  const pointing = await serve(await internet.public([4]), "--lie", `other=${stranger.v4}:3478`);
  const { node } = await behind("restricted", [flooding, pointing]);
  await netcheck(node);
  const { stun_requests_sent: sent = 0 } = await stunCounters(node);
  // Two servers, a round of netcheck's own, and three short tests.
  expect(sent).toBeLessThanOrEqual(20);
  const heard = await stranger.runOk(["sh", "-c", "grep ^Udp: /proc/net/snmp | tail -1"]);
  // Nobody listens there, so what came for UDP would be counted as for no port.
  expect(heard.split(" ").slice(1, 3).map(Number)).toEqual([0, 0]);
  await node.ok("down");
}, 60_000);

test("status, peers and ping name the ways to a member, why one was taken, and what failed", async () => {
  const member = await Node.make(await internet.public([4]), "public");
  await member.up("--relay");
  const [a, b] = await Promise.all(
    (["restricted", "restricted"] as const).map(async (kind, at) => {
      const { host, outsideV4 } = await internet.behind(kind);
      return { node: await Node.make(host, `${"ab"[at]}end`), outsideV4 };
    }),
  );
  if (a === undefined || b === undefined) throw new Error("there are two");
  await Promise.all([
    a.node.trust(b.node, member),
    b.node.trust(a.node, member),
    member.trust(a.node, b.node),
  ]);
  const flags = ["--seed", member.seed, ...stunFlags(honest)];
  await Promise.all([a.node.up(...flags), b.node.up(...flags)]);
  await until(
    "a direct path",
    async () => (await a.node.member(b.node))?.path.startsWith("direct"),
    {
      timeoutMs: 30_000,
    },
  );
  const peers = await a.node.ok("peers", "--json");
  expect(schemaErrors("peers", peers)).toEqual([]);
  expect(schemaErrors("status", await a.node.ok("status", "--json"))).toEqual([]);
  const said = await a.node.ok("ping", "bend", "--count", "1", "--json");
  expect(schemaErrors("ping", said)).toEqual([]);
  const { candidates, nat, path, path_why, paths } = JSON.parse(said);
  expect(nat).toBe("easy");
  expect(candidates).toContain(`reflexive ${b.outsideV4}:51820`);
  expect(path).toBe(`direct ${b.outsideV4}:51820`);
  expect(path_why).toBeString();
  const used = paths.filter((each: { used: boolean }) => each.used);
  expect(used).toMatchObject([{ way: path, source: "reflexive", state: "answers" }]);
  // Its address at home means nothing here, and that is said.
  const inside = paths.find((each: { way: string }) => each.way.includes("192.168."));
  expect(inside).toMatchObject({ source: "interface", used: false, state: "no answer" });
  expect(await a.node.ok("ping", "bend", "--count", "1")).toContain(`path       ${path}: `);
  expect(await a.node.ok("status", "--paths")).toContain(
    `path\tbend\t*\t${path}\treflexive\tanswers`,
  );
  expect((await netcheck(a.node)).relay.members).toEqual(["public"]);
}, 90_000);

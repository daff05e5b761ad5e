/** Gateways that forward a port: miniupnpd by each protocol, and gateways that lie. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import type { NetcheckReport } from "../../src/daemon/netcheck.ts";
import { schemaErrors } from "../support/json-schema.ts";
import { forwarding, type Speaks } from "./support/gateway.ts";
import { Node } from "./support/mesh.ts";
import { Internet, type NatHost, type NatKind } from "./support/nat.ts";
import { type Running, until } from "./support/process.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";

const lyingProgram = join(import.meta.dir, "support/lying-gateway.ts");
const stunProgram = join(import.meta.dir, "support/stun-server.ts");
const gatewayAddress = "192.168.1.1";
let internet: Internet;
let made = 0;

beforeAll(async () => {
  internet = await Internet.open(Stage.open());
}, 60_000);

afterAll(closeStages);

/** miniupnpd forwards from no address of documentation: the outside has another network for it. */
async function outsideAddress(nat: NatHost): Promise<string> {
  made += 1;
  const address = `11.0.0.${made}`;
  await nat.inRouter(["ip", "address", "add", `${address}/24`, "dev", "eth0"]);
  return address;
}

async function netcheck(node: Node): Promise<NetcheckReport> {
  const said = await node.ok("netcheck", "--json");
  expect(schemaErrors("netcheck", said)).toEqual([]);
  return JSON.parse(said);
}

async function portmapCounters(node: Node): Promise<Record<string, number>> {
  const { counters } = JSON.parse(await node.ok("status", "--json", "--counters"));
  return counters;
}

async function mapped(node: Node): Promise<NonNullable<NetcheckReport["port_mapping"]["mapped"]>> {
  let found: NetcheckReport["port_mapping"]["mapped"] = null;
  await until(
    "a port to be mapped",
    async () => {
      found = (await netcheck(node)).port_mapping.mapped;
      return found !== null;
    },
    { timeoutMs: 20_000, everyMs: 300, evidence: () => node.daemon?.log() ?? "" },
  );
  if (found === null) throw new Error("nothing is mapped");
  return found;
}

async function rules(nat: NatHost): Promise<string> {
  return await nat.inRouter(["nft", "list", "chain", "inet", "miniupnpd", "mapped"]);
}

const ways: readonly (readonly [string, Speaks, string[]])[] = [
  ["pcp", { pcp: true, upnp: false }, []],
  // By the version, which is the datagram's first byte.
  ["nat-pmp", { pcp: true, upnp: false }, ["udp dport 5351 @th,64,8 2 drop"]],
  ["upnp", { pcp: false, upnp: true }, []],
];

for (const [by, speaks, dropped] of ways) {
  test(`miniupnpd forwards the port by ${by}, and no longer when the daemon has ended`, async () => {
    const nat = await internet.behind("restricted");
    const outside = await outsideAddress(nat);
    const gateway = await forwarding(nat, speaks, outside);
    for (const rule of dropped) {
      const chain = "{ type filter hook input priority -5; }";
      await nat.inRouter(["nft", `add table ip few; add chain ip few in ${chain}`]);
      await nat.inRouter(["nft", `add rule ip few in ${rule}`]);
    }
    const node = await Node.make(nat.host, `by-${by}`);
    await node.up();
    expect(await mapped(node)).toMatchObject({ by, address: outside, port: 51_820 });
    const { addresses } = await netcheck(node);
    expect(addresses[0]).toEqual({ kind: "mapped", address: outside, port: 51_820 });
    expect(await rules(nat)).toContain("dnat ip to 192.168.1.2:51820");
    expect(await node.ok("netcheck")).toContain(`portmap\t${outside}:51820 by ${by}`);
    await node.ok("down");
    expect(await rules(nat), gateway.log()).not.toContain("dnat");
  }, 60_000);
}

test("a gateway that forgot is asked again when the network changes, and that it forgot is counted", async () => {
  const nat = await internet.behind("restricted");
  const outside = await outsideAddress(nat);
  const first = await forwarding(nat, { pcp: true, upnp: false }, outside);
  const node = await Node.make(nat.host, "again");
  await node.up();
  await mapped(node);
  // Its clock has to have run for a while, to be seen to go back.
  await Bun.sleep(4_000);
  await first.stop();
  await nat.inRouter(["nft", "delete table inet miniupnpd"]);
  await forwarding(nat, { pcp: true, upnp: false }, outside);
  expect(await rules(nat)).not.toContain("dnat");
  await nat.host.ip("address add 192.168.1.7/24 dev eth0");
  await until("the port to be mapped again", async () => (await rules(nat)).includes("dnat"), {
    timeoutMs: 20_000,
    everyMs: 300,
  });
  expect((await mapped(node)).by).toBe("pcp");
  expect((await portmapCounters(node)).portmap_restarts).toBe(1);
  await node.ok("down");
  expect(await rules(nat)).not.toContain("dnat");
}, 60_000);

test("a mapped port makes two symmetric NATs direct, which no punching does", async () => {
  const member = await Node.make(await internet.public([4]), "public");
  await member.up("--relay");
  const kinds: readonly NatKind[] = ["symmetric", "symmetric-random"];
  const [a, b] = (await Promise.all(
    kinds.map(async (kind, at) => {
      const nat = await internet.behind(kind);
      const outside = await outsideAddress(nat);
      return { nat, outside, node: await Node.make(nat.host, `${"ab"[at]}sym`) };
    }),
  )) as [{ nat: NatHost; outside: string; node: Node }, { nat: NatHost; node: Node }];
  await forwarding(a.nat, { pcp: true, upnp: true }, a.outside);
  const all = [a.node, b.node, member];
  for (const node of all) await node.trust(...all.filter((other) => other !== node));
  await Promise.all([a.node, b.node].map((node) => node.up("--seed", member.seed)));
  await mapped(a.node);
  await until(
    "a direct path through the mapped port",
    async () => (await b.node.member(a.node))?.path === `direct ${a.outside}:51820`,
    { timeoutMs: 40_000, evidence: () => b.node.daemon?.log() ?? "" },
  );
  const { paths } = JSON.parse(await b.node.ok("ping", "asym", "--count", "1", "--json"));
  const used = paths.find((each: { used: boolean }) => each.used);
  expect(used).toMatchObject({ source: "mapped", state: "answers" });
}, 120_000);

test("no gateway is asked where the operator says so, or where none is", async () => {
  const nat = await internet.behind("restricted");
  const quiet = await Node.make(nat.host, "quiet");
  await quiet.up("--no-portmap");
  const open = await Node.make(await internet.public([4]), "open");
  await open.up();
  await Bun.sleep(1_000);
  for (const node of [quiet, open]) {
    expect((await netcheck(node)).port_mapping).toEqual({ gateway: null, asked: {}, mapped: null });
    expect((await portmapCounters(node)).portmap_requests_sent).toBe(0);
    await node.ok("down");
  }
}, 60_000);

async function lying(nat: NatHost, how: string, outside: string): Promise<Running> {
  if (nat.router === undefined) throw new Error("there is a router");
  const router = nat.router;
  const command = [process.execPath, lyingProgram, gatewayAddress, how, outside];
  const host: Host = nat.host;
  const inside = new (host.constructor as typeof Host)(host.stage, router, { v4: "", v6: "" });
  const running = inside.start(command);
  await until("the gateway", () => running.log().includes("ready"), {
    timeoutMs: 20_000,
    evidence: () => running.log(),
  });
  return running;
}

/** Once every protocol was asked. */
async function asked(node: Node): Promise<NetcheckReport["port_mapping"]> {
  let report: NetcheckReport | undefined;
  await until(
    "the gateway to be asked",
    async () => {
      report = await netcheck(node);
      const { asked, mapped } = report.port_mapping;
      return mapped !== null || asked.upnp !== undefined;
    },
    { timeoutMs: 30_000, everyMs: 300 },
  );
  if (report === undefined) throw new Error("there is a report");
  return report.port_mapping;
}

const lies: readonly (readonly [string, string, Record<string, string>, string])[] = [
  ["answers with another nonce", "nonce", { pcp: "no answer" }, "portmap_malformed"],
  ["answers with half an answer", "short", { pcp: "no answer" }, "portmap_malformed"],
  ["has its description elsewhere", "elsewhere", { upnp: "no answer" }, "portmap_malformed"],
  [
    "has its service elsewhere",
    "control",
    { upnp: "no service of that kind" },
    "portmap_malformed",
  ],
  ["describes itself without end", "endless", { upnp: "no description" }, "portmap_malformed"],
];

for (const [what, how, outcome, counter] of lies) {
  test(`a gateway that ${what} maps nothing, has nobody else asked, and is counted`, async () => {
    const stranger = await internet.public([4]);
    const nat = await internet.behind("restricted");
    // Where PCP lies UPnP does not: it is behind a NAT itself then.
    const gateway = await lying(
      nat,
      how,
      ["nonce", "short"].includes(how) ? "10.1.2.3" : stranger.v4,
    );
    const node = await Node.make(nat.host, `lied-${how}`);
    await node.up();
    const report = await asked(node);
    expect(report.mapped).toBeNull();
    expect(report.asked).toMatchObject(outcome);
    expect(await node.ok("netcheck")).toContain(`the gateway ${gatewayAddress} forwards no port (`);
    expect((await portmapCounters(node))[counter]).toBeGreaterThanOrEqual(1);
    expect((await netcheck(node)).addresses.map(({ kind }) => kind)).toEqual(["interface"]);
    expect(gateway.log()).not.toContain("elsewhere");
    // Not even a handshake came to the stranger: its counter of connections stands still.
    const heard = await stranger.runOk(["sh", "-c", "grep ^Tcp: /proc/net/snmp | tail -1"]);
    expect(Number(heard.split(" ")[10])).toBe(0);
    await node.ok("down");
  }, 60_000);
}

test("a gateway with a reserved address outside is behind a NAT itself: nothing is told, and it is said why", async () => {
  const nat = await internet.behind("restricted");
  await lying(nat, "mapped", "10.1.2.3");
  const node = await Node.make(nat.host, "twice");
  await node.up();
  const report = await asked(node);
  expect(report.mapped).toBeNull();
  expect(report.asked.pcp).toContain("reserved");
  expect(await node.ok("netcheck")).toContain("it is behind another NAT itself");
  expect((await portmapCounters(node)).portmap_reserved).toBeGreaterThanOrEqual(1);
  await node.ok("down");
}, 60_000);

test("a gateway that names a stranger's address is not heeded where STUN servers see another", async () => {
  const victim = "203.0.113.77";
  const servers = await Promise.all([internet.public([4]), internet.public([4])]);
  for (const server of servers) {
    const running = server.start([process.execPath, stunProgram, server.v4]);
    await until("the STUN server", () => running.log().includes("ready"), { timeoutMs: 20_000 });
  }
  const nat = await internet.behind("restricted");
  await lying(nat, "mapped", victim);
  const node = await Node.make(nat.host, "warned");
  await node.up(...servers.flatMap(({ v4 }) => ["--stun", v4]));
  await mapped(node);
  const { addresses } = await netcheck(node);
  expect(addresses.map(({ kind }) => kind).toSorted()).toEqual(["interface", "reflexive"]);
  expect(JSON.stringify(addresses)).not.toContain(victim);
  expect((await portmapCounters(node)).portmap_disagreed).toBeGreaterThanOrEqual(1);
  await node.ok("down");
}, 60_000);

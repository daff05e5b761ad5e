/** Members that are found by DNS alone: dnsmasq is the server, in a namespace of its own. */
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { untilFirst } from "./support/doctor.ts";
import { Node } from "./support/mesh.ts";
import { type Running, until } from "./support/process.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";

const domain = "mesh.example.org";
let server: Host;
let hosts: Host[];
let dnsmasq: Running | undefined;
const configured: string[] = [];

beforeAll(async () => {
  [server, ...hosts] = (await Stage.open().switched(3)) as [Host, Host, Host];
  for (const { namespace } of hosts) {
    // `ip netns exec` puts it in the place of /etc/resolv.conf.
    const directory = `/etc/netns/${namespace}`;
    mkdirSync(directory, { recursive: true });
    configured.push(directory);
    const options = "options timeout:1 attempts:1";
    writeFileSync(`${directory}/resolv.conf`, `nameserver ${server.v4}\n${options}\n`);
  }
}, 60_000);

afterEach(async () => {
  await dnsmasq?.stop();
});

afterAll(async () => {
  for (const directory of configured) rmSync(directory, { recursive: true, force: true });
  await closeStages();
});

async function serve(...records: string[]): Promise<void> {
  await dnsmasq?.stop();
  const quiet = ["--no-resolv", "--no-hosts", "--keep-in-foreground", "--log-facility=-"];
  const where = [`--listen-address=${server.v4}`, "--bind-interfaces", "--user=root"];
  const local = [`--local=/example.org/`, "--conf-file=/dev/null", "--pid-file="];
  dnsmasq = server.start(["dnsmasq", ...quiet, ...where, ...local, ...records]);
  const running = dnsmasq;
  await until("dnsmasq", () => running.log().includes("started"), {
    timeoutMs: 10_000,
    evidence: () => running.log(),
  });
}

let made = 0;

/** Two nodes that trust each other; the first is up. */
async function pair(): Promise<[Node, Node]> {
  const [a, b] = (await Promise.all(
    hosts.map((host) => {
      made += 1;
      return Node.make(host, `n${made}`);
    }),
  )) as [Node, Node];
  await Promise.all([a.trust(b), b.trust(a)]);
  await a.up();
  return [a, b];
}

async function meets(node: Node, other: Node, timeoutMs = 20_000): Promise<void> {
  await until("the two to meet", async () => (await node.member(other))?.path !== "-", {
    timeoutMs,
    evidence: () => node.daemon?.log() ?? "",
  });
}

async function down(...nodes: Node[]): Promise<void> {
  for (const node of nodes) await node.ok("down");
}

test("a TXT record with a key and a name is enough to come in", async () => {
  const [a, b] = await pair();
  await serve(
    `--txt-record=_meshvpn.${domain},meshvpn1 ${a.identity}@alpha.example.org:51820`,
    `--txt-record=_meshvpn.${domain},v=spf1 -all`,
    `--address=/alpha.example.org/${a.host.v4}`,
  );
  await b.up("--dns", domain);
  await meets(b, a);
  const { counters } = JSON.parse(await b.ok("status", "--json", "--counters"));
  // Somebody else's record is no hint.
  expect(counters.hints_refused).toBe(1);
  await down(a, b);
}, 60_000);

test("a SRV record is, where members are trusted by key", async () => {
  const [a, b] = await pair();
  await serve(
    `--srv-host=_meshvpn._udp.${domain},beta.example.org,51820,1,1`,
    `--srv-host=_meshvpn._udp.${domain},nowhere.example.org,51820,0,1`,
    `--address=/beta.example.org/${a.host.v4}`,
  );
  await b.up("--dns", domain);
  await meets(b, a);
  await down(a, b);
}, 60_000);

test("records that lead to strangers are not asked, not warned of, and counted", async () => {
  const [a, b] = await pair();
  const stranger = `${"A".repeat(42)}8=`;
  await serve(`--txt-record=_meshvpn.${domain},meshvpn1 ${stranger}@${a.host.v4}:51820`);
  await b.up("--dns", domain);
  const refused = async (): Promise<number> => {
    const { counters } = JSON.parse(await b.ok("status", "--json", "--counters"));
    return counters.introductions_hints_not_asked;
  };
  await until("the hint to be passed over", async () => (await refused()) > 0);
  const { counters, members } = JSON.parse(await b.ok("status", "--json", "--counters"));
  expect(members).toMatchObject([{ identity: a.identity, state: "not met" }]);
  expect(counters.introductions_requests_sent).toBe(0);
  expect(b.daemon?.log()).not.toContain("not trusted");
  await down(a, b);
}, 60_000);

test("while nobody is reached the domain is asked again, and a name that moved is followed", async () => {
  const [a, b] = await pair();
  const record = `--txt-record=_meshvpn.${domain},meshvpn1 ${a.identity}@gamma.example.org:51820`;
  await serve(record, "--address=/gamma.example.org/192.0.2.250");
  await b.up("--dns", domain);
  await Bun.sleep(2_000);
  await serve(record, `--address=/gamma.example.org/${a.host.v4}`);
  await meets(b, a, 50_000);
  await down(a, b);
}, 90_000);

test("no such domain is said once, in words that help", async () => {
  const [a, b] = await pair();
  await serve();
  await b.up("--dns", "nothing.example.org");
  const said = (): string => b.daemon?.log() ?? "";
  await until("the warning", () => said().includes("nothing.example.org names no member"));
  expect(said()).toContain("meshvpn1 KEY@HOST:PORT");
  await down(a, b);
}, 60_000);

test("doctor names a domain that says nothing, places without an address, and strangers", async () => {
  const [a, b] = await pair();
  await serve(`--txt-record=_meshvpn.${domain},v=spf1 -all`);
  await b.up("--dns", domain);
  const empty = await untilFirst(b, "dns", [], "names no member: none is of that form");
  expect(empty?.mend).toBe('give it a TXT record "meshvpn1 KEY@HOST:PORT"');
  const stranger = `${"A".repeat(42)}8=`;
  await serve(`--txt-record=_meshvpn.${domain},meshvpn1 ${stranger}@nowhere.example.org:51820`);
  await untilFirst(b, "dns", [], "names 1 places, and none has an address", 60_000);
  await b.ok("down");
  await serve(`--txt-record=_meshvpn.${domain},meshvpn1 ${stranger}@${a.host.v4}:51820`);
  await b.up("--dns", domain);
  await untilFirst(b, "dns", [], "names members that are not trusted here");
  await b.ok("down");
  await serve(`--txt-record=_meshvpn.${domain},meshvpn1 ${a.identity}@${a.host.v4}:51820`);
  await b.up("--dns", domain);
  expect(await untilFirst(b, null)).toBeNull();
  await down(a, b);
}, 150_000);

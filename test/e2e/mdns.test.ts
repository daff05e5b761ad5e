/** Members that find one another on the local network, without a seed. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { Node } from "./support/mesh.ts";
import { until } from "./support/process.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";

const shoutProgram = join(import.meta.dir, "support/mdns-shout.ts");
let hosts: readonly [Host, Host, Host];
let made = 0;

beforeAll(async () => {
  hosts = (await Stage.open().switched(3)) as [Host, Host, Host];
}, 60_000);

afterAll(closeStages);

/** Two that trust each other; not up. */
async function pair(): Promise<[Node, Node]> {
  const [a, b] = (await Promise.all(
    hosts.slice(0, 2).map((host) => {
      made += 1;
      return Node.make(host, `n${made}`);
    }),
  )) as [Node, Node];
  await Promise.all([a.trust(b), b.trust(a)]);
  return [a, b];
}

async function meet(a: Node, b: Node, timeoutMs = 20_000): Promise<void> {
  await until(
    "the two to meet",
    async () => {
      const [there, here] = await Promise.all([a.member(b), b.member(a)]);
      return there?.path.startsWith("direct") === true && here?.path.startsWith("direct") === true;
    },
    { timeoutMs, everyMs: 200, evidence: () => `${a.daemon?.log()}\n${b.daemon?.log()}` },
  );
}

async function counters(node: Node): Promise<Record<string, number>> {
  return JSON.parse(await node.ok("status", "--json", "--counters")).counters;
}

test("two that trust each other and know no seed meet, whoever comes first", async () => {
  const [a, b] = await pair();
  await a.up("--mdns");
  await Bun.sleep(1_500);
  const start = performance.now();
  await b.up("--mdns");
  await meet(a, b);
  console.log(`met after ${Math.round(performance.now() - start)} ms, the start included`);
  // It says that it goes, and is found again when it comes back.
  await b.ok("down");
  await b.up("--mdns");
  await meet(a, b);
  await Promise.all([a, b].map((node) => node.ok("down")));
}, 90_000);

test("neither is told where the operator does not ask for it", async () => {
  const [a, b] = await pair();
  await a.up("--mdns");
  await b.up();
  await Bun.sleep(4_000);
  expect((await a.member(b))?.state).toBe("not met");
  expect(await counters(b)).toMatchObject({ mdns_announced: 0, mdns_asked: 0, mdns_heard: 0 });
  await Promise.all([a, b].map((node) => node.ok("down")));
}, 60_000);

test("a resolver that asks from a port of its own is answered there, and nobody else is", async () => {
  const [a] = await pair();
  await a.up("--mdns");
  await until("the first announcement", async () => ((await counters(a)).mdns_announced ?? 0) > 0);
  const program = `
    import { decode, encode } from "dns-packet";
    const question = encode({ type: "query", id: 7, questions: [{ type: "PTR", name: "_meshvpn._udp.local" }] });
    const socket = await Bun.udpSocket({ socket: { data: (_, bytes) => {
      const { id, answers } = decode(bytes);
      console.log(id + " " + answers.map(({ type }) => type).join());
      process.exit(0);
    } } });
    for (let i = 0; i < 20; i += 1) {
      socket.send(question, 5353, ${JSON.stringify(a.host.v4)});
      await Bun.sleep(500);
    }
    process.exit(1);
  `;
  expect(await hosts[2].runOk([process.execPath, "-e", program])).toBe("7 PTR,SRV,TXT\n");
  await a.ok("down");
}, 60_000);

test("over IPv6 alone too, by link-local addresses", async () => {
  const [a, b] = await pair();
  for (const { host } of [a, b]) {
    await host.ip(`address delete ${host.v4}/24 dev eth0`);
    await host.ip(`address delete ${host.v6}/64 dev eth0`);
  }
  await Promise.all([a.up("--mdns"), b.up("--mdns")]);
  await meet(a, b, 30_000);
  expect((await a.member(b))?.path).toContain("fe80::");
  await Promise.all([a, b].map((node) => node.ok("down")));
  for (const { host } of [a, b]) {
    await host.addAddress(`${host.v4}/24`, "eth0");
    await host.addAddress(`${host.v6}/64`, "eth0");
  }
}, 90_000);

test("a network of strangers, rubbish and forged answers is counted, and the two still meet", async () => {
  const [a, b] = await pair();
  await a.up("--mdns");
  // A thousand strangers, rubbish, and b's own key at the attacker's address.
  const shouting = hosts[2].start([process.execPath, shoutProgram, hosts[2].v4, b.identity]);
  await until("the shouting", () => shouting.log().includes("done"), {
    timeoutMs: 30_000,
    evidence: () => shouting.log(),
  });
  // However fast they shout, what is read is bounded; what waits in the socket is still to be read.
  const held = async (): Promise<boolean> => ((await counters(a)).mdns_held ?? 0) >= 500;
  await until("the rest to be held back", held, { timeoutMs: 20_000, everyMs: 200 });
  const before = await counters(a);
  expect(before.mdns_strangers).toBeGreaterThanOrEqual(100);
  expect(before.mdns_refused).toBeGreaterThanOrEqual(1);
  // The forged one is asked for an introduction, which it cannot answer; nobody else is.
  expect(before.introductions_requests_sent).toBeLessThanOrEqual(30);
  await b.up("--mdns");
  await meet(a, b, 30_000);
  expect((await a.member(b))?.path).not.toContain(`${hosts[2].v4}:`);
  await Promise.all([a, b].map((node) => node.ok("down")));
}, 90_000);

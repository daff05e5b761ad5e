/** Networks in which two members do not find each other, or only just, and what doctor names. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { doctor, dropping, healed, linksOf, untilFirst } from "./support/doctor.ts";
import { Node, untilConnected } from "./support/mesh.ts";
import { Matrix } from "./support/nat-matrix.ts";
import { until } from "./support/process.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";

beforeAll(() => {
  if (process.getuid?.() !== 0) throw new Error("the end-to-end tests need root");
});

afterAll(closeStages);

test("two NATs with a port for each destination, and nobody who relays", async () => {
  const matrix = await Matrix.open(Stage.open(), []);
  const { nodes } = await matrix.nodes(["symmetric", "symmetric-random"]);
  const [a, b] = nodes;
  await Promise.all([
    a.up(...matrix.flagsFor("symmetric")),
    b.up(...matrix.flagsFor("symmetric-random")),
  ]);
  await until("the two to meet", async () => (await a.member(b))?.state === "alive", {
    timeoutMs: 20_000,
  });
  const link = await untilFirst(a, "nat", [b.name]);
  expect(link?.words).toContain("a NAT with another port for each destination here");
  expect(link?.mend).toContain("with --relay");
  await untilFirst(b, "nat", [a.name]);
  await matrix.public.daemon?.stop();
  await matrix.public.up("--relay");
  expect(await untilFirst(a, null, [b.name])).toBeNull();
}, 120_000);

async function trustingPair(): Promise<[Node, Node]> {
  const [left, right] = await Stage.open().pair();
  const alpha = await Node.make(left, "alpha");
  const beta = await Node.make(right, "beta");
  await alpha.trust(beta);
  await beta.trust(alpha);
  return [alpha, beta];
}

describe("where UDP passes one way only", () => {
  let alpha: Node;
  let beta: Node;

  beforeAll(async () => {
    [alpha, beta] = await trustingPair();
    await dropping(beta.host, "udp dport 51820");
    await alpha.up();
    await beta.up("--seed", alpha.seed);
  }, 30_000);

  test("the end that hears says which way is shut", async () => {
    const link = await untilFirst(alpha, "handshake", ["beta"], "UDP is dropped on the way there");
    expect(link?.words).toMatch(/^what beta sends arrives here \(\d+ s ago\)/);
  }, 40_000);

  test("the end that hears nothing says what remains possible", async () => {
    const link = await untilFirst(beta, "seeds", [], "did not answer");
    expect(link?.words).toContain("a firewall drops UDP on the way");
    expect(link?.mend).toContain("run meshvpn doctor there");
  }, 40_000);

  test("nothing once it passes", async () => {
    await healed(beta.host);
    await untilConnected([alpha, beta], 70_000);
    expect(await doctor(alpha, "beta")).toBeNull();
  }, 90_000);
});

describe("where a policy keeps this node out", () => {
  let alpha: Node;
  let beta: Node;

  beforeAll(async () => {
    [alpha, beta] = await trustingPair();
    await alpha.up();
    await beta.up("--seed", alpha.seed);
    await untilConnected([alpha, beta], 10_000);
  }, 30_000);

  test("of everything, the other end says so, and by which rule", async () => {
    await beta.ok("policy", "default", "deny");
    const link = await untilFirst(alpha, "policy", ["beta"]);
    expect(link?.words).toBe("beta lets this node in to nothing; its pings are not: default deny");
    expect(link?.mend).toContain(`meshvpn policy allow ${alpha.identity} PROTOCOL PORT`);
    const { first, links } = linksOf(await beta.meshvpn("doctor", "alpha", "--json"));
    expect(first).toBeNull();
    expect(links).toContainEqual(
      expect.objectContaining({ link: "policy here", words: expect.stringContaining("nothing") }),
    );
    expect(await beta.ok("policy", "test", "alpha", "tcp", "51822")).toBe(
      "allow: allow any tcp 51822\n",
    );
  }, 30_000);

  test("of pings alone, that is told, and nothing is broken", async () => {
    await beta.ok("policy", "allow", "alpha", "tcp", "22");
    const { first, links } = linksOf(await alpha.meshvpn("doctor", "beta", "--json"));
    expect(first).toBeNull();
    expect(links).toContainEqual(
      expect.objectContaining({
        link: "policy",
        state: "unknown",
        words: expect.stringContaining('to "allow alpha tcp 22"'),
      }),
    );
    expect(links).toContainEqual(
      expect.objectContaining({ link: "path", words: expect.stringContaining("by gossip's own") }),
    );
  }, 30_000);

  test("and of doctor itself, only that pings do not pass", async () => {
    await beta.ok("policy", "deny", "any", "tcp", "51822");
    const link = await untilFirst(alpha, "path", ["beta"]);
    expect(link?.mend).toContain("look for a policy or a firewall");
    await beta.ok("policy", "default", "allow");
    expect(await untilFirst(alpha, null, ["beta"])).toBeNull();
  }, 60_000);
});

test("a prefix that has no address left for this node", async () => {
  const hosts = await Stage.open().switched(3);
  const make = async (at: number): Promise<Node> =>
    await Node.make(hosts[at] as Host, `node-${at}`);
  const nodes = [await make(0), await make(1), await make(2)] as const;
  for (const node of nodes) await node.trust(...nodes.filter((other) => other !== node));
  const [first, ...others] = nodes;
  await first.up("--prefix", "10.98.0.0/30");
  for (const node of others) await node.up("--prefix", "10.98.0.0/30", "--seed", first.seed);
  await until("somebody to have none", async () => {
    const statuses = await Promise.all(nodes.map((node) => node.status()));
    return statuses.some(({ addresses }) => addresses.length === 1);
  });
  const answers = await Promise.all(nodes.map((node) => doctor(node)));
  const without = answers.filter((link) => link?.link === "addresses");
  // Two that met while they held the same may both be looking for another.
  expect(without.length).toBeGreaterThan(0);
  expect(without[0]?.mend).toContain("a larger --prefix");
}, 60_000);

/**
 * How nodes come into a mesh and are put out of it, with real daemons: by invitation between fresh
 * state directories, by an organisation's certificates, and by its revocation.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { schemaErrors } from "../support/json-schema.ts";
import { Node, untilConnected } from "./support/mesh.ts";
import { until } from "./support/process.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";

/** From the last daemon's being up until every pair has a session, over which pings are answered. */
const fullMeshMsMax = 10_000;
/** From the operator's word until nobody talks to the revoked node. */
const revokedMsMax = 5_000;

beforeAll(() => {
  if (process.getuid?.() !== 0) throw new Error("the end-to-end tests need root");
});

afterAll(closeStages);

describe("a network made by init", () => {
  let hosts: Host[];
  let alpha: Node;
  let beta: Node;
  let token: string;

  beforeAll(async () => {
    const stage = Stage.open();
    hosts = await stage.switched(4);
    alpha = Node.fresh(hosts[0] as Host, "alpha");
    beta = Node.fresh(hosts[1] as Host, "beta");
  }, 60_000);

  test("takes in a node that it never met, in two commands on each", async () => {
    await alpha.ok("init", "--name", "office");
    alpha.identity = (await alpha.ok("export")).trim();
    // Whom nobody could ask: the key is not named, and members come by an organisation's word.
    const unasked = "the seed 192.0.2.77:443 (--tcp) is not asked";
    const daemon = await alpha.up("--tcp", "192.0.2.77:443");
    expect((await alpha.status()).warnings).toEqual([expect.stringContaining(unasked)]);
    expect(await alpha.ok("status")).toContain(`\nwarning\t${unasked}: `);
    const links = JSON.parse((await alpha.meshvpn("doctor", "--json")).stdout).links;
    expect(links).toContainEqual(
      expect.objectContaining({ link: "seeds", words: expect.stringContaining(unasked) }),
    );
    const json = await alpha.ok("invite", "--ttl", "1h", "--json");
    expect(schemaErrors("invite", json)).toEqual([]);
    token = (await alpha.ok("invite")).trim();
    expect(token).toMatch(/^mvjoin1_[A-Za-z0-9_-]+$/);
    const said = await beta.join(token);
    expect(said).toContain("joined office: beta, ");
    await untilConnected([alpha, beta], 5_000);
    const status = await beta.status();
    expect(status).toMatchObject({
      network: "office",
      joining: false,
      organisations: 1,
      trusted: 0,
    });
    expect(status.certificate?.organisation).toBe(
      (await alpha.status()).certificate?.organisation as string,
    );
    expect(existsSync(join(beta.directory, "join.token"))).toBe(false);
    expect(daemon.log().split(unasked)).toHaveLength(2);
    expect(daemon.log()).not.toContain("the seed 127.0.0.1");
  }, 60_000);

  test("keeps a node from another network where its file is damaged, and takes it in again", async () => {
    await beta.ok("down");
    const path = join(beta.directory, "network.json");
    const whole = readFileSync(path, "utf8");
    writeFileSync(path, "x");
    const { code, stderr } = await beta.meshvpn("up", "--detach");
    expect([code, stderr]).toEqual([1, expect.stringContaining(`mv ${path} ${path}.old`)]);
    expect(stderr).toContain(`cannot use ${path}: it is damaged`);
    expect(readFileSync(path, "utf8")).toBe("x");
    renameSync(path, `${path}.old`);
    expect(await beta.join((await alpha.ok("invite")).trim())).toContain("joined office: beta, ");
    await beta.ok("down");
    writeFileSync(path, whole);
    await beta.up();
    await untilConnected([alpha, beta], 10_000);
  }, 60_000);

  test("takes in nobody else by a token that was used", async () => {
    const gamma = Node.fresh(hosts[2] as Host, "gamma");
    await gamma.ok("join", token, "--no-up");
    await gamma.up();
    await until("the issuer to have refused", async () => {
      const { counters } = JSON.parse(await alpha.ok("status", "--json", "--counters"));
      return counters.introductions_invites_refused > 0;
    });
    expect((await gamma.status()).joining).toBe(true);
    expect((await alpha.status()).members.map(({ name }) => name)).toEqual(["beta"]);
    await gamma.ok("down");
  }, 60_000);

  test("puts a node out by its name, which comes in again under a new identity", async () => {
    const gamma = Node.fresh(hosts[2] as Host, "gamma");
    const invited = async (): Promise<string> => (await alpha.ok("invite")).trim();
    await gamma.join(await invited());
    const former = (await gamma.ok("export")).trim();
    await until("gamma", async () =>
      (await alpha.status()).members.some(({ name }) => name === "gamma"),
    );
    await alpha.ok("org", "revoke", "gamma");
    await until("gamma to be put out", async () =>
      (await alpha.status()).members.every(({ identity }) => identity !== former),
    );
    await gamma.ok("down");
    const forced = await gamma.meshvpn("keygen", "--force");
    expect([forced.code, forced.stderr.includes("meshvpn join TOKEN")]).toEqual([0, true]);
    expect(await gamma.join(await invited())).toContain("joined office");
    expect((await alpha.status()).members.map(({ name }) => name).toSorted()).toEqual([
      "beta",
      "gamma",
    ]);
    await gamma.ok("down");
  }, 60_000);

  test("takes in a node that reaches another member only, which passes its request on", async () => {
    const delta = Node.fresh(hosts[3] as Host, "delta");
    const rules =
      "add table inet t; add chain inet t out { type filter hook output priority 0; }; " +
      `add rule inet t out ip daddr ${alpha.host.v4} drop; ` +
      `add rule inet t out ip6 daddr ${alpha.host.v6} drop`;
    await delta.host.runOk(["nft", rules]);
    const said = await delta.join((await alpha.ok("invite", "--name", "delta-two")).trim());
    expect(said).toContain("joined office");
    await untilConnected([delta, beta], 5_000);
    const member = await beta.member(delta);
    expect(member?.certificate?.name).toBe("delta-two");
    const { counters } = JSON.parse(await beta.ok("status", "--json", "--counters"));
    expect(counters.trust_forwards_sent).toBeGreaterThan(0);
  }, 60_000);

  test("is found again by a node that comes back alone when its issuer is gone for good", async () => {
    alpha.daemon?.kill("SIGKILL");
    await beta.ok("down");
    await beta.up();
    const delta = Node.fresh(hosts[3] as Host, "delta");
    delta.identity = (await delta.ok("export")).trim();
    await untilConnected([beta, delta], 15_000);
  }, 60_000);
});

describe("twelve nodes that an organisation certified, with one seed", () => {
  let admin: Node;
  let organisation: string;
  let nodes: Node[];
  let spare: Host;

  /** Certified, and accepting whoever else is. */
  async function certified(host: Host, name: string): Promise<Node> {
    const node = await Node.make(host, name);
    const [certificate] = await Promise.all([
      admin.ok("org", "sign", node.identity, "--name", name),
      node.ok("trust", "--org", organisation),
    ]);
    await node.ok("trust", certificate.trim());
    return node;
  }

  beforeAll(async () => {
    const stage = Stage.open();
    const hosts = await stage.switched(13);
    spare = hosts[12] as Host;
    admin = Node.fresh(hosts[0] as Host, "admin");
    organisation = (await admin.ok("org", "keygen")).trim();
    nodes = await Promise.all(hosts.slice(0, 12).map((host, at) => certified(host, `node-${at}`)));
  }, 60_000);

  test("are a full mesh within 10 s of the last start", async () => {
    const [seed, ...others] = nodes as [Node, ...Node[]];
    await seed.up();
    for (const node of others) node.launch("--seed", `${seed.identity}@${seed.seed}`);
    await Promise.all(others.map(untilUp));
    await untilAllReach(nodes, fullMeshMsMax);
  }, 60_000);

  test("take in a new node through any member, when the seed was killed for good", async () => {
    const [seed, ...others] = nodes as [Node, ...Node[]];
    seed.daemon?.kill("SIGKILL");
    await seed.daemon?.exited;
    const joiner = await certified(spare, "node-12");
    const other = nodes[5] as Node;
    await joiner.up("--seed", `${other.identity}@${other.seed}`);
    nodes = [...others, joiner];
    await untilAllReach(nodes, fullMeshMsMax);
  }, 60_000);

  test("cut a revoked one off everywhere within 5 s of one operator's word", async () => {
    const [revoked, teller, ...rest] = nodes as [Node, Node, ...Node[]];
    const address = await revoked.address(6);
    const line = (await admin.ok("org", "revoke", revoked.identity)).trim();
    const startedMs = performance.now();
    await teller.ok("trust", line);
    const others = [teller, ...rest];
    await Promise.all(
      others.map((node) =>
        until(
          `${node.name} to have let go of it`,
          async () => (await node.member(revoked)) === undefined,
          { timeoutMs: revokedMsMax - (performance.now() - startedMs), everyMs: 100 },
        ),
      ),
    );
    const reached = await Promise.all(others.map((node) => node.reaches(address)));
    expect(reached).toEqual(others.map(() => false));
    await untilAllReach(others, 5_000);
    // And it stays so: the revocation is on the disk of each.
    await teller.ok("down");
    await teller.up();
    await until("the others to be there again", async () => {
      const members = await Promise.all(rest.map((node) => teller.member(node)));
      return members.every((member) => member?.state === "alive");
    });
    expect(await teller.member(revoked)).toBeUndefined();
  }, 60_000);
});

async function untilUp(node: Node): Promise<void> {
  await until(`${node.name} to be up`, () => node.daemon?.log().includes("meshvpn: up: "), {
    timeoutMs: 20_000,
    evidence: () => node.daemon?.log() ?? "",
  });
}

/** Sessions first, which is cheap to ask; then pings from each to each, all within the time. */
async function untilAllReach(nodes: readonly Node[], timeoutMs: number): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  const evidence = (): string => nodes.map(({ daemon }) => daemon?.log() ?? "").join("\n---\n");
  for (const node of nodes) {
    await until(
      `${node.name} to be connected to all`,
      async () => {
        const { members } = await node.status();
        const linked = new Set(
          members.filter(({ path }) => path.startsWith("direct ")).map(({ identity }) => identity),
        );
        return nodes.every((other) => other === node || linked.has(other.identity));
      },
      { timeoutMs: deadlineMs - performance.now(), everyMs: 100, evidence },
    );
  }
  const addresses = await Promise.all(nodes.map((node) => node.address(6)));
  await Promise.all(
    nodes.map(async (node, at) => {
      for (const address of addresses.filter((_, other) => other !== at)) {
        await until(`${node.name} to reach ${address}`, () => node.reaches(address), {
          timeoutMs: deadlineMs - performance.now(),
          everyMs: 50,
          evidence,
        });
      }
    }),
  );
}

test("a revoked node that puts its state directory aside comes in again by a new token", async () => {
  await using stage = Stage.open();
  const [one, two] = await stage.pair();
  const [alpha, beta] = [Node.fresh(one, "alpha"), Node.fresh(two, "beta")];
  await alpha.ok("init");
  alpha.identity = (await alpha.ok("export")).trim();
  await alpha.up();
  await beta.join((await alpha.ok("invite")).trim());
  await untilConnected([alpha, beta], 5_000);
  const before = beta.identity;
  await alpha.ok("org", "revoke", before);
  await until("beta to be cut off", async () => (await alpha.status()).members.length === 0);
  await beta.ok("down");
  renameSync(beta.directory, `${beta.directory}.left`);
  await beta.join((await alpha.ok("invite")).trim());
  await untilConnected([alpha, beta], 5_000);
  expect(beta.identity).not.toBe(before);
  expect((await alpha.status()).members.map(({ identity }) => identity)).toEqual([beta.identity]);
  await beta.ok("down");
}, 60_000);

/** Rules for groups and organisations, with real daemons whose certificates say who belongs to them. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { schemaErrors } from "../support/json-schema.ts";
import { reaches, serve } from "./support/doors.ts";
import { Node, untilConnected } from "./support/mesh.ts";
import { until } from "./support/process.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";

let alpha: Node;
let beta: Node;
let gamma: Node;
let admin: Node;

beforeAll(async () => {
  if (process.getuid?.() !== 0) throw new Error("the end-to-end tests need root");
  const stage = Stage.open();
  const hosts = await stage.switched(4);
  admin = Node.fresh(hosts[3] as Host, "admin");
  const organisation = (await admin.ok("org", "keygen")).trim();
  const make = async (at: number, name: string, groups: string): Promise<Node> => {
    const node = await Node.make(hosts[at] as Host, name);
    await node.ok("trust", "--org", organisation, "--name", "acme");
    await certify(node, groups);
    return node;
  };
  alpha = await make(0, "alpha", "servers");
  beta = await make(1, "beta", "admins,staff");
  gamma = await make(2, "gamma", "staff");
  await alpha.ok("policy", "allow", "group:admins@acme", "tcp", "7001");
  await alpha.ok("policy", "allow", "group:staff", "udp", "7001");
  await alpha.ok("policy", "allow", "org:acme", "icmp");
  await alpha.ok("policy", "default", "deny");
  await alpha.up();
  await beta.up("--seed", `${alpha.identity}@${alpha.seed}`);
  await gamma.up("--seed", `${alpha.identity}@${alpha.seed}`);
  await untilConnected([alpha, beta, gamma], 20_000);
  await serve(alpha.host);
}, 60_000);

afterAll(closeStages);

async function certify(node: Node, groups: string): Promise<void> {
  const words = ["--name", node.name, "--groups", groups];
  const certificate = (await admin.ok("org", "sign", node.identity, ...words)).trim();
  await node.ok("trust", certificate);
}

/** What is, over both families, and what `policy test` says. */
async function expectReached(
  from: Node,
  expected: Readonly<Record<string, boolean>>,
): Promise<void> {
  for (const [words, passes] of Object.entries(expected)) {
    const [kind = "", port = ""] = words.split(" ");
    const { code, stdout } = await alpha.meshvpn("policy", "test", from.name, kind, port, "--json");
    expect(schemaErrors("policy-test", stdout)).toEqual([]);
    expect([from.name, words, code]).toEqual([from.name, words, passes ? 0 : 1]);
    for (const family of [4, 6] as const) {
      const reached = await reaches(from, alpha, kind as "tcp" | "udp", family, Number(port));
      expect([from.name, words, family, reached]).toEqual([from.name, words, family, passes]);
    }
  }
}

describe("a policy that names groups and organisations", () => {
  test("lets in whom certificates put there, and nobody else", async () => {
    await expectReached(beta, { "tcp 7001": true, "udp 7001": true, "tcp 7002": false });
    await expectReached(gamma, { "tcp 7001": false, "udp 7001": true });
    expect(await gamma.reaches(await alpha.address(4))).toBe(true);
  }, 60_000);

  test("is told of words and of members", async () => {
    const said = async (...words: string[]): Promise<string> =>
      (await alpha.meshvpn("policy", "test", ...words)).stdout;
    const admins = "allow: line 2: allow group:admins@acme tcp 7001\n";
    expect(await said("beta", "tcp", "7001")).toBe(admins);
    expect(await said("beta", "self", "7001")).toBe(admins);
    expect(await said("group:admins@acme", "self", "tcp", "7001")).toBe(admins);
    expect(await said("group:admins", "tcp", "7001")).toBe("deny: default deny\n");
    expect(await said("org:acme", "icmp")).toBe("allow: line 4: allow org:acme icmp\n");
    expect(await said("any", "icmp")).toBe("deny: default deny\n");
    const checked = await alpha.ok("policy", "check", "--json");
    expect(schemaErrors("policy-check", checked)).toEqual([]);
    const rules: { members: number }[] = JSON.parse(checked).rules;
    expect(rules.map(({ members }) => members)).toEqual([1, 2, 2]);
  }, 30_000);

  test("follows a member that gets another certificate", async () => {
    await certify(gamma, "admins");
    await until("alpha to let gamma in", async () => await reaches(gamma, alpha, "tcp", 6, 7001), {
      timeoutMs: 10_000,
      evidence: () => alpha.daemon?.log() ?? "",
    });
    await expectReached(gamma, { "tcp 7001": true, "udp 7001": false });
    await certify(beta, "staff");
    await until("alpha to refuse beta", async () => !(await reaches(beta, alpha, "tcp", 6, 7001)));
    await expectReached(beta, { "tcp 7001": false, "udp 7001": true });
  }, 60_000);

  test("lets nobody in by a certificate of an organisation that a rule does not mean", async () => {
    const others = Node.fresh(admin.host, "others");
    const organisation = (await others.ok("org", "keygen")).trim();
    await alpha.ok("trust", "--org", organisation, "--name", "others");
    const words = ["--name", "beta", "--groups", "admins,staff"];
    const certificate = (await others.ok("org", "sign", beta.identity, ...words)).trim();
    await beta.ok("trust", "--org", organisation);
    await beta.ok("trust", certificate);
    await until("alpha to hold the other certificate", async () => {
      return (await alpha.member(beta))?.certificate?.organisation === organisation;
    });
    await expectReached(beta, { "tcp 7001": false, "udp 7001": true });
    const noted: { note: string }[] = JSON.parse(await alpha.ok("policy", "check", "--json")).rules;
    expect(noted[1]?.note).toContain("any of the 2 organisations");
  }, 30_000);

  test("refuses an organisation that is not trusted here", async () => {
    const refused = await alpha.meshvpn("policy", "allow", "org:nobody", "tcp", "22");
    expect([refused.code, refused.stderr.includes("there is no organisation nobody")]).toEqual([
      2,
      true,
    ]);
  });
});

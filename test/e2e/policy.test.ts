/** Who reaches which port, asked with real packets, and held against what `policy test` says. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { schemaErrors } from "../support/json-schema.ts";
import { type Kind, reaches, serve } from "./support/doors.ts";
import { Node, untilConnected } from "./support/mesh.ts";
import { until } from "./support/process.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";

let stage: Stage;
let alpha: Node;
let beta: Node;
let gamma: Node;

beforeAll(async () => {
  if (process.getuid?.() !== 0) throw new Error("the end-to-end tests need root");
  stage = Stage.open();
  const hosts = await stage.switched(3);
  const make = async (at: number, name: string): Promise<Node> =>
    await Node.make(hosts[at] as Host, name);
  [alpha, beta, gamma] = [await make(0, "alpha"), await make(1, "beta"), await make(2, "gamma")];
  const nodes = [alpha, beta, gamma];
  for (const node of nodes) await node.trust(...nodes.filter((other) => other !== node));
  await alpha.up();
  await beta.up("--seed", alpha.seed);
  await gamma.up("--seed", alpha.seed);
  await untilConnected(nodes, 15_000);
  for (const node of nodes) await serve(node.host);
}, 60_000);

afterAll(closeStages);

/** Of beta and gamma towards alpha, what is and what `policy test` says of it. */
async function expectReached(expected: Readonly<Record<string, boolean>>): Promise<void> {
  for (const [words, passes] of Object.entries(expected)) {
    const [name, kind = "", port] = words.split(" ");
    const from = name === "beta" ? beta : gamma;
    const said = await alpha.meshvpn("policy", "test", ...words.split(" "), "--json");
    expect(schemaErrors("policy-test", said.stdout)).toEqual([]);
    expect([words, said.code]).toEqual([words, passes ? 0 : 1]);
    const protocol = kind as Kind;
    for (const family of [4, 6] as const) {
      const reached = await reaches(from, alpha, protocol, family, Number(port ?? 0));
      expect([words, family, reached]).toEqual([words, family, passes]);
    }
  }
}

describe("by the policy of a node", () => {
  test("everything passes where there is none", async () => {
    await expectReached({ "beta tcp 7001": true, "gamma udp 7002": true, "beta icmp": true });
  }, 30_000);

  test("with default deny nothing that others begin passes, and what it begins is answered", async () => {
    expect(await alpha.ok("policy", "default", "deny")).toBe("default deny\n");
    await expectReached({ "beta tcp 7001": false, "gamma udp 7002": false, "beta icmp": false });
    for (const family of [4, 6] as const) {
      expect(await reaches(alpha, beta, "tcp", family, 7001)).toBe(true);
      expect(await reaches(alpha, beta, "udp", family, 7001)).toBe(true);
      expect(await reaches(alpha, beta, "icmp", family)).toBe(true);
    }
    expect(await alpha.ok("metrics")).toMatch(/\nmeshvpn_dataplane_policy_refused_total [1-9]/);
  }, 60_000);

  test("a member reaches the ports that it is let in to, and no others", async () => {
    await alpha.ok("policy", "allow", "beta", "tcp", "7001");
    await alpha.ok("policy", "allow", gamma.identity, "udp", "7000-7001");
    await alpha.ok("policy", "allow", "any", "icmp");
    await expectReached({
      "beta tcp 7001": true,
      "beta tcp 7002": false,
      "beta udp 7001": false,
      "gamma udp 7001": true,
      "gamma tcp 7001": false,
      "gamma icmp": true,
    });
    const json = await alpha.ok("policy", "show", "--json");
    expect(schemaErrors("policy-show", json)).toEqual([]);
    expect(JSON.parse(json).rules.map(({ rule }: { rule: string }) => rule)).toEqual([
      "allow beta tcp 7001",
      `allow ${gamma.identity} udp 7000-7001`,
      "allow any icmp",
    ]);
  }, 60_000);

  test("a rule that is put first comes first, and one that is removed is gone", async () => {
    await alpha.ok("policy", "deny", "--first", "beta", "tcp");
    await expectReached({ "beta tcp 7001": false });
    await alpha.ok("policy", "remove", "1");
    await expectReached({ "beta tcp 7001": true });
  }, 30_000);

  test("a mistake in the file changes nothing while it runs, and keeps it from starting", async () => {
    const path = join(alpha.directory, "policy");
    writeFileSync(path, "default allow\nallow any tcp 99999\n", { mode: 0o600 });
    const refused = await alpha.meshvpn("reload");
    expect([refused.code, refused.stderr.includes(`${path}:2: 99999 is neither a port`)]).toEqual([
      2,
      true,
    ]);
    expect(await reaches(beta, alpha, "tcp", 6, 7002)).toBe(false);
    await alpha.daemon?.stop();
    const start = await alpha.meshvpn("up");
    expect([start.code, start.stderr.includes(`${path}:2`)]).toEqual([2, true]);
  }, 30_000);

  test("it is in force from the first packet after a start", async () => {
    writeFileSync(join(alpha.directory, "policy"), "default deny\n", { mode: 0o600 });
    await alpha.up("--seed", beta.seed);
    await until("alpha to reach beta", async () => await reaches(alpha, beta, "icmp", 6), {
      timeoutMs: 15_000,
    });
    expect(await reaches(beta, alpha, "tcp", 6, 7001)).toBe(false);
    expect(await reaches(beta, alpha, "icmp", 4)).toBe(false);
  }, 30_000);

  test("nobody is let in by a name that he gave himself", async () => {
    const unknown = await alpha.meshvpn("policy", "allow", "stranger", "tcp", "22");
    expect([unknown.code, unknown.stderr.includes("meshvpn trust KEY --name NAME")]).toEqual([
      2,
      true,
    ]);
  });
});

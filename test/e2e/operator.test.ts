/** What an operator looks at, on two real nodes: each command that asks a daemon, as text and as JSON. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { schemaErrors } from "../support/json-schema.ts";
import { Node, untilConnected } from "./support/mesh.ts";
import { until } from "./support/process.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";

let stage: Stage;
let hosts: Host[];
let alpha: Node;
let beta: Node;

beforeAll(async () => {
  if (process.getuid?.() !== 0) throw new Error("the end-to-end tests need root");
  stage = Stage.open();
  hosts = await stage.pair();
  alpha = await Node.make(hosts[0] as Host, "alpha");
  beta = await Node.make(hosts[1] as Host, "beta");
  await alpha.trust(beta);
  await beta.trust(alpha);
  await alpha.up();
}, 60_000);

afterAll(closeStages);

test("status --check ends with 4 until a member is connected, then with 0", async () => {
  const before = await alpha.meshvpn("status", "--check");
  expect([before.code, before.stdout]).toEqual([4, "none of 1 members is connected\n"]);
  await beta.up("--seed", alpha.seed);
  await untilConnected([alpha, beta], 10_000);
  const after = await alpha.meshvpn("status", "--check");
  expect([after.code, after.stdout]).toEqual([0, "1 of 1 members are connected\n"]);
}, 30_000);

describe("on a mesh of two", () => {
  test("status, export and peers say as JSON what their schemas have", async () => {
    expect(schemaErrors("status", await alpha.ok("status", "--json"))).toEqual([]);
    expect(schemaErrors("status", await alpha.ok("status", "--json", "--counters"))).toEqual([]);
    expect(schemaErrors("export", await alpha.ok("export", "--json"))).toEqual([]);
    expect(schemaErrors("peers", await alpha.ok("peers", "--json"))).toEqual([]);
    expect(schemaErrors("reload", await alpha.ok("reload", "--json"))).toEqual([]);
    const [cells = []] = (await alpha.ok("peers")).split("\n").map((line) => line.split("\t"));
    expect([cells.length, cells[0], cells[1]]).toEqual([9, "beta", beta.identity]);
  });

  test("status --watch goes on until it is ended", async () => {
    const watch = alpha.host.start([alpha.program, "status", "--watch"], alpha.env);
    await until("two looks", () => watch.log().split("node\talpha\t").length > 2);
    watch.kill("SIGINT");
    expect(await watch.exited).toBe(0);
  });

  test("ping names the path, and a member that is meant by a near name", async () => {
    const answered = await alpha.ok("ping", "beta", "--count", "1");
    expect(answered).toMatch(/^[\d.]+ ms from beta \(fd[0-9a-f:]+\), direct \S+:51820\n/);
    const json = await alpha.ok("ping", beta.identity, "--until-direct", "--json");
    expect(schemaErrors("ping", json)).toEqual([]);
    expect(JSON.parse(json).received).toBe(1);
    const own = await alpha.meshvpn("ping", "alpha");
    expect([own.code, own.stderr.includes("it is this node itself")]).toEqual([2, true]);
    const wrong = await alpha.meshvpn("ping", "betta");
    expect([wrong.code, wrong.stderr]).toEqual([
      2,
      "meshvpn: there is no member betta: nobody has that name, identity or address; did you mean beta?\n",
    ]);
  });

  test("bench moves real traffic both ways and measures what waits meanwhile", async () => {
    const refused = await alpha.meshvpn("bench", "beta", "--seconds", "1");
    expect([refused.code, refused.stderr.includes("run meshvpn bench --serve there")]).toEqual([
      1,
      true,
    ]);
    const server = beta.host.start([beta.program, "bench", "--serve"], beta.env);
    await until("the server", () => server.log().includes("serving on "));
    const before = (await alpha.member(beta))?.tx_bytes ?? 0;
    const json = await alpha.ok("bench", "beta", "--seconds", "1", "--json");
    expect(schemaErrors("bench", json)).toEqual([]);
    const report = JSON.parse(json);
    for (const rate of [report.sent_bits_per_s, report.received_bits_per_s]) {
      expect(rate).toBeGreaterThan(10e6);
    }
    for (const { p50 } of Object.values<{ p50: number }>(report.latency_ms)) {
      expect(p50).toBeGreaterThan(0);
    }
    // What it says came is what the tunnel carried, and headers.
    const sent = ((await alpha.member(beta))?.tx_bytes ?? 0) - before;
    expect(sent).toBeGreaterThan((report.sent_bits_per_s / 8) * 0.9);
    const [idle, out, back] = (await alpha.ok("bench", "beta", "--seconds", "1")).split("\n");
    expect([idle, out, back].map((line) => line?.split("\t").length)).toEqual([4, 4, 4]);
    server.kill("SIGINT");
    expect(await server.exited).toBe(0);
  }, 30_000);

  test("top shows who talks, the busiest first", async () => {
    const address = await beta.address(6);
    const load = alpha.host.start(["ping", "-n", "-i", "0.01", "-s", "1000", address]);
    const lines = (await alpha.ok("top", "--count", "2", "--json")).trim().split("\n");
    load.kill();
    expect(lines).toHaveLength(2);
    for (const line of lines) expect(schemaErrors("top", line)).toEqual([]);
    expect(JSON.parse(lines[1] as string).members[0].tx_bits_per_s).toBeGreaterThan(100_000);
  }, 20_000);

  test("metrics are there without HTTP", async () => {
    expect(await alpha.ok("metrics")).toContain("\nmeshvpn_members_connected 1\n");
  });

  test("logs has the last lines, also as JSON", async () => {
    const lines = (await alpha.ok("logs", "--json", "--lines", "3")).trim().split("\n");
    expect(lines).toHaveLength(3);
    for (const line of lines) expect(schemaErrors("logs", line)).toEqual([]);
    const follow = alpha.host.start([alpha.program, "logs", "--follow"], alpha.env);
    await until("the log so far", () => follow.log().includes("the addresses are"));
    await alpha.ok("reload");
    const last = (await alpha.ok("logs", "--lines", "1")).trim();
    await until("its new line", () => follow.log().includes(last));
    follow.kill();
  });

  test("debug bundle holds what helps and no key, and can leave out who is who", async () => {
    const plain = join(stage.directory, "plain.json");
    expect(await alpha.ok("debug", "bundle", plain)).toStartWith(`written: ${plain};`);
    expect(statSync(plain).mode & 0o777).toBe(0o600);
    const text = readFileSync(plain, "utf8");
    expect(JSON.parse(text).status.members[0].identity).toBe(beta.identity);
    for (const key of ["identity.key", "wireguard.key"]) {
      expect(text).not.toContain(readFileSync(join(alpha.directory, key), "utf8").trim());
    }
    expect((await alpha.meshvpn("debug", "bundle", plain)).code).toBe(2);
    const anonymous = join(stage.directory, "anonymous.json");
    await alpha.ok("debug", "bundle", "--anonymise", anonymous);
    const told = readFileSync(anonymous, "utf8");
    JSON.parse(told);
    for (const who of [
      beta.identity,
      alpha.identity,
      "192.0.2.2",
      '"beta"',
      await beta.address(6),
    ]) {
      expect(told).not.toContain(who);
    }
  });
});

test("the log calls a member by the operator's own word, as status does", async () => {
  await alpha.ok("trust", beta.identity, "--name", "desk");
  await beta.ok("down");
  const log = (): string => alpha.daemon?.log() ?? "";
  await until("the member to have left", () => log().includes(`desk (${beta.identity}) is left`), {
    timeoutMs: 10_000,
    evidence: log,
  });
  expect(await alpha.ok("status")).toContain(`member\tdesk\t${beta.identity}\t`);
  await alpha.trust(beta);
  await beta.up("--seed", alpha.seed);
}, 30_000);

test("a new identity for a node that runs is said to wait for the next start", async () => {
  const { stderr, code } = await beta.meshvpn("keygen", "--force");
  expect([code, stderr]).toEqual([0, expect.stringContaining("goes on as before: meshvpn down")]);
  await beta.ok("down");
  expect((await beta.meshvpn("keygen", "--force")).stderr).toBe("");
});

/**
 * What eyes see: two real nodes over HTTP, scraped by a real Prometheus over the mesh itself, and
 * every query of the dashboard answered by it. Without Prometheus the text alone is looked at.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Node, untilConnected } from "./support/mesh.ts";
import { until } from "./support/process.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";

const dashboardPath = new URL("../../packaging/grafana/meshvpn.json", import.meta.url).pathname;
const loopback = "127.0.0.1:9586";
const prometheusPort = 9090;

interface Panel {
  readonly title: string;
  readonly targets?: readonly { readonly expr: string }[];
}

let stage: Stage;
let alpha: Node;
let beta: Node;
let hosts: Host[];

beforeAll(async () => {
  if (process.getuid?.() !== 0) throw new Error("the end-to-end tests need root");
  stage = Stage.open();
  hosts = await stage.pair();
  alpha = await Node.make(hosts[0] as Host, "alpha");
  beta = await Node.make(hosts[1] as Host, "beta");
  await alpha.trust(beta);
  await beta.trust(alpha);
}, 60_000);

afterAll(closeStages);

/** Of a node's own loopback. */
async function get(node: Node, path: string, ...more: string[]): Promise<string> {
  const url = `http://${loopback}${path}`;
  return await node.host.runOk(["curl", "-s", "-w", "\n%{http_code}", ...more, url]);
}

describe("over HTTP, a node", () => {
  test("is alive at once, and ready once it reaches somebody", async () => {
    const eyes = ["--http", loopback, "--http", "mesh:9586"];
    await alpha.up(...eyes);
    expect(await get(alpha, "/healthz")).toBe("ok\n\n200");
    expect(await get(alpha, "/readyz")).toBe("none of 1 members is connected\n\n503");
    await beta.up(...eyes, "--seed", alpha.seed);
    await untilConnected([alpha, beta], 10_000);
    expect(await get(alpha, "/readyz")).toBe("1 of 1 members are connected\n\n200");
  });

  test("answers nothing under another name, and nothing but reading", async () => {
    expect(await get(alpha, "/metrics", "-H", "Host: evil.example")).toEndWith("\n403");
    expect(await get(alpha, "/metrics", "-X", "POST")).toEndWith("\n405");
    expect(await get(alpha, "/secrets")).toEndWith("\n404");
  });

  test("shows metrics that promtool finds nothing wrong with", async () => {
    const text = (await get(alpha, "/metrics")).replace(/\n200$/, "");
    expect(text).toContain(`meshvpn_member_connected{identity="${beta.identity}",member="beta",`);
    expect(text).toContain('path="direct"} 1\n');
    if (Bun.which("promtool") === null) {
      console.info("not checked: there is no promtool here (Debian: prometheus)");
      return;
    }
    const check = { input: text };
    const said = await (hosts[0] as Host).run(["promtool", "check", "metrics"], check);
    expect([said.code, said.stdout, said.stderr]).toEqual([0, "", ""]);
  });

  test("shows them as OpenMetrics where that is asked for", async () => {
    const accept = ["-H", "Accept: application/openmetrics-text; version=1.0.0"];
    const said = await get(alpha, "/metrics", ...accept);
    expect(said).toEndWith("\n# EOF\n\n200");
  });
});

test("every query of the dashboard is answered by a Prometheus that scrapes both", async () => {
  if (Bun.which("prometheus") === null) {
    console.info("not checked: there is no prometheus here (Debian: prometheus)");
    return;
  }
  const targets = await Promise.all([alpha, beta].map((node) => node.address(6)));
  const file = join(stage.directory, "prometheus.yml");
  const listed = targets.map((address) => `'[${address}]:9586'`).join(", ");
  writeFileSync(
    file,
    `global: { scrape_interval: 500ms, scrape_timeout: 400ms }\nscrape_configs:\n  - job_name: meshvpn\n    static_configs: [{ targets: [${listed}] }]\n`,
  );
  const prometheus = (hosts[0] as Host).start([
    "prometheus",
    `--config.file=${file}`,
    `--storage.tsdb.path=${join(stage.directory, "prometheus")}`,
    `--web.listen-address=127.0.0.1:${prometheusPort}`,
  ]);
  const count = async (query: string): Promise<number> => {
    const url = `http://127.0.0.1:${prometheusPort}/api/v1/query`;
    const asked = ["curl", "-s", "--data-urlencode", `query=${query}`, url];
    const { stdout } = await (hosts[0] as Host).run(asked);
    if (stdout === "") return 0;
    const answer = JSON.parse(stdout);
    if (answer.status !== "success") throw new Error(`${query}: ${stdout}`);
    return answer.data.result.length;
  };
  await until(
    "three scrapes of both",
    async () => (await count("count_over_time(up[1m]) >= 3")) === 2,
    {
      timeoutMs: 20_000,
      everyMs: 200,
      evidence: () => prometheus.log(),
    },
  );
  expect(await count("up == 1")).toBe(2);
  const dashboard: { panels: readonly Panel[] } = JSON.parse(readFileSync(dashboardPath, "utf8"));
  const queries = dashboard.panels.flatMap(({ targets }) => targets ?? []).map(({ expr }) => expr);
  expect(queries.length).toBeGreaterThan(10);
  const unanswered: string[] = [];
  for (const query of queries) {
    const filled = query.replaceAll("$__rate_interval", "10s").replaceAll("$instance", ".*");
    if ((await count(filled)) === 0) unanswered.push(query);
  }
  expect(unanswered).toEqual([]);
}, 60_000);

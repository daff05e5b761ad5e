/**
 * Daemons behind NATs; `scripts/e2e-nat` plays every kind against every kind.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Node } from "./support/mesh.ts";
import { descriptorsOf } from "./support/nat-birthday.ts";
import { Matrix, type Outcome, type Pair } from "./support/nat-matrix.ts";
import { until } from "./support/process.ts";
import { closeStages, Stage } from "./support/stage.ts";

let matrix: Matrix;

beforeAll(async () => {
  matrix = await Matrix.open(Stage.open());
}, 60_000);

afterAll(closeStages);

const pairs: readonly Pair[] = [
  ["restricted", "restricted"],
  ["full-cone", "symmetric-random"],
  ["symmetric", "symmetric-random"],
  ["udp-blocked", "restricted"],
];

for (const pair of pairs) {
  test(`${pair.join(" and ")} find each other`, async () => {
    const outcome = await matrix.run(pair);
    expect(outcome).toMatchObject({ holds: true });
  }, 60_000);
}

test("restricted and symmetric-random meet by chance, and all sockets but the one that was hit are closed", async () => {
  let outcome: Outcome | undefined;
  // Chance fails them once in fifty times.
  for (let run = 0; run < 3 && !outcome?.holds; run += 1) {
    outcome = await matrix.run(["restricted", "symmetric-random"], async ([a, b]) => {
      if (!(await b.member(a))?.path.startsWith("direct ")) return;
      await until("the sockets to be closed", async () => (await descriptorsOf(b)) < 128, {
        timeoutMs: 30_000,
      });
      expect((await b.member(a))?.path).toStartWith("direct ");
      expect(await a.reaches(await b.address(4))).toBe(true);
    });
  }
  expect(outcome).toMatchObject({ holds: true });
}, 180_000);

test("a node whose network lets no UDP out comes in by TLS on 443, and is relayed to the others", async () => {
  const host = await matrix.internet.public([4]);
  const files = { cert: `${host.stage.directory}/tls.crt`, key: `${host.stage.directory}/tls.key` };
  const made = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const names = ["-subj", "/CN=anybody", "-keyout", files.key, "-out", files.cert, "-days", "2"];
  await host.runOk(["openssl", "req", ...made, ...names]);
  const door = await Node.make(host, "door");
  const listening = ["--tcp-listen", "443", "--tcp-cert", files.cert, "--tcp-key", files.key];
  await door.up("--relay", ...listening);
  const { hosts, nodes } = await matrix.nodes(["udp-blocked", "restricted"]);
  const [a, b] = nodes;
  try {
    for (const node of nodes) await Promise.all([node.trust(door), door.trust(node)]);
    // What looks at its packets sees a handshake of TLS go out, and an answer to it.
    const rules = ["dport", "sport"].map(
      (port) => `tcp ${port} 443 @ih,0,8 0x16 counter name ${port}`,
    );
    const table = ["table ip look {", "counter dport {}", "counter sport {}", "chain through {"];
    const text = [...table, "type filter hook forward priority 1;", ...rules, "}", "}"].join("\n");
    await hosts[0].inRouter(["sh", "-c", `nft -f - <<'RULES'\n${text}\nRULES`]);
    await a.up("--seed", door.seed, "--tcp", `tls://${host.v4}:443`);
    await b.up("--seed", door.seed);
    const address = await b.address(4);
    await until("the two to meet", () => a.reaches(address), { timeoutMs: 20_000 });
    expect((await a.member(door))?.path).toBe("tcp");
    expect((await a.member(b))?.path).toBe("relay door");
    const seen = await hosts[0].inRouter(["nft", "-j", "list", "counters", "table", "ip", "look"]);
    const counts: { counter?: { packets: number } }[] = JSON.parse(seen).nftables;
    const packets = counts.flatMap(({ counter }) => (counter ? [counter.packets] : []));
    expect(packets).toHaveLength(2);
    for (const count of packets) expect(count).toBeGreaterThan(0);
  } finally {
    await matrix.drop({ hosts, nodes });
    await door.daemon?.stop();
  }
}, 90_000);

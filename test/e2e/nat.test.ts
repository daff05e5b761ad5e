/**
 * Daemons behind NATs; `scripts/e2e-nat` plays every kind against every kind.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Node } from "./support/mesh.ts";
import { descriptorsOf } from "./support/nat-birthday.ts";
import { Matrix, type Outcome, type Pair } from "./support/nat-matrix.ts";
import { until } from "./support/process.ts";
import { closeStages, Stage } from "./support/stage.ts";
import { transfer } from "./support/traffic.ts";

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

test("and comes in so by an invitation too, whose addresses are UDP's", async () => {
  const issuer = Node.fresh(await matrix.internet.public([4]), "issuer");
  const { host } = await matrix.internet.behind("udp-blocked");
  const joiner = Node.fresh(host, "joiner");
  try {
    await issuer.ok("init", "--name", "office");
    issuer.identity = (await issuer.ok("export")).trim();
    await issuer.up("--tcp-listen", "443");
    const token = (await issuer.ok("invite")).trim();
    const said = await joiner.join(token, "--tcp", `${issuer.identity}@${issuer.host.v4}:443`);
    expect(said).toContain("joined office: joiner, ");
    expect((await joiner.member(issuer))?.path).toBe("tcp");
  } finally {
    await joiner.meshvpn("down");
    await issuer.daemon?.stop();
  }
}, 90_000);

test("two that have no relay in common are relayed by two, one behind the other", async () => {
  const hosts = await Promise.all(Array.from({ length: 4 }, () => matrix.internet.behind("open")));
  const nodes = await Promise.all(
    hosts.map(({ host }, at) => Node.make(host, ["left", "near", "far", "right"][at] as string)),
  );
  const [left, near, far, right] = nodes as [Node, Node, Node, Node];
  try {
    for (const node of nodes) await node.trust(...nodes.filter((other) => other !== node));
    await hosts[0]?.block(far.host.v4, right.host.v4);
    await hosts[3]?.block(near.host.v4, left.host.v4);
    const offer = ["--relay", "--relay-quota", "0"];
    await near.up(...offer);
    await far.up(...offer, "--seed", near.seed);
    await left.up("--seed", near.seed);
    await right.up("--seed", far.seed);
    const address = await right.address(4);
    await until("the two to meet", () => left.reaches(address), { timeoutMs: 40_000 });
    const moved = await transfer(left.host, right.host, address, 2_000_000);
    expect(moved.received).toMatchObject({ bytes: 2_000_000, sha256: moved.sent.sha256 });
    expect((await left.member(right))?.path).toBe("relay near");
    expect((await right.member(left))?.path).toBe("relay far");
    for (const relay of [near, far]) {
      const { counters } = JSON.parse(await relay.ok("status", "--json", "--counters"));
      expect(counters.dataplane_relayed_forwarded).toBeGreaterThan(1_000);
    }
  } finally {
    await Promise.all(nodes.map((node) => node.daemon?.stop()));
    for (const host of hosts) host.drop();
  }
}, 120_000);

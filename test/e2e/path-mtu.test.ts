/**
 * A router in the middle that drops what is longer than 1,280 bytes and says nothing: the length that
 * passes is found by probes, and programs are told of it, so that their streams go on.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { checkTransfer } from "./support/interop.ts";
import type { Node } from "./support/mesh.ts";
import type { NatHost } from "./support/nat.ts";
import { Matrix, untilPathsAre } from "./support/nat-matrix.ts";
import { until } from "./support/process.ts";
import { closeStages, Stage } from "./support/stage.ts";
import { ping, transfer } from "./support/traffic.ts";

const longestOutside = 1_280;
/** Headers of IPv4, UDP and a message; of a frame and the message around it. */
const directBytes = 20 + 8 + 32;
const relayedBytes = directBytes + 16 + 32;
const icmpBytes = 28;
const bytes = 2_000_000;
/** Some probes, and what TCP waits until it sends again; on a busy machine all of it takes longer. */
const stallMsMax = 20_000;

let matrix: Matrix;

beforeAll(async () => {
  matrix = await Matrix.open(Stage.open());
}, 60_000);

afterAll(closeStages);

async function counter(node: Node, name: string): Promise<number> {
  const { counters } = JSON.parse(await node.ok("status", "--json", "--counters"));
  return counters[name];
}

for (const [path, overhead] of [
  ["direct", directBytes],
  ["relay", relayedBytes],
] as const) {
  test(`a black hole for long packets on a ${path} path is found, and streams go on`, async () => {
    const { hosts, nodes } = await matrix.nodes(["restricted", "restricted"]);
    const [a, b] = nodes;
    try {
      if (path === "relay") await (hosts[0] as NatHost).block(hosts[1].outsideV4);
      await hosts[1].narrow(longestOutside);
      // The router is to see datagrams one by one, as a wire would carry them.
      for (const { host } of [...hosts, matrix.public])
        await host.ip("link set eth0 gso_max_segs 1");
      await Promise.all(nodes.map((node) => node.up(...matrix.flagsFor("restricted"))));
      const address = await b.address(4);
      await until("an answer", () => a.reaches(address), { timeoutMs: 20_000 });
      await untilPathsAre(nodes, path, 30_000);
      const longest = longestOutside - overhead;
      // Both ways: each end finds out about its own.
      for (const moved of [
        await transfer(a.host, b.host, address, bytes),
        await transfer(b.host, a.host, await a.address(4), bytes),
      ]) {
        checkTransfer(moved, bytes);
        expect(moved.received.stallMs).toBeLessThan(stallMsMax);
      }
      for (const node of nodes) {
        const other = node === a ? b : a;
        let seen = "";
        const size = async (): Promise<number> => {
          const member = await node.member(other);
          seen = JSON.stringify(member?.paths);
          return member?.paths?.find(({ used }) => used)?.mtu ?? 0;
        };
        const there = await other.address(4);
        // A jam may make a way look narrower than it is: it is asked again while packets go there. And
        // who knows the length first announces so small a segment that the other sends nothing long.
        const long = ["ping", "-M", "do", "-s", "1300", "-c", "1", "-W", "1", there];
        const found = async (): Promise<boolean> => {
          await node.host.run(long);
          return (await node.reaches(there)) && (await size()) > longest - 32;
        };
        const evidence = (): string => seen;
        await until("the length to be found", found, { timeoutMs: 60_000, everyMs: 200, evidence });
        expect(await size()).toBeLessThanOrEqual(longest);
        expect(await counter(node, "paths_size_probes")).toBeLessThanOrEqual(90);
        await ping(node.host, there, { size: (await size()) - icmpBytes });
      }
      expect(await counter(a, "dataplane_too_big")).toBeGreaterThan(0);
      // Who may not cut it is told.
      const words = ["-M", "do", "-s", "1300", "-c", "2", "-i", "0.2", "-W", "1"];
      const said = await a.host.run(["ping", ...words, address]);
      expect(`${said.stdout}${said.stderr}`).toMatch(/mtu ?= ?\d+/);
    } finally {
      await matrix.drop({ hosts, nodes });
    }
  }, 240_000);
}

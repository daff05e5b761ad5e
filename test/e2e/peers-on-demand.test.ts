/**
 * Real daemons in a mesh that is large on paper: members have peers and sessions only while something
 * wants them, packets open them from either side, and every tool tells of all members all the same.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readMembers, writeMembers } from "../../src/daemon/state.ts";
import { phantoms } from "../support/phantoms.ts";
import { Node, untilConnected } from "./support/mesh.ts";
import { until } from "./support/process.ts";
import { closeStages, Stage } from "./support/stage.ts";

/** So many that whom a daemon probes in its first seconds is hardly one of the three that run. */
const phantomCount = 400;

beforeAll(() => {
  if (process.getuid?.() !== 0) throw new Error("the end-to-end tests need root");
});

afterAll(closeStages);

async function counters(node: Node): Promise<Record<string, number>> {
  return JSON.parse(await node.ok("status", "--json", "--counters")).counters;
}

/** Packets that came out of the tunnel. */
async function received(node: Node): Promise<number> {
  return (await counters(node)).dataplane_tun_write_packets ?? 0;
}

async function shownByWg(node: Node): Promise<string[]> {
  const dump = await node.host.runOk(["wg", "show", node.interfaceName, "dump"]);
  return dump.trim().split("\n").slice(1);
}

describe("three daemons that know one another and four hundred others", () => {
  let nodes: Node[];
  let ant: Node;
  let bee: Node;
  let cat: Node;

  beforeAll(async () => {
    const stage = Stage.open();
    const hosts = await stage.switched(3);
    const names = ["ant", "bee", "cat"] as const;
    nodes = await Promise.all(hosts.map((host, at) => Node.make(host, names[at] as string)));
    [ant, bee, cat] = nodes as [Node, Node, Node];
    const paper = phantoms(phantomCount);
    for (const node of nodes) {
      await node.trust(...nodes.filter((other) => other !== node));
      await node.ok("trust", "--org", paper.organisation);
    }
    await ant.up();
    for (const node of [bee, cat]) await node.up("--seed", ant.seed);
    await untilConnected(nodes, 10_000);
    for (const node of nodes) {
      await node.ok("down");
      const met = readMembers(node.directory, () => undefined);
      expect(met).toHaveLength(2);
      writeMembers(node.directory, [...met, ...paper.records]);
    }
    await Promise.all(nodes.map((node) => node.up()));
  }, 90_000);

  test("hold no sessions with whom nothing wants, and list everybody", async () => {
    const { members } = await ant.status();
    expect(members).toHaveLength(phantomCount + 2);
    expect(members.every(({ addresses }) => addresses.length > 0)).toBe(true);
    const shown = await shownByWg(ant);
    expect(shown).toHaveLength(phantomCount + 2);
    // Each by its addresses, though most of them have no peer.
    expect(shown.every((line) => /fd[0-9a-f:]+\/128/.test(line))).toBe(true);
    const { dataplane_destinations_wanted: wanted } = await counters(ant);
    expect(wanted).toBe(0);
  }, 30_000);

  test("open one for the first packet, which arrives where it should and nowhere else", async () => {
    for (const family of [4, 6] as const) {
      const [from, to, other] = family === 4 ? [ant, bee, cat] : [cat, ant, bee];
      const before = await received(other);
      const address = await to.address(family);
      const ping = ["ping", "-n", "-c", "1", "-W", "3", address];
      const { code, stdout } = await from.host.run(ping);
      expect([code, stdout]).toEqual([0, expect.stringContaining("1 received")]);
      expect((await counters(from)).dataplane_destinations_wanted).toBe(1);
      const member = await from.member(to);
      expect(member?.path).toStartWith("direct ");
      // Who was asked had no peer for it either, and has one now.
      expect((await to.member(from))?.path).toStartWith("direct ");
      expect((await to.member(from))?.rx_bytes).toBeGreaterThan(0);
      expect(await received(other)).toBe(before);
    }
  }, 30_000);

  test("say at once that an address is nobody's", async () => {
    const { code, stdout } = await bee.host.run(["ping", "-n", "-c", "1", "-W", "5", "10.99.0.0"]);
    const nobody = await bee.host.run(["ping", "-n", "-c", "1", "-W", "5", "10.99.255.254"]);
    expect([code === 0, nobody.code === 0]).toEqual([false, false]);
    expect(stdout + nobody.stdout).toContain("Unreachable");
    expect((await counters(bee)).destinations_unknown).toBeGreaterThan(0);
  }, 30_000);

  test("and write everybody down, however the daemon ends", async () => {
    cat.daemon?.kill("SIGKILL");
    await until("cat to have ended", () => cat.daemon?.running === false);
    expect(readMembers(cat.directory, () => undefined)).toHaveLength(phantomCount + 2);
    await cat.up();
    expect((await cat.status()).members).toHaveLength(phantomCount + 2);
    // Until cat has spoken to it, bee may hold the session of cat's former life.
    const address = await cat.address(6);
    await until("bee to reach cat again", async () => await bee.reaches(address), {
      timeoutMs: 30_000,
    });
  }, 30_000);
});

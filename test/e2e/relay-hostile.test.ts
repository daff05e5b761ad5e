/**
 * Members that relay and mean ill, strangers that want to be relayed, and datagrams that were captured:
 * streams pass or move elsewhere, no endpoint moves, nobody gets more bytes than he sent, all is counted.
 * The relays are daemons whose library ill-treats frames as a file says (zig/hostile_relay.zig).
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { attackProgram, listen } from "./support/attacker.ts";
import { checkTransfer } from "./support/interop.ts";
import { Node } from "./support/mesh.ts";
import { Internet, type NatHost } from "./support/nat.ts";
import { untilPathsAre } from "./support/nat-matrix.ts";
import { until } from "./support/process.ts";
import { closeStages, type Host, Stage } from "./support/stage.ts";
import { Stream } from "./support/stream.ts";
import { transfer } from "./support/traffic.ts";

const bytes = 2_000_000;
const transportType = 4;
/** A pair that was left in the lurch is at another relay. */
const moveMsMax = 10_000;
/** One that loses much is not silent: it is found by the probes of a few searches. */
const lossyMoveMsMax = 40_000;

let internet: Internet;
let library: string;
/** Two that offer to relay, and a pair behind NATs that let nothing through between them. */
let relays: readonly [Node, Node];
let pair: readonly [Node, Node];
let nats: readonly [NatHost, NatHost];

beforeAll(async () => {
  library = await attackProgram("libmeshvpn-hostile-relay.so");
  await attackProgram("attacker");
  internet = await Internet.open(Stage.open());
  relays = [await relay("one"), await relay("two")];
  nats = [await internet.behind("restricted"), await internet.behind("restricted")];
  await nats[0].block(nats[1].outsideV4);
  pair = [await Node.make(nats[0].host, "a"), await Node.make(nats[1].host, "b")];
  await trustAll([...relays, ...pair]);
  await Promise.all(relays.map((node) => node.up("--relay", "--relay-quota", "0")));
  const seeds = relays.flatMap((node) => ["--seed", node.seed]);
  await Promise.all(pair.map((node) => node.up(...seeds)));
  const address = await pair[1].address(4);
  await until("the pair to meet", () => pair[0].reaches(address), { timeoutMs: 30_000 });
  await untilPathsAre(pair, "relay ", 30_000);
}, 300_000);

afterAll(closeStages);

async function relay(name: string): Promise<Node> {
  const host = await internet.public([4]);
  const env = {
    MESHVPN_LIBRARY: library,
    MESHVPN_HOSTILE_RELAY: join(host.stage.directory, `${name}.mode`),
  };
  return await Node.make(host, name, { env });
}

async function trustAll(nodes: readonly Node[]): Promise<void> {
  for (const node of nodes) await node.trust(...nodes.filter((other) => other !== node));
}

function become(node: Node, mode: string): void {
  writeFileSync(join(node.host.stage.directory, `${node.name}.mode`), mode);
}

function allHonest(): void {
  for (const { host, name } of relays) {
    rmSync(join(host.stage.directory, `${name}.mode`), { force: true });
  }
}

async function counters(node: Node): Promise<Record<string, number>> {
  return JSON.parse(await node.ok("status", "--json", "--counters")).counters;
}

/** Of both ends together. */
async function sum(name: string): Promise<number> {
  const each = await Promise.all(pair.map(counters));
  return each.reduce((total, counts) => total + (counts[name] ?? 0), 0);
}

async function pathOf([from, to]: readonly [Node, Node]): Promise<string> {
  return (await from.member(to))?.path ?? "-";
}

for (const [mode, counter] of [
  ["replay", "dataplane_replayed"],
  ["reorder", undefined],
  ["corrupt", "dataplane_not_authentic"],
] as const) {
  test(`a relay that does this to frames harms no stream and moves nobody: ${mode}`, async () => {
    const [a, b] = pair;
    const before = counter === undefined ? 0 : await sum(counter);
    const seen = { sealed: await sum("dataplane_sealed_packets") };
    for (const node of relays) become(node, mode);
    try {
      const there = await transfer(a.host, b.host, await b.address(4), bytes);
      const back = await transfer(b.host, a.host, await a.address(4), bytes, 2);
      checkTransfer(there, bytes);
      checkTransfer(back, bytes);
      if (counter !== undefined) expect((await sum(counter)) - before).toBeGreaterThan(100);
      expect(await sum("dataplane_sealed_packets")).toBeGreaterThan(seen.sealed);
      for (const ends of [pair, [b, a] as const]) expect(await pathOf(ends)).toStartWith("relay ");
      expect(await sum("dataplane_inner_malformed")).toBe(0);
    } finally {
      allHonest();
    }
  }, 120_000);
}

for (const [mode, what, msMax] of [
  ["drop", "drops all", moveMsMax],
  ["lose", "loses every second frame", lossyMoveMsMax],
] as const) {
  test(`a relay that ${what} is left for the other under a stream, and not taken again`, async () => {
    const [a, b] = pair;
    const stream = await Stream.open(a.host, b.host, await b.address(4));
    try {
      await stream.flows();
      await stream.reset();
      const used = await pathOf(pair);
      const [liar, honest] = used === "relay one" ? relays : [relays[1], relays[0]];
      become(liar, mode);
      const start = performance.now();
      await untilPathsAre(pair, `relay ${honest.name}`, 2 * msMax);
      const movedMs = performance.now() - start;
      await stream.flows();
      const gapMs = await stream.worstGapMs(20_000);
      console.log(`moved after ${Math.round(movedMs)} ms, a gap of ${Math.round(gapMs)} ms`);
      expect(movedMs).toBeLessThan(msMax);
      expect(gapMs).toBeLessThan(msMax);
      expect(stream.whole).toBe(true);
      // A search or two have gone by since, and the liar was asked in each.
      const probes = await sum("paths_probes_sent");
      await until("more searches", async () => (await sum("paths_probes_sent")) > probes + 12, {
        timeoutMs: 60_000,
      });
      expect(await pathOf(pair)).toBe(`relay ${honest.name}`);
      await stream.flows();
      expect(stream.whole).toBe(true);
    } finally {
      allHonest();
      await stream.close();
    }
  }, 180_000);
}

test("a stranger is relayed nothing and answered nothing, though the other end trusts it", async () => {
  const [one] = relays;
  const [a] = pair;
  const host = await internet.public([4]);
  const stranger = await Node.make(host, "stranger");
  await stranger.trust(...relays, a);
  await a.trust(stranger);
  await counting(host);
  const forwarded = (await counters(one)).dataplane_relayed_forwarded;
  await stranger.up(...relays.flatMap((node) => ["--seed", node.seed]));
  const refused = async (): Promise<number> =>
    (await counters(one)).introductions_not_admitted ?? 0;
  await until("introductions to be refused", async () => (await refused()) >= 3, {
    timeoutMs: 30_000,
  });
  const { members } = await stranger.status();
  expect(members.map(({ path }) => path)).toEqual(members.map(() => "-"));
  const { sent, received } = await counted(host);
  expect(sent).toBeGreaterThan(3 * 1_200);
  expect(received).toBe(0);
  expect(forwarded).toBeGreaterThan(0);
  await stranger.ok("down");
  await a.ok("trust", "--remove", stranger.identity);
}, 90_000);

test("a datagram that was captured and sent from elsewhere moves nothing and is answered nothing", async () => {
  const [one] = relays;
  const [, b] = pair;
  const attacker = await internet.public([4]);
  await counting(attacker);
  // What B sends to a relay, a probe or a frame, and what says the same but is forged.
  const capture = await listen(one.host, transportType, 51_820);
  const heard = await capture();
  const before = await counters(one);
  const state = async (): Promise<string> =>
    JSON.stringify((await one.status()).members.map(({ identity, path }) => [identity, path]));
  const paths = await state();
  const forged = Uint8Array.from(heard.payload, (byte, at) => (at < 16 ? byte : byte ^ 0x55));
  const program = `
    const socket = await Bun.udpSocket({});
    for (const hex of ${JSON.stringify([heard.payload, forged].map((it) => Buffer.from(it).toString("hex")))})
      for (let i = 0; i < 20; i += 1) socket.send(Buffer.from(hex, "hex"), 51820, ${JSON.stringify(one.host.v4)});
    await Bun.sleep(100);
    socket.close();
  `;
  await attacker.runOk([process.execPath, "-e", program]);
  await until("both to be counted", async () => {
    const now = await counters(one);
    const more = (name: string): number => (now[name] ?? 0) - (before[name] ?? 0);
    return more("dataplane_replayed") >= 20 && more("dataplane_not_authentic") >= 20;
  });
  expect(await state()).toBe(paths);
  const { sent, received } = await counted(attacker);
  expect(sent).toBeGreaterThan(40 * 32);
  expect(received).toBe(0);
  expect(b.daemon?.running).toBe(true);
}, 60_000);

/** From now on, UDP of the mesh's port to and from a host is counted there. */
async function counting(host: Host): Promise<void> {
  const chain = (hook: string, port: string): string =>
    `chain ${hook} { type filter hook ${hook} priority 0; udp ${port} 51820 counter name ${hook}d; }`;
  const rules = [
    "table inet heard {",
    "counter inputd {}",
    "counter outputd {}",
    chain("input", "sport"),
    chain("output", "dport"),
    "}",
  ];
  await host.runOk(["nft", "-f", "-"], { input: `${rules.join("\n")}\n` });
}

async function counted(host: Host): Promise<{ sent: number; received: number }> {
  const said = JSON.parse(await host.runOk(["nft", "-j", "list", "counters"]));
  const entries: { counter?: { name: string; bytes: number } }[] = said.nftables;
  const of = (name: string): number =>
    entries.find(({ counter }) => counter?.name === name)?.counter?.bytes ?? Number.NaN;
  return { sent: of("outputd"), received: of("inputd") };
}

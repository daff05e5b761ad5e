/**
 * Somebody who holds the wire sends a copy of each datagram from an address of his own, ahead of the
 * original or behind it. Copies ahead are authentic and new, so members look whether the way works: it
 * does not, for nobody answers there. No data goes to him, he gets less than he sent, and a stream that
 * is under way goes on.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { attackProgram } from "./support/attacker.ts";
import { BadWire } from "./support/bad-wire.ts";
import { Node, port } from "./support/mesh.ts";
import { untilPathsAre } from "./support/nat-matrix.ts";
import { until } from "./support/process.ts";
import { closeStages, Stage } from "./support/stage.ts";
import { Stream } from "./support/stream.ts";

/** The originals are refused as copies then, so to the members the path is silent: longer than any wait. */
const stealMs = { ahead: 4_000, behind: 1_000 } as const;
/** A probe, and the longest answer to one, sealed: whatever carries data is longer. */
const probeDatagramBytes = 64;
const gapMsMax = 3_000;

beforeAll(async () => {
  await attackProgram("relay");
}, 300_000);
afterAll(closeStages);

test("whoever sends copies from elsewhere gets no data and no more than he sent, and a stream goes on", async () => {
  await using stage = Stage.open();
  const wire = await BadWire.lay(stage, { seed: 1, thief: true });
  const hosts = [wire.left, wire.right] as const;
  // The thief reads IPv4 alone: there is to be no other way.
  for (const host of hosts) await host.ip(`address delete ${host.v6}/64 dev eth0`);
  const [a, b] = [await Node.make(wire.left, "a"), await Node.make(wire.right, "b")];
  const pair = [a, b] as const;
  await a.trust(b);
  await b.trust(a);
  await b.up();
  await a.up("--seed", b.seed);
  const address = await b.address(4);
  await until("the two to meet", () => a.reaches(address), { timeoutMs: 20_000 });
  await untilPathsAre(pair, "direct", 20_000);

  const wanted = [`direct ${b.host.v4}:${port}`, `direct ${a.host.v4}:${port}`];
  const paths = async (): Promise<(string | undefined)[]> =>
    (await Promise.all([a.member(b), b.member(a)])).map((member) => member?.path);
  const counts = async (): Promise<number> => {
    const said = await Promise.all(pair.map((node) => node.ok("status", "--json", "--counters")));
    return said.reduce((sum, text) => sum + JSON.parse(text).counters.dataplane_replayed, 0);
  };
  const stream = await Stream.open(a.host, b.host, address);
  await stream.flows();
  await stream.reset();
  const replayed = await counts();
  for (const ms of [stealMs.ahead, stealMs.behind]) {
    wire.nextTheft();
    const endMs = performance.now() + ms;
    while (performance.now() < endMs) expect(await paths()).toEqual(wanted);
  }
  wire.nextTheft();
  await stream.flows();
  const gapMs = await stream.worstGapMs(20_000);
  expect(await paths()).toEqual(wanted);
  const refused = (await counts()) - replayed;
  expect(stream.whole).toBe(true);
  await stream.close();
  const befell = await wire.end();
  console.log(`a gap of ${Math.round(gapMs)} ms, ${refused} refused, ${JSON.stringify(befell)}`);
  expect(gapMs).toBeLessThan(gapMsMax);
  expect(befell.stolen).toBeGreaterThan(200);
  // Of original and copy one was taken, and the other counted.
  expect(refused).toBeGreaterThan(0.9 * befell.stolen);
  // They did ask whether the way works.
  expect(befell.answers).toBeGreaterThan(0);
  expect(befell.answer_longest).toBeLessThanOrEqual(probeDatagramBytes);
  expect(befell.answer_bytes).toBeLessThan(befell.stolen_bytes);
}, 90_000);

/**
 * What paths must survive: NATs that open and close, addresses that change, mappings that end, a
 * daemon that was stopped. Each case is measured against its limit, under a TCP stream that must not
 * break.
 */
import type { Node } from "./mesh.ts";
import type { NatHost, NatKind } from "./nat.ts";
import { type Matrix, type Pair, untilPaths, untilPathsAre } from "./nat-matrix.ts";
import { until } from "./process.ts";
import { Stream } from "./stream.ts";

export interface Measured {
  readonly what: string;
  readonly ms: number;
  readonly msMax: number;
}

export type Case = (matrix: Matrix) => Promise<readonly Measured[]>;

interface Scene {
  readonly hosts: readonly [NatHost, NatHost];
  readonly nodes: readonly [Node, Node];
}

const changeMsMax = 10_000;
const oneMovesMsMax = 3_000;

/** Two nodes that reach each other. */
async function scene<T>(
  matrix: Matrix,
  pair: Pair,
  play: (scene: Scene) => Promise<T>,
): Promise<T> {
  const { hosts, nodes } = await matrix.nodes(pair);
  try {
    await Promise.all(nodes.map((node, at) => node.up(...matrix.flagsFor(pair[at] as NatKind))));
    const address = await nodes[1].address(4);
    await until("the two to meet", () => nodes[0].reaches(address), { timeoutMs: 20_000 });
    return await play({ hosts, nodes });
  } finally {
    await matrix.drop({ hosts, nodes });
  }
}

async function streamed(nodes: readonly [Node, Node]): Promise<Stream> {
  return await Stream.open(nodes[0].host, nodes[1].host, await nodes[1].address(4));
}

/** Direct, then relayed while the NAT lets nothing through between the two, then direct again. */
export const natClosesAndOpens: Case = (matrix) =>
  scene(matrix, ["restricted", "restricted"], async ({ hosts, nodes }) => {
    const [a, b] = hosts;
    await untilPathsAre(nodes, "direct", 20_000);
    const stream = await streamed(nodes);
    await a.block(b.outsideV4);
    await stream.reset();
    const relayedMs = await untilPathsAre(nodes, "relay", 20_000);
    const gapMs = await stream.worstGapMs(10_000);
    // TCP waits ever longer after a gap: it must be over before the next one is measured.
    await stream.flows();
    await stream.reset();
    await a.unblock();
    const directMs = await untilPathsAre(nodes, "direct", 20_000);
    const openedGapMs = await stream.worstGapMs(10_000);
    if (!stream.whole) throw new Error("the stream broke");
    await stream.close();
    return [
      { what: "relayed after the NAT closed", ms: relayedMs, msMax: changeMsMax },
      { what: "the stream's gap meanwhile", ms: gapMs, msMax: changeMsMax },
      { what: "direct after the NAT opened", ms: directMs, msMax: changeMsMax },
      { what: "the stream's gap meanwhile", ms: openedGapMs, msMax: 1_000 },
    ];
  });

/** The addresses of one end, and then of both at once, change under a stream. */
export const addressesChange: Case = (matrix) =>
  scene(matrix, ["open", "open"], async ({ nodes }) => {
    await untilPathsAre(nodes, "direct", 20_000);
    const stream = await streamed(nodes);
    const measured: Measured[] = [];
    const steps: readonly [string, readonly Node[], number][] = [
      ["the sender moved", [nodes[0]], oneMovesMsMax],
      ["the receiver moved", [nodes[1]], oneMovesMsMax],
      ["both moved", nodes, changeMsMax],
    ];
    for (const [what, moving, msMax] of steps) {
      await stream.flows();
      await stream.reset();
      await Promise.all(moving.map((node) => matrix.move(node.host)));
      await stream.flows();
      measured.push({ what, ms: await stream.worstGapMs(20_000), msMax });
    }
    if (!stream.whole) throw new Error("the stream broke");
    await stream.close();
    return measured;
  });

/** IPv4 is closed between the two under a stream, and opened again; IPv6 then, which leads back to IPv4. */
export const familyChanges: Case = (matrix) =>
  scene(matrix, ["dual-stack", "dual-stack"], async ({ hosts, nodes }) => {
    const [a] = hosts;
    const there = nodes[1].host;
    await untilPathsAre(nodes, "direct", 20_000);
    const isV6 = (path: string): boolean => path.startsWith("direct [");
    const isV4 = (path: string): boolean => path.startsWith("direct ") && !isV6(path);
    // Whichever they took: one begins by closing IPv6, so that all go by IPv4.
    await a.block(there.v6);
    await untilPaths(nodes, "by IPv4", isV4, 20_000);
    await a.unblock();
    const stream = await streamed(nodes);
    const measured: Measured[] = [];
    const steps = [
      ["from IPv4 to IPv6", there.v4, isV6],
      ["from IPv6 back to IPv4", there.v6, isV4],
    ] as const;
    for (const [what, closed, isThere] of steps) {
      await stream.flows();
      await stream.reset();
      await a.block(closed);
      await untilPaths(nodes, what, isThere, 20_000);
      await stream.flows();
      measured.push({ what, ms: await stream.worstGapMs(20_000), msMax: changeMsMax });
      await a.unblock();
    }
    if (!stream.whole) throw new Error("the stream broke");
    await stream.close();
    return measured;
  });

/** Mappings end after 5 s; nobody speaks for longer. */
export const mappingsEnd: Case = (matrix) =>
  scene(matrix, ["restricted", "restricted"], async ({ hosts, nodes }) => {
    await untilPathsAre(nodes, "direct", 20_000);
    await Promise.all(hosts.map((host) => host.mappingTimeout(5)));
    await Bun.sleep(20_000);
    const start = performance.now();
    const address = await nodes[1].address(4);
    await until("an answer", () => nodes[0].reaches(address), { timeoutMs: 20_000, everyMs: 10 });
    return [{ what: "traffic after 20 s of silence", ms: performance.now() - start, msMax: 5_000 }];
  });

/** The daemon is stopped for longer than any session lives. */
export const daemonSleeps: Case = (matrix) =>
  scene(matrix, ["restricted", "restricted"], async ({ nodes }) => {
    await untilPathsAre(nodes, "direct", 20_000);
    const address = await nodes[1].address(4);
    const pids = await nodes[0].host.processes();
    for (const pid of pids) process.kill(pid, "SIGSTOP");
    await Bun.sleep(200_000);
    for (const pid of pids) process.kill(pid, "SIGCONT");
    const start = performance.now();
    await until("an answer", () => nodes[0].reaches(address), { timeoutMs: 30_000, everyMs: 10 });
    return [{ what: "traffic after 200 s stopped", ms: performance.now() - start, msMax: 5_000 }];
  });

export const cases = {
  natClosesAndOpens,
  addressesChange,
  familyChanges,
  mappingsEnd,
  daemonSleeps,
} as const;

/**
 * What a relay costs: TCP through the tunnel of the same two daemons, directly and by the public
 * member, in alternating rounds of one run, so that what else the machine does falls on both.
 */
import type { Node } from "./mesh.ts";
import type { NatHost } from "./nat.ts";
import { type Matrix, untilPathsAre } from "./nat-matrix.ts";
import { until } from "./process.ts";

export const relayedShareMin = 0.4;
const rounds = 5;
const seconds = 3;
const port = 5201;

export interface RelayedShare {
  /** Gbit/s of each round. */
  readonly direct: readonly number[];
  readonly relayed: readonly number[];
  /** The median of the rounds' shares. */
  readonly share: number;
  readonly shareMin: number;
  readonly holds: boolean;
}

/** Neither end is behind a NAT: no router's work is part of either figure. */
export async function relayedShare(matrix: Matrix): Promise<RelayedShare> {
  const { hosts, nodes } = await matrix.nodes(["open", "open"]);
  try {
    await Promise.all(nodes.map((node) => node.up(...matrix.flagsFor("open"))));
    const direct: number[] = [];
    const relayed: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      await moveTo(hosts, nodes, "direct");
      direct.push(await gbitPerSecond(nodes));
      await moveTo(hosts, nodes, "relay");
      relayed.push(await gbitPerSecond(nodes));
    }
    const share = median(relayed.map((rate, at) => rate / (direct[at] ?? Number.NaN)));
    return { direct, relayed, share, shareMin: relayedShareMin, holds: share >= relayedShareMin };
  } finally {
    await matrix.drop({ hosts, nodes });
  }
}

async function moveTo(
  hosts: readonly [NatHost, NatHost],
  nodes: readonly [Node, Node],
  path: "direct" | "relay",
): Promise<void> {
  if (path === "relay") await hosts[0].block(hosts[1].host.v4);
  else await hosts[0].unblock();
  const address = await nodes[1].address(4);
  // That a path is silent shows where something is sent.
  await until("an answer", () => nodes[0].reaches(address), { timeoutMs: 20_000 });
  await untilPathsAre(nodes, path, 30_000);
}

async function gbitPerSecond([from, to]: readonly [Node, Node]): Promise<number> {
  const address = await to.address(4);
  const server = to.host.start([
    "iperf3",
    "-s",
    "-1",
    "--forceflush",
    "-B",
    address,
    "-p",
    `${port}`,
  ]);
  await until("iperf3 to listen", () => server.log().includes("listening"));
  const client = ["iperf3", "-J", "-c", address, "-p", `${port}`, "-t", `${seconds}`, "-O", "1"];
  const said = await from.host.runOk(client, { timeoutMs: 30_000 });
  await server.stop();
  const { end }: { end: { sum_received: { bits_per_second: number } } } = JSON.parse(said);
  return end.sum_received.bits_per_second / 1e9;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

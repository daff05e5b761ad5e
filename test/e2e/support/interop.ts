/**
 * Interop as a matrix: which implementation, who initiates, with or without a preshared key, IPv4
 * or IPv6 outside and inside. `play` goes through one cell: pings, streams both ways, datagrams;
 * `rekeyUnderTraffic` outlives a session. What does not agree is an error that says what.
 */
import { until } from "./process.ts";
import type { Host } from "./stage.ts";
import { datagrams, firstPing, ping, SteadyStream, type Transfer, transfer } from "./traffic.ts";
import { type Implementation, Tunnel, tunnelMtu } from "./wireguard.ts";

const families = [4, 6] as const;

export interface Cell {
  readonly peer: Implementation;
  readonly initiator: "we" | "they";
  readonly presharedKey: boolean;
  readonly outside: 4 | 6;
  readonly inside: 4 | 6;
}

export interface Played {
  readonly pingMs: number;
  /** From us to them, and back, in Gbit/s. */
  readonly gbitPerSecond: readonly [number, number];
}

/** IP and ICMP or UDP headers around a payload. */
const headerBytes = { 4: 28, 6: 48 } as const;
/** A stream this slow costs nothing and still shows any gap. */
const steadyBytesPerSecond = 500_000;
const stallMsMax = 2000;
/** REKEY_AFTER_TIME is 120 s; the handshake itself may need a retry. */
const rekeyTimeoutMs = 150_000;
/** Of the new session, watched before the stream ends. */
const afterRekeyMs = 4000;

export function matrix(peers: readonly Implementation[]): Cell[] {
  const cells: Cell[] = [];
  for (const peer of peers) {
    for (const initiator of ["we", "they"] as const) {
      for (const presharedKey of [false, true]) {
        for (const outside of families) {
          for (const inside of families) {
            cells.push({ peer, initiator, presharedKey, outside, inside });
          }
        }
      }
    }
  }
  return cells;
}

/** Few of the cells, in which every two values that occur together anywhere do so at least once. */
export function pairwise(cells: readonly Cell[]): Cell[] {
  const wanted = new Set(cells.flatMap(pairs));
  const chosen: Cell[] = [];
  while (wanted.size > 0) {
    const gain = (cell: Cell): number => pairs(cell).filter((pair) => wanted.has(pair)).length;
    const best = cells.reduce((left, right) => (gain(right) > gain(left) ? right : left));
    for (const pair of pairs(best)) wanted.delete(pair);
    chosen.push(best);
  }
  return chosen;
}

/** Every two values of a cell, as text. */
export function pairs(cell: Cell): string[] {
  const values = Object.entries({ ...cell, peer: cell.peer.name }).map((pair) => pair.join("="));
  return values.flatMap((one, index) => values.slice(index + 1).map((two) => `${one} ${two}`));
}

export function title(cell: Cell): string {
  const who = cell.initiator === "we" ? "we initiate" : "they initiate";
  const key = cell.presharedKey ? "with a preshared key" : "without a preshared key";
  return `${cell.peer.name}, ${who}, ${key}, IPv${cell.inside} inside IPv${cell.outside}`;
}

/** Goes through a cell between two hosts, with `bytes` in each direction. */
export async function play(
  hosts: readonly [Host, Host],
  we: Implementation,
  cell: Cell,
  bytes: number,
): Promise<Played> {
  const tunnel = await Tunnel.open(hosts, [we, cell.peer], {
    initiator: cell.initiator === "we" ? "left" : "right",
    presharedKey: cell.presharedKey,
    outside: cell.outside,
  });
  try {
    return await playIn(tunnel, cell, bytes);
  } catch (error) {
    throw withLogs(error, tunnel);
  } finally {
    await tunnel.close();
  }
}

async function playIn(tunnel: Tunnel, cell: Cell, bytes: number): Promise<Played> {
  const { left, right, initiator, responder } = tunnel;
  const at = { left: tunnel.address(left, cell.inside), right: tunnel.address(right, cell.inside) };
  await firstPing(initiator.host, tunnel.address(responder, cell.inside));
  const size = tunnelMtu - headerBytes[cell.inside];
  await ping(right.host, at.left, { size });
  const pingMs = await ping(left.host, at.right, { count: 5 });

  const there = await transfer(left.host, right.host, at.right, bytes, 1);
  const back = await transfer(right.host, left.host, at.left, bytes, 2);
  checkTransfer(there, bytes);
  checkTransfer(back, bytes);

  const echoed = await datagrams(
    initiator.host,
    responder.host,
    tunnel.address(responder, cell.inside),
    size,
  );
  const { sent, same, different } = echoed;
  if (same !== sent || different !== 0) {
    throw new Error(`of ${sent} datagrams ${same} came back as they went, ${different} otherwise`);
  }
  for (const device of [left, right]) {
    if ((await device.latestHandshake()) === 0)
      throw new Error(`${device.name} shows no handshake`);
  }
  return { pingMs, gbitPerSecond: [gbit(there), gbit(back)] };
}

export interface Rekeyed {
  readonly seconds: number;
  readonly stallMs: number;
}

/** A stream from the initiator that lasts until both ends have made a new session, and a little
 * longer: every byte arrives, and bytes never stop for long. */
export async function rekeyUnderTraffic(
  hosts: readonly [Host, Host],
  we: Implementation,
  peer: Implementation,
  initiator: "we" | "they",
): Promise<Rekeyed> {
  const tunnel = await Tunnel.open(hosts, [we, peer], {
    initiator: initiator === "we" ? "left" : "right",
    presharedKey: true,
    outside: 4,
  });
  try {
    return await rekeyIn(tunnel);
  } catch (error) {
    throw withLogs(error, tunnel);
  } finally {
    await tunnel.close();
  }
}

async function rekeyIn(tunnel: Tunnel): Promise<Rekeyed> {
  const { initiator, responder } = tunnel;
  const address = tunnel.address(responder, 4);
  await firstPing(initiator.host, address);
  const before = await handshakes(tunnel);
  const stream = await SteadyStream.start(
    initiator.host,
    responder.host,
    address,
    steadyBytesPerSecond,
  );
  await until(
    "a second handshake on both sides",
    async () => {
      if (!stream.running) throw new Error("the stream ended before the rekey");
      const now = await handshakes(tunnel);
      return now.every((seconds, index) => seconds > (before[index] ?? 0));
    },
    { timeoutMs: rekeyTimeoutMs, everyMs: 1000 },
  );
  await Bun.sleep(afterRekeyMs);
  const { sent, received } = await stream.end();
  checkTransfer({ sent, received }, sent.bytes);
  if (received.stallMs > stallMsMax) {
    throw new Error(`no byte came for ${received.stallMs} ms during the rekey`);
  }
  return { seconds: received.seconds, stallMs: received.stallMs };
}

async function handshakes(tunnel: Tunnel): Promise<number[]> {
  return await Promise.all([tunnel.left, tunnel.right].map((device) => device.latestHandshake()));
}

export function checkTransfer({ sent, received }: Transfer, bytes: number): void {
  if (sent.bytes !== bytes || received.bytes !== bytes) {
    throw new Error(`of ${bytes} bytes ${sent.bytes} were sent and ${received.bytes} came`);
  }
  if (sent.sha256 !== received.sha256) throw new Error("what came is not what was sent");
}

export function gbit({ received }: Transfer): number {
  return (received.bytes * 8) / received.seconds / 1e9;
}

function withLogs(error: unknown, tunnel: Tunnel): Error {
  const logs = [tunnel.left, tunnel.right].map(
    ({ daemon }) => `${daemon.command}:\n${daemon.log().slice(-2000)}`,
  );
  const message = error instanceof Error ? error.message : String(error);
  return new Error([message, ...logs].join("\n"), { cause: error });
}

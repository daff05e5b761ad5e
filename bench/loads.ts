/**
 * The loads of the benchmark: TCP streams and a flood of small datagrams by iperf3, and pings. Each
 * gives what the receiving side saw. A server takes one test and ends, so that nothing of one load
 * reaches into the next.
 */
import { readFileSync } from "node:fs";
import { describe, type Running, until } from "../test/e2e/support/process.ts";
import type { Host } from "../test/e2e/support/stage.ts";

export const congestionControl = "cubic";
const port = 5201;
/** Beyond the load itself, for connecting and for a flooded tunnel to empty. */
const graceMs = 15_000;
/** Until a stream has left slow start. */
const loadSettleMs = 250;
/** A stream that is stopped by hand lasts no longer than a day. */
const backgroundSeconds = 86_400;
/** TCP_LISTEN in /proc/net/tcp. */
const listening = "0A";

export interface Streamed {
  /** Received. */
  readonly bytes: number;
  readonly gbitPerSecond: number;
  readonly retransmitted: number;
  readonly congestionControl: string;
}

export interface StreamOptions {
  readonly seconds: number;
  readonly streams: number;
  /** The far end sends. */
  readonly down: boolean;
}

/** TCP between a host and an address of the other's. */
export async function stream(
  near: Host,
  far: Host,
  address: string,
  { seconds, streams, down }: StreamOptions,
): Promise<Streamed> {
  const words = ["-t", `${seconds}`, "-P", `${streams}`, "-C", congestionControl];
  const { client } = await iperf(near, far, address, down ? [...words, "-R"] : words, seconds);
  const { sum_sent: sent, sum_received: received, sender_tcp_congestion: control } = client.end;
  if (sent === undefined || received === undefined) throw new Error("iperf3 gave no sums");
  return {
    bytes: received.bytes,
    gbitPerSecond: received.bits_per_second / 1e9,
    retransmitted: sent.retransmits ?? 0,
    congestionControl: control ?? "unknown",
  };
}

export interface Flooded {
  readonly sent: number;
  readonly received: number;
  readonly seconds: number;
}

/** Datagrams as fast as one sender can; most tunnels lose some. */
export async function flood(
  near: Host,
  far: Host,
  address: string,
  { seconds, bytes }: { seconds: number; bytes: number },
): Promise<Flooded> {
  const words = ["-u", "-b", "0", "-l", `${bytes}`, "-t", `${seconds}`];
  const { server } = await iperf(near, far, address, words, seconds);
  // What the server counted: the client knows only what it has sent.
  const sum = server.end.sum;
  if (sum?.packets === undefined) throw new Error("iperf3's server counted no datagrams");
  const received = sum.packets - (sum.lost_packets ?? 0);
  return { sent: sum.packets, received, seconds: sum.seconds };
}

export interface Pinged {
  readonly averageMs: number;
  readonly p99Ms: number;
}

/** 200 pings in a second. */
const pingCount = 200;
const pingEveryMs = 5;

export async function pings(host: Host, address: string): Promise<Pinged> {
  const words = ["-n", "-c", `${pingCount}`, "-i", `${pingEveryMs / 1000}`, "-W", "1", address];
  const timeoutMs = pingCount * pingEveryMs + graceMs;
  const ran = await host.run(["ping", ...words], { timeoutMs });
  const times = [...ran.stdout.matchAll(/ time=([\d.]+) ms/g)].map((match) => Number(match[1]));
  if (times.length === 0) throw new Error(`no ping came back: ${describe(ran)}`);
  times.sort((left, right) => left - right);
  // A ping that was lost took longer than any that came back.
  const rank = Math.min(times.length, Math.ceil(pingCount * 0.99));
  const sum = times.reduce((total, time) => total + time, 0);
  return { averageMs: sum / times.length, p99Ms: times[rank - 1] ?? 0 };
}

/** Pings while a stream fills the tunnel. */
export async function loadedPings(near: Host, far: Host, address: string): Promise<Pinged> {
  const load = await BackgroundStream.start(near, far, address);
  try {
    await Bun.sleep(loadSettleMs);
    return await pings(near, address);
  } finally {
    await load.stop();
  }
}

/** Streams until it is stopped, for what is measured meanwhile. */
export class BackgroundStream {
  readonly #client: Running;
  readonly #server: Running;

  private constructor(client: Running, server: Running) {
    this.#client = client;
    this.#server = server;
  }

  static async start(near: Host, far: Host, address: string): Promise<BackgroundStream> {
    const server = await serve(far, address);
    const words = [
      "-c",
      address,
      "-p",
      `${port}`,
      "-t",
      `${backgroundSeconds}`,
      "-C",
      congestionControl,
    ];
    return new BackgroundStream(near.start(["iperf3", ...words]), server);
  }

  /** Throws where the load ended before it was told to. */
  async stop(): Promise<void> {
    const { running } = this.#client;
    const said = this.#client.log();
    await Promise.all([this.#client.stop(), this.#server.stop()]);
    if (!running) throw new Error(`the load ended early: ${said.trim().slice(-300)}`);
  }
}

/** What is read of iperf3's JSON. */
interface Report {
  readonly error?: string;
  readonly end: {
    readonly sum?: Sum;
    readonly sum_sent?: Sum;
    readonly sum_received?: Sum;
    readonly sender_tcp_congestion?: string;
  };
}

interface Sum {
  readonly bytes: number;
  readonly bits_per_second: number;
  readonly seconds: number;
  readonly retransmits?: number;
  readonly packets?: number;
  readonly lost_packets?: number;
}

async function iperf(
  near: Host,
  far: Host,
  address: string,
  words: readonly string[],
  seconds: number,
): Promise<{ client: Report; server: Report }> {
  const server = await serve(far, address);
  try {
    const command = ["iperf3", "-J", "-c", address, "-p", `${port}`, ...words];
    const timeoutMs = seconds * 1000 + graceMs;
    const ran = await near.run(command, { timeoutMs });
    const client = parse(ran.stdout);
    if (client?.error !== undefined) throw new Error(`iperf3: ${client.error}`);
    if (client === undefined || ran.code !== 0) throw new Error(`iperf3: ${describe(ran)}`);
    const report = await until("iperf3's server to say what came", () => parse(server.log()), {
      timeoutMs: graceMs,
      evidence: () => server.log().slice(-300),
    });
    return { client, server: report };
  } finally {
    await server.stop();
  }
}

async function serve(host: Host, address: string): Promise<Running> {
  const words = ["-s", "-1", "-J", "-B", address, "-p", `${port}`];
  const server = host.start(["iperf3", ...words]);
  await until("iperf3's server to listen", () => server.running && listens(server.pid), {
    everyMs: 5,
    evidence: () => server.log(),
  });
  return server;
}

/** Whether somebody in the namespace of this process listens on the port. */
function listens(pid: number): boolean {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return readFileSync(`/proc/${pid}/net/tcp`, "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .some((fields) => fields[1]?.endsWith(suffix) && fields[3] === listening);
}

function parse(text: string): Report | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

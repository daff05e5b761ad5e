/**
 * `meshvpn bench PEER`: what the tunnel to a member carries, both ways, and what packets wait
 * meanwhile. The other side serves with `meshvpn bench --serve`, for as long as somebody wants.
 */
import { defineCommand } from "citty";
import { MeshError } from "../base/errors.ts";
import { askStatus, type Called } from "./ask.ts";
import {
  benchPortDefault,
  type Direction,
  measureDown,
  measureLatency,
  measureUp,
  percentile,
  reach,
  serveBench,
} from "./bench-traffic.ts";
import { usageError } from "./errors.ts";
import { settingFlags } from "./flags.ts";
import { addressOf, findMember, nameOf } from "./member.ts";
import { wholeNumber } from "./numbers.ts";
import { printRows } from "./print.ts";
import { formatRate } from "./top.ts";

export const benchSchema = 1;
const idleSeconds = 1;

export default defineCommand({
  meta: {
    name: "bench",
    description:
      "Measure the tunnel to a member, both ways, with latency idle and under load; the member runs bench --serve. " +
      "Example: meshvpn bench laptop --seconds 5",
  },
  args: {
    peer: {
      type: "positional",
      required: false,
      valueHint: "PEER",
      description: "its name, identity or address",
    },
    serve: { type: "boolean", description: "be the other side, until Ctrl-C" },
    seconds: { type: "string", valueHint: "N", description: "each way, 1 to 60 (3)" },
    "bench-port": {
      type: "string",
      valueHint: "N",
      description: `TCP, inside the tunnel (${benchPortDefault})`,
    },
    json: { type: "boolean", description: "print JSON" },
    ...settingFlags(["control_socket"]),
  },
  async run(called) {
    const { args } = called;
    const port = wholeNumber("--bench-port", args["bench-port"], 1, 65_535) ?? benchPortDefault;
    if (args.serve === true) return await serve(called, port);
    if (args.peer === undefined) {
      throw usageError("no member is named", "bench with whom?", "see meshvpn bench --help");
    }
    const seconds = wholeNumber("--seconds", args.seconds, 1, 60) ?? 3;
    const report = await measure(called, String(args.peer), port, seconds);
    if (args.json === true) console.log(JSON.stringify(report));
    else process.stdout.write(benchText(report));
    return 0;
  },
});

async function serve(called: Called, port: number): Promise<number> {
  const { addresses } = await askStatus(called);
  const own = addresses.find((address) => address.includes(":"));
  if (own === undefined) {
    throw new MeshError("no_address", "cannot serve", "this node has no address", "see status");
  }
  const listener = serveBench(own, port, async (from) => {
    const { members } = await askStatus(called);
    return members.some(({ addresses: theirs }) => theirs.includes(from));
  });
  console.log(`serving on [${own}]:${port} until Ctrl-C`);
  await new Promise<void>((resolve) => {
    process.once("SIGINT", resolve).once("SIGTERM", resolve);
  });
  listener.stop(true);
  return 0;
}

export interface BenchReport {
  readonly schema: typeof benchSchema;
  readonly member: string;
  readonly path: string;
  readonly seconds: number;
  readonly sent_bits_per_s: number;
  readonly received_bits_per_s: number;
  readonly latency_ms: Readonly<
    Record<"idle" | "sending" | "receiving", { p50: number | null; p99: number | null }>
  >;
}

async function measure(
  called: Called,
  said: string,
  port: number,
  seconds: number,
): Promise<BenchReport> {
  const found = findMember(await askStatus(called), said);
  const [member, address] = [nameOf(found), addressOf(found)];
  try {
    await reach(address, port);
    progress(`latency of an idle tunnel, ${idleSeconds} s`);
    const idle = await measureLatency(address, port, idleSeconds);
    progress(`to ${member}, ${seconds} s`);
    const [sent, sending] = await underLoad(address, port, seconds, measureUp);
    progress(`from ${member}, ${seconds} s`);
    const [received, receiving] = await underLoad(address, port, seconds, measureDown);
    progress(undefined);
    const { path } = findMember(await askStatus(called), found.identity);
    const ranks = (trips: readonly number[]) => ({
      p50: percentile(trips, 0.5),
      p99: percentile(trips, 0.99),
    });
    return {
      schema: benchSchema,
      member,
      path,
      seconds,
      sent_bits_per_s: rateOf(sent),
      received_bits_per_s: rateOf(received),
      latency_ms: { idle: ranks(idle), sending: ranks(sending), receiving: ranks(receiving) },
    };
  } catch (error) {
    if (error instanceof MeshError) throw error;
    progress(undefined);
    const why = error instanceof Error ? error.message : String(error);
    throw new MeshError(
      "bench_failed",
      `cannot measure with ${member}`,
      why,
      `run meshvpn bench --serve there; where its policy denies by default, meshvpn policy allow any tcp ${port} there; and see meshvpn ping ${member}`,
    );
  }
}

async function underLoad(
  address: string,
  port: number,
  seconds: number,
  load: (address: string, port: number, seconds: number) => Promise<Direction>,
): Promise<[Direction, readonly number[]]> {
  const over = new AbortController();
  const trips = measureLatency(address, port, seconds, over.signal);
  const direction = await load(address, port, seconds);
  over.abort();
  return [direction, await trips];
}

function rateOf({ bytes, seconds }: Direction): number {
  return Math.round((bytes * 8) / seconds);
}

/** One line on a terminal's stderr, written over by the next. */
function progress(text: string | undefined): void {
  if (process.stderr.isTTY === true) process.stderr.write(`\r\x1b[K${text ?? ""}`);
}

export function benchText(report: BenchReport, terminal = process.stdout.isTTY === true): string {
  const { member, path, latency_ms: latency } = report;
  const trip = ({ p50, p99 }: { p50: number | null; p99: number | null }): string[] =>
    terminal
      ? [p50, p99].map((ms) => (ms === null ? "-" : `${ms.toFixed(2)} ms`))
      : [p50, p99].map((ms) => `${ms ?? "-"}`);
  const rate = (bits: number): string => (terminal ? formatRate(bits) : `${bits}`);
  const rows = [
    ["idle", "-", ...trip(latency.idle)],
    [`to ${member}`, rate(report.sent_bits_per_s), ...trip(latency.sending)],
    [`from ${member}`, rate(report.received_bits_per_s), ...trip(latency.receiving)],
  ];
  const table = printRows(["TUNNEL", "RATE", "LATENCY P50", "P99"], rows, terminal);
  return terminal ? `${member}, ${path}\n\n${table}` : table;
}

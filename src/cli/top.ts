/** `meshvpn top`: who talks how much, drawn again each second. */
import { defineCommand } from "citty";
import { isReached, type MemberStatus, type MeshStatus } from "../daemon/status.ts";
import { askStatus } from "./ask.ts";
import { settingFlags } from "./flags.ts";
import { nameOf } from "./member.ts";
import { wholeNumber } from "./numbers.ts";
import { printRows } from "./print.ts";
import { showFrames, sparkline } from "./screen.ts";

export const topSchema = 1;
const historyMax = 20;

export default defineCommand({
  meta: {
    name: "top",
    description:
      "Show rates to and from each member, the busiest first, again each second. " +
      "Example: meshvpn top --interval 2",
  },
  args: {
    json: { type: "boolean", description: "print JSON, one line each time" },
    interval: { type: "string", valueHint: "SECONDS", description: "between two (1)" },
    count: { type: "string", valueHint: "N", description: "end after so many" },
    ...settingFlags(["control_socket"]),
  },
  async run(called) {
    const { args } = called;
    const every = wholeNumber("--interval", args.interval, 1, 3600) ?? 1;
    const count = wholeNumber("--count", args.count, 1, 1_000_000);
    const rates = new Rates();
    // The first look only says from where to count.
    rates.take(await askStatus(called), performance.now());
    await Bun.sleep(every * 1000);
    await showFrames({ every, count }, async () => {
      const status = await askStatus(called);
      const rows = rates.take(status, performance.now());
      if (args.json === true) return `${JSON.stringify({ schema: topSchema, members: rows })}\n`;
      return topText(status, rows, process.stdout.isTTY === true, rates.history);
    });
  },
});

export interface Rate {
  readonly member: string;
  readonly identity: string;
  readonly path: string;
  readonly rtt_ms: number | null;
  readonly rx_bits_per_s: number;
  readonly tx_bits_per_s: number;
}

/** From totals to rates. A member that restarts its count is at zero for one turn. */
export class Rates {
  #before = new Map<string, MemberStatus>();
  #beforeMs = 0;
  readonly history = new Map<string, number[]>();

  take({ members }: MeshStatus, nowMs: number): readonly Rate[] {
    const seconds = Math.max(0.001, (nowMs - this.#beforeMs) / 1000);
    const rates = members.map((member): Rate => {
      const before = this.#before.get(member.identity);
      const since = (now: number, then: number | undefined): number =>
        then === undefined ? 0 : Math.round((Math.max(0, now - then) * 8) / seconds);
      return {
        member: nameOf(member),
        identity: member.identity,
        path: member.path,
        rtt_ms: member.rtt_ms,
        rx_bits_per_s: since(member.rx_bytes, before?.rx_bytes),
        tx_bits_per_s: since(member.tx_bytes, before?.tx_bytes),
      };
    });
    this.#before = new Map(members.map((member) => [member.identity, member]));
    this.#beforeMs = nowMs;
    for (const known of this.history.keys())
      if (!this.#before.has(known)) this.history.delete(known);
    for (const rate of rates) {
      const past = this.history.get(rate.identity) ?? [];
      const both = rate.rx_bits_per_s + rate.tx_bits_per_s;
      this.history.set(rate.identity, [...past, both].slice(-historyMax));
    }
    return rates.toSorted(
      (a, b) => b.rx_bits_per_s + b.tx_bits_per_s - a.rx_bits_per_s - a.tx_bits_per_s,
    );
  }
}

export function topText(
  status: MeshStatus,
  rates: readonly Rate[],
  terminal: boolean,
  history: ReadonlyMap<string, readonly number[]> = new Map(),
): string {
  if (!terminal) {
    const cells = rates.map((rate) => [
      rate.member,
      rate.identity,
      rate.path,
      `${rate.rtt_ms ?? "-"}`,
      `${rate.rx_bits_per_s}`,
      `${rate.tx_bits_per_s}`,
    ]);
    return printRows([], cells, false);
  }
  const connected = status.members.filter(isReached).length;
  const sum = (key: "rx_bits_per_s" | "tx_bits_per_s"): string =>
    formatRate(rates.reduce((total, rate) => total + rate[key], 0));
  const head = `${status.name}  ${connected} of ${status.members.length} connected  in ${sum("rx_bits_per_s")}  out ${sum("tx_bits_per_s")}`;
  const rows = rates.map((rate) => [
    rate.member,
    rate.path,
    rate.rtt_ms === null ? "-" : `${rate.rtt_ms.toFixed(1)} ms`,
    formatRate(rate.rx_bits_per_s),
    formatRate(rate.tx_bits_per_s),
    sparkline(history.get(rate.identity) ?? []),
  ]);
  return `${head}\n\n${printRows(["MEMBER", "PATH", "RTT", "IN", "OUT", "LATELY"], rows, true)}`;
}

/** 1,500,000 as `1.5 Mbit/s`. */
export function formatRate(bitsPerSecond: number): string {
  const units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"];
  let value = bitsPerSecond;
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit += 1) value /= 1000;
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

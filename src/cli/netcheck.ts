/** `meshvpn netcheck`: what kind of NAT this node is behind, by whose word, and what will work. */
import { defineCommand } from "citty";
import { type NetcheckReport, netcheckSeconds } from "../daemon/netcheck.ts";
import { askDaemon, type Called } from "./ask.ts";
import { settingFlags } from "./flags.ts";
import { wholeNumber } from "./numbers.ts";
import { portmapWords } from "./portmap-words.ts";
import { printRows } from "./print.ts";

const lookMs = 200;
/** The daemon is the one that ends the wait. */
const graceMs = 1_000;

export default defineCommand({
  meta: {
    name: "netcheck",
    description:
      "Say what kind of NAT this node is behind, where it is seen, and which members it will reach directly. " +
      "Example: meshvpn netcheck --json | jq .nat.kind",
  },
  args: {
    json: { type: "boolean", description: "print JSON" },
    timeout: {
      type: "string",
      valueHint: "SECONDS",
      description: `how long STUN servers may be silent (${netcheckSeconds.usual})`,
    },
    ...settingFlags(["control_socket"]),
  },
  async run(called) {
    const { least, most, usual } = netcheckSeconds;
    const seconds = wholeNumber("--timeout", called.args.timeout, least, most) ?? usual;
    const report = await check(called, seconds);
    const terminal = process.stdout.isTTY === true;
    if (called.args.json === true) console.log(JSON.stringify(report));
    else process.stdout.write(formatNetcheck(report, { terminal, seconds }));
  },
});

/** All servers are asked anew, and waited for. */
async function check(called: Called, seconds: number): Promise<NetcheckReport> {
  const ask = async (refresh: boolean): Promise<NetcheckReport> =>
    (await askDaemon(called, {
      command: "netcheck",
      refresh,
      timeout_s: seconds,
    })) as NetcheckReport;
  const untilMs = performance.now() + seconds * 1_000 + graceMs;
  let report = await ask(true);
  if (report.asking && process.stderr.isTTY) {
    process.stderr.write(`asking the STUN servers, for ${seconds} s at most\n`);
  }
  while (report.asking && performance.now() < untilMs) {
    await Bun.sleep(lookMs);
    report = await ask(false);
  }
  return report;
}

const kinds: Readonly<Record<NetcheckReport["nat"]["kind"], string>> = {
  unknown: "not known: nobody outside has told",
  none: "none: this node's own address is seen from outside",
  easy: "one mapping for all destinations: members reach this node by punching",
  hard: "another mapping for each destination: members behind such a NAT need a relay",
  blocked: "no UDP gets out: members are reached by TCP, where one listens and --tcp names it",
};

/** In a pipe each line begins with what it is. `seconds`: for so long servers were waited for. */
export function formatNetcheck(
  report: NetcheckReport,
  { seconds, terminal }: { readonly seconds: number; readonly terminal: boolean },
): string {
  const { addresses, nat, peers, relay, stun, tcp, udp } = report;
  const facts = [
    ["nat", terminal ? natWords(report) : nat.kind],
    ["mapping", nat.mapping],
    ["filtering", terminal ? filteringWords(report) : nat.filtering],
    ["udp4", udp.ipv4],
    ["udp6", udp.ipv6],
    ["portmap", portmapWords(report.port_mapping, report.port)],
    ["relay", relayWords(relay)],
    ["tcp", tcpWords(tcp)],
  ];
  const seen = addresses.map(({ address, kind, port }) => [
    kind,
    address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`,
  ]);
  const servers = stun.map((it) => [
    it.server,
    it.address === "" ? "-" : it.address,
    it.outcome,
    it.rtt_ms === null ? "-" : `${it.rtt_ms.toFixed(1)} ms`,
    it.seen ?? "-",
    it.believed ? "believed" : "not believed",
  ]);
  const expected = peers.map(({ expect, nat: kind }) => [kind, expect]);
  if (!terminal) {
    const tagged = (word: string, rows: readonly (readonly string[])[]): readonly string[][] =>
      rows.map((row) => [word, ...row]);
    const rows = [tagged("address", seen), tagged("stun", servers), tagged("peer", expected)];
    return printRows([], [...facts, ...rows.flat()], false);
  }
  const table = (header: readonly string[], rows: readonly (readonly string[])[]): string =>
    rows.length === 0 ? "" : `\n${printRows(header, rows, true)}`;
  return [
    facts.map(([word = "", said = ""]) => `${word.padEnd(9)}  ${said}\n`).join(""),
    table(["KIND", "ADDRESS"], seen),
    table(["STUN SERVER", "ADDRESS", "OUTCOME", "RTT", "SEES", ""], servers),
    silentWords(stun, seconds),
    table(["A MEMBER BEHIND", "IS REACHED"], expected),
  ].join("");
}

function natWords({ nat, stun }: NetcheckReport): string {
  if (nat.kind !== "unknown") return kinds[nat.kind];
  const mend = "connect to a member, or give --stun twice";
  return stun.length === 0
    ? `${kinds.unknown}; ${mend}`
    : `${kinds.unknown}, and no two STUN servers agree; connect to a member, or give other --stun`;
}

/** Tests that are answered by silence take a few seconds. */
function filteringWords({ asking, nat }: NetcheckReport): string {
  if (nat.filtering !== "unknown" || !asking) return nat.filtering;
  return "not known yet: a server is still testing it; ask again in a few seconds";
}

/** What to do about servers that said nothing. */
function silentWords(stun: NetcheckReport["stun"], seconds: number): string {
  const silent = stun
    .filter(({ outcome }) => outcome === "silent" || outcome === "asked")
    .map(({ server }) => server);
  const nameless = stun.filter(({ outcome }) => outcome === "no address");
  const lines = [
    silent.length === 0
      ? ""
      : `no answer within ${seconds} s from ${[...new Set(silent)].join(", ")}: it is down, its port is another, or a firewall drops UDP; check it, or name another by --stun\n`,
    nameless.length === 0
      ? ""
      : `no address is known for ${nameless.map(({ server }) => server).join(", ")}: check the name and DNS\n`,
  ].join("");
  return lines === "" ? "" : `\n${lines}`;
}

function relayWords({ members, offered, used }: NetcheckReport["relay"]): string {
  const through = members.length === 0 ? "no member relays" : `by ${members.join(", ")}`;
  const own = offered ? "; this node relays for others" : "";
  return `${through}${used === 0 ? "" : `, ${used} reached so`}${own}`;
}

function tcpWords({ listens, members }: NetcheckReport["tcp"]): string {
  const own = listens === null ? "this node takes none" : `this node listens on ${listens}`;
  return members === 0 ? own : `${own}; ${members} to call`;
}

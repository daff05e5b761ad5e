/** `meshvpn netcheck`: what kind of NAT this node is behind, by whose word, and what will work. */
import { defineCommand } from "citty";
import type { NetcheckReport } from "../daemon/netcheck.ts";
import { askDaemon, type Called } from "./ask.ts";
import { settingFlags } from "./flags.ts";
import { printRows } from "./print.ts";

/** Longer than a server that answers takes; one that does not is seen as silent much later. */
const waitMs = 9_000;
const lookMs = 200;

export default defineCommand({
  meta: {
    name: "netcheck",
    description:
      "Say what kind of NAT this node is behind, where it is seen, and which members it will reach directly. " +
      "Example: meshvpn netcheck --json | jq .nat.kind",
  },
  args: {
    json: { type: "boolean", description: "print JSON" },
    ...settingFlags(["control_socket"]),
  },
  async run(called) {
    const report = await check(called);
    if (called.args.json === true) console.log(JSON.stringify(report));
    else process.stdout.write(formatNetcheck(report, process.stdout.isTTY === true));
  },
});

/** All servers are asked anew, and waited for. */
async function check(called: Called): Promise<NetcheckReport> {
  const ask = async (refresh: boolean): Promise<NetcheckReport> =>
    (await askDaemon(called, { command: "netcheck", refresh })) as NetcheckReport;
  let report = await ask(true);
  if (report.asking && process.stderr.isTTY) process.stderr.write("asking the STUN servers\n");
  for (let waited = 0; report.asking && waited < waitMs; waited += lookMs) {
    await Bun.sleep(lookMs);
    report = await ask(false);
  }
  return report;
}

const kinds: Readonly<Record<NetcheckReport["nat"]["kind"], string>> = {
  unknown: "not known: nobody outside has told; give two --stun servers, or connect to a member",
  none: "none: this node's own address is seen from outside",
  easy: "one mapping for all destinations: members reach this node by punching",
  hard: "another mapping for each destination: members behind such a NAT need a relay",
  blocked: "no UDP gets out: members are reached by TCP, where one listens and --tcp names it",
};

/** In a pipe each line begins with what it is. */
export function formatNetcheck(report: NetcheckReport, terminal: boolean): string {
  const { addresses, nat, peers, relay, stun, tcp, udp } = report;
  const facts = [
    ["nat", terminal ? kinds[nat.kind] : nat.kind],
    ["mapping", nat.mapping],
    ["filtering", nat.filtering],
    ["udp4", udp.ipv4],
    ["udp6", udp.ipv6],
    ["portmap", portmapWords(report.port_mapping)],
    ["relay", relayWords(relay)],
    ["tcp", tcpWords(tcp)],
  ];
  const seen = addresses.map(({ address, kind, port }) => [
    kind,
    address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`,
  ]);
  const servers = stun.map((it) => [
    it.server,
    it.address,
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
    table(["A MEMBER BEHIND", "IS REACHED"], expected),
  ].join("");
}

function portmapWords({ asked, gateway, mapped }: NetcheckReport["port_mapping"]): string {
  if (mapped !== null) return `${mapped.address}:${mapped.port} by ${mapped.by}, from ${gateway}`;
  if (gateway === null) return "no gateway is asked";
  const outcomes = Object.entries(asked).map(([protocol, outcome]) => `${protocol}: ${outcome}`);
  return outcomes.length === 0 ? `not needed, or not asked yet` : outcomes.join(", ");
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

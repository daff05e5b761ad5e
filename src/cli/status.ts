/** `meshvpn status`: this node and the members it knows, as the daemon sees them now. */
import { defineCommand } from "citty";
import { readiness } from "../daemon/readiness.ts";
import type { MemberStatus, MeshStatus } from "../daemon/status.ts";
import { askStatus } from "./ask.ts";
import { settingFlags } from "./flags.ts";
import { pathRows } from "./paths.ts";
import { formatBytes, formatSeconds, printRows } from "./print.ts";
import { nameFor, routesText } from "./routes.ts";
import { showFrames } from "./screen.ts";

/** Enough of an identity to tell members apart by eye. */
const keyCharacters = 8;

export default defineCommand({
  meta: {
    name: "status",
    description:
      "Show this node and its members: a table on a terminal, tab-separated lines in a pipe. " +
      "Example: meshvpn status --json | jq '.members[].name'",
  },
  args: {
    json: { type: "boolean", description: "print JSON" },
    counters: { type: "boolean", description: "print every counter as well" },
    paths: { type: "boolean", description: "print every way to each member as well" },
    watch: { type: "boolean", description: "again each second, until Ctrl-C" },
    check: { type: "boolean", description: "only say whether it is healthy; exit code 4 if not" },
    ...settingFlags(["control_socket"]),
  },
  async run(called) {
    const { args } = called;
    if (args.check === true) return printReadiness(await askStatus(called));
    const paths = args.json === true || args.paths === true;
    const once = async (): Promise<string> => {
      const status = await askStatus(called, { counters: args.counters === true, paths });
      if (args.json === true) return `${JSON.stringify(status)}\n`;
      const terminal = process.stdout.isTTY === true;
      const ways = paths ? `${terminal ? "\n" : ""}${pathRows(status.members, terminal)}` : "";
      return `${formatStatus(status, terminal)}${ways}`;
    };
    if (args.watch === true) await showFrames({ every: 1 }, once);
    else process.stdout.write(await once());
    return 0;
  },
});

/** The line of /readyz, and 4 where it is not ready. */
function printReadiness(status: MeshStatus): number {
  const { ready, why } = readiness(status);
  console.log(why);
  return ready ? 0 : 4;
}

/** In a pipe each line begins with what it is: `node`, `member`, `path`, `route`, `warning` or `counter`. */
export function formatStatus(status: MeshStatus, terminal: boolean): string {
  const counters = Object.entries(status.counters ?? {}).map(([name, count]) => [name, `${count}`]);
  const interfaceName = status.interface ?? "-";
  if (!terminal) {
    const { name, identity, addresses, port } = status;
    return printRows(
      [],
      [
        ["node", name, identity, interfaceName, addresses.join(","), `${port}`],
        ...status.members.map((member) => ["member", ...plainCells(member)]),
        ...status.routes.map(({ identity, prefix, state }) => ["route", identity, prefix, state]),
        ...(status.warnings ?? []).map((text) => ["warning", text]),
        ...counters.map((cells) => ["counter", ...cells]),
      ],
      false,
    );
  }
  const node = [
    ["node", `${status.name}  ${status.identity}`],
    ["network", status.network],
    ["interface", `${interfaceName}  ${status.addresses.join("  ")}`],
    ["port", `${status.port}`],
    ["aead", status.aead],
    ["io_uring", status.io_uring],
    ...(status.offers.length === 0
      ? []
      : [["offers", `${status.offers.join("  ")}  forwarding: ${status.forward}`]]),
    ...(status.exit_node === null ? [] : [["exit node", nameFor(status, status.exit_node)]]),
    ...(status.certificate === null ? [] : [["until", until(status.certificate.expires)]]),
    ...(status.warnings ?? []).map((text) => ["warning", text]),
  ];
  const members =
    status.members.length > 0 ? memberRows(status.members, true) : `${noMember(status)}\n`;
  const counted =
    counters.length === 0 ? "" : `\n${printRows(["COUNTER", "VALUE"], counters, true)}`;
  const routes = status.routes.length === 0 ? "" : `\n${routesText(status, true)}`;
  const head = node.map(([word = "", said]) => `${word.padEnd(9)}  ${said}\n`).join("");
  return `${head}\n${members}${routes}${counted}`;
}

const header = ["MEMBER", "KEY", "ADDRESSES", "STATE", "PATH", "RTT", "HANDSHAKE", "RX", "TX"];

/** Of the members alone. */
export function memberRows(members: readonly MemberStatus[], terminal: boolean): string {
  return terminal
    ? printRows(header, members.map(cells), true)
    : printRows([], members.map(plainCells), false);
}

/** The day on which this node's certificate ends. */
function until(seconds: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 10)}, when the certificate ends`;
}

function noMember({ joining, organisations }: MeshStatus): string {
  if (joining) return "no member yet: the invitation is not redeemed, and its issuer is asked";
  if (organisations > 0) return "no member yet: meshvpn invite asks another node in";
  return "nobody is trusted, so there is no member: meshvpn trust KEY, or meshvpn join TOKEN";
}

function plainCells(member: MemberStatus): string[] {
  return [
    member.given_name === "" ? member.name : member.given_name,
    member.identity,
    member.addresses.join(","),
    member.state,
    member.path,
    `${member.rtt_ms ?? "-"}`,
    `${member.handshake_age_s ?? "-"}`,
    `${member.rx_bytes}`,
    `${member.tx_bytes}`,
  ];
}

function cells(member: MemberStatus): string[] {
  const age = member.handshake_age_s;
  return [
    calledName(member),
    member.identity.slice(0, keyCharacters),
    member.addresses.join(" "),
    member.state,
    member.path,
    member.rtt_ms === null ? "-" : `${member.rtt_ms.toFixed(1)} ms`,
    age === null ? "-" : `${formatSeconds(age)} ago`,
    formatBytes(member.rx_bytes),
    formatBytes(member.tx_bytes),
  ];
}

/** The operator's own word wins; what the node calls itself stands beside it where it differs. */
function calledName({ name, given_name: given, name_clash: clash }: MemberStatus): string {
  if (given === "") return name === "" ? "-" : clash ? `${name} (not alone)` : name;
  return name === "" || name === given ? given : `${given} (${name})`;
}

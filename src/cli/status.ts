/** `meshvpn status`: this node and the members it knows, as the daemon sees them now. */
import { defineCommand } from "citty";
import { readSettings } from "../daemon/config.ts";
import { ask } from "../daemon/control.ts";
import type { MemberStatus, MeshStatus } from "../daemon/status.ts";
import { settingFlags, settingSources } from "./flags.ts";
import { formatBytes, formatSeconds, printRows } from "./print.ts";

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
    ...settingFlags(["control_socket"]),
  },
  async run({ args, rawArgs }) {
    const { control_socket: socket } = readSettings(
      settingSources(["control_socket"], args, rawArgs),
      ["control_socket"],
    );
    const counters = args.counters === true;
    const status = (await ask(socket, { command: "status", counters })) as MeshStatus;
    if (args.json === true) console.log(JSON.stringify(status));
    else process.stdout.write(formatStatus(status, process.stdout.isTTY === true));
  },
});

/** In a pipe each line begins with what it is: `node`, `member` or `counter`. */
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
  ];
  const header = ["MEMBER", "KEY", "ADDRESSES", "STATE", "PATH", "RTT", "HANDSHAKE", "RX", "TX"];
  const members =
    status.members.length > 0
      ? printRows(header, status.members.map(cells), true)
      : "nobody is trusted, so there is no member: meshvpn trust KEY\n";
  const counted =
    counters.length === 0 ? "" : `\n${printRows(["COUNTER", "VALUE"], counters, true)}`;
  return `${node.map(([word = "", said]) => `${word.padEnd(9)}  ${said}\n`).join("")}\n${members}${counted}`;
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
function calledName({ name, given_name: given }: MemberStatus): string {
  if (given === "") return name === "" ? "-" : name;
  return name === "" || name === given ? given : `${given} (${name})`;
}

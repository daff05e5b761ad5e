/** The ways to members, as tables and lines: which is used and why, and what became of the others. */
import type { PathStatus } from "../daemon/path-status.ts";
import type { MemberStatus } from "../daemon/status.ts";
import { nameOf } from "./member.ts";
import { formatSeconds, printRows } from "./print.ts";

const header = ["MEMBER", "", "WAY", "FROM", "STATE", "RTT", "LOSS", "MTU"];

/** A line for each way to each member; in a pipe with `path` before it. */
export function pathRows(members: readonly MemberStatus[], terminal: boolean): string {
  const rows = members.flatMap((member) =>
    (member.paths ?? []).map((path) => [nameOf(member), ...cells(path, terminal)]),
  );
  return terminal
    ? printRows(header, rows, true)
    : printRows(
        [],
        rows.map((row) => ["path", ...row]),
        false,
      );
}

/** Where the member may be, why it is reached as it is, and its ways. */
export function pathStory(member: MemberStatus): string {
  const { candidates = [], nat = "unknown", path, path_why: why, paths = [] } = member;
  const chosen = why === null || why === undefined ? path : `${path}: ${why}`;
  const may = candidates.length === 0 ? "nowhere that it says" : candidates.join(", ");
  const ways = paths.map((each) => cells(each, true));
  const table = ways.length === 0 ? "" : printRows(header.slice(1), ways, true);
  return `path       ${chosen}\nmay be at  ${may} (NAT: ${nat})\n${table}`;
}

function cells(path: PathStatus, terminal: boolean): string[] {
  const rtt = path.rtt_ms === null ? "-" : `${path.rtt_ms.toFixed(1)}${terminal ? " ms" : ""}`;
  return [
    path.used ? "*" : "-",
    path.way,
    path.source,
    stateOf(path),
    rtt,
    `${path.loss}`,
    `${path.mtu ?? "-"}`,
  ];
}

function stateOf({ failed_s_ago: failed, state }: PathStatus): string {
  if (state === "failed" && failed !== null) return `failed ${formatSeconds(failed)} ago`;
  return state;
}

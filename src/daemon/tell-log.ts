/** What a node reports that is for the log alone, in its words. */
import { unreachable } from "../base/errors.ts";
import type { NodeEvent } from "../mesh/node.ts";
import type { Log } from "./log.ts";
import { warningText } from "./warnings.ts";

export type Told = Exclude<
  NodeEvent,
  {
    kind:
      | `timestamp_${string}`
      | `persist_${string}`
      | "member_joined"
      | "member_left"
      | `peer_${string}`;
  }
>;

/** `called`: what to call a subject. */
export function tellLog(log: Log, report: Told, called: (subject: string) => string): void {
  switch (report.kind) {
    case "member_state":
      log.verbose(`${called(report.identity)} is ${report.state}`);
      break;
    case "session_up":
      log.verbose(`${called(report.identity)} is connected`);
      break;
    case "session_down":
      log.verbose(`${called(report.identity)} is not connected`);
      break;
    case "address_assigned":
      log.verbose(`the addresses are ${report.ipv6} and ${report.ipv4 ?? "no IPv4"}`);
      break;
    case "warning":
      log.warning(warningText(report.code, called(report.subject)));
      break;
    default:
      unreachable(report);
  }
}

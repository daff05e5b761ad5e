/** Asking the daemon that a command line means: by --control-socket, its variable, or the file. */
import { readSettings } from "../daemon/config.ts";
import { ask, type ControlRequest } from "../daemon/control.ts";
import type { MeshStatus } from "../daemon/status.ts";
import { settingSources } from "./flags.ts";

/** What citty hands to a command. */
export interface Called {
  readonly args: Readonly<Record<string, unknown>>;
  readonly rawArgs: readonly string[];
}

export async function askDaemon(called: Called, request: ControlRequest): Promise<unknown> {
  const names = ["control_socket"] as const;
  const sources = settingSources(names, called.args, called.rawArgs);
  return await ask(readSettings(sources, names).control_socket, request);
}

/** What costs the daemon something is left out unless it is asked for. */
export interface StatusParts {
  readonly counters?: boolean;
  /** Of each member: candidates, ways, why one was taken. */
  readonly paths?: boolean;
}

export async function askStatus(called: Called, parts: StatusParts = {}): Promise<MeshStatus> {
  return (await askDaemon(called, { command: "status", ...parts })) as MeshStatus;
}

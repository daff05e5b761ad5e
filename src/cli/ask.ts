/** Asking the daemon that a command line means: by --control-socket, its variable, or the file. */
import type { MeshError } from "../base/errors.ts";
import { readSettings } from "../daemon/config.ts";
import { ask, type ControlRequest } from "../daemon/control.ts";
import type { MeshConfig, SettingName } from "../daemon/setting.ts";
import type { MeshStatus } from "../daemon/status.ts";
import { settingSources } from "./flags.ts";
import { withCalledRelays } from "./member.ts";

/** What citty hands to a command. */
export interface Called {
  readonly args: Readonly<Record<string, unknown>>;
  readonly rawArgs: readonly string[];
}

export async function askDaemon(called: Called, request: ControlRequest): Promise<unknown> {
  const names = ["control_socket"] as const;
  return await ask(clientSettings(called, names).control_socket, request);
}

let warned = false;

/**
 * What a command needs that speaks to a daemon which runs already. A mistake elsewhere in the file is
 * the next start's: here it is warned of, once, so that a daemon can be asked and ended meanwhile.
 */
export function clientSettings<Name extends SettingName>(
  { args, rawArgs }: Called,
  names: readonly Name[],
): Pick<MeshConfig, Name> {
  const mistake = (error: MeshError): void => {
    if (!warned) console.error(`meshvpn: warning: ${error.sentence()}`);
    warned = true;
  };
  return readSettings({ ...settingSources(names, args, rawArgs), mistake }, names);
}

/** What costs the daemon something is left out unless it is asked for. */
export interface StatusParts {
  readonly counters?: boolean;
  /** Of each member: candidates, ways, why one was taken. */
  readonly paths?: boolean;
}

export async function askStatus(called: Called, parts: StatusParts = {}): Promise<MeshStatus> {
  const status = (await askDaemon(called, { command: "status", ...parts })) as MeshStatus;
  return withCalledRelays(status);
}

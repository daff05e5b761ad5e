/** What the commands of routes share: where they are kept, and whom a word means. */
import { readSettings } from "../daemon/config.ts";
import { ask } from "../daemon/control.ts";
import type { MeshStatus } from "../daemon/status.ts";
import { readKeys } from "../daemon/trust-files.ts";
import { formatIdentity, parseIdentity } from "../trust/identity.ts";
import type { Called } from "./ask.ts";
import { usageError } from "./errors.ts";
import { settingFlags, settingSources } from "./flags.ts";
import { findMember } from "./member.ts";
import { statusOf } from "./policy-context.ts";
import { warn } from "./trust-context.ts";

const names = ["state_dir", "control_socket"] as const;
export const routeFlags = settingFlags(names);

export interface Place {
  readonly directory: string;
  readonly socket: string;
  /** undefined: no daemon runs. */
  readonly status: MeshStatus | undefined;
}

export async function placeOf({ args, rawArgs }: Called): Promise<Place> {
  const settings = readSettings(settingSources(names, args, rawArgs), names);
  const { state_dir: directory, control_socket: socket } = settings;
  return { directory, socket, status: await statusOf(socket) };
}

/** The member's identity; where no daemon runs, of those trusted by key. MeshError usage. */
export function identityMeant({ directory, status }: Place, said: string): string {
  if (status !== undefined) return findMember(status, said).identity;
  const key = parseIdentity(said);
  if (key !== undefined) return formatIdentity(key);
  const found = readKeys(directory, "trusted", warn).filter(({ name }) => name === said);
  const [one, ...others] = found;
  if (one !== undefined && others.length === 0) return formatIdentity(one.identity);
  const why = "the daemon does not run, and no trusted identity alone has that name here";
  throw usageError(`there is no member ${said}`, why, "give the identity, or start the daemon");
}

/** What a daemon that runs makes of what was written. */
export async function inForce({ socket, status }: Place): Promise<MeshStatus | undefined> {
  if (status === undefined) return undefined;
  await ask(socket, { command: "reload" });
  return await statusOf(socket);
}

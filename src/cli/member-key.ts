/** The key of a member that an operator names, for a command that signs something about it. */
import { parseKeyLine } from "../daemon/trust-files.ts";
import { usageError } from "./errors.ts";
import { findMember } from "./member.ts";
import { statusOf } from "./policy-context.ts";
import { named, parseKeyArgument } from "./trust-context.ts";

/**
 * A key, the operator's own word for one, or what a daemon that runs knows a member by: its name, its
 * address or the beginning of its key. @throws MeshError usage where nobody or several are meant.
 */
export async function memberKey(
  { directory, socket }: { readonly directory: string; readonly socket: string },
  given: string | undefined,
  what: string,
  help: string,
): Promise<Uint8Array> {
  const said = given?.trim() ?? "";
  if (said === "" || parseKeyLine(said) !== undefined) return parseKeyArgument(given, what, help);
  const [known] = named(directory, said, ["trusted"]) ?? [];
  if (known !== undefined) return known;
  const status = await statusOf(socket);
  if (status !== undefined) return parseKeyArgument(findMember(status, said).identity, what, help);
  const why = `${JSON.stringify(said)} is no public key (44 characters of base64), and no daemon runs that would know a member by it`;
  throw usageError(`cannot ${what}`, why, "give the key, or run meshvpn up");
}

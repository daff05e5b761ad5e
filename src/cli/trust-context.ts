/**
 * What the commands of trust share: the state directory's network, the organisation's key, and what
 * is given to them as a key, a signed line or a file of either. Nothing here speaks to the network.
 */
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { MeshError } from "../base/errors.ts";
import { ask } from "../daemon/control.ts";
import { loadIdentity } from "../daemon/state.ts";
import { lockStateDirectory } from "../daemon/state-lock.ts";
import {
  type KeyList,
  type Listed,
  parseKeyLine,
  readKeys,
  readNetwork,
} from "../daemon/trust-files.ts";
import type { NativeCrypto } from "../native/crypto.ts";
import type { Certificate } from "../trust/certificate.ts";
import { formatIdentity, networkIdOf, parseIdentity } from "../trust/identity.ts";
import { looksLikeInvite } from "../trust/invite.ts";
import { looksLikeSigned, parseSigned, type Statement } from "../trust/statement.ts";
import { sanitizeName } from "../trust/text.ts";
import { usageError } from "./errors.ts";

const fileBytesMax = 4 * 1024 * 1024;

/** A line that somebody gave. */
export type Given =
  | ({ readonly kind: "key" } & Listed)
  | Statement
  | { readonly kind: "certificate"; readonly certificate: Certificate };

export function warn(text: string): void {
  console.error(`meshvpn: ${text}`);
}

export async function openCrypto(): Promise<NativeCrypto> {
  const { NativeCrypto } = await import("../native/crypto.ts");
  const { loadLibrary } = await import("../native/library.ts");
  return new NativeCrypto(loadLibrary());
}

/** A daemon that runs there goes on as what it was when it started. */
export function warnWhereInUse(directory: string): void {
  if (!existsSync(join(directory, "lock"))) return;
  try {
    lockStateDirectory(directory).release();
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    if (error.code !== "daemon_running") return;
    warn(
      `warning: the daemon that runs on ${directory} goes on as before: meshvpn down, then meshvpn up`,
    );
  }
}

/** That of `init` or `join`, else the configured one's. */
export function networkOf(crypto: NativeCrypto, directory: string, network: string): Uint8Array {
  return readNetwork(directory, warn)?.id ?? networkIdOf(crypto, network);
}

/** This node's; undefined where there is none, or none that can be read: `up` says what is wrong. */
export function ownIdentity(crypto: NativeCrypto, directory: string): Uint8Array | undefined {
  if (!existsSync(join(directory, "identity.key"))) return undefined;
  try {
    const { publicKey, seed } = loadIdentity(crypto, directory);
    crypto.release(seed);
    return publicKey;
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    return undefined;
  }
}

/**
 * A key, a signed line, or a file (`-`: stdin) of lines of either. `verb` is for the words of a
 * refusal. @throws MeshError usage, and nothing is kept.
 */
export function readGiven(given: string, verb: string, help: string): readonly Given[] {
  const one = parseLine(given, verb);
  if (one !== undefined) return [one];
  const text = readFile(given, verb, help);
  if (text === undefined) {
    throw usageError(
      `cannot ${verb} ${JSON.stringify(given)}`,
      "it is neither a public key (44 characters of base64) nor what an organisation signed, nor a file",
      verb === "trust"
        ? "give what meshvpn export prints on that node"
        : "give the key, which meshvpn trust --list or meshvpn peers shows",
    );
  }
  const lines = text
    .split("\n")
    .map((line, at) => ({ line: line.trim(), number: at + 1 }))
    .filter(({ line }) => line !== "" && !line.startsWith("#"));
  const source = given === "-" ? "stdin" : given;
  if (lines.length === 0) throw usageError(`cannot ${verb} ${source}`, "it holds no key", help);
  return lines.map(({ line, number }) => {
    const parsed = parseLine(line, verb);
    if (parsed !== undefined) return parsed;
    const why = `line ${number} is not KEY or KEY NAME`;
    throw usageError(`cannot ${verb} ${source}`, why, "correct it; nothing was changed");
  });
}

/** Whom the operator calls so; undefined where that is nobody's name. */
export function named(
  directory: string,
  given: string,
  lists: readonly KeyList[],
): readonly Uint8Array[] | undefined {
  if (given === "-" || parseIdentity(given) !== undefined) return undefined;
  const found = lists
    .flatMap((each): readonly Listed[] => readKeys(directory, each, warn))
    .filter(({ name }) => name !== "" && name === given)
    .map(({ identity }) => identity);
  if (found.length < 2) return found.length === 0 ? undefined : found;
  const keys = found.map(formatIdentity).join(", ");
  throw usageError(`${given} is the name of ${found.length} nodes`, keys, "give the key");
}

/** @throws MeshError usage. */
export function checkName(name: string | undefined): void {
  if (name === undefined || (name !== "" && sanitizeName(name) === name)) return;
  const remedy = "use a-z, 0-9 and -, at most 63 characters";
  throw usageError(`cannot use the name ${JSON.stringify(name)}`, "that is no name here", remedy);
}

/** @throws MeshError usage where it is none. */
export function parseKeyArgument(
  given: string | undefined,
  what: string,
  help: string,
): Uint8Array {
  const key = given === undefined ? undefined : parseKeyLine(given.trim())?.identity;
  if (key !== undefined) return key;
  const said = given === undefined ? "nothing" : JSON.stringify(given);
  const why = `${said} is no public key (44 characters of base64)`;
  throw usageError(`cannot ${what}`, why, help);
}

/** Where no daemon runs, the next one reads what is on the disk. */
export async function reload(socket: string): Promise<void> {
  try {
    await ask(socket, { command: "reload" });
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    if (error.code === "daemon_not_running") return;
    throw new MeshError(
      error.code,
      "what is trusted has changed, and the daemon could not be told",
      error.sentence(),
      "send it SIGHUP",
    );
  }
}

function parseLine(line: string, verb: string): Given | undefined {
  if (looksLikeInvite(line)) {
    const remedy = "come in with meshvpn join TOKEN";
    throw usageError(`cannot ${verb} an invitation`, "it is no key", remedy);
  }
  if (looksLikeSigned(line)) {
    const signed = parseSigned(line)?.claimed;
    if (signed !== undefined) return signed;
    const why = "it was changed or cut on its way";
    throw usageError(`cannot ${verb} what was signed`, why, "copy the whole line again");
  }
  const listed = parseKeyLine(line);
  return listed && { kind: "key", ...listed };
}

/** undefined where there is no such file. */
function readFile(given: string, verb: string, help: string): string | undefined {
  if (given === "-") return readFileSync(0, "utf8");
  if (parseIdentity(given) !== undefined) return undefined;
  try {
    const status = statSync(given);
    if (!status.isFile() && !status.isFIFO()) return undefined;
    if (status.size > fileBytesMax) {
      const why = `it has ${status.size} bytes and the limit is ${fileBytesMax}`;
      throw usageError(`cannot ${verb} ${given}`, why, help);
    }
    return readFileSync(given, "utf8");
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error) || error instanceof MeshError) throw error;
    if (error.code !== "EACCES") return undefined;
    const why = "permission denied";
    throw new MeshError("permission_denied", `cannot read ${given}`, why, "run as root");
  }
}

/** `KEY (NAME)`, for a line of output. */
export function described({ identity, name }: Listed): string {
  return name === "" ? formatIdentity(identity) : `${formatIdentity(identity)} (${name})`;
}

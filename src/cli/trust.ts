/**
 * `meshvpn trust KEY|FILE|-`: whom this node accepts. Everything that is given is checked before
 * anything is kept. A daemon that runs hears of it at once.
 */
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { defineCommand } from "citty";
import { MeshError } from "../base/errors.ts";
import { readSettings } from "../daemon/config.ts";
import { ask } from "../daemon/control.ts";
import {
  addTrusted,
  loadIdentity,
  parseTrustedLine,
  readTrusted,
  removeTrusted,
  type Trusted,
} from "../daemon/state.ts";
import { formatIdentity, parseIdentity } from "../trust/identity.ts";
import { sanitizeName } from "../trust/record.ts";
import { usageError } from "./errors.ts";
import { settingFlags, settingSources } from "./flags.ts";
import { printRows } from "./print.ts";

const fileBytesMax = 4 * 1024 * 1024;
const names = ["state_dir", "control_socket"] as const;

export default defineCommand({
  meta: {
    name: "trust",
    description:
      "Accept a node by its public identity, or the ones in a file, one a line (- reads stdin). " +
      "Example: meshvpn trust hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY= --name laptop",
  },
  args: {
    key: {
      type: "positional",
      required: false,
      valueHint: "KEY|FILE|-",
      description: "what meshvpn export prints there, or a file of it; to --remove, a NAME too",
    },
    name: { type: "string", valueHint: "NAME", description: "your own word for that node" },
    list: { type: "boolean", description: "print whom this node trusts" },
    remove: { type: "boolean", description: "trust no longer" },
    ...settingFlags(names),
  },
  async run({ args, rawArgs }) {
    const { state_dir: directory, control_socket: socket } = readSettings(
      settingSources(names, args, rawArgs),
      names,
    );
    if (args.list === true) {
      if (args.key !== undefined) throw usageError("--list takes no key", `got ${args.key}`, help);
      process.stdout.write(list(directory));
      return;
    }
    if (args.key === undefined) throw usageError("no key is given", "trust whom?", help);
    const changes =
      args.remove === true
        ? remove(directory, named(directory, args.key) ?? parseGiven(args.key, args.name))
        : add(directory, await withoutOwn(directory, parseGiven(args.key, args.name)));
    if (changes > 0) await reload(socket);
  },
});

const help = "see meshvpn trust --help";

/** Whom the operator calls so; undefined where that is nobody's name. */
function named(directory: string, given: string): readonly Trusted[] | undefined {
  if (given === "-" || parseIdentity(given) !== undefined) return undefined;
  const found = readTrusted(directory, warn).filter(({ name }) => name !== "" && name === given);
  if (found.length < 2) return found.length === 0 ? undefined : found;
  const keys = found.map(({ identity }) => formatIdentity(identity)).join(", ");
  throw usageError(`${given} is the name of ${found.length} nodes`, keys, "give the key");
}

/** A list for every node may hold this one, which is left out of it; alone it is a mistake. */
async function withoutOwn(
  directory: string,
  given: readonly Trusted[],
): Promise<readonly Trusted[]> {
  const own = await ownIdentity(directory);
  if (own === undefined) return given;
  const others = given.filter(({ identity }) => formatIdentity(identity) !== own);
  if (others.length > 0) return others;
  throw usageError(
    `cannot trust ${own}`,
    "it is this node's own identity",
    "give what meshvpn export prints on the other node",
  );
}

/** undefined where there is none yet, or none that can be read: `up` says what is wrong with it. */
async function ownIdentity(directory: string): Promise<string | undefined> {
  if (!existsSync(join(directory, "identity.key"))) return undefined;
  const { NativeCrypto } = await import("../native/crypto.ts");
  const { loadLibrary } = await import("../native/library.ts");
  try {
    const crypto = new NativeCrypto(loadLibrary());
    const { publicKey, seed } = loadIdentity(crypto, directory);
    crypto.release(seed);
    return formatIdentity(publicKey);
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    return undefined;
  }
}

/** @throws MeshError usage, and nothing is kept. */
function parseGiven(given: string, name: string | undefined): readonly Trusted[] {
  if (name !== undefined && (name === "" || sanitizeName(name) !== name)) {
    const remedy = "use a-z, 0-9 and -, at most 63 characters";
    throw usageError(`cannot call a node ${JSON.stringify(name)}`, "that is no name here", remedy);
  }
  const identity = parseIdentity(given);
  if (identity !== undefined) return [{ identity, name: name ?? "" }];
  const text = readGiven(given);
  if (text === undefined) {
    throw usageError(
      `cannot trust ${JSON.stringify(given)}`,
      "it is neither a public identity (44 characters of base64) nor a file, nor a name to --remove",
      "give what meshvpn export prints on that node",
    );
  }
  const lines = text
    .split("\n")
    .map((line, at) => ({ line: line.trim(), number: at + 1 }))
    .filter(({ line }) => line !== "" && !line.startsWith("#"));
  const source = given === "-" ? "stdin" : given;
  if (lines.length === 0) throw usageError(`cannot trust ${source}`, "it holds no key", help);
  if (name !== undefined && lines.length > 1) {
    throw usageError(`cannot call ${lines.length} nodes ${name}`, "a name is for one", help);
  }
  return lines.map(({ line, number }) => {
    const trusted = parseTrustedLine(line);
    if (trusted !== undefined) return name === undefined ? trusted : { ...trusted, name };
    const why = `line ${number} is not KEY or KEY NAME`;
    throw usageError(`cannot trust ${source}`, why, "correct it; nothing was changed");
  });
}

/** undefined where there is no such file. */
function readGiven(given: string): string | undefined {
  if (given === "-") return readFileSync(0, "utf8");
  try {
    const status = statSync(given);
    if (!status.isFile() && !status.isFIFO()) return undefined;
    if (status.size > fileBytesMax) {
      const why = `it has ${status.size} bytes and the limit is ${fileBytesMax}`;
      throw usageError(`cannot trust ${given}`, why, help);
    }
    return readFileSync(given, "utf8");
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error) || error instanceof MeshError) throw error;
    if (error.code !== "EACCES") return undefined;
    throw new MeshError(
      "permission_denied",
      `cannot read ${given}`,
      "permission denied",
      "run as root",
    );
  }
}

function add(directory: string, given: readonly Trusted[]): number {
  let changes = 0;
  for (const { identity, name } of given) {
    const outcome = addTrusted(directory, identity, name === "" ? undefined : name);
    if (outcome !== "known") changes += 1;
    const called = name === "" ? "" : ` (${name})`;
    const words = { added: "trusted", renamed: "renamed", known: "trusted already" }[outcome];
    console.log(`${words}: ${formatIdentity(identity)}${called}`);
  }
  return changes;
}

function remove(directory: string, given: readonly Trusted[]): number {
  let changes = 0;
  for (const { identity } of given) {
    const removed = removeTrusted(directory, identity);
    if (removed) changes += 1;
    console.log(
      `${removed ? "trusted no longer" : "was not trusted"}: ${formatIdentity(identity)}`,
    );
  }
  return changes;
}

function warn(text: string): void {
  console.error(`meshvpn: ${text}`);
}

function list(directory: string): string {
  const rows = readTrusted(directory, warn).map(({ identity, name }) => [
    formatIdentity(identity),
    name,
  ]);
  return printRows(["IDENTITY", "NAME"], rows);
}

/** Where no daemon runs, the next one reads what is on the disk. */
async function reload(socket: string): Promise<void> {
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

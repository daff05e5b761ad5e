/**
 * `meshvpn trust KEY|FILE|-`: whom this node accepts: nodes by key, organisations with --org, and what
 * those signed. Everything that is given is checked before anything is kept. A daemon that runs hears
 * of it at once.
 */
import { defineCommand } from "citty";
import { MeshError } from "../base/errors.ts";
import { readSettings } from "../daemon/config.ts";
import { addKey, type KeyList, readKeys, removeKey } from "../daemon/trust-files.ts";
import { formatIdentity } from "../trust/identity.ts";
import { usageError } from "./errors.ts";
import { settingFlags, settingSources } from "./flags.ts";
import { printRows } from "./print.ts";
import { checkSigned, keepSigned } from "./signed.ts";
import {
  checkName,
  described,
  type Given,
  named,
  networkOf,
  openCrypto,
  ownIdentity,
  readGiven,
  reload,
  warn,
} from "./trust-context.ts";

const names = ["state_dir", "control_socket", "network"] as const;
const help = "see meshvpn trust --help";

export default defineCommand({
  meta: {
    name: "trust",
    description:
      "Accept a node by its public identity, an organisation and so all whom it certifies, or the ones in " +
      "a file, one a line (- reads stdin). " +
      "Example: meshvpn trust hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY= --name laptop",
  },
  args: {
    key: {
      type: "positional",
      required: false,
      valueHint: "KEY|FILE|-",
      description:
        "what meshvpn export or org keygen prints there, what org sign printed for this node, or a file of " +
        "such lines; to --remove, a NAME too",
    },
    org: { type: "boolean", description: "the key is an organisation's" },
    name: { type: "string", valueHint: "NAME", description: "your own word for it" },
    list: { type: "boolean", description: "print whom this node trusts" },
    remove: { type: "boolean", description: "trust no longer" },
    ...settingFlags(names),
  },
  async run({ args, rawArgs }) {
    const settings = readSettings(settingSources(names, args, rawArgs), names);
    const { state_dir: directory, control_socket: socket } = settings;
    if (args.list === true) {
      if (args.key !== undefined) throw usageError("--list takes no key", `got ${args.key}`, help);
      process.stdout.write(list(directory));
      return;
    }
    if (args.key === undefined) throw usageError("no key is given", "trust whom?", help);
    checkName(args.name);
    const which: KeyList = args.org === true ? "organisations" : "trusted";
    const changes =
      args.remove === true
        ? remove(directory, args.key, args.org === true ? ["organisations"] : bothLists)
        : await add(directory, settings.network, which, renamed(args.key, args.name));
    if (changes > 0) await reload(socket);
  },
});

const bothLists: readonly KeyList[] = ["trusted", "organisations"];

/** What is given, under the name that is given with it. */
function renamed(given: string, name: string | undefined): readonly Given[] {
  const all = readGiven(given, "trust", help);
  if (name === undefined) return all;
  if (all.length > 1)
    throw usageError(`cannot call ${all.length} nodes ${name}`, "a name is for one", help);
  return all.map((each) => (each.kind === "key" ? { ...each, name } : each));
}

async function add(
  directory: string,
  network: string,
  which: KeyList,
  given: readonly Given[],
): Promise<number> {
  const crypto = await openCrypto();
  const context = { crypto, directory, networkId: networkOf(crypto, directory, network) };
  const own = ownIdentity(crypto, directory);
  const ownName = own === undefined ? undefined : formatIdentity(own);
  // A list for every node may hold this one, which is left out of it; alone it is a mistake.
  const others = given.filter(
    (each) => each.kind !== "key" || formatIdentity(each.identity) !== ownName,
  );
  if (others.length === 0) {
    throw usageError(
      `cannot trust ${ownName}`,
      "it is this node's own identity",
      "give what meshvpn export prints on the other node",
    );
  }
  const revoked = new Set(
    readKeys(directory, "revoked", warn).map(({ identity }) => formatIdentity(identity)),
  );
  for (const each of others) {
    if (each.kind !== "key") checkSigned(context, each);
    else if (revoked.has(formatIdentity(each.identity))) {
      const path = `${directory}/revoked`;
      throw new MeshError(
        "key_revoked",
        `cannot trust ${described(each)}`,
        "it was revoked here for good",
        `have that node make a new identity, or remove its file from ${path} and run meshvpn reload`,
      );
    }
  }
  let changes = 0;
  for (const each of others) {
    if (each.kind !== "key") {
      console.log(keepSigned(context, each));
      changes += 1;
      continue;
    }
    const { identity, name } = each;
    const outcome = addKey(directory, which, identity, name === "" ? undefined : name);
    if (outcome !== "known") changes += 1;
    const words = { added: "trusted", renamed: "renamed", known: "trusted already" }[outcome];
    console.log(`${words}: ${described(each)}`);
  }
  return changes;
}

/** By key or by the operator's own word for it, wherever it is listed. */
function remove(directory: string, given: string, lists: readonly KeyList[]): number {
  const found = named(directory, given, lists);
  const keys = found ?? keysOf(readGiven(given, "remove", help));
  let changes = 0;
  for (const key of keys) {
    const removed = lists.filter((each) => removeKey(directory, each, key));
    changes += removed.length;
    const words = removed.length > 0 ? "trusted no longer" : "was not trusted";
    console.log(`${words}: ${formatIdentity(key)}`);
  }
  return changes;
}

function keysOf(given: readonly Given[]): readonly Uint8Array[] {
  return given.map((each) => {
    if (each.kind === "key") return each.identity;
    throw usageError("cannot remove what was signed", "only keys can be removed", help);
  });
}

function list(directory: string): string {
  const rows = (which: KeyList, word: string): string[][] =>
    readKeys(directory, which, warn).map(({ identity, name }) => [
      formatIdentity(identity),
      name,
      ...(word === "" ? [] : [word]),
    ]);
  return printRows(
    ["KEY", "NAME", ""],
    [
      ...rows("trusted", ""),
      ...rows("organisations", "organisation"),
      ...rows("revoked", "revoked"),
    ],
  );
}

/**
 * `meshvpn revoke KEY|FILE|-`: never accept a key here again, whoever vouches for it; or take in what
 * an organisation revoked, which spreads to all members.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { defineCommand } from "citty";
import { equalBytes } from "../base/bytes.ts";
import { readSettings } from "../daemon/config.ts";
import type { MeshConfig } from "../daemon/setting.ts";
import { addKey, organisationFile, parseKeyLine, removeKey } from "../daemon/trust-files.ts";
import { looksLikeInvite } from "../trust/invite.ts";
import { looksLikeSigned } from "../trust/statement.ts";
import { usageError } from "./errors.ts";
import { settingFlags, settingSources } from "./flags.ts";
import { findMember } from "./member.ts";
import { statusOf } from "./policy-context.ts";
import { checkSigned, keepSigned } from "./signed.ts";
import {
  described,
  type Given,
  named,
  networkOf,
  openCrypto,
  ownIdentity,
  parseKeyArgument,
  readGiven,
  reload,
  warn,
} from "./trust-context.ts";

const names = ["state_dir", "control_socket", "network"] as const;
const help = "see meshvpn revoke --help";

export default defineCommand({
  meta: {
    name: "revoke",
    description:
      "Never accept a node or an organisation here again; for all members at once, see meshvpn org revoke. " +
      "Example: meshvpn revoke hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=",
  },
  args: {
    key: {
      type: "positional",
      required: false,
      valueHint: "KEY|NAME|FILE|-",
      description:
        "a public key, a member's name, the line that org revoke printed, or a file of such lines",
    },
    ...settingFlags(names),
  },
  async run({ args, rawArgs }) {
    const settings = readSettings(settingSources(names, args, rawArgs), names);
    const { state_dir: directory, control_socket: socket } = settings;
    if (args.key === undefined) throw usageError("no key is given", "revoke whom?", help);
    const given = await whom(settings, args.key);
    const crypto = await openCrypto();
    const own = ownIdentity(crypto, directory);
    const context = {
      crypto,
      directory,
      networkId: networkOf(crypto, directory, settings.network),
    };
    for (const each of given) {
      if (each.kind === "key") {
        if (own === undefined || !equalBytes(own, each.identity)) continue;
        throw usageError(
          `cannot revoke ${described(each)}`,
          "it is this node's own identity",
          "to leave the network, end the daemon and remove the state directory; where the key was stolen, revoke it on the other nodes",
        );
      }
      if (each.kind !== "revocation") {
        throw usageError(
          "cannot revoke that",
          "it is a certificate or a vouch",
          "give the key in it",
        );
      }
      checkSigned(context, each);
    }
    for (const each of given) {
      if (each.kind !== "key") {
        console.log(keepSigned(context, each));
        continue;
      }
      addKey(directory, "revoked", each.identity, each.name === "" ? undefined : each.name);
      removeKey(directory, "trusted", each.identity);
      console.log(`revoked here: ${described(each)}`);
    }
    const keys = given.filter(({ kind }) => kind === "key");
    if (keys.length > 0) warn(nextStep(directory));
    await reload(socket);
  },
});

type Settings = Pick<MeshConfig, (typeof names)[number]>;

/** By the operator's own word, by key, by what was signed; else a member as a daemon that runs knows it. */
async function whom(settings: Settings, said: string): Promise<readonly Given[]> {
  const { state_dir: directory, control_socket: socket } = settings;
  const known = named(directory, said, ["trusted", "organisations"]);
  if (known !== undefined) return known.map((identity) => ({ kind: "key", identity, name: said }));
  const status = isReadable(said) ? undefined : await statusOf(socket);
  if (status === undefined) return readGiven(said, "revoke", help);
  const member = findMember(status, said);
  return [{ kind: "key", identity: parseKeyArgument(member.identity, "revoke", help), name: "" }];
}

function isReadable(said: string): boolean {
  return (
    said === "-" ||
    parseKeyLine(said) !== undefined ||
    looksLikeSigned(said) ||
    looksLikeInvite(said) ||
    existsSync(said)
  );
}

/** The others do not know of it, and nothing says how it is taken back. */
function nextStep(directory: string): string {
  const others = existsSync(join(directory, organisationFile))
    ? "meshvpn org revoke KEY puts it out everywhere"
    : "run it on the others too, or meshvpn org revoke KEY where an organisation's key is, which puts it out everywhere";
  return `that holds on this node alone: ${others}; to take it back, remove its file from ${directory}/revoked and run meshvpn reload`;
}

/**
 * `meshvpn revoke KEY|FILE|-`: never accept a key here again, whoever vouches for it; or take in what
 * an organisation revoked, which spreads to all members.
 */
import { defineCommand } from "citty";
import { readSettings } from "../daemon/config.ts";
import { addKey, removeKey } from "../daemon/trust-files.ts";
import { usageError } from "./errors.ts";
import { settingFlags, settingSources } from "./flags.ts";
import { checkSigned, keepSigned } from "./signed.ts";
import {
  described,
  type Given,
  named,
  networkOf,
  openCrypto,
  readGiven,
  reload,
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
        "a public key, your own word for it, the line that org revoke printed, or a file of such lines",
    },
    ...settingFlags(names),
  },
  async run({ args, rawArgs }) {
    const settings = readSettings(settingSources(names, args, rawArgs), names);
    const { state_dir: directory, control_socket: socket } = settings;
    if (args.key === undefined) throw usageError("no key is given", "revoke whom?", help);
    const given: readonly Given[] =
      named(directory, args.key, ["trusted", "organisations"])?.map((identity) => {
        return { kind: "key", identity, name: args.key as string };
      }) ?? readGiven(args.key, "revoke", help);
    const crypto = await openCrypto();
    const context = {
      crypto,
      directory,
      networkId: networkOf(crypto, directory, settings.network),
    };
    for (const each of given) {
      if (each.kind === "key") continue;
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
    await reload(socket);
  },
});

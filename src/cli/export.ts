/** `meshvpn export`: the public half of this node's identity, for `meshvpn trust` elsewhere. */
import { defineCommand } from "citty";
import { readSettings } from "../daemon/config.ts";
import { settingFlags, settingSources } from "./flags.ts";

export default defineCommand({
  meta: {
    name: "export",
    description:
      "Print this node's public identity. Example: meshvpn export | ssh other meshvpn trust -",
  },
  args: {
    json: { type: "boolean", description: "print JSON" },
    ...settingFlags(["state_dir"]),
  },
  async run({ args, rawArgs }) {
    const { loadIdentity } = await import("../daemon/state.ts");
    const { NativeCrypto } = await import("../native/crypto.ts");
    const { loadLibrary } = await import("../native/library.ts");
    const { formatIdentity } = await import("../trust/identity.ts");
    const { state_dir: directory } = readSettings(settingSources(["state_dir"], args, rawArgs), [
      "state_dir",
    ]);
    const crypto = new NativeCrypto(loadLibrary());
    const { publicKey, seed } = loadIdentity(crypto, directory);
    crypto.release(seed);
    const identity = formatIdentity(publicKey);
    console.log(args.json === true ? JSON.stringify({ schema: 1, identity }) : identity);
  },
});

/** `meshvpn keygen`: this node's identity, made once, and its WireGuard key. */
import { defineCommand } from "citty";
import { readSettings } from "../daemon/config.ts";
import { settingFlags, settingSources } from "./flags.ts";

export default defineCommand({
  meta: {
    name: "keygen",
    description:
      "Make this node's identity and print its public key, for others to trust. " +
      "Example: meshvpn keygen && meshvpn trust KEY-OF-THE-OTHER",
  },
  args: {
    force: {
      type: "boolean",
      description: "replace the identity that is there; it stays beside as *.old",
    },
    ...settingFlags(["state_dir"]),
  },
  async run({ args, rawArgs }) {
    const { createKeys } = await import("../daemon/state.ts");
    const { NativeCrypto } = await import("../native/crypto.ts");
    const { loadLibrary } = await import("../native/library.ts");
    const { formatIdentity } = await import("../trust/identity.ts");
    const { state_dir: directory } = readSettings(settingSources(["state_dir"], args, rawArgs), [
      "state_dir",
    ]);
    const crypto = new NativeCrypto(loadLibrary());
    console.log(formatIdentity(createKeys(crypto, directory, args.force === true)));
    const { setCertificateAside } = await import("../daemon/trust-files.ts");
    const { warn, warnWhereInUse } = await import("./trust-context.ts");
    if (args.force === true && setCertificateAside(directory)) {
      warn(
        "the certificate of the former identity is kept as certificate.old: come in anew with meshvpn join TOKEN, or give meshvpn trust another",
      );
    }
    warnWhereInUse(directory);
  },
});

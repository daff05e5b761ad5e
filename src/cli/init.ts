/**
 * `meshvpn init`: makes a network: its id, the organisation whose certificates its members carry, and
 * this node's own certificate. Others come in by `invite` and `join`.
 */
import { defineCommand } from "citty";
import { MeshError } from "../base/errors.ts";
import { readSettings } from "../daemon/config.ts";
import { createKeys } from "../daemon/state.ts";
import {
  addKey,
  createOrganisation,
  loadOrganisation,
  readKeys,
  readNetwork,
  writeCertificate,
  writeNetwork,
} from "../daemon/trust-files.ts";
import { signCertificate } from "../trust/certificate.ts";
import { formatIdentity, networkIdBytes } from "../trust/identity.ts";
import { settingFlags, settingSources } from "./flags.ts";
import { checkName, openCrypto, ownIdentity, warn, warnWhereInUse } from "./trust-context.ts";

const names = ["state_dir", "prefix"] as const;
/** Of this node's own certificate: it holds the key, and can make another. */
const certificateMs = 10 * 365 * 86_400_000;

export default defineCommand({
  meta: {
    name: "init",
    description:
      "Make a network, with this node in it; ask others in with meshvpn invite. " +
      "Example: meshvpn init --name office && meshvpn up --detach",
  },
  args: {
    name: { type: "string", valueHint: "NAME", description: "what to call the network (mesh)" },
    ...settingFlags(names),
  },
  async run({ args, rawArgs }) {
    const settings = readSettings(settingSources(names, args, rawArgs), names);
    const { state_dir: directory, prefix: ipv4Prefix } = settings;
    const name = args.name ?? "mesh";
    checkName(name);
    if (readNetwork(directory, warn) !== undefined) {
      throw new MeshError(
        "network_exists",
        `cannot make a network in ${directory}`,
        "this node is in one already",
        "ask others in with meshvpn invite, or choose another --state-dir",
      );
    }
    if (readKeys(directory, "trusted", warn).length > 0) {
      throw new MeshError(
        "network_exists",
        `cannot make a network in ${directory}`,
        "this node trusts others by key, and they are in another network",
        "choose another --state-dir, or take them out with meshvpn trust --remove",
      );
    }
    const crypto = await openCrypto();
    // Each step can be done again; the network's file comes last and says that all is there.
    const identity = ownIdentity(crypto, directory) ?? createKeys(crypto, directory, false);
    if (loadOrganisation(crypto, directory) === undefined) createOrganisation(crypto, directory);
    const organisation = loadOrganisation(crypto, directory);
    if (organisation === undefined) throw new Error("it was made a moment ago");
    const id = crypto.bytes(networkIdBytes);
    const issuedWallMs = Date.now();
    const certificate = signCertificate(crypto, id, organisation, {
      identity,
      issuedWallMs,
      expiresWallMs: issuedWallMs + certificateMs,
      isVouch: false,
      name: "",
      groups: [],
    });
    writeCertificate(directory, certificate);
    addKey(directory, "organisations", organisation.publicKey, name);
    writeNetwork(directory, { id, name, ipv4Prefix, seeds: [] });
    console.log(`network: ${name}`);
    console.log(`organisation: ${formatIdentity(organisation.publicKey)}`);
    console.log(`identity: ${formatIdentity(identity)}`);
    warnWhereInUse(directory);
    if (process.stdout.isTTY) console.error("next: meshvpn up --detach, then meshvpn invite");
  },
});

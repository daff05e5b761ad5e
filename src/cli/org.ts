/**
 * `meshvpn org keygen|sign|vouch|revoke`: the organisation's side of trust, all of it offline: what is
 * signed is a line of text, to be carried to where it counts. Where this state directory trusts the
 * organisation itself, a vouch and a revocation count here at once, and members spread them.
 */
import { defineCommand } from "citty";
import { MeshError } from "../base/errors.ts";
import { readSettings } from "../daemon/config.ts";
import {
  addSigned,
  createOrganisation,
  loadOrganisation,
  readKeys,
} from "../daemon/trust-files.ts";
import type { NativeCrypto } from "../native/crypto.ts";
import { decodeCertificate, signCertificate } from "../trust/certificate.ts";
import { formatIdentity, type Identity } from "../trust/identity.ts";
import { decodeRevocation, signRevocation } from "../trust/revocation.ts";
import { formatSigned, type Statement } from "../trust/statement.ts";
import { parseDuration } from "./duration.ts";
import { settingFlags, settingSources } from "./flags.ts";
import { parseGroups } from "./invite.ts";
import { memberKey } from "./member-key.ts";
import { checkName, networkOf, openCrypto, reload, warn } from "./trust-context.ts";

const names = ["state_dir", "control_socket", "network"] as const;

const key = {
  type: "positional",
  required: false,
  valueHint: "KEY|NAME",
  description:
    "what meshvpn export prints on that node, or a member's name or the beginning of its key",
} as const;
const terms = {
  name: {
    type: "string",
    valueHint: "NAME",
    description: "what the node is called, whatever it says",
  },
  groups: { type: "string", valueHint: "A,B", description: "its groups, for policies" },
  expires: { type: "string", valueHint: "TIME", description: "how long it lasts (1y)" },
} as const;

interface Terms {
  readonly name?: string | undefined;
  readonly groups?: string | undefined;
  readonly expires?: string | undefined;
}

const keygen = defineCommand({
  meta: {
    name: "org keygen",
    description:
      "Make an organisation's key, and print its public half, for nodes to trust with meshvpn trust --org. " +
      "Example: meshvpn org keygen",
  },
  args: { ...settingFlags(["state_dir"]) },
  async run({ args, rawArgs }) {
    const sources = settingSources(["state_dir"], args, rawArgs);
    const { state_dir: directory } = readSettings(sources, ["state_dir"]);
    console.log(formatIdentity(createOrganisation(await openCrypto(), directory)));
  },
});

const sign = defineCommand({
  meta: {
    name: "org sign",
    description:
      "Certify a node, and print its certificate, for meshvpn trust on that node. " +
      "Example: meshvpn org sign KEY --name laptop --groups office --expires 90d",
  },
  args: { key, ...terms, ...settingFlags(names) },
  async run({ args, rawArgs }) {
    const signer = await openSigner(settingSources(names, args, rawArgs));
    const subject = await memberKey(
      signer,
      args.key,
      "certify a node",
      "see meshvpn org sign --help",
    );
    console.log(
      formatSigned({ kind: "certificate", bytes: certify(signer, subject, args, false) }),
    );
  },
});

const vouch = defineCommand({
  meta: {
    name: "org vouch",
    description:
      "Have all who trust the organisation accept a node that carries no certificate of it. " +
      "Example: meshvpn org vouch KEY --expires 90d",
  },
  args: { key, ...terms, ...settingFlags(names) },
  async run({ args, rawArgs }) {
    const signer = await openSigner(settingSources(names, args, rawArgs));
    const subject = await memberKey(
      signer,
      args.key,
      "vouch for a node",
      "see meshvpn org vouch --help",
    );
    const certificate = decodeCertificate(certify(signer, subject, args, true))?.claimed;
    if (certificate === undefined) throw new Error("it was signed a moment ago");
    await say(signer, { kind: "vouch", vouch: certificate });
  },
});

const revoke = defineCommand({
  meta: {
    name: "org revoke",
    description:
      "Have all who trust the organisation never accept a key again, whoever else accepts it. " +
      "Example: meshvpn org revoke KEY",
  },
  args: { key, ...settingFlags(names) },
  async run({ args, rawArgs }) {
    const signer = await openSigner(settingSources(names, args, rawArgs));
    const subject = await memberKey(
      signer,
      args.key,
      "revoke a key",
      "see meshvpn org revoke --help",
    );
    const { crypto, networkId, organisation } = signer;
    const bytes = signRevocation(crypto, networkId, organisation, subject, Date.now());
    const revocation = decodeRevocation(bytes)?.claimed;
    if (revocation === undefined) throw new Error("it was signed a moment ago");
    await say(signer, { kind: "revocation", revocation });
  },
});

export default defineCommand({
  meta: {
    name: "org",
    description:
      "The organisation's side of trust: its key, certificates, vouches and revocations. " +
      "Example: meshvpn org keygen",
  },
  subCommands: { keygen, sign, vouch, revoke },
});

interface Signer {
  readonly crypto: NativeCrypto;
  readonly directory: string;
  readonly socket: string;
  readonly networkId: Uint8Array;
  readonly organisation: Identity;
}

async function openSigner(sources: Parameters<typeof readSettings>[0]): Promise<Signer> {
  const settings = readSettings(sources, names);
  const { state_dir: directory, control_socket: socket } = settings;
  const crypto = await openCrypto();
  const organisation = loadOrganisation(crypto, directory);
  if (organisation === undefined) {
    throw new MeshError(
      "not_a_signer",
      "cannot sign",
      `there is no organisation's key in ${directory}`,
      "make one with meshvpn org keygen, or name the --state-dir that holds it",
    );
  }
  const networkId = networkOf(crypto, directory, settings.network);
  return { crypto, directory, socket, networkId, organisation };
}

function certify(signer: Signer, identity: Uint8Array, args: Terms, isVouch: boolean): Uint8Array {
  checkName(args.name);
  const issuedWallMs = Date.now();
  return signCertificate(signer.crypto, signer.networkId, signer.organisation, {
    identity,
    issuedWallMs,
    expiresWallMs: issuedWallMs + parseDuration("--expires", args.expires ?? "1y"),
    isVouch,
    name: args.name ?? "",
    groups: parseGroups(args.groups),
  });
}

/** Prints the statement, and has it count here where the organisation is trusted here. */
async function say(signer: Signer, statement: Statement): Promise<void> {
  const { directory, socket, organisation } = signer;
  console.log(formatSigned(statement));
  const own = formatIdentity(organisation.publicKey);
  const isTrusted = readKeys(directory, "organisations", warn).some(
    ({ identity }) => formatIdentity(identity) === own,
  );
  if (!isTrusted) {
    console.error(
      `meshvpn: give that line to meshvpn trust on any one member: it spreads from there`,
    );
    return;
  }
  addSigned(directory, statement);
  await reload(socket);
}

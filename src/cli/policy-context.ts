/** What the commands of the policy share: the policy as it is kept, and whom its words mean. */
import { MeshError } from "../base/errors.ts";
import { readSettings } from "../daemon/config.ts";
import { ask } from "../daemon/control.ts";
import { policyOf, policyPath, readPolicyText, writePolicyText } from "../daemon/policy-file.ts";
import type { MeshStatus } from "../daemon/status.ts";
import { readKeys } from "../daemon/trust-files.ts";
import { namesOf } from "../daemon/trust-store.ts";
import { formatIdentity } from "../trust/identity.ts";
import type { OrganisationNames, Policy, Who } from "../trust/policy.ts";
import type { Called } from "./ask.ts";
import { usageError } from "./errors.ts";
import { settingFlags, settingSources } from "./flags.ts";
import { warn } from "./trust-context.ts";

const names = ["state_dir", "control_socket"] as const;
export const policyFlags = settingFlags(names);
export const help = "see meshvpn policy --help";
export const who =
  "any, an identity, your own word for a member, group:NAME or group:NAME@ORG of a certificate, org:ORG";

export interface Current {
  readonly directory: string;
  readonly socket: string;
  readonly path: string;
  readonly text: string;
  readonly policy: Policy;
}

export function current({ args, rawArgs }: Called): Current {
  const settings = readSettings(settingSources(names, args, rawArgs), names);
  const { state_dir: directory, control_socket: socket } = settings;
  const path = policyPath(directory);
  const text = readPolicyText(directory);
  return { directory, socket, path, text, policy: policyOf(text, path) };
}

/** Whom the operator trusts here, by key and by his own words. */
export interface Known {
  /** Identities to his words for them, which may be empty. */
  readonly identities: ReadonlyMap<string, string>;
  readonly organisations: ReadonlySet<string>;
  readonly organisationNames: OrganisationNames;
}

export function knownHere(directory: string): Known {
  const organisations = readKeys(directory, "organisations", warn);
  return {
    identities: new Map(
      readKeys(directory, "trusted", warn).map(({ identity, name }) => [
        formatIdentity(identity),
        name,
      ]),
    ),
    organisations: new Set(organisations.map(({ identity }) => formatIdentity(identity))),
    organisationNames: namesOf(organisations),
  };
}

/** Names are not looked at where the word is a key: whoever has it may come yet. */
export function isKey(word: string): boolean {
  return word.endsWith("=");
}

/** A rule for somebody whom nobody knows would wait for ever. MeshError usage. */
export function checkWho(directory: string, said: Who): void {
  const known = knownHere(directory);
  if (said.kind === "member" && !isKey(said.word)) {
    if ([...known.identities.values()].includes(said.word)) return;
    const why =
      "no trusted identity has that name here; what members call themselves does not count";
    throw usageError(`there is no member ${said.word}`, why, "meshvpn trust KEY --name NAME");
  }
  const organisation =
    said.kind === "organisation"
      ? said.word
      : said.kind === "group"
        ? said.organisation
        : undefined;
  if (organisation === undefined || isKey(organisation)) return;
  if (known.organisationNames.has(organisation)) return;
  const why = "no organisation that is trusted here, or more than one, has that name";
  const remedy = "meshvpn trust --org KEY --name NAME";
  throw usageError(`there is no organisation ${organisation}`, why, remedy);
}

/** undefined where no daemon runs. */
export async function statusOf(socket: string): Promise<MeshStatus | undefined> {
  try {
    return (await ask(socket, { command: "status" })) as MeshStatus;
  } catch (error) {
    if (error instanceof MeshError && error.code === "daemon_not_running") return undefined;
    throw error;
  }
}

/** Written, and in force where a daemon runs. */
export async function keep(directory: string, socket: string, text: string): Promise<void> {
  writePolicyText(directory, text);
  try {
    await ask(socket, { command: "reload" });
  } catch (error) {
    if (!(error instanceof MeshError) || error.code !== "daemon_not_running") throw error;
  }
}

/** `meshvpn policy check [FILE]`: is it a policy, and whom does each rule speak of as things are. */
import { readFileSync } from "node:fs";
import { defineCommand } from "citty";
import { MeshError } from "../base/errors.ts";
import { policyOf } from "../daemon/policy-file.ts";
import type { MeshStatus } from "../daemon/status.ts";
import { means, type Policy, type PolicyRule, ruleText } from "../trust/policy.ts";
import { usageError } from "./errors.ts";
import { current, isKey, type Known, knownHere, policyFlags, statusOf } from "./policy-context.ts";
import { printRows } from "./print.ts";

const schema = 1;

export interface CheckedRule {
  readonly line: number;
  readonly rule: string;
  /** Of whom it speaks now; null: everybody, or no daemon runs. */
  readonly members: number | null;
  /** What the operator should know of it; may be empty. */
  readonly note: string;
}

export default defineCommand({
  meta: {
    name: "check",
    description:
      "Say whether the policy, or a file that may become it, can be used, and of how many members each rule speaks. " +
      "Example: meshvpn policy check ./policy.new",
  },
  args: {
    file: {
      type: "positional",
      required: false,
      valueHint: "FILE",
      description: "instead of the policy that is kept",
    },
    json: { type: "boolean", description: "print JSON" },
    ...policyFlags,
  },
  async run(called) {
    const { args } = called;
    const file = args.file === undefined ? undefined : String(args.file);
    const kept = current(called);
    const policy = file === undefined ? kept.policy : policyOf(read(file), file);
    const known = knownHere(kept.directory);
    const rules = checkRules(policy, known, await statusOf(kept.socket));
    if (args.json === true) {
      const path = file ?? kept.path;
      console.log(JSON.stringify({ schema, path, default: policy.default, rules }));
      return;
    }
    const rows = rules.map(({ line, rule, members, note }) => [
      `${line}`,
      rule,
      `${members ?? "-"}`,
      note === "" ? "-" : note,
    ]);
    const last = ["-", `default ${policy.default}`, "-", "-"];
    process.stdout.write(printRows(["LINE", "RULE", "MEMBERS", "NOTE"], [...rows, last]));
  },
});

export function checkRules(
  policy: Policy,
  known: Known,
  status: MeshStatus | undefined,
): readonly CheckedRule[] {
  const members = status?.members.map(({ identity, given_name, certificate }) => ({
    identity,
    given_name,
    organisation: certificate?.organisation,
    groups: certificate?.groups ?? [],
  }));
  return policy.rules.map((rule) => {
    const named = rule.who.kind !== "any" && members !== undefined;
    const meant = members?.filter((each) => means(rule.who, each, known.organisationNames));
    return {
      line: rule.line,
      rule: ruleText(rule),
      members: named ? (meant?.length ?? 0) : null,
      note: noteOf(rule, known, status),
    };
  });
}

function noteOf({ who }: PolicyRule, known: Known, status: MeshStatus | undefined): string {
  if (who.kind === "any") return "";
  if (who.kind === "member") {
    const names = [...known.identities.values()];
    if (!isKey(who.word)) {
      const bearers = names.filter((name) => name === who.word).length;
      if (bearers === 1) return "";
      return bearers === 0
        ? "nobody is called so here: meshvpn trust KEY --name NAME"
        : `${bearers} identities are called so here`;
    }
    const isMember = status?.members.some(({ identity }) => identity === who.word) ?? false;
    return isMember || known.identities.has(who.word) ? "" : "that identity is not trusted here";
  }
  const { size } = known.organisations;
  const word = who.kind === "group" ? who.organisation : who.word;
  if (word === undefined) {
    if (size === 0) return "no organisation is trusted here, so nobody has a group";
    if (size === 1) return "";
    return `any of the ${size} organisations trusted here gives that group: write group:NAME@ORG`;
  }
  const key = isKey(word) ? word : known.organisationNames.get(word);
  return key !== undefined && known.organisations.has(key)
    ? ""
    : "that organisation is not trusted here: meshvpn trust --org KEY --name NAME";
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error)) throw error;
    const what = `cannot read ${path}`;
    if (error.code === "EACCES") {
      throw new MeshError("permission_denied", what, "permission denied", "run as root");
    }
    throw usageError(what, `the system refused (${error.code})`, "check the path");
  }
}

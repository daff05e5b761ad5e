/** `meshvpn policy ...`: who may reach which ports of this node. Each change is checked, kept and in force at once. */
import { defineCommand } from "citty";
import { MeshError } from "../base/errors.ts";
import { readSettings } from "../daemon/config.ts";
import { ask } from "../daemon/control.ts";
import { policyOf, policyPath, readPolicyText, writePolicyText } from "../daemon/policy-file.ts";
import { readKeys } from "../daemon/trust-files.ts";
import { formatIdentity, parseIdentity } from "../trust/identity.ts";
import {
  decide,
  type Policy,
  type PolicyMember,
  parseRule,
  protocolWords,
  ruleText,
} from "../trust/policy.ts";
import type { Called } from "./ask.ts";
import { usageError } from "./errors.ts";
import { settingFlags, settingSources } from "./flags.ts";
import { printRows } from "./print.ts";

export const policySchema = 1;
const names = ["state_dir", "control_socket"] as const;
const flags = settingFlags(names);
const help = "see meshvpn policy --help";
const who = "any, an identity, or your own word for a member";

const show = defineCommand({
  meta: {
    name: "show",
    description:
      "Print the rules in their order, and what happens to what none speaks of. Example: meshvpn policy show",
  },
  args: { json: { type: "boolean", description: "print JSON" }, ...flags },
  run(called) {
    const policy = current(called).policy;
    const rules = policy.rules.map((rule) => ({ line: rule.line, rule: ruleText(rule) }));
    if (called.args.json === true) {
      console.log(JSON.stringify({ schema: policySchema, default: policy.default, rules }));
      return;
    }
    const rows = rules.map(({ line, rule }) => [`${line}`, rule]);
    process.stdout.write(
      printRows(["LINE", "RULE"], [...rows, ["-", `default ${policy.default}`]]),
    );
  },
});

const test = defineCommand({
  meta: {
    name: "test",
    description:
      "Say whether a member would be let in to a port of this node, and by which rule; exit code 1 if not. " +
      "Example: meshvpn policy test laptop tcp 22",
  },
  args: {
    from: { type: "positional", required: true, valueHint: "FROM", description: who },
    proto: {
      type: "positional",
      required: true,
      valueHint: "tcp|udp|icmp",
      description: "of the first packet",
    },
    port: { type: "positional", required: false, valueHint: "PORT", description: "of this node" },
    json: { type: "boolean", description: "print JSON" },
    ...flags,
  },
  run(called) {
    const { args } = called;
    const { policy, directory } = current(called);
    const from = memberOf(directory, String(args.from));
    const ports = args.port === undefined ? [] : [String(args.port)];
    const asked = parseRule(["allow", "any", String(args.proto), ...ports], 0);
    if (typeof asked === "string") throw usageError("cannot test that", asked, help);
    const { protocol } = asked;
    if (protocol === "any") throw usageError("cannot test that", "tcp, udp or icmp?", help);
    const decision = decide(policy, from, protocol, asked.ports?.first);
    const { action, rule } = decision;
    const by = rule === undefined ? `default ${policy.default}` : ruleText(rule);
    const line = rule?.line ?? null;
    if (args.json === true) {
      console.log(JSON.stringify({ schema: policySchema, action, line, rule: by }));
    } else console.log(`${action}: ${line === null ? "" : `line ${line}: `}${by}`);
    return action === "allow" ? 0 : 1;
  },
});

function adding(action: "allow" | "deny") {
  return defineCommand({
    meta: {
      name: action,
      description:
        `${action === "allow" ? "Let somebody in to" : "Keep somebody out of"} ports of this node; the rule goes to the end, or with --first to the front. ` +
        `Example: meshvpn policy ${action} laptop tcp 22`,
    },
    args: {
      who: { type: "positional", required: true, valueHint: "WHO", description: who },
      proto: {
        type: "positional",
        required: false,
        valueHint: protocolWords.join("|"),
        description: "any unless given",
      },
      ports: {
        type: "positional",
        required: false,
        valueHint: "PORT[-PORT]",
        description: "of tcp or udp; any unless given",
      },
      first: { type: "boolean", description: "before all other rules" },
      ...flags,
    },
    async run(called) {
      const { args } = called;
      const words = [args.who, args.proto, args.ports].filter((word) => word !== undefined);
      const rule = parseRule([action, ...words.map(String)], 0);
      if (typeof rule === "string") throw usageError("cannot use that rule", rule, help);
      const { directory, text, socket } = current(called);
      if (rule.who !== "any") memberOf(directory, rule.who);
      const line = `${ruleText(rule)}\n`;
      const whole = text === "" || text.endsWith("\n") ? text : `${text}\n`;
      await keep(directory, socket, args.first === true ? `${line}${whole}` : `${whole}${line}`);
      process.stdout.write(line);
    },
  });
}

const fallback = defineCommand({
  meta: {
    name: "default",
    description:
      "Say what happens to what no rule speaks of; what this node begins is answered in any case. " +
      "Example: meshvpn policy allow any icmp && meshvpn policy default deny",
  },
  args: {
    action: {
      type: "positional",
      required: true,
      valueHint: "allow|deny",
      description: "let in or not",
    },
    ...flags,
  },
  async run(called) {
    const action = String(called.args.action);
    if (action !== "allow" && action !== "deny") {
      throw usageError(`cannot use default ${action}`, "it is allow or deny", help);
    }
    const { directory, text, socket } = current(called);
    const others = text.split("\n").filter((line) => !/^\s*default\b/.test(line));
    await keep(directory, socket, `default ${action}\n${others.join("\n")}`);
    console.log(`default ${action}`);
  },
});

const remove = defineCommand({
  meta: {
    name: "remove",
    description:
      "Take the rule of a line away; meshvpn policy show numbers them. Example: meshvpn policy remove 2",
  },
  args: {
    line: { type: "positional", required: true, valueHint: "LINE", description: "its number" },
    ...flags,
  },
  async run(called) {
    const { policy, directory, text, socket } = current(called);
    const line = Number(called.args.line);
    if (policy.rules.every((rule) => rule.line !== line)) {
      throw usageError(`cannot remove line ${called.args.line}`, "no rule is there", help);
    }
    const lines = text.split("\n").filter((_, at) => at + 1 !== line);
    await keep(directory, socket, lines.join("\n"));
  },
});

export default defineCommand({
  meta: {
    name: "policy",
    description:
      "Say who may reach which ports of this node; the first rule that speaks of a packet decides. " +
      "Example: meshvpn policy allow laptop tcp 22",
  },
  subCommands: {
    show,
    test,
    allow: adding("allow"),
    deny: adding("deny"),
    default: fallback,
    remove,
  },
});

interface Current {
  readonly directory: string;
  readonly socket: string;
  readonly text: string;
  readonly policy: Policy;
}

function current({ args, rawArgs }: Called): Current {
  const settings = readSettings(settingSources(names, args, rawArgs), names);
  const { state_dir: directory, control_socket: socket } = settings;
  const text = readPolicyText(directory);
  return { directory, socket, text, policy: policyOf(text, policyPath(directory)) };
}

/** A rule for somebody whom nobody knows would wait for ever. */
function memberOf(directory: string, said: string): PolicyMember {
  const nobody = { identity: "", given_name: "", addresses: [] };
  if (said === "any") return nobody;
  const identity = parseIdentity(said);
  const trusted = readKeys(directory, "trusted", (text) => console.error(`meshvpn: ${text}`)).map(
    (each) => ({ identity: formatIdentity(each.identity), given_name: each.name, addresses: [] }),
  );
  const text = identity === undefined ? undefined : formatIdentity(identity);
  const found = trusted.find((each) => each.identity === text || each.given_name === said);
  if (found !== undefined) return found;
  if (text !== undefined) return { ...nobody, identity: text };
  const why = "no trusted identity has that name here; what members call themselves does not count";
  throw usageError(`there is no member ${said}`, why, "meshvpn trust KEY --name NAME");
}

async function keep(directory: string, socket: string, text: string): Promise<void> {
  writePolicyText(directory, text);
  try {
    await ask(socket, { command: "reload" });
  } catch (error) {
    if (!(error instanceof MeshError) || error.code !== "daemon_not_running") throw error;
  }
}

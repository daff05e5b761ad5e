/** `meshvpn policy ...`: who may reach which ports of this node. Each change is checked, kept and in force at once. */
import { defineCommand } from "citty";
import { parseRule, protocolWords, ruleText } from "../trust/policy.ts";
import { usageError } from "./errors.ts";
import check from "./policy-check.ts";
import { checkWho, current, policyFlags as flags, help, keep, who } from "./policy-context.ts";
import test from "./policy-test.ts";
import { printRows } from "./print.ts";

export const policySchema = 1;

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
      to: {
        type: "string",
        valueHint: "PREFIX",
        description: "only to that address or network, this node's or behind it",
      },
      first: { type: "boolean", description: "before all other rules" },
      ...flags,
    },
    async run(called) {
      const { args } = called;
      const to = args.to === undefined ? [] : ["to", args.to];
      const words = [args.who, ...to, args.proto, args.ports].filter((word) => word !== undefined);
      const rule = parseRule([action, ...words.map(String)], 0);
      if (typeof rule === "string") throw usageError("cannot use that rule", rule, help);
      const { directory, text, socket } = current(called);
      checkWho(directory, rule.who);
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
    check,
    allow: adding("allow"),
    deny: adding("deny"),
    default: fallback,
    remove,
  },
});

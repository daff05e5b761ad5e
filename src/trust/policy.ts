/**
 * Who may reach which ports of this node, as an operator writes it: a line a rule, the first that
 * speaks of a packet decides. Pure: text to rules, rules to what the data plane is given, and the
 * answer to "would it be let in". Only packets that others begin with are judged; answers pass.
 */
import type { IpPrefix } from "../base/ip.ts";
import { formatIdentity, parseIdentity } from "./identity.ts";

export const protocolWords = ["tcp", "udp", "icmp", "any"] as const;
export type ProtocolWord = (typeof protocolWords)[number];
const portMax = 65_535;
export const policyLinesMax = 1_000;

export type Action = "allow" | "deny";

export interface PolicyRule {
  readonly action: Action;
  /** `any`, an identity in its one form, or the operator's own word for a member. */
  readonly who: string;
  readonly protocol: ProtocolWord;
  /** Inclusive; undefined: any, and what has no ports. */
  readonly ports: { readonly first: number; readonly last: number } | undefined;
  /** In the file, from 1. */
  readonly line: number;
}

export interface Policy {
  readonly default: Action;
  readonly rules: readonly PolicyRule[];
}

/** With which everything passes, and which costs nothing. */
export const openPolicy: Policy = { default: "allow", rules: [] };

export interface PolicyMistake {
  readonly line: number;
  readonly why: string;
}

/** The mistake is of the first line that has one. */
export function parsePolicy(text: string): Policy | PolicyMistake {
  let fallback: Action | undefined;
  const rules: PolicyRule[] = [];
  for (const [at, whole] of text.split("\n").entries()) {
    const line = at + 1;
    const words = (whole.split("#", 1)[0] as string).trim().split(/\s+/).filter(Boolean);
    if (words.length === 0) continue;
    if (words[0] === "default") {
      const [, action] = words;
      if (words.length !== 2 || !isAction(action)) return { line, why: "default is allow or deny" };
      if (fallback !== undefined) return { line, why: "default stands there already" };
      fallback = action;
      continue;
    }
    const rule = parseRule(words, line);
    if (typeof rule === "string") return { line, why: rule };
    rules.push(rule);
    if (rules.length > policyLinesMax) return { line, why: `more than ${policyLinesMax} rules` };
  }
  return { default: fallback ?? "allow", rules };
}

/** A rule from its words, or what is wrong with them. */
export function parseRule(words: readonly string[], line: number): PolicyRule | string {
  const [action, who, protocol = "any", ports, ...more] = words;
  if (!isAction(action)) return `${action ?? "nothing"} is none of allow, deny, default`;
  if (who === undefined) return `${action} whom?`;
  if (more.length > 0) return `${more.join(" ")} is too much`;
  const identity = parseIdentity(who);
  if (identity === undefined && !/^[a-z0-9-]{1,63}$/.test(who)) {
    return `${who} is neither any, nor an identity, nor a name`;
  }
  const known = protocolWords.find((word) => word === protocol);
  if (known === undefined) return `${protocol} is none of ${protocolWords.join(", ")}`;
  const range = ports === undefined || ports === "any" ? undefined : parsePorts(ports);
  if (range === null) return `${ports} is neither a port nor FIRST-LAST`;
  if (range !== undefined && known !== "tcp" && known !== "udp") return `${known} has no ports`;
  const named = identity === undefined ? who : formatIdentity(identity);
  return { action, who: named, protocol: known, ports: range, line };
}

function isAction(word: string | undefined): word is Action {
  return word === "allow" || word === "deny";
}

function parsePorts(text: string): { first: number; last: number } | null {
  const match = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(text);
  if (match === null) return null;
  const first = Number(match[1]);
  const last = match[2] === undefined ? first : Number(match[2]);
  return first <= last && last <= portMax ? { first, last } : null;
}

export function ruleText({ action, who, protocol, ports }: PolicyRule): string {
  const range = ports === undefined ? [] : [portsText(ports)];
  const words = protocol === "any" && range.length === 0 ? [] : [protocol];
  return [action, who, ...words, ...range].join(" ");
}

function portsText({ first, last }: { first: number; last: number }): string {
  return first === last ? `${first}` : `${first}-${last}`;
}

export interface PolicyMember {
  readonly identity: string;
  /** The operator's own word; what a member calls itself gives it no right. */
  readonly given_name: string;
  readonly addresses: readonly string[];
}

/** One rule of the data plane. */
export interface CompiledRule {
  readonly source: IpPrefix;
  readonly family: 4 | 6;
  /** IP protocol; 0 any. */
  readonly protocol: number;
  readonly first: number;
  readonly last: number;
  readonly allow: boolean;
}

/** In the order of the rules. A rule for somebody without addresses has no counterpart yet. */
export function compilePolicy(
  policy: Policy,
  members: readonly PolicyMember[],
): readonly CompiledRule[] {
  return policy.rules.flatMap((rule) => {
    const sources =
      rule.who === "any"
        ? [
            { address: "::", bits: 0 },
            { address: "0.0.0.0", bits: 0 },
          ]
        : members
            .filter((member) => speaksOf(rule, member))
            .flatMap(({ addresses }) => addresses)
            .map((address) => ({ address, bits: address.includes(":") ? 128 : 32 }));
    return sources.map((source): CompiledRule => {
      const family = source.address.includes(":") ? 6 : 4;
      return {
        source,
        family,
        protocol: protocolNumber(rule.protocol, family),
        first: rule.ports?.first ?? 0,
        last: rule.ports?.last ?? portMax,
        allow: rule.action === "allow",
      };
    });
  });
}

function protocolNumber(word: ProtocolWord, family: 4 | 6): number {
  if (word === "icmp") return family === 4 ? 1 : 58;
  return { tcp: 6, udp: 17, any: 0 }[word];
}

function speaksOf({ who }: PolicyRule, member: PolicyMember): boolean {
  return who === "any" || who === member.identity || who === member.given_name;
}

export interface Decision {
  readonly action: Action;
  /** undefined: none speaks of it, so the default decides. */
  readonly rule: PolicyRule | undefined;
}

/** What happens to the first packet of that member to that port. */
export function decide(
  policy: Policy,
  from: PolicyMember,
  protocol: Exclude<ProtocolWord, "any">,
  port: number | undefined,
): Decision {
  const rule = policy.rules.find(
    (each) =>
      speaksOf(each, from) &&
      (each.protocol === "any" || each.protocol === protocol) &&
      (each.ports === undefined ||
        (port !== undefined && port >= each.ports.first && port <= each.ports.last)),
  );
  return { action: rule?.action ?? policy.default, rule };
}

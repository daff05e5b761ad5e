/**
 * Who may reach which ports of this node, and of what lies behind it, as an operator writes it: a line
 * a rule, the first that speaks of a packet decides. Pure: text to rules, rules to what the data plane
 * is given, and the answer to "would it be let in". Only packets that others begin with are judged;
 * answers pass.
 */
import { familyOf, formatPrefix, type IpPrefix, parsePrefix, prefixContains } from "../base/ip.ts";
import { canonicalGroups } from "./certificate.ts";
import { formatIdentity, parseIdentity } from "./identity.ts";

export const protocolWords = ["tcp", "udp", "icmp", "any"] as const;
export type ProtocolWord = (typeof protocolWords)[number];
const portMax = 65_535;
export const policyLinesMax = 1_000;
/** TCP, at which members' doctors ask this node; see daemon/witness.ts. */
export const doctorPort = 51_822;

export type Action = "allow" | "deny";

/** Whom a rule speaks of. Organisations are named by key or by the operator's own word. */
export type Who =
  | { readonly kind: "any" }
  /** An identity in its one form, or the operator's own word for a member. */
  | { readonly kind: "member"; readonly word: string }
  /** Whose certificate has the group; of that organisation, or of any that is trusted here. */
  | { readonly kind: "group"; readonly name: string; readonly organisation: string | undefined }
  /** Whom it certified or vouched for. */
  | { readonly kind: "organisation"; readonly word: string };

export interface PolicyRule {
  readonly action: Action;
  readonly who: Who;
  /** undefined: this node, and whatever is reached through it. */
  readonly to: IpPrefix | undefined;
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
  const [action, whom, ...rest] = words;
  if (!isAction(action)) return `${action ?? "nothing"} is none of allow, deny, default`;
  if (whom === undefined) return `${action} whom?`;
  const who = parseWho(whom);
  if (typeof who === "string") return who;
  let to: IpPrefix | undefined;
  if (rest[0] === "to") {
    to = parseDestination(rest[1] ?? "");
    if (to === undefined) return `${rest[1] ?? "nothing"} is neither an address nor a prefix`;
    rest.splice(0, 2);
  }
  const [protocol = "any", ports, ...more] = rest;
  if (more.length > 0) return `${more.join(" ")} is too much`;
  const known = protocolWords.find((word) => word === protocol);
  if (known === undefined) return `${protocol} is none of ${protocolWords.join(", ")}`;
  const range = ports === undefined || ports === "any" ? undefined : parsePorts(ports);
  if (range === null) return `${ports} is neither a port nor FIRST-LAST`;
  if (range !== undefined && known !== "tcp" && known !== "udp") return `${known} has no ports`;
  return { action, who, to, protocol: known, ports: range, line };
}

/** Or what is wrong with the word. */
export function parseWho(word: string): Who | string {
  if (word === "any") return { kind: "any" };
  const [, kind, rest = ""] = /^(group|org):(.*)$/.exec(word) ?? [];
  if (kind === "org") {
    const organisation = keyOrName(rest);
    if (organisation !== undefined) return { kind: "organisation", word: organisation };
    return `${rest || "nothing"} is neither an organisation's key nor a name`;
  }
  if (kind === "group") {
    const [name = "", given, ...more] = rest.split("@");
    if (canonicalGroups([name]) === undefined || more.length > 0) return `${rest} is no group`;
    const organisation = given === undefined ? undefined : keyOrName(given);
    if (given !== undefined && organisation === undefined) {
      return `${given || "nothing"} is neither an organisation's key nor a name`;
    }
    return { kind: "group", name, organisation };
  }
  const member = keyOrName(word);
  if (member !== undefined) return { kind: "member", word: member };
  return `${word} is neither any, nor an identity, nor a name, nor group:NAME or org:KEY`;
}

function keyOrName(word: string): string | undefined {
  const identity = parseIdentity(word);
  if (identity !== undefined) return formatIdentity(identity);
  return /^[a-z0-9-]{1,63}$/.test(word) ? word : undefined;
}

export function whoText(who: Who): string {
  switch (who.kind) {
    case "any":
      return "any";
    case "member":
      return who.word;
    case "organisation":
      return `org:${who.word}`;
    case "group":
      return `group:${who.name}${who.organisation === undefined ? "" : `@${who.organisation}`}`;
  }
}

/** An address alone is a prefix of all its bits. */
function parseDestination(text: string): IpPrefix | undefined {
  return text.includes("/") ? parsePrefix(text) : wholeAddress(text);
}

function wholeAddress(text: string): IpPrefix | undefined {
  return parsePrefix(`${text}/${text.includes(":") ? 128 : 32}`);
}

function toText({ address, bits }: IpPrefix): string {
  const isWhole = bits === (familyOf(address) === 6 ? 128 : 32);
  return isWhole ? address : formatPrefix({ address, bits });
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

export function ruleText({ action, who, to, protocol, ports }: PolicyRule): string {
  const range = ports === undefined ? [] : [portsText(ports)];
  const words = protocol === "any" && range.length === 0 ? [] : [protocol];
  const where = to === undefined ? [] : ["to", toText(to)];
  return [action, whoText(who), ...where, ...words, ...range].join(" ");
}

function portsText({ first, last }: { first: number; last: number }): string {
  return first === last ? `${first}` : `${first}-${last}`;
}

/** What is known of somebody, as far as a policy asks. */
export interface PolicyMember {
  readonly identity: string;
  /** The operator's own word; what a member calls itself gives it no right. */
  readonly given_name: string;
  /** Key of the organisation by whose word it is admitted, and the groups that this one gave it. */
  readonly organisation: string | undefined;
  readonly groups: readonly string[];
}

/** The operator's own words for organisations, to their keys. */
export type OrganisationNames = ReadonlyMap<string, string>;

/** One rule of the data plane. */
export interface CompiledRule {
  /** It speaks only of peers that are said to be meant by it. */
  readonly named: boolean;
  readonly destination: IpPrefix | undefined;
  /** IP protocol; 0 any, 1 ICMP of either family. */
  readonly protocol: number;
  readonly first: number;
  readonly last: number;
  readonly allow: boolean;
}

/** Behind all others where the default is deny: who is kept out can ask that much, unless a rule forbids it. */
const doctorRule: PolicyRule = {
  action: "allow",
  who: { kind: "any" },
  to: undefined,
  protocol: "tcp",
  ports: { first: doctorPort, last: doctorPort },
  line: 0,
};

/** In the order of the rules. `own`: where members' doctors ask, which default deny leaves open. */
export function compilePolicy(policy: Policy, own?: string): readonly CompiledRule[] {
  const left = policy.default === "deny" && own !== undefined;
  const rules = left ? [...policy.rules, { ...doctorRule, to: wholeAddress(own) }] : policy.rules;
  return rules.map(({ action, who, to, protocol, ports }) => ({
    named: who.kind !== "any",
    destination: to,
    protocol: { tcp: 6, udp: 17, icmp: 1, any: 0 }[protocol],
    first: ports?.first ?? 0,
    last: ports?.last ?? portMax,
    allow: action === "allow",
  }));
}

/** Places, among the rules, of those that name the member by whatever word. */
export function rulesNaming(
  policy: Policy,
  member: PolicyMember,
  organisations: OrganisationNames,
): readonly number[] {
  const places: number[] = [];
  for (const [at, { who }] of policy.rules.entries()) {
    if (who.kind !== "any" && means(who, member, organisations)) places.push(at);
  }
  return places;
}

/** Whether the word is for the member. */
export function means(who: Who, member: PolicyMember, names: OrganisationNames): boolean {
  const keyOf = (word: string): string => names.get(word) ?? word;
  switch (who.kind) {
    case "any":
      return true;
    case "member":
      return who.word === member.identity || who.word === member.given_name;
    case "organisation":
      return keyOf(who.word) === member.organisation;
    case "group":
      if (!member.groups.includes(who.name)) return false;
      return who.organisation === undefined || keyOf(who.organisation) === member.organisation;
  }
}

export interface Decision {
  readonly action: Action;
  /** undefined: none speaks of it, so the default decides. */
  readonly rule: PolicyRule | undefined;
}

/** The first packet of a flow. */
export interface FirstPacket {
  readonly from: PolicyMember;
  /** An address; undefined: one of which no rule for a destination speaks. */
  readonly to: string | undefined;
  /** It is this node's own address in the mesh. */
  readonly isOwn: boolean;
  readonly protocol: Exclude<ProtocolWord, "any">;
  readonly port: number | undefined;
}

export function decide(
  policy: Policy,
  { from, to, isOwn, protocol, port }: FirstPacket,
  organisations: OrganisationNames,
): Decision {
  const rule = policy.rules.find(
    (each) =>
      means(each.who, from, organisations) &&
      (each.to === undefined || (to !== undefined && prefixContains(each.to, to))) &&
      (each.protocol === "any" || each.protocol === protocol) &&
      (each.ports === undefined ||
        (port !== undefined && port >= each.ports.first && port <= each.ports.last)),
  );
  const isDoctors = isOwn && protocol === "tcp" && port === doctorPort;
  if (rule === undefined && policy.default === "deny" && isDoctors) {
    return { action: "allow", rule: doctorRule };
  }
  return { action: rule?.action ?? policy.default, rule };
}

/** What a member may begin at this node, in words for people. */
export interface PolicyStanding {
  readonly ping: Action;
  /** The rule that decides of it, or the default. */
  readonly by: string;
  /** Rules that let it in somewhere, the first few. */
  readonly allowed: readonly string[];
}

const allowedTold = 8;

export function standing(
  policy: Policy,
  from: PolicyMember,
  own: string | undefined,
  organisations: OrganisationNames,
): PolicyStanding {
  const ping: FirstPacket = { from, to: own, isOwn: true, protocol: "icmp", port: undefined };
  const { action, rule } = decide(policy, ping, organisations);
  const allowed = policy.rules
    .filter((each) => each.action === "allow" && means(each.who, from, organisations))
    .slice(0, allowedTold);
  const by = rule === undefined ? `default ${policy.default}` : ruleText(rule);
  return { ping: action, by, allowed: allowed.map(ruleText) };
}

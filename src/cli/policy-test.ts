/** `meshvpn policy test FROM [TO] PROTO PORT`: would it be let in, and by which rule. */
import { defineCommand } from "citty";
import { canonicalAddress } from "../base/ip.ts";
import type { MemberStatus, MeshStatus } from "../daemon/status.ts";
import {
  decide,
  type Policy,
  type PolicyMember,
  parseRule,
  parseWho,
  ruleText,
  type Who,
} from "../trust/policy.ts";
import { usageError } from "./errors.ts";
import { findMember } from "./member.ts";
import {
  checkWho,
  current,
  help,
  isKey,
  type Known,
  knownHere,
  policyFlags,
  statusOf,
  who,
} from "./policy-context.ts";
import { warn } from "./trust-context.ts";

const schema = 1;
const protocolHint = "tcp|udp|icmp";

export default defineCommand({
  meta: {
    name: "test",
    description:
      "Say whether somebody would be let in to a port of this node, or of an address behind it, and by which rule; exit code 1 if not. " +
      "Example: meshvpn policy test laptop tcp 22",
  },
  args: {
    from: { type: "positional", required: true, valueHint: "FROM", description: who },
    to: {
      type: "positional",
      required: false,
      valueHint: "TO",
      description: "self, or an address that is reached through this node; may be left out",
    },
    proto: {
      type: "positional",
      required: false,
      valueHint: protocolHint,
      description: "of the first packet; tcp where a port follows at once",
    },
    port: { type: "positional", required: false, valueHint: "PORT", description: "where it goes" },
    json: { type: "boolean", description: "print JSON" },
    ...policyFlags,
  },
  async run(called) {
    const { args } = called;
    const { policy, directory, socket } = current(called);
    const said = [args.to, args.proto, args.port].filter((word) => word !== undefined).map(String);
    const named = said[0] !== undefined && !isProtocol(said[0]) ? said.shift() : undefined;
    if (said[0] !== undefined && /^[0-9]+$/.test(said[0])) said.unshift("tcp");
    const asked = parseRule(["allow", "any", ...said], 0);
    if (typeof asked === "string") throw usageError("cannot test that", asked, help);
    const { protocol } = asked;
    if (said.length === 0 || protocol === "any") {
      throw usageError("cannot test that", "tcp, udp or icmp?", help);
    }
    const status = await statusOf(socket);
    const known = knownHere(directory);
    const from = somebody(directory, known, status, String(args.from));
    if (status === undefined && needsCertificates(policy)) {
      warn("the daemon does not run, so nobody's certificate is known here");
    }
    const to = destination(named, status);
    const isOwn = isSelf(named, status);
    const packet = { from, to, isOwn, protocol, port: asked.ports?.first };
    const { action, rule } = decide(policy, packet, known.organisationNames);
    const by = rule === undefined ? `default ${policy.default}` : ruleText(rule);
    // Line 0 is that of a rule which stands in no file: for members' doctors.
    const line = rule?.line || null;
    if (args.json === true) {
      console.log(JSON.stringify({ schema, action, line, rule: by }));
    } else console.log(`${action}: ${line === null ? "" : `line ${line}: `}${by}`);
    return action === "allow" ? 0 : 1;
  },
});

function isProtocol(word: string): boolean {
  return protocolHint.split("|").includes(word);
}

function needsCertificates({ rules }: Policy): boolean {
  return rules.some(({ who: { kind } }) => kind === "group" || kind === "organisation");
}

function isSelf(said: string | undefined, status: MeshStatus | undefined): boolean {
  const isNamed = said === undefined || said === "self" || said === status?.name;
  return isNamed || status?.addresses.includes(said) === true;
}

/** An address; undefined where this node's own is not known. */
function destination(said: string | undefined, status: MeshStatus | undefined): string | undefined {
  if (said === undefined || said === "self" || said === status?.name) return status?.addresses[0];
  const address = canonicalAddress(said);
  if (address !== undefined) return address;
  const why = "what others let in is their own policy, and to be tested there";
  throw usageError(`cannot test what reaches ${said}`, why, "give self, or an address");
}

const nobody: PolicyMember = { identity: "", given_name: "", organisation: undefined, groups: [] };

/** As much as the word says of him, and where it is a member's, what his certificate says. */
function somebody(
  directory: string,
  known: Known,
  status: MeshStatus | undefined,
  said: string,
): PolicyMember {
  const meant = parseWho(said);
  const keyOf = (word: string): string => known.organisationNames.get(word) ?? word;
  if (typeof meant === "object" && meant.kind !== "member") {
    checkWho(directory, meant);
    return { ...nobody, ...ofKind(meant, keyOf) };
  }
  const word = typeof meant === "object" ? meant.word : said;
  const trusted = [...known.identities].find(([key, name]) => key === word || name === word);
  const member =
    status?.members.find(({ identity }) => identity === (trusted?.[0] ?? word)) ??
    (trusted === undefined && status !== undefined && !isKey(word)
      ? findMember(status, word)
      : undefined);
  if (member !== undefined) return asMember(member);
  if (trusted !== undefined) return { ...nobody, identity: trusted[0], given_name: trusted[1] };
  if (typeof meant === "object" && isKey(word)) return { ...nobody, identity: word };
  if (typeof meant === "object") checkWho(directory, meant);
  throw usageError("cannot test that", typeof meant === "string" ? meant : said, help);
}

function ofKind(
  meant: Exclude<Who, { kind: "member" }>,
  keyOf: (word: string) => string,
): Partial<PolicyMember> {
  if (meant.kind === "organisation") return { organisation: keyOf(meant.word) };
  if (meant.kind !== "group") return {};
  const { name, organisation } = meant;
  return { groups: [name], organisation: organisation && keyOf(organisation) };
}

function asMember({ identity, given_name, certificate }: MemberStatus): PolicyMember {
  const { organisation, groups } = certificate ?? {};
  return { identity, given_name, organisation, groups: groups ?? [] };
}

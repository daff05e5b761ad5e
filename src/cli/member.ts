/** The member that an operator means: by name, identity or address, or the beginning of its identity. */
import { MeshError } from "../base/errors.ts";
import { nearest } from "../base/nearest.ts";
import type { MemberStatus, MeshStatus } from "../daemon/status.ts";
import { usageError } from "./errors.ts";

/** As many characters of an identity as a table shows are enough; fewer could be anybody. */
const identityCharactersMin = 6;

/** What it is called here: the operator's own word, its own, or its identity. */
export function nameOf({ given_name: given, name, identity }: MemberStatus): string {
  if (given !== "") return given;
  return name === "" ? identity.slice(0, 8) : name;
}

/** With members that relay called in each way as they are called here; a name of two stays as it is. */
export function withCalledRelays(status: MeshStatus): MeshStatus {
  const { members } = status;
  const called = (way: string): string => {
    const relay = /^relay (.+)$/.exec(way)?.[1];
    if (relay === undefined) return way;
    const [found, other] = members.filter((each) => each.name === relay || each.identity === relay);
    return found === undefined || other !== undefined ? way : `relay ${nameOf(found)}`;
  };
  const named = members.map((member): MemberStatus => {
    const { path, paths } = member;
    const ways = paths?.map((each) => ({ ...each, way: called(each.way) }));
    return { ...member, path: called(path), ...(ways === undefined ? {} : { paths: ways }) };
  });
  return { ...status, members: named };
}

/** MeshError `usage` where nobody or more than one is meant. */
export function findMember(status: MeshStatus, said: string): MemberStatus {
  const { members } = status;
  const found = members.filter(
    (member) =>
      member.given_name === said ||
      member.identity === said ||
      member.addresses.includes(said) ||
      (said.length >= identityCharactersMin && member.identity.startsWith(said)),
  );
  // What a node calls itself counts only where the operator has no word of his own for anybody so.
  const matches = found.length > 0 ? found : members.filter(({ name }) => name === said);
  if (matches.length === 1) return matches[0] as MemberStatus;
  if (matches.length > 1) {
    const keys = matches.map(({ identity }) => identity).join(", ");
    throw usageError(`${said} is ${matches.length} members`, keys, "give the identity");
  }
  if ([status.name, status.identity, ...status.addresses].includes(said)) {
    throw usageError(`${said} is no other member`, "it is this node itself", "see meshvpn peers");
  }
  const near = nearest(said, members.map(nameOf));
  const remedy = near === undefined ? "see meshvpn peers" : `did you mean ${near}?`;
  throw usageError(
    `there is no member ${said}`,
    "nobody has that name, identity or address",
    remedy,
  );
}

/** Its IPv6 address in the mesh, which follows from its identity, so nobody else can have it. */
export function addressOf(member: MemberStatus): string {
  const address = member.addresses.find((each) => each.includes(":")) ?? member.addresses[0];
  if (address !== undefined) return address;
  throw new MeshError(
    "member_not_met",
    `${nameOf(member)} has no address`,
    "it has not been heard of",
    "see meshvpn doctor, or start it and have it trust this node",
  );
}

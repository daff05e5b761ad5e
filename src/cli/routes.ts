/** `meshvpn routes ...`: the networks that members offer to lead this node into, and which of them it uses. */
import { defineCommand } from "citty";
import { MeshError } from "../base/errors.ts";
import { formatPrefix, type IpPrefix, parsePrefix } from "../base/ip.ts";
import { parseNetwork } from "../daemon/config.ts";
import { type ApprovedRoutes, readRoutes, writeRoutes } from "../daemon/routes-file.ts";
import type { MeshStatus, RouteStatus } from "../daemon/status.ts";
import { approvalsMax, contains, isExit } from "../trust/routes.ts";
import type { Called } from "./ask.ts";
import { usageError } from "./errors.ts";
import { nameOf } from "./member.ts";
import { printRows } from "./print.ts";
import { identityMeant, inForce, type Place, placeOf, routeFlags } from "./routes-context.ts";
import { warn } from "./trust-context.ts";

export const routesSchema = 1;
const help = "see meshvpn routes --help";

const showArgs = { json: { type: "boolean", description: "print JSON" }, ...routeFlags } as const;

const show = defineCommand({
  meta: {
    name: "show",
    description:
      "Print what members offer and what was approved here, and what is made of it. Example: meshvpn routes show",
  },
  args: showArgs,
  run: print,
});

const route = {
  who: {
    type: "positional",
    required: true,
    valueHint: "PEER",
    description: "a member: its name, identity or address",
  },
  network: {
    type: "positional",
    required: true,
    valueHint: "CIDR",
    description: "as it is offered",
  },
} as const;

const approve = defineCommand({
  meta: {
    name: "approve",
    description:
      "Send what is for a network through the member that offers it. Example: meshvpn routes approve gateway 192.168.7.0/24",
  },
  args: { ...route, ...routeFlags },
  async run(called) {
    const { prefix, place, identity, before } = await meant(called);
    if (before.approved.some((each) => isOf(each, identity, prefix))) {
      console.log(`approved already: ${formatPrefix(prefix)}`);
      return;
    }
    if (before.approved.length >= approvalsMax) {
      throw usageError("cannot approve another", `${approvalsMax} are approved already`, help);
    }
    const approved = [...before.approved, { identity, prefix }];
    const status = await keep(place, { ...before, approved });
    const made = status?.routes.find((each) => isOf(parsed(each), identity, prefix));
    if (made?.state === "refused") {
      await keep(place, before);
      throw usageError(
        `cannot approve ${formatPrefix(prefix)}`,
        "it is the mesh's own network, or part of it: addresses there follow from identities",
        "approve a network that lies behind the member",
      );
    }
    const words = made === undefined ? "" : `: ${wordsOf(made, status as MeshStatus)}`;
    console.log(`approved: ${formatPrefix(prefix)}${words}`);
    for (const text of overlaps(before, prefix)) console.log(text);
  },
});

const remove = defineCommand({
  meta: {
    name: "remove",
    description:
      "Send what is for that network where it went before. Example: meshvpn routes remove gateway 192.168.7.0/24",
  },
  args: { ...route, ...routeFlags },
  async run(called) {
    const { prefix, place, identity, before } = await meant(called);
    const approved = before.approved.filter((each) => !isOf(each, identity, prefix));
    if (approved.length === before.approved.length) {
      const why = "it was not approved by command; accept in the configuration is changed there";
      throw usageError(`cannot remove ${formatPrefix(prefix)}`, why, "see meshvpn routes");
    }
    await keep(place, { ...before, approved });
    console.log(`approved no longer: ${formatPrefix(prefix)}`);
  },
});

/** The network and the member of whom a command speaks, and what is approved so far. */
async function meant(called: Called): Promise<{
  readonly prefix: IpPrefix;
  readonly place: Place;
  readonly identity: string;
  readonly before: ApprovedRoutes;
}> {
  const prefix = networkOf(String(called.args.network));
  const place = await placeOf(called);
  const identity = identityMeant(place, String(called.args.who));
  return { prefix, place, identity, before: readRoutes(place.directory, warn) };
}

export default defineCommand({
  meta: {
    name: "routes",
    description:
      "Show the networks that members offer to lead this node into, and approve them. Example: meshvpn routes approve gateway 192.168.7.0/24",
  },
  args: showArgs,
  subCommands: { show, approve, remove },
  run: print,
});

async function print(called: Called): Promise<void> {
  const { status } = await placeOf(called);
  if (status === undefined) {
    const why = "what members offer is known to it alone";
    throw new MeshError("daemon_not_running", "the daemon is not running", why, "meshvpn up");
  }
  const { offers, forward, exit_node, routes } = status;
  if (called.args.json === true) {
    const named = routes.map((each) => ({ name: nameFor(status, each.identity), ...each }));
    const report = { schema: routesSchema, offers, forward, exit_node, routes: named };
    console.log(JSON.stringify(report));
    return;
  }
  const terminal = process.stdout.isTTY === true;
  process.stdout.write(routesText(status, terminal));
}

export function routesText(status: MeshStatus, terminal: boolean): string {
  const rows = status.routes.map((each) => {
    const name = nameFor(status, each.identity);
    return terminal
      ? [name, each.prefix, each.state, wordsOf(each, status)]
      : [name, each.identity, each.prefix, each.state];
  });
  const table = printRows(["MEMBER", "NETWORK", "STATE", ""], rows, terminal);
  if (!terminal) return table;
  const own =
    status.offers.length === 0
      ? ""
      : `\nthis node offers ${status.offers.join(", ")}; forwarding: ${status.forward}\n`;
  return `${rows.length === 0 ? "no member offers a network\n" : table}${own}`;
}

/** What is to be known, or done, of it. */
export function wordsOf({ identity, prefix, state }: RouteStatus, status: MeshStatus): string {
  const name = nameFor(status, identity);
  switch (state) {
    case "used":
      return prefix.endsWith("/0") ? "everything else goes there" : "packets go there";
    case "offered":
      return prefix.endsWith("/0")
        ? `meshvpn exit-node ${name}`
        : `meshvpn routes approve ${name} ${prefix}`;
    case "not offered":
      return `${name} does not offer it now`;
    case "waiting":
      return `${name} was not reached yet`;
    case "standby":
      return "another member that was approved has it";
    case "local":
      return "this machine is in that network itself, or offers it";
    case "refused":
      return "no member can have it: it is the mesh's own, or means something else on each machine";
  }
}

export function nameFor(status: MeshStatus, identity: string): string {
  const member = status.members.find((each) => each.identity === identity);
  return member === undefined ? identity.slice(0, 8) : nameOf(member);
}

function networkOf(said: string): IpPrefix {
  const prefix = parseNetwork(said);
  if (prefix === undefined) {
    const near = parsePrefix(said);
    const remedy =
      near === undefined ? "give one like 192.168.7.0/24" : `did you mean ${formatPrefix(near)}?`;
    throw usageError(`cannot use ${said}`, "it is no network that can be led into", remedy);
  }
  if (!isExit(prefix)) return prefix;
  throw usageError(`cannot approve ${said}`, "that is everything", "meshvpn exit-node PEER");
}

function parsed({ identity, prefix }: RouteStatus): { identity: string; prefix: IpPrefix } {
  return { identity, prefix: parsePrefix(prefix) as IpPrefix };
}

function isOf(
  each: { readonly identity: string; readonly prefix: IpPrefix },
  identity: string,
  prefix: IpPrefix,
): boolean {
  return each.identity === identity && formatPrefix(each.prefix) === formatPrefix(prefix);
}

/** Where two are approved for one address, a word. */
function overlaps({ approved }: ApprovedRoutes, prefix: IpPrefix): readonly string[] {
  return approved.flatMap(({ prefix: other }) => {
    const text = formatPrefix(other);
    if (text === formatPrefix(prefix)) {
      return [`${text} is approved for another member too: the first that is up has it`];
    }
    if (!contains(other, prefix) && !contains(prefix, other)) return [];
    return [`it overlaps ${text}: of both, the longer prefix counts`];
  });
}

async function keep(place: Place, routes: ApprovedRoutes): Promise<MeshStatus | undefined> {
  writeRoutes(place.directory, routes);
  return await inForce(place);
}

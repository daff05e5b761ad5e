/**
 * How the kernel is told of routes through members: a table of our own, and rules that look it up. By
 * the longest prefix, as if all were one table: before ours is looked up for a network, the main table
 * is, and counts where it has a route as long or longer; for everything (an exit node) where it has any
 * but a default route. What the device itself sends passes all of it by, so the tunnel never leads into
 * itself. Routes go with the interface; rules of a killed process lead to an empty table.
 */
import { familyOf, formatPrefix, type IpPrefix } from "../base/ip.ts";
import type { Command, RoutingRule } from "./dataplane.ts";

const mainTable = 254;
const priorityBase = 5_200;
/** A first rule, a pair for each length of a prefix, and the last, at which packets go on. */
const placesEach = 1 + 2 * 129 + 1;
/** Of two interfaces that meet in one of these, the mark in each rule tells whose it is. */
const slots = 64;
const markBase = 0x6d760000;

export interface RoutingPlace {
  /** Priorities of rules. */
  readonly first: number;
  readonly count: number;
  /** The mark of what the device itself sends, and the number of the table. */
  readonly mark: number;
}

/** Of an interface, the same at each start. */
export function routingPlace(interfaceName: string): RoutingPlace {
  // FNV-1a.
  let hash = 0x811c9dc5;
  for (const character of interfaceName) {
    hash = Math.imul(hash ^ (character.codePointAt(0) as number), 0x01000193) >>> 0;
  }
  const low = (hash ^ (hash >>> 16)) & 0xffff;
  return {
    first: priorityBase + (low % slots) * placesEach,
    count: placesEach,
    mark: markBase | low,
  };
}

/**
 * Commands that make it so, each by a text of its own, in their order. `direct`: addresses that are
 * spoken to by sockets without the mark, and always by the main table.
 */
export function routingPlan(
  prefixes: readonly IpPrefix[],
  { first, count, mark }: RoutingPlace,
  direct: readonly IpPrefix[] = [],
): ReadonlyMap<string, Command> {
  const plan = new Map<string, Command>();
  for (const prefix of prefixes) {
    plan.set(`route ${formatPrefix(prefix)}`, { kind: "route_add", prefix, table: mark });
  }
  const add = (rule: RoutingRule): void => {
    const { priority, prefix } = rule;
    plan.set(`rule ${priority} ${formatPrefix(prefix)}`, { kind: "rule_add", rule });
  };
  const last = first + count - 1;
  for (const everything of families(prefixes)) {
    // The target first: a jump to where nothing is goes nowhere.
    add({ prefix: everything, priority: last });
    add({ prefix: everything, priority: first, jump: last });
    for (const prefix of direct) {
      if (familyOf(prefix.address) !== familyOf(everything.address)) continue;
      add({ prefix, priority: first, table: mainTable });
    }
  }
  for (const prefix of prefixes) {
    const width = familyOf(prefix.address) === 4 ? 32 : 128;
    const priority = first + 1 + 2 * (width - prefix.bits);
    const suppress = Math.max(0, prefix.bits - 1);
    add({ prefix, priority, table: mainTable, suppress });
    add({ prefix, priority: priority + 1, table: mark });
  }
  return plan;
}

function families(prefixes: readonly IpPrefix[]): readonly IpPrefix[] {
  const has = (family: 4 | 6): boolean =>
    prefixes.some(({ address }) => familyOf(address) === family);
  return [
    ...(has(4) ? [{ address: "0.0.0.0", bits: 0 }] : []),
    ...(has(6) ? [{ address: "::", bits: 0 }] : []),
  ];
}

/** From one plan to another: what is new first, so that nothing leaves by another way meanwhile. */
export function planChanges(
  before: ReadonlyMap<string, Command>,
  after: ReadonlyMap<string, Command>,
): readonly Command[] {
  const added = [...after].filter(([name]) => !before.has(name)).map(([, command]) => command);
  const gone = [...before].filter(([name]) => !after.has(name)).map(([, command]) => command);
  return [...added, ...gone.toReversed().map(undone)];
}

function undone(command: Command): Command {
  if (command.kind === "route_add") return { ...command, kind: "route_remove" };
  if (command.kind === "rule_add") return { ...command, kind: "rule_remove" };
  return command;
}

import { describe, expect, test } from "bun:test";
import { formatPrefix, parsePrefix } from "../../../src/base/ip.ts";
import type { Command } from "../../../src/mesh/dataplane.ts";
import { planChanges, routingPlace, routingPlan } from "../../../src/mesh/route-plan.ts";

const place = { first: 5200, count: 260, mark: 0x6d760001 };

function plan(...texts: readonly string[]): ReadonlyMap<string, Command> {
  return routingPlan(
    texts.map((text) => parsePrefix(text) as NonNullable<ReturnType<typeof parsePrefix>>),
    place,
  );
}

/** As `ip rule` would say it. */
function words(command: Command): string {
  if (command.kind === "route_add" || command.kind === "route_remove") {
    return `${command.kind} ${formatPrefix(command.prefix)} in ${command.table}`;
  }
  if (command.kind !== "rule_add" && command.kind !== "rule_remove") return command.kind;
  const { priority, prefix, table, suppress, jump } = command.rule;
  const what =
    table === undefined ? (jump === undefined ? "nothing" : `to ${jump}`) : `in ${table}`;
  const but = suppress === undefined ? "" : ` but ${suppress}`;
  return `${command.kind} ${priority} ${formatPrefix(prefix)} ${what}${but}`;
}

describe("the kernel's rules for routes", () => {
  test("pass the device's own packets by, and let as long a route of the main table go first", () => {
    expect([...plan("192.168.7.0/24").values()].map(words)).toEqual([
      "route_add 192.168.7.0/24 in 1836449793",
      "rule_add 5459 0.0.0.0/0 nothing",
      "rule_add 5200 0.0.0.0/0 to 5459",
      "rule_add 5217 192.168.7.0/24 in 254 but 23",
      "rule_add 5218 192.168.7.0/24 in 1836449793",
    ]);
  });

  test("leave of an exit node's all that the main table has but default routes, in both families", () => {
    expect([...plan("0.0.0.0/0", "::/0").values()].map(words)).toEqual([
      "route_add 0.0.0.0/0 in 1836449793",
      "route_add ::/0 in 1836449793",
      "rule_add 5459 0.0.0.0/0 nothing",
      "rule_add 5200 0.0.0.0/0 to 5459",
      "rule_add 5459 ::/0 nothing",
      "rule_add 5200 ::/0 to 5459",
      "rule_add 5265 0.0.0.0/0 in 254 but 0",
      "rule_add 5266 0.0.0.0/0 in 1836449793",
      "rule_add 5457 ::/0 in 254 but 0",
      "rule_add 5458 ::/0 in 1836449793",
    ]);
  });

  test("leave addresses that are spoken to without the mark to the main table", () => {
    const direct = [
      { address: "192.0.2.7", bits: 32 },
      { address: "2001:db8::7", bits: 128 },
    ];
    const rules = [...routingPlan([{ address: "0.0.0.0", bits: 0 }], place, direct).values()];
    const all = rules.map(words);
    expect(all).toContain("rule_add 5200 192.0.2.7/32 in 254");
    // In a family that nothing is led in there is nothing to leave out.
    expect(all.join()).not.toContain("2001:db8::7");
  });

  test("of longer prefixes come first, and all lie within their places", () => {
    const rules = [...plan("10.0.0.0/8", "10.1.0.0/16", "fd00::1/128", "0.0.0.0/0").values()];
    const priorities = rules.flatMap((it) => (it.kind === "rule_add" ? [it.rule.priority] : []));
    expect(Math.min(...priorities)).toBe(place.first);
    expect(Math.max(...priorities)).toBe(place.first + place.count - 1);
    const of = (text: string): number =>
      Math.min(
        ...rules.flatMap((it) =>
          it.kind === "rule_add" && formatPrefix(it.rule.prefix) === text && it.rule.table
            ? [it.rule.priority]
            : [],
        ),
      );
    expect(of("10.1.0.0/16")).toBeLessThan(of("10.0.0.0/8"));
    expect(of("10.0.0.0/8")).toBeLessThan(of("0.0.0.0/0"));
  });

  test("change by what differs, the new first and the old from the end", () => {
    const changes = planChanges(plan("10.0.0.0/8"), plan("10.1.0.0/16")).map(words);
    expect(changes).toEqual([
      "route_add 10.1.0.0/16 in 1836449793",
      "rule_add 5233 10.1.0.0/16 in 254 but 15",
      "rule_add 5234 10.1.0.0/16 in 1836449793",
      "rule_remove 5250 10.0.0.0/8 in 1836449793",
      "rule_remove 5249 10.0.0.0/8 in 254 but 7",
      "route_remove 10.0.0.0/8 in 1836449793",
    ]);
    expect(planChanges(plan("10.0.0.0/8"), plan("10.0.0.0/8"))).toEqual([]);
  });

  test("have the same place at each start, within what the kernel leaves free", () => {
    for (const name of ["meshvpn0", "meshvpn1", "m", "a-very-long-one"]) {
      const { first, count, mark } = routingPlace(name);
      expect(routingPlace(name)).toEqual({ first, count, mark });
      expect(first).toBeGreaterThanOrEqual(5200);
      expect(first + count).toBeLessThan(32_766);
      expect(mark >>> 16).toBe(0x6d76);
    }
    expect(routingPlace("meshvpn0")).not.toEqual(routingPlace("meshvpn1"));
  });
});

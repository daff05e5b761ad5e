import { describe, expect, test } from "bun:test";
import { formatPrefix, type IpPrefix, parsePrefix } from "../../../src/base/ip.ts";
import {
  allowedByRoutes,
  contains,
  type Offer,
  type RouteQuestion,
  resolveRoutes,
  without,
} from "../../../src/trust/routes.ts";

const mesh = [prefix("10.99.0.0/16"), prefix("fd00:1:2:3::/64")];

function prefix(text: string): IpPrefix {
  const parsed = parsePrefix(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}

function offer(identity: string, prefixes: readonly string[], how: Partial<Offer> = {}): Offer {
  return { identity, prefixes: prefixes.map(prefix), met: true, up: true, ...how };
}

/** `who prefix` of what is approved. */
function states(
  offers: readonly Offer[],
  approved: readonly string[],
  more: Partial<RouteQuestion> = {},
): readonly string[] {
  const approvals = approved.map((text) => {
    const [identity = "", network = ""] = text.split(" ");
    return { identity, prefix: prefix(network) };
  });
  const question = { offers, approvals, exitNode: undefined, mesh, local: [], ...more };
  return resolveRoutes(question).map(
    ({ identity, prefix: each, state }) => `${identity} ${formatPrefix(each)} ${state}`,
  );
}

describe("a network that a member offers", () => {
  test("is used only where it was approved for that member", () => {
    const offers = [offer("A", ["192.168.7.0/24", "fd07::/48"]), offer("B", ["192.168.8.0/24"])];
    expect(states(offers, ["A 192.168.7.0/24", "A 192.168.8.0/24", "B fd07::/48"])).toEqual([
      "A 192.168.7.0/24 used",
      "A fd07::/48 offered",
      "B 192.168.8.0/24 offered",
      "A 192.168.8.0/24 not offered",
      "B fd07::/48 not offered",
    ]);
  });

  test("waits until the member was reached, and stays with it when it goes", () => {
    const approved = ["A 192.168.7.0/24"];
    expect(states([offer("A", ["192.168.7.0/24"], { met: false })], approved)).toEqual([
      "A 192.168.7.0/24 waiting",
    ]);
    expect(states([offer("A", ["192.168.7.0/24"], { up: false })], approved)).toEqual([
      "A 192.168.7.0/24 used",
    ]);
  });

  test("is with the first approved member that is up, where several offer it", () => {
    const approved = ["A 192.168.7.0/24", "B 192.168.7.0/24"];
    const both = (up: boolean): readonly Offer[] => [
      offer("B", ["192.168.7.0/24"]),
      offer("A", ["192.168.7.0/24"], { up }),
    ];
    expect(states(both(true), approved)).toEqual([
      "B 192.168.7.0/24 standby",
      "A 192.168.7.0/24 used",
    ]);
    expect(states(both(false), approved)).toEqual([
      "B 192.168.7.0/24 used",
      "A 192.168.7.0/24 standby",
    ]);
  });

  test("is nobody's where this machine is in it", () => {
    const local = [prefix("192.168.7.0/24")];
    expect(states([offer("A", ["192.168.7.0/24"])], ["A 192.168.7.0/24"], { local })).toEqual([
      "A 192.168.7.0/24 local",
    ]);
  });

  test("is never the mesh's own, a member's address, nor one that means another thing elsewhere", () => {
    const texts = [
      ...["10.99.0.0/16", "10.99.3.4/32", "10.99.128.0/17", "fd00:1:2:3::/64", "fd00:1:2:3::7/128"],
      ...["127.0.0.0/8", "169.254.1.0/24", "224.0.0.0/4", "0.0.0.0/1", "fe80::/64", "ff00::/8"],
    ];
    expect(
      states(
        [offer("A", texts)],
        texts.map((text) => `A ${text}`),
      ),
    ).toEqual(texts.map((text) => `A ${formatPrefix(prefix(text))} refused`));
    // Nor is it waited for where nobody offers it: no offer would mend that.
    expect(states([], ["A 10.99.0.0/16"])).toEqual(["A 10.99.0.0/16 refused"]);
  });

  test("is everything only for the exit node", () => {
    const offers = [offer("A", ["0.0.0.0/0", "::/0"]), offer("B", ["0.0.0.0/0"])];
    expect(states(offers, ["A 0.0.0.0/0", "B 0.0.0.0/0"])).toEqual([
      "A 0.0.0.0/0 offered",
      "A ::/0 offered",
      "B 0.0.0.0/0 offered",
    ]);
    expect(states(offers, [], { exitNode: "B" })).toEqual([
      "A 0.0.0.0/0 offered",
      "A ::/0 offered",
      "B 0.0.0.0/0 used",
    ]);
    expect(states([], [], { exitNode: "B" })).toEqual([
      "B 0.0.0.0/0 not offered",
      "B ::/0 not offered",
    ]);
  });
});

describe("what a member may send from", () => {
  test("leaves the mesh's own networks out, however large the approved one is", () => {
    const offers = [offer("A", ["10.0.0.0/8", "0.0.0.0/0", "::/0"])];
    const approvals = [{ identity: "A", prefix: prefix("10.0.0.0/8") }];
    const question = { offers, approvals, exitNode: "A", mesh, local: [] };
    const allowed = allowedByRoutes(resolveRoutes(question), mesh).get("A") ?? [];
    const never = ["127.0.0.1", "169.254.1.1", "224.0.0.1", "fe80::1", "febf::1", "ff02::1"];
    for (const inside of ["10.99.0.0", "10.99.255.255", "fd00:1:2:3::1", ...never]) {
      const bits = inside.includes(":") ? 128 : 32;
      const address = { address: inside, bits };
      expect([inside, allowed.some((each) => contains(each, address))]).toEqual([inside, false]);
    }
    for (const outside of [
      "10.98.255.255",
      "10.100.0.0",
      "8.8.8.8",
      "fd00:1:2:4::1",
      "2001:db8::1",
    ]) {
      const bits = outside.includes(":") ? 128 : 32;
      const address = { address: outside, bits };
      expect([outside, allowed.some((each) => contains(each, address))]).toEqual([outside, true]);
    }
    // Each hole costs as many prefixes as it is longer, less what it shares with another.
    expect(allowed).toHaveLength(109);
  });

  test("is nothing of what lies within a hole", () => {
    expect(without(prefix("10.99.1.0/24"), mesh)).toEqual([]);
    expect(without(prefix("10.98.0.0/15"), mesh)).toEqual([prefix("10.98.0.0/16")]);
    expect(without(prefix("192.168.0.0/16"), mesh)).toEqual([prefix("192.168.0.0/16")]);
  });
});

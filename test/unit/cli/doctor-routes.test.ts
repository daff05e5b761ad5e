import { describe, expect, test } from "bun:test";
import { type Forwards, routeLinks } from "../../../src/cli/doctor-routes.ts";
import type { MeshStatus } from "../../../src/daemon/status.ts";

const identity = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const on: Forwards = { v4: true, v6: true, strict: undefined };

function links(said: Partial<MeshStatus>, forwards = on): readonly string[] {
  const nothing = { offers: [], forward: "off", routes: [], exit_node: null, members: [] };
  return routeLinks({ ...nothing, ...said } as unknown as MeshStatus, forwards).map(
    ({ link, state, words }) => `${state} ${link}: ${words}`,
  );
}

describe("doctor says of routes", () => {
  test("nothing where there are none", () => {
    expect(links({})).toEqual([]);
  });

  test("that the kernel does not forward what this node offers, by family", () => {
    const offers = ["192.168.7.0/24", "fd07::/64"];
    expect(links({ offers })).toEqual(["ok routes offered: 192.168.7.0/24, fd07::/64"]);
    expect(links({ offers }, { ...on, v6: false })).toEqual([
      expect.stringMatching(/^broken routes offered: .*net\.ipv6\.conf\.all\.forwarding is 0/),
    ]);
    expect(links({ offers }, { ...on, v4: false, v6: false })[0]).toContain("forwarding are 0");
    expect(links({ offers: ["192.168.7.0/24"] }, { ...on, v6: false })).toHaveLength(1);
    expect(links({ offers, forward: "refused" })[0]).toMatch(/^broken .*could not be set/);
    // Where /proc/sys cannot be read, nothing is claimed.
    expect(links({ offers }, { ...on, v4: undefined, v6: undefined })[0]).toMatch(/^ok /);
  });

  test("which approved ones are not in use, and why", () => {
    const route = (prefix: string, state: string) => ({ identity, prefix, state });
    const routes = [route("10.1.0.0/16", "used"), route("10.2.0.0/16", "not offered")] as never;
    expect(links({ routes })).toEqual([
      "ok route: 10.1.0.0/16 by AQEBAQEB",
      "unknown route: 10.2.0.0/16 by AQEBAQEB is not offered: AQEBAQEB does not offer it now",
    ]);
    expect(links({ routes: [route("10.3.0.0/16", "offered")] as never })).toEqual([]);
  });

  test("that a strict reverse path and an exit node do not go together", () => {
    expect(links({ exit_node: identity }, { ...on, strict: "eth0" })[0]).toMatch(
      /^broken exit.*eth0/,
    );
    expect(links({ exit_node: identity })).toEqual([]);
  });
});

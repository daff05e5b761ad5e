import { describe, expect, test } from "bun:test";
import { mdnsCounters } from "../../../src/daemon/mdns.ts";
import { Outlook } from "../../../src/mesh/outlook.ts";
import { counterMetric, metrics } from "../../../src/metrics/catalog.ts";
import { counterHelp } from "../../../src/metrics/counters.ts";
import { abi } from "../../../src/native/abi.ts";
import { MeshWorld } from "../../sim/mesh-world.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const portmap = ["requests_sent", "malformed", "refused", "reserved", "restarts"];

/** Every counter of a node and of the library, by its name in `status --counters`. */
function counters(): string[] {
  const host = new MeshWorld(1).host().start();
  const dataplane = Object.keys(abi.enums.Counter).map((name) => `dataplane_${name}`);
  const { node } = host;
  if (node === undefined) throw new Error("the host has started");
  const outlook = new Outlook(node, new SeededRandom(1));
  // The daemon counts these itself: it alone has the library's cryptography, a log and a gateway.
  const own = ["diffie_hellman", "introductions_forgotten", "introductions_refused_untold"];
  const found = Object.keys(mdnsCounters()).map((name) => `mdns_${name}`);
  const asked = ["hints_refused", ...found, ...portmap.map((name) => `portmap_${name}`)];
  return [...Object.keys(outlook.allCounters()), ...own, ...asked, ...dataplane];
}

describe("the catalog of metrics", () => {
  test("describes every counter that there is, in src/metrics/counters.ts", () => {
    expect(counters().filter((name) => counterHelp[name] === undefined)).toEqual([]);
  });

  test("describes none that there is not", () => {
    const known = new Set(counters());
    expect(Object.keys(counterHelp).filter((name) => !known.has(name))).toEqual([]);
  });

  test("names every metric once, in the form that Prometheus asks for", () => {
    const all = [
      ...Object.values(metrics),
      ...Object.keys(counterHelp).map((name) => counterMetric(name)),
    ];
    const names = all.map((metric) => metric?.name ?? "");
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name).toMatch(/^(meshvpn|process)(_[a-z0-9]+)+$/);
    for (const name of names) expect(name).not.toEndWith("_total");
    for (const metric of all) expect(metric?.help).toMatch(/^[A-Z0-9].*[^.]$/);
  });
});

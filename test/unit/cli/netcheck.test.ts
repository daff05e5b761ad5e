/** What netcheck says of what did not work: what, why, and what to do. */
import { expect, test } from "bun:test";
import { formatNetcheck } from "../../../src/cli/netcheck.ts";
import { portmapWords } from "../../../src/cli/portmap-words.ts";
import { type NetcheckReport, refreshOf } from "../../../src/daemon/netcheck.ts";
import type { PortMapperStatus } from "../../../src/daemon/port-mapper.ts";

const gateway = "192.168.1.1";

function said(pcp: string, pmp: string, upnp: string): string {
  return portmapWords({ gateway, asked: { pcp, "nat-pmp": pmp, upnp }, mapped: null }, 51_820);
}

test("a gateway that does not forward is named, with each protocol's reason and what to do", () => {
  expect(said("no answer", "no answer", "no answer")).toBe(
    "the gateway 192.168.1.1 forwards no port (pcp, nat-pmp, upnp: no answer); " +
      "switch UPnP, NAT-PMP or PCP on there, or forward UDP 51820 there by hand and name it by --announce",
  );
  const cases: readonly (readonly [string, string, string, string, string])[] = [
    ["refused with 2", "refused with 2", "no answer", "not allowed (code 2)", "allow this machine"],
    ["no answer", "no answer", "refused with 606", "not allowed (code 606)", "allow this machine"],
    ["refused with 8", "refused with 4", "no answer", "no room (code 8)", "free a port there"],
    ["no answer", "no answer", "every port is taken", "is taken", "free a port there"],
    ["refused with 7", "no answer", "no answer", "its own network fails", "connected itself"],
    ["not supported", "no answer", "no external address", "no address outside", "connected itself"],
    [
      "its outside address 10.1.2.3 is of a reserved range",
      "no answer",
      "no answer",
      "10.1.2.3",
      "behind another NAT itself",
    ],
    ["refused with 99", "no answer", "no answer", "refused (code 99)", "switch UPnP"],
    ["ENETUNREACH: no route", "no answer", "no answer", "ENETUNREACH", "switch UPnP"],
    ["no answer", "no answer", "no service of that kind", "forwards no ports by that", "switch"],
  ];
  for (const [pcp, pmp, upnp, why, mend] of cases) {
    const words = said(pcp, pmp, upnp);
    expect(words).toContain(why);
    expect(words).toContain(mend);
    expect(words).not.toMatch(/refused with|\n|\t/);
  }
});

test("where no gateway was asked, or not yet of everything, no failure is told", () => {
  const cases: readonly (readonly [PortMapperStatus, string])[] = [
    [{ gateway: null, asked: {}, mapped: null }, "--no-portmap"],
    [{ gateway, asked: {}, mapped: null }, "is not asked"],
    [{ gateway, asked: { pcp: "no answer" }, mapped: null }, "is being asked"],
    [
      {
        gateway,
        asked: { pcp: "no answer", "nat-pmp": "mapped" },
        mapped: { by: "nat-pmp", address: "11.0.0.1", port: 51_820, expires_s: 10 },
      },
      "11.0.0.1:51820 by nat-pmp, from 192.168.1.1",
    ],
  ];
  for (const [status, words] of cases) expect(portmapWords(status, 51_820)).toContain(words);
});

const report: NetcheckReport = {
  schema: 1,
  asking: false,
  port: 51_820,
  nat: { kind: "unknown", mapping: "unknown", filtering: "unknown" },
  udp: { ipv4: "no answer", ipv6: "no address" },
  addresses: [],
  stun: [],
  port_mapping: { gateway: null, asked: {}, mapped: null },
  relay: { offered: false, members: [], used: 0 },
  tcp: { listens: null, members: 0 },
  peers: [],
};

test("servers that said nothing are named on a terminal, and what to do about them", () => {
  const nothing = { address: "", rtt_ms: null, seen: null, believed: false };
  const stun = [
    { ...nothing, server: "a.example:3478", address: "192.0.2.1:3478", outcome: "silent" },
    { ...nothing, server: "b.example:3478", outcome: "no address" },
    { ...nothing, server: "c.example:3478", address: "192.0.2.3:3478", outcome: "answered" },
  ];
  const terminal = formatNetcheck({ ...report, stun }, { seconds: 5, terminal: true });
  expect(terminal).toContain("no answer within 5 s from a.example:3478: it is down");
  expect(terminal).toContain("no address is known for b.example:3478: check the name and DNS");
  expect(terminal).toContain("no two STUN servers agree");
  const piped = formatNetcheck({ ...report, stun }, { seconds: 5, terminal: false });
  expect(piped).toContain("stun\ta.example:3478\t192.0.2.1:3478\tsilent\t-\t-\tnot believed\n");
  expect(piped).toContain("stun\tb.example:3478\t-\tno address\t");
  expect(piped).not.toContain("within 5 s");
});

test("whoever asks says how long, within bounds", () => {
  expect(refreshOf({ command: "netcheck" })).toBeUndefined();
  expect(refreshOf({ command: "netcheck", refresh: true })).toBe(5_000);
  expect(refreshOf({ command: "netcheck", refresh: true, timeout_s: 2 })).toBe(2_000);
  for (const [wrong, ms] of [
    [0, 5_000],
    ["9", 5_000],
    [Number.NaN, 5_000],
    [1e9, 30_000],
  ] as const) {
    expect(refreshOf({ command: "netcheck", refresh: true, timeout_s: wrong })).toBe(ms);
  }
});

import { describe, expect, test } from "bun:test";
import { formatBytes, formatSeconds, printRows } from "../../../src/cli/print.ts";
import { formatStatus } from "../../../src/cli/status.ts";
import { type MemberStatus, type MeshStatus, notMet } from "../../../src/daemon/status.ts";

describe("rows", () => {
  const rows = [
    ["a", "long cell", ""],
    ["bb", "c", "d"],
  ];

  test("stand in columns on a terminal", () => {
    expect(printRows(["X", "Y", "Z"], rows, true)).toBe(
      "X   Y          Z\na   long cell\nbb  c          d\n",
    );
  });

  test("are separated by tabs elsewhere, without a header", () => {
    expect(printRows(["X", "Y", "Z"], rows, false)).toBe("a\tlong cell\t\nbb\tc\td\n");
  });
});

test("bytes and seconds are short", () => {
  expect([0, 1023, 1536, 5 * 1024 ** 3].map(formatBytes)).toEqual([
    ...["0 B", "1023 B", "1.5 KiB", "5.0 GiB"],
  ]);
  expect([0, 0.9, 59, 60, 90, 3600, 3661, 90_000].map(formatSeconds)).toEqual([
    ...["0s", "0s", "59s", "1m", "1m30s", "1h", "1h1m", "1d1h"],
  ]);
});

describe("status", () => {
  const status: MeshStatus = {
    schema: 1,
    version: "0.1.0",
    pid: 1,
    identity: "hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=",
    name: "alpha",
    network: "meshvpn",
    interface: "meshvpn0",
    addresses: ["10.99.0.7", "fd00::7"],
    port: 51820,
    nat: "unknown",
    aead: "avx2",
    lanes: 1,
    io_uring: "refused: EPERM",
    trusted: 1,
    organisations: 0,
    certificate: null,
    joining: false,
    warnings: [],
    offers: [],
    forward: "off",
    routes: [],
    exit_node: null,
    members: [
      {
        name: "beta",
        name_clash: false,
        given_name: "",
        identity: "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
        addresses: ["10.99.0.8"],
        offers: [],
        certificate: null,
        state: "alive",
        path: "direct 192.0.2.2:51820",
        nat: "easy",
        relay: false,
        rtt_ms: 1.25,
        handshake_age_s: 61,
        rx_bytes: 2048,
        tx_bytes: 0,
      },
    ],
    counters: { rx_malformed: 3 },
  };

  test("says why there is no member, and until when this node is one", () => {
    const certificate = { organisation: "o", name: "", groups: [], expires: 1_700_000_000 };
    const alone = { ...status, members: [], organisations: 1, certificate };
    expect(formatStatus(alone, true)).toContain("no member yet: meshvpn invite");
    expect(formatStatus(alone, true)).toContain("until      2023-11-14, when the certificate ends");
    expect(formatStatus({ ...alone, joining: true }, true)).toContain("its issuer is asked");
    const closed = { ...alone, organisations: 0 };
    expect(formatStatus(closed, true)).toContain("nobody is trusted");
  });

  test("is a table on a terminal", () => {
    expect(formatStatus(status, true)).toBe(
      [
        "node       alpha  hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=",
        "network    meshvpn",
        "interface  meshvpn0  10.99.0.7  fd00::7",
        "port       51820",
        "aead       avx2",
        "io_uring   refused: EPERM",
        "",
        "MEMBER  KEY       ADDRESSES  STATE  PATH                    RTT     HANDSHAKE  RX       TX",
        "beta    AQEBAQEB  10.99.0.8  alive  direct 192.0.2.2:51820  1.3 ms  1m1s ago   2.0 KiB  0 B",
        "",
        "COUNTER       VALUE",
        "rx_malformed  3",
        "",
      ].join("\n"),
    );
  });

  test("is lines of tabs in a pipe, each saying what it is", () => {
    expect(formatStatus(status, false)).toBe(
      [
        "node\talpha\thmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=\tmeshvpn0\t10.99.0.7,fd00::7\t51820",
        "member\tbeta\tAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\t10.99.0.8\talive\tdirect 192.0.2.2:51820\t1.25\t61\t2048\t0",
        "counter\trx_malformed\t3",
        "",
      ].join("\n"),
    );
  });

  test("says why there is nobody", () => {
    const alone = { ...status, members: [], trusted: 0 };
    expect(formatStatus(alone, true)).toContain("nobody is trusted");
  });

  test("calls a member by the operator's word, and beside it by its own where that differs", () => {
    const [beta] = status.members as [MemberStatus];
    const shown = (member: MemberStatus, terminal: boolean): string =>
      formatStatus({ ...status, members: [member] }, terminal);
    const given = { ...beta, given_name: "laptop" };
    expect(shown(given, true)).toContain("\nlaptop (beta)  AQEBAQEB  ");
    expect(shown(given, false)).toContain("\nmember\tlaptop\t");
    expect(shown({ ...beta, given_name: "beta" }, true)).toContain("\nbeta    AQEBAQEB  ");
    const unmet = notMet(beta.identity, "phone");
    expect(shown(unmet, true)).toMatch(/^phone +AQEBAQEB +not met +- +- +- +0 B +0 B$/m);
  });
});

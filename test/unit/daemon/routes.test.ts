import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatPrefix, type IpPrefix, parsePrefix } from "../../../src/base/ip.ts";
import { localNetworks, RouteKeeper } from "../../../src/daemon/routes.ts";
import { readRoutes, writeRoutes } from "../../../src/daemon/routes-file.ts";
import type { Command } from "../../../src/mesh/dataplane.ts";
import type { MemberStatus } from "../../../src/mesh/report.ts";
import type { Certificate } from "../../../src/trust/certificate.ts";

const keyOne = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const keyTwo = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
const place = { first: 5200, count: 260, mark: 7 };

let directory: string;
let members: MemberStatus[];
let settings: Parameters<typeof keeperOf>[0];
let applied: Command[];
let refused: boolean;
let complaints: number;
let led: ReadonlyMap<string, readonly IpPrefix[]>;
let accepted: readonly string[];
let looks: number;
let streamed: readonly string[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "meshvpn-routes-"));
  members = [];
  settings = {};
  applied = [];
  refused = false;
  complaints = 0;
  led = new Map();
  accepted = [];
  looks = 0;
  streamed = [];
});

afterEach(() => rmSync(directory, { recursive: true }));

function prefix(text: string): IpPrefix {
  return parsePrefix(text) as IpPrefix;
}

interface Said {
  readonly offer?: readonly string[];
  readonly accept?: readonly string[];
  readonly exit_node?: string;
}

function keeperOf(said: Said): RouteKeeper {
  settings = said;
  const duties = {
    settings: () => ({
      offer: (settings.offer ?? []).map(prefix),
      offer_exit: false,
      forward: "off" as const,
      accept: (settings.accept ?? []).map((text) => {
        const [who = "", network = ""] = text.split(" ");
        return { who, prefix: prefix(network) };
      }),
      exit_node: settings.exit_node ?? "",
    }),
    streamed: () => streamed,
    members: () => {
      looks += 1;
      return members;
    },
    everybody: () => members,
    givenName: (identity: string) => (identity === keyOne ? "one" : ""),
    accept: (prefixes: readonly IpPrefix[]) => {
      accepted = prefixes.map(formatPrefix);
    },
    lead: (routes: ReadonlyMap<string, readonly IpPrefix[]>) => {
      led = routes;
    },
    apply: (commands: readonly Command[]) => {
      applied.push(...commands);
      if (!refused) return [];
      return commands.map((command) => ({ command, error: "system" as const, errno: 1 }));
    },
    refused: () => {
      complaints += 1;
    },
    flushRules: () => 0,
    warn: () => undefined,
  };
  const mesh = [prefix("10.99.0.0/16"), prefix("fd00:1:2:3::/64")];
  return new RouteKeeper(
    { stateDirectory: directory, mesh, place, interfaceName: "mv0" },
    duties as never,
  );
}

function member(identity: string, offered: readonly string[], more: object = {}): MemberStatus {
  const how = { name: "", nameClash: false, certificate: undefined, state: "alive" };
  const made = { identity, offered: offered.map(prefix), sessionLive: true, ...how, ...more };
  return made as unknown as MemberStatus;
}

function kinds(): readonly string[] {
  return applied.splice(0).map(({ kind }) => kind);
}

describe("routes that are approved", () => {
  test("cost no look at members where there are none", () => {
    members = [member(keyOne, ["10.1.0.0/16"])];
    const keeper = keeperOf({});
    keeper.start();
    keeper.update();
    expect([looks, applied]).toEqual([0, []]);
    expect(keeper.status().routes.map(({ state }) => state)).toEqual(["offered"]);
  });

  test("by the configuration name a key, the operator's word or a certificate's, never what a member calls itself", () => {
    const certificate = { name: "two" } as Certificate;
    members = [
      member(keyOne, ["10.1.0.0/16", "10.4.0.0/16"], { name: "self" }),
      member(keyTwo, ["10.2.0.0/16", "10.3.0.0/16"], { name: "two", certificate }),
    ];
    const accept = [
      "one 10.1.0.0/16",
      "two 10.2.0.0/16",
      `${keyTwo} 10.3.0.0/16`,
      "self 10.4.0.0/16",
    ];
    const keeper = keeperOf({ accept });
    keeper.start();
    expect(keeper.status().routes.map(({ prefix: each, state }) => `${each} ${state}`)).toEqual([
      "10.1.0.0/16 used",
      "10.4.0.0/16 offered",
      "10.2.0.0/16 used",
      "10.3.0.0/16 used",
    ]);
    expect([...led].map(([who, what]) => [who, what.map(formatPrefix)])).toEqual([
      [keyOne, ["10.1.0.0/16"]],
      [keyTwo, ["10.2.0.0/16", "10.3.0.0/16"]],
    ]);
  });

  test("by command are kept, and what the configuration says of an exit node comes before", () => {
    const approved = [{ identity: keyOne, prefix: prefix("10.1.0.0/16") }];
    writeRoutes(directory, { approved, exitNode: keyOne });
    expect(readRoutes(directory, () => undefined)).toEqual({ approved, exitNode: keyOne });
    members = [member(keyOne, ["10.1.0.0/16", "0.0.0.0/0"]), member(keyTwo, ["0.0.0.0/0"])];
    const keeper = keeperOf({});
    keeper.start();
    expect(keeper.status().exit_node).toBe(keyOne);
    settings = { exit_node: keyTwo };
    keeper.update();
    expect(keeper.status().exit_node).toBe(keyTwo);
    expect(keeper.status().routes.map(({ state }) => state)).toEqual(["used", "offered", "used"]);
  });

  test("do not lead to where streams over TCP go, wherever that is now", () => {
    members = [member(keyOne, ["0.0.0.0/0"])];
    const keeper = keeperOf({ exit_node: keyOne });
    keeper.start();
    streamed = ["192.0.2.7", "2001:db8::7"];
    keeper.update();
    const ruled = (): string[] =>
      applied.flatMap((it) =>
        it.kind === "rule_add" && it.rule.table === 254 && it.rule.suppress === undefined
          ? [formatPrefix(it.rule.prefix)]
          : [],
      );
    expect(ruled()).toEqual(["192.0.2.7/32"]);
    streamed = ["192.0.2.8"];
    keeper.update();
    expect(ruled()).toEqual(["192.0.2.7/32", "192.0.2.8/32"]);
    const gone = applied.filter(({ kind }) => kind === "rule_remove");
    expect(gone).toHaveLength(1);
  });

  test("are gone from the kernel when nothing is approved any more, and at the end", () => {
    members = [member(keyOne, ["10.1.0.0/16"])];
    const keeper = keeperOf({ accept: ["one 10.1.0.0/16"] });
    keeper.start();
    const made = kinds();
    settings = {};
    keeper.update();
    const undone = kinds();
    expect([made.length, undone.length]).toEqual([5, 5]);
    expect(undone.every((kind) => kind.endsWith("_remove"))).toBe(true);
    expect(led.size).toBe(0);
    settings = { accept: ["one 10.1.0.0/16"] };
    keeper.update();
    expect(kinds()).toEqual(made);
    keeper.close();
    expect(kinds()).toEqual(undone);
  });

  test("that the kernel refuses are tried again, and complained of once", () => {
    members = [member(keyOne, ["10.1.0.0/16"])];
    const keeper = keeperOf({ accept: ["one 10.1.0.0/16"] });
    refused = true;
    keeper.start();
    keeper.update();
    expect(complaints).toBe(1);
    refused = false;
    applied.length = 0;
    keeper.update();
    expect(kinds()).toHaveLength(5);
    keeper.update();
    expect(kinds()).toEqual([]);
  });
});

test("packets of members may go to this node's addresses and to what it offers", () => {
  const keeper = keeperOf({ offer: ["192.168.7.0/24"] });
  keeper.start();
  keeper.setOwn(["fd00:1:2:3::1", "10.99.0.1"]);
  expect(accepted).toEqual(["fd00:1:2:3::1/128", "10.99.0.1/32", "192.168.7.0/24"]);
  settings = {};
  keeper.settingsChanged();
  expect(accepted).toEqual(["fd00:1:2:3::1/128", "10.99.0.1/32"]);
});

test("networks of this machine are those of its interfaces, its own tunnel's left out", () => {
  const info = (cidr: string | null, internal = false) => ({ cidr, internal }) as never;
  const interfaces = {
    lo: [info("127.0.0.1/8", true)],
    eth0: [info("192.168.1.7/24"), info("fd01::7/64"), info(null)],
    mv0: [info("10.99.0.1/32")],
  };
  expect(localNetworks(interfaces, "mv0").map(formatPrefix)).toEqual([
    "192.168.1.0/24",
    "fd01::/64",
  ]);
});

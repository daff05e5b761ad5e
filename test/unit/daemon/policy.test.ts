import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Admitted, PolicyKeeper } from "../../../src/daemon/policy.ts";
import type { NamedPeer } from "../../../src/mesh/dataplane.ts";
import type { Certificate } from "../../../src/trust/certificate.ts";

let directory: string;
let members: Admitted[];
/** Without a peer. */
let resting: Admitted[];
let set: { named: readonly NamedPeer[]; keepFlows: boolean; rules: number }[];
let keeper: PolicyKeeper;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "meshvpn-policy-"));
  members = [];
  resting = [];
  set = [];
  const plane = {
    setPolicy: (
      rules: readonly unknown[],
      named: readonly NamedPeer[],
      { keepFlows }: { keepFlows: boolean },
    ) => {
      set.push({ named, keepFlows, rules: rules.length });
    },
  };
  keeper = new PolicyKeeper(directory, plane, {
    isMember: (identity) => [...members, ...resting].some((each) => each.identity === identity),
    present: () => members,
    certificateOf: (identity) =>
      [...members, ...resting].find((each) => each.identity === identity)?.certificate,
    givenName: (identity) => (identity === "ONE" ? "one" : ""),
    organisations: () => new Map(),
    own: () => "fd00::1",
  });
});

afterEach(() => rmSync(directory, { recursive: true }));

function policy(text: string): void {
  writeFileSync(join(directory, "policy"), text);
  keeper.read();
}

function member(identity: string, slot: number, groups?: readonly string[]): Admitted {
  const certificate = { organisation: new Uint8Array(32).fill(1), groups } as Certificate;
  const peer = { slot, generation: 1 };
  return { identity, peer, certificate: groups === undefined ? undefined : certificate };
}

describe("the data plane's policy", () => {
  test("is left alone where nothing is said", () => {
    keeper.read();
    members = [member("ONE", 1)];
    keeper.update();
    expect(set).toEqual([]);
  });

  // And one behind them, for members' doctors, where the default is deny.
  test("is not set again for members whom no rule names", () => {
    policy("allow any tcp 22\ndefault deny\n");
    members = [member("ONE", 1)];
    keeper.update();
    expect(set).toEqual([{ named: [], keepFlows: false, rules: 2 }]);
  });

  test("ends no flow when a peer that nothing wanted goes, and knows it when it comes again", () => {
    policy("allow one\nallow two\ndefault deny\n");
    const [one, two] = [member("ONE", 1), member("TWO", 2, ["staff"])];
    members = [one, two];
    keeper.update();
    members = [two];
    resting = [one];
    keeper.update();
    members = [two, { ...one, peer: { slot: 1, generation: 2 } }];
    resting = [];
    keeper.update();
    expect(set.map(({ keepFlows }) => keepFlows)).toEqual([false, true, true, true]);
    expect(set.at(-1)?.named).toEqual([{ peer: { slot: 1, generation: 2 }, rules: [0] }]);
  });

  test("follows members that come, get another certificate, and go; flows end where one lost a right", () => {
    policy("allow one\nallow group:admins tcp 22\ndefault deny\n");
    members = [member("ONE", 1), member("TWO", 2, ["staff"])];
    keeper.update();
    members = [member("ONE", 1), member("TWO", 2, ["admins", "staff"])];
    keeper.update();
    keeper.update();
    members = [member("TWO", 2, ["admins"])];
    keeper.update();
    const one = { peer: { slot: 1, generation: 1 }, rules: [0] };
    const two = { peer: { slot: 2, generation: 1 }, rules: [1] };
    expect(set).toEqual([
      { named: [], keepFlows: false, rules: 3 },
      { named: [one], keepFlows: true, rules: 3 },
      { named: [one, two], keepFlows: true, rules: 3 },
      { named: [two], keepFlows: false, rules: 3 },
    ]);
  });

  test("stays as it was where the file is wrong", () => {
    policy("default deny\n");
    expect(() => policy("default perhaps\n")).toThrow("cannot use the policy");
    keeper.update();
    expect(set).toHaveLength(1);
  });
});

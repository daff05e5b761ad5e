import { describe, expect, test } from "bun:test";
import {
  compilePolicy,
  decide,
  type Policy,
  type PolicyMember,
  parsePolicy,
  ruleText,
} from "../../../src/trust/policy.ts";

const key = "hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=";
const laptop: PolicyMember = {
  identity: key,
  given_name: "laptop",
  addresses: ["fd00::2", "10.99.0.2"],
};
const other: PolicyMember = { identity: "OTHER", given_name: "", addresses: ["fd00::3"] };

function policy(text: string): Policy {
  const parsed = parsePolicy(text);
  if ("rules" in parsed) return parsed;
  throw new Error(`line ${parsed.line}: ${parsed.why}`);
}

describe("a policy", () => {
  test("is read a line a rule, with comments", () => {
    const read = policy(
      `# mine\ndefault deny\nallow laptop tcp 22 # ssh\n\nallow any icmp\ndeny ${key} udp 1000-2000\nallow any\n`,
    );
    expect(read.default).toBe("deny");
    expect(read.rules.map(({ line }) => line)).toEqual([3, 5, 6, 7]);
    expect(read.rules.map(ruleText)).toEqual([
      "allow laptop tcp 22",
      "allow any icmp",
      `deny ${key} udp 1000-2000`,
      "allow any",
    ]);
  });

  test("that says nothing lets everything in", () => {
    expect(policy("")).toEqual({ default: "allow", rules: [] });
  });

  const mistakes: readonly [string, number, string][] = [
    ["allow any\npermit any\n", 2, "permit is none of"],
    ["allow\n", 1, "allow whom?"],
    ["allow any tcp 0-65536\n", 1, "neither a port"],
    ["allow any tcp 9-8\n", 1, "neither a port"],
    ["allow any icmp 8\n", 1, "icmp has no ports"],
    ["allow any any 22\n", 1, "any has no ports"],
    ["allow any sctp\n", 1, "sctp is none of"],
    ["allow any tcp 22 23\n", 1, "23 is too much"],
    ["allow Lap_Top\n", 1, "neither any, nor an identity"],
    ["default maybe\n", 1, "default is allow or deny"],
    ["default deny\ndefault allow\n", 2, "stands there already"],
  ];
  for (const [text, line, why] of mistakes) {
    test(`is refused, with the line, for ${JSON.stringify(text)}`, () => {
      const parsed = parsePolicy(text);
      expect("rules" in parsed).toBe(false);
      expect(parsed).toEqual({ line, why: expect.stringContaining(why) } as never);
    });
  }
});

describe("the data plane is given", () => {
  test("an address a rule and a member, in order, of both families", () => {
    const rules = compilePolicy(policy("allow laptop tcp 22\ndeny any\n"), [laptop, other]);
    expect(rules).toEqual([
      {
        source: { address: "fd00::2", bits: 128 },
        family: 6,
        protocol: 6,
        first: 22,
        last: 22,
        allow: true,
      },
      {
        source: { address: "10.99.0.2", bits: 32 },
        family: 4,
        protocol: 6,
        first: 22,
        last: 22,
        allow: true,
      },
      {
        source: { address: "::", bits: 0 },
        family: 6,
        protocol: 0,
        first: 0,
        last: 65_535,
        allow: false,
      },
      {
        source: { address: "0.0.0.0", bits: 0 },
        family: 4,
        protocol: 0,
        first: 0,
        last: 65_535,
        allow: false,
      },
    ]);
  });

  test("ICMP by its number in each family", () => {
    const rules = compilePolicy(policy("allow any icmp\n"), []);
    expect(rules.map(({ protocol }) => protocol)).toEqual([58, 1]);
  });

  test("nothing for a name that is nobody's, nor for what a member calls itself", () => {
    expect(compilePolicy(policy("allow server tcp 22\n"), [laptop, other])).toEqual([]);
  });
});

describe("whether somebody is let in", () => {
  const rules = policy(
    "default deny\ndeny laptop tcp 23\nallow laptop tcp 20-25\nallow any icmp\n",
  );

  test("is decided by the first rule that speaks of it", () => {
    expect(decide(rules, laptop, "tcp", 22)).toMatchObject({ action: "allow", rule: { line: 3 } });
    expect(decide(rules, laptop, "tcp", 23)).toMatchObject({ action: "deny", rule: { line: 2 } });
    expect(decide(rules, other, "icmp", undefined)).toMatchObject({ action: "allow" });
  });

  test("is decided by the default where none does", () => {
    expect(decide(rules, laptop, "udp", 22)).toEqual({ action: "deny", rule: undefined });
    expect(decide(rules, other, "tcp", 22)).toEqual({ action: "deny", rule: undefined });
  });
});

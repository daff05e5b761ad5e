import { describe, expect, test } from "bun:test";
import {
  compilePolicy,
  type Decision,
  decide,
  doctorPort,
  type Policy,
  type PolicyMember,
  parsePolicy,
  rulesNaming,
  ruleText,
  standing,
} from "../../../src/trust/policy.ts";

const key = "hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=";
const organisation = "TiE1dI6RnhRPRkYTxK6cLgV6MPRlQyQRYsTi8NLP7Ck=";
const laptop: PolicyMember = {
  identity: key,
  given_name: "laptop",
  organisation: undefined,
  groups: [],
};
const other: PolicyMember = { ...laptop, identity: "OTHER", given_name: "" };
const certified: PolicyMember = {
  identity: "CERTIFIED",
  given_name: "",
  organisation,
  groups: ["admins", "staff"],
};
/** The same group by somebody else's word. */
const foreign: PolicyMember = { ...certified, identity: "FOREIGN", organisation: "FOREIGN-ORG" };
const organisations = new Map([["acme", organisation]]);

function policy(text: string): Policy {
  const parsed = parsePolicy(text);
  if ("rules" in parsed) return parsed;
  throw new Error(`line ${parsed.line}: ${parsed.why}`);
}

describe("a policy", () => {
  test("is read a line a rule, with comments", () => {
    const read = policy(
      `# mine\ndefault deny\nallow laptop tcp 22 # ssh\n\nallow any icmp\ndeny ${key} udp 1000-2000\nallow any\n` +
        `allow group:admins\nallow group:staff@acme to 10.1.2.3/24 tcp\nallow org:${organisation} to fd00::1/128\n`,
    );
    expect(read.default).toBe("deny");
    expect(read.rules.map(({ line }) => line)).toEqual([3, 5, 6, 7, 8, 9, 10]);
    expect(read.rules.map(ruleText)).toEqual([
      "allow laptop tcp 22",
      "allow any icmp",
      `deny ${key} udp 1000-2000`,
      "allow any",
      "allow group:admins",
      "allow group:staff@acme to 10.1.2.0/24 tcp",
      `allow org:${organisation} to fd00::1`,
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
    ["allow group:\n", 1, "is no group"],
    ["allow group:a@b@c\n", 1, "is no group"],
    ["allow group:Admins\n", 1, "is no group"],
    ["allow group:admins@\n", 1, "neither an organisation's key nor a name"],
    ["allow org:\n", 1, "neither an organisation's key nor a name"],
    ["allow any to\n", 1, "nothing is neither an address nor a prefix"],
    ["allow any to 10.0.0.0/33\n", 1, "neither an address nor a prefix"],
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
  test("a rule for each, named where it is not for everybody", () => {
    const rules = compilePolicy(policy("allow laptop tcp 22\ndeny any to 10.1.0.0/16 icmp\n"));
    expect(rules).toEqual([
      { named: true, destination: undefined, protocol: 6, first: 22, last: 22, allow: true },
      {
        named: false,
        destination: { address: "10.1.0.0", bits: 16 },
        protocol: 1,
        first: 0,
        last: 65_535,
        allow: false,
      },
    ]);
  });

  test("which rules name a member: by key, by the operator's word, by group and organisation", () => {
    const rules = policy(
      `allow any\nallow laptop\nallow ${key}\nallow group:admins\nallow group:staff@acme\n` +
        `allow org:acme\nallow org:${organisation}\nallow group:guests\nallow group:staff@nobody\n`,
    );
    const naming = (member: PolicyMember): readonly number[] =>
      rulesNaming(rules, member, organisations);
    expect(naming(laptop)).toEqual([1, 2]);
    expect(naming(other)).toEqual([]);
    expect(naming(certified)).toEqual([3, 4, 5, 6]);
    expect(naming(foreign)).toEqual([3]);
  });

  test("nobody for a name that is nobody's, nor for what a member calls itself", () => {
    expect(rulesNaming(policy("allow server tcp 22\n"), laptop, organisations)).toEqual([]);
  });
});

describe("members' doctors", () => {
  const at = (text: string) => compilePolicy(policy(text), "fd00::1").at(-1);
  const ask = (text: string, isOwn = true) => {
    const packet = {
      from: laptop,
      to: "fd00::1",
      isOwn,
      protocol: "tcp",
      port: doctorPort,
    } as const;
    return decide(policy(text), packet, organisations).action;
  };

  test("may ask this node also where nothing else is let in, unless a rule forbids it", () => {
    expect(at("default deny\n")).toEqual({
      named: false,
      destination: { address: "fd00::1", bits: 128 },
      protocol: 6,
      first: doctorPort,
      last: doctorPort,
      allow: true,
    });
    expect(at("default allow\ndeny any icmp\n")).toMatchObject({ protocol: 1, allow: false });
    expect(ask("default deny\n")).toBe("allow");
    expect(ask("default deny\ndeny any tcp\n")).toBe("deny");
    expect(ask("default deny\n", false)).toBe("deny");
  });

  test("are told what a member may begin", () => {
    const of = (text: string) => standing(policy(text), laptop, "fd00::1", organisations);
    expect(of("")).toEqual({ ping: "allow", by: "default allow", allowed: [] });
    expect(of("default deny\nallow laptop tcp 22\nallow server tcp 1\n")).toEqual({
      ping: "deny",
      by: "default deny",
      allowed: ["allow laptop tcp 22"],
    });
    expect(of("deny any icmp\n")).toMatchObject({ ping: "deny", by: "deny any icmp" });
  });
});

describe("whether somebody is let in", () => {
  const rules = policy(
    "default deny\ndeny laptop tcp 23\nallow laptop tcp 20-25\nallow any icmp\n" +
      "allow group:admins to 10.1.0.0/16 tcp 443\n",
  );
  const asked = (
    from: PolicyMember,
    protocol: "tcp" | "udp" | "icmp",
    port?: number,
    to?: string,
  ): Decision =>
    decide(rules, { from, protocol, port, to, isOwn: to === undefined }, organisations);

  test("is decided by the first rule that speaks of it", () => {
    expect(asked(laptop, "tcp", 22)).toMatchObject({ action: "allow", rule: { line: 3 } });
    expect(asked(laptop, "tcp", 23)).toMatchObject({ action: "deny", rule: { line: 2 } });
    expect(asked(other, "icmp")).toMatchObject({ action: "allow" });
  });

  test("is decided by the default where none does", () => {
    expect(asked(laptop, "udp", 22)).toEqual({ action: "deny", rule: undefined });
    expect(asked(other, "tcp", 22)).toEqual({ action: "deny", rule: undefined });
  });

  test("can depend on where it goes", () => {
    expect(asked(certified, "tcp", 443, "10.1.2.3")).toMatchObject({ rule: { line: 5 } });
    expect(asked(certified, "tcp", 443, "10.2.2.3").action).toBe("deny");
    expect(asked(certified, "tcp", 443).action).toBe("deny");
    expect(asked(certified, "tcp", 443, "fd00::1").action).toBe("deny");
  });
});

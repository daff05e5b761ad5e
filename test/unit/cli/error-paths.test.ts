/**
 * How each command refuses: what an operator gets wrong, the exit code, and the words that say what to
 * do. Every command is in the table, so that none comes without.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Glob } from "bun";
import { commandTree, flatten } from "../../../src/cli/command-tree.ts";
import { commands } from "../../../src/cli/commands.ts";
import { ControlServer } from "../../../src/daemon/control.ts";
import { type Ran, run } from "../../e2e/support/process.ts";
import { schemaNames } from "../../support/json-schema.ts";

const root = new URL("../../../", import.meta.url).pathname;
const program = join(root, "bin/meshvpn");
const leaves = flatten(await commandTree(commands)).filter(({ children }) => children.length === 0);

const key = "hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=";
let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "meshvpn-errors-"));
  mkdirSync(join(directory, "policy-broken"), { mode: 0o700 });
  writeFileSync(join(directory, "policy-broken", "policy"), "allow any tcp 99999\n");
  writeFileSync(join(directory, "config.toml"), "\nprot = 1\n");
  mkdirSync(join(directory, "open"), { mode: 0o777 });
  chmodSync(join(directory, "open"), 0o777);
  for (const name of ["made", "network"]) await meshvpn(name, ["keygen"]);
  await meshvpn("network", ["init"]);
  for (const name of ["key-damaged", "key-open", "key-shared"]) await meshvpn(name, ["keygen"]);
  writeFileSync(join(directory, "key-damaged", "identity.key"), "junk\n");
  chmodSync(join(directory, "key-open", "identity.key"), 0o644);
  chmodSync(join(directory, "key-shared"), 0o777);
  await meshvpn("network-damaged", ["keygen"]);
  await meshvpn("network-damaged", ["init"]);
  writeFileSync(join(directory, "network-damaged", "network.json"), "x");
}, 30_000);

afterAll(() => rmSync(directory, { recursive: true }));

/** With that state directory, and no daemon unless another socket is named. */
async function meshvpn(
  state: string,
  args: readonly string[],
  { before = [] as readonly string[], socket = "nobody.sock" } = {},
): Promise<Ran> {
  return await run([...before, program, ...args], {
    env: {
      MESHVPN_BUN: process.execPath,
      MESHVPN_STATE_DIR: join(directory, state),
      MESHVPN_CONTROL_SOCKET: join(directory, socket),
    },
  });
}

/** The command, what follows it, the state directory, the exit code, and some of the words. */
const refusals: readonly [string, readonly string[], string, number, string][] = [
  ["init", [], "network", 1, "this node is in one already"],
  ["init", ["--name", "A b"], "empty", 2, "use a-z, 0-9 and -"],
  ["init", [], "network-damaged", 1, "restore it from a copy"],
  ["invite", [], "network", 3, "start it with meshvpn up"],
  ["invite", ["--ttl", "0s"], "network", 2, "30m, 12h or 90d"],
  ["join", ["hello"], "empty", 2, "copy the whole line"],
  ["join", [], "empty", 2, "meshvpn invite"],
  ["keygen", [], "made", 1, "--force"],
  ["keygen", [], "open", 1, "chmod 700"],
  ["export", [], "empty", 1, "run meshvpn join TOKEN, meshvpn init or meshvpn keygen"],
  ["trust", [], "made", 2, "no key is given"],
  ["trust", ["short"], "made", 2, "meshvpn export"],
  ["revoke", [], "made", 2, "no key is given"],
  ["org keygen", [], "network", 1, "there is one already"],
  ["org sign", ["short"], "network", 2, "is no public key"],
  ["org vouch", ["short"], "network", 2, "is no public key"],
  ["org revoke", ["short"], "network", 2, "is no public key"],
  ["org revoke", ["gamma"], "network", 2, "no daemon runs that would know a member by it"],
  ["up", [], "empty", 1, "run meshvpn join TOKEN, meshvpn init or meshvpn keygen"],
  ["up", ["--port", "65536"], "made", 2, "--port"],
  ["up", ["--seed", "nowhere"], "made", 2, "HOST:PORT"],
  ["up", ["--control-socket", "/proc/none"], "made", 1, "name another with --control-socket"],
  ["up", ["--control-socket", "/proc/none/s"], "made", 1, "name another with --control-socket"],
  ["down", [], "made", 3, "start it with meshvpn up"],
  ["reload", [], "made", 3, "start it with meshvpn up"],
  ["status", [], "made", 3, "start it with meshvpn up"],
  ["peers", [], "made", 3, "start it with meshvpn up"],
  ["top", [], "made", 3, "start it with meshvpn up"],
  ["top", ["--interval", "0"], "made", 2, "a whole number from 1"],
  ["ping", [], "made", 2, "PEER is missing"],
  ["ping", ["x"], "made", 3, "start it with meshvpn up"],
  ["bench", [], "made", 2, "no member is named"],
  ["bench", ["x", "--seconds", "0"], "made", 2, "a whole number from 1"],
  ["netcheck", [], "made", 3, "start it with meshvpn up"],
  ["netcheck", ["--timeout", "0"], "made", 2, "a whole number from 1 to 30"],
  ["logs", ["--lines", "many"], "made", 2, "a whole number from 1"],
  ["page", [], "made", 3, "start it with meshvpn up"],
  ["metrics", [], "made", 3, "start it with meshvpn up"],
  ["policy show", [], "policy-broken", 2, "policy:1: 99999 is neither a port"],
  ["policy test", ["nobody", "tcp", "22"], "made", 2, "meshvpn trust KEY --name NAME"],
  ["policy allow", ["any", "sctp"], "made", 2, "none of tcp, udp, icmp, any"],
  ["policy deny", ["nobody"], "made", 2, "meshvpn trust KEY --name NAME"],
  ["policy default", ["perhaps"], "made", 2, "it is allow or deny"],
  ["policy default", ["deny"], "none", 1, "run meshvpn keygen"],
  ["policy remove", ["7"], "made", 2, "no rule is there"],
  ["policy check", ["absent.policy"], "made", 2, "check the path"],
  ["routes show", [], "made", 3, "meshvpn up"],
  ["routes approve", ["nobody", "10.0.0.0/8"], "made", 2, "there is no member nobody"],
  ["routes approve", [key, "nonsense"], "made", 2, "192.168.7.0/24"],
  ["routes remove", [key, "10.0.0.0/8"], "made", 2, ""],
  ["exit-node", ["nobody"], "made", 2, "there is no member nobody"],
  ["config show", ["--port", "0x50"], "made", 2, "give it a port, 0 to 65535"],
  ["config show", ["--config", "absent.toml"], "made", 2, "there is no such file"],
  ["config check", ["config.toml"], "made", 2, "config.toml:2: "],
  ["config check", ["absent.toml"], "made", 2, "there is no such file"],
  ["config path", ["too", "many"], "made", 2, "too many arguments"],
  ["debug bundle", ["/dev/null/x"], "made", 1, "check the path"],
  ["device", ["a/b"], "made", 2, "not allowed"],
  ["completion", [], "made", 2, "which shell"],
  ["man", ["up"], "made", 2, "too many arguments"],
  ["version", ["--jsn"], "made", 2, "did you mean --json?"],
];

describe("refused with one line that says what, why and what to do:", () => {
  for (const [command, args, state, code, words] of refusals) {
    test(`${[command, ...args].join(" ")} (${state})`, async () => {
      const said = args.map((word) => (word.endsWith(".toml") ? join(directory, word) : word));
      const ran = await meshvpn(state, [...command.split(" "), ...said]);
      expect(ran.stderr).toMatch(/^meshvpn: [^\n]+: [^\n]+; [^\n]+\n$/);
      expect(ran.stderr).toContain(words);
      expect([ran.code, ran.stdout]).toEqual([code, ""]);
    });
  }

  test("every command is among them, but for doctor, which answers in any case", () => {
    const named = new Set([...refusals.map(([command]) => command), "doctor"]);
    expect(leaves.map(({ path }) => path.join(" ")).filter((each) => !named.has(each))).toEqual([]);
  });

  test("doctor without a daemon names what is missing first, with 4", async () => {
    const ran = await meshvpn("made", ["doctor"]);
    expect([ran.code, ran.stderr]).toEqual([4, ""]);
    expect(ran.stdout).toMatch(/^broken\tdaemon\t.*run meshvpn up$/m);
  });

  const identities: readonly [string, RegExp][] = [
    ["key-damaged", /^broken\tidentity\t.*identity\.key: .*; restore it/m],
    ["key-open", /^broken\tidentity\t.*identity\.key: .*; chmod 600 /m],
    ["key-shared", /^broken\tidentity\t.*others may write there.*; chmod 700 /m],
    ["absent", /^broken\tidentity\tthere is none in /m],
  ];
  for (const [state, words] of identities) {
    test(`doctor calls an identity broken that up would refuse (${state})`, async () => {
      const ran = await meshvpn(state, ["doctor"]);
      expect([ran.code, ran.stderr]).toEqual([4, ""]);
      expect(ran.stdout).toMatch(words);
      expect(existsSync(join(directory, "absent"))).toBe(false);
    });
  }
});

/** A user who may read everything, as the program must be read, and write nothing. */
const asNobody = [
  ...["setpriv", "--reuid=65534", "--clear-groups"],
  ...["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"],
];

describe.if(process.getuid?.() === 0)("without the right to it, refused with 5:", () => {
  let server: ControlServer;

  beforeAll(async () => {
    server = await ControlServer.listen(join(directory, "root.sock"), () => ({ result: null }));
  });

  afterAll(async () => await server.close());

  const denied: readonly (readonly string[])[] = [
    ...["down", "reload", "status", "peers", "top", "logs", "page", "metrics", "netcheck"].map(
      (command) => [command],
    ),
    ["ping", "x"],
    ["bench", "x"],
    ["invite"],
    ["keygen", "--force"],
    ["init"],
    ["trust", key],
    ["revoke", key],
    ["org", "keygen"],
    ["policy", "default", "deny"],
    ["policy", "allow", "any", "icmp"],
    ["debug", "bundle", "made/bundle.json"],
  ];
  for (const args of denied) {
    test(args.join(" "), async () => {
      const said = args.map((word) => (word.endsWith(".json") ? join(directory, word) : word));
      const ran = await meshvpn("made", said, { before: asNobody, socket: "root.sock" });
      expect(ran.stderr).toMatch(/^meshvpn: [^\n]+: permission denied; run as root[^\n]*\n$/);
      expect([ran.code, ran.stdout]).toEqual([5, ""]);
    });
  }
});

/** In a mount namespace of its own, so that nothing is left: its place, then the command. */
function mounted(script: string, place: string): readonly string[] {
  return ["unshare", "--mount", "sh", "-c", `${script} && exec "$@"`, place];
}
const readOnly = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0"';
const full =
  'mount -t tmpfs -o size=64k,mode=0700 none "$0" && { head -c 1000000 /dev/zero >"$0/fill" 2>&- || :; }';

describe.if(process.getuid?.() === 0)("where nothing can be written it is said so:", () => {
  const cases: readonly (readonly [string, readonly string[]])[] = [
    [readOnly, ["up"]],
    [readOnly, ["keygen", "--force"]],
    [readOnly, ["trust", key]],
    [readOnly, ["policy", "default", "deny"]],
    [readOnly, ["org", "keygen"]],
    [full, ["keygen"]],
    [full, ["init"]],
    [full, ["trust", key]],
    [full, ["policy", "default", "deny"]],
  ];
  for (const [script, args] of cases) {
    const how = script === full ? "on a full disk" : "on one for reading only";
    test(`${args.join(" ")} ${how}`, async () => {
      const before = mounted(script, join(directory, "made"));
      const ran = await meshvpn("made", args, { before });
      expect(ran.stderr).toMatch(
        /^meshvpn: cannot [^\n]+: the disk is full or read-only; make room there, or name another directory\n$/,
      );
      expect([ran.code, ran.stdout]).toEqual([1, ""]);
      const doctor = await meshvpn("made", ["doctor"], { before });
      expect(doctor.stdout).toMatch(/^broken\tstate\tnothing can be kept in .*: the disk is full/m);
    });
  }
});

describe("words of several commands", () => {
  test("are completed or refused with what there is", async () => {
    for (const command of ["org", "policy", "config", "debug"]) {
      const none = await meshvpn("made", [command]);
      expect([none.code, none.stderr]).toEqual([
        2,
        expect.stringMatching(/^meshvpn: \w+ needs another word: one of [a-z, ]+; see meshvpn/),
      ]);
    }
    const near = await meshvpn("made", ["policy", "shw"]);
    expect([near.code, near.stderr]).toEqual([
      2,
      "meshvpn: unknown command policy shw: did you mean policy show?; see meshvpn policy --help\n",
    ]);
  });

  test("mean one of them by themselves, where help says so", async () => {
    const ran = await meshvpn("made", ["routes"]);
    expect([ran.code, ran.stderr]).toEqual([3, expect.stringContaining("meshvpn up")]);
    expect((await meshvpn("made", ["routes", "shw"])).stderr).toContain(
      "did you mean routes show?",
    );
  });

  test("follow help too", async () => {
    const { code, stdout } = await meshvpn("made", ["help", "policy", "show"]);
    expect([code, stdout.includes("USAGE meshvpn policy show")]).toEqual([0, true]);
    expect((await meshvpn("made", ["help", "stats"])).stderr).toContain("did you mean status?");
  });
});

test("what every command prints as JSON is held against its schema in some test", async () => {
  const held = new Set<string>();
  for await (const path of new Glob("test/**/*.test.ts").scan(root)) {
    const text = await Bun.file(join(root, path)).text();
    for (const [, name = ""] of text.matchAll(/schemaErrors\(\s*"([a-z-]+)"/g)) held.add(name);
    if (text.includes("support/doctor.ts")) held.add("doctor");
  }
  expect(schemaNames.filter((name) => !held.has(name))).toEqual([]);
});

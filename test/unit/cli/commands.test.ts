import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ControlRequest, ControlServer } from "../../../src/daemon/control.ts";

const program = new URL("../../../bin/meshvpn", import.meta.url).pathname;
const other = "hmEMmYzQG4BeWXAlXYTIUnAM0SbS2wkAtkRz3z5dfGY=";
const another = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
let directory: string;
let socket: string;
let server: ControlServer | undefined;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "meshvpn-cli-"));
  socket = join(directory, "meshvpn.sock");
});

afterEach(async () => {
  await server?.close();
  server = undefined;
  rmSync(directory, { recursive: true });
});

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

async function meshvpn(
  args: readonly string[],
  input = "",
  environment: Readonly<Record<string, string>> = {},
): Promise<Ran> {
  const child = Bun.spawn([program, ...args], {
    stdin: new Blob([input]),
    stdout: "pipe",
    stderr: "pipe",
    env: {
      ...process.env,
      MESHVPN_BUN: process.execPath,
      MESHVPN_STATE_DIR: join(directory, "state"),
      MESHVPN_CONTROL_SOCKET: socket,
      ...environment,
    },
  });
  const [out, error, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, out, error };
}

/** One line that says what, why and what to do. */
function expectRefusal(ran: Ran, code: number): void {
  expect(ran.error).toMatch(/^meshvpn: [^\n]+: [^\n]+; [^\n]+\n$/);
  expect([ran.code, ran.out]).toEqual([code, ""]);
}

async function listen(answer: (request: ControlRequest) => unknown): Promise<void> {
  server = await ControlServer.listen(socket, (request) => ({ result: answer(request) }));
}

describe("keygen and export", () => {
  test("make an identity once and print its public key", async () => {
    const made = await meshvpn(["keygen"]);
    expect([made.code, made.error]).toEqual([0, ""]);
    expect(made.out).toMatch(/^[A-Za-z0-9+/]{43}=\n$/);
    expectRefusal(await meshvpn(["keygen"]), 1);
    expect((await meshvpn(["export"])).out).toBe(made.out);
    const json = JSON.parse((await meshvpn(["export", "--json"])).out);
    expect(json).toEqual({ schema: 1, identity: made.out.trim() });
  });

  test("replace it only by force", async () => {
    const first = await meshvpn(["keygen"]);
    const second = await meshvpn(["keygen", "--force"]);
    expect(second.code).toBe(0);
    expect(second.out).not.toBe(first.out);
    expect((await meshvpn(["export"])).out).toBe(second.out);
  });

  test("say what to do where there is none", async () => {
    const ran = await meshvpn(["export"]);
    expectRefusal(ran, 1);
    expect(ran.error).toContain("meshvpn keygen");
  });

  test("take the directory of the flag before that of the environment", async () => {
    const elsewhere = join(directory, "elsewhere");
    expect((await meshvpn(["keygen", "--state-dir", elsewhere])).code).toBe(0);
    expect(readdirSync(directory)).toEqual(["elsewhere"]);
  });
});

describe("trust", () => {
  test("keeps a key and a name, again and again", async () => {
    expect((await meshvpn(["trust", other, "--name", "laptop"])).out).toBe(
      `trusted: ${other} (laptop)\n`,
    );
    expect((await meshvpn(["trust", other])).out).toBe(`trusted already: ${other}\n`);
    expect((await meshvpn(["trust", "--list"])).out).toBe(`${other}\tlaptop\n`);
    expect((await meshvpn(["trust", "--remove", other])).out).toBe(`trusted no longer: ${other}\n`);
    expect((await meshvpn(["trust", "--list"])).out).toBe("");
  });

  test("takes a file and stdin, one key a line", async () => {
    const file = join(directory, "keys");
    writeFileSync(file, `# the office\n${other} laptop\n\n  ${another}\n`);
    expect((await meshvpn(["trust", file])).code).toBe(0);
    expect((await meshvpn(["trust", "-", "--name", "phone"], `${another}\n`)).code).toBe(0);
    const listed = (await meshvpn(["trust", "--list"])).out;
    expect(listed).toBe(`${another}\tphone\n${other}\tlaptop\n`);
  });

  test("changes nothing where one line of many is wrong", async () => {
    const file = join(directory, "keys");
    writeFileSync(file, `${other}\nnot a key\n`);
    const ran = await meshvpn(["trust", file]);
    expectRefusal(ran, 2);
    expect(ran.error).toContain("line 2");
    expect(readdirSync(directory)).toEqual(["keys"]);
  });

  const refused: readonly [string, readonly string[]][] = [
    ["a key that is too short", ["trust", other.slice(4)]],
    ["a key in another form", ["trust", other.replace("=", "")]],
    ["a key of zeros", ["trust", `${"A".repeat(43)}=`]],
    ["no key", ["trust"]],
    ["a file without keys", ["trust", "/dev/null"]],
    ["a name in capitals", ["trust", other, "--name", "Laptop"]],
    ["a key where a list is asked for", ["trust", "--list", other]],
    ["an unknown flag", ["trust", other, "--nmae", "laptop"]],
    ["a key too many", ["trust", other, another]],
  ];
  for (const [sentence, args] of refused) {
    test(`refuses ${sentence}, and nothing is changed`, async () => {
      expectRefusal(await meshvpn(args), 2);
      expect(readdirSync(directory)).toEqual([]);
    });
  }

  test("takes the operator's name for a key to remove it, unless two have it", async () => {
    await meshvpn(["trust", other, "--name", "laptop"]);
    expect((await meshvpn(["trust", "--remove", "laptop"])).out).toBe(
      `trusted no longer: ${other}\n`,
    );
    await meshvpn(["trust", other, "--name", "twin"]);
    await meshvpn(["trust", another, "--name", "twin"]);
    expectRefusal(await meshvpn(["trust", "--remove", "twin"]), 2);
    expectRefusal(await meshvpn(["trust", "--remove", "nobody"]), 2);
  });

  test("refuses this node's own key, and leaves it out of a list", async () => {
    const own = (await meshvpn(["keygen"])).out.trim();
    const ran = await meshvpn(["trust", own, "--name", "me"]);
    expectRefusal(ran, 2);
    expect(ran.error).toContain("this node's own identity");
    await meshvpn(["trust", "-"], `${own}\n${other}\n`);
    expect((await meshvpn(["trust", "--list"])).out).toBe(`${other}\t\n`);
  });

  test("tells the daemon that runs, once something changed", async () => {
    const heard: string[] = [];
    await listen(({ command }) => heard.push(command));
    await meshvpn(["trust", other]);
    await meshvpn(["trust", other]);
    await meshvpn(["trust", "--remove", other]);
    expect(heard).toEqual(["reload", "reload"]);
  });
});

describe("without a daemon", () => {
  for (const command of ["status", "down"]) {
    test(`${command} says so and ends with code 3`, async () => {
      const ran = await meshvpn([command]);
      expectRefusal(ran, 3);
      expect(ran.error).toContain("meshvpn up");
    });
  }
});

describe("every command", () => {
  for (const command of ["keygen", "export", "trust", "up", "down", "status"]) {
    test(`${command} has help with an example, and refuses an unknown flag`, async () => {
      const help = await meshvpn([command, "--help"]);
      expect([help.code, help.error]).toEqual([0, ""]);
      expect(help.out).toMatch(/Example: meshvpn/);
      expectRefusal(await meshvpn([command, "--no-such-flag"]), 2);
    });
  }
});

test("up refuses a configuration before it touches anything", async () => {
  const file = join(directory, "config.toml");
  writeFileSync(file, "prot = 1\n");
  const ran = await meshvpn(["up", "--config", file]);
  expectRefusal(ran, 2);
  expect(ran.error).toContain("did you mean port?");
  expectRefusal(await meshvpn(["up", "--seed", "alpha:1", "--seed", "beta"]), 2);
  expect(readdirSync(directory)).toEqual(["config.toml"]);
});

test("up refuses a LOG_LEVEL that is none and a prefix with host bits, and says what to give", async () => {
  const level = await meshvpn(["up"], "", { LOG_LEVEL: "loud" });
  expectRefusal(level, 2);
  expect(level.error).toContain("silent, error, verbose, info, debug");
  const prefix = await meshvpn(["up", "--prefix", "10.99.7.1/16"]);
  expectRefusal(prefix, 2);
  expect(prefix.error).toContain("did you mean 10.99.0.0/16?");
  expect(readdirSync(directory)).toEqual([]);
});

test("up warns of a variable that is no setting, and names the nearest", async () => {
  // It ends for want of an identity, or of the right to anything.
  const ran = await meshvpn(["up"], "", { MESHVPN_PROT: "1" });
  expect(ran.error).toContain(
    "meshvpn: warning: MESHVPN_PROT is no setting and is ignored; did you mean MESHVPN_PORT?\n",
  );
});

test.each([["meshvpn-wg"], ["device"]])("%s names its variables in its help", async (command) => {
  const { out } = await meshvpn([command, "--help"]);
  for (const name of ["MESHVPN_STATE_DIR", "MESHVPN_AEAD", "MESHVPN_IO_URING", "LOG_LEVEL"])
    expect(out).toContain(name);
});

test("the list of commands is not padded to its longest line", async () => {
  const { code, out } = await meshvpn([]);
  expect(code).toBe(2);
  expect(out).toContain("device");
  expect(out.split("\n").filter((line) => line !== line.trimEnd())).toEqual([]);
  expect(Math.max(...out.split("\n").map((line) => line.length))).toBeLessThan(300);
});

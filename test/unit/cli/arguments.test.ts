/** The command line is read strictly, whatever the parser beneath would let pass. */
import { expect, test } from "bun:test";
import { symlinkSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CommandDef, defineCommand } from "citty";
import { MeshError } from "../../../src/base/errors.ts";
import { checkArguments } from "../../../src/cli/arguments.ts";
import { failureOf } from "../../../src/cli/errors.ts";

const command = defineCommand({
  meta: { name: "example" },
  args: {
    place: { type: "positional", required: false, description: "" },
    seed: { type: "string", alias: "s", description: "" },
    detach: { type: "boolean", alias: ["d", "background"], description: "" },
  },
}) as CommandDef;

const check = async (...args: string[]): Promise<string> => {
  try {
    await checkArguments(command, args);
    return "";
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    expect(failureOf(error).exitCode).toBe(2);
    expect(error.sentence()).toContain("meshvpn example --help");
    return error.sentence();
  }
};

test.each([
  [[]],
  [["here"]],
  [["here", "--seed", "x", "--detach"]],
  [["--seed=x", "-d", "here"]],
  [["-s", "-x"]],
  [["--no-detach", "--background"]],
  [["--", "--here"]],
  [["-"]],
])("%j is accepted", async (args) => {
  expect(await check(...args)).toBe("");
});

test.each([
  [["--sed", "x"], "did you mean --seed?"],
  [["--entirely-else"], "this command has no such flag"],
  [["-x"], "unknown flag -x"],
  [["--detach=maybe"], "unknown flag"],
  [["--seed"], "needs a value"],
  [["here", "there"], "too many arguments"],
  [["here", "--", "there"], "too many arguments"],
  [["-ds"], "unknown flag -ds"],
])("%j is refused: %s", async (args, words) => {
  expect(await check(...args)).toContain(words);
});

const bin = join(import.meta.dir, "../../../bin");

function run(program: string, ...args: string[]): { code: number; out: string; err: string } {
  const { exitCode, stdout, stderr } = Bun.spawnSync([program, ...args], {
    env: { ...process.env, MESHVPN_BUN: process.execPath },
  });
  return { code: exitCode, out: stdout.toString(), err: stderr.toString() };
}

test.each([
  [["devise", "wg0"], 2, "did you mean device?"],
  [["--frobnicate"], 2, "unknown flag"],
  [["device"], 2, "IFNAME"],
  [["device", "wg0", "--forground"], 2, "did you mean --foreground?"],
  [["device", "sixteen-bytes-is"], 2, "it has 16 bytes"],
  [["device", "a/b"], 2, "not allowed"],
  [["device", "constructor", "x"], 2, "too many"],
])("meshvpn %j exits with %d and one line: %s", (args, code, words) => {
  const { code: exitCode, out, err } = run(join(bin, "meshvpn"), ...args);
  expect(exitCode).toBe(code);
  expect(out).toBe("");
  expect(err).toContain(words);
  expect(err.trimEnd().split("\n")).toHaveLength(1);
});

test("help and version answer on stdout and succeed", () => {
  for (const args of [["--help"], ["help"], ["device", "--help"], ["--version"], ["version"]]) {
    const { code, out, err } = run(join(bin, "meshvpn"), ...args);
    expect([code, err]).toEqual([0, ""]);
    expect(out).toContain("meshvpn");
    expect(out).not.toContain("\u001b");
  }
});

test("a reader that leaves early ends the program quietly", async () => {
  const shell = `"${join(bin, "meshvpn")}" --help | head -n 1; echo "\${PIPESTATUS[0]}"`;
  const { stdout, stderr } = Bun.spawnSync(["bash", "-c", shell], {
    env: { ...process.env, MESHVPN_BUN: process.execPath },
  });
  expect(stderr.toString()).toBe("");
  expect(stdout.toString()).toEndWith("0\n");
});

test("meshvpn-wg keeps wireguard-go's calling convention, through a link too", async () => {
  const folder = await mkdtemp(join(tmpdir(), "meshvpn-bin-"));
  const link = join(folder, "wireguard");
  symlinkSync(join(bin, "meshvpn-wg"), link);
  for (const [args, code] of [
    [["--version"], 0],
    [["--help"], 0],
    [[], 2],
    [["-f"], 2],
    [["wg0", "-f"], 2],
    [["-f", "wg0", "wg1"], 2],
    [["--what", "wg0"], 2],
  ] as const) {
    expect([args, run(link, ...args).code]).toEqual([args, code]);
  }
  await rm(folder, { recursive: true });
});

test("where there is no Bun the launcher says how to get it", () => {
  const { exitCode, stderr } = Bun.spawnSync(["/bin/sh", join(bin, "meshvpn"), "version"], {
    env: { PATH: "/usr/bin:/bin", MESHVPN_CACHE: "/nonexistent" },
  });
  if (exitCode === 0) return; // the packages brought one
  expect(exitCode).toBe(1);
  expect(stderr.toString()).toContain("scripts/build");
});

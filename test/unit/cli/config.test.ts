import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Ran, run } from "../../e2e/support/process.ts";

const program = new URL("../../../bin/meshvpn", import.meta.url).pathname;
const directory = mkdtempSync(join(tmpdir(), "meshvpn-config-command-"));
const file = join(directory, "config.toml");
afterAll(() => rmSync(directory, { recursive: true }));

async function meshvpn(args: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
  return await run([program, ...args], { env: { MESHVPN_BUN: process.execPath, ...env } });
}

describe("config", () => {
  test("show says what holds and who says so", async () => {
    writeFileSync(file, 'name = "alpha"\nport = 1\nseed = ["a:1", "b:2"]\n');
    const args = ["config", "show", "--config", file, "--port", "3"];
    const { stdout } = await meshvpn(args, { MESHVPN_MTU: "1400" });
    const rows = new Map(stdout.split("\n").map((line) => [line.split("\t")[0], line]));
    expect(rows.get("port")).toBe("port\t3\t--port");
    expect(rows.get("mtu")).toBe("mtu\t1400\tMESHVPN_MTU");
    expect(rows.get("name")).toBe(`name\talpha\tname in ${file}:1`);
    expect(rows.get("seed")).toBe(`seed\ta:1,b:2\tseed in ${file}:3`);
    expect(rows.get("announce")).toBe("announce\t-\tdefault");
  });

  test("show --json says the same for programs", async () => {
    const { stdout } = await meshvpn(["config", "show", "--json", "--config", file]);
    const { schema, path, settings } = JSON.parse(stdout);
    expect([schema, path]).toEqual([1, file]);
    expect(settings).toContainEqual({ name: "tun", values: ["true"], said_by: null });
    const seed = { name: "seed", values: ["a:1", "b:2"], said_by: `seed in ${file}:3` };
    expect(settings).toContainEqual(seed);
  });

  test("show takes nothing for a setting that up would refuse, wherever it is said", async () => {
    const flag = await meshvpn(["config", "show", "--config", file, "--port", "0x50"]);
    expect(flag).toEqual({
      code: 2,
      stdout: "",
      stderr: 'meshvpn: cannot use --port: "0x50" is not acceptable; give it a port, 0 to 65535\n',
    });
    const variable = await meshvpn(["config", "show", "--config", file], { MESHVPN_MTU: "1e3" });
    expect([variable.code, variable.stderr.includes("cannot use MESHVPN_MTU")]).toEqual([2, true]);
    const line = join(directory, "wrong.toml");
    writeFileSync(line, 'mtu = "9"\n');
    const { code, stderr } = await meshvpn(["config", "show", "--config", line]);
    expect([code, stderr.includes(`cannot use mtu in ${line}:1`)]).toEqual([2, true]);
  });

  test("doctor has the flags that it uses, and no others of up", async () => {
    const { stdout } = await meshvpn(["doctor", "--help"]);
    for (const flag of ["--state-dir", "--control-socket", "--config", "--json", "--no-tun"]) {
      expect(stdout).toContain(flag);
    }
    for (const flag of ["--mtu", "--seed", "--relay"]) expect(stdout).not.toContain(flag);
  });

  test("check names the line and the key that was meant, and ends with 2", async () => {
    expect(await meshvpn(["config", "check", file])).toEqual({
      code: 0,
      stdout: `ok: ${file}\n`,
      stderr: "",
    });
    writeFileSync(file, 'name = "alpha"\nprot = 1\n');
    const refused = await meshvpn(["config", "check", file]);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toBe(
      `meshvpn: cannot use the configuration ${file}:2: it has the unknown key "prot"; did you mean port?\n`,
    );
  });

  test("with a mistake keeps nobody from the daemon that runs, and doctor says so", async () => {
    const socket = join(directory, "nobody.sock");
    writeFileSync(file, `control_socket = "${socket}"\nprot = 1\n`);
    for (const command of ["status", "logs", "down"]) {
      const { code, stderr } = await meshvpn([command, "--config", file]);
      expect(stderr).toMatch(
        /^meshvpn: warning: .*:2: .* "prot"; did you mean port\?\nmeshvpn: .*\n$/,
      );
      expect([code, stderr.includes(socket)]).toEqual([3, true]);
    }
    const { code, stdout, stderr } = await meshvpn(["doctor"], { MESHVPN_CONFIG: file });
    expect([code, stderr]).toEqual([4, ""]);
    expect(stdout).toMatch(/^broken\tconfiguration\t.* "prot"/m);
    expect(stdout).toContain(`nobody answers on ${socket}`);
  });

  test("path is what up would read", async () => {
    expect((await meshvpn(["config", "path"])).stdout).toBe("/etc/meshvpn/config.toml\n");
    const said = await meshvpn(["config", "path"], { MESHVPN_CONFIG: file });
    expect(said.stdout).toBe(`${file}\n`);
  });

  test("without a word after it is a mistake", async () => {
    expect((await meshvpn(["config"])).code).toBe(2);
  });
});

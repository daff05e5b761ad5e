/** `bin/meshvpn` is run as root in directories that others may write. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const launcher = new URL("../../../bin/meshvpn", import.meta.url).pathname;
const directory = mkdtempSync(join(tmpdir(), "meshvpn-launcher-"));
afterAll(() => rmSync(directory, { recursive: true }));

test("what the current directory says to Bun is not heeded", () => {
  writeFileSync(join(directory, "bunfig.toml"), 'preload = ["./preload.ts"]\n');
  writeFileSync(join(directory, "preload.ts"), 'console.log("preloaded");\n');
  writeFileSync(join(directory, ".env"), "MESHVPN_LIBRARY=/nonexistent.so\n");
  const run = Bun.spawnSync([launcher, "version"], { cwd: directory });
  expect(run.stderr.toString()).toBe("");
  expect(run.stdout.toString()).toStartWith("meshvpn ");
  expect(run.stdout.toString()).not.toContain("preloaded");
});

/** `bin/meshvpn` is run as root in directories that others may write. */
import { afterAll, expect, test } from "bun:test";
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
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

test.skipIf(process.getuid?.() !== 0)(
  "of what another user built, it is said whose it is and what to do",
  () => {
    const checkout = join(directory, "checkout");
    for (const each of ["bin", "scripts", "node_modules/.bin"]) {
      mkdirSync(join(checkout, each), { recursive: true });
    }
    for (const each of ["bin/meshvpn", "scripts/build", "scripts/lib"]) {
      cpSync(new URL(`../../../${each}`, import.meta.url).pathname, join(checkout, each), {
        recursive: true,
      });
    }
    symlinkSync("/root/nowhere/bun", join(checkout, "node_modules/.bin/bun"));
    // Of this machine there may be one that everybody may run.
    const old = join(checkout, "old");
    mkdirSync(old);
    writeFileSync(join(old, "bun"), "#!/bin/sh\necho 0.1.0\n", { mode: 0o755 });
    chmodSync(directory, 0o755);
    const asNobody = (program: string): readonly [number, string] => {
      const words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program];
      const env = { PATH: `${old}:/usr/bin:/bin`, HOME: "/nonexistent" };
      const { exitCode, stderr } = Bun.spawnSync(words, { cwd: "/", env });
      return [exitCode, stderr.toString()];
    };
    expect(asNobody(join(checkout, "bin/meshvpn"))).toEqual([
      1,
      `meshvpn: cannot start: ${checkout} was built by root, and this user may not run its Bun, /root/nowhere/bun; run meshvpn as root, clone and build it as this user, or set MESHVPN_BUN\n`,
    ]);
    expect(asNobody(join(checkout, "scripts/build"))).toEqual([
      1,
      `build: error: cannot build in ${checkout}: it is root's, and this user may not write there; run scripts/build as root, or clone it as this user\n`,
    ]);
  },
);

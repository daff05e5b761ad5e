import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MeshError } from "../../../src/base/errors.ts";
import { lockStateDirectory } from "../../../src/daemon/state-lock.ts";

const source = new URL("../../../src/daemon/state-lock.ts", import.meta.url).pathname;
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "meshvpn-lock-"));
});

afterEach(() => rmSync(directory, { recursive: true }));

function refusal(): MeshError {
  try {
    lockStateDirectory(directory).release();
  } catch (error) {
    if (error instanceof MeshError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

test("a directory that another process holds is refused, until that is killed", async () => {
  const program = [
    `import { lockStateDirectory } from "${source}";`,
    `lockStateDirectory("${directory}"); console.log("held"); await Bun.sleep(60_000);`,
  ].join("\n");
  const holder = Bun.spawn([process.execPath, "-e", program], { stdout: "pipe" });
  try {
    const { value } = await holder.stdout.getReader().read();
    expect(new TextDecoder().decode(value)).toBe("held\n");
    const error = refusal();
    expect(error.code).toBe("daemon_running");
    expect(error.sentence()).toContain(`another one uses the state directory ${directory}`);
  } finally {
    holder.kill("SIGKILL");
    await holder.exited;
  }
  lockStateDirectory(directory).release();
});

test("the file is the owner's alone and stays empty", () => {
  const lock = lockStateDirectory(directory);
  expect(statSync(join(directory, "lock")).mode & 0o777).toBe(0o600);
  lock.release();
  expect(readFileSync(join(directory, "lock"))).toHaveLength(0);
});

test("a lock that cannot be taken says so", () => {
  mkdirSync(join(directory, "lock"));
  expect(refusal().code).toBe("state_unusable");
});

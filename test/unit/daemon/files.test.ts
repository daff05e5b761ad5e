import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const directory = mkdtempSync(join(tmpdir(), "meshvpn-files-"));
afterAll(() => rmSync(directory, { recursive: true }));

test("a file that the disk takes a part of does not replace the one that is there", () => {
  const path = join(directory, "state.json");
  writeFileSync(path, "former");
  const files = join(import.meta.dir, "../../../src/daemon/files.ts");
  const script = `import { writeWhole } from ${JSON.stringify(files)};
    try { writeWhole(${JSON.stringify(path)}, "x".repeat(4000)); } catch (error) { console.log(error.code); }`;
  // Of a write beyond the limit the kernel takes what is below it, as where a disk is nearly full.
  const limited = 'trap "" XFSZ; ulimit -f 1; exec "$0" -e "$1"';
  const { stdout } = Bun.spawnSync(["bash", "-c", limited, process.execPath, script]);
  expect(stdout.toString()).toBe("EFBIG\n");
  expect([readFileSync(path, "utf8"), readdirSync(directory)]).toEqual(["former", ["state.json"]]);
});

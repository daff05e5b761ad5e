/** One file with everything in it: Bun, the program and the library of this platform. */
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bundledPackages, notices } from "./notices.ts";
import { manifest } from "./npm.ts";
import type { Platform } from "./platforms.ts";
import { root, tool } from "./tools.ts";

export async function makeExecutable(
  platform: Platform,
  library: string,
  work: string,
  made: string,
): Promise<void> {
  const directory = join(work, "executable");
  mkdirSync(directory);
  copyFileSync(library, join(directory, "libmeshvpn.so"));
  const source = (path: string): string => JSON.stringify(join(root, path));
  writeFileSync(
    join(directory, "entry.ts"),
    [
      `import library from "./libmeshvpn.so" with { type: "file" };`,
      `import { embedLibrary } from ${source("src/native/find-library.ts")};`,
      "embedLibrary(library);",
      `await import(${source("src/cli/main.ts")});`,
      "",
    ].join("\n"),
  );
  const name = `meshvpn-${manifest.version}-linux-${platform.arch}-${platform.libc}`;
  const path = join(made, name);
  await tool(
    [
      ...[process.execPath, "build", "--compile", "--sourcemap=none", `--outfile=${path}`],
      // Nothing in the directory where it is called may tell it anything.
      ...["--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig"],
      // Its own copy of Bun, whatever registry there is.
      ...[`--compile-executable-path=${process.execPath}`, "entry.ts"],
    ],
    { cwd: directory },
  );
  chmodSync(path, 0o755);
  writeFileSync(
    join(made, `${name}.THIRD-PARTY.md`),
    notices(["bun", ...bundledPackages, "libsodium", "zig"]),
  );
}

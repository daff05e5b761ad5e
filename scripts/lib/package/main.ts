/**
 * The work of scripts/package: libraries, program, notices, packages, executable, in that order,
 * below a temporary directory; only what is whole comes to the output directory.
 */
import { createHash } from "node:crypto";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { makeExecutable } from "./executable.ts";
import { packLibrary, packProgram } from "./npm.ts";
import { type Platform, platformHere, platforms } from "./platforms.ts";
import { buildLibrary, bundle, root } from "./tools.ts";

async function main([out = "dist", which = "all", executable = "true"]: readonly string[]) {
  const work = mkdtempSync(join(tmpdir(), "meshvpn-package-"));
  process.once("exit", () => rmSync(work, { recursive: true, force: true }));
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
  const made = join(work, "made");
  mkdirSync(made);

  const here = platformHere();
  const libraries = new Map<Platform, string>();
  for (const platform of which === "here" ? [here] : platforms) {
    const path = await step(`library ${platform.arch} ${platform.libc}`, () =>
      buildLibrary(platform, join(work, "lib")),
    );
    libraries.set(platform, path);
  }
  const program = await step("program", () => bundle(join(work, "program")));
  await step("packages", async () => {
    await packProgram(program, work, made);
    for (const [platform, path] of libraries) await packLibrary(platform, path, work, made);
  });
  if (executable === "true") {
    const library = libraries.get(here) as string;
    await step("executable", () => makeExecutable(here, library, work, made));
  }
  publish(made, resolve(root, out));
}

async function step<T>(name: string, work: () => Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await work();
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.error(`package: ${name}: ${seconds} s`);
  return result;
}

function publish(made: string, out: string): void {
  mkdirSync(out, { recursive: true });
  const names = readdirSync(made).toSorted();
  const sums = names.map((name) => {
    const sum = createHash("sha256")
      .update(readFileSync(join(made, name)))
      .digest("hex");
    copyFileSync(join(made, name), join(out, name));
    return `${sum}  ${name}\n`;
  });
  writeFileSync(join(out, "SHA256SUMS"), sums.join(""));
  process.stdout.write(sums.join(""));
  console.error(`package: in ${out}`);
}

await main(process.argv.slice(2));

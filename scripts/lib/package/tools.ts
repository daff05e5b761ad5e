/** The compilers, as scripts/package calls them. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Platform } from "./platforms.ts";

export const root = new URL("../../..", import.meta.url).pathname.replace(/\/$/, "");

/** Runs a tool to its end; its words only where it fails. */
export async function tool(
  command: readonly string[],
  options: { cwd?: string; env?: Readonly<Record<string, string>> } = {},
): Promise<string> {
  const child = Bun.spawn([...command], {
    cwd: options.cwd ?? root,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, ...options.env },
  });
  const [out, error, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code === 0) return out;
  console.error(`${out}${error}`);
  throw new Error(`${command.slice(0, 3).join(" ")} ... ended with ${code}`);
}

/** The stripped library; its path. */
export async function buildLibrary(platform: Platform, directory: string): Promise<string> {
  const { ZIG: zig, LIBSODIUM: libsodium } = process.env;
  if (!zig || !libsodium) throw new Error("ZIG and LIBSODIUM must be set; run scripts/package");
  const prefix = join(directory, `${platform.arch}-${platform.libc}`);
  const target = `-Dtarget=${platform.zig}`;
  await tool([zig, "build", "lib", `-Dlibsodium=${libsodium}`, target, "-Dstrip", "-p", prefix]);
  const path = join(prefix, "lib/libmeshvpn.so");
  if (!existsSync(path)) throw new Error(`zig build left no ${path}`);
  return path;
}

/** src/cli/main.ts with all that it imports, in a few files; the directory. */
export async function bundle(directory: string): Promise<string> {
  const from = ["--target=bun", "--splitting", "--sourcemap=none", "--reject-unresolved"];
  await tool([process.execPath, "build", "src/cli/main.ts", ...from, `--outdir=${directory}`]);
  return directory;
}

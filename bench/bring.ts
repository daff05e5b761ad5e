/**
 * Brings programs of others that the benchmark runs, once: each is made under a temporary name in
 * the cache, through the package tool of its language, and renamed when it is whole. What cannot be
 * had throws one line that says why.
 */
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { type Ran, run } from "../test/e2e/support/process.ts";

/** Downloads, and a build on a slow machine. */
const bringTimeoutMs = 1_800_000;

export const cache: string =
  process.env.MESHVPN_CACHE ||
  join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "meshvpn");

/** A Rust program by `cargo install`, with the versions of its lock file; the binary's path. */
export async function cargoInstall(name: string, version: string, binary: string): Promise<string> {
  const place = join(cache, "peers", `${name}-${version}`);
  const path = join(place, "bin", binary);
  if (existsSync(path)) return path;
  need("cargo", "it is not installed (rustup, or apt-get install cargo)");
  await make(place, `${name} ${version}, by cargo`, async (folder) => {
    const words = ["install", "--quiet", "--locked", "--root", folder, "--version", version, name];
    return await build(["cargo", ...words], {});
  });
  return path;
}

/** Go programs of one module at one version by `go install`; the folder that holds them. */
export async function goInstall(
  name: string,
  version: string,
  packages: readonly string[],
): Promise<string> {
  const place = join(cache, "peers", `${name}-${version}`);
  if (existsSync(place)) return place;
  need("go", "it is not installed (apt-get install golang, or go.dev)");
  await make(place, `${name} ${version}, by go`, async (folder) => {
    const work = mkdtempSync(join(cache, "peers", "tmp.go-"));
    const env = {
      GOBIN: folder,
      GOPATH: join(work, "path"),
      GOCACHE: join(work, "cache"),
      // Without it the module cache is read-only and cannot be removed.
      GOFLAGS: "-modcacherw",
      CGO_ENABLED: "0",
    };
    try {
      const wanted = packages.map((path) => `${path}@v${version}`);
      return await build(["go", "install", "-trimpath", ...wanted], env);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  });
  return place;
}

function need(program: string, why: string): void {
  if (Bun.which(program) === null) throw new Error(`no ${program}: ${why}`);
}

/** A build must not slow down what else the machine does, and ends when this process does. */
async function build(command: readonly string[], env: Record<string, string>): Promise<Ran> {
  const bound = ["setpriv", "--pdeathsig", "TERM", "--", "nice", "-n", "19"];
  return await run([...bound, ...command], { env, timeoutMs: bringTimeoutMs });
}

async function make(
  place: string,
  what: string,
  fill: (folder: string) => Promise<Ran>,
): Promise<void> {
  console.error(`bench: bringing ${what}`);
  mkdirSync(join(cache, "peers"), { recursive: true });
  const folder = mkdtempSync(join(cache, "peers", "tmp.make-"));
  try {
    const { code, stderr } = await fill(folder);
    if (code !== 0) throw new Error(`${what}: ${lastLine(stderr) || `exit code ${code}`}`);
    // Another run may have been faster; what it made is the same.
    if (!existsSync(place)) renameSync(folder, place);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1)?.trim() ?? "";
}

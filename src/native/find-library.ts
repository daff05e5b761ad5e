/**
 * Where libmeshvpn.so is: named by the operator, beside the sources in a checkout, in the package of
 * this platform that the package manager chose, or inside a single-file executable. Loads nothing.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MeshError } from "../base/errors.ts";

export interface FoundLibrary {
  readonly path: string;
  /** Called once it is loaded: what was only written for the loader goes away. */
  release(): void;
}

/** Named in package.json's optional dependencies; scripts/package makes them. */
export function platformPackage(arch: string, libc: "gnu" | "musl"): string {
  return `@meshvpn/linux-${arch}-${libc}`;
}

let embedded: string | undefined;

/** Of a single-file executable: where the copy inside it can be read. Its entry says so first. */
export function embedLibrary(path: string): void {
  embedded = path;
}

/** MeshError `library_missing` where there is none, naming the places that were looked at. */
export function findLibrary(): FoundLibrary {
  const named = process.env.MESHVPN_LIBRARY;
  if (named !== undefined && named !== "") {
    if (existsSync(named)) return stays(named);
    throw new MeshError(
      "library_missing",
      `cannot load ${named}`,
      "MESHVPN_LIBRARY names it and there is no such file",
      "correct or unset MESHVPN_LIBRARY",
    );
  }
  if (embedded !== undefined) return unpacked(embedded);
  return import.meta.dir.endsWith("/src/native") ? inCheckout() : inPackages();
}

function inCheckout(): FoundLibrary {
  const path = join(import.meta.dir, "../../zig-out/lib/libmeshvpn.so");
  if (existsSync(path)) return stays(path);
  throw new MeshError(
    "library_missing",
    "cannot find libmeshvpn.so",
    `it is not built: there is no ${path}`,
    "run scripts/build, or set MESHVPN_LIBRARY",
  );
}

/** A package manager that knows no libc installs both: the one of this process's loader is taken. */
function inPackages(): FoundLibrary {
  const name = platformPackage(process.arch, runsOnMusl() ? "musl" : "gnu");
  try {
    return stays(Bun.resolveSync(`${name}/libmeshvpn.so`, import.meta.dir));
  } catch (error) {
    throw new MeshError(
      "library_missing",
      "cannot find libmeshvpn.so",
      `the package ${name} is not installed (${error instanceof Error ? error.message : error})`,
      `install meshvpn with its optional dependencies on linux x64 or arm64, or set MESHVPN_LIBRARY`,
    );
  }
}

function runsOnMusl(): boolean {
  return readFileSync("/proc/self/maps", "utf8").includes("/ld-musl-");
}

/** The loader wants a file: in a directory that nobody else may write, for as long as it reads. */
function unpacked(source: string): FoundLibrary {
  const directory = mkdtempSync(join(tmpdir(), "meshvpn-"));
  const path = join(directory, "libmeshvpn.so");
  writeFileSync(path, readFileSync(source), { mode: 0o500 });
  return { path, release: () => rmSync(directory, { recursive: true, force: true }) };
}

function stays(path: string): FoundLibrary {
  return { path, release: () => undefined };
}

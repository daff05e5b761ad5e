/**
 * Files that are whole or absent, whenever the process ends: written under another name, synced,
 * renamed. A file that is damaged is moved aside as *.damaged with a word to the operator, never
 * deleted and never heeded; and the system's refusals are errors in an operator's words.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { diskFull, MeshError } from "../base/errors.ts";

export type Warn = (text: string) => void;

/**
 * The system calls by which files are written, in one place: a test ends the process after each of
 * them in turn.
 */
export const disk = {
  openSync: (path: string, flags: string, mode?: number): number => openSync(path, flags, mode),
  writeSync: (file: number, text: string): void => {
    const bytes = Buffer.from(text);
    // A disk with little room takes a part, and refuses the next one.
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
  },
  fsyncSync,
  closeSync,
  renameSync,
  rmSync,
};

export const schema = 1;
const damagedNamesMax = 1000;

export function isSchema(value: unknown): value is Readonly<Record<string, unknown>> {
  return (
    typeof value === "object" && value !== null && "schema" in value && value.schema === schema
  );
}

export function isInteger(value: unknown, max: number): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= max;
}

/**
 * undefined where there is none, or it was damaged; `refuse` throws where the node must not start
 * without, and then the file stays as it is.
 */
export function readState<T>(
  path: string,
  bytesMax: number,
  decode: (value: unknown) => T | undefined,
  warn: Warn,
  refuse?: () => void,
): T | undefined {
  return readWhole(path, bytesMax, (text) => decode(parseJson(text)), warn, refuse);
}

/** As `readState`, of a file that is text. */
export function readWhole<T>(
  path: string,
  bytesMax: number,
  decode: (text: string) => T | undefined,
  warn: Warn,
  refuse?: () => void,
): T | undefined {
  return attempt("read", path, () => {
    const text = readBounded(path, bytesMax);
    if (text === undefined) return undefined;
    const value = decode(text);
    if (value !== undefined) return value;
    refuse?.();
    const kept = moveAside(path);
    warn(`${path} is damaged: it is kept as ${kept} and the node starts without; nothing to do`);
    return undefined;
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Its text, empty where it is longer than anything that this program writes there. */
export function readBounded(path: string, bytesMax: number): string | undefined {
  return unlessAbsent(() => (statSync(path).size > bytesMax ? "" : readFileSync(path, "utf8")));
}

/** undefined where what it touches does not exist. */
export function unlessAbsent<T>(body: () => T): T | undefined {
  try {
    return body();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** Whole, and on the disk, when this returns; the former content stands until then. */
export function writeWhole(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.new`;
  const file = disk.openSync(temporary, "w", 0o600);
  try {
    try {
      disk.writeSync(file, text);
      disk.fsyncSync(file);
    } finally {
      disk.closeSync(file);
    }
    disk.renameSync(temporary, path);
  } catch (error) {
    disk.rmSync(temporary, { force: true });
    throw error;
  }
  syncDirectory(dirname(path));
}

/** Gone, and on the disk so, when this returns; false where there was none. */
export function removeWhole(path: string): boolean {
  const removed = unlessAbsent(() => {
    disk.rmSync(path);
    return true;
  });
  if (removed === undefined) return false;
  syncDirectory(dirname(path));
  return true;
}

export function syncDirectory(path: string): void {
  const directory = disk.openSync(path, "r");
  try {
    disk.fsyncSync(directory);
  } finally {
    disk.closeSync(directory);
  }
}

/** What a process left that was killed while it wrote: never heeded, so it can go. */
export function removeLeftovers(directory: string): void {
  for (const file of readdirSync(directory, { recursive: true }) as string[]) {
    if (/\.[0-9]+\.new$/.test(file)) disk.rmSync(join(directory, file), { force: true });
  }
}

/** Under a name that is free; the new path. */
export function moveAside(path: string): string {
  let kept = `${path}.damaged`;
  for (let at = 2; existsSync(kept) && at < damagedNamesMax; at += 1) {
    kept = `${path}.damaged-${at}`;
  }
  renameSync(path, kept);
  return kept;
}

/** The system's refusals in an operator's words. */
export function attempt<T>(what: string, path: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error) || error instanceof MeshError) throw error;
    const code = String(error.code);
    const [kind, why, remedy] =
      code === "EACCES" || code === "EPERM"
        ? ["permission_denied", "permission denied", "run as root or as the owner"]
        : code === "ENOSPC" || code === "EROFS"
          ? ["state_unwritable", ...diskFull]
          : ["state_unusable", `the system refused (${code})`, "check the path"];
    throw new MeshError(kind, `cannot ${what}: ${path}`, why, remedy);
  }
}

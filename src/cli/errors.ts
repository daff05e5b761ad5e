/**
 * How a command fails: one line on stderr that says what, why and what to do, and an exit code.
 * 0 ok, 1 error, 2 usage, 3 daemon not running, 4 unhealthy, 5 permission.
 */
import { writeSync } from "node:fs";
import { MeshError } from "../base/errors.ts";

const exitCodes: Readonly<Record<string, number>> = {
  usage: 2,
  daemon_not_running: 3,
  unhealthy: 4,
  permission_denied: 5,
};

/** A mistake in how the command was called. */
export function usageError(what: string, why: string, remedy: string): MeshError {
  return new MeshError("usage", what, why, remedy);
}

export interface Failure {
  readonly exitCode: number;
  /** One line. */
  readonly text: string;
}

export function failureOf(error: unknown): Failure {
  if (error instanceof MeshError) {
    return { exitCode: exitCodes[error.code] ?? 1, text: oneLine(error.sentence()) };
  }
  // citty's own refusals: a missing argument, a value that is none of the options.
  if (error instanceof Error && error.name === "CLIError") {
    return { exitCode: 2, text: oneLine(`${error.message}; see --help`) };
  }
  const refusal = systemRefusal(error);
  if (refusal !== undefined) return refusal;
  const words = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { exitCode: 1, text: oneLine(`internal error: ${words}; please report this`) };
}

/** A system call that failed where no better words were found: what it was about, and why. */
function systemRefusal(error: unknown): Failure | undefined {
  if (!(error instanceof Error) || !("code" in error && "syscall" in error)) return undefined;
  const { code, syscall } = error;
  if (typeof code !== "string" || typeof syscall !== "string") return undefined;
  const path = "path" in error && typeof error.path === "string" ? ` ${error.path}` : "";
  const denied = code === "EACCES" || code === "EPERM";
  const known: Readonly<Record<string, string>> = {
    ENOENT: "there is no such file or directory; check the path",
    ENOTDIR: "a part of the path is no directory; check the path",
    EISDIR: "it is a directory; name a file",
    EACCES: "permission denied; run as root",
    EPERM: "permission denied; run as root",
    EROFS: "the file system is read-only; name another place",
    ENOSPC: "the disk is full; make room",
  };
  const why =
    known[code] ?? `the system refused (${code}); check the path and the limits of this user`;
  return {
    exitCode: denied ? (exitCodes.permission_denied as number) : 1,
    text: `cannot ${syscall}${path}: ${why}`,
  };
}

export function printFailure(text: string): void {
  try {
    writeSync(2, `meshvpn: ${text}\n`);
  } catch (error) {
    // Nobody reads stderr any more; the exit code still speaks.
    if (!(error instanceof Error && "code" in error)) throw error;
  }
}

function oneLine(text: string): string {
  return Bun.stripANSI(text)
    .split("\n")
    .map((line) => line.trim())
    .join(" ");
}

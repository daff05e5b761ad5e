/**
 * One daemon at a time on a state directory: two would be one identity in two places. The lock is
 * the kernel's (a POSIX record lock, which SQLite takes on its file), so it holds across network
 * and process namespaces and ends with its process, however that ends. The file `lock` stays and is
 * empty; that it is there means nothing.
 */
import { Database } from "bun:sqlite";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { diskFull, MeshError } from "../base/errors.ts";

export interface StateLock {
  release(): void;
}

/** MeshError `daemon_running` where another process holds it. The directory must be there. */
export function lockStateDirectory(directory: string): StateLock {
  const path = join(directory, "lock");
  let database: Database | undefined;
  try {
    // Made first, so that it has its mode. Not opened again later: a close would drop the lock.
    closeSync(openSync(path, "a", 0o600));
    database = new Database(path);
    database.run("PRAGMA busy_timeout = 0");
    // Nothing reaches the disk, so one that is full locks nobody out.
    database.run("PRAGMA journal_mode = MEMORY");
    database.run("BEGIN EXCLUSIVE");
    return { release: () => database?.close() };
  } catch (error) {
    database?.close();
    if (!(error instanceof Error) || !("code" in error)) throw error;
    throw refusal(directory, path, String(error.code));
  }
}

function refusal(directory: string, path: string, code: string): MeshError {
  if (code === "SQLITE_BUSY") {
    return new MeshError(
      "daemon_running",
      "cannot start the daemon",
      `another one uses the state directory ${directory}`,
      "stop it with meshvpn down and its --control-socket, or choose another --state-dir",
    );
  }
  if (code === "EROFS" || code === "ENOSPC") {
    const what = `cannot use the state directory ${directory}`;
    return new MeshError("state_unwritable", what, ...diskFull);
  }
  const denied = code === "EACCES" || code === "EPERM";
  return new MeshError(
    denied ? "permission_denied" : "state_unusable",
    `cannot lock the state directory: ${path}`,
    denied ? "permission denied" : `the system refused (${code})`,
    denied ? "run as root or as the owner" : "make it an empty file that can be written",
  );
}

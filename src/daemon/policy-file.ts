/** The policy on disk, below the state directory: read whole, written whole. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { diskFull, MeshError } from "../base/errors.ts";
import { openPolicy, type Policy, parsePolicy } from "../trust/policy.ts";
import { writeWhole } from "./files.ts";

const bytesMax = 256 * 1024;

export function policyPath(stateDirectory: string): string {
  return join(stateDirectory, "policy");
}

/** Text; empty where there is none. MeshError where it cannot be read. */
export function readPolicyText(stateDirectory: string): string {
  const path = policyPath(stateDirectory);
  try {
    if (!existsSync(path)) return "";
    const { size } = statSync(path);
    if (size <= bytesMax) return readFileSync(path, "utf8");
    const why = `it has ${size} bytes and the limit is ${bytesMax}`;
    throw new MeshError("policy_invalid", `cannot use the policy ${path}`, why, "shorten it");
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error) || error instanceof MeshError) throw error;
    const denied = error.code === "EACCES";
    throw new MeshError(
      denied ? "permission_denied" : "policy_unreadable",
      `cannot read the policy ${path}`,
      denied ? "permission denied" : `the system refused (${error.code})`,
      denied ? "run as root" : "check the path",
    );
  }
}

/** MeshError `usage` that names the line of a mistake; nothing is guessed in a matter of who may enter. */
export function readPolicy(stateDirectory: string): Policy {
  return policyOf(readPolicyText(stateDirectory), policyPath(stateDirectory));
}

export function policyOf(text: string, path: string): Policy {
  if (text === "") return openPolicy;
  const parsed = parsePolicy(text);
  if ("rules" in parsed) return parsed;
  const place = `${path}:${parsed.line}`;
  throw new MeshError("usage", `cannot use the policy ${place}`, parsed.why, "correct it");
}

function unwritable(path: string, code: string): MeshError {
  const what = `cannot keep the policy ${path}`;
  if (code === "ENOENT") {
    const remedy = "run meshvpn keygen first, or name its --state-dir";
    return new MeshError("policy_unwritable", what, "there is no such state directory", remedy);
  }
  if (code === "EROFS" || code === "ENOSPC") {
    return new MeshError("policy_unwritable", what, ...diskFull);
  }
  const denied = code === "EACCES" || code === "EPERM";
  const why = denied ? "permission denied" : `the system refused (${code})`;
  const remedy = denied ? "run as root" : "check the path";
  return new MeshError(denied ? "permission_denied" : "policy_unwritable", what, why, remedy);
}

export function writePolicyText(stateDirectory: string, text: string): void {
  const path = policyPath(stateDirectory);
  // Never written where a mistake is in it.
  policyOf(text, path);
  try {
    // An empty one would let everybody in, so none is ever seen half written.
    writeWhole(path, text);
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error)) throw error;
    throw unwritable(path, String(error.code));
  }
}

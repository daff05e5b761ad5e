/**
 * Writes a node's whole state anew and ends, as by kill -9, after the system call of that number; in
 * the midst of a write, after half of it. Run as a program: DIRECTORY STEP (0: to the end) FILE, of
 * which FILE holds what to write. Prints how many calls there were.
 */
import { readFileSync } from "node:fs";
import { decodeBase64 } from "../../src/base/base64.ts";
import { disk } from "../../src/daemon/files.ts";
import { prepareStateDirectory, writeMembers, writeMemory } from "../../src/daemon/state.ts";
import {
  addKey,
  addSigned,
  removeToken,
  writeCertificate,
  writeInvites,
  writeNetwork,
  writeStatements,
} from "../../src/daemon/trust-files.ts";
import { decodeStatement } from "../../src/trust/statement.ts";

export interface KillAtStepState {
  readonly version: number;
  /** Base64. */
  readonly record: string;
  readonly certificate: string;
  readonly statement: string;
  readonly key: string;
}

function bytes(text: string): Uint8Array {
  return decodeBase64(text) as Uint8Array;
}

/** In the order in which they are looked at afterwards. */
export function writeAll(directory: string, state: KillAtStepState): void {
  const { version } = state;
  prepareStateDirectory(directory);
  const key = bytes(state.key);
  writeMemory(directory, { sequence: version, ipv4Candidate: version });
  writeMembers(directory, [bytes(state.record)]);
  writeStatements(directory, [bytes(state.statement)]);
  writeInvites(directory, [
    {
      hash: new Uint8Array(16).fill(version),
      expiresWallMs: version,
      uses: 1,
      name: "",
      groups: [],
      certificateMs: 1,
      redeemed: [{ identity: key, certificate: bytes(state.certificate) }],
    },
  ]);
  writeNetwork(directory, {
    id: new Uint8Array(32).fill(version),
    name: `v${version}`,
    ipv4Prefix: { address: "10.99.0.0", bits: 16 },
    seeds: [],
  });
  addKey(directory, "revoked", key, `v${version}`);
  const statement = decodeStatement(bytes(state.statement))?.claimed;
  if (statement === undefined) throw new Error("a statement is well formed");
  addSigned(directory, statement);
  writeCertificate(directory, bytes(state.certificate));
  removeToken(directory);
}

if (import.meta.main) {
  const [directory = "", step = "0", file = ""] = process.argv.slice(2);
  let calls = 0;
  const called = (): void => {
    calls += 1;
    if (calls === Number(step)) process.kill(process.pid, "SIGKILL");
  };
  const plain = { ...disk };
  disk.openSync = (...args) => {
    const opened = plain.openSync(...args);
    called();
    return opened;
  };
  disk.writeSync = (descriptor, text) => {
    const half = text.slice(0, text.length >> 1);
    plain.writeSync(descriptor, half);
    called();
    plain.writeSync(descriptor, text.slice(half.length));
    called();
  };
  for (const name of ["fsyncSync", "closeSync", "renameSync", "rmSync"] as const) {
    const call = plain[name] as (...args: unknown[]) => void;
    (disk[name] as unknown) = (...args: unknown[]): void => {
      call(...args);
      called();
    };
  }
  writeAll(directory, JSON.parse(readFileSync(file, "utf8")));
  console.log(calls);
}

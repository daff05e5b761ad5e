/**
 * The state directory: the two key files (whose bytes only the library sees), and what the node
 * remembers of itself and of members. What it holds of trust is trust-files.ts's.
 */
import { existsSync, linkSync, mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { decodeBase64, encodeBase64 } from "../base/base64.ts";
import type { Crypto, Secret } from "../base/crypto.ts";
import { MeshError } from "../base/errors.ts";
import { type Identity, identityOf } from "../trust/identity.ts";
import { ipv4CandidatesMax, recordWithCertificateBytesMax, sequenceMax } from "../trust/record.ts";
import { trustedMax } from "../trust/roster.ts";
import { attempt, isInteger, isSchema, readState, schema, type Warn, writeWhole } from "./files.ts";

/** The part of `native/crypto.ts` that key files need. */
export interface KeyFiles extends Crypto {
  load(path: string): Secret;
  store(secret: Secret, path: string, replace?: boolean): void;
}

export interface Keys {
  readonly identity: Identity;
  /** X25519. The caller's, as the identity's seed is. */
  readonly wireguard: Secret;
}

/** What a node must know of its former self. */
export interface Memory {
  /** The sequence of the last record that may have left this node; 0: none. */
  readonly sequence: number;
  /** The settled IPv4 claim, see trust/address.ts. */
  readonly ipv4Candidate?: number;
}

/** Where there is none. */
export const identityMend = "run meshvpn join TOKEN, meshvpn init or meshvpn keygen";

const identityFile = "identity.key";
const wireguardFile = "wireguard.key";
const memoryFile = "node.json";
const membersFile = "members.json";
/** Every member there may be, in base64 and quotes. */
const stateBytesMax = trustedMax * (recordWithCertificateBytesMax * 2);

/** Makes the directory where it is missing. MeshError where others may write there. */
export function prepareStateDirectory(directory: string): void {
  attempt("use the state directory", directory, () => {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  });
  checkStateDirectory(directory);
}

/** MeshError where others may write there; one that is missing is no mistake here. */
function checkStateDirectory(directory: string): void {
  attempt("use the state directory", directory, () => {
    const status = statSync(directory, { throwIfNoEntry: false });
    if (status === undefined || (status.mode & 0o022) === 0) return;
    throw new MeshError(
      "state_directory_open",
      `cannot use the state directory ${directory}`,
      "others may write there, and could add whom this node trusts",
      `chmod 700 ${directory}`,
    );
  });
}

/**
 * A new identity and a new WireGuard key. Without `replace` an identity that is there is an error.
 * With it, the former files stay as *.old, so that a mistake can be undone.
 */
export function createKeys(crypto: KeyFiles, directory: string, replace: boolean): Uint8Array {
  prepareStateDirectory(directory);
  const identityPath = join(directory, identityFile);
  if (existsSync(identityPath) && !replace) {
    throw new MeshError(
      "identity_exists",
      `cannot make an identity in ${directory}`,
      "there is one already, and members know this node by it",
      "keep it, or replace it with meshvpn keygen --force",
    );
  }
  // The identity comes last: while it is missing, this can be done again.
  const wireguardPath = join(directory, wireguardFile);
  if (replace || !existsSync(wireguardPath)) createKey(crypto, wireguardPath, replace);
  return createKey(crypto, identityPath, replace);
}

/** The public identity of the key made. */
export function createKey(crypto: KeyFiles, path: string, replace: boolean): Uint8Array {
  if (replace && existsSync(path)) {
    attempt("keep the former key", path, () => {
      rmSync(`${path}.old`, { force: true });
      linkSync(path, `${path}.old`);
    });
  }
  const secret = crypto.generate();
  try {
    crypto.store(secret, path, replace);
    return crypto.identityPublicKey(secret);
  } finally {
    crypto.release(secret);
  }
}

/** MeshError `identity_missing` before `createKeys`; whatever is wrong with the file, as it is. */
export function loadIdentity(crypto: KeyFiles, directory: string): Identity {
  const path = join(directory, identityFile);
  const seed = loadKey(crypto, path);
  if (seed !== undefined) return identityOf(crypto, seed);
  throw new MeshError(
    "identity_missing",
    "this node has no identity",
    `there is no ${path}`,
    identityMend,
  );
}

/** Both keys; a WireGuard key that is missing is made, for members learn it from the record. */
export function loadKeys(crypto: KeyFiles, directory: string): Keys {
  const identity = loadIdentity(crypto, directory);
  try {
    const path = join(directory, wireguardFile);
    const wireguard = loadKey(crypto, path);
    if (wireguard !== undefined) return { identity, wireguard };
    createKey(crypto, path, false);
    return { identity, wireguard: crypto.load(path) };
  } catch (error) {
    crypto.release(identity.seed);
    throw error;
  }
}

/** MeshError where a daemon could not start with what is there; makes and changes nothing. */
export function checkKeys(crypto: KeyFiles, directory: string): void {
  checkStateDirectory(directory);
  crypto.release(loadIdentity(crypto, directory).seed);
  const wireguard = loadKey(crypto, join(directory, wireguardFile));
  if (wireguard !== undefined) crypto.release(wireguard);
}

/** undefined where there is no such file. */
export function loadKey(crypto: KeyFiles, path: string): Secret | undefined {
  try {
    return crypto.load(path);
  } catch (error) {
    if (error instanceof MeshError && error.code === "no_such_file") return undefined;
    throw error;
  }
}

export function readMemory(directory: string, warn: Warn): Memory {
  const path = join(directory, memoryFile);
  const memory = readState(path, stateBytesMax, decodeMemory, warn);
  return memory ?? { sequence: 0 };
}

/** On disk when this returns. */
export function writeMemory(directory: string, memory: Memory): void {
  const text = JSON.stringify({
    schema,
    sequence: memory.sequence,
    ...(memory.ipv4Candidate === undefined ? {} : { ipv4_candidate: memory.ipv4Candidate }),
  });
  attempt("remember this node's state", directory, () =>
    writeWhole(join(directory, memoryFile), `${text}\n`),
  );
}

/** Records of members, as they travelled; signatures are for the caller to verify. */
export function readMembers(directory: string, warn: Warn): readonly Uint8Array[] {
  const path = join(directory, membersFile);
  return readState(path, stateBytesMax, decodeMembers, warn) ?? [];
}

export function writeMembers(directory: string, records: Iterable<Uint8Array>): void {
  const text = JSON.stringify({ schema, records: Array.from(records, encodeBase64) });
  attempt("remember the members", directory, () =>
    writeWhole(join(directory, membersFile), `${text}\n`),
  );
}

function decodeMemory(value: unknown): Memory | undefined {
  if (!isSchema(value)) return undefined;
  const { sequence, ipv4_candidate: candidate } = value;
  if (!isInteger(sequence, sequenceMax)) return undefined;
  if (candidate === undefined) return { sequence };
  if (!isInteger(candidate, ipv4CandidatesMax - 1)) return undefined;
  return { sequence, ipv4Candidate: candidate };
}

function decodeMembers(value: unknown): readonly Uint8Array[] | undefined {
  if (!isSchema(value) || !Array.isArray(value.records)) return undefined;
  if (value.records.length > trustedMax) return undefined;
  const out: Uint8Array[] = [];
  for (const text of value.records) {
    const bytes = typeof text === "string" ? decodeBase64(text) : undefined;
    if (bytes === undefined) return undefined;
    out.push(bytes);
  }
  return out;
}

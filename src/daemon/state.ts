/**
 * The state directory: the two key files (whose bytes only the library sees), one small file for
 * each trusted identity, and what the node remembers of itself and of members. Every file is whole
 * or absent, whenever the process ends: written under another name, synced, renamed. A file that is
 * damaged is moved aside as *.damaged with a word to the operator, never deleted and never heeded.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { decodeBase64, encodeBase64 } from "../base/base64.ts";
import type { Crypto, Secret } from "../base/crypto.ts";
import { MeshError } from "../base/errors.ts";
import { formatIdentity, type Identity, identityOf, parseIdentity } from "../trust/identity.ts";
import {
  ipv4CandidatesMax,
  recordWithCertificateBytesMax,
  sanitizeName,
  sequenceMax,
} from "../trust/record.ts";
import { trustedMax } from "../trust/roster.ts";

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

export interface Trusted {
  readonly identity: Uint8Array;
  /** The operator's own word for it; may be empty. */
  readonly name: string;
}

/** What a node must know of its former self. */
export interface Memory {
  /** The sequence of the last record that may have left this node; 0: none. */
  readonly sequence: number;
  /** The settled IPv4 claim, see trust/address.ts. */
  readonly ipv4Candidate?: number;
}

export type Warn = (text: string) => void;

const identityFile = "identity.key";
const wireguardFile = "wireguard.key";
const trustedDirectory = "trusted";
const memoryFile = "node.json";
const membersFile = "members.json";
const schema = 1;
const damagedNamesMax = 1000;
const trustedBytesMax = 256;
/** Every member there may be, in base64 and quotes. */
const stateBytesMax = trustedMax * (recordWithCertificateBytesMax * 2);

/** Makes the directory where it is missing. MeshError where others may write there. */
export function prepareStateDirectory(directory: string): void {
  attempt("use the state directory", directory, () => {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const { mode } = statSync(directory);
    if ((mode & 0o022) === 0) return;
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
function createKey(crypto: KeyFiles, path: string, replace: boolean): Uint8Array {
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
    "run meshvpn keygen",
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

/** undefined where there is no such file. */
function loadKey(crypto: KeyFiles, path: string): Secret | undefined {
  try {
    return crypto.load(path);
  } catch (error) {
    if (error instanceof MeshError && error.code === "no_such_file") return undefined;
    throw error;
  }
}

/** Whom the operator trusts, sorted by file name. What is damaged is moved aside. */
export function readTrusted(directory: string, warn: Warn): readonly Trusted[] {
  const inside = join(directory, trustedDirectory);
  return attempt("read whom this node trusts", inside, () => {
    const out: Trusted[] = [];
    for (const file of (unlessAbsent(() => readdirSync(inside)) ?? []).toSorted()) {
      if (!file.endsWith(".pub")) continue;
      const path = join(inside, file);
      const trusted = readTrustedFile(path, file);
      if (trusted !== undefined) out.push(trusted);
      else if (existsSync(path)) {
        const kept = moveAside(path);
        warn(`${path} is damaged: it is kept as ${kept} and not trusted; trust that key again`);
      }
    }
    return out;
  });
}

/** "added", "renamed", or "known" where nothing had to change. */
export function addTrusted(
  directory: string,
  identity: Uint8Array,
  name: string | undefined,
): "added" | "renamed" | "known" {
  prepareStateDirectory(directory);
  const inside = join(directory, trustedDirectory);
  return attempt("trust an identity", inside, () => {
    mkdirSync(inside, { recursive: true, mode: 0o700 });
    const file = trustedFileName(identity);
    const path = join(inside, file);
    const known = readTrustedFile(path, file);
    if (known !== undefined && (name === undefined || name === known.name)) return "known";
    if (known === undefined && readdirSync(inside).length >= trustedMax) {
      throw new MeshError(
        "roster_full",
        "cannot trust another identity",
        `${trustedMax} are trusted already`,
        "remove one that is no longer used: meshvpn trust --remove KEY",
      );
    }
    // A damaged file of this name is kept as well.
    if (known === undefined && existsSync(path)) moveAside(path);
    const line = [formatIdentity(identity), name ?? ""].join(" ").trimEnd();
    writeWhole(path, `${line}\n`);
    return known === undefined ? "added" : "renamed";
  });
}

/** False where it was not trusted. */
export function removeTrusted(directory: string, identity: Uint8Array): boolean {
  const path = join(directory, trustedDirectory, trustedFileName(identity));
  return attempt("stop trusting an identity", path, () => {
    const removed = unlessAbsent(() => {
      rmSync(path);
      return true;
    });
    if (removed === undefined) return false;
    syncDirectory(dirname(path));
    return true;
  });
}

export function readMemory(directory: string, warn: Warn): Memory {
  const path = join(directory, memoryFile);
  const memory = readState(path, decodeMemory, warn);
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
  return readState(join(directory, membersFile), decodeMembers, warn) ?? [];
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

function isSchema(value: unknown): value is Readonly<Record<string, unknown>> {
  return (
    typeof value === "object" && value !== null && "schema" in value && value.schema === schema
  );
}

function isInteger(value: unknown, max: number): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= max;
}

/** undefined where there is none, or it was damaged. */
function readState<T>(
  path: string,
  decode: (value: unknown) => T | undefined,
  warn: Warn,
): T | undefined {
  return attempt("read", path, () => {
    const text = readBounded(path, stateBytesMax);
    if (text === undefined) return undefined;
    const value = decode(parseJson(text));
    if (value !== undefined) return value;
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
function readBounded(path: string, bytesMax: number): string | undefined {
  return unlessAbsent(() => (statSync(path).size > bytesMax ? "" : readFileSync(path, "utf8")));
}

/** undefined where what it touches does not exist. */
function unlessAbsent<T>(body: () => T): T | undefined {
  try {
    return body();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** `KEY [NAME]`, and the key is the one that the file is named after; undefined: there is none. */
function readTrustedFile(path: string, file: string): Trusted | undefined {
  const trusted = parseTrustedLine((readBounded(path, trustedBytesMax) ?? "").trimEnd());
  return trusted !== undefined && trustedFileName(trusted.identity) === file ? trusted : undefined;
}

/** `KEY`, or `KEY NAME`, as `export` prints it. */
export function parseTrustedLine(line: string): Trusted | undefined {
  const [key = "", name = "", ...rest] = line.split(" ");
  const identity = parseIdentity(key);
  if (identity === undefined || rest.length > 0 || sanitizeName(name) !== name) return undefined;
  return { identity, name };
}

/** Base64 for URLs: a name that a file may have. */
function trustedFileName(identity: Uint8Array): string {
  const text = formatIdentity(identity);
  return `${text.replaceAll("+", "-").replaceAll("/", "_").replace("=", "")}.pub`;
}

/** Whole, and on the disk, when this returns; the former content stands until then. */
function writeWhole(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.new`;
  const file = openSync(temporary, "w", 0o600);
  try {
    try {
      writeSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncDirectory(dirname(path));
}

function syncDirectory(path: string): void {
  const directory = openSync(path, "r");
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

/** Under a name that is free; the new path. */
function moveAside(path: string): string {
  let kept = `${path}.damaged`;
  for (let at = 2; existsSync(kept) && at < damagedNamesMax; at += 1) {
    kept = `${path}.damaged-${at}`;
  }
  renameSync(path, kept);
  return kept;
}

/** The system's refusals in an operator's words. */
function attempt<T>(what: string, path: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error) || error instanceof MeshError) throw error;
    const code = String(error.code);
    const [kind, why, remedy] =
      code === "EACCES" || code === "EPERM"
        ? ["permission_denied", "permission denied", "run as root or as the owner"]
        : code === "ENOSPC" || code === "EROFS"
          ? ["state_unwritable", "the disk is full or read-only", "make room there"]
          : ["state_unusable", `the system refused (${code})`, "check the path"];
    throw new MeshError(kind, `cannot ${what}: ${path}`, why, remedy);
  }
}

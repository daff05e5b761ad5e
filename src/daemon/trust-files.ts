/**
 * What the state directory says of trust: lists of keys (a small file for each, so that any tool can
 * add or remove one), the network that this node was made for or came into, its own certificate, what
 * organisations said, the invitations that it issued and the one that it holds. Forms only; what they
 * mean is trust/'s and mesh/'s.
 */
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { decodeBase64, encodeBase64 } from "../base/base64.ts";
import type { Secret } from "../base/crypto.ts";
import { MeshError } from "../base/errors.ts";
import { formatPrefix, type IpPrefix, parsePrefix } from "../base/ip.ts";
import { canonicalGroups } from "../trust/certificate.ts";
import {
  formatIdentity,
  type Identity,
  identityOf,
  networkIdBytes,
  parseIdentity,
} from "../trust/identity.ts";
import type { InviteEntry, Redeemed } from "../trust/invite-book.ts";
import { invitesMax } from "../trust/invite-book.ts";
import { organisationsMax, trustedMax } from "../trust/roster.ts";
import {
  encodeStatement,
  formatSigned,
  parseSigned,
  type Statement,
  statementBytesMax,
} from "../trust/statement.ts";
import { isName, sanitizeName, sequenceMax } from "../trust/text.ts";
import {
  attempt,
  disk,
  isInteger,
  isSchema,
  moveAside,
  readBounded,
  readState,
  readWhole,
  removeWhole,
  schema,
  unlessAbsent,
  type Warn,
  writeWhole,
} from "./files.ts";
import { createKey, type KeyFiles, loadKey, prepareStateDirectory } from "./state.ts";

/** A key that the operator decided on. */
export interface Listed {
  /** Of a node, or of an organisation. */
  readonly identity: Uint8Array;
  /** The operator's own word for it; may be empty. */
  readonly name: string;
}

export type KeyList = "trusted" | "organisations" | "revoked";

const listSizes: Readonly<Record<KeyList, number>> = {
  trusted: trustedMax,
  organisations: organisationsMax,
  revoked: trustedMax,
};
const listedBytesMax = 256;
const statementsBytesMax = trustedMax * (statementBytesMax * 2);
const networkFile = "network.json";
const certificateFile = "certificate";
const statementsFile = "statements.json";
const signedDirectory = "signed";
const signedEnding = ".signed";
const invitesFile = "invites.json";
const tokenFile = "join.token";
export const organisationFile = "organisation.key";
const smallBytesMax = 64 * 1024;
const invitesBytesMax = 512 * 1024 * 1024;

/** Sorted by file name. What is damaged is moved aside. */
export function readKeys(directory: string, list: KeyList, warn: Warn): readonly Listed[] {
  const inside = join(directory, list);
  return attempt(`read ${list} keys`, inside, () => {
    const out: Listed[] = [];
    for (const file of (unlessAbsent(() => readdirSync(inside)) ?? []).toSorted()) {
      if (!file.endsWith(".pub")) continue;
      const path = join(inside, file);
      const listed = readKeyFile(path, file);
      if (listed !== undefined) out.push(listed);
      else if (existsSync(path)) {
        const kept = moveAside(path);
        warn(`${path} is damaged: it is kept as ${kept} and not heeded; give that key again`);
      }
    }
    return out;
  });
}

/** "added", "renamed", or "known" where nothing had to change. */
export function addKey(
  directory: string,
  list: KeyList,
  identity: Uint8Array,
  name: string | undefined,
): "added" | "renamed" | "known" {
  prepareStateDirectory(directory);
  const inside = join(directory, list);
  return attempt("keep a key", inside, () => {
    mkdirSync(inside, { recursive: true, mode: 0o700 });
    const file = keyFileName(identity);
    const path = join(inside, file);
    const known = readKeyFile(path, file);
    if (known !== undefined && (name === undefined || name === known.name)) return "known";
    if (known === undefined && readdirSync(inside).length >= listSizes[list]) {
      throw new MeshError(
        "roster_full",
        `cannot keep another of the ${list} keys`,
        `${listSizes[list]} are kept already`,
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

/** False where it was not there. */
export function removeKey(directory: string, list: KeyList, identity: Uint8Array): boolean {
  const path = join(directory, list, keyFileName(identity));
  return attempt("let go of a key", path, () => removeWhole(path));
}

/** `KEY [NAME]`, and the key is the one that the file is named after; undefined: there is none. */
function readKeyFile(path: string, file: string): Listed | undefined {
  const listed = parseKeyLine((readBounded(path, listedBytesMax) ?? "").trimEnd());
  return listed !== undefined && keyFileName(listed.identity) === file ? listed : undefined;
}

/** `KEY`, or `KEY NAME`, as `export` prints it. */
export function parseKeyLine(line: string): Listed | undefined {
  const [key = "", name = "", ...rest] = line.split(" ");
  const identity = parseIdentity(key);
  if (identity === undefined || rest.length > 0 || sanitizeName(name) !== name) return undefined;
  return { identity, name };
}

/** Base64 for URLs: a name that a file may have. */
function keyFileName(identity: Uint8Array): string {
  const text = formatIdentity(identity);
  return `${text.replaceAll("+", "-").replaceAll("/", "_").replace("=", "")}.pub`;
}

/** The network that this state directory belongs to, if `init` or `join` said so. */
export interface NetworkFile {
  readonly id: Uint8Array;
  /** May be empty. */
  readonly name: string;
  readonly ipv4Prefix: IpPrefix;
  /** Where it was found: `[KEY@]HOST:PORT`. */
  readonly seeds: readonly string[];
}

/** MeshError where it is damaged and the node has come into a network: it would be in another one. */
export function readNetwork(directory: string, warn: Warn): NetworkFile | undefined {
  const path = join(directory, networkFile);
  const refuse = (): void => {
    if (!hasNetwork(directory)) return;
    throw new MeshError(
      "network_file_damaged",
      `cannot use ${path}`,
      "it is damaged, and it names the network: without it this node would be in another one",
      `restore it from a copy, or take a new invitation: mv ${path} ${path}.old, then meshvpn join TOKEN`,
    );
  };
  return readState(path, smallBytesMax, decodeNetwork, warn, refuse);
}

/** By what `init` and `join` leave beside the network's file. */
function hasNetwork(directory: string): boolean {
  if (existsSync(join(directory, certificateFile))) return true;
  const organisations = unlessAbsent(() => readdirSync(join(directory, "organisations"))) ?? [];
  return organisations.some((file) => file.endsWith(".pub"));
}

export function writeNetwork(directory: string, network: NetworkFile): void {
  const { id, name, ipv4Prefix, seeds } = network;
  const value = { schema, id: encodeBase64(id), name, prefix: formatPrefix(ipv4Prefix), seeds };
  write(directory, networkFile, "remember the network", `${JSON.stringify(value)}\n`);
}

function decodeNetwork(value: unknown): NetworkFile | undefined {
  if (!isSchema(value)) return undefined;
  const { id: idText, name, prefix: prefixText, seeds } = value;
  const id = bytesOf(idText);
  const ipv4Prefix = typeof prefixText === "string" ? parsePrefix(prefixText) : undefined;
  if (id?.length !== networkIdBytes || ipv4Prefix === undefined) return undefined;
  if (typeof name !== "string" || !isName(name)) return undefined;
  const isTexts = Array.isArray(seeds) && seeds.every((seed) => typeof seed === "string");
  return isTexts ? { id, name, ipv4Prefix, seeds } : undefined;
}

/** This node's own; undefined where it has none. */
export function readCertificate(directory: string, warn: Warn): Uint8Array | undefined {
  const decode = (text: string): Uint8Array | undefined => {
    const signed = parseSigned(text.trimEnd())?.claimed;
    return signed?.kind === "certificate" ? signed.certificate.bytes : undefined;
  };
  return readWhole(join(directory, certificateFile), smallBytesMax, decode, warn);
}

export function writeCertificate(directory: string, bytes: Uint8Array): void {
  const line = formatSigned({ kind: "certificate", bytes });
  write(directory, certificateFile, "keep the certificate", `${line}\n`);
}

/** Of a former identity; it stays beside as *.old. False where there is none. */
export function setCertificateAside(directory: string): boolean {
  const path = join(directory, certificateFile);
  if (!existsSync(path)) return false;
  attempt("set the former certificate aside", path, () => disk.renameSync(path, `${path}.old`));
  return true;
}

/** What organisations said; signatures are for the caller to verify. */
export function readStatements(directory: string, warn: Warn): readonly Uint8Array[] {
  const path = join(directory, statementsFile);
  return readState(path, statementsBytesMax, decodeStatements, warn) ?? [];
}

export function writeStatements(directory: string, statements: Iterable<Uint8Array>): void {
  const value = { schema, statements: Array.from(statements, encodeBase64) };
  write(directory, statementsFile, "remember revocations", `${JSON.stringify(value)}\n`);
}

/** Statements that the operator gave, a file each: nobody else's writing can be lost by it. */
export function readSigned(directory: string, warn: Warn): readonly Uint8Array[] {
  const inside = join(directory, signedDirectory);
  return attempt("read what was given", inside, () => {
    const files = (unlessAbsent(() => readdirSync(inside)) ?? []).toSorted();
    return files
      .filter((file) => file.endsWith(signedEnding))
      .flatMap((file) => {
        const decode = (text: string): Uint8Array | undefined => {
          const signed = parseSigned(text.trimEnd())?.claimed;
          return signed === undefined || signed.kind === "certificate"
            ? undefined
            : encodeStatement(signed);
        };
        return readWhole(join(inside, file), smallBytesMax, decode, warn) ?? [];
      });
  });
}

export function addSigned(directory: string, statement: Statement): void {
  prepareStateDirectory(directory);
  const inside = join(directory, signedDirectory);
  attempt("keep what was given", inside, () => {
    mkdirSync(inside, { recursive: true, mode: 0o700 });
    if (readdirSync(inside).length >= trustedMax) {
      throw new MeshError(
        "statements_full",
        "cannot keep another statement",
        `${trustedMax} are kept already`,
        `remove what has expired from ${inside}`,
      );
    }
    const key =
      statement.kind === "revocation" ? statement.revocation.key : statement.vouch.identity;
    const name = keyFileName(key).replace(".pub", "");
    const file = `${name}-${statement.kind}${signedEnding}`;
    writeWhole(join(inside, file), `${formatSigned(statement)}\n`);
  });
}

function decodeStatements(value: unknown): readonly Uint8Array[] | undefined {
  if (!isSchema(value) || !Array.isArray(value.statements)) return undefined;
  return everyOf(value.statements, bytesOf);
}

export function readInvites(directory: string, warn: Warn): readonly InviteEntry[] {
  const path = join(directory, invitesFile);
  return readState(path, invitesBytesMax, decodeInvites, warn) ?? [];
}

export function writeInvites(directory: string, entries: readonly InviteEntry[]): void {
  const invites = entries.map((entry) => ({
    hash: encodeBase64(entry.hash),
    expires: entry.expiresWallMs,
    uses: entry.uses,
    name: entry.name,
    groups: entry.groups,
    certificate_ms: entry.certificateMs,
    redeemed: entry.redeemed.map(({ identity, certificate }) => ({
      identity: formatIdentity(identity),
      certificate: encodeBase64(certificate),
    })),
  }));
  const text = `${JSON.stringify({ schema, invites })}\n`;
  write(directory, invitesFile, "remember the invitations", text);
}

function decodeInvites(value: unknown): readonly InviteEntry[] | undefined {
  if (!isSchema(value) || !Array.isArray(value.invites)) return undefined;
  return value.invites.length > invitesMax ? undefined : everyOf(value.invites, decodeInvite);
}

function decodeInvite(value: unknown): InviteEntry | undefined {
  if (!isObject(value) || !Array.isArray(value.groups) || !Array.isArray(value.redeemed)) {
    return undefined;
  }
  const { name, expires: expiresWallMs, uses, certificate_ms: certificateMs } = value;
  const hash = bytesOf(value.hash);
  const redeemed = everyOf(value.redeemed, decodeRedeemed);
  const groups = value.groups.every((group) => typeof group === "string")
    ? canonicalGroups(value.groups)
    : undefined;
  if (hash?.length !== 16 || redeemed === undefined || groups === undefined) return undefined;
  if (typeof name !== "string" || !isName(name)) return undefined;
  const isWhole =
    isInteger(expiresWallMs, sequenceMax) &&
    isInteger(uses, sequenceMax) &&
    isInteger(certificateMs, sequenceMax);
  return isWhole ? { hash, expiresWallMs, uses, name, groups, certificateMs, redeemed } : undefined;
}

function decodeRedeemed(value: unknown): Redeemed | undefined {
  if (!isObject(value) || typeof value.identity !== "string") return undefined;
  const identity = parseIdentity(value.identity);
  const certificate = bytesOf(value.certificate);
  return identity && certificate && { identity, certificate };
}

/** The invitation that this node was given and has not redeemed yet. */
export function readToken(directory: string, warn: Warn): string | undefined {
  const decode = (text: string): string | undefined => text.trimEnd() || undefined;
  return readWhole(join(directory, tokenFile), smallBytesMax, decode, warn);
}

/** When it was given, in Unix ms; undefined: there is none. */
export function tokenGivenMs(directory: string): number | undefined {
  return statSync(join(directory, tokenFile), { throwIfNoEntry: false })?.mtimeMs;
}

export function writeToken(directory: string, token: string): void {
  write(directory, tokenFile, "keep the invitation", `${token}\n`);
}

export function removeToken(directory: string): void {
  const path = join(directory, tokenFile);
  attempt("let go of the invitation", path, () => removeWhole(path));
}

/** The organisation whose secret key is here; undefined on most nodes. The caller releases the seed. */
export function loadOrganisation(crypto: KeyFiles, directory: string): Identity | undefined {
  const seed: Secret | undefined = loadKey(crypto, join(directory, organisationFile));
  return seed === undefined ? undefined : identityOf(crypto, seed);
}

/** MeshError where there is one. */
export function createOrganisation(crypto: KeyFiles, directory: string): Uint8Array {
  prepareStateDirectory(directory);
  const path = join(directory, organisationFile);
  if (!existsSync(path)) return createKey(crypto, path, false);
  throw new MeshError(
    "organisation_exists",
    `cannot make an organisation's key in ${directory}`,
    "there is one already, and certificates depend on it",
    "keep it, or choose another --state-dir",
  );
}

function write(directory: string, file: string, what: string, text: string): void {
  const path = join(directory, file);
  attempt(what, dirname(path), () => writeWhole(path, text));
}

function bytesOf(value: unknown): Uint8Array | undefined {
  return typeof value === "string" ? decodeBase64(value) : undefined;
}

function everyOf<T>(
  values: readonly unknown[],
  decode: (value: unknown) => T | undefined,
): readonly T[] | undefined {
  const out: T[] = [];
  for (const value of values) {
    const decoded = decode(value);
    if (decoded === undefined) return undefined;
    out.push(decoded);
  }
  return out;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

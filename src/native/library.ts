/**
 * Loads libmeshvpn.so, and is the only importer of bun:ffi. Nothing but the ABI version is
 * called before the version, then the whole layout, are known to be the ones this code was written
 * against: a struct read at the wrong offset would be a silent disaster. Owns the signatures;
 * meanings are in docs/ARCHITECTURE.md. Results below zero are `-Error` of zig/abi.zig.
 */
import { dlopen, FFIType } from "bun:ffi";
import { assert, MeshError } from "../base/errors.ts";
import { abi } from "./abi.ts";
import { findLibrary } from "./find-library.ts";

const bytes = "ptr";
const result = "i32";

const signatures = {
  meshvpn_abi_version: { args: [], returns: "u32" },
  meshvpn_abi_json: { args: [bytes, "u32"], returns: result },
  meshvpn_now_ns: { args: [], returns: FFIType.u64_fast },

  meshvpn_open: { args: [bytes], returns: result },
  meshvpn_open_failure: { args: [bytes], returns: result },
  meshvpn_start: { args: ["i32"], returns: result },
  meshvpn_stop: { args: ["i32"], returns: result },
  meshvpn_close: { args: ["i32"], returns: result },
  meshvpn_doorbell_fd: { args: ["i32"], returns: result },
  meshvpn_arm: { args: ["i32"], returns: result },
  meshvpn_apply: { args: ["i32", bytes, "u32", bytes], returns: result },
  meshvpn_policy_set: {
    args: ["i32", bytes, "u32", bytes, bytes, "u32", "u32"],
    returns: result,
  },
  meshvpn_destinations_set: { args: ["i32", bytes, "u32"], returns: result },
  meshvpn_rules_flush: { args: ["u32", "u32", "u32"], returns: result },
  meshvpn_events: { args: ["i32", bytes, "u32"], returns: result },
  meshvpn_receive: { args: ["i32", bytes, "u32", bytes, "u32"], returns: result },
  meshvpn_send: { args: ["i32", bytes, "u32", bytes, "u32"], returns: result },
  meshvpn_counters: { args: ["i32", bytes, "u32"], returns: result },
  meshvpn_peer_stats: { args: ["i32", bytes, "u32"], returns: result },
  meshvpn_device_info: { args: ["i32", bytes], returns: result },
  meshvpn_uapi_receive: { args: ["i32", bytes, bytes, "u32"], returns: result },
  meshvpn_uapi_reply: { args: ["i32", "u32", bytes, "u32"], returns: result },

  meshvpn_secret_generate: { args: [bytes], returns: result },
  meshvpn_secret_import: { args: [bytes, bytes], returns: result },
  meshvpn_secret_free: { args: ["u32"], returns: result },
  meshvpn_secret_count: { args: [], returns: result },
  meshvpn_secret_load: { args: [bytes, "u32", bytes], returns: result },
  meshvpn_secret_store: { args: ["u32", bytes, "u32", "u32"], returns: result },
  meshvpn_x25519_public: { args: ["u32", bytes], returns: result },
  meshvpn_x25519: { args: ["u32", bytes, bytes], returns: result },
  meshvpn_hash: { args: [bytes, "u32", "u32", bytes], returns: result },
  meshvpn_mac: { args: [bytes, "u32", bytes, "u32", bytes], returns: result },
  meshvpn_kdf: {
    args: [bytes, "u32", bytes, "u32", "u32", "u32", bytes],
    returns: result,
  },
  meshvpn_aead_seal: {
    args: ["u32", "u32", bytes, "u32", bytes, "u32", bytes],
    returns: result,
  },
  meshvpn_aead_open: {
    args: ["u32", "u32", bytes, "u32", bytes, "u32", bytes],
    returns: result,
  },
  meshvpn_xaead_seal: {
    args: [bytes, bytes, bytes, "u32", bytes, "u32", bytes],
    returns: result,
  },
  meshvpn_xaead_open: {
    args: [bytes, bytes, bytes, "u32", bytes, "u32", bytes],
    returns: result,
  },
  meshvpn_ed25519_public: { args: ["u32", bytes], returns: result },
  meshvpn_ed25519_sign: { args: ["u32", bytes, "u32", bytes], returns: result },
  meshvpn_ed25519_verify: { args: [bytes, bytes, "u32", bytes], returns: result },
  meshvpn_identity_seal: { args: [bytes, bytes, "u32", bytes], returns: result },
  meshvpn_identity_open: { args: ["u32", bytes, "u32", bytes], returns: result },
  meshvpn_blake2b: { args: [bytes, "u32", bytes, "u32"], returns: result },
  meshvpn_notify: { args: [bytes, "u32", bytes, "u32"], returns: result },
  meshvpn_harden: { args: [], returns: result },
  meshvpn_random: { args: [bytes, "u32"], returns: result },
} as const;

type Symbols = ReturnType<typeof dlopen<typeof signatures>>["symbols"];

/** The functions of the library, named as in docs/ARCHITECTURE.md behind `meshvpn_`. */
export interface Library {
  readonly path: string;
  readonly symbols: Symbols;
}

export type ErrorName = keyof typeof abi.enums.Error;

const errorNames = new Map<number, ErrorName>(
  (Object.keys(abi.enums.Error) as ErrorName[]).map((name) => [abi.enums.Error[name], name]),
);

/** The name of a negative result; numbers that a newer library may give are `system`. */
export function errorName(code: number): ErrorName {
  assert(code < 0, "only a negative result names an error");
  return errorNames.get(-code) ?? "system";
}

const jsonBytesMax = 64 * 1024;

let loaded: Library | undefined;

/** The library, loaded at the first call. Throws MeshError where it is missing or of another ABI. */
export function loadLibrary(): Library {
  if (loaded !== undefined) return loaded;
  const found = findLibrary();
  try {
    loaded = openLibrary(found.path);
  } finally {
    found.release();
  }
  return loaded;
}

/** Loads the library at `path`; three steps, each refusing before the next one trusts it. */
export function openLibrary(path: string): Library {
  const version = libraryVersion(path);
  if (version !== abi.version) {
    throw mismatch(path, `it has ABI version ${version} and version ${abi.version} is needed`);
  }
  compareLayout(path);
  return { path, symbols: link(path, signatures).symbols };
}

function libraryVersion(path: string): number {
  const only = { meshvpn_abi_version: signatures.meshvpn_abi_version };
  const library = link(path, only);
  const version = library.symbols.meshvpn_abi_version();
  library.close();
  return version;
}

function compareLayout(path: string): void {
  const library = link(path, { meshvpn_abi_json: signatures.meshvpn_abi_json });
  const buffer = new Uint8Array(jsonBytesMax);
  const length = library.symbols.meshvpn_abi_json(buffer, buffer.length);
  library.close();
  const theirs = length > 0 ? new TextDecoder().decode(buffer.subarray(0, length)) : "{}";
  if (theirs === JSON.stringify(abi)) return;
  const place = firstDifference(theirs);
  throw mismatch(path, `it has ABI version ${abi.version} with another layout (${place})`);
}

/** The first entry, as `structs.Command.peer`, that the two layouts do not share. */
function firstDifference(theirs: string): string {
  const flatten = (value: unknown, path: string, into: Map<string, unknown>): void => {
    if (typeof value !== "object" || value === null) into.set(path, value);
    else for (const [key, inner] of Object.entries(value)) flatten(inner, `${path}.${key}`, into);
  };
  const [ours, other] = [new Map<string, unknown>(), new Map<string, unknown>()];
  flatten(abi, "", ours);
  try {
    flatten(JSON.parse(theirs), "", other);
  } catch (error) {
    return `its description is no JSON: ${String(error)}`;
  }
  const path = [...ours.keys(), ...other.keys()].find((key) => ours.get(key) !== other.get(key));
  return path === undefined ? "another order" : `${path.slice(1)} differs`;
}

/** dlopen, with what the operator needs to know instead of the loader's words alone. */
function link<Wanted extends Parameters<typeof dlopen>[1]>(
  path: string,
  wanted: Wanted,
): ReturnType<typeof dlopen<Wanted>> {
  try {
    return dlopen(path, wanted);
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error);
    const missing = /Symbol "([^"]+)" not found/.exec(words)?.[1];
    if (missing === undefined) {
      throw new MeshError("library_unloadable", `cannot load ${path}`, words, rebuild);
    }
    throw mismatch(path, `it has no function ${missing}, which ABI version ${abi.version} has`);
  }
}

const rebuild = "rebuild it with scripts/build";

function mismatch(path: string, why: string): MeshError {
  return new MeshError("library_mismatch", `cannot use ${path}`, why, rebuild);
}

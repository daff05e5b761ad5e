/**
 * Opens the data plane, and where the system refuses it, finds the cause that an operator can act
 * on: the library knows that permission was denied, not whose. Looks only after the fact, and only
 * at what the library itself touches: capabilities, /dev/net/tun and /var/run/wireguard.
 */
import { accessSync, constants, readFileSync, type Stats, statSync } from "node:fs";
import { dirname } from "node:path";
import { MeshError } from "../base/errors.ts";
import { type DataplaneConfig, NativeDataplane } from "../native/dataplane.ts";
import type { Library } from "../native/library.ts";

/** What the refused call may have met. */
export interface Surroundings {
  /** Bits of CapEff. */
  readonly capabilities: bigint;
  readonly tunDevice: "usable" | "denied" | "missing" | "other";
  readonly uapiDirectoryWritable: boolean;
}

const tunPath = "/dev/net/tun";
const uapiDirectory = "/var/run/wireguard";
/** linux/capability.h */
const netBindService = 10n;
const netAdmin = 12n;
/** Character device 10, 200 (the kernel's list of devices), as Linux packs both into st_rdev. */
const tunRdev = (10 << 8) | 200;

/** `uapiFlag`: how the operator does without UAPI; undefined where that is not possible. */
export function openDataplane(
  library: Library,
  config: DataplaneConfig,
  uapiFlag?: string,
): NativeDataplane {
  try {
    return NativeDataplane.open(library, config);
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    throw explained(error, config, surroundings(), uapiFlag);
  }
}

/** The same error where nothing better is known. */
export function explained(
  error: MeshError,
  config: DataplaneConfig,
  { capabilities, tunDevice, uapiDirectoryWritable }: Surroundings,
  uapiFlag?: string,
): MeshError {
  const because = (why: string, remedy: string, code = error.code): MeshError =>
    new MeshError(code, error.message, why, remedy);
  const has = (bit: bigint): boolean => ((capabilities >> bit) & 1n) === 1n;
  const tun = config.tun !== false;
  const uapi = config.uapi === true;
  const without = uapiFlag === undefined ? "" : ` or give ${uapiFlag}`;
  if (["no_tun", "system", "permission_denied"].includes(error.code) && tun) {
    if (tunDevice === "other") {
      const remedy = `remove it, then: mknod ${tunPath} c 10 200`;
      return because(`${tunPath} is there and is no TUN device`, remedy, "no_tun");
    }
    if (tunDevice === "denied" && has(netAdmin)) {
      return because(`${tunPath} may not be opened`, `run as root, or chmod 666 ${tunPath}`);
    }
  }
  if (error.code !== "permission_denied") return error;
  const uapiDenied = uapi && !uapiDirectoryWritable;
  if (!has(netAdmin)) {
    const also = uapiDenied
      ? `; ${uapiDirectory} is not writable either: make it so${without}`
      : "";
    return because("it takes CAP_NET_ADMIN", `run as root, or give it that${also}`);
  }
  if (uapiDenied) {
    return because(
      `${uapiDirectory} is not writable`,
      `run as root, make it writable${without === "" ? "" : `,${without}`}`,
    );
  }
  const port = config.listenPort ?? 0;
  if (port > 0 && port < 1024 && !has(netBindService)) {
    return because(`port ${port} takes CAP_NET_BIND_SERVICE`, "choose a port from 1024 on");
  }
  const inside = uapi ? `, or for ${uapiDirectory}` : "";
  return because(`permission was denied for ${tunPath}${inside}`, `run as root${without}`);
}

function surroundings(): Surroundings {
  const status = readFileSync("/proc/self/status", "utf8");
  const bits = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0";
  return {
    capabilities: BigInt(`0x${bits}`),
    tunDevice: tunDevice(),
    // Where it is missing, the library makes it.
    uapiDirectoryWritable: allows(
      exists(uapiDirectory) ? uapiDirectory : dirname(uapiDirectory),
      constants.W_OK | constants.X_OK,
    ),
  };
}

function tunDevice(): Surroundings["tunDevice"] {
  const status = statOf(tunPath);
  if (status === undefined) return "missing";
  if (!status.isCharacterDevice() || status.rdev !== tunRdev) return "other";
  return allows(tunPath, constants.R_OK | constants.W_OK) ? "usable" : "denied";
}

function exists(path: string): boolean {
  return statOf(path) !== undefined;
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    // A directory on the way that may not be searched.
    if (error instanceof Error && "code" in error) return undefined;
    throw error;
  }
}

function allows(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error) return false;
    throw error;
  }
}

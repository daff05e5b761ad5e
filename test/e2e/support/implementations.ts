/**
 * The WireGuard devices that interop tests put side by side: ours, Debian's wireguard-go and the
 * newest one, which is built on first use. One that cannot be had comes with the reason.
 */
import { join } from "node:path";
import { run } from "./process.ts";
import type { Implementation } from "./wireguard.ts";

export const root = join(import.meta.dir, "../../..");

export const ours: Implementation = { name: "meshvpn", program: join(root, "bin/meshvpn-wg") };

export interface Missing {
  readonly name: string;
  readonly reason: string;
}

export interface Others {
  readonly present: readonly Implementation[];
  readonly missing: readonly Missing[];
}

const debianName = "wireguard-go debian";
const newestName = "wireguard-go newest";
/** Downloads and a build. */
const bringTimeoutMs = 300_000;

export async function others(): Promise<Others> {
  const present: Implementation[] = [];
  const missing: Missing[] = [];
  const debian = Bun.which("wireguard-go");
  if (debian === null) {
    missing.push({ name: debianName, reason: "it is not installed: apt-get install wireguard-go" });
  } else {
    present.push({ name: debianName, program: debian });
  }
  const brought = await run([join(root, "scripts/lib/wireguard-go")], {
    timeoutMs: bringTimeoutMs,
  });
  if (brought.code === 0) present.push({ name: newestName, program: brought.stdout.trim() });
  else
    missing.push({ name: newestName, reason: brought.stderr.trim() || "its build took too long" });
  return { present, missing };
}

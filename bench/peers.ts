/**
 * Who is measured: meshvpn and its variants, the tunnels of others, and no tunnel at all. A peer
 * brings what it needs on first use, or says why it cannot be here. Options of one variant are the
 * environment of its daemons, and stand here alone.
 */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { others, ours, root } from "../test/e2e/support/implementations.ts";
import { run } from "../test/e2e/support/process.ts";
import type { Implementation } from "../test/e2e/support/wireguard.ts";
import { cargoInstall, goInstall } from "./bring.ts";

export const reference = "wireguard-go";
export const plain = "meshvpn";
export const withoutCipher = "meshvpn-copy";
export const avx2 = "meshvpn-avx2";
export const best = "boringtun";

/** How its tunnel is set up. */
export type Tunnelled =
  | { readonly kind: "none" }
  | {
      readonly kind: "wireguard";
      readonly implementation: Implementation;
      readonly daemon: boolean;
    }
  | { readonly kind: "nebula"; readonly folder: string }
  /** Two members of a mesh, with a policy of so many rules. */
  | { readonly kind: "mesh"; readonly rules: number };

export interface Peer {
  readonly name: string;
  readonly version: string;
  readonly tunnelled: Tunnelled;
}

interface Candidate {
  readonly name: string;
  /** Throws the reason where the peer cannot be here. */
  bring(): Promise<Omit<Peer, "name">>;
}

/** In the order of the tables. */
const candidates: readonly Candidate[] = [
  { name: "veth", bring: async () => ({ version: "no tunnel", tunnelled: { kind: "none" } }) },
  variant(plain, {}),
  { name: withoutCipher, bring: cipherFree },
  variant("meshvpn-libsodium", { MESHVPN_AEAD: "libsodium" }),
  variant(avx2, { MESHVPN_AEAD: "avx2" }),
  { name: reference, bring: async () => await goImplementation("wireguard-go newest") },
  { name: "wireguard-go-debian", bring: async () => await goImplementation("wireguard-go debian") },
  cargo("boringtun", "boringtun-cli", "0.7.1", "boringtun-cli"),
  cargo("gotatun", "gotatun-cli", "0.10.2", "gotatun"),
  { name: "nebula", bring: nebula },
  { name: "kernel", bring: kernel },
];

export const peerNames: readonly string[] = candidates.map(({ name }) => name);

export interface Skipped {
  readonly name: string;
  readonly reason: string;
}

/** Brings the named ones, one after the other: builds are heavy. */
export async function bringPeers(
  names: ReadonlySet<string>,
): Promise<{ peers: Peer[]; skipped: Skipped[] }> {
  const peers: Peer[] = [];
  const skipped: Skipped[] = [];
  for (const { name, bring } of candidates.filter((candidate) => names.has(candidate.name))) {
    try {
      peers.push({ name, ...(await bring()) });
    } catch (error) {
      skipped.push({ name, reason: error instanceof Error ? error.message : String(error) });
    }
  }
  return { peers, skipped };
}

/** meshvpn with other settings than a user gets. */
function variant(name: string, env: Readonly<Record<string, string>>): Candidate {
  const bring = async (): Promise<Omit<Peer, "name">> => {
    for (const variable of Object.keys(env)) needKnown(variable);
    const implementation = { ...ours, name, env };
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const settings = Object.entries(env).map((pair) => pair.join("="));
    return {
      version: [version, ...settings].join(" "),
      tunnelled: { kind: "wireguard", implementation, daemon: true },
    };
  };
  return { name, bring };
}

/** The same build, but seal and open leave the text alone: what all but the cipher costs. */
async function cipherFree(): Promise<Omit<Peer, "name">> {
  const { ZIG, LIBSODIUM } = process.env;
  if (ZIG === undefined || LIBSODIUM === undefined) throw new Error("run it by scripts/bench");
  const built = Bun.spawnSync([ZIG, "build", "cipher-free", `-Dlibsodium=${LIBSODIUM}`], {
    cwd: root,
    stdout: "ignore",
    stderr: "pipe",
  });
  if (built.exitCode !== 0) throw new Error(`zig build cipher-free: ${built.stderr}`);
  const library = join(root, "zig-out/lib/libmeshvpn-cipher-free.so");
  return await variant(withoutCipher, { MESHVPN_LIBRARY: library }).bring();
}

/** A daemon that ignored the setting would be measured under the variant's name. */
function needKnown(variable: string): void {
  const library = process.env.MESHVPN_LIBRARY || join(root, "zig-out/lib/libmeshvpn.so");
  const known =
    (existsSync(library) && readFileSync(library).includes(variable)) ||
    [...new Bun.Glob("src/**/*.ts").scanSync(root)].some((path) =>
      readFileSync(join(root, path), "utf8").includes(variable),
    );
  if (!known) throw new Error(`this build knows no ${variable}`);
}

async function goImplementation(name: string): Promise<Omit<Peer, "name">> {
  const { present, missing } = await broughtOthers();
  const implementation = present.find((one) => one.name === name);
  if (implementation === undefined) {
    throw new Error(missing.find((one) => one.name === name)?.reason ?? "it is not known");
  }
  const { stdout } = await run([implementation.program, "--version"]);
  const brought = /wireguard-go-v(.*)$/.exec(implementation.program)?.[1];
  const version = brought ?? /^wireguard-go v?(\S+)/.exec(stdout)?.[1] ?? "unknown";
  return { version, tunnelled: { kind: "wireguard", implementation, daemon: true } };
}

let asked: ReturnType<typeof others> | undefined;

function broughtOthers(): ReturnType<typeof others> {
  asked ??= others();
  return asked;
}

function cargo(name: string, crate: string, version: string, binary: string): Candidate {
  const bring = async (): Promise<Omit<Peer, "name">> => {
    const program = await cargoInstall(crate, version, binary);
    // Both drop privileges that they need again when an interface is configured.
    const env = { WG_SUDO: "true", WG_LOG_LEVEL: "error" };
    const implementation = { name, program, env };
    return { version, tunnelled: { kind: "wireguard", implementation, daemon: true } };
  };
  return { name, bring };
}

async function nebula(): Promise<Omit<Peer, "name">> {
  const version = "1.11.1";
  const module = "github.com/slackhq/nebula/cmd";
  const commands = [`${module}/nebula`, `${module}/nebula-cert`];
  const folder = await goInstall("nebula", version, commands);
  return { version: `${version} (AES-256-GCM)`, tunnelled: { kind: "nebula", folder } };
}

async function kernel(): Promise<Omit<Peer, "name">> {
  const name = `mvk${process.pid}`;
  const made = await run(["ip", "link", "add", "name", name, "type", "wireguard"]);
  if (made.code !== 0) {
    throw new Error(`this kernel has no WireGuard (${made.stderr.trim().split("\n").at(-1)})`);
  }
  await run(["ip", "link", "delete", name]);
  const implementation = { name: "kernel", program: kernelProgram() };
  return { version: "kernel", tunnelled: { kind: "wireguard", implementation, daemon: false } };
}

/** The kernel's device under wireguard-go's calling convention, `PROGRAM -f IFNAME`. */
function kernelProgram(): string {
  const folder = mkdtempSync(join(tmpdir(), "meshvpn-bench-kernel-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "kernel-wireguard");
  const script = '#!/bin/sh\nip link add name "$2" type wireguard && exec sleep infinity\n';
  writeFileSync(path, script);
  chmodSync(path, 0o700);
  return path;
}

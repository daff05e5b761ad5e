/** What scripts/package makes for this machine, made once in a test run, and taken away at its end. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import manifest from "../../../package.json" with { type: "json" };
import { platformHere } from "../../../scripts/lib/package/platforms.ts";
import { root } from "./implementations.ts";
import { processExists, runOk } from "./process.ts";
import { Registry } from "./registry.ts";

export const packageScript = join(root, "scripts/package");
export const packingMsMax = 300_000;

export interface Packages {
  /** With the artefacts alone. */
  readonly out: string;
  readonly executable: string;
}

/** Test files are modules of their own in one process: the directory tells. */
const made = join(tmpdir(), `meshvpn-packages-${process.pid}`);

export async function packages(): Promise<Packages> {
  const out = join(made, "out");
  if (!existsSync(out)) {
    sweep();
    mkdirSync(made);
    process.once("exit", () => rmSync(made, { recursive: true, force: true }));
    await runOk([packageScript, "--here", "--out", out], { timeoutMs: packingMsMax });
  }
  const { arch, libc } = platformHere();
  return { out, executable: join(out, `meshvpn-${manifest.version}-linux-${arch}-${libc}`) };
}

/** What runs left that ended before they could take it away. */
function sweep(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = /^meshvpn-packages-(\d+)$/.exec(name)?.[1];
    if (pid !== undefined && !processExists(Number(pid))) {
      rmSync(join(tmpdir(), name), { recursive: true, force: true });
    }
  }
}

/** A registry with them and Bun, and a directory for what else the tests need. */
export async function published(): Promise<{ registry: Registry; directory: string } & Packages> {
  const packed = await packages();
  const directory = mkdtempSync(join(made, "t-"));
  return { ...packed, directory, registry: await Registry.open(packed.out, directory) };
}

/** `meshvpn debug bundle`: what somebody who helps wants to see, in one file, without a secret. */
import { existsSync, writeFileSync } from "node:fs";
import { arch, release } from "node:os";
import { defineCommand } from "citty";
import { MeshError } from "../base/errors.ts";
import { sayings, settingNames } from "../daemon/config.ts";
import type { LogLine } from "../daemon/log.ts";
import type { MeshStatus } from "../daemon/status.ts";
import { anonymise } from "./anonymise.ts";
import { askDaemon, askStatus, type Called } from "./ask.ts";
import { usageError } from "./errors.ts";
import { settingFlags, settingSources } from "./flags.ts";
import { version } from "./version.ts";

export const bundleSchema = 1;
const outputCharactersMax = 64 * 1024;

/** Of the system, where there are such programs. */
const looks: readonly (readonly string[])[] = [
  ["ip", "-brief", "address"],
  ["ip", "route"],
  ["ip", "-6", "route"],
  ["ip", "-details", "link"],
  ["ss", "-Huln"],
];

const bundle = defineCommand({
  meta: {
    name: "bundle",
    description:
      "Write status, counters, settings, log and network of this node to a file, without keys, for somebody who helps. " +
      "Example: meshvpn debug bundle --anonymise help.json",
  },
  args: {
    file: {
      type: "positional",
      required: false,
      valueHint: "FILE",
      description: "a new file (meshvpn-debug.json)",
    },
    anonymise: {
      type: "boolean",
      description: "the same stand-in for each name, identity and address, everywhere",
    },
    ...settingFlags(settingNames),
  },
  async run(called) {
    const path = typeof called.args.file === "string" ? called.args.file : "meshvpn-debug.json";
    if (existsSync(path)) throw usageError(`cannot write ${path}`, "it is there", "name another");
    const collected = await collect(called);
    const text = JSON.stringify(collected, null, 2);
    const names = namesIn(collected.status);
    const told = called.args.anonymise === true ? anonymise(text, names) : text;
    writeFileSync(path, `${told}\n`, { mode: 0o600, flag: "wx" });
    console.log(`written: ${path}; look through it before you give it away`);
  },
});

export default defineCommand({
  meta: {
    name: "debug",
    description: "Help others to help. Example: meshvpn debug bundle",
  },
  subCommands: { bundle },
});

interface Bundle {
  readonly schema: typeof bundleSchema;
  readonly status: MeshStatus | string;
  readonly [part: string]: unknown;
}

async function collect(called: Called): Promise<Bundle> {
  return {
    schema: bundleSchema,
    version,
    bun: Bun.version,
    system: { kernel: release(), arch: arch() },
    settings: Object.fromEntries(
      [...sayings(settingSources(settingNames, called.args, called.rawArgs), settingNames)].map(
        ([name, { texts, where }]) => [name, { texts, said_by: where ?? null }],
      ),
    ),
    status: await orWhy(() => askStatus(called, { counters: true, paths: true })),
    log: await orWhy(async () => (await askDaemon(called, { command: "logs" })) as LogLine[]),
    network: Object.fromEntries(looks.map((command) => [command.join(" "), look(command)])),
  };
}

/** A part that cannot be had is told of: that is what is looked for. */
async function orWhy<T>(get: () => Promise<T>): Promise<T | string> {
  try {
    return await get();
  } catch (error) {
    if (error instanceof MeshError) return error.sentence();
    throw error;
  }
}

function look([program = "", ...args]: readonly string[]): string {
  if (Bun.which(program) === null) return `there is no ${program}`;
  const { stdout, stderr } = Bun.spawnSync([program, ...args]);
  return `${stdout}${stderr}`.slice(0, outputCharactersMax);
}

function namesIn(status: MeshStatus | string): readonly string[] {
  if (typeof status === "string") return [];
  const all = status.members.flatMap(({ name, given_name: given }) => [name, given]);
  return [status.name, status.network, ...all].filter((name) => name !== "");
}

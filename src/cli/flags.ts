/**
 * The settings of `daemon/config.ts` as flags of a command: their definitions for the help, and what
 * was given. A flag that may be repeated is read from the command line itself, for the parser keeps
 * only the last.
 */
import { hostname } from "node:os";
import { resolve } from "node:path";
import type { ArgsDef } from "citty";
import { flagName, settings } from "../daemon/config.ts";
import { configPathDefault } from "../daemon/config-file.ts";
import type { ConfigSources, Said, SettingName } from "../daemon/setting.ts";

/** Flags of the settings, and --config. */
export function settingFlags(names: readonly SettingName[]): ArgsDef {
  const out: ArgsDef = {};
  for (const name of names) {
    const { hint, describe, fallback } = settings[name];
    const initially = fallback.length === 0 || fallback[0] === "" ? "" : ` (${fallback[0]})`;
    out[flagName(name)] =
      hint === undefined
        ? {
            type: "boolean",
            description: describe,
            negativeDescription: `turn --${flagName(name)} off`,
          }
        : { type: "string", valueHint: hint, description: describe + initially };
  }
  out.config = {
    type: "string",
    valueHint: "FILE",
    description: `the configuration (${configPathDefault}, where there is one)`,
  };
  return out;
}

/** What the command line and the environment say, for `readSettings`. */
export function settingSources(
  names: readonly SettingName[],
  args: Readonly<Record<string, unknown>>,
  rawArgs: readonly string[],
): ConfigSources {
  const flags: Said = {};
  for (const name of names) {
    const value = args[flagName(name)];
    if (settings[name].many) {
      const given = repeated(rawArgs, `--${flagName(name)}`);
      if (given.length > 0) flags[name] = given;
    } else if (typeof value === "string" && settings[name].hint === "PATH" && value !== "") {
      // On the command line a path may be relative; in a file or a unit it would be a surprise.
      flags[name] = resolve(value);
    } else if (typeof value === "string" || typeof value === "boolean") flags[name] = value;
  }
  const file = typeof args.config === "string" ? args.config : undefined;
  return { flags, environment: process.env, file, hostname: hostname() };
}

/** Values of `--flag VALUE` and `--flag=VALUE`, in order. */
function repeated(rawArgs: readonly string[], flag: string): readonly string[] {
  const out: string[] = [];
  for (const [at, argument] of rawArgs.entries()) {
    if (argument === "--") break;
    const value = rawArgs[at + 1];
    if (argument === flag && value !== undefined) out.push(value);
    if (argument.startsWith(`${flag}=`)) out.push(argument.slice(flag.length + 1));
  }
  return out;
}

/** `meshvpn config show|check|path`: what holds, who says so, and whether a file is right. */
import { existsSync } from "node:fs";
import { defineCommand } from "citty";
import { readConfig, sayings, settingNames } from "../daemon/config.ts";
import { configPath } from "../daemon/config-file.ts";
import type { SettingName } from "../daemon/setting.ts";
import { settingFlags, settingSources } from "./flags.ts";
import { printRows } from "./print.ts";

export const configSchema = 1;

const show = defineCommand({
  meta: {
    name: "show",
    description:
      "Print every setting, its value and who says it: a flag, a variable, a line of the file, or nobody. " +
      "Example: meshvpn config show --port 51821",
  },
  args: {
    json: { type: "boolean", description: "print JSON" },
    ...settingFlags(settingNames),
  },
  run({ args, rawArgs }) {
    const sources = settingSources(settingNames, args, rawArgs);
    // What cannot be used is no setting: up would refuse it in the same words.
    readConfig(sources);
    const settings = [...sayings(sources, settingNames)].map(([name, { texts, where }]) => ({
      name,
      values: texts.filter((text) => text !== ""),
      said_by: where ?? null,
    }));
    if (args.json === true) {
      const { path } = configPath(sources);
      console.log(JSON.stringify({ schema: configSchema, path, settings }));
      return;
    }
    const rows = settings.map(({ name, values, said_by: by }) => [
      name,
      values.length === 0 ? "-" : values.join(","),
      by ?? "default",
    ]);
    process.stdout.write(printRows(["SETTING", "VALUE", "SAID BY"], rows));
  },
});

const check = defineCommand({
  meta: {
    name: "check",
    description:
      "Say whether the configuration can be used; if not, in which line it is wrong. " +
      "Example: meshvpn config check /etc/meshvpn/config.toml",
  },
  args: {
    file: {
      type: "positional",
      required: false,
      valueHint: "FILE",
      description: "another file than the one that up would read",
    },
    ...settingFlags(settingNames),
  },
  run({ args, rawArgs }) {
    const sources = settingSources(settingNames, args, rawArgs);
    const checked = args.file === undefined ? sources : { ...sources, file: args.file };
    readConfig(checked);
    const { path } = configPath(checked);
    console.log(existsSync(path) ? `ok: ${path}` : `ok: there is no ${path}, the defaults hold`);
  },
});

const path = defineCommand({
  meta: {
    name: "path",
    description: "Print which file up would read. Example: $EDITOR $(meshvpn config path)",
  },
  args: settingFlags([] as SettingName[]),
  run({ args, rawArgs }) {
    console.log(configPath(settingSources([], args, rawArgs)).path);
  },
});

export default defineCommand({
  meta: {
    name: "config",
    description: "Look at the configuration. Example: meshvpn config show",
  },
  subCommands: { show, check, path },
});

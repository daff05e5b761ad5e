/** `meshvpn man`: the man page, from the commands' own definitions. */
import { defineCommand } from "citty";
import { settingNames, settings } from "../daemon/config.ts";
import { type Command, type Commands, commandTree, flatten } from "./command-tree.ts";
import { version } from "./version.ts";

export const man = (commands: Commands): object =>
  defineCommand({
    meta: {
      name: "man",
      description: "Print the man page. Example: meshvpn man | man -l -",
    },
    async run() {
      process.stdout.write(manPage(flatten(await commandTree(commands))));
    },
  });

const exitCodes: readonly (readonly [string, string])[] = [
  ["0", "it did what was asked"],
  ["1", "an error, named in one line: what, why, what to do"],
  ["2", "wrong usage or configuration"],
  ["3", "the daemon is not running"],
  ["4", "it runs and is not healthy"],
  ["5", "permission denied"],
];

export function manPage(commands: readonly Command[]): string {
  const lines = [
    `.TH MESHVPN 8 "" "meshvpn ${version}" "System administration"`,
    ".SH NAME",
    "meshvpn \\- a serverless mesh VPN",
    ".SH SYNOPSIS",
    ".B meshvpn",
    ".I COMMAND",
    "[\\fIARGUMENTS\\fR]",
    ".SH COMMANDS",
    ...commands.filter(({ children }) => children.length === 0).flatMap(commandLines),
    ".SH CONFIGURATION",
    text(
      "Flags come before MESHVPN_* variables, and those before /etc/meshvpn/config.toml. The file has one line a setting:",
    ),
    ...settingNames.flatMap((name) => {
      const { describe, expects, fallback } = settings[name];
      const initially = fallback[0] === undefined || fallback[0] === "" ? "" : `; ${fallback[0]}`;
      return [".TP", `.B ${roff(name)}`, text(`${describe} (${expects}${initially})`)];
    }),
    ".SH EXIT STATUS",
    ...exitCodes.flatMap(([code, meaning]) => [".TP", `.B ${code}`, text(meaning)]),
    ".SH SEE ALSO",
    ".BR wg (8),",
    ".BR systemd.service (5)",
  ];
  return `${lines.join("\n")}\n`;
}

function commandLines(command: Command): readonly string[] {
  const positional = command.positionals.map(({ hint, required }) =>
    required ? ` \\fI${roff(hint)}\\fR` : ` [\\fI${roff(hint)}\\fR]`,
  );
  const flags = command.flags.flatMap(({ flag, hint, description }) => [
    ".TP",
    `\\fB${roff(flag)}\\fR${hint === undefined ? "" : ` \\fI${roff(hint)}\\fR`}`,
    text(description),
  ]);
  return [
    `.SS "${roff(command.path.join(" "))}${positional.join("")}"`,
    text(command.description),
    ".PP",
    ".EX",
    text(command.example),
    ".EE",
    ...flags,
  ];
}

/** A line of running text: it must not begin as a request does. */
function text(words: string): string {
  return roff(words).replace(/^([.'])/, "\\&$1");
}

function roff(words: string): string {
  return words.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll('"', "\\(dq");
}

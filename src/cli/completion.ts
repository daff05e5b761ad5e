/** `meshvpn completion bash|zsh|fish`: what a shell completes, from the commands' own definitions. */
import { defineCommand } from "citty";
import { type Command, type Commands, commandTree, flatten } from "./command-tree.ts";
import { usageError } from "./errors.ts";

const shells = { bash, zsh, fish } as const;

export const completion = (commands: Commands): object =>
  defineCommand({
    meta: {
      name: "completion",
      description:
        "Print a completion script for a shell. Example: meshvpn completion bash > /etc/bash_completion.d/meshvpn",
    },
    args: {
      shell: {
        type: "positional",
        required: true,
        valueHint: "bash|zsh|fish",
        description: "which shell",
      },
    },
    async run({ args }) {
      if (!Object.hasOwn(shells, args.shell)) {
        const known = Object.keys(shells).join(", ");
        throw usageError(
          `no completion for ${args.shell}`,
          `known are ${known}`,
          "name one of them",
        );
      }
      process.stdout.write(shells[args.shell as keyof typeof shells](await commandTree(commands)));
    },
  });

/** What may follow a command's words: further words and flags. */
function wordsAfter(command: Command): string {
  const words = command.children.map(({ path }) => path.at(-1) as string);
  const positional = command.positionals.flatMap(({ hint }) => choices(hint));
  return [...words, ...positional, ...command.flags.map(({ flag }) => flag), "--help"].join(" ");
}

/** `bash|zsh|fish` are words; `FILE` and `KEY|FILE|-` are not. */
function choices(hint: string): readonly string[] {
  const parts = hint.split("|");
  return parts.length > 1 && parts.every((part) => /^[a-z0-9]+$/.test(part)) ? parts : [];
}

function takesMember({ positionals }: Command): boolean {
  return positionals.some(({ hint }) => hint === "PEER");
}

/** Name of a flag to what its value is: words, or a file. */
function flagValues(tree: readonly Command[]): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const { flags } of flatten(tree)) {
    for (const { flag, hint } of flags) {
      if (hint !== undefined) values.set(flag, choices(hint).join(" "));
    }
  }
  return values;
}

function bash(tree: readonly Command[]): string {
  const cases = flatten(tree).map(
    (command) => `    "${command.path.join(" ")}") words="${wordsAfter(command)}" ;;`,
  );
  const members = flatten(tree).filter(takesMember);
  const values = [...flagValues(tree)].map(([flag, words]) =>
    words === ""
      ? `    ${flag}) compopt -o default 2>/dev/null; COMPREPLY=(); return ;;`
      : `    ${flag}) mapfile -t COMPREPLY < <(compgen -W "${words}" -- "$current"); return ;;`,
  );
  return `# meshvpn completion for bash
_meshvpn() {
  local current previous words path word
  current="\${COMP_WORDS[COMP_CWORD]}"
  previous="\${COMP_WORDS[COMP_CWORD-1]}"
  case "$previous" in
${values.join("\n")}
  esac
  path=""
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in -*) continue ;; esac
    case "$path $word" in
${flatten(tree)
  .map(({ path }) => `      "${[path.slice(0, -1).join(" "), path.at(-1)].join(" ")}") ;;`)
  .join("\n")}
      *) break ;;
    esac
    path="\${path:+$path }$word"
  done
  case "$path" in
    "") words="${tree.map(({ path }) => path[0]).join(" ")} --help --version" ;;
${cases.join("\n")}
    *) words="" ;;
  esac
  case "$path" in
    ${members.map(({ path }) => `"${path.join(" ")}"`).join(" | ")}) words="$words $(meshvpn peers 2>/dev/null | cut -f1)" ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  [ \${#COMPREPLY[@]} -gt 0 ] || compopt -o default 2>/dev/null
}
complete -F _meshvpn meshvpn
`;
}

function zsh(tree: readonly Command[]): string {
  const quote = (text: string): string => text.replace(/[\\'":[\]]/g, " ").replaceAll("$", " ");
  const specs = (command: Command): string => {
    const flags = command.flags.map(({ flag, hint, description }) => {
      const value = hint === undefined ? "" : `=:${quote(hint)}:${valueAction(hint)}`;
      return `'*${flag}${hint === undefined ? "" : value.slice(0, 1)}[${quote(description)}]${value.slice(1)}'`;
    });
    const positional = command.positionals.map(({ hint }) => {
      const words = choices(hint);
      if (hint === "PEER") return `'*:member:($(meshvpn peers 2>/dev/null | cut -f1))'`;
      return words.length === 0 ? "'*:file:_files'" : `'1:word:(${words.join(" ")})'`;
    });
    return [...flags, ...positional, "'--help[what it does]'"].join(" ");
  };
  const level = (name: string, list: readonly Command[]): string => {
    const described = list.map(
      ({ path, description }) => `'${path.at(-1)}:${quote(description).slice(0, 80)}'`,
    );
    return `  local -a ${name}\n  ${name}=(${described.join(" ")})\n  _describe command ${name}`;
  };
  const cases = flatten(tree).map((command) => {
    const words = command.path.join(" ");
    const body =
      command.children.length > 0
        ? level("subcommands", command.children)
        : `  _arguments ${specs(command)}`;
    return `    "${words}")\n${body}\n      ;;`;
  });
  return `#compdef meshvpn
# meshvpn completion for zsh
_meshvpn() {
  if (( CURRENT == 2 )); then
${level("topcommands", tree)}
    return
  fi
  local path_words="\${words[2]}"
  if (( CURRENT > 3 )); then
    case "\${words[2]}" in
      ${tree
        .filter(({ children }) => children.length > 0)
        .map(({ path }) => path[0])
        .join("|")}) path_words="\${words[2]} \${words[3]}" ;;
    esac
  fi
  case "$path_words" in
${cases.join("\n")}
  esac
}
compdef _meshvpn meshvpn
`;
}

function valueAction(hint: string): string {
  const words = choices(hint);
  if (words.length > 0) return `(${words.join(" ")})`;
  return hint === "PATH" || hint === "FILE" ? "_files" : " ";
}

function fish(tree: readonly Command[]): string {
  const quote = (text: string): string =>
    `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const top = tree.map(({ path }) => path[0]).join(" ");
  const lines = tree.map(
    ({ path, description }) =>
      `complete -c meshvpn -n 'not __fish_seen_subcommand_from ${top}' -a ${path[0]} -d ${quote(description)}`,
  );
  for (const command of flatten(tree)) {
    const seen = command.path.map((word) => `__fish_seen_subcommand_from ${word}`).join("; and ");
    for (const { path, description } of command.children) {
      lines.push(`complete -c meshvpn -n '${seen}' -a ${path.at(-1)} -d ${quote(description)}`);
    }
    for (const { flag, hint, description } of command.flags) {
      const words = hint === undefined ? [] : choices(hint);
      const value =
        hint === undefined ? "" : words.length > 0 ? ` -x -a '${words.join(" ")}'` : " -r";
      lines.push(
        `complete -c meshvpn -n '${seen}' -l ${flag.slice(2)}${value} -d ${quote(description)}`,
      );
    }
    for (const { hint } of command.positionals) {
      const words = choices(hint);
      if (words.length > 0) lines.push(`complete -c meshvpn -n '${seen}' -a '${words.join(" ")}'`);
      if (hint === "PEER") {
        lines.push(`complete -c meshvpn -n '${seen}' -a '(meshvpn peers 2>/dev/null | cut -f1)'`);
      }
    }
  }
  return `# meshvpn completion for fish\ncomplete -c meshvpn -f\n${lines.join("\n")}\n`;
}

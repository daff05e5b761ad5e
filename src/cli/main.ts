/**
 * The command line: finds the command, checks its arguments, runs it, and turns what it returns or
 * throws into an exit code.
 */
import { type CommandDef, renderUsage, runCommand } from "citty";
import type { MeshError } from "../base/errors.ts";
import { nearest } from "../base/nearest.ts";
import { checkArguments, resolve } from "./arguments.ts";
import { commandOf, type Load } from "./command-tree.ts";
import { commands } from "./commands.ts";
import { failureOf, printFailure, usageError } from "./errors.ts";

const root: CommandDef = {
  meta: { name: "meshvpn", description: "A serverless mesh VPN" },
  subCommands: Object.fromEntries(
    Object.entries(commands).map(([name, load]) => [name, () => commandOf(load)]),
  ),
};

async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === "meshvpn-wg") {
    const { wireguardMain } = await import("./wg.ts");
    return await wireguardMain(rest);
  }
  if (name === "help" && rest.length > 0) return await main([...rest, "--help"]);
  if (name === undefined || name === "help" || name === "--help" || name === "-h") {
    await printUsage(root);
    return name === undefined ? 2 : 0;
  }
  if (name === "--version" || name === "-v")
    return await run(["version"], commands.version as Load, []);
  const load = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (load !== undefined) return await run([name], load, rest);
  const near = nearest(name, Object.keys(commands));
  const why = near === undefined ? "there is no such command" : `did you mean ${near}?`;
  const kind = name.startsWith("-") ? "flag" : "command";
  throw usageError(`unknown ${kind} ${name}`, why, "see meshvpn --help");
}

async function run(words: readonly string[], load: Load, args: readonly string[]): Promise<number> {
  let command = await commandOf(load);
  let called = words;
  let rest = [...args];
  // A command of commands, such as `config show`.
  for (;;) {
    const subCommands = await resolve(command.subCommands ?? {});
    const inner = rest[0];
    const names = Object.keys(subCommands);
    if (names.length === 0 || inner?.startsWith("-") === true) break;
    // Some mean one of their words where none is said.
    if (inner === undefined && command.run !== undefined) break;
    if (inner === undefined || !Object.hasOwn(subCommands, inner)) {
      throw noSuchWord(called, inner, names);
    }
    command = (await resolve(subCommands[inner])) as CommandDef;
    called = [...called, inner];
    rest = rest.slice(1);
  }
  // By all its words, in the help and in errors.
  command = { ...command, meta: { ...(await resolve(command.meta)), name: called.join(" ") } };
  const flags = rest.includes("--") ? rest.slice(0, rest.indexOf("--")) : rest;
  if (flags.includes("--help") || flags.includes("-h")) {
    await printUsage(command, root);
    const { variables } = await load();
    if (variables !== undefined) console.log(variables);
    return 0;
  }
  await checkArguments(command, rest);
  const { result } = await runCommand(command, { rawArgs: rest });
  return typeof result === "number" ? result : 0;
}

/** Behind the words that were understood. */
function noSuchWord(
  words: readonly string[],
  inner: string | undefined,
  names: readonly string[],
): MeshError {
  const called = words.join(" ");
  const see = `see meshvpn ${called} --help`;
  const known = `one of ${names.join(", ")}`;
  if (inner === undefined) return usageError(`${called} needs another word`, known, see);
  const near = nearest(inner, names);
  const why = near === undefined ? `it is ${known}` : `did you mean ${called} ${near}?`;
  return usageError(`unknown command ${called} ${inner}`, why, see);
}

/** Not padded to its longest line; colour only where a terminal shows it and NO_COLOR does not forbid it. */
async function printUsage(command: CommandDef, parent?: CommandDef): Promise<void> {
  const text = (await renderUsage(command, parent)).replaceAll(/ +$/gm, "");
  const colour = process.stdout.isTTY === true && !process.env.NO_COLOR;
  console.log(colour ? text : Bun.stripANSI(text));
}

/** A reader that leaves early, such as `head`, is no error. */
function leaveQuietly(error: Error & { code?: string }): void {
  if (error.code !== "EPIPE") throw error;
  process.exit();
}

process.stdout.on("error", leaveQuietly);
process.stderr.on("error", leaveQuietly);

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const { exitCode, text } =
    error instanceof Error && "exitCode" in error && "text" in error
      ? (error as Error & { exitCode: number; text: string })
      : failureOf(error);
  printFailure(text);
  process.exitCode = exitCode;
}
// Not before what was printed is out; a pipe may be slow.
process.stdout.end(() => process.exit());

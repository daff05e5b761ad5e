/**
 * What the command line holds against what a command takes. Strict where the parser is lenient: an
 * unknown flag, a flag without its value or one argument too many is an error, never ignored.
 */
import type { ArgsDef, CommandDef } from "citty";
import { nearest } from "../base/nearest.ts";
import { usageError } from "./errors.ts";

type Resolvable<T> = T | Promise<T> | (() => T) | (() => Promise<T>);

export async function resolve<T>(value: Resolvable<T>): Promise<T> {
  return typeof value === "function" ? await (value as () => T | Promise<T>)() : await value;
}

/**
 * @throws MeshError usage. Whatever the parser would refuse is refused here before, in words that say
 * what it is for. A positional whose valueHint ends in `...` takes any number.
 */
export async function checkArguments(command: CommandDef, args: readonly string[]): Promise<void> {
  const definitions = await resolve<ArgsDef>(command.args ?? {});
  const meta = await resolve(command.meta ?? {});
  const see = `see meshvpn ${meta.name ?? ""} --help`;
  const flags = flagsOf(definitions);
  const positionals = Object.entries(definitions).filter(([, { type }]) => type === "positional");
  const most = positionals.some(([, { valueHint }]) => valueHint?.endsWith("...") === true)
    ? Number.POSITIVE_INFINITY
    : positionals.length;
  let places = 0;
  for (let at = 0; at < args.length; at += 1) {
    const argument = args[at] as string;
    if (argument === "--") {
      places += args.length - at - 1;
      break;
    }
    if (!argument.startsWith("-") || argument === "-") {
      places += 1;
      continue;
    }
    const { known, takesValue, missing } = lookUp(argument, args[at + 1], flags);
    if (!known) throw usageError(`unknown flag ${argument}`, suggestion(argument, flags), see);
    if (missing) throw usageError(`${argument} needs a value`, "none follows it", see);
    if (takesValue) at += 1;
  }
  if (places > most) throw usageError("too many arguments", `got ${args.join(" ")}`, see);
  for (const [
    name,
    { valueHint = name.toUpperCase(), required, description = "" },
  ] of positionals.slice(places)) {
    if (required !== false) throw usageError(`${valueHint} is missing`, description, see);
  }
}

type Flags = Map<string, "boolean" | "value">;

/** `--name` and `-n` to what they take. */
function flagsOf(definitions: ArgsDef): Flags {
  const flags: Flags = new Map();
  for (const [name, definition] of Object.entries(definitions)) {
    if (definition.type === "positional") continue;
    const takes = definition.type === "boolean" ? "boolean" : "value";
    const alias = "alias" in definition ? (definition.alias ?? []) : [];
    for (const each of [name, ...(Array.isArray(alias) ? alias : [alias])]) {
      flags.set(each.length === 1 ? `-${each}` : `--${each}`, takes);
    }
    if (takes === "boolean") flags.set(`--no-${name}`, takes);
  }
  return flags;
}

function lookUp(
  argument: string,
  next: string | undefined,
  flags: Flags,
): { known: boolean; takesValue: boolean; missing: boolean } {
  const equals = argument.indexOf("=");
  const takes = flags.get(equals < 0 ? argument : argument.slice(0, equals));
  const takesValue = takes === "value" && equals < 0;
  const known = takes !== undefined && !(takes === "boolean" && equals >= 0);
  return { known, takesValue, missing: takesValue && next === undefined };
}

function suggestion(argument: string, flags: Flags): string {
  const name = argument.split("=", 1)[0] as string;
  const near = nearest(name, [...flags.keys()]);
  return near === undefined ? "this command has no such flag" : `did you mean ${near}?`;
}

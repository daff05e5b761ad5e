/** Every command with its flags and its example, read from the commands themselves: what the help, the
 * man page and the completions all say. */
import type { ArgsDef, CommandDef } from "citty";
import { resolve } from "./arguments.ts";

/** A command's file exports a citty command, each with arguments of its own type. */
export type Load = () => Promise<{
  readonly default: object;
  /** Lines on the variables that it reads beside the settings', for the end of its help. */
  readonly variables?: string;
}>;
/** By name, in the order of the help. */
export type Commands = Readonly<Record<string, Load>>;

export interface Flag {
  /** With its dashes. */
  readonly flag: string;
  /** undefined: a switch. */
  readonly hint: string | undefined;
  readonly description: string;
}

export interface Command {
  /** `["config", "show"]`. */
  readonly path: readonly string[];
  readonly description: string;
  readonly example: string;
  readonly positionals: readonly {
    readonly hint: string;
    readonly required: boolean;
    readonly description: string;
  }[];
  readonly flags: readonly Flag[];
  readonly children: readonly Command[];
}

export async function commandOf(load: Load): Promise<CommandDef> {
  return (await load()).default as CommandDef;
}

export async function commandTree(commands: Commands): Promise<readonly Command[]> {
  return await Promise.all(
    Object.entries(commands).map(
      async ([name, load]) => await describe([name], await commandOf(load)),
    ),
  );
}

/** The commands and theirs, in order. */
export function flatten(tree: readonly Command[]): readonly Command[] {
  return tree.flatMap((command) => [command, ...flatten(command.children)]);
}

async function describe(path: readonly string[], command: CommandDef): Promise<Command> {
  const meta = await resolve(command.meta ?? {});
  const args = Object.entries(await resolve<ArgsDef>(command.args ?? {}));
  const children = Object.entries(await resolve(command.subCommands ?? {}));
  const [description = "", example = ""] = (meta.description ?? "").split(" Example: ");
  return {
    path,
    description,
    example,
    positionals: args.flatMap(([name, definition]) =>
      definition.type === "positional"
        ? [
            {
              hint: definition.valueHint ?? name.toUpperCase(),
              required: definition.required !== false,
              description: definition.description ?? "",
            },
          ]
        : [],
    ),
    flags: args.flatMap(([name, definition]) => flagsOf(name, definition)),
    children: await Promise.all(
      children.map(async ([name, child]) => await describe([...path, name], await resolve(child))),
    ),
  };
}

function flagsOf(name: string, definition: ArgsDef[string]): readonly Flag[] {
  const { type, description = "" } = definition;
  if (type === "positional") return [];
  if (type !== "boolean") {
    return [{ flag: `--${name}`, hint: definition.valueHint ?? "VALUE", description }];
  }
  const negative = "negativeDescription" in definition ? definition.negativeDescription : undefined;
  const flag: Flag = { flag: `--${name}`, hint: undefined, description };
  if (typeof negative !== "string") return [flag];
  return [flag, { flag: `--no-${name}`, hint: undefined, description: negative }];
}

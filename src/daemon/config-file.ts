/**
 * The configuration file: TOML, or JSON where its name ends so. Owns its form, and in which line what
 * stands, so that whatever is wrong in it can be found; what values mean is config.ts'.
 */
import { existsSync, readFileSync, statSync } from "node:fs";
import { parse as parseToml, TomlError } from "smol-toml";
import { MeshError } from "../base/errors.ts";
import { nearest } from "../base/nearest.ts";
import type { ConfigSources, Said, Setting, SettingName } from "./setting.ts";

/** The table of config.ts, as far as a file needs it. */
type Settings = Readonly<Record<SettingName, Pick<Setting<unknown>, "hint" | "many" | "expects">>>;

export const configPathDefault = "/etc/meshvpn/config.toml";
const configBytesMax = 1024 * 1024;

export interface ConfigFile {
  readonly path: string;
  readonly said: Said;
  /** `PATH:LINE` of a key. */
  place(key: string): string;
}

/** The file that is meant, whether it is there or not, and whether somebody named it. */
export function configPath({ file, environment }: ConfigSources): { path: string; named: boolean } {
  const variable = environment.MESHVPN_CONFIG;
  const path = file ?? (variable === "" ? undefined : variable);
  return { path: path ?? configPathDefault, named: path !== undefined };
}

/**
 * undefined where nobody named one and there is none. MeshError `usage` for what is wrong in it, unless
 * `sources.mistake` hears of that: then for what is wrong about the settings in `names` alone.
 */
export function readConfigFile(
  sources: ConfigSources,
  settings: Settings,
  names: readonly SettingName[],
): ConfigFile | undefined {
  const { path, named } = configPath(sources);
  if (!named && !existsSync(path)) return undefined;
  try {
    const content = readText(path);
    const place = (key: string): string => placeOf(path, content, key);
    const refuse = (key: string, error: MeshError): void => {
      const isAsked = (names as readonly string[]).includes(key);
      if (isAsked || sources.mistake === undefined) throw error;
      sources.mistake(error);
    };
    return { path, said: checkFile(parseFile(path, content), settings, place, refuse), place };
  } catch (error) {
    // In a file that somebody named, another daemon's socket may stand: the default is no answer.
    const isBorne = error instanceof UnreadableFile && sources.mistake !== undefined && !named;
    if (!isBorne) throw error;
    sources.mistake(error);
    return undefined;
  }
}

/** The file as a whole is of no use. */
class UnreadableFile extends MeshError {}

function readText(path: string): string {
  try {
    const { size } = statSync(path);
    if (size > configBytesMax) {
      throw invalidFile(path, `it has ${size} bytes and the limit is ${configBytesMax}`);
    }
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof MeshError) throw error;
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    const [why, remedy] =
      code === "ENOENT"
        ? ["there is no such file", "correct --config or MESHVPN_CONFIG"]
        : code === "EACCES"
          ? ["permission denied", "run as root or as the file's owner"]
          : [`the system refused (${code})`, "check the path"];
    const kind = code === "EACCES" ? "permission_denied" : "usage";
    throw new MeshError(kind, `cannot read the configuration ${path}`, why, remedy);
  }
}

function parseFile(path: string, content: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = path.endsWith(".json") ? JSON.parse(content) : parseToml(content);
  } catch (error) {
    if (error instanceof TomlError) {
      const why = (error.message.split("\n", 1)[0] as string).replace(
        /^Invalid TOML document: /,
        "",
      );
      throw unreadable(`${path}:${error.line}`, `it is no TOML: ${why}`);
    }
    const why = error instanceof Error ? error.message : String(error);
    // The parser quotes the file, whatever stands there: a line's end, or what moves a terminal.
    throw unreadable(path, why.replace(/\p{Cc}+/gu, "?"));
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw unreadable(path, "it does not hold names and values");
  }
  return parsed as Record<string, unknown>;
}

function unreadable(place: string, why: string): UnreadableFile {
  return new UnreadableFile("usage", `cannot use the configuration ${place}`, why, "correct it");
}

function invalidFile(place: string, why: string): MeshError {
  return new MeshError("usage", `cannot use the configuration ${place}`, why, "correct it");
}

/** Every key known, every value of its kind, or `refuse`; what the values mean is for others. */
function checkFile(
  values: Record<string, unknown>,
  settings: Settings,
  place: (key: string) => string,
  refuse: (key: string, error: MeshError) => void,
): Said {
  const said: Said = {};
  for (const [key, value] of Object.entries(values)) {
    if (!Object.hasOwn(settings, key)) {
      refuse(key, unknownKey(place(key), key, value, Object.keys(settings)));
      continue;
    }
    const setting = settings[key as SettingName];
    const kindIsRight =
      setting.hint === undefined
        ? typeof value === "boolean"
        : typeof value === "string" || typeof value === "number" || isTexts(value);
    if (!kindIsRight || (isTexts(value) && !setting.many)) {
      refuse(key, invalidFile(place(key), `${key} must be ${kindOf(setting)}`));
      continue;
    }
    said[key as SettingName] = isTexts(value)
      ? value
      : typeof value === "boolean"
        ? value
        : String(value);
  }
  return said;
}

function unknownKey(
  place: string,
  key: string,
  value: unknown,
  known: readonly string[],
): MeshError {
  const near = nearest(key, known);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return new MeshError(
      "usage",
      `cannot use the configuration ${place}`,
      `it has the table ${JSON.stringify(key)}, and a configuration has no tables`,
      "give every setting a line of its own; meshvpn config show names them",
    );
  }
  return new MeshError(
    "usage",
    `cannot use the configuration ${place}`,
    `it has the unknown key ${JSON.stringify(key)}`,
    near === undefined ? `known are ${known.join(", ")}` : `did you mean ${near}?`,
  );
}

/** The first line that begins with the key; what a parser has accepted has one, or nearly always. */
function placeOf(path: string, content: string, key: string): string {
  const quoted = RegExp.escape(key);
  const begins = path.endsWith(".json")
    ? new RegExp(`"${quoted}"\\s*:`)
    : new RegExp(`^\\s*\\[*\\s*["']?${quoted}["']?\\s*[\\].=]`);
  const at = content.split("\n").findIndex((line) => begins.test(line));
  return at < 0 ? path : `${path}:${at + 1}`;
}

function kindOf({ hint, many, expects }: Settings[SettingName]): string {
  if (hint === undefined) return "true or false";
  return many ? "a list of strings" : expects;
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

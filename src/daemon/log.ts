/**
 * What a daemon says while it runs: lines on stderr, by level. LOG_LEVEL is read as wireguard-go
 * reads it: silent, error (also warnings; the default), verbose, debug. As text, or as JSON with the
 * fields `time`, `level`, `scope` and `message`, which stay. Never holds a secret, and a reader that
 * has gone does not end the daemon.
 */
import { writeSync } from "node:fs";

const levels = { silent: 0, error: 1, verbose: 2, debug: 3 } as const;
export type LogLevel = keyof typeof levels;

export const logFormats = ["text", "json"] as const;
export type LogFormat = (typeof logFormats)[number];

/** What LOG_LEVEL may be, for those who refuse anything else. */
export const logLevelWords = ["silent", "error", "verbose", "info", "debug"] as const;

export function logLevel(text: string | undefined): LogLevel {
  const named = text === "info" ? "verbose" : (text ?? "");
  return Object.hasOwn(levels, named) ? (named as LogLevel) : "error";
}

/** For `meshvpn logs`. */
const linesKept = 500;
const messageCharactersMax = 8_192;

export interface LogLine {
  /** Counts from 1, without a gap. */
  readonly number: number;
  readonly time: string;
  readonly level: string;
  readonly scope: string;
  readonly message: string;
}

export class Log {
  #level: LogLevel;
  readonly #scope: string;
  #format: LogFormat;
  readonly #kept: LogLine[] = [];
  #count = 0;

  /** `scope`: what the lines are about, an interface's name. */
  constructor(level: LogLevel, scope: string, format: LogFormat = "text") {
    this.#level = level;
    this.#scope = scope;
    this.#format = format;
  }

  get level(): LogLevel {
    return this.#level;
  }

  /** From the next line on. */
  configure(level: LogLevel, format: LogFormat): void {
    this.#level = level;
    this.#format = format;
  }

  error(text: string): void {
    this.#line("error", "error", text);
  }

  warning(text: string): void {
    this.#line("error", "warning", text);
  }

  verbose(text: string): void {
    this.#line("verbose", "info", text);
  }

  /** What somebody asked for, whatever the level. */
  asked(text: string): void {
    this.#line("silent", "info", text);
  }

  debug(text: string): void {
    this.#line("debug", "debug", text);
  }

  /** The last lines, the oldest first, from the one after `after`. */
  lines(after = 0): readonly LogLine[] {
    return this.#kept.filter(({ number }) => number > after);
  }

  #line(level: LogLevel, word: string, text: string): void {
    if (levels[level] > levels[this.#level]) return;
    this.#count += 1;
    const line: LogLine = {
      number: this.#count,
      time: new Date().toISOString(),
      level: word,
      scope: this.#scope,
      message: text.replaceAll("\n", " ").slice(0, messageCharactersMax),
    };
    this.#kept.push(line);
    if (this.#kept.length > linesKept) this.#kept.shift();
    try {
      writeSync(2, `${lineText(line, this.#format)}\n`);
    } catch (error) {
      // Whoever read stderr is gone or slow (EPIPE, EAGAIN): there is nobody to tell.
      if (!(error instanceof Error && "code" in error)) throw error;
    }
  }
}

/** One line without its end. The fields of JSON, and their order, stay as they are. */
export function lineText(line: LogLine, format: LogFormat): string {
  const { time, level, scope, message } = line;
  if (format === "json") return JSON.stringify({ time, level, scope, message });
  return `${time} ${level} ${scope}: ${message}`;
}

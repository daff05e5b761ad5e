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

export class Log {
  #level: LogLevel;
  readonly #scope: string;
  #format: LogFormat;

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

  debug(text: string): void {
    this.#line("debug", "debug", text);
  }

  #line(level: LogLevel, word: string, text: string): void {
    if (levels[level] > levels[this.#level]) return;
    try {
      writeSync(2, `${this.#form(new Date().toISOString(), word, text)}\n`);
    } catch (error) {
      // Whoever read stderr is gone or slow (EPIPE, EAGAIN): there is nobody to tell.
      if (!(error instanceof Error && "code" in error)) throw error;
    }
  }

  #form(time: string, level: string, text: string): string {
    const [scope, message] = [this.#scope, text.replaceAll("\n", " ")];
    if (this.#format === "json") return JSON.stringify({ time, level, scope, message });
    return `${time} ${level} ${scope}: ${message}`;
  }
}

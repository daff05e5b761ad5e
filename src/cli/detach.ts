/**
 * Starting a daemon in the background, and being one. The starter runs the same program again in a
 * session of its own, with a pipe on which it reports once: `ok` and what to print, or an exit
 * code and a line. So
 * the starter's own exit says whether the daemon works. Knows nothing of what the daemon does.
 */
import { spawn } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";
import { MeshError } from "../base/errors.ts";
import { logLevel } from "../daemon/log.ts";
import { type Failure, failureOf } from "./errors.ts";

const pipeVariable = "MESHVPN_READY_FD";
const pipeFd = 3;
const startMsMax = 30_000;

/** Runs `meshvpn` with these arguments in the background, until it reports; what it has to say. */
export async function startDetached(args: readonly string[]): Promise<string> {
  const output = outputOfChild();
  const child = spawn(process.execPath, [...programArguments(), ...args], {
    detached: true,
    stdio: ["ignore", output, output, "pipe"],
    env: { ...process.env, [pipeVariable]: String(pipeFd) },
  });
  const stop = (): void => {
    child.kill();
    process.exit(130);
  };
  process.once("SIGINT", stop).once("SIGTERM", stop);
  const pipe = child.stdio[pipeFd] as NodeJS.ReadableStream;
  const timer = setTimeout(() => child.kill(), startMsMax);
  let report = "";
  for await (const chunk of pipe) report += String(chunk);
  clearTimeout(timer);
  child.unref();
  if (report.startsWith("ok\n")) return report.slice("ok\n".length);
  const [, code, line] = /^([0-9]+) (.*)\n$/s.exec(report) ?? [];
  if (code !== undefined && line !== undefined) throw new ChildFailure(Number(code), line);
  throw new MeshError(
    "daemon_died",
    "the daemon did not start",
    `it ended without a word, or took more than ${startMsMax / 1000} s`,
    "run it in the foreground to see why",
  );
}

/** This program again: with this process's own flags for Bun, which keep the current directory's
 * files out; a single-file executable is all of that in itself. */
function programArguments(): readonly string[] {
  return Bun.main.startsWith("/$bunfs/") ? [] : [...process.execArgv, Bun.main];
}

/** What a daemon reported in place of starting, to be passed on as it is. */
export class ChildFailure extends Error implements Failure {
  readonly exitCode: number;
  readonly text: string;

  constructor(exitCode: number, text: string) {
    super(text);
    this.exitCode = exitCode;
    this.text = text;
  }
}

/** As wireguard-go: logs go where the starter's went if LOG_LEVEL asks for them, else nowhere. */
function outputOfChild(): "inherit" | "ignore" | number {
  const file = process.env.MESHVPN_LOG_FILE;
  if (file !== undefined && file !== "") return openSync(file, "a", 0o600);
  return logsToStarter() ? "inherit" : "ignore";
}

/** Whether the log of a process in the background is seen where it was started. */
export function logsToStarter(): boolean {
  return !process.env.MESHVPN_LOG_FILE && logLevel(process.env.LOG_LEVEL || "silent") !== "silent";
}

/** Where this process was started by `startDetached`, its report; else nobody waits for one. */
export class Readiness {
  #fd: number | undefined;

  constructor() {
    this.#fd = process.env[pipeVariable] === String(pipeFd) ? pipeFd : undefined;
    delete process.env[pipeVariable];
  }

  /** Whether somebody waits for the report. */
  get awaited(): boolean {
    return this.#fd !== undefined;
  }

  /** `words`: whole lines for the starter to print. */
  ok(words = ""): void {
    this.#report(`ok\n${words}`);
  }

  /** Passes the error on; false where nobody waits, and it is for stderr. */
  failed(error: unknown): boolean {
    if (this.#fd === undefined) return false;
    const { exitCode, text } = failureOf(error);
    this.#report(`${exitCode} ${text}\n`);
    return true;
  }

  #report(text: string): void {
    if (this.#fd === undefined) return;
    try {
      writeSync(this.#fd, text);
    } catch (error) {
      // The starter was killed; the daemon lives on.
      if (!(error instanceof Error && "code" in error)) throw error;
    }
    closeSync(this.#fd);
    this.#fd = undefined;
  }
}

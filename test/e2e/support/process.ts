/**
 * Programs that tests run: one to its end, with what it said and a time limit, or one that stays,
 * with its log in a file. What stays dies with the process that started it. And `until`, the only
 * way to wait: for a condition, with a deadline that says what did not come.
 */
import { closeSync, openSync, readFileSync } from "node:fs";

export interface Ran {
  /** 128 + the signal's number where a signal ended it; 124 where it took too long. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly timeoutMs?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
}

const timeoutMsDefault = 30_000;
/** A program may leave a child that holds its output open; what was said by then is enough. */
const outputGraceMs = 500;

/** Runs a program to its end. Never throws for its exit code; the caller judges that. */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const child = Bun.spawn([...command], {
    stdin: options.input === undefined ? "ignore" : new Blob([options.input]),
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, ...options.env },
  });
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, options.timeoutMs ?? timeoutMsDefault);
  const code = await child.exited;
  clearTimeout(timer);
  await Promise.race([Promise.all([stdout.ended, stderr.ended]), Bun.sleep(outputGraceMs)]);
  return { code: late ? 124 : code, stdout: stdout.text(), stderr: stderr.text() };
}

/** As `run`, but an exit code other than 0 is an error that shows everything; gives stdout. */
export async function runOk(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const ran = await run(command, options);
  if (ran.code !== 0) throw new Error(`${command.join(" ")}: ${describe(ran)}`);
  return ran.stdout;
}

export function describe(ran: Ran): string {
  const said = [ran.stderr.trim(), ran.stdout.trim()].filter((text) => text !== "").join("\n");
  return `exit code ${ran.code}${ran.code === 124 ? " (took too long)" : ""}${said === "" ? "" : `\n${said}`}`;
}

function collect(stream: ReadableStream<Uint8Array>): { ended: Promise<void>; text(): string } {
  const decoder = new TextDecoder();
  let text = "";
  const read = async (): Promise<void> => {
    for await (const chunk of stream) text += decoder.decode(chunk, { stream: true });
  };
  return { ended: read(), text: () => text };
}

export interface StartOptions {
  readonly logPath: string;
  readonly env?: Readonly<Record<string, string>>;
  /** It outlives this process. */
  readonly detached?: boolean;
}

/** A program that stays. */
export class Running {
  readonly pid: number;
  readonly command: string;
  readonly #child: Bun.Subprocess<"pipe" | "ignore">;
  readonly #logPath: string;

  constructor(command: readonly string[], options: StartOptions) {
    const log = openSync(options.logPath, "a");
    const bound = options.detached ? ["setsid", "--"] : ["setpriv", "--pdeathsig", "KILL", "--"];
    this.#child = Bun.spawn([...bound, ...command], {
      stdin: options.detached ? "ignore" : "pipe",
      stdout: log,
      stderr: log,
      env: { ...process.env, ...options.env },
    });
    closeSync(log);
    if (options.detached) this.#child.unref();
    this.pid = this.#child.pid;
    this.command = command.join(" ");
    this.#logPath = options.logPath;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Its exit code, 128 + the signal's number after a signal. */
  get exited(): Promise<number> {
    return this.#child.exited;
  }

  /** Everything it said so far, on both outputs. */
  log(): string {
    return readFileSync(this.#logPath, "utf8");
  }

  closeInput(): void {
    const { stdin } = this.#child;
    if (typeof stdin === "object") stdin.end();
  }

  kill(signal: NodeJS.Signals = "SIGTERM"): void {
    if (this.running) this.#child.kill(signal);
  }

  /** Ends it, kindly first; its exit code. */
  async stop(graceMs = 3000): Promise<number> {
    this.kill("SIGTERM");
    const timer = setTimeout(() => this.kill("SIGKILL"), graceMs);
    const code = await this.exited;
    clearTimeout(timer);
    return code;
  }
}

/** Looks every few milliseconds until the answer is neither undefined nor false; throws after
 * `timeoutMs`, with `evidence` of why it may not have come. */
export async function until<Answer>(
  what: string,
  look: () => Answer | undefined | false | Promise<Answer | undefined | false>,
  options: { timeoutMs?: number; everyMs?: number; evidence?: () => string } = {},
): Promise<Answer> {
  const timeoutMs = options.timeoutMs ?? 10_000;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const answer = await look();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline) {
      const evidence = options.evidence?.() ?? "";
      throw new Error(`waited ${timeoutMs / 1000} s for ${what}${evidence && `\n${evidence}`}`);
    }
    await Bun.sleep(options.everyMs ?? 20);
  }
}

/** False also for one that has ended and whose parent has not looked yet. */
export function processExists(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const state = stat.charAt(stat.lastIndexOf(")") + 2);
    return state !== "Z" && state !== "X";
  } catch {
    return false;
  }
}

/**
 * What a daemon tells the service manager that started it (sd_notify(3)): that it is up, that it is
 * alive, that it ends. Where nobody listens, nothing is said. The sign of life comes from the loop
 * that also drives the mesh, so a stalled one is noticed.
 */
import { MeshError } from "../base/errors.ts";
import { errorName } from "../native/library.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** Of the library; below zero it is an error. */
type Notify = (path: Uint8Array, pathLen: number, text: Uint8Array, textLen: number) => number;

/** Twice in the time that the service manager allows, as sd_watchdog_enabled(3) advises. */
export function watchdogMs({ WATCHDOG_USEC, WATCHDOG_PID }: Environment, pid: number): number {
  if (WATCHDOG_PID !== undefined && WATCHDOG_PID !== String(pid)) return 0;
  const microseconds = /^[0-9]{1,15}$/.test(WATCHDOG_USEC ?? "") ? Number(WATCHDOG_USEC) : 0;
  return Math.floor(microseconds / 2000);
}

export class Supervisor {
  readonly #socket: string | undefined;
  readonly #watchdogMs: number;
  readonly #notify: Notify;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(environment: Environment, notify: Notify) {
    const { NOTIFY_SOCKET } = environment;
    this.#socket = NOTIFY_SOCKET === "" ? undefined : NOTIFY_SOCKET;
    this.#watchdogMs = watchdogMs(environment, process.pid);
    this.#notify = notify;
  }

  /**
   * The daemon is up.
   * @throws MeshError where the service manager cannot be told, for it would end the daemon later.
   */
  ready(words: string): void {
    if (this.#socket === undefined) return;
    const code = this.#say(`READY=1\nSTATUS=${words.replaceAll("\n", " ")}`);
    if (code < 0) {
      throw new MeshError(
        "supervisor_unreachable",
        "cannot tell the service manager that the daemon is up",
        `NOTIFY_SOCKET is ${this.#socket} (${errorName(code)})`,
        "unset NOTIFY_SOCKET, or use Type=exec in the unit",
      );
    }
    if (this.#watchdogMs > 0) {
      this.#timer = setInterval(() => this.#say("WATCHDOG=1"), this.#watchdogMs);
    }
  }

  stopping(): void {
    clearInterval(this.#timer);
    this.#say("STOPPING=1");
  }

  /** A word that is lost after `ready` is not worth ending for: the next one follows. */
  #say(text: string): number {
    if (this.#socket === undefined) return 0;
    const [path, bytes] = [Buffer.from(this.#socket), Buffer.from(text)];
    return this.#notify(path, path.length, bytes, bytes.length);
  }
}

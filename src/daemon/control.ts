/**
 * How a running daemon is spoken to: a Unix socket that its owner alone may open, one JSON object a
 * line each way. Owns the socket, its limits and the form of requests and answers; what a request
 * means is the daemon's. A client that is slow, silent, long-winded or one too many is cut off and
 * costs no other client anything.
 */
import { chmodSync, existsSync, lstatSync, mkdirSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import { assert, MeshError } from "../base/errors.ts";

export interface ControlRequest {
  readonly command: string;
  readonly [argument: string]: unknown;
}

/** What is answered; `hold`: the connection stays until this process has ended. */
export interface ControlAnswer {
  readonly result: unknown;
  readonly hold?: boolean;
}

/** A MeshError that it throws is the answer. */
export type Answer = (request: ControlRequest) => ControlAnswer;

const requestBytesMax = 64 * 1024;
const clientsMax = 16;
const idleMs = 5_000;
/** Every member's line. */
const answerBytesMax = 64 * 1024 * 1024;
const askMs = 10_000;

export class ControlServer {
  readonly path: string;
  readonly #server: Server;
  readonly #clients = new Set<Socket>();
  readonly #held = new Set<Socket>();
  readonly #answer: Answer;

  /** MeshError `daemon_running` where another answers there. */
  static async listen(path: string, answer: Answer): Promise<ControlServer> {
    await clearTheWay(path);
    const server = new ControlServer(path, answer);
    await server.#listen();
    return server;
  }

  private constructor(path: string, answer: Answer) {
    this.path = path;
    this.#answer = answer;
    this.#server = createServer((client) => this.#accept(client));
  }

  /** Nobody is answered any more and the socket is gone; whoever is held, is held on. */
  async close(): Promise<void> {
    for (const client of this.#clients) if (!this.#held.has(client)) client.destroy();
    // The server would wait for those whom it holds.
    this.#server.close();
    this.#server.unref();
    rmSync(this.path, { force: true });
  }

  #listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", (error) => reject(listenError(this.path, error)));
      this.#server.once("listening", resolve);
      // Bound in this call: the socket has its mode from the first moment.
      const mask = process.umask(0o177);
      try {
        this.#server.listen(this.path);
      } finally {
        process.umask(mask);
      }
    });
  }

  #accept(client: Socket): void {
    client.on("error", () => client.destroy());
    client.on("close", () => {
      this.#clients.delete(client);
      this.#held.delete(client);
    });
    if (this.#clients.size >= clientsMax) {
      client.end(errorLine(new MeshError("busy", "the daemon is busy", "", "try again")));
      return;
    }
    this.#clients.add(client);
    client.setTimeout(idleMs, () => {
      if (!this.#held.has(client)) client.destroy();
    });
    let waiting = Buffer.alloc(0);
    client.on("data", (chunk: Buffer) => {
      waiting = Buffer.concat([waiting, chunk]);
      for (let end = waiting.indexOf(10); end >= 0; end = waiting.indexOf(10)) {
        if (end > requestBytesMax) break;
        this.#serve(client, waiting.toString("utf8", 0, end));
        waiting = waiting.subarray(end + 1);
      }
      if (waiting.length > requestBytesMax) {
        const why = `it is longer than ${requestBytesMax} bytes`;
        client.end(errorLine(new MeshError("request_invalid", "cannot take the request", why, "")));
      }
    });
  }

  #serve(client: Socket, line: string): void {
    try {
      const { result, hold } = this.#answer(parseRequest(line));
      if (hold === true) this.#held.add(client);
      client.write(`${JSON.stringify({ ok: true, result })}\n`);
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      client.write(errorLine(error));
    }
  }
}

/** One connection to a daemon. */
export interface Conversation {
  /** The daemon's result. A MeshError of the daemon is thrown here. */
  readonly result: unknown;
  /** Resolves when the daemon closed the connection; a held one, when its process ended. */
  readonly ended: Promise<void>;
  close(): void;
}

/** MeshError `daemon_not_running`, `permission_denied`, or what the daemon says. */
export async function ask(path: string, request: ControlRequest): Promise<unknown> {
  const conversation = await converse(path, request);
  conversation.close();
  return conversation.result;
}

/** As `ask`, and the connection stays open. */
export function converse(path: string, request: ControlRequest): Promise<Conversation> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const ended = Promise.withResolvers<void>();
    const chunks: Buffer[] = [];
    let length = 0;
    const timer = setTimeout(() => {
      socket.destroy();
      const why = `there was no answer for ${askMs / 1000} s`;
      reject(
        new MeshError("daemon_silent", `cannot speak to the daemon on ${path}`, why, "see its log"),
      );
    }, askMs);
    socket.on("connect", () => socket.write(`${JSON.stringify(request)}\n`));
    socket.on("error", (error) => reject(socketError("speak to the daemon", path, error)));
    socket.on("close", () => {
      clearTimeout(timer);
      ended.resolve();
      const why = "it closed the connection without an answer";
      reject(
        new MeshError("daemon_silent", `cannot speak to the daemon on ${path}`, why, "see its log"),
      );
    });
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      length += chunk.length;
      if (length > answerBytesMax) socket.destroy();
      if (chunk.at(-1) !== 10) return;
      clearTimeout(timer);
      try {
        const result = readAnswer(Buffer.concat(chunks).toString("utf8"));
        resolve({ result, ended: ended.promise, close: () => socket.destroy() });
      } catch (error) {
        socket.destroy();
        reject(error);
      }
    });
  });
}

/** A socket that nobody answers on is left of a daemon that was killed: it is taken away. */
async function clearTheWay(path: string): Promise<void> {
  try {
    const directory = dirname(path);
    if (!existsSync(directory)) {
      mkdirSync(directory, { recursive: true, mode: 0o755 });
      // A strict umask would keep the group out of a directory that holds nothing secret.
      chmodSync(directory, 0o755);
    }
    if (!lstatSync(path, { throwIfNoEntry: false })?.isSocket()) {
      if (existsSync(path)) throw occupied(path);
      return;
    }
    if (await isAnswered(path)) {
      throw new MeshError(
        "daemon_running",
        "cannot start the daemon",
        `another one answers on ${path}`,
        "stop it with meshvpn down, or choose another --control-socket",
      );
    }
    rmSync(path, { force: true });
  } catch (error) {
    if (error instanceof MeshError) throw error;
    throw listenError(path, error);
  }
}

function occupied(path: string): MeshError {
  const why = "there is a file that is no socket";
  return new MeshError(
    "control_socket_invalid",
    `cannot take requests on ${path}`,
    why,
    "choose another --control-socket",
  );
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", (error) => {
      if ("code" in error && (error.code === "ECONNREFUSED" || error.code === "ENOENT")) {
        resolve(false);
      } else reject(error);
    });
  });
}

/** MeshError `request_invalid` for what is none. */
export function parseRequest(line: string): ControlRequest {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    assert(error instanceof SyntaxError, "JSON.parse throws nothing else");
  }
  const isRequest =
    typeof value === "object" &&
    value !== null &&
    "command" in value &&
    typeof value.command === "string" &&
    Object.values(value).every(
      (each) => isPlain(each) || (Array.isArray(each) && each.every(isPlain)),
    );
  if (isRequest) return value as ControlRequest;
  throw new MeshError(
    "request_invalid",
    "cannot take the request",
    "it is no JSON object with a command",
    "use a meshvpn of the same version",
  );
}

/** An object may say of itself what it is as text, and fail at it: nothing takes one. */
function isPlain(value: unknown): boolean {
  return typeof value !== "object" || value === null;
}

function errorLine(error: MeshError): string {
  const { code, message, why, remedy } = error;
  return `${JSON.stringify({ ok: false, error: { code, what: message, why, remedy } })}\n`;
}

function readAnswer(text: string): unknown {
  const answer = JSON.parse(text) as
    | { readonly ok: true; readonly result: unknown }
    | {
        readonly ok: false;
        readonly error: { code: string; what: string; why: string; remedy: string };
      };
  if (answer.ok) return answer.result;
  const { code, what, why, remedy } = answer.error;
  throw new MeshError(code, what, why, remedy);
}

/** Where this daemon is to be asked; that something is missing says nothing of another one. */
function listenError(path: string, error: unknown): MeshError {
  const code = codeOf(error);
  if (code !== "ENOENT" && code !== "ENOTDIR" && code !== "EROFS") {
    return socketError("take requests", path, error);
  }
  const why =
    code === "EROFS"
      ? "it is read-only"
      : code === "ENOTDIR"
        ? "a part of the path is no directory"
        : "no socket can be made there";
  return new MeshError(
    "control_socket_failed",
    `cannot take requests on ${path}`,
    `the directory ${dirname(path)} cannot be used: ${why} (${code})`,
    "name another with --control-socket",
  );
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : String(error);
}

function socketError(what: string, path: string, error: unknown): MeshError {
  const code = codeOf(error);
  if (code === "ENOENT" || code === "ECONNREFUSED") {
    return new MeshError(
      "daemon_not_running",
      "the daemon is not running",
      `nobody answers on ${path}`,
      "start it with meshvpn up, or name its --control-socket",
    );
  }
  if (code === "EACCES" || code === "EPERM") {
    const why = "permission denied";
    return new MeshError("permission_denied", `cannot ${what} on ${path}`, why, "run as root");
  }
  return new MeshError(
    "control_socket_failed",
    `cannot ${what} on ${path}`,
    `the system refused (${code})`,
    "check the path",
  );
}

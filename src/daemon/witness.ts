/**
 * How nodes tell one another what they know of each other, for doctor: one JSON line each way over
 * TCP at the node's own address in the mesh, so only members get there, and nobody else is answered.
 * A member that is asked may ask a third one on behalf of the first. It tells whether an identity is
 * trusted here and how it is reached; nothing can be changed through it.
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { canonicalAddress } from "../base/ip.ts";
import { formatIdentity, parseIdentity } from "../trust/identity.ts";
import { doctorPort } from "../trust/policy.ts";
import type { NodeView } from "./view.ts";

/** TCP, inside the tunnel. */
export const witnessPort = doctorPort;
const lineBytesMax = 4 * 1024;
const connectionsMax = 16;
const idleMs = 5_000;
/** Together, of all members. */
const questionsPerSecondMax = 20;
const forwardMs = 2_000;

export interface Question {
  /** Of whom; the asker itself unless somebody asks for another. */
  readonly about?: string | undefined;
  /** The member that shall be asked in place of this one. */
  readonly ask?: string | undefined;
}

export interface WitnessSources {
  /** Of the member at that address in the mesh, its identity. */
  memberAt(address: string): string | undefined;
  addressOf(identity: string): string | undefined;
  view(about: string): NodeView;
  nowMs(): number;
}

export class Witness {
  readonly #sources: WitnessSources;
  readonly #open = new Set<Socket>();
  #server: Server | undefined;
  #secondMs = 0;
  #questions = 0;
  /** Questions that were not answered: from nobody, too many, or not understood. */
  refused = 0;

  constructor(sources: WitnessSources) {
    this.#sources = sources;
  }

  /** Rejects where the port cannot be had; a node does without it then. */
  async listen(address: string, port = witnessPort): Promise<void> {
    const server = createServer((socket) => this.#accept(socket));
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host: address, port }, resolve);
    });
  }

  stop(): void {
    this.#server?.close();
    for (const socket of this.#open) socket.destroy();
  }

  #accept(socket: Socket): void {
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#open.delete(socket));
    const address = canonicalAddress(socket.remoteAddress ?? "");
    const asker = address === undefined ? undefined : this.#sources.memberAt(address);
    if (asker === undefined || this.#open.size >= connectionsMax || !this.#mayAsk()) {
      this.refused += 1;
      socket.destroy();
      return;
    }
    this.#open.add(socket);
    socket.setTimeout(idleMs, () => socket.destroy());
    let said = "";
    socket.on("data", (chunk: Buffer) => {
      said += chunk.toString("utf8");
      if (said.length > lineBytesMax) socket.destroy();
      else if (said.includes("\n")) void this.#answer(socket, asker, said);
    });
  }

  #mayAsk(): boolean {
    const nowMs = this.#sources.nowMs();
    if (nowMs - this.#secondMs >= 1_000) {
      this.#secondMs = nowMs;
      this.#questions = 0;
    }
    this.#questions += 1;
    return this.#questions <= questionsPerSecondMax;
  }

  async #answer(socket: Socket, asker: string, line: string): Promise<void> {
    const question = parseQuestion(line);
    if (question === undefined) {
      this.refused += 1;
      socket.destroy();
      return;
    }
    const about = question.about ?? asker;
    const { ask } = question;
    const address = ask === undefined ? undefined : this.#sources.addressOf(ask);
    const view =
      ask === undefined
        ? this.#sources.view(about)
        : address === undefined
          ? undefined
          : await askWitness(address, { about }, forwardMs);
    socket.end(`${JSON.stringify(view ?? null)}\n`);
  }
}

/** undefined for anything else. Identities are taken in one form only. */
function parseQuestion(line: string): Question | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const fields = value as Record<string, unknown>;
  const identityIn = (name: string): string | undefined => {
    const said = fields[name];
    const identity = typeof said === "string" ? parseIdentity(said) : undefined;
    return identity === undefined ? undefined : formatIdentity(identity);
  };
  return { about: identityIn("about"), ask: identityIn("ask") };
}

/** What the node at that address says; undefined where it says nothing in time. */
export function askWitness(
  address: string,
  question: Question,
  ms: number,
  port = witnessPort,
): Promise<NodeView | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    let said = "";
    const end = (view: NodeView | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(view);
    };
    const timer = setTimeout(() => end(undefined), ms);
    socket.on("connect", () => socket.write(`${JSON.stringify(question)}\n`));
    socket.on("error", () => end(undefined));
    socket.on("close", () => end(undefined));
    socket.on("data", (chunk: Buffer) => {
      said += chunk.toString("utf8");
      if (said.length > lineBytesMax) end(undefined);
      else if (said.includes("\n")) end(parseView(said));
    });
  });
}

/** Another version may say less or more: what is used of it is looked at. */
function parseView(line: string): NodeView | undefined {
  try {
    const view: unknown = JSON.parse(line);
    const isView =
      typeof view === "object" &&
      view !== null &&
      "trusts" in view &&
      typeof view.trusts === "boolean" &&
      "wall_ms" in view &&
      typeof view.wall_ms === "number" &&
      "path" in view &&
      typeof view.path === "string" &&
      "identity" in view &&
      typeof view.identity === "string";
    return isView ? (view as NodeView) : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

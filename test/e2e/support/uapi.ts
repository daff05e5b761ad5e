/**
 * Raw clients of a UAPI socket, for what `wg` would never send. Answers are read as they come; a
 * request is over when two newlines or the end of the connection were seen.
 */
import type { Socket } from "bun";
import { until } from "./process.ts";

export function uapiPath(interfaceName: string): string {
  return `/var/run/wireguard/${interfaceName}.sock`;
}

export class UapiClient implements Disposable {
  #socket: Socket | undefined;
  #answer = "";
  #closed = false;

  static async connect(interfaceName: string): Promise<UapiClient> {
    const client = new UapiClient();
    const decoder = new TextDecoder();
    client.#socket = await Bun.connect({
      unix: uapiPath(interfaceName),
      socket: {
        data: (_, chunk) => {
          client.#answer += decoder.decode(chunk, { stream: true });
        },
        close: () => {
          client.#closed = true;
        },
        error: () => {
          client.#closed = true;
        },
      },
    });
    return client;
  }

  send(text: string): void {
    this.#socket?.write(text);
  }

  /** The next whole answer, or what came before the other side closed. */
  async answer(): Promise<string> {
    return await until("an answer over UAPI", () => {
      const end = this.#answer.indexOf("\n\n");
      if (end < 0 && !this.#closed) return undefined;
      const answer = end < 0 ? this.#answer : this.#answer.slice(0, end + 2);
      this.#answer = this.#answer.slice(answer.length);
      return { text: answer };
    }).then(({ text }) => text);
  }

  [Symbol.dispose](): void {
    this.#socket?.end();
  }
}

/** One request on a connection of its own. */
export async function ask(interfaceName: string, request: string): Promise<string> {
  using client = await UapiClient.connect(interfaceName);
  client.send(request);
  return await client.answer();
}

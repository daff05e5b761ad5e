/**
 * What a daemon answers over HTTP, by option: /metrics, /healthz and /readyz, to reading requests
 * alone. On loopback, with the page, or at the node's address in the mesh, where its members can read it. A request
 * under another name is refused, so that no page in a browser here can read it through a name of its
 * own that points at this address.
 */
import { MeshError } from "../base/errors.ts";
import { contentTypes, exposition, type Family, formatFor } from "../metrics/exposition.ts";
import type { HttpListen } from "./http-listen.ts";
import type { Page } from "./page.ts";
import type { Readiness } from "./readiness.ts";

export interface HttpSources {
  families(): readonly Family[];
  readiness(): Readiness;
  readonly page: Page;
}

const idleSeconds = 10;

/** Serves until it is stopped. MeshError where the port cannot be had. */
export class HttpServer {
  #servers: Bun.Server<undefined>[] = [];
  readonly #sources: HttpSources;

  constructor(sources: HttpSources) {
    this.#sources = sources;
  }

  /** @param meshAddress what `mesh` stands for. */
  listen(places: readonly HttpListen[], meshAddress: string): void {
    for (const { address, port } of places) {
      const hostname = address === "mesh" ? meshAddress : address;
      try {
        this.#servers.push(
          Bun.serve({
            hostname,
            port,
            idleTimeout: idleSeconds,
            maxRequestBodySize: 0,
            fetch: (request) => this.#answer(request, hostname, address !== "mesh"),
          }),
        );
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        throw new MeshError(
          "http_failed",
          `cannot answer HTTP on ${hostname} port ${port}`,
          why,
          "choose another --http",
        );
      }
    }
  }

  stop(): void {
    for (const server of this.#servers) server.stop(true);
    this.#servers = [];
  }

  /** Where the page is; undefined where it is nowhere. */
  pageAddress(): string | undefined {
    const server = this.#servers.find(({ hostname }) => isLoopback(hostname ?? ""));
    if (server === undefined) return undefined;
    return `${server.url.href.replace(/\/$/, "")}/#${this.#sources.page.token}`;
  }

  #answer(request: Request, hostname: string, withPage: boolean): Response {
    const url = new URL(request.url);
    const asked = url.hostname.replace(/^\[|\]$/g, "");
    if (asked !== hostname && asked !== "localhost") return plain(403, "not under this name");
    if (request.method !== "GET" && request.method !== "HEAD") return plain(405, "only GET");
    switch (url.pathname) {
      case "/metrics": {
        const format = formatFor(request.headers.get("accept"));
        const text = exposition(this.#sources.families(), format);
        return new Response(text, { headers: { "content-type": contentTypes[format] } });
      }
      case "/healthz":
        // The loop that drives the mesh has just answered.
        return plain(200, "ok");
      case "/readyz": {
        const { ready, why } = this.#sources.readiness();
        return plain(ready ? 200 : 503, why);
      }
      default: {
        const answer = withPage ? this.#sources.page.respond(request, url.pathname) : undefined;
        return answer ?? plain(404, "there are /metrics, /healthz and /readyz");
      }
    }
  }
}

function isLoopback(hostname: string): boolean {
  return hostname === "::1" || hostname === "[::1]" || hostname.startsWith("127.");
}

function plain(status: number, text: string): Response {
  return new Response(`${text}\n`, { status, headers: { "content-type": "text/plain" } });
}

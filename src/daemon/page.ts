/**
 * The local page: three files that are the same for everybody, and the status, which takes a token.
 * The token is made at each start and told over the control socket alone; `meshvpn page` prints the
 * address that holds it. On loopback only; at mesh places there is no page.
 */
import { randomBytes, timingSafeEqual } from "node:crypto";
import html from "./page/index.html" with { type: "text" };
import css from "./page/page.css" with { type: "text" };
import script from "./page/page.js" with { type: "text" };
import type { Readiness } from "./readiness.ts";
import type { MeshStatus } from "./status.ts";

const files: Readonly<Record<string, readonly [type: string, text: string]>> = {
  "/": ["text/html; charset=utf-8", String(html)],
  "/page.css": ["text/css; charset=utf-8", String(css)],
  "/page.js": ["text/javascript; charset=utf-8", String(script)],
};

/** Nothing from elsewhere, and in nobody's frame. */
const headers = {
  "content-security-policy":
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cache-control": "no-store",
};

export interface PageAnswer {
  readonly status: MeshStatus;
  readonly readiness: Readiness;
}

export class Page {
  readonly token = randomBytes(24).toString("base64url");
  readonly #answer: () => PageAnswer;

  constructor(answer: () => PageAnswer) {
    this.#answer = answer;
  }

  /** undefined: that path is no part of the page. */
  respond(request: Request, path: string): Response | undefined {
    const file = Object.hasOwn(files, path) ? files[path] : undefined;
    if (file !== undefined) {
      return new Response(file[1], { headers: { ...headers, "content-type": file[0] } });
    }
    if (path !== "/api/status") return undefined;
    if (!this.#holdsToken(request.headers.get("authorization") ?? "")) {
      return new Response("the token is wrong: open what meshvpn page prints", {
        status: 401,
        headers,
      });
    }
    return Response.json(this.#answer(), { headers });
  }

  #holdsToken(said: string): boolean {
    const [given, wanted] = [Buffer.from(said), Buffer.from(`Bearer ${this.token}`)];
    return given.length === wanted.length && timingSafeEqual(given, wanted);
  }
}

/**
 * One HTTP request to one address on the local network, and its answer within a size and a time: what
 * UPnP takes. No proxy, no redirect, no name to resolve, no second request on a connection.
 */
import { connect } from "node:net";

/** Each is looked at anew, so one that comes byte by byte is not waited for. */
const piecesMax = 512;
/** Each is read again with every piece; a gateway that means it sends a few. */
const chunksMax = 256;

export interface HttpAsk {
  readonly method: "GET" | "POST";
  /** http, with an address for a host. */
  readonly url: string;
  /** Of this machine, to call from. */
  readonly local: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly bytesMax: number;
  readonly ms: number;
}

export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

/** undefined: no whole answer in time, or one that is too long or malformed. */
export function askHttp(ask: HttpAsk): Promise<HttpAnswer | undefined> {
  const { hostname, pathname, port, search } = new URL(ask.url);
  const body = Buffer.from(ask.body ?? "");
  const lines = [
    `${ask.method} ${pathname}${search} HTTP/1.1`,
    `Host: ${hostname}:${port || 80}`,
    "Connection: close",
    "User-Agent: meshvpn UPnP/1.1",
    ...(ask.method === "POST" ? [`Content-Length: ${body.length}`] : []),
    ...Object.entries(ask.headers ?? {}).map(([name, value]) => `${name}: ${value}`),
  ];
  return new Promise((resolve) => {
    const whole = Buffer.alloc(ask.bytesMax);
    let length = 0;
    let pieces = 0;
    const host = hostname.replace(/^\[(.*)\]$/, "$1");
    const socket = connect({ host, port: Number(port) || 80, localAddress: ask.local });
    const timer = setTimeout(() => end(undefined), ask.ms);
    const end = (answer: HttpAnswer | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    socket.on("connect", () => socket.write(Buffer.concat([head(lines), body])));
    socket.on("error", () => end(undefined));
    socket.on("close", () => end(parseAnswer(whole.subarray(0, length))));
    socket.on("data", (chunk: Buffer) => {
      pieces += 1;
      if (length + chunk.length > ask.bytesMax || pieces > piecesMax) return end(undefined);
      length += chunk.copy(whole, length);
      // Some gateways leave the connection open all the same.
      const came = whole.subarray(0, length);
      if (isWhole(came)) end(parseAnswer(came));
    });
  });
}

function head(lines: readonly string[]): Buffer {
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
}

interface Split {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

function split(bytes: Buffer): Split | undefined {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const [first = "", ...rest] = bytes.toString("latin1", 0, end).split("\r\n");
  const status = /^HTTP\/1\.[01] ([1-5][0-9]{2})( |$)/.exec(first)?.[1];
  if (status === undefined) return undefined;
  const headers = new Map(
    rest.map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  return { status: Number(status), headers, body: bytes.subarray(end + 4) };
}

function isWhole(bytes: Buffer): boolean {
  const answer = split(bytes);
  if (answer === undefined) return false;
  if (answer.headers.get("transfer-encoding") === "chunked")
    return unchunk(answer.body) !== undefined;
  const length = answer.headers.get("content-length");
  return length !== undefined && answer.body.length >= Number(length);
}

export function parseAnswer(bytes: Buffer): HttpAnswer | undefined {
  const answer = split(bytes);
  if (answer === undefined) return undefined;
  const isChunked = answer.headers.get("transfer-encoding") === "chunked";
  const body = isChunked ? unchunk(answer.body) : answer.body;
  return body === undefined ? undefined : { status: answer.status, body: body.toString("utf8") };
}

/** undefined while the last chunk, of no bytes, has not come, and for more than are read. */
function unchunk(body: Buffer): Buffer | undefined {
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const end = body.indexOf("\r\n", at);
    if (end < 0 || parts.length > chunksMax) return undefined;
    const size = /^[0-9a-f]{1,6}(;|$)/i.exec(body.toString("latin1", at, end))?.[0];
    if (size === undefined) return undefined;
    const length = Number.parseInt(size, 16);
    if (length === 0) return Buffer.concat(parts);
    if (body.length < end + 2 + length + 2) return undefined;
    parts.push(body.subarray(end + 2, end + 2 + length));
    at = end + 2 + length + 2;
  }
}

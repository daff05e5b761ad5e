/** Where a daemon answers HTTP, as an operator writes it. */
import { canonicalAddress } from "../base/ip.ts";

export interface HttpListen {
  /** A loopback address, or `mesh`: the node's own address in the mesh. */
  readonly address: string;
  readonly port: number;
}

/** `PORT`, `127.0.0.1:PORT`, `[::1]:PORT` or `mesh:PORT`; undefined where it is none of them. */
export function parseHttpListen(said: string): HttpListen | undefined {
  const match = /^(?:(?:\[([^\]]+)\]|([^:[\]]+)):)?([0-9]{1,5})$/.exec(said);
  const port = Number(match?.[3]);
  if (match === null || port < 1 || port > 65_535) return undefined;
  const named = match[1] ?? match[2] ?? "127.0.0.1";
  if (named === "mesh") return { address: named, port };
  const address = canonicalAddress(named === "localhost" ? "127.0.0.1" : named);
  if (address === undefined) return undefined;
  return address === "::1" || address.startsWith("127.") ? { address, port } : undefined;
}

/**
 * NAME.mesh on this machine: a DNS server at the node's own address in the mesh, and systemd-resolved
 * told of it where that runs. Owns the socket and the zone; the messages are mesh/names.ts'. An
 * operator's own word for a member comes before what members call themselves, and a name that two
 * claim is the older certificate's, or nobody's.
 */
import { MeshError } from "../base/errors.ts";
import { answerQuery, type Zone, zoneName } from "../mesh/names.ts";
import type { MeshStatus } from "./status.ts";

export interface NamesSources {
  status(): MeshStatus;
  warn(text: string): void;
}

/** Of a mesh of more members than this, who is called how is found out anew only so often. */
const freshMembersMax = 64;
const freshMs = 1_000;

type Told = Pick<MeshStatus, "name" | "addresses" | "members">;

export class NameServer {
  readonly #sources: NamesSources;
  #socket: Bun.udp.Socket<"buffer"> | undefined;
  #zone: Zone | undefined;
  #zoneAtMs = 0;
  answered = 0;
  malformed = 0;

  constructor(sources: NamesSources) {
    this.#sources = sources;
  }

  /** MeshError where the port cannot be had. */
  async start(address: string, port: number, interfaceName: string): Promise<void> {
    try {
      this.#socket = await Bun.udpSocket({
        hostname: address,
        port,
        socket: {
          data: (socket, bytes, fromPort, from) => {
            const answer = answerQuery(bytes, this.#current());
            if (answer === undefined) this.malformed += 1;
            else if (socket.send(answer, fromPort, from)) this.answered += 1;
          },
        },
      });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const remedy = "choose another --names, from 1024 on without CAP_NET_BIND_SERVICE";
      throw new MeshError("names_failed", `cannot answer names on port ${port}`, why, remedy);
    }
    await this.#tellResolved(address, port, interfaceName);
  }

  /** What resolved was told goes with the interface. */
  stop(): void {
    this.#socket?.close();
    this.#socket = undefined;
  }

  #current(): Zone {
    const nowMs = performance.now();
    if (this.#zone !== undefined && nowMs < this.#zoneAtMs + freshMs) return this.#zone;
    const status = this.#sources.status();
    const zone = zoneOf(status);
    this.#zone = status.members.length > freshMembersMax ? zone : undefined;
    this.#zoneAtMs = nowMs;
    return zone;
  }

  /** For names of the zone alone, so everything else is asked where it was before. */
  async #tellResolved(address: string, port: number, interfaceName: string): Promise<void> {
    if (Bun.which("resolvectl") === null) return;
    const server = `[${address}]:${port}`;
    for (const words of [
      ["dns", interfaceName, server],
      ["domain", interfaceName, `~${zoneName}`],
      ["default-route", interfaceName, "no"],
    ]) {
      const child = Bun.spawn(["resolvectl", ...words], { stdout: "ignore", stderr: "pipe" });
      const [code, said] = await Promise.all([child.exited, new Response(child.stderr).text()]);
      if (code === 0) continue;
      const why = said.trim().split("\n").at(-1) ?? "";
      this.#sources.warn(
        `systemd-resolved does not ask for names in ${zoneName}: ${why}; ask ${server}`,
      );
      return;
    }
  }
}

/** Who is called how, now. */
export function zoneOf({ name: own, addresses, members }: Told): Zone {
  const owners = new Map<string, readonly string[] | "many">();
  const claim = (name: string, theirs: readonly string[]): void => {
    if (name !== "") owners.set(name, owners.has(name) ? "many" : theirs);
  };
  const given = members.filter(({ given_name: word }) => word !== "");
  for (const member of given) claim(member.given_name, member.addresses);
  const taken = new Set(owners.keys());
  if (!taken.has(own)) owners.set(own, addresses);
  for (const member of members) {
    // Of several the oldest certificate's, where there is one to tell: it alone has no clash.
    const isTheirs = !member.name_clash && member.name !== own;
    if (!taken.has(member.name) && isTheirs) claim(member.name, member.addresses);
  }
  return {
    addressesOf: (name) => {
      const found = owners.get(name);
      return found === "many" ? undefined : found;
    },
    nameOf: (address) => {
      for (const [name, theirs] of owners) {
        if (theirs !== "many" && theirs.includes(address)) return name;
      }
      return undefined;
    },
  };
}

/**
 * Finding members on the local networks without a seed (mDNS, RFC 6762): says that this node is there,
 * and asks who else is. Owns the sockets, one a family, what is said when, and the table of what was
 * found, which is bounded. A find is a hint: it says where somebody claims to be, only at the address
 * that it came from, only on this link; whoever is there has to prove the key that was named.
 */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { networkInterfaces } from "node:os";
import type { Endpoint } from "../base/endpoint.ts";
import { canonicalAddress, maskHostBits, parseAddress } from "../base/ip.ts";
import { type TokenBucket, takeToken } from "../base/token-bucket.ts";
import type { Seed } from "../mesh/node.ts";
import {
  type Announcement,
  decodeMdns,
  encodeAnswer,
  encodeLegacyAnswer,
  encodeQuestion,
  type Found,
  instanceOf,
  type MdnsMessage,
  mayConcern,
  ttlSeconds,
} from "./mdns-message.ts";

const port = 5_353;
const groups = { udp4: "224.0.0.251", udp6: "ff02::fb" } as const;
type Family = keyof typeof groups;

/** Whom a network of strangers can have this node dial. */
export const mdnsFoundMax = 32;
/** Questions are asked ever more rarely: section 5.2. */
const askMsMin = 1_000;
const askMsMax = 60_000;
const interfacesMs = 15_000;
const interfacesMax = 16;
/** Answers a second, whoever asks: section 6. */
const answersPerSecond = 1;
const answersBurst = 4;
/** Who wants the answer alone gets it alone, unless the others have not heard it for so long: section 5.4. */
const saidMs = (ttlSeconds * 1_000) / 4;
const knownMax = 16;
/** Messages of the service that are read: one that is made for it takes a millisecond. */
const readPerSecond = 20;
const readBurst = 128;

/** All at zero. */
export function mdnsCounters() {
  return { announced: 0, asked: 0, heard: 0, held: 0, refused: 0, strangers: 0, full: 0 };
}

export interface MdnsOptions extends Announcement {
  /** The tunnel interface, where nobody needs finding. */
  readonly own: string | undefined;
  /** Whether the identity may be asked at all: who is not trusted takes no place in the table. */
  readonly admits: (identity: Uint8Array) => boolean;
  /** All that were found, each time that they are others than before. */
  readonly changed: (found: readonly Seed[]) => void;
  readonly nowMs: () => number;
  readonly warn: (text: string) => void;
}

interface Known {
  readonly found: Found;
  readonly endpoint: Endpoint;
  untilMs: number;
}

interface Link {
  readonly family: Family;
  /** Of the interface: the address to join by, for IPv6 with its index. */
  readonly by: string;
}

export class Mdns {
  readonly counters = mdnsCounters();
  readonly #options: MdnsOptions;
  readonly #sockets = new Map<Family, Socket>();
  readonly #links = new Map<string, Link>();
  readonly #known = new Map<string, Known>();
  readonly #bucket: TokenBucket = { tokens: answersBurst, atMs: 0 };
  readonly #reads: TokenBucket = { tokens: readBurst, atMs: 0 };
  #sending: Promise<void> = Promise.resolve();
  #askTimer: ReturnType<typeof setTimeout> | undefined;
  #interfaceTimer: ReturnType<typeof setInterval> | undefined;
  #askMs = askMsMin;
  /** When all were told last. */
  #saidMs = Number.NEGATIVE_INFINITY;
  #told = "";

  constructor(options: MdnsOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    for (const family of ["udp4", "udp6"] as const) {
      const socket = await this.#open(family);
      if (socket !== undefined) this.#sockets.set(family, socket);
    }
    this.#interfaceTimer = setInterval(() => this.#joinAll(), interfacesMs);
    this.#joinAll();
  }

  /** Says that this node goes. */
  async stop(): Promise<void> {
    clearTimeout(this.#askTimer);
    clearInterval(this.#interfaceTimer);
    const goodbye = encodeAnswer(this.#options, 0);
    await Promise.all([...this.#links.values()].map((link) => this.#send(link, goodbye)));
    for (const socket of this.#sockets.values()) socket.close();
    this.#sockets.clear();
  }

  networkChanged(): void {
    this.#joinAll();
  }

  async #open(family: Family): Promise<Socket | undefined> {
    const socket = createSocket({ type: family, reuseAddr: true, ipv6Only: family === "udp6" });
    const bound = Promise.withResolvers<Error | undefined>();
    socket.on("error", (error) => bound.resolve(error));
    socket.on("message", (bytes, from) => this.#handle(bytes, from));
    socket.bind(port, () => bound.resolve(undefined));
    const error = await bound.promise;
    if (error === undefined) {
      // Section 11: answers that came through a router have less, and are not of this link.
      socket.setMulticastTTL(255);
      socket.setMulticastLoopback(true);
      return socket;
    }
    const { warn } = this.#options;
    warn(`members on the local network are not found (${family}): ${error.message}`);
    socket.close();
    return undefined;
  }

  /** Interfaces come and go: those that are new are joined, and all is said and asked there anew. */
  #joinAll(): void {
    const present = new Map(this.#present().map((link) => [`${link.family} ${link.by}`, link]));
    for (const key of this.#links.keys()) if (!present.has(key)) this.#links.delete(key);
    let isNew = false;
    for (const [key, link] of present) {
      if (this.#links.has(key)) continue;
      try {
        this.#sockets.get(link.family)?.addMembership(groups[link.family], link.by);
      } catch (error) {
        // One that is joined already, or that has just gone.
        if (!(error instanceof Error)) throw error;
      }
      this.#links.set(key, link);
      isNew = true;
    }
    this.#expire();
    if (!isNew) return;
    this.#askMs = askMsMin;
    void this.#announce();
    this.#ask();
  }

  #present(): readonly Link[] {
    const links: Link[] = [];
    for (const [name, infos] of Object.entries(networkInterfaces())) {
      if (name === this.#options.own) continue;
      for (const { address, family, internal } of infos ?? []) {
        if (internal || links.length >= interfacesMax) continue;
        if (family === "IPv4") links.push({ family: "udp4", by: address });
        else if (address.startsWith("fe80"))
          links.push({ family: "udp6", by: `${address}%${name}` });
      }
    }
    return links.filter(({ family }) => this.#sockets.has(family));
  }

  async #announce(): Promise<void> {
    const bytes = encodeAnswer(this.#options, ttlSeconds);
    this.#saidMs = this.#options.nowMs();
    for (const link of this.#links.values()) {
      this.counters.announced += 1;
      await this.#send(link, bytes);
    }
  }

  #ask(): void {
    clearTimeout(this.#askTimer);
    this.#expire();
    const bytes = encodeQuestion(
      [...this.#known.values()].slice(0, knownMax).map(({ found }) => instanceOf(found.key)),
    );
    for (const link of this.#links.values()) {
      this.counters.asked += 1;
      void this.#send(link, bytes);
    }
    this.#askTimer = setTimeout(() => this.#ask(), this.#askMs);
    this.#askMs = Math.min(askMsMax, this.#askMs * 2);
  }

  /** One interface after the other: the kernel sends where it was told last. */
  #send(link: Link, bytes: Uint8Array): Promise<void> {
    this.#sending = this.#sending.then(
      () =>
        new Promise((resolve) => {
          const socket = this.#sockets.get(link.family);
          if (socket === undefined) return resolve();
          try {
            socket.setMulticastInterface(link.by);
            socket.send(bytes, port, groups[link.family], () => resolve());
          } catch (error) {
            // The interface has gone; the next look at them says so.
            if (!(error instanceof Error)) throw error;
            resolve();
          }
        }),
    );
    return this.#sending;
  }

  #handle(bytes: Uint8Array, { address, port: fromPort }: RemoteInfo): void {
    const from = canonicalAddress(address, scopeOf);
    // Section 11: only who is on this link is heard.
    if (from === undefined || !isOnLink(from)) {
      this.counters.refused += 1;
      return;
    }
    if (!mayConcern(bytes)) return; // others' services: the group is everybody's
    if (!takeToken(this.#reads, this.#options.nowMs(), readPerSecond, readBurst)) {
      this.counters.held += 1;
      return;
    }
    const message = decodeMdns(bytes);
    if (message === undefined) return;
    this.counters.heard += 1;
    if (message.kind === "question") {
      if (message.known.includes(instanceOf(this.#options.key))) return;
      if (!takeToken(this.#bucket, this.#options.nowMs(), answersPerSecond, answersBurst)) return;
      this.#answer(message, from, fromPort);
      return;
    }
    // Section 6: an answer comes from the service's own port.
    if (fromPort !== port) {
      this.counters.refused += 1;
      return;
    }
    for (const found of message.found) this.#take(found, from);
  }

  /** Whoever asks from another port is no member of the group, and hears what is sent to it alone. */
  #answer(asked: MdnsMessage & { kind: "question" }, address: string, fromPort: number): void {
    const isLegacy = fromPort !== port;
    const isNews = this.#options.nowMs() - this.#saidMs >= saidMs;
    if (!isLegacy && (isNews || !asked.unicast)) return void this.#announce();
    const bytes = isLegacy
      ? encodeLegacyAnswer(this.#options, asked.id)
      : encodeAnswer(this.#options, ttlSeconds);
    this.counters.announced += 1;
    const socket = this.#sockets.get(address.includes(":") ? "udp6" : "udp4");
    // That it is gone already is its own affair.
    socket?.send(bytes, fromPort, address, () => undefined);
  }

  #take(found: Found, address: string): void {
    const { admits, key, nowMs } = this.#options;
    if (found.key === key) return;
    if (!admits(found.identity)) {
      this.counters.strangers += 1;
      return;
    }
    // IPv4 and IPv6 of one are two places to look.
    const name = `${found.key} ${address}`;
    if (found.ttlSeconds === 0) this.#known.delete(name);
    else if (!this.#known.has(name) && this.#known.size >= mdnsFoundMax) this.counters.full += 1;
    else {
      const endpoint = { address, port: found.port };
      this.#known.set(name, { found, endpoint, untilMs: nowMs() + found.ttlSeconds * 1_000 });
    }
    this.#tell();
  }

  #expire(): void {
    const now = this.#options.nowMs();
    for (const [name, { untilMs }] of this.#known) if (untilMs <= now) this.#known.delete(name);
    this.#tell();
  }

  #tell(): void {
    const text = [...this.#known.entries()].map(
      ([name, { endpoint }]) => `${name} ${endpoint.port}`,
    );
    if (text.join() === this.#told) return;
    this.#told = text.join();
    this.#options.changed(
      [...this.#known.values()].map(({ endpoint, found: { identity } }) => {
        return { identity, endpoint, hint: true };
      }),
    );
  }
}

/** Link-local, or in a network of one of the interfaces. */
function isOnLink(address: string): boolean {
  const [bare = ""] = address.split("%");
  if (bare.startsWith("fe80:")) return true;
  for (const infos of Object.values(networkInterfaces())) {
    for (const { cidr } of infos ?? []) if (isInside(bare, cidr)) return true;
  }
  return false;
}

function isInside(address: string, cidr: string | null): boolean {
  const [network = "", bits = ""] = cidr?.split("/") ?? [];
  const [own, other] = [parseAddress(address), parseAddress(network)];
  if (own === undefined || other === undefined || own.family !== other.family) return false;
  const mask = (it: typeof own): string => maskHostBits(it, Number(bits)).bytes.join();
  return mask(own) === mask(other);
}

function scopeOf(name: string): number | undefined {
  const infos = networkInterfaces()[name] ?? [];
  for (const info of infos) if (info.family === "IPv6" && info.scopeid > 0) return info.scopeid;
  return undefined;
}

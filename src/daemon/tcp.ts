/**
 * Where a network lets no UDP out: datagrams in a TCP or TLS stream to a member that listens. On both
 * sides the stream ends at a UDP socket on loopback, so the data plane sees ordinary datagrams, and the
 * gate judges them like any others. TLS is for networks that look; who the other is, WireGuard says.
 */
import type { Socket, TCPSocketListener } from "bun";
import { MeshError } from "../base/errors.ts";
import { FrameReader, FrameWriter } from "./stream-frames.ts";

/** Streams that are open at one time; more are closed at once. */
export const streamsMax = 1_024;
export const streamsPerAddressMax = 32;
/** A stream without a byte for so long is closed. */
const idleSeconds = 120;
const connectMs = 5_000;
const retryMsMin = 1_000;
const retryMsMax = 30_000;

export interface TcpTarget {
  readonly tls: boolean;
  readonly host: string;
  readonly port: number;
}

export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

/** One stream, and the loopback socket that stands for its far end. */
interface Link {
  readonly reader: FrameReader;
  readonly writer: FrameWriter;
  readonly remote: string;
  udp: Bun.udp.Socket<"buffer"> | undefined;
  /** Datagrams that came before the loopback socket was there. */
  early: Uint8Array[];
}

const earlyMax = 8;

/** Takes streams from members that cannot send UDP. */
export class TcpListener {
  readonly #port: number;
  readonly #links = new Map<Socket<Link>, Link>();
  #listener: TCPSocketListener<Link> | undefined;
  refused = 0;

  /** `udpPort`: where the data plane listens. */
  constructor(udpPort: number) {
    this.#port = udpPort;
  }

  /** @throws MeshError where the port cannot be had. */
  listen(port: number, tls: TlsFiles | undefined): void {
    try {
      this.#listener = Bun.listen<Link>({
        hostname: "::",
        port,
        ...(tls === undefined ? {} : { tls: { cert: Bun.file(tls.cert), key: Bun.file(tls.key) } }),
        socket: {
          open: (socket) => this.#open(socket),
          data: (socket, chunk) => receive(socket, chunk, this.#port),
          drain: (socket) => socket.data?.writer.flush(),
          close: (socket) => this.#close(socket),
          error: (socket) => this.#close(socket),
        },
      });
    } catch (error) {
      throw new MeshError(
        "tcp_port_unusable",
        `cannot listen on TCP port ${port}`,
        error instanceof Error ? error.message : String(error),
        "choose another port, or stop the program that holds it: ss -tlpn",
      );
    }
  }

  close(): void {
    this.#listener?.stop(true);
    for (const { udp } of this.#links.values()) udp?.close();
    this.#links.clear();
  }

  #open(socket: Socket<Link>): void {
    const remote = socket.remoteAddress;
    const alike = [...this.#links.values()].filter((link) => link.remote === remote).length;
    if (this.#links.size >= streamsMax || alike >= streamsPerAddressMax) {
      this.refused += 1;
      socket.terminate();
      return;
    }
    socket.timeout(idleSeconds);
    const link = makeLink(socket, remote);
    socket.data = link;
    this.#links.set(socket, link);
    // Each remote address has a loopback address of its own: the gate's limits are for each source.
    void openLoopback(link, loopbackOf(remote), this.#port, () => socket.terminate());
  }

  #close(socket: Socket<Link>): void {
    socket.data?.udp?.close();
    this.#links.delete(socket);
  }
}

/** Keeps a stream to a member that listens, for as long as it is wanted. */
export class TcpDialer {
  readonly #target: TcpTarget;
  readonly #addresses: () => readonly string[];
  readonly #udpPort: number;
  #socket: Socket<Link> | undefined;
  #udp: Bun.udp.Socket<"buffer"> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #closed = false;

  /** `addresses`: those of the target's host now, tried in turn. */
  constructor(target: TcpTarget, addresses: () => readonly string[], udpPort: number) {
    this.#target = target;
    this.#addresses = addresses;
    this.#udpPort = udpPort;
  }

  /** The port on loopback that stands for the member. */
  async open(): Promise<number> {
    this.#udp = await Bun.udpSocket({
      hostname: "127.0.0.1",
      socket: { data: (_, datagram) => this.#socket?.data?.writer.push(datagram) },
    });
    void this.#dial();
    return this.#udp.port;
  }

  get connected(): boolean {
    return this.#socket !== undefined;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket?.terminate();
    this.#udp?.close();
  }

  async #dial(): Promise<void> {
    const { host, port, tls } = this.#target;
    const addresses = this.#addresses();
    const address = addresses[this.#failures % Math.max(1, addresses.length)];
    if (address === undefined) return this.#again();
    const late = setTimeout(() => this.#again(), connectMs);
    try {
      await Bun.connect<Link>({
        hostname: address,
        port,
        ...(tls ? { tls: { rejectUnauthorized: false, serverName: host } } : {}),
        socket: {
          open: (socket) => {
            clearTimeout(late);
            if (this.#closed || this.#udp === undefined) return void socket.terminate();
            socket.timeout(idleSeconds);
            const link = makeLink(socket, "");
            link.udp = this.#udp;
            socket.data = link;
            this.#socket = socket;
            this.#failures = 0;
          },
          data: (socket, chunk) => receive(socket, chunk, this.#udpPort),
          drain: (socket) => socket.data?.writer.flush(),
          close: () => this.#again(),
          error: () => this.#again(),
          connectError: () => this.#again(),
        },
      });
    } catch {
      // Said by connectError too: it is tried again either way.
      this.#again();
    } finally {
      clearTimeout(late);
    }
  }

  #again(): void {
    this.#socket = undefined;
    if (this.#closed) return;
    clearTimeout(this.#timer);
    const wait = Math.min(retryMsMax, retryMsMin * 2 ** this.#failures);
    this.#failures = Math.min(this.#failures + 1, 16);
    this.#timer = setTimeout(() => void this.#dial(), wait);
  }
}

/** `[tls://]HOST:PORT`; undefined for anything else. */
export function parseTcpTarget(text: string): TcpTarget | undefined {
  const match = /^(tls:\/\/|tcp:\/\/)?(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/@\s]+)):([0-9]{1,5})$/.exec(
    text,
  );
  if (match === null) return undefined;
  const [, scheme, bracketed, plain, portText] = match;
  const port = Number(portText);
  const host = bracketed ?? plain;
  if (host === undefined || port < 1 || port > 65_535) return undefined;
  return { tls: scheme === "tls://", host, port };
}

/** 127.0.0.0/8 is all this machine's: an address of it for each remote one, never 127.0.0.1. */
export function loopbackOf(remote: string): string {
  const hash = Bun.hash.crc32(remote) >>> 0;
  return `127.${64 + ((hash >>> 16) & 63)}.${(hash >>> 8) & 255}.${1 + (hash % 254)}`;
}

function makeLink(socket: Socket<Link>, remote: string): Link {
  const writer = new FrameWriter((bytes) => socket.write(bytes));
  return { reader: new FrameReader(), writer, remote, udp: undefined, early: [] };
}

async function openLoopback(
  link: Link,
  hostname: string,
  udpPort: number,
  failed: () => void,
): Promise<void> {
  try {
    link.udp = await Bun.udpSocket({
      hostname,
      socket: { data: (_, datagram) => link.writer.push(datagram) },
    });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    failed();
    return;
  }
  for (const datagram of link.early) link.udp.send(datagram, udpPort, "127.0.0.1");
  link.early = [];
}

function receive(socket: Socket<Link>, chunk: Uint8Array, udpPort: number): void {
  const link = socket.data;
  if (link === undefined) return;
  const datagrams = link.reader.push(chunk);
  if (datagrams === undefined) {
    socket.terminate();
    return;
  }
  for (const datagram of datagrams) {
    if (link.udp !== undefined) link.udp.send(datagram, udpPort, "127.0.0.1");
    else if (link.early.length < earlyMax) link.early.push(datagram);
  }
}

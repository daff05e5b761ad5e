/**
 * The program at each end of a transfer, run inside a host: a stream of pseudo-random bytes that
 * both ends hash and nobody stores, and datagrams that are echoed and compared. One line of JSON
 * at the end says what was seen. `traffic.ts` starts it; the words of its command line are there.
 */
import { type Cipheriv, createCipheriv } from "node:crypto";

export interface Streamed {
  readonly bytes: number;
  readonly sha256: string;
  readonly seconds: number;
  /** The longest time without progress. */
  readonly stallMs: number;
}

export interface Echoed {
  readonly sent: number;
  readonly same: number;
  readonly different: number;
}

const chunkBytes = 64 * 1024;
/** Datagrams under way at a time: few enough for any socket buffer. */
const datagramsUnderWay = 8;
const datagramTimeoutMs = 5000;
/** How often a paced sender sends. */
const paceMs = 50;

/** The same bytes for the same seed, as fast as the processor encrypts. */
class PseudoRandom {
  readonly #cipher: Cipheriv;
  readonly #zeros = new Uint8Array(chunkBytes);

  constructor(seed: number) {
    const key = new Bun.CryptoHasher("sha256").update(`seed ${seed}`).digest();
    this.#cipher = createCipheriv("aes-256-ctr", key, new Uint8Array(16));
  }

  next(bytes: number): Uint8Array {
    return this.#cipher.update(this.#zeros.subarray(0, bytes));
  }
}

/** What passed in a direction, and how smoothly. */
class Passed {
  readonly #hash = new Bun.CryptoHasher("sha256");
  #bytes = 0;
  #stallMs = 0;
  #startMs = performance.now();
  #lastMs = performance.now();

  start(): void {
    this.#startMs = performance.now();
    this.#lastMs = this.#startMs;
  }

  add(chunk: Uint8Array): void {
    const now = performance.now();
    this.#stallMs = Math.max(this.#stallMs, now - this.#lastMs);
    this.#lastMs = now;
    this.#bytes += chunk.length;
    this.#hash.update(chunk);
  }

  get bytes(): number {
    return this.#bytes;
  }

  result(): Streamed {
    return {
      bytes: this.#bytes,
      sha256: this.#hash.digest("hex"),
      seconds: (performance.now() - this.#startMs) / 1000,
      stallMs: Math.round(this.#stallMs),
    };
  }
}

/** Takes one connection, to its end. */
async function receive(hostname: string): Promise<Streamed> {
  const passed = new Passed();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const listener = Bun.listen({
    hostname,
    port: 0,
    socket: {
      open: () => passed.start(),
      data: (_, chunk) => passed.add(chunk),
      end: (socket) => {
        socket.end();
        resolve();
      },
      error: (_, error) => reject(error),
    },
  });
  say({ port: listener.port });
  await promise;
  listener.stop();
  return passed.result();
}

/** Sends `bytes`, or paced until standard input ends where a rate is given. */
async function send(hostname: string, port: number, seed: number, plan: Plan): Promise<Streamed> {
  const source = new PseudoRandom(seed);
  const passed = new Passed();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let unsent: Uint8Array = new Uint8Array();
  let allowed = plan.bytesPerSecond === undefined ? plan.bytes : 0;
  let complete = plan.bytesPerSecond === undefined;

  const push = (socket: Bun.Socket): void => {
    for (;;) {
      if (unsent.length === 0) {
        const next = Math.min(chunkBytes, allowed - passed.bytes);
        if (next <= 0) break;
        unsent = source.next(next);
        passed.add(unsent);
      }
      const written = socket.write(unsent);
      if (written < 0) {
        reject(new Error("the connection has gone"));
        return;
      }
      unsent = unsent.subarray(written);
      if (unsent.length > 0) return;
    }
    if (complete) socket.end();
  };

  const socket = await Bun.connect({
    hostname,
    port,
    socket: {
      open: () => passed.start(),
      drain: push,
      data: () => undefined,
      close: (_, error) => (error ? reject(error) : resolve()),
      error: (_, error) => reject(error),
    },
  });
  const { bytesPerSecond } = plan;
  if (bytesPerSecond !== undefined) {
    const pace = setInterval(() => {
      // What a stall held back is not made up for: the stream stays a stream.
      allowed = Math.max(allowed, passed.bytes) + (bytesPerSecond * paceMs) / 1000;
      if (unsent.length === 0) push(socket);
    }, paceMs);
    void inputEnd().then(() => {
      clearInterval(pace);
      allowed = passed.bytes;
      complete = true;
      push(socket);
    });
  }
  push(socket);
  await promise;
  if (unsent.length > 0) throw new Error(`${unsent.length} bytes were not sent`);
  return passed.result();
}

type Plan =
  | { readonly bytes: number; readonly bytesPerSecond?: undefined }
  | { readonly bytes?: undefined; readonly bytesPerSecond: number };

/** Sends every datagram back, until it is ended. */
async function echo(hostname: string): Promise<void> {
  const socket = await Bun.udpSocket({
    hostname,
    socket: { data: (from, datagram, port, address) => void from.send(datagram, port, address) },
  });
  say({ port: socket.port });
}

/** Sends `count` datagrams of 4 to `sizeMax` bytes to an echo, the largest among them. */
async function datagrams(
  hostname: string,
  port: number,
  seed: number,
  count: number,
  sizeMax: number,
): Promise<Echoed> {
  const source = new PseudoRandom(seed);
  const waiting = new Map<number, { bytes: Uint8Array; arrived: () => void }>();
  const result = { sent: 0, same: 0, different: 0 };
  const socket = await Bun.udpSocket({
    hostname: hostname.includes(":") ? "::" : "0.0.0.0",
    connect: { hostname, port },
    socket: {
      data: (_, datagram) => {
        const number = datagram.length >= 4 ? datagram.readUInt32BE(0) : -1;
        const expected = waiting.get(number);
        waiting.delete(number);
        if (expected && Buffer.compare(datagram, expected.bytes) === 0) result.same += 1;
        else result.different += 1;
        expected?.arrived();
      },
    },
  });
  const exchange = async (number: number): Promise<void> => {
    const sizes = Math.max(1, sizeMax - 4);
    // Stepping by a prime visits small, middle and large sizes in turn.
    const size = number === 0 ? sizeMax : 4 + ((number * 397) % sizes);
    const bytes = Buffer.from(source.next(size));
    bytes.writeUInt32BE(number, 0);
    const { promise, resolve } = Promise.withResolvers<void>();
    waiting.set(number, { bytes, arrived: resolve });
    result.sent += 1;
    socket.send(bytes);
    await Promise.race([promise, Bun.sleep(datagramTimeoutMs)]);
  };
  for (let first = 0; first < count; first += datagramsUnderWay) {
    const last = Math.min(count, first + datagramsUnderWay);
    const burst = Array.from({ length: last - first }, (_, index) => exchange(first + index));
    await Promise.all(burst);
    if (waiting.size >= datagramsUnderWay) break;
  }
  socket.close();
  return result;
}

async function inputEnd(): Promise<void> {
  for await (const _ of Bun.stdin.stream());
}

function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

async function main([role, hostname = "", ...words]: readonly string[]): Promise<void> {
  const [port = 0, seed = 0, third = 0, fourth = 0] = words.map(Number);
  if (role === "receive") say(await receive(hostname));
  else if (role === "send") say(await send(hostname, port, seed, { bytes: third }));
  else if (role === "pace") say(await send(hostname, port, seed, { bytesPerSecond: third }));
  else if (role === "echo") return await echo(hostname);
  else if (role === "datagrams") say(await datagrams(hostname, port, seed, third, fourth));
  else throw new Error(`no role ${role}`);
  process.exit(0);
}

if (import.meta.main) await main(process.argv.slice(2));

/**
 * What hosts say to one another through a tunnel: pings, streams whose two ends must agree on every
 * byte, datagrams that must come back as they went, and a stream that goes on until it is told to
 * stop. Each gives what was measured; what fails to run at all is an error with its output.
 */
import { join } from "node:path";
import type { Echoed, Streamed } from "./load.ts";
import { describe, type Running, until } from "./process.ts";
import type { Host } from "./stage.ts";

const program = join(import.meta.dir, "load.ts");
const transferTimeoutMsBase = 30_000;
/** A transfer slower than this, in bytes a millisecond, is given up: 8 Mbit/s. */
const transferRateMin = 1000;

export interface PingOptions {
  readonly count?: number;
  /** Of the payload, in bytes. */
  readonly size?: number;
  /** Until all answers are there. */
  readonly timeoutMs?: number;
}

/** Mean round trip in ms; an error where any of the pings stays without an answer. */
export async function ping(
  host: Host,
  address: string,
  options: PingOptions = {},
): Promise<number> {
  const { count = 3, size = 56, timeoutMs = 10_000 } = options;
  const words = ["-n", "-c", `${count}`, "-s", `${size}`, "-i", "0.05", "-W", "5", address];
  const ran = await host.run(["ping", ...words], { timeoutMs });
  if (ran.code !== 0) throw new Error(`ping ${words.join(" ")}: ${describe(ran)}`);
  const mean = /= [\d.]+\/([\d.]+)\//.exec(ran.stdout)?.[1];
  return Number(mean);
}

/** As many pings as fast as they are answered, at least 100 a second. One may stay without an
 * answer: for the last, ping waits only twice as long as the slowest before it took. */
export async function flood(host: Host, address: string, count: number): Promise<void> {
  const words = ["-n", "-q", "-f", "-c", `${count}`, "-W", "5", address];
  const ran = await host.run(["ping", ...words], { timeoutMs: 20_000 });
  const received = Number(/ (\d+) received/.exec(ran.stdout)?.[1]);
  if (ran.code !== 0 || received < count - 1) {
    throw new Error(`ping ${words.join(" ")}: ${describe(ran)}`);
  }
}

/** Whether one ping is answered before a first initiation would be sent again. */
export async function answers(host: Host, address: string, ...words: string[]): Promise<boolean> {
  const ran = await host.run(["ping", "-n", "-c", "1", "-W", "3", ...words, address]);
  return ran.code === 0;
}

/** Pings until the first answer, as it takes to open a session. */
export async function firstPing(host: Host, address: string, timeoutMs = 10_000): Promise<void> {
  const words = ["-n", "-c", "1", "-i", "0.1", "-w", `${Math.ceil(timeoutMs / 1000)}`, address];
  const ran = await host.run(["ping", ...words], { timeoutMs: timeoutMs + 2000 });
  if (ran.code !== 0) throw new Error(`no answer from ${address}: ${describe(ran)}`);
}

export interface Transfer {
  readonly sent: Streamed;
  readonly received: Streamed;
}

/** Streams bytes over TCP to a host's address. The caller compares the two hashes. */
export async function transfer(
  from: Host,
  to: Host,
  address: string,
  bytes: number,
  seed = 1,
): Promise<Transfer> {
  const receiver = await Listener.start(to, "receive", address);
  const timeoutMs = transferTimeoutMsBase + bytes / transferRateMin;
  const command = [...bun("send"), address, `${receiver.port}`, `${seed}`, `${bytes}`];
  try {
    const sent: Streamed = JSON.parse(await from.runOk(command, { timeoutMs }));
    return { sent, received: await receiver.result<Streamed>() };
  } finally {
    await receiver.running.stop();
  }
}

/** Sends datagrams of all sizes up to `sizeMax` to an echo. */
export async function datagrams(
  from: Host,
  to: Host,
  address: string,
  sizeMax: number,
  count = 200,
): Promise<Echoed> {
  const echo = await Listener.start(to, "echo", address);
  try {
    const words = [address, `${echo.port}`, "7", `${count}`, `${sizeMax}`];
    return JSON.parse(await from.runOk([...bun("datagrams"), ...words], { timeoutMs: 60_000 }));
  } finally {
    await echo.running.stop();
  }
}

/** A paced TCP stream that goes on until `end`. */
export class SteadyStream {
  readonly #sender: Running;
  readonly #receiver: Listener;

  private constructor(sender: Running, receiver: Listener) {
    this.#sender = sender;
    this.#receiver = receiver;
  }

  static async start(
    from: Host,
    to: Host,
    address: string,
    bytesPerSecond: number,
  ): Promise<SteadyStream> {
    const receiver = await Listener.start(to, "receive", address);
    const words = [address, `${receiver.port}`, "3", `${bytesPerSecond}`];
    return new SteadyStream(from.start([...bun("pace"), ...words]), receiver);
  }

  get running(): boolean {
    return this.#sender.running && this.#receiver.running.running;
  }

  async end(): Promise<Transfer> {
    this.#sender.closeInput();
    const received = await this.#receiver.result<Streamed>();
    const code = await this.#sender.exited;
    if (code !== 0) throw new Error(`the sender ended with ${code}\n${this.#sender.log()}`);
    return { sent: JSON.parse(this.#sender.log()), received };
  }
}

/** A `load.ts` that told us its port. */
class Listener {
  readonly running: Running;
  readonly port: number;

  private constructor(running: Running, port: number) {
    this.running = running;
    this.port = port;
  }

  static async start(host: Host, role: "receive" | "echo", address: string): Promise<Listener> {
    const running = host.start([...bun(role), address]);
    const evidence = (): string => running.log();
    const first = await until("a listener", () => lines(running)[0], { evidence });
    const { port }: { port: number } = JSON.parse(first);
    return new Listener(running, port);
  }

  /** Its last word, after it ended. */
  async result<Result>(): Promise<Result> {
    const evidence = (): string => this.running.log();
    const last = await until("the receiver's result", () => lines(this.running)[1], { evidence });
    return JSON.parse(last);
  }
}

/** Whole lines only. */
function lines(running: Running): string[] {
  return running.log().split("\n").slice(0, -1);
}

function bun(role: string): string[] {
  return [process.execPath, program, role];
}

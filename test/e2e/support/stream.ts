/**
 * A TCP stream through a tunnel that never pauses by itself: what interrupts it shows as a gap at the
 * receiver, and what breaks it as its end.
 */
import { type Running, until } from "./process.ts";
import type { Host } from "./stage.ts";

const everyMs = 10;
let ports = 9_000;

const receiver = (address: string, port: number): string => `
  let last = 0, worst = 0, bytes = 0;
  Bun.listen({ hostname: ${JSON.stringify(address)}, port: ${port}, socket: {
    data(s, chunk) {
      const now = performance.now();
      if (last > 0) worst = Math.max(worst, now - last);
      last = now; bytes += chunk.length;
    },
    close() { console.log("closed"); },
  } });
  console.log("listening");
  setInterval(() => {
    const silent = last === 0 ? 0 : performance.now() - last;
    console.log("gap " + Math.round(Math.max(worst, silent)) + " " + bytes + " " + Math.round(silent));
  }, 100);
  process.on("SIGUSR1", () => { worst = 0; console.log("reset"); });
`;

const sender = (address: string, port: number): string => `
  const block = new Uint8Array(200);
  await Bun.connect({ hostname: ${JSON.stringify(address)}, port: ${port}, socket: {
    open(s) { console.log("open"); setInterval(() => s.write(block), ${everyMs}); },
    data() {}, close() { console.log("closed"); process.exit(1); },
  } });
`;

export class Stream {
  readonly #receiver: Running;
  readonly #sender: Running;

  private constructor(to: Running, from: Running) {
    this.#receiver = to;
    this.#sender = from;
  }

  static async open(from: Host, to: Host, address: string): Promise<Stream> {
    ports += 1;
    const port = ports;
    const listening = to.start([process.execPath, "-e", receiver(address, port)]);
    await until("the receiver", () => listening.log().includes("listening"));
    const sending = from.start([process.execPath, "-e", sender(address, port)]);
    const stream = new Stream(listening, sending);
    await until("the stream", () => stream.#last()[1] > 0, { evidence: () => sending.log() });
    return stream;
  }

  /** Neither end has seen it close. */
  get whole(): boolean {
    return !this.#receiver.log().includes("closed") && !this.#sender.log().includes("closed");
  }

  /** Bytes that arrived. */
  get bytes(): number {
    return this.#last()[1];
  }

  /** Until bytes have come for a while. */
  async flows(): Promise<void> {
    const before = this.bytes;
    await until("bytes to come", () => this.bytes > before + 10_000, { timeoutMs: 30_000 });
  }

  /** Forgets the gaps so far. */
  async reset(): Promise<void> {
    const before = this.#receiver.log().split("reset").length;
    const pid =
      Number(Bun.spawnSync(["pgrep", "-P", `${this.#receiver.pid}`]).stdout) || this.#receiver.pid;
    process.kill(pid, "SIGUSR1");
    await until("the reset", () => this.#receiver.log().split("reset").length > before);
  }

  /** The longest time without a byte since the last reset, once bytes have come again. */
  async worstGapMs(timeoutMs: number): Promise<number> {
    await until("the stream to go on", () => this.whole && this.#last()[2] < 500, { timeoutMs });
    return this.#last()[0];
  }

  async close(): Promise<void> {
    await this.#sender.stop();
    await this.#receiver.stop();
  }

  /** Worst gap, bytes, silence. */
  #last(): [number, number, number] {
    const line = this.#receiver
      .log()
      .trimEnd()
      .split("\n")
      .findLast((each) => each.startsWith("gap "));
    const [, gap = 0, bytes = 0, silent = 0] = (line ?? "").split(" ").map(Number);
    return [gap, bytes, silent];
  }
}

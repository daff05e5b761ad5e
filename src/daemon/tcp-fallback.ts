/**
 * When to use TCP: where members that listen are named, and no session lives for a while. What it opens
 * stands for a seed on loopback; that the seed is spoken to by TCP, the node need not know.
 */
import type { Seed } from "../mesh/introducer.ts";
import { parseIdentity } from "../trust/identity.ts";
import { parseTcpTarget, TcpDialer, type TcpTarget } from "./tcp.ts";

export interface TcpSeed {
  readonly identity?: Uint8Array;
  readonly target: TcpTarget;
}

export const tcpSeedsMax = 4;
const lookMs = 200;
/** Without a session for so long: UDP does not get out, or not in time. */
const aloneMsMax = 800;

/** `[KEY@][tls://]HOST:PORT`; undefined for anything else. */
export function parseTcpSeed(text: string): TcpSeed | undefined {
  const at = text.lastIndexOf("@");
  const identity = at < 0 ? undefined : parseIdentity(text.slice(0, at));
  if (at >= 0 && identity === undefined) return undefined;
  const target = parseTcpTarget(text.slice(at + 1));
  if (target === undefined) return undefined;
  return identity === undefined ? { target } : { identity, target };
}

export interface TcpFallbackOptions {
  readonly seeds: readonly TcpSeed[];
  /** Where the data plane listens. */
  readonly udpPort: number;
  readonly nowMs: () => number;
  /** Whether no session with any member lives. */
  readonly isAlone: () => boolean;
  /** These too are seeds from now on. */
  readonly opened: (seeds: readonly Seed[]) => void;
  readonly warn: (text: string) => void;
}

export class TcpFallback {
  readonly #options: TcpFallbackOptions;
  readonly #dialers: TcpDialer[] = [];
  #timer: ReturnType<typeof setInterval> | undefined;
  #aloneSinceMs: number | undefined;

  constructor(options: TcpFallbackOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#options.seeds.length === 0) return;
    this.#timer = setInterval(() => this.#look(), lookMs);
  }

  stop(): void {
    clearInterval(this.#timer);
    for (const dialer of this.#dialers) dialer.close();
  }

  #look(): void {
    const { isAlone, nowMs } = this.#options;
    if (!isAlone()) {
      this.#aloneSinceMs = undefined;
      return;
    }
    this.#aloneSinceMs ??= nowMs();
    if (nowMs() - this.#aloneSinceMs < aloneMsMax) return;
    clearInterval(this.#timer);
    void this.#open();
  }

  async #open(): Promise<void> {
    const { seeds, udpPort, opened, warn } = this.#options;
    warn("no member answers over UDP; TCP is tried as well");
    const open: Seed[] = [];
    for (const { identity, target } of seeds) {
      const dialer = new TcpDialer(target, udpPort);
      this.#dialers.push(dialer);
      const endpoint = { address: "127.0.0.1", port: await dialer.open() };
      open.push(identity === undefined ? { endpoint } : { identity, endpoint });
    }
    opened(open);
  }
}

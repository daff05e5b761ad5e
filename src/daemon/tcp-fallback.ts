/**
 * When to use TCP: where members that listen are named, and no session lives for a while. What it opens
 * stands for a seed on loopback; that the seed is spoken to by TCP, the node need not know. Owns the
 * addresses of those members: routes through an exit node must not lead there, and names are resolved
 * before one is in use.
 */
import { formatEndpoint } from "../base/endpoint.ts";
import type { Seed } from "../mesh/introducer.ts";
import { parseIdentity } from "../trust/identity.ts";
import { HostResolver, type ResolverClock } from "./host-resolver.ts";
import type { MeshConfig } from "./setting.ts";
import { parseTcpTarget, TcpDialer, TcpListener, type TcpTarget } from "./tcp.ts";

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
  /** `addresses` are others now. */
  readonly moved: () => void;
  readonly resolver: ResolverClock;
}

/** For members that cannot send UDP, where that is configured. */
export function listenForTcp(config: MeshConfig, udpPort: number): TcpListener | undefined {
  const { tcp_listen: port, tcp_cert: cert, tcp_key: key } = config;
  if (port === 0) return undefined;
  const listener = new TcpListener(udpPort);
  listener.listen(port, cert === "" ? undefined : { cert, key });
  return listener;
}

export class TcpFallback {
  readonly #options: TcpFallbackOptions;
  readonly #dialers: TcpDialer[] = [];
  /** Where they stand for members, as text. */
  readonly #stands = new Set<string>();
  readonly #resolver: HostResolver<TcpTarget>;
  #known: ReadonlyMap<TcpTarget, readonly string[]> = new Map();
  #timer: ReturnType<typeof setInterval> | undefined;
  #aloneSinceMs: number | undefined;

  constructor(options: TcpFallbackOptions) {
    this.#options = options;
    this.#resolver = new HostResolver(
      options.seeds.map(({ target }) => target),
      {
        ...options.resolver,
        what: "the member to reach by TCP",
        changed: (found) => {
          const by = Map.groupBy(found, ({ place }) => place);
          this.#known = new Map(
            [...by].map(([target, each]) => [target, each.map(({ address }) => address)]),
          );
          options.moved();
        },
      },
    );
  }

  /** Where the streams lead, or may. */
  get addresses(): readonly string[] {
    return [...this.#known.values()].flat();
  }

  /** Whether a seed there is one of these. */
  isOwn(endpoint: string): boolean {
    return this.#stands.has(endpoint);
  }

  start(): void {
    if (this.#options.seeds.length === 0) return;
    this.#resolver.start();
    this.#timer = setInterval(() => this.#look(), lookMs);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#resolver.stop();
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
    const { seeds, udpPort, opened, resolver } = this.#options;
    resolver.warn("no member answers over UDP; TCP is tried as well");
    const open: Seed[] = [];
    for (const { identity, target } of seeds) {
      const dialer = new TcpDialer(target, () => this.#known.get(target) ?? [], udpPort);
      this.#dialers.push(dialer);
      const endpoint = { address: "127.0.0.1", port: await dialer.open() };
      this.#stands.add(formatEndpoint(endpoint));
      open.push(identity === undefined ? { endpoint } : { identity, endpoint });
    }
    opened(open);
  }
}

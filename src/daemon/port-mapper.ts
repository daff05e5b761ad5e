/**
 * Keeps one UDP port forwarded by the default gateway: asks by PCP, by NAT-PMP, then by UPnP, renews what
 * it got, and gives it back at the end. Owns when; how is gateway-protocols.ts's. What a gateway says is
 * a hint like any other: an address that is not of the internet is refused, a lifetime is taken within
 * bounds, and nobody is told of more than one address.
 */
import type { Endpoint } from "../base/endpoint.ts";
import { isGlobal } from "../base/ip.ts";
import type { Random } from "../base/random.ts";
import { hasRestarted, type MapWish, pcpNonceBytes } from "../nat/pcp.ts";
import type { Control } from "../nat/upnp.ts";
import type { Gateway } from "./gateway.ts";
import {
  askGateway,
  type Mapped,
  type PortmapProtocol,
  portmapProtocols,
  type Question,
  release,
} from "./gateway-protocols.ts";

export const lifetimeSeconds = 7_200;
const lifetimeSecondsMin = 120;
/** A gateway that was restarted has forgotten: it is asked again before half of the lifetime is over. */
const renewMsMax = 600_000;
const renewMsMin = 60_000;
/** Where no gateway maps, or there is none; the wait doubles from one to the other. */
const retryMsMin = 60_000;
const retryMsMax = 600_000;
/** Addresses come one after the other when a network changes. */
const settleMs = 2_000;
const releaseMs = 1_500;

export interface PortMapperOptions {
  readonly random: Random;
  readonly internalPort: number;
  readonly gateway: () => Gateway | undefined;
  /** Where the gateway forwards from; undefined: nowhere any more. */
  readonly changed: (mapped: Endpoint | undefined) => void;
  readonly nowMs: () => number;
}

export interface PortMapperStatus {
  readonly gateway: string | null;
  /** What came of each; only those that were asked. */
  readonly asked: Readonly<Partial<Record<PortmapProtocol, string>>>;
  readonly mapped: {
    readonly by: PortmapProtocol;
    readonly address: string;
    readonly port: number;
    readonly expires_s: number;
  } | null;
}

interface Held {
  readonly protocol: PortmapProtocol;
  readonly gateway: Gateway;
  readonly mapped: Mapped;
  readonly atMs: number;
  readonly expiresMs: number;
}

export class PortMapper {
  readonly counters = { requestsSent: 0, malformed: 0, refused: 0, reserved: 0, restarts: 0 };
  readonly #options: PortMapperOptions;
  readonly #nonce: Uint8Array;
  #asked: Partial<Record<PortmapProtocol, string>> = {};
  #gateway: Gateway | undefined;
  #held: Held | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #round = 0;
  #running = false;
  #stopped = false;

  constructor(options: PortMapperOptions) {
    this.#options = options;
    this.#nonce = options.random.bytes(pcpNonceBytes);
  }

  start(): void {
    this.#later(0);
  }

  networkChanged(): void {
    if (this.#stopped) return;
    this.#round += 1;
    this.#failures = 0;
    this.#later(settleMs);
  }

  /** Gives the port back, as far as the gateway answers in time. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#round += 1;
    clearTimeout(this.#timer);
    const held = this.#held;
    this.#held = undefined;
    if (held === undefined) return;
    const question = this.#question(held.gateway, held.mapped.port, held.mapped.control);
    await this.#giveBack(held.protocol, question);
  }

  status(): PortMapperStatus {
    const held = this.#held;
    return {
      gateway: this.#gateway?.address ?? null,
      asked: this.#asked,
      mapped:
        held === undefined
          ? null
          : {
              by: held.protocol,
              address: held.mapped.address,
              port: held.mapped.port,
              expires_s: Math.max(0, Math.round((held.expiresMs - this.#options.nowMs()) / 1000)),
            },
    };
  }

  #later(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#turn(), ms);
  }

  async #turn(): Promise<void> {
    if (this.#running) return this.#later(settleMs);
    this.#running = true;
    const round = this.#round;
    const waitMs = await this.#keep(round).catch((error: unknown) => {
      // Without a port the node goes on as ever; the system refused a socket or a file.
      const why = error instanceof Error ? error.message : String(error);
      this.#asked = Object.fromEntries(portmapProtocols.map((protocol) => [protocol, why]));
      return retryMsMax;
    });
    this.#running = false;
    if (round === this.#round && !this.#stopped) this.#later(waitMs);
  }

  /** Until when nothing is to be done. */
  async #keep(round: number): Promise<number> {
    const gateway = this.#options.gateway();
    this.#gateway = gateway;
    const moved =
      gateway?.address !== this.#held?.gateway.address ||
      gateway?.local !== this.#held?.gateway.local;
    if (moved) this.#hold(undefined);
    // Who has an address of the internet needs nobody who forwards to it.
    if (gateway === undefined || isGlobal(gateway.local)) {
      this.#asked = {};
      return retryMsMax;
    }
    const held = this.#held;
    const first = held === undefined ? [] : [held.protocol];
    const order = [...first, ...portmapProtocols.filter((each) => !first.includes(each))];
    const asked: Partial<Record<PortmapProtocol, string>> = {};
    for (const protocol of order) {
      const answer = await this.#ask(protocol, gateway);
      if (round !== this.#round || this.#stopped) return retryMsMax;
      asked[protocol] = typeof answer === "string" ? answer : "mapped";
      this.#asked = { ...asked };
      if (typeof answer === "string") continue;
      this.#failures = 0;
      this.#hold({ protocol, gateway, ...answer });
      const half = (answer.expiresMs - answer.atMs) / 2;
      return Math.min(renewMsMax, Math.max(renewMsMin, half));
    }
    // What was mapped before may last until its time is over.
    if (held !== undefined && held.expiresMs > this.#options.nowMs()) return renewMsMin;
    this.#hold(undefined);
    this.#failures += 1;
    return Math.min(retryMsMax, retryMsMin * 2 ** (this.#failures - 1));
  }

  async #ask(
    protocol: PortmapProtocol,
    gateway: Gateway,
  ): Promise<Omit<Held, "protocol" | "gateway"> | string> {
    const held = this.#held?.protocol === protocol ? this.#held : undefined;
    const port = held?.mapped.port ?? this.#options.internalPort;
    const question = this.#question(gateway, port, held?.mapped.control);
    const answer = await askGateway(protocol, question).catch((error: unknown) =>
      error instanceof Error ? error.message : String(error),
    );
    if (typeof answer === "string") return answer;
    if (!isGlobal(answer.address)) {
      this.counters.reserved += 1;
      const { control } = answer;
      const told = { ...question, control, wish: { ...question.wish, externalPort: answer.port } };
      await this.#giveBack(protocol, told);
      return `its outside address ${answer.address} is of a reserved range`;
    }
    const atMs = this.#options.nowMs();
    if (held !== undefined && isRestart(held, answer, atMs)) this.counters.restarts += 1;
    const seconds = Math.min(lifetimeSeconds, Math.max(lifetimeSecondsMin, answer.lifetimeSeconds));
    return { mapped: answer, atMs, expiresMs: atMs + seconds * 1_000 };
  }

  /** As far as the gateway takes it back in time; if not, the lease ends by itself. */
  async #giveBack(protocol: PortmapProtocol, question: Question): Promise<void> {
    const given = release(protocol, question).catch(() => undefined);
    await Promise.race([given, Bun.sleep(releaseMs)]);
  }

  #question(gateway: Gateway, externalPort: number, control: Control | undefined): Question {
    const { internalPort, random } = this.#options;
    const client = gateway.local;
    const wish: MapWish = {
      client,
      nonce: this.#nonce,
      internalPort,
      externalPort,
      lifetimeSeconds,
    };
    const randomPort = (): number => 1_024 + random.below(65_536 - 1_024);
    return { gateway, wish, counters: this.counters, randomPort, control };
  }

  #hold(held: Held | undefined): void {
    const before = this.#held;
    this.#held = held;
    const same =
      before?.mapped.address === held?.mapped.address && before?.mapped.port === held?.mapped.port;
    if (same) return;
    const { mapped } = held ?? {};
    this.#options.changed(
      mapped === undefined ? undefined : { address: mapped.address, port: mapped.port },
    );
  }
}

function isRestart(held: Held, { epochSeconds }: Mapped, atMs: number): boolean {
  const before = held.mapped.epochSeconds;
  if (before === undefined || epochSeconds === undefined) return false;
  return hasRestarted(
    { epochSeconds: before, atSeconds: held.atMs / 1_000 },
    { epochSeconds, atSeconds: atMs / 1_000 },
  );
}

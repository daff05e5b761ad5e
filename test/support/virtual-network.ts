/**
 * A network of datagrams on a virtual clock: seeded loss, duplication and delay, hence reordering.
 * Who listens is named by endpoint; a datagram to nobody is lost. Nothing happens by itself:
 * `deliver` hands over what is due.
 */
import { Deadlines } from "../../src/base/deadlines.ts";
import { type Endpoint, formatEndpoint } from "../../src/base/endpoint.ts";
import type { SeededRandom } from "./seeded-random.ts";

export interface NetworkConditions {
  /** Probabilities. */
  readonly loss: number;
  readonly duplication: number;
  readonly delayMs: readonly [least: number, most: number];
}

export interface Packet {
  readonly from: Endpoint;
  readonly to: Endpoint;
  readonly bytes: Uint8Array;
}

export type Listener = (packet: Packet) => void;

export class VirtualNetwork {
  conditions: NetworkConditions;
  /** Sees each packet that is sent; false loses it. */
  filter: (packet: Packet) => boolean = () => true;
  sent = 0;
  readonly #random: SeededRandom;
  readonly #listeners = new Map<string, Listener>();
  readonly #inFlight = new Deadlines<Packet>();

  constructor(random: SeededRandom, conditions: Partial<NetworkConditions> = {}) {
    this.#random = random;
    this.conditions = { loss: 0, duplication: 0, delayMs: [5, 5], ...conditions };
  }

  listen(at: Endpoint, listener: Listener): void {
    this.#listeners.set(formatEndpoint(at), listener);
  }

  leave(at: Endpoint): void {
    this.#listeners.delete(formatEndpoint(at));
  }

  send(nowMs: number, from: Endpoint, to: Endpoint, bytes: Uint8Array): void {
    this.sent += 1;
    const { loss, duplication } = this.conditions;
    if (!this.filter({ from, to, bytes })) return;
    if (this.#random.chance(loss)) return;
    do {
      // A new object each time: packets are told apart by identity.
      this.#inFlight.set({ from, to, bytes: bytes.slice() }, nowMs + this.#delay());
    } while (this.#random.chance(duplication));
  }

  next(): number | undefined {
    return this.#inFlight.next();
  }

  deliver(nowMs: number): void {
    for (;;) {
      const packet = this.#inFlight.takeDue(nowMs);
      if (packet === undefined) return;
      this.#listeners.get(formatEndpoint(packet.to))?.(packet);
    }
  }

  #delay(): number {
    const [least, most] = this.conditions.delayMs;
    return least + this.#random.below(most - least + 1);
  }
}

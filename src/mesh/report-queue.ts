/**
 * What waits to be told to the daemon: events in order up to a bound, each warning once for a subject,
 * and of the handshake stamps that were sent only the last, before everything else.
 */
import { type Endpoint, formatEndpoint } from "../base/endpoint.ts";
import { Fifo } from "../base/fifo.ts";
import type { NodeEvent, WarningCode } from "./report.ts";

const eventsMax = 65_536;
const warningsMax = 256;

export class ReportQueue {
  dropped = 0;
  #stamp: NodeEvent | undefined;
  readonly #warned = new Set<string>();
  readonly #events = new Fifo<NodeEvent>();

  push(event: NodeEvent): void {
    if (this.#events.size >= eventsMax) this.dropped += 1;
    else this.#events.push(event);
  }

  stamp(event: NodeEvent): void {
    this.#stamp = event;
  }

  /** `about`: a member, or where a seed is. */
  warn(code: WarningCode, about: string | Endpoint): void {
    const subject = typeof about === "string" ? about : formatEndpoint(about);
    const key = `${code} ${subject}`;
    if (this.#warned.has(key) || this.#warned.size >= warningsMax) return;
    this.#warned.add(key);
    this.push({ kind: "warning", code, subject });
  }

  poll(): NodeEvent | undefined {
    const stamp = this.#stamp;
    this.#stamp = undefined;
    return stamp ?? this.#events.shift();
  }
}

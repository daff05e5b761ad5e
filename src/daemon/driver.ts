/**
 * The only loop: it carries events and datagrams from the data plane to an engine (a table of peers,
 * or a mesh node) and commands and datagrams back, in turns. A turn: events, datagrams, timeouts,
 * requests of others, then records, commands, transmits, in that order: what must outlive a crash is
 * recorded, and keys are installed, before a message leaves that depends on them. Decides nothing.
 */
import type { Instant } from "../base/clock.ts";
import type { Command, DataplaneEvent, ReceivedDatagram, Transmit } from "../mesh/dataplane.ts";
import type { CommandFailure, NativeDataplane } from "../native/dataplane.ts";
import type { Clock } from "./clock.ts";

/** A core, with its five verbs and commands for the data plane. */
export interface Engine<Report> {
  handleEvent(now: Instant, event: DataplaneEvent): void;
  handleDatagram(now: Instant, datagram: ReceivedDatagram): void;
  handleTimeout(now: Instant): void;
  /** Monotonic ms. */
  nextTimeout(): number | undefined;
  pollCommand(): Command | undefined;
  pollTransmit(): Transmit | undefined;
  pollEvent(): Report | undefined;
}

export type DriverDataplane = Pick<
  NativeDataplane,
  "events" | "receive" | "apply" | "send" | "arm" | "doorbell"
>;

/** What a daemon does in a turn, beside its engine. */
export interface Duties<Report> {
  /** What the engine reported; whatever must survive a crash does when this returns. */
  record(now: Instant, reports: readonly Report[]): void;
  /** Each event of the data plane, first; false keeps it from the engine. */
  observe(now: Instant, event: DataplaneEvent): boolean;
  /** Once a turn: answer those who ask. */
  serve(now: Instant): void;
  refused(failures: readonly CommandFailure[]): void;
  warn(text: string): void;
  /** A turn threw; there will be no other. */
  failed(error: unknown): void;
}

/** Batches of datagrams in a turn; then the event loop gets its turn. */
const batchesPerTurn = 64;
/** Suspend stops timers but not the engine's clock, so no timer is longer. */
const timerMsMax = 15_000;
/** Until the doorbell has rung once, the data plane is looked at this often, in ms. */
const unprovedMs = 500;
/** A doorbell that stays silent this long after it should have rung is given up, in ms. */
const doorbellGraceMs = 1000;
const pollMs = 5;

export class Driver<Report> {
  readonly #engine: Engine<Report>;
  readonly #dataplane: DriverDataplane;
  readonly #clock: Clock;
  readonly #duties: Duties<Report>;
  #doorbell: { close(): void } | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #soon: ReturnType<typeof setImmediate> | undefined;
  #stopped = false;
  /** The doorbell: not yet seen to work; known to; or given up, the data plane being polled. */
  #ringing: "unproved" | "proved" | "polled" = "unproved";
  #silentSinceMs: number | undefined;

  constructor(
    engine: Engine<Report>,
    dataplane: DriverDataplane,
    clock: Clock,
    duties: Duties<Report>,
  ) {
    this.#engine = engine;
    this.#dataplane = dataplane;
    this.#clock = clock;
    this.#duties = duties;
  }

  async start(): Promise<void> {
    this.#doorbell = await this.#dataplane.doorbell(() => {
      if (this.#ringing === "unproved") this.#ringing = "proved";
      this.#run(false);
    });
    this.#run(false);
  }

  /** No turn begins after this. Commands that wait are not applied. */
  stop(): void {
    this.#stopped = true;
    this.#clearTimers();
    this.#doorbell?.close();
    this.#doorbell = undefined;
  }

  /** Sends what the engine has to say, in a last turn. How many transmits there were. */
  finish(now: Instant): number {
    if (this.#stopped) return 0;
    this.flush(now);
    const transmits = collect(() => this.#engine.pollTransmit());
    if (transmits.length > 0) this.#dataplane.send(transmits);
    this.stop();
    return transmits.length;
  }

  /** Takes a turn soon: something outside has spoken to the engine. */
  wake(): void {
    if (this.#stopped || this.#soon !== undefined) return;
    this.#soon = setImmediate(() => this.#run(false));
  }

  /** Records and applies what waits, within a turn, and returns what was refused. */
  flush(now: Instant): readonly CommandFailure[] {
    const reports = collect(() => this.#engine.pollEvent());
    if (reports.length > 0) this.#duties.record(now, reports);
    const commands = collect(() => this.#engine.pollCommand());
    return commands.length === 0 ? [] : this.#dataplane.apply(commands);
  }

  #run(byTimer: boolean): void {
    if (this.#stopped) return;
    this.#clearTimers();
    try {
      this.#turn(byTimer);
    } catch (error) {
      this.stop();
      this.#duties.failed(error);
    }
  }

  #turn(byTimer: boolean): void {
    const now = this.#clock();
    const taken = this.#take(now);
    if (this.#ringing === "unproved") this.#doubtDoorbell(now, byTimer && taken > 0);
    const due = this.#engine.nextTimeout();
    if (due !== undefined && due <= now.ms) this.#engine.handleTimeout(now);
    this.#duties.serve(now);
    const failures = this.flush(now);
    if (failures.length > 0) this.#duties.refused(failures);
    const transmits = collect(() => this.#engine.pollTransmit());
    if (transmits.length > 0) this.#dataplane.send(transmits);
    if (this.#stopped) return;
    if (taken >= batchesPerTurn || this.#dataplane.arm()) this.wake();
    else this.#setTimer();
  }

  /** Hands over what the data plane has, up to a bound; how many batches there were. */
  #take(now: Instant): number {
    let batches = 0;
    for (; batches < batchesPerTurn; batches += 1) {
      const events = this.#dataplane.events();
      for (const event of events) {
        if (this.#duties.observe(now, event)) this.#engine.handleEvent(now, event);
      }
      const datagrams = this.#dataplane.receive();
      for (const datagram of datagrams) this.#engine.handleDatagram(now, datagram);
      if (events.length === 0 && datagrams.length === 0) break;
    }
    return batches;
  }

  /** Something waited that no ring announced: for a moment a race, for longer a broken doorbell. */
  #doubtDoorbell(now: Instant, missed: boolean): void {
    if (missed) this.#silentSinceMs ??= now.ms;
    if (this.#silentSinceMs === undefined) return;
    if (now.ms - this.#silentSinceMs < doorbellGraceMs) return;
    this.#ringing = "polled";
    this.#duties.warn(`the doorbell does not ring; the data plane is polled every ${pollMs} ms`);
  }

  #setTimer(): void {
    const due = this.#engine.nextTimeout();
    const longest = { unproved: unprovedMs, proved: timerMsMax, polled: pollMs }[this.#ringing];
    if (due === undefined && this.#ringing === "proved") return;
    // At least 1 ms: an engine that asks for a time gone by must not hold the loop.
    const wait = due === undefined ? longest : Math.ceil(due - this.#clock().ms);
    this.#timer = setTimeout(() => this.#run(true), Math.min(longest, Math.max(1, wait)));
  }

  #clearTimers(): void {
    clearTimeout(this.#timer);
    if (this.#soon !== undefined) clearImmediate(this.#soon);
    this.#timer = undefined;
    this.#soon = undefined;
  }
}

/** Everything that a queue gives until it is empty. */
function collect<Item>(poll: () => Item | undefined): Item[] {
  const items: Item[] = [];
  for (let item = poll(); item !== undefined; item = poll()) items.push(item);
  return items;
}

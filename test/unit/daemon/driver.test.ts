/** The loop's turn over a data plane in memory: its order, its bounds, and its doorbell. */
import { afterEach, expect, test } from "bun:test";
import type { Instant } from "../../../src/base/clock.ts";
import {
  Driver,
  type DriverDataplane,
  type Duties,
  type Engine,
} from "../../../src/daemon/driver.ts";
import type {
  Command,
  DataplaneEvent,
  ReceivedDatagram,
  Transmit,
} from "../../../src/mesh/dataplane.ts";
import type { CommandFailure } from "../../../src/native/dataplane.ts";

const command: Command = { kind: "link_up" };
const transmit: Transmit = {
  kind: "datagram",
  to: { address: "192.0.2.1", port: 1 },
  bytes: new Uint8Array(1),
};
const event: DataplaneEvent = { kind: "link_changed", up: true };
const datagram: ReceivedDatagram = {
  kind: "initiation",
  bytes: new Uint8Array(1),
  remote: { address: "192.0.2.1", port: 1 },
};

/** Everything the loop touches, which writes down what happens. */
class World implements DriverDataplane, Engine<string>, Duties<string> {
  readonly log: string[] = [];
  readonly warnings: string[] = [];
  readonly failures: unknown[] = [];
  waitingEvents: DataplaneEvent[] = [];
  waitingDatagrams: ReceivedDatagram[] = [];
  commands: Command[] = [];
  transmits: Transmit[] = [];
  reports: string[] = [];
  due: number | undefined;
  admits = true;
  doorbellWorks = true;
  endless = false;
  throws = false;
  turns = 0;
  nowMs = 0;
  advanceMs = 0;
  #armed = false;
  #ring: (() => void) | undefined;
  readonly driver = new Driver<string>(this, this, () => this.clock(), this);

  clock(): Instant {
    this.nowMs += this.advanceMs;
    return { ms: this.nowMs, wallMs: 0 };
  }

  /** The library has something: it rings if it is armed. */
  happen(happening: DataplaneEvent): void {
    this.waitingEvents.push(happening);
    if (this.#armed && this.doorbellWorks) setImmediate(() => this.#ring?.());
    this.#armed = false;
  }

  async doorbell(ring: () => void): Promise<{ close(): void }> {
    this.#ring = ring;
    return {
      close: () => {
        this.#ring = undefined;
        this.log.push("doorbell closed");
      },
    };
  }
  events(): DataplaneEvent[] {
    return this.endless ? [event] : this.waitingEvents.splice(0);
  }
  receive(): ReceivedDatagram[] {
    return this.waitingDatagrams.splice(0);
  }
  apply(commands: readonly Command[]): CommandFailure[] {
    this.log.push(`apply ${commands.length}`);
    return [];
  }
  send(transmits: readonly Transmit[]): number {
    this.log.push(`send ${transmits.length}`);
    return transmits.length;
  }
  arm(): boolean {
    this.#armed = true;
    return this.waitingEvents.length > 0;
  }

  handleEvent(_now: Instant, heard: DataplaneEvent): void {
    this.log.push(`event ${heard.kind}`);
    if (this.throws) throw new Error("a mistake");
  }
  handleDatagram(): void {
    this.log.push("datagram");
    this.reports.push("report");
    this.commands.push(command);
    this.transmits.push(transmit);
  }
  handleTimeout(): void {
    this.log.push("timeout");
    this.due = undefined;
  }
  nextTimeout(): number | undefined {
    return this.due;
  }
  pollCommand(): Command | undefined {
    return this.commands.shift();
  }
  pollTransmit(): Transmit | undefined {
    return this.transmits.shift();
  }
  pollEvent(): string | undefined {
    return this.reports.shift();
  }

  record(_now: Instant, reports: readonly string[]): void {
    this.log.push(`record ${reports.length}`);
  }
  observe(): boolean {
    return this.admits;
  }
  serve(): void {
    this.turns += 1;
    this.log.push("serve");
    if (this.turns === 3) this.endless = false;
  }
  refused(failures: readonly unknown[]): void {
    this.failures.push(...failures);
  }
  warn(text: string): void {
    this.warnings.push(text);
  }
  failed(error: unknown): void {
    this.failures.push(error);
  }

  /** Resolves when the condition holds. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

let worlds: World[] = [];
const world = (): World => {
  const made = new World();
  worlds.push(made);
  return made;
};
afterEach(() => {
  for (const each of worlds) each.driver.stop();
  worlds = [];
});

test("a turn records, then applies, then sends what it heard", async () => {
  const w = world();
  w.waitingEvents = [event];
  w.waitingDatagrams = [datagram];
  w.due = 0;
  await w.driver.start();
  expect(w.log).toEqual([
    "event link_changed",
    "datagram",
    "timeout",
    "serve",
    "record 1",
    "apply 1",
    "send 1",
  ]);
});

test("an event that is not admitted does not reach the engine", async () => {
  const w = world();
  w.admits = false;
  w.waitingEvents = [event];
  await w.driver.start();
  expect(w.log).toEqual(["serve"]);
});

test("the doorbell begins a turn", async () => {
  const w = world();
  await w.driver.start();
  w.log.length = 0;
  w.happen(event);
  await w.until(() => w.log.length > 0);
  expect(w.log).toEqual(["event link_changed", "serve"]);
});

test("a timeout begins a turn when it is due", async () => {
  const w = world();
  w.due = 30;
  await w.driver.start();
  expect(w.log).toEqual(["serve"]);
  w.nowMs = 40;
  await w.until(() => w.turns > 1);
  expect(w.log).toContain("timeout");
});

test("data without end does not hold the loop: a turn takes 64 batches and lets others in", async () => {
  const w = world();
  w.endless = true;
  await w.driver.start();
  expect(w.turns).toBe(1);
  expect(w.log.filter((line) => line.startsWith("event"))).toHaveLength(64);
  await w.until(() => !w.endless);
  expect(w.turns).toBeGreaterThanOrEqual(3);
});

test("what is woken by others takes one turn, however often it is woken", async () => {
  const w = world();
  await w.driver.start();
  for (let count = 0; count < 10; count += 1) w.driver.wake();
  await w.until(() => w.turns > 1);
  expect(w.turns).toBe(2);
});

test("a doorbell that never rings is given up after a second, with one warning", async () => {
  const w = world();
  w.doorbellWorks = false;
  w.advanceMs = 1200;
  await w.driver.start();
  w.happen(event);
  await w.until(() => w.warnings.length > 0);
  expect(w.log).toContain("event link_changed");
  expect(w.warnings[0]).toContain("polled");
  const before = w.turns;
  await w.until(() => w.turns > before + 10);
  expect(w.warnings).toHaveLength(1);
});

test("a turn that throws is the last one, and is reported", async () => {
  const w = world();
  w.throws = true;
  w.waitingEvents = [event];
  await w.driver.start();
  expect(w.failures).toHaveLength(1);
  const turns = w.turns;
  w.driver.wake();
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(w.turns).toBe(turns);
});

test("a stopped loop closes its doorbell and takes no turn", async () => {
  const w = world();
  await w.driver.start();
  const turns = w.turns;
  w.driver.stop();
  w.happen(event);
  w.driver.wake();
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(w.turns).toBe(turns);
  expect(w.log.at(-1)).toBe("doorbell closed");
});

/**
 * One simulation on two threads: each has half of the hosts, its own virtual clock and its own
 * randomness, and both take the same steps. A datagram from one half to the other is on its way for
 * some milliseconds at least (the lookahead), so each may go on for so long before it must hear what the
 * other has sent: conservative synchronisation (Chandy and Misra 1979), by windows. What comes from the
 * other half is put in place between two windows, so a seed has one history here too. Owns the memory
 * that both share.
 */
import { hostEndpoint } from "./sim-nat.ts";
import type { Packet } from "./sim-network.ts";

/** What one half may send the other in a window. Pages that nothing was written to take no memory. */
const boxBytes = 128 * 2 ** 20;
const sumsMax = 8;
const headerBytes = 32;
/** A barrier is waited for awake at first: to sleep and to be woken takes as long as a short window. */
const spins = 2_000;
const kinds: readonly Packet["kind"][] = ["initiation", "response", "message", "datagram"];

/** Places in `control`, one of each for either half. */
const steps = 0;
const ended = 2;
const posted = 4;
const controlWords = 8;

export interface SharedHalves {
  readonly control: SharedArrayBuffer;
  /** By half and parity of the step: who is a step ahead does not write to what is still read. */
  readonly boxes: readonly SharedArrayBuffer[];
  readonly sums: SharedArrayBuffer;
  /** Of each host, the sequence of its newest record; 0 where it is down. */
  readonly sequences: SharedArrayBuffer;
}

export function shareHalves(hosts: number): SharedHalves {
  return {
    control: new SharedArrayBuffer(4 * controlWords),
    boxes: [0, 1, 2, 3].map(() => new SharedArrayBuffer(boxBytes)),
    sums: new SharedArrayBuffer(8 * 4 * sumsMax),
    sequences: new SharedArrayBuffer(8 * hosts),
  };
}

interface Box {
  readonly bytes: Uint8Array;
  readonly doubles: Float64Array;
  readonly shorts: Uint16Array;
  readonly words: Uint32Array;
}

export class Halves {
  /** Which of both runs on this thread. */
  readonly index: 0 | 1;
  readonly sequences: Float64Array;
  readonly #control: Int32Array;
  readonly #boxes: readonly Box[];
  readonly #sums: Float64Array;
  readonly #arrived: (atMs: number, packet: Packet) => void;
  #step = 0;
  #used = 0;

  /** `arrived`: called for each datagram of the other half. */
  constructor(shared: SharedHalves, index: 0 | 1, arrived: (atMs: number, packet: Packet) => void) {
    this.index = index;
    this.#arrived = arrived;
    this.sequences = new Float64Array(shared.sequences);
    this.#control = new Int32Array(shared.control);
    this.#sums = new Float64Array(shared.sums);
    this.#boxes = shared.boxes.map((buffer) => ({
      bytes: new Uint8Array(buffer),
      doubles: new Float64Array(buffer),
      shorts: new Uint16Array(buffer),
      words: new Uint32Array(buffer),
    }));
  }

  /** For a host of the other half. */
  post(atMs: number, packet: Omit<Packet, "from" | "frame">): void {
    const { fromHost, toHost, kind, session, bytes, size } = packet;
    const box = this.#box(this.index);
    const at = this.#used;
    const length = bytes?.length ?? 0;
    const end = at + headerBytes + 8 * Math.ceil(length / 8);
    if (end > boxBytes)
      throw new Error("more was sent to the other half at once than there is room for");
    box.doubles[at / 8] = atMs;
    box.doubles[at / 8 + 1] = session;
    box.shorts[at / 2 + 8] = fromHost;
    box.shorts[at / 2 + 9] = toHost;
    box.shorts[at / 2 + 10] = kinds.indexOf(kind);
    box.shorts[at / 2 + 11] = bytes === undefined ? 0 : length + 1;
    box.words[at / 4 + 6] = size;
    if (bytes !== undefined) box.bytes.set(bytes, at + headerBytes);
    this.#used = end;
  }

  /** Waits for the other half to be at this step too, and hands over what it has posted since the last. */
  meet(take = this.#arrived): void {
    const other = 1 - this.index;
    this.#control[posted + 2 * (this.#step & 1) + this.index] = this.#used;
    const box = this.#box(other);
    const parity = this.#step & 1;
    this.#await();
    this.#used = 0;
    const end = this.#control[posted + 2 * parity + other] as number;
    for (let at = 0; at < end; ) {
      const fromHost = box.shorts[at / 2 + 8] as number;
      const lengthAndOne = box.shorts[at / 2 + 11] as number;
      const start = at + headerBytes;
      const length = Math.max(0, lengthAndOne - 1);
      take(box.doubles[at / 8] as number, {
        fromHost,
        toHost: box.shorts[at / 2 + 9] as number,
        from: hostEndpoint(fromHost),
        kind: kinds[box.shorts[at / 2 + 10] as number] as Packet["kind"],
        session: box.doubles[at / 8 + 1] as number,
        bytes: lengthAndOne === 0 ? undefined : box.bytes.slice(start, start + length),
        frame: undefined,
        size: box.words[at / 4 + 6] as number,
      });
      at = start + 8 * Math.ceil(length / 8);
    }
  }

  /** Of each value, the sum of both halves'. Both ask at the same step, with as many. */
  sum(values: readonly number[]): number[] {
    return this.#combine(values, (a, b) => a + b);
  }

  max(values: readonly number[]): number[] {
    return this.#combine(values, Math.max);
  }

  #combine(values: readonly number[], both: (a: number, b: number) => number): number[] {
    if (values.length > sumsMax) throw new Error(`more than ${sumsMax} values at once`);
    const place = 2 * sumsMax * (this.#step & 1);
    this.#sums.set(values, place + sumsMax * this.index);
    this.meet();
    return values.map((value, i) =>
      both(value, this.#sums[place + sumsMax * (1 - this.index) + i] as number),
    );
  }

  /** This half has failed: the other need not wait for it. */
  static end({ control }: SharedHalves, index: 0 | 1): void {
    const words = new Int32Array(control);
    Atomics.store(words, ended + index, 1);
    Atomics.notify(words, steps + index);
  }

  #await(): void {
    const [control, other] = [this.#control, 1 - this.index];
    this.#step += 1;
    Atomics.store(control, steps + this.index, this.#step);
    Atomics.notify(control, steps + this.index);
    for (let spin = 0; ; spin += 1) {
      const there = Atomics.load(control, steps + other);
      if (there >= this.#step) return;
      if (Atomics.load(control, ended + other) === 1) throw new Error("the other half has failed");
      if (spin >= spins) Atomics.wait(control, steps + other, there, 1_000);
    }
  }

  #box(half: number): Box {
    return this.#boxes[2 * (this.#step & 1) + half] as Box;
  }
}

/** How long a packet a way carries, found on a virtual clock. */
import { expect, test } from "bun:test";
import { PathSize, sureBytes } from "../../../src/nat/path-size.ts";

const waitMs = 250;
const interfaceBytes = 1_360;

/** A way that loses what is longer, and answers short probes where it is `alive`. */
class Carrier {
  readonly size = new PathSize();
  readonly sent: number[] = [];
  readonly limits: number[] = [];
  longest: number;
  alive = true;
  nowMs = 5_000;
  #number = 0;

  constructor(longest: number) {
    this.longest = longest;
  }

  ask(bytes = interfaceBytes): void {
    this.size.start(this.nowMs, bytes);
    for (let atMs = this.size.atMs; atMs !== undefined; atMs = this.size.atMs) {
      this.nowMs = Math.max(this.nowMs, atMs);
      this.size.missed(this.nowMs, this.alive ? this.nowMs : undefined);
      this.#note();
      this.#number += 1;
      const length = this.size.take(this.nowMs, this.#number, waitMs);
      if (length === undefined) continue;
      this.sent.push(length);
      if (this.alive && length <= this.longest) this.size.answered(this.nowMs, this.#number);
      this.#note();
    }
  }

  #note(): void {
    if (this.limits.at(-1) !== this.size.limit) this.limits.push(this.size.limit);
  }
}

test("a way that carries the longest packets costs one probe, and has no limit", () => {
  const way = new Carrier(1_500);
  way.ask();
  expect(way.sent).toEqual([interfaceBytes]);
  expect(way.size.limit).toBe(0);
});

test("one that does not is limited at once to what passes everywhere, and then to what it carries", () => {
  for (let longest = 576; longest < interfaceBytes; longest += 1) {
    const way = new Carrier(longest);
    way.ask();
    expect(way.size.limit).toBeLessThanOrEqual(longest);
    expect(way.size.limit).toBeGreaterThan(longest - 16);
    expect(new Set(way.sent).size).toBeLessThanOrEqual(12);
    expect(way.sent.length).toBeLessThanOrEqual(30);
    expect(way.limits[0]).toBe(0);
    expect(way.limits[1]).toBe(Math.min(sureBytes, 1_359));
  }
});

test("what was found is confirmed by one probe, and found anew where it holds no longer", () => {
  const way = new Carrier(1_300);
  way.ask();
  const found = way.size.limit;
  way.sent.length = 0;
  way.ask();
  expect(way.sent).toEqual([found]);
  way.longest = 1_200;
  way.ask();
  expect(way.size.limit).toBe(1_200);
});

test("an answer that is late counts, and a way that has become slow is not said to be narrow", () => {
  const size = new PathSize();
  size.start(0, interfaceBytes);
  expect(size.take(0, 1, waitMs)).toBe(interfaceBytes);
  expect(size.atMs).toBe(waitMs);
  size.missed(waitMs, undefined);
  expect(size.take(waitMs, 2, waitMs)).toBe(interfaceBytes);
  expect(size.atMs).toBe(3 * waitMs);
  expect(size.answered(300, 1)).toBe(true);
  expect(size.atMs).toBeUndefined();
  expect(size.answered(310, 2)).toBe(false);
  expect(size.limit).toBe(0);
});

test("what a jam made look narrow is tried again soon", () => {
  const way = new Carrier(1_200);
  way.ask();
  way.longest = 1_500;
  way.nowMs += 30_000;
  way.ask();
  expect(way.size.limit).toBe(0);
});

test("a longer packet is tried after ten minutes, and nothing is promised until it has passed", () => {
  const way = new Carrier(1_200);
  way.ask();
  expect(way.size.limit).toBe(1_200);
  way.nowMs += 600_000;
  way.limits.length = 0;
  way.ask();
  expect(way.limits).toEqual([1_200]);
  way.longest = 1_500;
  way.nowMs += 600_000;
  way.ask();
  expect(way.limits).toEqual([1_200, 0]);
});

test("a way that answers nothing at all is not said to be narrow", () => {
  const way = new Carrier(1_500);
  way.alive = false;
  way.ask();
  expect(way.size.limit).toBe(0);
  expect(way.sent).toHaveLength(8);
});

test("an interface that takes longer packets has the way asked for them", () => {
  const way = new Carrier(1_500);
  way.ask();
  way.ask(1_440);
  expect(way.sent).toEqual([interfaceBytes, 1_440]);
  way.ask(9_000);
  expect(way.size.limit).toBeGreaterThan(1_484);
});

import { expect, test } from "bun:test";
import { Deadlines } from "../../../src/base/deadlines.ts";
import { Fifo } from "../../../src/base/fifo.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

test("deadlines agree with a plain map under random changes", () => {
  const random = new SeededRandom(5);
  const deadlines = new Deadlines<number>();
  const model = new Map<number, number>();
  const earliest = (): number | undefined =>
    model.size === 0 ? undefined : Math.min(...model.values());
  for (let step = 0; step < 20_000; step += 1) {
    const item = random.below(60);
    if (random.chance(0.2)) {
      deadlines.set(item, undefined);
      model.delete(item);
    } else if (random.chance(0.25)) {
      const due = deadlines.takeDue(500);
      const expected = earliest();
      expect(due === undefined).toBe(expected === undefined || expected > 500);
      if (due !== undefined) {
        expect(model.get(due)).toBe(expected);
        model.delete(due);
      }
    } else {
      const atMs = random.below(1000);
      deadlines.set(item, atMs);
      model.set(item, atMs);
    }
    expect(deadlines.next()).toBe(earliest());
    expect(deadlines.size).toBe(model.size);
  }
});

test("a queue gives back what it was given, in order, however it is drained", () => {
  const random = new SeededRandom(6);
  const queue = new Fifo<number>();
  let model: number[] = [];
  for (let step = 0; step < 20_000; step += 1) {
    if (random.chance(0.52)) {
      queue.push(step);
      model.push(step);
    } else if (random.chance(0.01)) {
      queue.retain((item) => item % 3 !== 0);
      model = model.filter((item) => item % 3 !== 0);
    } else {
      expect(queue.shift()).toBe(model.shift());
    }
    expect(queue.size).toBe(model.length);
  }
});

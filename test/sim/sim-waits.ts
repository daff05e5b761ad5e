/**
 * Deadlines that all lie the same time ahead when they are set: in order by themselves, so a queue
 * does for what elsewhere needs a heap. One that no longer holds is passed over when its turn comes.
 */
export class Waits<Item> {
  #items: (Item | undefined)[] = [];
  #times: number[] = [];
  #head = 0;
  readonly #holds: (item: Item, atMs: number) => boolean;

  /** `holds`: whether the item still waits for that very time. */
  constructor(holds: (item: Item, atMs: number) => boolean) {
    this.#holds = holds;
  }

  /** `atMs` is no earlier than any that was set before. */
  set(item: Item, atMs: number): void {
    this.#items.push(item);
    this.#times.push(atMs);
  }

  /** When the first that still holds is due, if that is by then; infinite where it is not, or there is none. */
  nextBy(ms: number): number {
    while (this.#head < this.#times.length) {
      const atMs = this.#times[this.#head] as number;
      if (atMs > ms) break;
      if (this.#holds(this.#items[this.#head] as Item, atMs)) return atMs;
      this.#pass();
    }
    return Number.POSITIVE_INFINITY;
  }

  takeDue(nowMs: number): Item | undefined {
    if (this.nextBy(nowMs) > nowMs) return undefined;
    const item = this.#items[this.#head];
    this.#pass();
    return item;
  }

  #pass(): void {
    this.#items[this.#head] = undefined;
    this.#head += 1;
    if (this.#head < 32 || 2 * this.#head < this.#items.length) return;
    this.#items = this.#items.slice(this.#head);
    this.#times = this.#times.slice(this.#head);
    this.#head = 0;
  }
}

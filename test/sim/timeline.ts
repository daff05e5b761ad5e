/**
 * Virtual time for large simulations: what is to happen, in order of time and then of being
 * scheduled, in a binary heap over typed arrays, so that one seed has one history and ten million
 * events cost no object each.
 */
export class Timeline<Item> {
  #times = new Float64Array(1024);
  #orders = new Float64Array(1024);
  #items: (Item | undefined)[] = [];
  #size = 0;
  #order = 0;
  nowMs = 0;

  get size(): number {
    return this.#size;
  }

  /** When the next is due. */
  next(): number | undefined {
    return this.#size === 0 ? undefined : this.#times[0];
  }

  schedule(atMs: number, item: Item): void {
    if (this.#size === this.#times.length) this.#grow();
    const time = Math.max(atMs, this.nowMs);
    this.#order += 1;
    const order = this.#order;
    const [times, orders, items] = [this.#times, this.#orders, this.#items];
    let at = this.#size;
    this.#size += 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      const aboveTime = times[above] as number;
      if (aboveTime < time || (aboveTime === time && (orders[above] as number) < order)) break;
      times[at] = aboveTime;
      orders[at] = orders[above] as number;
      items[at] = items[above];
      at = above;
    }
    times[at] = time;
    orders[at] = order;
    items[at] = item;
  }

  /** Takes the next out, and moves the clock to it. */
  take(): Item {
    const [times, orders, items] = [this.#times, this.#orders, this.#items];
    const first = items[0] as Item;
    this.nowMs = times[0] as number;
    this.#size -= 1;
    const size = this.#size;
    const time = times[size] as number;
    const order = orders[size] as number;
    const item = items[size];
    items[size] = undefined;
    if (size === 0) return first;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= size) break;
      if (below + 1 < size && this.#isBefore(below + 1, below)) below += 1;
      const belowTime = times[below] as number;
      if (time < belowTime || (time === belowTime && order < (orders[below] as number))) break;
      times[at] = belowTime;
      orders[at] = orders[below] as number;
      items[at] = items[below];
      at = below;
    }
    times[at] = time;
    orders[at] = order;
    items[at] = item;
    return first;
  }

  #isBefore(a: number, b: number): boolean {
    const [one, other] = [this.#times[a] as number, this.#times[b] as number];
    return one === other ? (this.#orders[a] as number) < (this.#orders[b] as number) : one < other;
  }

  #grow(): void {
    const capacity = 2 * this.#times.length;
    const [times, orders] = [new Float64Array(capacity), new Float64Array(capacity)];
    times.set(this.#times);
    orders.set(this.#orders);
    this.#times = times;
    this.#orders = orders;
  }
}

/**
 * Virtual time for large simulations: what is to happen, in order of time and then of being
 * scheduled, so that one seed has one history. What is due soon lies in one list for each millisecond,
 * sorted when its turn comes; what is due later waits in a heap until then.
 */
const slotsLog2 = 14;
const slotCount = 2 ** slotsLog2;
const slotMask = slotCount - 1;

interface Entry<Item> {
  readonly atMs: number;
  /** Of entries for one time, the one scheduled first goes first. */
  readonly order: number;
  readonly item: Item;
}

export class Timeline<Item> {
  readonly #slots: Entry<Item>[][] = Array.from({ length: slotCount }, () => []);
  /** A bit for each slot that has something. */
  readonly #used = new Int32Array(slotCount / 32);
  /** A binary heap of what lies beyond the slots. */
  readonly #later: Entry<Item>[] = [];
  /** The millisecond whose slot is taken from, in order, from `#at` on. */
  #slotMs = 0;
  #at = 0;
  #inSlots = 0;
  #order = 0;
  nowMs = 0;

  get size(): number {
    return this.#inSlots + this.#later.length;
  }

  /** When the next is due. */
  next(): number | undefined {
    if (this.size === 0) return undefined;
    let slot = this.#slots[this.#slotMs & slotMask] as Entry<Item>[];
    if (this.#at >= slot.length) slot = this.#turn();
    return (slot[this.#at] as Entry<Item>).atMs;
  }

  schedule(atMs: number, item: Item): void {
    this.#order += 1;
    const entry: Entry<Item> = { atMs: Math.max(atMs, this.nowMs), order: this.#order, item };
    const ms = Math.floor(entry.atMs);
    if (ms >= this.#slotMs + slotCount) push(this.#later, entry);
    // Before the slot whose turn it is lies nothing: the clock stands there, or will next.
    else this.#place(Math.max(ms, this.#slotMs), entry);
  }

  /** Takes the next out, and moves the clock to it. */
  take(): Item {
    this.next();
    const slot = this.#slots[this.#slotMs & slotMask] as Entry<Item>[];
    const entry = slot[this.#at] as Entry<Item>;
    this.#at += 1;
    this.#inSlots -= 1;
    this.nowMs = entry.atMs;
    return entry.item;
  }

  #place(ms: number, entry: Entry<Item>): void {
    const index = ms & slotMask;
    const slot = this.#slots[index] as Entry<Item>[];
    this.#inSlots += 1;
    if (ms !== this.#slotMs) {
      slot.push(entry);
      this.#used[index >> 5] = (this.#used[index >> 5] as number) | (1 << (index & 31));
      return;
    }
    // What is due within the millisecond that is being taken from is put where it belongs.
    let at = slot.length;
    while (at > this.#at && isBefore(entry, slot[at - 1] as Entry<Item>)) at -= 1;
    if (at === slot.length) slot.push(entry);
    else slot.splice(at, 0, entry);
  }

  /** To the next slot that has something. */
  #turn(): Entry<Item>[] {
    const done = this.#slots[this.#slotMs & slotMask] as Entry<Item>[];
    done.length = 0;
    this.#at = 0;
    const first = this.#later[0];
    this.#moveTo(this.#inSlots > 0 ? this.#nextUsed() : Math.floor((first as Entry<Item>).atMs));
    const slot = this.#slots[this.#slotMs & slotMask] as Entry<Item>[];
    slot.sort((a, b) => a.atMs - b.atMs || a.order - b.order);
    return slot;
  }

  /** Slots further on are within reach now. */
  #moveTo(ms: number): void {
    this.#slotMs = ms;
    const index = ms & slotMask;
    this.#used[index >> 5] = (this.#used[index >> 5] as number) & ~(1 << (index & 31));
    for (let it = this.#later[0]; it !== undefined; it = this.#later[0]) {
      const itsMs = Math.floor(it.atMs);
      if (itsMs >= ms + slotCount) break;
      pop(this.#later);
      this.#place(itsMs, it);
    }
  }

  /** The next millisecond that has something, in the slots. */
  #nextUsed(): number {
    const start = this.#slotMs + 1;
    let index = start & slotMask;
    let word = (this.#used[index >> 5] as number) & (-1 << (index & 31));
    while (word === 0) {
      index = ((index | 31) + 1) & slotMask;
      word = this.#used[index >> 5] as number;
    }
    index = (index & ~31) | (31 - Math.clz32(word & -word));
    return start + ((index - start) & slotMask);
  }
}

function isBefore<Item>(a: Entry<Item>, b: Entry<Item>): boolean {
  return a.atMs === b.atMs ? a.order < b.order : a.atMs < b.atMs;
}

function push<Item>(heap: Entry<Item>[], entry: Entry<Item>): void {
  let at = heap.push(entry) - 1;
  while (at > 0) {
    const above = (at - 1) >> 1;
    if (isBefore(heap[above] as Entry<Item>, entry)) break;
    heap[at] = heap[above] as Entry<Item>;
    at = above;
  }
  heap[at] = entry;
}

function pop<Item>(heap: Entry<Item>[]): void {
  const last = heap.pop() as Entry<Item>;
  const { length } = heap;
  if (length === 0) return;
  let at = 0;
  for (;;) {
    let below = 2 * at + 1;
    if (below >= length) break;
    if (
      below + 1 < length &&
      isBefore(heap[below + 1] as Entry<Item>, heap[below] as Entry<Item>)
    ) {
      below += 1;
    }
    if (isBefore(last, heap[below] as Entry<Item>)) break;
    heap[at] = heap[below] as Entry<Item>;
    at = below;
  }
  heap[at] = last;
}

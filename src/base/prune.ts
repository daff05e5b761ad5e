/**
 * A map of everybody who came lately: what is stale in it is let go when it has twice as many entries
 * as were left the last time, so that whoever comes once does not cost memory for ever.
 */
const leastEntries = 128;

export class Pruning {
  #atEntries = leastEntries;

  /** Before an entry is added. */
  run<Key, Value>(map: Map<Key, Value>, isStale: (value: Value) => boolean): void {
    if (map.size < this.#atEntries) return;
    for (const [key, value] of map) if (isStale(value)) map.delete(key);
    this.#atEntries = Math.max(leastEntries, 2 * map.size);
  }
}

/**
 * Small numbers for keys of 32 bytes, dense and reused, so that what belongs to a key stands in
 * columns: some 50 bytes a key, where a map of texts takes 200. Open addressing; keys are public and
 * whoever may add many is trusted with that many already, so the hash has no secret.
 */

import { grown, grownCapacity } from "./columns.ts";
import { assert } from "./errors.ts";

const keyBytes = 32;
const capacityStart = 16;

export class KeyIndex {
  #keys = new Uint8Array(capacityStart * keyBytes);
  #used = new Uint8Array(capacityStart);
  /** The number and 1; 0 is free. At most half is in use. */
  #index = new Uint32Array(2 * capacityStart);
  readonly #free: number[] = [];
  #end = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Numbers are below this. */
  get end(): number {
    return this.#end;
  }

  has(id: number): boolean {
    return this.#used[id] === 1;
  }

  find(key: Uint8Array): number | undefined {
    assert(key.length === keyBytes, "a key is 32 bytes");
    const mask = this.#index.length - 1;
    for (let at = this.#home(key, 0); ; at = (at + 1) & mask) {
      const entry = this.#index[at] as number;
      if (entry === 0) return undefined;
      if (this.#isAt(entry - 1, key)) return entry - 1;
    }
  }

  /** Its number, a new one if it has none. */
  add(key: Uint8Array): number {
    const known = this.find(key);
    if (known !== undefined) return known;
    const id = this.#free.pop() ?? this.#end;
    if (id >= this.#used.length) this.#grow();
    this.#end = Math.max(this.#end, id + 1);
    this.#keys.set(key, id * keyBytes);
    this.#used[id] = 1;
    this.#size += 1;
    if (2 * this.#size > this.#index.length) this.#reindex(2 * this.#index.length);
    else this.#enter(id);
    return id;
  }

  /** The number that it had, which may be another's from now on. */
  remove(key: Uint8Array): number | undefined {
    const id = this.find(key);
    if (id === undefined) return undefined;
    this.#unindex(id);
    this.#used[id] = 0;
    this.#size -= 1;
    this.#free.push(id);
    return id;
  }

  key(id: number): Uint8Array {
    assert(this.has(id), "nothing has this number");
    return this.#keys.slice(id * keyBytes, (id + 1) * keyBytes);
  }

  #isAt(id: number, key: Uint8Array): boolean {
    const from = id * keyBytes;
    for (let i = 0; i < keyBytes; i += 1) if (this.#keys[from + i] !== key[i]) return false;
    return true;
  }

  /** FNV-1a over all of it. */
  #home(keys: Uint8Array, from: number): number {
    let hash = 0x811c9dc5;
    for (let i = 0; i < keyBytes; i += 1) {
      hash = Math.imul(hash ^ (keys[from + i] as number), 0x01000193);
    }
    return (hash ^ (hash >>> 15)) & (this.#index.length - 1);
  }

  #enter(id: number): void {
    const mask = this.#index.length - 1;
    let at = this.#home(this.#keys, id * keyBytes);
    while (this.#index[at] !== 0) at = (at + 1) & mask;
    this.#index[at] = id + 1;
  }

  #reindex(length: number): void {
    this.#index = new Uint32Array(length);
    for (let id = 0; id < this.#end; id += 1) if (this.has(id)) this.#enter(id);
  }

  /** Those behind it in its run move up, so that no look-up stops too early. */
  #unindex(id: number): void {
    const mask = this.#index.length - 1;
    let hole = this.#home(this.#keys, id * keyBytes);
    while (this.#index[hole] !== id + 1) hole = (hole + 1) & mask;
    for (let at = (hole + 1) & mask; this.#index[at] !== 0; at = (at + 1) & mask) {
      const other = (this.#index[at] as number) - 1;
      const home = this.#home(this.#keys, other * keyBytes);
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      this.#index[hole] = other + 1;
      hole = at;
    }
    this.#index[hole] = 0;
  }

  #grow(): void {
    const capacity = grownCapacity(0, this.#used.length);
    this.#used = grown(this.#used, new Uint8Array(capacity));
    this.#keys = grown(this.#keys, new Uint8Array(capacity * keyBytes));
  }
}

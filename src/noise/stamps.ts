/**
 * Of many static keys the largest stamp that was accepted from each, by the text of the key: what
 * keeps an old initiation from being taken again, whether there is a peer of that key or not. Some
 * seventy bytes each, since members of a large mesh have a peer only now and then.
 */
import { formatKey, parseKey } from "../base/base64.ts";
import { grown, grownCapacity } from "../base/columns.ts";
import { assert } from "../base/errors.ts";
import { KeyIndex } from "../base/key-index.ts";
import { timestampBytes } from "./timestamp.ts";

/** As a map has it. */
export type Stamps = Pick<
  ReadonlyMap<string, Uint8Array>,
  "get" | "size" | "keys" | typeof Symbol.iterator
>;

export class StampMap implements Stamps {
  readonly #index = new KeyIndex();
  #stamps = new Uint8Array(0);

  constructor(entries: Iterable<readonly [string, Uint8Array]> = []) {
    for (const [key, stamp] of entries) this.set(key, stamp);
  }

  get size(): number {
    return this.#index.size;
  }

  get(name: string): Uint8Array | undefined {
    const key = parseKey(name);
    const id = key === undefined ? undefined : this.#index.find(key);
    if (id === undefined) return undefined;
    return this.#stamps.slice(id * timestampBytes, (id + 1) * timestampBytes);
  }

  /** The name is a key's. */
  set(name: string, stamp: Uint8Array): void {
    const key = parseKey(name);
    assert(key !== undefined, "a key's text");
    assert(stamp.length === timestampBytes, "a timestamp is 12 bytes");
    const id = this.#index.add(key);
    const least = (id + 1) * timestampBytes;
    if (least > this.#stamps.length) {
      const capacity = grownCapacity(least, this.#stamps.length);
      this.#stamps = grown(this.#stamps, new Uint8Array(capacity));
    }
    this.#stamps.set(stamp, id * timestampBytes);
  }

  delete(name: string): boolean {
    const key = parseKey(name);
    return key !== undefined && this.#index.remove(key) !== undefined;
  }

  *keys(): Generator<string, undefined> {
    for (let id = 0; id < this.#index.end; id += 1) {
      if (this.#index.has(id)) yield formatKey(this.#index.key(id));
    }
    return undefined;
  }

  *[Symbol.iterator](): Generator<[string, Uint8Array], undefined> {
    for (const name of this.keys()) yield [name, this.get(name) as Uint8Array];
    return undefined;
  }
}

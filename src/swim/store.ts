/**
 * Signed bytes, each kept once: records and statements, named by a small number. A member table is
 * then columns of such numbers, and a process that runs many tables (a simulation) holds each
 * record once for all of them. What stands here was verified by whoever put it in; looking it up by
 * its bytes is therefore also the cache of verifications. Freed when the last table lets go.
 *
 * A store that is told how values are read from bytes keeps the bytes alone, packed: a decoded record
 * costs three times as much. One that is not (a simulation's, which looks at them all the time) keeps
 * bytes and values as they were given.
 */
import { grown } from "../base/columns.ts";
import { assert } from "../base/errors.ts";
import { PackedBytes } from "../base/packed-bytes.ts";

/** 0 names nothing. */
export type StoredId = number;

/** What tables compare without looking at the bytes. */
export interface StoredKeys {
  /** Bytes 0 to 3 and 4 to 7 of the subject's identity, little-endian. */
  readonly low: number;
  readonly high: number;
  readonly sequence: number;
  readonly incarnation: number;
}

const capacityStart = 64;
const signatureBytes = 64;

export class SignedStore<Value = undefined> {
  low = new Uint32Array(capacityStart);
  high = new Uint32Array(capacityStart);
  sequence = new Float64Array(capacityStart);
  incarnation = new Uint32Array(capacityStart);
  #references = new Uint32Array(capacityStart);
  readonly #bytes: (Uint8Array | undefined)[] = [undefined];
  readonly #values: (Value | undefined)[] = [undefined];
  readonly #packed = new PackedBytes();
  readonly #readValue: ((bytes: Uint8Array) => Value) | undefined;
  readonly #byPrint = new PrintIndex();
  readonly #free: StoredId[] = [];
  #end = 1;

  /** `readValue`: the value of bytes that were verified. */
  constructor(readValue?: (bytes: Uint8Array) => Value) {
    this.#readValue = readValue;
  }

  get size(): number {
    return this.#end - 1 - this.#free.length;
  }

  /** The number of these bytes, if they are held: they were verified when they came. */
  find(bytes: Uint8Array, from = 0, to = bytes.length): StoredId | undefined {
    if (to - from < signatureBytes) return undefined;
    const id = this.#byPrint.find(lowPrint(bytes, to), highPrint(bytes, to));
    return id !== 0 && this.#holds(id, bytes, from, to) ? id : undefined;
  }

  /** Bytes that were verified; held once more by the caller. */
  put(bytes: Uint8Array, keys: StoredKeys, value: Value): StoredId {
    const known = this.find(bytes);
    if (known !== undefined) {
      this.retain(known);
      return known;
    }
    const id = this.#free.pop() ?? this.#end;
    this.#end = Math.max(this.#end, id + 1);
    if (id >= this.low.length) this.#grow();
    if (this.#readValue === undefined) {
      this.#bytes[id] = bytes;
      this.#values[id] = value;
    } else {
      this.#packed.set(id, bytes);
    }
    this.low[id] = keys.low;
    this.high[id] = keys.high;
    this.sequence[id] = keys.sequence;
    this.incarnation[id] = keys.incarnation;
    this.#references[id] = 1;
    this.#byPrint.set(lowPrint(bytes), highPrint(bytes), id);
    return id;
  }

  retain(id: StoredId): void {
    assert((this.#references[id] ?? 0) > 0, "nothing has this number");
    this.#references[id] = (this.#references[id] as number) + 1;
  }

  release(id: StoredId): void {
    const left = (this.#references[id] as number) - 1;
    assert(left >= 0, "released more often than held");
    this.#references[id] = left;
    if (left > 0) return;
    const bytes = this.bytes(id);
    this.#byPrint.remove(lowPrint(bytes), highPrint(bytes), id);
    if (this.#readValue === undefined) {
      this.#bytes[id] = undefined;
      this.#values[id] = undefined;
    } else {
      this.#packed.delete(id);
    }
    this.#free.push(id);
  }

  /** Not to be written to; of a store that packs them, a copy. */
  bytes(id: StoredId): Uint8Array {
    if (this.#readValue !== undefined) return this.#packed.get(id);
    const bytes = this.#bytes[id];
    assert(bytes !== undefined, "nothing has this number");
    return bytes;
  }

  length(id: StoredId): number {
    return this.#readValue === undefined ? this.bytes(id).length : this.#packed.length(id);
  }

  value(id: StoredId): Value {
    if (this.#readValue !== undefined) return this.#readValue(this.#packed.get(id));
    return this.#values[id] as Value;
  }

  #holds(id: StoredId, bytes: Uint8Array, from: number, to: number): boolean {
    if (this.#readValue !== undefined) return this.#packed.equals(id, bytes, from, to);
    const held = this.bytes(id);
    if (held === bytes) return true;
    if (held.length !== to - from) return false;
    for (let i = 0; i < held.length; i += 1) if (held[i] !== bytes[from + i]) return false;
    return true;
  }

  #grow(): void {
    const capacity = 2 * this.low.length;
    this.low = grown(this.low, new Uint32Array(capacity));
    this.high = grown(this.high, new Uint32Array(capacity));
    this.sequence = grown(this.sequence, new Float64Array(capacity));
    this.incarnation = grown(this.incarnation, new Uint32Array(capacity));
    this.#references = grown(this.#references, new Uint32Array(capacity));
  }
}

/** 53 of the 64 bits of a subject's first two words: a name for maps, which two of them may share. */
export function shortKey(low: number, high: number): number {
  return low + (high & 0x1fffff) * 2 ** 32;
}

/** The same, of the whole identity. */
export function keyOf(identity: Uint8Array): number {
  return shortKey(wordAt(identity, 0), wordAt(identity, 4));
}

/** The four bytes at `at`, little-endian. */
export function wordAt(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)) >>>
    0
  );
}

/** Of both halves of the signature at the end: enough to tell bytes apart, and compared after. */
function lowPrint(bytes: Uint8Array, to = bytes.length): number {
  return wordAt(bytes, to - signatureBytes);
}

function highPrint(bytes: Uint8Array, to = bytes.length): number {
  return wordAt(bytes, to - signatureBytes / 2);
}

/** Numbers by fingerprints: open addressing, at most half full. Of two with one print the later counts. */
class PrintIndex {
  #low = new Uint32Array(2 * capacityStart);
  #high = new Uint32Array(2 * capacityStart);
  /** 0: free. */
  #ids = new Uint32Array(2 * capacityStart);
  #size = 0;

  /** 0: nothing has it. */
  find(low: number, high: number): StoredId {
    return this.#ids[this.#place(low, high)] as number;
  }

  set(low: number, high: number, id: StoredId): void {
    let at = this.#place(low, high);
    if (this.#ids[at] === 0) {
      this.#size += 1;
      if (2 * this.#size > this.#ids.length) {
        this.#grow();
        at = this.#place(low, high);
      }
    }
    this.#low[at] = low;
    this.#high[at] = high;
    this.#ids[at] = id;
  }

  /** Unless another has taken its place. Those behind it in its run move up. */
  remove(low: number, high: number, id: StoredId): void {
    let hole = this.#place(low, high);
    if (this.#ids[hole] !== id) return;
    this.#size -= 1;
    const mask = this.#ids.length - 1;
    for (let at = (hole + 1) & mask; this.#ids[at] !== 0; at = (at + 1) & mask) {
      const home = this.#home(this.#low[at] as number, this.#high[at] as number);
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      this.#move(at, hole);
      hole = at;
    }
    this.#ids[hole] = 0;
  }

  /** Where it stands, or would. */
  #place(low: number, high: number): number {
    const mask = this.#ids.length - 1;
    let at = this.#home(low, high);
    while (this.#ids[at] !== 0 && !(this.#low[at] === low && this.#high[at] === high)) {
      at = (at + 1) & mask;
    }
    return at;
  }

  #move(from: number, to: number): void {
    this.#low[to] = this.#low[from] as number;
    this.#high[to] = this.#high[from] as number;
    this.#ids[to] = this.#ids[from] as number;
  }

  /** Signatures spread by themselves; who makes many that do not, makes many members. */
  #home(low: number, high: number): number {
    const mixed = Math.imul(low, 0x9e3779b1) ^ Math.imul(high, 0x85ebca6b);
    return (mixed ^ (mixed >>> 15)) & (this.#ids.length - 1);
  }

  #grow(): void {
    const [lows, highs, ids] = [this.#low, this.#high, this.#ids];
    const length = 2 * ids.length;
    this.#low = new Uint32Array(length);
    this.#high = new Uint32Array(length);
    this.#ids = new Uint32Array(length);
    for (let i = 0; i < ids.length; i += 1) {
      if (ids[i] === 0) continue;
      const at = this.#place(lows[i] as number, highs[i] as number);
      this.#low[at] = lows[i] as number;
      this.#high[at] = highs[i] as number;
      this.#ids[at] = ids[i] as number;
    }
  }
}

/**
 * Signed bytes, each kept once: records and statements, named by a small number. A member table is
 * then columns of such numbers, and a process that runs many tables (a simulation) holds each
 * record once for all of them. What stands here was verified by whoever put it in; looking it up by
 * its bytes is therefore also the cache of verifications. Freed when the last table lets go.
 */
import { equalBytes } from "../base/bytes.ts";
import { assert } from "../base/errors.ts";

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
  readonly #byPrint = new Map<number, StoredId>();
  readonly #free: StoredId[] = [];

  get size(): number {
    return this.#bytes.length - 1 - this.#free.length;
  }

  /** The number of these bytes, if they are held: they were verified when they came. */
  find(bytes: Uint8Array): StoredId | undefined {
    if (bytes.length < signatureBytes) return undefined;
    const id = this.#byPrint.get(fingerprint(bytes));
    return id !== undefined && equalBytes(this.bytes(id), bytes) ? id : undefined;
  }

  /** Bytes that were verified; held once more by the caller. */
  put(bytes: Uint8Array, keys: StoredKeys, value: Value): StoredId {
    const known = this.find(bytes);
    if (known !== undefined) {
      this.retain(known);
      return known;
    }
    const id = this.#free.pop() ?? this.#bytes.length;
    if (id >= this.low.length) this.#grow();
    this.#bytes[id] = bytes;
    this.#values[id] = value;
    this.low[id] = keys.low;
    this.high[id] = keys.high;
    this.sequence[id] = keys.sequence;
    this.incarnation[id] = keys.incarnation;
    this.#references[id] = 1;
    this.#byPrint.set(fingerprint(bytes), id);
    return id;
  }

  retain(id: StoredId): void {
    assert(this.#bytes[id] !== undefined, "nothing has this number");
    this.#references[id] = (this.#references[id] as number) + 1;
  }

  release(id: StoredId): void {
    const left = (this.#references[id] as number) - 1;
    assert(left >= 0, "released more often than held");
    this.#references[id] = left;
    if (left > 0) return;
    const print = fingerprint(this.bytes(id));
    if (this.#byPrint.get(print) === id) this.#byPrint.delete(print);
    this.#bytes[id] = undefined;
    this.#values[id] = undefined;
    this.#free.push(id);
  }

  bytes(id: StoredId): Uint8Array {
    const bytes = this.#bytes[id];
    assert(bytes !== undefined, "nothing has this number");
    return bytes;
  }

  value(id: StoredId): Value {
    return this.#values[id] as Value;
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

/** Copies a column into a longer one. */
export function grown<T extends { set(from: T): void }>(from: T, to: T): T {
  to.set(from);
  return to;
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

/** 53 bits of both halves of the signature at the end: enough to tell bytes apart, and compared after. */
function fingerprint(bytes: Uint8Array): number {
  const at = bytes.length - signatureBytes;
  return wordAt(bytes, at) + (wordAt(bytes, at + 32) & 0x1fffff) * 2 ** 32;
}

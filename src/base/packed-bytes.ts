/**
 * Byte strings by small numbers, in few large buffers: an array of its own costs each some 100 bytes
 * more than it holds. Written at the end like a log; a buffer of which half is no longer held is
 * emptied into the last one, so there is never more than about twice what is held. What is read is a
 * copy, and stays as it is.
 */
import { grown, grownCapacity } from "./columns.ts";
import { assert } from "./errors.ts";

const chunkBits = 16;
const chunkBytes = 1 << chunkBits;
export const packedBytesMax = 0xffff;
const capacityStart = 64;

export class PackedBytes {
  #at = new Uint32Array(capacityStart);
  /** 0: nothing has this number. */
  #length = new Uint16Array(capacityStart);
  readonly #chunks: (Uint8Array | undefined)[] = [];
  /** Bytes of each that are held. */
  readonly #held: number[] = [];
  readonly #unused: number[] = [];
  #last = -1;
  #end = chunkBytes;

  /** Of all buffers. */
  get capacity(): number {
    return (this.#chunks.length - this.#unused.length) * chunkBytes;
  }

  /** Numbers are the caller's, small, and each in use once. */
  set(id: number, bytes: Uint8Array): void {
    const { length } = bytes;
    assert(length > 0 && length <= packedBytesMax, "packed bytes are neither none nor too many");
    if (id >= this.#at.length) this.#grow(id + 1);
    assert(this.#length[id] === 0, "the number is not in use");
    this.#append(id, bytes);
  }

  has(id: number): boolean {
    return (this.#length[id] ?? 0) > 0;
  }

  length(id: number): number {
    return this.#length[id] ?? 0;
  }

  get(id: number): Uint8Array {
    const at = (this.#at[id] as number) & (chunkBytes - 1);
    return this.#chunkOf(id).slice(at, at + (this.#length[id] as number));
  }

  /** Whether they are these, without a copy. */
  equals(id: number, bytes: Uint8Array, from = 0, to = bytes.length): boolean {
    if (this.#length[id] !== to - from) return false;
    const chunk = this.#chunkOf(id);
    const at = (this.#at[id] as number) & (chunkBytes - 1);
    for (let i = 0; i < to - from; i += 1) if (chunk[at + i] !== bytes[from + i]) return false;
    return true;
  }

  delete(id: number): void {
    const number = (this.#at[id] as number) >>> chunkBits;
    const length = this.#length[id] as number;
    assert(length > 0, "nothing has this number");
    this.#length[id] = 0;
    const left = (this.#held[number] as number) - length;
    this.#held[number] = left;
    if (number !== this.#last && left < chunkBytes / 2) this.#empty(number);
  }

  /** What it still holds goes to the end of the last. */
  #empty(number: number): void {
    const chunk = this.#chunks[number] as Uint8Array;
    const ids = (this.#held[number] as number) === 0 ? [] : this.#idsIn(number);
    this.#chunks[number] = undefined;
    this.#unused.push(number);
    for (const id of ids) {
      const at = (this.#at[id] as number) & (chunkBytes - 1);
      this.#append(id, chunk.subarray(at, at + (this.#length[id] as number)));
    }
  }

  #idsIn(number: number): readonly number[] {
    const out: number[] = [];
    for (let id = 0; id < this.#at.length; id += 1) {
      if (this.#length[id] !== 0 && (this.#at[id] as number) >>> chunkBits === number) out.push(id);
    }
    return out;
  }

  #append(id: number, bytes: Uint8Array): void {
    const { length } = bytes;
    if (this.#end + length > chunkBytes) this.#addChunk();
    (this.#chunks[this.#last] as Uint8Array).set(bytes, this.#end);
    this.#at[id] = this.#last * chunkBytes + this.#end;
    this.#length[id] = length;
    this.#end += length;
    this.#held[this.#last] = (this.#held[this.#last] as number) + length;
  }

  #addChunk(): void {
    const before = this.#last;
    this.#last = this.#unused.pop() ?? this.#chunks.length;
    this.#chunks[this.#last] = new Uint8Array(chunkBytes);
    this.#held[this.#last] = 0;
    this.#end = 0;
    // While it was the last, nobody looked whether it is worth keeping.
    if (before >= 0 && (this.#held[before] as number) === 0) this.#empty(before);
  }

  #chunkOf(id: number): Uint8Array {
    assert((this.#length[id] ?? 0) > 0, "nothing has this number");
    return this.#chunks[(this.#at[id] as number) >>> chunkBits] as Uint8Array;
  }

  #grow(least: number): void {
    const capacity = grownCapacity(least, this.#at.length);
    this.#at = grown(this.#at, new Uint32Array(capacity));
    this.#length = grown(this.#length, new Uint16Array(capacity));
  }
}

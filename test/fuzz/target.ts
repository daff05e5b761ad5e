/**
 * What a fuzz target in TypeScript is, and how it reads its input as choices. A new codec joins by a
 * target in a file of its own and a line in fuzz.ts. Each input starts from the same state, so that
 * its bytes alone repeat a failure.
 */
import { SeededRandom } from "../support/seeded-random.ts";

export interface FuzzTarget {
  readonly name: string;
  /** Inputs unless told otherwise; 1,000,000. */
  readonly inputs?: number;
  readonly bytesMax: number;
  /** False where one input is a whole play, or does a Diffie-Hellman: time is not judged. */
  readonly timed?: boolean;
  /** An input that gets past the first checks. */
  generate(random: SeededRandom): Uint8Array;
  /**
   * Throws where a rule is broken. The result tells apart what became of the input: one with a new
   * result is kept and mutated later on.
   */
  one(input: Uint8Array): string | number;
}

/** Bytes as choices; beyond the end there are zeros. */
export class Choices {
  #at = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  u8(): number {
    const value = this.#bytes[this.#at] ?? 0;
    this.#at += 1;
    return value;
  }

  u16(): number {
    return this.u8() | (this.u8() << 8);
  }

  below(bound: number): number {
    return (bound <= 256 ? this.u8() : this.u16()) % bound;
  }

  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  /** As many bytes, or what is left. */
  take(count: number): Uint8Array {
    const found = this.#bytes.subarray(this.#at, this.#at + count);
    this.#at += count;
    return found;
  }
}

export function rule(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(what);
}

export function sameBytes(a: Uint8Array, b: Uint8Array, what: string): void {
  rule(a.length === b.length && a.every((byte, at) => byte === b[at]), what);
}

/** Random bytes up to a length: for inputs that are programs of small choices. */
export function program(random: SeededRandom, bytesMax: number): Uint8Array {
  return random.bytes(random.below(bytesMax + 1));
}

/** A text made of words that nearly make sense, with a stray character now and then. */
export function sentence(random: SeededRandom, words: readonly string[], most: number): Uint8Array {
  let text = "";
  for (let left = random.below(most + 1); left > 0; left -= 1) {
    text += random.chance(0.03)
      ? String.fromCharCode(random.below(random.chance(0.9) ? 128 : 65_536))
      : words[random.below(words.length)];
  }
  return new TextEncoder().encode(text);
}

export function textOf(input: Uint8Array): string {
  return new TextDecoder().decode(input);
}

/** Changes a few bytes of what a codec made. */
export function damaged(random: SeededRandom, bytes: Uint8Array): Uint8Array {
  const out = bytes.slice();
  for (let left = random.below(3); left > 0 && out.length > 0; left -= 1) {
    out[random.below(out.length)] = random.chance(0.5) ? random.below(256) : random.below(4);
  }
  return random.chance(0.9) ? out : out.subarray(0, random.below(out.length + 1));
}

export { SeededRandom };

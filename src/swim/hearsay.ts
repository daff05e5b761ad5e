/**
 * Records of subjects that this node does not admit: kept so that they are not fetched or pushed
 * again, and are at hand should the subject be trusted later. Never probed, never passed on. At
 * most 1,024; the one longest unheard of goes first.
 */
import { shortId, shortIdOf } from "./message.ts";

export const hearsayMax = 1_024;

interface Heard {
  readonly identity: Uint8Array;
  readonly sequence: number;
  readonly record: Uint8Array;
}

export class Hearsay {
  readonly #heard = new Map<string, Heard>();
  readonly #buckets = new Map<number, Set<string>>();

  get size(): number {
    return this.#heard.size;
  }

  /** A record whose signature held; an older one than is known changes nothing. */
  add(identity: Uint8Array, sequence: number, record: Uint8Array): void {
    const id = shortId(identity);
    const known = this.#heard.get(id);
    if (known !== undefined && known.sequence >= sequence) return;
    this.#remove(id);
    if (this.#heard.size >= hearsayMax) this.#remove(this.#heard.keys().next().value as string);
    this.#heard.set(id, { identity, sequence, record });
    const bucket = identity[0] as number;
    const ids = this.#buckets.get(bucket) ?? new Set();
    this.#buckets.set(bucket, ids.add(id));
  }

  /** The sequence heard of, 0 for none. */
  sequence(id: string): number {
    return this.#heard.get(id)?.sequence ?? 0;
  }

  /** What was heard of the identity, which is then no longer hearsay. */
  take(identity: Uint8Array): Uint8Array | undefined {
    const heard = this.#heard.get(shortId(identity));
    this.#remove(shortId(identity));
    return heard?.record;
  }

  /** Everybody of whom there is hearsay. */
  identities(): readonly Uint8Array[] {
    return Array.from(this.#heard.values(), ({ identity }) => identity);
  }

  /** Short ids whose identities start with the byte. */
  inBucket(bucket: number): Iterable<string> {
    return this.#buckets.get(bucket) ?? [];
  }

  identity(id: string): Uint8Array {
    return (this.#heard.get(id) as Heard).identity;
  }

  /** The sequence heard of, by the first two words of the identity; 0 for none. */
  sequenceOf(low: number, high: number): number {
    if (this.#heard.size === 0) return 0;
    return this.sequence(shortIdOf(low, high));
  }

  #remove(id: string): void {
    const heard = this.#heard.get(id);
    if (heard === undefined) return;
    this.#heard.delete(id);
    const bucket = heard.identity[0] as number;
    const ids = this.#buckets.get(bucket);
    ids?.delete(id);
    if (ids?.size === 0) this.#buckets.delete(bucket);
  }
}

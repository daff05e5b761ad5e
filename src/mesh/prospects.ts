/**
 * Sessions of keys that would be admitted and have no peer, of whom an initiation came that proved
 * nothing. Anybody who knows a member's key can send such: each costs two Diffie-Hellman, and the
 * second is the same each time, so what it gave is kept here, as a peer would keep it. A few, and the
 * one longest unheard of goes first.
 */
export const prospectsMax = 64;

interface Prospect {
  readonly name: string;
  readonly session: { close(): void };
}

export class Prospects<P extends Prospect> {
  readonly #held = new Map<string, P>();

  /** It is the newest then. */
  find(name: string): P | undefined {
    const found = this.#held.get(name);
    if (found === undefined) return undefined;
    this.#held.delete(name);
    this.#held.set(name, found);
    return found;
  }

  add(prospect: P): void {
    if (this.#held.size >= prospectsMax) {
      const oldest = this.#held.values().next().value as P;
      this.#held.delete(oldest.name);
      oldest.session.close();
    }
    this.#held.set(prospect.name, prospect);
  }

  /** It becomes a peer. */
  take(name: string): P | undefined {
    const found = this.#held.get(name);
    this.#held.delete(name);
    return found;
  }

  clear(): void {
    for (const { session } of this.#held.values()) session.close();
    this.#held.clear();
  }
}

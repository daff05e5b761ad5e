/**
 * Which keypairs of a peer the data plane holds, mirrored: previous, current, next, by local session
 * index. The rules are WireGuard's (kernel `noise.c`, add_new_keypair and received_with_keypair).
 * The data plane promotes `next` by itself and says so afterwards, so a promotion may be heard of
 * after another keypair was installed; the slot `replaced` remembers what it may still name.
 */
export interface KeypairEntry {
  readonly localIndex: number;
  readonly initiator: boolean;
  readonly installedMs: number;
}

export class KeypairSlots {
  #previous: KeypairEntry | undefined;
  #current: KeypairEntry | undefined;
  #next: KeypairEntry | undefined;
  #replaced: KeypairEntry | undefined;
  readonly #indices: { release(localIndex: number): void };

  /** Each index that no slot holds any longer is released, once. */
  constructor(indices: { release(localIndex: number): void }) {
    this.#indices = indices;
  }

  get current(): KeypairEntry | undefined {
    return this.#current;
  }

  /** Made as responder, and not confirmed yet. */
  get next(): KeypairEntry | undefined {
    return this.#next;
  }

  get empty(): boolean {
    return this.#previous === undefined && this.#current === undefined && this.#next === undefined;
  }

  install(entry: KeypairEntry): void {
    this.#drop(this.#replaced);
    this.#replaced = undefined;
    this.#drop(this.#previous);
    if (entry.initiator) {
      if (this.#next === undefined) {
        this.#previous = this.#current;
      } else {
        this.#drop(this.#current);
        this.#previous = this.#next;
        this.#next = undefined;
      }
      this.#current = entry;
    } else {
      this.#previous = undefined;
      this.#replaced = this.#next;
      this.#next = entry;
    }
  }

  /** The first authentic packet came on a responder's keypair; the keypair that is current now. */
  confirm(localIndex: number): KeypairEntry | undefined {
    if (this.#next?.localIndex === localIndex) {
      this.#drop(this.#previous);
      this.#previous = this.#current;
      this.#current = this.#next;
      this.#next = undefined;
      return this.#current;
    }
    // Promoted just before its successor was installed, which then dropped what was current before.
    if (this.#replaced?.localIndex === localIndex && this.#next !== undefined) {
      this.#drop(this.#current);
      this.#current = this.#replaced;
      this.#replaced = undefined;
      return this.#current;
    }
    return undefined;
  }

  clear(): void {
    for (const entry of [this.#previous, this.#current, this.#next, this.#replaced]) {
      this.#drop(entry);
    }
    this.#previous = undefined;
    this.#current = undefined;
    this.#next = undefined;
    this.#replaced = undefined;
  }

  #drop(entry: KeypairEntry | undefined): void {
    if (entry !== undefined) this.#indices.release(entry.localIndex);
  }
}

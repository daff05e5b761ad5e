/**
 * When the parts of a node are due next: most of what happens concerns membership alone, so the others
 * are asked again only after something may have changed them.
 */
const never = Number.POSITIVE_INFINITY;

interface Timed {
  nextTimeout(): number | undefined;
}

export class NextDue {
  readonly #swim: Timed;
  readonly #peers: Timed;
  readonly #others: readonly Timed[];
  /** Of the others; undefined: to be asked. */
  #othersMs: number | undefined;

  /** Peers change without a word to the node too. */
  constructor(swim: Timed, peers: Timed, others: readonly Timed[]) {
    this.#swim = swim;
    this.#peers = peers;
    this.#others = others;
  }

  /** Any of the others may have changed. */
  changed(): void {
    this.#othersMs = undefined;
  }

  /** Of all but membership; infinite: never. */
  get othersMs(): number {
    if (this.#othersMs === undefined) {
      let next = never;
      for (const part of this.#others) next = Math.min(next, part.nextTimeout() ?? never);
      this.#othersMs = next;
    }
    return Math.min(this.#othersMs, this.#peers.nextTimeout() ?? never);
  }

  nextTimeout(): number | undefined {
    const next = Math.min(this.othersMs, this.#swim.nextTimeout() ?? never);
    return next === never ? undefined : next;
  }
}

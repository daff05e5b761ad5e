/**
 * How much this node doubts itself: Lifeguard's local health multiplier (Dadgar, Phillips, Currey
 * 2017, section IV-A). Probes of one's own that fail, nacks that do not come and suspicions of
 * oneself raise it, acks lower it; probes are then slower and wait longer, so that a node that is
 * itself slow accuses nobody of it.
 */
export const awarenessMax = 7;

export class Awareness {
  #score = 0;
  readonly #enabled: boolean;

  constructor(enabled: boolean) {
    this.#enabled = enabled;
  }

  /** 0: healthy, to 7. */
  get score(): number {
    return this.#score;
  }

  apply(delta: number): void {
    if (!this.#enabled) return;
    this.#score = Math.max(0, Math.min(awarenessMax, this.#score + delta));
  }

  scale(ms: number): number {
    return ms * (this.#score + 1);
  }
}

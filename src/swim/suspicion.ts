/**
 * How long a member is suspected before it counts as dead, and the suspicions that run. A suspicion
 * starts with a failed probe of one's own and is probed again while it lasts: it ends in death only
 * if such a probe failed too. Anything heard from the member ends it at once. The formula is
 * Lifeguard's (Dadgar, Phillips, Currey 2017, section IV-B).
 */
import { assert } from "../base/errors.ts";
import type { Random } from "../base/random.ts";

export const suspicionMultiplier = 4;
/** The longest suspicion is this many times the shortest. */
export const suspicionMaxMultiplier = 6;

export interface SuspicionTerms {
  /** Members known, this node included. */
  readonly members: number;
  readonly probeIntervalMs: number;
  /** Distinct accusers beyond oneself, so far. */
  readonly confirmations: number;
  /** Confirmations that shorten it to the minimum; 0 where none can come. */
  readonly confirmationsWanted: number;
}

/** Milliseconds from the start of the suspicion. */
export function suspicionTimeoutMs(terms: SuspicionTerms): number {
  const { members, probeIntervalMs, confirmations, confirmationsWanted } = terms;
  assert(members >= 1 && confirmations >= 0 && confirmationsWanted >= 0, "terms out of range");
  const min = suspicionMultiplier * Math.max(1, Math.log10(members)) * probeIntervalMs;
  if (confirmationsWanted === 0) return min;
  const max = suspicionMaxMultiplier * min;
  const share = Math.log(confirmations + 1) / Math.log(confirmationsWanted + 1);
  return Math.max(min, max - share * (max - min));
}

interface Suspicion {
  readonly startedMs: number;
  probeAtMs: number;
  /** Own probes that failed after the one that started it. */
  failures: number;
}

export type SuspicionVerdict =
  | { readonly kind: "probe"; readonly slot: number }
  | { readonly kind: "dead"; readonly slot: number };

/** The suspicions that run, by slot. */
export class Suspicions {
  readonly #random: Random;
  readonly #probeIntervalMs: number;
  readonly #running = new Map<number, Suspicion>();

  constructor(random: Random, probeIntervalMs: number) {
    this.#random = random;
    this.#probeIntervalMs = probeIntervalMs;
  }

  /** A probe of one's own failed: starts a suspicion, or counts against the one that runs. */
  probeFailed(nowMs: number, slot: number): void {
    const running = this.#running.get(slot);
    if (running !== undefined) {
      running.failures += 1;
      return;
    }
    this.#running.set(slot, {
      startedMs: nowMs,
      probeAtMs: nowMs + this.#jitteredIntervalMs(),
      failures: 0,
    });
  }

  /** Heard from, or gone: no longer suspected. */
  end(slot: number): void {
    this.#running.delete(slot);
  }

  has(slot: number): boolean {
    return this.#running.has(slot);
  }

  /** Who is to be probed again and who is dead; the dead are suspected no longer. */
  due(nowMs: number, members: number): readonly SuspicionVerdict[] {
    const out: SuspicionVerdict[] = [];
    const timeoutMs = this.#timeoutMs(members);
    for (const [slot, running] of this.#running) {
      if (running.failures > 0 && nowMs >= running.startedMs + timeoutMs) {
        this.#running.delete(slot);
        out.push({ kind: "dead", slot });
      } else if (nowMs >= running.probeAtMs) {
        running.probeAtMs = nowMs + this.#jitteredIntervalMs();
        out.push({ kind: "probe", slot });
      }
    }
    return out;
  }

  nextTimeout(members: number): number | undefined {
    let next: number | undefined;
    const timeoutMs = this.#timeoutMs(members);
    for (const { startedMs, probeAtMs, failures } of this.#running.values()) {
      const endsAtMs = failures > 0 ? startedMs + timeoutMs : Number.POSITIVE_INFINITY;
      const at = Math.min(probeAtMs, endsAtMs);
      if (next === undefined || at < next) next = at;
    }
    return next;
  }

  /** No accusations travel yet, so no confirmation can come. */
  #timeoutMs(members: number): number {
    return suspicionTimeoutMs({
      members,
      probeIntervalMs: this.#probeIntervalMs,
      confirmations: 0,
      confirmationsWanted: 0,
    });
  }

  #jitteredIntervalMs(): number {
    return this.#probeIntervalMs + this.#random.below(this.#probeIntervalMs);
  }
}

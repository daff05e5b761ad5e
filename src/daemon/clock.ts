/** The daemon's clock: CLOCK_BOOTTIME, which counts suspend, and Unix time beside it. */
import type { Instant } from "../base/clock.ts";
import type { Library } from "../native/library.ts";

export type Clock = () => Instant;

export function systemClock(library: Library): Clock {
  // A bigint after 104 days; a fraction of a microsecond is lost then, which nothing here measures.
  const monotonicMs = steady(() => Number(library.symbols.meshvpn_now_ns()) / 1e6);
  return () => ({ ms: monotonicMs(), wallMs: Date.now() });
}

/**
 * The same clock, which goes on from where it was if the one below jumps back, as after a process was
 * restored from a checkpoint: deadlines would otherwise wait for the time to come round again.
 */
export function steady(clock: () => number): () => number {
  let last = Number.NEGATIVE_INFINITY;
  let ahead = 0;
  return () => {
    const now = clock() + ahead;
    if (now < last) ahead += last - now;
    last = Math.max(last, now);
    return last;
  };
}

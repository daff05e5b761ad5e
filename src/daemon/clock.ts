/** The daemon's clock: CLOCK_BOOTTIME, which counts suspend, and Unix time beside it. */
import type { Instant } from "../base/clock.ts";
import type { Library } from "../native/library.ts";

export type Clock = () => Instant;

export function systemClock(library: Library): Clock {
  // A bigint after 104 days; a fraction of a microsecond is lost then, which nothing here measures.
  return () => ({ ms: Number(library.symbols.meshvpn_now_ns()) / 1e6, wallMs: Date.now() });
}

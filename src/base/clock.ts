/**
 * Time as the cores see it: always an argument. `ms` is monotonic and counts suspend
 * (CLOCK_BOOTTIME), and every deadline is in it; `wallMs` is Unix time, which may jump, and is used
 * only for what is shown to others (TAI64N stamps, sequence numbers, expiries).
 */
export interface Instant {
  readonly ms: number;
  readonly wallMs: number;
}

/** The earliest of some deadlines; undefined where there is none. */
export function earliest(times: readonly (number | undefined)[]): number | undefined {
  let first: number | undefined;
  for (const at of times) if (at !== undefined && (first === undefined || at < first)) first = at;
  return first;
}

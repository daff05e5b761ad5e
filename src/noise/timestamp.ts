/**
 * TAI64N stamps of initiations: 12 bytes, big-endian, compared as numbers (WireGuard paper, section
 * 5.1). Stamps that we send rise strictly for as long as a static key lives, whatever the wall
 * clock does, and tell an observer no more than a 60th of a second of our time.
 */
import { compareBytes } from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import { assert } from "../base/errors.ts";

export const timestampBytes = 12;

/** TAI64's epoch offset, and the 10 s that TAI was ahead of UTC in 1970. */
const taiOffset = 2n ** 62n + 10n;
/** Lower bits of the nanoseconds are cleared: processes share a clock, and its fine bits leak. */
const whitenMask = ~0xff_ffff;

/** The wall clock as a stamp, rounded down to 2^24 ns. */
export function encodeTimestamp(wallMs: number): Uint8Array {
  const ms = Math.max(0, Math.floor(wallMs));
  const out = new Uint8Array(timestampBytes);
  const view = new DataView(out.buffer);
  view.setBigUint64(0, taiOffset + BigInt(Math.floor(ms / 1000)));
  view.setUint32(8, ((ms % 1000) * 1_000_000) & whitenMask);
  return out;
}

/** The stamps sent under one static key. */
export class SentTimestamps {
  #last: Uint8Array | undefined;

  /** `last`: the largest that was ever sent under this key, 12 bytes. */
  constructor(last?: Uint8Array) {
    assert(last === undefined || last.length === timestampBytes, "a timestamp is 12 bytes");
    this.#last = last?.slice();
  }

  /** The larger of now and one more than the last. */
  next(now: Instant): Uint8Array {
    let stamp = encodeTimestamp(now.wallMs);
    if (this.#last !== undefined && compareBytes(stamp, this.#last) <= 0) {
      stamp = successor(this.#last);
    }
    this.#last = stamp;
    return stamp.slice();
  }
}

/** One more, as a 96-bit number; the largest of all stays. */
function successor(stamp: Uint8Array): Uint8Array {
  const out = stamp.slice();
  for (let i = out.length - 1; i >= 0; i -= 1) {
    const byte = out[i] as number;
    out[i] = (byte + 1) & 0xff;
    if (byte !== 0xff) return out;
  }
  return stamp.slice();
}

/**
 * How long a packet one way carries, found by padded probes that are not fragmented (RFC 8899, for
 * datagrams of a session): the longest first, and where it is lost three times although the way works,
 * one that passes everywhere and then halves of what is left. At most 8 tries of a length and 12 lengths
 * a search. Owns the lengths and their clock; paths.ts sends. Pure.
 */

/** Passes by every way, relays and IPv6's least MTU included (zig/constants.zig, path_mtu_sure). */
export const sureBytes = 1_152;
/** Below, no search goes: the least MTU of an interface. */
const bytesMin = 576;
/** A search ends where no more than this is to be gained. */
const stepBytes = 16;
/** So many lost ones, while short probes are answered, say that the length does not pass. */
const lostMax = 3;
const triesMax = 8;
/** After so long a longer packet may pass than did before; what was found first may have been a jam. */
const firstRaiseMs = 30_000;
const raiseMs = 600_000;

export class PathSize {
  /** Longest that was answered; 0: none yet. */
  #passed = 0;
  /** Shortest that was lost. */
  #lost = Number.POSITIVE_INFINITY;
  /** As long as a packet can be. */
  #bytesMax = 0;
  #raiseAtMs = Number.NEGATIVE_INFINITY;
  #trying = 0;
  #tries = 0;
  #losses = 0;
  /** Of the probes of this length: an answer may be late. */
  readonly #numbers = new Set<number>();
  #waits = false;
  #sentMs = 0;
  #atMs: number | undefined;

  /** When the next probe is due; undefined: no search is on. */
  get atMs(): number | undefined {
    return this.#atMs;
  }

  /** The longest packet that may be sent: 0 while nothing says that there is a limit. */
  get limit(): number {
    if (this.#lost > this.#bytesMax) return 0;
    if (this.#passed > 0) return this.#passed;
    return Math.max(bytesMin, Math.min(sureBytes, this.#lost - 1));
  }

  /** What was found still holds, or does not: packets of up to so many bytes are sent now. */
  start(nowMs: number, bytesMax: number): void {
    if (this.#atMs !== undefined) return;
    if (bytesMax !== this.#bytesMax || nowMs >= this.#raiseAtMs) {
      this.#raiseAtMs = nowMs + (bytesMax === this.#bytesMax ? raiseMs : firstRaiseMs);
      this.#bytesMax = bytesMax;
      this.#try(nowMs, bytesMax);
    } else this.#try(nowMs, this.#passed > 0 ? this.#passed : sureBytes);
  }

  /** The length of the probe that is due now. `waitMs`: for its answer. */
  take(nowMs: number, number: number, waitMs: number): number | undefined {
    if (this.#atMs === undefined || nowMs < this.#atMs) return undefined;
    this.#numbers.add(number);
    this.#waits = true;
    this.#sentMs = nowMs;
    // Where short ones are not answered in time either, the way has become slow.
    this.#atMs = nowMs + waitMs * (1 + this.#tries - this.#losses);
    this.#tries += 1;
    return this.#trying;
  }

  /** Whether the answer is to a probe of this search. */
  answered(nowMs: number, number: number): boolean {
    if (!this.#numbers.has(number)) return false;
    this.#numbers.clear();
    this.#waits = false;
    this.#passed = this.#trying;
    if (this.#lost <= this.#passed) this.#lost = Number.POSITIVE_INFINITY;
    this.#next(nowMs);
    return true;
  }

  /** The probe that went out last was not answered, though a short one was since `confirmedMs`. */
  missed(nowMs: number, confirmedMs: number | undefined): void {
    if (!this.#waits) return;
    this.#waits = false;
    if (confirmedMs !== undefined && confirmedMs >= this.#sentMs) this.#losses += 1;
    if (this.#losses >= lostMax) {
      this.#lost = this.#trying;
      if (this.#passed >= this.#trying) this.#passed = 0;
      this.#next(nowMs);
    } else if (this.#tries >= triesMax) this.#atMs = undefined;
  }

  #next(nowMs: number): void {
    const lost = Math.min(this.#lost, this.#bytesMax + 1);
    const passed = this.#passed;
    if (passed === 0 && this.#trying > sureBytes && sureBytes < lost) this.#try(nowMs, sureBytes);
    else {
      const low = Math.max(passed, bytesMin);
      const middle = low + Math.floor((lost - low) / (2 * stepBytes)) * stepBytes;
      if (passed >= this.#bytesMax || middle <= passed || middle >= lost) this.#atMs = undefined;
      else this.#try(nowMs, middle);
    }
  }

  #try(nowMs: number, bytes: number): void {
    this.#trying = bytes;
    this.#tries = 0;
    this.#losses = 0;
    this.#numbers.clear();
    this.#waits = false;
    this.#atMs = nowMs;
  }
}

/**
 * Datagrams in a stream of bytes: each behind its length, 2 bytes, big-endian (RFC 4571). Owns the
 * cutting and what waits to be written; it has no socket. A length of zero, or above what a datagram
 * holds, is a stream that makes no sense.
 */

/** A datagram of WireGuard over the longest MTU that a tunnel may have. */
export const streamDatagramBytesMax = 65_535;
/** Bytes that wait for a slow stream; datagrams beyond it are dropped, as by any queue. */
export const streamQueueBytesMax = 512 * 1024;

const lengthBytes = 2;

export class FrameReader {
  #rest = new Uint8Array(0);

  /** Whole datagrams, in order; undefined where the stream makes no sense and is to be closed. */
  push(chunk: Uint8Array): readonly Uint8Array[] | undefined {
    const bytes = this.#rest.length === 0 ? chunk : concat(this.#rest, chunk);
    const out: Uint8Array[] = [];
    let at = 0;
    while (bytes.length - at >= lengthBytes) {
      const length = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
      if (length === 0) return undefined;
      if (bytes.length - at - lengthBytes < length) break;
      out.push(bytes.slice(at + lengthBytes, at + lengthBytes + length));
      at += lengthBytes + length;
    }
    this.#rest = bytes.slice(at);
    return out;
  }
}

/** What is to be written to a stream that takes what it can. */
export class FrameWriter {
  readonly #write: (bytes: Uint8Array) => number;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  dropped = 0;

  /** `write` gives how many bytes were taken. */
  constructor(write: (bytes: Uint8Array) => number) {
    this.#write = write;
  }

  push(datagram: Uint8Array): void {
    const fits = datagram.length > 0 && datagram.length <= streamDatagramBytesMax;
    if (!fits || this.#waitingBytes + datagram.length > streamQueueBytesMax) {
      this.dropped += 1;
      return;
    }
    const frame = new Uint8Array(lengthBytes + datagram.length);
    frame[0] = datagram.length >> 8;
    frame[1] = datagram.length & 0xff;
    frame.set(datagram, lengthBytes);
    this.#waiting.push(frame);
    this.#waitingBytes += frame.length;
    if (this.#waiting.length === 1) this.flush();
  }

  /** The stream takes bytes again. */
  flush(): void {
    while (this.#waiting.length > 0) {
      const bytes = this.#waiting.length === 1 ? this.#waiting[0] : concat(...this.#waiting);
      if (bytes === undefined) return;
      const taken = Math.max(0, this.#write(bytes));
      this.#waitingBytes -= taken;
      this.#waiting = taken === bytes.length ? [] : [bytes.subarray(taken)];
      if (taken < bytes.length) return;
    }
  }
}

function concat(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

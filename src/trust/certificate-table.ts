/**
 * Certificates by their subjects, each as its bytes: a decoded one costs a KB, and of ten thousand
 * members nobody asks but for one or the other. What stands here was verified by whoever put it in.
 */

import { grown, grownCapacity } from "../base/columns.ts";
import { assert } from "../base/errors.ts";
import { KeyIndex } from "../base/key-index.ts";
import { PackedBytes } from "../base/packed-bytes.ts";
import { type Certificate, decodeCertificate } from "./certificate.ts";
import { formatIdentity } from "./identity.ts";
import type { Verified } from "./verified.ts";

const organisationsMax = 0xffff;

export class CertificateTable {
  readonly #index = new KeyIndex();
  readonly #bytes = new PackedBytes();
  #issued = new Float64Array(0);
  #expires = new Float64Array(0);
  #organisation = new Uint16Array(0);
  /** Texts of those that signed any, each once. */
  readonly #organisations: string[] = [];

  get size(): number {
    return this.#index.size;
  }

  get(identity: Uint8Array): Verified<Certificate> | undefined {
    const id = this.#index.find(identity);
    return id === undefined ? undefined : this.#read(id);
  }

  /** Text of the key that signed it. */
  organisationOf(identity: Uint8Array): string | undefined {
    const id = this.#index.find(identity);
    return id === undefined ? undefined : this.#organisations[this.#organisation[id] as number];
  }

  /** Unix time; undefined: there is none. */
  issuedOf(identity: Uint8Array): number | undefined {
    const id = this.#index.find(identity);
    return id === undefined ? undefined : this.#issued[id];
  }

  /** Whether the subject's is this very one. */
  holds(identity: Uint8Array, bytes: Uint8Array): boolean {
    const id = this.#index.find(identity);
    return id !== undefined && this.#bytes.equals(id, bytes);
  }

  /** In place of the one before. */
  put(certificate: Verified<Certificate>): void {
    const id = this.#index.add(certificate.identity);
    if (this.#bytes.has(id)) this.#bytes.delete(id);
    if (id >= this.#issued.length) this.#grow(id + 1);
    this.#bytes.set(id, certificate.bytes);
    this.#issued[id] = certificate.issuedWallMs;
    this.#expires[id] = certificate.expiresWallMs;
    this.#organisation[id] = this.#numberOf(formatIdentity(certificate.organisation));
  }

  /** Lets go of what has expired, and says of whom, and since when. */
  expire(wallMs: number, gone: (identity: Uint8Array, expiredWallMs: number) => void): void {
    for (let id = 0; id < this.#index.end; id += 1) {
      const expires = this.#expires[id] as number;
      if (!this.#index.has(id) || expires > wallMs) continue;
      const identity = this.#index.key(id);
      this.#index.remove(identity);
      this.#bytes.delete(id);
      gone(identity, expires);
    }
  }

  /** Unix time at which the first of them expires. */
  get nextExpiryWallMs(): number | undefined {
    let next = Number.POSITIVE_INFINITY;
    for (let id = 0; id < this.#index.end; id += 1) {
      if (this.#index.has(id)) next = Math.min(next, this.#expires[id] as number);
    }
    return next === Number.POSITIVE_INFINITY ? undefined : next;
  }

  #read(id: number): Verified<Certificate> {
    const decoded = decodeCertificate(this.#bytes.get(id));
    assert(decoded !== undefined, "what was verified was well formed");
    return decoded.claimed as Verified<Certificate>;
  }

  #numberOf(organisation: string): number {
    const known = this.#organisations.indexOf(organisation);
    if (known >= 0) return known;
    assert(this.#organisations.length < organisationsMax, "organisations are trusted one by one");
    return this.#organisations.push(organisation) - 1;
  }

  #grow(least: number): void {
    const capacity = grownCapacity(Math.max(least, 16), this.#issued.length);
    this.#issued = grown(this.#issued, new Float64Array(capacity));
    this.#expires = grown(this.#expires, new Float64Array(capacity));
    this.#organisation = grown(this.#organisation, new Uint16Array(capacity));
  }
}

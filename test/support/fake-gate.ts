/**
 * The gate in memory: MAC1 of what arrives, and under load MAC2 against a cookie of the sender's
 * address and port, with a cookie reply where it lacks (WireGuard paper, sections 5.3 and 5.4.7).
 */
import { concatBytes, equalBytes, Reader } from "../../src/base/bytes.ts";
import type { Instant } from "../../src/base/clock.ts";
import type { NoiseCrypto } from "../../src/base/crypto.ts";
import { type Endpoint, formatEndpoint } from "../../src/base/endpoint.ts";
import { encodeCookieReply } from "../../src/noise/message.ts";
import { SeededRandom } from "./seeded-random.ts";

const secretValidMs = 120_000;
const text = new TextEncoder();

export type Verdict =
  | { readonly kind: "pass" | "drop" }
  | { readonly kind: "cookie"; readonly reply: Uint8Array };

export class FakeGate {
  underLoad = false;
  readonly #crypto: NoiseCrypto;
  readonly #random = new SeededRandom(77);
  #mac1Key: Uint8Array | undefined;
  #cookieKey: Uint8Array | undefined;
  #secret: { readonly bytes: Uint8Array; readonly untilMs: number } | undefined;

  constructor(crypto: NoiseCrypto) {
    this.#crypto = crypto;
  }

  setLocalKey(publicKey: Uint8Array | undefined): void {
    const key = (label: string): Uint8Array | undefined =>
      publicKey && this.#crypto.hash(concatBytes(text.encode(label), publicKey));
    this.#mac1Key = key("mac1----");
    this.#cookieKey = key("cookie--");
  }

  judge(now: Instant, remote: Endpoint, bytes: Uint8Array): Verdict {
    if (this.#mac1Key === undefined || this.#cookieKey === undefined) return { kind: "drop" };
    const mac1 = bytes.subarray(-32, -16);
    const expected = this.#crypto.mac(this.#mac1Key, bytes.subarray(0, -32));
    if (!equalBytes(mac1, expected)) return { kind: "drop" };
    if (!this.underLoad) return { kind: "pass" };
    const cookie = this.#cookie(now, remote);
    const mac2 = this.#crypto.mac(cookie, bytes.subarray(0, -16));
    if (equalBytes(bytes.subarray(-16), mac2)) return { kind: "pass" };
    const receiver = new Reader(bytes.subarray(4)).u32() ?? 0;
    const nonce = this.#random.bytes(24);
    const sealedCookie = this.#crypto.sealCookie(this.#cookieKey, nonce, mac1, cookie);
    return { kind: "cookie", reply: encodeCookieReply({ receiver, nonce, sealedCookie }) };
  }

  /** Makes the first MAC of a message to this node right, as whoever knows its public key can. */
  stamp(bytes: Uint8Array): void {
    if (this.#mac1Key === undefined || bytes.length < 32) return;
    bytes.set(this.#crypto.mac(this.#mac1Key, bytes.subarray(0, -32)), bytes.length - 32);
  }

  #cookie(now: Instant, remote: Endpoint): Uint8Array {
    if (this.#secret === undefined || now.ms >= this.#secret.untilMs) {
      this.#secret = { bytes: this.#random.bytes(32), untilMs: now.ms + secretValidMs };
    }
    return this.#crypto.mac(this.#secret.bytes, text.encode(formatEndpoint(remote)));
  }
}

/**
 * The MACs of outgoing handshake messages to one peer, and the cookies that it returns when under
 * load (WireGuard paper, sections 5.3 and 5.4.4 to 5.4.7). Checking MACs and handing out cookies is
 * the data plane's gate. A cookie is taken only in answer to the last MAC1 that was stamped, and
 * once; it moves no handshake and no endpoint.
 */
import { concatBytes } from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import type { NoiseCrypto } from "../base/crypto.ts";
import { assert } from "../base/errors.ts";
import { type CookieReply, macBytes } from "./message.ts";

/** The peer's cookie secret lives 120 s; 5 s less here, for the way. */
export const cookieValid_ms = 115_000;

const labelMac1 = new TextEncoder().encode("mac1----");
const labelCookie = new TextEncoder().encode("cookie--");

export class MacStamp {
  readonly #crypto: NoiseCrypto;
  readonly #remotePublicKey: Uint8Array;
  /** Computed when first needed: most peers are never written to. */
  #mac1Key: Uint8Array | undefined;
  /** The MAC1 that a cookie reply may answer. */
  #awaited: Uint8Array | undefined;
  #cookie: { readonly bytes: Uint8Array; readonly untilMs: number } | undefined;

  constructor(crypto: NoiseCrypto, remotePublicKey: Uint8Array) {
    this.#crypto = crypto;
    this.#remotePublicKey = remotePublicKey;
  }

  /** Fills in MAC1, and MAC2 where a cookie is valid, at the end of an encoded message. */
  stamp(now: Instant, message: Uint8Array): void {
    this.#awaited = this.#write(now, message);
  }

  /** The same message once more, with the new cookie: its MAC1 has had its answer. */
  stampAgain(now: Instant, message: Uint8Array): void {
    this.#write(now, message);
  }

  /** Whether the reply was authentic and awaited; then its cookie is used from now on. */
  consumeReply(now: Instant, reply: CookieReply): boolean {
    if (this.#awaited === undefined) return false;
    const cookie = this.#crypto.openCookie(
      this.#crypto.hash(concatBytes(labelCookie, this.#remotePublicKey)),
      reply.nonce,
      this.#awaited,
      reply.sealedCookie,
    );
    if (cookie === undefined) return false;
    assert(cookie.length === macBytes, "32 sealed bytes hold a cookie of 16");
    this.#awaited = undefined;
    this.#cookie = { bytes: cookie, untilMs: now.ms + cookieValid_ms };
    return true;
  }

  #write(now: Instant, message: Uint8Array): Uint8Array {
    const mac1At = message.length - 2 * macBytes;
    const mac2At = message.length - macBytes;
    assert(mac1At > 0, "a message with room for both MACs");
    this.#mac1Key ??= this.#crypto.hash(concatBytes(labelMac1, this.#remotePublicKey));
    const mac1 = this.#crypto.mac(this.#mac1Key, message.subarray(0, mac1At));
    message.set(mac1, mac1At);
    if (this.#cookie !== undefined && now.ms >= this.#cookie.untilMs) this.#cookie = undefined;
    if (this.#cookie === undefined) message.fill(0, mac2At);
    else message.set(this.#crypto.mac(this.#cookie.bytes, message.subarray(0, mac2At)), mac2At);
    return mac1;
  }
}

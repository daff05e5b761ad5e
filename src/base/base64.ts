/**
 * Base64 (RFC 4648 section 4) in its one canonical form: padded, no white space, unused bits zero.
 * What decodes, encodes again to the same text, so a key has exactly one name and texts may be
 * compared and used as map keys. For public bytes only: secrets never become text here.
 */
import { assert } from "./errors.ts";

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const values: Int8Array = (() => {
  const table = new Int8Array(128).fill(-1);
  for (let i = 0; i < alphabet.length; i += 1) table[alphabet.charCodeAt(i)] = i;
  return table;
})();

export function encodeBase64(bytes: Uint8Array): string {
  return bytes.toBase64();
}

/** undefined for anything but canonical base64. */
export function decodeBase64(text: string): Uint8Array | undefined {
  if (text.length % 4 !== 0) return undefined;
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const digits = text.length - padding;
  const out = new Uint8Array((text.length / 4) * 3 - padding);
  let bits = 0;
  let bitCount = 0;
  let at = 0;
  for (let i = 0; i < digits; i += 1) {
    const value = values[text.charCodeAt(i)] ?? -1;
    if (value < 0) return undefined;
    bits = ((bits << 6) | value) & 0xffff;
    bitCount += 6;
    if (bitCount >= 8) {
      bitCount -= 8;
      out[at] = (bits >> bitCount) & 0xff;
      at += 1;
    }
  }
  // The bits that padding leaves over must be zero, or two texts would name the same bytes.
  if ((bits & ((1 << bitCount) - 1)) !== 0) return undefined;
  return out;
}

/** A 32-byte public key as 44 characters. */
export function formatKey(key: Uint8Array): string {
  assert(key.length === 32, "a key is 32 bytes");
  return encodeBase64(key);
}

/** The 32 bytes of a key's canonical text of 44 characters, else undefined. */
export function parseKey(text: string): Uint8Array | undefined {
  if (text.length !== 44) return undefined;
  const key = decodeBase64(text);
  return key?.length === 32 ? key : undefined;
}

/** Base64 for URLs (RFC 4648 section 5) without padding: one word in every terminal. */
export function toUrl(bytes: Uint8Array): string {
  return encodeBase64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** undefined for anything but the canonical form of `toUrl`. */
export function fromUrl(text: string): Uint8Array | undefined {
  if (/[+/=]/.test(text)) return undefined;
  const padding = "=".repeat((4 - (text.length % 4)) % 4);
  return decodeBase64(text.replaceAll("-", "+").replaceAll("_", "/") + padding);
}

/**
 * Published vectors that every implementation of `base/crypto.ts` must agree with, from
 * test/vectors: their edge cases are the ones that implementations got wrong before.
 */
import { expect, test } from "bun:test";
import { fromHex, toHex } from "../../src/base/bytes.ts";
import type { CryptoUnderTest } from "./crypto.ts";

const directory = new URL("../vectors/", import.meta.url);
const tagBytes = 16;

interface Vector {
  readonly number: string;
  readonly result: string;
  readonly fields: readonly Uint8Array[];
}

export function vectors(under: CryptoUnderTest): void {
  const { crypto } = under;

  test("X25519 passes Wycheproof, and refuses its 31 shared secrets of zero", async () => {
    const before = under.live();
    const results = { valid: 0, zero: 0 };
    for (const { number, result, fields } of await read("x25519.txt", 3)) {
      const [point, scalar, shared] = fields as [Uint8Array, Uint8Array, Uint8Array];
      const secret = under.importSecret(scalar);
      const made = crypto.dh(secret, point);
      // The bytes of a secret are not to be had; its hash is.
      const hash = made === undefined ? "zero" : toHex(crypto.hash(new Uint8Array(0), made));
      expect(`${number} ${hash}`).toBe(
        `${number} ${result === "zero" ? "zero" : toHex(crypto.hash(shared))}`,
      );
      crypto.release(secret, ...(made === undefined ? [] : [made]));
      results[result as "valid" | "zero"] += 1;
    }
    expect(results).toEqual({ valid: 487, zero: 31 });
    expect(under.live()).toBe(before);
  });

  test("XChaCha20-Poly1305 passes Wycheproof", async () => {
    const results = { valid: 0, invalid: 0 };
    for (const { number, result, fields } of await read("xchacha20-poly1305.txt", 5)) {
      const [key, nonce, data, text, sealed] = fields as [
        ...[Uint8Array, Uint8Array, Uint8Array],
        ...[Uint8Array, Uint8Array],
      ];
      const opened = crypto.openCookie(key, nonce, data, sealed);
      const expected = result === "valid" ? toHex(text) : "refused";
      expect(`${number} ${opened === undefined ? "refused" : toHex(opened)}`).toBe(
        `${number} ${expected}`,
      );
      if (result === "valid") {
        expect(toHex(crypto.sealCookie(key, nonce, data, text))).toBe(toHex(sealed));
      }
      expect(sealed.length).toBeGreaterThanOrEqual(tagBytes);
      results[result as "valid" | "invalid"] += 1;
    }
    expect(results).toEqual({ valid: 246, invalid: 60 });
  });

  test("Ed25519 passes Wycheproof: no malleable, cut or padded signature verifies", async () => {
    const results = { valid: 0, invalid: 0 };
    for (const { number, result, fields } of await read("ed25519.txt", 3)) {
      const [key, message, signature] = fields as [Uint8Array, Uint8Array, Uint8Array];
      const held = crypto.verify(key, message, signature);
      expect(`${number} ${held ? "valid" : "invalid"}`).toBe(`${number} ${result}`);
      results[result as "valid" | "invalid"] += 1;
    }
    expect(results).toEqual({ valid: 88, invalid: 62 });
  });
}

/** Lines of "number result field...", a field in hexadecimal or "-" for an empty one. */
async function read(name: string, fieldCount: number): Promise<Vector[]> {
  const text = await Bun.file(new URL(name, directory)).text();
  const out: Vector[] = [];
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const [number = "", result = "", ...rest] = line.split(" ");
    const fields = rest.map((field) => (field === "-" ? new Uint8Array(0) : fromHex(field)));
    if (fields.length !== fieldCount || fields.includes(undefined))
      throw new Error(`${name}: line ${number} is malformed`);
    out.push({ number, result, fields: fields as Uint8Array[] });
  }
  return out;
}

import { expect, test } from "bun:test";
import { toHex } from "../../../src/base/bytes.ts";
import {
  formatIdentity,
  identityOf,
  networkIdOf,
  networkNameDefault,
  parseIdentity,
} from "../../../src/trust/identity.ts";
import { NobleCrypto } from "../../support/noble-crypto.ts";

test("an identity's text is 44 characters and reads back to the same key", () => {
  const crypto = new NobleCrypto();
  const identity = identityOf(crypto, crypto.importSecret(new Uint8Array(32).fill(7)));
  const text = formatIdentity(identity.publicKey);
  expect(text).toHaveLength(44);
  expect(parseIdentity(text)).toEqual(identity.publicKey);
});

test("what is not the canonical text of a usable key is no identity", () => {
  const zero = formatIdentity(new Uint8Array(32));
  for (const text of ["", "abc", zero, `${zero} `, zero.replace("=", "A"), "x".repeat(44)]) {
    expect(parseIdentity(text)).toBeUndefined();
  }
});

test("a network's id follows from its name alone, and another name is another network", () => {
  const crypto = new NobleCrypto();
  const id = networkIdOf(crypto, networkNameDefault);
  expect(toHex(id)).toBe("df971f19d171ef9d9e6baef4a2f80c6f874947b3e913624df8ba0be501c5747d");
  expect(networkIdOf(new NobleCrypto(), networkNameDefault)).toEqual(id);
  expect(networkIdOf(crypto, "other")).not.toEqual(id);
});

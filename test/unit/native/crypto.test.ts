/** Key files, and randomness: what the contract of the cryptography does not cover. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeBase64 } from "../../../src/base/base64.ts";
import { toHex } from "../../../src/base/bytes.ts";
import { MeshError } from "../../../src/base/errors.ts";
import { NativeCrypto } from "../../../src/native/crypto.ts";
import { loadLibrary } from "../../../src/native/library.ts";

const crypto = new NativeCrypto(loadLibrary());
let folder = "";
let before = 0;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "meshvpn-key-"));
  before = crypto.secretCount();
});

afterEach(() => {
  rmSync(folder, { recursive: true });
  expect(crypto.secretCount()).toBe(before);
});

function refusal(body: () => unknown): MeshError {
  try {
    body();
  } catch (error) {
    if (error instanceof MeshError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

test("a stored key is loaded again, from a file that its owner alone may read", () => {
  const path = join(folder, "key");
  const secret = crypto.generate();
  crypto.store(secret, path);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const text = readFileSync(path, "utf8");
  expect(decodeBase64(text.trimEnd())).toHaveLength(32);
  const loaded = crypto.load(path);
  expect(crypto.publicKey(loaded)).toEqual(crypto.publicKey(secret));
  crypto.release(secret, loaded);
});

test("a key file is not replaced unless that is asked for", () => {
  const path = join(folder, "key");
  const [first, second] = [crypto.generate(), crypto.generate()];
  crypto.store(first, path);
  const text = readFileSync(path, "utf8");
  expect(refusal(() => crypto.store(second, path)).code).toBe("file_exists");
  expect(readFileSync(path, "utf8")).toBe(text);
  crypto.store(second, path, true);
  expect(readFileSync(path, "utf8")).not.toBe(text);
  crypto.release(first, second);
});

test.each([
  ["is absent", (path: string) => rmSync(path, { force: true }), "no_such_file"],
  ["is readable by its group", (path: string) => chmodSync(path, 0o640), "key_file_open_to_others"],
  ["is readable by all", (path: string) => chmodSync(path, 0o604), "key_file_open_to_others"],
  ["is empty", (path: string) => writeFileSync(path, ""), "key_file_invalid"],
  ["is short", (path: string) => writeFileSync(path, "AAAA\n"), "key_file_invalid"],
  ["is long", (path: string) => writeFileSync(path, "A".repeat(1 << 20)), "key_file_invalid"],
  [
    "is not canonical",
    (path: string) => writeFileSync(path, `${"A".repeat(42)}B=\n`),
    "key_file_invalid",
  ],
])("a key file that %s is refused with what to do about it", (_what, spoil, code) => {
  const path = join(folder, "key");
  const secret = crypto.generate();
  crypto.store(secret, path);
  crypto.release(secret);
  spoil(path);
  const error = refusal(() => crypto.load(path));
  expect(error.code).toBe(code);
  expect(error.sentence()).toContain(path);
  expect(error.remedy).not.toBe("");
});

test("a folder in a key file's place is refused", () => {
  mkdirSync(join(folder, "key"));
  expect(() => crypto.load(join(folder, "key"))).toThrow(MeshError);
});

test("a key is not written through a dangling link", () => {
  const link = join(folder, "link");
  symlinkSync(join(folder, "elsewhere"), link);
  const secret = crypto.generate();
  expect(() => crypto.store(secret, link)).toThrow(MeshError);
  expect(existsSync(join(folder, "elsewhere"))).toBe(false);
  crypto.release(secret);
});

test("random bytes do not repeat, and draws below a bound reach every value evenly", () => {
  const seen = new Set(Array.from({ length: 1000 }, () => toHex(crypto.bytes(16))));
  expect(seen.size).toBe(1000);
  const counts = new Array<number>(3).fill(0);
  for (let draw = 0; draw < 3000; draw += 1) {
    const value = crypto.below(3);
    counts[value] = (counts[value] ?? 0) + 1;
  }
  // Six standard deviations from 1000 of 3000.
  for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(160);
  expect(crypto.below(1)).toBe(0);
  expect(crypto.below(2 ** 32)).toBeLessThan(2 ** 32);
});

/** What is not the library this code was written against is refused before it is used. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MeshError } from "../../../src/base/errors.ts";
import { abi } from "../../../src/native/abi.ts";
import { loadLibrary, openLibrary } from "../../../src/native/library.ts";
import { symbolOffset } from "../../support/elf.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "meshvpn-library-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function refusal(path: string): MeshError {
  try {
    openLibrary(path);
  } catch (error) {
    if (error instanceof MeshError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

/** A copy of the library with some bytes replaced by as many others. */
function changed(name: string, change: (bytes: Buffer) => void): string {
  const path = join(folder, name);
  const bytes = readFileSync(loadLibrary().path);
  change(bytes);
  writeFileSync(path, bytes);
  return path;
}

function replaceText(bytes: Buffer, from: string, to: string): void {
  expect(to.length).toBe(from.length);
  const at = bytes.indexOf(from);
  expect(at).toBeGreaterThan(0);
  bytes.write(to, at, "latin1");
}

/** `mov eax, VERSION` of x86-64, or `mov w0, #VERSION` of aarch64. */
function returnsVersion(version: number): Buffer {
  const code = Buffer.alloc(process.arch === "x64" ? 5 : 4);
  if (process.arch === "x64") code.writeUInt32LE(version, code.writeUInt8(0xb8));
  else code.writeUInt32LE((0x52800000 | (version << 5)) >>> 0);
  return code;
}

test("the library of this checkout loads, and is itself", () => {
  const library = loadLibrary();
  expect(library.symbols.meshvpn_abi_version()).toBe(abi.version);
  expect(loadLibrary()).toBe(library);
  const exact = join(folder, "copy.so");
  copyFileSync(library.path, exact);
  expect(openLibrary(exact).path).toBe(exact);
});

test("another ABI version is refused, both named, with the way to rebuild", () => {
  const path = changed("version.so", (bytes) => {
    const start = symbolOffset(bytes, "meshvpn_abi_version");
    const at = bytes.indexOf(returnsVersion(abi.version), start);
    expect(at - start).toBeLessThan(16);
    returnsVersion(77).copy(bytes, at);
  });
  const error = refusal(path);
  expect(error.code).toBe("library_mismatch");
  expect(error.sentence()).toContain("version 77");
  expect(error.sentence()).toContain(`version ${abi.version} is needed`);
  expect(error.sentence()).toContain("scripts/build");
});

test("another layout under the same version is refused, and the field named", () => {
  const { size } = abi.structs.Command;
  const path = changed("layout.so", (bytes) =>
    replaceText(bytes, `"Command":{"size":${size}`, `"Command":{"size":${size + 8}`),
  );
  expect(refusal(path).why).toContain("structs.Command.size");
});

test("a library without a function is refused, and the function named", () => {
  const path = changed("symbol.so", (bytes) =>
    replaceText(bytes, "\0meshvpn_uapi_reply\0", "\0meshvpn_uapi_rapid\0"),
  );
  expect(refusal(path).why).toContain("meshvpn_uapi_reply");
});

test("what is no library at all is refused with the loader's words", () => {
  const path = join(folder, "text.so");
  writeFileSync(path, "not a library");
  expect(refusal(path).code).toBe("library_unloadable");
  expect(refusal(path).why).not.toBe("");
  expect(refusal(join(folder, "absent.so")).code).toBe("library_unloadable");
});

import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { prepareStateDirectory } from "../../../src/daemon/state.ts";
import {
  readCertificate,
  readInvites,
  readNetwork,
  readSigned,
  readStatements,
  readToken,
  writeInvites,
  writeNetwork,
} from "../../../src/daemon/trust-files.ts";
import type { InviteEntry } from "../../../src/trust/invite-book.ts";

let scene: string;
let directory: string;
let warnings: string[];
const warn = (text: string): void => void warnings.push(text);

beforeEach(() => {
  scene = mkdtempSync(join(tmpdir(), "meshvpn-trust-files-"));
  directory = join(scene, "state");
  warnings = [];
  prepareStateDirectory(directory);
});

afterEach(() => rmSync(scene, { recursive: true }));

test("nothing is there at first, and that is no damage", () => {
  expect(readNetwork(directory, warn)).toBeUndefined();
  expect(readCertificate(directory, warn)).toBeUndefined();
  expect(readToken(directory, warn)).toBeUndefined();
  expect(readStatements(directory, warn)).toEqual([]);
  expect(readSigned(directory, warn)).toEqual([]);
  expect(readInvites(directory, warn)).toEqual([]);
  expect(warnings).toEqual([]);
});

test("what is written is read again", () => {
  const network = {
    id: new Uint8Array(32).fill(3),
    name: "office",
    ipv4Prefix: { address: "10.98.0.0", bits: 16 },
    seeds: ["192.0.2.1:7"],
  };
  writeNetwork(directory, network);
  expect(readNetwork(directory, warn)).toEqual(network);
  const entry: InviteEntry = {
    hash: new Uint8Array(16).fill(1),
    expiresWallMs: 5,
    uses: 2,
    name: "bee",
    groups: ["office", "web"],
    certificateMs: 7,
    redeemed: [{ identity: new Uint8Array(32).fill(2), certificate: new Uint8Array(180).fill(9) }],
  };
  writeInvites(directory, [entry]);
  expect(readInvites(directory, warn)).toEqual([entry]);
});

test.each<[string, (from: string) => unknown]>([
  ["network.json", (from) => readNetwork(from, warn)],
  ["certificate", (from) => readCertificate(from, warn)],
  ["statements.json", (from) => readStatements(from, warn)[0]],
  ["invites.json", (from) => readInvites(from, warn)[0]],
])("%s that is damaged is moved aside with a word, and not heeded", (file, read) => {
  for (const text of ["", "{", '{"schema":1}', '{"schema":1,"invites":[{}],"statements":["!"]}']) {
    warnings = [];
    writeFileSync(join(directory, file), text);
    expect(read(directory)).toBeUndefined();
    expect(warnings).toEqual([expect.stringContaining(`${file} is damaged`)]);
    expect(existsSync(join(directory, file))).toBe(false);
  }
});

test.each(["certificate", join("organisations", "a.pub")])(
  "network.json that is damaged is left, and nothing starts without it, beside %s",
  (beside) => {
    mkdirSync(join(directory, "organisations"));
    writeFileSync(join(directory, beside), "x");
    const path = join(directory, "network.json");
    writeFileSync(path, "x");
    expect(() => readNetwork(directory, warn)).toThrow(`cannot use ${path}`);
    expect(readFileSync(path, "utf8")).toBe("x");
    expect(warnings).toEqual([]);
  },
);

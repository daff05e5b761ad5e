import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MeshError } from "../../../src/base/errors.ts";
import {
  createKeys,
  identityMend,
  loadIdentity,
  loadKeys,
  prepareStateDirectory,
  readMembers,
  readMemory,
  writeMembers,
  writeMemory,
} from "../../../src/daemon/state.ts";
import { addKey, parseKeyLine, readKeys, removeKey } from "../../../src/daemon/trust-files.ts";
import { NativeCrypto } from "../../../src/native/crypto.ts";
import { loadLibrary } from "../../../src/native/library.ts";
import { formatIdentity } from "../../../src/trust/identity.ts";

const crypto = new NativeCrypto(loadLibrary());
let scene: string;
let directory: string;
let warnings: string[];
const warn = (text: string): void => void warnings.push(text);

beforeEach(() => {
  scene = mkdtempSync(join(tmpdir(), "meshvpn-state-"));
  directory = join(scene, "state");
  warnings = [];
});

afterEach(() => rmSync(scene, { recursive: true }));

function refusal(body: () => unknown): MeshError {
  try {
    body();
  } catch (error) {
    if (error instanceof MeshError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

function mode(name: string): number {
  return statSync(join(directory, name)).mode & 0o777;
}

function identity(fill: number): Uint8Array {
  return new Uint8Array(32).fill(fill);
}

describe("keys", () => {
  test("are made for their owner alone, and no secret stays in memory", () => {
    const before = crypto.secretCount();
    const publicKey = createKeys(crypto, directory, false);
    expect(crypto.secretCount()).toBe(before);
    expect([mode("."), mode("identity.key"), mode("wireguard.key")]).toEqual([0o700, 0o600, 0o600]);
    const keys = loadKeys(crypto, directory);
    expect(keys.identity.publicKey).toEqual(publicKey);
    expect(crypto.publicKey(keys.wireguard)).not.toEqual(crypto.publicKey(keys.identity.seed));
    crypto.release(keys.identity.seed, keys.wireguard);
  });

  test("that are there are not replaced", () => {
    createKeys(crypto, directory, false);
    const before = readFileSync(join(directory, "identity.key"), "utf8");
    const error = refusal(() => createKeys(crypto, directory, false));
    expect([error.code, error.remedy.includes("--force")]).toEqual(["identity_exists", true]);
    expect(readFileSync(join(directory, "identity.key"), "utf8")).toBe(before);
  });

  test("are replaced by force, and the former ones stay beside", () => {
    const first = createKeys(crypto, directory, false);
    const former = readFileSync(join(directory, "identity.key"), "utf8");
    const second = createKeys(crypto, directory, true);
    expect(second).not.toEqual(first);
    expect(readFileSync(join(directory, "identity.key.old"), "utf8")).toBe(former);
    expect(mode("identity.key.old")).toBe(0o600);
    expect(createKeys(crypto, directory, true)).not.toEqual(second);
  });

  test("are made whole after a run that ended between the two", () => {
    createKeys(crypto, directory, false);
    rmSync(join(directory, "identity.key"));
    const wireguard = readFileSync(join(directory, "wireguard.key"), "utf8");
    createKeys(crypto, directory, false);
    expect(readFileSync(join(directory, "wireguard.key"), "utf8")).toBe(wireguard);
    rmSync(join(directory, "wireguard.key"));
    const keys = loadKeys(crypto, directory);
    crypto.release(keys.identity.seed, keys.wireguard);
    expect(existsSync(join(directory, "wireguard.key"))).toBe(true);
  });

  test("that are missing are asked for", () => {
    const error = refusal(() => loadIdentity(crypto, directory));
    expect([error.code, error.remedy]).toEqual(["identity_missing", identityMend]);
  });

  test("that others may read, or that are damaged, are refused and left as they are", () => {
    createKeys(crypto, directory, false);
    const path = join(directory, "identity.key");
    chmodSync(path, 0o640);
    const open = refusal(() => loadIdentity(crypto, directory));
    expect([open.code, open.remedy]).toEqual(["key_file_open_to_others", `chmod 600 ${path}`]);
    chmodSync(path, 0o600);
    writeFileSync(path, "damaged\n");
    expect(refusal(() => loadIdentity(crypto, directory)).code).toBe("key_file_invalid");
    expect(readFileSync(path, "utf8")).toBe("damaged\n");
  });

  test("leave no secret behind where the second cannot be loaded", () => {
    createKeys(crypto, directory, false);
    writeFileSync(join(directory, "wireguard.key"), "damaged\n");
    const before = crypto.secretCount();
    expect(refusal(() => loadKeys(crypto, directory)).code).toBe("key_file_invalid");
    expect(crypto.secretCount()).toBe(before);
  });
});

describe("whom this node trusts", () => {
  test("is nobody at first", () => expect(readKeys(directory, "trusted", warn)).toEqual([]));

  test("is kept, with the operator's words, once each", () => {
    expect(addKey(directory, "trusted", identity(1), "alpha")).toBe("added");
    expect(addKey(directory, "trusted", identity(255), undefined)).toBe("added");
    expect(addKey(directory, "trusted", identity(1), undefined)).toBe("known");
    expect(addKey(directory, "trusted", identity(1), "alpha")).toBe("known");
    expect(addKey(directory, "trusted", identity(1), "beta")).toBe("renamed");
    expect(readKeys(directory, "trusted", warn)).toEqual([
      { identity: identity(1), name: "beta" },
      { identity: identity(255), name: "" },
    ]);
    expect(warnings).toEqual([]);
  });

  test("can be taken back", () => {
    addKey(directory, "trusted", identity(1), undefined);
    expect(removeKey(directory, "trusted", identity(1))).toBe(true);
    expect(removeKey(directory, "trusted", identity(1))).toBe(false);
    expect(readKeys(directory, "trusted", warn)).toEqual([]);
  });

  test("is not a file that is damaged; it is kept aside, with a word", () => {
    addKey(directory, "trusted", identity(1), undefined);
    addKey(directory, "trusted", identity(2), undefined);
    const inside = join(directory, "trusted");
    const [first] = readdirSync(inside).toSorted() as [string];
    writeFileSync(join(inside, first), "half a li");
    expect(readKeys(directory, "trusted", warn)).toEqual([{ identity: identity(2), name: "" }]);
    expect(readFileSync(join(inside, `${first}.damaged`), "utf8")).toBe("half a li");
    expect(warnings).toHaveLength(1);
    expect(addKey(directory, "trusted", identity(1), undefined)).toBe("added");
    expect(readKeys(directory, "trusted", warn)).toHaveLength(2);
  });

  test("is not a file under another key's name", () => {
    addKey(directory, "trusted", identity(1), undefined);
    const inside = join(directory, "trusted");
    const [first] = readdirSync(inside) as [string];
    writeFileSync(join(inside, first), `${formatIdentity(identity(2))}\n`);
    expect(readKeys(directory, "trusted", warn)).toEqual([]);
    expect(warnings).toHaveLength(1);
  });

  test("is not what a write left half done", () => {
    addKey(directory, "trusted", identity(1), undefined);
    writeFileSync(join(directory, "trusted", "x.pub.123.new"), "garbage");
    expect(readKeys(directory, "trusted", warn)).toHaveLength(1);
    expect(warnings).toEqual([]);
  });

  test("is not read where others may write", () => {
    addKey(directory, "trusted", identity(1), undefined);
    chmodSync(directory, 0o770);
    expect(refusal(() => prepareStateDirectory(directory)).code).toBe("state_directory_open");
    expect(refusal(() => addKey(directory, "trusted", identity(2), undefined)).code).toBe(
      "state_directory_open",
    );
  });

  const lines: readonly [string, boolean][] = [
    [formatIdentity(identity(1)), true],
    [`${formatIdentity(identity(1))} alpha`, true],
    [`${formatIdentity(identity(1))}  alpha`, false],
    [`${formatIdentity(identity(1))} Alpha`, false],
    [`${formatIdentity(identity(1))} a b`, false],
    [formatIdentity(identity(1)).slice(1), false],
    [formatIdentity(identity(0)), false],
    ["", false],
  ];
  for (const [line, good] of lines) {
    test(`${good ? "may" : "may not"} be said as ${JSON.stringify(line)}`, () =>
      expect(parseKeyLine(line) !== undefined).toBe(good));
  }
});

describe("what a node remembers", () => {
  beforeEach(() => prepareStateDirectory(directory));

  test("is nothing at first, and then what was written", () => {
    expect(readMemory(directory, warn)).toEqual({ sequence: 0 });
    writeMemory(directory, { sequence: 7 });
    expect(readMemory(directory, warn)).toEqual({ sequence: 7 });
    writeMemory(directory, { sequence: 8, ipv4Candidate: 15 });
    expect(readMemory(directory, warn)).toEqual({ sequence: 8, ipv4Candidate: 15 });
    expect(mode("node.json")).toBe(0o600);
    expect(readdirSync(directory)).toEqual(["node.json"]);
  });

  test("of members comes back as it went", () => {
    const records = [identity(1), new Uint8Array(512).fill(7)];
    writeMembers(directory, records);
    expect(readMembers(directory, warn)).toEqual(records);
  });

  const damaged = [
    "",
    "{",
    "[]",
    "null",
    '{"schema":2,"sequence":1}',
    '{"schema":1}',
    '{"schema":1,"sequence":-1}',
    '{"schema":1,"sequence":1.5}',
    '{"schema":1,"sequence":1e300}',
    '{"schema":1,"sequence":"1"}',
    '{"schema":1,"sequence":1,"ipv4_candidate":16}',
  ];
  for (const text of damaged) {
    test(`is not ${JSON.stringify(text)}, which is kept aside`, () => {
      const path = join(directory, "node.json");
      writeFileSync(path, text);
      expect(readMemory(directory, warn)).toEqual({ sequence: 0 });
      expect(readFileSync(`${path}.damaged`, "utf8")).toBe(text);
      expect(warnings).toHaveLength(1);
    });
  }

  test("and damage never overwrites former damage", () => {
    const path = join(directory, "members.json");
    for (const text of ["one", "two", '{"schema":1,"records":["@"]}']) {
      writeFileSync(path, text);
      expect(readMembers(directory, warn)).toEqual([]);
    }
    expect(readdirSync(directory).toSorted()).toEqual([
      "members.json.damaged",
      "members.json.damaged-2",
      "members.json.damaged-3",
    ]);
  });
});

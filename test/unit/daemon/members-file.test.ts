import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MembersFile } from "../../../src/daemon/members-file.ts";
import { readMembers } from "../../../src/daemon/state.ts";
import { NativeCrypto } from "../../../src/native/crypto.ts";
import { loadLibrary } from "../../../src/native/library.ts";
import { formatIdentity, identityOf, networkIdOf } from "../../../src/trust/identity.ts";
import { signRecord } from "../../../src/trust/record.ts";

const crypto = new NativeCrypto(loadLibrary());
let directory: string;
let warnings: string[];
const warn = (text: string): void => void warnings.push(text);

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "meshvpn-members-"));
  warnings = [];
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

function member(): { identity: string; record: Uint8Array } {
  const identity = identityOf(crypto, crypto.generate());
  const record = signRecord(crypto, networkIdOf(crypto, "test"), identity, {
    sequence: 1,
    expiresWallMs: 1,
    wireguardKey: new Uint8Array(32).fill(1),
    name: "",
    candidates: [],
    natKind: "unknown",
    relay: false,
    prefixes: [],
  });
  crypto.release(identity.seed);
  return { identity: formatIdentity(identity.publicKey), record };
}

describe("members on disk", () => {
  test("the first is there at once, and a hundred that follow at the latest at the end", () => {
    const file = new MembersFile(directory, warn);
    const all = Array.from({ length: 101 }, member);
    for (const { identity, record } of all) file.keep(identity, record);
    expect(readMembers(directory, warn)).toHaveLength(1);
    file.close();
    expect(readMembers(directory, warn)).toEqual(all.map(({ record }) => record));
  });

  test("one that left is forgotten, and the others are known to the next start", () => {
    const [stays, leaves] = [member(), member()];
    const file = new MembersFile(directory, warn);
    for (const { identity, record } of [stays, leaves]) file.keep(identity, record);
    file.forget(leaves.identity);
    file.close();
    const next = new MembersFile(directory, warn);
    expect([...next.records()]).toEqual([stays.record]);
    next.close();
  });

  test("a disk that cannot be written is said once and stops nothing", () => {
    const file = new MembersFile(join(directory, "gone"), warn);
    const one = member();
    file.keep(one.identity, one.record);
    file.forget(one.identity);
    file.close();
    file.keep(one.identity, one.record);
    file.close();
    expect(warnings).toHaveLength(1);
  });
});

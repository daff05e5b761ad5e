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
  held.clear();
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** As a node holds them. */
const held = new Map<string, Uint8Array>();

function open(place = directory): MembersFile {
  return new MembersFile(place, warn, () => held.values());
}

function keep(file: MembersFile, { identity, record }: ReturnType<typeof member>): void {
  held.set(identity, record);
  file.keep(identity);
}

function forget(file: MembersFile, { identity }: ReturnType<typeof member>): void {
  held.delete(identity);
  file.forget(identity);
}

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
    const file = open();
    const all = Array.from({ length: 101 }, member);
    for (const each of all) keep(file, each);
    expect(readMembers(directory, warn)).toHaveLength(1);
    file.close();
    expect(readMembers(directory, warn)).toEqual(all.map(({ record }) => record));
  });

  test("one that left is forgotten, and the others are known to the next start", () => {
    const [stays, leaves] = [member(), member()];
    const file = open();
    for (const each of [stays, leaves]) keep(file, each);
    forget(file, leaves);
    file.close();
    const next = open();
    expect([...next.records()]).toEqual([stays.record]);
    next.close();
  });

  test("one of an earlier life that is no member now stays, until it is one or is let go", () => {
    const [known, expired, comes] = [member(), member(), member()];
    const first = open();
    for (const each of [known, expired]) keep(first, each);
    first.close();
    held.clear();
    const second = open();
    expect([...second.records()]).toHaveLength(2);
    held.set(known.identity, known.record);
    second.started((identity) => held.has(identity));
    keep(second, comes);
    second.close();
    expect(readMembers(directory, warn)).toEqual([known.record, comes.record, expired.record]);
    forget(second, expired);
    second.close();
    expect(readMembers(directory, warn)).toEqual([known.record, comes.record]);
  });

  test("a disk that cannot be written is said once and stops nothing", () => {
    const file = open(join(directory, "gone"));
    const one = member();
    keep(file, one);
    forget(file, one);
    file.close();
    keep(file, one);
    file.close();
    expect(warnings).toHaveLength(1);
  });
});

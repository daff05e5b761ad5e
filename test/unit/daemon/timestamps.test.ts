/** The memory of replay protection: what was recorded is there after any end of the process. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatKey } from "../../../src/base/base64.ts";
import { TimestampStore } from "../../../src/daemon/timestamps.ts";

const local = new Uint8Array(32).fill(1);
const alice = new Uint8Array(32).fill(2);
const bob = new Uint8Array(32).fill(3);

let root = "";
let warnings: string[] = [];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "meshvpn-timestamps-"));
  warnings = [];
});

afterEach(() => rmSync(root, { recursive: true }));

const directory = (): string => join(root, "state");
const store = (): TimestampStore => new TimestampStore(directory(), (text) => warnings.push(text));
const stamp = (value: number): Uint8Array => new Uint8Array(12).fill(0, 0, 11).fill(value, 11);

function theFile(): string {
  const names = readdirSync(directory()).filter((name) => /^timestamps-[0-9a-f]{32}$/.test(name));
  expect(names).toHaveLength(1);
  return join(directory(), names[0] as string);
}

/** What a process leaves that recorded these and was killed. */
function recorded(): void {
  const killed = store();
  killed.open(local);
  killed.sent(stamp(9));
  killed.accepted(alice, stamp(5));
  killed.accepted(bob, stamp(6));
  killed.flush();
}

test("a new device remembers nothing, in a directory of its own", () => {
  const { accepted, lastSent } = store().open(local);
  expect([lastSent, accepted.size]).toEqual([undefined, 0]);
  expect(statSync(directory()).mode & 0o777).toBe(0o700);
  expect(statSync(theFile()).mode & 0o777).toBe(0o600);
  expect(warnings).toEqual([]);
});

test("what was flushed is there after a kill", () => {
  recorded();
  const history = store().open(local);
  expect(history.lastSent).toEqual(stamp(9));
  expect(history.accepted.get(formatKey(alice))).toEqual(stamp(5));
  expect(history.accepted.get(formatKey(bob))).toEqual(stamp(6));
});

test("the largest counts, not the last", () => {
  const first = store();
  first.open(local);
  first.accepted(alice, stamp(7));
  first.accepted(alice, stamp(3));
  first.sent(stamp(4));
  first.sent(stamp(2));
  first.flush();
  const history = store().open(local);
  expect(history.lastSent).toEqual(stamp(4));
  expect(history.accepted.get(formatKey(alice))).toEqual(stamp(7));
});

test("a removed peer is forgotten, and may start again below", () => {
  recorded();
  const second = store();
  second.open(local);
  second.forget(alice);
  second.flush();
  const third = store();
  expect([...third.open(local).accepted.keys()]).toEqual([formatKey(bob)]);
  third.accepted(alice, stamp(1));
  third.flush();
  expect(store().open(local).accepted.get(formatKey(alice))).toEqual(stamp(1));
});

test("each key of the device has a memory of its own", () => {
  recorded();
  const other = store();
  expect(other.open(bob).lastSent).toBeUndefined();
  other.sent(stamp(1));
  expect(other.open(local).lastSent).toEqual(stamp(9));
  expect(other.open(bob).lastSent).toEqual(stamp(1));
});

test("a file cut at any byte is accepted without a warning, and grows on", () => {
  recorded();
  const whole = readFileSync(theFile());
  for (let length = 0; length < whole.length; length += 1) {
    writeFileSync(theFile(), whole.subarray(0, length));
    const again = store();
    const history = again.open(local);
    expect(history.accepted.size).toBeLessThanOrEqual(2);
    again.accepted(alice, stamp(8));
    again.close();
    expect(store().open(local).accepted.get(formatKey(alice))).toEqual(stamp(8));
  }
  expect(warnings).toEqual([]);
});

test("any byte that is changed is seen, the file kept, and the other lines used", () => {
  recorded();
  const whole = readFileSync(theFile());
  for (let at = 0; at < whole.length - 1; at += 7) {
    warnings = [];
    const damaged = Buffer.from(whole);
    damaged[at] = (damaged[at] as number) ^ 0x08;
    writeFileSync(theFile(), damaged);
    const history = store().open(local);
    expect(history.accepted.size + (history.lastSent === undefined ? 0 : 1)).toBeGreaterThan(0);
    expect(warnings).toHaveLength(1);
    const kept = /kept as (\S+),/.exec(warnings[0] as string)?.[1] as string;
    expect(readFileSync(kept)).toEqual(damaged);
    expect(warnings[0]).toContain(theFile());
    rmSync(kept);
  }
});

test("a second damaged file does not take the first one's place", () => {
  recorded();
  for (const text of ["first\n", "second\n"]) {
    writeFileSync(theFile(), text);
    store().open(local);
  }
  expect(readFileSync(`${theFile()}.damaged`, "utf8")).toBe("first\n");
  expect(readFileSync(`${theFile()}.damaged-2`, "utf8")).toBe("second\n");
});

test("a directory in the file's place is moved away, not removed", () => {
  recorded();
  const path = theFile();
  rmSync(path);
  mkdirSync(path);
  const again = store();
  again.open(local);
  again.sent(stamp(3));
  again.close();
  expect(statSync(`${path}.damaged`).isDirectory()).toBe(true);
  expect(store().open(local).lastSent).toEqual(stamp(3));
});

test("the file stays small however often it is written", () => {
  const long = store();
  long.open(local);
  for (let value = 1; value < 5000; value += 1) {
    const tai64n = new Uint8Array(12);
    new DataView(tai64n.buffer).setUint32(8, value);
    long.accepted(alice, tai64n);
    long.flush();
  }
  expect(statSync(theFile()).size).toBeLessThan(100 * 2000);
  const last = store().open(local).accepted.get(formatKey(alice)) as Uint8Array;
  expect(new DataView(last.buffer).getUint32(8)).toBe(4999);
});

test("where nothing can be written the device works on, and says so once", () => {
  writeFileSync(directory(), "a file, not a directory");
  const failing = store();
  expect(failing.open(local).accepted.size).toBe(0);
  failing.sent(stamp(1));
  failing.flush();
  failing.sent(stamp(2));
  failing.flush();
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toContain("make it writable");
  rmSync(directory());
  mkdirSync(directory());
  failing.sent(stamp(3));
  failing.flush();
  expect(store().open(local).lastSent).toEqual(stamp(3));
});

test("a rewrite that was killed leaves the old file in force", () => {
  recorded();
  writeFileSync(`${theFile()}.new`, "meshvpn timestamps 1\nhalf a l");
  expect(store().open(local).lastSent).toEqual(stamp(9));
  appendFileSync(theFile(), "torn");
  truncateSync(`${theFile()}.new`, 0);
  expect(store().open(local).lastSent).toEqual(stamp(9));
  expect(existsSync(`${theFile()}.new`)).toBe(false);
});

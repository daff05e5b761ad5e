import { expect, test } from "bun:test";
import { Roll } from "../../../src/mesh/roll.ts";

const keyAt = 48;

function setUp(): { roll: Roll; join: (slot: number, key: Uint8Array) => void } {
  const records = new Map<number, Uint8Array>();
  const roll = new Roll((slot) => records.get(slot) as Uint8Array);
  const join = (slot: number, key: Uint8Array): void => {
    const record = new Uint8Array(200);
    record.set(key, keyAt);
    records.set(slot, record);
    roll.set(slot, { wireguardKey: key, prefixes: [] });
  };
  return { roll, join };
}

function key(...bytes: number[]): Uint8Array {
  const out = new Uint8Array(32).fill(7);
  out.set(bytes, 28);
  return out;
}

test("members are found by their WireGuard keys, however alike those are", () => {
  const { roll, join } = setUp();
  for (let slot = 1; slot < 200; slot += 1) join(slot, key(slot));
  join(200, new Uint8Array(32).fill(0, 0, 4).fill(3, 4));
  for (let slot = 1; slot < 200; slot += 1) expect(roll.withKey(key(slot))).toBe(slot);
  expect(roll.withKey(new Uint8Array(32).fill(0, 0, 4).fill(3, 4))).toBe(200);
  expect(roll.withKey(key(1, 1))).toBeUndefined();
  roll.remove(5);
  expect(roll.withKey(key(5))).toBeUndefined();
});

test("where a member was outlives its peer, but no way of this process's own", () => {
  const { roll, join } = setUp();
  join(3, key(3));
  const v4 = { address: "192.0.2.7", port: 51_820 };
  const v6 = { address: "2001:db8::9", port: 1 };
  const rest = (seen: typeof v4 | undefined, proven?: typeof v4): unknown => {
    roll.rest(3, { seen, proven, lastHandshakeWallMs: 1_700_000_000_123 });
    return roll.last(3);
  };
  const lastHandshakeWallMs = 1_700_000_001_000;
  expect(rest(v4)).toEqual({ seen: v4, proven: undefined, lastHandshakeWallMs });
  expect(rest(v6, v6)).toEqual({ seen: v6, proven: v6, lastHandshakeWallMs });
  expect(rest(undefined, v4)).toEqual({ seen: v4, proven: v4, lastHandshakeWallMs });
  for (const way of [
    { address: "relay:1.2:3", port: 0 },
    { address: "127.64.0.1", port: 5 },
    { ...v4, socket: 3 },
    { address: "fe80::1%3", port: 5 },
  ]) {
    expect(rest(way)).toEqual({ seen: undefined, proven: undefined, lastHandshakeWallMs });
  }
  roll.remove(3);
  expect(roll.last(3).lastHandshakeWallMs).toBe(0);
});

import { expect, test } from "bun:test";
import { Roster } from "../../../src/trust/roster.ts";

const key = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);

test("an empty roster admits nobody", () => {
  const roster = new Roster(key(1));
  expect(roster.admits(key(2))).toBe(false);
  expect(roster.admits(key(1))).toBe(false);
  expect(roster.size).toBe(0);
});

test("whoever is trusted is admitted until trust is taken back", () => {
  const roster = new Roster(key(1), [key(2)]);
  expect(roster.admits(key(2))).toBe(true);
  expect(roster.trust(key(3))).toBe(true);
  expect(roster.trust(key(3))).toBe(false);
  expect([...roster.identities()]).toEqual([key(2), key(3)]);
  expect(roster.distrust(key(2))).toBe(true);
  expect(roster.distrust(key(2))).toBe(false);
  expect(roster.admits(key(2))).toBe(false);
});

test("a node does not admit itself, even when told to", () => {
  const roster = new Roster(key(1), [key(1)]);
  expect(roster.trust(key(1))).toBe(false);
  expect(roster.admits(key(1))).toBe(false);
});

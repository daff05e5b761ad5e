import { expect, test } from "bun:test";
import { networkIdOf } from "../../../src/trust/identity.ts";
import { Roster } from "../../../src/trust/roster.ts";
import { NobleCrypto } from "../../support/noble-crypto.ts";

const crypto = new NobleCrypto();
const networkId = networkIdOf(crypto, "test");

function rosterOf(...trusted: Uint8Array[]): Roster {
  const roster = new Roster({ crypto, networkId, self: key(1) });
  roster.setLocal({ trusted, organisations: [], revoked: [] });
  return roster;
}

const key = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);

test("an empty roster admits nobody", () => {
  const roster = rosterOf();
  expect(roster.admits(key(2))).toBe(false);
  expect(roster.admits(key(1))).toBe(false);
  expect(roster.size).toBe(0);
});

test("whoever is trusted is admitted until trust is taken back", () => {
  const roster = rosterOf(key(2));
  expect(roster.admits(key(2))).toBe(true);
  expect(roster.trust(key(3))).toBe(true);
  expect(roster.trust(key(3))).toBe(false);
  expect([...roster.identities()]).toEqual([key(2), key(3)]);
  expect(roster.distrust(key(2))).toBe(true);
  expect(roster.distrust(key(2))).toBe(false);
  expect(roster.admits(key(2))).toBe(false);
});

test("a node does not admit itself, even when told to", () => {
  const roster = rosterOf(key(1));
  expect(roster.trust(key(1))).toBe(false);
  expect(roster.admits(key(1))).toBe(false);
});

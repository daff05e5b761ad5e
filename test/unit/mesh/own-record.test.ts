import { expect, test } from "bun:test";
import type { Instant } from "../../../src/base/clock.ts";
import { jumpIntervalMs, jumpMax, OwnRecord } from "../../../src/mesh/own-record.ts";
import { identityOf, networkIdOf } from "../../../src/trust/identity.ts";
import { decodeRecord, type Record, type Verified } from "../../../src/trust/record.ts";
import { NobleCrypto } from "../../support/noble-crypto.ts";

const crypto = new NobleCrypto();
const networkId = networkIdOf(crypto, "test");
const identity = identityOf(crypto, crypto.importSecret(new Uint8Array(32).fill(1)));
const fields = { wireguardKey: new Uint8Array(32).fill(9), candidates: [], ipv4: undefined };

function own(sequence = 0): OwnRecord {
  return new OwnRecord({ crypto, networkId, identity, name: "ant", sequence });
}

function at(ms: number, wallMs = 1_700_000_000_000 + ms): Instant {
  return { ms, wallMs };
}

/** The record that it has signed last. */
function said(record: OwnRecord): Verified<Record> {
  const decoded = decodeRecord(record.bytes);
  if (decoded === undefined) throw new Error("it has signed one");
  return decoded.claimed as Verified<Record>;
}

test("a sequence is the time, and one more where the clock stood still or went back", () => {
  const record = own();
  record.sign(at(0), fields);
  expect(record.sequence).toBe(1_700_000_000_000);
  record.sign(at(1, 1_700_000_000_000), fields);
  expect(record.sequence).toBe(1_700_000_000_001);
  record.sign(at(2, 5), fields);
  expect(record.sequence).toBe(1_700_000_000_002);
  record.sign(at(3.25, 1_700_000_000_500.75), fields);
  expect(record.sequence).toBe(1_700_000_000_500);
});

test("what it said itself, and what is older, is no news", () => {
  const record = own();
  record.sign(at(0), fields);
  const first = said(record);
  expect(record.meet(at(1), first)).toBe(false);
  record.sign(at(10), fields);
  expect(record.meet(at(11), first)).toBe(false);
});

test("a newer one is jumped above at once, and the next only 10 s later", () => {
  const [record, twin] = [own(), own()];
  record.sign(at(0), fields);
  twin.sign(at(1_000), fields);
  expect(record.meet(at(2_000), said(twin))).toBe(true);
  expect(record.dueMs).toBe(2_000);
  record.sign(at(2_000, 5), fields);
  // The twin may have signed the next one by then, and nobody would tell the two apart.
  expect(record.sequence).toBeGreaterThan(twin.sequence + 1);
  expect(record.sequence).toBeLessThanOrEqual(twin.sequence + 1 + jumpMax);
  twin.sign(at(3_000), fields);
  expect(record.meet(at(3_000), said(twin))).toBe(true);
  expect(record.dueMs).toBe(2_000 + jumpIntervalMs);
});

test("one as new and different is jumped above too", () => {
  const [record, twin] = [own(), own()];
  record.sign(at(0), fields);
  twin.sign(at(0), { ...fields, wireguardKey: new Uint8Array(32).fill(8) });
  expect(twin.sequence).toBe(record.sequence);
  expect(record.meet(at(1), said(twin))).toBe(true);
});

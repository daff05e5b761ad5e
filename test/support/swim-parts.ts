/**
 * Membership's parts without trust: records that are an identity and a sequence, and signatures that
 * only show whose they are meant to be.
 */
import { Writer } from "../../src/base/bytes.ts";
import type { StatementSigner } from "../../src/swim/gossip.ts";
import { MemberTable } from "../../src/swim/state.ts";
import { SignedStore, type StoredId, wordAt } from "../../src/swim/store.ts";
import { SeededRandom } from "./seeded-random.ts";

export function recordOf(identity: Uint8Array, sequence: number, bytes = 160): Uint8Array {
  return new Writer(bytes)
    .bytes(identity)
    .u32(sequence)
    .zeros(bytes - 36 - 64)
    .bytes(identity)
    .u32(sequence)
    .zeros(28)
    .finish();
}

/** Held once by the caller. */
export function stored(
  store: SignedStore<unknown>,
  identity: Uint8Array,
  sequence: number,
  bytes = 160,
): StoredId {
  const keys = { low: wordAt(identity, 0), high: wordAt(identity, 4), sequence, incarnation: 0 };
  return store.put(recordOf(identity, sequence, bytes), keys, undefined);
}

export function tableOf(self: Uint8Array, seed = 1): MemberTable {
  return new MemberTable(self, new SignedStore(), new SignedStore(), new SeededRandom(seed));
}

/** Adds a member, or gives it a newer record. */
export function put(table: MemberTable, identity: Uint8Array, sequence = 1, bytes = 160): number {
  const record = stored(table.records, identity, sequence, bytes);
  const known = table.find(identity);
  if (known !== undefined) table.setRecord(known, record);
  const slot = known ?? table.add(record);
  table.records.release(record);
  if (slot === undefined) throw new Error("the table is full");
  return slot;
}

export function signerOf(identity: Uint8Array): StatementSigner {
  return {
    sign: (body) => signature(identity, body),
    verify: (of, body, given) => {
      const right = signature(of, body);
      return right.every((byte, i) => byte === given[i]);
    },
  };
}

function signature(identity: Uint8Array, body: Uint8Array): Uint8Array {
  const out = new Uint8Array(64);
  let hash = 0x811c9dc5;
  for (const part of [identity, body]) {
    for (const byte of part) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  }
  const view = new DataView(out.buffer);
  for (let i = 0; i < 16; i += 1) {
    hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b) >>> 0;
    view.setUint32(4 * i, hash, true);
  }
  return out;
}

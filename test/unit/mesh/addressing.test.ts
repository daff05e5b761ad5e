import { expect, test } from "bun:test";
import { Addressing } from "../../../src/mesh/addressing.ts";
import { Member, Members } from "../../../src/mesh/member.ts";
import { PeerTable } from "../../../src/mesh/peer-table.ts";
import { ipv4Candidates, ipv4PrefixDefault, ipv6Address } from "../../../src/trust/address.ts";
import { networkIdOf } from "../../../src/trust/identity.ts";
import type { Record, Verified } from "../../../src/trust/record.ts";
import { NobleCrypto } from "../../support/noble-crypto.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const now = { ms: 0, wallMs: 0 };
const crypto = new NobleCrypto();
const prefix = ipv4PrefixDefault;

function setUp(): { addressing: Addressing; join: (byte: number, candidate?: number) => Member } {
  const peers = new PeerTable({ crypto, random: new SeededRandom(1) });
  const members = new Members();
  const addressing = new Addressing({
    crypto,
    networkId: networkIdOf(crypto, "test"),
    self: new Uint8Array(32).fill(1),
    ipv4Prefix: prefix,
    candidate: undefined,
    seniorityOf: () => undefined,
    peers,
    members,
  });
  const join = (byte: number, candidate = 0): Member => {
    const identity = new Uint8Array(32).fill(byte);
    const peer = peers.addPeer(now, identity);
    const member = new Member(byte, record(identity, candidate), peer);
    members.add(member);
    addressing.take(0, byte, member.record);
    addressing.bind(member);
    return member;
  };
  return { addressing, join };
}

function record(identity: Uint8Array, candidate: number | undefined): Verified<Record> {
  return {
    identity,
    sequence: 1,
    expiresWallMs: 1,
    wireguardKey: identity,
    name: "",
    candidates: [],
    natKind: "unknown",
    relay: false,
    ...(candidate === undefined ? {} : { ipv4: { candidate, prefix } }),
    prefixes: [],
    bytes: new Uint8Array(0),
  } as unknown as Verified<Record>;
}

function allowed(member: Member): string[] {
  return member.peer.allowedIps.map(({ address, bits }) => `${address}/${bits}`);
}

test("a member that moves has its new IPv4 address and not its old one", () => {
  const { addressing, join } = setUp();
  const bee = join(2);
  const ipv6 = ipv6Address(crypto, networkIdOf(crypto, "test"), bee.identity);
  const candidates = ipv4Candidates(crypto, prefix, bee.identity);
  addressing.take(0, bee.slot, bee.record);
  expect(allowed(bee).sort()).toEqual([`${ipv6}/128`, `${candidates[0]}/32`].sort());
  bee.record = record(bee.identity, 1);
  addressing.take(0, bee.slot, bee.record);
  expect(allowed(bee).sort()).toEqual([`${ipv6}/128`, `${candidates[1]}/32`].sort());
  bee.record = record(bee.identity, undefined);
  addressing.take(0, bee.slot, bee.record);
  expect(allowed(bee)).toEqual([`${ipv6}/128`]);
  expect(addressing.of(bee.slot)).toEqual([ipv6]);
});

test("a member that has a new peer has the same addresses", () => {
  const { addressing, join } = setUp();
  const bee = join(2);
  addressing.take(0, bee.slot, bee.record);
  const before = allowed(bee);
  bee.peer = join(3).peer; // any other peer of the table
  addressing.bind(bee);
  expect(allowed(bee)).toEqual(expect.arrayContaining(before));
});

test("before a start nothing is asked of the interface", () => {
  const { addressing, join } = setUp();
  join(2);
  expect(addressing.pollCommand()).toBeUndefined();
  expect(addressing.ipv4).toBeUndefined();
  addressing.start(0, 1360);
  expect(addressing.pollCommand()).toEqual({ kind: "mtu_set", mtu: 1360 });
  expect(addressing.ipv4).toBeDefined();
});

test("an address has an owner whether that has a peer or not, and none where two contest it", () => {
  const { addressing, join } = setUp();
  const identity = new Uint8Array(32).fill(9);
  const [address] = ipv4Candidates(crypto, prefix, identity);
  const ipv6 = ipv6Address(crypto, networkIdOf(crypto, "test"), identity);
  expect(addressing.ownerOf(address as string)).toBeUndefined();
  addressing.take(0, 7, record(identity, 0));
  expect(addressing.ownerOf(address as string)).toBe(7);
  expect(addressing.ownerOf(ipv6)).toBe(7);
  expect(addressing.ownerOf("fd00::1")).toBeUndefined();
  expect(addressing.ownerOf(addressing.ipv6Prefix.address)).toBeUndefined();
  expect(addressing.of(7)).toEqual([ipv6, address as string]);
  join(2);
  addressing.release(0, 7);
  expect(addressing.ownerOf(address as string)).toBeUndefined();
  expect(addressing.ownerOf(ipv6)).toBeUndefined();
});

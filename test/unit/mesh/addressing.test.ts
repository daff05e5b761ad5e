import { expect, test } from "bun:test";
import { Addressing } from "../../../src/mesh/addressing.ts";
import { Member, Members } from "../../../src/mesh/member.ts";
import { PeerTable } from "../../../src/mesh/peer-table.ts";
import { ipv4Candidates, ipv4PrefixDefault } from "../../../src/trust/address.ts";
import { formatIdentity, networkIdOf } from "../../../src/trust/identity.ts";
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
    const ipv6 = addressing.ipv6Of(identity);
    const name = formatIdentity(identity);
    const member = new Member(byte, name, ipv6, record(identity, candidate), peer);
    members.add(member);
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
  const candidates = ipv4Candidates(crypto, prefix, bee.identity);
  addressing.take(0, bee);
  expect(allowed(bee).sort()).toEqual([`${bee.ipv6}/128`, `${candidates[0]}/32`].sort());
  bee.record = record(bee.identity, 1);
  addressing.take(0, bee);
  expect(allowed(bee).sort()).toEqual([`${bee.ipv6}/128`, `${candidates[1]}/32`].sort());
  bee.record = record(bee.identity, undefined);
  addressing.take(0, bee);
  expect(allowed(bee)).toEqual([`${bee.ipv6}/128`]);
  expect(addressing.of(bee)).toEqual([bee.ipv6]);
});

test("a member that has a new peer has the same addresses", () => {
  const { addressing, join } = setUp();
  const bee = join(2);
  addressing.take(0, bee);
  const before = allowed(bee);
  bee.peer = join(3).peer; // any other peer of the table
  addressing.bind(bee);
  expect(allowed(bee)).toEqual(expect.arrayContaining(before));
});

test("before a start nothing is asked of the interface", () => {
  const { addressing, join } = setUp();
  addressing.take(0, join(2));
  expect(addressing.pollCommand()).toBeUndefined();
  expect(addressing.ipv4).toBeUndefined();
  addressing.start(0, 1360);
  expect(addressing.pollCommand()).toEqual({ kind: "mtu_set", mtu: 1360 });
  expect(addressing.ipv4).toBeDefined();
});

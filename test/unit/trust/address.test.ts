import { describe, expect, test } from "bun:test";
import { prefixContains } from "../../../src/base/ip.ts";
import {
  checkIpv4Prefix,
  Ipv4Claims,
  ipv4Candidates,
  ipv4PrefixDefault,
  ipv4SettleMs,
  ipv6Address,
  ipv6Prefix,
} from "../../../src/trust/address.ts";
import { networkIdOf } from "../../../src/trust/identity.ts";
import { NobleCrypto } from "../../support/noble-crypto.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const crypto = new NobleCrypto();
const networkId = networkIdOf(crypto, "meshvpn");
const self = new Uint8Array(32).fill(1);
const [ant, bee, cat, dog] = [1, 2, 3, 40];

function claims(candidate?: number): Ipv4Claims {
  const options = { crypto, prefix: ipv4PrefixDefault, self };
  return new Ipv4Claims(candidate === undefined ? options : { ...options, candidate });
}

test("addresses are those of the protocol's page", () => {
  expect(ipv6Prefix(crypto, networkId)).toEqual({ address: "fdd8:6a00:8b9:9eb::", bits: 64 });
  expect(ipv6Address(crypto, networkId, self)).toBe("fdd8:6a00:8b9:9eb:c02e:4924:e5f2:47c7");
  expect(ipv4Candidates(crypto, ipv4PrefixDefault, self).slice(0, 2)).toEqual([
    "10.99.255.35",
    "10.99.93.210",
  ]);
});

test("an address is in its network's prefix, and another network's is elsewhere", () => {
  const other = networkIdOf(crypto, "other");
  const random = new SeededRandom(1);
  for (let i = 0; i < 50; i += 1) {
    const identity = random.bytes(32);
    const address = ipv6Address(crypto, networkId, identity);
    expect(prefixContains(ipv6Prefix(crypto, networkId), address)).toBe(true);
    expect(prefixContains(ipv6Prefix(crypto, other), address)).toBe(false);
  }
});

test("IPv4 candidates never are the network's or the broadcast address", () => {
  const prefix = { address: "10.0.0.248", bits: 29 };
  const random = new SeededRandom(2);
  const seen = new Set<string>();
  for (let i = 0; i < 200; i += 1) {
    for (const address of ipv4Candidates(crypto, prefix, random.bytes(32))) seen.add(address);
  }
  expect([...seen].sort()).toEqual([249, 250, 251, 252, 253, 254].map((last) => `10.0.0.${last}`));
});

test("a prefix without room, and one of IPv6, are errors for the operator", () => {
  for (const prefix of [
    { address: "10.0.0.0", bits: 31 },
    { address: "0.0.0.0", bits: 0 },
    { address: "fd00::", bits: 16 },
  ]) {
    expect(() => checkIpv4Prefix(prefix)).toThrow("cannot take members' addresses");
  }
  checkIpv4Prefix(ipv4PrefixDefault);
});

test("a claim names one of the subject's candidates in our prefix, or nothing", () => {
  const book = claims();
  const claim = { candidate: 5, prefix: ipv4PrefixDefault };
  expect(book.addressOf(self, claim)).toBe(ipv4Candidates(crypto, ipv4PrefixDefault, self)[5]);
  expect(book.addressOf(self, undefined)).toBeUndefined();
  const elsewhere = { candidate: 5, prefix: { address: "10.98.0.0", bits: 16 } };
  expect(book.addressOf(self, elsewhere)).toBeUndefined();
});

test("a holder that has settled keeps its address; a newcomer has none until it moves", () => {
  const book = claims();
  book.start(0);
  expect(book.claim(0, ant, "10.99.0.1")).toEqual({
    changed: [ant],
    moved: false,
    contested: false,
  });
  const later = ipv4SettleMs;
  const lost = { changed: [], moved: false, contested: true };
  expect(book.claim(later, bee, "10.99.0.1")).toEqual(lost);
  expect(book.heldBy(bee)).toBeUndefined();
  expect(book.isContested(bee)).toBe(true);
  expect(book.claim(later, bee, "10.99.0.2").changed).toEqual([bee]);
  expect(book.isContested(bee)).toBe(false);
  expect(book.heldBy(ant)).toBe("10.99.0.1");
});

test("of two that nobody knew for long neither holds the address, until one moves or goes", () => {
  const book = claims();
  book.claim(0, ant, "10.99.0.1");
  const outcome = book.claim(ipv4SettleMs - 1, bee, "10.99.0.1");
  expect(outcome).toEqual({ changed: [ant], moved: false, contested: true });
  expect([book.heldBy(ant), book.heldBy(bee)]).toEqual([undefined, undefined]);
  expect(book.claim(ipv4SettleMs, ant, "10.99.0.9").changed).toEqual([bee, ant]);
  expect(book.heldBy(bee)).toBe("10.99.0.1");
  book.claim(ipv4SettleMs, cat, "10.99.0.1");
  expect(book.forget(ipv4SettleMs, bee)).toEqual([cat]);
  expect(book.heldBy(cat)).toBe("10.99.0.1");
});

test("what a member held before a restart stays its own", () => {
  const book = claims();
  book.claim(0, ant, "10.99.0.1", { stored: true });
  expect(book.claim(0, bee, "10.99.0.1").contested).toBe(true);
  expect(book.heldBy(ant)).toBe("10.99.0.1");
});

describe("certificates of one organisation", () => {
  const since = (issuedWallMs: number, organisation = "o") => ({
    seniority: { organisation, issuedWallMs },
  });

  test("decide between two: the older has the address, whoever came first and however long ago", () => {
    const book = claims();
    book.claim(0, ant, "10.99.0.1", since(5));
    expect(book.claim(0, bee, "10.99.0.1", since(6)).contested).toBe(true);
    expect(book.heldBy(ant)).toBe("10.99.0.1");
    const outcome = book.claim(ipv4SettleMs, cat, "10.99.0.1", since(4));
    expect(outcome).toEqual({ changed: [ant, cat], moved: false, contested: false });
    expect(book.heldBy(ant)).toBeUndefined();
  });

  test("of different ones decide nothing", () => {
    const book = claims();
    book.claim(0, ant, "10.99.0.1", since(5));
    book.claim(0, bee, "10.99.0.1", since(4, "p"));
    expect([book.heldBy(ant), book.heldBy(bee)]).toEqual([undefined, undefined]);
  });

  test("keep a young claim of this node's own, or move a settled one", () => {
    const young = claims();
    young.setOwnSeniority(since(5).seniority);
    young.start(0);
    const first = young.ownAddress as string;
    const lost = { changed: [], moved: false, contested: true };
    expect(young.claim(1, ant, first, since(6))).toEqual(lost);
    const settled = claims(0);
    settled.setOwnSeniority(since(5).seniority);
    settled.start(0);
    const outcome = settled.claim(1, ant, first, since(4));
    expect(outcome).toEqual({ changed: [ant], moved: true, contested: false });
    expect(settled.own?.candidate).toBe(1);
  });
});

test("whatever is claimed in whatever order, no address has two holders, nor ours one", () => {
  const random = new SeededRandom(11);
  for (let round = 0; round < 300; round += 1) {
    const book = claims();
    book.setOwnSeniority({ organisation: "o", issuedWallMs: random.below(4) });
    book.start(0);
    const addresses = [book.ownAddress as string, "10.99.0.1", "10.99.0.2"];
    const members = [ant, bee, cat, dog];
    for (let step = 0; step < 40; step += 1) {
      const nowMs = step * random.below(20_000);
      const member = members[random.below(4)] as number;
      const address = addresses[random.below(3)] as string;
      const seniority = random.chance(0.5)
        ? { organisation: "o", issuedWallMs: random.below(4) }
        : undefined;
      if (random.chance(0.1)) book.forget(nowMs, member);
      else book.claim(nowMs, member, address, { seniority });
      const held = members.flatMap((name) => book.heldBy(name) ?? []);
      expect(new Set(held).size).toBe(held.length);
      expect(held).not.toContain(book.ownAddress as string);
    }
  }
});

test("an own claim that is young moves to the next candidate, and the other holds the address", () => {
  const book = claims();
  book.start(1_000);
  const first = book.ownAddress as string;
  expect(book.own?.candidate).toBe(0);
  expect(book.claim(2_000, ant, first)).toEqual({
    changed: [ant],
    moved: true,
    contested: false,
  });
  expect(book.own?.candidate).toBe(1);
  expect(book.heldBy(ant)).toBe(first);
  expect(book.settlesAtMs).toBe(2_000 + ipv4SettleMs);
});

test("an own claim that has settled stays, and the newcomer has no route", () => {
  const book = claims();
  book.start(1_000);
  const later = 1_000 + ipv4SettleMs;
  expect(book.settled(later - 1)).toBe(false);
  expect(book.settled(later)).toBe(true);
  const own = book.ownAddress as string;
  expect(book.claim(later, ant, own)).toEqual({ changed: [], moved: false, contested: true });
  expect(book.ownAddress).toBe(own);
  expect(book.heldBy(ant)).toBeUndefined();
});

test("a persisted claim is settled from the start", () => {
  const book = claims(7);
  book.start(0);
  expect(book.own?.candidate).toBe(7);
  expect(book.settled(0)).toBe(true);
  expect(book.settlesAtMs).toBeUndefined();
});

test("a start skips what known members hold, and with every candidate held claims nothing", () => {
  const candidates = ipv4Candidates(crypto, ipv4PrefixDefault, self);
  const book = claims();
  book.claim(0, ant, candidates[0]);
  book.claim(0, bee, candidates[1]);
  book.start(0);
  expect(book.own?.candidate).toBe(2);
  const full = claims();
  for (const [i, address] of candidates.entries()) full.claim(0, 1 + i, address);
  full.start(0);
  expect(full.own).toBeUndefined();
  expect(full.ownAddress).toBeUndefined();
});

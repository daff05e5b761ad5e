import { describe, expect, test } from "bun:test";
import {
  decodePcpMap,
  decodePmpAddress,
  decodePmpMap,
  encodePcpMap,
  encodePmpMap,
  hasRestarted,
  type MapWish,
} from "../../../src/nat/pcp.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const wish: MapWish = {
  client: "192.168.1.2",
  nonce: Uint8Array.from({ length: 12 }, (_, at) => at + 1),
  internalPort: 51_820,
  externalPort: 40_000,
  lifetimeSeconds: 7_200,
};

/** As RFC 6887 figures 3 and 9 have it. */
function pcpAnswer(): Uint8Array {
  const bytes = encodePcpMap(wish);
  const view = new DataView(bytes.buffer);
  bytes[1] = 0x81;
  view.setUint16(2, 0);
  view.setUint32(4, 3_600);
  view.setUint32(8, 77);
  bytes.fill(0, 12, 24);
  view.setUint16(42, 40_001);
  bytes.set([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 9], 44);
  return bytes;
}

function changed(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const out = bytes.slice();
  out[at] = value;
  return out;
}

test("a MAP request is laid out as the RFC says", () => {
  const bytes = encodePcpMap(wish);
  expect(bytes).toHaveLength(60);
  expect([...bytes.subarray(0, 8)]).toEqual([2, 1, 0, 0, 0, 0, 0x1c, 0x20]);
  expect([...bytes.subarray(18, 24)]).toEqual([0xff, 0xff, 192, 168, 1, 2]);
  expect([...bytes.subarray(36, 44)]).toEqual([17, 0, 0, 0, 0xca, 0x6c, 0x9c, 0x40]);
  expect([...bytes.subarray(54, 60)]).toEqual([0xff, 0xff, 0, 0, 0, 0]);
  expect([...encodePmpMap(wish)]).toEqual([0, 1, 0, 0, 0xca, 0x6c, 0x9c, 0x40, 0, 0, 0x1c, 0x20]);
});

describe("an answer of PCP", () => {
  test("is taken where it is to what was asked", () => {
    expect(decodePcpMap(pcpAnswer(), wish)).toEqual({
      kind: "mapped",
      externalPort: 40_001,
      externalAddress: "192.0.2.9",
      lifetimeSeconds: 3_600,
      epochSeconds: 77,
    });
  });

  test("and a refusal, which is a header alone where the version is another's", () => {
    const refused = changed(pcpAnswer(), 3, 8);
    expect(decodePcpMap(refused, wish)).toEqual({ kind: "refused", code: 8, unsupported: false });
    const version = changed(pcpAnswer(), 3, 1).subarray(0, 24);
    expect(decodePcpMap(version, wish)).toMatchObject({ kind: "refused", unsupported: true });
  });

  const wrong: readonly [string, Uint8Array][] = [
    ["a request", encodePcpMap(wish)],
    ["another nonce", changed(pcpAnswer(), 30, 99)],
    ["another protocol", changed(pcpAnswer(), 36, 6)],
    ["another internal port", changed(pcpAnswer(), 41, 1)],
    ["another version", changed(pcpAnswer(), 0, 1)],
    ["half of it", pcpAnswer().subarray(0, 40)],
    ["nothing", new Uint8Array(0)],
    ["too much", new Uint8Array(1_104)],
    ["a lifetime of 0", changed(changed(pcpAnswer(), 6, 0), 7, 0)],
    ["a port of 0", changed(changed(pcpAnswer(), 42, 0), 43, 0)],
  ];
  for (const [what, bytes] of wrong) {
    test(`is not ${what}`, () => expect(decodePcpMap(bytes, wish)).toBeUndefined());
  }
});

test("answers of NAT-PMP are taken where they are to what was asked", () => {
  const address = Uint8Array.from([0, 128, 0, 0, 0, 0, 0, 9, 192, 0, 2, 7]);
  expect(decodePmpAddress(address)).toEqual({ address: "192.0.2.7", epochSeconds: 9 });
  expect(decodePmpAddress(changed(address, 3, 3))).toMatchObject({ kind: "refused", code: 3 });
  expect(decodePmpAddress(address.subarray(1))).toBeUndefined();
  const map = [0, 129, 0, 0, 0, 0, 0, 9, 0xca, 0x6c, 0x9c, 0x41, 0, 0, 0x0e, 0x10];
  const mapped = Uint8Array.from(map);
  expect(decodePmpMap(mapped, wish)).toMatchObject({
    externalPort: 40_001,
    lifetimeSeconds: 3_600,
  });
  expect(decodePmpMap(changed(mapped, 9, 0), wish)).toBeUndefined();
  expect(decodePmpMap(changed(mapped, 3, 2), wish)).toMatchObject({ kind: "refused", code: 2 });
});

test("a gateway's clock that goes back, stands still or runs away says that it forgot", () => {
  const at = (epochSeconds: number, atSeconds: number) => ({ epochSeconds, atSeconds });
  expect(hasRestarted(at(100, 0), at(700, 600))).toBe(false);
  expect(hasRestarted(at(100, 0), at(690, 600))).toBe(false);
  expect(hasRestarted(at(100, 0), at(5, 600))).toBe(true);
  expect(hasRestarted(at(100, 0), at(100, 600))).toBe(true);
  expect(hasRestarted(at(100, 0), at(2_000, 600))).toBe(true);
});

test("bytes at random are refused or an answer, and never throw", () => {
  const random = new SeededRandom(4);
  for (let at = 0; at < 50_000; at += 1) {
    const bytes = random.chance(0.5) ? random.bytes(random.below(70)) : pcpAnswer();
    if (bytes.length > 0) bytes[random.below(bytes.length)] = random.below(256);
    decodePcpMap(bytes, wish);
    decodePmpAddress(bytes);
    decodePmpMap(bytes, wish);
  }
});

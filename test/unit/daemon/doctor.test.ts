import { describe, expect, test } from "bun:test";
import { Doctor, type DoctorSources } from "../../../src/daemon/doctor.ts";

const status = {
  identity: "OWN",
  members: [
    { identity: "IN", name: "gamma", addresses: [], path: "direct", handshake_age_s: 3 },
    { identity: "OUT", name: "delta", addresses: [], path: "-", handshake_age_s: null },
  ],
};
const sources = {
  status: () => status,
  roster: () => ({ admitsText: () => true, isRevokedText: () => false }),
  seeds: () => [],
  unasked: () => [],
  domains: () => [],
  now: () => ({ ms: 2_000, wallMs: 2_000 }),
  config: () => ({ prefix: { address: "10.99.0.0", bits: 16 }, mtu: 1360 }),
  policy: () => ({}),
} as unknown as DoctorSources;

describe("what doctor is told of the refused", () => {
  test("is not of whoever came in since, by another member's word", () => {
    const doctor = new Doctor(sources);
    for (const identity of ["IN", "OUT"]) {
      doctor.arrivals.note(1_000, {
        identity,
        name: "",
        outcome: "not_trusted",
        aboutWallMs: undefined,
      });
    }
    const { node } = doctor.answer("IN");
    expect(node).toMatchObject({ refused: [{ identity: "OUT", why: "not_trusted" }] });
  });
});

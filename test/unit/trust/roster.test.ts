import { describe, expect, test } from "bun:test";
import type { Instant } from "../../../src/base/clock.ts";
import { type CertificateFields, signCertificate } from "../../../src/trust/certificate.ts";
import {
  formatIdentity,
  type Identity,
  identityOf,
  networkIdOf,
} from "../../../src/trust/identity.ts";
import {
  decodeRecord,
  type Record,
  signRecord,
  type Verified,
  verifyRecord,
} from "../../../src/trust/record.ts";
import {
  decodeRevocation,
  type Revocation,
  signRevocation,
  verifyRevocation,
} from "../../../src/trust/revocation.ts";
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

describe("an organisation that is trusted", () => {
  const now: Instant = { ms: 0, wallMs: 1_700_000_000_000 };
  const secretOf = (byte: number) =>
    identityOf(crypto, crypto.importSecret(new Uint8Array(32).fill(byte)));
  const organisation = secretOf(7);
  const other = secretOf(8);
  const bee = secretOf(2);

  function recordOf(
    by: Identity | undefined,
    changes: Partial<CertificateFields> = {},
    sequence = 1,
  ): Verified<Record> {
    const certificate =
      by &&
      signCertificate(crypto, networkId, by, {
        identity: bee.publicKey,
        issuedWallMs: now.wallMs,
        expiresWallMs: now.wallMs + 1000,
        isVouch: false,
        name: "",
        groups: [],
        ...changes,
      });
    const bytes = signRecord(
      crypto,
      networkId,
      bee,
      {
        sequence,
        expiresWallMs: now.wallMs + 5000,
        wireguardKey: key(9),
        name: "",
        candidates: [],
        natKind: "unknown",
        relay: false,
        prefixes: [],
      },
      certificate,
    );
    const unverified = decodeRecord(bytes);
    const record = unverified && verifyRecord(crypto, networkId, unverified, now);
    if (record === undefined) throw new Error("it was signed a moment ago");
    return record;
  }

  function revocationOf(revoked: Uint8Array, by = organisation): Verified<Revocation> {
    const bytes = signRevocation(crypto, networkId, by, revoked, now.wallMs);
    const unverified = decodeRevocation(bytes);
    const revocation = unverified && verifyRevocation(crypto, networkId, unverified);
    if (revocation === undefined) throw new Error("it was signed a moment ago");
    return revocation;
  }

  function trusting(): Roster {
    const roster = rosterOf();
    roster.trustOrganisation(organisation.publicKey);
    return roster;
  }

  test("admits whom it certified, and nobody else", () => {
    const roster = trusting();
    expect(roster.mayAdmit(recordOf(other))).toBe(false);
    expect(roster.judge(now, recordOf(other))).toBe(false);
    expect(roster.judge(now, recordOf(undefined))).toBe(false);
    expect(roster.mayAdmit(recordOf(organisation))).toBe(true);
    expect(roster.judge(now, recordOf(organisation))).toBe(true);
    expect(roster.certificateOf(formatIdentity(bee.publicKey))?.groups).toEqual([]);
    expect(rosterOf().judge(now, recordOf(organisation))).toBe(false);
  });

  test("admits nobody by a certificate of another network", () => {
    const elsewhere = networkIdOf(crypto, "elsewhere");
    const roster = new Roster({ crypto, networkId: elsewhere, self: key(1) });
    roster.trustOrganisation(organisation.publicKey);
    expect(roster.judge(now, recordOf(organisation))).toBe(false);
  });

  test("admits until the certificate expires, or the organisation is trusted no longer", () => {
    const roster = trusting();
    roster.judge(now, recordOf(organisation));
    expect(roster.nextExpiryWallMs).toBe(now.wallMs + 1000);
    expect(roster.expire(now.wallMs + 999)).toBe(false);
    expect(roster.expire(now.wallMs + 1000)).toBe(true);
    expect(roster.admits(bee.publicKey)).toBe(false);
    const again = trusting();
    again.judge(now, recordOf(organisation));
    again.distrustOrganisation(organisation.publicKey);
    expect(again.admits(bee.publicKey)).toBe(false);
  });

  test("has its later certificate count, and a forged one change nothing", () => {
    const roster = trusting();
    roster.judge(now, recordOf(organisation, { groups: ["a"] }));
    const later = { issuedWallMs: now.wallMs + 1, groups: ["b"] };
    roster.judge(now, recordOf(organisation, later, 2));
    roster.judge(now, recordOf(organisation, { groups: ["a"] }, 3));
    const held = () => roster.certificateOf(formatIdentity(bee.publicKey))?.groups;
    expect(held()).toEqual(["b"]);
    roster.judge(now, recordOf(other, { issuedWallMs: now.wallMs + 9, groups: ["c"] }, 4));
    expect(held()).toEqual(["b"]);
  });

  test("revokes a key for good, however it is trusted besides", () => {
    const roster = trusting();
    roster.trust(bee.publicKey);
    roster.judge(now, recordOf(organisation));
    expect(roster.takeRevocation(revocationOf(bee.publicKey, other))).toBe(false);
    expect(roster.admits(bee.publicKey)).toBe(true);
    expect(roster.takeRevocation(revocationOf(bee.publicKey))).toBe(true);
    expect(roster.takeRevocation(revocationOf(bee.publicKey))).toBe(false);
    expect(roster.admits(bee.publicKey)).toBe(false);
    expect(roster.judge(now, recordOf(organisation, { issuedWallMs: now.wallMs + 5 }, 2))).toBe(
      false,
    );
    expect([...roster.identities()]).toEqual([]);
  });

  test("cannot be talked out of a revocation by the operator, who can take back his own", () => {
    const roster = trusting();
    roster.judge(now, recordOf(organisation));
    const local = { trusted: [], organisations: [organisation.publicKey] };
    roster.setLocal({ ...local, revoked: [bee.publicKey] });
    expect(roster.admits(bee.publicKey)).toBe(false);
    roster.setLocal({ ...local, revoked: [] });
    expect(roster.admits(bee.publicKey)).toBe(true);
    roster.takeRevocation(revocationOf(bee.publicKey));
    roster.setLocal({ ...local, revoked: [] });
    expect(roster.admits(bee.publicKey)).toBe(false);
  });

  test("says why somebody is not admitted, by his record or by what is remembered", () => {
    const roster = trusting();
    const name = formatIdentity(bee.publicKey);
    const later = now.wallMs + 1000;
    const why = (record?: Record) => roster.whyNot(name, later, record);
    expect(why()).toEqual({ why: "not_trusted" });
    expect(why(recordOf(other))).toEqual({ why: "organisation_not_trusted" });
    const shown = { why: "certificate_expired", aboutWallMs: later } as const;
    expect(why(recordOf(organisation))).toEqual(shown);
    const elsewhere = recordOf(organisation, { expiresWallMs: later + 1 });
    expect(why(elsewhere)).toEqual({ why: "certificate_invalid" });
    roster.judge(now, recordOf(organisation));
    roster.expire(later);
    expect(why()).toEqual(shown);
    roster.judge(now, recordOf(organisation, { issuedWallMs: later, expiresWallMs: later + 9 }, 2));
    expect(why()).toEqual({ why: "not_trusted" });
    roster.takeRevocation(revocationOf(bee.publicKey));
    expect(why(recordOf(organisation))).toEqual({ why: "revoked" });
  });

  test("that is revoked itself takes the whole chain with it", () => {
    const roster = trusting();
    roster.judge(now, recordOf(organisation));
    roster.takeRevocation(revocationOf(organisation.publicKey));
    expect(roster.admits(bee.publicKey)).toBe(false);
    expect(roster.acceptsOrganisation(organisation.publicKey)).toBe(false);
  });
});

/** Which of the seeds that are named cannot be asked, by whom this node trusts. */
import { expect, test } from "bun:test";
import { unaskedSeeds } from "../../../src/daemon/seed-standing.ts";
import { parseSeed } from "../../../src/daemon/seeds.ts";
import { parseTcpSeed } from "../../../src/daemon/tcp-fallback.ts";
import { formatIdentity } from "../../../src/trust/identity.ts";

const known = new Uint8Array(32).fill(1);
const stranger = new Uint8Array(32).fill(2);
const named = {
  seed: ["192.0.2.1:1", `${formatIdentity(stranger)}@[2001:db8::1]:2`].flatMap(
    (each) => parseSeed(each) ?? [],
  ),
  tcp: [
    "hub.example:443",
    `${formatIdentity(known)}@hub.example:443`,
    "tls://[2001:db8::2]:4",
  ].flatMap((each) => parseTcpSeed(each) ?? []),
};

function subjects(size: number, mayAdmitUnknown: boolean): readonly string[] {
  const mayAsk = (identity: Uint8Array): boolean => mayAdmitUnknown || identity[0] === 1;
  const unasked = unaskedSeeds(named, { size, mayAdmitUnknown, mayAsk });
  return unasked.map(({ subject }) => subject);
}

test("without a key none is asked where anybody might be there, else whoever is not trusted", () => {
  expect(named.seed.length + named.tcp.length).toBe(5);
  const keyless = ["192.0.2.1:1", "hub.example:443 (--tcp)", "tls://[2001:db8::2]:4 (--tcp)"];
  expect(subjects(0, true)).toEqual(keyless);
  expect(subjects(1, false)).toEqual(["[2001:db8::1]:2"]);
  expect(subjects(1, true)).toEqual([]);
  expect(subjects(17, false)).toEqual(["192.0.2.1:1", "[2001:db8::1]:2", ...keyless.slice(1)]);
});

test("it is said what, why and what to do", () => {
  const trust = { size: 0, mayAdmitUnknown: true, mayAsk: () => true };
  expect(unaskedSeeds({ seed: [], tcp: named.tcp.slice(0, 1) }, trust)).toEqual([
    {
      subject: "hub.example:443 (--tcp)",
      words:
        "the seed hub.example:443 (--tcp) is not asked: organisations or more than 16 identities are trusted, so anybody might be there",
      mend: "name it as KEY@HOST:PORT, with the key that meshvpn export prints there",
    },
  ]);
});

import { expect, test } from "bun:test";
import { HomeRelays, homesMax, offeringMax } from "../../../src/mesh/home-relays.ts";
import { frameIdOf } from "../../../src/nat/message.ts";
import { stateCodes } from "../../../src/swim/state.ts";
import { SeededRandom } from "../../support/seeded-random.ts";
import { put, tableOf } from "../../support/swim-parts.ts";

const random = new SeededRandom(1);
const identities = Array.from({ length: 40 }, () => random.bytes(32));

/** As the node of that identity sees it: the first ten of all relay. */
function seenBy(self: Uint8Array): {
  homes: HomeRelays;
  slots: Map<Uint8Array, number>;
  table: ReturnType<typeof tableOf>;
} {
  const table = tableOf(self);
  const homes = new HomeRelays(table);
  const slots = new Map<Uint8Array, number>();
  for (const [i, identity] of identities.entries()) {
    if (identity === self) continue;
    const slot = put(table, identity);
    slots.set(identity, slot);
    homes.set(slot, i < 10);
  }
  return { homes, slots, table };
}

const namesOf = ({ homes, slots }: ReturnType<typeof seenBy>, id: number): string[] => {
  const chosen = homes.of(id);
  return identities
    .filter((identity) => chosen.includes(slots.get(identity) ?? -1))
    .map((identity) => identity.toHex());
};

test("whoever looks for a member takes the relays that the member takes for itself", () => {
  const member = identities[25] as Uint8Array;
  const id = frameIdOf(member);
  const own = namesOf(seenBy(member), id);
  expect(own).toHaveLength(homesMax);
  for (const other of identities.slice(10, 20)) expect(namesOf(seenBy(other), id)).toEqual(own);
});

test("members share the relays among them, and one that is dead is nobody's", () => {
  const seen = seenBy(identities[39] as Uint8Array);
  const used = new Set(identities.flatMap((identity) => seen.homes.of(frameIdOf(identity))));
  expect(used.size).toBe(10);
  const id = frameIdOf(identities[30] as Uint8Array);
  const [first] = seen.homes.of(id);
  seen.table.setState(first as number, stateCodes.dead);
  expect(seen.homes.of(id)).not.toContain(first as number);
  expect(seen.homes.of(id)).toHaveLength(homesMax);
});

test("one that is a member no longer is nobody's, and another takes its place", () => {
  const seen = seenBy(identities[39] as Uint8Array);
  const id = frameIdOf(identities[30] as Uint8Array);
  const [first, second] = seen.homes.of(id) as [number, number];
  seen.table.remove(first);
  expect(seen.homes.of(id)).toHaveLength(homesMax);
  expect(seen.homes.of(id)).toContain(second);
  expect(seen.homes.of(id)).not.toContain(first);
  expect(seen.homes.offers(first)).toBe(false);
});

test("who relays no more is forgotten, and only so many are remembered", () => {
  const table = tableOf(random.bytes(32));
  const homes = new HomeRelays(table);
  const slots = Array.from({ length: offeringMax + 5 }, () => put(table, random.bytes(32)));
  for (const slot of slots) homes.set(slot, true);
  expect(slots.filter((slot) => homes.offers(slot))).toHaveLength(offeringMax);
  homes.set(slots[0] as number, false);
  expect(homes.offers(slots[0] as number)).toBe(false);
});

import { expect, test } from "bun:test";
import { zoneOf } from "../../../src/daemon/names.ts";
import { notMet } from "../../../src/daemon/status.ts";

function member(name: string, given: string, address: string) {
  return { ...notMet(address, given), name, addresses: [address] };
}

const own = { name: "alpha", addresses: ["fd00::1"] };

test("an operator's word comes before what members call themselves", () => {
  const members = [member("bank", "", "fd00::2"), member("x", "bank", "fd00::3")];
  const zone = zoneOf({ ...own, members });
  expect(zone.addressesOf("bank")).toEqual(["fd00::3"]);
  expect(zone.addressesOf("x")).toEqual(["fd00::3"]);
  expect(zone.nameOf("fd00::2")).toBeUndefined();
});

test("a name that two claim is nobody's, and nobody takes this node's own", () => {
  const members = [
    member("twin", "", "fd00::2"),
    member("twin", "", "fd00::3"),
    member("alpha", "", "fd00::4"),
  ];
  const zone = zoneOf({ ...own, members });
  expect(zone.addressesOf("twin")).toBeUndefined();
  expect(zone.addressesOf("alpha")).toEqual(["fd00::1"]);
  expect(zone.nameOf("fd00::1")).toBe("alpha");
});

test("of two that claim a name, it is that one's whom no older certificate contradicts", () => {
  const members = [
    { ...member("twin", "", "fd00::2"), name_clash: true },
    { ...member("twin", "", "fd00::3"), name_clash: false },
  ];
  expect(zoneOf({ ...own, members }).addressesOf("twin")).toEqual(["fd00::3"]);
  const nobodys = members.map((each) => ({ ...each, name_clash: true }));
  expect(zoneOf({ ...own, members: nobodys }).addressesOf("twin")).toBeUndefined();
});

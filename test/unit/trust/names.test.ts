import { expect, test } from "bun:test";
import { nameClashes } from "../../../src/trust/names.ts";

const bearer = (identity: string, name: string, issuedWallMs?: number, organisation = "o") => ({
  identity,
  name,
  seniority: issuedWallMs === undefined ? undefined : { organisation, issuedWallMs },
});

test("names that one bears, and nobody's, do not clash", () => {
  expect(
    nameClashes([bearer("a", "ant"), bearer("b", "bee"), bearer("c", ""), bearer("d", "")]).size,
  ).toBe(0);
});

test("of several the oldest certificate of one organisation has the name", () => {
  const clashes = nameClashes([
    bearer("a", "ant", 5),
    bearer("b", "ant", 4),
    bearer("c", "ant", 6),
  ]);
  expect([...clashes]).toEqual([["ant", "b"]]);
});

test("what cannot be compared is nobody's", () => {
  for (const second of [bearer("b", "ant"), bearer("b", "ant", 5), bearer("b", "ant", 4, "p")]) {
    expect([...nameClashes([bearer("a", "ant", 5), second])]).toEqual([["ant", undefined]]);
  }
});

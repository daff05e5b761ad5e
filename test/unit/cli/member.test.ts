import { expect, test } from "bun:test";
import { withCalledRelays } from "../../../src/cli/member.ts";
import type { PathStatus } from "../../../src/daemon/path-status.ts";
import { type MemberStatus, type MeshStatus, notMet } from "../../../src/daemon/status.ts";

function member(identity: string, given: string, name: string, path: string): MemberStatus {
  const paths = [{ way: path } as PathStatus];
  return { ...notMet(identity, given), name, path, paths };
}

test("a member that relays is called as it is called here, where one is meant", () => {
  const members = [
    member("HUBKEY", "desk", "hub", "direct 192.0.2.1:1"),
    member("ONE", "", "twin", "relay hub"),
    member("TWO", "mine", "twin", "relay twin"),
    member("THREE", "", "c", "relay HUBKEY"),
    member("FOUR", "", "d", "relay ?"),
  ];
  const said = withCalledRelays({ members } as unknown as MeshStatus).members;
  const paths = ["direct 192.0.2.1:1", "relay desk", "relay twin", "relay desk", "relay ?"];
  expect(said.map(({ path }) => path)).toEqual(paths);
  expect(said.map((each) => each.paths?.[0]?.way)).toEqual(paths);
  const [plain] = withCalledRelays({ members: [notMet("X", "")] } as unknown as MeshStatus).members;
  expect(plain).toEqual(notMet("X", ""));
});

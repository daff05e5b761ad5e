import { describe, expect, test } from "bun:test";
import {
  firstBroken,
  type MachineEvidence,
  machineLinks,
  nodeLinks,
  type PeerEvidence,
  peerLinks,
} from "../../../src/cli/doctor-chain.ts";
import type { NodeView } from "../../../src/daemon/view.ts";

const wallMs = Date.UTC(2026, 5, 1);

const machine: MachineEvidence = {
  config: undefined,
  daemon: "answers",
  socket: "/run/meshvpn/meshvpn.sock",
  isRoot: true,
  netAdmin: true,
  tun: "there",
  tunWanted: true,
  identity: "there",
  stateDirectory: "/var/lib/meshvpn",
  wallMs,
  builtMs: Date.UTC(2026, 0, 1),
};

const own: NodeView = {
  schema: 1,
  identity: "OWN",
  name: "alpha",
  version: "0",
  network: "meshvpn",
  prefix: "10.99.0.0/16",
  mtu: 1360,
  port: 51820,
  wall_ms: wallMs,
  about: "THEIRS",
  trusts: true,
  state: "alive",
  path: "direct 192.0.2.2:51820",
  rtt_ms: 1,
  handshake_age_s: 5,
};

const peer: PeerEvidence = {
  name: "beta",
  identity: "THEIRS",
  ownIdentity: "OWN",
  own,
  theirs: { view: { ...own, name: "beta" }, through: "itself" },
  witnesses: 0,
  small: true,
  large: true,
  wallMs,
};

describe("doctor's chain", () => {
  test("is whole where all evidence is good", () => {
    expect(firstBroken([...machineLinks(machine), ...peerLinks(peer)])).toBeUndefined();
  });

  const machineCases: readonly [string, Partial<MachineEvidence>, string, string][] = [
    ["a clock before the program was made", { wallMs: 0 }, "clock", "timedatectl"],
    ["a socket of somebody else", { daemon: "permission denied" }, "daemon", "as root"],
    ["a daemon that does not answer", { daemon: "silent" }, "daemon", "see its log"],
    [
      "root without the capability",
      { daemon: "not running", netAdmin: false },
      "privileges",
      "NET_ADMIN",
    ],
  ];
  for (const [sentence, evidence, link, mend] of machineCases) {
    test(`breaks at ${sentence}`, () => {
      const first = firstBroken(machineLinks({ ...machine, ...evidence }));
      expect([first?.link, first?.mend.includes(mend)]).toEqual([link, true]);
    });
  }

  test("breaks at clocks that are apart, and says by how much", () => {
    const view = { ...own, name: "beta", wall_ms: wallMs - 3_600_000 };
    const first = firstBroken(peerLinks({ ...peer, theirs: { view, through: "itself" } }));
    expect([first?.link, first?.words]).toEqual([
      "clocks",
      "the clock of beta is 3600 s away from that of alpha",
    ]);
  });

  test("without the other end lists what remains possible", () => {
    const silent = { ...own, state: "not met", path: "-", handshake_age_s: null };
    const evidence = { ...peer, own: silent, theirs: undefined, small: false, large: false };
    const first = firstBroken(peerLinks(evidence));
    expect(first?.link).toBe("record");
    expect(first?.words).toContain("no common member could be asked");
    expect(first?.words).toContain("it does not trust this node");
  });

  test("calls nothing broken that follows from the first", () => {
    const silent = { ...own, state: "not met", path: "-" };
    const links = peerLinks({ ...peer, own: silent, theirs: undefined, small: false });
    expect(links.filter(({ state }) => state === "broken")).toHaveLength(1);
  });

  test("knows an organisation for trust, and an invitation that waits for none", () => {
    const none = { trusted: 0, organisations: 0, joining: false, members: 0, connected: 0 };
    const said = (changes: object) => {
      const evidence = { ...none, port: 1, seeds: [], counters: {}, ...changes };
      return nodeLinks(evidence).find(({ link }) => link === "trust");
    };
    expect(said({})).toMatchObject({ state: "broken", words: expect.stringContaining("nobody") });
    expect(said({ organisations: 1 })).toMatchObject({ state: "ok" });
    expect(said({ organisations: 1, joining: true })).toMatchObject({
      state: "broken",
      words: expect.stringContaining("not redeemed"),
    });
  });

  test("names the seeds that have no address before those that are silent", () => {
    const links = nodeLinks({
      trusted: 1,
      organisations: 0,
      joining: false,
      members: 1,
      connected: 0,
      port: 51820,
      seeds: [
        { place: "a.example:1", addresses: 0 },
        { place: "192.0.2.1:1", addresses: 1 },
      ],
      counters: {},
    });
    expect(firstBroken(links)?.words).toBe("no address is known for a.example:1");
  });
});

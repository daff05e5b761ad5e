import { describe, expect, test } from "bun:test";
import {
  type MachineEvidence,
  machineLinks,
  type NodeEvidence,
  nodeLinks,
} from "../../../src/cli/doctor-chain.ts";
import { firstBroken } from "../../../src/cli/doctor-link.ts";
import { type PeerEvidence, peerLinks } from "../../../src/cli/doctor-peer.ts";
import type { RefusalStatus } from "../../../src/daemon/refusal.ts";
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
  stateUnwritable: false,
  policy: undefined,
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
  node: { identity: "OWN", certificate: null, revoked: false },
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
    [
      "a policy with a mistake, also where the daemon runs",
      { policy: "cannot use the policy /var/lib/meshvpn/policy:2: no; correct it" },
      "policy",
      "policy check",
    ],
    ["no identity", { identity: "absent", daemon: "not running" }, "identity", "join TOKEN"],
    ["a disk without room", { stateUnwritable: true }, "state", "make room there"],
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

  const node: NodeEvidence = {
    identity: "OWN",
    certificate: null,
    revoked: false,
    refused: [],
    trusted: 0,
    organisations: 0,
    joining: false,
    members: 0,
    connected: 0,
    port: 1,
    addresses: ["fd00::1", "10.99.0.1"],
    seeds: [],
    counters: {},
  };

  test("knows an organisation for trust, and an invitation that waits for none", () => {
    const said = (changes: object) =>
      nodeLinks({ ...node, ...changes }, wallMs).find(({ link }) => link === "trust");
    expect(said({})).toMatchObject({ state: "broken", words: expect.stringContaining("nobody") });
    expect(said({ organisations: 1 })).toMatchObject({ state: "ok" });
    expect(said({ organisations: 1, joining: true })).toMatchObject({
      state: "broken",
      words: expect.stringContaining("not redeemed"),
    });
  });

  test("names the seeds that have no address before those that are silent", () => {
    const seeds = [
      { place: "a.example:1", addresses: 0 },
      { place: "192.0.2.1:1", addresses: 1 },
    ];
    const links = nodeLinks({ ...node, trusted: 1, members: 1, seeds }, wallMs);
    expect(firstBroken(links)?.words).toBe("no address is known for a.example:1");
  });

  test("says which seeds are not asked, and does not call those silent", () => {
    const seeds = [{ place: "192.0.2.1:1", addresses: 1 }];
    const unasked = [{ subject: "192.0.2.1:1", words: "it is not asked", mend: "name its key" }];
    const alone = { ...node, organisations: 1, seeds, unasked };
    const said = (evidence: NodeEvidence) =>
      nodeLinks(evidence, wallMs).filter(({ link }) => link === "seeds");
    expect(said(alone)).toEqual([
      { link: "seeds", state: "broken", words: "it is not asked", mend: "name its key" },
    ]);
    const more = [...seeds, { place: "192.0.2.2:2", addresses: 1 }];
    expect(said({ ...alone, seeds: more }).at(-1)?.words).toStartWith("192.0.2.2:2 did not answer");
    expect(said({ ...alone, connected: 1 }).map(({ state }) => state)).toEqual(["unknown", "ok"]);
  });

  test("breaks at this node's own certificate, before what follows from that", () => {
    const certificate = { expires: wallMs / 1000 - 60 };
    const first = firstBroken(peerLinks({ ...peer, node: { ...peer.node, certificate } }));
    expect([first?.link, first?.words]).toEqual([
      "certificate",
      "this node's certificate expired on 2026-05-31 23:59 UTC: no member lets it in",
    ]);
    expect(first?.mend).toContain("meshvpn org sign OWN");
    const revoked = { ...node, trusted: 1, certificate, revoked: true };
    expect(firstBroken(nodeLinks(revoked, wallMs))?.words).toContain("was revoked");
  });

  test("calls a refusal broken where it is of somebody who is wanted here", () => {
    const stranger = { identity: "X", name: "", about_ms: null, count: 3, seconds_ago: 2 };
    const refused = [{ ...stranger, why: "not_trusted", wanted: false }] as const;
    const ofStranger = nodeLinks({ ...node, trusted: 1, connected: 1, refused }, wallMs);
    expect(firstBroken(ofStranger)).toBeUndefined();
    expect(ofStranger).toContainEqual({
      link: "refused",
      state: "unknown",
      words: "X is not trusted here: refused 3 times, 2 s ago",
      mend: "if it is wanted: run meshvpn trust X",
    });
    const late = [{ ...stranger, why: "too_old", about_ms: 0, wanted: true }] as const;
    const ofMember = nodeLinks({ ...node, trusted: 1, connected: 1, refused: late }, wallMs);
    expect(firstBroken(ofMember)?.words).toContain("1970-01-01 00:00 UTC there, 2026-06-01 00:00");
  });

  const refusals: readonly [RefusalStatus["why"], string][] = [
    ["not_trusted", "meshvpn trust THEIRS"],
    ["organisation_not_trusted", "meshvpn trust --org"],
    ["revoked", "a new identity"],
    ["certificate_expired", "meshvpn org sign THEIRS"],
    ["certificate_invalid", "--network"],
    ["invitation", "meshvpn invite"],
  ];
  for (const [why, mend] of refusals) {
    test(`says why a member is not let in, here and there: ${why}`, () => {
      const refusal = { why, about_ms: wallMs };
      const here = firstBroken(peerLinks({ ...peer, own: { ...own, trusts: false, refusal } }));
      expect([here?.link, here?.mend.includes(mend)]).toEqual(["trust here", true]);
      const view = { ...own, name: "beta", trusts: false, refusal };
      const there = peerLinks({ ...peer, theirs: { view, through: "through gamma" } });
      expect(firstBroken(there)?.link).toBe("trust there");
      expect(firstBroken(there)?.mend).toContain(mend.replace("THEIRS", "OWN"));
    });
  }

  test("breaks at the clock or the network of a trusted member whose signature does not hold", () => {
    const said = (why: RefusalStatus["why"]) =>
      firstBroken(peerLinks({ ...peer, own: { ...own, refusal: { why, about_ms: 0 } } }));
    expect(said("too_old")?.link).toBe("clocks");
    expect(said("other_network")?.link).toBe("network");
  });

  test("breaks at a domain that names nobody, while nobody is reached", () => {
    const said = (domain: object, changes: object = {}) => {
      const domains = [{ domain: "example.org", hints: 0, addresses: 0, ...domain }];
      const evidence = { ...node, trusted: 1, members: 1, domains, ...changes };
      return nodeLinks(evidence, wallMs).find(({ link }) => link === "dns");
    };
    expect(said({ why: "queryTxt ENOTFOUND" })).toMatchObject({
      state: "broken",
      words: "_meshvpn.example.org names no member: queryTxt ENOTFOUND",
      mend: expect.stringContaining("TXT record"),
    });
    expect(said({}, { connected: 1 })?.state).toBe("unknown");
    expect(said({ hints: 2 })?.words).toContain("none has an address");
    const strangers = { counters: { introductions_hints_not_asked: 1 } };
    expect(said({ hints: 1, addresses: 1 }, strangers)?.words).toContain("not trusted here");
    expect(said({ hints: 1, addresses: 1 })?.state).toBe("ok");
  });

  test("breaks at an IPv4 address that is not to be had", () => {
    const alone = { ...node, trusted: 1, connected: 1, addresses: ["fd00::1"] };
    expect(firstBroken(nodeLinks(alone, wallMs))?.link).toBe("addresses");
    const contested = { ...own, about_addresses: ["fd00::2"] };
    expect(firstBroken(peerLinks({ ...peer, own: contested }))?.words).toContain("no IPv4");
  });

  test("breaks at a policy only where it lets this node in to nothing", () => {
    const said = (allowed: readonly string[], here = true) => {
      const policy = { ping: "deny", by: "default deny", allowed } as const;
      const view = { ...own, name: "beta", ...(here ? { policy } : {}) };
      return peerLinks({
        ...peer,
        small: false,
        large: false,
        theirs: { view, through: "itself" },
      });
    };
    const first = firstBroken(said([]));
    expect([first?.link, first?.mend.includes("meshvpn policy allow OWN")]).toEqual([
      "policy",
      true,
    ]);
    const some = said(["allow any tcp 22"]);
    expect(firstBroken(some)).toBeUndefined();
    expect(some.find(({ link }) => link === "policy")).toMatchObject({
      state: "unknown",
      words: 'beta lets this node in to "allow any tcp 22"; its pings are not: default deny',
    });
    expect(firstBroken(said([], false))?.link).toBe("path");
  });

  test("breaks at two NATs of the hard kind only where nobody relays", () => {
    const said = (changes: Partial<NodeView>) =>
      firstBroken(peerLinks({ ...peer, theirs: undefined, own: { ...own, ...hard, ...changes } }));
    const hard = { nat: "hard", about_nat: "hard" } as const;
    const lost = said({ path: "-", state: "dead" });
    expect([lost?.link, lost?.mend.includes("--relay")]).toEqual(["nat", true]);
    const slow = { path: "relay gamma", relay_offered: false };
    expect(said(slow)?.link).toBe("nat");
    expect(said({ ...slow, about_nat: "easy" })?.link).toBe("path");
    expect(said({ ...slow, relay_offered: true })).toBeUndefined();
    expect(said({})).toBeUndefined();
  });

  test("breaks at the way there where what the member sends arrives", () => {
    const lonely = { ...own, state: "alive", path: "-", handshake_age_s: null, asked_age_s: 4 };
    const evidence = { ...peer, own: lonely, theirs: undefined, small: false, large: false };
    expect(firstBroken(peerLinks(evidence))?.words).toContain("dropped on the way there");
    const long = { ...evidence, own: { ...lonely, asked_age_s: 600 } };
    expect(firstBroken(peerLinks(long))?.words).not.toContain("on the way there");
  });
});

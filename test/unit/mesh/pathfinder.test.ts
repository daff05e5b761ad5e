/** Through whom members are reached, as sessions come and go: without a data plane or a network. */
import { describe, expect, test } from "bun:test";
import type { Endpoint } from "../../../src/base/endpoint.ts";
import { relayWayOf } from "../../../src/base/endpoint.ts";
import { Fifo } from "../../../src/base/fifo.ts";
import type { PeerRef, Transmit } from "../../../src/mesh/dataplane.ts";
import { Member, Members } from "../../../src/mesh/member.ts";
import { Pathfinder } from "../../../src/mesh/pathfinder.ts";
import type { Peer, PeerTable } from "../../../src/mesh/peer-table.ts";
import { encodePathMessage } from "../../../src/nat/message.ts";
import { MemberTable } from "../../../src/swim/state.ts";
import { SignedStore } from "../../../src/swim/store.ts";
import type { Record, Verified } from "../../../src/trust/record.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const now = { ms: 1_000, wallMs: 1_000 };

class Scene {
  readonly members = new Members();
  readonly table: MemberTable;
  readonly pathfinder: Pathfinder;
  readonly #records = new SignedStore<unknown>();

  constructor() {
    const random = new SeededRandom(1);
    const identity = new Uint8Array(32).fill(255);
    this.table = new MemberTable(identity, this.#records, new SignedStore(), random);
    const { members, table } = this;
    const peers = { pin: () => undefined } as unknown as PeerTable;
    const options = { random, identity, members, peers, table, relay: undefined };
    this.pathfinder = new Pathfinder(options);
  }

  member(number: number, relay: boolean): Member {
    const identity = new Uint8Array(32).fill(number);
    const bytes = new Uint8Array(200).fill(number);
    const keys = { low: number, high: number, sequence: 1, incarnation: 0 };
    const slot = this.table.add(this.#records.put(bytes, keys, undefined)) as number;
    const ref: PeerRef = { slot: number, generation: 1 };
    const endpoint: Endpoint = { address: `192.0.2.${number}`, port: 1 };
    const peer = { publicKey: identity, ref, endpoint } as unknown as Peer;
    const record = { identity, relay, candidates: [] } as unknown as Verified<Record>;
    const member = new Member(slot, record, peer);
    this.members.add(member);
    return member;
  }

  link(member: Member, linked: boolean, atMs = now.ms): void {
    member.linked = linked;
    // As in the node: paths hear of a session before membership does.
    this.pathfinder.setLink({ ms: atMs, wallMs: atMs }, member, linked);
    this.table.setLinked(atMs, member.slot, linked);
  }

  /** A session with the member comes up, and it answers the probe by which it is asked where it sees this node. */
  see(member: Member, seen: Endpoint, atMs: number): void {
    this.link(member, true, atMs);
    const out = new Fifo<Transmit>();
    this.pathfinder.drain(out);
    const at = { ms: atMs, wallMs: atMs };
    for (let it = out.shift(); it; it = out.shift()) {
      if (it.kind !== "session_message" || it.bytes[0] !== 13) continue;
      const number = new DataView(it.bytes.buffer, it.bytes.byteOffset).getUint32(4, true);
      const reply = encodePathMessage({ kind: "reply", number, observed: seen });
      this.pathfinder.handleMessage(at, member, reply, member.peer.endpoint as Endpoint);
    }
    this.pathfinder.settle(at);
  }

  /** Whether a record is to be signed for what was seen, and what it says of the NAT. */
  news(atMs: number): string | undefined {
    const { pathfinder } = this;
    return pathfinder.takeNews({ ms: atMs, wallMs: atMs }) ? pathfinder.lastNatKind : undefined;
  }

  relaysOf(member: Member): (number | undefined)[] {
    return this.pathfinder.relayWays(member).map((way) => relayWayOf(way)?.slot);
  }
}

describe("a member may be reached through", () => {
  test("the first that has a session, at once", () => {
    const scene = new Scene();
    const [far, relay] = [scene.member(1, false), scene.member(2, true)];
    scene.link(relay, true);
    expect(scene.relaysOf(far)).toEqual([2]);
  });

  test("those that offer it first, then the nearest, three at most, and never itself", () => {
    const scene = new Scene();
    const all = [1, 2, 3, 4, 5, 6].map((number) => scene.member(number, number === 6));
    for (const [i, member] of all.entries()) {
      scene.table.measured(member.slot, 100 - 10 * i);
      scene.link(member, true);
    }
    expect(scene.relaysOf(scene.member(9, false))[0]).toBe(6);
    scene.link(all[0] as Member, true, now.ms + 10_001);
    expect(scene.relaysOf(scene.member(8, false))).toEqual([6, 5, 4]);
    expect(scene.relaysOf(all[5] as Member)).toEqual([5, 4, 3]);
  });

  test("another at once, when one of them has no session any more", () => {
    const scene = new Scene();
    const all = [1, 2, 3, 4, 5, 6].map((number) => scene.member(number, false));
    for (const member of all) scene.link(member, true);
    const before = scene.relaysOf(scene.member(9, false));
    const gone = scene.members.ofPeer({ slot: before[0] as number, generation: 1 }) as Member;
    scene.link(gone, false);
    const after = scene.relaysOf(scene.member(8, false));
    expect(after).toHaveLength(3);
    expect(after).not.toContain(before[0]);
  });

  test("one that has come nearer, within ten seconds of what happens next", () => {
    const scene = new Scene();
    const all = [1, 2, 3, 4, 5].map((number) => scene.member(number, false));
    for (const [i, member] of all.entries()) {
      scene.table.measured(member.slot, 100 + 10 * i);
      scene.link(member, true);
    }
    const far = scene.member(9, false);
    expect(scene.relaysOf(far)).toEqual([1, 2, 3]);
    for (let i = 0; i < 100; i += 1) scene.table.measured((all[4] as Member).slot, 1);
    scene.link(all[3] as Member, true, now.ms + 10_001);
    expect(scene.relaysOf(far)[0]).toBe(5);
  });
});

describe("where members see this node, behind a NAT,", () => {
  const outside = { address: "203.0.113.1", port: 7_000 };

  function behindNat(): { scene: Scene; a: Member; b: Member } {
    const scene = new Scene();
    const own = { kind: "interface", address: "192.168.0.2", port: 51_820 } as const;
    scene.pathfinder.setOwn(now, [own]);
    return { scene, a: scene.member(1, false), b: scene.member(2, false) };
  }

  test("is said at once where two agree, and one record is enough for it", () => {
    const { scene, a, b } = behindNat();
    scene.see(a, outside, 2_000);
    expect(scene.news(2_000)).toBeUndefined();
    scene.see(b, outside, 3_000);
    expect(scene.news(3_000)).toBe("easy");
    expect(scene.news(100_000)).toBeUndefined();
  });

  test("is said at once where two see it elsewhere", () => {
    const { scene, a, b } = behindNat();
    scene.see(a, outside, 2_000);
    scene.see(b, { ...outside, port: 7_001 }, 3_000);
    expect(scene.news(3_000)).toBe("hard");
  });

  test("is said of one member's word when no second one has come within ten seconds", () => {
    const { scene, a } = behindNat();
    scene.see(a, outside, 2_000);
    expect(scene.news(11_999)).toBeUndefined();
    expect(scene.news(12_000)).toBe("hard");
  });

  test("is said at once of one member's word where the port was kept: there it helps", () => {
    const { scene, a } = behindNat();
    scene.see(a, { ...outside, port: 51_820 }, 2_000);
    expect(scene.news(2_000)).toBe("easy");
  });
});

describe("in a large mesh, to reach one that no address is known of", () => {
  /** Eighty members, of whom twenty relay; nothing is known of where this node is. */
  function large(): { scene: Scene; all: Member[] } {
    const scene = new Scene();
    const all = Array.from({ length: 80 }, (_, i) => scene.member(i + 1, i < 20));
    for (const { slot, record } of all) scene.pathfinder.recordTaken(slot, record);
    return { scene, all };
  }

  test("sessions with its home relays come first, if there are none", () => {
    const { scene, all } = large();
    const far = all[50] as Member;
    expect(scene.pathfinder.headStartMs(far)).toBeGreaterThan(0);
    const wanted = scene.pathfinder.takeWanted();
    expect(wanted).toHaveLength(2);
    for (const slot of wanted) scene.link(scene.members.inSlot(slot) as Member, true);
    expect(scene.pathfinder.headStartMs(far)).toBe(0);
    expect(scene.pathfinder.takeWanted()).toHaveLength(0);
  });

  test("the home relays are looked for by themselves: one wants no others, and those no further ones", () => {
    const { scene, all } = large();
    const opened = new Set<number>();
    const open = (member: Member): void => {
      scene.pathfinder.headStartMs(member);
      for (const slot of scene.pathfinder.takeWanted()) {
        if (opened.has(slot)) continue;
        opened.add(slot);
        open(scene.members.inSlot(slot) as Member);
      }
    };
    open(all[50] as Member);
    expect(opened.size).toBe(2);
  });
});

describe("a member whose session comes up again", () => {
  const elsewhere: Endpoint = { address: "198.51.100.9", port: 51_820 };

  function heard(scene: Scene, member: Member, atMs: number, remote = elsewhere): void {
    const at = { ms: atMs, wallMs: atMs };
    const { ref } = member.peer;
    scene.pathfinder.handleEvent(at, { kind: "path_heard", peer: ref, remote });
  }

  function asked(scene: Scene): readonly string[] {
    const out = new Fifo<Transmit>();
    scene.pathfinder.drain(out);
    const to: string[] = [];
    for (let it = out.shift(); it; it = out.shift()) {
      if (it.kind === "session_message" && it.bytes[0] === 13) to.push(JSON.stringify(it.to));
    }
    return to;
  }

  test("is asked where it confirmed from, though that was heard before the session was known to be up", () => {
    const scene = new Scene();
    const member = scene.member(1, false);
    heard(scene, member, 1_000);
    scene.link(member, true, 1_001);
    expect(asked(scene)).toContain(JSON.stringify(elsewhere));
  });

  test("but not where it was heard long ago, or was before", () => {
    const scene = new Scene();
    const [one, two] = [scene.member(1, false), scene.member(2, false)];
    heard(scene, one, 1_000);
    scene.link(one, true, 3_000);
    expect(asked(scene)).not.toContain(JSON.stringify(elsewhere));
    heard(scene, two, 3_000);
    scene.link(two, true, 3_000);
    asked(scene);
    scene.link(two, false, 3_100);
    scene.link(two, true, 3_200);
    expect(asked(scene)).not.toContain(JSON.stringify(elsewhere));
  });
});

describe("a session in a large mesh that only asks whether somebody lives", () => {
  function drained(scene: Scene): Transmit[] {
    const out = new Fifo<Transmit>();
    scene.pathfinder.drain(out);
    const all: Transmit[] = [];
    for (let it = out.shift(); it; it = out.shift()) all.push(it);
    return all;
  }

  /** Enough have said where they see this node: nobody else is asked. */
  function settled(): { scene: Scene; member: Member } {
    const scene = new Scene();
    const all = Array.from({ length: 80 }, (_, i) => scene.member(i + 1, false));
    for (const each of all.slice(0, 4)) {
      scene.link(each, true);
      scene.see(each, { address: "198.51.100.7", port: 7_000 }, now.ms);
    }
    scene.news(now.ms);
    drained(scene);
    const member = all[20] as Member;
    scene.link(member, true);
    return { scene, member };
  }

  test("says nothing of ways, and is a way all the same", () => {
    const { scene, member } = settled();
    expect(drained(scene)).toHaveLength(0);
    expect(scene.pathfinder.ways(member)).toMatchObject({
      ways: [{ way: "direct 192.0.2.21:1", used: true }],
      why: "handshake",
    });
    expect(scene.pathfinder.nextTimeout()).toBeDefined();
  });

  test("is asked when it is silent, and told when this node is elsewhere", () => {
    const { scene, member } = settled();
    const { ref } = member.peer;
    scene.pathfinder.handleEvent(now, { kind: "path_silent", peer: ref });
    expect(drained(scene)).toMatchObject([{ peer: ref, to: member.peer.endpoint }]);
    const other = settled();
    const own = { kind: "announced", address: "203.0.113.9", port: 9 } as const;
    other.scene.pathfinder.setOwn(now, [own]);
    const told = drained(other.scene).map((it) => it.kind === "session_message" && it.peer.slot);
    expect(told).toContain(other.member.peer.ref.slot);
  });
});

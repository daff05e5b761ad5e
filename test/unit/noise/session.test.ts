/** Two endpoints on a virtual network: the life of their sessions, from first packet to expiry. */
import { expect, test } from "bun:test";
import { type PeerNode, World } from "../../support/peer-world.ts";

const second = 1_000;

function close(world: World): void {
  for (const node of world.nodes) expect(node.close()).toBe(0);
}

function initiations(node: PeerNode): number {
  return node.table.counters.initiations_sent;
}

test("the first packet opens a session and is delivered, with real X25519 too", () => {
  for (const realDh of [false, true]) {
    const world = new World(1);
    const [a, b] = world.pair({ realDh });
    a.send(b, "hello");
    world.run(100);
    expect(b.heard()).toEqual(["hello"]);
    b.send(a, "and back");
    world.run(100);
    expect(a.heard()).toEqual(["and back"]);
    expect([a.peer(b).sessionLive, b.peer(a).sessionLive]).toEqual([true, true]);
    expect(a.events.find((e) => e.kind === "session_established")).toMatchObject({
      initiator: true,
    });
    expect(b.events.find((e) => e.kind === "session_established")).toMatchObject({
      initiator: false,
    });
    expect([initiations(a), initiations(b)]).toEqual([1, 0]);
    expect(a.peer(b).lastHandshakeWallMs).toBeGreaterThan(0);
    expect(b.peer(a).lastHandshakeWallMs).toBeGreaterThan(0);
    close(world);
  }
});

test("the bytes of handshake messages are credited to their peer", () => {
  const world = new World(1);
  const [a, b] = world.pair();
  a.send(b, "hello");
  world.run(100);
  expect(a.dataplane.inspect(a.peer(b).ref).receivedBytes).toBe(92);
  expect(b.dataplane.inspect(b.peer(a).ref).receivedBytes).toBe(148);
  close(world);
});

test("an idle session sends nothing, and the answer to data is one keepalive", () => {
  const world = new World(2);
  const [a, b] = world.pair();
  a.send(b, "hello");
  world.run(100);
  const before = world.network.sent;
  world.run(11 * second);
  expect(world.network.sent).toBe(before + 1);
  world.run(100 * second);
  expect(world.network.sent).toBe(before + 1);
  close(world);
});

test("thousands of simultaneous initiations converge, two handshakes each at the most", () => {
  for (let seed = 1; seed <= 3_000; seed += 1) {
    const world = new World(seed, { delayMs: [1, 200] });
    const [a, b] = world.pair();
    world.after(world.random.below(250), () => a.send(b, "from a"));
    world.after(world.random.below(250), () => b.send(a, "from b"));
    world.run(2 * second);
    expect([seed, a.heard(), b.heard()]).toEqual([seed, ["from b"], ["from a"]]);
    expect([a.peer(b).sessionLive, b.peer(a).sessionLive]).toEqual([true, true]);
    expect(Math.max(initiations(a), initiations(b))).toBeLessThanOrEqual(2);
    const before = initiations(a) + initiations(b);
    a.send(b, "later");
    b.send(a, "later");
    world.run(8 * second);
    expect([seed, a.heard(), b.heard()]).toEqual([seed, ["later"], ["later"]]);
    expect(initiations(a) + initiations(b)).toBe(before);
    close(world);
  }
}, 60_000);

test("over a network that loses, doubles and reorders, both ends still converge", () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const world = new World(seed, { loss: 0.3, duplication: 0.3, delayMs: [1, 400] });
    const [a, b] = world.pair();
    for (let i = 0; i < 60; i += 1) {
      world.after(i * second + world.random.below(900), () => a.send(b, "x"));
      world.after(i * second + world.random.below(900), () => b.send(a, "y"));
    }
    world.run(60 * second);
    world.network.conditions = { loss: 0, duplication: 0, delayMs: [1, 20] };
    world.run(6 * second);
    a.heard();
    b.heard();
    a.send(b, "from a");
    b.send(a, "from b");
    world.run(20 * second);
    expect([seed, a.heard(), b.heard()]).toEqual([seed, ["from b"], ["from a"]]);
    expect(a.table.indexCount).toBeLessThanOrEqual(5);
    close(world);
  }
}, 60_000);

test("an unanswered initiation is repeated every 5 s and a little, 18 times, then given up", () => {
  const world = new World(4);
  const [a, b] = world.pair();
  const sentAt: number[] = [];
  world.network.filter = () => {
    sentAt.push(world.now.ms);
    return false;
  };
  a.send(b, "into the void");
  world.run(60 * second);
  expect(a.count("handshake_failed")).toBe(0);
  world.run(240 * second);
  expect(sentAt).toHaveLength(18);
  const gaps = sentAt.slice(1).map((at, i) => at - (sentAt[i] as number));
  for (const gap of gaps) {
    expect(gap).toBeGreaterThanOrEqual(5_000);
    expect(gap).toBeLessThanOrEqual(5_333);
  }
  expect(new Set(gaps).size).toBeGreaterThan(5);
  expect(a.count("handshake_failed")).toBe(1);
  expect(a.table.counters.handshakes_given_up).toBe(1);
  expect(a.dataplane.inspect(a.peer(b).ref).staged).toHaveLength(0);
  expect(a.table.nextTimeout()).toBeUndefined();
  expect(a.table.indexCount).toBe(0);
  // Only new data starts again.
  world.network.filter = () => true;
  a.send(b, "again");
  world.run(second);
  expect(b.heard()).toEqual(["again"]);
  close(world);
});

test.each([
  [false, 1],
  [true, 18],
])(
  "a handshake that is taken back ends, unless a packet waits: %p, %d initiations",
  (waits, sent) => {
    const world = new World(4);
    const [a, b] = world.pair();
    world.network.filter = () => false;
    a.initiate(b);
    world.run(second);
    if (waits) a.send(b, "into the void");
    world.run(second);
    a.table.withdraw(a.peer(b));
    world.run(240 * second);
    expect(initiations(a)).toBe(sent);
    expect(a.table.nextTimeout()).toBeUndefined();
    expect(a.table.indexCount).toBe(0);
    close(world);
  },
);

test("however often a session is asked for, initiations leave at most every 5 s", () => {
  const world = new World(5);
  const [a, b] = world.pair();
  const sentAt: number[] = [];
  world.network.filter = (packet) => {
    if (packet.bytes[0] === 1) sentAt.push(world.now.ms);
    return true;
  };
  for (let i = 0; i < 600; i += 1) world.after(i * 100, () => a.initiate(b));
  world.run(70 * second);
  expect(sentAt.length).toBeGreaterThan(10);
  for (let i = 1; i < sentAt.length; i += 1) {
    expect((sentAt[i] as number) - (sentAt[i - 1] as number)).toBeGreaterThanOrEqual(5_000);
  }
  expect(a.table.indexCount).toBeLessThanOrEqual(4);
  close(world);
});

test("a retry replaces the initiation in flight, and nothing of it stays", () => {
  const world = new World(6);
  const [a, b] = world.pair();
  world.network.filter = () => false;
  const steady = a.crypto.live();
  for (let round = 0; round < 200; round += 1) {
    a.send(b, "x");
    world.run(100 * second);
    expect(a.table.indexCount).toBeLessThanOrEqual(1);
  }
  expect(initiations(a)).toBeGreaterThan(3_000);
  expect(a.crypto.live()).toBeLessThanOrEqual(steady + 3);
  close(world);
}, 30_000);

test("the answer to an initiation that was replaced is refused, and the newest completes", () => {
  const world = new World(7);
  const [a, b] = world.pair();
  const late: (() => void)[] = [];
  world.network.filter = ({ from, bytes }) => {
    if (bytes[0] !== 2) return true;
    const copy = bytes.slice();
    late.push(() => a.receive(from, copy));
    return false;
  };
  a.send(b, "x");
  world.run(6 * second);
  expect(late).toHaveLength(2);
  late[0]?.();
  a.turn();
  expect(a.peer(b).sessionLive).toBe(false);
  late[1]?.();
  a.turn();
  expect(a.peer(b).sessionLive).toBe(true);
  world.run(100);
  expect(b.heard()).toEqual(["x"]);
  close(world);
});

test("a thousand forged responses change nothing, and the real one still completes", () => {
  const world = new World(8);
  const [a, b] = world.pair();
  let real: Uint8Array | undefined;
  world.network.filter = ({ bytes }) => {
    if (bytes[0] === 2) real = bytes.slice();
    return bytes[0] !== 2;
  };
  a.send(b, "x");
  world.run(100);
  if (real === undefined) throw new Error("no response was sent");
  const live = a.crypto.live();
  for (let i = 0; i < 1_000; i += 1) {
    const forged = world.random.bytes(92);
    forged.set(real.subarray(0, 12)); // the right type and indices
    if (i % 2 === 0) forged.set(real.subarray(0, 44)); // and the right ephemeral
    a.table.handleDatagram(world.now, {
      kind: "response",
      bytes: forged,
      remote: { address: "203.0.113.9", port: 9 },
    });
  }
  expect(a.table.counters.responses_not_authentic).toBe(1_000);
  expect(a.crypto.live()).toBe(live);
  expect(a.table.pollCommand()).toBeUndefined();
  expect(a.peer(b).endpoint).toEqual(b.endpoint);
  a.receive(b.endpoint, real);
  world.run(100);
  expect(b.heard()).toEqual(["x"]);
  close(world);
});

test("a response counts only for the index of the initiation that it answers", () => {
  const world = new World(28);
  const [a, b] = world.pair();
  const indices: Uint8Array[] = [];
  const responses: Uint8Array[] = [];
  world.network.filter = ({ bytes }) => {
    if (bytes[0] === 1) indices.push(bytes.slice(4, 8));
    if (bytes[0] === 2) responses.push(bytes.slice());
    return bytes[0] !== 2 || responses.length === 1;
  };
  a.send(b, "x");
  world.run(10 * second);
  a.initiate(b);
  world.run(100);
  const response = responses[1];
  if (response === undefined) throw new Error("no second response");
  const misdirected = response.slice();
  misdirected.set(indices[0] as Uint8Array, 8); // the live keypair's; Noise does not protect it
  const remote = b.endpoint;
  a.table.handleDatagram(world.now, { kind: "response", bytes: misdirected, remote });
  expect(a.table.counters.responses_unexpected).toBe(1);
  expect(a.table.counters.responses_accepted).toBe(1);
  a.table.handleDatagram(world.now, { kind: "response", bytes: response, remote });
  expect(a.table.counters.responses_accepted).toBe(2);
  close(world);
});

test("a wish that was raised for the keypair before the newest is not followed", () => {
  const world = new World(29);
  const [a, b] = world.pair();
  a.send(b, "x");
  world.run(500);
  const { ref } = a.peer(b);
  const wish = (reason: "keypair_age" | "no_answer" | "no_keypair"): void => {
    a.table.handleEvent(world.now, { kind: "handshake_wanted", peer: ref, reason });
  };
  wish("no_keypair");
  wish("no_answer");
  world.run(100 * second);
  wish("keypair_age");
  expect(a.table.counters.wishes_stale).toBe(3);
  world.run(10 * second);
  expect(initiations(a)).toBe(1);
  wish("no_answer");
  world.run(second);
  expect(initiations(a)).toBe(2);
  close(world);
});

test("a response that arrives twice makes one session", () => {
  const world = new World(9, { duplication: 0.9 });
  const [a, b] = world.pair();
  a.send(b, "x");
  world.run(second);
  expect(a.count("session_established")).toBe(1);
  expect(b.count("session_established")).toBe(1);
  expect(b.heard()).toEqual(["x"]);
  close(world);
});

test("a replayed initiation is refused, and after a restart too where stamps were kept", () => {
  const world = new World(10);
  const [a, b] = world.pair();
  let initiation: Uint8Array | undefined;
  world.network.filter = ({ bytes }) => {
    if (bytes[0] === 1) initiation = bytes.slice();
    return true;
  };
  a.send(b, "x");
  world.run(100);
  if (initiation === undefined) throw new Error("no initiation was sent");
  const attacker = { address: "203.0.113.9", port: 9 };
  b.receive(attacker, initiation);
  b.turn();
  expect(b.table.counters.initiations_replayed).toBe(1);
  expect(b.peer(a).endpoint).toEqual(a.endpoint);

  const { accepted, lastSent, keyBytes } = b;
  expect(b.close()).toBe(0);
  const again = world.node({ address: "192.0.2.77", key: keyBytes, accepted, lastSent });
  again.meet(a);
  again.receive(attacker, initiation);
  again.turn();
  expect(again.table.counters.initiations_replayed).toBe(1);
  expect(again.transmits).toHaveLength(0);
  // The peer itself is heard as ever.
  a.meet(again);
  world.run(6 * second);
  a.initiate(again);
  world.run(second);
  expect(again.table.counters.initiations_accepted).toBe(1);
  expect([a.close(), again.close()]).toEqual([0, 0]);
});

test("an old initiation, replayed at a node that forgot it, moves no endpoint and gets no data", () => {
  for (const known of [true, false]) {
    const world = new World(10);
    const [a, b] = world.pair();
    let initiation: Uint8Array | undefined;
    world.network.filter = ({ bytes }) => {
      if (bytes[0] === 1) initiation ??= bytes.slice();
      return true;
    };
    a.send(b, "x");
    world.run(100);
    if (initiation === undefined) throw new Error("no initiation was sent");
    const { keyBytes } = b;
    expect(b.close()).toBe(0);
    // Its memory of stamps is gone: the replay is as good as new.
    const again = world.node({ address: "192.0.2.77", key: keyBytes });
    const peer = known ? again.meet(a) : again.table.addPeer(world.now, a.publicKey);
    again.turn();
    const attacker = { address: "203.0.113.9", port: 9 };
    again.receive(attacker, initiation);
    again.turn();
    expect(again.table.counters.initiations_accepted).toBe(1);
    // The answer, and nothing after it.
    expect(again.transmits).toMatchObject([{ kind: "datagram", to: attacker }]);
    expect(again.peer(a).endpoint).toEqual(known ? a.endpoint : undefined);
    expect(again.dataplane.inspect(peer.ref).endpoint).toEqual(known ? a.endpoint : undefined);
    let toAttacker = 0;
    world.network.filter = ({ to }) => {
      if (to.address === attacker.address) toAttacker += 1;
      return true;
    };
    again.send(a, "secret");
    world.run(100);
    expect(toAttacker).toBe(0);
    // The peer itself is heard as ever, and is then where it confirmed from.
    a.meet(again);
    world.run(6 * second);
    a.initiate(again);
    world.run(second);
    expect(again.peer(a).endpoint).toEqual(a.endpoint);
    again.send(a, "y");
    world.run(second);
    expect(a.heard()).toContain("y");
    expect([a.close(), again.close()]).toEqual([0, 0]);
  }
});

test("after a restart with the clock an hour back, the peer still accepts our initiations", () => {
  const world = new World(11);
  const [a, b] = world.pair();
  a.send(b, "x");
  world.run(100);
  const { lastSent, keyBytes } = a;
  const stamp = lastSent?.slice() as Uint8Array;
  stamp[6] = (stamp[6] as number) + 16; // over an hour ahead of the clock
  expect(a.close()).toBe(0);
  b.accepted.clear();
  const again = world.node({ address: "192.0.2.77", key: keyBytes, lastSent: stamp });
  again.meet(b);
  again.send(b, "again");
  world.run(second);
  expect(b.heard()).toEqual(["x", "again"]);
  expect([b.close(), again.close()]).toEqual([0, 0]);
});

test("at most fifty initiations a second are accepted from a peer", () => {
  const world = new World(12);
  const [a, b] = world.pair();
  const initiation: Uint8Array[] = [];
  world.network.filter = ({ bytes }) => {
    if (bytes[0] === 1) initiation.push(bytes.slice());
    return false;
  };
  a.send(b, "x");
  world.run(60 * second);
  expect(initiation.length).toBeGreaterThan(10);
  for (const bytes of initiation.splice(0)) {
    b.receive(a.endpoint, bytes); // all within one millisecond, each with a later stamp
    b.turn();
  }
  expect(b.table.counters.initiations_accepted).toBe(1);
  expect(b.table.counters.initiations_too_frequent).toBeGreaterThan(9);
  close(world);
});

test("who slept and answered an initiation that nobody waits for any more reaches its peer in a second", () => {
  const world = new World(13);
  const [a, b] = world.pair();
  let old: Uint8Array | undefined;
  world.network.filter = ({ bytes }) => {
    if (bytes[0] === 1) old ??= bytes.slice();
    return false;
  };
  b.send(a, "given up");
  world.run(200 * second);
  if (old === undefined) throw new Error("no initiation was sent");
  world.network.filter = () => true;
  a.receive(b.endpoint, old);
  a.turn();
  expect(a.table.counters.initiations_accepted).toBe(1);
  a.send(b, "awake");
  world.run(900);
  expect(initiations(a)).toBe(0);
  world.run(300);
  expect(initiations(a)).toBe(1);
  expect(b.heard()).toContain("awake");
  close(world);
});

test("with different preshared keys no session is ever established", () => {
  const world = new World(13);
  const [a, b] = world.pair();
  a.presharedKey(b, new Uint8Array(32).fill(1));
  b.presharedKey(a, new Uint8Array(32).fill(2));
  a.send(b, "x");
  world.run(20 * second);
  b.presharedKey(a, undefined);
  world.run(100 * second);
  expect(a.count("session_established") + b.count("session_established")).toBe(0);
  expect(a.table.counters.responses_not_authentic).toBeGreaterThan(15);
  expect(b.heard()).toEqual([]);
  b.presharedKey(a, new Uint8Array(32).fill(1));
  a.send(b, "y");
  world.run(6 * second);
  expect(b.heard()).toEqual(["y"]);
  close(world);
});

test("a preshared key that changes leaves the session alone and counts from the next handshake", () => {
  const world = new World(14);
  const [a, b] = world.pair();
  a.send(b, "x");
  world.run(second);
  for (const [one, other] of [
    [a, b],
    [b, a],
  ] as const) {
    one.presharedKey(other, new Uint8Array(32).fill(7));
  }
  a.send(b, "y");
  world.run(second);
  expect(b.heard()).toEqual(["x", "y"]);
  world.run(10 * second);
  a.initiate(b);
  world.run(second);
  expect(a.count("session_established")).toBe(2);
  b.presharedKey(a, new Uint8Array(32).fill(8));
  world.run(10 * second);
  a.initiate(b);
  world.run(second);
  expect(a.count("session_established")).toBe(2);
  close(world);
});

test("under traffic both ways the keys are renewed every 120 s and no packet is lost", () => {
  const world = new World(15, { delayMs: [20, 60] });
  const [a, b] = world.pair();
  const count = 6_000;
  for (let i = 0; i < count; i += 1) {
    world.after(i * 100, () => a.send(b, "x"));
    world.after(i * 100 + 50, () => b.send(a, "y"));
  }
  world.run((count / 10 + 5) * second);
  expect([a.heard().length, b.heard().length]).toEqual([count, count]);
  // 600 s hold five handshakes of 120 s, and none that was not needed.
  expect(initiations(a) + initiations(b)).toBe(5);
  expect([a.dataplane.refused, b.dataplane.refused]).toEqual([0, 0]);
  close(world);
});

test("one-way traffic is never interrupted, whichever end initiated", () => {
  for (const starter of [0, 1] as const) {
    const world = new World(16, { delayMs: [20, 60] });
    const pair = world.pair();
    const [from, to] = pair;
    pair[starter].initiate(pair[1 - starter] as PeerNode);
    for (let i = 1; i <= 6_000; i += 1) world.after(i * 100, () => from.send(to, "x"));
    world.run(610 * second);
    expect(to.heard()).toHaveLength(6_000);
    close(world);
  }
});

test("after 180 s a session is lost, and data opens another", () => {
  const world = new World(17);
  const [a, b] = world.pair();
  a.send(b, "x");
  world.run(179 * second);
  expect([a.peer(b).sessionLive, b.peer(a).sessionLive]).toEqual([true, true]);
  world.run(2 * second);
  expect([a.peer(b).sessionLive, b.peer(a).sessionLive]).toEqual([false, false]);
  expect([a.count("session_lost"), b.count("session_lost")]).toEqual([1, 1]);
  b.send(a, "y");
  world.run(second);
  expect(a.heard()).toEqual(["y"]);
  expect([initiations(a), initiations(b)]).toEqual([1, 1]);
  expect(a.peer(b).sessionLive).toBe(true);
  close(world);
});

test("after 540 s without a renewal all keys of the session are gone", () => {
  const world = new World(18);
  const [a, b] = world.pair();
  const [atRestA, atRestB] = [a.crypto.live(), b.crypto.live()];
  a.send(b, "x");
  world.run(541 * second);
  expect([a.dataplane.sessionCount, b.dataplane.sessionCount]).toEqual([0, 0]);
  expect([a.table.indexCount, b.table.indexCount]).toEqual([0, 0]);
  // What both static keys make together is kept.
  expect([a.crypto.live(), b.crypto.live()]).toEqual([atRestA + 1, atRestB + 1]);
  expect(a.table.nextTimeout()).toBeUndefined();
  close(world);
});

test("when the peer forgot its keys, silence for 15 s brings a new handshake", () => {
  const world = new World(19);
  const [a, b] = world.pair();
  a.send(b, "x");
  world.run(30 * second);
  b.dataplane.apply(world.now, { kind: "keypairs_drop", peer: b.peer(a).ref });
  a.send(b, "lost");
  world.run(14 * second);
  expect(initiations(a)).toBe(1);
  world.run(2 * second);
  expect(initiations(a)).toBe(2);
  a.send(b, "y");
  world.run(second);
  expect(b.heard()).toEqual(["x", "y"]);
  close(world);
});

test("a changed byte anywhere in any handshake message changes nothing at all", () => {
  const world = new World(20);
  const [a, b] = world.pair();
  a.send(b, "x"); // a session that must not be disturbed
  world.run(10 * second);
  const captured: number[] = [];
  world.network.filter = ({ from, bytes }) => {
    if (bytes[0] === 4) return true;
    captured.push(bytes.length);
    const [sender, receiver] = from === a.endpoint ? [a, b] : [b, a];
    // MAC2 counts only at a gate under load, which answers with a cookie: tested with cookies.
    const end = bytes.length === 64 ? 64 : bytes.length - 16;
    for (let i = 0; i < end; i += 1) {
      const forged = bytes.slice();
      forged[i] = (forged[i] as number) ^ (1 << world.random.below(8));
      const before = stateOf(receiver, sender);
      receiver.receive(from, forged);
      receiver.turn();
      // Past the gate, as if it had failed; the MACs were judged there.
      if (noiseProtects(bytes.length, i)) {
        const kind = (["initiation", "response", "cookie_reply"] as const)[
          (bytes[0] as number) - 1
        ] as "initiation";
        receiver.table.handleDatagram(world.now, { kind, bytes: forged, remote: from });
        receiver.turn();
      }
      expect([i, ...stateOf(receiver, sender)]).toEqual([i, ...before]);
    }
    return true;
  };
  b.dataplane.gate.underLoad = true;
  a.initiate(b);
  world.run(second);
  // Initiation, cookie reply, initiation with MAC2, response.
  expect(captured).toEqual([148, 64, 148, 92]);
  expect(a.count("session_established")).toBe(2);
  close(world);
});

/** All that an unauthentic message must leave as it was. */
function stateOf(node: PeerNode, other: PeerNode): unknown[] {
  const { table, dataplane } = node;
  const { sessionLive, endpoint } = node.peer(other);
  return [
    node.crypto.live(),
    table.indexCount,
    table.nextTimeout(),
    node.events.length,
    node.transmits.length,
    dataplane.sessionCount,
    sessionLive,
    endpoint,
  ];
}

/** Whether Noise alone refuses a change there; the sender's index and the MACs are MAC1's. */
function noiseProtects(length: number, at: number): boolean {
  return length === 64 || (at < length - 32 && (at < 4 || at >= 8));
}

test("a peer under load is reached with one repetition and its cookie", () => {
  const world = new World(21);
  const [a, b] = world.pair();
  b.dataplane.gate.underLoad = true;
  a.send(b, "x");
  world.run(100);
  expect(b.heard()).toEqual(["x"]);
  expect(a.table.counters.initiations_resent).toBe(1);
  expect(initiations(a)).toBe(1);
  // The cookie serves the next handshake too.
  world.run(10 * second);
  a.initiate(b);
  world.run(100);
  expect(a.count("session_established")).toBe(2);
  expect(a.table.counters.cookies_accepted).toBe(1);
  close(world);
});

test("both ends under load still reach each other", () => {
  const world = new World(22);
  const [a, b] = world.pair();
  a.dataplane.gate.underLoad = true;
  b.dataplane.gate.underLoad = true;
  a.send(b, "x");
  world.run(12 * second);
  expect(b.heard()).toEqual(["x"]);
  close(world);
});

test("cookie replies cannot make us send more than one repetition in 5 s", () => {
  const world = new World(23);
  const [a, b] = world.pair();
  b.dataplane.gate.underLoad = true;
  let fresh = 0;
  world.network.filter = ({ from, bytes }) => {
    if (from === b.endpoint) return true;
    // Someone on the path answers each message with a cookie of its own, again and again.
    for (let i = 0; i < 10; i += 1) {
      const verdict = b.dataplane.gate.judge(world.now, a.endpoint, flipMac2(bytes));
      if (verdict.kind === "cookie") {
        const reply = verdict.reply;
        world.after(1 + i * 400, () => {
          fresh += 1;
          a.receive(b.endpoint, reply);
          a.turn();
        });
      }
    }
    return false;
  };
  a.send(b, "x");
  world.run(30 * second);
  expect(fresh).toBeGreaterThan(60);
  const { initiations_sent, initiations_resent } = a.table.counters;
  expect(initiations_sent).toBeLessThanOrEqual(7);
  expect(initiations_resent).toBeLessThanOrEqual(7);
  expect(a.peer(b).sessionLive).toBe(false);
  close(world);
});

function flipMac2(bytes: Uint8Array): Uint8Array {
  const out = bytes.slice();
  out[147] = (out[147] as number) ^ 1;
  return out;
}

test("peers that move are followed by their authentic packets", () => {
  const world = new World(24);
  const [a, b] = world.pair();
  a.send(b, "x");
  world.run(second);
  b.move("198.51.100.2");
  b.send(a, "moved");
  world.run(second);
  expect(a.heard()).toEqual(["moved"]);
  expect(a.peer(b).endpoint).toEqual(b.endpoint);
  expect(a.count("endpoint_changed")).toBe(1);
  a.send(b, "y");
  world.run(second);
  expect(b.heard()).toEqual(["x", "y"]);
  // And by their handshakes.
  a.move("198.51.100.1");
  world.run(10 * second);
  a.initiate(b);
  world.run(second);
  expect(b.peer(a).endpoint).toEqual(a.endpoint);
  close(world);
});

test("a persistent keepalive keeps a session without data, for ever", () => {
  const world = new World(25);
  const [a, b] = world.pair();
  a.table.setKeepalive(world.now, a.peer(b), 25);
  a.turn();
  for (let minute = 0; minute < 15; minute += 1) {
    world.run(60 * second);
    expect([minute, a.peer(b).sessionLive]).toEqual([minute, true]);
  }
  close(world);
});

import { describe, expect, test } from "bun:test";
import { toHex } from "../../../src/base/bytes.ts";
import { decodeMessage, encodeMessage } from "../../../src/swim/message.ts";
import { Swim } from "../../../src/swim/swim.ts";
import { SwimWorld } from "../../sim/swim-world.ts";
import { SeededRandom } from "../../support/seeded-random.ts";
import { signerOf, stored } from "../../support/swim-parts.ts";

describe("dissemination", () => {
  test.each([3, 10, 30, 60])("news reach all %d members within 3 s", (count) => {
    const world = new SwimWorld(1, count);
    world.linkAll();
    world.run(10_000);
    expect(world.isEven()).toBe(true);
    const start = world.nowMs;
    world.publish(world.node(1));
    expect(world.isEven()).toBe(false);
    expect(world.run(20_000, () => world.isEven()) - start).toBeLessThan(3_000);
  });

  test("a joiner that knows one member of 60 learns all the others within 3 s", () => {
    const world = new SwimWorld(2, 60);
    const joiner = world.node(59);
    for (const a of world.nodes.slice(0, 59)) {
      for (const b of world.nodes.slice(0, 59)) if (a.number < b.number) world.link(a, b);
    }
    world.run(30_000);
    const start = world.nowMs;
    world.link(joiner, world.node(0));
    expect(world.run(60_000, () => world.isEven()) - start).toBeLessThan(3_000);
  });

  test("and so does one that loses a fifth of all messages, within a few rounds", () => {
    const world = new SwimWorld(3, 60);
    for (const a of world.nodes.slice(0, 59)) {
      for (const b of world.nodes.slice(0, 59)) if (a.number < b.number) world.link(a, b);
    }
    world.run(30_000);
    world.loss = 0.2;
    const start = world.nowMs;
    world.link(world.node(59), world.node(0));
    expect(world.run(90_000, () => world.isEven()) - start).toBeLessThan(10_000);
  }, 60_000);

  test("in a quiet mesh a member costs no more traffic with 40 members than with 10", () => {
    const rates = [10, 40].map((count) => {
      const world = new SwimWorld(4, count);
      world.linkAll();
      world.run(60_000);
      const before = world.bytes;
      world.run(300_000);
      return (world.bytes - before) / 300 / count;
    });
    const [few, many] = rates as [number, number];
    expect(many).toBeLessThan(1.3 * few);
    expect(many).toBeLessThan(200);
  });

  test("what differs without anybody's telling is made equal by anti-entropy", () => {
    const world = new SwimWorld(5, 8);
    world.linkAll();
    world.run(30_000);
    world.loss = 1;
    world.publish(world.node(3));
    world.run(15_000);
    world.loss = 0;
    expect(world.isEven()).toBe(false);
    world.run(240_000, () => world.isEven());
    expect(world.isEven()).toBe(true);
  });
});

describe("failure detection", () => {
  test("with nothing wrong nobody is ever suspected", () => {
    const world = new SwimWorld(6, 20);
    world.linkAll();
    world.run(300_000);
    expect(world.nodes.flatMap((node) => node.states)).toEqual([]);
  });

  test("a member that stops is dead to all after a round and a suspicion, and stays a member", () => {
    const world = new SwimWorld(7, 10);
    world.linkAll();
    world.run(20_000);
    const gone = world.node(4);
    world.setUp(gone, false);
    const others = world.nodes.filter((node) => node !== gone);
    const start = world.nowMs;
    const allDead = (): boolean => others.every((node) => world.view(node, gone) === "dead");
    expect(world.run(60_000, allDead) - start).toBeLessThan(2 * 9_000 + 8_000);
    world.run(3_600_000);
    for (const node of others) expect(world.knows(node, gone)).toBe(true);
    for (const node of others) {
      expect(node.states.filter((change) => change.of !== gone.number)).toEqual([]);
    }
  });

  test("the dead are probed ever more rarely, and one that returns is alive again by itself", () => {
    const world = new SwimWorld(8, 3);
    world.linkAll();
    world.run(5_000);
    const gone = world.node(2);
    world.setUp(gone, false);
    world.run(60_000);
    const failed = (): number => world.node(0).swim.counters.probesFailed;
    const early = failed();
    world.run(600_000);
    const middle = failed();
    world.run(600_000);
    const late = failed();
    expect(middle - early).toBeGreaterThan(late - middle);
    expect(late - middle).toBeGreaterThanOrEqual(0);
    world.setUp(gone, true);
    const back = (): boolean =>
      world.view(world.node(0), gone) === "alive" && world.view(world.node(1), gone) === "alive";
    world.run(1_900_000, back);
    expect(back()).toBe(true);
  });

  test("whoever only one member cannot reach is alive by the word of others", () => {
    const world = new SwimWorld(9, 6);
    world.linkAll();
    world.run(10_000);
    const [a, b] = [world.node(0), world.node(1)];
    world.reaches = (from, to): boolean => !((from === a && to === b) || (from === b && to === a));
    world.run(120_000);
    expect(world.view(a, b)).toBe("alive");
    expect(world.view(b, a)).toBe("alive");
    expect(a.states.filter((change) => change.state === "dead")).toEqual([]);
  });

  test("a tenth of loss kills nobody", () => {
    const world = new SwimWorld(10, 12);
    world.loss = 0.1;
    world.linkAll();
    world.run(1_200_000);
    const deaths = world.nodes
      .flatMap((node) => node.states)
      .filter(({ state }) => state === "dead");
    expect(deaths).toEqual([]);
  });

  test("two halves that were apart find each other, and everybody's news", () => {
    const world = new SwimWorld(11, 12);
    world.linkAll();
    world.run(20_000);
    world.reaches = (from, to): boolean => from.number < 6 === to.number < 6;
    world.run(120_000);
    expect(world.view(world.node(0), world.node(11))).toBe("dead");
    expect(world.view(world.node(0), world.node(5))).toBe("alive");
    world.publish(world.node(0));
    world.publish(world.node(11));
    world.run(20_000);
    expect(world.isEven()).toBe(false);
    world.reaches = (): boolean => true;
    const healed = (): boolean =>
      world.isEven() &&
      world.nodes.every((a) => world.nodes.every((b) => a === b || world.view(a, b) === "alive"));
    const start = world.nowMs;
    world.run(1_800_000, healed);
    expect(healed()).toBe(true);
    expect(world.nowMs - start).toBeLessThan(600_000);
  });
});

test("what a node does not admit it neither probes nor passes on, nor is sent it for ever", () => {
  const world = new SwimWorld(12, 3);
  const [a, b, c] = [world.node(0), world.node(1), world.node(2)];
  a.admits = new Set([toHex(b.identity)]);
  world.link(b, c);
  world.link(a, b);
  world.run(60_000);
  expect(world.view(a, c)).toBe("unknown");
  expect(a.swim.hearsay.size).toBe(1);
  expect(world.view(b, a)).toBe("alive");
  const before = a.swim.counters.recordsReceived;
  world.run(600_000);
  expect(a.swim.counters.recordsReceived - before).toBeLessThanOrEqual(1);
});

test("a member that floods is cut to its budget, and is not thought dead for it", () => {
  const world = new SwimWorld(13, 2);
  world.linkAll();
  const { swim } = world.node(0);
  const slot = swim.table.find(world.node(1).identity) as number;
  for (let number = 0; number < 500; number += 1) {
    swim.handleMessage(
      world.queue.now,
      slot,
      encodeMessage({ kind: "ping", number, statements: [] }),
    );
  }
  expect(swim.counters.overBudget).toBeGreaterThanOrEqual(460);
  let acks = 0;
  for (let sent = swim.pollTransmit(); sent; sent = swim.pollTransmit()) {
    if (decodeMessage(sent.bytes)?.kind === "ack") acks += 1;
  }
  expect(acks).toBeLessThanOrEqual(40);
});

test.each([
  [2, 0],
  [10, 1],
])(
  "when one of %d dead of 40 comes back by others' word this node says anew that it lives: %d times",
  (dead, times) => {
    const random = new SeededRandom(15);
    const self = random.bytes(32);
    const swim = new Swim({ self, random, signer: signerOf(self) });
    const now = { ms: 100_000, wallMs: 0 };
    const { records } = swim.table;
    swim.setSelf(now, stored(records, self, 1));
    const identities = Array.from({ length: 39 }, () => random.bytes(32));
    const slots = identities.map((it) => swim.learn(now, stored(records, it, 1)) as number);
    for (const slot of slots.slice(0, dead)) swim.table.setState(slot, 2);
    swim.learn(now, stored(records, identities[0] as Uint8Array, 2));
    expect(swim.table.state(slots[0] as number)).toBe("alive");
    expect(swim.table.incarnation(0)).toBe(times);
  },
);

test("any bytes whatever from a member throw nothing and put no limit out of force", () => {
  const random = new SeededRandom(14);
  const self = random.bytes(32);
  const swim = new Swim({ self, random, signer: signerOf(self) });
  const now = { ms: 0, wallMs: 0 };
  const { records } = swim.table;
  const slot = swim.learn(now, stored(records, random.bytes(32), 1)) as number;
  swim.setSelf(now, stored(records, self, 1));
  swim.setLink(now, slot, true);
  for (let i = 0; i < 20_000; i += 1) {
    const bytes = random.bytes(4 + random.below(80));
    bytes[0] = random.below(16);
    bytes[1] = 0;
    bytes[2] = bytes.length;
    bytes[3] = 0;
    const at = { ms: i, wallMs: 0 };
    swim.handleMessage(at, slot, bytes);
    swim.handleTimeout(at);
    while (swim.pollTransmit() !== undefined);
    while (swim.pollEvent() !== undefined);
  }
  expect(swim.table.size).toBe(2);
  expect(swim.counters.malformed).toBeGreaterThan(0);
});

describe("a record that seems to be lacking", () => {
  function summaries(of: Swim): number {
    let count = 0;
    for (let it = of.pollTransmit(); it; it = of.pollTransmit()) {
      if (decodeMessage(it.bytes)?.kind === "summary") count += 1;
    }
    return count;
  }

  test("is asked for with three members at once, however often that is brought about", () => {
    const world = new SwimWorld(20, 8);
    world.linkAll();
    world.run(120_000);
    const { swim } = world.node(0);
    const nowMs = world.nowMs;
    const asked = (ms: number): number => {
      swim.syncForLack({ ms: nowMs + ms, wallMs: 0 });
      return summaries(swim);
    };
    summaries(swim);
    expect(asked(0)).toBe(3);
    for (let ms = 10; ms < 1_000; ms += 10) expect(asked(ms)).toBe(0);
  });

  test("nor does a flood of strangers bring about more than one exchange in 4 s for long", () => {
    const world = new SwimWorld(21, 2);
    world.linkAll();
    world.run(120_000);
    const { swim } = world.node(0);
    const before = world.messages;
    const quietMs = 120_000;
    world.run(quietMs);
    const quiet = world.messages - before;
    const start = world.messages;
    for (let ms = 0; ms < quietMs; ms += 100) {
      swim.syncForLack({ ms: world.nowMs, wallMs: 0 });
      world.run(100);
    }
    // A summary and its digest for each, and four exchanges at once at first.
    const more = world.messages - start - quiet;
    expect(more).toBeGreaterThan(20);
    expect(more).toBeLessThan(2 * (quietMs / 4_000 + 4) + 20);
  });
});

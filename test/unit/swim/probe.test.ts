import { expect, test } from "bun:test";
import { errandsMax, type ProbeAction, Prober } from "../../../src/swim/probe.ts";
import { stateCodes } from "../../../src/swim/state.ts";
import { SeededRandom } from "../../support/seeded-random.ts";
import { put, tableOf } from "../../support/swim-parts.ts";

function setUp(count: number): {
  table: ReturnType<typeof tableOf>;
  prober: Prober;
  slots: number[];
} {
  const random = new SeededRandom(1);
  const table = tableOf(random.bytes(32));
  const prober = new Prober(table, random);
  const slots: number[] = [];
  for (let i = 0; i < count; i += 1) {
    const slot = put(table, random.bytes(32));
    table.setLinked(0, slot, true);
    prober.add(0, slot);
    slots.push(slot);
  }
  return { table, prober, slots };
}

function actions(prober: Prober): ProbeAction[] {
  const out: ProbeAction[] = [];
  for (let next = prober.pollAction(); next; next = prober.pollAction()) out.push(next);
  return out;
}

/** Answers every ping at once where `answers`; the targets in order of time. */
function run(prober: Prober, fromMs: number, untilMs: number, answers: boolean): number[] {
  const targets: number[] = [];
  for (let now = fromMs; now < untilMs; now += 10) {
    prober.handleTimeout(now);
    for (const action of actions(prober)) {
      if (action.kind !== "ping") continue;
      targets.push(action.to);
      if (answers) prober.handleAck(now + 1, action.to, action.number);
    }
  }
  return targets;
}

test("each member has its turn once a round, one a second, in an order that changes", () => {
  const { prober, slots } = setUp(10);
  const rounds = [0, 1, 2].map((i) => run(prober, i * 10_000, (i + 1) * 10_000, true));
  for (const round of rounds) expect([...round].sort((a, b) => a - b)).toEqual(slots);
  expect(rounds[0]).not.toEqual(rounds[1]);
  expect(rounds[1]).not.toEqual(rounds[2]);
});

test("a ping without an answer goes through three others, and then has failed", () => {
  const { prober, slots } = setUp(6);
  const target = slots[2] as number;
  prober.probeNow(0, target);
  expect(actions(prober)).toMatchObject([{ kind: "ping", to: target }]);
  const others = (at: number): ProbeAction[] => {
    prober.handleTimeout(at);
    return actions(prober).filter((action) => action.kind !== "ping");
  };
  expect(others(499)).toEqual([]);
  const requests = others(500);
  const helpers = requests.map((request) => {
    if (request.kind !== "pingRequest") throw new Error(request.kind);
    expect(request.target).toBe(target);
    return request.to;
  });
  expect(new Set(helpers).size).toBe(3);
  expect(helpers).not.toContain(target);
  expect(others(1_000)).toContainEqual({ kind: "failed", target });
});

test("an ack by the target gives the round trip, one through a helper only the sign of life", () => {
  const { prober, slots } = setUp(6);
  prober.probeNow(0, slots[0] as number);
  const [ping] = actions(prober);
  if (ping?.kind !== "ping") throw new Error("no ping");
  expect(prober.handleAck(30, slots[1] as number, ping.number)).toBeUndefined();
  expect(prober.handleAck(30, ping.to, ping.number)).toEqual({ target: ping.to, rttMs: 30 });
  expect(prober.handleAck(31, ping.to, ping.number)).toBeUndefined();

  prober.probeNow(100, slots[0] as number);
  actions(prober);
  prober.handleTimeout(600);
  const request = actions(prober).find((action) => action.kind === "pingRequest");
  if (request?.kind !== "pingRequest") throw new Error("no request");
  const stranger = slots.find((slot) => slot !== slots[0] && slot !== request.to) as number;
  const answered = prober.handleAck(700, request.to, request.number);
  expect(answered).toEqual({ target: slots[0] as number });
  expect(prober.handleAck(700, stranger, request.number)).toBeUndefined();
});

test("an errand pings the target and passes its ack on to who asked, and only to him", () => {
  const { prober, slots } = setUp(3);
  const [asker, target, other] = slots as [number, number, number];
  prober.handlePingRequest(0, asker, 77, target);
  const [ping] = actions(prober);
  if (ping?.kind !== "ping") throw new Error("no ping");
  expect(ping.to).toBe(target);
  expect(prober.handleAck(5, other, ping.number)).toBeUndefined();
  expect(prober.handleAck(5, target, ping.number)).toEqual({ target });
  expect(actions(prober)).toEqual([{ kind: "ack", to: asker, number: 77 }]);
  expect(prober.handleAck(6, target, ping.number)).toBeUndefined();
});

test("no errand is run to who asks, or to ourselves", () => {
  const { prober, slots } = setUp(3);
  const [asker] = slots as [number];
  prober.handlePingRequest(0, asker, 2, asker);
  prober.handlePingRequest(0, asker, 3, 0);
  expect(actions(prober)).toEqual([]);
});

test("an errand to whom there is no session waits for one, and is answered by a nack meanwhile", () => {
  const { table, prober, slots } = setUp(3);
  const [asker, target] = slots as [number, number];
  table.setLinked(0, target, false);
  prober.handlePingRequest(0, asker, 9, target);
  expect(actions(prober)).toEqual([{ kind: "open", slot: target }]);
  prober.handleTimeout(400);
  expect(actions(prober)).toContainEqual({ kind: "nack", to: asker, number: 9 });
  table.setLinked(450, target, true);
  prober.linked(450, target);
  expect(actions(prober)).toMatchObject([{ kind: "ping", to: target }]);
});

test("of one to whom none comes up in time no session is wanted any longer", () => {
  const { table, prober, slots } = setUp(3);
  const [asker, target] = slots as [number, number];
  table.setLinked(0, target, false);
  prober.handlePingRequest(0, asker, 9, target);
  const all = [0, 400, 1_000].flatMap((ms) => {
    prober.handleTimeout(ms);
    return actions(prober);
  });
  expect(all).toContainEqual({ kind: "silent", slot: target });
});

test("a target without a session is opened 6 s ahead, and pinged as soon as there is one", () => {
  const { table, prober, slots } = setUp(20);
  for (const slot of slots) table.setLinked(0, slot, false);
  prober.handleTimeout(1_000);
  const opened = actions(prober).filter((action) => action.kind === "open");
  expect(opened.length).toBe(8);
  const first = opened[0] as { slot: number };
  table.setLinked(1_050, first.slot, true);
  prober.linked(1_050, first.slot);
  const [ping] = actions(prober);
  if (ping?.kind !== "ping") throw new Error("no ping");
  expect(prober.handleAck(1_070, first.slot, ping.number)).toEqual({
    target: first.slot,
    rttMs: 20,
  });
});

test("failed probes slow the next ones down, nacks and acks show that the fault is not here", () => {
  const { prober, slots } = setUp(6);
  const fail = (atMs: number, nacks: boolean): void => {
    prober.probeNow(atMs, slots[0] as number);
    prober.handleTimeout(atMs + 7_000);
    for (const action of actions(prober)) {
      if (nacks && action.kind === "pingRequest") prober.handleNack(action.to, action.number);
    }
    prober.handleTimeout(atMs + 20_000);
    actions(prober);
  };
  prober.probeNow(0, slots[0] as number);
  actions(prober);
  prober.handleTimeout(500);
  for (const action of actions(prober)) {
    if (action.kind === "pingRequest")
      expect(prober.handleNack(action.to, action.number)).toBe(true);
  }
  prober.handleTimeout(1_000);
  expect(prober.awareness.score).toBe(0);
  fail(10_000, false);
  expect(prober.awareness.score).toBeGreaterThanOrEqual(3);
});

test("errands are bounded, and make room again", () => {
  const { prober, slots } = setUp(3);
  const [asker, target] = slots as [number, number];
  for (let i = 0; i < 2 * errandsMax; i += 1) prober.handlePingRequest(0, asker, i, target);
  expect(actions(prober)).toHaveLength(errandsMax);
  prober.handlePingRequest(1_000, asker, 1, target);
  expect(actions(prober).filter(({ kind }) => kind === "ping")).toHaveLength(1);
});

test("the dead are probed at waits that double up to ten minutes and more by chance", () => {
  const { table, prober, slots } = setUp(1);
  table.setState(slots[0] as number, stateCodes.dead);
  prober.setDead(0, slots[0] as number);
  const times: number[] = [];
  for (let now = 0; now < 4 * 3_600_000; now = Math.max(now + 1, prober.nextTimeout() as number)) {
    prober.handleTimeout(now);
    for (const action of actions(prober)) if (action.kind === "ping") times.push(now);
  }
  const gaps = times.slice(1).map((time, i) => time - (times[i] as number));
  expect(times[0]).toBeLessThan(7_000);
  expect(gaps[0]).toBeGreaterThanOrEqual(9_000);
  expect(Math.max(...gaps)).toBeLessThanOrEqual(1_202_000);
  expect(gaps.at(-1)).toBeGreaterThanOrEqual(600_000);
  expect(times.length).toBeGreaterThan(15);
});

test("after a stall the missed beats are not made up for", () => {
  const { prober } = setUp(5);
  run(prober, 0, 3_000, true);
  expect(run(prober, 600_000, 600_500, true).length).toBeLessThanOrEqual(2);
});

test("who was removed is not probed, and the others keep their turns", () => {
  const { prober, slots } = setUp(5);
  run(prober, 0, 2_500, true);
  prober.remove(slots[2] as number);
  const targets = run(prober, 2_500, 30_000, true);
  expect(targets).not.toContain(slots[2]);
  expect(new Set(targets).size).toBe(4);
  for (const slot of slots) if (slot !== slots[2]) prober.remove(slot);
  expect(prober.nextTimeout()).toBeUndefined();
});

test("in a small mesh the dead do not wait for their turn, nor do they keep others from theirs", () => {
  const { table, prober, slots } = setUp(50);
  const dead = slots.slice(0, 10);
  for (const slot of dead) {
    table.setState(slot, stateCodes.dead);
    prober.setDead(0, slot);
  }
  // Due after 5 s, and chosen 6 s ahead; half of the turns are theirs until all ten had one.
  const targets = run(prober, 0, 34_000, true);
  for (const slot of dead) expect(targets).toContain(slot);
  expect(targets.filter((slot) => !dead.includes(slot)).length).toBeGreaterThanOrEqual(15);
});

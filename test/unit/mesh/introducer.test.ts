import { describe, expect, test } from "bun:test";
import { concatBytes } from "../../../src/base/bytes.ts";
import type { Instant } from "../../../src/base/clock.ts";
import type { Endpoint } from "../../../src/base/endpoint.ts";
import { Arrivals } from "../../../src/mesh/arrivals.ts";
import type { Transmit } from "../../../src/mesh/dataplane.ts";
import {
  dialledMembersMax,
  dialledMembersMaxLarge,
  Introducer,
  type IntroducerEvent,
  memberDialDelayMaxMs,
  memberDialDelayMinMs,
} from "../../../src/mesh/introducer.ts";
import {
  introductionAgeMaxMs,
  openIntroduction,
  sealIntroduction,
} from "../../../src/mesh/introduction.ts";
import {
  formatIdentity,
  type Identity,
  identityOf,
  networkIdOf,
} from "../../../src/trust/identity.ts";
import { recordLifetimeMs, signRecord } from "../../../src/trust/record.ts";
import { Roster } from "../../../src/trust/roster.ts";
import { NobleCrypto } from "../../support/noble-crypto.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const crypto = new NobleCrypto();
const networkId = networkIdOf(crypto, "test");
const wallStart = 1_700_000_000_000;

function at(ms: number): Instant {
  return { ms, wallMs: wallStart + ms };
}

function endpoint(last: number): Endpoint {
  return { address: `192.0.2.${last}`, port: 51820 };
}

interface Side {
  readonly identity: Identity;
  readonly roster: Roster;
  readonly introducer: Introducer;
  readonly arrivals: Arrivals;
  readonly endpoint: Endpoint;
  readonly record: Uint8Array;
}

/** Whether the mesh is one, to all sides. */
const isLarge = { now: false };

function side(byte: number, network = networkId, isAlive = (): boolean => false): Side {
  const identity = identityOf(crypto, crypto.importSecret(new Uint8Array(32).fill(byte)));
  const roster = new Roster({ crypto, networkId: network, self: identity.publicKey });
  const arrivals = new Arrivals();
  const record = signRecord(crypto, network, identity, {
    sequence: wallStart,
    expiresWallMs: wallStart + recordLifetimeMs,
    wireguardKey: new Uint8Array(32).fill(byte),
    name: "",
    candidates: [],
    natKind: "unknown",
    relay: false,
    prefixes: [],
  });
  const random = new SeededRandom(byte);
  const options = {
    crypto,
    random,
    networkId: network,
    identity,
    roster,
    record: () => record,
    held: (): undefined => undefined,
    arrivals,
    isAlive,
    isLarge: () => isLarge.now,
  };
  return {
    identity,
    roster,
    introducer: new Introducer(options),
    arrivals,
    endpoint: endpoint(byte),
    record,
  };
}

function trusting(a: Side, b: Side): void {
  a.roster.trust(b.identity.publicKey);
  b.roster.trust(a.identity.publicKey);
}

function sent(from: Side): Transmit[] {
  const out: Transmit[] = [];
  for (let next = from.introducer.pollTransmit(); next; next = from.introducer.pollTransmit()) {
    out.push(next);
  }
  return out;
}

function events(of: Side): IntroducerEvent[] {
  const out: IntroducerEvent[] = [];
  for (let next = of.introducer.pollEvent(); next; next = of.introducer.pollEvent()) out.push(next);
  return out;
}

function deliver(now: Instant, transmit: Transmit | undefined, to: Side, from: Endpoint): void {
  if (transmit === undefined) throw new Error("nothing was sent");
  to.introducer.handleDatagram(now, { kind: "introduction", bytes: transmit.bytes, remote: from });
}

function dial(a: Side, b: Side, now: Instant): Transmit {
  a.introducer.setSeeds(now, [{ identity: b.identity.publicKey, endpoint: b.endpoint }]);
  a.introducer.handleTimeout(now);
  const [request] = sent(a);
  if (request === undefined) throw new Error("nothing was sent");
  return request;
}

test("two that trust each other are introduced by one request and one reply of its length", () => {
  const [ant, bee] = [side(1), side(2)];
  trusting(ant, bee);
  const request = dial(ant, bee, at(0));
  deliver(at(10), request, bee, ant.endpoint);
  const [reply, ...more] = sent(bee);
  expect(more).toEqual([]);
  expect(reply?.bytes.length).toBe(request.bytes.length);
  expect(reply).toMatchObject({ kind: "datagram", to: ant.endpoint });
  // Who asked is known, but where he is has not been proven.
  expect(events(bee)).toMatchObject([{ kind: "introduced" }]);
  deliver(at(20), reply, ant, bee.endpoint);
  const [introduced] = events(ant);
  expect(introduced).toMatchObject({ kind: "introduced", endpoint: bee.endpoint });
  expect(sent(ant)).toEqual([]);
});

test("whoever is not admitted hears nothing at all", () => {
  const [ant, bee] = [side(1), side(2)];
  ant.roster.trust(bee.identity.publicKey);
  deliver(at(10), dial(ant, bee, at(0)), bee, ant.endpoint);
  expect(sent(bee)).toEqual([]);
  expect(events(bee)).toEqual([]);
  expect(bee.introducer.counters.notAdmitted).toBe(1);
});

/** What bee notes of ant's first request. */
function outcomeOf(ant: Side, bee: Side, sentAt: Instant, came: Instant): unknown {
  deliver(came, dial(ant, bee, sentAt), bee, ant.endpoint);
  return bee.arrivals.of(came.ms, formatIdentity(ant.identity.publicKey));
}

test("it is noted what came of a request, and why it was refused", () => {
  const [ant, bee] = [side(1), side(2)];
  ant.roster.trust(bee.identity.publicKey);
  expect(outcomeOf(ant, bee, at(0), at(10))).toMatchObject({ outcome: "not_trusted", count: 1 });
  bee.roster.trust(ant.identity.publicKey);
  expect(outcomeOf(ant, bee, at(5_000), at(5_010))).toMatchObject({ outcome: "admitted" });
  bee.roster.revokeHere(ant.identity.publicKey);
  expect(outcomeOf(ant, bee, at(20_000), at(20_010))).toMatchObject({ outcome: "revoked" });
});

test("another network and a clock that is days behind are told apart", () => {
  const [stray, late, bee] = [side(1, networkIdOf(crypto, "another")), side(3), side(2)];
  trusting(stray, bee);
  trusting(late, bee);
  expect(outcomeOf(stray, bee, at(0), at(10))).toMatchObject({ outcome: "other_network" });
  const tomorrow = { ms: 1_000, wallMs: wallStart + introductionAgeMaxMs + 1 };
  expect(outcomeOf(late, bee, at(0), tomorrow)).toMatchObject({
    outcome: "too_old",
    aboutWallMs: wallStart,
  });
});

test("a request that comes again is answered once", () => {
  const [ant, bee] = [side(1), side(2)];
  trusting(ant, bee);
  const request = dial(ant, bee, at(0));
  for (let i = 0; i < 5; i += 1) deliver(at(10 + i), request, bee, endpoint(99));
  expect(sent(bee)).toHaveLength(1);
  expect(events(bee)).toHaveLength(1);
  expect(bee.introducer.counters.replayed).toBe(4);
});

test("a clock that was set back locks nobody out for more than two minutes", () => {
  const [ant, bee] = [side(1), side(2)];
  trusting(ant, bee);
  const later = dial(ant, bee, { ms: 0, wallMs: wallStart + 3_600_000 });
  deliver(at(10), later, bee, ant.endpoint);
  const restarted = side(1);
  restarted.roster.trust(bee.identity.publicKey);
  const earlier = dial(restarted, bee, at(0));
  sent(bee);
  deliver(at(119_000), earlier, bee, ant.endpoint);
  expect(sent(bee)).toHaveLength(0);
  deliver(at(120_011), earlier, bee, ant.endpoint);
  expect(sent(bee)).toHaveLength(1);
});

test("a reply that was not asked for, or comes twice, changes nothing", () => {
  const [ant, bee] = [side(1), side(2)];
  trusting(ant, bee);
  deliver(at(10), dial(ant, bee, at(0)), bee, ant.endpoint);
  const [reply] = sent(bee);
  deliver(at(20), reply, ant, bee.endpoint);
  expect(events(ant)).toHaveLength(1);
  deliver(at(30), reply, ant, bee.endpoint);
  expect(events(ant)).toEqual([]);
  expect(ant.introducer.counters.unexpected).toBe(1);
});

test("a reply by another identity than was asked changes nothing, even with the exchange id", () => {
  const [ant, bee, cat] = [side(1), side(2), side(3)];
  trusting(ant, bee);
  trusting(ant, cat);
  const request = dial(ant, bee, at(0));
  deliver(at(10), request, cat, ant.endpoint);
  expect(sent(cat)).toEqual([]);
  expect(cat.introducer.counters.notAuthentic).toBe(1);
  // Bee betrays the exchange id to cat.
  const options = { crypto, networkId, receiver: bee.identity, admits: (): boolean => true };
  const opened = openIntroduction(options, request.bytes, at(10));
  if (opened.kind !== "opened") throw new Error(opened.kind);
  const forged = sealIntroduction({
    crypto,
    networkId,
    sender: cat.identity,
    record: cat.record,
    receiver: ant.identity.publicKey,
    kind: "reply",
    exchangeId: opened.introduction.exchangeId,
    sentWallMs: at(10).wallMs,
  });
  if (forged === undefined) throw new Error("ant can be sealed to");
  ant.introducer.handleDatagram(at(20), {
    kind: "introduction",
    bytes: forged,
    remote: bee.endpoint,
  });
  expect(events(ant)).toEqual([]);
  expect(ant.introducer.counters.unexpected).toBe(1);
});

test("an unanswered seed is dialled for ever, each wait an eighth of the outage up to a minute", () => {
  const [ant, bee] = [side(1), side(2)];
  trusting(ant, bee);
  dial(ant, bee, at(0));
  const times: number[] = [];
  let now = 0;
  while (now < 6 * 3_600_000) {
    const next = ant.introducer.nextTimeout();
    if (next === undefined) throw new Error("gave up");
    expect(next).toBeGreaterThan(now);
    now = next;
    ant.introducer.handleTimeout(at(now));
    for (const _ of sent(ant)) times.push(now);
  }
  const gaps = times.slice(1).map((time, i) => time - (times[i] as number));
  for (const [i, gap] of gaps.entries()) {
    const elapsed = times[i] as number;
    const wanted = Math.min(60_000, Math.max(1_000, elapsed / 8));
    expect(gap).toBeGreaterThanOrEqual(Math.floor(0.8 * wanted));
    expect(gap).toBeLessThanOrEqual(Math.ceil(1.2 * wanted));
  }
  expect(times.at(-1)).toBeGreaterThan(6 * 3_600_000 - 75_000);
});

describe("of several seeds", () => {
  const dialled = (ant: Side, now: number): number => {
    ant.introducer.handleTimeout(at(now));
    return sent(ant).length;
  };
  function three(alive = false): { ant: Side; seeds: Side[] } {
    const [ant, ...seeds] = [1, 2, 3, 4].map((number) => side(number, networkId, () => alive)) as [
      Side,
      ...Side[],
    ];
    for (const seed of seeds) trusting(ant, seed);
    ant.introducer.setSeeds(
      at(0),
      seeds.map(({ identity, endpoint }) => ({ identity: identity.publicKey, endpoint })),
    );
    return { ant, seeds };
  }

  test("one is asked at once, and all where it does not answer within two seconds", () => {
    const { ant } = three();
    expect(dialled(ant, 0)).toBe(1);
    expect(dialled(ant, 700)).toBe(0);
    ant.introducer.handleTimeout(at(1_500));
    expect(new Set(sent(ant).map((it) => it.kind === "datagram" && it.to.address)).size).toBe(3);
  });

  test("the others are not asked where the mesh that it leads to holds them alive", () => {
    const { ant } = three(true);
    // The first that is asked is not known at all, but that is this test's own doing.
    for (let now = 0; now < 10_000; now += 100) ant.introducer.handleTimeout(at(now));
    expect(sent(ant)).toEqual([]);
    expect(ant.introducer.nextTimeout()).toBeUndefined();
  });
});

test("while a session with the seed lives nobody dials it; when it ends it is dialled at once", () => {
  const [ant, bee] = [side(1), side(2)];
  trusting(ant, bee);
  dial(ant, bee, at(0));
  const name = formatIdentity(bee.identity.publicKey);
  ant.introducer.setLink(at(100), name, true);
  expect(ant.introducer.nextTimeout()).toBeUndefined();
  ant.introducer.handleTimeout(at(50_000));
  expect(sent(ant)).toEqual([]);
  ant.introducer.setLink(at(60_000), name, false);
  expect(ant.introducer.nextTimeout()).toBeLessThan(61_000);
  ant.introducer.handleTimeout(at(61_000));
  expect(sent(ant)).toHaveLength(1);
});

test("a seed without a key is tried for each trusted identity, and the one behind it answers", () => {
  const [ant, bee] = [side(1), side(2)];
  for (let i = 10; i < 15; i += 1) ant.roster.trust(side(i).identity.publicKey);
  trusting(ant, bee);
  ant.introducer.setSeeds(at(0), [{ endpoint: bee.endpoint }]);
  ant.introducer.handleTimeout(at(0));
  const requests = sent(ant);
  expect(requests).toHaveLength(6);
  for (const request of requests) deliver(at(10), request, bee, ant.endpoint);
  const replies = sent(bee);
  expect(replies).toHaveLength(1);
  deliver(at(20), replies[0], ant, bee.endpoint);
  expect(events(ant)).toMatchObject([{ kind: "introduced", endpoint: bee.endpoint }]);
  ant.introducer.setLink(at(30), formatIdentity(bee.identity.publicKey), true);
  expect(ant.introducer.nextTimeout()).toBeUndefined();
});

test("a seed without a key and with more than 16 trusted identities is an event, once", () => {
  const ant = side(1);
  for (let i = 10; i < 27; i += 1) ant.roster.trust(side(i).identity.publicKey);
  ant.introducer.setSeeds(at(0), [{ endpoint: endpoint(2) }]);
  ant.introducer.handleTimeout(at(0));
  ant.introducer.handleTimeout(at(100_000));
  expect(sent(ant)).toEqual([]);
  expect(events(ant)).toEqual([{ kind: "seed_key_needed", endpoint: endpoint(2) }]);
});

test("a seed whose key is not trusted is not asked", () => {
  const [ant, bee] = [side(1), side(2)];
  ant.introducer.setSeeds(at(0), [{ identity: bee.identity.publicKey, endpoint: bee.endpoint }]);
  ant.introducer.handleTimeout(at(0));
  expect(sent(ant)).toEqual([]);
  expect(events(ant)).toEqual([{ kind: "seed_not_trusted", endpoint: bee.endpoint }]);
  ant.roster.trust(bee.identity.publicKey);
  ant.introducer.rosterChanged(at(10));
  ant.introducer.handleTimeout(at(10));
  expect(sent(ant)).toHaveLength(1);
});

test("one source costs us a few openings a second, and leaves room for others", () => {
  const [ant, bee] = [side(1), side(2)];
  trusting(ant, bee);
  const junk = new Uint8Array(1200);
  for (let i = 0; i < 100; i += 1) {
    const remote = { address: "198.51.100.7", port: 1000 + i };
    bee.introducer.handleDatagram(at(0), { kind: "introduction", bytes: junk, remote });
  }
  expect(bee.introducer.counters.malformed).toBe(20);
  expect(bee.introducer.counters.limited).toBe(80);
  deliver(at(0), dial(ant, bee, at(0)), bee, ant.endpoint);
  expect(sent(bee)).toHaveLength(1);
});

test("however many sources there are, openings together are bounded", () => {
  const bee = side(2);
  const junk = new Uint8Array(1200);
  for (let i = 0; i < 5_000; i += 1) {
    const remote = { address: `10.1.${i >> 8}.${i & 255}`, port: 1 };
    bee.introducer.handleDatagram(at(0), { kind: "introduction", bytes: junk, remote });
  }
  expect(bee.introducer.counters.malformed).toBe(400);
});

describe("where an organisation is trusted", () => {
  const organisation = identityOf(crypto, crypto.importSecret(new Uint8Array(32).fill(99)));

  test("a seed with a key is asked though nothing is known of it, and one without is not", () => {
    const [ant, bee] = [side(1), side(2)];
    ant.roster.trustOrganisation(organisation.publicKey);
    ant.introducer.setSeeds(at(0), [
      { identity: bee.identity.publicKey, endpoint: bee.endpoint },
      { endpoint: endpoint(7) },
    ]);
    ant.introducer.handleTimeout(at(0));
    ant.introducer.handleTimeout(at(1_500));
    expect(sent(ant).map((it) => it.kind === "datagram" && it.to)).toContainEqual(bee.endpoint);
    expect(events(ant)).toEqual([{ kind: "seed_key_needed", endpoint: endpoint(7) }]);
  });

  test("a revoked identity is neither asked nor answered", () => {
    const [ant, bee] = [side(1), side(2)];
    trusting(ant, bee);
    ant.roster.revokeHere(bee.identity.publicKey);
    ant.introducer.setSeeds(at(0), [{ identity: bee.identity.publicKey, endpoint: bee.endpoint }]);
    ant.introducer.handleTimeout(at(0));
    expect(sent(ant)).toEqual([]);
    bee.introducer.setSeeds(at(0), [{ identity: ant.identity.publicKey, endpoint: ant.endpoint }]);
    bee.introducer.handleTimeout(at(0));
    deliver(at(1), sent(bee)[0], ant, bee.endpoint);
    expect(sent(ant)).toEqual([]);
    expect(ant.introducer.counters.notAdmitted).toBe(1);
  });
});

describe("a node under load", () => {
  /** What its gate answers to an introduction that has no cookie. */
  function answerOf(request: Uint8Array, receiver: Uint8Array, cookie: Uint8Array): Uint8Array {
    const nonce = new Uint8Array(24).fill(3);
    const key = crypto.hash(concatBytes(new TextEncoder().encode("mvcookie"), receiver));
    const sealed = crypto.sealCookie(key, nonce, request.subarray(1168, 1184), cookie);
    const type = new TextEncoder().encode("mvc1");
    return concatBytes(type, request.subarray(4, 8), nonce, sealed);
  }

  function hand(to: Side, now: Instant, bytes: Uint8Array): void {
    to.introducer.handleDatagram(now, { kind: "introduction_cookie", bytes, remote: endpoint(2) });
  }

  const cookie = new Uint8Array(16).fill(6);

  test("is asked again with its cookie, once, and by later requests at once", () => {
    const [ant, bee] = [side(1), side(2)];
    trusting(ant, bee);
    const request = dial(ant, bee, at(0)).bytes;
    expect(request.subarray(1184)).toEqual(new Uint8Array(16));
    const answer = answerOf(request, bee.identity.publicKey, cookie);
    expect(answer.length).toBe(64);
    hand(ant, at(10), answer);
    const [again] = sent(ant);
    expect(again?.bytes.subarray(0, 1184)).toEqual(request.subarray(0, 1184));
    expect(again?.bytes.subarray(1184)).toEqual(crypto.mac(cookie, request.subarray(0, 1184)));
    hand(ant, at(11), answer);
    expect(sent(ant)).toEqual([]);
    deliver(at(20), again, bee, ant.endpoint);
    expect(sent(bee)).toHaveLength(1);
    ant.introducer.handleTimeout(at(5_000));
    const [next] = sent(ant);
    expect(next?.bytes.subarray(1184)).toEqual(
      crypto.mac(cookie, next?.bytes.subarray(0, 1184) as Uint8Array),
    );
    ant.introducer.handleTimeout(at(130_000));
    expect(sent(ant)[0]?.bytes.subarray(1184)).toEqual(new Uint8Array(16));
  });

  test("cannot be played by one who did not see the introduction", () => {
    const [ant, bee, cat] = [side(1), side(2), side(3)];
    trusting(ant, bee);
    const request = dial(ant, bee, at(0)).bytes;
    const { publicKey } = bee.identity;
    const guessed = request.slice();
    guessed.fill(0, 1168, 1184);
    const elsewhere = request.slice();
    elsewhere.fill(9, 4, 8);
    for (const answer of [
      answerOf(guessed, publicKey, cookie),
      answerOf(elsewhere, publicKey, cookie),
      answerOf(request, cat.identity.publicKey, cookie),
      answerOf(request, publicKey, cookie).subarray(0, 63),
      new Uint8Array(64),
      new Uint8Array(0),
    ]) {
      hand(ant, at(10), answer);
    }
    expect(sent(ant)).toEqual([]);
    expect(ant.introducer.counters.unexpected).toBe(6);
  });
});

describe("a member that is not reached", () => {
  /** When each request went where, until then. */
  function dials(of: Side, fromMs: number, untilMs: number): { atMs: number; to: Endpoint }[] {
    const out: { atMs: number; to: Endpoint }[] = [];
    for (let ms = fromMs; ms <= untilMs; ms = of.introducer.nextTimeout() ?? untilMs + 1) {
      of.introducer.handleTimeout(at(ms));
      for (const transmit of sent(of)) {
        if (transmit.kind === "datagram") out.push({ atMs: ms, to: transmit.to });
      }
    }
    return out;
  }

  test("is dialled at its endpoints in turn, ever more rarely, until it is reached", () => {
    const [ant, bee] = [side(1), side(2)];
    trusting(ant, bee);
    ant.introducer.dialMember(at(0), bee.identity.publicKey, () => [endpoint(2), endpoint(3)]);
    const all = dials(ant, 0, 24 * 3_600_000);
    expect(all.slice(0, 4).map(({ to }) => to)).toEqual([2, 3, 2, 3].map(endpoint));
    const waits = all.slice(1).map(({ atMs }, i) => atMs - (all[i]?.atMs ?? 0));
    expect(waits[0]).toBeGreaterThanOrEqual(0.8 * memberDialDelayMinMs);
    expect(waits.at(-1)).toBeGreaterThanOrEqual(0.8 * memberDialDelayMaxMs);
    expect(Math.max(...waits)).toBeLessThanOrEqual(1.2 * memberDialDelayMaxMs + 1);
    ant.introducer.setLink(at(90_000_000), formatIdentity(bee.identity.publicKey), true);
    expect(ant.introducer.nextTimeout()).toBeUndefined();
  });

  test("shares one pace with all others in a large mesh", () => {
    const ant = side(1);
    isLarge.now = true;
    for (let byte = 2; byte < 2 + dialledMembersMaxLarge; byte += 1) {
      const other = side(byte);
      trusting(ant, other);
      ant.introducer.dialMember(at(0), other.identity.publicKey, () => [endpoint(byte)]);
    }
    const all = dials(ant, 0, 202_000);
    isLarge.now = false;
    // Each once in the first second, and then one in two seconds or a little more often.
    expect(all.filter(({ atMs }) => atMs <= 1_000)).toHaveLength(dialledMembersMaxLarge);
    const later = all.length - dialledMembersMaxLarge;
    expect(later).toBeGreaterThan(80);
    expect(later).toBeLessThan(125);
  });

  test("is proven where it was dialled, wherever it is dialled next", () => {
    const [ant, bee] = [side(1), side(2)];
    trusting(ant, bee);
    ant.introducer.dialMember(at(0), bee.identity.publicKey, () => [endpoint(2), endpoint(3)]);
    ant.introducer.handleTimeout(at(1_000));
    const [first] = sent(ant);
    ant.introducer.handleTimeout(at(10_000));
    expect(sent(ant)).toMatchObject([{ to: endpoint(3) }]);
    deliver(at(10_010), first, bee, ant.endpoint);
    deliver(at(10_020), sent(bee)[0], ant, endpoint(2));
    expect(events(ant)).toMatchObject([{ kind: "introduced", endpoint: endpoint(2) }]);
  });

  test.each([
    [dialledMembersMax, false],
    [dialledMembersMaxLarge, true],
  ])(
    "is dialled no longer when it is trusted no longer, nor where more than %d wait",
    (most, large) => {
      const ant = side(1);
      isLarge.now = large;
      const identities = Array.from({ length: most + 1 }, (_, i) => {
        const key = new Uint8Array(32).fill(7);
        new DataView(key.buffer).setUint16(0, i);
        return key;
      });
      for (const identity of identities) {
        ant.roster.trust(identity);
        ant.introducer.dialMember(at(0), identity, () => [endpoint(2)]);
      }
      expect(ant.introducer.counters.overflow).toBe(1);
      for (const identity of identities) ant.roster.distrust(identity);
      ant.introducer.rosterChanged(at(1));
      expect(ant.introducer.nextTimeout()).toBeUndefined();
      isLarge.now = false;
    },
  );
});

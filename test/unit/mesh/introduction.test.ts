import { describe, expect, test } from "bun:test";
import { concatBytes, toHex } from "../../../src/base/bytes.ts";
import type { Instant } from "../../../src/base/clock.ts";
import {
  introductionPassesGate,
  openForwarded,
  openIntroduction,
  sealForwarded,
  sealIntroduction,
} from "../../../src/mesh/introduction.ts";
import { type Identity, identityOf, networkIdOf } from "../../../src/trust/identity.ts";
import { recordLifetimeMs, signRecord } from "../../../src/trust/record.ts";
import { NobleCrypto } from "../../support/noble-crypto.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

const crypto = new NobleCrypto();
const networkId = networkIdOf(crypto, "test");
const now: Instant = { ms: 0, wallMs: 1_700_000_000_000 };
const exchangeId = new Uint8Array(16).fill(5);

function identity(byte: number): Identity {
  return identityOf(crypto, crypto.importSecret(new Uint8Array(32).fill(byte)));
}

const ant = identity(1);
const bee = identity(2);
const cat = identity(3);

function record(of: Identity): Uint8Array {
  return signRecord(crypto, networkId, of, {
    sequence: now.wallMs,
    expiresWallMs: now.wallMs + recordLifetimeMs,
    wireguardKey: new Uint8Array(32).fill(9),
    name: "ant",
    candidates: [],
    natKind: "unknown",
    relay: false,
    prefixes: [],
  });
}

type SealChanges = Partial<Parameters<typeof sealIntroduction>[0]>;

/** From ant to bee. */
function seal(changes: SealChanges = {}): Uint8Array {
  const sealed = sealIntroduction({
    crypto,
    networkId,
    sender: ant,
    record: record(ant),
    receiver: bee.publicKey,
    kind: "request",
    exchangeId,
    sentWallMs: now.wallMs,
    ...changes,
  });
  if (sealed === undefined) throw new Error("bee can be sealed to");
  return sealed;
}

function open(datagram: Uint8Array, receiver = bee, at = now, admits = true): string {
  const options = { crypto, networkId, receiver, admits: (): boolean => admits };
  return openIntroduction(options, datagram, at).kind;
}

test("an introduction says who sent it, and is 1,200 bytes both ways", () => {
  for (const kind of ["request", "reply"] as const) {
    const datagram = seal({ kind });
    expect(datagram.length).toBe(1200);
    const options = { crypto, networkId, receiver: bee, admits: (): boolean => true };
    const opened = openIntroduction(options, datagram, now);
    if (opened.kind !== "opened") throw new Error(opened.kind);
    expect(opened.introduction.kind).toBe(kind);
    expect(opened.introduction.exchangeId).toEqual(exchangeId);
    expect(opened.introduction.sentWallMs).toBe(now.wallMs);
    expect(opened.introduction.record.identity).toEqual(ant.publicKey);
  }
});

test("a reply can show its receiver a record of his own, where there is room", () => {
  const options = { crypto, networkId, receiver: bee, admits: (): boolean => true };
  for (const [length, shown] of [
    [200, 200],
    [752, 752],
    [900, 0],
  ] as const) {
    const echo = new Uint8Array(length).fill(7);
    const opened = openIntroduction(
      options,
      seal({ kind: "reply", extra: { kind: "echo", bytes: echo } }),
      now,
    );
    if (opened.kind !== "opened") throw new Error(opened.kind);
    const { extra } = opened.introduction;
    expect(extra.kind === "echo" ? extra.bytes.length : 0).toBe(shown);
  }
});

test("type, MAC and cookie field stand where the gate looks for them", () => {
  const datagram = seal();
  expect(toHex(datagram.subarray(0, 4))).toBe(toHex(new TextEncoder().encode("mvi1")));
  const key = crypto.hash(concatBytes(new TextEncoder().encode("mvintro-"), bee.publicKey));
  const mac = crypto.mac(key, datagram.subarray(0, 1168));
  expect(datagram.subarray(1168, 1184)).toEqual(mac);
  expect(datagram.subarray(1184)).toEqual(new Uint8Array(16));
  expect(introductionPassesGate(crypto, bee.publicKey, datagram)).toBe(true);
  expect(introductionPassesGate(crypto, cat.publicKey, datagram)).toBe(false);
  expect(introductionPassesGate(crypto, bee.publicKey, datagram.subarray(1))).toBe(false);
});

test("nothing of the sender is readable from outside", () => {
  const text = toHex(seal());
  expect(text).not.toContain(toHex(ant.publicKey));
  expect(text).not.toContain(toHex(bee.publicKey));
  expect(text).not.toContain(toHex(new Uint8Array(32).fill(9)));
});

test("only the receiver it was sealed to can open it", () => {
  expect(open(seal(), cat)).toBe("not_authentic");
});

test("a sender that is not admitted is refused", () => {
  expect(open(seal(), bee, now, false)).toBe("not_admitted");
});

test("an old introduction, and one whose record has expired, are refused", () => {
  const old: Instant = { ms: 0, wallMs: now.wallMs + 24 * 3_600_000 };
  expect(open(seal(), bee, old)).toBe("not_authentic");
  expect(open(seal({ sentWallMs: old.wallMs }), bee, old)).toBe("not_authentic");
  expect(open(seal({ sentWallMs: 0 }))).toBe("not_authentic");
});

test("a clock that runs ahead does not keep its node out", () => {
  expect(open(seal({ sentWallMs: now.wallMs + 10 * 24 * 3_600_000 }))).toBe("opened");
});

test("another network's introduction is refused", () => {
  expect(open(seal({ networkId: networkIdOf(crypto, "other") }))).toBe("not_authentic");
});

test("one who was told of a record cannot introduce himself as its subject", () => {
  expect(open(seal({ sender: cat }))).toBe("not_authentic");
});

test("what one receiver opened cannot be passed on to another, whoever seals it anew", () => {
  const inner = crypto.openSealed(bee.seed, seal().subarray(4, 1168));
  const passedOn = inner && crypto.sealTo(cat.publicKey, inner);
  if (passedOn === undefined) throw new Error("cat can be sealed to");
  const datagram = concatBytes(seal().subarray(0, 4), passedOn, new Uint8Array(32));
  expect(open(datagram, cat)).toBe("not_authentic");
});

test("one flipped bit in the sealed part opens nothing", () => {
  const datagram = seal();
  const random = new SeededRandom(1);
  for (let i = 0; i < 100; i += 1) {
    const damaged = datagram.slice();
    const bit = 32 + random.below(8 * 1164);
    damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7));
    expect(open(damaged)).toBe("not_authentic");
  }
});

describe("a request that another is to pass on", () => {
  const secret = new Uint8Array(16).fill(6);

  /** From ant, for cat, left at bee's door. */
  function left(changes: SealChanges = {}): Uint8Array {
    const options = {
      crypto,
      networkId,
      sender: ant,
      record: record(ant),
      receiver: cat.publicKey,
      kind: "request" as const,
      exchangeId,
      sentWallMs: now.wallMs,
      extra: { kind: "secret" as const, bytes: secret },
      ...changes,
    };
    const datagram = sealForwarded(options, bee.publicKey);
    if (datagram === undefined) throw new Error("bee and cat can be sealed to");
    return datagram;
  }

  function atTheDoor(datagram: Uint8Array): { receiver: Uint8Array; sealed: Uint8Array } {
    const options = { crypto, networkId, receiver: bee, admits: (): boolean => true };
    const opened = openIntroduction(options, datagram, now);
    if (opened.kind !== "forward") throw new Error(opened.kind);
    return opened;
  }

  const ofCat = { crypto, networkId, receiver: cat, admits: (): boolean => true };

  test("passes its gate, names its receiver, and shows it nothing else", () => {
    const datagram = left();
    expect(datagram.length).toBe(1200);
    expect(introductionPassesGate(crypto, bee.publicKey, datagram)).toBe(true);
    const { receiver, sealed } = atTheDoor(datagram);
    expect(receiver).toEqual(cat.publicKey);
    expect(sealed.length).toBe(1064);
    expect(toHex(sealed)).not.toContain(toHex(secret));
    expect(crypto.openSealed(bee.seed, sealed)).toBeUndefined();
  });

  test("opens for its receiver with its secret, and with one flipped bit for nobody", () => {
    const { sealed } = atTheDoor(left());
    const opened = openForwarded(ofCat, sealed, now);
    if (opened.kind !== "opened") throw new Error(opened.kind);
    expect(opened.introduction.extra).toEqual({ kind: "secret", bytes: secret });
    expect(opened.introduction.record.identity).toEqual(ant.publicKey);
    const random = new SeededRandom(1);
    for (let i = 0; i < 100; i += 1) {
      const damaged = sealed.slice();
      const bit = random.below(8 * sealed.length);
      damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(openForwarded(ofCat, damaged, now).kind).toBe("not_authentic");
    }
    expect(openForwarded(ofCat, sealed.subarray(1), now).kind).toBe("malformed");
  });

  test("by another than its record's subject, or of another network, is refused", () => {
    const forged = atTheDoor(left({ sender: bee })).sealed;
    expect(openForwarded(ofCat, forged, now).kind).toBe("not_authentic");
    const elsewhere = atTheDoor(left({ networkId: networkIdOf(crypto, "other") })).sealed;
    expect(openForwarded(ofCat, elsewhere, now).kind).toBe("not_authentic");
  });

  test("cannot be nested: what is inside is never passed on again", () => {
    const inner = crypto.sealTo(cat.publicKey, new Uint8Array(1016).fill(3));
    expect(inner && openForwarded(ofCat, inner, now).kind).toBe("malformed");
  });
});

test("what goes beside the record goes in its own direction only", () => {
  const text = (changes: SealChanges): Uint8Array =>
    crypto.openSealed(bee.seed, seal(changes).subarray(4, 1168)) as Uint8Array;
  const at = 30 + record(ant).length;
  const secretInReply = text({ extra: { kind: "secret", bytes: new Uint8Array(16) } });
  secretInReply.fill(2, 0, 1);
  const echoInRequest = text({ kind: "reply", extra: { kind: "echo", bytes: new Uint8Array(9) } });
  echoInRequest.fill(1, 0, 1);
  const shortSecret = text({});
  shortSecret.fill(2, at, at + 1);
  for (const damaged of [secretInReply, echoInRequest, shortSecret]) {
    const sealed = crypto.sealTo(bee.publicKey, damaged) as Uint8Array;
    const datagram = concatBytes(seal().subarray(0, 4), sealed, new Uint8Array(32));
    expect(open(datagram)).toBe("malformed");
  }
});

describe("sealed to us, and still refused:", () => {
  const good = crypto.openSealed(bee.seed, seal().subarray(4, 1168)) as Uint8Array;
  const echoAt = 30 + record(ant).length;
  const cases: [string, string, (text: Uint8Array) => void][] = [
    ["kind 4", "malformed", (text) => text.fill(4, 0, 1)],
    ["reserved bytes set", "malformed", (text) => text.fill(1, 2, 3)],
    ["record length beyond 512", "malformed", (text) => text.fill(255, 28, 30)],
    ["record cut short", "malformed", (text) => text.fill(100, 28, 29)],
    ["an echo in a request", "malformed", (text) => text.fill(1, echoAt, echoAt + 1)],
    ["padding set", "malformed", (text) => text.fill(1, 1115, 1116)],
    ["a time beyond 2^53", "malformed", (text) => text.fill(255, 20, 28)],
    ["another exchange id", "not_authentic", (text) => text.fill(9, 4, 20)],
    ["another time", "not_authentic", (text) => text.fill(9, 20, 21)],
    ["a request turned into a reply", "not_authentic", (text) => text.fill(2, 0, 1)],
  ];
  test.each(cases)("%s", (_, outcome, damage) => {
    const text = good.slice();
    damage(text);
    const sealed = crypto.sealTo(bee.publicKey, text) as Uint8Array;
    const datagram = concatBytes(seal().subarray(0, 4), sealed, new Uint8Array(32));
    expect(open(datagram)).toBe(outcome);
  });
});

test("any bytes whatever open nothing and throw nothing", () => {
  const random = new SeededRandom(2);
  for (let i = 0; i < 50; i += 1) {
    expect(open(random.bytes(random.below(1400)))).not.toBe("opened");
    const sealed = crypto.sealTo(bee.publicKey, random.bytes(1116)) as Uint8Array;
    expect(open(concatBytes(seal().subarray(0, 4), sealed, new Uint8Array(32)))).toBe("malformed");
  }
});

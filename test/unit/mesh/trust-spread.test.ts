/** How statements reach everybody: members on a virtual clock whose messages may be lost. */
import { describe, expect, test } from "bun:test";
import type { Instant } from "../../../src/base/clock.ts";
import {
  decodeTrustMessage,
  encodeTrustMessage,
  idsMax,
  type TrustMessage,
} from "../../../src/mesh/trust-message.ts";
import { TrustSpread } from "../../../src/mesh/trust-spread.ts";
import { identityOf, networkIdOf } from "../../../src/trust/identity.ts";
import { signRevocation } from "../../../src/trust/revocation.ts";
import { NobleCrypto } from "../../support/noble-crypto.ts";
import { SeededRandom } from "../../support/seeded-random.ts";

/** Signatures are checked once for all members: what is tried here is who hears what. */
class CountingCrypto extends NobleCrypto {
  readonly #checked = new Map<string, boolean>();

  override verify(key: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
    const name = String(signature);
    const known = this.#checked.get(name) ?? super.verify(key, message, signature);
    this.#checked.set(name, known);
    return known;
  }
}

const crypto = new CountingCrypto();
const networkId = networkIdOf(crypto, "test");
const organisation = identityOf(crypto, crypto.importSecret(new Uint8Array(32).fill(7)));
const at = (ms: number): Instant => ({ ms, wallMs: 1_700_000_000_000 + ms });

function revocation(number: number, by = organisation): Uint8Array {
  const key = new Uint8Array(32).fill(1);
  new DataView(key.buffer).setUint32(0, number);
  const bytes = signRevocation(crypto, networkId, by, key, 5);
  return Uint8Array.of(1, ...bytes);
}

class World {
  readonly members: TrustSpread[] = [];
  readonly random: SeededRandom;
  nowMs = 0;
  messages = 0;
  /** Whether what one sends arrives at the other. */
  passes: (from: number, to: number) => boolean = () => true;

  constructor(count: number, seed = 1) {
    this.random = new SeededRandom(seed);
    for (let self = 0; self < count; self += 1) {
      this.members.push(
        new TrustSpread({
          crypto,
          random: this.random,
          networkId,
          accepts: (key) => String(key) === String(organisation.publicKey),
          pickLinked: (wanted) => {
            const out = new Set<number>();
            while (out.size < Math.min(wanted, count - 1)) {
              const other = this.random.below(count);
              if (other !== self) out.add(other);
            }
            return [...out];
          },
          memberCount: () => count,
        }),
      );
    }
  }

  link(a: number, b: number): void {
    this.members[a]?.linked(at(this.nowMs), b);
    this.members[b]?.linked(at(this.nowMs), a);
    this.deliver();
  }

  deliver(): void {
    for (let quiet = false; !quiet; ) {
      quiet = true;
      for (const [from, member] of this.members.entries()) {
        for (let it = member.pollTransmit(); it; it = member.pollTransmit()) {
          quiet = false;
          this.messages += 1;
          const message = decodeTrustMessage(it.bytes);
          if (message === undefined) throw new Error("a member sends well-formed messages");
          if (this.passes(from, it.to)) {
            this.members[it.to]?.handle(at(this.nowMs), from, message);
          }
        }
      }
    }
  }

  run(ms: number, done: () => boolean = () => false): number {
    const start = this.nowMs;
    while (this.nowMs < start + ms && !done()) {
      this.nowMs += 50;
      for (const member of this.members) member.handleTimeout(at(this.nowMs));
      this.deliver();
    }
    return this.nowMs - start;
  }

  everybodyHolds(count: number): boolean {
    return this.members.every(({ size }) => size === count);
  }
}

describe("a revocation", () => {
  test("reaches a thousand members within 5 s, a tenth of all messages lost", () => {
    const world = new World(1_000);
    world.passes = () => world.random.below(10) > 0;
    expect(world.members[0]?.take(at(0), revocation(1))).toBe(true);
    expect(world.run(10_000, () => world.everybodyHolds(1))).toBeLessThan(5_000);
    world.run(10_000);
    // Told so often, and then no more.
    expect(world.messages).toBeLessThan(1_000 * 3 * 20);
  }, 60_000);

  test("comes to the other side of a split when one session comes up", () => {
    const world = new World(20);
    world.passes = (from, to) => from < 10 === to < 10;
    for (let i = 0; i < 5; i += 1) world.members[0]?.take(at(0), revocation(i));
    for (let i = 5; i < 9; i += 1) world.members[19]?.take(at(0), revocation(i));
    world.run(20_000);
    expect(world.members.map(({ size }) => size)).toEqual([
      ...new Array<number>(10).fill(5),
      ...new Array<number>(10).fill(4),
    ]);
    world.passes = () => true;
    world.link(3, 14);
    expect(world.run(5_000, () => world.everybodyHolds(9))).toBeLessThan(5_000);
  });

  test("of an organisation that is not trusted, and a forged one, are held by nobody", () => {
    const world = new World(3);
    const stranger = identityOf(crypto, crypto.importSecret(new Uint8Array(32).fill(8)));
    expect(world.members[0]?.take(at(0), revocation(1, stranger))).toBe(false);
    const forged = revocation(1);
    forged[forged.length - 1] = (forged.at(-1) as number) ^ 1;
    expect(world.members[0]?.take(at(0), forged)).toBe(false);
    world.run(2_000);
    expect(world.everybodyHolds(0)).toBe(true);
  });

  test("is known once: what is held is not checked or told again", () => {
    const world = new World(2);
    const [ant] = world.members as [TrustSpread];
    expect(ant.take(at(0), revocation(1))).toBe(true);
    expect(ant.take(at(0), revocation(1))).toBe(false);
    expect(ant.pollLearnt()).toBeDefined();
    expect(ant.pollLearnt()).toBeUndefined();
  });
});

test("two that hold more than one message lists, exchange only what differs", () => {
  const world = new World(2);
  const count = idsMax + 40;
  for (let i = 0; i < count; i += 1) {
    if (i !== 3) world.members[0]?.take(at(0), revocation(i));
    if (i !== count - 2) world.members[1]?.take(at(0), revocation(i));
  }
  // What is news is told of course: this is about what stays when nobody tells it any more.
  world.passes = () => false;
  world.run(20_000);
  world.passes = () => true;
  world.messages = 0;
  world.link(0, 1);
  expect(world.everybodyHolds(count)).toBe(true);
  expect(world.messages).toBeLessThan(14);
});

describe("a message of trust", () => {
  const messages: TrustMessage[] = [
    { kind: "statements", statements: [revocation(1), revocation(2)] },
    { kind: "digest", count: 7, hash: new Uint8Array(16).fill(3) },
    { kind: "ids", first: "00".repeat(8), last: "ff".repeat(8), ids: ["01".repeat(8)] },
    { kind: "want", ids: ["01".repeat(8), "02".repeat(8)] },
    {
      kind: "forward",
      ticket: new Uint8Array(8).fill(1),
      sealed: new Uint8Array(1064).fill(2),
    },
    {
      kind: "forwarded",
      ticket: new Uint8Array(8).fill(1),
      datagram: new Uint8Array(1200).fill(2),
    },
  ];

  test.each(messages.map((message) => [message.kind, message] as const))(
    "%s reads as it was written, padded too, and not when it is cut",
    (_, message) => {
      const bytes = encodeTrustMessage(message);
      expect(bytes.length).toBeLessThanOrEqual(1232);
      expect(decodeTrustMessage(bytes)).toEqual(message);
      expect(decodeTrustMessage(new Uint8Array([...bytes, ...new Uint8Array(15)]))).toEqual(
        message,
      );
      for (let length = 0; length < bytes.length; length += 5) {
        expect(decodeTrustMessage(bytes.subarray(0, length))).toBeUndefined();
      }
    },
  );

  test("of random bytes throws nothing", () => {
    const random = new SeededRandom(2);
    for (let i = 0; i < 5_000; i += 1) {
      const bytes = random.bytes(4 + random.below(100));
      bytes[0] = 15;
      bytes[1] = 0;
      new DataView(bytes.buffer).setUint16(2, bytes.length, true);
      decodeTrustMessage(bytes);
    }
  });
});

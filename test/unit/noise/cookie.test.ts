import { expect, test } from "bun:test";
import type { Instant } from "../../../src/base/clock.ts";
import { MacStamp } from "../../../src/noise/cookie.ts";
import { decodeCookieReply } from "../../../src/noise/message.ts";
import { FakeGate } from "../../support/fake-gate.ts";
import { NobleCrypto } from "../../support/noble-crypto.ts";

const here = { address: "192.0.2.1", port: 1 };
const at = (ms: number): Instant => ({ ms, wallMs: ms });

/** Our stamp, and the gate of the peer it is made for. */
function scene(): { stamp: MacStamp; gate: FakeGate; message: Uint8Array } {
  const crypto = new NobleCrypto();
  const publicKey = new Uint8Array(32).fill(9);
  const gate = new FakeGate(crypto);
  gate.setLocalKey(publicKey);
  return { stamp: new MacStamp(crypto, publicKey), gate, message: new Uint8Array(148).fill(1) };
}

function cookieReply(gate: FakeGate, message: Uint8Array, now: Instant): Uint8Array {
  const verdict = gate.judge(now, here, message);
  if (verdict.kind !== "cookie") throw new Error(`expected a cookie, got ${verdict.kind}`);
  return verdict.reply;
}

function consume(stamp: MacStamp, now: Instant, reply: Uint8Array): boolean {
  const decoded = decodeCookieReply(reply);
  return decoded !== undefined && stamp.consumeReply(now, decoded);
}

test("a stamped message passes a quiet gate, and MAC2 stays zero without a cookie", () => {
  const { stamp, gate, message } = scene();
  stamp.stamp(at(0), message);
  expect(gate.judge(at(0), here, message).kind).toBe("pass");
  expect(message.subarray(132)).toEqual(new Uint8Array(16));
  message[5] = 0;
  expect(gate.judge(at(0), here, message).kind).toBe("drop");
});

test("with its cookie a message passes a gate under load, for 115 s", () => {
  const { stamp, gate, message } = scene();
  gate.underLoad = true;
  stamp.stamp(at(0), message);
  expect(consume(stamp, at(0), cookieReply(gate, message, at(0)))).toBe(true);
  stamp.stampAgain(at(0), message);
  expect(gate.judge(at(0), here, message).kind).toBe("pass");
  // Another address or port is another sender.
  expect(gate.judge(at(0), { ...here, port: 2 }, message).kind).toBe("cookie");
  stamp.stamp(at(114_999), message);
  expect(gate.judge(at(114_999), here, message).kind).toBe("pass");
  stamp.stamp(at(115_000), message);
  expect(message.subarray(132)).toEqual(new Uint8Array(16));
});

test("a cookie is taken once for each message, and only for the last one stamped", () => {
  const { stamp, gate, message } = scene();
  gate.underLoad = true;
  const other = new Uint8Array(148).fill(2);
  stamp.stamp(at(0), message);
  const early = cookieReply(gate, message, at(0));
  stamp.stamp(at(1), other);
  expect(consume(stamp, at(1), early)).toBe(false);
  const reply = cookieReply(gate, other, at(1));
  expect(consume(stamp, at(1), reply)).toBe(true);
  expect(consume(stamp, at(1), reply)).toBe(false);
  stamp.stampAgain(at(2), other);
  expect(consume(stamp, at(2), reply)).toBe(false);
});

test("a reply that was changed anywhere, or comes unasked, is refused and the true one is taken", () => {
  const { stamp, gate, message } = scene();
  gate.underLoad = true;
  expect(consume(stamp, at(0), new Uint8Array(64).fill(3))).toBe(false);
  stamp.stamp(at(0), message);
  const reply = cookieReply(gate, message, at(0));
  // The receiver index (4 to 7) only says whose reply it is.
  for (let i = 8; i < reply.length; i += 1) {
    const changed = reply.slice();
    changed[i] = (changed[i] as number) ^ 1;
    expect(consume(stamp, at(0), changed)).toBe(false);
  }
  expect(consume(stamp, at(0), reply)).toBe(true);
});

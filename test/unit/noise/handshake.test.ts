import { expect, test } from "bun:test";
import { fromHex, toHex } from "../../../src/base/bytes.ts";
import type { Secret } from "../../../src/base/crypto.ts";
import * as noise from "../../../src/noise/handshake.ts";
import { NobleCrypto } from "../../support/noble-crypto.ts";
import vector from "../../vectors/noise-ikpsk2.json";

const empty = new Uint8Array(0);

function hex(text: string | undefined): Uint8Array {
  const bytes = text === undefined ? undefined : fromHex(text);
  if (bytes === undefined) throw new Error("not hexadecimal");
  return bytes;
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("expected a value");
  return value;
}

/** Two ends with everything that a handshake takes, from the published vector's keys. */
class Pair {
  readonly crypto = new NobleCrypto();
  readonly protocol = noise.noiseProtocol(this.crypto, hex(vector.init_prologue));
  readonly presharedKey = this.crypto.importSecret(hex(vector.init_psks[0]));
  readonly initiator = this.#static(vector.init_static);
  readonly responder = this.#static(vector.resp_static);
  readonly staticStatic = present(this.crypto.dh(this.initiator.secret, this.responder.publicKey));

  #static(text: string): noise.LocalStatic {
    const secret = this.crypto.importSecret(hex(text));
    return { secret, publicKey: this.crypto.publicKey(secret) };
  }

  initiate(payload: Uint8Array): noise.CreatedInitiation {
    const ephemeral = this.crypto.importSecret(hex(vector.init_ephemeral));
    const remote = { publicKey: this.responder.publicKey, staticStatic: this.staticStatic };
    return present(
      noise.createInitiation(
        this.crypto,
        this.protocol,
        this.initiator,
        remote,
        ephemeral,
        payload,
      ),
    );
  }

  open(ephemeral: Uint8Array, sealedStatic: Uint8Array): noise.OpenedInitiation | undefined {
    return noise.openInitiation(
      this.crypto,
      this.protocol,
      this.responder,
      ephemeral,
      sealedStatic,
    );
  }

  consume(initiation: noise.CreatedInitiation): noise.ConsumedInitiation {
    const opened = present(this.open(initiation.ephemeralPublic, initiation.sealedStatic));
    const { crypto, staticStatic } = this;
    return present(noise.openPayload(crypto, opened, staticStatic, initiation.sealedPayload));
  }

  respond(
    consumed: noise.ConsumedInitiation,
    payload: Uint8Array,
    presharedKey: Secret | undefined = this.presharedKey,
  ): noise.CreatedResponse {
    const ephemeral = this.crypto.importSecret(hex(vector.resp_ephemeral));
    return present(noise.createResponse(this.crypto, consumed, presharedKey, ephemeral, payload));
  }

  finish(
    state: noise.Initiated,
    ephemeral: Uint8Array,
    sealed: Uint8Array,
    presharedKey: Secret | undefined = this.presharedKey,
  ): noise.ConsumedResponse | undefined {
    const { crypto, initiator } = this;
    return noise.consumeResponse(crypto, state, initiator, presharedKey, ephemeral, sealed);
  }

  release(keys: noise.TransportKeys): void {
    this.crypto.release(keys.send, keys.receive);
  }

  /** Nothing lives but what the pair itself holds: a preshared key, two statics, their product. */
  expectNoLeak(): void {
    expect(this.crypto.live()).toBe(4);
  }
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const out = bytes.slice();
  out[at] = (out[at] as number) ^ 1;
  return out;
}

test("the published Noise vector is reproduced, message by message, both ways", () => {
  const pair = new Pair();
  const { crypto } = pair;
  const payloads = vector.messages.map((message) => hex(message.payload));
  const ciphertexts = vector.messages.map((message) => message.ciphertext);
  expect(toHex(pair.responder.publicKey)).toBe(vector.init_remote_static);

  const initiation = pair.initiate(present(payloads[0]));
  expect(
    toHex(initiation.ephemeralPublic) +
      toHex(initiation.sealedStatic) +
      toHex(initiation.sealedPayload),
  ).toBe(present(ciphertexts[0]));

  const consumed = pair.consume(initiation);
  expect(consumed.payload).toEqual(present(payloads[0]));
  expect(consumed.remotePublicKey).toEqual(pair.initiator.publicKey);

  const response = pair.respond(consumed, present(payloads[1]));
  expect(toHex(response.ephemeralPublic) + toHex(response.sealedPayload)).toBe(
    present(ciphertexts[1]),
  );
  const finished = present(
    pair.finish(initiation.state, response.ephemeralPublic, response.sealedPayload),
  );
  expect(finished.payload).toEqual(present(payloads[1]));
  expect(toHex(finished.keys.hash)).toBe(vector.handshake_hash);
  expect(toHex(response.keys.hash)).toBe(vector.handshake_hash);

  for (let i = 2; i < payloads.length; i += 1) {
    const [from, to] =
      i % 2 === 0 ? [finished.keys, response.keys] : [response.keys, finished.keys];
    const counter = (i - 2) >> 1;
    const sealed = crypto.seal(from.send, counter, empty, present(payloads[i]));
    expect(toHex(sealed)).toBe(present(ciphertexts[i]));
    expect(crypto.open(to.receive, counter, empty, sealed)).toEqual(present(payloads[i]));
  }
  pair.release(finished.keys);
  pair.release(response.keys);
  noise.releaseInitiated(crypto, initiation.state);
  pair.expectNoLeak();
});

test("a changed bit anywhere in an initiation refuses it, and leaves no secret behind", () => {
  const pair = new Pair();
  const { state, ephemeralPublic, sealedStatic, sealedPayload } = pair.initiate(new Uint8Array(12));
  const before = pair.crypto.live();
  for (let i = 0; i < 32; i += 1) {
    expect(pair.open(flipped(ephemeralPublic, i), sealedStatic)).toBeUndefined();
  }
  for (let i = 0; i < sealedStatic.length; i += 1) {
    expect(pair.open(ephemeralPublic, flipped(sealedStatic, i))).toBeUndefined();
  }
  for (let i = 0; i < sealedPayload.length; i += 1) {
    const opened = present(pair.open(ephemeralPublic, sealedStatic));
    const sealed = flipped(sealedPayload, i);
    expect(noise.openPayload(pair.crypto, opened, pair.staticStatic, sealed)).toBeUndefined();
  }
  expect(pair.crypto.live()).toBe(before);
  noise.releaseInitiated(pair.crypto, state);
  pair.expectNoLeak();
});

test("a changed bit anywhere in a response refuses it, and the true one still completes", () => {
  const pair = new Pair();
  const initiation = pair.initiate(new Uint8Array(12));
  const response = pair.respond(pair.consume(initiation), empty);
  const before = pair.crypto.live();
  for (let i = 0; i < 32; i += 1) {
    const ephemeral = flipped(response.ephemeralPublic, i);
    expect(pair.finish(initiation.state, ephemeral, response.sealedPayload)).toBeUndefined();
  }
  for (let i = 0; i < 16; i += 1) {
    const sealed = flipped(response.sealedPayload, i);
    expect(pair.finish(initiation.state, response.ephemeralPublic, sealed)).toBeUndefined();
  }
  expect(pair.crypto.live()).toBe(before);
  const finished = present(
    pair.finish(initiation.state, response.ephemeralPublic, response.sealedPayload),
  );
  pair.release(finished.keys);
  pair.release(response.keys);
  noise.releaseInitiated(pair.crypto, initiation.state);
  pair.expectNoLeak();
});

test("different preshared keys never agree, and none is the key of zeros", () => {
  const pair = new Pair();
  const zero = pair.crypto.importSecret(new Uint8Array(32));
  for (const [ours, theirs, agree] of [
    [pair.presharedKey, pair.presharedKey, true],
    [pair.presharedKey, zero, false],
    [zero, pair.presharedKey, false],
  ] as const) {
    const initiation = pair.initiate(empty);
    const response = pair.respond(pair.consume(initiation), empty, theirs);
    const { ephemeralPublic, sealedPayload } = response;
    const finished = pair.finish(initiation.state, ephemeralPublic, sealedPayload, ours);
    expect(finished !== undefined).toBe(agree);
    if (finished !== undefined) pair.release(finished.keys);
    pair.release(response.keys);
    noise.releaseInitiated(pair.crypto, initiation.state);
  }
  const { crypto, initiator } = pair;
  const initiation = pair.initiate(empty);
  const { keys, ephemeralPublic, sealedPayload } = pair.respond(
    pair.consume(initiation),
    empty,
    zero,
  );
  const finished = present(
    noise.consumeResponse(
      crypto,
      initiation.state,
      initiator,
      undefined,
      ephemeralPublic,
      sealedPayload,
    ),
  );
  pair.release(finished.keys);
  pair.release(keys);
  noise.releaseInitiated(crypto, initiation.state);
  crypto.release(zero);
  pair.expectNoLeak();
});

test("a low-order point is refused wherever one can arrive, and nothing leaks", () => {
  const pair = new Pair();
  const { crypto, protocol, initiator, staticStatic } = pair;
  const lowOrder = new Uint8Array(32);
  // es at the initiator: the peer's configured key.
  expect(
    noise.createInitiation(
      crypto,
      protocol,
      initiator,
      { publicKey: lowOrder, staticStatic },
      crypto.generate(),
      empty,
    ),
  ).toBeUndefined();
  pair.expectNoLeak();
  // es at the responder: the initiation's ephemeral.
  expect(pair.open(lowOrder, new Uint8Array(48))).toBeUndefined();
  pair.expectNoLeak();
  // ee and se at the responder.
  for (const part of ["remoteEphemeral", "remotePublicKey"] as const) {
    const initiation = pair.initiate(empty);
    const consumed = { ...pair.consume(initiation), [part]: lowOrder };
    const ephemeral = crypto.generate();
    expect(noise.createResponse(crypto, consumed, undefined, ephemeral, empty)).toBeUndefined();
    noise.releaseInitiated(crypto, initiation.state);
    pair.expectNoLeak();
  }
  // ee and se at the initiator: the response's ephemeral.
  const initiation = pair.initiate(empty);
  expect(pair.finish(initiation.state, lowOrder, new Uint8Array(16))).toBeUndefined();
  noise.releaseInitiated(crypto, initiation.state);
  pair.expectNoLeak();
});

test("an initiation that is not pursued costs one Diffie-Hellman and leaves nothing", () => {
  const pair = new Pair();
  const initiation = pair.initiate(empty);
  noise.releaseInitiated(pair.crypto, initiation.state);
  const before = pair.crypto.dhCount;
  const opened = present(pair.open(initiation.ephemeralPublic, initiation.sealedStatic));
  expect(pair.crypto.dhCount).toBe(before + 1);
  noise.releaseOpened(pair.crypto, opened);
  pair.expectNoLeak();
});

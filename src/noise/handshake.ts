/**
 * Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (WireGuard paper, section 5.4; Noise specification,
 * revision 34) as pure functions over secret handles. Ephemeral keys and payloads are arguments;
 * peers, clocks and indices are not known here.
 * Always: each Diffie-Hellman result is checked for zero, and on every way out of a function the
 * secrets that it made and does not return are released. Failure is `undefined`, never a throw.
 */
import { concatBytes } from "../base/bytes.ts";
import type { NoiseCrypto, Secret } from "../base/crypto.ts";
import { assert } from "../base/errors.ts";

const construction = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const wireguardIdentifier = "WireGuard v1 zx2c4 Jason@zx2c4.com";
const nothing = new Uint8Array(0);
const zeroKey = new Uint8Array(32);

/** Where each handshake starts: the same for all that share a prologue. 32 bytes each. */
export interface Protocol {
  readonly chain: Uint8Array;
  readonly hash: Uint8Array;
}

/** This side's static key. The secret stays its owner's. */
export interface LocalStatic {
  readonly secret: Secret;
  readonly publicKey: Uint8Array;
}

/** The other side's static key, and what was computed from it. The secrets stay their owner's. */
export interface RemoteStatic {
  readonly publicKey: Uint8Array;
  /** Diffie-Hellman of both static keys. */
  readonly staticStatic: Secret;
}

/** After the initiation was made: what the initiator needs for the response. Owns its secrets. */
export interface Initiated {
  readonly hash: Uint8Array;
  readonly chain: Secret;
  readonly ephemeral: Secret;
}

export interface CreatedInitiation {
  readonly state: Initiated;
  readonly ephemeralPublic: Uint8Array;
  readonly sealedStatic: Uint8Array;
  readonly sealedPayload: Uint8Array;
}

/** An initiation whose sender is known but not yet proven. Owns `chain`. */
export interface OpenedInitiation {
  readonly hash: Uint8Array;
  readonly chain: Secret;
  readonly remoteEphemeral: Uint8Array;
  /** The static key that the initiation claims. */
  readonly remotePublicKey: Uint8Array;
}

/** An authentic initiation, ready to be answered. Owns `chain`. */
export interface ConsumedInitiation {
  readonly hash: Uint8Array;
  readonly chain: Secret;
  readonly remoteEphemeral: Uint8Array;
  readonly remotePublicKey: Uint8Array;
  readonly payload: Uint8Array;
}

/** Both directions' keys of a finished handshake; the receiver of this owns them. */
export interface TransportKeys {
  readonly send: Secret;
  readonly receive: Secret;
  /** The Noise handshake hash. */
  readonly hash: Uint8Array;
}

export interface CreatedResponse {
  readonly keys: TransportKeys;
  readonly ephemeralPublic: Uint8Array;
  readonly sealedPayload: Uint8Array;
}

export interface ConsumedResponse {
  readonly keys: TransportKeys;
  readonly payload: Uint8Array;
}

export function noiseProtocol(crypto: NoiseCrypto, prologue: Uint8Array): Protocol {
  const chain = crypto.hash(new TextEncoder().encode(construction));
  return { chain, hash: crypto.hash(concatBytes(chain, prologue)) };
}

export function wireguardProtocol(crypto: NoiseCrypto): Protocol {
  return noiseProtocol(crypto, new TextEncoder().encode(wireguardIdentifier));
}

/** First message. Takes `ephemeral`; undefined where the remote key is a low-order point. */
export function createInitiation(
  crypto: NoiseCrypto,
  protocol: Protocol,
  local: LocalStatic,
  remote: RemoteStatic,
  ephemeral: Secret,
  payload: Uint8Array,
): CreatedInitiation | undefined {
  const mix = new SymmetricState(crypto, protocol, remote.publicKey);
  mix.hold(ephemeral);
  try {
    const ephemeralPublic = crypto.publicKey(ephemeral);
    mix.mixPublic(ephemeralPublic);
    const staticKey = mix.mixDh(ephemeral, remote.publicKey);
    if (staticKey === undefined) return undefined;
    const sealedStatic = mix.seal(staticKey, local.publicKey);
    const sealedPayload = mix.seal(mix.mixShared(remote.staticStatic), payload);
    mix.keep(ephemeral);
    const state = { hash: mix.hash, chain: mix.takeChain(), ephemeral };
    return { state, ephemeralPublic, sealedStatic, sealedPayload };
  } finally {
    mix.release();
  }
}

/** Forgets an initiation that will not be answered. */
export function releaseInitiated(crypto: NoiseCrypto, state: Initiated): void {
  crypto.release(state.chain, state.ephemeral);
}

/**
 * First message at the responder, first half: who claims to speak. One Diffie-Hellman; whoever is
 * no peer costs no more than this. Finish with `openPayload`, or `releaseOpened`.
 */
export function openInitiation(
  crypto: NoiseCrypto,
  protocol: Protocol,
  local: LocalStatic,
  remoteEphemeral: Uint8Array,
  sealedStatic: Uint8Array,
): OpenedInitiation | undefined {
  const mix = new SymmetricState(crypto, protocol, local.publicKey);
  try {
    mix.mixPublic(remoteEphemeral);
    const key = mix.mixDh(local.secret, remoteEphemeral);
    if (key === undefined) return undefined;
    const remotePublicKey = mix.open(key, sealedStatic);
    if (remotePublicKey === undefined) return undefined;
    return { hash: mix.hash, chain: mix.takeChain(), remoteEphemeral, remotePublicKey };
  } finally {
    mix.release();
  }
}

export function releaseOpened(crypto: NoiseCrypto, opened: OpenedInitiation): void {
  crypto.release(opened.chain);
}

/** Second half: proves the claim and opens the payload. Takes `opened`, whatever the outcome. */
export function openPayload(
  crypto: NoiseCrypto,
  opened: OpenedInitiation,
  staticStatic: Secret,
  sealedPayload: Uint8Array,
): ConsumedInitiation | undefined {
  const { remoteEphemeral, remotePublicKey } = opened;
  const mix = new SymmetricState(crypto, opened);
  try {
    const payload = mix.open(mix.mixShared(staticStatic), sealedPayload);
    if (payload === undefined) return undefined;
    return { hash: mix.hash, chain: mix.takeChain(), remoteEphemeral, remotePublicKey, payload };
  } finally {
    mix.release();
  }
}

export function releaseConsumed(crypto: NoiseCrypto, consumed: ConsumedInitiation): void {
  crypto.release(consumed.chain);
}

/** Second message. Takes `consumed` and `ephemeral`, whatever the outcome. */
export function createResponse(
  crypto: NoiseCrypto,
  consumed: ConsumedInitiation,
  presharedKey: Secret | undefined,
  ephemeral: Secret,
  payload: Uint8Array,
): CreatedResponse | undefined {
  const mix = new SymmetricState(crypto, consumed);
  mix.hold(ephemeral);
  try {
    const ephemeralPublic = crypto.publicKey(ephemeral);
    mix.mixPublic(ephemeralPublic);
    if (mix.mixDh(ephemeral, consumed.remoteEphemeral) === undefined) return undefined;
    if (mix.mixDh(ephemeral, consumed.remotePublicKey) === undefined) return undefined;
    const sealedPayload = mix.seal(mix.mixPresharedKey(presharedKey), payload);
    const [receive, send] = mix.split();
    return { keys: { send, receive, hash: mix.hash }, ephemeralPublic, sealedPayload };
  } finally {
    mix.release();
  }
}

/**
 * Second message at the initiator. `state` stays its owner's in either case, so that a forged
 * response spoils nothing.
 */
export function consumeResponse(
  crypto: NoiseCrypto,
  state: Initiated,
  local: LocalStatic,
  presharedKey: Secret | undefined,
  remoteEphemeral: Uint8Array,
  sealedPayload: Uint8Array,
): ConsumedResponse | undefined {
  const mix = new SymmetricState(crypto, { hash: state.hash, chain: state.chain });
  mix.keep(state.chain);
  try {
    mix.mixPublic(remoteEphemeral);
    if (mix.mixDh(state.ephemeral, remoteEphemeral) === undefined) return undefined;
    if (mix.mixDh(local.secret, remoteEphemeral) === undefined) return undefined;
    const payload = mix.open(mix.mixPresharedKey(presharedKey), sealedPayload);
    if (payload === undefined) return undefined;
    const [send, receive] = mix.split();
    return { keys: { send, receive, hash: mix.hash }, payload };
  } finally {
    mix.release();
  }
}

/**
 * Noise's symmetric state for the length of one function. It owns every secret that it made or was
 * given by `hold`, until `keep` or `takeChain` hands one out; `release` frees the rest.
 */
class SymmetricState {
  hash: Uint8Array;
  readonly #crypto: NoiseCrypto;
  readonly #owned: Secret[] = [];
  #chain: Secret | Uint8Array;

  /** Begins anew with the responder's public key mixed in, or goes on from a chain it then owns. */
  constructor(crypto: NoiseCrypto, protocol: Protocol, responderPublicKey: Uint8Array);
  constructor(crypto: NoiseCrypto, state: { hash: Uint8Array; chain: Secret });
  constructor(
    crypto: NoiseCrypto,
    from: { readonly hash: Uint8Array; readonly chain: Secret | Uint8Array },
    responderPublicKey?: Uint8Array,
  ) {
    this.#crypto = crypto;
    this.hash = from.hash;
    this.#chain = from.chain;
    if (typeof from.chain === "number") this.hold(from.chain);
    if (responderPublicKey !== undefined) this.#mixHash(responderPublicKey);
  }

  hold(secret: Secret): void {
    this.#owned.push(secret);
  }

  keep(secret: Secret): void {
    const at = this.#owned.indexOf(secret);
    assert(at >= 0, "keeps only what it owns");
    this.#owned.splice(at, 1);
  }

  takeChain(): Secret {
    assert(typeof this.#chain === "number", "the chain is secret after the first step");
    this.keep(this.#chain);
    return this.#chain;
  }

  release(): void {
    this.#crypto.release(...this.#owned);
    this.#owned.length = 0;
  }

  /** An ephemeral public key: hashed, and mixed into the chain as psk handshakes demand. */
  mixPublic(ephemeralPublic: Uint8Array): void {
    this.#mixHash(ephemeralPublic);
    this.#mix(ephemeralPublic, 1);
  }

  /** A sealing key, or undefined where the shared secret is zero. */
  mixDh(secret: Secret, point: Uint8Array): Secret | undefined {
    const shared = this.#crypto.dh(secret, point);
    if (shared === undefined) return undefined;
    this.hold(shared);
    return this.mixShared(shared);
  }

  mixShared(shared: Secret): Secret {
    return this.#mix(shared, 2)[1] as Secret;
  }

  /** No preshared key is the key of 32 zero bytes. */
  mixPresharedKey(presharedKey: Secret | undefined): Secret {
    const [, toHash, key] = this.#mix(presharedKey ?? zeroKey, 3);
    this.hash = this.#crypto.hash(this.hash, toHash);
    return key as Secret;
  }

  seal(key: Secret, text: Uint8Array): Uint8Array {
    const sealed = this.#crypto.seal(key, 0, this.hash, text);
    this.#mixHash(sealed);
    return sealed;
  }

  open(key: Secret, sealed: Uint8Array): Uint8Array | undefined {
    const text = this.#crypto.open(key, 0, this.hash, sealed);
    if (text !== undefined) this.#mixHash(sealed);
    return text;
  }

  /** The initiator's sending key, then the responder's; both leave with the caller. */
  split(): readonly [Secret, Secret] {
    return this.#crypto.kdf(this.#chain, nothing, 2) as [Secret, Secret];
  }

  #mix(input: Secret | Uint8Array, outputs: 1 | 2 | 3): readonly Secret[] {
    const made = this.#crypto.kdf(this.#chain, input, outputs);
    for (const secret of made) this.hold(secret);
    this.#chain = made[0] as Secret;
    return made;
  }

  #mixHash(data: Uint8Array): void {
    this.hash = this.#crypto.hash(concatBytes(this.hash, data));
  }
}

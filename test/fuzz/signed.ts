/**
 * What others sign: records, certificates, revocations, and the introduction that brings a record.
 * Nothing may throw, whatever the bytes; what a decoder takes has one form, so that signing the same
 * again gives the same bytes; and what was changed under a real signature is refused.
 */
import { concatBytes, Reader } from "../../src/base/bytes.ts";
import { candidateKinds, natKindOf } from "../../src/base/candidate.ts";
import type { Crypto, Secret } from "../../src/base/crypto.ts";
import { parsePrefix } from "../../src/base/ip.ts";
import {
  type Extra,
  introductionBytes,
  openIntroduction,
  openIntroductionCookie,
  sealIntroduction,
} from "../../src/mesh/introduction.ts";
import { NativeCrypto } from "../../src/native/crypto.ts";
import { loadLibrary } from "../../src/native/library.ts";
import {
  certificateBytesMax,
  decodeCertificate,
  signCertificate,
} from "../../src/trust/certificate.ts";
import { type Identity, identityOf } from "../../src/trust/identity.ts";
import {
  decodeRecord,
  type Record,
  type RecordFields,
  recordWithCertificateBytesMax,
  signRecord,
  verifyRecord,
} from "../../src/trust/record.ts";
import { decodeRevocation, revocationBytes, signRevocation } from "../../src/trust/revocation.ts";
import { NobleCrypto } from "../support/noble-crypto.ts";
import { Choices, damaged, type FuzzTarget, rule, type SeededRandom, sameBytes } from "./target.ts";

const kinds = Object.keys(candidateKinds) as (keyof typeof candidateKinds)[];
const networkId = new Uint8Array(32).fill(7);
const now = { ms: 5, wallMs: 1_700_000_000_000 };
const signatureBytes = 64;
const macsBytes = 32;

/** Takes every signature and every box for good, so that what lies behind them is reached. */
function credulous(signature: Uint8Array, digest: Uint8Array = new Uint8Array(16)): Crypto {
  const crypto: Partial<Crypto> = {
    sign: () => signature,
    verify: () => true,
    digest: () => digest,
    hash: () => new Uint8Array(32),
    mac: () => new Uint8Array(16),
    sealTo: (_identity, text) => concatBytes(new Uint8Array(48), text),
    openSealed: (_seed, sealed) => sealed.slice(48),
    openCookie: (_key, _nonce, _data, sealed) => sealed.slice(0, sealed.length - 16),
  };
  return crypto as Crypto;
}

const noSecret = 1 as Secret;
const receiver = { seed: noSecret, publicKey: new Uint8Array(32).fill(3) };
const noble = new NobleCrypto();
const author = identityOf(noble, noble.importSecret(new Uint8Array(32).fill(1)));

function makeRecord(random: SeededRandom): Uint8Array {
  const addresses = ["192.0.2.1", "2001:db8::1", "10.0.0.9"];
  const prefixes = ["10.1.0.0/16", "2001:db8::/32", "0.0.0.0/0"].map((text) => {
    const prefix = parsePrefix(text);
    if (prefix === undefined) throw new Error("no prefix");
    return prefix;
  });
  const fields: RecordFields = {
    sequence: 1 + random.below(2 ** 32) * 2 ** random.below(20),
    expiresWallMs: now.wallMs + random.u32(),
    wireguardKey: random.bytes(32),
    name: ["", "ant", "a-0"][random.below(3)] as string,
    candidates: addresses.slice(0, random.below(4)).map((address) => ({
      kind: kinds[random.below(kinds.length)] as (typeof kinds)[number],
      address,
      port: 1 + random.below(65_535),
    })),
    natKind: natKindOf(random.below(3)) ?? "unknown",
    relay: random.chance(0.5),
    ...(random.chance(0.5)
      ? { ipv4: { candidate: random.below(16), prefix: { address: "10.99.0.0", bits: 16 } } }
      : {}),
    prefixes: prefixes.slice(0, random.below(4)),
  };
  const certificate = random.chance(0.5) ? makeCertificate(random, false) : new Uint8Array(0);
  const crypto = credulous(random.bytes(64), random.bytes(16));
  return signRecord(crypto, networkId, author, fields, certificate);
}

function makeCertificate(random: SeededRandom, isVouch: boolean): Uint8Array {
  const groups = ["a", "b-2", "cc"].slice(random.below(4));
  return signCertificate(credulous(random.bytes(64)), networkId, receiver, {
    identity: author.publicKey,
    issuedWallMs: random.u32(),
    expiresWallMs: random.u32() * 1000,
    isVouch,
    name: random.chance(0.5) ? "ant" : "",
    groups,
  });
}

const record: FuzzTarget = {
  name: "record",
  bytesMax: recordWithCertificateBytesMax + 32,
  generate: (random) => damaged(random, makeRecord(random)),
  one(input) {
    const decoded = decodeRecord(input);
    if (decoded === undefined) return "refused";
    const { claimed } = decoded;
    sameBytes(claimed.bytes, input, "the record's bytes are others");
    const certificate = claimed.certificate?.claimed.bytes ?? new Uint8Array(0);
    const end = input.length - certificate.length;
    const crypto = credulous(input.subarray(end - signatureBytes, end), input.subarray(88, 104));
    const identity = { seed: noSecret, publicKey: claimed.identity };
    const again = signRecord(crypto, networkId, identity, claimed, certificate);
    sameBytes(again, input, "a second form of the same record");
    rule(verifyRecord(crypto, networkId, decoded, { ms: 0, wallMs: -1 }) !== undefined, "refused");
    return shapeOf(claimed);
  },
};

function shapeOf({ candidates, prefixes, ipv4, name, certificate }: Record): string {
  const parts = [candidates.length, prefixes.length, ipv4 !== undefined, name === ""];
  return [...parts, certificate?.claimed.groups.length].join(" ");
}

const certificate: FuzzTarget = {
  name: "certificate",
  bytesMax: certificateBytesMax + 16,
  generate: (random) => damaged(random, makeCertificate(random, random.chance(0.5))),
  one(input) {
    const decoded = decodeCertificate(input);
    if (decoded === undefined) return "refused";
    const { claimed } = decoded;
    const crypto = credulous(input.subarray(input.length - signatureBytes));
    const organisation = { seed: noSecret, publicKey: claimed.organisation };
    const again = signCertificate(crypto, networkId, organisation, claimed);
    sameBytes(again, input, "a second form of the same certificate");
    return `${claimed.isVouch} ${claimed.groups.length} ${claimed.name === ""}`;
  },
};

const revocation: FuzzTarget = {
  name: "revocation",
  bytesMax: revocationBytes + 8,
  generate(random) {
    const crypto = credulous(random.bytes(64));
    const key = random.chance(0.1) ? new Uint8Array(32) : random.bytes(32);
    return damaged(random, signRevocation(crypto, networkId, receiver, key, random.u32()));
  },
  one(input) {
    const decoded = decodeRevocation(input);
    if (decoded === undefined) return "refused";
    const { organisation, key, issuedWallMs } = decoded.claimed;
    const crypto = credulous(input.subarray(input.length - signatureBytes));
    const signer = { seed: noSecret, publicKey: organisation };
    const again = signRevocation(crypto, networkId, signer, key, issuedWallMs);
    sameBytes(again, input, "a second form of the same revocation");
    return "decoded";
  },
};

/** The plaintext of a sealed box, which the credulous cryptography opens. */
const introduction: FuzzTarget = {
  name: "introduction",
  bytesMax: introductionBytes,
  generate(random) {
    const { sealed } = makeIntroduction(random, credulous(random.bytes(64)), receiver.publicKey);
    const text = sealed.slice(4 + 48, sealed.length - macsBytes);
    return damaged(random, random.chance(0.5) ? text : damaged(random, text.subarray(0, 700)));
  },
  one(input) {
    const datagram = new Uint8Array(introductionBytes);
    new DataView(datagram.buffer).setUint32(0, 0x3169766d, true);
    datagram.set(input.subarray(0, introductionBytes - 4 - 48 - macsBytes), 4 + 48);
    const crypto = credulous(new Uint8Array(64));
    const result = openIntroduction(
      { crypto, networkId, receiver, admits: ({ identity: [first = 0] }) => first !== 0xee },
      datagram,
      now,
    );
    if (result.kind !== "opened") return result.kind;
    const { kind, exchangeId, sentWallMs, record: sender, extra } = result.introduction;
    const extraBytes = extra.kind === "none" ? 0 : extra.bytes.length;
    rule(sender.expiresWallMs > now.wallMs, "an expired record was taken");
    const again = sealIntroduction({
      crypto: credulous(signatureIn(datagram, sender.bytes.length + extraBytes)),
      networkId,
      sender: receiver,
      record: sender.bytes,
      receiver: receiver.publicKey,
      extra,
      kind,
      exchangeId,
      sentWallMs,
    });
    rule(again !== undefined, "what was opened cannot be sealed");
    const end = introductionBytes - macsBytes;
    sameBytes(again.subarray(52, end), datagram.subarray(52, end), "a second form of the same");
    return `${kind} ${extra.kind} ${shapeOf(sender)}`;
  },
};

/** Behind kind, reserved bytes, exchange id, time, a length with its record, and the extra. */
function signatureIn(datagram: Uint8Array, recordsBytes: number): Uint8Array {
  const at = 4 + 48 + 4 + 16 + 8 + 2 + 3 + recordsBytes;
  return datagram.slice(at, at + signatureBytes);
}

/** What may go beside the record in that direction. */
function makeExtra(random: SeededRandom, reply: boolean): Extra {
  if (random.chance(0.5)) return { kind: "none" };
  if (!reply) return { kind: "secret", bytes: random.bytes(16) };
  return random.chance(0.5)
    ? { kind: "echo", bytes: makeRecord(random) }
    : { kind: "certificate", bytes: random.bytes(1 + random.below(240)) };
}

function makeIntroduction(random: SeededRandom, crypto: Crypto, to: Uint8Array, seed = noSecret) {
  const bytes = makeRecord(random);
  const reply = random.chance(0.5);
  const sealed = sealIntroduction({
    crypto,
    networkId,
    sender: { seed, publicKey: author.publicKey },
    record: bytes,
    receiver: to,
    extra: makeExtra(random, reply),
    kind: reply ? "reply" : "request",
    exchangeId: random.bytes(16),
    sentWallMs: now.wallMs - random.below(1000),
  });
  if (sealed === undefined) throw new Error("not sealed");
  return { sealed, bytes };
}

/** Real boxes and signatures: whatever was changed on the way, nothing is taken for good. */
class SealedIntroductions implements FuzzTarget {
  readonly name = "introduction-sealed";
  readonly inputs = 10_000;
  readonly bytesMax = 64;
  readonly timed = false;
  #crypto: NativeCrypto | undefined;
  #parts: { readonly receiver: Identity; readonly sender: Identity } | undefined;

  generate(random: SeededRandom): Uint8Array {
    return random.bytes(random.below(24));
  }

  one(input: Uint8Array): string {
    this.#crypto ??= new NativeCrypto(loadLibrary());
    const crypto = this.#crypto;
    this.#parts ??= {
      receiver: identityOf(crypto, crypto.import(new Uint8Array(32).fill(21))),
      sender: identityOf(crypto, crypto.import(new Uint8Array(32).fill(22))),
    };
    const parts = this.#parts;
    const before = crypto.secretCount();
    const choices = new Choices(input);
    const signed = signRecord(crypto, networkId, parts.sender, {
      sequence: 1 + choices.u16(),
      expiresWallMs: now.wallMs + (choices.u8() === 0 ? 0 : 1000),
      wireguardKey: new Uint8Array(32).fill(9),
      name: "",
      candidates: [],
      natKind: "unknown",
      relay: false,
      prefixes: [],
    });
    const expired = new Reader(signed.subarray(40)).u64() === BigInt(now.wallMs);
    const otherNetwork = choices.u8() === 0;
    const sealed = sealIntroduction({
      crypto,
      networkId: otherNetwork ? new Uint8Array(32) : networkId,
      sender: parts.sender,
      record: signed,
      receiver: parts.receiver.publicKey,
      kind: "request",
      exchangeId: new Uint8Array(16),
      sentWallMs: now.wallMs,
    });
    rule(sealed !== undefined, "not sealed");
    let changed = false;
    while (!choices.done) {
      const at = choices.u16() % (introductionBytes - macsBytes);
      const by = choices.u8();
      sealed[at] = (sealed[at] as number) ^ by;
      if (by !== 0) changed = true;
    }
    const result = openIntroduction(
      { crypto, networkId, receiver: parts.receiver, admits: () => true },
      sealed,
      now,
    );
    rule(crypto.secretCount() === before, "a secret was left");
    const good = !changed && !expired && !otherNetwork;
    // A change may have been taken back; then nothing has changed.
    rule(!good || result.kind === "opened", "a good introduction was refused");
    rule(!(expired || otherNetwork) || result.kind !== "opened", "a bad introduction was taken");
    return result.kind;
  }
}

const introductionCookie: FuzzTarget = {
  name: "introduction-cookie",
  bytesMax: 80,
  generate: (random) =>
    damaged(random, concatBytes(Uint8Array.of(0x6d, 0x76, 0x63, 0x31), random.bytes(60))),
  one(input) {
    const sent = new Uint8Array(introductionBytes);
    sent.set(input.subarray(4, 6), 4);
    const crypto = credulous(new Uint8Array(64));
    const cookie = openIntroductionCookie(crypto, receiver.publicKey, sent, input);
    rule(cookie === undefined || (cookie.length === 16 && input.length === 64), "a short cookie");
    return cookie === undefined ? "refused" : "opened";
  },
};

export const signedTargets: readonly FuzzTarget[] = [
  record,
  certificate,
  revocation,
  introduction,
  new SealedIntroductions(),
  introductionCookie,
];

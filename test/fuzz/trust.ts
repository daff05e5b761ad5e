/**
 * Trust's messages inside sessions, and what people paste: tokens and what an organisation signed.
 * Nothing may throw; what a decoder takes has one form.
 */
import { toUrl } from "../../src/base/base64.ts";
import { concatBytes } from "../../src/base/bytes.ts";
import {
  decodeTrustMessage,
  encodeTrustMessage,
  type TrustMessage,
} from "../../src/mesh/trust-message.ts";
import { parseInvite } from "../../src/trust/invite.ts";
import { formatSigned, parseSigned } from "../../src/trust/statement.ts";
import { damaged, type FuzzTarget, rule, type SeededRandom, sameBytes, textOf } from "./target.ts";

function makeMessage(random: SeededRandom): TrustMessage {
  const ids = ["01", "02", "7f"].map((byte) => byte.repeat(8)).slice(0, random.below(4));
  const messages: TrustMessage[] = [
    { kind: "statements", statements: [random.bytes(1 + random.below(241))] },
    { kind: "digest", count: random.below(9), hash: random.bytes(16) },
    { kind: "ids", first: "00".repeat(8), last: "ff".repeat(8), ids },
    { kind: "want", ids },
    { kind: "forward", ticket: random.bytes(8), sealed: random.bytes(1064) },
    { kind: "forwarded", ticket: random.bytes(8), datagram: random.bytes(1200) },
  ];
  return messages[random.below(messages.length)] as TrustMessage;
}

const trustMessage: FuzzTarget = {
  name: "trust-message",
  bytesMax: 1300,
  generate: (random) => damaged(random, encodeTrustMessage(makeMessage(random))),
  one(input) {
    const message = decodeTrustMessage(input);
    if (message === undefined) return "refused";
    const again = encodeTrustMessage(message);
    sameBytes(again, input.subarray(0, again.length), "a second form of the same");
    return message.kind;
  },
};

const token: FuzzTarget = {
  name: "token",
  bytesMax: 600,
  generate(random) {
    const body = concatBytes(
      random.bytes(120),
      Uint8Array.of(16, 10, 99, 0, 0, 1, 0x61, 1, 0, 4, 192, 0, 2, 1, 1, 1),
      random.bytes(64),
    );
    const text = random.chance(0.5) ? body : damaged(random, body);
    return damaged(random, new TextEncoder().encode(`mvjoin1_${toUrl(text)}`));
  },
  one(input) {
    const text = textOf(input);
    const invite = parseInvite(text)?.claimed;
    if (invite === undefined) return "refused";
    rule(`mvjoin1_${toUrl(invite.bytes)}` === text, "a second form of the same");
    return `decoded ${invite.seeds.length}`;
  },
};

const signedText: FuzzTarget = {
  name: "signed-text",
  bytesMax: 600,
  generate(random) {
    const revocation = concatBytes(random.bytes(64), Uint8Array.of(5, 0, 0, 0, 0, 0, 0, 0));
    const vouch = concatBytes(random.bytes(64), new Uint8Array(16), Uint8Array.of(1, 0, 0));
    const [kind, body] = random.chance(0.5) ? [1, revocation] : [2, vouch];
    const bytes = concatBytes(Uint8Array.of(kind), body, random.bytes(64));
    const some = random.chance(0.5) ? bytes : damaged(random, bytes);
    return damaged(random, new TextEncoder().encode(`mvtrust1_${toUrl(some)}`));
  },
  one(input) {
    const text = textOf(input);
    const signed = parseSigned(text)?.claimed;
    if (signed === undefined) return "refused";
    const again =
      signed.kind === "certificate"
        ? formatSigned({ kind: "certificate", bytes: signed.certificate.bytes })
        : formatSigned(signed);
    rule(again === text, "a second form of the same");
    return signed.kind;
  },
};

export const trustTargets: readonly FuzzTarget[] = [trustMessage, token, signedText];

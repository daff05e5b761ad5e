/**
 * What arrives inside sessions and before them: control messages and handshake messages; and the
 * texts of addresses and keys. Nothing may throw, whatever the bytes; and what a decoder takes has
 * one form, so that encoding it again gives the same bytes.
 */
import { decodeBase64, encodeBase64, formatKey, parseKey } from "../../src/base/base64.ts";
import { concatBytes, fromHex, Reader, toHex } from "../../src/base/bytes.ts";
import { formatEndpoint } from "../../src/base/endpoint.ts";
import {
  canonicalAddress,
  formatPrefix,
  parseEndpoint,
  parseInterfaceAddress,
  parsePrefix,
} from "../../src/base/ip.ts";
import {
  decodeCookieReply,
  decodeInitiation,
  decodeResponse,
  encodeCookieReply,
  encodeInitiation,
  encodeResponse,
} from "../../src/noise/message.ts";
import { decodeMessage, encodeMessage } from "../../src/swim/message.ts";
import { damaged, type FuzzTarget, rule, sameBytes, sentence, textOf } from "./target.ts";

const macsBytes = 32;

const swimMessage: FuzzTarget = {
  name: "swim-message",
  bytesMax: 1400,
  generate(random) {
    const body = random.bytes(random.below(random.chance(0.3) ? 1300 : 120));
    const type = random.below(9);
    // Records behind their lengths, small enough that several fit.
    for (let at = type === 3 ? 36 : type === 5 ? 0 : 4; at + 2 < body.length; ) {
      const length = random.below(40);
      body[at] = length;
      body[at + 1] = 0;
      at += 2 + length;
    }
    const length = 4 + body.length - (random.chance(0.1) ? random.below(8) : 0);
    return damaged(
      random,
      concatBytes(Uint8Array.of(type, 0, length & 255, (length >> 8) & 255), body),
    );
  },
  one(input) {
    const message = decodeMessage(input);
    if (message === undefined) return "refused";
    const length = new Reader(input.subarray(2)).u16() as number;
    sameBytes(encodeMessage(message), input.subarray(0, length), "a second form of the same");
    return message.kind;
  },
};

const handshakeMessage: FuzzTarget = {
  name: "handshake-message",
  bytesMax: 200,
  generate(random) {
    const length = [148, 92, 64][random.below(3)] as number;
    const bytes = random.bytes(length);
    bytes.set([length === 148 ? 1 : length === 92 ? 2 : 3, 0, 0, 0]);
    return damaged(random, bytes);
  },
  one(input) {
    const initiation = decodeInitiation(input);
    const response = decodeResponse(input);
    const cookie = decodeCookieReply(input);
    // What the MACs are is another's business.
    const covered = input.slice();
    if (cookie === undefined) covered.fill(0, Math.max(0, input.length - macsBytes));
    if (initiation !== undefined) sameBytes(encodeInitiation(initiation), covered, "initiation");
    if (response !== undefined) sameBytes(encodeResponse(response), covered, "response");
    if (cookie !== undefined) sameBytes(encodeCookieReply(cookie), input, "cookie reply");
    const kinds = [initiation, response, cookie].map((it) => (it === undefined ? 0 : 1));
    rule(kinds.filter((it) => it === 1).length <= 1, "two kinds of message at once");
    return kinds.join("");
  },
};

const addressWords = [
  ...["::", ":", "1", "ffff", "fe80", "0", ".", "192.0.2.1", "255", "256", "%", "%2", "/", "/64"],
  ...["[", "]", "]:", "51820", "65536", "2001:db8", "01", "::ffff:", " ", "x", "+1", "1e1"],
];

const addresses: FuzzTarget = {
  name: "addresses",
  bytesMax: 120,
  generate: (random) => sentence(random, addressWords, 10),
  one(input) {
    const text = textOf(input);
    const address = canonicalAddress(text);
    if (address !== undefined) rule(canonicalAddress(address) === address, "no canonical text");
    const prefix = parsePrefix(text);
    if (prefix !== undefined) {
      const written = formatPrefix(prefix);
      const again = parsePrefix(written);
      rule(again !== undefined && formatPrefix(again) === written, "no canonical prefix");
    }
    const inside = parseInterfaceAddress(text);
    rule((inside === undefined) === (prefix === undefined), "a prefix and no address");
    const endpoint = parseEndpoint(text);
    if (endpoint !== undefined) {
      const written = formatEndpoint(endpoint);
      const again = parseEndpoint(written);
      rule(again !== undefined && formatEndpoint(again) === written, "no canonical endpoint");
    }
    return [address, prefix, endpoint].map((it) => it !== undefined).join();
  },
};

const keyWords = [
  "A",
  "AA",
  "z",
  "/",
  "+",
  "0123456789abcdef",
  "=",
  "==",
  "-",
  "_",
  " ",
  "\n",
  "w",
];

const texts: FuzzTarget = {
  name: "key-texts",
  bytesMax: 120,
  generate: (random) =>
    random.chance(0.5)
      ? damaged(random, new TextEncoder().encode(formatKey(random.bytes(32))))
      : sentence(random, keyWords, 40),
  one(input) {
    const text = textOf(input);
    const bytes = decodeBase64(text);
    if (bytes !== undefined) rule(encodeBase64(bytes) === text, "a second text of the same bytes");
    const key = parseKey(text);
    if (key !== undefined) rule(formatKey(key) === text, "a second text of the same key");
    const hex = fromHex(text);
    if (hex !== undefined) rule(toHex(hex) === text.toLowerCase(), "other digits");
    return [bytes?.length, key !== undefined, hex?.length].join();
  },
};

export const codecTargets: readonly FuzzTarget[] = [
  swimMessage,
  handshakeMessage,
  addresses,
  texts,
];

/**
 * What nodes say to each other on a local network (RFC 6762, RFC 6763): that one is there under
 * `_meshvpn._udp.local`, at which port, and which identity. The bytes are dns-packet's; owns the names,
 * and what is taken of an answer, which anybody on the network may have sent. Pure.
 */
import {
  type Answer,
  decode,
  encode,
  type Packet,
  type StringAnswer,
  type TxtAnswer,
} from "dns-packet";
import { parseIdentity } from "../trust/identity.ts";

const label = "_meshvpn";
export const serviceName = `${label}._udp.local`;
const headerBytes = 12;
/** RFC 6762 section 17: what fits an Ethernet frame; ours are far shorter. */
export const mdnsBytesMax = 1_440;
/** Of an answer: section 10 has 120 s for what depends on a host's address. */
export const ttlSeconds = 120;
const recordsMax = 64;
/** Of an answer to one that is no member of the group: section 6.7. */
const legacyTtlSeconds = 10;
/** The class of a question whose asker wants the answer for itself (section 5.4), in dns-packet's words. */
const unicastClass = "UNKNOWN_32769";
/** Of the header: it speaks for itself. */
const authoritative = 0x0400;
const versionText = "meshvpn1";

export interface Announcement {
  /** Text of the identity. */
  readonly key: string;
  readonly port: number;
}

export interface Found extends Announcement {
  readonly identity: Uint8Array;
  /** 0: it is leaving. */
  readonly ttlSeconds: number;
}

export type MdnsMessage =
  /** Somebody asks for the service; `unicast`: the answer is wanted there alone. */
  | {
      readonly kind: "question";
      readonly id: number;
      readonly unicast: boolean;
      readonly known: readonly string[];
    }
  | { readonly kind: "answer"; readonly found: readonly Found[] };

export function encodeQuestion(known: readonly string[]): Uint8Array {
  // Who is known already need not answer: section 7.1.
  const answers = known.map((name): StringAnswer => {
    return { type: "PTR", name: serviceName, ttl: ttlSeconds, data: name };
  });
  return encode({
    type: "query",
    questions: [{ type: "PTR", name: serviceName, class: "IN" }],
    answers,
  });
}

/** `ttl` 0 takes back what was said. */
export function encodeAnswer(announcement: Announcement, ttl: number): Uint8Array {
  return encode({
    type: "response",
    flags: authoritative,
    answers: records(announcement, ttl, true),
  });
}

/** To a resolver that knows nothing of multicast: as DNS answers a question, and not for long. */
export function encodeLegacyAnswer(announcement: Announcement, id: number): Uint8Array {
  return encode({
    type: "response",
    id,
    flags: authoritative,
    questions: [{ type: "PTR", name: serviceName, class: "IN" }],
    answers: records(announcement, legacyTtlSeconds, false),
  });
}

/** `flush`: whoever keeps others of the same name is to forget them. */
function records({ key, port }: Announcement, ttl: number, flush: boolean): Answer[] {
  const name = instanceOf(key);
  const target = `${name.split(".")[0]}.local`;
  return [
    { type: "PTR", name: serviceName, ttl, data: name },
    { type: "SRV", name, ttl, class: "IN", flush, data: { port, target, priority: 0, weight: 0 } },
    { type: "TXT", name, ttl, class: "IN", flush, data: [versionText, `key=${key}`] },
  ];
}

/** An instance is named after its identity, as far as a label goes: two never share one. */
export function instanceOf(key: string): string {
  return `${key.slice(0, 43).replaceAll("+", "-").replaceAll("/", "_")}.${serviceName}`;
}

/** False for what others say to each other, which is most of it, and for what is never read; costs little. */
export function mayConcern(bytes: Uint8Array): boolean {
  if (bytes.length < headerBytes || bytes.length > mdnsBytesMax) return false;
  const { buffer, byteOffset } = bytes;
  const header = new DataView(buffer, byteOffset, headerBytes);
  // A record of few bytes may point to names of many, so they are counted before they are read.
  const records = [4, 6, 8, 10].reduce((sum, at) => sum + header.getUint16(at), 0);
  if (records > recordsMax) return false;
  return Buffer.from(buffer, byteOffset, bytes.length)
    .toString("latin1")
    .toLowerCase()
    .includes(label);
}

/** undefined: it does not concern the service, or is malformed. */
export function decodeMdns(bytes: Uint8Array): MdnsMessage | undefined {
  if (!mayConcern(bytes)) return undefined;
  const packet = parse(bytes);
  if (packet === undefined) return undefined;
  const { additionals = [], answers = [], questions = [] } = packet;
  if (packet.type === "query") {
    const asked = questions.filter(
      ({ name, type }) => lower(name) === serviceName && (type === "PTR" || `${type}` === "ANY"),
    );
    if (asked.length === 0) return undefined;
    const known = answers.flatMap((answer) =>
      answer.type === "PTR" && lower(answer.name) === serviceName ? [`${answer.data}`] : [],
    );
    const unicast = asked.every((question) => `${question.class}` === unicastClass);
    return { kind: "question", id: packet.id ?? 0, unicast, known };
  }
  const records = [...answers, ...additionals];
  const texts = records.filter((record): record is TxtAnswer => record.type === "TXT");
  const found = texts.flatMap((text): readonly Found[] => {
    const key = keyOf(text);
    const identity = key === undefined ? undefined : parseIdentity(key);
    if (key === undefined || identity === undefined || text.name !== instanceOf(key)) return [];
    for (const record of records) {
      if (record.type !== "SRV" || record.name !== text.name) continue;
      const { port } = record.data;
      if (!Number.isInteger(port) || port < 1 || port > 65_535) continue;
      return [{ key, identity, port, ttlSeconds: Math.min(text.ttl ?? 0, ttlSeconds) }];
    }
    return [];
  });
  return found.length === 0 ? undefined : { kind: "answer", found };
}

/** The library throws at what it cannot read: hostile input, and no more than that. */
function parse(bytes: Uint8Array): Packet | undefined {
  try {
    return decode(Buffer.from(bytes));
  } catch {
    return undefined;
  }
}

function keyOf({ data }: TxtAnswer): string | undefined {
  const texts = (Array.isArray(data) ? data : [data]).map((each) => each.toString());
  if (texts[0] !== versionText) return undefined;
  return texts.find((each) => each.startsWith("key="))?.slice(4);
}

function lower(name: string): string {
  return name.toLowerCase();
}

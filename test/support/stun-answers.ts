/** The bytes of a STUN server's answers, written apart from the client's: RFC 8489, RFC 5780. */
import type { Endpoint } from "../../src/base/endpoint.ts";
import { parseAddress } from "../../src/base/ip.ts";

const cookie = [0x21, 0x12, 0xa4, 0x42];

export interface Request {
  readonly id: Uint8Array;
  readonly changeAddress: boolean;
  readonly changePort: boolean;
}

/** undefined: it is none. */
export function readRequest(bytes: Uint8Array): Request | undefined {
  if (bytes[0] !== 0 || bytes[1] !== 1 || cookie.some((byte, at) => bytes[4 + at] !== byte)) {
    return undefined;
  }
  const flags = bytes.length >= 28 && bytes[20] === 0 && bytes[21] === 3 ? (bytes[27] ?? 0) : 0;
  const id = bytes.slice(8, 20);
  return { id, changeAddress: (flags & 4) !== 0, changePort: (flags & 2) !== 0 };
}

export interface Answer {
  readonly mapped?: Endpoint;
  readonly other?: Endpoint | undefined;
  readonly error?: number;
  /** More attributes, as they are. */
  readonly more?: readonly (readonly [type: number, value: readonly number[]])[];
  readonly plain?: boolean;
}

export function answerBytes(
  id: Uint8Array,
  { error, mapped, more = [], other, plain }: Answer,
): Uint8Array {
  const attributes: (readonly [number, readonly number[]])[] = [];
  if (mapped !== undefined && plain === true) attributes.push([0x0001, addressValue(mapped)]);
  else if (mapped !== undefined) {
    const mask = [...cookie, ...id];
    const [zero = 0, family = 0, high = 0, low = 0, ...address] = addressValue(mapped);
    const hidden = address.map((byte, at) => byte ^ (mask[at] ?? 0));
    attributes.push([0x0020, [zero, family, high ^ 0x21, low ^ 0x12, ...hidden]]);
  }
  if (other !== undefined) attributes.push([0x802c, addressValue(other)]);
  if (error !== undefined)
    attributes.push([0x0009, [0, 0, Math.floor(error / 100), error % 100, 0x6e, 0x6f]]);
  const body = [...attributes, ...more].flatMap(([type, value]) => [
    ...[type >> 8, type & 255, value.length >> 8, value.length & 255],
    ...value,
    ...Array.from({ length: (4 - (value.length % 4)) % 4 }, () => 0),
  ]);
  const kind = error === undefined ? [1, 1] : [1, 0x11];
  return Uint8Array.from([...kind, body.length >> 8, body.length & 255, ...cookie, ...id, ...body]);
}

function addressValue({ address, port }: Endpoint): number[] {
  const parsed = parseAddress(address);
  if (parsed === undefined) throw new Error(`${address} is no address`);
  return [0, parsed.family === 4 ? 1 : 2, port >> 8, port & 255, ...parsed.bytes];
}

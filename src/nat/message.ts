/**
 * The control messages of paths, as they travel inside sessions: probes and their answers, and
 * whereabouts; and the header of a relayed frame, for the handshakes that the control plane sends
 * through a relay (data is framed in zig/relay.zig). Owns their bytes and limits. The session has
 * authenticated the sender. A malformed message is undefined.
 */
import { Reader, Writer } from "../base/bytes.ts";
import { type NatKind, natKindOf, natKinds } from "../base/candidate.ts";
import type { Endpoint } from "../base/endpoint.ts";
import { assert } from "../base/errors.ts";
import { familyOf, formatAddress, isUnicast, parseAddress } from "../base/ip.ts";

export const frameType = 12;
export const frameHeaderBytes = 16;
/** How often a frame may be forwarded (zig/constants.zig). */
export const frameHopsMax = 3;
export const candidatesMax = 12;

const types = { whereabouts: 11, probe: 13, reply: 14 } as const;
const headerBytes = 4;
/** As long as the longest answer, so that none is longer than what asked for it. */
const probeBytes = 32;
const flagAsk = 1;
const natShift = 1;

export type PathMessage =
  | { readonly kind: "probe"; readonly number: number }
  /** By the way that the probe came, with where it came from; undefined where that is a relay. */
  | { readonly kind: "reply"; readonly number: number; readonly observed: Endpoint | undefined }
  | {
      readonly kind: "whereabouts";
      /** The receiver is to say the same of itself, and to probe now. */
      readonly ask: boolean;
      readonly nat: NatKind;
      readonly candidates: readonly Endpoint[];
    };

/** Whether a control message is one of these. */
export function isPathMessage(bytes: Uint8Array): boolean {
  const type = bytes[0];
  return type === types.probe || type === types.reply || type === types.whereabouts;
}

export function encodePathMessage(message: PathMessage): Uint8Array {
  const writer = new Writer(256).u8(types[message.kind]).u8(0).u16(0);
  switch (message.kind) {
    case "probe":
      writer.u32(message.number).zeros(probeBytes - headerBytes - 4);
      break;
    case "reply":
      writer.u32(message.number);
      writeEndpoint(writer, message.observed);
      break;
    case "whereabouts":
      assert(message.candidates.length <= candidatesMax, "too many candidates");
      writer
        .u8((message.ask ? flagAsk : 0) | (natKinds[message.nat] << natShift))
        .u8(message.candidates.length);
      for (const candidate of message.candidates) writeEndpoint(writer, candidate);
  }
  const bytes = writer.finish();
  new DataView(bytes.buffer, bytes.byteOffset).setUint16(2, bytes.length, true);
  return bytes;
}

export function decodePathMessage(bytes: Uint8Array): PathMessage | undefined {
  const header = new Reader(bytes.subarray(0, headerBytes));
  const type = header.u8();
  const flags = header.u8();
  const length = header.u16();
  if (flags !== 0 || length === undefined || length < headerBytes || length > bytes.length) {
    return undefined;
  }
  const reader = new Reader(bytes.subarray(headerBytes, length));
  switch (type) {
    case types.probe: {
      const number = reader.u32();
      if (number === undefined || length !== probeBytes) return undefined;
      return { kind: "probe", number };
    }
    case types.reply: {
      const number = reader.u32();
      const observed = readEndpoint(reader);
      if (number === undefined || observed === undefined || reader.remaining > 0) return undefined;
      return { kind: "reply", number, observed: observed === "none" ? undefined : observed };
    }
    case types.whereabouts:
      return readWhereabouts(reader);
    default:
      return undefined;
  }
}

/** A datagram of WireGuard for another member, to be sent in the session with a relay. */
export function encodeFrame(source: number, destination: number, datagram: Uint8Array): Uint8Array {
  const length = frameHeaderBytes + datagram.length;
  return new Writer(length)
    .u8(frameType)
    .u8(frameHopsMax)
    .u16(length)
    .u32(source % 2 ** 32)
    .u16(Math.floor(source / 2 ** 32))
    .u32(destination % 2 ** 32)
    .u16(Math.floor(destination / 2 ** 32))
    .bytes(datagram)
    .finish();
}

/** The name of an identity in frames: its first 6 bytes, little-endian. */
export function frameIdOf(identity: Uint8Array): number {
  let id = 0;
  for (let at = 5; at >= 0; at -= 1) id = id * 256 + (identity[at] as number);
  return id;
}

/** An address and port that a member may name, and that others may therefore send to. */
export function isCandidate(endpoint: Endpoint): boolean {
  const address = parseAddress(endpoint.address);
  if (address === undefined || address.scope !== 0) return false;
  return endpoint.port >= 1 && endpoint.port <= 65_535 && isUnicast(address);
}

function readWhereabouts(reader: Reader): PathMessage | undefined {
  const flags = reader.u8();
  const count = reader.u8();
  const nat = flags === undefined ? undefined : natKindOf(flags >> natShift);
  if (flags === undefined || nat === undefined) return undefined;
  if (count === undefined || count > candidatesMax) return undefined;
  const candidates: Endpoint[] = [];
  for (let i = 0; i < count; i += 1) {
    const candidate = readEndpoint(reader);
    if (candidate === undefined || candidate === "none" || !isCandidate(candidate))
      return undefined;
    candidates.push(candidate);
  }
  if (reader.remaining > 0) return undefined;
  return { kind: "whereabouts", ask: (flags & flagAsk) !== 0, nat, candidates };
}

/** family u8 (0 none, 4, 6), address, port u16. */
function writeEndpoint(writer: Writer, endpoint: Endpoint | undefined): void {
  if (endpoint === undefined) {
    writer.u8(0);
    return;
  }
  const address = parseAddress(endpoint.address);
  assert(address !== undefined, "a candidate is an address");
  writer.u8(familyOf(endpoint.address)).bytes(address.bytes).u16(endpoint.port);
}

function readEndpoint(reader: Reader): Endpoint | "none" | undefined {
  const family = reader.u8();
  if (family === 0) return "none";
  if (family !== 4 && family !== 6) return undefined;
  const bytes = reader.bytes(family === 4 ? 4 : 16);
  const port = reader.u16();
  if (bytes === undefined || port === undefined) return undefined;
  return { address: formatAddress({ family, bytes, scope: 0 }), port };
}

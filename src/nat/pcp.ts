/**
 * Asking a gateway to forward a UDP port: PCP's MAP (RFC 6887) and its elder NAT-PMP (RFC 6886). Owns
 * their bytes; numbers are big-endian. An answer is hostile input: it counts only where it is exactly
 * what was asked for, and undefined is everything else. Pure; who is asked and how often is
 * daemon/port-mapper.ts's.
 */
import { equalBytes, isZero } from "../base/bytes.ts";
import { assert } from "../base/errors.ts";
import { formatAddress, fromMapped, parseAddress, toMapped } from "../base/ip.ts";

export const pcpPort = 5351;
export const pcpNonceBytes = 12;
/** Longer ones are none. */
export const pcpAnswerBytesMax = 1_100;

const pcpVersion = 2;
const opcodeMap = 1;
const answerBit = 0x80;
const udp = 17;
const pcpHeaderBytes = 24;
const pcpMapBytes = 36;
const pmpMapUdp = 1;

export interface MapWish {
  /** Of this node, as the gateway sees it. */
  readonly client: string;
  readonly nonce: Uint8Array;
  readonly internalPort: number;
  /** Of an earlier mapping, or as wished; the gateway decides. */
  readonly externalPort: number;
  /** 0: the mapping is to go. */
  readonly lifetimeSeconds: number;
}

export type MapAnswer =
  | {
      readonly kind: "mapped";
      readonly externalPort: number;
      /** undefined: this protocol says it elsewhere. */
      readonly externalAddress: string | undefined;
      readonly lifetimeSeconds: number;
      readonly epochSeconds: number;
    }
  /** By number, as the RFC names them. */
  | { readonly kind: "refused"; readonly code: number; readonly unsupported: boolean };

export function encodePcpMap(wish: MapWish): Uint8Array {
  const client = parseAddress(wish.client);
  assert(client !== undefined && wish.nonce.length === pcpNonceBytes, "a client and a nonce");
  const bytes = new Uint8Array(pcpHeaderBytes + pcpMapBytes);
  const view = new DataView(bytes.buffer);
  bytes[0] = pcpVersion;
  bytes[1] = opcodeMap;
  view.setUint32(4, wish.lifetimeSeconds);
  bytes.set(toMapped(client), 8);
  bytes.set(wish.nonce, 24);
  bytes[36] = udp;
  view.setUint16(40, wish.internalPort);
  view.setUint16(42, wish.externalPort);
  // No wish for an address: all zeros of the client's family (section 11.1).
  if (client.family === 4) bytes.set([0xff, 0xff], 54);
  return bytes;
}

export function decodePcpMap(bytes: Uint8Array, wish: MapWish): MapAnswer | undefined {
  if (bytes.length < pcpHeaderBytes || bytes.length > pcpAnswerBytesMax) return undefined;
  if (bytes.length % 4 !== 0) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes[1] !== (opcodeMap | answerBit)) return undefined;
  const code = bytes[3] as number;
  // A gateway of another version says so in a header alone (section 9).
  if (bytes[0] !== pcpVersion) return undefined;
  if (code !== 0) return { kind: "refused", code, unsupported: code === 1 || code === 4 };
  if (bytes.length < pcpHeaderBytes + pcpMapBytes) return undefined;
  if (!equalBytes(bytes.subarray(24, 36), wish.nonce)) return undefined;
  if (bytes[36] !== udp || view.getUint16(40) !== wish.internalPort) return undefined;
  const externalPort = view.getUint16(42);
  const lifetimeSeconds = view.getUint32(4);
  if (wish.lifetimeSeconds > 0 && (externalPort === 0 || lifetimeSeconds === 0)) return undefined;
  const address = bytes.slice(44, 60);
  const externalAddress = isZero(address) ? undefined : formatAddress(fromMapped(address));
  const epochSeconds = view.getUint32(8);
  return { kind: "mapped", externalPort, externalAddress, lifetimeSeconds, epochSeconds };
}

/** Of the external address: NAT-PMP says it apart. */
export function encodePmpAddress(): Uint8Array {
  return new Uint8Array(2);
}

export function encodePmpMap({ externalPort, internalPort, lifetimeSeconds }: MapWish): Uint8Array {
  const bytes = new Uint8Array(12);
  const view = new DataView(bytes.buffer);
  bytes[1] = pmpMapUdp;
  view.setUint16(4, internalPort);
  // To delete, no port is suggested (section 3.4).
  view.setUint16(6, lifetimeSeconds === 0 ? 0 : externalPort);
  view.setUint32(8, lifetimeSeconds);
  return bytes;
}

export interface PmpAddress {
  readonly address: string;
  readonly epochSeconds: number;
}

export function decodePmpAddress(
  bytes: Uint8Array,
): PmpAddress | (MapAnswer & { readonly kind: "refused" }) | undefined {
  const refused = pmpRefusal(bytes, answerBit);
  if (refused !== undefined) return refused;
  if (bytes.length !== 12 || bytes[0] !== 0 || bytes[1] !== answerBit) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const address = formatAddress({ family: 4, bytes: bytes.slice(8, 12), scope: 0 });
  return { address, epochSeconds: view.getUint32(4) };
}

export function decodePmpMap(bytes: Uint8Array, wish: MapWish): MapAnswer | undefined {
  const refused = pmpRefusal(bytes, answerBit | pmpMapUdp);
  if (refused !== undefined) return refused;
  if (bytes.length !== 16 || bytes[0] !== 0 || bytes[1] !== (answerBit | pmpMapUdp)) {
    return undefined;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const lifetimeSeconds = view.getUint32(12);
  const externalPort = view.getUint16(10);
  if (view.getUint16(8) !== wish.internalPort) return undefined;
  if (wish.lifetimeSeconds > 0 && (externalPort === 0 || lifetimeSeconds === 0)) return undefined;
  const epochSeconds = view.getUint32(4);
  return {
    kind: "mapped",
    externalPort,
    externalAddress: undefined,
    lifetimeSeconds,
    epochSeconds,
  };
}

function pmpRefusal(
  bytes: Uint8Array,
  opcode: number,
): (MapAnswer & { readonly kind: "refused" }) | undefined {
  if (bytes.length < 4 || bytes.length > 16 || bytes[0] !== 0 || bytes[1] !== opcode)
    return undefined;
  const code = (bytes[2] as number) * 256 + (bytes[3] as number);
  return code === 0 ? undefined : { kind: "refused", code, unsupported: code === 1 || code === 5 };
}

/**
 * Whether the gateway has lost its mappings between two answers: its clock went back, or ran otherwise
 * than ours (RFC 6887 section 8.5; RFC 6886 section 3.6). Seconds.
 */
export function hasRestarted(
  before: { readonly epochSeconds: number; readonly atSeconds: number },
  after: { readonly epochSeconds: number; readonly atSeconds: number },
): boolean {
  if (after.epochSeconds < before.epochSeconds - 1) return true;
  const own = after.atSeconds - before.atSeconds;
  const theirs = after.epochSeconds - before.epochSeconds;
  return own + 2 < theirs - theirs / 16 || theirs + 2 < own - own / 16;
}

/**
 * An IP endpoint as the cores see it. The address is canonical text (IPv4 dotted, IPv6 as in
 * RFC 5952, a link-local one with `%ifindex`), so two endpoints are equal where their texts are.
 */
export interface Endpoint {
  readonly address: string;
  /** 1 to 65535. */
  readonly port: number;
  /** The side socket by which it is spoken to, from 1 on; absent: the main one. */
  readonly socket?: number;
}

/**
 * A way through another member, where an endpoint stands: the relay's peer, and the first 6 bytes of
 * the identity behind it, little-endian.
 */
export interface RelayWay {
  readonly slot: number;
  readonly generation: number;
  readonly far: number;
}

const relayText = /^relay:(\d+)\.(\d+):(\d+)$/;

export function relayEndpoint({ slot, generation, far }: RelayWay): Endpoint {
  return { address: `relay:${slot}.${generation}:${far}`, port: 0 };
}

/** undefined for an address. */
export function relayWayOf(endpoint: Endpoint): RelayWay | undefined {
  if (endpoint.port !== 0) return undefined;
  const match = relayText.exec(endpoint.address);
  if (match === null) return undefined;
  const [, slot, generation, far] = match;
  return { slot: Number(slot), generation: Number(generation), far: Number(far) };
}

/** An end of a stream on this machine, which stands for a member that is reached by TCP. */
export function isCarried({ address }: Endpoint): boolean {
  return address.startsWith("127.");
}

/** `192.0.2.1:51820` or `[2001:db8::1]:51820`. */
export function formatEndpoint(endpoint: Endpoint): string {
  return endpoint.address.includes(":")
    ? `[${endpoint.address}]:${endpoint.port}`
    : `${endpoint.address}:${endpoint.port}`;
}

export function sameEndpoint(a: Endpoint | undefined, b: Endpoint | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.port === b.port && a.address === b.address && a.socket === b.socket;
}

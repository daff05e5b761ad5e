/**
 * An IP endpoint as the cores see it. The address is canonical text (IPv4 dotted, IPv6 as in
 * RFC 5952, a link-local one with `%ifindex`), so two endpoints are equal where their texts are.
 */
export interface Endpoint {
  readonly address: string;
  /** 1 to 65535. */
  readonly port: number;
}

/** `192.0.2.1:51820` or `[2001:db8::1]:51820`. */
export function formatEndpoint(endpoint: Endpoint): string {
  return endpoint.address.includes(":")
    ? `[${endpoint.address}]:${endpoint.port}`
    : `${endpoint.address}:${endpoint.port}`;
}

export function sameEndpoint(a: Endpoint | undefined, b: Endpoint | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.port === b.port && a.address === b.address;
}

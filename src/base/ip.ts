/**
 * IP addresses, prefixes and endpoints as text and as bytes. Text that comes out is canonical
 * (IPv4 dotted decimal; IPv6 as in RFC 5952, with `%ifindex` where scoped), so equal addresses have
 * equal texts. Text that goes in may be any standard form; whatever else is `undefined`.
 */
import { isZero } from "./bytes.ts";
import type { Endpoint } from "./endpoint.ts";
import { assert } from "./errors.ts";

export interface IpAddress {
  readonly family: 4 | 6;
  /** 4 or 16 bytes, network order. */
  readonly bytes: Uint8Array;
  /** Interface index of a scoped IPv6 address, else 0. */
  readonly scope: number;
}

/** Canonical address text, host bits zero where it came from `parsePrefix`. */
export interface IpPrefix {
  readonly address: string;
  readonly bits: number;
}

/** Turns an interface's name into its index, where the caller knows the interfaces. */
export type ScopeOf = (name: string) => number | undefined;

const scopeMax = 0xffffffff;

/** An address of either family; a zone must be a number unless `scopeOf` knows its name. */
export function parseAddress(text: string, scopeOf?: ScopeOf): IpAddress | undefined {
  if (text.includes(":")) return parseAddress6(text, scopeOf);
  const bytes = parseDotted(text);
  return bytes === undefined ? undefined : { family: 4, bytes, scope: 0 };
}

export function formatAddress(address: IpAddress): string {
  if (address.family === 4) {
    assert(address.bytes.length === 4, "an IPv4 address is 4 bytes");
    return address.bytes.join(".");
  }
  const text = formatGroups(address.bytes);
  return address.scope === 0 ? text : `${text}%${address.scope}`;
}

/** The canonical text of an address, undefined where it is none. */
export function canonicalAddress(text: string, scopeOf?: ScopeOf): string | undefined {
  const address = parseAddress(text, scopeOf);
  return address === undefined ? undefined : formatAddress(address);
}

export function familyOf(canonical: string): 4 | 6 {
  return canonical.includes(":") ? 6 : 4;
}

/** 16 bytes; IPv4 as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2). */
export function toMapped(address: IpAddress): Uint8Array {
  if (address.family === 6) return address.bytes.slice();
  const out = new Uint8Array(16);
  out[10] = 0xff;
  out[11] = 0xff;
  out.set(address.bytes, 12);
  return out;
}

/** The address in 16 bytes; an IPv4-mapped one is IPv4. */
export function fromMapped(bytes: Uint8Array, scope = 0): IpAddress {
  assert(bytes.length === 16, "a mapped address is 16 bytes");
  return isMapped(bytes)
    ? { family: 4, bytes: bytes.slice(12), scope: 0 }
    : { family: 6, bytes: bytes.slice(), scope };
}

/** `192.0.2.0/24`, `2001:db8::/32`, or an address alone for all its bits. Host bits are cleared. */
export function parsePrefix(text: string): IpPrefix | undefined {
  const prefix = splitPrefix(text);
  if (prefix === undefined) return undefined;
  return { address: formatAddress(maskHostBits(prefix.address, prefix.bits)), bits: prefix.bits };
}

/** An interface's address: like a prefix, but host bits stay. */
export function parseInterfaceAddress(text: string): IpPrefix | undefined {
  const prefix = splitPrefix(text);
  if (prefix === undefined) return undefined;
  return { address: formatAddress(prefix.address), bits: prefix.bits };
}

export function formatPrefix(prefix: IpPrefix): string {
  return `${prefix.address}/${prefix.bits}`;
}

export function samePrefix(a: IpPrefix, b: IpPrefix): boolean {
  return a.bits === b.bits && a.address === b.address;
}

export function maskHostBits(address: IpAddress, bits: number): IpAddress {
  const width = address.bytes.length * 8;
  assert(Number.isInteger(bits) && bits >= 0 && bits <= width, "prefix length out of range");
  const bytes = address.bytes.map((byte, i) => {
    const kept = Math.min(8, Math.max(0, bits - 8 * i));
    return byte & (0xff00 >> kept);
  });
  return { family: address.family, bytes, scope: address.scope };
}

/** Whether the prefix (canonical) contains the address (canonical). */
export function prefixContains(prefix: IpPrefix, address: string): boolean {
  if (familyOf(prefix.address) !== familyOf(address)) return false;
  const parsed = parseAddress(address);
  if (parsed === undefined) return false;
  return formatAddress({ ...maskHostBits(parsed, prefix.bits), scope: 0 }) === prefix.address;
}

/** `192.0.2.1:51820` or `[2001:db8::1]:51820`; port 1 to 65535. IPv4-mapped IPv6 becomes IPv4. */
export function parseEndpoint(text: string, scopeOf?: ScopeOf): Endpoint | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(text);
  if (match === null) return undefined;
  const [, inner, plain, portText] = match;
  const parsed = parseAddress(inner ?? (plain as string), scopeOf);
  if (parsed === undefined || (parsed.family === 6) !== (inner !== undefined)) return undefined;
  const port = Number(portText);
  if (port < 1 || port > 65535) return undefined;
  const address = parsed.family === 6 ? fromMapped(parsed.bytes, parsed.scope) : parsed;
  return { address: formatAddress(address), port };
}

function splitPrefix(text: string): { address: IpAddress; bits: number } | undefined {
  const slash = text.indexOf("/");
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === undefined || address.scope !== 0) return undefined;
  const width = address.bytes.length * 8;
  if (slash < 0) return { address, bits: width };
  const bits = decimal(text.slice(slash + 1), width);
  return bits === undefined ? undefined : { address, bits };
}

/** Digits without a leading zero, at most `max`. */
function decimal(text: string, max: number): number | undefined {
  if (!/^(?:0|[1-9][0-9]{0,9})$/.test(text)) return undefined;
  const value = Number(text);
  return value <= max ? value : undefined;
}

/** Four decimal bytes; leading zeros are refused, for some readers take them as octal. */
function parseDotted(text: string): Uint8Array | undefined {
  const parts = text.split(".", 5);
  if (parts.length !== 4) return undefined;
  const out = new Uint8Array(4);
  for (let i = 0; i < 4; i += 1) {
    const value = decimal(parts[i] as string, 255);
    if (value === undefined) return undefined;
    out[i] = value;
  }
  return out;
}

function parseAddress6(text: string, scopeOf?: ScopeOf): IpAddress | undefined {
  const percent = text.indexOf("%");
  const body = percent < 0 ? text : text.slice(0, percent);
  let scope = 0;
  if (percent >= 0) {
    const zone = text.slice(percent + 1);
    const index = decimal(zone, scopeMax) ?? (zone === "" ? undefined : scopeOf?.(zone));
    if (index === undefined || index === 0) return undefined;
    scope = index;
  }
  const bytes = parseGroups(body);
  return bytes === undefined ? undefined : { family: 6, bytes, scope };
}

/** RFC 4291 section 2.2, forms 1 to 3. */
function parseGroups(text: string): Uint8Array | undefined {
  if (text.length > 45) return undefined;
  const halves = text.split("::", 3);
  if (halves.length > 2) return undefined;
  const head = groupBytes(halves[0] as string, halves.length === 1);
  const tail = halves.length === 2 ? groupBytes(halves[1] as string, true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const given = head.length + tail.length;
  // "::" stands for at least one group.
  if (halves.length === 2 ? given > 14 : given !== 16) return undefined;
  const out = new Uint8Array(16);
  out.set(head, 0);
  out.set(tail, 16 - tail.length);
  return out;
}

function groupBytes(text: string, last: boolean): number[] | undefined {
  if (text === "") return [];
  const out: number[] = [];
  const groups = text.split(":", 9);
  for (const [i, group] of groups.entries()) {
    if (last && i === groups.length - 1 && group.includes(".")) {
      const dotted = parseDotted(group);
      if (dotted === undefined) return undefined;
      out.push(...dotted);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
      const value = Number.parseInt(group, 16);
      out.push(value >> 8, value & 0xff);
    }
  }
  return out;
}

function isMapped(bytes: Uint8Array): boolean {
  for (let i = 0; i < 10; i += 1) if (bytes[i] !== 0) return false;
  return bytes[10] === 0xff && bytes[11] === 0xff;
}

/** RFC 5952 section 4; IPv4-mapped addresses in the mixed form of its section 5. */
function formatGroups(bytes: Uint8Array): string {
  assert(bytes.length === 16, "an IPv6 address is 16 bytes");
  if (isMapped(bytes)) return `::ffff:${bytes.slice(12).join(".")}`;
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) {
    groups.push(((bytes[i] as number) << 8) | (bytes[i + 1] as number));
  }
  let runStart = -1;
  let runLength = 1;
  for (let start = 0; start < 8; start += 1) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length += 1;
    if (length > runLength) {
      runStart = start;
      runLength = length;
    }
  }
  const hex = (part: readonly number[]): string => part.map((g) => g.toString(16)).join(":");
  if (runStart < 0) return hex(groups);
  return `${hex(groups.slice(0, runStart))}::${hex(groups.slice(runStart + runLength))}`;
}

/** Not unspecified, loopback, multicast, broadcast, link-local IPv6 or IPv4-mapped. */
export function isUnicast(address: IpAddress): boolean {
  const [first = 0, second = 0] = address.bytes;
  if (address.family === 4) return first !== 0 && first !== 127 && first < 224;
  if (isZero(address.bytes.subarray(0, 10))) return false;
  if (first === 0xfe && (second & 0xc0) === 0x80) return false;
  return first !== 0xff;
}

/** Of a local network (RFC 1918, RFC 4193) or a link; not a carrier's range, behind which NATs are. */
export function isPrivate(canonical: string): boolean {
  const address = parseAddress(canonical);
  if (address === undefined) return false;
  const [first = 0, second = 0] = address.bytes;
  if (address.family === 6) {
    return (first & 0xfe) === 0xfc || (first === 0xfe && (second & 0xc0) === 0x80);
  }
  if (first === 10 || (first === 192 && second === 168)) return true;
  return (first === 172 && second >> 4 === 1) || (first === 169 && second === 254);
}

/** IPv4 and IPv6 that no router of the internet forwards (IANA's special-purpose registries). The
 * documentation's prefixes are not among them: they mean nobody, and tests are full of them. */
const notGlobal = [
  ...["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"],
  ...["192.168.0.0/16", "198.18.0.0/15", "fc00::/7", "fec0::/10", "100::/64", "64:ff9b:1::/48"],
].map((text) => parsePrefix(text) as IpPrefix);

/** Unicast, and not of a private or otherwise reserved range: an address of the internet. */
export function isGlobal(canonical: string): boolean {
  const address = parseAddress(canonical);
  if (address === undefined || address.scope !== 0 || !isUnicast(address)) return false;
  return !notGlobal.some((prefix) => prefixContains(prefix, canonical));
}

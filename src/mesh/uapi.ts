/**
 * WireGuard's configuration protocol (https://www.wireguard.com/xplatform/#configuration-protocol):
 * one request in, its effect on a device, one answer out. Pure; sockets and key bytes are the
 * library's, and a key line here holds `@` and a handle. Lines take effect in order until one fails,
 * as in wireguard-go, whose error numbers these are (`errno=-22`, and so on). Every handle of a
 * request is given away or released, on every way through.
 */
import { equalBytes, fromHex, toHex } from "../base/bytes.ts";
import type { Instant } from "../base/clock.ts";
import type { Secret } from "../base/crypto.ts";
import { type Endpoint, formatEndpoint, relayWayOf } from "../base/endpoint.ts";
import { MeshError } from "../base/errors.ts";
import { formatPrefix, parseEndpoint, parsePrefix, type ScopeOf } from "../base/ip.ts";
import type { PeerRef, Prefix } from "./dataplane.ts";

/** What is configured: a part of `mesh/peer-table.ts`. */
export interface UapiPeer {
  readonly publicKey: Uint8Array;
  readonly ref: PeerRef;
  readonly endpoint?: Endpoint | undefined;
  readonly keepaliveSeconds: number;
  readonly allowedIps: readonly Prefix[];
  readonly presharedKey?: Secret | undefined;
  /** 0: never. */
  readonly lastHandshakeWallMs: number;
}

export interface UapiPeers<P extends UapiPeer> {
  readonly localPublicKey: Uint8Array | undefined;
  peers(): Iterable<P>;
  find(publicKey: Uint8Array): P | undefined;
  addPeer(now: Instant, publicKey: Uint8Array): P;
  setPresharedKey(peer: P, secret: Secret | undefined): void;
  setEndpoint(now: Instant, peer: P, endpoint: Endpoint): void;
  setKeepalive(now: Instant, peer: P, seconds: number): void;
  allowIp(peer: P, prefix: Prefix): void;
  disallowIp(peer: P, prefix: Prefix): void;
  clearAllowedIps(peer: P): void;
}

/** The rest of a device, which the table of peers does not own. */
export interface UapiDevice<P extends UapiPeer> {
  readonly table: UapiPeers<P>;
  readonly localKey: Secret | undefined;
  readonly listenPort: number;
  readonly fwmark: number;
  /** Takes ownership of the key. */
  setLocalKey(now: Instant, key: Secret | undefined): void;
  removePeer(now: Instant, peer: P): void;
  /** These two answer 0, or the errno of the system. */
  setListenPort(port: number): number;
  setFwmark(fwmark: number): number;
  /** Brings everything into effect: 0, or the errno of the first failure. */
  settle(now: Instant): number;
  publicKeyOf(secret: Secret): Uint8Array;
  release(secret: Secret): void;
  /** Bytes so far, of all peers at one moment. */
  traffic(): (peer: P) => { readonly txBytes: number; readonly rxBytes: number };
  readonly scopeOf: ScopeOf;
}

const EINVAL = 22;
const EPROTO = 71;
const ENOSPC = 28;

/** The whole answer, with its last, empty line. */
export function answerUapi<P extends UapiPeer>(
  now: Instant,
  request: string,
  device: UapiDevice<P>,
): string {
  const lines = request.split("\n").map((line) => (line.endsWith("\r") ? line.slice(0, -1) : line));
  // An empty line ends a request; what follows it (a lone carriage return hid it) is not heeded.
  const end = lines.indexOf("");
  const body = end < 0 ? lines : lines.slice(0, end);
  releaseFrom(device, lines, body.length);
  if (body[0] === "get=1") {
    releaseFrom(device, body, 1);
    return body.length > 1 ? failure(EINVAL) : `${describe(device)}errno=0\n\n`;
  }
  if (body[0] === "set=1") return failure(new SetOperation(now, device).run(body));
  releaseFrom(device, body, 0);
  return failure(EINVAL);
}

function failure(errno: number): string {
  return `errno=${errno === 0 ? 0 : -errno}\n\n`;
}

function describe<P extends UapiPeer>(device: UapiDevice<P>): string {
  const lines: string[] = [];
  if (device.localKey !== undefined) lines.push(`private_key=@${device.localKey}`);
  if (device.listenPort !== 0) lines.push(`listen_port=${device.listenPort}`);
  if (device.fwmark !== 0) lines.push(`fwmark=${device.fwmark}`);
  const traffic = device.traffic();
  for (const peer of device.table.peers()) {
    const { txBytes, rxBytes } = traffic(peer);
    const seconds = Math.floor(peer.lastHandshakeWallMs / 1000);
    const nanoseconds = Math.floor((peer.lastHandshakeWallMs % 1000) * 1e6);
    lines.push(`public_key=${toHex(peer.publicKey)}`);
    lines.push(`preshared_key=@${peer.presharedKey ?? 0}`);
    lines.push("protocol_version=1");
    // A way through a relay is no address, and wg(8) knows only addresses.
    if (peer.endpoint !== undefined && relayWayOf(peer.endpoint) === undefined) {
      lines.push(`endpoint=${formatEndpoint(peer.endpoint)}`);
    }
    lines.push(`last_handshake_time_sec=${seconds}`);
    lines.push(`last_handshake_time_nsec=${nanoseconds}`);
    lines.push(`tx_bytes=${txBytes}`);
    lines.push(`rx_bytes=${rxBytes}`);
    lines.push(`persistent_keepalive_interval=${peer.keepaliveSeconds}`);
    for (const prefix of peer.allowedIps) lines.push(`allowed_ip=${formatPrefix(prefix)}`);
  }
  return lines.map((line) => `${line}\n`).join("");
}

/** The peer that the lines after a `public_key` line are about. */
type Section<P> =
  | { readonly kind: "device" }
  /** Named and not there; the first line that needs it makes it, unless `update_only` came. */
  | { readonly kind: "absent"; readonly publicKey: Uint8Array }
  | { readonly kind: "peer"; readonly peer: P; readonly created: boolean }
  /** Removed, not to be made, or this device itself: lines are checked and do nothing. */
  | { readonly kind: "dummy" };

/** One `set=1`; its result is 0 or an errno. */
class SetOperation<P extends UapiPeer> {
  readonly #now: Instant;
  readonly #device: UapiDevice<P>;
  #section: Section<P> = { kind: "device" };

  constructor(now: Instant, device: UapiDevice<P>) {
    this.#now = now;
    this.#device = device;
  }

  run(lines: readonly string[]): number {
    let errno = 0;
    let at = 1;
    try {
      for (; at < lines.length && errno === 0; at += 1) errno = this.#line(lines[at] as string);
      if (errno === 0) this.#materialize();
    } catch (error) {
      // A limit of the table of peers; what came before it stays in effect.
      if (!(error instanceof MeshError)) throw error;
      errno = ENOSPC;
    }
    releaseFrom(this.#device, lines, at);
    const settled = this.#device.settle(this.#now);
    return errno === 0 ? settled : errno;
  }

  #line(line: string): number {
    const equals = line.indexOf("=");
    if (equals < 0) return EPROTO;
    const key = line.slice(0, equals);
    const value = line.slice(equals + 1);
    if (key === "private_key" || key === "preshared_key") return this.#secretLine(key, value);
    if (key === "public_key") return this.#publicKeyLine(value);
    return this.#section.kind === "device"
      ? this.#deviceLine(key, value)
      : this.#peerLine(key, value);
  }

  /** Takes the handle, whatever becomes of the line. */
  #secretLine(key: "private_key" | "preshared_key", value: string): number {
    const handle = parseHandle(value);
    if (handle === undefined) return EINVAL;
    const secret = handle === 0 ? undefined : (handle as Secret);
    const inPlace = (key === "private_key") === (this.#section.kind === "device");
    const peer = key === "preshared_key" && inPlace ? this.#peer() : undefined;
    if (key === "private_key" && inPlace) this.#setLocalKey(secret);
    else if (peer !== undefined) this.#device.table.setPresharedKey(peer, secret);
    else if (secret !== undefined) this.#device.release(secret);
    return inPlace ? 0 : EINVAL;
  }

  /** The key that is there already changes nothing: its sessions live on. */
  #setLocalKey(secret: Secret | undefined): void {
    const current = this.#device.table.localPublicKey;
    const same =
      secret === undefined
        ? current === undefined
        : current !== undefined && equalBytes(this.#device.publicKeyOf(secret), current);
    if (!same) this.#device.setLocalKey(this.#now, secret);
    else if (secret !== undefined) this.#device.release(secret);
  }

  #publicKeyLine(value: string): number {
    this.#materialize();
    const publicKey = fromHex(value);
    if (publicKey?.length !== 32) return EINVAL;
    const own = this.#device.table.localPublicKey;
    const peer = this.#device.table.find(publicKey);
    if (own !== undefined && equalBytes(own, publicKey)) this.#section = { kind: "dummy" };
    else if (peer === undefined) this.#section = { kind: "absent", publicKey };
    else this.#section = { kind: "peer", peer, created: false };
    return 0;
  }

  #deviceLine(key: string, value: string): number {
    switch (key) {
      case "listen_port": {
        const port = parseNumber(value, 0xffff);
        return port === undefined ? EINVAL : this.#device.setListenPort(port);
      }
      case "fwmark": {
        const fwmark = parseNumber(value, 0xffffffff);
        return fwmark === undefined ? EINVAL : this.#device.setFwmark(fwmark);
      }
      case "replace_peers":
        if (value !== "true") return EINVAL;
        for (const peer of [...this.#device.table.peers()]) {
          this.#device.removePeer(this.#now, peer);
        }
        return 0;
      default:
        return EINVAL;
    }
  }

  #peerLine(key: string, value: string): number {
    switch (key) {
      case "update_only":
        return value === "true" ? this.#updateOnly() : EINVAL;
      case "remove":
        return value === "true" ? this.#remove() : EINVAL;
      case "replace_allowed_ips": {
        if (value !== "true") return this.#refuse();
        const peer = this.#peer();
        if (peer !== undefined) this.#device.table.clearAllowedIps(peer);
        return 0;
      }
      case "endpoint":
        return this.#endpointLine(value);
      case "persistent_keepalive_interval":
        return this.#keepaliveLine(value);
      case "allowed_ip":
        return this.#allowedIpLine(value);
      case "protocol_version":
        return value === "1" ? 0 : this.#refuse();
      default:
        return this.#refuse();
    }
  }

  #updateOnly(): number {
    const section = this.#section;
    if (section.kind === "peer" && section.created) {
      this.#device.removePeer(this.#now, section.peer);
    }
    if (section.kind === "absent" || (section.kind === "peer" && section.created)) {
      this.#section = { kind: "dummy" };
    }
    return 0;
  }

  #remove(): number {
    const section = this.#section;
    if (section.kind === "peer") this.#device.removePeer(this.#now, section.peer);
    this.#section = { kind: "dummy" };
    return 0;
  }

  #endpointLine(value: string): number {
    const peer = this.#peer();
    const endpoint = parseEndpoint(value, this.#device.scopeOf);
    if (endpoint === undefined) return EINVAL;
    if (peer !== undefined) this.#device.table.setEndpoint(this.#now, peer, endpoint);
    return 0;
  }

  #keepaliveLine(value: string): number {
    const peer = this.#peer();
    const seconds = parseNumber(value, 0xffff);
    if (seconds === undefined) return EINVAL;
    if (peer !== undefined) this.#device.table.setKeepalive(this.#now, peer, seconds);
    return 0;
  }

  /** `a/b` adds; `-a/b` takes away what is exactly that. */
  #allowedIpLine(value: string): number {
    const peer = this.#peer();
    const removes = value.startsWith("-");
    const text = removes ? value.slice(1) : value;
    const prefix = text.includes("/") ? parsePrefix(text) : undefined;
    if (prefix === undefined) return EINVAL;
    if (peer === undefined) return 0;
    if (!removes) this.#device.table.allowIp(peer, prefix);
    else if (holds(peer, prefix)) this.#device.table.disallowIp(peer, prefix);
    return 0;
  }

  /** The peer of this section, made now if need be; undefined where lines do nothing. */
  #peer(): P | undefined {
    this.#materialize();
    return this.#section.kind === "peer" ? this.#section.peer : undefined;
  }

  #materialize(): void {
    if (this.#section.kind !== "absent") return;
    const peer = this.#device.table.addPeer(this.#now, this.#section.publicKey);
    this.#section = { kind: "peer", peer, created: true };
  }

  /** A bad line leaves the peer that it was about, as an empty one. */
  #refuse(): number {
    this.#materialize();
    return EINVAL;
  }
}

function holds(peer: UapiPeer, prefix: Prefix): boolean {
  return peer.allowedIps.some((own) => own.bits === prefix.bits && own.address === prefix.address);
}

/** Digits only, as in wireguard-go; leading zeros are allowed. */
function parseNumber(text: string, max: number): number | undefined {
  if (!/^[0-9]{1,20}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= max ? value : undefined;
}

/** `@N`; 0 stands for a key of zeros, which is no key. */
function parseHandle(value: string): number | undefined {
  return value.startsWith("@") ? parseNumber(value.slice(1), 0xffffffff) : undefined;
}

/** Releases the keys of the lines that were not reached. */
function releaseFrom<P extends UapiPeer>(
  device: UapiDevice<P>,
  lines: readonly string[],
  first: number,
): void {
  for (const line of lines.slice(first)) {
    const match = /^(?:private_key|preshared_key)=(@.*)$/.exec(line);
    const handle = match === null ? undefined : parseHandle(match[1] as string);
    if (handle !== undefined && handle !== 0) device.release(handle as Secret);
  }
}

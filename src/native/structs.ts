/**
 * Translation between the structs of the border and the terms of `mesh/dataplane.ts`, field by field
 * at the offsets of `abi.ts`. Owns the buffers' shape and a cache of address texts; calls nothing.
 * What the library gives and this code does not know is left out, never guessed.
 */
import { type Endpoint, relayEndpoint, relayWayOf } from "../base/endpoint.ts";
import { assert, unreachable } from "../base/errors.ts";
import { formatAddress, fromMapped, parseAddress, toMapped } from "../base/ip.ts";
import type {
  Command,
  DataplaneEvent,
  NamedPeer,
  PeerRef,
  PeerStats,
  Prefix,
  ReceivedDatagram,
  Transmit,
} from "../mesh/dataplane.ts";
import type { CompiledRule } from "../trust/policy.ts";
import { abi } from "./abi.ts";

const { enums, flags, structs } = abi;

const addressCacheEntries = 1024;

const handshakeReasons = namesOf(enums.HandshakeReason);
const eventKinds = namesOf(enums.EventKind);
const datagramKinds = namesOf(enums.DatagramKind);

/** A buffer of equal structs. */
export class Records {
  readonly capacity: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #size: number;

  constructor(size: number, capacity: number) {
    this.#size = size;
    this.capacity = capacity;
    this.bytes = new Uint8Array(size * capacity);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Where a struct begins, in bytes. */
  at(index: number): number {
    return index * this.#size;
  }

  u32(at: number): number {
    return this.view.getUint32(at, true);
  }
}

/** Structs to values and back; one for a device, for the sake of its cache. */
export class StructCodec {
  readonly #addresses = new AddressCache();

  encodeCommand(records: Records, at: number, command: Command): void {
    const layout = structs.Command;
    const base = records.at(at);
    const { bytes, view } = records;
    bytes.fill(0, base, base + layout.size);
    view.setUint32(base + layout.kind, enums.CommandKind[command.kind], true);
    const put = (value: number): void =>
      view.setBigUint64(base + layout.number, BigInt(value), true);
    if ("peer" in command) encodePeer(view, base + layout.peer, command.peer);
    switch (command.kind) {
      case "peer_add":
        bytes.set(command.publicKey, base + layout.key);
        break;
      case "handshake_received":
      case "peer_mtu_set":
        put(command.bytes);
        break;
      case "peer_endpoint_set":
        this.#encodeEndpoint(records, base + layout.remote, command.remote);
        if (command.local !== undefined) {
          this.#encodeEndpoint(records, base + layout.local, command.local);
        }
        break;
      case "peer_keepalive_set":
        put(command.seconds);
        break;
      case "keypair_install":
        view.setUint32(
          base + layout.flags,
          command.initiator ? flags.keypair_flag_initiator : 0,
          true,
        );
        view.setUint32(base + layout.secret_send, command.send, true);
        view.setUint32(base + layout.secret_receive, command.receive, true);
        view.setUint32(base + layout.local_index, command.localIndex, true);
        view.setUint32(base + layout.remote_index, command.remoteIndex, true);
        break;
      case "local_key_set":
        if (command.publicKey !== undefined) bytes.set(command.publicKey, base + layout.key);
        break;
      case "introduction_key_set":
        if (command.identity !== undefined) bytes.set(command.identity, base + layout.key);
        break;
      case "peer_member_set":
        put(command.id);
        break;
      case "relay_set":
        put(command.id);
        view.setUint32(base + layout.local_index, command.kibPerSecond, true);
        break;
      case "stun_expect":
        put(command.ms);
        bytes.set(command.id, base + layout.key);
        break;
      case "listen_port_set":
        put(command.port);
        break;
      case "fwmark_set":
        put(command.fwmark);
        break;
      case "mtu_set":
        put(command.mtu);
        break;
      case "route_add":
      case "route_remove":
        put(command.table ?? 0);
        encodePrefix(records, base + layout.prefix, command.prefix);
        break;
      case "rule_add":
      case "rule_remove": {
        const { prefix, priority, table = 0, suppress, jump = 0 } = command.rule;
        put(table);
        view.setUint32(base + layout.local_index, priority, true);
        view.setUint32(base + layout.remote_index, jump, true);
        view.setUint32(base + layout.flags, suppress === undefined ? 0 : suppress + 1, true);
        encodePrefix(records, base + layout.prefix, prefix);
        break;
      }
      case "allowed_ip_add":
      case "allowed_ip_remove":
      case "address_add":
      case "address_remove":
      case "destinations_await":
      case "destination_refuse":
        encodePrefix(records, base + layout.prefix, command.prefix);
        break;
      case "peer_remove":
      case "allowed_ips_clear":
      case "keypairs_drop":
      case "staged_drop":
      case "link_up":
      case "side_sockets_open":
      case "side_sockets_close":
        break;
      default:
        unreachable(command);
    }
  }

  #encodeEndpoint(records: Records, at: number, endpoint: Endpoint): void {
    const way = relayWayOf(endpoint);
    if (way !== undefined) {
      const { view } = records;
      view.setUint32(at + structs.Endpoint.address, way.slot, true);
      view.setUint32(at + structs.Endpoint.address + 4, way.generation, true);
      view.setBigUint64(at + structs.Endpoint.address + 8, BigInt(way.far), true);
      view.setUint16(at + structs.Endpoint.family, abi.constants.family_relay, true);
      return;
    }
    const address = this.#addresses.parse(endpoint.address);
    records.bytes.set(address.mapped, at + structs.Endpoint.address);
    records.view.setUint32(at + structs.Endpoint.scope, endpoint.socket ?? address.scope, true);
    records.view.setUint16(at + structs.Endpoint.port, endpoint.port, true);
    records.view.setUint16(at + structs.Endpoint.family, address.family, true);
  }

  /** `offset`: where its bytes stand in the byte buffer beside it. */
  encodeTransmit(records: Records, at: number, offset: number, transmit: Transmit): void {
    const layout = structs.Datagram;
    const base = records.at(at);
    const { bytes, view } = records;
    const { length } = transmit.bytes;
    assert(length <= abi.constants.control_datagram_bytes_max, "a datagram fits its buffer");
    bytes.fill(0, base, base + layout.size);
    view.setUint32(base + layout.kind, kindOf(transmit), true);
    view.setUint32(base + layout.offset, offset, true);
    view.setUint32(base + layout.length, length, true);
    if (transmit.kind === "session_message" && transmit.padded !== undefined) {
      view.setUint32(base + layout.padded, transmit.padded, true);
    }
    if (transmit.peer !== undefined) encodePeer(view, base + layout.peer, transmit.peer);
    if (transmit.to !== undefined) {
      this.#encodeEndpoint(records, base + layout.remote, transmit.to);
    }
    if (transmit.from !== undefined) {
      this.#encodeEndpoint(records, base + layout.local, transmit.from);
    }
  }

  decodeEvent(records: Records, at: number): DataplaneEvent | undefined {
    const layout = structs.Event;
    const base = records.at(at);
    const number = (): number => Number(records.view.getBigUint64(base + layout.number, true));
    const peer = decodePeer(records, base + layout.peer);
    const reason = records.u32(base + layout.reason);
    const kind = eventKinds.get(records.u32(base + layout.kind));
    switch (kind) {
      case "handshake_wanted":
        return { kind, peer, reason: handshakeReasons.get(reason) ?? "no_keypair" };
      case "keypair_confirmed":
        return { kind, peer, localIndex: number() };
      case "session_expired":
        return { kind, peer };
      case "endpoint_roamed": {
        const remote = this.#decodeEndpoint(records, base + layout.remote);
        return remote === undefined ? undefined : { kind, peer, remote };
      }
      case "path_heard": {
        const remote = this.#decodeEndpoint(records, base + layout.remote);
        return remote === undefined ? undefined : { kind, peer, remote };
      }
      case "path_silent":
        return { kind, peer };
      case "path_mtu_wanted":
        return { kind, peer, mtu: number() };
      case "destination_wanted": {
        const remote = this.#decodeEndpoint(records, base + layout.remote);
        return remote === undefined ? undefined : { kind, address: remote.address };
      }
      case "mtu_changed":
        return { kind, mtu: number() };
      case "link_changed":
        return { kind, up: reason === 1 };
      case "fatal":
        return { kind, errno: number() };
      case "link_gone":
      case "network_changed":
      case "uapi_request":
        return { kind };
      case undefined:
        return undefined;
      default:
        return unreachable(kind);
    }
  }

  decodeDatagram(records: Records, at: number, bytes: Uint8Array): ReceivedDatagram | undefined {
    const layout = structs.Datagram;
    const base = records.at(at);
    const kind = datagramKinds.get(records.u32(base + layout.kind));
    if (kind === undefined || kind === "raw") return undefined;
    const remote = this.#decodeEndpoint(records, base + layout.remote);
    if (remote === undefined) return undefined;
    const local = this.#decodeEndpoint(records, base + layout.local, false);
    const offset = records.u32(base + layout.offset);
    const end = offset + records.u32(base + layout.length);
    assert(end <= bytes.length, "a datagram lies within the byte buffer");
    const peer = decodePeer(records, base + layout.peer);
    return {
      kind,
      bytes: bytes.subarray(offset, end),
      remote,
      ...(local === undefined ? undefined : { local }),
      ...(peer.generation === 0 ? undefined : { peer }),
    };
  }

  decodeStats(records: Records, at: number): PeerStats {
    const layout = structs.PeerStats;
    const base = records.at(at);
    const u64 = (at: number): number => Number(records.view.getBigUint64(base + at, true));
    return {
      peer: decodePeer(records, base + layout.peer),
      txBytes: u64(layout.tx_bytes),
      rxBytes: u64(layout.rx_bytes),
      txPackets: u64(layout.tx_packets),
      rxPackets: u64(layout.rx_packets),
      lastSentMs: u64(layout.last_sent_ns) / 1e6,
      lastReceivedMs: u64(layout.last_received_ns) / 1e6,
      keypairAtMs: u64(layout.keypair_at_ns) / 1e6,
      stagedPackets: records.u32(base + layout.staged_packets),
      remote: this.#decodeEndpoint(records, base + layout.remote),
    };
  }

  /** undefined: family 0, none. */
  #decodeEndpoint(records: Records, at: number, remote = true): Endpoint | undefined {
    const { view } = records;
    const family = view.getUint16(at + structs.Endpoint.family, true);
    if (family === 0) return undefined;
    if (family === abi.constants.family_relay) {
      const way = at + structs.Endpoint.address;
      const far = Number(view.getBigUint64(way + 8, true));
      return relayEndpoint({ slot: records.u32(way), generation: records.u32(way + 4), far });
    }
    const address = this.#addresses.format(
      records,
      at + structs.Endpoint.address,
      records.u32(at + structs.Endpoint.scope),
    );
    const port = view.getUint16(at + structs.Endpoint.port, true);
    // Of an IPv4 address it is the side socket; a local one says by which interface it came.
    const socket = family === 4 && remote ? records.u32(at + structs.Endpoint.scope) : 0;
    return socket === 0 ? { address, port } : { address, port, socket };
  }
}

function encodePeer(view: DataView, at: number, peer: PeerRef): void {
  view.setUint32(at + structs.PeerRef.slot, peer.slot, true);
  view.setUint32(at + structs.PeerRef.generation, peer.generation, true);
}

/** A rule after the other. */
export function encodeRules(rules: readonly CompiledRule[]): Records {
  const layout = structs.PolicyRule;
  const records = new Records(layout.size, Math.max(1, rules.length));
  for (const [at, rule] of rules.entries()) {
    const base = records.at(at);
    if (rule.destination !== undefined) {
      encodePrefix(records, base + layout.destination, rule.destination);
    }
    records.view.setUint16(base + layout.port_first, rule.first, true);
    records.view.setUint16(base + layout.port_last, rule.last, true);
    records.bytes[base + layout.protocol] = rule.protocol;
    records.bytes[base + layout.action] = rule.allow ? 1 : 0;
    records.bytes[base + layout.named] = rule.named ? 1 : 0;
  }
  return records;
}

/** Peers, and the set of each: a bit for each of so many rules, in words of 64 bits. */
export function encodeNamed(
  named: readonly NamedPeer[],
  rules: number,
): { readonly peers: Uint8Array; readonly sets: Uint8Array } {
  const peers = new Records(structs.PeerRef.size, Math.max(1, named.length));
  const setBytes = Math.ceil(rules / 64) * 8;
  const sets = new Uint8Array(Math.max(8, named.length * setBytes));
  for (const [at, { peer, rules: places }] of named.entries()) {
    encodePeer(peers.view, peers.at(at), peer);
    for (const place of places) {
      assert(place < rules, "a rule that is there");
      const byte = at * setBytes + (place >> 3);
      sets[byte] = (sets[byte] as number) | (1 << (place & 7));
    }
  }
  return { peers: peers.bytes, sets };
}

export function encodePrefixes(prefixes: readonly Prefix[]): Records {
  const records = new Records(structs.Prefix.size, Math.max(1, prefixes.length));
  for (const [at, prefix] of prefixes.entries()) encodePrefix(records, records.at(at), prefix);
  return records;
}

function encodePrefix(records: Records, at: number, prefix: Prefix): void {
  const address = parseAddress(prefix.address);
  assert(address !== undefined, "a prefix's address is canonical");
  records.bytes.set(address.bytes, at + structs.Prefix.address);
  records.bytes[at + structs.Prefix.bits] = prefix.bits;
  records.bytes[at + structs.Prefix.family] = address.family;
}

function decodePeer(records: Records, at: number): PeerRef {
  return {
    slot: records.u32(at + structs.PeerRef.slot),
    generation: records.u32(at + structs.PeerRef.generation),
  };
}

interface ParsedAddress {
  readonly mapped: Uint8Array;
  readonly scope: number;
  readonly family: 4 | 6;
}

/**
 * Texts of addresses and their bytes, both ways: peers' addresses come back in every turn. Each map
 * is emptied when it is full; strangers can fill it and gain nothing.
 */
class AddressCache {
  readonly #parsed = new Map<string, ParsedAddress>();
  readonly #formatted = new Map<string, string>();

  parse(text: string): ParsedAddress {
    const known = this.#parsed.get(text);
    if (known !== undefined) return known;
    const address = parseAddress(text);
    assert(address !== undefined, "an endpoint's address is canonical");
    const { family, scope } = address;
    const parsed = { mapped: toMapped(address), scope, family };
    if (this.#parsed.size >= addressCacheEntries) this.#parsed.clear();
    this.#parsed.set(text, parsed);
    return parsed;
  }

  format(records: Records, at: number, scope: number): string {
    const { view } = records;
    const key = `${view.getBigUint64(at, true)} ${view.getBigUint64(at + 8, true)} ${scope}`;
    const known = this.#formatted.get(key);
    if (known !== undefined) return known;
    const text = formatAddress(
      fromMapped(records.bytes.subarray(at, at + 16), scopeOf(records, at, scope)),
    );
    if (this.#formatted.size >= addressCacheEntries) this.#formatted.clear();
    this.#formatted.set(key, text);
    return text;
  }
}

/** A scope means something for link-local addresses only (RFC 4007 section 11). */
function scopeOf(records: Records, at: number, scope: number): number {
  const linkLocal =
    records.bytes[at] === 0xfe && ((records.bytes[at + 1] as number) & 0xc0) === 0x80;
  return linkLocal ? scope : 0;
}

function namesOf<Table extends Record<string, number>>(table: Table): Map<number, keyof Table> {
  return new Map(Object.entries(table).map(([name, value]) => [value, name]));
}

/** Handshake messages of a peer are named by their first byte; everything else is bytes. */
function kindOf(transmit: Transmit): number {
  const { DatagramKind } = enums;
  if (transmit.kind === "session_message") return DatagramKind.session_message;
  if (transmit.peer === undefined) return DatagramKind.raw;
  return transmit.bytes[0] === 1 ? DatagramKind.initiation : DatagramKind.response;
}

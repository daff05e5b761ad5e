/** Values to structs and back, where the library gives what a live device seldom does. */
import { expect, test } from "bun:test";
import { parseAddress, toMapped } from "../../../src/base/ip.ts";
import { abi } from "../../../src/native/abi.ts";
import { Records, StructCodec } from "../../../src/native/structs.ts";

const { enums, structs } = abi;

/** An endpoint's bytes, by the layout alone. */
function putEndpoint(records: Records, at: number, address: string, port: number, scope = 0): void {
  const parsed = parseAddress(address);
  if (parsed === undefined) throw new Error(address);
  records.bytes.set(toMapped(parsed), at + structs.Endpoint.address);
  records.view.setUint32(at + structs.Endpoint.scope, scope, true);
  records.view.setUint16(at + structs.Endpoint.port, port, true);
  records.view.setUint16(at + structs.Endpoint.family, parsed.family, true);
}

function event(kind: number, set: (view: DataView) => void = () => undefined): Records {
  const records = new Records(structs.Event.size, 1);
  records.view.setUint32(structs.Event.kind, kind, true);
  records.view.setUint32(structs.Event.peer + structs.PeerRef.slot, 7, true);
  records.view.setUint32(structs.Event.peer + structs.PeerRef.generation, 3, true);
  set(records.view);
  return records;
}

const peer = { slot: 7, generation: 3 };
const { EventKind, HandshakeReason } = enums;

test("each event of the library is what it was named", () => {
  const codec = new StructCodec();
  const decode = (records: Records) => codec.decodeEvent(records, 0);
  const reason = (value: number) => (view: DataView) =>
    view.setUint32(structs.Event.reason, value, true);
  const number = (value: bigint) => (view: DataView) =>
    view.setBigUint64(structs.Event.number, value, true);
  for (const [name, value] of Object.entries(HandshakeReason)) {
    const wanted = decode(event(EventKind.handshake_wanted, reason(value)));
    expect(wanted).toEqual({ kind: "handshake_wanted", peer, reason: name as "no_keypair" });
  }
  expect(decode(event(EventKind.keypair_confirmed, number(0xffffffffn)))).toEqual({
    kind: "keypair_confirmed",
    peer,
    localIndex: 0xffffffff,
  });
  expect(decode(event(EventKind.session_expired))).toEqual({ kind: "session_expired", peer });
  expect(decode(event(EventKind.mtu_changed, number(1400n)))).toEqual({
    kind: "mtu_changed",
    mtu: 1400,
  });
  expect(decode(event(EventKind.link_changed, reason(1)))).toEqual({
    kind: "link_changed",
    up: true,
  });
  expect(decode(event(EventKind.link_changed))).toEqual({ kind: "link_changed", up: false });
  expect(decode(event(EventKind.fatal, number(5n)))).toEqual({ kind: "fatal", errno: 5 });
  expect(decode(event(EventKind.link_gone))).toEqual({ kind: "link_gone" });
  expect(decode(event(EventKind.uapi_request))).toEqual({ kind: "uapi_request" });
});

test("an event that this code does not know is left out", () => {
  expect(new StructCodec().decodeEvent(event(999), 0)).toBeUndefined();
});

test.each([
  ["192.0.2.1", 0, "192.0.2.1"],
  ["2001:db8::1", 0, "2001:db8::1"],
  ["fe80::1", 4, "fe80::1%4"],
  ["febf::1", 4, "febf::1%4"],
  // The arrival interface of a global address is no part of its name.
  ["2001:db8::1", 4, "2001:db8::1"],
  ["fec0::1", 4, "fec0::1"],
])("the endpoint %s on interface %d is called %s", (address, scope, text) => {
  const codec = new StructCodec();
  const records = event(EventKind.endpoint_roamed);
  putEndpoint(records, structs.Event.remote, address, 65535, scope);
  for (let twice = 0; twice < 2; twice += 1) {
    expect(codec.decodeEvent(records, 0)).toEqual({
      kind: "endpoint_roamed",
      peer,
      remote: { address: text, port: 65535 },
    });
  }
});

test("an endpoint is encoded as it was decoded, its scope too", () => {
  const codec = new StructCodec();
  const layout = structs.Command;
  const records = new Records(layout.size, 2);
  for (const address of ["fe80::1%4", "192.0.2.1", "2001:db8::1"]) {
    records.bytes.fill(0xee);
    const remote = { address, port: 51820 };
    codec.encodeCommand(records, 1, {
      kind: "peer_endpoint_set",
      peer,
      remote,
    });
    const expected = new Records(layout.size, 1);
    putEndpoint(expected, layout.remote, address, 51820, address.includes("%") ? 4 : 0);
    const part = (r: Records, from: number): Uint8Array =>
      r.bytes.slice(from + layout.remote, from + layout.remote + structs.Endpoint.size);
    expect(part(records, layout.size)).toEqual(part(expected, 0));
    // No local address: all zero, whatever stood there; and the other record is untouched.
    const local = layout.size + layout.local;
    expect(records.bytes.slice(local, local + structs.Endpoint.size)).toEqual(
      new Uint8Array(structs.Endpoint.size),
    );
    expect(records.bytes[0]).toBe(0xee);
  }
});

test("a prefix keeps its family: four bytes for IPv4, sixteen for IPv6", () => {
  const codec = new StructCodec();
  const layout = structs.Command;
  const records = new Records(layout.size, 1);
  const encode = (address: string, bits: number): number[] => {
    codec.encodeCommand(records, 0, { kind: "allowed_ip_add", peer, prefix: { address, bits } });
    return [...records.bytes.slice(layout.prefix, layout.prefix + structs.Prefix.size)];
  };
  expect(encode("10.1.0.0", 16)).toEqual([
    10,
    1,
    ...new Array(14).fill(0),
    16,
    4,
    0,
    0,
    0,
    0,
    0,
    0,
  ]);
  const mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 1, 2, 3, 0];
  expect(encode("::ffff:1.2.3.0", 120)).toEqual([...mapped, 120, 6, 0, 0, 0, 0, 0, 0]);
});

test("a received datagram has its bytes, its peer where it has one, and both addresses", () => {
  const codec = new StructCodec();
  const layout = structs.Datagram;
  const records = new Records(layout.size, 1);
  const bytes = new Uint8Array(32).fill(1, 8, 20);
  records.view.setUint32(layout.kind, enums.DatagramKind.initiation, true);
  records.view.setUint32(layout.offset, 8, true);
  records.view.setUint32(layout.length, 12, true);
  expect(codec.decodeDatagram(records, 0, bytes)).toBeUndefined(); // from nowhere
  putEndpoint(records, layout.remote, "192.0.2.1", 9);
  putEndpoint(records, layout.local, "192.0.2.2", 10, 3);
  expect(codec.decodeDatagram(records, 0, bytes)).toEqual({
    kind: "initiation",
    bytes: new Uint8Array(12).fill(1),
    remote: { address: "192.0.2.1", port: 9 },
    local: { address: "192.0.2.2", port: 10 },
  });
  records.view.setUint32(layout.kind, enums.DatagramKind.session_message, true);
  records.view.setUint32(layout.peer + structs.PeerRef.generation, 2, true);
  expect(codec.decodeDatagram(records, 0, bytes)?.peer).toEqual({ slot: 0, generation: 2 });
});

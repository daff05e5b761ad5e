//! Packets that come back: sealed for a peer, and routed into that peer's tunnel again. Pure.
const std = @import("std");
const abi = @import("abi.zig");
const inner_packet = @import("inner_packet.zig");

const protocol_udp = 17;

/// Whether a packet is one that was sealed for this peer already, and routed into its own tunnel:
/// it would be sealed and come back for ever. Fragments of it carry no port.
pub fn leadsBack(remote: *const abi.Endpoint, inner: *const inner_packet.Inner, packet: []const u8) bool {
    const same = switch (inner.family) {
        .v4 => remote.family == 4 and
            std.mem.eql(u8, inner.destination[0..4], remote.address[12..16]),
        .v6 => remote.family == 6 and std.mem.eql(u8, &inner.destination, &remote.address),
    };
    if (!same) return false;
    const found = inner_packet.transport(packet, inner) orelse return false;
    if (found.protocol != protocol_udp) return false;
    if (found.fragment) return true;
    const header = packet[found.offset..];
    return header.len >= 4 and std.mem.readInt(u16, header[2..4], .big) == remote.port;
}

test "a packet sealed for a peer does not enter that peer's tunnel again" {
    var address: [16]u8 = @splat(0);
    address[10..12].* = .{ 0xff, 0xff };
    address[12..16].* = .{ 192, 0, 2, 1 };
    const remote: abi.Endpoint = .{ .address = address, .port = 51_820, .family = 4 };
    // IPv4, UDP, to the peer's endpoint.
    var packet: [28]u8 = @splat(0);
    packet[0] = 0x45;
    packet[3] = packet.len;
    packet[9] = protocol_udp;
    packet[16..20].* = .{ 192, 0, 2, 1 };
    std.mem.writeInt(u16, packet[22..24], 51_820, .big);
    try std.testing.expect(leadsBack(&remote, &inner_packet.parse(&packet).?, &packet));
    // A fragment of such a packet, whatever lies where the port would be.
    packet[7] = 1;
    packet[22] = 0;
    try std.testing.expect(leadsBack(&remote, &inner_packet.parse(&packet).?, &packet));
    packet[7] = 0;
    try std.testing.expect(!leadsBack(&remote, &inner_packet.parse(&packet).?, &packet));
    // Another protocol, or another host.
    std.mem.writeInt(u16, packet[22..24], 51_820, .big);
    packet[9] = 6;
    try std.testing.expect(!leadsBack(&remote, &inner_packet.parse(&packet).?, &packet));
    packet[9] = protocol_udp;
    packet[19] = 2;
    try std.testing.expect(!leadsBack(&remote, &inner_packet.parse(&packet).?, &packet));
}

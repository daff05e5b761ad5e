//! Explicit congestion notification through the tunnel (RFC 6040, normal mode): the two bits go out
//! on the outer header as they are on the inner one, and what routers on the way made of them comes
//! back to the inner header. Pure. The rest of the traffic class stays inside: on the outer header
//! of data it is zero.
const std = @import("std");
const assert = std.debug.assert;
const checksum = @import("checksum.zig");

pub const not_ect: u2 = 0;
pub const ect1: u2 = 1;
pub const ect0: u2 = 2;
pub const ce: u2 = 3;

/// What the outer header of a packet says (RFC 6040 section 4.1); of what is no IP packet, nothing.
pub fn ofPacket(packet: []const u8) u2 {
    if (packet.len < 2) return not_ect;
    return switch (packet[0] >> 4) {
        4 => @truncate(packet[1]),
        6 => @truncate(packet[1] >> 4),
        else => not_ect,
    };
}

/// What the inner header says on arrival (RFC 6040 section 4.2, figure 4); null: the packet is to be
/// dropped, because its sender would not understand that there was congestion.
pub fn decapsulate(inner: u2, outer: u2) ?u2 {
    return switch (inner) {
        not_ect => if (outer == ce) null else not_ect,
        ect0 => if (outer == not_ect) ect0 else outer,
        ect1 => if (outer == ce) ce else ect1,
        ce => ce,
    };
}

/// Writes the bits into a packet whose header was parsed. The checksum of IPv4 stays as right, or as
/// wrong, as it was (RFC 1624).
pub fn mark(packet: []u8, bits: u2) void {
    if (packet[0] >> 4 == 6) {
        packet[1] = (packet[1] & 0xcf) | @as(u8, bits) << 4;
        return;
    }
    assert(packet[0] >> 4 == 4 and packet.len >= 20);
    const before = std.mem.readInt(u16, packet[0..2], .big);
    packet[1] = (packet[1] & 0xfc) | bits;
    const after = std.mem.readInt(u16, packet[0..2], .big);
    // HC' = ~(~HC + ~m + m').
    const kept = ~std.mem.readInt(u16, packet[10..12], .big);
    var sum = @as(u32, kept) + ~before + after;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    std.mem.writeInt(u16, packet[10..12], ~@as(u16, @truncate(sum)), .big);
}

const testing = std.testing;
const samples = @import("packet_samples.zig");

test "what arrives is RFC 6040's figure 4" {
    // Rows: the inner header; columns: Not-ECT, ECT(0), ECT(1), CE outside.
    const outers = [_]u2{ not_ect, ect0, ect1, ce };
    const table = [_]struct { u2, [4]?u2 }{
        .{ not_ect, .{ not_ect, not_ect, not_ect, null } },
        .{ ect0, .{ ect0, ect0, ect1, ce } },
        .{ ect1, .{ ect1, ect1, ect1, ce } },
        .{ ce, .{ ce, ce, ce, ce } },
    };
    for (table) |row| for (outers, row[1]) |outer, expected| {
        try testing.expectEqual(expected, decapsulate(row[0], outer));
    };
}

test "the bits are read and written in place, and nothing else changes but IPv4's checksum" {
    var room: [256]u8 = undefined;
    for ([_]@import("inner_packet.zig").Family{ .v4, .v6 }) |family| {
        for (0..256) |class| for (0..4) |bits| {
            const shape: samples.Shape = .{ .family = family, .traffic_class = @intCast(class), .seed = class };
            const packet = samples.write(&room, shape);
            try testing.expectEqual(@as(u2, @truncate(class)), ofPacket(packet));
            mark(packet, @intCast(bits));
            try testing.expectEqual(bits, ofPacket(packet));
            try testing.expect(samples.isCorrect(packet));
            mark(packet, @truncate(class));
            var again: [256]u8 = undefined;
            try testing.expectEqualSlices(u8, samples.write(&again, shape), packet);
        };
    }
    for ([_][]const u8{ "", "\x45", "\x00\xff", "\x1f\xff\x00\x00" }) |other| {
        try testing.expectEqual(not_ect, ofPacket(other));
    }
}

test "a checksum that was wrong stays wrong by as much" {
    var room: [256]u8 = undefined;
    const packet = samples.write(&room, .{ .traffic_class = 2 });
    const right = std.mem.readInt(u16, packet[10..12], .big);
    std.mem.writeInt(u16, packet[10..12], right +% 77, .big);
    mark(packet, ce);
    mark(packet, ect0);
    try testing.expectEqual(right +% 77, std.mem.readInt(u16, packet[10..12], .big));
    try testing.expect(!checksum.valid(checksum.add(0, packet[0..20])));
}

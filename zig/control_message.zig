//! Reads the control messages that arrive beside UDP datagrams (`recvmsg`, cmsg(3)).
//!
//! Owns the walk over a control buffer and the layouts of the few messages that are asked for.
//! Does not own the socket, nor the options that ask. The buffer comes from the kernel, but its
//! length and the lengths inside it are checked all the same: a message that does not fit ends
//! the walk, one of another kind or size is passed over.

const std = @import("std");
const assert = std.debug.assert;
const abi = @import("abi.zig");

/// `struct cmsghdr` on 64-bit Linux: a length (header included), a level and a type.
const header_size = 16;
const alignment = 8;

/// What IPv4 addresses begin with where IPv6 addresses are expected (RFC 4291 section 2.5.5.2).
const mapped_prefix = @as([10]u8, @splat(0)) ++ [2]u8{ 0xff, 0xff };

comptime {
    assert(@sizeOf(usize) == 8);
    assert(@import("builtin").cpu.arch.endian() == .little);
}

pub const level_socket = 1;
pub const level_ip = 0;
pub const level_ipv6 = 41;
pub const level_udp = 17;
pub const type_ip_tos = 1;
pub const type_ip_pktinfo = 8;
pub const type_ipv6_pktinfo = 50;
pub const type_ipv6_tclass = 67;
pub const type_udp_gro = 104;

/// What came beside a datagram; null for what did not.
pub const Control = struct {
    /// UDP_GRO: the datagram is several, each of this many bytes but perhaps the last.
    segment_size: ?u16 = null,
    /// IP_PKTINFO or IPV6_PKTINFO: the address it was sent to, without the port, and in `scope`
    /// the interface on which it arrived.
    local: ?abi.Endpoint = null,
    /// IP_TOS or IPV6_TCLASS: the outer traffic class; its low two bits are ECN.
    traffic_class: ?u8 = null,
};

/// Reads the first `msg_controllen` bytes of a control buffer.
pub fn parse(control: []const u8) Control {
    var result: Control = .{};
    var rest = control;
    while (rest.len >= header_size) {
        const length = std.mem.readInt(u64, rest[0..8], .little);
        if (length < header_size or length > rest.len) break;
        const level = std.mem.readInt(i32, rest[8..12], .little);
        const kind = std.mem.readInt(i32, rest[12..16], .little);
        read(&result, level, kind, rest[header_size..@intCast(length)]);
        // The last message may end without its padding.
        const step = std.mem.alignForward(usize, @intCast(length), alignment);
        rest = rest[@min(step, rest.len)..];
    }
    return result;
}

fn read(result: *Control, level: i32, kind: i32, data: []const u8) void {
    switch (level) {
        level_udp => if (kind == type_udp_gro) {
            result.segment_size = segmentSize(data) orelse return;
        },
        level_ip => switch (kind) {
            // int interface, struct in_addr local, struct in_addr destination. The second is
            // where an answer comes from; the third may be a broadcast address.
            type_ip_pktinfo => if (data.len >= 12) {
                result.local = .{
                    .address = mapped_prefix ++ data[4..8].*,
                    .scope = std.mem.readInt(u32, data[0..4], .little),
                    .family = 4,
                };
            },
            type_ip_tos => if (data.len >= 1) {
                result.traffic_class = data[0];
            },
            else => {},
        },
        level_ipv6 => switch (kind) {
            type_ipv6_pktinfo => if (data.len >= 20) {
                result.local = .{
                    .address = data[0..16].*,
                    .scope = std.mem.readInt(u32, data[16..20], .little),
                    // IPv4 datagrams arrive at a dual-stack socket with mapped addresses.
                    .family = if (std.mem.startsWith(u8, data, &mapped_prefix)) 4 else 6,
                };
            },
            type_ipv6_tclass => if (data.len >= 4) {
                result.traffic_class = data[0];
            },
            else => {},
        },
        else => {},
    }
}

/// An int, or 16 bits in older kernels. Null for a size no segment can have.
fn segmentSize(data: []const u8) ?u16 {
    const size: i32 = switch (data.len) {
        2, 3 => std.mem.readInt(u16, data[0..2], .little),
        0, 1 => return null,
        else => std.mem.readInt(i32, data[0..4], .little),
    };
    if (size < 1 or size > std.math.maxInt(u16)) return null;
    return @intCast(size);
}

const testing = std.testing;

/// Builds a control buffer as the kernel does.
const Builder = struct {
    bytes: [512]u8 = @splat(0),
    length: usize = 0,

    fn put(self: *Builder, level: i32, kind: i32, data: []const u8) void {
        self.putWithLength(level, kind, data, header_size + data.len);
    }

    fn putWithLength(self: *Builder, level: i32, kind: i32, data: []const u8, length: u64) void {
        const at = self.bytes[self.length..];
        std.mem.writeInt(u64, at[0..8], length, .little);
        std.mem.writeInt(i32, at[8..12], level, .little);
        std.mem.writeInt(i32, at[12..16], kind, .little);
        @memcpy(at[16..][0..data.len], data);
        self.length += std.mem.alignForward(usize, header_size + data.len, alignment);
    }

    fn parsed(self: *const Builder) Control {
        return parse(self.bytes[0..self.length]);
    }
};

test "every message that is asked for is read" {
    var builder: Builder = .{};
    builder.put(level_udp, type_udp_gro, &.{ 0xac, 0x05, 0, 0 });
    builder.put(level_ipv6, type_ipv6_tclass, &.{ 0xb9, 0, 0, 0 });
    const address = [16]u8{ 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8 };
    builder.put(level_ipv6, type_ipv6_pktinfo, &(address ++ [4]u8{ 3, 0, 0, 0 }));
    const control = builder.parsed();
    try testing.expectEqual(1452, control.segment_size);
    try testing.expectEqual(0xb9, control.traffic_class);
    const local: abi.Endpoint = .{ .address = address, .scope = 3, .family = 6 };
    try testing.expectEqual(local, control.local);
}

test "an IPv4 local address is the one to answer from, in mapped form" {
    var builder: Builder = .{};
    builder.put(level_ip, type_ip_tos, &.{3});
    builder.put(level_ip, type_ip_pktinfo, &.{ 9, 0, 0, 0, 10, 0, 0, 1, 10, 0, 0, 255 });
    const control = builder.parsed();
    try testing.expectEqual(3, control.traffic_class);
    const mapped = [16]u8{ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1 };
    const local: abi.Endpoint = .{ .address = mapped, .scope = 9, .family = 4 };
    try testing.expectEqual(local, control.local);
    try testing.expectEqual(null, control.segment_size);

    builder.put(level_ipv6, type_ipv6_pktinfo, &(mapped ++ [4]u8{ 9, 0, 0, 0 }));
    try testing.expectEqual(local, builder.parsed().local);
}

test "a segment size is an int or 16 bits, and must be possible" {
    const cases = [_]struct { []const u8, ?u16 }{
        .{ &.{ 0xff, 0xff }, 65535 },            .{ &.{ 0xff, 0xff, 0, 0 }, 65535 },
        .{ &.{ 0, 0, 1, 0 }, null },             .{ &.{ 0, 0 }, null },
        .{ &.{ 0, 0, 0, 0 }, null },             .{ &.{ 1, 0, 0, 0x80 }, null },
        .{ &.{ 0xff, 0xff, 0xff, 0xff }, null }, .{ &.{5}, null },
        .{ &.{ 5, 1, 1 }, 0x105 },               .{ &.{}, null },
        .{ &.{ 1, 0, 0, 0, 9, 9, 9, 9 }, 1 },
    };
    for (cases) |case| {
        var builder: Builder = .{};
        builder.put(level_udp, type_udp_gro, case[0]);
        try testing.expectEqual(case[1], builder.parsed().segment_size);
    }
}

test "unknown and short messages are passed over, and later ones still read" {
    var builder: Builder = .{};
    builder.put(level_ip, type_ip_pktinfo, &.{ 9, 0, 0, 0, 10, 0, 0, 1 });
    builder.put(level_ipv6, type_ipv6_pktinfo, &.{ 9, 0, 0, 0 });
    builder.put(level_socket, 40, &.{ 1, 2, 3, 4 });
    builder.put(level_ipv6, type_ipv6_tclass, &.{1});
    builder.put(level_ip, type_ip_tos, &.{});
    builder.put(level_udp, 103, &.{ 1, 0, 0, 0 });
    builder.put(level_socket, type_udp_gro, &.{ 1, 0, 0, 0 });
    builder.put(-1, -1, &.{ 1, 2, 3, 4, 5 });
    try testing.expectEqual(Control{}, builder.parsed());
    builder.put(level_udp, type_udp_gro, &.{ 7, 0, 0, 0 });
    try testing.expectEqual(Control{ .segment_size = 7 }, builder.parsed());
}

test "a length that does not fit ends the walk" {
    const lengths = [_]u64{
        0,       15, 21, 1 << 16, 1 << 63, std.math.maxInt(u64), std.math.maxInt(u64) - 7,
        1 << 32,
    };
    for (lengths) |length| {
        var builder: Builder = .{};
        builder.put(level_ip, type_ip_tos, &.{2});
        builder.putWithLength(level_udp, type_udp_gro, &.{ 1, 0, 0, 0 }, length);
        try testing.expectEqual(Control{ .traffic_class = 2 }, parse(builder.bytes[0 .. 24 + 20]));
    }
    // The last message without its padding is whole; with a byte less it is not.
    var builder: Builder = .{};
    builder.put(level_udp, type_udp_gro, &.{ 1, 0, 0, 0 });
    try testing.expectEqual(1, parse(builder.bytes[0..20]).segment_size);
    try testing.expectEqual(null, parse(builder.bytes[0..19]).segment_size);
    try testing.expectEqual(Control{}, parse(&.{}));
}

test "random control buffers are read or left, never read beyond their end" {
    var prng = std.Random.DefaultPrng.init(0x636d7367);
    const random = prng.random();
    var some: usize = 0;
    for (0..20_000) |_| {
        var builder: Builder = .{};
        for (0..random.uintLessThan(usize, 6)) |_| {
            var data: [24]u8 = undefined;
            random.bytes(&data);
            const levels = [_]i32{ level_socket, level_ip, level_ipv6, level_udp };
            const kinds = [_]i32{ 1, 8, 40, 50, 67, 104 };
            const level = levels[random.uintLessThan(usize, levels.len)];
            const kind = kinds[random.uintLessThan(usize, kinds.len)];
            const size = random.uintAtMost(usize, data.len);
            builder.put(level, kind, data[0..size]);
        }
        for (0..random.uintLessThan(usize, 3)) |_| {
            builder.bytes[random.uintLessThan(usize, builder.length + 1)] = random.int(u8);
        }
        const cut = random.uintAtMost(usize, builder.length);
        if (!std.meta.eql(parse(builder.bytes[0..cut]), Control{})) some += 1;
    }
    try testing.expect(some > 1000);
}

//! Reads the IP header of a packet inside the tunnel, and says how long a packet is padded.
//!
//! Everything here is read from bytes that a peer, or a program behind the TUN, has chosen:
//! lengths are checked against the slice before use, sums are computed in 32 bits, and what
//! does not fit is null. Owns nothing, changes nothing, allocates nothing.

const std = @import("std");
const assert = std.debug.assert;
const constants = @import("constants.zig");

pub const Family = enum(u8) { v4 = 4, v6 = 6 };

pub const ipv4_header_size_min = 20;
pub const ipv6_header_size = 40;

/// What an inner packet says of itself. `total_length` and `header_length` lie within the
/// bytes it was parsed from; the receiver trims the packet (and its padding) to the former.
pub const Inner = struct {
    family: Family,
    /// Addresses in network order; IPv4 uses the first four bytes, the others are zero.
    source: [16]u8,
    destination: [16]u8,
    /// Header and payload in bytes, as the header says.
    total_length: u32,
    /// IPv4 header with its options, or the 40 bytes of the fixed IPv6 header.
    header_length: u32,
    /// IPv4 protocol, or the IPv6 next header, which may be an extension header.
    protocol: u8,
    /// The two ECN bits (RFC 3168).
    ecn: u2,

    pub fn source4(self: *const Inner) [4]u8 {
        assert(self.family == .v4);
        return self.source[0..4].*;
    }

    pub fn destination4(self: *const Inner) [4]u8 {
        assert(self.family == .v4);
        return self.destination[0..4].*;
    }
};

/// Null unless the bytes begin with an IP packet that lies whole within them. Bytes after
/// it are allowed: they are the padding.
pub fn parse(bytes: []const u8) ?Inner {
    if (bytes.len < ipv4_header_size_min) return null;
    return switch (bytes[0] >> 4) {
        4 => parse4(bytes),
        6 => parse6(bytes),
        else => null,
    };
}

fn parse4(bytes: []const u8) ?Inner {
    const header_length = @as(u32, bytes[0] & 0x0f) * 4;
    if (header_length < ipv4_header_size_min) return null;
    const total_length: u32 = std.mem.readInt(u16, bytes[2..4], .big);
    if (total_length < header_length or total_length > bytes.len) return null;
    return .{
        .family = .v4,
        .source = bytes[12..16].* ++ @as([12]u8, @splat(0)),
        .destination = bytes[16..20].* ++ @as([12]u8, @splat(0)),
        .total_length = total_length,
        .header_length = header_length,
        .protocol = bytes[9],
        .ecn = @truncate(bytes[1]),
    };
}

fn parse6(bytes: []const u8) ?Inner {
    if (bytes.len < ipv6_header_size) return null;
    // In 32 bits: 40 plus a payload length near 65,535 does not fit 16.
    const total_length = ipv6_header_size + @as(u32, std.mem.readInt(u16, bytes[4..6], .big));
    if (total_length > bytes.len) return null;
    return .{
        .family = .v6,
        .source = bytes[8..24].*,
        .destination = bytes[24..40].*,
        .total_length = total_length,
        .header_length = ipv6_header_size,
        .protocol = bytes[6],
        .ecn = @truncate(bytes[1] >> 4),
    };
}

/// Most IPv6 extension headers followed before a packet is given up.
pub const extension_headers_max = 8;

/// Where the transport header of a packet begins, counted from the start of the packet.
pub const Transport = struct {
    protocol: u8,
    offset: u32,
    /// Part of a fragmented packet, or said to be: a fragment may be the only one.
    fragment: bool,
    /// Past the first one: what lies at `offset` is no header.
    later: bool = false,
};

/// Walks IPv6 extension headers (RFC 8200 section 4). For those who need the transport
/// protocol; the packet path itself does not. Null if the chain leaves the packet or is longer
/// than `extension_headers_max`. `offset` may equal the length of the packet.
pub fn transport(bytes: []const u8, inner: *const Inner) ?Transport {
    assert(inner.total_length <= bytes.len);
    const packet = bytes[0..inner.total_length];
    if (inner.family == .v4) {
        const where = std.mem.readInt(u16, packet[6..8], .big);
        return .{
            .protocol = inner.protocol,
            .offset = inner.header_length,
            .fragment = where & 0x3fff != 0,
            .later = where & 0x1fff != 0,
        };
    }
    var result: Transport = .{
        .protocol = inner.protocol,
        .offset = ipv6_header_size,
        .fragment = false,
    };
    for (0..extension_headers_max + 1) |_| {
        const rest = packet[result.offset..];
        const size: u32 = switch (result.protocol) {
            // Hop-by-hop, routing, destination options, mobility, HIP, shim6.
            0, 43, 60, 135, 139, 140 => if (rest.len < 8)
                return null
            else
                (@as(u32, rest[1]) + 1) * 8,
            44 => 8,
            // The authentication header counts in units of four bytes (RFC 4302).
            51 => if (rest.len < 8) return null else (@as(u32, rest[1]) + 2) * 4,
            else => return result,
        };
        if (size > rest.len) return null;
        if (result.protocol == 44) {
            result.fragment = true;
            if (std.mem.readInt(u16, rest[2..4], .big) >> 3 != 0) result.later = true;
        }
        result.protocol = rest[0];
        result.offset += size;
    }
    return null;
}

/// The length of a packet of `len` bytes with its zero padding (WireGuard paper, section
/// 5.4.6): a multiple of 16, but not beyond the MTU of the interface (0: none known), or else
/// the padding alone would make the outer packet too large. A packet above the MTU is padded
/// as its last MTU-sized part.
pub fn paddedLength(len: u32, mtu: u32) u32 {
    assert(len <= 1 << 30);
    if (mtu == 0) return alignPadding(len);
    const last_unit = if (len > mtu) len % mtu else len;
    const padded = @min(mtu, alignPadding(last_unit));
    return len + (padded - last_unit);
}

fn alignPadding(len: u32) u32 {
    return std.mem.alignForward(u32, len, constants.padding_multiple);
}

const testing = std.testing;

/// A packet of `size` bytes whose header says `total` (IPv4) or whose payload length is `total`
/// (IPv6).
fn sample(buffer: []u8, version: u4, ihl: u4, total: u16) void {
    @memset(buffer, 0);
    buffer[0] = @as(u8, version) << 4;
    if (version == 4) {
        buffer[0] |= ihl;
        buffer[1] = 0xb9;
        std.mem.writeInt(u16, buffer[2..4], total, .big);
        buffer[9] = 17;
        buffer[12..16].* = .{ 10, 0, 0, 1 };
        buffer[16..20].* = .{ 10, 0, 0, 2 };
    } else {
        // Traffic class 0xb9: ECN 1, and all but that must be ignored.
        buffer[0] |= 0x0b;
        buffer[1] = 0x9f;
        std.mem.writeInt(u16, buffer[4..6], total, .big);
        buffer[6] = 6;
        buffer[8] = 0xfd;
        buffer[23] = 1;
        buffer[24] = 0xfd;
        buffer[39] = 2;
    }
}

test "an IPv4 packet gives its addresses, lengths, protocol and ECN" {
    var bytes: [64]u8 = undefined;
    sample(&bytes, 4, 6, 60);
    const inner = parse(&bytes).?;
    try testing.expectEqual(Family.v4, inner.family);
    try testing.expectEqual([4]u8{ 10, 0, 0, 1 }, inner.source4());
    try testing.expectEqual([4]u8{ 10, 0, 0, 2 }, inner.destination4());
    try testing.expectEqual(60, inner.total_length);
    try testing.expectEqual(24, inner.header_length);
    try testing.expectEqual(17, inner.protocol);
    try testing.expectEqual(1, inner.ecn);
}

test "an IPv6 packet gives its addresses, lengths, next header and ECN" {
    var bytes: [64]u8 = undefined;
    sample(&bytes, 6, 0, 20);
    const inner = parse(&bytes).?;
    try testing.expectEqual(Family.v6, inner.family);
    try testing.expectEqual([_]u8{0xfd} ++ @as([14]u8, @splat(0)) ++ [_]u8{1}, inner.source);
    try testing.expectEqual(2, inner.destination[15]);
    try testing.expectEqual(60, inner.total_length);
    try testing.expectEqual(6, inner.protocol);
    try testing.expectEqual(1, inner.ecn);
}

test "packets that do not fit their bytes are null" {
    const Case = struct { size: usize, version: u4, ihl: u4 = 5, total: u16, valid: bool };
    const cases = [_]Case{
        .{ .size = 20, .version = 4, .total = 20, .valid = true },
        .{ .size = 64, .version = 4, .total = 20, .valid = true },
        .{ .size = 64, .version = 4, .total = 64, .valid = true },
        .{ .size = 64, .version = 4, .total = 65, .valid = false },
        .{ .size = 64, .version = 4, .total = 19, .valid = false },
        .{ .size = 64, .version = 4, .total = 0, .valid = false },
        .{ .size = 64, .version = 4, .total = 65535, .valid = false },
        .{ .size = 64, .version = 4, .ihl = 4, .total = 40, .valid = false },
        .{ .size = 64, .version = 4, .ihl = 0, .total = 40, .valid = false },
        .{ .size = 64, .version = 4, .ihl = 15, .total = 60, .valid = true },
        .{ .size = 64, .version = 4, .ihl = 15, .total = 59, .valid = false },
        .{ .size = 40, .version = 6, .total = 0, .valid = true },
        .{ .size = 64, .version = 6, .total = 24, .valid = true },
        .{ .size = 64, .version = 6, .total = 25, .valid = false },
        .{ .size = 64, .version = 0, .total = 20, .valid = false },
        .{ .size = 64, .version = 5, .total = 20, .valid = false },
        .{ .size = 64, .version = 15, .total = 20, .valid = false },
    };
    for (cases) |case| {
        var bytes: [64]u8 = undefined;
        sample(&bytes, case.version, case.ihl, case.total);
        try testing.expectEqual(case.valid, parse(bytes[0..case.size]) != null);
    }
}

test "a slice shorter than the header of its version is null" {
    var bytes: [64]u8 = undefined;
    for ([_]u4{ 4, 6 }) |version| {
        sample(&bytes, version, 5, if (version == 4) 20 else 0);
        const size: usize = if (version == 4) 20 else 40;
        for (0..size) |len| try testing.expectEqual(null, parse(bytes[0..len]));
        try testing.expect(parse(bytes[0..size]) != null);
    }
}

test "an IPv6 payload length near 65,535 does not wrap" {
    const bytes = try testing.allocator.alloc(u8, 65535 + 40);
    defer testing.allocator.free(bytes);
    for (0xffd8..0x10000) |payload| {
        sample(bytes, 6, 0, @intCast(payload));
        // What a decrypted datagram can hold at most, and what wrapping at 16 bits would accept.
        try testing.expectEqual(null, parse(bytes[0 .. payload + 39]));
        try testing.expectEqual(null, parse(bytes[0..1500]));
        try testing.expectEqual(@as(u32, @intCast(payload + 40)), parse(bytes).?.total_length);
    }
}

test "the transport header is found behind extension headers" {
    var bytes: [128]u8 = undefined;
    sample(&bytes, 6, 0, 88);
    bytes[6] = 0;
    bytes[40..42].* = .{ 43, 0 }; // hop-by-hop, 8 bytes, then routing
    bytes[48..50].* = .{ 51, 2 }; // routing, 24 bytes, then authentication
    bytes[72..74].* = .{ 44, 2 }; // authentication, 16 bytes, then fragment
    bytes[88..90].* = .{ 17, 0 }; // fragment, 8 bytes, then UDP
    const inner = parse(&bytes).?;
    const found = transport(&bytes, &inner).?;
    try testing.expectEqual(Transport{ .protocol = 17, .offset = 96, .fragment = true }, found);
    bytes[91] = 8; // the second
    try testing.expect(transport(&bytes, &inner).?.later);

    sample(&bytes, 4, 5, 128);
    std.mem.writeInt(u16, bytes[6..8], 0x4000, .big);
    const inner4 = parse(&bytes).?;
    try testing.expectEqual(
        Transport{ .protocol = 17, .offset = 20, .fragment = false },
        transport(&bytes, &inner4).?,
    );
    for ([_]u16{ 0x2000, 0x2010, 0x0010 }, [_]bool{ false, true, true }) |where, later| {
        std.mem.writeInt(u16, bytes[6..8], where, .big);
        const part: Transport = .{ .protocol = 17, .offset = 20, .fragment = true, .later = later };
        try testing.expectEqual(part, transport(&bytes, &inner4).?);
    }
}

test "extension headers that leave the packet, or never end, are null" {
    var bytes: [256]u8 = undefined;
    sample(&bytes, 6, 0, 8);
    bytes[6] = 60;
    bytes[40..42].* = .{ 60, 1 }; // says 16 bytes, but 8 are there
    var inner = parse(bytes[0..48]).?;
    try testing.expectEqual(null, transport(bytes[0..48], &inner));

    bytes[41] = 0; // 8 bytes, and then a header that begins at the end
    try testing.expectEqual(null, transport(bytes[0..48], &inner));
    bytes[40] = 59;
    try testing.expectEqual(48, transport(bytes[0..48], &inner).?.offset);

    sample(&bytes, 6, 0, 216);
    bytes[6] = 60;
    for (0..27) |header| bytes[40 + header * 8 ..][0..2].* = .{ 60, 0 };
    inner = parse(&bytes).?;
    try testing.expectEqual(null, transport(&bytes, &inner));
    for ([_]usize{ 8, 9 }) |headers| {
        for (0..27) |header| bytes[40 + header * 8] = 60;
        bytes[40 + (headers - 1) * 8] = 6;
        const found = transport(&bytes, &inner);
        try testing.expectEqual(headers <= extension_headers_max, found != null);
    }
}

test "random bytes are parsed or refused, never read beyond their end" {
    var prng = std.Random.DefaultPrng.init(0x696e6e6572);
    const random = prng.random();
    var parsed: usize = 0;
    for (0..20_000) |_| {
        var storage: [160]u8 = undefined;
        const bytes = storage[0..random.uintLessThan(usize, storage.len)];
        random.bytes(bytes);
        if (bytes.len >= 6) {
            bytes[0] = if (random.boolean()) 0x45 else 0x60;
            // Small lengths, or hardly anything would be accepted.
            if (random.boolean()) bytes[2] = 0;
            if (random.boolean()) bytes[4] = 0;
        }
        const headers: [8]u8 = .{ 0, 6, 17, 43, 44, 51, 60, 140 };
        if (bytes.len > 6) bytes[6] = headers[random.int(u3)];
        const inner = parse(bytes) orelse continue;
        parsed += 1;
        try testing.expect(inner.total_length <= bytes.len);
        try testing.expect(inner.header_length <= inner.total_length);
        const found = transport(bytes, &inner) orelse continue;
        try testing.expect(found.offset <= inner.total_length);
    }
    try testing.expect(parsed > 1000);
}

test "padding is the kernel's for every length and MTU" {
    for ([_]u32{ 0, 576, 1280, 1300, 1420, 9000 }) |mtu| {
        for (0..9001) |size| {
            const len: u32 = @intCast(size);
            const padded = paddedLength(len, mtu);
            // The formula a second time, in steps: grow the last unit until it is aligned or
            // has reached the MTU.
            var last_unit = len;
            if (mtu != 0 and len > mtu) {
                while (last_unit >= mtu) last_unit -= mtu;
            }
            var padding: u32 = 0;
            while ((last_unit + padding) % 16 != 0 and
                (mtu == 0 or last_unit + padding < mtu)) padding += 1;
            try testing.expectEqual(len + padding, padded);
            if (mtu != 0 and len <= mtu) try testing.expect(padded <= mtu);
        }
    }
    try testing.expectEqual(1300, paddedLength(1297, 1300));
    try testing.expectEqual(1296, paddedLength(1281, 1300));
    try testing.expectEqual(1312, paddedLength(1297, 0));
    try testing.expectEqual(0, paddedLength(0, 1420));
}

//! For tests only: well-formed inner packets, and the Internet checksum in its plainest form, a
//! byte at a time, as the model which the fast one is held against.
//!
//! Deliberately shares nothing with `checksum.zig`, `offload.zig` or `coalesce.zig`.

const std = @import("std");
const Family = @import("inner_packet.zig").Family;

/// The sum (folded, network order, not complemented) after one more byte at position `at`.
pub fn checksumStep(sum: u32, at: usize, byte: u8) u32 {
    const word = if (at % 2 == 0) @as(u32, byte) << 8 else byte;
    const next = sum + word;
    return if (next > 0xffff) next - 0xffff else next;
}

pub fn checksum(initial: u32, bytes: []const u8) u32 {
    var sum = initial;
    for (bytes, 0..) |byte, at| sum = checksumStep(sum, at, byte);
    return sum;
}

pub const tcp = 6;
pub const udp = 17;

/// What a test may choose of a packet; the rest follows.
pub const Shape = struct {
    family: Family = .v4,
    protocol: u8 = tcp,
    source_port: u16 = 4000,
    destination_port: u16 = 5000,
    payload: usize = 100,
    /// Bytes of TCP options, a multiple of four.
    options: usize = 12,
    sequence: u32 = 1,
    acknowledged: u32 = 77,
    flags: u8 = 0x10,
    window: u16 = 502,
    identification: u16 = 9,
    dont_fragment: bool = true,
    traffic_class: u8 = 0,
    hop_limit: u8 = 64,
    /// What the payload is filled with.
    seed: u64 = 1,
};

pub fn ipHeaderLength(shape: Shape) usize {
    return if (shape.family == .v4) 20 else 40;
}

pub fn headerLength(shape: Shape) usize {
    return ipHeaderLength(shape) + (if (shape.protocol == udp) 8 else 20 + shape.options);
}

/// Lays a packet with correct checksums into a buffer.
pub fn write(buffer: []u8, shape: Shape) []u8 {
    const start = ipHeaderLength(shape);
    const headers = headerLength(shape);
    const packet = buffer[0 .. headers + shape.payload];
    @memset(packet[0..headers], 0);
    var prng = std.Random.DefaultPrng.init(shape.seed);
    prng.random().bytes(packet[headers..]);

    const transport = packet[start..];
    put(transport, 0, shape.source_port);
    put(transport, 2, shape.destination_port);
    if (shape.protocol == udp) {
        put(transport, 4, @intCast(transport.len));
    } else {
        std.mem.writeInt(u32, transport[4..8], shape.sequence, .big);
        std.mem.writeInt(u32, transport[8..12], shape.acknowledged, .big);
        transport[12] = @intCast((20 + shape.options) / 4 << 4);
        transport[13] = shape.flags;
        put(transport, 14, shape.window);
        for (transport[20..][0..shape.options], 0..) |*byte, at| byte.* = @intCast(at + 1);
    }
    if (shape.family == .v4) {
        packet[0] = 0x45;
        packet[1] = shape.traffic_class;
        put(packet, 4, shape.identification);
        put(packet, 6, if (shape.dont_fragment) 0x4000 else 0);
        packet[8] = shape.hop_limit;
        packet[9] = shape.protocol;
        packet[12..16].* = .{ 10, 1, 2, 3 };
        packet[16..20].* = .{ 10, 4, 5, 6 };
    } else {
        const first = 0x6000_0abc | @as(u32, shape.traffic_class) << 20;
        std.mem.writeInt(u32, packet[0..4], first, .big);
        packet[6] = shape.protocol;
        packet[7] = shape.hop_limit;
        packet[8..24].* = @splat(0xfd);
        packet[24..40].* = @splat(0xfe);
    }
    complete(packet);
    return packet;
}

/// A super-packet as the kernel hands it over: a virtio header, and a packet whose checksum
/// field holds the sum of the pseudo-header. `segment` is the payload of each part.
pub fn superPacket(buffer: []u8, shape: Shape, segment: u16) struct { [10]u8, []u8 } {
    const packet = write(buffer, shape);
    const is_udp = shape.protocol == udp;
    const field: u16 = if (is_udp) 6 else 16;
    put(transportOf(packet), field, @intCast(pseudo(packet)));
    const tcp_type: u8 = if (shape.family == .v4) 1 else 4;
    var header: [10]u8 = .{ 1, if (is_udp) 5 else tcp_type } ++ @as([8]u8, @splat(0));
    std.mem.writeInt(u16, header[2..4], @intCast(headerLength(shape)), .little);
    std.mem.writeInt(u16, header[4..6], segment, .little);
    std.mem.writeInt(u16, header[6..8], @intCast(ipHeaderLength(shape)), .little);
    std.mem.writeInt(u16, header[8..10], field, .little);
    return .{ header, packet };
}

/// Sets lengths and checksums of a packet without options or extension headers.
pub fn complete(packet: []u8) void {
    if (packet[0] >> 4 == 4) {
        put(packet, 2, @intCast(packet.len));
        put(packet, 10, 0);
        put(packet, 10, ~@as(u16, @intCast(checksum(0, packet[0..20]))));
    } else {
        put(packet, 4, @intCast(packet.len - 40));
    }
    const transport = transportOf(packet);
    const field: usize = if (protocolOf(packet) == udp) 6 else 16;
    put(transport, field, 0);
    const sum = ~@as(u16, @intCast(checksum(pseudo(packet), transport)));
    put(transport, field, if (sum == 0) 0xffff else sum);
}

/// Whether every checksum and length of the packet is right.
pub fn isCorrect(packet: []const u8) bool {
    const transport = transportOf(packet);
    if (packet[0] >> 4 == 4) {
        if (get(packet, 2) != packet.len) return false;
        if (checksum(0, packet[0..20]) != 0xffff) return false;
    } else {
        if (get(packet, 4) + 40 != packet.len) return false;
    }
    if (protocolOf(packet) == udp and get(transport, 4) != transport.len) return false;
    return checksum(pseudo(packet), transport) == 0xffff;
}

/// The sum of the pseudo-header.
pub fn pseudo(packet: []const u8) u32 {
    const addresses = if (packet[0] >> 4 == 4) packet[12..20] else packet[8..40];
    const length: u16 = @intCast(transportOf(packet).len);
    const rest = [4]u8{ 0, protocolOf(packet), @intCast(length >> 8), @truncate(length) };
    return checksum(checksum(0, addresses), &rest);
}

pub fn protocolOf(packet: []const u8) u8 {
    return if (packet[0] >> 4 == 4) packet[9] else packet[6];
}

pub fn transportOf(packet: anytype) @TypeOf(packet) {
    return if (packet[0] >> 4 == 4) packet[20..] else packet[40..];
}

pub fn put(bytes: []u8, at: usize, value: u16) void {
    std.mem.writeInt(u16, bytes[at..][0..2], value, .big);
}

pub fn get(bytes: []const u8, at: usize) u32 {
    return std.mem.readInt(u16, bytes[at..][0..2], .big);
}

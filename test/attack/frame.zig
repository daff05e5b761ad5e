//! Ethernet, IPv4 and UDP headers around a payload, written and read. Pure.
const std = @import("std");

pub const headers_bytes = 14 + 20 + 8;

pub const Addresses = struct {
    to_mac: [6]u8,
    from_mac: [6]u8,
    from: u32,
    to: u32,
    from_port: u16,
    to_port: u16,
};

/// Writes the headers before `length` bytes of payload that stand at `headers_bytes` already; the
/// length of the whole. UDP's checksum is left out, as IPv4 allows.
pub fn write(bytes: []u8, addresses: Addresses, length: usize) usize {
    bytes[0..6].* = addresses.to_mac;
    bytes[6..12].* = addresses.from_mac;
    std.mem.writeInt(u16, bytes[12..14], 0x0800, .big);
    const ip = bytes[14..34];
    @memset(ip, 0);
    ip[0] = 0x45;
    std.mem.writeInt(u16, ip[2..4], @intCast(28 + length), .big);
    ip[8] = 64;
    ip[9] = 17;
    std.mem.writeInt(u32, ip[12..16], addresses.from, .big);
    std.mem.writeInt(u32, ip[16..20], addresses.to, .big);
    std.mem.writeInt(u16, ip[10..12], checksum(ip), .big);
    const udp = bytes[34..42];
    std.mem.writeInt(u16, udp[0..2], addresses.from_port, .big);
    std.mem.writeInt(u16, udp[2..4], addresses.to_port, .big);
    std.mem.writeInt(u16, udp[4..6], @intCast(8 + length), .big);
    std.mem.writeInt(u16, udp[6..8], 0, .big);
    return headers_bytes + length;
}

/// As if from elsewhere. UDP's checksum is to be left out.
pub fn setSource(bytes: []u8, from: u32, from_port: u16) void {
    const ip = bytes[14..34];
    std.mem.writeInt(u32, ip[12..16], from, .big);
    std.mem.writeInt(u16, ip[10..12], 0, .big);
    std.mem.writeInt(u16, ip[10..12], checksum(ip), .big);
    std.mem.writeInt(u16, bytes[34..36], from_port, .big);
}

/// Cuts the payload of a datagram; the length of the whole.
pub fn shorten(bytes: []u8, length: usize) usize {
    const ip = bytes[14..34];
    std.mem.writeInt(u16, ip[2..4], @intCast(28 + length), .big);
    std.mem.writeInt(u16, ip[10..12], 0, .big);
    std.mem.writeInt(u16, ip[10..12], checksum(ip), .big);
    std.mem.writeInt(u16, bytes[38..40], @intCast(8 + length), .big);
    return headers_bytes + length;
}

pub const Found = struct { from: u32, from_port: u16, to: u32, to_port: u16, payload: []const u8 };

/// Null for what is no whole UDP datagram over IPv4.
pub fn parse(bytes: []const u8) ?Found {
    if (bytes.len < headers_bytes or std.mem.readInt(u16, bytes[12..14], .big) != 0x0800) return null;
    const ip = bytes[14..34];
    if (ip[0] != 0x45 or ip[9] != 17 or std.mem.readInt(u16, ip[6..8], .big) & 0x3fff != 0) return null;
    const udp_bytes = std.mem.readInt(u16, bytes[38..40], .big);
    if (udp_bytes < 8 or 34 + @as(usize, udp_bytes) > bytes.len) return null;
    return .{
        .from = std.mem.readInt(u32, ip[12..16], .big),
        .from_port = std.mem.readInt(u16, bytes[34..36], .big),
        .to = std.mem.readInt(u32, ip[16..20], .big),
        .to_port = std.mem.readInt(u16, bytes[36..38], .big),
        .payload = bytes[headers_bytes .. 34 + @as(usize, udp_bytes)],
    };
}

/// RFC 1071, over an even number of bytes.
fn checksum(bytes: []const u8) u16 {
    var sum: u32 = 0;
    var at: usize = 0;
    while (at < bytes.len) : (at += 2) sum += std.mem.readInt(u16, bytes[at..][0..2], .big);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    return ~@as(u16, @intCast(sum));
}

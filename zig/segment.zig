//! What a TCP or UDP packet offers to those who merge packets: whether it may be merged at all,
//! and the comparisons by which it belongs to a flow.
//!
//! Owns the rules about a single packet; those about two are in `coalesce.zig`. Reads bytes a
//! peer has chosen: everything but a plain packet, whole and without IP options or extension
//! headers, is some other class, and passes through alone.

const std = @import("std");
const checksum = @import("checksum.zig");
const inner_packet = @import("inner_packet.zig");
const offload = @import("offload.zig");

const ipv4_header_size = inner_packet.ipv4_header_size_min;
pub const dont_fragment = 0x4000;

/// What the TUN takes.
pub const Options = struct {
    tcp: bool = true,
    /// TUN_F_USO4 and TUN_F_USO6.
    udp: bool = true,
};

/// A TCP or UDP packet, whole, with plain IP headers.
pub const Segment = struct {
    packet: []const u8,
    is_tcp: bool,
    /// 20 or 40: which also tells the family.
    transport_at: u16,
    header_length: u16,
    sequence: u32,
    push: bool,
    hash: u32,

    /// Whether the checksums of a packet with the headers of this one's shape are right.
    pub fn checksumsValid(self: *const Segment, packet: []const u8) bool {
        const length = packet.len - self.transport_at;
        const protocol = if (self.is_tcp) offload.protocol_tcp else offload.protocol_udp;
        const pseudo = if (self.transport_at == ipv4_header_size) pseudo: {
            if (!checksum.valid(checksum.add(0, packet[0..ipv4_header_size]))) return false;
            const source = packet[12..16].*;
            break :pseudo checksum.pseudo4(source, packet[16..20].*, protocol, @intCast(length));
        } else checksum.pseudo6(packet[8..24].*, packet[24..40].*, protocol, @intCast(length));
        return checksum.valid(checksum.add(pseudo, packet[self.transport_at..]));
    }
};

pub const Class = union(enum) {
    /// May be merged.
    segment: Segment,
    /// Must not be merged, nor overtaken by later packets of its flow.
    blocker: Segment,
    /// TCP or UDP perhaps, but its ports cannot be read.
    portless: []const u8,
    /// Of no flow that is ever merged.
    other: []const u8,
};

pub fn classify(bytes: []const u8, options: Options) Class {
    const inner = inner_packet.parse(bytes) orelse return .{ .other = bytes };
    const packet = bytes[0..inner.total_length];
    const is_tcp = switch (inner.protocol) {
        offload.protocol_tcp => true,
        offload.protocol_udp => false,
        // Extension headers, behind which there may be ports.
        0, 43, 44, 51, 60, 135, 139, 140 => return if (inner.family == .v6)
            .{ .portless = packet }
        else
            .{ .other = packet },
        else => return .{ .other = packet },
    };
    if (if (is_tcp) !options.tcp else !options.udp) return .{ .other = packet };
    const is_ipv4 = inner.family == .v4;
    if (is_ipv4) {
        if (inner.header_length != ipv4_header_size) return .{ .portless = packet };
        if (get(packet, 6) & ~@as(u16, dont_fragment) != 0) return .{ .portless = packet };
    }
    const transport = packet[inner.header_length..];
    const size_min: usize = if (is_tcp) offload.tcp_header_size_min else offload.udp_header_size;
    if (transport.len < size_min) return .{ .portless = packet };
    var segment: Segment = .{
        .packet = packet,
        .is_tcp = is_tcp,
        .transport_at = @intCast(inner.header_length),
        .header_length = @intCast(inner.header_length + offload.udp_header_size),
        .sequence = 0,
        .push = false,
        .hash = flowHash(packet, is_ipv4),
    };
    const mergeable = if (is_tcp) readTcp(&segment, transport) else readUdp(transport);
    return if (mergeable) .{ .segment = segment } else .{ .blocker = segment };
}

/// False unless it is a plain piece of a stream.
fn readTcp(segment: *Segment, transport: []const u8) bool {
    const size = @as(u16, transport[12] >> 4) * 4;
    if (size < offload.tcp_header_size_min or size >= transport.len) return false;
    // The low bits are reserved, but for one that belongs to ECN.
    if (transport[12] & 0x0f != 0) return false;
    const flags = transport[offload.tcp_flags_at];
    if (flags & ~offload.tcp_flag_psh != offload.tcp_flag_ack) return false;
    segment.header_length = segment.transport_at + size;
    segment.sequence = std.mem.readInt(u32, transport[4..8], .big);
    segment.push = flags & offload.tcp_flag_psh != 0;
    return true;
}

/// False for a datagram that is empty, of another length than its packet, or has no checksum.
fn readUdp(transport: []const u8) bool {
    if (transport.len == offload.udp_header_size) return false;
    if (get(transport, 4) != transport.len) return false;
    return get(transport, offload.udp_checksum_at) != 0;
}

/// Spreads flows over slots. Who picks addresses and ports to collide merges less, no more.
fn flowHash(packet: []const u8, is_ipv4: bool) u32 {
    var key: u64 = undefined;
    if (is_ipv4) {
        key = read64(packet, 12) ^ std.math.rotl(u64, read32(packet, 20), 17);
    } else {
        key = read64(packet, 8) ^ std.math.rotl(u64, read64(packet, 16), 13) ^
            std.math.rotl(u64, read64(packet, 24), 29) ^
            std.math.rotl(u64, read64(packet, 32), 43) ^
            std.math.rotl(u64, read32(packet, 40), 17);
    }
    return @intCast((key *% 0x9E37_79B9_7F4A_7C15) >> 56);
}

/// Whether two packets of TCP or UDP (or what may be) are of one family and between the same
/// addresses. Both are at least as long as their IP headers.
pub fn sameAddresses(a: [*]const u8, b: []const u8) bool {
    if (a[0] >> 4 != b[0] >> 4) return false;
    return if (a[0] >> 4 == 4) same(8, a, b.ptr, 12) else same(32, a, b.ptr, 8);
}

pub fn same(comptime length: usize, a: anytype, b: anytype, at: usize) bool {
    // As one number: a few instructions, where a loop over slices would be a call.
    const Number = @Int(.unsigned, length * 8);
    return std.mem.readInt(Number, a[at..][0..length], .little) ==
        std.mem.readInt(Number, b[at..][0..length], .little);
}

pub fn get(bytes: anytype, at: usize) u16 {
    return std.mem.readInt(u16, bytes[at..][0..2], .big);
}

fn read32(bytes: []const u8, at: usize) u32 {
    return std.mem.readInt(u32, bytes[at..][0..4], .little);
}

fn read64(bytes: []const u8, at: usize) u64 {
    return std.mem.readInt(u64, bytes[at..][0..8], .little);
}

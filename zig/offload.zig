//! The virtio header in front of TUN packets, and the splitting of super-packets read from one.
//!
//! Owns the segmentation of TCP and UDP (what the kernel would do in software): headers are
//! copied in front of each piece of the payload, and lengths, identification, sequence numbers,
//! flags and checksums are set. Does not own buffers: a segment is laid where the caller says.
//! Always holds: whatever the header and the packet say, nothing is read beyond the packet, and
//! a segment is exactly as long as `segmentLength` said.

const std = @import("std");
const assert = std.debug.assert;
const checksum = @import("checksum.zig");
const constants = @import("constants.zig");
const inner_packet = @import("inner_packet.zig");
const Family = inner_packet.Family;

/// `struct virtio_net_hdr` as a TUN with IFF_VNET_HDR has it: numbers in host order.
pub const VirtioNetHdr = extern struct {
    flags: u8 = 0,
    gso_type: u8 = gso_none,
    hdr_len: u16 = 0,
    gso_size: u16 = 0,
    csum_start: u16 = 0,
    csum_offset: u16 = 0,

    pub const size = constants.virtio_header_bytes;

    pub fn read(bytes: *const [size]u8) VirtioNetHdr {
        return std.mem.bytesToValue(VirtioNetHdr, bytes);
    }
};

/// flags
pub const needs_csum: u8 = 1;
pub const data_valid: u8 = 2;
/// gso_type
pub const gso_none: u8 = 0;
pub const gso_tcpv4: u8 = 1;
/// IP fragments of one UDP datagram: long gone from the kernel, never asked for.
pub const gso_udp: u8 = 3;
pub const gso_tcpv6: u8 = 4;
pub const gso_udp_l4: u8 = 5;
/// Set beside TCPV4 or TCPV6 if CWR is set: only the first segment has it.
pub const gso_ecn: u8 = 0x80;

comptime {
    assert(@sizeOf(VirtioNetHdr) == VirtioNetHdr.size);
}

pub const protocol_tcp: u8 = 6;
pub const protocol_udp: u8 = 17;
pub const tcp_header_size_min = 20;
pub const tcp_header_size_max = 60;
pub const udp_header_size = 8;
/// Offsets of the checksum in the transport headers.
pub const tcp_checksum_at = 16;
pub const udp_checksum_at = 6;
/// TCP's byte of flags, and its offset.
pub const tcp_flags_at = 13;
pub const tcp_flag_fin: u8 = 0x01;
pub const tcp_flag_psh: u8 = 0x08;
pub const tcp_flag_ack: u8 = 0x10;
pub const tcp_flag_cwr: u8 = 0x80;

/// Segments a caller lays out before it flushes. A super-packet of tiny segments may have more:
/// any number of them may be written in turns, by index.
pub const segments_max = constants.udp_segments_max;

/// How a packet read from a TUN becomes packets on the wire. Borrows the packet.
pub const Split = struct {
    packet: []const u8,
    kind: enum { whole, tcp, udp },
    family: Family = .v4,
    /// Bytes of headers in front of each segment; 0 for a whole packet.
    header_length: u32 = 0,
    /// Where the transport header begins, or where the checksum of a whole packet does.
    transport_at: u32 = 0,
    /// Payload of every segment but the last.
    segment_payload: u32 = 0,
    /// How many segments there are, at least 1.
    count: u32 = 1,
    /// A whole packet: where its checksum is to be stored, counted from its start; 0: nowhere.
    checksum_at: u32 = 0,
    /// The sum of the pseudo-header without a length, and of what is the same in every header.
    base: checksum.Sum = 0,

    pub const Error = error{
        /// Lengths or offsets that contradict each other or the packet.
        Malformed,
        /// A kind of segmentation that was never asked for.
        Unsupported,
    };

    /// `packet` is what followed the virtio header. Its `hdr_len` is not used: the kernel may
    /// set it to all that lies in its first buffer.
    pub fn init(header: VirtioNetHdr, packet: []const u8) Error!Split {
        if (packet.len > constants.ip_packet_bytes_max) return error.Malformed;
        switch (header.gso_type & ~gso_ecn) {
            gso_none => return initWhole(header, packet),
            gso_tcpv4 => return initSegments(header, packet, .v4, protocol_tcp),
            gso_tcpv6 => return initSegments(header, packet, .v6, protocol_tcp),
            gso_udp_l4 => {
                const family: Family = if (packet.len > 0 and packet[0] >> 4 == 6) .v6 else .v4;
                return initSegments(header, packet, family, protocol_udp);
            },
            else => return error.Unsupported,
        }
    }

    fn initWhole(header: VirtioNetHdr, packet: []const u8) Error!Split {
        var self: Split = .{ .packet = packet, .kind = .whole };
        if (header.flags & needs_csum != 0) {
            const at = @as(u32, header.csum_start) + header.csum_offset;
            // A field at 0 would lie in the version of the IP header.
            if (at == 0 or at + 2 > packet.len) return error.Malformed;
            self.transport_at = header.csum_start;
            self.checksum_at = at;
        }
        return self;
    }

    fn initSegments(
        header: VirtioNetHdr,
        bytes: []const u8,
        family: Family,
        protocol: u8,
    ) Error!Split {
        const inner = inner_packet.parse(bytes) orelse return error.Malformed;
        const found = inner_packet.transport(bytes, &inner) orelse return error.Malformed;
        if (inner.family != family or found.protocol != protocol or found.fragment) {
            return error.Malformed;
        }
        const packet = bytes[0..inner.total_length];
        const transport = packet[found.offset..];
        const is_tcp = protocol == protocol_tcp;
        const checksum_at: u16 = if (is_tcp) tcp_checksum_at else udp_checksum_at;
        if (header.flags & needs_csum != 0) {
            if (header.csum_start != found.offset) return error.Malformed;
            if (header.csum_offset != checksum_at) return error.Malformed;
        }
        if (header.gso_size == 0) return error.Malformed;
        if (transport.len < @as(usize, if (is_tcp) tcp_header_size_min else udp_header_size)) {
            return error.Malformed;
        }
        const transport_size = if (is_tcp) @as(u32, transport[12] >> 4) * 4 else udp_header_size;
        if (is_tcp and transport_size < tcp_header_size_min) return error.Malformed;
        // Without payload there is nothing to segment.
        if (transport.len <= transport_size) return error.Malformed;

        const payload: u32 = @intCast(transport.len - transport_size);
        return .{
            .packet = packet,
            .kind = if (is_tcp) .tcp else .udp,
            .family = family,
            .header_length = found.offset + transport_size,
            .transport_at = found.offset,
            .segment_payload = header.gso_size,
            .count = (payload + header.gso_size - 1) / header.gso_size,
            .base = pseudoBase(header, &inner, transport, checksum_at, protocol),
        };
    }

    /// The sum of the pseudo-header without its length. The kernel has left it in the checksum
    /// field, and knows better where a routing header takes the packet.
    fn pseudoBase(
        header: VirtioNetHdr,
        inner: *const inner_packet.Inner,
        transport: []const u8,
        checksum_at: usize,
        protocol: u8,
    ) checksum.Sum {
        if (header.flags & needs_csum != 0) {
            const length: u16 = @intCast(transport.len);
            return checksum.addWord(checksum.add(0, transport[checksum_at..][0..2]), ~length);
        }
        return switch (inner.family) {
            .v4 => checksum.pseudo4(inner.source4(), inner.destination4(), protocol, 0),
            .v6 => checksum.pseudo6(inner.source, inner.destination, protocol, 0),
        };
    }

    /// Length in bytes of the segment with this index, headers included.
    pub fn segmentLength(self: *const Split, index: u32) u32 {
        return self.header_length + @as(u32, @intCast(self.payloadOf(index).len));
    }

    /// Length of the longest segment: of all, but perhaps the last.
    pub fn segmentLengthMax(self: *const Split) u32 {
        return self.segmentLength(0);
    }

    fn payloadOf(self: *const Split, index: u32) []const u8 {
        assert(index < self.count);
        if (self.kind == .whole) return self.packet;
        const payload = self.packet[self.header_length..];
        const from: usize = index * self.segment_payload;
        return payload[from..@min(from + self.segment_payload, payload.len)];
    }

    /// Lays a segment into `to` (at least `segmentLength` bytes, apart from the packet), ready
    /// for the wire; returns its bytes.
    pub fn write(self: *const Split, index: u32, to: []u8) []u8 {
        const segment = to[0..self.segmentLength(index)];
        if (self.kind == .whole) {
            @memcpy(segment, self.packet);
            self.completeWhole(segment);
            return segment;
        }
        copyHeaders(segment, self.packet[0..self.header_length]);
        const payload_sum = checksum.addCopying(
            self.base,
            segment[self.header_length..],
            self.payloadOf(index),
        );
        self.fixNetwork(index, segment);
        switch (self.kind) {
            .tcp => self.fixTcp(index, segment, payload_sum),
            .udp => self.fixUdp(segment, payload_sum),
            .whole => unreachable,
        }
        return segment;
    }

    /// The kernel has left the sum of the pseudo-header in the field, which is part of the sum.
    fn completeWhole(self: *const Split, packet: []u8) void {
        if (self.checksum_at == 0) return;
        const sum = checksum.add(0, packet[self.transport_at..]);
        // Zero and its other form are the same to TCP, and to UDP zero would mean "none".
        checksum.storeNonzero(packet[self.checksum_at..][0..2], sum);
    }

    fn fixNetwork(self: *const Split, index: u32, segment: []u8) void {
        switch (self.family) {
            .v4 => {
                const identification = std.mem.readInt(u16, segment[4..6], .big);
                put(segment[4..6], identification +% @as(u16, @truncate(index)));
                finishIpv4(segment[0..self.transport_at], @intCast(segment.len));
            },
            .v6 => put(segment[4..6], @intCast(segment.len - inner_packet.ipv6_header_size)),
        }
    }

    fn fixTcp(self: *const Split, index: u32, segment: []u8, payload_sum: checksum.Sum) void {
        const header = segment[self.transport_at..self.header_length];
        const sequence = std.mem.readInt(u32, header[4..8], .big);
        // As in the kernel: the stream position of the payload, modulo 2^32.
        std.mem.writeInt(u32, header[4..8], sequence +% index * self.segment_payload, .big);
        if (index != 0) header[tcp_flags_at] &= ~tcp_flag_cwr;
        if (index + 1 != self.count) header[tcp_flags_at] &= ~(tcp_flag_fin | tcp_flag_psh);
        header[tcp_checksum_at..][0..2].* = .{ 0, 0 };
        const length: u16 = @intCast(segment.len - self.transport_at);
        const sum = checksum.add(checksum.addWord(0, length), header);
        checksum.store(header[tcp_checksum_at..][0..2], sum + payload_sum);
    }

    fn fixUdp(self: *const Split, segment: []u8, payload_sum: checksum.Sum) void {
        const header = segment[self.transport_at..][0..udp_header_size];
        const length: u16 = @intCast(segment.len - self.transport_at);
        put(header[4..6], length);
        header[udp_checksum_at..][0..2].* = .{ 0, 0 };
        const sum = checksum.add(checksum.addWord(0, length), header);
        checksum.storeNonzero(header[udp_checksum_at..][0..2], sum + payload_sum);
    }
};

/// Sets the total length of an IPv4 header (with its options), and its checksum.
pub fn finishIpv4(header: []u8, total_length: u16) void {
    assert(header.len >= inner_packet.ipv4_header_size_min);
    put(header[2..4], total_length);
    header[10..12].* = .{ 0, 0 };
    checksum.store(header[10..12], checksum.add(0, header));
}

/// Copies of a length the compiler knows are a few vector moves: the lengths of IPv4 and IPv6
/// with UDP, with TCP, and with TCP and timestamps are.
fn copyHeaders(to: []u8, headers: []const u8) void {
    switch (headers.len) {
        inline 28, 40, 48, 52, 60, 72 => |length| to[0..length].* = headers[0..length].*,
        else => @memcpy(to[0..headers.len], headers),
    }
}

fn put(bytes: *[2]u8, value: u16) void {
    std.mem.writeInt(u16, bytes, value, .big);
}

const testing = std.testing;
const samples = @import("packet_samples.zig");

fn superPacket(buffer: []u8, shape: samples.Shape, segment: u16) struct { VirtioNetHdr, []u8 } {
    const header, const packet = samples.superPacket(buffer, shape, segment);
    return .{ VirtioNetHdr.read(&header), packet };
}

test "every segment of a super-packet is a correct packet with its part of the payload" {
    var prng = std.Random.DefaultPrng.init(0x73706c6974);
    const random = prng.random();
    const buffer = try testing.allocator.alloc(u8, 65536);
    defer testing.allocator.free(buffer);
    const storage = try testing.allocator.alloc(u8, 65536);
    defer testing.allocator.free(storage);
    for (0..400) |round| {
        const shape: samples.Shape = .{
            .family = if (round & 1 == 0) .v4 else .v6,
            .protocol = if (round & 2 == 0) samples.tcp else samples.udp,
            .payload = 1 + random.uintLessThan(usize, if (round % 8 < 4) 5000 else 65000),
            .options = @as(usize, random.uintLessThan(u8, 11)) * 4,
            .sequence = random.int(u32),
            .flags = random.int(u8),
            .identification = random.int(u16),
            .seed = round,
        };
        const segment = 1 + random.uintLessThan(u16, 9000);
        const header, const packet = superPacket(buffer, shape, segment);
        const plan = try Split.init(header, packet);
        const headers = samples.headerLength(shape);
        const start = samples.ipHeaderLength(shape);
        var payload = packet[headers..];
        for (0..plan.count) |at| {
            const index: u32 = @intCast(at);
            const last = index + 1 == plan.count;
            const written = plan.write(index, storage);
            try testing.expectEqual(plan.segmentLength(index), written.len);
            try testing.expect(samples.isCorrect(written));
            const size = if (last) payload.len else segment;
            try testing.expectEqualSlices(u8, payload[0..size], written[headers..]);
            payload = payload[size..];
            if (shape.family == .v4) {
                try testing.expectEqual(shape.identification +% at, samples.get(written, 4));
            }
            if (shape.protocol == samples.udp) continue;
            const sequence = std.mem.readInt(u32, written[start + 4 ..][0..4], .big);
            try testing.expectEqual(shape.sequence +% index * segment, sequence);
            var flags = shape.flags;
            if (!last) flags &= ~@as(u8, 0x09);
            if (index != 0) flags &= ~@as(u8, 0x80);
            try testing.expectEqual(flags, written[start + 13]);
            // All else is as it was: ports, acknowledgement, window, options.
            const options_end = headers - start;
            for ([_][2]usize{ .{ 0, 4 }, .{ 8, 13 }, .{ 14, 16 }, .{ 18, options_end } }) |range| {
                const from, const to = .{ start + range[0], start + range[1] };
                try testing.expectEqualSlices(u8, packet[from..to], written[from..to]);
            }
        }
        try testing.expectEqual(0, payload.len);
    }
}

test "a super-packet without a partial checksum is split with one made from its addresses" {
    var buffer: [4000]u8 = undefined;
    var storage: [4000]u8 = undefined;
    for ([_]Family{ .v4, .v6 }) |family| for ([_]u8{ samples.tcp, samples.udp }) |protocol| {
        var header, const packet = superPacket(
            &buffer,
            .{ .family = family, .protocol = protocol, .payload = 3000 },
            1000,
        );
        header.flags = 0;
        header.csum_start = 9999;
        header.csum_offset = 9999;
        samples.put(samples.transportOf(packet), 6, 0xdead);
        if (protocol == samples.tcp) samples.put(samples.transportOf(packet), 16, 0xdead);
        const plan = try Split.init(header, packet);
        try testing.expectEqual(3, plan.count);
        for (0..3) |index| {
            try testing.expect(samples.isCorrect(plan.write(@intCast(index), &storage)));
        }
    };
}

test "the headers of a super-packet with IPv6 extension headers are repeated whole" {
    var buffer: [3000]u8 = undefined;
    var storage: [3000]u8 = undefined;
    var header, const plain = superPacket(&buffer, .{ .family = .v6, .payload = 2000 }, 900);
    // Eight bytes of destination options between the IPv6 header and TCP.
    std.mem.copyBackwards(u8, buffer[48..], plain[40..]);
    const packet = buffer[0 .. plain.len + 8];
    packet[6] = 60;
    packet[40..48].* = .{ 6, 0, 1, 4, 0, 0, 0, 0 };
    samples.put(packet, 4, @intCast(packet.len - 40));
    header.csum_start += 8;
    const plan = try Split.init(header, packet);
    try testing.expectEqual(3, plan.count);
    const written = plan.write(2, &storage);
    try testing.expectEqual(40 + 8 + 32 + 200, written.len);
    try testing.expectEqualSlices(u8, packet[40..48], written[40..48]);
    try testing.expectEqual(written.len - 40, samples.get(written, 4));
    // Without its options it is a plain packet again, and must be a correct one.
    std.mem.copyForwards(u8, written[40..], written[48..]);
    const stripped = written[0 .. written.len - 8];
    stripped[6] = 6;
    samples.put(stripped, 4, @intCast(stripped.len - 40));
    try testing.expect(samples.isCorrect(stripped));
}

test "a whole packet is copied, and its checksum completed if the kernel left it open" {
    var buffer: [2000]u8 = undefined;
    var storage: [2000]u8 = undefined;
    for ([_]Family{ .v4, .v6 }) |family| for ([_]u8{ samples.tcp, samples.udp }) |protocol| {
        var header, const packet = superPacket(
            &buffer,
            .{ .family = family, .protocol = protocol, .payload = 1001 },
            0,
        );
        header.gso_type = gso_none;
        const plan = try Split.init(header, packet);
        try testing.expectEqual(1, plan.count);
        try testing.expectEqual(packet.len, plan.segmentLength(0));
        try testing.expect(!samples.isCorrect(packet));
        try testing.expect(samples.isCorrect(plan.write(0, &storage)));

        header.flags = 0;
        const copied = (try Split.init(header, packet)).write(0, &storage);
        try testing.expectEqualSlices(u8, packet, copied);
    };
}

test "a UDP datagram whose checksum comes out as zero is sent with the other zero" {
    var buffer: [100]u8 = undefined;
    var storage: [100]u8 = undefined;
    var header, const packet = superPacket(
        &buffer,
        .{ .protocol = samples.udp, .payload = 2 },
        0,
    );
    header.gso_type = gso_none;
    // A payload which makes the sum 0xffff.
    samples.put(packet, 28, 0);
    const sum = samples.checksum(0, packet[20..]);
    samples.put(packet, 28, @intCast(0xffff - sum));
    const written = (try Split.init(header, packet)).write(0, &storage);
    try testing.expectEqual(0xffff, samples.get(written, 26));
    header.gso_type = gso_udp_l4;
    header.gso_size = 2;
    const segment = (try Split.init(header, packet)).write(0, &storage);
    try testing.expectEqual(0xffff, samples.get(segment, 26));
}

test "headers that lie are refused" {
    const Lie = struct {
        expected: anyerror = error.Malformed,
        shape: samples.Shape = .{ .payload = 3000 },
        gso_type: ?u8 = null,
        gso_size: ?u16 = null,
        csum_start: ?u16 = null,
        csum_offset: ?u16 = null,
        /// Bytes of the packet that are there.
        length: ?usize = null,
        /// An offset in the packet, and a 16-bit number to put there.
        word: ?struct { usize, u16 } = null,
    };
    const v6: samples.Shape = .{ .payload = 3000, .family = .v6 };
    const udp4: samples.Shape = .{ .payload = 3000, .protocol = samples.udp };
    const lies = [_]Lie{
        .{ .gso_size = 0 },
        .{ .csum_start = 24 },
        .{ .csum_start = 65535 },
        .{ .csum_offset = 6 },
        .{ .gso_type = gso_tcpv6 },
        .{ .gso_type = gso_udp_l4 },
        .{ .gso_type = gso_udp, .expected = error.Unsupported },
        .{ .gso_type = 0x7f, .expected = error.Unsupported },
        .{ .length = 0 },
        .{ .length = 39 },
        .{ .word = .{ 2, 20 } }, // ends where TCP should begin
        .{ .word = .{ 2, 52 } }, // no payload
        .{ .word = .{ 2, 51 } }, // TCP options beyond the end
        .{ .word = .{ 32, 0x4010 } }, // a TCP header of 16 bytes
        .{ .word = .{ 6, 0x2000 } }, // a fragment
        .{ .word = .{ 6, 0x0001 } }, // the last fragment
        .{ .shape = v6, .gso_type = gso_tcpv4 },
        .{ .shape = v6, .word = .{ 6, 44 << 8 | 64 } }, // a fragment header
        .{ .shape = v6, .word = .{ 4, 0xffff } },
        .{ .shape = udp4, .gso_type = gso_tcpv4 },
        .{ .shape = udp4, .word = .{ 2, 27 } }, // less than a UDP header
        .{ .shape = udp4, .word = .{ 2, 28 } }, // no payload
        .{ .gso_type = gso_none, .csum_start = 3052, .csum_offset = 0 },
        .{ .gso_type = gso_none, .csum_start = 20, .csum_offset = 3031 },
        .{ .gso_type = gso_none, .csum_start = 65535, .csum_offset = 65535 },
        .{ .gso_type = gso_none, .csum_start = 0, .csum_offset = 0 },
    };
    var buffer: [4000]u8 = undefined;
    for (lies, 0..) |lie, at| {
        errdefer std.debug.print("lie {d}\n", .{at});
        var header, const packet = superPacket(&buffer, lie.shape, 1000);
        _ = try Split.init(header, packet);
        if (lie.gso_type) |value| header.gso_type = value;
        if (lie.gso_size) |value| header.gso_size = value;
        if (lie.csum_start) |value| header.csum_start = value;
        if (lie.csum_offset) |value| header.csum_offset = value;
        if (lie.word) |word| samples.put(packet, word[0], word[1]);
        const bytes = packet[0 .. lie.length orelse packet.len];
        try testing.expectError(lie.expected, Split.init(header, bytes));
    }
}

test "a super-packet of one-byte segments is written in turns, any of them at any time" {
    const buffer = try testing.allocator.alloc(u8, 65536);
    defer testing.allocator.free(buffer);
    const header, const packet = superPacket(buffer, .{ .payload = 65535 - 52 }, 1);
    const plan = try Split.init(header, packet);
    try testing.expectEqual(65535 - 52, plan.count);
    var storage: [60]u8 = undefined;
    for ([_]u32{ plan.count - 1, 0, segments_max, 40_000 }) |index| {
        const written = plan.write(index, &storage);
        try testing.expectEqual(53, written.len);
        try testing.expect(samples.isCorrect(written));
        try testing.expectEqual(packet[52 + index], written[52]);
    }
}

test "random headers and bytes are split or refused, never read beyond their end" {
    var prng = std.Random.DefaultPrng.init(0x66757a7a);
    const random = prng.random();
    var buffer: [600]u8 = undefined;
    var storage: [600]u8 = undefined;
    var accepted: usize = 0;
    for (0..20_000) |round| {
        var header, var packet = superPacket(&buffer, .{
            .family = if (random.boolean()) .v4 else .v6,
            .protocol = if (random.boolean()) samples.tcp else samples.udp,
            .payload = 1 + random.uintLessThan(usize, 400),
            .seed = round,
        }, 1 + random.uintLessThan(u16, 300));
        for (0..random.uintLessThan(usize, 4)) |_| {
            const bytes = std.mem.asBytes(&header);
            switch (random.uintLessThan(u8, 4)) {
                0 => bytes[random.uintLessThan(usize, bytes.len)] = random.int(u8),
                1 => packet[random.uintLessThan(usize, packet.len)] = random.int(u8),
                2 => packet[random.uintLessThan(usize, @min(packet.len, 64))] = random.int(u8),
                else => packet = packet[0..random.intRangeAtMost(usize, 1, packet.len)],
            }
        }
        const plan = Split.init(header, packet) catch continue;
        accepted += 1;
        for (0..plan.count) |index| _ = plan.write(@intCast(index), &storage);
    }
    try testing.expect(accepted > 5000);
}

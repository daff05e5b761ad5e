//! What the kernel's WireGuard answers to a packet that nobody owns, or whose owner is nowhere: ICMP
//! "host unreachable", ICMPv6 "address unreachable" (kernel `device.c`, wg_xmit), so that programs
//! fail at once instead of waiting; and to one that is longer than the interface's MTU what any router
//! does: "fragmentation needed" (RFC 1191 section 4), "packet too big" (RFC 4443 section 3.2), with the
//! length that would do. Pure: makes the packet, and says who must not get one (RFC 1122 section 3.2.2,
//! RFC 4443 section 2.4). It comes from the address that was not reached: which
//! addresses the interface has is not known here, and one of ours would not be taken from a TUN.
const std = @import("std");
const assert = std.debug.assert;
const checksum = @import("checksum.zig");
const constants = @import("constants.zig");
const inner_packet = @import("inner_packet.zig");
const Inner = inner_packet.Inner;
const Pacer = @import("pacer.zig").Pacer;

const protocol_icmp = 1;
const protocol_icmp6 = 58;
const header_bytes = 8;
const flag_dont_fragment = 0x40;
/// The whole answer: what every IPv4 and IPv6 host takes without a fragment.
const answer4_bytes_max = 576;
const answer6_bytes_max = 1280;
pub const answer_bytes_max = answer6_bytes_max;

pub const Why = union(enum) {
    no_host,
    /// The length of the longest packet that would pass.
    too_big: u32,

    /// Type and code.
    fn kind(why: Why, family: inner_packet.Family) [2]u8 {
        return switch (why) {
            .no_host => if (family == .v4) .{ 3, 1 } else .{ 1, 3 },
            .too_big => if (family == .v4) .{ 3, 4 } else .{ 2, 0 },
        };
    }
};

/// The length beyond which an answer has to take the packet's place. What a packet may be cut into
/// below (IPv4 without "don't fragment") has none; IPv6's minimum fits everywhere (RFC 8200 section 5).
pub fn lengthMax(packet: []const u8, family: inner_packet.Family, mtu: u32) u32 {
    return switch (family) {
        .v4 => if (packet[6] & flag_dont_fragment == 0) constants.ip_packet_bytes_max else mtu,
        .v6 => @max(mtu, answer6_bytes_max),
    };
}

/// Answers that wait until the turn writes them, within a limit of their own.
pub const Answers = struct {
    const turn_max = constants.icmp_answers_per_turn;

    pacer: Pacer(constants.icmp_answers_per_s, constants.icmp_answers_burst) = .{},
    bytes: [turn_max][answer_bytes_max]u8 = undefined,
    lengths: [turn_max]u16 = undefined,
    count: usize = 0,

    pub const Outcome = enum { added, limited, not_due };

    pub fn add(self: *Answers, packet: []const u8, inner: *const Inner, why: Why, now_ns: u64) Outcome {
        if (!isDue(packet, inner)) return .not_due;
        if (self.count == turn_max or !self.pacer.take(now_ns)) return .limited;
        self.lengths[self.count] = @intCast(write(&self.bytes[self.count], packet, inner, why).len);
        self.count += 1;
        return .added;
    }

    pub fn at(self: *const Answers, index: usize) []const u8 {
        assert(index < self.count);
        return self.bytes[index][0..self.lengths[index]];
    }
};

/// Not to errors, nor to fragments, nor to or from what is not one host.
fn isDue(packet: []const u8, inner: *const Inner) bool {
    const found = inner_packet.transport(packet, inner) orelse return false;
    if (found.fragment) return false;
    const rest = packet[found.offset..inner.total_length];
    switch (inner.family) {
        .v4 => {
            for ([2][4]u8{ inner.source4(), inner.destination4() }) |address| {
                if (address[0] == 0 or address[0] == 127 or address[0] >= 224) return false;
            }
            if (found.protocol != protocol_icmp) return true;
            // Echo, timestamp, address mask: questions and their answers. All else is an error.
            return rest.len > 0 and switch (rest[0]) {
                0, 8, 13, 14, 17, 18 => true,
                else => false,
            };
        },
        .v6 => {
            for ([2][16]u8{ inner.source, inner.destination }) |address| {
                const low = std.mem.readInt(u128, &address, .big);
                if (low <= 1 or address[0] == 0xff) return false;
            }
            if (found.protocol != protocol_icmp6) return true;
            // Errors are below 128; 137 is a redirect.
            return rest.len > 0 and rest[0] >= 128 and rest[0] != 137;
        },
    }
}

/// The answer, with as much of the packet as fits.
fn write(to: *[answer_bytes_max]u8, packet: []const u8, inner: *const Inner, why: Why) []u8 {
    const is_v4 = inner.family == .v4;
    const start: usize = if (is_v4) inner_packet.ipv4_header_size_min else inner_packet.ipv6_header_size;
    const room: usize = if (is_v4) answer4_bytes_max else answer6_bytes_max;
    const quoted = packet[0..@min(inner.total_length, room - start - header_bytes)];
    const answer = to[0 .. start + header_bytes + quoted.len];
    @memset(answer[0 .. start + header_bytes], 0);
    @memcpy(answer[start + header_bytes ..], quoted);
    const message = answer[start..];
    message[0..2].* = why.kind(inner.family);
    if (why == .too_big) {
        // 16 bits for IPv4, 32 for IPv6.
        if (is_v4)
            std.mem.writeInt(u16, message[6..8], @intCast(@min(why.too_big, std.math.maxInt(u16))), .big)
        else
            std.mem.writeInt(u32, message[4..8], why.too_big, .big);
    }
    const sum = if (is_v4) sum: {
        answer[0] = 0x45;
        answer[1] = 0xc0; // internetwork control, as the kernel marks its errors
        std.mem.writeInt(u16, answer[2..4], @intCast(answer.len), .big);
        answer[8] = 64;
        answer[9] = protocol_icmp;
        answer[12..16].* = inner.destination4();
        answer[16..20].* = inner.source4();
        checksum.store(answer[10..12], checksum.add(0, answer[0..start]));
        break :sum checksum.add(0, message);
    } else sum: {
        answer[0] = 0x60;
        std.mem.writeInt(u16, answer[4..6], @intCast(message.len), .big);
        answer[6] = protocol_icmp6;
        answer[7] = 64;
        answer[8..24].* = inner.destination;
        answer[24..40].* = inner.source;
        const pseudo = checksum.pseudo6(inner.destination, inner.source, protocol_icmp6, @intCast(message.len));
        break :sum checksum.add(pseudo, message);
    };
    checksum.store(message[2..4], sum);
    return answer;
}

const testing = std.testing;
const samples = @import("packet_samples.zig");

fn answerTo(answers: *Answers, packet: []const u8, now_ns: u64) Answers.Outcome {
    const inner = inner_packet.parse(packet).?;
    return answers.add(packet, &inner, .no_host, now_ns);
}

test "the answer comes from the address that was not reached, quotes the packet, and its sums are right" {
    var room: [2048]u8 = undefined;
    for ([_]inner_packet.Family{ .v4, .v6 }) |family| for ([_]usize{ 0, 10, 1400 }) |payload| {
        var answers: Answers = .{};
        const packet = samples.write(&room, .{ .family = family, .protocol = samples.udp, .payload = payload });
        try testing.expectEqual(.added, answerTo(&answers, packet, 0));
        const answer = answers.at(0);
        const of_packet = inner_packet.parse(packet).?;
        const inner = inner_packet.parse(answer).?;
        try testing.expectEqual(answer.len, inner.total_length);
        try testing.expectEqual(of_packet.destination, inner.source);
        try testing.expectEqual(of_packet.source, inner.destination);
        const start: usize = if (family == .v4) 20 else 40;
        const limit: usize = if (family == .v4) 576 else 1280;
        try testing.expectEqual(@min(limit, start + 8 + packet.len), answer.len);
        try testing.expectEqualSlices(u8, packet[0 .. answer.len - start - 8], answer[start + 8 ..]);
        const message = answer[start..];
        try testing.expectEqualSlices(u8, if (family == .v4) &.{ 3, 1 } else &.{ 1, 3 }, message[0..2]);
        var pseudo: [40]u8 = @splat(0);
        @memcpy(pseudo[0..32], answer[8..40]);
        std.mem.writeInt(u16, pseudo[34..36], @intCast(message.len), .big);
        pseudo[39] = 58;
        const initial = if (family == .v4) 0 else samples.checksum(0, &pseudo);
        try testing.expectEqual(0xffff, samples.checksum(initial, message));
        if (family == .v4) try testing.expectEqual(0xffff, samples.checksum(0, answer[0..20]));
    };
}

test "a packet that is too long is told which length would pass, where nobody may cut it" {
    var room: [2048]u8 = undefined;
    for ([_]inner_packet.Family{ .v4, .v6 }) |family| {
        var answers: Answers = .{};
        const packet = samples.write(&room, .{ .family = family, .protocol = samples.udp, .payload = 1500 });
        const inner = inner_packet.parse(packet).?;
        const length_max = lengthMax(packet, family, 1420);
        try testing.expectEqual(1420, length_max);
        try testing.expectEqual(.added, answers.add(packet, &inner, .{ .too_big = length_max }, 0));
        const message = answers.at(0)[if (family == .v4) 20 else 40..];
        const head: [2]u8 = if (family == .v4) .{ 3, 4 } else .{ 2, 0 };
        try testing.expectEqualSlices(u8, &head, message[0..2]);
        try testing.expectEqualSlices(u8, &.{ 0, 0, 1420 >> 8, 1420 & 0xff }, message[4..8]);
        try testing.expectEqualSlices(u8, packet[0..100], message[8..108]);
        if (family == .v4) try testing.expectEqual(0xffff, samples.checksum(0, message));
    }
    const may_be_cut = samples.write(&room, .{ .dont_fragment = false });
    try testing.expectEqual(constants.ip_packet_bytes_max, lengthMax(may_be_cut, .v4, 1420));
    const six = samples.write(&room, .{ .family = .v6 });
    try testing.expectEqual(1280, lengthMax(six, .v6, 600));
}

test "errors, fragments, and what is not from one host to one host get no answer" {
    var room: [256]u8 = undefined;
    var answers: Answers = .{};
    for ([_][4]u8{ .{ 0, 0, 0, 0 }, .{ 127, 0, 0, 1 }, .{ 224, 0, 0, 1 }, .{ 255, 255, 255, 255 } }) |address| {
        for ([_]usize{ 12, 16 }) |at| {
            const packet = samples.write(&room, .{});
            packet[at..][0..4].* = address;
            try testing.expectEqual(.not_due, answerTo(&answers, packet, 0));
        }
    }
    for ([_][16]u8{ @splat(0), @as([15]u8, @splat(0)) ++ .{1}, .{ 0xff, 2 } ++ @as([14]u8, @splat(1)) }) |address| {
        for ([_]usize{ 8, 24 }) |at| {
            const packet = samples.write(&room, .{ .family = .v6 });
            packet[at..][0..16].* = address;
            try testing.expectEqual(.not_due, answerTo(&answers, packet, 0));
        }
    }
    for ([_]u16{ 0x2000, 0x0001, 0x2001 }) |fragment| {
        const packet = samples.write(&room, .{});
        std.mem.writeInt(u16, packet[6..8], fragment, .big);
        try testing.expectEqual(.not_due, answerTo(&answers, packet, 0));
    }
    for (0..256) |kind| {
        const packet4 = samples.write(&room, .{ .protocol = samples.udp });
        packet4[9] = protocol_icmp;
        packet4[20] = @intCast(kind);
        answers = .{};
        const asks = kind == 0 or kind == 8 or kind == 13 or kind == 14 or kind == 17 or kind == 18;
        try testing.expectEqual(asks, answerTo(&answers, packet4, 0) == .added);
        const packet6 = samples.write(&room, .{ .family = .v6, .protocol = samples.udp });
        packet6[6] = protocol_icmp6;
        packet6[40] = @intCast(kind);
        answers = .{};
        try testing.expectEqual(kind >= 128 and kind != 137, answerTo(&answers, packet6, 0) == .added);
    }
}

test "answers are limited, in a turn and in a second" {
    var room: [256]u8 = undefined;
    var answers: Answers = .{};
    const packet = samples.write(&room, .{});
    var added: u64 = 0;
    for (0..10) |second| for (0..1000) |i| {
        const now_ns = second * constants.ns_per_s + i * constants.ns_per_ms;
        for (0..Answers.turn_max + 1) |_| if (answerTo(&answers, packet, now_ns) == .added) {
            added += 1;
        };
        try testing.expect(answers.count <= Answers.turn_max);
        answers.count = 0;
    };
    const limit = 10 * constants.icmp_answers_per_s + constants.icmp_answers_burst;
    try testing.expect(added <= limit and added + 2 >= limit);
}

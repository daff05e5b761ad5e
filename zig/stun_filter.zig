//! STUN at the door: which datagrams are answers that this node waits for (RFC 8489, section 5).
//! Owns the transaction ids that are awaited; what an answer says is for the control plane. Pure.
//! It is asked last, after WireGuard: a session index may equal the magic cookie.
const std = @import("std");
const constants = @import("constants.zig");

pub const id_bytes = 12;
const header_bytes = 20;
const magic_cookie = 0x2112_a442;
const binding_success = 0x0101;
const binding_error = 0x0111;

pub const StunFilter = struct {
    const Awaited = struct { id: [id_bytes]u8 = @splat(0), until_ns: u64 = 0 };

    awaited: [constants.stun_transactions_max]Awaited = @splat(.{}),

    /// Lets one answer pass until then. The one that would end first makes room.
    pub fn expect(self: *StunFilter, id: *const [id_bytes]u8, until_ns: u64) void {
        var oldest = &self.awaited[0];
        for (&self.awaited) |*entry| {
            if (entry.until_ns < oldest.until_ns) oldest = entry;
        }
        oldest.* = .{ .id = id.*, .until_ns = until_ns };
    }

    /// Whether a datagram is an answer that is awaited; then no longer.
    pub fn take(self: *StunFilter, datagram: []const u8, now_ns: u64) bool {
        if (datagram.len < header_bytes or datagram.len > constants.control_datagram_bytes_max) return false;
        const kind = std.mem.readInt(u16, datagram[0..2], .big);
        if (kind != binding_success and kind != binding_error) return false;
        if (std.mem.readInt(u32, datagram[4..8], .big) != magic_cookie) return false;
        if (std.mem.readInt(u16, datagram[2..4], .big) + header_bytes != datagram.len) return false;
        for (&self.awaited) |*entry| {
            if (now_ns >= entry.until_ns) continue;
            if (!std.mem.eql(u8, &entry.id, datagram[8..20])) continue;
            entry.* = .{};
            return true;
        }
        return false;
    }
};

test "an answer passes once, in time, and whole" {
    var filter: StunFilter = .{};
    var answer: [header_bytes + 4]u8 = @splat(0);
    std.mem.writeInt(u16, answer[0..2], binding_success, .big);
    std.mem.writeInt(u16, answer[2..4], 4, .big);
    std.mem.writeInt(u32, answer[4..8], magic_cookie, .big);
    answer[8..20].* = @splat(5);
    const id: [id_bytes]u8 = @splat(5);
    try std.testing.expect(!filter.take(&answer, 1));
    filter.expect(&id, 10);
    try std.testing.expect(!filter.take(answer[0 .. answer.len - 1], 1));
    answer[19] = 6;
    try std.testing.expect(!filter.take(&answer, 1));
    answer[19] = 5;
    // A request is no answer, nor is what has another cookie.
    for ([_]usize{ 0, 4 }) |at| {
        answer[at] ^= 1;
        try std.testing.expect(!filter.take(&answer, 1));
        answer[at] ^= 1;
    }
    try std.testing.expect(!filter.take(&answer, 10));
    try std.testing.expect(filter.take(&answer, 9));
    try std.testing.expect(!filter.take(&answer, 9));
    // More than there is room for: the oldest give way.
    for (0..constants.stun_transactions_max + 1) |number| {
        filter.expect(&@as([id_bytes]u8, @splat(@intCast(number))), 100 + number);
    }
    answer[8..20].* = @splat(0);
    try std.testing.expect(!filter.take(&answer, 9));
    answer[8..20].* = @splat(1);
    try std.testing.expect(filter.take(&answer, 9));
}

//! Packets of one peer that wait for a keypair: a byte ring of whole plaintext packets, bounded in
//! number and bytes. The newest are kept: what is pushed out is the oldest, and counted by the
//! caller. Owned by the transmit thread.
const std = @import("std");
const assert = std.debug.assert;
const Allocator = std.mem.Allocator;
const constants = @import("constants.zig");

pub const Staging = struct {
    const Entry = struct { offset: u32, length: u32 };

    entries: [constants.staged_packets_max]Entry = undefined,
    first: u32 = 0,
    count: u32 = 0,
    /// Where the next packet would be laid.
    end: u32 = 0,
    bytes: [constants.staged_bytes_max]u8 = undefined,

    pub fn create(allocator: Allocator) Allocator.Error!*Staging {
        const self = try allocator.create(Staging);
        self.first = 0;
        self.count = 0;
        self.end = 0;
        return self;
    }

    /// Packets in it may be secret to their users: wiped with the memory.
    pub fn destroy(self: *Staging, allocator: Allocator) void {
        std.crypto.secureZero(u8, &self.bytes);
        allocator.destroy(self);
    }

    /// Room for a packet of `length` bytes, which the caller fills at once. `dropped` grows by the
    /// number of older packets that gave way.
    pub fn reserve(self: *Staging, length: usize, dropped: *u64) []u8 {
        assert(length <= constants.ip_packet_bytes_max);
        if (self.count == constants.staged_packets_max) self.drop(dropped);
        var offset = self.end;
        if (offset + length > self.bytes.len) offset = 0;
        while (self.count > 0 and self.overlaps(offset, length)) self.drop(dropped);
        const at = (self.first + self.count) % constants.staged_packets_max;
        self.entries[at] = .{ .offset = offset, .length = @intCast(length) };
        self.count += 1;
        self.end = offset + @as(u32, @intCast(length));
        return self.bytes[offset..][0..length];
    }

    pub fn oldest(self: *const Staging) ?[]const u8 {
        if (self.count == 0) return null;
        const entry = self.entries[self.first];
        return self.bytes[entry.offset..][0..entry.length];
    }

    pub fn pop(self: *Staging) void {
        assert(self.count > 0);
        self.first = (self.first + 1) % @as(u32, constants.staged_packets_max);
        self.count -= 1;
    }

    fn drop(self: *Staging, dropped: *u64) void {
        self.pop();
        dropped.* += 1;
    }

    /// Packets lie in ring order, so what a new one would cover are the oldest.
    fn overlaps(self: *const Staging, offset: u32, length: usize) bool {
        const stop = offset + @max(length, 1);
        var index: u32 = 0;
        while (index < self.count) : (index += 1) {
            const entry = self.entries[(self.first + index) % constants.staged_packets_max];
            if (offset < entry.offset + @max(entry.length, 1) and entry.offset < stop) return true;
        }
        return false;
    }
};

test "keeps the newest packets, whole and in order" {
    const allocator = std.testing.allocator;
    const staging = try Staging.create(allocator);
    defer staging.destroy(allocator);
    var prng = std.Random.DefaultPrng.init(3);
    const random = prng.random();
    var lengths: [20_000]usize = undefined;
    var pushed: usize = 0;
    var popped: usize = 0;
    var dropped: u64 = 0;
    while (pushed < lengths.len) {
        const length = if (random.uintLessThan(u8, 20) == 0)
            random.uintAtMost(usize, constants.ip_packet_bytes_max)
        else
            random.uintAtMost(usize, 1_500);
        lengths[pushed] = length;
        @memset(staging.reserve(length, &dropped), @truncate(pushed));
        pushed += 1;
        while (random.uintLessThan(u8, 3) == 0) {
            const packet = staging.oldest() orelse break;
            const index = popped + dropped;
            try std.testing.expectEqual(lengths[index], packet.len);
            for (packet) |byte| try std.testing.expectEqual(@as(u8, @truncate(index)), byte);
            staging.pop();
            popped += 1;
        }
        try std.testing.expectEqual(pushed, popped + dropped + staging.count);
    }
    try std.testing.expect(dropped > 0);
}

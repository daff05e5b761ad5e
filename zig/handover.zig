//! Packets that came in at one lane and belong to another: a buffer that many lanes fill while its
//! owner works through the one before. Bounded in number and bytes; what does not fit is refused,
//! and the caller counts it. Order between two lanes is kept.
const std = @import("std");
const assert = std.debug.assert;
const Allocator = std.mem.Allocator;
const constants = @import("constants.zig");
const Mutex = @import("table_lock.zig").Mutex;
const Path = @import("peer.zig").Path;

pub const Handover = struct {
    /// What was handed over, until the next `take`. The owner may change the bytes.
    pub const Load = struct {
        bytes: []u8,
        used: usize = 0,
        lengths: [constants.handover_packets]u32 = undefined,
        paths: [constants.handover_packets]Path = undefined,
        /// Congestion bits of the outer headers.
        ecns: [constants.handover_packets]u2 = undefined,
        count: usize = 0,
    };

    mutex: Mutex = .{},
    loads: [2]Load,
    filling: u1 = 0,
    waiting: std.atomic.Value(bool) = .init(false),

    pub fn init(allocator: Allocator) Allocator.Error!Handover {
        const first = try allocator.alloc(u8, constants.handover_bytes);
        errdefer allocator.free(first);
        const second = try allocator.alloc(u8, constants.handover_bytes);
        return .{ .loads = .{ .{ .bytes = first }, .{ .bytes = second } } };
    }

    pub fn deinit(self: *Handover, allocator: Allocator) void {
        for (&self.loads) |*load| {
            std.crypto.secureZero(u8, load.bytes);
            allocator.free(load.bytes);
        }
        self.* = undefined;
    }

    pub const Pushed = enum { full, added, first };

    /// Any lane. `first`: the owner has to be woken.
    pub fn push(self: *Handover, path: Path, ecn: u2, bytes: []const u8) Pushed {
        self.mutex.lock();
        defer self.mutex.unlock();
        const load = &self.loads[self.filling];
        if (load.count == load.lengths.len or load.bytes.len - load.used < bytes.len) return .full;
        @memcpy(load.bytes[load.used..][0..bytes.len], bytes);
        load.used += bytes.len;
        load.lengths[load.count] = @intCast(bytes.len);
        load.paths[load.count] = path;
        load.ecns[load.count] = ecn;
        load.count += 1;
        self.waiting.store(true, .monotonic);
        return if (load.count == 1) .first else .added;
    }

    /// The owner. Null where nothing waits; what was taken before is forgotten.
    pub fn take(self: *Handover) ?*Load {
        if (!self.waiting.load(.monotonic)) return null;
        self.mutex.lock();
        defer self.mutex.unlock();
        const load = &self.loads[self.filling];
        assert(load.count > 0);
        self.filling ^= 1;
        self.loads[self.filling].used = 0;
        self.loads[self.filling].count = 0;
        self.waiting.store(false, .monotonic);
        return load;
    }
};

test "what is handed over is taken once, in order, and what does not fit is refused" {
    const allocator = std.testing.allocator;
    var handover = try Handover.init(allocator);
    defer handover.deinit(allocator);
    try std.testing.expectEqual(null, handover.take());
    try std.testing.expectEqual(.first, handover.push(.{}, 0, "one"));
    try std.testing.expectEqual(.added, handover.push(.{}, 0, "three"));
    const load = handover.take().?;
    try std.testing.expectEqual(2, load.count);
    try std.testing.expectEqualStrings("onethree", load.bytes[0..load.used]);
    try std.testing.expectEqualSlices(u32, &.{ 3, 5 }, load.lengths[0..load.count]);
    try std.testing.expectEqual(null, handover.take());

    // While one load is worked through, the other fills up.
    var pushed: usize = 0;
    while (handover.push(.{}, 0, "x") != .full) pushed += 1;
    try std.testing.expectEqual(constants.handover_packets, pushed);
    try std.testing.expectEqualStrings("onethree", load.bytes[0..load.used]);
    try std.testing.expectEqual(pushed, handover.take().?.count);

    const long: [constants.ip_packet_bytes_max]u8 = @splat(7);
    var bytes: usize = 0;
    while (handover.push(.{}, 0, &long) != .full) bytes += long.len;
    try std.testing.expect(bytes > 0 and bytes <= constants.handover_bytes);
}

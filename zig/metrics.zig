//! Counters of the data plane: one block a thread, so that no cache line is shared, summed when
//! somebody asks. Names and order are `abi.Counter`. A counter only grows.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");

pub const counters_count = @typeInfo(abi.Counter).@"enum".field_names.len;

/// Counters of one writing thread. Others may read at any time.
pub const Counters = struct {
    values: [counters_count]std.atomic.Value(u64) align(constants.cache_line_bytes) =
        @splat(.init(0)),

    /// Not a read-modify-write: the block has one writer.
    pub fn add(self: *Counters, counter: abi.Counter, amount: u64) void {
        const value = &self.values[@backingInt(counter)];
        value.store(value.raw +% amount, .monotonic);
    }

    pub fn get(self: *const Counters, counter: abi.Counter) u64 {
        return self.values[@backingInt(counter)].load(.monotonic);
    }
};

/// Adds the blocks up into `out`; as many as fit, in the order of `abi.Counter`.
pub fn sum(blocks: []const *const Counters, out: []u64) usize {
    const count = @min(out.len, counters_count);
    for (out[0..count], 0..) |*total, index| {
        total.* = 0;
        for (blocks) |block| total.* +%= block.values[index].load(.monotonic);
    }
    return count;
}

test "blocks add up in the order of the enum" {
    var a: Counters = .{};
    var b: Counters = .{};
    a.add(.no_route, 3);
    b.add(.no_route, 4);
    b.add(.uapi_refused, 1);
    var out: [counters_count]u64 = undefined;
    try std.testing.expectEqual(counters_count, sum(&.{ &a, &b }, &out));
    try std.testing.expectEqual(7, out[@backingInt(abi.Counter.no_route)]);
    try std.testing.expectEqual(1, out[@backingInt(abi.Counter.uapi_refused)]);
}

//! When this node is under load, which is when the gate asks strangers for cookies. Pure: time is an
//! argument.
//!
//! Two things say so: what waits for the control plane (kernel `receive.c`), and how fast handshakes
//! and introductions with a valid MAC arrive, whether or not they are drained in time: each costs a
//! Diffie-Hellman, so a flood that is just drained costs the most. Load lasts a second after either.
//! It alone refuses nobody: it is not a limit that a stranger could use up for others.
const std = @import("std");
const assert = std.debug.assert;
const constants = @import("constants.zig");
const Pacer = @import("pacer.zig").Pacer;

comptime {
    // What passes without a cookie in the first second of a flood, and in each later one.
    assert(constants.load_arrivals_burst + constants.load_arrivals_per_s <= 500);
}

pub const Load = struct {
    /// When the node was last seen under load.
    seen_ns: ?u64 = null,
    arrivals: Pacer(constants.load_arrivals_per_s, constants.load_arrivals_burst) = .{},

    /// A message with a valid MAC has arrived, while `queued` others wait for the control plane.
    /// Whether the node is under load now.
    pub fn arrive(self: *Load, now_ns: u64, queued: usize) bool {
        if (!self.arrivals.take(now_ns) or queued >= constants.load_datagrams) {
            self.seen_ns = now_ns;
            return true;
        }
        // A time to come is of a clock that went back: it counts as now.
        const seen_ns = @min(self.seen_ns orelse return false, now_ns);
        self.seen_ns = seen_ns;
        if (now_ns - seen_ns < constants.load_sticky_ns) return true;
        self.seen_ns = null;
        return false;
    }
};

const testing = std.testing;
const ns_per_s = constants.ns_per_s;

test "load begins with an eighth of the ring and lasts a second after it" {
    try testing.expectEqual(constants.control_ring_datagrams, 8 * constants.load_datagrams);
    const queued = constants.load_datagrams;
    var load: Load = .{};
    const start_ns = 50 * ns_per_s;
    try testing.expect(!load.arrive(start_ns, queued - 1));
    try testing.expect(load.arrive(start_ns, queued));
    try testing.expect(load.arrive(start_ns + ns_per_s - 1, 0));
    // Being asked in between does not prolong it; being loaded does.
    try testing.expect(!load.arrive(start_ns + ns_per_s, 0));
    try testing.expect(load.arrive(start_ns + 2 * ns_per_s, queued));
    try testing.expect(load.arrive(start_ns + 5 * ns_per_s / 2, 1000));
    try testing.expect(load.arrive(start_ns + 7 * ns_per_s / 2 - 1, 0));
    try testing.expect(!load.arrive(start_ns + 7 * ns_per_s / 2, 0));
}

test "arrivals at the rate are no load for ever, and a burst of them is none" {
    var load: Load = .{};
    var now_ns: u64 = 7 * ns_per_s;
    for (0..100_000) |_| {
        try testing.expect(!load.arrive(now_ns, 0));
        now_ns += ns_per_s / constants.load_arrivals_per_s;
    }
    now_ns += 2 * ns_per_s;
    for (0..constants.load_arrivals_burst) |_| try testing.expect(!load.arrive(now_ns, 0));
    try testing.expect(load.arrive(now_ns, 0));
}

test "a flood that is drained in time is load for as long as it lasts, and a second more" {
    for ([_]u64{ constants.load_arrivals_per_s + 10, 1_000, 50_000 }) |per_s| {
        var load: Load = .{};
        var now_ns: u64 = 0;
        var quiet: u64 = 0;
        var quiet_after_first: u64 = 0;
        for (0..60 * per_s) |_| {
            const loaded = load.arrive(now_ns, 0);
            if (!loaded) quiet += 1;
            if (!loaded and now_ns > 25 * ns_per_s) quiet_after_first += 1;
            now_ns += ns_per_s / per_s;
        }
        // A flood just above the rate is noticed late, and is not much.
        const until_noticed = constants.load_arrivals_burst * per_s / (per_s - constants.load_arrivals_per_s);
        try testing.expect(quiet <= until_noticed + 10);
        try testing.expectEqual(0, quiet_after_first);
        // Two seconds later the node is itself again.
        try testing.expect(!load.arrive(now_ns + 2 * ns_per_s, 0));
    }
}

test "a clock that jumps back or far ahead is not load, and ends none late" {
    var load: Load = .{};
    const late_ns = 1_000_000 * ns_per_s;
    for (0..constants.load_arrivals_burst + 1) |_| _ = load.arrive(late_ns, 0);
    try testing.expect(load.arrive(late_ns, 0));
    // What was seen in a future counts as just seen.
    try testing.expect(load.arrive(5 * ns_per_s, 0));
    try testing.expect(!load.arrive(7 * ns_per_s, 0));
    try testing.expect(!load.arrive(std.math.maxInt(u64), 0));
    try testing.expect(!load.arrive(std.math.maxInt(u64), 0));
}

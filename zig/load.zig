//! When this node is under load, which is when the gate asks strangers for cookies. Pure: time is an
//! argument.
//!
//! Two things say so: what waits for the control plane (kernel `receive.c`), and how fast handshakes
//! and introductions with a valid MAC arrive, whether or not they are drained in time: each costs a
//! Diffie-Hellman, so a flood that is just drained costs the most. Load lasts a second after either.
//! It alone refuses nobody: it is not a limit that a stranger could use up for others.
//!
//! An address that alone sends too many is a load by itself, and nobody else's. It has proven nothing
//! yet, so nothing is kept for it: addresses share counters, by a hash that nobody can aim at.
const std = @import("std");
const assert = std.debug.assert;
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const rate_limiter = @import("rate_limiter.zig");
const Source = rate_limiter.Source;
const Pacer = @import("pacer.zig").Pacer;

comptime {
    assert(constants.source_load_per_s == rate_limiter.packets_per_second);
    // What passes without a cookie in the first second of a flood, and in each later one.
    assert(constants.load_arrivals_burst + constants.load_arrivals_per_s <= 500);
}

pub const Load = struct {
    sticky: Sticky = .{},
    arrivals: Pacer(constants.load_arrivals_per_s, constants.load_arrivals_burst) = .{},

    /// A message with a valid MAC has arrived, while `queued` others wait for the control plane.
    /// Whether the node is under load now.
    pub fn arrive(self: *Load, now_ns: u64, queued: usize) bool {
        return self.sticky.see(!self.arrivals.take(now_ns) or queued >= constants.load_datagrams, now_ns);
    }
};

/// Without `init` its hash can be foreseen.
pub const SourceLoad = struct {
    hash_key: [rate_limiter.hash_key_bytes]u8 = @splat(0),
    cells: [constants.source_load_cells]Cell = @splat(.{}),

    const Cell = struct {
        sticky: Sticky = .{},
        arrivals: Pacer(constants.source_load_per_s, constants.source_load_burst) = .{},
    };

    /// `hash_key`: random bytes that nobody else knows.
    pub fn init(hash_key: *const [rate_limiter.hash_key_bytes]u8) SourceLoad {
        return .{ .hash_key = hash_key.* };
    }

    /// A message with a valid MAC has arrived from there. Whether so many do that it, or whoever
    /// pretends to be there, is a load by itself.
    pub fn arrive(self: *SourceLoad, remote: *const abi.Endpoint, now_ns: u64) bool {
        const hash = Source.of(remote).hash(&self.hash_key);
        const cell = &self.cells[@intCast(hash % self.cells.len)];
        return cell.sticky.see(!cell.arrivals.take(now_ns), now_ns);
    }
};

/// Load lasts for a while after it was seen.
const Sticky = struct {
    seen_ns: ?u64 = null,

    fn see(self: *Sticky, now_is: bool, now_ns: u64) bool {
        if (now_is) {
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

fn v4(address: u32) abi.Endpoint {
    var endpoint: abi.Endpoint = .{ .port = 1, .family = 4 };
    std.mem.writeInt(u32, endpoint.address[12..16], address, .big);
    return endpoint;
}

test "an address is a load by itself beyond its burst, for as long as it goes on and a second more" {
    var sources: SourceLoad = .init(&@splat(7));
    const from = v4(0x0a000001);
    var now_ns: u64 = 3 * ns_per_s;
    for (0..constants.source_load_burst) |_| try testing.expect(!sources.arrive(&from, now_ns));
    for (0..100_000) |_| {
        try testing.expect(sources.arrive(&from, now_ns));
        now_ns += 50_000;
    }
    try testing.expect(sources.arrive(&from, now_ns + 9 * ns_per_s / 10));
    try testing.expect(!sources.arrive(&from, now_ns + 2 * ns_per_s));
    // At its rate it never is.
    now_ns += 100 * ns_per_s;
    for (0..10_000) |_| {
        try testing.expect(!sources.arrive(&from, now_ns));
        now_ns += ns_per_s / constants.source_load_per_s;
    }
}

test "one address that is a load makes it of few others, and a flood from everywhere of all" {
    var sources: SourceLoad = .init(&@splat(7));
    for (0..1000) |_| _ = sources.arrive(&v4(1), ns_per_s);
    var others: u32 = 0;
    for (0..10_000) |i| {
        if (sources.arrive(&v4(@intCast(0x0a000000 + i)), ns_per_s)) others += 1;
    }
    // A thousandth shares its counter.
    try testing.expect(others > 0 and others < 100);
}

//! So many in a second, and so many at once: the limit of what is not worth a bucket for each source.
//! Pure: time is an argument. One number: when all that was let through will have been paid for, at
//! one for each interval (GCRA).
const std = @import("std");
const constants = @import("constants.zig");

pub fn Pacer(comptime per_s: u64, comptime burst: u64) type {
    return struct {
        const Self = @This();
        pub const interval_ns = constants.ns_per_s / per_s;
        const tolerance_ns = (burst - 1) * interval_ns;

        paid_ns: u64 = 0,

        /// Whether one more is within the limit. What is not costs nothing.
        pub fn take(self: *Self, now_ns: u64) bool {
            // At most the whole burst is owed, also where the clock went back.
            self.paid_ns = @min(self.paid_ns, now_ns +| burst * interval_ns);
            const paid_ns = @max(self.paid_ns, now_ns);
            if (paid_ns - now_ns > tolerance_ns) return false;
            self.paid_ns = paid_ns +| interval_ns;
            return true;
        }
    };
}

const testing = std.testing;
const ns_per_s = constants.ns_per_s;
const Ten = Pacer(10, 4);

test "a burst passes, then one for each interval, and a rest earns the burst again" {
    var pacer: Ten = .{};
    var now_ns: u64 = 3 * ns_per_s;
    for (0..3) |_| {
        for (0..4) |_| try testing.expect(pacer.take(now_ns));
        try testing.expect(!pacer.take(now_ns));
        try testing.expect(!pacer.take(now_ns + Ten.interval_ns - 1));
        try testing.expect(pacer.take(now_ns + Ten.interval_ns));
        try testing.expect(!pacer.take(now_ns + Ten.interval_ns));
        now_ns += 3600 * ns_per_s;
    }
}

test "whatever the arrivals, no more pass than the burst and the rate" {
    var prng = std.Random.DefaultPrng.init(0x7061636572);
    const random = prng.random();
    for (0..100) |_| {
        var pacer: Ten = .{};
        var now_ns: u64 = random.uintLessThan(u64, ns_per_s);
        const start_ns = now_ns;
        var passed: u64 = 0;
        for (0..2000) |_| {
            if (pacer.take(now_ns)) passed += 1;
            try testing.expect(passed <= 4 + (now_ns - start_ns) / Ten.interval_ns);
            now_ns += random.uintLessThan(u64, 20_000_000);
        }
        // And hardly fewer, for something always waits.
        try testing.expect(passed + 2 >= (now_ns - start_ns) / Ten.interval_ns);
    }
}

test "a clock that jumps back holds nothing up for longer than a burst takes" {
    var pacer: Ten = .{};
    for (0..4) |_| _ = pacer.take(1_000_000 * ns_per_s);
    try testing.expect(!pacer.take(ns_per_s));
    try testing.expect(pacer.take(ns_per_s + 4 * Ten.interval_ns));
    try testing.expect(pacer.take(std.math.maxInt(u64)));
}

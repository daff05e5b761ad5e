//! The replay window of one receiving session: which counters have been accepted.
//!
//! Owns 8,192 bits used as a ring of words (RFC 6479), and the highest counter accepted.
//! Does not own keys and does not lock: a session belongs to one thread.
//! Always holds: a counter is accepted at most once; a bit is only set by `commit`, which is
//! called after the packet has been authenticated, so a forger cannot move the window.

const std = @import("std");
const assert = std.debug.assert;
const constants = @import("constants.zig");

const Word = u64;
const word_bits = @bitSizeOf(Word);

/// Bits in the ring. One word of them is always being recycled, so that many are not usable.
pub const bits_total = 8192;
const words_total = bits_total / word_bits;

/// How far behind the highest accepted counter a packet may be, and still be accepted.
pub const window_size = bits_total - word_bits;

/// REJECT-AFTER-MESSAGES (WireGuard paper, section 6.1): counters from here on are refused.
pub const limit = constants.reject_after_messages;

comptime {
    assert(std.math.isPowerOfTwo(words_total));
    assert(window_size == 8128);
    // `counter + window_size` must not wrap for any counter below the limit.
    assert(limit - 1 <= std.math.maxInt(u64) - window_size);
}

pub const Window = struct {
    highest: u64 = 0,
    ring: [words_total]Word = @splat(0),

    /// Whether `commit` would accept the counter now. Cheap: it spares the work of opening a
    /// packet that is too old, or was seen before; it says nothing about authenticity.
    pub fn check(self: *const Window, counter: u64) bool {
        if (counter >= limit) return false;
        if (counter > self.highest) return true;
        if (counter + window_size < self.highest) return false;
        return self.ring[wordOf(counter)] & maskOf(counter) == 0;
    }

    /// Accepts and marks the counter of an authenticated packet; false if it must be dropped.
    pub fn commit(self: *Window, counter: u64) bool {
        if (counter >= limit) return false;
        if (counter > self.highest) {
            self.advance(counter);
        } else if (counter + window_size < self.highest) {
            return false;
        }
        const word = &self.ring[wordOf(counter)];
        const mask = maskOf(counter);
        if (word.* & mask != 0) return false;
        word.* |= mask;
        return true;
    }

    /// Clears the words between the old highest counter and the new one: they still hold the
    /// bits of counters one turn of the ring ago.
    fn advance(self: *Window, counter: u64) void {
        assert(counter > self.highest);
        const from = self.highest / word_bits;
        const steps = @min(counter / word_bits - from, words_total);
        for (1..steps + 1) |step| {
            self.ring[@intCast((from + step) % words_total)] = 0;
        }
        self.highest = counter;
    }
};

fn wordOf(counter: u64) usize {
    return @intCast(counter / word_bits % words_total);
}

fn maskOf(counter: u64) Word {
    return @as(Word, 1) << @intCast(counter % word_bits);
}

const testing = std.testing;

fn expectCommit(window: *Window, counter: u64, accepted: bool) !void {
    try testing.expectEqual(accepted, window.check(counter));
    try testing.expectEqual(accepted, window.commit(counter));
}

test "the kernel's sequence of counters gets the kernel's answers" {
    const far = window_size + 1;
    const Step = struct { u64, bool };
    const steps = [_]Step{
        .{ 0, true },                     .{ 1, true },
        .{ 1, false },                    .{ 9, true },
        .{ 8, true },                     .{ 7, true },
        .{ 7, false },                    .{ far, true },
        .{ far - 1, true },               .{ far - 1, false },
        .{ far - 2, true },               .{ 2, true },
        .{ 2, false },                    .{ far + 16, true },
        .{ 3, false },                    .{ far + 16, false },
        .{ far * 4, true },               .{ far * 4 - (far - 1), true },
        .{ 10, false },                   .{ far * 4 - far, false },
        .{ far * 4 - (far + 1), false },  .{ far * 4 - (far - 2), true },
        .{ far * 4 + 1 - far, false },    .{ 0, false },
        .{ limit, false },                .{ limit - 1, true },
        .{ limit, false },                .{ limit - 1, false },
        .{ limit - 2, true },             .{ limit + 1, false },
        .{ limit + 2, false },            .{ limit - 2, false },
        .{ limit - 3, true },             .{ 0, false },
        .{ std.math.maxInt(u64), false },
    };
    var window: Window = .{};
    for (steps) |step| try expectCommit(&window, step[0], step[1]);
}

test "a full window upwards still accepts the counter at its lower edge, once" {
    var window: Window = .{};
    for (1..window_size + 1) |counter| try expectCommit(&window, counter, true);
    try expectCommit(&window, 0, true);
    try expectCommit(&window, 0, false);
}

test "a counter one below the window is refused" {
    var window: Window = .{};
    for (2..window_size + 2) |counter| try expectCommit(&window, counter, true);
    try expectCommit(&window, 1, true);
    try expectCommit(&window, 0, false);
}

test "counters in falling order are accepted down to the lower edge" {
    var window: Window = .{};
    for (0..window_size + 1) |back| try expectCommit(&window, window_size - back, true);

    window = .{};
    for (0..window_size + 1) |back| try expectCommit(&window, window_size + 1 - back, true);
    try expectCommit(&window, 0, false);
}

test "a step forward by one pushes out exactly the lowest counter" {
    var window: Window = .{};
    for (0..window_size) |back| try expectCommit(&window, window_size - back, true);
    try expectCommit(&window, window_size + 1, true);
    try expectCommit(&window, 0, false);

    window = .{};
    for (0..window_size) |back| try expectCommit(&window, window_size - back, true);
    try expectCommit(&window, 0, true);
    try expectCommit(&window, window_size + 1, true);
}

test "a check changes nothing" {
    var window: Window = .{};
    try expectCommit(&window, 5, true);
    const before = window;
    for ([_]u64{ 0, 5, 6, 100_000, limit - 1, limit, std.math.maxInt(u64) }) |counter| {
        _ = window.check(counter);
    }
    try testing.expectEqual(before, window);
}

test "random histories agree with a set that remembers every counter" {
    var prng = std.Random.DefaultPrng.init(0x7265706c6179);
    const random = prng.random();
    for ([_]u64{ 0, 1 << 40, limit - 60_000 }) |start| {
        var seen: std.AutoHashMapUnmanaged(u64, void) = .empty;
        defer seen.deinit(testing.allocator);
        var window: Window = .{};
        var highest: u64 = 0;
        for (0..100_000) |_| {
            const near = if (highest < start) start else highest;
            const counter = switch (random.uintLessThan(u8, 16)) {
                0 => near +| random.uintLessThan(u64, 3 * bits_total),
                1 => near -| random.uintLessThan(u64, 2 * bits_total),
                2 => near -| (window_size - 2 + random.uintLessThan(u64, 5)),
                3...7 => near +| random.uintLessThan(u64, 3),
                else => near -| random.uintLessThan(u64, 80),
            };
            const expected = counter < limit and counter +| window_size >= highest and
                !seen.contains(counter);
            try expectCommit(&window, counter, expected);
            if (expected) {
                try seen.put(testing.allocator, counter, {});
                highest = @max(highest, counter);
            }
        }
        try testing.expectEqual(highest, window.highest);
    }
}

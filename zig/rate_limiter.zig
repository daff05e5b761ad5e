//! How many handshake messages a proven source may send: 20 a second in bursts of 5, for each IPv4
//! address and each IPv6 /64 (kernel `ratelimiter.c`). Pure: time is an argument.
//!
//! Owns a table of fixed size, allocated once; a source that finds no place is refused. Entries lie
//! in the order of their last use, so those that nobody used for a second are dropped from the old
//! end, a few with each call, and a full table is full of sources of the last second. The gate asks
//! only after a cookie, so spoofed sources find no place. Collisions cannot be aimed, for the hash
//! has a random key.
const std = @import("std");
const assert = std.debug.assert;
const Allocator = std.mem.Allocator;
const abi = @import("abi.zig");
const constants = @import("constants.zig");

const SipHash = std.crypto.auth.siphash.SipHash64(1, 3);

pub const hash_key_bytes = SipHash.key_length;
pub const packets_per_second = 20;
pub const packets_burst = 5;
/// A bucket holds time: a packet costs what it takes to earn it.
const packet_cost_ns: u64 = constants.ns_per_s / packets_per_second;
const tokens_max_ns: u64 = packet_cost_ns * packets_burst;
/// An entry that was not used for longer is dropped; its bucket has been full for long.
const entry_lifetime_ns: u64 = constants.ns_per_s;
/// More than the one entry that a call adds, so that the table shrinks while it is in use.
const collected_per_call = 2;

comptime {
    assert(constants.ns_per_s % packets_per_second == 0);
    assert(entry_lifetime_ns > tokens_max_ns);
    assert(tokens_max_ns <= std.math.maxInt(u32));
}

pub const Outcome = enum {
    allowed,
    /// The source has spent its tokens.
    limited,
    /// The source is new, and there is no place for it.
    full,
};

/// No entry.
const none = std.math.maxInt(u32);

/// What shares a bucket.
pub const Source = struct {
    /// IPv4: the address. IPv6: its first 64 bits.
    bits: u64,
    /// 4 or 6.
    family: u8,

    pub fn of(remote: *const abi.Endpoint) Source {
        return switch (remote.family) {
            4 => .{ .bits = std.mem.readInt(u32, remote.address[12..16], .big), .family = 4 },
            else => .{ .bits = std.mem.readInt(u64, remote.address[0..8], .big), .family = 6 },
        };
    }

    /// Nobody who does not know the key can choose sources that share one.
    pub fn hash(source: Source, key: *const [hash_key_bytes]u8) u64 {
        var bytes: [9]u8 = undefined;
        std.mem.writeInt(u64, bytes[0..8], source.bits, .little);
        bytes[8] = source.family;
        return SipHash.toInt(&bytes, key);
    }

    fn equal(a: Source, b: Source) bool {
        return a.bits == b.bits and a.family == b.family;
    }
};

const Entry = struct {
    source: Source,
    last_ns: u64,
    tokens_ns: u32,
    /// The next of its chain, or of the free entries.
    next: u32,
    /// Neighbours in the order of last use.
    newer: u32,
    older: u32,
};

/// Without `init` it has no place, and refuses everybody.
pub const RateLimiter = struct {
    entries: []Entry = &.{},
    /// First entry of each chain; as many as a power of two.
    chains: []u32 = &.{},
    hash_key: [hash_key_bytes]u8 = @splat(0),
    count: u32 = 0,
    /// Entries from here on were never used, so their memory was never touched.
    untouched: u32 = 0,
    free: u32 = none,
    newest: u32 = none,
    oldest: u32 = none,

    /// `hash_key`: random bytes that nobody else knows.
    pub fn init(
        allocator: Allocator,
        entries_max: u32,
        hash_key: *const [hash_key_bytes]u8,
    ) Allocator.Error!RateLimiter {
        assert(entries_max > 0 and entries_max <= 1 << 30);
        const entries = try allocator.alloc(Entry, entries_max);
        errdefer allocator.free(entries);
        const chains = try allocator.alloc(u32, std.math.ceilPowerOfTwoAssert(u32, entries_max));
        @memset(chains, none);
        return .{ .entries = entries, .chains = chains, .hash_key = hash_key.* };
    }

    pub fn deinit(self: *RateLimiter, allocator: Allocator) void {
        allocator.free(self.entries);
        allocator.free(self.chains);
        self.* = undefined;
    }

    /// Takes one packet's tokens from the source of `remote`, whose port does not matter. `now_ns`
    /// does not go back; where it does, nothing is earned.
    pub fn allow(self: *RateLimiter, remote: *const abi.Endpoint, now_ns: u64) Outcome {
        self.collect(now_ns);
        const source: Source = .of(remote);
        if (self.find(source)) |index| return self.spend(index, now_ns);
        const index = self.take() orelse return .full;
        const chain = self.chainOf(source);
        self.entries[index] = .{
            .source = source,
            .last_ns = now_ns,
            .tokens_ns = @intCast(tokens_max_ns - packet_cost_ns),
            .next = chain.*,
            .newer = none,
            .older = none,
        };
        chain.* = index;
        self.appendNewest(index);
        self.count += 1;
        return .allowed;
    }

    fn collect(self: *RateLimiter, now_ns: u64) void {
        for (0..collected_per_call) |_| {
            const index = self.oldest;
            if (index == none) return;
            if (now_ns -| self.entries[index].last_ns <= entry_lifetime_ns) return;
            self.drop(index);
        }
    }

    fn find(self: *const RateLimiter, source: Source) ?u32 {
        if (self.count == 0) return null;
        var index = self.chainOf(source).*;
        while (index != none) : (index = self.entries[index].next) {
            if (self.entries[index].source.equal(source)) return index;
        }
        return null;
    }

    fn spend(self: *RateLimiter, index: u32, now_ns: u64) Outcome {
        const entry = &self.entries[index];
        const earned_ns = now_ns -| entry.last_ns;
        const tokens_ns = @min(tokens_max_ns, entry.tokens_ns +| earned_ns);
        const enough = tokens_ns >= packet_cost_ns;
        entry.tokens_ns = @intCast(if (enough) tokens_ns - packet_cost_ns else tokens_ns);
        entry.last_ns = now_ns;
        self.unlink(index);
        self.appendNewest(index);
        return if (enough) .allowed else .limited;
    }

    /// An entry that is not in use.
    fn take(self: *RateLimiter) ?u32 {
        if (self.free != none) {
            const index = self.free;
            self.free = self.entries[index].next;
            return index;
        }
        if (self.untouched == self.entries.len) return null;
        defer self.untouched += 1;
        return self.untouched;
    }

    fn drop(self: *RateLimiter, index: u32) void {
        const entry = &self.entries[index];
        var link = self.chainOf(entry.source);
        while (link.* != index) link = &self.entries[link.*].next;
        link.* = entry.next;
        self.unlink(index);
        entry.next = self.free;
        self.free = index;
        self.count -= 1;
    }

    fn chainOf(self: *const RateLimiter, source: Source) *u32 {
        return &self.chains[@intCast(source.hash(&self.hash_key) & (self.chains.len - 1))];
    }

    fn appendNewest(self: *RateLimiter, index: u32) void {
        const entry = &self.entries[index];
        entry.newer = none;
        entry.older = self.newest;
        if (self.newest == none) self.oldest = index else self.entries[self.newest].newer = index;
        self.newest = index;
    }

    fn unlink(self: *RateLimiter, index: u32) void {
        const newer = self.entries[index].newer;
        const older = self.entries[index].older;
        if (newer == none) self.newest = older else self.entries[newer].older = older;
        if (older == none) self.oldest = newer else self.entries[older].newer = newer;
    }
};

const testing = std.testing;
const ns_per_ms = constants.ns_per_ms;
const test_key: [hash_key_bytes]u8 = "0123456789abcdef".*;

fn v4(address: u32) abi.Endpoint {
    var endpoint: abi.Endpoint = .{ .port = 1, .family = 4 };
    endpoint.address[10..12].* = .{ 0xff, 0xff };
    std.mem.writeInt(u32, endpoint.address[12..16], address, .big);
    return endpoint;
}

fn v6(upper: u64, lower: u64) abi.Endpoint {
    var endpoint: abi.Endpoint = .{ .port = 1, .family = 6 };
    std.mem.writeInt(u64, endpoint.address[0..8], upper, .big);
    std.mem.writeInt(u64, endpoint.address[8..16], lower, .big);
    return endpoint;
}

test "the limiter agrees with the kernel's self-test, step by step" {
    var limiter: RateLimiter = try .init(testing.allocator, 64, &test_key);
    defer limiter.deinit(testing.allocator);
    const steps = [_]struct { wait_ms: u64, allowed: bool }{
        .{ .wait_ms = 0, .allowed = true },   .{ .wait_ms = 0, .allowed = true },
        .{ .wait_ms = 0, .allowed = true },   .{ .wait_ms = 0, .allowed = true },
        .{ .wait_ms = 0, .allowed = true },   .{ .wait_ms = 0, .allowed = false },
        .{ .wait_ms = 50, .allowed = true },  .{ .wait_ms = 0, .allowed = false },
        .{ .wait_ms = 100, .allowed = true }, .{ .wait_ms = 0, .allowed = true },
        .{ .wait_ms = 0, .allowed = false },
    };
    var now_ns: u64 = 7;
    for (steps, 0..) |step, i| {
        now_ns += step.wait_ms * ns_per_ms;
        const expected: Outcome = if (step.allowed) .allowed else .limited;
        const number: u32 = @intCast(i);
        try testing.expectEqual(expected, limiter.allow(&v4(8182), now_ns));
        try testing.expectEqual(.allowed, limiter.allow(&v4(8182 + number + 1), now_ns));
        // Addresses of one /64 share a bucket, those of others do not.
        const upper: u64 = 1212 << 32 | 289188;
        const other = upper + (@as(u64, number + 1) << 32);
        try testing.expectEqual(expected, limiter.allow(&v6(upper, number), now_ns));
        try testing.expectEqual(.allowed, limiter.allow(&v6(other, 0), now_ns));
    }
}

test "the table takes 65,536 sources, refuses the next, and takes others a second later" {
    const entries_max = constants.rate_limiter_entries_max;
    try testing.expectEqual(65_536, entries_max);
    var limiter: RateLimiter = try .init(testing.allocator, entries_max, &test_key);
    defer limiter.deinit(testing.allocator);
    for (0..entries_max) |i| {
        try testing.expectEqual(.allowed, limiter.allow(&v4(@intCast(i)), 0));
    }
    try testing.expectEqual(.full, limiter.allow(&v4(entries_max), 0));
    try testing.expectEqual(.full, limiter.allow(&v4(entries_max), constants.ns_per_s));
    // Who has a place keeps it.
    try testing.expectEqual(.allowed, limiter.allow(&v4(0), constants.ns_per_s));
    const later_ns = constants.ns_per_s + 1;
    for (1..entries_max) |i| {
        try testing.expectEqual(.allowed, limiter.allow(&v4(@intCast(entries_max + i)), later_ns));
    }
    try testing.expectEqual(.full, limiter.allow(&v4(1), later_ns));
}

test "a sweep over one /64 gets one bucket and one place" {
    var limiter: RateLimiter = try .init(testing.allocator, 16, &test_key);
    defer limiter.deinit(testing.allocator);
    var allowed: u32 = 0;
    for (0..10_000) |i| {
        const outcome = limiter.allow(&v6(0x2001_0db8_0000_0001, i *% 0x9E37_79B9_7F4A_7C15), 0);
        if (outcome == .allowed) allowed += 1;
    }
    try testing.expectEqual(packets_burst, allowed);
    try testing.expectEqual(1, limiter.count);
    try testing.expectEqual(.allowed, limiter.allow(&v6(0x2001_0db8_0000_0002, 0), 0));
    try testing.expectEqual(2, limiter.count);
}

test "an IPv4 address is no /64 of the same bits" {
    // With two chains, about half of these pairs meet in one.
    var limiter: RateLimiter = try .init(testing.allocator, 2, &test_key);
    defer limiter.deinit(testing.allocator);
    for (0..64) |i| {
        const now_ns = 2 * i * constants.ns_per_s;
        for (0..packets_burst) |_| {
            try testing.expectEqual(.allowed, limiter.allow(&v4(@intCast(i)), now_ns));
            try testing.expectEqual(.allowed, limiter.allow(&v6(i, 0), now_ns));
        }
    }
}

test "a million sources change no memory, and each call drops at most two entries" {
    const entries_max = 4096;
    var limiter: RateLimiter = try .init(testing.allocator, entries_max, &test_key);
    defer limiter.deinit(testing.allocator);
    const entries = limiter.entries;
    const chains = limiter.chains;
    var outcomes: std.enums.EnumArray(Outcome, u64) = .initFill(0);
    for (0..1_000_000) |i| {
        const before = limiter.count;
        const outcome = limiter.allow(&v4(@intCast(i)), i * 10_000);
        outcomes.getPtr(outcome).* += 1;
        try testing.expect(limiter.count <= entries_max);
        try testing.expect(limiter.count + collected_per_call >= before);
    }
    try testing.expectEqual(entries.ptr, limiter.entries.ptr);
    try testing.expectEqual(chains.ptr, limiter.chains.ptr);
    // Ten seconds: a full table of new sources for each of them.
    try testing.expectEqual(0, outcomes.get(.limited));
    try testing.expectEqual(10 * entries_max, outcomes.get(.allowed));
    // After a pause it shrinks although every call adds a source.
    for (0..entries_max / 2) |i| _ = limiter.allow(&v4(@intCast(i)), 100 * constants.ns_per_s);
    try testing.expectEqual(entries_max / 2, limiter.count);
}

test "a clock that goes back earns nothing and harms nothing" {
    var limiter: RateLimiter = try .init(testing.allocator, 4, &test_key);
    defer limiter.deinit(testing.allocator);
    const start_ns = 10 * constants.ns_per_s;
    for (0..packets_burst) |_| try testing.expectEqual(.allowed, limiter.allow(&v4(1), start_ns));
    try testing.expectEqual(.limited, limiter.allow(&v4(1), 0));
    try testing.expectEqual(.allowed, limiter.allow(&v4(2), 0));
    try testing.expectEqual(.allowed, limiter.allow(&v4(1), packet_cost_ns));
    try testing.expectEqual(.limited, limiter.allow(&v4(1), packet_cost_ns));
    try testing.expectEqual(.allowed, limiter.allow(&v4(1), std.math.maxInt(u64)));
}

/// The same rules as a virtual schedule: when the bucket of a source will be full again, and who
/// was there within the last second.
const Model = struct {
    const sources = 12;
    const Known = struct { full_at_ns: u64, last_ns: u64 };

    known: [sources]?Known = @splat(null),
    places: u32,

    fn allow(self: *Model, source: usize, now_ns: u64) Outcome {
        var used: u32 = 0;
        for (&self.known) |*slot| {
            const known = slot.* orelse continue;
            if (now_ns - known.last_ns > entry_lifetime_ns) slot.* = null else used += 1;
        }
        if (self.known[source] == null) {
            if (used == self.places) return .full;
            self.known[source] = .{ .full_at_ns = now_ns, .last_ns = now_ns };
        }
        const known = &self.known[source].?;
        known.last_ns = now_ns;
        known.full_at_ns = @max(known.full_at_ns, now_ns);
        if (known.full_at_ns - now_ns > 200 * ns_per_ms) return .limited;
        known.full_at_ns += 50 * ns_per_ms;
        return .allowed;
    }
};

test "the limiter agrees with a virtual schedule on 100,000 random histories" {
    var prng: std.Random.DefaultPrng = .init(0x6c696d6974);
    const random = prng.random();
    var seen: std.enums.EnumArray(Outcome, u64) = .initFill(0);
    var limiters: [Model.sources]RateLimiter = undefined;
    for (&limiters, 1..) |*limiter, places| {
        limiter.* = try .init(testing.allocator, @intCast(places), &test_key);
    }
    defer for (&limiters) |*limiter| limiter.deinit(testing.allocator);
    var now_ns: u64 = 0;
    for (0..100_000) |history| {
        errdefer std.debug.print("history {d}\n", .{history});
        // Longer than any entry's life: each history begins with an empty memory.
        now_ns += 2 * constants.ns_per_s;
        const places = random.intRangeAtMost(u32, 1, Model.sources);
        const limiter = &limiters[places - 1];
        var model: Model = .{ .places = places };
        const sources = random.intRangeAtMost(usize, 1, Model.sources);
        for (0..random.intRangeAtMost(usize, 1, 32)) |_| {
            now_ns += randomStep(random);
            const source = random.uintLessThan(usize, sources);
            const lower = random.int(u64);
            const remote = if (source % 2 == 0) v4(@intCast(source)) else v6(source, lower);
            const expected = model.allow(source, now_ns);
            try testing.expectEqual(expected, limiter.allow(&remote, now_ns));
            seen.getPtr(expected).* += 1;
        }
    }
    for (std.enums.values(Outcome)) |outcome| try testing.expect(seen.get(outcome) > 10_000);
}

/// Mostly little time, and the edges of the rules.
fn randomStep(random: std.Random) u64 {
    return switch (random.uintLessThan(u8, 16)) {
        0 => packet_cost_ns,
        1 => packet_cost_ns - 1,
        2 => random.uintLessThan(u64, tokens_max_ns),
        3 => if (random.boolean()) 0 else entry_lifetime_ns + random.uintLessThan(u64, 2),
        4, 5 => random.uintLessThan(u64, packet_cost_ns),
        else => 0,
    };
}

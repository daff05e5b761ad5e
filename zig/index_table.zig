//! From the receiver index of a packet to the session it names.
//!
//! Owns the map, not the sessions, and not the choice of indices: the caller draws them at
//! random, and draws again on `error.Duplicate`, so an index names one session at a time.
//! Linear probing at a load of at most one half; removal shifts its followers back instead of
//! leaving tombstones, so the cost of a look-up never grows with the history of the table.
//! Allocates only in `insert`, and never holds more than `entries_max` entries.

const std = @import("std");
const assert = std.debug.assert;
const Allocator = std.mem.Allocator;

/// Smallest number of slots; a power of two, as every later number is.
const slots_min = 64;
/// Largest `entries_max`: two slots an entry must still be addressed by 32 bits.
pub const entries_limit = 1 << 30;

pub fn IndexTable(comptime Value: type) type {
    return struct {
        const Self = @This();

        const Slot = struct {
            value: Value,
            index: u32,
            used: bool,
        };

        allocator: Allocator,
        slots: []Slot = &.{},
        count: u32 = 0,
        entries_max: u32,

        pub fn init(allocator: Allocator, entries_max: u32) Self {
            assert(entries_max > 0 and entries_max <= entries_limit);
            return .{ .allocator = allocator, .entries_max = entries_max };
        }

        pub fn deinit(self: *Self) void {
            self.allocator.free(self.slots);
            self.* = undefined;
        }

        /// The value stored under an index that came from the wire, or null.
        pub fn lookup(self: *const Self, index: u32) ?Value {
            const at = self.find(index) orelse return null;
            return self.slots[at].value;
        }

        /// Stores a value under an index that is not in use.
        pub fn insert(
            self: *Self,
            index: u32,
            value: Value,
        ) error{ Duplicate, Full, OutOfMemory }!void {
            if (self.find(index) != null) return error.Duplicate;
            if (self.count >= self.entries_max) return error.Full;
            if ((@as(u64, self.count) + 1) * 2 > self.slots.len) try self.grow();
            self.place(.{ .value = value, .index = index, .used = true });
            self.count += 1;
        }

        /// Forgets an index, and returns the value it had; null if it was not in use.
        pub fn remove(self: *Self, index: u32) ?Value {
            var hole = self.find(index) orelse return null;
            const value = self.slots[hole].value;
            const mask = self.slots.len - 1;
            var next = (hole + 1) & mask;
            while (self.slots[next].used) : (next = (next + 1) & mask) {
                // An entry may move back into the hole unless that lies before its home.
                const home = self.homeOf(self.slots[next].index);
                const distance_now = (next -% home) & mask;
                const distance_moved = (next -% hole) & mask;
                if (distance_now >= distance_moved) {
                    self.slots[hole] = self.slots[next];
                    hole = next;
                }
            }
            self.slots[hole].used = false;
            self.count -= 1;
            return value;
        }

        fn find(self: *const Self, index: u32) ?usize {
            if (self.slots.len == 0) return null;
            const mask = self.slots.len - 1;
            var at = self.homeOf(index);
            // Ends: at most half of the slots are used.
            while (self.slots[at].used) : (at = (at + 1) & mask) {
                if (self.slots[at].index == index) return at;
            }
            return null;
        }

        fn place(self: *Self, entry: Slot) void {
            const mask = self.slots.len - 1;
            var at = self.homeOf(entry.index);
            while (self.slots[at].used) at = (at + 1) & mask;
            self.slots[at] = entry;
        }

        fn grow(self: *Self) error{OutOfMemory}!void {
            const slots_old = self.slots;
            const slots_new = try self.allocator.alloc(Slot, @max(slots_min, slots_old.len * 2));
            for (slots_new) |*slot| slot.used = false;
            self.slots = slots_new;
            for (slots_old) |slot| {
                if (slot.used) self.place(slot);
            }
            self.allocator.free(slots_old);
        }

        /// Multiplicative hash of the upper bits: callers may give some bits of an index a
        /// meaning (a shard), which must not line entries up in one run.
        fn homeOf(self: *const Self, index: u32) usize {
            const product = @as(u64, index) *% 0x9E37_79B9_7F4A_7C15;
            return @intCast(product >> @intCast(@clz(@as(u64, self.slots.len)) + 1));
        }
    };
}

const testing = std.testing;

test "an index finds what was stored under it, and nothing once removed" {
    var table = IndexTable(u64).init(testing.allocator, 100);
    defer table.deinit();
    try testing.expectEqual(null, table.lookup(7));
    try testing.expectEqual(null, table.remove(7));
    try table.insert(7, 70);
    try table.insert(0, 1);
    try table.insert(std.math.maxInt(u32), 2);
    try testing.expectEqual(70, table.lookup(7));
    try testing.expectEqual(1, table.lookup(0));
    try testing.expectEqual(2, table.lookup(std.math.maxInt(u32)));
    try testing.expectEqual(70, table.remove(7));
    try testing.expectEqual(null, table.lookup(7));
    try testing.expectEqual(2, table.count);
}

test "a used index is refused and keeps its value" {
    var table = IndexTable(u64).init(testing.allocator, 100);
    defer table.deinit();
    try table.insert(9, 1);
    try testing.expectError(error.Duplicate, table.insert(9, 2));
    try testing.expectEqual(1, table.lookup(9));
    try testing.expectEqual(1, table.count);
}

test "a full table refuses, and accepts again after a removal" {
    var table = IndexTable(u32).init(testing.allocator, 1000);
    defer table.deinit();
    for (0..1000) |index| try table.insert(@intCast(index), @intCast(index));
    try testing.expectError(error.Full, table.insert(1000, 0));
    try testing.expectEqual(500, table.remove(500));
    try table.insert(1000, 1000);
    try testing.expectError(error.Full, table.insert(1001, 0));
}

test "when memory runs out the table keeps what it had" {
    var failing = testing.FailingAllocator.init(testing.allocator, .{ .fail_index = 1 });
    var table = IndexTable(u32).init(failing.allocator(), 1000);
    defer table.deinit();
    var stored: u32 = 0;
    while (true) : (stored += 1) {
        table.insert(stored, stored) catch |err| {
            try testing.expectEqual(error.OutOfMemory, err);
            break;
        };
    }
    try testing.expectEqual(slots_min / 2, stored);
    for (0..stored) |key| {
        const index: u32 = @intCast(key);
        try testing.expectEqual(index, table.lookup(index));
    }
}

test "random histories agree with a plain map" {
    var prng = std.Random.DefaultPrng.init(0x696e646578);
    const random = prng.random();
    var table = IndexTable(u64).init(testing.allocator, 3000);
    defer table.deinit();
    var model: std.AutoHashMapUnmanaged(u32, u64) = .empty;
    defer model.deinit(testing.allocator);
    for (0..200_000) |step| {
        // A narrow range of keys, spread with a stride, so that insert and remove both hit.
        const index = random.uintLessThan(u32, 4096) *% 0x0100_0001;
        switch (random.uintLessThan(u8, 3)) {
            0 => {
                const known = model.contains(index);
                const full = model.count() == 3000;
                if (table.insert(index, step)) {
                    try testing.expect(!known and !full);
                    try model.put(testing.allocator, index, step);
                } else |err| switch (err) {
                    error.Duplicate => try testing.expect(known),
                    error.Full => try testing.expect(full),
                    error.OutOfMemory => return err,
                }
            },
            1 => {
                const expected: ?u64 = if (model.fetchRemove(index)) |entry| entry.value else null;
                try testing.expectEqual(expected, table.remove(index));
            },
            else => try testing.expectEqual(model.get(index), table.lookup(index)),
        }
        try testing.expectEqual(model.count(), table.count);
    }
    var entries = model.iterator();
    while (entries.next()) |entry| {
        try testing.expectEqual(entry.value_ptr.*, table.lookup(entry.key_ptr.*));
    }
}

test "churn leaves the table as quick as it was: runs stay short, slots do not grow" {
    var prng = std.Random.DefaultPrng.init(0x636875726e);
    const random = prng.random();
    var table = IndexTable(u32).init(testing.allocator, 1024);
    defer table.deinit();
    var live: [1024]u32 = undefined;
    for (&live) |*index| {
        index.* = random.int(u32);
        table.insert(index.*, 0) catch unreachable;
    }
    const slots_before = table.slots.len;
    for (0..300_000) |_| {
        const victim = &live[random.uintLessThan(usize, live.len)];
        try testing.expect(table.remove(victim.*) != null);
        while (true) {
            victim.* = random.int(u32);
            table.insert(victim.*, 0) catch continue;
            break;
        }
    }
    try testing.expectEqual(slots_before, table.slots.len);
    var run: usize = 0;
    var run_longest: usize = 0;
    for (table.slots) |slot| {
        run = if (slot.used) run + 1 else 0;
        run_longest = @max(run_longest, run);
    }
    try testing.expect(run_longest < 100);
}

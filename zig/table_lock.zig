//! The lock between the two packet threads and whoever changes the tables.
//!
//! Each packet thread holds its own side while it works on the tables, never while it waits for
//! the network, so they never contend with one another; `apply` takes all sides, and may then
//! change and free anything. A side that is free is one atomic exchange. An applier that waits is
//! let in before the packet threads' next turn, so a busy tunnel cannot starve its configuration.
const std = @import("std");
const linux = std.os.linux;
const constants = @import("constants.zig");

pub const Which = enum { transmit, receive };

/// A mutex over a futex: 0 free, 1 held, 2 held and waited for (Drepper, "Futexes Are Tricky").
pub const Mutex = struct {
    state: std.atomic.Value(u32) align(constants.cache_line_bytes) = .init(0),

    pub fn lock(self: *Mutex) void {
        if (self.state.cmpxchgStrong(0, 1, .acquire, .monotonic) == null) return;
        while (self.state.swap(2, .acquire) != 0) futexWait(&self.state, 2);
    }

    pub fn tryLock(self: *Mutex) bool {
        return self.state.cmpxchgStrong(0, 1, .acquire, .monotonic) == null;
    }

    pub fn unlock(self: *Mutex) void {
        if (self.state.swap(0, .release) == 2) futexWake(&self.state, 1);
    }
};

pub const TableLock = struct {
    /// How many lanes there are: set before any thread runs.
    lanes: u8 = 1,
    transmit: [constants.lanes_max]Mutex = @splat(.{}),
    receive: [constants.lanes_max]Mutex = @splat(.{}),
    /// Serialises appliers: the control thread and the UAPI thread may both read the tables.
    appliers: Mutex = .{},
    /// 1 while an applier waits for, or holds, the sides.
    wanted: std.atomic.Value(u32) align(constants.cache_line_bytes) = .init(0),

    pub fn enter(self: *TableLock, which: Which, lane: u8) void {
        while (self.wanted.load(.monotonic) != 0) futexWait(&self.wanted, 1);
        self.side(which, lane).lock();
    }

    pub fn leave(self: *TableLock, which: Which, lane: u8) void {
        self.side(which, lane).unlock();
    }

    /// All sides: no packet thread is in the tables until `leaveAll`.
    pub fn enterAll(self: *TableLock) void {
        self.appliers.lock();
        self.wanted.store(1, .monotonic);
        for (self.transmit[0..self.lanes]) |*one| one.lock();
        for (self.receive[0..self.lanes]) |*one| one.lock();
    }

    pub fn leaveAll(self: *TableLock) void {
        for (self.receive[0..self.lanes]) |*one| one.unlock();
        for (self.transmit[0..self.lanes]) |*one| one.unlock();
        self.wanted.store(0, .monotonic);
        futexWake(&self.wanted, std.math.maxInt(u31));
        self.appliers.unlock();
    }

    fn side(self: *TableLock, which: Which, lane: u8) *Mutex {
        return switch (which) {
            .transmit => &self.transmit[lane],
            .receive => &self.receive[lane],
        };
    }
};

fn futexWait(word: *const std.atomic.Value(u32), expected: u32) void {
    _ = linux.futex_4arg(&word.raw, .{ .cmd = .WAIT, .private = true }, expected, null);
}

fn futexWake(word: *const std.atomic.Value(u32), count: u32) void {
    _ = linux.futex_3arg(&word.raw, .{ .cmd = .WAKE, .private = true }, count);
}

test "an applier excludes all sides, and is let in while they are busy" {
    const Shared = struct {
        lock: TableLock = .{ .lanes = 2 },
        first: u64 = 0,
        second: u64 = 0,
        torn: std.atomic.Value(u32) = .init(0),
        stop: std.atomic.Value(bool) = .init(false),

        fn read(self: *@This(), which: Which, lane: u8) void {
            while (!self.stop.load(.monotonic)) {
                self.lock.enter(which, lane);
                if (self.first != self.second) _ = self.torn.fetchAdd(1, .monotonic);
                self.lock.leave(which, lane);
            }
        }
    };
    var shared: Shared = .{};
    const transmit = try std.Thread.spawn(.{}, Shared.read, .{ &shared, Which.transmit, 0 });
    const receive = try std.Thread.spawn(.{}, Shared.read, .{ &shared, Which.receive, 1 });
    for (0..2_000) |_| {
        shared.lock.enterAll();
        shared.first += 1;
        std.atomic.spinLoopHint();
        shared.second += 1;
        shared.lock.leaveAll();
    }
    shared.stop.store(true, .monotonic);
    transmit.join();
    receive.join();
    try std.testing.expectEqual(0, shared.torn.load(.monotonic));
    try std.testing.expectEqual(2_000, shared.second);
}

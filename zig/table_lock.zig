//! The lock between the two packet threads and whoever changes the tables.
//!
//! Each packet thread holds its own side while it works on the tables, never while it waits for
//! the network, so the two never contend with one another; `apply` takes both sides, and may then
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

    pub fn unlock(self: *Mutex) void {
        if (self.state.swap(0, .release) == 2) futexWake(&self.state, 1);
    }
};

pub const TableLock = struct {
    transmit: Mutex = .{},
    receive: Mutex = .{},
    /// Serialises appliers: the control thread and the UAPI thread may both read the tables.
    appliers: Mutex = .{},
    /// 1 while an applier waits for, or holds, the sides.
    wanted: std.atomic.Value(u32) align(constants.cache_line_bytes) = .init(0),

    pub fn enter(self: *TableLock, which: Which) void {
        while (self.wanted.load(.monotonic) != 0) futexWait(&self.wanted, 1);
        self.side(which).lock();
    }

    pub fn leave(self: *TableLock, which: Which) void {
        self.side(which).unlock();
    }

    /// Both sides: no packet thread is in the tables until `leaveAll`.
    pub fn enterAll(self: *TableLock) void {
        self.appliers.lock();
        self.wanted.store(1, .monotonic);
        self.transmit.lock();
        self.receive.lock();
    }

    pub fn leaveAll(self: *TableLock) void {
        self.receive.unlock();
        self.transmit.unlock();
        self.wanted.store(0, .monotonic);
        futexWake(&self.wanted, 2);
        self.appliers.unlock();
    }

    fn side(self: *TableLock, which: Which) *Mutex {
        return switch (which) {
            .transmit => &self.transmit,
            .receive => &self.receive,
        };
    }
};

fn futexWait(word: *const std.atomic.Value(u32), expected: u32) void {
    _ = linux.futex_4arg(&word.raw, .{ .cmd = .WAIT, .private = true }, expected, null);
}

fn futexWake(word: *const std.atomic.Value(u32), count: u32) void {
    _ = linux.futex_3arg(&word.raw, .{ .cmd = .WAKE, .private = true }, count);
}

test "an applier excludes both sides, and is let in while they are busy" {
    const Shared = struct {
        lock: TableLock = .{},
        first: u64 = 0,
        second: u64 = 0,
        torn: std.atomic.Value(u32) = .init(0),
        stop: std.atomic.Value(bool) = .init(false),

        fn read(self: *@This(), which: Which) void {
            while (!self.stop.load(.monotonic)) {
                self.lock.enter(which);
                if (self.first != self.second) _ = self.torn.fetchAdd(1, .monotonic);
                self.lock.leave(which);
            }
        }
    };
    var shared: Shared = .{};
    const transmit = try std.Thread.spawn(.{}, Shared.read, .{ &shared, Which.transmit });
    const receive = try std.Thread.spawn(.{}, Shared.read, .{ &shared, Which.receive });
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

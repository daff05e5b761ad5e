//! Sealing and opening on several processors: a packet thread cuts the batch of its turn into slots
//! of a few dozen packets of one key, workers and the thread itself take slots until none is left,
//! and the turn goes on when all are done. So order is kept without a reordering stage, no key can
//! go while it is in use (the turn holds its side of the table lock), and a packet is never handed
//! over alone. A queue belongs to one packet thread and has workers of its own.
//!
//! One word says which slots are still to be taken, so that a worker that comes late finds either
//! none or one that nobody else has. Slots lie on cache lines of their own.
const std = @import("std");
const linux = std.os.linux;
const assert = std.debug.assert;
const constants = @import("constants.zig");
const crypto = @import("crypto.zig");
const transport = @import("transport.zig");

pub const workers_max = constants.crypto_workers_max;
const slots_max = 64;
/// Fewer packets than this are not worth another processor: waking one takes as long.
const slot_messages_min = 16;
/// Slots are whole rounds of the widest cipher, which takes so many packets side by side.
const slot_messages_multiple = 8;
/// How long a thread looks for work, or for the end of it, before it sleeps.
const spins = 2_000;

pub const Direction = enum { seal, open };

const Slot = struct {
    messages: []transport.Message align(constants.cache_line_bytes),
    key: *const [constants.key_bytes]u8,
    direction: Direction,
};

/// What is left of a round. Zero where no round is under way or all of it is taken.
const Round = packed struct(u64) { next: u16 = 0, count: u16 = 0, number: u32 = 0 };

pub const CryptoQueue = struct {
    slots: [slots_max]Slot = undefined,
    slots_count: usize = 0,
    round: std.atomic.Value(u64) align(constants.cache_line_bytes) = .init(0),
    /// Slots that are not done yet.
    pending: std.atomic.Value(u32) align(constants.cache_line_bytes) = .init(0),
    /// The number of the last round: workers sleep on it.
    bell: std.atomic.Value(u32) align(constants.cache_line_bytes) = .init(0),
    sleeping: std.atomic.Value(u32) = .init(0),
    stopping: std.atomic.Value(bool) = .init(false),
    workers: [workers_max]std.Thread = undefined,
    workers_count: usize = 0,

    /// Not to be moved from here on. Without workers everything happens in `flush`.
    pub fn start(self: *CryptoQueue, workers: usize) !void {
        assert(workers <= workers_max and self.workers_count == 0);
        self.stopping.store(false, .monotonic);
        errdefer self.stop();
        while (self.workers_count < workers) : (self.workers_count += 1) {
            self.workers[self.workers_count] = try .spawn(.{}, work, .{self});
        }
    }

    pub fn stop(self: *CryptoQueue) void {
        self.stopping.store(true, .release);
        _ = self.bell.fetchAdd(1, .release);
        futexWake(&self.bell, std.math.maxInt(u31));
        for (self.workers[0..self.workers_count]) |worker| worker.join();
        self.workers_count = 0;
    }

    /// Messages of one key, to be done by the end of `flush`. They stay the caller's, untouched,
    /// until then.
    pub fn add(
        self: *CryptoQueue,
        direction: Direction,
        key: *const [constants.key_bytes]u8,
        messages: []transport.Message,
    ) void {
        if (self.workers_count == 0) return run(.{ .direction = direction, .key = key, .messages = messages });
        const share = std.math.divCeil(usize, messages.len, self.workers_count + 1) catch unreachable;
        const each = @max(slot_messages_min, std.mem.alignForward(usize, share, slot_messages_multiple));
        var rest = messages;
        while (rest.len > 0) {
            if (self.slots_count == slots_max) self.flush();
            // A last part that is not worth a slot goes with the one before it.
            const count = if (rest.len < each + slot_messages_min) rest.len else each;
            self.slots[self.slots_count] = .{ .direction = direction, .key = key, .messages = rest[0..count] };
            self.slots_count += 1;
            rest = rest[count..];
        }
    }

    /// Returns when all that was added is done.
    pub fn flush(self: *CryptoQueue) void {
        const count = self.slots_count;
        self.slots_count = 0;
        if (count == 0) return;
        if (count == 1) return run(self.slots[0]);
        self.pending.store(@intCast(count), .monotonic);
        const number = self.bell.load(.monotonic) +% 1;
        const round: Round = .{ .count = @intCast(count), .number = number };
        self.round.store(@bitCast(round), .release);
        self.bell.store(number, .seq_cst);
        if (self.sleeping.load(.seq_cst) > 0) futexWake(&self.bell, @intCast(count - 1));
        while (self.takeSlot()) |slot| self.finish(slot);
        // Nobody sleeps here: what is left is less than one slot of each worker.
        var spun: usize = 0;
        while (self.pending.load(.acquire) > 0) : (spun += 1) {
            if (spun < spins) std.atomic.spinLoopHint() else _ = linux.syscall0(.sched_yield);
        }
    }

    fn takeSlot(self: *CryptoQueue) ?Slot {
        var seen = self.round.load(.acquire);
        while (true) {
            const round: Round = @bitCast(seen);
            if (round.next == round.count) return null;
            var taken = round;
            taken.next += 1;
            seen = self.round.cmpxchgWeak(seen, @bitCast(taken), .acquire, .acquire) orelse
                return self.slots[round.next];
        }
    }

    fn finish(self: *CryptoQueue, slot: Slot) void {
        run(slot);
        const before = self.pending.fetchSub(1, .release);
        assert(before > 0);
    }

    fn run(slot: Slot) void {
        switch (slot.direction) {
            .seal => transport.sealBatch(slot.key, slot.messages),
            .open => transport.openBatch(slot.key, slot.messages),
        }
    }

    fn work(self: *CryptoQueue) void {
        while (!self.stopping.load(.acquire)) {
            const heard = self.bell.load(.seq_cst);
            while (self.takeSlot()) |slot| self.finish(slot);
            self.await(heard);
        }
    }

    /// Until the bell has been rung since.
    fn await(self: *CryptoQueue, heard: u32) void {
        for (0..spins) |_| {
            if (self.bell.load(.acquire) != heard) return;
            std.atomic.spinLoopHint();
        }
        crypto.wipeStack();
        _ = self.sleeping.fetchAdd(1, .seq_cst);
        defer _ = self.sleeping.fetchSub(1, .seq_cst);
        _ = linux.futex_4arg(&self.bell.raw, .{ .cmd = .WAIT, .private = true }, heard, null);
    }
};

fn futexWake(word: *const std.atomic.Value(u32), count: u32) void {
    _ = linux.futex_3arg(&word.raw, .{ .cmd = .WAKE, .private = true }, count);
}

comptime {
    assert(@sizeOf(Slot) == constants.cache_line_bytes);
    assert(slots_max <= std.math.maxInt(u16));
}

test "every message is sealed once and opened once, whoever does it, and all are done after a flush" {
    try crypto.init();
    const allocator = std.testing.allocator;
    const messages_max = 600;
    const bytes_each = 64;
    const buffer = try allocator.alloc([bytes_each]u8, messages_max);
    defer allocator.free(buffer);
    const messages = try allocator.alloc(transport.Message, messages_max);
    defer allocator.free(messages);
    const keys = [2][32]u8{ @splat(1), @splat(2) };
    var prng = std.Random.DefaultPrng.init(7);
    const random = prng.random();
    for ([_]usize{ 0, 1, 3 }) |workers| {
        var queue: CryptoQueue = .{};
        try queue.start(workers);
        defer queue.stop();
        for (0..300) |round| {
            const count = random.intRangeAtMost(usize, 1, messages_max);
            const first = random.uintAtMost(usize, count);
            for (buffer[0..count], messages[0..count], 0..) |*bytes, *message, at| {
                bytes.* = @splat(@truncate(at ^ round));
                transport.writeHeader(bytes, 9, at);
                message.* = .{ .bytes = bytes, .counter = at };
            }
            for ([_]Direction{ .seal, .open }) |direction| {
                if (first > 0) queue.add(direction, &keys[0], messages[0..first]);
                if (first < count) queue.add(direction, &keys[1], messages[first..count]);
                queue.flush();
                if (direction == .seal) buffer[count - 1][20] ^= 1;
            }
            for (messages[0..count], 0..) |*message, at| {
                try std.testing.expectEqual(at != count - 1, message.authentic);
                const expected: u8 = if (message.authentic) @truncate(at ^ round) else 0;
                for (message.text()) |byte| try std.testing.expectEqual(expected, byte);
            }
        }
    }
}

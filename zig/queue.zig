//! What passes between threads: a ring of datagrams (one producer, one consumer), the ring of
//! events (many producers), the list of peers that want the transmit thread's attention, and the
//! doorbell that wakes the control plane's loop. All are bounded; what does not fit is refused, and
//! the caller counts it. Indices grow for ever and wrap; each lies on its own cache line.
const std = @import("std");
const linux = std.os.linux;
const assert = std.debug.assert;
const Allocator = std.mem.Allocator;
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const system_errno = @import("system_errno.zig");
const Mutex = @import("table_lock.zig").Mutex;

/// Datagrams with their bytes, from exactly one thread to exactly one other.
pub const DatagramRing = struct {
    pub const Slot = struct {
        datagram: abi.Datagram,
        bytes: [constants.control_datagram_bytes_max]u8,
    };

    slots: []Slot,
    head: std.atomic.Value(u32) align(constants.cache_line_bytes) = .init(0),
    tail: std.atomic.Value(u32) align(constants.cache_line_bytes) = .init(0),

    pub fn init(allocator: Allocator, slots: u32) Allocator.Error!DatagramRing {
        assert(std.math.isPowerOfTwo(slots));
        return .{ .slots = try allocator.alloc(Slot, slots) };
    }

    pub fn deinit(self: *DatagramRing, allocator: Allocator) void {
        allocator.free(self.slots);
        self.* = undefined;
    }

    /// false: full, or longer than a slot.
    pub fn push(self: *DatagramRing, datagram: abi.Datagram, bytes: []const u8) bool {
        if (bytes.len > constants.control_datagram_bytes_max) return false;
        const tail = self.tail.raw;
        if (tail -% self.head.load(.acquire) == self.slots.len) return false;
        const slot = &self.slots[tail & (self.slots.len - 1)];
        slot.datagram = datagram;
        slot.datagram.offset = 0;
        slot.datagram.length = @intCast(bytes.len);
        @memcpy(slot.bytes[0..bytes.len], bytes);
        self.tail.store(tail +% 1, .release);
        return true;
    }

    /// The oldest datagram, which stays valid until `pop`.
    pub fn peek(self: *DatagramRing) ?*const Slot {
        const head = self.head.raw;
        if (self.tail.load(.acquire) == head) return null;
        return &self.slots[head & (self.slots.len - 1)];
    }

    pub fn pop(self: *DatagramRing) void {
        assert(self.tail.load(.monotonic) != self.head.raw);
        self.head.store(self.head.raw +% 1, .release);
    }

    /// How many datagrams wait: exact in the producer's thread, elsewhere as of just now.
    pub fn count(self: *const DatagramRing) u32 {
        return self.tail.load(.monotonic) -% self.head.load(.acquire);
    }

    pub fn isEmpty(self: *const DatagramRing) bool {
        return self.tail.load(.acquire) == self.head.load(.acquire);
    }
};

/// Events from any thread to the control plane. The last places are kept for life-cycle events.
pub const EventRing = struct {
    mutex: Mutex = .{},
    slots: []abi.Event,
    head: u32 = 0,
    count: u32 = 0,

    pub fn init(allocator: Allocator) Allocator.Error!EventRing {
        return .{ .slots = try allocator.alloc(abi.Event, constants.event_ring_events) };
    }

    pub fn deinit(self: *EventRing, allocator: Allocator) void {
        allocator.free(self.slots);
        self.* = undefined;
    }

    /// false: full.
    pub fn push(self: *EventRing, event: abi.Event) bool {
        self.mutex.lock();
        defer self.mutex.unlock();
        const limit = switch (event.kind) {
            .link_gone, .fatal, .uapi_request => self.slots.len,
            else => self.slots.len - constants.event_ring_reserved,
        };
        if (self.count >= limit) return false;
        self.slots[(self.head + self.count) % self.slots.len] = event;
        self.count += 1;
        return true;
    }

    pub fn drain(self: *EventRing, out: []abi.Event) usize {
        self.mutex.lock();
        defer self.mutex.unlock();
        const count = @min(out.len, self.count);
        for (out[0..count], 0..) |*event, index| {
            event.* = self.slots[(self.head + index) % self.slots.len];
        }
        self.head = @intCast((self.head + count) % self.slots.len);
        self.count -= @intCast(count);
        return count;
    }

    pub fn isEmpty(self: *EventRing) bool {
        self.mutex.lock();
        defer self.mutex.unlock();
        return self.count == 0;
    }
};

/// Slots of peers for the transmit thread to look at: a keypair came, so staged packets can go.
/// A slot is listed once, whoever has it, so `peers_max` places always suffice.
pub const Attention = struct {
    mutex: Mutex = .{},
    slots: []u32,
    /// Whether a slot is among the first `count` of `slots`.
    listed: []bool,
    count: u32 = 0,

    pub fn init(allocator: Allocator) Allocator.Error!Attention {
        const slots = try allocator.alloc(u32, constants.peers_max);
        errdefer allocator.free(slots);
        const listed = try allocator.alloc(bool, constants.peers_max);
        @memset(listed, false);
        return .{ .slots = slots, .listed = listed };
    }

    pub fn deinit(self: *Attention, allocator: Allocator) void {
        allocator.free(self.slots);
        allocator.free(self.listed);
        self.* = undefined;
    }

    /// false: it is listed already.
    pub fn push(self: *Attention, slot: u32) bool {
        self.mutex.lock();
        defer self.mutex.unlock();
        if (self.listed[slot]) return false;
        self.listed[slot] = true;
        self.slots[self.count] = slot;
        self.count += 1;
        return true;
    }

    pub fn pop(self: *Attention) ?u32 {
        self.mutex.lock();
        defer self.mutex.unlock();
        if (self.count == 0) return null;
        self.count -= 1;
        const slot = self.slots[self.count];
        self.listed[slot] = false;
        return slot;
    }
};

/// Wakes the control plane: one byte into a stream socketpair, and only when it asked for it.
pub const Doorbell = struct {
    /// 0: the control plane's end; 1: ours.
    fds: [2]linux.fd_t,
    armed: std.atomic.Value(u32) = .init(0),

    pub fn init() error{SystemResources}!Doorbell {
        var fds: [2]linux.fd_t = undefined;
        const kind = linux.SOCK.STREAM | linux.SOCK.NONBLOCK | linux.SOCK.CLOEXEC;
        const rc = linux.socketpair(linux.AF.UNIX, kind, 0, &fds);
        if (linux.errno(rc) != .SUCCESS) return system_errno.fail(linux.errno(rc), error.SystemResources);
        return .{ .fds = fds };
    }

    /// Another descriptor of the control plane's end, which the caller closes.
    pub fn duplicate(self: *const Doorbell) error{SystemResources}!linux.fd_t {
        const rc = linux.fcntl(self.fds[0], linux.F.DUPFD_CLOEXEC, 0);
        if (linux.errno(rc) != .SUCCESS) return system_errno.fail(linux.errno(rc), error.SystemResources);
        return @intCast(rc);
    }

    pub fn deinit(self: *Doorbell) void {
        _ = linux.close(self.fds[1]);
        _ = linux.close(self.fds[0]);
        self.* = undefined;
    }

    // Both exchange, so whoever comes second sees all that the first did before: either the producer sees
    // the bell armed, or the consumer, which looks at the queues after arming, sees the entry.

    pub fn arm(self: *Doorbell) void {
        _ = self.armed.swap(1, .acq_rel);
    }

    pub fn ring(self: *Doorbell) void {
        if (self.armed.swap(0, .acq_rel) == 0) return;
        const byte = [_]u8{1};
        _ = linux.sendto(self.fds[1], &byte, 1, linux.MSG.NOSIGNAL, null, 0);
    }
};

test "a datagram ring keeps order, and refuses when full" {
    const allocator = std.testing.allocator;
    var ring = try DatagramRing.init(allocator, 4);
    defer ring.deinit(allocator);
    for (0..10) |round| {
        const byte = [_]u8{@intCast(round)};
        for (0..4) |waiting| {
            try std.testing.expectEqual(waiting, ring.count());
            try std.testing.expect(ring.push(.{ .kind = .raw }, &byte));
        }
        try std.testing.expect(!ring.push(.{ .kind = .raw }, &byte));
        for (0..4) |_| {
            const slot = ring.peek().?;
            try std.testing.expectEqual(byte[0], slot.bytes[0]);
            try std.testing.expectEqual(1, slot.datagram.length);
            ring.pop();
        }
        try std.testing.expect(ring.isEmpty());
    }
    const long: [constants.control_datagram_bytes_max + 1]u8 = @splat(0);
    try std.testing.expect(!ring.push(.{ .kind = .raw }, &long));
}

test "a slot that wants attention is listed once until it is taken" {
    const allocator = std.testing.allocator;
    var attention = try Attention.init(allocator);
    defer attention.deinit(allocator);
    const last: u32 = constants.peers_max - 1;
    for (0..3) |_| {
        try std.testing.expectEqual(null, attention.pop());
        try std.testing.expect(attention.push(last));
        try std.testing.expect(attention.push(0));
        try std.testing.expect(!attention.push(last));
        try std.testing.expectEqual(0, attention.pop());
        try std.testing.expectEqual(last, attention.pop());
    }
}

test "life-cycle events have a place when the ring is full of others" {
    const allocator = std.testing.allocator;
    var ring = try EventRing.init(allocator);
    defer ring.deinit(allocator);
    var taken: usize = 0;
    while (ring.push(.{ .kind = .endpoint_roamed })) taken += 1;
    try std.testing.expectEqual(constants.event_ring_events - constants.event_ring_reserved, taken);
    try std.testing.expect(ring.push(.{ .kind = .link_gone }));
    var out: [constants.event_ring_events]abi.Event = undefined;
    try std.testing.expectEqual(taken + 1, ring.drain(&out));
    try std.testing.expectEqual(.link_gone, out[taken].kind);
    try std.testing.expect(ring.isEmpty());
}

test "the doorbell rings once for each time it is armed" {
    var bell = try Doorbell.init();
    defer bell.deinit();
    bell.ring();
    bell.arm();
    bell.ring();
    bell.ring();
    var buffer: [8]u8 = undefined;
    try std.testing.expectEqual(1, linux.read(bell.fds[0], &buffer, buffer.len));
}

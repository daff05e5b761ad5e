//! Addresses that no peer holds and some peer may, and the packets that wait for one: a member of a
//! large mesh has a peer only while there is a session with it, or one is wanted. The control plane is
//! told of an address once a second, and gives it to a peer (then what waits is the peer's) or says
//! that it is nobody's (then senders are answered for a second without asking again).
//!
//! Owned by the transmit thread of a lane; `apply`, which holds all sides, gives and refuses. Bounded:
//! one ring for all packets, of which the newest are kept, and so many addresses.
const std = @import("std");
const Allocator = std.mem.Allocator;
const constants = @import("constants.zig");
const inner_packet = @import("inner_packet.zig");
const Family = inner_packet.Family;
const Inner = inner_packet.Inner;
const Staging = @import("staging.zig").Staging;

pub const Address = struct {
    /// IPv4 in the first four, the others zero.
    bytes: [16]u8,
    family: Family,

    pub fn of(inner: *const Inner) Address {
        return .{ .bytes = inner.destination, .family = inner.family };
    }

    fn equal(a: *const Address, b: *const Address) bool {
        return a.family == b.family and std.mem.eql(u8, &a.bytes, &b.bytes);
    }
};

const Entry = struct {
    address: Address,
    /// When the control plane was last told; when it answered that it is nobody's, 0 = it did not.
    told_ns: u64,
    refused_ns: u64 = 0,
};

pub const Verdict = enum {
    /// The control plane is to be told, and the packet waits.
    tell,
    wait,
    /// Nobody's: it was asked just now.
    nobody,
    /// As many as may be are awaited.
    full,
};

pub const Awaited = struct {
    entries: [constants.awaited_addresses_max]Entry = undefined,
    count: usize = 0,
    staging: ?*Staging = null,
    /// An address was refused for which packets wait: transmit answers them.
    unanswered: bool = false,

    pub fn deinit(self: *Awaited, allocator: Allocator) void {
        if (self.staging) |staging| staging.destroy(allocator);
        self.* = .{};
    }

    /// A packet goes to this address.
    pub fn judge(self: *Awaited, address: Address, now_ns: u64) Verdict {
        const entry = self.find(&address) orelse {
            if (self.count == self.entries.len) return .full;
            self.entries[self.count] = .{ .address = address, .told_ns = now_ns };
            self.count += 1;
            return .tell;
        };
        if (entry.refused_ns != 0) {
            if (now_ns -| entry.refused_ns < constants.awaited_refused_ns) return .nobody;
            entry.refused_ns = 0;
        } else if (now_ns -| entry.told_ns < constants.ns_per_s) return .wait;
        entry.told_ns = now_ns;
        return .tell;
    }

    /// Room for a packet that waits, which the caller fills at once; null where there is no memory.
    pub fn reserve(self: *Awaited, allocator: Allocator, length: usize, dropped: *u64) ?[]u8 {
        if (self.staging == null) self.staging = Staging.create(allocator) catch return null;
        return self.staging.?.reserve(length, dropped);
    }

    /// The address is a peer's now: what waits for it is handed to `taker.take`. False where nothing did.
    pub fn give(self: *Awaited, allocator: Allocator, address: Address, dropped: *u64, taker: anytype) bool {
        const entry = self.find(&address) orelse return false;
        self.remove(entry);
        const Given = struct {
            address: *const Address,
            taker: @TypeOf(taker),
            any: bool = false,

            pub fn take(given: *@This(), packet: []const u8) bool {
                if (!isTo(packet, given.address)) return false;
                given.taker.take(packet);
                given.any = true;
                return true;
            }
        };
        var given: Given = .{ .address = &address, .taker = taker };
        self.sift(allocator, dropped, &given);
        return given.any;
    }

    /// The address is nobody's.
    pub fn refuse(self: *Awaited, address: Address, now_ns: u64) void {
        const entry = self.find(&address) orelse return;
        entry.refused_ns = now_ns;
        self.unanswered = self.staging != null;
    }

    /// What waits for refused addresses is handed to `taker.take`.
    pub fn takeRefused(self: *Awaited, allocator: Allocator, dropped: *u64, taker: anytype) void {
        self.unanswered = false;
        const Refused = struct {
            awaited: *Awaited,
            taker: @TypeOf(taker),

            pub fn take(refused: *@This(), packet: []const u8) bool {
                const inner = inner_packet.parse(packet) orelse return true;
                const address: Address = .of(&inner);
                const entry = refused.awaited.find(&address) orelse return false;
                if (entry.refused_ns == 0) return false;
                refused.taker.take(packet, &inner);
                return true;
            }
        };
        var refused: Refused = .{ .awaited = self, .taker = taker };
        self.sift(allocator, dropped, &refused);
    }

    /// Addresses of which nothing was heard for long are forgotten, and what waits for them dropped.
    pub fn expire(self: *Awaited, allocator: Allocator, now_ns: u64, dropped: *u64) void {
        if (self.count == 0) return;
        var lost = false;
        var at: usize = 0;
        while (at < self.count) {
            const entry = &self.entries[at];
            const limit = if (entry.refused_ns != 0) constants.awaited_refused_ns else constants.awaited_ns;
            if (now_ns -| @max(entry.told_ns, entry.refused_ns) < limit) {
                at += 1;
                continue;
            }
            lost = lost or entry.refused_ns == 0;
            self.remove(entry);
        }
        if (!lost) return;
        const Lost = struct {
            awaited: *Awaited,
            dropped: *u64,

            pub fn take(it: *@This(), packet: []const u8) bool {
                const inner = inner_packet.parse(packet) orelse return true;
                const address: Address = .of(&inner);
                if (it.awaited.find(&address) != null) return false;
                it.dropped.* += 1;
                return true;
            }
        };
        var all: Lost = .{ .awaited = self, .dropped = dropped };
        self.sift(allocator, dropped, &all);
    }

    /// Each packet that the taker does not take goes on waiting, in its order.
    fn sift(self: *Awaited, allocator: Allocator, dropped: *u64, taker: anytype) void {
        const before = self.staging orelse return;
        defer before.destroy(allocator);
        self.staging = null;
        while (before.oldest()) |packet| : (before.pop()) {
            if (taker.take(packet)) continue;
            const into = self.reserve(allocator, packet.len, dropped) orelse {
                dropped.* += 1;
                continue;
            };
            @memcpy(into, packet);
        }
    }

    fn find(self: *Awaited, address: *const Address) ?*Entry {
        for (self.entries[0..self.count]) |*entry| {
            if (entry.address.equal(address)) return entry;
        }
        return null;
    }

    fn remove(self: *Awaited, entry: *Entry) void {
        self.count -= 1;
        entry.* = self.entries[self.count];
    }
};

fn isTo(packet: []const u8, address: *const Address) bool {
    const inner = inner_packet.parse(packet) orelse return false;
    const own: Address = .of(&inner);
    return own.equal(address);
}

const testing = std.testing;

fn to(last: u8) Address {
    return .{ .bytes = [4]u8{ 10, 99, 0, last } ++ @as([12]u8, @splat(0)), .family = .v4 };
}

/// A packet that begins with `number` behind its header.
fn write(into: []u8, last: u8, number: u8) void {
    @memset(into, 0);
    into[0] = 0x45;
    std.mem.writeInt(u16, into[2..4], @intCast(into.len), .big);
    into[16..20].* = .{ 10, 99, 0, last };
    into[20] = number;
}

const Taken = struct {
    numbers: [16]u8 = undefined,
    count: usize = 0,

    fn take(self: *Taken, packet: []const u8) void {
        self.numbers[self.count] = packet[20];
        self.count += 1;
    }
};

fn stage(awaited: *Awaited, last: u8, number: u8) !void {
    var dropped: u64 = 0;
    write(awaited.reserve(testing.allocator, 40, &dropped).?, last, number);
    try testing.expectEqual(0, dropped);
}

test "an address is told of once a second, and what waits for it is its peer's, in order" {
    const s = constants.ns_per_s;
    var awaited: Awaited = .{};
    defer awaited.deinit(testing.allocator);
    try testing.expectEqual(.tell, awaited.judge(to(1), 10 * s));
    try stage(&awaited, 1, 1);
    try testing.expectEqual(.tell, awaited.judge(to(2), 10 * s));
    try stage(&awaited, 2, 2);
    try testing.expectEqual(.wait, awaited.judge(to(1), 10 * s + s / 2));
    try stage(&awaited, 1, 3);
    try testing.expectEqual(.tell, awaited.judge(to(1), 11 * s));
    try stage(&awaited, 1, 4);
    var dropped: u64 = 0;
    var taken: Taken = .{};
    try testing.expect(awaited.give(testing.allocator, to(1), &dropped, &taken));
    try testing.expectEqualSlices(u8, &.{ 1, 3, 4 }, taken.numbers[0..taken.count]);
    try testing.expect(!awaited.give(testing.allocator, to(1), &dropped, &taken));
    taken = .{};
    try testing.expect(awaited.give(testing.allocator, to(2), &dropped, &taken));
    try testing.expectEqualSlices(u8, &.{2}, taken.numbers[0..taken.count]);
    try testing.expectEqual(null, awaited.staging);
    try testing.expectEqual(0, dropped);
}

test "what is nobody's is so for a second, and its senders are answered" {
    const s = constants.ns_per_s;
    var awaited: Awaited = .{};
    defer awaited.deinit(testing.allocator);
    _ = awaited.judge(to(1), s);
    try stage(&awaited, 1, 1);
    _ = awaited.judge(to(2), s);
    try stage(&awaited, 2, 2);
    awaited.refuse(to(1), s);
    try testing.expect(awaited.unanswered);
    const Answered = struct {
        count: usize = 0,

        fn take(self: *@This(), packet: []const u8, inner: *const Inner) void {
            std.debug.assert(inner.total_length == packet.len and packet[20] == 1);
            self.count += 1;
        }
    };
    var answered: Answered = .{};
    var dropped: u64 = 0;
    awaited.takeRefused(testing.allocator, &dropped, &answered);
    try testing.expectEqual(1, answered.count);
    try testing.expectEqual(.nobody, awaited.judge(to(1), 2 * s - 1));
    try testing.expectEqual(.tell, awaited.judge(to(1), 2 * s));
    var taken: Taken = .{};
    try testing.expect(awaited.give(testing.allocator, to(2), &dropped, &taken));
    try testing.expectEqual(1, taken.count);
}

test "addresses are bounded, and forgotten with what waits for them when nobody answers" {
    var awaited: Awaited = .{};
    defer awaited.deinit(testing.allocator);
    for (0..constants.awaited_addresses_max) |number| {
        var address = to(1);
        address.bytes[1] = @intCast(number);
        try testing.expectEqual(.tell, awaited.judge(address, 1));
    }
    try testing.expectEqual(.full, awaited.judge(to(255), 1));
    try stage(&awaited, 1, 1);
    var dropped: u64 = 0;
    awaited.expire(testing.allocator, constants.awaited_ns, &dropped);
    try testing.expectEqual(0, dropped);
    awaited.expire(testing.allocator, 1 + constants.awaited_ns, &dropped);
    try testing.expectEqual(1, dropped);
    try testing.expectEqual(null, awaited.staging);
    try testing.expectEqual(.tell, awaited.judge(to(255), 1));
}

//! Relayed frames: datagrams of WireGuard between two members, carried inside the sessions that each
//! of them has with a third one. Owns the frame's layout, who may be forwarded to whom, and how much
//! for each pair. Pure: time is an argument. Opening, sealing and sending are rx.zig's and tx.zig's.
//!
//! A frame is a control message of 16 bytes and the datagram, whole as it would be on the wire: the
//! relay sees ciphertext, and has no part in the tunnel. Each hop seals the frame anew in its own
//! session, whose window is the frame's replay window; headers do not nest.
const std = @import("std");
const assert = std.debug.assert;
const Allocator = std.mem.Allocator;
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const queue = @import("queue.zig");
const Path = @import("peer.zig").Path;

/// The first 6 bytes of an identity, little-endian; 0 is nobody.
pub const Id = u64;

pub const header_bytes = 16;
const ids_max: Id = (1 << 48) - 1;
/// A pair's bucket is looked for in so many places from where its hash falls.
const bucket_ways = 8;

pub const Frame = struct {
    /// How many more times it may be forwarded.
    hops: u8,
    source: Id,
    destination: Id,
    datagram: []u8,
};

/// `text`: a whole control message, without WireGuard's padding.
pub fn parse(text: []u8) ?Frame {
    if (text.len < header_bytes + constants.transport_bytes_min) return null;
    if (text[0] != constants.control_relayed) return null;
    const frame: Frame = .{
        .hops = text[1],
        .source = std.mem.readInt(u48, text[4..10], .little),
        .destination = std.mem.readInt(u48, text[10..16], .little),
        .datagram = text[header_bytes..],
    };
    if (frame.hops > constants.relay_hops_max) return null;
    if (frame.source == 0 or frame.destination == 0 or frame.source == frame.destination) return null;
    return frame;
}

/// Writes the header of a frame that is `length` bytes in all.
pub fn writeHeader(into: []u8, length: usize, hops: u8, source: Id, destination: Id) void {
    assert(source <= ids_max and destination <= ids_max);
    into[0] = constants.control_relayed;
    into[1] = hops;
    std.mem.writeInt(u16, into[2..4], @intCast(length), .little);
    std.mem.writeInt(u48, into[4..10], @intCast(source), .little);
    std.mem.writeInt(u48, into[10..16], @intCast(destination), .little);
}

/// A path through a member, as an endpoint: that member's peer, and who is behind it.
pub fn endpoint(carrier: abi.PeerRef, far: Id) abi.Endpoint {
    var out: abi.Endpoint = .{ .family = constants.family_relay };
    std.mem.writeInt(u32, out.address[0..4], carrier.slot, .little);
    std.mem.writeInt(u32, out.address[4..8], carrier.generation, .little);
    std.mem.writeInt(u48, out.address[8..14], @intCast(far), .little);
    return out;
}

pub fn carrierOf(path: *const abi.Endpoint) abi.PeerRef {
    assert(path.family == constants.family_relay);
    return .{
        .slot = std.mem.readInt(u32, path.address[0..4], .little),
        .generation = std.mem.readInt(u32, path.address[4..8], .little),
    };
}

pub fn farOf(path: *const abi.Endpoint) Id {
    assert(path.family == constants.family_relay);
    return std.mem.readInt(u48, path.address[8..14], .little);
}

/// What this node knows of relaying. Changed by `apply`; read by both threads.
pub const Relay = struct {
    /// 0: this node is no member of a mesh, and neither takes nor forwards frames.
    own: Id = 0,
    /// Bytes a second for each pair of members; 0 = no limit. What a member that offers nothing
    /// forwards all the same is enough for two to find each other.
    bytes_per_second: u64 = 0,
    members: std.AutoHashMapUnmanaged(Id, u32) = .empty,
    /// Frames to forward: from receive to transmit.
    forwards: queue.DatagramRing,
    /// receive.
    buckets: Buckets = .{},

    pub fn init(allocator: Allocator) Allocator.Error!Relay {
        return .{ .forwards = try .init(allocator, constants.relay_ring_frames) };
    }

    pub fn deinit(self: *Relay, allocator: Allocator) void {
        self.forwards.deinit(allocator);
        self.members.deinit(allocator);
        self.* = undefined;
    }

    /// Who has an id first keeps it: another identity with the same 6 bytes is not reached by relay.
    pub fn add(self: *Relay, allocator: Allocator, id: Id, slot: u32) error{ OutOfMemory, InvalidArgument }!void {
        if (id == 0 or id > ids_max) return error.InvalidArgument;
        const entry = try self.members.getOrPut(allocator, id);
        if (!entry.found_existing) entry.value_ptr.* = slot;
    }

    pub fn remove(self: *Relay, id: Id, slot: u32) void {
        if (self.members.get(id) == slot) _ = self.members.remove(id);
    }
};

/// A token bucket for each pair of members that talk through this node.
pub const Buckets = struct {
    const Bucket = struct { pair: u64 = 0, tokens: u64 = 0, at_ns: u64 = 0 };

    entries: [constants.relay_pairs_max]Bucket = @splat(.{}),

    pub const Verdict = enum { pass, over_quota, full };

    /// Charges a frame between two peers. A bucket that has had time to fill is nobody's.
    pub fn take(
        self: *Buckets,
        a: u32,
        b: u32,
        bytes: u64,
        bytes_per_second: u64,
        now_ns: u64,
    ) Verdict {
        if (bytes_per_second == 0) return .pass;
        const pair = (@as(u64, @max(a, b)) << 32 | @min(a, b)) + 1;
        const burst = @max(bytes_per_second / 4, constants.relay_burst_bytes_min);
        const bucket = self.find(pair, now_ns) orelse return .full;
        if (bucket.pair != pair) bucket.* = .{ .pair = pair, .tokens = burst, .at_ns = now_ns };
        const elapsed_ns = @min(now_ns -| bucket.at_ns, constants.ns_per_s);
        const earned = elapsed_ns * bytes_per_second / constants.ns_per_s;
        if (earned > 0) bucket.at_ns = now_ns;
        bucket.tokens = @min(burst, bucket.tokens + earned);
        if (bucket.tokens < bytes) return .over_quota;
        bucket.tokens -= bytes;
        return .pass;
    }

    fn find(self: *Buckets, pair: u64, now_ns: u64) ?*Bucket {
        const start = (pair *% 0x9e37_79b9_7f4a_7c15) >> 40;
        var free: ?*Bucket = null;
        for (0..bucket_ways) |way| {
            const bucket = &self.entries[(start + way) % self.entries.len];
            if (bucket.pair == pair) return bucket;
            const idle = bucket.pair == 0 or now_ns -| bucket.at_ns >= constants.ns_per_s;
            if (idle and free == null) free = bucket;
        }
        return free;
    }
};

const testing = std.testing;

test "a frame is read as it was written, and what is none is refused" {
    var bytes: [header_bytes + 32]u8 = @splat(7);
    writeHeader(&bytes, bytes.len, 1, 0x0102_0304_0506, 9);
    const frame = parse(&bytes).?;
    try testing.expectEqual(1, frame.hops);
    try testing.expectEqual(0x0102_0304_0506, frame.source);
    try testing.expectEqual(9, frame.destination);
    try testing.expectEqual(32, frame.datagram.len);
    try testing.expectEqual(null, parse(bytes[0 .. bytes.len - 1]));
    bytes[1] = constants.relay_hops_max + 1;
    try testing.expectEqual(null, parse(&bytes));
    for ([_][2]Id{ .{ 0, 9 }, .{ 9, 0 }, .{ 9, 9 } }) |ids| {
        writeHeader(&bytes, bytes.len, 1, ids[0], ids[1]);
        try testing.expectEqual(null, parse(&bytes));
    }
}

test "a path through a member is an endpoint that names the member and who is behind it" {
    const carrier: abi.PeerRef = .{ .slot = 70_000, .generation = 3 };
    const path = endpoint(carrier, 0xaabb_ccdd_eeff);
    try testing.expectEqual(carrier, carrierOf(&path));
    try testing.expectEqual(0xaabb_ccdd_eeff, farOf(&path));
}

test "an id is whose it was first" {
    var relay: Relay = try .init(testing.allocator);
    defer relay.deinit(testing.allocator);
    try relay.add(testing.allocator, 5, 1);
    try relay.add(testing.allocator, 5, 2);
    try testing.expectEqual(1, relay.members.get(5).?);
    relay.remove(5, 2);
    try testing.expectEqual(1, relay.members.get(5).?);
    relay.remove(5, 1);
    try testing.expectEqual(null, relay.members.get(5));
    try testing.expectError(error.InvalidArgument, relay.add(testing.allocator, 0, 1));
    try testing.expectError(error.InvalidArgument, relay.add(testing.allocator, 1 << 48, 1));
}

test "a pair has its rate, both ways together, and no other pair pays for it" {
    var buckets: Buckets = .{};
    const rate = 1_000_000;
    const burst = rate / 4;
    try testing.expectEqual(.pass, buckets.take(1, 2, burst, rate, 0));
    try testing.expectEqual(.over_quota, buckets.take(2, 1, 1, rate, 0));
    try testing.expectEqual(.pass, buckets.take(1, 3, burst, rate, 0));
    try testing.expectEqual(.pass, buckets.take(2, 1, 1000, rate, constants.ns_per_ms));
    try testing.expectEqual(.over_quota, buckets.take(1, 2, 1000, rate, constants.ns_per_ms));
    // No more than a burst is saved up.
    try testing.expectEqual(.over_quota, buckets.take(1, 2, burst + 1, rate, 100 * constants.ns_per_s));
    try testing.expectEqual(.pass, buckets.take(1, 2, burst, rate, 100 * constants.ns_per_s));
    // Frames so close together that each earns less than a byte lose nothing.
    var passed: u64 = 0;
    for (0..1_000_000) |step| {
        if (buckets.take(8, 9, 100, rate, 200 * constants.ns_per_s + step * 100) == .pass) passed += 100;
    }
    try testing.expect(passed > burst + 99_000 and passed <= burst + 100_100);
}

test "pairs beyond the table wait until one of them has been silent" {
    var buckets: Buckets = .{};
    var full: usize = 0;
    for (0..constants.relay_pairs_max + bucket_ways) |at| {
        if (buckets.take(@intCast(at), 70_000, 1, 1000, 1) == .full) full += 1;
    }
    try testing.expect(full >= bucket_ways);
    for (0..constants.relay_pairs_max / 2) |at| {
        const verdict = buckets.take(@intCast(100_000 + at), 7, 1, 1000, 2 * constants.ns_per_s);
        if (verdict == .full) return;
    }
}

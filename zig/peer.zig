//! One peer as the data plane knows it: keypair slots, where it is, what waits for it, its timers
//! and counters. It has no name and no allowed IPs (those are looked up by address).
//!
//! Every field has one writing thread, named beside it; what another reads is atomic. Timers are
//! deadlines in CLOCK_BOOTTIME ns, 0 = not set, as in the kernel's `timers.c`.
const std = @import("std");
const abi = @import("abi.zig");
const connected_socket = @import("connected_socket.zig");
const constants = @import("constants.zig");
const keypair = @import("keypair.zig");
const Staging = @import("staging.zig").Staging;

const AtomicU64 = std.atomic.Value(u64);

/// Where a peer is, and the address of ours that it knows: one writer (the receive side, or
/// `apply`), readers that never block it. A sequence lock over words, so that no race is undefined.
pub const PathCell = struct {
    const words_count = @sizeOf(Path) / 8;

    sequence: std.atomic.Value(u32) = .init(0),
    words: [words_count]AtomicU64 = @splat(.init(0)),

    pub fn store(self: *PathCell, path: Path) void {
        const source: [words_count]u64 = std.mem.bytesToValue([words_count]u64, std.mem.asBytes(&path));
        const sequence = self.sequence.raw;
        self.sequence.store(sequence +% 1, .monotonic);
        for (&self.words, source) |*word, value| word.store(value, .release);
        self.sequence.store(sequence +% 2, .release);
    }

    pub fn load(self: *const PathCell) Path {
        while (true) {
            const before = self.sequence.load(.acquire);
            var copy: [words_count]u64 = undefined;
            for (&copy, &self.words) |*value, *word| value.* = word.load(.acquire);
            const after = self.sequence.load(.monotonic);
            if (before == after and before & 1 == 0)
                return std.mem.bytesToValue(Path, std.mem.asBytes(&copy));
            std.atomic.spinLoopHint();
        }
    }
};

pub const Path = extern struct {
    remote: abi.Endpoint = .{},
    local: abi.Endpoint = .{},

    pub fn equal(a: *const Path, b: *const Path) bool {
        return std.mem.eql(u8, std.mem.asBytes(a), std.mem.asBytes(b));
    }
};

pub const Peer = struct {
    ref: abi.PeerRef,
    public_key: [constants.key_bytes]u8,
    keypairs: keypair.Slots = .{},
    path: PathCell = .{},
    /// apply.
    keepalive_interval_ns: u64 = 0,
    /// transmit; apply.
    staging: ?*Staging = null,
    /// When the last keypair was installed. apply; transmit clears it.
    session_ns: u64 = 0,

    /// receive and apply set it: an answer to a handshake of ours is owed a packet, at least empty.
    confirm_owed: std.atomic.Value(bool) = .init(false),

    /// Last authenticated packet out: transmit, and the control plane for handshakes.
    last_sent_ns: AtomicU64 = .init(0),
    /// Last authenticated packet in: receive, and apply for handshakes.
    last_received_ns: AtomicU64 = .init(0),
    /// A keepalive is due unless something is sent before: receive sets, transmit clears.
    keepalive_due_ns: AtomicU64 = .init(0),
    /// More data came while that timer ran: receive sets, transmit clears.
    keepalive_again: std.atomic.Value(bool) = .init(false),
    /// A handshake is due unless something is received before: transmit sets, receive clears.
    answer_due_ns: AtomicU64 = .init(0),
    /// The last `handshake_wanted` event; both threads.
    wanted_ns: AtomicU64 = .init(0),
    /// Of a member: the first 6 bytes of its identity; 0 for a plain peer. apply.
    member: u64 = 0,
    /// Another path that was told of last, and when: receive.
    other_remote: abi.Endpoint = .{},
    other_told_ns: u64 = 0,
    /// Where the peer is was told until then, at one telling an interval; both threads.
    roam_told_until_ns: AtomicU64 = .init(0),
    /// It is somewhere else than was told, or has a confirmed keypair that was not: receive sets, transmit
    /// clears, with its timers.
    roam_untold: std.atomic.Value(bool) = .init(false),
    confirm_untold: std.atomic.Value(bool) = .init(false),
    /// A member was sent data and has to be heard from by then: transmit sets, receive clears.
    silent_due_ns: AtomicU64 = .init(0),
    /// The path, and the routes, for which it was last asked where the way from our address leads, and
    /// whether that address was given up: transmit.
    source_asked: u64 = 0,
    source_given_up: bool = false,
    /// Segmented sends to its path fail until then: transmit.
    unsegmented_until_ns: u64 = 0,
    /// The longest packet that its path carries; 0 = not known. apply.
    path_mtu: u32 = 0,
    /// Not to be asked about before: transmit; apply.
    path_mtu_due_ns: u64 = 0,

    tx_bytes: AtomicU64 = .init(0),
    tx_packets: AtomicU64 = .init(0),
    rx_bytes: AtomicU64 = .init(0),
    rx_packets: AtomicU64 = .init(0),

    /// Its own socket, and what earns it one: transmit.
    connected: connected_socket.OfPeer = .{},

    /// This turn's chain of segments: transmit.
    batch: u64 = 0,
    batch_last: u16 = 0,

    /// As long as a packet for it may be: no longer than the interface's.
    pub fn mtuWithin(self: *const Peer, interface: u32) u32 {
        return if (self.path_mtu == 0) interface else @min(self.path_mtu, interface);
    }

    /// Transmit: an authenticated packet goes out.
    pub fn sent(self: *Peer, now_ns: u64, data: bool) void {
        self.last_sent_ns.store(now_ns, .monotonic);
        self.keepalive_due_ns.store(0, .monotonic);
        if (data and self.member != 0 and self.silent_due_ns.load(.monotonic) == 0)
            self.silent_due_ns.store(now_ns + constants.path_silent_after_ns, .monotonic);
        if (data and self.answer_due_ns.load(.monotonic) == 0) {
            const wait = constants.keepalive_timeout_ns + constants.rekey_timeout_ns;
            self.answer_due_ns.store(now_ns + wait + jitter(now_ns, self.ref.slot), .monotonic);
        }
    }

    /// Receive: an authenticated packet came in.
    pub fn received(self: *Peer, now_ns: u64, data: bool) void {
        self.last_received_ns.store(now_ns, .monotonic);
        self.answer_due_ns.store(0, .monotonic);
        self.silent_due_ns.store(0, .monotonic);
        if (!data) return;
        if (self.keepalive_due_ns.load(.monotonic) == 0) {
            self.keepalive_due_ns.store(now_ns + constants.keepalive_timeout_ns, .monotonic);
        } else self.keepalive_again.store(true, .monotonic);
    }

    /// Whether a `handshake_wanted` event may go out now: at most one a second.
    pub fn mayWant(self: *Peer, now_ns: u64) bool {
        const last = self.wanted_ns.load(.monotonic);
        // A time to come is of a clock that went back.
        if (last != 0 and last <= now_ns and now_ns - last < constants.ns_per_s) return false;
        self.wanted_ns.store(now_ns, .monotonic);
        return true;
    }

    /// When a persistent keepalive is due; null where it is off.
    pub fn persistentDue(self: *const Peer) ?u64 {
        if (self.keepalive_interval_ns == 0) return null;
        const last = @max(
            self.last_sent_ns.load(.monotonic),
            self.last_received_ns.load(.monotonic),
        );
        return if (last == 0) 0 else last + self.keepalive_interval_ns;
    }

    pub fn stats(self: *const Peer) abi.PeerStats {
        const current = self.keypairs.current.load(.acquire);
        return .{
            .peer = self.ref,
            .tx_bytes = self.tx_bytes.load(.monotonic),
            .rx_bytes = self.rx_bytes.load(.monotonic),
            .tx_packets = self.tx_packets.load(.monotonic),
            .rx_packets = self.rx_packets.load(.monotonic),
            .last_sent_ns = self.last_sent_ns.load(.monotonic),
            .last_received_ns = self.last_received_ns.load(.monotonic),
            .keypair_at_ns = if (current) |pair| pair.created_ns else 0,
            .staged_packets = if (self.staging) |staging| staging.count else 0,
            .remote = self.path.load().remote,
        };
    }
};

/// 0 to 333 ms, different for each peer and time: keeps two ends from answering in step. Not secret.
fn jitter(now_ns: u64, slot: u32) u64 {
    const mixed = (now_ns ^ (@as(u64, slot) << 32)) *% 0x9e37_79b9_7f4a_7c15;
    return (mixed >> 32) % constants.rekey_timeout_jitter_ns;
}

test "a path is read whole while it is written" {
    const Shared = struct {
        cell: PathCell = .{},
        stop: std.atomic.Value(bool) = .init(false),
        torn: u32 = 0,

        fn read(self: *@This()) void {
            while (!self.stop.load(.monotonic)) {
                const path = self.cell.load();
                if (path.remote.port != path.local.port) self.torn += 1;
                for (path.remote.address) |byte| {
                    if (byte != @as(u8, @truncate(path.remote.port))) self.torn += 1;
                }
            }
        }
    };
    var shared: Shared = .{};
    const reader = try std.Thread.spawn(.{}, Shared.read, .{&shared});
    for (1..20_000) |round| {
        const port: u16 = @truncate(round);
        shared.cell.store(.{
            .remote = .{ .address = @splat(@truncate(port)), .port = port },
            .local = .{ .port = port },
        });
    }
    shared.stop.store(true, .monotonic);
    reader.join();
    try std.testing.expectEqual(0, shared.torn);
}

test "timers follow what is sent and received" {
    const s = constants.ns_per_s;
    var peer: Peer = .{ .ref = .{ .slot = 1, .generation = 1 }, .public_key = @splat(1) };
    try std.testing.expectEqual(null, peer.persistentDue());
    peer.keepalive_interval_ns = 25 * s;
    try std.testing.expectEqual(0, peer.persistentDue().?);
    peer.sent(100 * s, true);
    try std.testing.expectEqual(125 * s, peer.persistentDue().?);
    const answer = peer.answer_due_ns.raw;
    try std.testing.expect(answer >= 115 * s and answer < 115 * s + constants.rekey_timeout_jitter_ns);
    peer.received(101 * s, false);
    try std.testing.expectEqual(0, peer.answer_due_ns.raw);
    try std.testing.expectEqual(0, peer.keepalive_due_ns.raw);
    peer.received(102 * s, true);
    peer.received(103 * s, true);
    try std.testing.expectEqual(112 * s, peer.keepalive_due_ns.raw);
    try std.testing.expect(peer.keepalive_again.raw);
    peer.sent(104 * s, false);
    try std.testing.expectEqual(0, peer.keepalive_due_ns.raw);
    try std.testing.expectEqual(0, peer.answer_due_ns.raw);
    try std.testing.expect(peer.mayWant(105 * s));
    try std.testing.expect(!peer.mayWant(105 * s + 1));
    try std.testing.expect(peer.mayWant(106 * s));
    // A clock that goes back silences nobody.
    try std.testing.expect(peer.mayWant(3 * s));
    try std.testing.expect(!peer.mayWant(3 * s + 1));
}

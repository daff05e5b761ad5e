//! What the two packet threads and `apply` share: peers, sessions by index, allowed IPs, the gate,
//! and the queues to and from the control plane. Owns all peers and keypairs.
//!
//! Whoever reads the tables holds a side of `lock`; whoever changes them holds all. The one
//! exception is a keypair's move between slots, which the receive side does, because it alone reads
//! `next` and `previous`.
const std = @import("std");
const linux = std.os.linux;
const assert = std.debug.assert;
const Allocator = std.mem.Allocator;
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const crypto = @import("crypto.zig");
const keypair = @import("keypair.zig");
const queue = @import("queue.zig");
const secrets = @import("secrets.zig");
const allowed_ips_ = @import("allowed_ips.zig");
const AllowedIps = allowed_ips_.AllowedIps;
const Counters = @import("metrics.zig").Counters;
const Gate = @import("gate.zig").Gate;
const IndexTable = @import("index_table.zig").IndexTable;
const Inner = @import("inner_packet.zig").Inner;
const Keypair = keypair.Keypair;
const lane_ = @import("lane.zig");
const Lane = lane_.Lane;
const Peer = @import("peer.zig").Peer;
const Destinations = @import("destinations.zig").Destinations;
const Policy = @import("policy.zig").Policy;
const Relay = @import("relay.zig").Relay;
const side_sockets = @import("side_sockets.zig");
const Sources = @import("steering.zig").Sources;
const StunFilter = @import("stun_filter.zig").StunFilter;
const Staging = @import("staging.zig").Staging;
const Mutex = @import("table_lock.zig").Mutex;
const TableLock = @import("table_lock.zig").TableLock;

pub const Session = struct { peer: *Peer, keypair: *Keypair };

/// Where there would be a peer: the owner of prefixes whose addresses some peer may come to hold.
pub const awaited_owner: u32 = constants.peers_max;

pub const Destination = union(enum) {
    peer: *Peer,
    /// No peer's now, and perhaps one's soon.
    awaited,
    nobody,
};

pub const Tables = struct {
    allocator: Allocator,
    lock: TableLock = .{},
    peers: []?*Peer,
    /// One above the highest slot that was ever used.
    peers_end: u32 = 0,
    sessions: IndexTable(Session),
    allowed_ips: AllowedIps,
    policy: Policy = .{},
    destinations: Destinations = .{},
    /// Receive; what the keys are, apply.
    gate: Gate,
    relay: Relay,
    sources: Sources = .{},
    /// Receive; what is awaited, apply.
    stun: StunFilter = .{},
    side: side_sockets.SideSockets = .{},
    mtu: std.atomic.Value(u32),
    /// Raised with the news of addresses, routes and links: transmit of the first lane.
    routes_generation: std.atomic.Value(u32) = .init(0),
    /// Staging blocks in use: transmit of any lane; apply.
    staging_count: std.atomic.Value(u32) = .init(0),
    /// One or a power of two.
    lanes: []Lane,

    events: queue.EventRing,
    /// Datagrams for the control plane: written by receive of any lane, one at a time.
    inbox: queue.DatagramRing,
    inbox_mutex: Mutex = .{},
    doorbell: queue.Doorbell,

    pub const InitError = error{ OutOfMemory, SystemResources };

    /// `lanes_count`: a power of two, at most `lanes_max`.
    pub fn init(self: *Tables, allocator: Allocator, mtu: u32, lanes_count: u8) InitError!void {
        assert(std.math.isPowerOfTwo(lanes_count) and lanes_count <= constants.lanes_max);
        const peers = try allocator.alloc(?*Peer, constants.peers_max);
        errdefer allocator.free(peers);
        @memset(peers, null);
        var events = try queue.EventRing.init(allocator);
        errdefer events.deinit(allocator);
        var inbox = try queue.DatagramRing.init(allocator, constants.control_ring_datagrams);
        errdefer inbox.deinit(allocator);
        var doorbell = try queue.Doorbell.init();
        errdefer doorbell.deinit();
        var gate = try Gate.init(allocator, crypto.random);
        errdefer gate.deinit(allocator);
        var relay: Relay = try .init(allocator);
        errdefer relay.deinit(allocator);
        const lanes = try initLanes(allocator, lanes_count);
        self.* = .{
            .allocator = allocator,
            .lock = .{ .lanes = lanes_count },
            .lanes = lanes,
            .peers = peers,
            .sessions = .init(allocator, constants.sessions_max),
            .allowed_ips = .{},
            .gate = gate,
            .relay = relay,
            .mtu = .init(mtu),
            .events = events,
            .inbox = inbox,
            .doorbell = doorbell,
        };
    }

    fn initLanes(allocator: Allocator, count: u8) InitError![]Lane {
        const lanes = try allocator.alloc(Lane, count);
        var ready: usize = 0;
        errdefer {
            for (lanes[0..ready]) |*lane| lane.deinit(allocator);
            allocator.free(lanes);
        }
        for (lanes) |*lane| {
            lane.* = try .init(allocator, count == 1);
            ready += 1;
        }
        return lanes;
    }

    /// No thread may be in the tables any more.
    pub fn deinit(self: *Tables) void {
        for (self.peers[0..self.peers_end]) |entry| if (entry) |peer| self.removePeer(peer);
        self.sessions.deinit();
        self.allowed_ips.deinit(self.allocator);
        self.policy.deinit(self.allocator);
        self.destinations.deinit(self.allocator);
        self.gate.deinit(self.allocator);
        self.relay.deinit(self.allocator);
        self.side.close();
        for (self.lanes) |*lane| lane.deinit(self.allocator);
        self.allocator.free(self.lanes);
        self.doorbell.deinit();
        self.inbox.deinit(self.allocator);
        self.events.deinit(self.allocator);
        self.allocator.free(self.peers);
        self.* = undefined;
    }

    // Look-ups: any side.

    /// The number of the lane that owns a peer.
    pub fn laneOf(self: *const Tables, slot: u32) u8 {
        return @intCast(slot & (self.lanes.len - 1));
    }

    /// The number of the lane that owns a session: its index is chosen so.
    pub fn laneOfIndex(self: *const Tables, local_index: u32) u8 {
        return @intCast(local_index & (self.lanes.len - 1));
    }

    pub fn peerAt(self: *const Tables, ref: abi.PeerRef) error{ NoSuchPeer, StalePeer }!*Peer {
        if (ref.slot >= self.peers_end) return error.NoSuchPeer;
        const peer = self.peers[ref.slot] orelse return error.NoSuchPeer;
        if (peer.ref.generation != ref.generation) return error.StalePeer;
        return peer;
    }

    /// Whose a packet's destination is.
    pub fn destination(self: *const Tables, inner: *const Inner) Destination {
        const slot = switch (inner.family) {
            .v4 => self.allowed_ips.lookup4(inner.destination4()),
            .v6 => self.allowed_ips.lookup6(inner.destination),
        } orelse return .nobody;
        if (slot == awaited_owner) return .awaited;
        return if (self.peers[slot]) |peer| .{ .peer = peer } else .nobody;
    }

    /// Whose a packet's source is: by the longest prefix over all peers, so that a peer cannot
    /// speak for an address inside its own prefix that belongs to another.
    pub fn sourceOwner(self: *const Tables, inner: *const Inner) ?*Peer {
        const slot = switch (inner.family) {
            .v4 => self.allowed_ips.lookup4(inner.source4()),
            .v6 => self.allowed_ips.lookup6(inner.source),
        } orelse return null;
        return if (slot == awaited_owner) null else self.peers[slot];
    }

    /// A handshake is answered: data comes from there next, and is not to lie among strangers'. The
    /// control plane.
    pub fn expectDataFrom(self: *Tables, remote: *const abi.Endpoint) void {
        if (self.sources.expect(remote, nowNs())) lane_.wake(self.lanes[0].wake_receive);
    }

    // To the control plane: any thread.

    /// What finds no room is lost: it has a place that is kept for it (queue.EventRing), or what it tells of
    /// comes again.
    pub fn post(self: *Tables, counters: *Counters, event: abi.Event) void {
        _ = self.tryPost(counters, event);
    }

    /// false: there was no room for it.
    pub fn tryPost(self: *Tables, counters: *Counters, event: abi.Event) bool {
        const posted = self.events.push(event);
        if (!posted) counters.add(.event_ring_full, 1);
        self.doorbell.ring();
        return posted;
    }

    /// Where a peer is now. Receive; transmit what could not be told at once (tx_timers.zig).
    pub fn tellRoamed(self: *Tables, counters: *Counters, peer: *Peer, now_ns: u64) void {
        const path = peer.path.load();
        const until_ns = @max(peer.roam_told_until_ns.load(.monotonic), now_ns) + constants.paths_heard_interval_ns;
        peer.roam_told_until_ns.store(until_ns, .monotonic);
        const posted = self.tryPost(counters, .{
            .kind = .endpoint_roamed,
            .peer = peer.ref,
            .at_ns = now_ns,
            .remote = path.remote,
            .local = path.local,
        });
        // Receive may have told of a newer one before this one was posted.
        if (!posted or !std.meta.eql(peer.path.load().remote, path.remote))
            peer.roam_untold.store(true, .monotonic);
    }

    /// As tellRoamed, that a keypair of this index is confirmed.
    pub fn tellConfirmed(self: *Tables, counters: *Counters, peer: *Peer, local_index: u32, now_ns: u64) void {
        const posted = self.tryPost(counters, .{
            .kind = .keypair_confirmed,
            .peer = peer.ref,
            .number = local_index,
            .at_ns = now_ns,
        });
        if (!posted) peer.confirm_untold.store(true, .monotonic);
    }

    pub fn want(
        self: *Tables,
        counters: *Counters,
        peer: *Peer,
        reason: abi.HandshakeReason,
        now_ns: u64,
    ) void {
        if (!peer.mayWant(now_ns)) return;
        self.post(counters, .{
            .kind = .handshake_wanted,
            .reason = @backingInt(reason),
            .peer = peer.ref,
            .at_ns = now_ns,
        });
    }

    // To the transmit thread: any thread that holds a side.

    pub fn attend(self: *Tables, peer: *Peer) void {
        const lane = &self.lanes[self.laneOf(peer.ref.slot)];
        if (lane.attention.push(peer.ref.slot)) lane_.wake(lane.wake_transmit);
    }

    /// Those by which nobody is spoken to; how many are left. `apply`, which holds all sides.
    pub fn closeSideSockets(self: *Tables) u64 {
        var used: side_sockets.Numbers = .empty;
        for (self.peers[0..self.peers_end]) |entry| {
            const peer = entry orelse continue;
            const remote = peer.path.load().remote;
            if (remote.family == 4 and remote.scope <= constants.side_sockets_max) used.set(remote.scope);
        }
        self.side.leaveAllBut(&used);
        lane_.wake(self.lanes[0].wake_receive);
        return self.side.count();
    }

    // The receive side.

    /// A datagram for the control plane; false where the ring is full.
    pub fn toControl(self: *Tables, datagram: abi.Datagram, bytes: []const u8) bool {
        self.inbox_mutex.lock();
        defer self.inbox_mutex.unlock();
        return self.inbox.push(datagram, bytes);
    }

    // Changes: both sides.

    pub fn addPeer(
        self: *Tables,
        ref: abi.PeerRef,
        public_key: *const [constants.key_bytes]u8,
    ) error{ InvalidArgument, PeerExists, OutOfMemory }!void {
        if (ref.slot >= constants.peers_max or ref.generation == 0) return error.InvalidArgument;
        if (self.peers[ref.slot] != null) return error.PeerExists;
        const peer = try self.allocator.create(Peer);
        peer.* = .{ .ref = ref, .public_key = public_key.* };
        self.peers[ref.slot] = peer;
        self.peers_end = @max(self.peers_end, ref.slot + 1);
    }

    pub fn removePeer(self: *Tables, peer: *Peer) void {
        self.dropKeypairs(peer);
        self.relay.remove(peer.member, peer.ref.slot);
        // The attention list names slots, so one that is stale finds nobody, or a successor.
        _ = self.allowed_ips.removeOwner(peer.ref.slot);
        self.peers[peer.ref.slot] = null;
        self.allocator.destroy(peer);
    }

    pub const InstallError = error{ NoSuchSecret, InvalidArgument, TableFull, OutOfMemory };

    /// Takes the secrets over, whatever happens.
    pub fn installKeypair(
        self: *Tables,
        peer: *Peer,
        command: *const abi.Command,
        now_ns: u64,
    ) InstallError!void {
        errdefer releaseSecrets(command);
        if (self.laneOfIndex(command.local_index) != self.laneOf(peer.ref.slot))
            return error.InvalidArgument;
        const send_key = try secrets.pointer(command.secret_send);
        const receive_key = try secrets.pointer(command.secret_receive);
        const pair = try self.allocator.create(Keypair);
        errdefer self.allocator.destroy(pair);
        pair.* = .{
            .send_key = send_key,
            .receive_key = receive_key,
            .send_secret = command.secret_send,
            .receive_secret = command.secret_receive,
            .local_index = command.local_index,
            .remote_index = command.remote_index,
            .initiator = command.flags & abi.keypair_flag_initiator != 0,
            .created_ns = now_ns,
        };
        self.sessions.insert(pair.local_index, .{ .peer = peer, .keypair = pair }) catch |err|
            return switch (err) {
                error.Duplicate => error.InvalidArgument,
                error.Full => error.TableFull,
                error.OutOfMemory => error.OutOfMemory,
            };
        for (peer.keypairs.install(pair).slice()) |dropped| self.freeKeypair(dropped.?);
        peer.session_ns = now_ns;
        peer.wanted_ns.store(0, .monotonic);
        if (pair.initiator) {
            peer.confirm_owed.store(true, .monotonic);
            self.attend(peer);
        }
    }

    /// Frees what a command for a keypair carries and cannot be installed.
    pub fn releaseSecrets(command: *const abi.Command) void {
        for ([_]u32{ command.secret_send, command.secret_receive }) |secret| {
            secrets.free(secret) catch |err| switch (err) {
                error.NoSuchSecret => continue,
            };
        }
    }

    pub fn dropKeypairs(self: *Tables, peer: *Peer) void {
        for (peer.keypairs.clear().slice()) |dropped| self.freeKeypair(dropped.?);
        self.dropStaged(peer);
        peer.session_ns = 0;
        peer.wanted_ns.store(0, .monotonic);
        peer.keepalive_due_ns.store(0, .monotonic);
        peer.answer_due_ns.store(0, .monotonic);
    }

    /// The prefix is this peer's, and where it is one address, so are the packets that waited for it.
    pub fn allowIp(
        self: *Tables,
        counters: *Counters,
        peer: *Peer,
        prefix: allowed_ips_.Prefix,
    ) error{ Full, Invalid, OutOfMemory }!void {
        try self.allowed_ips.insert(self.allocator, prefix, peer.ref.slot);
        const address = prefix.address() orelse return;
        const Taker = struct {
            tables: *Tables,
            peer: *Peer,
            dropped: *u64,

            pub fn take(taker: @This(), packet: []const u8) void {
                const staging = taker.tables.stagingOf(taker.peer) orelse {
                    taker.dropped.* += 1;
                    return;
                };
                @memcpy(staging.reserve(packet.len, taker.dropped), packet);
            }
        };
        var dropped: u64 = 0;
        for (self.lanes) |*lane| {
            const taker: Taker = .{ .tables = self, .peer = peer, .dropped = &dropped };
            if (lane.awaited.give(self.allocator, address, &dropped, taker)) self.attend(peer);
        }
        if (dropped > 0) counters.add(.staged_dropped, dropped);
    }

    /// Some peer may come to hold addresses of it.
    pub fn awaitPrefix(self: *Tables, prefix: allowed_ips_.Prefix) error{ Full, Invalid, OutOfMemory }!void {
        try self.allowed_ips.insert(self.allocator, prefix, awaited_owner);
    }

    pub fn refuseAwaited(self: *Tables, prefix: allowed_ips_.Prefix, now_ns: u64) error{InvalidArgument}!void {
        const address = prefix.address() orelse return error.InvalidArgument;
        for (self.lanes) |*lane| {
            lane.awaited.refuse(address, now_ns);
            if (lane.awaited.unanswered) lane_.wake(lane.wake_transmit);
        }
    }

    /// Transmit too. How many packets were dropped.
    pub fn dropStaged(self: *Tables, peer: *Peer) void {
        const staging = peer.staging orelse return;
        staging.destroy(self.allocator);
        peer.staging = null;
        _ = self.staging_count.fetchSub(1, .monotonic);
    }

    /// Transmit. Null where too many peers stage at once.
    pub fn stagingOf(self: *Tables, peer: *Peer) ?*Staging {
        if (peer.staging) |staging| return staging;
        if (self.staging_count.fetchAdd(1, .monotonic) < constants.staging_peers_max) {
            peer.staging = Staging.create(self.allocator) catch null;
        }
        if (peer.staging == null) _ = self.staging_count.fetchSub(1, .monotonic);
        return peer.staging;
    }

    fn freeKeypair(self: *Tables, pair: *Keypair) void {
        const session = self.sessions.remove(pair.local_index);
        assert(session.?.keypair == pair);
        secrets.free(pair.send_secret) catch unreachable;
        secrets.free(pair.receive_secret) catch unreachable;
        std.crypto.secureZero(u8, std.mem.asBytes(pair));
        self.allocator.destroy(pair);
    }
};

/// CLOCK_BOOTTIME: a suspended machine's keys grow old too.
pub fn nowNs() u64 {
    // libc's, for it reads the clock without a system call; std's own finds the vDSO only in a program.
    var time: std.c.timespec = undefined;
    _ = std.c.clock_gettime(.BOOTTIME, &time);
    return @as(u64, @intCast(time.sec)) * constants.ns_per_s + @as(u64, @intCast(time.nsec));
}

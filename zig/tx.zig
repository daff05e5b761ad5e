//! The transmit thread: TUN to UDP, whole batches. Functions stand in the order in which a packet
//! meets them: read, route, split into the send arena, seal, send.
//!
//! A turn reads what waits (no lock), lays out and seals it (the transmit side held), and sends it
//! (no lock), so a full socket holds up the TUN and nothing else. What the arena has no room for
//! stays where it is, and the turn goes on with it. Owns nonces and staging; reads the tables.
//! While it sleeps the receive thread makes a turn for it (`assist`); a turn has one maker.
const std = @import("std");
const linux = std.os.linux;
const assert = std.debug.assert;
const Allocator = std.mem.Allocator;
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const ecn = @import("ecn.zig");
const icmp = @import("icmp.zig");
const CryptoQueue = @import("crypto_queue.zig").CryptoQueue;
const inner_packet = @import("inner_packet.zig");
const netlink = @import("netlink.zig");
const offload = @import("offload.zig");
const routing_loop = @import("routing_loop.zig");
const sleep = @import("sleep.zig");
const tables_ = @import("tables.zig");
const transport = @import("transport.zig");
const tx_awaited = @import("tx_awaited.zig");
const tx_monitor = @import("tx_monitor.zig");
const tx_resend = @import("tx_resend.zig");
const tx_size = @import("tx_size.zig");
const tx_timers = @import("tx_timers.zig");
const ways = @import("tx_ways.zig");
const Counters = @import("metrics.zig").Counters;
const lane_ = @import("lane.zig");
const Lane = lane_.Lane;
const Keypair = @import("keypair.zig").Keypair;
const Path = @import("peer.zig").Path;
const Peer = @import("peer.zig").Peer;
const Mutex = @import("table_lock.zig").Mutex;
const Tables = tables_.Tables;
const Way = ways.Way;
const Tun = @import("tun_linux.zig").Tun;
const udp_linux = @import("udp_linux.zig");
const uring_use = @import("uring_use.zig");
const Udp = udp_linux.Udp;

const none: u16 = std.math.maxInt(u16);
const no_detour = ways.no_detour;
const segments_max = constants.send_segments_max;

/// One sealed packet in the arena.
const Segment = struct {
    offset: u32,
    length: u32,
    peer: *Peer,
    keypair: *Keypair,
    counter: u64,
    /// Of the inner packet; known when it is sealed.
    ecn: u2 = ecn.not_ect,
    /// The same peer's next segment of this batch.
    next: u16 = none,
    /// Not by its peer's path: which of `detours`.
    detour: u8 = no_detour,
    /// Sent by itself, and not in fragments.
    whole: bool = false,
};

/// Which segments one message carries: a part of a peer's chain.
const MessageOrigin = struct { first: u16, count: u16, peer: abi.PeerRef, socket: u8 };

pub const Tx = struct {
    tables: *Tables,
    /// The lane that this is the transmit thread of, and its number.
    lane: *Lane,
    lane_number: u8,
    tun: ?*const Tun,
    udp: *const Udp,
    monitor: ?*netlink.Monitor,
    interface_index: u32 = 0,
    stopping: *const std.atomic.Value(bool),
    counters: Counters = .{},
    link_gone: bool = false,
    link_is_up: bool = false,

    outbound: uring_use.Outbound = .{},
    sources: @import("source_address.zig").Sources = .{},
    connected: *@import("connected_socket.zig").Sockets = undefined,
    // Packets as they were read or handed over, each behind its virtio header.
    read_bytes: []u8,
    reads: [constants.tun_batch_packets + constants.handover_packets][]const u8 = undefined,
    reads_count: usize = 0,
    /// The packet, and the segment of it, that is laid out next.
    read_at: usize = 0,
    segment_at: u32 = 0,

    // The batch being sealed and sent.
    arena: []u8,
    arena_used: usize = 0,
    segments: []Segment,
    segments_count: usize = 0,
    batch: u64 = 0,
    heads: [segments_max]u16 = undefined,
    heads_count: usize = 0,
    jobs: [segments_max]transport.Message = undefined,
    inners: [segments_max]ways.Inner = undefined,
    inners_count: usize = 0,
    detours: [constants.detours_max]Path = undefined,
    detours_count: u8 = 0,
    iovecs: [segments_max]std.posix.iovec_const = undefined,
    iovecs_count: usize = 0,
    messages: [segments_max]udp_linux.SendMessage = undefined,
    origins: [segments_max]MessageOrigin = undefined,
    messages_count: usize = 0,
    crypto_queue: CryptoQueue = .{},
    /// Peers whose segmented send was refused; marked at the next turn.
    refused: [64]abi.PeerRef = undefined,
    refused_count: usize = 0,
    /// ICMP to whoever sent into the TUN what can go nowhere; written at the end of the turn.
    answers: icmp.Answers = .{},

    /// This turn is the thread's first after a sleep.
    slept: bool = false,
    /// Held by whoever makes a turn, or waits for the timers.
    turns: Mutex = .{},
    /// Until when the thread sleeps, unless it is woken; 0 = it is awake. Set where `turns` is held.
    asleep_until_ns: std.atomic.Value(u64) = .init(0),

    now_ns: u64 = 0,
    /// When the timers have to be looked at; 0 = now.
    timers_due_ns: u64 = 0,

    pub fn create(allocator: Allocator, tables: *Tables, lane_number: u8) Allocator.Error!*Tx {
        const self = try allocator.create(Tx);
        errdefer allocator.destroy(self);
        const read_bytes = try allocator.alloc(u8, constants.tun_batch_bytes);
        errdefer allocator.free(read_bytes);
        const arena = try allocator.alloc(u8, constants.send_arena_bytes);
        errdefer allocator.free(arena);
        const segments = try allocator.alloc(Segment, segments_max);
        self.* = .{
            .tables = tables,
            .lane = &tables.lanes[lane_number],
            .lane_number = lane_number,
            .tun = null,
            .udp = undefined,
            .monitor = null,
            .stopping = undefined,
            .read_bytes = read_bytes,
            .arena = arena,
            .segments = segments,
        };
        return self;
    }

    pub fn destroy(self: *Tx, allocator: Allocator) void {
        self.sources.close();
        std.crypto.secureZero(u8, self.read_bytes);
        std.crypto.secureZero(u8, self.arena);
        allocator.free(self.read_bytes);
        allocator.free(self.arena);
        allocator.free(self.segments);
        allocator.destroy(self);
    }

    pub fn run(self: *Tx) void {
        self.outbound.start(self.tables.allocator, &self.counters);
        defer self.outbound.stop();
        var slept = false;
        while (!self.stopping.load(.acquire)) {
            const worked = self.turnAlone(slept);
            slept = false;
            if (worked) continue;
            // Whoever writes into the TUN may only wait for this processor: to let him run first costs
            // less than to sleep and be woken by him.
            _ = linux.syscall0(.sched_yield);
            if (self.turnAlone(false)) continue;
            self.wait();
            slept = true;
        }
    }

    /// `slept`: it is the first since the thread slept.
    fn turnAlone(self: *Tx, slept: bool) bool {
        self.turns.lock();
        defer self.turns.unlock();
        self.slept = slept;
        defer self.slept = false;
        return self.turn();
    }

    /// A turn of the receive thread's, which wrote into the TUN: what is answered to it at once (an
    /// acknowledgement, a ping's answer) leaves before this thread has woken up on another processor.
    /// Only where nothing waits in the socket, so that it need not wait for it.
    pub fn assist(self: *Tx) void {
        if (self.asleep_until_ns.load(.monotonic) == 0 or !self.turns.tryLock()) return;
        defer self.turns.unlock();
        // Before the lock it may have been that of an earlier sleep.
        const asleep_until_ns = self.asleep_until_ns.load(.monotonic);
        if (self.outbound.isBound() or !self.udp.isDrained()) return;
        _ = self.turn();
        // The poll sleeps on where nothing is left to be read.
        if (self.timers_due_ns < asleep_until_ns) lane_.wake(self.lane.wake_transmit);
    }

    /// One turn; false where there was nothing to do.
    pub fn turn(self: *Tx) bool {
        self.readTun();
        var worked = self.reads_count > 0;
        var more = true;
        while (more) {
            self.tables.lock.enter(.transmit, self.lane_number);
            self.now_ns = tables_.nowNs();
            more = !self.layOut();
            self.seal();
            self.compose();
            self.lane.sending.store(true, .release);
            self.tables.lock.leave(.transmit, self.lane_number);
            worked = worked or self.messages_count > 0;
            self.send();
            self.lane.sending.store(false, .release);
            tx_size.writeAnswers(self);
        }
        return worked;
    }

    /// Reads until the TUN is empty, the buffer is, or enough waits to be sealed together.
    fn readTun(self: *Tx) void {
        self.reads_count = 0;
        self.read_at = 0;
        self.segment_at = 0;
        self.takeHandover();
        const tun = self.tun orelse return;
        if (self.link_gone) return;
        const handed = self.reads_count;
        var used: usize = 0;
        while (self.reads_count - handed < constants.tun_batch_packets and used < constants.tun_batch_bytes_enough) {
            const room = self.read_bytes[used..];
            if (room.len < constants.tun_read_bytes_max) break;
            const length = self.outbound.read(tun, room) catch |err| {
                switch (err) {
                    error.WouldBlock => {},
                    error.LinkGone => self.linkGone(),
                    error.System => self.counters.add(.tun_read_malformed, 1),
                }
                break;
            };
            self.reads[self.reads_count] = room[0..length];
            self.reads_count += 1;
            used += length;
            // What comes first after a sleep mostly comes alone: it does not wait for another read.
            if (self.slept and length <= constants.light_bytes) break;
        }
        if (used == 0) return;
        self.counters.add(.tun_read_calls, self.reads_count - handed);
        self.counters.add(.tun_read_bytes, used);
    }

    /// What other lanes read for peers of this one.
    fn takeHandover(self: *Tx) void {
        const handover = if (self.lane.to_transmit) |*handover| handover else return;
        const load = handover.take() orelse return;
        var at: usize = 0;
        for (load.lengths[0..load.count]) |length| {
            self.reads[self.reads_count] = load.bytes[at..][0..length];
            self.reads_count += 1;
            at += length;
        }
    }

    fn linkGone(self: *Tx) void {
        self.link_gone = true;
        self.tables.post(&self.counters, .{ .kind = .link_gone, .at_ns = tables_.nowNs() });
    }

    /// Fills the arena from everything that waits; true when nothing waits any more.
    fn layOut(self: *Tx) bool {
        self.arena_used = 0;
        self.segments_count = 0;
        self.heads_count = 0;
        self.inners_count = 0;
        self.detours_count = 0;
        self.batch += 1;
        tx_resend.markRefused(self);
        tx_awaited.answerRefused(self);
        if (!self.flushAttention()) return false;
        if (self.now_ns >= self.timers_due_ns) self.timers_due_ns = tx_timers.run(self);
        if (!self.drainOutbox()) return false;
        if (!ways.drainForwards(self)) return false;
        return self.layOutReads();
    }

    /// Peers whose keypair or endpoint has come: staged packets go now, or at least a keepalive, so
    /// that the responder may use the keypair too.
    fn flushAttention(self: *Tx) bool {
        while (self.lane.attention.pop()) |slot| {
            const peer = self.tables.peers[slot] orelse continue;
            // What is owed stays owed until there is an endpoint.
            if (peer.path.load().remote.family == 0) continue;
            if (!self.flushStaged(peer)) {
                self.tables.attend(peer);
                return false;
            }
            if (peer.confirm_owed.swap(false, .monotonic)) switch (self.place(peer, 0, false)) {
                .into => self.counters.add(.keepalives_sent, 1),
                .full => {
                    peer.confirm_owed.store(true, .monotonic);
                    self.tables.attend(peer);
                    return false;
                },
                .dropped => {},
            };
        }
        return true;
    }

    fn flushStaged(self: *Tx, peer: *Peer) bool {
        const staging = peer.staging orelse return true;
        const pair = self.usableKeypair(peer) orelse return true;
        const way = ways.wayTo(self, peer, &peer.path.load()) orelse return true;
        while (staging.oldest()) |packet| {
            const into = self.lay(peer, pair, packet.len, way) orelse return false;
            @memcpy(into, packet);
            peer.sent(self.now_ns, packet.len > 0);
            peer.confirm_owed.store(false, .monotonic);
            staging.pop();
        }
        self.tables.dropStaged(peer);
        return true;
    }

    pub fn usableKeypair(self: *const Tx, peer: *const Peer) ?*Keypair {
        const pair = peer.keypairs.current.load(.acquire) orelse return null;
        return if (pair.canSend(self.now_ns)) pair else null;
    }

    /// Session messages of the control plane.
    fn drainOutbox(self: *Tx) bool {
        while (self.lane.outbox.peek()) |slot| {
            if (self.tables.peerAt(slot.datagram.peer)) |peer| {
                const bytes = slot.bytes[0..slot.datagram.length];
                const placed = if (slot.datagram.remote.family == 0)
                    self.place(peer, bytes.len, true)
                else
                    ways.placeDetour(self, peer, bytes.len, &slot.datagram);
                switch (placed) {
                    .into => |into| {
                        @memcpy(into, bytes);
                        self.counters.add(.session_messages_sent, 1);
                    },
                    .full => return false,
                    .dropped => {},
                }
            } else |_| {}
            self.lane.outbox.pop();
        }
        return true;
    }

    fn layOutReads(self: *Tx) bool {
        while (self.read_at < self.reads_count) {
            if (!self.layOutPacket(self.reads[self.read_at])) return false;
            self.read_at += 1;
            self.segment_at = 0;
        }
        return true;
    }

    /// One packet of the TUN, from segment `segment_at` on; false when the arena is full.
    fn layOutPacket(self: *Tx, bytes: []const u8) bool {
        const header_size = offload.VirtioNetHdr.size;
        if (bytes.len < header_size) return self.refuse(.tun_read_malformed);
        const packet = bytes[header_size..];
        const inner = inner_packet.parse(packet) orelse return self.refuse(.tun_read_malformed);
        const header = offload.VirtioNetHdr.read(bytes[0..header_size]);
        const split = offload.Split.init(header, packet[0..inner.total_length]) catch
            return self.refuse(.tun_read_malformed);
        const peer = switch (self.tables.destination(&inner)) {
            .peer => |peer| peer,
            .awaited => return tx_awaited.keep(self, packet, &inner, &split),
            .nobody => {
                self.answer(packet, &inner, .no_host);
                return self.refuse(.no_route);
            },
        };
        const remote = peer.path.load().remote;
        if (routing_loop.leadsBack(&remote, &inner, packet)) return self.refuse(.no_route);
        const owner = self.tables.laneOf(peer.ref.slot);
        if (owner != self.lane_number) return self.handOver(owner, bytes);
        if (tx_size.tooBig(self, peer, packet, &inner, &split)) return self.refuse(.too_big);
        if (remote.family == 0) self.answer(packet, &inner, .no_host);
        self.tables.policy.noteOutbound(self.lane_number, &inner, packet[0..inner.total_length], self.now_ns);
        while (self.segment_at < split.count) : (self.segment_at += 1) {
            switch (self.place(peer, split.segmentLength(self.segment_at), true)) {
                .into => |into| _ = split.write(self.segment_at, into),
                .full => return false,
                .dropped => {},
            }
            self.counters.add(.tun_read_packets, 1);
        }
        return true;
    }

    pub fn answer(self: *Tx, packet: []const u8, inner: *const inner_packet.Inner, why: icmp.Why) void {
        switch (self.answers.add(packet, inner, why, self.now_ns)) {
            .added, .not_due => {},
            .limited => self.counters.add(.icmp_limited, 1),
        }
    }

    /// To the lane of the packet's peer; the kernel will find it by itself once an answer has been
    /// written to that lane's queue (tun_flow_update in drivers/net/tun.c).
    fn handOver(self: *Tx, owner: u8, bytes: []const u8) bool {
        const lane = &self.tables.lanes[owner];
        switch (lane.to_transmit.?.push(.{}, 0, bytes)) {
            .full => return self.refuse(.handover_full),
            .first => lane_.wake(lane.wake_transmit),
            .added => {},
        }
        self.counters.add(.handed_over, 1);
        return true;
    }

    pub fn refuse(self: *Tx, counter: abi.Counter) bool {
        self.counters.add(counter, 1);
        return true;
    }

    pub const Place = union(enum) { into: []u8, full, dropped };

    /// Where a plaintext packet of `length` bytes for `peer` is to be written: in the arena, or,
    /// while there is no keypair, among what is staged.
    pub fn place(self: *Tx, peer: *Peer, length: usize, data: bool) Place {
        const path = peer.path.load();
        if (path.remote.family == 0) {
            self.counters.add(.no_endpoint, 1);
            return .dropped;
        }
        const pair = self.usableKeypair(peer) orelse return self.stage(peer, length);
        const way = ways.wayTo(self, peer, &path) orelse {
            self.counters.add(.relay_unavailable, 1);
            return .dropped;
        };
        // Receive may have confirmed the keypair within this turn: what waited goes first.
        if (!self.flushStaged(peer)) return .full;
        const into = self.lay(peer, pair, length, way) orelse return .full;
        peer.sent(self.now_ns, data);
        if (peer.member != 0)
            self.timers_due_ns = @min(self.timers_due_ns, self.now_ns + constants.path_silent_after_ns);
        self.renew(peer, pair);
        if (way.carrier) |carrier| {
            carrier.peer.sent(self.now_ns, false);
            self.renew(carrier.peer, carrier.keypair);
        }
        return .{ .into = into };
    }

    pub fn renew(self: *Tx, peer: *Peer, pair: *const Keypair) void {
        if (pair.wantsRenewalOnSend(self.now_ns)) {
            const reason: abi.HandshakeReason =
                if (pair.nonce >= constants.rekey_after_messages) .keypair_messages else .keypair_age;
            self.tables.want(&self.counters, peer, reason, self.now_ns);
        }
    }

    fn stage(self: *Tx, peer: *Peer, length: usize) Place {
        self.tables.want(&self.counters, peer, .no_keypair, self.now_ns);
        // A keepalive has done its work: it asked for the handshake.
        if (length == 0) return .dropped;
        const staging = self.tables.stagingOf(peer) orelse {
            self.counters.add(.staging_full, 1);
            return .dropped;
        };
        var dropped: u64 = 0;
        const into = staging.reserve(length, &dropped);
        self.counters.add(.staged, 1);
        if (dropped > 0) self.counters.add(.staged_dropped, dropped);
        return .{ .into = into };
    }

    /// Room in the arena for a packet of a peer: its header is written, its padding zero, its
    /// counter taken. Null when the arena is full.
    pub fn lay(self: *Tx, peer: *Peer, pair: *Keypair, length: usize, way: Way) ?[]u8 {
        const padded = if (way.padded > 0) @max(length, way.padded) else self.paddedFor(peer, length);
        const total = padded + constants.transport_overhead_bytes;
        if (way.carrier) |carrier| return ways.layInFrame(self, peer, pair, length, total, carrier, way.whole);
        if (self.segments_count == segments_max) return null;
        if (self.arena.len - self.arena_used < total) return null;
        const counter = pair.takeNonce();
        const message = self.arena[self.arena_used..][0..total];
        transport.writeHeader(message, pair.remote_index, counter);
        const text = message[constants.transport_header_bytes..][0..length];
        @memset(message[constants.transport_header_bytes..][length..padded], 0);
        self.link(peer, .{
            .offset = @intCast(self.arena_used),
            .length = @intCast(total),
            .peer = peer,
            .keypair = pair,
            .counter = counter,
            .detour = way.detour,
            .whole = way.whole,
        });
        self.arena_used += total;
        _ = peer.tx_bytes.fetchAdd(total, .monotonic);
        _ = peer.tx_packets.fetchAdd(1, .monotonic);
        return text;
    }

    /// No longer than what passes, which the packet itself may be.
    fn paddedFor(self: *const Tx, peer: *const Peer, length: usize) usize {
        const interface = self.tables.mtu.load(.monotonic);
        const mtu = peer.mtuWithin(interface);
        return inner_packet.paddedLength(@intCast(length), if (length <= mtu) mtu else interface);
    }

    /// Appends a segment to its peer's chain.
    fn link(self: *Tx, peer: *Peer, segment: Segment) void {
        const at: u16 = @intCast(self.segments_count);
        self.segments[at] = segment;
        self.segments_count += 1;
        if (segment.detour != no_detour) {
            self.heads[self.heads_count] = at;
            self.heads_count += 1;
            return;
        }
        if (peer.batch == self.batch) {
            self.segments[peer.batch_last].next = at;
        } else {
            peer.batch = self.batch;
            self.heads[self.heads_count] = at;
            self.heads_count += 1;
        }
        peer.batch_last = at;
    }

    /// Seals runs of one keypair together; what travels in frames first.
    fn seal(self: *Tx) void {
        ways.sealInners(self);
        const segments = self.segments[0..self.segments_count];
        var bytes: u64 = 0;
        for (segments, self.jobs[0..segments.len]) |*segment, *job| {
            job.* = .{
                .bytes = self.arena[segment.offset..][0..segment.length],
                .counter = segment.counter,
            };
            segment.ecn = ecn.ofPacket(job.text());
            bytes += segment.length;
        }
        var start: usize = 0;
        while (start < segments.len) {
            const pair = segments[start].keypair;
            var end = start + 1;
            while (end < segments.len and segments[end].keypair == pair) end += 1;
            self.crypto_queue.add(.seal, pair.send_key, self.jobs[start..end]);
            start = end;
        }
        self.crypto_queue.flush();
        if (segments.len == 0) return;
        self.counters.add(.sealed_packets, segments.len);
        self.counters.add(.sealed_bytes, bytes);
    }

    /// Turns each peer's chain into as few messages as the kernel takes: equal lengths in a row,
    /// the last may be shorter.
    fn compose(self: *Tx) void {
        self.messages_count = 0;
        self.iovecs_count = 0;
        for (self.heads[0..self.heads_count]) |head| {
            const peer = self.segments[head].peer;
            const detour = self.segments[head].detour;
            const path = if (detour == no_detour) self.sources.pathOf(self, peer) else self.detours[detour];
            const segmented = self.udp.segments_max > 1 and peer.unsegmented_until_ns <= self.now_ns;
            const count_max: u16 = if (segmented) @intCast(self.udp.segments_max) else 1;
            const socket = self.connected.pick(&self.counters, peer, &path, self.now_ns);
            var at = head;
            while (at != none) {
                const origin = self.takeGroup(at, count_max);
                at = origin.next;
                const size = self.segments[origin.first].length;
                self.messages[self.messages_count] = .{
                    .remote = path.remote,
                    .local = path.local,
                    .iovecs = self.iovecs[origin.iovec..self.iovecs_count],
                    .segment_size = if (origin.count > 1) @intCast(size) else 0,
                    .tos = self.segments[origin.first].ecn,
                    .whole = self.segments[origin.first].whole,
                };
                self.origins[self.messages_count] = .{
                    .first = origin.first,
                    .count = origin.count,
                    .peer = peer.ref,
                    .socket = socket,
                };
                self.messages_count += 1;
            }
        }
    }

    const Group = struct { first: u16, count: u16, next: u16, iovec: usize };

    fn takeGroup(self: *Tx, first: u16, count_max: u16) Group {
        var group: Group = .{ .first = first, .count = 0, .next = first, .iovec = self.iovecs_count };
        const size = self.segments[first].length;
        const bits = self.segments[first].ecn;
        const whole = self.segments[first].whole;
        var total: usize = 0;
        while (group.next != none and group.count < count_max) {
            const segment = &self.segments[group.next];
            if (segment.length > size or segment.ecn != bits or segment.whole != whole) break;
            if (group.count > 0 and total + segment.length > constants.udp_payload_bytes_max) break;
            self.addIovec(segment, group.count > 0);
            total += segment.length;
            group.count += 1;
            group.next = segment.next;
            if (segment.length < size or whole) break;
        }
        return group;
    }

    /// Neighbours in the arena share an iovec.
    fn addIovec(self: *Tx, segment: *const Segment, joins: bool) void {
        const bytes = self.arena[segment.offset..][0..segment.length];
        if (joins) {
            const last = &self.iovecs[self.iovecs_count - 1];
            if (last.base + last.len == bytes.ptr) {
                last.len += bytes.len;
                return;
            }
        }
        self.iovecs[self.iovecs_count] = .{ .base = bytes.ptr, .len = bytes.len };
        self.iovecs_count += 1;
    }

    /// Sends the batch. A full socket is waited for: the TUN's queue pushes back on the senders.
    fn send(self: *Tx) void {
        const messages = self.messages[0..self.messages_count];
        var at: usize = 0;
        while (at < messages.len) {
            const run_end, const usual = self.connected.runOf(self.origins[0..messages.len], at);
            const udp = self.tables.side.of(&messages[at].remote, usual);
            if (messages[at].whole) {
                // One that is refused is a probe that is not answered.
                if (udp.sendWhole(messages[at])) self.countSent(at, 1);
                at += 1;
                continue;
            }
            var end = at + 1;
            while (end < run_end and !messages[end].whole and self.tables.side.of(&messages[end].remote, usual) == udp)
                end += 1;
            const result = self.outbound.sendBatch(udp, messages[at..end]);
            if (result.sent > 0) self.countSent(at, result.sent);
            at += result.sent;
            switch (result.errno) {
                .SUCCESS => assert(at == end),
                .AGAIN => while (!udp.waitWritable(100)) {
                    if (self.stopping.load(.acquire)) return;
                },
                // What is wrong is found out by the socket that serves everybody.
                else => |errno| if (udp.connected) self.connected.leave(self.origins[at].socket) else {
                    tx_resend.packetByPacket(self, at, errno);
                    at += 1;
                },
            }
        }
    }

    fn countSent(self: *Tx, from: usize, count: usize) void {
        var datagrams: u64 = 0;
        for (self.origins[from..][0..count]) |origin| datagrams += origin.count;
        self.counters.add(.udp_send_calls, 1);
        self.counters.add(.udp_send_datagrams, datagrams);
    }

    /// Sleeps until a packet, a wake, a change of the link or a timer.
    fn wait(self: *Tx) void {
        self.turns.lock();
        const due_ns = @max(self.timers_due_ns, 1);
        const tun_fd = if (self.tun != null and !self.link_gone) self.tun.?.fd else -1;
        self.asleep_until_ns.store(due_ns, .monotonic);
        self.turns.unlock();
        const monitor_fd = if (self.monitor) |monitor| monitor.fd else -1;
        var polled = [_]linux.pollfd{
            .{ .fd = tun_fd, .events = linux.POLL.IN, .revents = 0 },
            .{ .fd = self.lane.wake_transmit, .events = linux.POLL.IN, .revents = 0 },
            .{ .fd = monitor_fd, .events = linux.POLL.IN, .revents = 0 },
        };
        const wait_ns = due_ns -| tables_.nowNs();
        const timeout_ms: i32 = @intCast(@min(wait_ns / constants.ns_per_ms + 1, 60_000));
        sleep.poll(&polled, timeout_ms);
        self.asleep_until_ns.store(0, .monotonic);
        if (polled[1].revents == 0 and polled[2].revents == 0) return;
        self.turns.lock();
        defer self.turns.unlock();
        if (polled[1].revents != 0) {
            var count: [8]u8 = undefined;
            _ = linux.read(self.lane.wake_transmit, &count, count.len);
            // Whoever woke us may have brought a deadline nearer.
            self.timers_due_ns = 0;
        }
        if (polled[2].revents != 0) tx_monitor.read(self);
    }
};

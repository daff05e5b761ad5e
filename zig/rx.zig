//! The receive thread: UDP to TUN, whole batches. Functions stand in the order in which a packet
//! meets them: receive, sort (transport or gate), open, accept (window, session, path, source),
//! coalesce, write.
//!
//! A turn receives what waits (no lock), opens and judges it (the receive side held), and writes it
//! (no lock). Nothing is changed before a packet is authentic. Owns replay windows, learnt
//! endpoints and the promotion of keypairs; reads the other tables.
const std = @import("std");
const linux = std.os.linux;
const Allocator = std.mem.Allocator;
const abi = @import("abi.zig");
const coalesce = @import("coalesce.zig");
const connected_socket = @import("connected_socket.zig");
const constants = @import("constants.zig");
const control_message = @import("control_message.zig");
const CryptoQueue = @import("crypto_queue.zig").CryptoQueue;
const cookie = @import("cookie.zig");
const ecn = @import("ecn.zig");
const inner_packet = @import("inner_packet.zig");
const peer_ = @import("peer.zig");
const Mac1 = @import("mac1.zig").Mac1;
const relay = @import("relay.zig");
const rx_aside = @import("rx_aside.zig");
const sleep = @import("sleep.zig");
const tables_ = @import("tables.zig");
const transport = @import("transport.zig");
const udp_linux = @import("udp_linux.zig");
const uring_use = @import("uring_use.zig");
const Counters = @import("metrics.zig").Counters;
const Handover = @import("handover.zig").Handover;
const lane_ = @import("lane.zig");
const Lane = lane_.Lane;
const Path = peer_.Path;
const Peer = peer_.Peer;
const Session = tables_.Session;
const Tables = tables_.Tables;
const Tun = @import("tun_linux.zig").Tun;
const Tx = @import("tx.zig").Tx;
const Udp = udp_linux.Udp;

const segments_max = constants.receive_batch_segments;
const paths_max = constants.receive_batch_messages_max + constants.handover_packets;
const replies_max = constants.cookie_replies_per_turn;
/// Handshakes and introductions are judged in one thread, for the gate has one writer; it also receives
/// what comes by side sockets.
const gate_lane: u8 = 0;

const Reply = struct { path: Path, bytes: cookie.Reply };
/// A datagram out of a relayed frame, and the way it came.
const Relayed = struct { datagram: []u8, path: Path, ecn: u2 };

pub const Rx = struct {
    tables: *Tables,
    /// The lane that this is the receive thread of, and its number.
    lane: *Lane,
    lane_number: u8,
    tun: ?*const Tun = null,
    udp: *const Udp = undefined,
    stopping: *const std.atomic.Value(bool) = undefined,
    /// The lane's other thread.
    transmit: ?*Tx = null,
    counters: Counters = .{},
    batch: *udp_linux.ReceiveBatch,
    inbound: uring_use.Inbound = .{},
    aside: rx_aside.Aside = .{},
    connected: ?*connected_socket.Sockets = null,
    /// What each socket had lost when it was last asked; the lane's own is the last.
    overflow_seen: [connected_socket.sockets_max + 1]u32 = @splat(0),
    /// By which socket this batch came.
    socket: u32 = 0,

    /// Transport messages of this turn, whose they are, and whence they came.
    jobs: [segments_max]transport.Message = undefined,
    sessions: [segments_max]Session = undefined,
    paths: [segments_max]*const Path = undefined,
    ecns: [segments_max]u2 = undefined,
    jobs_count: usize = 0,
    /// So many of them, the first, came in at another lane.
    jobs_handed: usize = 0,
    crypto_queue: CryptoQueue = .{},
    /// One for each received message of the batch, then one for each that was handed over.
    message_paths: [paths_max]Path = undefined,
    message_ecns: [paths_max]u2 = undefined,
    /// Of each message of the batch, where it is one datagram, what the gate says of its MAC; and of the
    /// datagram that is sorted now.
    mac1s: [constants.receive_batch_messages_max]Mac1 = undefined,
    mac1: Mac1 = .unknown,
    /// The message, and the offset in it, that is sorted next.
    message_at: usize = 0,
    offset_at: usize = 0,
    /// What other lanes received for peers of this one, and how far it is sorted.
    handed: ?*Handover.Load = null,
    handed_at: usize = 0,
    handed_offset: usize = 0,

    /// Datagrams for this node that frames of this turn brought: judged once the frames are open.
    relayed: [segments_max]Relayed = undefined,
    relayed_count: usize = 0,
    /// They are being judged: a frame in a frame is refused.
    in_relayed: bool = false,
    /// Frames wait for the transmit thread.
    forwarded: bool = false,

    /// Cookie replies of this turn, and how they are sent: on the stack `undefined` would be 45 KB to be
    /// written, each turn.
    replies: [replies_max]Reply = undefined,
    replies_count: usize = 0,
    reply_iovecs: [replies_max]std.posix.iovec_const = undefined,
    reply_messages: [replies_max]udp_linux.SendMessage = undefined,

    coalescer: coalesce.Coalescer = undefined,
    gathered: coalesce.Gathered = undefined,
    now_ns: u64 = 0,
    /// Since the thread last gave way to those who read them.
    datagrams_written: usize = 0,

    pub fn create(allocator: Allocator, tables: *Tables, lane_number: u8) Allocator.Error!*Rx {
        const self = try allocator.create(Rx);
        errdefer allocator.destroy(self);
        const batch = try allocator.create(udp_linux.ReceiveBatch);
        errdefer allocator.destroy(batch);
        try batch.init(allocator);
        self.* = .{
            .tables = tables,
            .lane = &tables.lanes[lane_number],
            .lane_number = lane_number,
            .batch = batch,
        };
        self.coalescer.init(.{});
        return self;
    }

    pub fn destroy(self: *Rx, allocator: Allocator) void {
        std.crypto.secureZero(u8, self.batch.buffers);
        self.batch.deinit(allocator);
        allocator.destroy(self.batch);
        allocator.destroy(self);
    }

    pub fn run(self: *Rx) void {
        self.inbound.start(self.tables.allocator, self.lane.wake_receive, &self.counters);
        defer self.inbound.stop();
        while (!self.stopping.load(.acquire)) {
            if (!self.turn()) self.wait();
            self.yieldToReceivers();
        }
    }

    /// One turn; false where nothing was received.
    pub fn turn(self: *Rx) bool {
        var any = self.receiveFrom(null, 0);
        if (self.lane_number != gate_lane) return any;
        rx_aside.receive(self);
        var numbers: [8]u32 = undefined;
        for (self.tables.side.ready(&numbers)) |number| {
            if (self.receiveFrom(self.tables.side.at(number), number)) any = true;
        }
        self.tables.side.sweep(self.tables.lanes);
        return any;
    }

    /// `socket`: the number of a side socket, 0 for the lane's own.
    fn receiveFrom(self: *Rx, side: ?*const Udp, socket: u32) bool {
        const wanted = self.batch.wanted;
        const received = if (side) |udp|
            udp.receiveBatch(self.batch) catch 0
        else
            self.receiveBatch() catch 0;
        self.socket = socket;
        // Whatever was lost, the socket is full of datagrams now.
        if (socket == 0 and received == wanted) self.countLost();
        if (socket == 0) self.takeHandover();
        if (received == 0 and self.handed == null) return false;
        self.takeBatch(received);
        return true;
    }

    /// All that was received, and what other lanes handed over.
    pub fn takeBatch(self: *Rx, received: usize) void {
        if (received > 0) self.counters.add(.udp_receive_calls, 1);
        self.message_at = 0;
        self.offset_at = 0;
        while (self.message_at < received or self.handed != null) {
            self.tables.lock.enter(.receive, self.lane_number);
            self.work(received, tables_.nowNs());
            self.tables.lock.leave(.receive, self.lane_number);
            if (self.forwarded) lane_.wake(self.lane.wake_transmit);
            self.forwarded = false;
            self.writeTun();
            if (self.coalescer.count() > 0) if (self.transmit) |tx| tx.assist();
            self.sendReplies();
        }
    }

    fn receiveBatch(self: *Rx) udp_linux.ReceiveError!usize {
        if (self.connected) |sockets| if (sockets.enabled) return sockets.receiveBatch(self.batch);
        return self.inbound.receiveBatch(self.udp, self.batch, &self.counters);
    }

    /// Sorts, opens and judges what was received, until all of it is done or the room for jobs is
    /// taken. What comes of it waits in the coalescer and among the replies. The side is held.
    pub fn work(self: *Rx, received: usize, now_ns: u64) void {
        self.coalescer.reset();
        self.now_ns = now_ns;
        self.jobs_count = 0;
        self.replies_count = 0;
        self.relayed_count = 0;
        self.sortHandedOver();
        self.jobs_handed = self.jobs_count;
        self.sortMessages(received);
        self.open();
        self.acceptAll();
        if (self.relayed_count > 0) self.takeRelayed();
    }

    fn takeHandover(self: *Rx) void {
        const handover = if (self.lane.to_receive) |*handover| handover else return;
        self.handed = handover.take();
        self.handed_at = 0;
        self.handed_offset = 0;
    }

    /// Sorts what was handed over until it or the room for jobs ends.
    fn sortHandedOver(self: *Rx) void {
        const load = self.handed orelse return;
        while (self.handed_at < load.count) : (self.handed_at += 1) {
            if (self.jobs_count == segments_max) return;
            const path: u8 = @intCast(constants.receive_batch_messages_max + self.handed_at);
            self.message_paths[path] = load.paths[self.handed_at];
            self.message_ecns[path] = load.ecns[self.handed_at];
            const length = load.lengths[self.handed_at];
            const bytes = load.bytes[self.handed_offset..][0..length];
            self.sortDatagram(bytes, &self.message_paths[path], self.message_ecns[path]);
            self.handed_offset += length;
        }
        self.handed = null;
    }

    /// Sorts datagrams until the batch or the room for jobs ends.
    fn sortMessages(self: *Rx, received: usize) void {
        if (self.message_at == 0 and self.offset_at == 0) rx_aside.judgeTogether(self, received);
        defer self.mac1 = .unknown;
        while (self.message_at < received) : ({
            self.message_at += 1;
            self.offset_at = 0;
        }) {
            const message = self.batch.message(self.message_at);
            const control = control_message.parse(message.control);
            if (self.offset_at == 0) self.counters.add(.udp_receive_bytes, message.payload.len);
            // Without its control messages nobody knows where one datagram ends.
            if (message.truncated or message.control_truncated) {
                self.counters.add(.control_truncated, 1);
                continue;
            }
            self.message_paths[self.message_at] = pathOf(&message, &control);
            self.message_ecns[self.message_at] = @truncate(control.traffic_class orelse 0);
            if (self.socket != 0 and message.remote.family == 4)
                self.message_paths[self.message_at].remote.scope = self.socket;
            const size = control.segment_size orelse message.payload.len;
            if (message.payload.len == 0) {
                self.counters.add(.malformed, 1);
                continue;
            }
            while (self.offset_at < message.payload.len) {
                if (self.jobs_count == segments_max) return;
                const rest = message.payload[self.offset_at..];
                self.counters.add(.udp_receive_datagrams, 1);
                const path = &self.message_paths[self.message_at];
                self.mac1 = if (size < message.payload.len) .unknown else self.mac1s[self.message_at];
                self.sortDatagram(rest[0..@min(size, rest.len)], path, self.message_ecns[self.message_at]);
                self.offset_at += size;
            }
        }
    }

    fn countLost(self: *Rx) void {
        const sockets = self.connected orelse return;
        const udp = sockets.lastSource() orelse self.udp;
        self.countLostOf(udp.lost(), &self.overflow_seen[sockets.source]);
    }

    /// A socket that took the place of another counts from the start.
    pub fn countLostOf(self: *Rx, lost: u32, seen: *u32) void {
        if (lost < seen.*) seen.* = 0;
        self.counters.add(.udp_receive_overflow, lost - seen.*);
        seen.* = lost;
    }

    fn pathOf(
        message: *const udp_linux.ReceivedMessage,
        control: *const control_message.Control,
    ) Path {
        return .{ .remote = message.remote, .local = control.local orelse .{} };
    }

    /// A transport message becomes a job; anything else is judged by the gate.
    fn sortDatagram(self: *Rx, datagram: []u8, path: *const Path, ecn_bits: u2) void {
        if (datagram.len < 4) return self.counters.add(.malformed, 1);
        const kind = std.mem.readInt(u32, datagram[0..4], .little);
        if (kind != constants.message_transport) {
            if (self.lane_number != gate_lane) return self.handOver(gate_lane, datagram, path, ecn_bits);
            return self.judge(datagram, path);
        }
        if (datagram.len < constants.transport_bytes_min) return self.counters.add(.malformed, 1);
        const owner = self.tables.laneOfIndex(transport.receiverIndex(datagram));
        if (owner != self.lane_number) return self.handOver(owner, datagram, path, ecn_bits);
        const session = self.tables.sessions.lookup(transport.receiverIndex(datagram)) orelse
            return self.counters.add(.unknown_index, 1);
        const counter = transport.counterOf(datagram);
        if (counter >= constants.reject_after_messages)
            return self.counters.add(.counter_limit, 1);
        if (!cameFor(session.peer, path)) return self.counters.add(.relayed_refused, 1);
        if (session.keypair.isExpired(self.now_ns)) return self.counters.add(.keypair_expired, 1);
        self.jobs[self.jobs_count] = .{ .bytes = datagram, .counter = counter };
        self.sessions[self.jobs_count] = session;
        self.paths[self.jobs_count] = path;
        self.ecns[self.jobs_count] = ecn_bits;
        self.jobs_count += 1;
    }

    /// To the lane that owns the session, or to the gate's: the kernel steers by its own lights
    /// where it knows no better (udp_linux.steer).
    fn handOver(self: *Rx, owner: u8, datagram: []const u8, path: *const Path, ecn_bits: u2) void {
        const lane = &self.tables.lanes[owner];
        switch (lane.to_receive.?.push(path.*, ecn_bits, datagram)) {
            .full => return self.counters.add(.handover_full, 1),
            .first => lane_.wake(lane.wake_receive),
            .added => {},
        }
        self.counters.add(.handed_over, 1);
    }

    /// A relay says whose the datagram is that it brings: no session of anybody else may move.
    fn cameFor(peer: *const Peer, path: *const Path) bool {
        return path.remote.family != constants.family_relay or peer.member == relay.farOf(&path.remote);
    }

    fn judge(self: *Rx, datagram: []const u8, path: *const Path) void {
        const queued = self.tables.inbox.count();
        switch (self.tables.gate.admitKnown(datagram, self.mac1, &path.remote, self.now_ns, queued)) {
            .refuse => |counter| {
                const awaited = counter == .unknown_type and path.remote.family != constants.family_relay and
                    self.tables.stun.take(datagram, self.now_ns);
                if (!awaited) return self.counters.add(counter, 1);
                self.counters.add(.stun_received, 1);
                self.toControl(.stun, .{}, path, datagram);
            },
            .answer => |answer| {
                self.counters.add(answer.why, 1);
                self.reply(path, answer.reply);
            },
            .pass => |kind| {
                self.counters.add(switch (kind) {
                    .introduction => .introductions_received,
                    else => .handshakes_received,
                }, 1);
                self.toControl(kind, .{}, path, datagram);
            },
        }
    }

    fn reply(self: *Rx, path: *const Path, bytes: cookie.Reply) void {
        // Who comes by a relay asks again by another way, or when the load is over.
        const unanswerable = path.remote.family == constants.family_relay;
        if (unanswerable or self.replies_count == replies_max) return self.counters.add(.cookie_replies_dropped, 1);
        self.replies[self.replies_count] = .{ .path = path.*, .bytes = bytes };
        self.replies_count += 1;
    }

    fn toControl(
        self: *Rx,
        kind: abi.DatagramKind,
        ref: abi.PeerRef,
        path: *const Path,
        bytes: []const u8,
    ) void {
        const taken = self.tables.toControl(.{
            .kind = kind,
            .peer = ref,
            .at_ns = self.now_ns,
            .remote = path.remote,
            .local = path.local,
        }, bytes);
        if (!taken) self.counters.add(.control_ring_full, 1);
        self.tables.doorbell.ring();
    }

    /// Opens runs of one keypair together.
    fn open(self: *Rx) void {
        var start: usize = 0;
        while (start < self.jobs_count) {
            const pair = self.sessions[start].keypair;
            var end = start + 1;
            while (end < self.jobs_count and self.sessions[end].keypair == pair) end += 1;
            self.crypto_queue.add(.open, pair.receive_key, self.jobs[start..end]);
            start = end;
        }
        self.crypto_queue.flush();
    }

    fn acceptAll(self: *Rx) void {
        for (self.jobs[0..self.jobs_count], 0..) |*job, at| {
            if (!job.authentic) {
                self.counters.add(.not_authentic, 1);
                continue;
            }
            const session = self.sessions[at];
            if (!session.keypair.window.commit(job.counter)) {
                self.counters.add(.replayed, 1);
                continue;
            }
            // Where the kernel knows the source, it gives data to the lane that it is for.
            if (at < self.jobs_handed or self.aside.reading == .strangers)
                self.tables.sources.learn(&self.paths[at].remote, self.now_ns);
            self.accept(session, job, self.paths[at], self.ecns[at]);
        }
    }

    /// What frames brought goes the same way as what the socket brought.
    fn takeRelayed(self: *Rx) void {
        self.jobs_count = 0;
        self.jobs_handed = 0;
        self.in_relayed = true;
        for (self.relayed[0..self.relayed_count]) |*relayed| {
            self.counters.add(.relayed_received, 1);
            self.sortDatagram(relayed.datagram, &relayed.path, relayed.ecn);
        }
        self.open();
        self.acceptAll();
        self.in_relayed = false;
    }

    /// A frame is for this node, or to be passed on, or refused.
    fn acceptFrame(self: *Rx, peer: *const Peer, text: []u8, ecn_bits: u2) void {
        const own = &self.tables.relay;
        const frame = relay.parse(text) orelse return self.counters.add(.relayed_refused, 1);
        // Of several lanes each owns the nonces of its peers alone, and no frame goes from one to another.
        if (self.tables.lanes.len > 1) return self.counters.add(.relayed_refused, 1);
        if (self.in_relayed or own.own == 0 or peer.member == 0 or frame.source == own.own)
            return self.counters.add(.relayed_refused, 1);
        if (frame.destination == own.own) {
            self.relayed[self.relayed_count] = .{
                .datagram = frame.datagram,
                .path = .{ .remote = relay.endpoint(peer.ref, frame.source) },
                .ecn = ecn_bits,
            };
            self.relayed_count += 1;
            return;
        }
        const slot = own.members.get(frame.destination);
        if (frame.hops == 0 or slot == null or slot == peer.ref.slot)
            return self.counters.add(.relayed_refused, 1);
        const to = self.tables.peers[slot.?].?.ref;
        const rate = own.bytes_per_second;
        switch (own.buckets.take(peer.ref.slot, to.slot, text.len, rate, self.now_ns)) {
            .pass => {},
            .over_quota, .full => return self.counters.add(.relayed_over_quota, 1),
        }
        text[1] = frame.hops - 1;
        if (!own.forwards.push(.{ .kind = .session_message, .peer = to }, text))
            return self.counters.add(.relayed_ring_full, 1);
        self.forwarded = true;
    }

    /// The packet is authentic and new: from here on it may change state.
    fn accept(self: *Rx, session: Session, job: *const transport.Message, path: *const Path, ecn_bits: u2) void {
        const peer = session.peer;
        const text = job.text();
        self.counters.add(.opened_packets, 1);
        self.counters.add(.opened_bytes, job.bytes.len);
        _ = peer.rx_bytes.fetchAdd(job.bytes.len, .monotonic);
        _ = peer.rx_packets.fetchAdd(1, .monotonic);
        // Before the keypair can be sent with: an initiation alone moves nobody, for it may be an old
        // one that was replayed; whoever confirms has answered what we made now.
        self.learnPath(peer, path);
        if (peer.keypairs.confirm(session.keypair)) {
            self.tables.attend(peer);
            // Whoever hears of a session knows where the peer is.
            if (peer.roam_untold.swap(false, .monotonic)) self.tables.tellRoamed(&self.counters, peer, self.now_ns);
            self.tables.tellConfirmed(&self.counters, peer, session.keypair.local_index, self.now_ns);
        }
        peer.received(self.now_ns, text.len > 0);
        if (session.keypair.wantsRenewalOnReceive(self.now_ns)) {
            session.keypair.last_minute_renewed = true;
            self.tables.want(&self.counters, peer, .keypair_age, self.now_ns);
        }
        if (text.len == 0) return self.counters.add(.keepalives_received, 1);
        if (text[0] >> 4 == 0) return self.acceptSessionMessage(peer, text, path, ecn_bits);
        self.acceptInner(peer, text, ecn_bits);
    }

    /// The peer is where its newest authentic packet came from (paper, section 2.1).
    fn learnPath(self: *Rx, peer: *Peer, path: *const Path) void {
        const known = peer.path.load();
        if (peer.member != 0 and !self.mayMove(peer, &known, path)) return;
        if (known.equal(path)) return;
        peer.path.store(path.*);
        if (std.meta.eql(known.remote, path.remote)) return;
        // Where each packet comes from elsewhere, the first places are told, then some, and soon the last one.
        if (peer.roam_told_until_ns.load(.monotonic) -| self.now_ns > constants.roams_at_once_ns) {
            if (!peer.roam_untold.swap(true, .monotonic)) lane_.wake(self.lane.wake_transmit);
            return;
        }
        self.tables.tellRoamed(&self.counters, peer, self.now_ns);
    }

    /// A member's path moves when the control plane has seen another one work, and only then: what comes
    /// from elsewhere may be a copy that somebody on the wire sent ahead of the original.
    fn mayMove(self: *Rx, peer: *Peer, known: *const Path, path: *const Path) bool {
        if (std.meta.eql(known.remote, path.remote)) return true;
        // Its first session is where it confirms from, by whichever way.
        if (peer.keypairs.current.load(.acquire) == null) return true;
        const same = std.meta.eql(peer.other_remote, path.remote);
        const interval_ns = if (same) constants.path_heard_interval_ns else constants.paths_heard_interval_ns;
        if (self.now_ns -| peer.other_told_ns < interval_ns) return false;
        peer.other_remote = path.remote;
        peer.other_told_ns = self.now_ns;
        self.tables.post(&self.counters, .{
            .kind = .path_heard,
            .peer = peer.ref,
            .at_ns = self.now_ns,
            .remote = path.remote,
            .local = path.local,
        });
        return false;
    }

    /// Control messages of members: their header gives the length, since WireGuard pads.
    fn acceptSessionMessage(self: *Rx, peer: *Peer, text: []u8, path: *const Path, ecn_bits: u2) void {
        if (text.len < constants.control_header_bytes) return self.counters.add(.inner_malformed, 1);
        const length = std.mem.readInt(u16, text[2..4], .little);
        if (text[0] == constants.control_relayed and length <= text.len and length >= relay.header_bytes)
            return self.acceptFrame(peer, text[0..length], ecn_bits);
        const valid = length >= constants.control_header_bytes and length <= text.len and
            length <= constants.control_message_bytes_max and text[0] != 0;
        if (!valid) return self.counters.add(.inner_malformed, 1);
        self.counters.add(.session_messages_received, 1);
        self.toControl(.session_message, peer.ref, path, text[0..length]);
    }

    fn acceptInner(self: *Rx, peer: *const Peer, text: []u8, outer_ecn: u2) void {
        const inner = inner_packet.parse(text) orelse return self.counters.add(.inner_malformed, 1);
        if (self.tables.sourceOwner(&inner) != peer)
            return self.counters.add(.inner_source_refused, 1);
        if (!self.tables.destinations.admits(&inner))
            return self.counters.add(.inner_destination_refused, 1);
        if (!self.tables.policy.admits(self.lane_number, peer.ref, &inner, text[0..inner.total_length], self.now_ns))
            return self.counters.add(.policy_refused, 1);
        const bits = ecn.decapsulate(inner.ecn, outer_ecn) orelse
            return self.counters.add(.ecn_refused, 1);
        if (bits != inner.ecn) ecn.mark(text, bits);
        const added = self.coalescer.add(text[0..inner.total_length]);
        // The coalescer has room for every job of a turn.
        std.debug.assert(added);
    }

    fn writeTun(self: *Rx) void {
        const tun = self.tun orelse return;
        if (self.inbound.writeTun(tun, &self.coalescer, &self.counters)) return;
        for (0..self.coalescer.count()) |index| {
            const write = self.coalescer.gather(@intCast(index), &self.gathered);
            _ = tun.writev(write.iovecs) catch {
                self.counters.add(.tun_write_failed, write.packets);
                continue;
            };
            self.datagrams_written += write.datagrams;
            self.counters.add(.tun_write_calls, 1);
            self.counters.add(.tun_write_packets, write.packets);
            self.counters.add(.tun_write_bytes, write.bytes);
        }
    }

    /// A program's socket holds some 200 small datagrams by default, and where the processors are
    /// all busy it gets one only when its turn comes: what is written meanwhile is lost.
    fn yieldToReceivers(self: *Rx) void {
        if (self.datagrams_written < constants.datagrams_before_yield) return;
        self.datagrams_written = 0;
        _ = linux.syscall0(.sched_yield);
    }

    /// Sends the turn's cookie replies. None of them is worth a wait or a second try.
    fn sendReplies(self: *Rx) void {
        const replies = self.replies[0..self.replies_count];
        const messages = self.reply_messages[0..replies.len];
        for (replies, messages, self.reply_iovecs[0..replies.len]) |*to, *message, *iovec| {
            iovec.* = .{ .base = &to.bytes, .len = to.bytes.len };
            message.* = .{ .remote = to.path.remote, .local = to.path.local, .iovecs = iovec[0..1] };
        }
        var done: usize = 0;
        while (done < messages.len) {
            const result = (self.aside.handshakes orelse self.udp).sendBatch(messages[done..]);
            done += result.sent;
            self.counters.add(.cookie_replies_sent, result.sent);
            if (result.errno == .SUCCESS) return;
            // A full socket refuses them all, an address that cannot be reached its own.
            const dropped = if (result.errno == .AGAIN) messages.len - done else 1;
            self.counters.add(.cookie_replies_dropped, dropped);
            done += dropped;
        }
    }

    fn wait(self: *Rx) void {
        const side = if (self.lane_number == gate_lane) self.tables.side.epoll.load(.acquire) else -1;
        // A ring waits for its own socket alone.
        if (side < 0 and self.inbound.wait(self.udp, &self.counters)) return;
        var polled: [5 + connected_socket.sockets_max]linux.pollfd = undefined;
        polled[0] = .{ .fd = self.udp.fd, .events = linux.POLL.IN, .revents = 0 };
        polled[1] = .{ .fd = self.lane.wake_receive, .events = linux.POLL.IN, .revents = 0 };
        polled[2] = .{ .fd = side, .events = linux.POLL.IN, .revents = 0 };
        self.aside.watch(polled[3..5]);
        const others = if (self.connected) |sockets| sockets.pollAll(polled[5..]) else 0;
        sleep.poll(polled[0 .. 5 + others], self.aside.sleepMs());
        self.aside.awoke(polled[3..5], polled[1].revents != 0);
        if (polled[1].revents != 0) {
            var count: [8]u8 = undefined;
            _ = linux.read(self.lane.wake_receive, &count, count.len);
        }
    }
};

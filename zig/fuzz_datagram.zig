//! What a stranger, or a peer, puts into a datagram: the demultiplexer, and transport messages under
//! a key that the peer has. The receive path runs whole but for its two devices; the data plane
//! around it is one, and made new for each input.
//!
//! Every datagram must end in exactly one counter; what is not authentic and new may change nothing.
const std = @import("std");
const linux = std.os.linux;
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const fuzz_gate = @import("fuzz_gate.zig");
const fuzz_packet = @import("fuzz_packet.zig");
const input_ = @import("fuzz_input.zig");
const replay = @import("replay.zig");
const rx_ = @import("rx.zig");
const secrets = @import("secrets.zig");
const tables_ = @import("tables.zig");
const transport = @import("transport.zig");
const Keypair = @import("keypair.zig").Keypair;
const Peer = @import("peer.zig").Peer;
const Reader = input_.Reader;
const Rx = rx_.Rx;
const Target = @import("fuzz.zig").Target;
const Writer = input_.Writer;

pub const targets = [_]Target{
    .{ .name = "demultiplexer", .bytes_max = 8192, .generate = generateDatagrams, .one = demultiplexer },
    .{ .name = "open", .bytes_max = 1024, .generate = input_.generateProgram, .one = open },
    .{ .name = "inner", .bytes_max = 8192, .generate = generateInner, .one = inner },
};

const ns_per_s = constants.ns_per_s;

/// Where each datagram ends: a new counter for another end belongs here.
pub const fates = [_]abi.Counter{
    .malformed,              .unknown_type,       .unknown_index,
    .mac1_invalid,           .not_authentic,      .handshakes_refused_no_key,
    .handshakes_received,    .mac2_invalid,       .introduction_mac_invalid,
    .introductions_received, .keypair_expired,    .introduction_cookie_invalid,
    .replayed,               .counter_limit,      .cookie_reply_ring_full,
    .opened_packets,         .handshakes_limited, .introductions_limited,
    .rate_limiter_full,
};

/// A data plane without devices. One peer has a keypair that both ends use and one that the peer
/// has not used yet; another peer owns a prefix inside the first one's. Neither is a member, until
/// fuzz_relay.zig makes them so.
pub const Scene = struct {
    tables: tables_.Tables,
    rx: *Rx,
    peer: *Peer,
    pairs: [2]*Keypair,
    other: *Peer,
    other_pair: *Keypair,
    now_ns: u64 = 1_000 * ns_per_s,
    gathered: @import("coalesce.zig").Gathered = undefined,

    pub const peer_ref: abi.PeerRef = .{ .slot = 1, .generation = 1 };
    pub const other_ref: abi.PeerRef = .{ .slot = 2, .generation = 1 };
    /// The last is the other's.
    const keys = [3][32]u8{ @splat(0x11), @splat(0x22), @splat(0x33) };
    const indices = [3]u32{ 0x5a5a_0001, 0x42a4_1221, 0x5a5a_0003 };

    var instance: Scene = undefined;
    var made = false;

    /// As it is before every input. Time has passed, so that no source is remembered.
    pub fn fresh() !*Scene {
        const self = &instance;
        if (!made) try self.init();
        made = true;
        self.now_ns += 2 * ns_per_s;
        for (self.pairs ++ [1]*Keypair{self.other_pair}) |pair| {
            pair.window = .{};
            pair.created_ns = self.now_ns;
            pair.last_minute_renewed = false;
        }
        self.peer.keypairs = .{ .current = .init(self.pairs[0]), .next = self.pairs[1] };
        self.other.keypairs = .{ .current = .init(self.other_pair) };
        for ([_]*Peer{ self.peer, self.other }) |peer| {
            peer.member = 0;
            peer.other_remote = .{};
            peer.other_told_ns = 0;
            peer.path.store(.{});
        }
        self.tables.relay.own = 0;
        self.tables.gate.load = .{};
        self.tables.gate.sources = .{};
        self.tables.events.head = 0;
        self.tables.events.count = 0;
        self.tables.inbox.head.raw = 0;
        self.tables.inbox.tail.raw = 0;
        self.rx.counters = .{};
        self.rx.overflow_seen = @splat(0);
        self.rx.batch.count = 0;
        while (self.tables.lanes[0].attention.pop()) |_| {}
        return self;
    }

    fn init(self: *Scene) !void {
        const allocator = std.heap.page_allocator;
        self.* = .{ .tables = undefined, .rx = undefined, .peer = undefined, .pairs = undefined, .other = undefined, .other_pair = undefined };
        const tables = &self.tables;
        try tables.init(allocator, constants.mtu_default, 1);
        tables.gate.setLocalKey(&fuzz_gate.public_key);
        tables.gate.setIntroductionKey(&fuzz_gate.identity);
        self.rx = try .create(allocator, tables, 0);
        try tables.addPeer(peer_ref, &@splat(1));
        try tables.addPeer(other_ref, &@splat(2));
        self.peer = try tables.peerAt(peer_ref);
        self.other = try tables.peerAt(other_ref);
        const prefixes = [_]struct { @import("allowed_ips.zig").Prefix, u32 }{
            .{ .{ .addr = .{ 10, 1 } ++ @as([14]u8, @splat(0)), .bits = 16, .family = .v4 }, peer_ref.slot },
            .{ .{ .addr = .{ 10, 1, 9 } ++ @as([13]u8, @splat(0)), .bits = 24, .family = .v4 }, other_ref.slot },
            .{ .{ .addr = .{0xfd} ++ @as([15]u8, @splat(0)), .bits = 8, .family = .v6 }, peer_ref.slot },
        };
        for (prefixes) |row| try tables.allowed_ips.insert(allocator, row[0], row[1]);
        const holders = [_]struct { *Peer, **Keypair }{
            .{ self.peer, &self.pairs[0] }, .{ self.peer, &self.pairs[1] }, .{ self.other, &self.other_pair },
        };
        for (keys, indices, holders, 0..) |key, index, holder, number| {
            try tables.installKeypair(holder[0], &.{
                .kind = .keypair_install,
                .peer = holder[0].ref,
                .flags = if (number == 0) abi.keypair_flag_initiator else 0,
                .secret_send = try secrets.import(&key),
                .secret_receive = try secrets.import(&key),
                .local_index = index,
            }, self.now_ns);
            holder[1].* = tables.sessions.lookup(index).?.keypair;
        }
    }

    /// Room for the payload of the next message of the batch.
    pub fn room(self: *Scene) *[64 * 1024]u8 {
        return self.rx.batch.buffers[self.rx.batch.count * 64 * 1024 ..][0 .. 64 * 1024];
    }

    const Message = struct { length: usize, source: u16 = 1, segment: ?u16 = null, flags: u32 = 0 };

    /// As the kernel would have left it.
    pub fn add(self: *Scene, message: Message) void {
        const batch = self.rx.batch;
        const at = batch.count;
        batch.addresses[at] = .{ .in = .{
            .port = std.mem.nativeToBig(u16, message.source | 1),
            .addr = @bitCast([4]u8{ 192, 0, 2, @truncate(message.source) }),
        } };
        batch.headers[at].hdr.name = @ptrCast(&batch.addresses[at]);
        batch.headers[at].hdr.control = &batch.controls[at];
        batch.iovecs[at].base = batch.buffers[at * 64 * 1024 ..].ptr;
        batch.headers[at].hdr.namelen = @sizeOf(linux.sockaddr.in);
        batch.headers[at].hdr.flags = message.flags;
        batch.headers[at].len = @intCast(message.length);
        batch.headers[at].hdr.controllen = 0;
        if (message.segment) |size| {
            const control = &batch.controls[at];
            std.mem.writeInt(u64, control[0..8], 20, .little);
            std.mem.writeInt(i32, control[8..12], @import("control_message.zig").level_udp, .little);
            std.mem.writeInt(i32, control[12..16], @import("control_message.zig").type_udp_gro, .little);
            std.mem.writeInt(i32, control[16..20], size, .little);
            batch.headers[at].hdr.controllen = 24;
        }
        batch.count += 1;
    }

    pub fn isFull(self: *const Scene) bool {
        return self.rx.batch.count == constants.receive_batch_messages;
    }

    /// A turn of the receive thread, as far as it goes without devices; whatever its room for jobs,
    /// it must come to the end. `each` sees what would be written to the TUN.
    pub fn turn(self: *Scene, context: anytype, comptime each: fn (@TypeOf(context), *Scene) anyerror!void) !void {
        const rx = self.rx;
        const received = rx.batch.count;
        rx.message_at = 0;
        rx.offset_at = 0;
        var turns: usize = 0;
        while (rx.message_at < received) : (turns += 1) {
            if (turns > 8 * 64 * 1024) return error.Stuck;
            rx.work(received, self.now_ns);
            try each(context, self);
        }
        rx.batch.count = 0;
    }

    fn ignore(_: void, _: *Scene) anyerror!void {}

    pub fn count(self: *const Scene, which: abi.Counter) u64 {
        return self.rx.counters.get(which);
    }

    /// Every datagram has one fate, and every packet that was opened one, too.
    fn expectFates(self: *const Scene, empty_messages: u64, coalesced: u64) !u64 {
        var total: u64 = 0;
        var outcome: u64 = 0;
        for (fates) |fate| {
            total += self.count(fate);
            outcome = outcome << 1 | @intFromBool(self.count(fate) != 0);
        }
        if (total != self.count(.udp_receive_datagrams) + empty_messages) return error.DatagramWithoutOneFate;
        const ends = [_]abi.Counter{ .keepalives_received, .inner_malformed, .inner_source_refused, .session_messages_received, .relayed_refused, .policy_refused, .ecn_refused, .inner_destination_refused };
        var opened = coalesced;
        for (ends) |end| {
            opened += self.count(end);
            outcome = outcome << 1 | @intFromBool(self.count(end) != 0);
        }
        if (opened != self.count(.opened_packets)) return error.PacketWithoutOneFate;
        return outcome;
    }
};

/// Messages of any bytes: how many, and for each its flags, segment size, length and bytes.
fn demultiplexer(input: []const u8) !u64 {
    const scene = try Scene.fresh();
    var reader: Reader = .init(input);
    const mode = reader.int(u8);
    // A control plane that is behind.
    if (mode & 1 != 0) scene.tables.inbox.tail.raw = 900;
    var empty: u64 = 0;
    var bytes: u64 = 0;
    while (!reader.isDone() and !scene.isFull()) {
        const flags = reader.int(u8);
        const segment = reader.int(u16);
        const payload = reader.take(reader.int(u16));
        @memcpy(scene.room()[0..payload.len], payload);
        var kernel_flags: u32 = 0;
        if (flags & 0x1f == 1) kernel_flags |= linux.MSG.TRUNC;
        if (flags & 0x1f == 2) kernel_flags |= linux.MSG.CTRUNC;
        scene.add(.{
            .length = payload.len,
            .source = flags >> 6,
            .segment = if (flags & 0x20 != 0 and segment != 0) segment else null,
            .flags = kernel_flags,
        });
        if (payload.len == 0 and kernel_flags == 0) empty += 1;
        if (kernel_flags == 0) bytes += payload.len;
    }
    var coalesced: Coalesced = .{};
    try scene.turn(&coalesced, Coalesced.look);
    // One source may be a load by itself.
    const passed = scene.count(.handshakes_received) + scene.count(.introductions_received);
    const loaded = scene.tables.gate.load.sticky.seen_ns != null or passed >= constants.source_load_burst;
    if (coalesced.replies > 0 and !loaded) return error.CookieWithoutLoad;
    if (coalesced.replies * constants.cookie_reply_bytes > bytes) return error.Amplified;
    if (scene.count(.opened_packets) == 0) {
        if (scene.peer.path.load().remote.family != 0) return error.PathMoved;
        if (scene.tables.events.count != 0) return error.EventPosted;
        for (scene.pairs) |pair| if (!std.meta.eql(pair.window, replay.Window{})) return error.WindowMoved;
    }
    return scene.expectFates(empty, coalesced.packets);
}

const Coalesced = struct {
    packets: u64 = 0,
    replies: u64 = 0,

    fn look(self: *Coalesced, scene: *Scene) anyerror!void {
        const coalescer = &scene.rx.coalescer;
        for (0..coalescer.count()) |index| {
            const write = coalescer.gather(@intCast(index), &scene.gathered);
            var length: usize = 0;
            for (write.iovecs) |part| length += part.len;
            if (length != write.bytes) return error.WriteOfAnotherLength;
            self.packets += write.packets;
        }
        self.replies += scene.rx.replies_count;
    }
};

/// Datagrams of the right type and length, with the right MAC, index and seal more often than not.
fn generateDatagrams(random: std.Random, buffer: []u8) usize {
    var writer: Writer = .{ .bytes = buffer };
    writer.int(u8, random.int(u8));
    for (0..random.intRangeAtMost(usize, 1, 4)) |_| {
        const segments = if (random.uintLessThan(u8, 4) == 0) random.intRangeAtMost(usize, 2, 6) else 1;
        var datagram: [1280]u8 = undefined;
        const length = makeDatagram(random, &datagram);
        var flags = random.int(u8) & 0xdf;
        if (random.uintLessThan(u8, 8) != 0) flags &= 0xe0;
        writer.int(u8, if (segments > 1) flags | 0x20 else flags);
        writer.int(u16, if (random.uintLessThan(u8, 8) == 0) random.int(u16) else @intCast(length));
        writer.int(u16, @intCast(length * segments - (if (segments > 1 and length > 0) random.uintLessThan(usize, length) else 0)));
        for (0..segments) |_| writer.put(datagram[0..length]);
    }
    return writer.length;
}

fn makeDatagram(random: std.Random, out: *[1280]u8) usize {
    random.bytes(out);
    const kinds = [_]struct { u32, usize }{
        .{ constants.message_initiation, constants.initiation_bytes },
        .{ constants.message_response, constants.response_bytes },
        .{ constants.message_cookie_reply, constants.cookie_reply_bytes },
        .{ constants.message_introduction, constants.introduction_bytes },
        .{ constants.message_introduction_cookie, constants.cookie_reply_bytes },
        .{ random.int(u32), random.uintLessThan(usize, out.len) },
    };
    const choice = random.uintLessThan(usize, 2 * kinds.len);
    if (choice >= kinds.len) {
        const which = random.uintLessThan(usize, 2);
        const length = random.uintLessThan(usize, 128);
        return sealed(out, which, random.uintLessThan(u64, 10_000), length).len;
    }
    const kind, const length = kinds[choice];
    std.mem.writeInt(u32, out[0..4], kind, .little);
    fuzz_gate.stampMac1(out[0..length]);
    if (random.uintLessThan(u8, 4) == 0) return random.uintLessThan(usize, out.len);
    return length;
}

/// The text is what lies there.
pub fn sealed(out: []u8, which: usize, counter: u64, length: usize) []u8 {
    const message = out[0 .. length + constants.transport_overhead_bytes];
    transport.writeHeader(message, Scene.indices[which], counter);
    transport.sealBatch(&Scene.keys[which], &.{.{ .bytes = message, .counter = counter }});
    return message;
}

/// Every accepted counter of one keypair.
pub const Accepted = struct {
    counters: [128]u64 = undefined,
    count: usize = 0,
    highest: u64 = 0,

    pub fn takes(self: *Accepted, counter: u64) bool {
        if (self.highest > counter and self.highest - counter > replay.window_size) return false;
        for (self.counters[0..self.count]) |known| if (known == counter) return false;
        self.counters[self.count] = counter;
        self.count += 1;
        self.highest = @max(self.highest, counter);
        return true;
    }
};

/// A program of transport messages: for each, the session, a counter near those before, the age of
/// the keypair, where it comes from, and perhaps a byte that was changed on the way.
fn open(input: []const u8) !u64 {
    const scene = try Scene.fresh();
    var reader: Reader = .init(input);
    var accepted: [2]Accepted = .{ .{}, .{} };
    var expected: struct { opened: u64 = 0, replayed: u64 = 0, limit: u64 = 0, forged: u64 = 0, expired: u64 = 0, source: u16 = 0 } = .{};
    var confirmed = false;
    const start: u64 = switch (reader.int(u8) % 4) {
        0 => constants.reject_after_messages - 100,
        1 => reader.int(u64) % constants.reject_after_messages,
        else => 0,
    };
    const expired = reader.chance(16);
    if (expired) for (scene.pairs) |pair| {
        pair.created_ns = scene.now_ns - constants.reject_after_time_ns;
    };
    for (0..64) |_| {
        if (reader.isDone()) break;
        const what = reader.int(u8);
        const which = what & 1;
        const near = @max(start, accepted[which].highest);
        const step = reader.int(u8);
        const counter = switch (what >> 1 & 7) {
            0 => near +| reader.int(u64),
            1 => near -| reader.int(u16),
            2 => near +| reader.int(u16),
            3 => near -| (@as(u64, replay.window_size) - 2 + step % 5),
            4 => near -| step,
            else => near +| step % 4,
        };
        const length: usize = step >> 3;
        const message = sealed(scene.room(), which, counter, length);
        const forged = what >> 4 & 3 == 0;
        if (forged) {
            // Nothing but the header's type and index, by which another message is meant.
            const at = 8 + reader.int(u8) % (message.len - 8);
            message[at] ^= reader.int(u8) | 1;
        }
        const carried = transport.counterOf(message);
        const source: u16 = what >> 6;
        if (carried >= constants.reject_after_messages) {
            expected.limit += 1;
        } else if (expired) {
            expected.expired += 1;
        } else if (forged) {
            expected.forged += 1;
        } else if (!accepted[which].takes(counter)) {
            expected.replayed += 1;
        } else {
            expected.opened += 1;
            expected.source = source | 1;
            if (which == 1) confirmed = true;
        }
        scene.add(.{ .length = message.len, .source = source });
        // The keypair that was confirmed took the place of the other, which is still good.
        if (scene.isFull() or step & 1 == 0) try scene.turn({}, Scene.ignore);
    }
    try scene.turn({}, Scene.ignore);
    const counts = [_]struct { abi.Counter, u64 }{
        .{ .opened_packets, expected.opened },   .{ .replayed, expected.replayed },
        .{ .counter_limit, expected.limit },     .{ .not_authentic, expected.forged },
        .{ .keypair_expired, expected.expired },
    };
    var outcome: u64 = @intFromBool(confirmed);
    for (counts) |row| {
        if (scene.count(row[0]) != row[1]) return error.AnotherCount;
        outcome = outcome * 4 + @min(3, row[1]);
    }
    const path = scene.peer.path.load();
    if (expected.opened > 0 and path.remote.port != expected.source) return error.PathIsElsewhere;
    if (expected.opened == 0 and path.remote.family != 0) return error.PathMoved;
    const current = scene.peer.keypairs.current.raw.?;
    if (current != scene.pairs[@intFromBool(confirmed)]) return error.AnotherKeypairIsCurrent;
    for (scene.pairs, accepted) |pair, model| if (pair.window.highest != model.highest) return error.WindowElsewhere;
    return outcome;
}

/// Plaintexts, each behind its length, sealed as the peer would: what is no packet, or from an
/// address that is not the peer's, goes no further, and the rest comes out as it was.
fn inner(input: []const u8) !u64 {
    const scene = try Scene.fresh();
    var reader: Reader = .init(input);
    var counter: u64 = 0;
    var wanted: fuzz_packet.Packets = .{};
    var ends: [6]u64 = @splat(0);
    while (!reader.isDone() and !scene.isFull()) : (counter += 1) {
        const text = reader.take(reader.int(u16) % 2048);
        const room = scene.room();
        @memcpy(room[constants.transport_header_bytes..][0..text.len], text);
        scene.add(.{ .length = sealed(room, 0, counter, text.len).len });
        switch (endOf(text)) {
            .packet => |length| {
                wanted.add(text[0..length]);
                ends[0] += 1;
            },
            else => |end| ends[@backingInt(end)] += 1,
        }
    }
    var out: fuzz_packet.Output = .{ .wanted = &wanted };
    const see = struct {
        fn see(output: *fuzz_packet.Output, at: *Scene) anyerror!void {
            try output.collect(&at.rx.coalescer);
        }
    }.see;
    try scene.turn(&out, see);
    try out.expectSameFlows();
    const counters = [_]abi.Counter{ .keepalives_received, .inner_malformed, .inner_source_refused, .session_messages_received, .relayed_refused };
    for (counters, ends[1..]) |which, number| if (scene.count(which) != number) return error.AnotherEnd;
    return try scene.expectFates(0, ends[0]) << 8 | out.outcome;
}

pub const End = union(enum(u8)) { packet: usize, keepalive, malformed, refused, session, frame };

/// The rules once more, and otherwise: by the letter of the headers, and the table in its owner's head.
pub fn endOf(text: []const u8) End {
    if (text.len == 0) return .keepalive;
    switch (text[0] >> 4) {
        0 => {
            if (text.len < 4 or text[0] == 0) return .malformed;
            const length = @as(usize, text[3]) * 256 + text[2];
            // A relayed frame, which nobody here takes; one without its own header is another message.
            if (text[0] == 12 and length >= 16 and length <= text.len) return .frame;
            return if (length < 4 or length > text.len or length > 1232) .malformed else .session;
        },
        4 => {
            if (text.len < 20 or text[0] & 15 < 5) return .malformed;
            const length = @as(usize, text[2]) * 256 + text[3];
            if (length > text.len or length < @as(usize, text[0] & 15) * 4) return .malformed;
            const ours = text[12] == 10 and text[13] == 1 and text[14] != 9;
            return if (ours) .{ .packet = length } else .refused;
        },
        6 => {
            if (text.len < 40) return .malformed;
            const length = 40 + @as(usize, text[4]) * 256 + text[5];
            if (length > text.len) return .malformed;
            return if (text[8] == 0xfd) .{ .packet = length } else .refused;
        },
        else => return .malformed,
    }
}

fn generateInner(random: std.Random, buffer: []u8) usize {
    var writer: Writer = .{ .bytes = buffer };
    for (0..random.intRangeAtMost(usize, 1, 8)) |_| {
        var room: [2048]u8 = undefined;
        const text = fuzz_packet.makeText(random, &room);
        writer.int(u16, @intCast(text.len));
        writer.put(text);
    }
    return writer.length;
}

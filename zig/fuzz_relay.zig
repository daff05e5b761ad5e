//! What a member may put into the frames that it has this node take or pass on: sealed datagrams of
//! another member within, lies about lengths, hops and names, frames in frames, more than its quota.
//! The receive path is fuzz_datagram.zig's; who is a member, and of what name, is set here.
//!
//! A model says of every message what must become of it: what comes out of the TUN, which frames
//! wait for the transmit thread and how they read, and where the other member is thought to be.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const datagrams = @import("fuzz_datagram.zig");
const fuzz_gate = @import("fuzz_gate.zig");
const fuzz_packet = @import("fuzz_packet.zig");
const input_ = @import("fuzz_input.zig");
const relay = @import("relay.zig");
const Accepted = datagrams.Accepted;
const Reader = input_.Reader;
const Scene = datagrams.Scene;
const Target = @import("fuzz.zig").Target;
const Writer = input_.Writer;

pub const targets = [_]Target{
    .{ .name = "relay", .bytes_max = 8192, .generate = generate, .one = one },
};

const header_bytes = 16;
const names = struct {
    const own = 0xc0c0_c0c0_c0c0;
    const carrier = 0xa0a0_a0a0_a0a0;
    const other = 0xb0b0_b0b0_b0b0;
    /// A member without a session.
    const third = 0xd0d0_d0d0_d0d0;
    const stranger = 0xe0e0_e0e0_e0e0;
    const all = [_]u64{ other, own, carrier, third, stranger, 0, own, other };
};
const third_ref: abi.PeerRef = .{ .slot = 3, .generation = 9 };
/// By which keypair a datagram in a frame is sealed: the carrier's second, and the other's.
const carriers_own = 1;
const others = 2;
const rate = 1000;
const elsewhere: abi.Endpoint = .{ .address = @as([10]u8, @splat(0)) ++ [6]u8{ 0xff, 0xff, 203, 0, 113, 5 }, .port = 7, .family = 4 };
/// Where the carrier is; its datagrams come from elsewhere.
const carriers_path: abi.Endpoint = .{ .address = @as([10]u8, @splat(0)) ++ [6]u8{ 0xff, 0xff, 203, 0, 113, 6 }, .port = 8, .family = 4 };

/// A datagram inside a frame, if it was sealed as one of the members would.
const Sealed = struct { by: usize, counter: u64, length: usize, intact: bool, text: []const u8 };

/// What must become of all of it.
const Model = struct {
    scene: *Scene,
    tokens: ?[2]u64,
    accepted: [2]Accepted = .{ .{}, .{} },
    packets: fuzz_packet.Packets = .{},
    /// What frames bring comes after what the socket brought.
    from_frames: fuzz_packet.Packets = .{},
    /// Of the input's frames that were passed on, as they must read now.
    forwarded: [8]struct { slot: u32, text: []const u8, hops: u8 } = undefined,
    forwarded_count: usize = 0,
    delivered: u64 = 0,
    over_quota: u64 = 0,
    ring_full: u64 = 0,
    other_heard: bool = false,
    outcome: u64 = 0,

    fn message(self: *Model, text: []const u8, within: ?Sealed) void {
        switch (datagrams.endOf(text)) {
            .packet => |length| self.packets.add(text[0..length]),
            .frame => self.frame(text[0 .. @as(usize, text[3]) * 256 + text[2]], within),
            else => {},
        }
    }

    fn frame(self: *Model, text: []const u8, within: ?Sealed) void {
        if (text.len < header_bytes + 32) return self.note(0);
        const hops = text[1];
        const source = std.mem.readInt(u48, text[4..10], .little);
        const destination = std.mem.readInt(u48, text[10..16], .little);
        if (hops > 3 or source == 0 or destination == 0 or source == destination) return self.note(1);
        if (source == names.own) return self.note(2);
        if (destination == names.own) {
            self.delivered += 1;
            self.note(3);
            const datagram = within orelse return;
            if (datagram.intact and datagram.length == text.len - header_bytes) self.deliver(source, datagram);
            return;
        }
        const to: u32 = switch (destination) {
            names.other => Scene.other_ref.slot,
            names.third => third_ref.slot,
            else => return self.note(4),
        };
        if (hops == 0) return self.note(5);
        if (self.tokens) |*tokens| {
            const left = &tokens[to - Scene.other_ref.slot];
            if (left.* < text.len) {
                self.over_quota += 1;
                return self.note(6);
            }
            left.* -= text.len;
        }
        if (text.len > constants.control_datagram_bytes_max) {
            self.ring_full += 1;
            return self.note(7);
        }
        self.forwarded[self.forwarded_count] = .{ .slot = to, .text = text, .hops = hops - 1 };
        self.forwarded_count += 1;
        self.note(8);
    }

    /// It was brought to this node, and says who sent it.
    fn deliver(self: *Model, source: u64, datagram: Sealed) void {
        const is_others = datagram.by == others;
        if (source != @as(u64, if (is_others) names.other else names.carrier)) return self.note(9);
        if (datagram.counter >= constants.reject_after_messages) return self.note(10);
        if (!self.accepted[datagram.by - 1].takes(datagram.counter)) return self.note(11);
        if (is_others) self.other_heard = true;
        switch (endOf(datagram.text, is_others)) {
            .packet => |length| {
                self.from_frames.add(datagram.text[0..length]);
                self.note(12);
            },
            // A frame in a frame ends here.
            .frame => self.note(13),
            else => self.note(14),
        }
    }

    /// As fuzz_datagram.zig has it for the carrier; the other has 10.1.9.0/24 and nothing else.
    fn endOf(text: []const u8, is_others: bool) datagrams.End {
        const end = datagrams.endOf(text);
        if (!is_others) return end;
        const inside = text.len >= 20 and text[0] >> 4 == 4 and text[12] == 10 and text[13] == 1 and text[14] == 9;
        return switch (end) {
            .packet => .refused,
            .refused => if (inside) .{ .packet = @as(usize, text[2]) * 256 + text[3] } else .refused,
            else => end,
        };
    }

    fn note(self: *Model, what: u6) void {
        self.outcome |= @as(u64, 1) << what;
    }

    fn expect(self: *const Model) !void {
        const scene = self.scene;
        const counts = [_]struct { abi.Counter, u64 }{
            .{ .relayed_received, self.delivered },
            .{ .relayed_over_quota, self.over_quota },
            .{ .relayed_ring_full, self.ring_full },
        };
        for (counts) |row| if (scene.count(row[0]) != row[1]) return error.AnotherCount;
        const forwards = &scene.tables.relay.forwards;
        if (forwards.count() != self.forwarded_count) return error.AnotherNumberOfFrames;
        for (self.forwarded[0..self.forwarded_count]) |wanted| {
            const slot = forwards.peek().?;
            const bytes = slot.bytes[0..slot.datagram.length];
            if (slot.datagram.peer.slot != wanted.slot) return error.FrameForAnother;
            if (bytes.len != wanted.text.len or bytes[1] != wanted.hops) return error.AnotherFrame;
            if (bytes[0] != wanted.text[0] or !std.mem.eql(u8, bytes[2..], wanted.text[2..])) return error.AnotherFrame;
            forwards.pop();
        }
        const windows = [_]u64{ scene.pairs[1].window.highest, scene.other_pair.window.highest };
        for (windows, self.accepted) |highest, model| if (highest != model.highest) return error.WindowElsewhere;
    }
};

/// For each message: plain text, or a frame's header and what lies in it.
fn one(input: []const u8) !u64 {
    const scene = try Scene.fresh();
    try makeMembers(scene);
    var reader: Reader = .init(input);
    const mode = reader.int(u8);
    const known = mode & 1 == 0;
    if (known) {
        scene.other.path.store(.{ .remote = elsewhere });
    } else {
        scene.other.keypairs = .{ .next = scene.other_pair };
    }
    var model: Model = .{ .scene = scene, .tokens = try limit(scene, mode >> 1) };
    var room: [8][2048 + 256]u8 = undefined;
    var texts: [8][2048]u8 = undefined;
    var counter: u64 = 0;
    while (!reader.isDone() and !scene.isFull()) : (counter += 1) {
        var within: ?Sealed = null;
        const text = readMessage(&reader, &room[counter], &texts[counter], &within);
        const into = scene.room();
        @memcpy(into[constants.transport_header_bytes..][0..text.len], text);
        scene.add(.{ .length = datagrams.sealed(into, 0, counter, text.len).len });
        model.message(text, within);
    }
    for (model.from_frames.bytes[0..model.from_frames.count]) |packet| model.packets.add(packet);
    var out: fuzz_packet.Output = .{ .wanted = &model.packets };
    const see = struct {
        fn see(output: *fuzz_packet.Output, at: *Scene) anyerror!void {
            try output.collect(&at.rx.coalescer);
            // Nobody can be sent a cookie by a relay.
            if (at.rx.replies_count != 0) return error.CookieIntoTheDark;
        }
    }.see;
    try scene.turn(&out, see);
    try out.expectSameFlows();
    const forwarded = model.forwarded_count;
    try model.expect();
    try expectFates(scene, model.packets.count, forwarded);
    const remote = scene.other.path.load().remote;
    const wanted: abi.Endpoint = if (known)
        elsewhere
    else if (model.other_heard)
        relay.endpoint(Scene.peer_ref, names.other)
    else
        .{};
    if (!std.meta.eql(remote, wanted)) return error.OtherIsElsewhere;
    // All came from another address than the carrier's: that moves no member.
    if (!std.meta.eql(scene.peer.path.load().remote, carriers_path)) return error.CarrierIsElsewhere;
    return model.outcome;
}

fn makeMembers(scene: *Scene) !void {
    const allocator = std.heap.page_allocator;
    const own = &scene.tables.relay;
    if (own.members.count() == 0) {
        try scene.tables.addPeer(third_ref, &@splat(3));
        try own.add(allocator, names.carrier, Scene.peer_ref.slot);
        try own.add(allocator, names.other, Scene.other_ref.slot);
        try own.add(allocator, names.third, third_ref.slot);
    }
    own.own = names.own;
    own.forwards.head.raw = 0;
    own.forwards.tail.raw = 0;
    scene.peer.member = names.carrier;
    scene.peer.path.store(.{ .remote = carriers_path });
    scene.other.member = names.other;
}

/// What is left of the quota of each pair, if there is one.
fn limit(scene: *Scene, choice: u8) !?[2]u64 {
    const own = &scene.tables.relay;
    own.bytes_per_second = if (choice & 3 == 0) rate else 0;
    if (choice & 3 != 0) return null;
    own.buckets = .{};
    const left = [2]u64{ @as(u64, choice >> 2) * 32, 1000 };
    for (left, Scene.other_ref.slot..) |tokens, slot| {
        const spent = constants.relay_burst_bytes_min - tokens;
        const verdict = own.buckets.take(Scene.peer_ref.slot, @intCast(slot), spent, rate, scene.now_ns);
        if (verdict != .pass) return error.BurstRefused;
    }
    return left;
}

/// Every datagram, off the wire or out of a frame, has one fate, and so has what was opened.
fn expectFates(scene: *const Scene, packets: u64, forwarded: u64) !void {
    var ends = packets + forwarded + scene.count(.relayed_received);
    for (datagrams.fates) |fate| ends += scene.count(fate);
    for ([_]abi.Counter{
        .keepalives_received, .inner_malformed, .inner_source_refused, .session_messages_received, .relayed_refused,
        .policy_refused,      .ecn_refused,     .relayed_over_quota,   .relayed_ring_full,
    }) |end| ends += scene.count(end);
    const began = scene.count(.udp_receive_datagrams) + scene.count(.relayed_received) + scene.count(.opened_packets);
    if (ends != began) return error.WithoutOneFate;
}

const Kind = enum(u3) { text, by_other, by_carrier, nested, raw, handshake, by_other_again, by_other_too };

/// The text of one message, and what is known of a datagram in it.
fn readMessage(reader: *Reader, room: *[2048 + 256]u8, inner: *[2048]u8, within: *?Sealed) []const u8 {
    const what = reader.int(u8);
    const kind: Kind = @fromBackingInt(@intCast(what & 7));
    if (kind == .text) return reader.take(reader.int(u16) % 2048);
    const hops = reader.int(u8);
    const ends = reader.int(u8);
    const lie = reader.int(i8);
    const step = reader.int(u8);
    const body = reader.take(reader.int(u16) % 1600);
    const datagram = room[header_bytes..];
    const length: usize = switch (kind) {
        .text => unreachable,
        .raw => length: {
            @memcpy(datagram[0..body.len], body);
            break :length body.len;
        },
        .handshake => length: {
            @memset(datagram[0..constants.initiation_bytes], 0);
            @memcpy(datagram[0..@min(body.len, 148)], body[0..@min(body.len, 148)]);
            datagram[0..4].* = .{ 1, 0, 0, 0 };
            fuzz_gate.stampMac1(datagram[0..constants.initiation_bytes]);
            break :length constants.initiation_bytes;
        },
        else => length: {
            @memcpy(inner[0..body.len], body);
            const text = inner[0..body.len];
            if (kind == .nested and text.len >= header_bytes)
                relay.writeHeader(text, text.len, step & 3, names.other, names.own);
            const by: usize = if (kind == .by_carrier) carriers_own else others;
            const counter: u64 = if (step == 255) constants.reject_after_messages else step & 15;
            @memcpy(datagram[constants.transport_header_bytes..][0..text.len], text);
            const message = datagrams.sealed(datagram, by, counter, text.len);
            const intact = what & 0x38 != 0x38;
            // The type and the index stay, or it is another datagram.
            if (!intact) message[8 + step % (message.len - 8)] ^= 0x10;
            within.* = .{ .by = by, .counter = counter, .length = message.len, .intact = intact, .text = text };
            break :length message.len;
        },
    };
    const bytes = header_bytes + length;
    const said: u16 = @truncate(@as(u64, @bitCast(@as(i64, @intCast(bytes)) + lie)));
    const source = names.all[ends & 7];
    const destination = names.all[ends >> 4 & 7];
    relay.writeHeader(room, said, hops & 7, source, destination);
    const padding = if (what & 0x40 != 0) std.mem.alignForward(usize, bytes, 16) - bytes else 0;
    @memset(room[bytes..][0..padding], 0);
    return room[0 .. bytes + padding];
}

fn generate(random: std.Random, buffer: []u8) usize {
    var writer: Writer = .{ .bytes = buffer };
    writer.int(u8, random.int(u8));
    for (0..random.intRangeAtMost(usize, 1, 8)) |_| {
        const what = random.int(u8);
        writer.int(u8, what);
        if (what & 7 != 0) {
            writer.int(u8, if (random.uintLessThan(u8, 8) == 0) random.int(u8) else random.uintAtMost(u8, 3));
            // From the other to this node or the third, more often than not.
            const usual = [_]u8{ 0x10, 0x60, 0x30, 0x32 };
            writer.int(u8, if (random.boolean()) random.int(u8) else usual[random.uintLessThan(usize, usual.len)]);
            writer.int(i8, if (random.uintLessThan(u8, 6) == 0) random.int(i8) else 0);
            writer.int(u8, random.int(u8));
        }
        var room: [2048]u8 = undefined;
        const text = fuzz_packet.makeText(random, &room);
        // As the other would: its addresses are in another prefix.
        if (text.len > 20 and text[0] >> 4 == 4 and what & 7 != 0) text[14] = 9;
        writer.int(u16, @intCast(text.len));
        writer.put(text);
    }
    return writer.length;
}

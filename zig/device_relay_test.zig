//! Three whole devices: two members that reach each other through a third, and the paths of members.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const packet_samples = @import("packet_samples.zig");
const relay = @import("relay.zig");
const scene = @import("device_scene.zig");
const Netlink = @import("netlink.zig").Netlink;
const Node = scene.Node;
const Pair = scene.Pair;
const Session = scene.Session;
const inOwnNamespace = scene.inOwnNamespace;
const withPair = scene.withPair;
const linux = std.os.linux;
const testing = std.testing;

const id_a: relay.Id = 0xa0a0_a0a0_a0a0;
const id_b: relay.Id = 0xb0b0_b0b0_b0b0;
const id_r: relay.Id = 0xc0c0_c0c0_c0c0;

/// A and B as members, and R, which has a session with each.
const Trio = struct {
    pair: Pair,
    r: Node,

    const r_at_ends: abi.PeerRef = .{ .slot = 9, .generation = 4 };
    const a_at_r: abi.PeerRef = .{ .slot = 1, .generation = 1 };
    const b_at_r: abi.PeerRef = .{ .slot = 2, .generation = 8 };
    const with_a: Session = .{ .number = 1 };
    const with_b: Session = .{ .number = 2 };

    fn open(kib_per_second: u32) !Trio {
        var pair: Pair = try .open();
        errdefer pair.close();
        var r: Node = try .open('r', .{});
        errdefer r.close();
        try testing.expectEqual(.ok, r.device.start());
        try r.apply(&.{
            .{ .kind = .relay_set, .number = id_r, .local_index = kib_per_second },
            .{ .kind = .peer_add, .peer = a_at_r, .key = @splat(0xa) },
            .{ .kind = .peer_member_set, .peer = a_at_r, .number = id_a },
            .{ .kind = .peer_add, .peer = b_at_r, .key = @splat(0xb) },
            .{ .kind = .peer_member_set, .peer = b_at_r, .number = id_b },
            try scene.keypairInstall(a_at_r, with_a, .b_to_a),
            try scene.keypairInstall(b_at_r, with_b, .b_to_a),
        });
        var trio: Trio = .{ .pair = pair, .r = r };
        try trio.join(&trio.pair.a, id_a, Pair.peer_b, id_b, with_a);
        try trio.join(&trio.pair.b, id_b, Pair.peer_a, id_a, with_b);
        for (0..2) |_| _ = try trio.r.awaitEvent(.keypair_confirmed);
        return trio;
    }

    fn join(trio: *Trio, node: *Node, id: relay.Id, other: abi.PeerRef, other_id: relay.Id, session: Session) !void {
        try node.apply(&.{
            .{ .kind = .relay_set, .number = id, .local_index = 1 },
            .{ .kind = .peer_member_set, .peer = other, .number = other_id },
            .{ .kind = .peer_add, .peer = r_at_ends, .key = @splat(0xc) },
            .{ .kind = .peer_member_set, .peer = r_at_ends, .number = id_r },
            .{ .kind = .peer_endpoint_set, .peer = r_at_ends, .remote = trio.r.endpoint() },
            try scene.keypairInstall(r_at_ends, session, .a_to_b),
        });
    }

    /// A and B speak through R from now on.
    fn connect(trio: *Trio) !void {
        try viaR(&trio.pair.a, Pair.peer_b, id_b);
        try viaR(&trio.pair.b, Pair.peer_a, id_a);
        try trio.pair.connect(.{ .number = 0 });
    }

    fn viaR(node: *Node, peer: abi.PeerRef, far: relay.Id) !void {
        const remote = relay.endpoint(r_at_ends, far);
        try node.apply(&.{.{ .kind = .peer_endpoint_set, .peer = peer, .remote = remote }});
    }

    fn close(trio: *Trio) void {
        trio.pair.close();
        trio.r.close();
    }

    fn printCounters(trio: *const Trio) void {
        trio.pair.printCounters();
        trio.r.printCounters();
    }
};

const Begin = struct { kib_per_second: u32 = 0, connected: bool = true };

/// As `withPair`.
fn withTrio(comptime begin: Begin, comptime body: fn (*Trio) anyerror!void) anyerror!void {
    return inOwnNamespace(struct {
        fn run(_: *Netlink) anyerror!void {
            var trio: Trio = try .open(begin.kib_per_second);
            defer trio.close();
            errdefer trio.printCounters();
            if (begin.connected) try trio.connect();
            try body(&trio);
        }
    }.run);
}

test "two members speak through a third, which forwards what it cannot read" {
    try withTrio(.{}, struct {
        fn body(trio: *Trio) anyerror!void {
            var packets: u64 = 0;
            var room: [constants.mtu_default]u8 = undefined;
            var length: usize = 60;
            while (length <= 1392) : (length += 37) {
                for ([_]scene.Way{ .a_to_b, .b_to_a }) |way| {
                    const packet = scene.makePacket(&room, .{ .way = way, .length = length, .number = @intCast(length) });
                    try trio.pair.sender(way).link.inject(packet);
                    try trio.pair.receiver(way).link.expectNext(packet);
                    packets += 1;
                }
            }
            // Their frames and A's first keepalive; nothing of it came out at R.
            try trio.r.expectCounter(.relayed_forwarded, packets + 1);
            try trio.r.expectSum(&.{ .tun_write_packets, .unknown_index, .relayed_refused }, 0);
            try trio.pair.b.expectCounter(.relayed_received, packets / 2 + 1);
            try testing.expectEqual(relay.endpoint(Trio.r_at_ends, id_b), (try trio.pair.a.stats(Pair.peer_b)).remote);
        }
    }.body);
}

test "a member's path is not moved by what comes another way, which the control plane hears of once" {
    try withTrio(.{}, struct {
        fn body(trio: *Trio) anyerror!void {
            // B takes the direct way; A stays, and says that it heard.
            const direct = trio.pair.a.endpoint();
            try trio.pair.b.apply(&.{.{ .kind = .peer_endpoint_set, .peer = Pair.peer_a, .remote = direct }});
            for (0..3) |number| try trio.pair.cross(.b_to_a, @intCast(number));
            const heard = try trio.pair.a.awaitEvent(.path_heard);
            try testing.expectEqual(Pair.peer_b, heard.peer);
            try testing.expectEqual(trio.pair.b.endpoint(), heard.remote);
            try testing.expectEqual(null, trio.pair.a.takeEvent(.path_heard));
            try testing.expectEqual(null, trio.pair.a.takeEvent(.endpoint_roamed));
            try trio.pair.cross(.a_to_b, 9);
            const relayed = relay.endpoint(Trio.r_at_ends, id_b);
            try testing.expectEqual(relayed, (try trio.pair.a.stats(Pair.peer_b)).remote);
            // A probe goes the way that it is told, and tells B of that way only where it is new.
            var probe: [16]u8 = @splat(0);
            probe[0] = 13;
            probe[2] = probe.len;
            const datagram: abi.Datagram = .{
                .kind = .session_message,
                .length = probe.len,
                .peer = Pair.peer_b,
                .remote = trio.pair.b.endpoint(),
            };
            try testing.expectEqual(1, trio.pair.a.device.send(&.{datagram}, &probe));
            try trio.pair.b.awaitCounter(.session_messages_received, 1);
            var received: [1]abi.Datagram = undefined;
            var bytes: [64]u8 = undefined;
            try testing.expectEqual(1, trio.pair.b.device.receive(&received, &bytes));
            try testing.expectEqual(trio.pair.a.endpoint(), received[0].remote);
            try testing.expectEqual(relayed, (try trio.pair.a.stats(Pair.peer_b)).remote);
        }
    }.body);
}

test "what the path to a member does not carry is answered, and what it carries is asked for and padded for" {
    try withTrio(.{}, struct {
        fn body(trio: *Trio) anyerror!void {
            const a = &trio.pair.a;
            const b = &trio.pair.b;
            var room: [scene.packet_room]u8 = undefined;
            // Nobody asks about packets that pass everywhere.
            try trio.pair.cross(.a_to_b, 1);
            const long = scene.makePacket(&room, .{ .length = 1392 });
            for (0..3) |_| {
                try a.link.inject(long);
                try b.link.expectNext(long);
            }
            const wanted = try a.awaitEvent(.path_mtu_wanted);
            try testing.expectEqual(Pair.peer_b, wanted.peer);
            try testing.expectEqual(constants.mtu_default, wanted.number);
            try testing.expectEqual(null, a.takeEvent(.path_mtu_wanted));

            try a.apply(&.{.{ .kind = .peer_mtu_set, .peer = Pair.peer_b, .number = 1209 }});
            const fits = packet_samples.write(&room, .{ .payload = 1209 - 52 });
            try a.link.inject(fits);
            try b.link.expectNext(fits);
            const longer = packet_samples.write(&room, .{ .payload = 1210 - 52 });
            try a.link.inject(longer);
            var answer: [scene.packet_room]u8 = undefined;
            const inner = (try a.link.receive(&answer)).packet;
            try testing.expectEqualSlices(u8, &.{ 3, 4 }, inner[20..22]);
            try testing.expectEqualSlices(u8, &.{ 1209 >> 8, 1209 & 0xff }, inner[26..28]);
            try a.expectCounter(.too_big, 1);
            try a.apply(&.{.{ .kind = .peer_mtu_set, .peer = Pair.peer_b }});
            try a.link.inject(longer);
            try b.link.expectNext(longer);

            // A probe is as long on the wire as a packet of that length, by either way.
            var probe: [32]u8 = @splat(0);
            probe[0] = 13;
            probe[2] = probe.len;
            const frame_bytes = constants.transport_overhead_bytes + relay.header_bytes;
            for ([_]u32{ 1300, 1337 }) |padded| for ([_]abi.Endpoint{
                b.endpoint(),
                relay.endpoint(Trio.r_at_ends, id_b),
            }, [_]u64{ 0, frame_bytes }) |remote, frame| {
                const before = b.counter(.udp_receive_bytes);
                const messages = b.counter(.session_messages_received);
                try testing.expectEqual(1, a.device.send(&.{.{
                    .kind = .session_message,
                    .length = probe.len,
                    .padded = padded,
                    .peer = Pair.peer_b,
                    .remote = remote,
                }}, &probe));
                try b.awaitCounter(.session_messages_received, messages + 1);
                const text = if (frame == 0) padded else std.mem.alignForward(u64, padded + frame, 16);
                const wire = text + constants.transport_overhead_bytes;
                try testing.expectEqual(wire, b.counter(.udp_receive_bytes) - before);
            };
        }
    }.body);
}

test "what no member may ask of a relay is refused and counted" {
    try withTrio(.{ .connected = false }, struct {
        fn body(trio: *Trio) anyerror!void {
            var bytes: [200]u8 = @splat(1);
            const Ask = struct { source: relay.Id = id_a, destination: relay.Id, hops: u8 = 1 };
            // To nobody it knows, back to the asker, without a hop left, in R's name.
            const asks = [_]Ask{
                .{ .destination = 77 },
                .{ .destination = id_a, .source = id_b },
                .{ .destination = id_b, .hops = 0 },
                .{ .destination = id_b, .source = id_r },
                .{ .destination = id_b, .hops = constants.relay_hops_max + 1 },
            };
            for (asks) |ask| {
                relay.writeHeader(&bytes, bytes.len, ask.hops, ask.source, ask.destination);
                const datagram: abi.Datagram = .{ .kind = .session_message, .length = bytes.len, .peer = Trio.r_at_ends };
                try testing.expectEqual(1, trio.pair.a.device.send(&.{datagram}, &bytes));
            }
            try trio.r.expectCounter(.relayed_refused, asks.len);
            // To R itself, with a datagram that is none.
            relay.writeHeader(&bytes, bytes.len, 1, id_b, id_r);
            const datagram: abi.Datagram = .{ .kind = .session_message, .length = bytes.len, .peer = Trio.r_at_ends };
            _ = trio.pair.a.device.send(&.{datagram}, &bytes);
            try trio.r.expectCounter(.unknown_type, 1);
            try trio.r.expectCounter(.relayed_forwarded, 0);
        }
    }.body);
}

test "a pair has its quota at a relay, and the rest is dropped" {
    try withTrio(.{ .kib_per_second = 1 }, struct {
        fn body(trio: *Trio) anyerror!void {
            var room: [1400]u8 = undefined;
            for (0..200) |number| {
                const packet = scene.makePacket(&room, .{ .length = 1000, .number = @intCast(number) });
                try trio.pair.a.link.inject(packet);
            }
            try trio.r.awaitCounter(.relayed_over_quota, 100);
            try trio.r.awaitCounter(.relayed_forwarded, 50);
            // The least burst, and what a few seconds may have added.
            const most = constants.relay_burst_bytes_min / 1000 + 20;
            try testing.expect(trio.r.counter(.relayed_forwarded) <= most);
        }
    }.body);
}

test "a member may be spoken to by a side socket, and is heard by it" {
    try withPair(.{ .connected = false }, struct {
        fn body(pair: *Pair) anyerror!void {
            for (0..2) |_| {
                var status: [1]abi.Status = undefined;
                pair.a.device.apply(&.{.{ .kind = .side_sockets_open }}, &status);
                try testing.expectEqual(0, status[0].code);
                try testing.expectEqual(constants.side_sockets_max, status[0].value);
            }
            var remote = pair.b.endpoint();
            remote.scope = 7;
            try pair.a.apply(&.{.{ .kind = .peer_endpoint_set, .peer = Pair.peer_b, .remote = remote }});
            try pair.connect(.{ .number = 0 });
            for (0..5) |number| {
                try pair.cross(.a_to_b, @intCast(number));
                try pair.cross(.b_to_a, @intCast(number));
            }
            const side = pair.a.device.tables.side.at(7).port;
            try testing.expectEqual(side, (try pair.b.stats(Pair.peer_a)).remote.port);
            try testing.expectEqual(remote, (try pair.a.stats(Pair.peer_b)).remote);
            // Of those that are closed it is none, for it is spoken by; and it still is.
            for (0..2) |_| {
                const before = try openDescriptors();
                var status: [1]abi.Status = undefined;
                pair.a.device.apply(&.{.{ .kind = .side_sockets_close }}, &status);
                try testing.expectEqual(1, status[0].value);
                // Receive closes them when it wakes, and it has at the latest when this has come.
                var number: u32 = 100;
                while (try openDescriptors() + constants.side_sockets_max - 1 > before) : (number += 1) {
                    try pair.cross(.a_to_b, number);
                    try pair.cross(.b_to_a, number);
                }
                try testing.expectEqual(remote, (try pair.a.stats(Pair.peer_b)).remote);
                try testing.expectEqual(side, (try pair.b.stats(Pair.peer_a)).remote.port);
                pair.a.device.apply(&.{.{ .kind = .side_sockets_open }}, &status);
                try testing.expectEqual(constants.side_sockets_max, status[0].value);
                try pair.cross(.a_to_b, 1000);
                try pair.cross(.b_to_a, 1000);
            }
            // A number that no socket has is the main one.
            remote.scope = constants.side_sockets_max + 1;
            try pair.a.apply(&.{.{ .kind = .peer_endpoint_set, .peer = Pair.peer_b, .remote = remote }});
            try pair.cross(.a_to_b, 9);
            try testing.expectEqual(pair.a.endpoint().port, (try pair.b.stats(Pair.peer_a)).remote.port);
        }
    }.body);
}

fn openDescriptors() !usize {
    const rc = linux.open("/proc/self/fd", .{ .DIRECTORY = true, .CLOEXEC = true }, 0);
    if (linux.errno(rc) != .SUCCESS) return error.System;
    const fd: linux.fd_t = @intCast(rc);
    defer _ = linux.close(fd);
    var room: [4096]u8 align(@alignOf(linux.dirent64)) = undefined;
    var found: usize = 0;
    while (true) {
        const bytes = linux.getdents64(fd, &room, room.len);
        if (linux.errno(bytes) != .SUCCESS) return error.System;
        if (bytes == 0) return found;
        var at: usize = 0;
        while (at < bytes) : (found += 1) at += @as(*align(1) const linux.dirent64, @ptrCast(&room[at])).reclen;
    }
}

test "a member that is silent is asked for, and from another address it is only heard" {
    try withTrio(.{}, struct {
        fn body(trio: *Trio) anyerror!void {
            try trio.pair.cross(.b_to_a, 1);
            // Where nobody is.
            const nowhere = scene.v4(.{ 127, 0, 0, 1 }, 9);
            try trio.pair.a.apply(&.{.{ .kind = .peer_endpoint_set, .peer = Pair.peer_b, .remote = nowhere }});
            var room: [64]u8 = undefined;
            try trio.pair.a.link.inject(scene.makePacket(&room, .{}));
            const silent = try trio.pair.a.awaitEvent(.path_silent);
            try testing.expectEqual(Pair.peer_b, silent.peer);
            try trio.pair.b.apply(&.{.{ .kind = .peer_endpoint_set, .peer = Pair.peer_a, .remote = trio.pair.a.endpoint() }});
            // However long the path was silent: nothing has come back by the other one yet.
            try trio.pair.cross(.b_to_a, 2);
            const heard = try trio.pair.a.awaitEvent(.path_heard);
            try testing.expectEqual(trio.pair.b.endpoint(), heard.remote);
            try testing.expectEqual(nowhere, (try trio.pair.a.stats(Pair.peer_b)).remote);
        }
    }.body);
}

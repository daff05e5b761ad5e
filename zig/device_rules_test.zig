//! WireGuard's rules where only a whole device shows them: endpoints that wait for a confirmation,
//! marks of congestion, answers to inner packets that cannot go anywhere. Needs root.
const std = @import("std");
const linux = std.os.linux;
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const control_message = @import("control_message.zig");
const ecn = @import("ecn.zig");
const inner_packet = @import("inner_packet.zig");
const packet_samples = @import("packet_samples.zig");
const udp_linux = @import("udp_linux.zig");
const scene = @import("device_scene.zig");
const Netlink = @import("netlink.zig").Netlink;
const Pair = scene.Pair;
const Session = scene.Session;
const Wire = scene.Wire;
const inOwnNamespace = scene.inOwnNamespace;
const withPair = scene.withPair;
const makePacket = scene.makePacket;
const testing = std.testing;

const session: Session = .{ .number = 0 };
const families = [_]inner_packet.Family{ .v4, .v6 };

/// A socket of the test's that sees, and chooses, the outer traffic class.
const ClassWire = struct {
    udp: udp_linux.Udp,
    batch: *udp_linux.ReceiveBatch,

    fn open() !ClassWire {
        const batch = try testing.allocator.create(udp_linux.ReceiveBatch);
        errdefer testing.allocator.destroy(batch);
        try batch.init(testing.allocator);
        errdefer batch.deinit(testing.allocator);
        return .{ .udp = try .open(0, 0, .{ .offload = false }), .batch = batch };
    }

    fn close(wire: *ClassWire) void {
        wire.udp.close();
        wire.batch.deinit(testing.allocator);
        testing.allocator.destroy(wire.batch);
    }

    fn endpoint(wire: *const ClassWire) abi.Endpoint {
        return scene.v4(.{ 127, 0, 0, 1 }, wire.udp.port);
    }

    fn send(wire: *const ClassWire, to: abi.Endpoint, class: u8, bytes: []const u8) !void {
        try wire.udp.sendMessage(.{
            .remote = to,
            .iovecs = &.{.{ .base = bytes.ptr, .len = bytes.len }},
            .tos = class,
        });
    }

    /// The classes of the next datagrams, in order.
    fn receiveClasses(wire: *const ClassWire, out: []u8) !void {
        const deadline: scene.Deadline = .start();
        var count: usize = 0;
        while (count < out.len) {
            const received = wire.udp.receiveBatch(wire.batch) catch {
                try deadline.wait(wire.udp.fd);
                continue;
            };
            for (0..received) |at| {
                if (count == out.len) return error.TooMany;
                out[count] = control_message.parse(wire.batch.message(at).control).traffic_class orelse
                    return error.NoTrafficClass;
                count += 1;
            }
        }
    }
};

/// An inner packet that A's prefixes cover, with that traffic class.
fn classPacket(buffer: []u8, family: inner_packet.Family, class: u8, number: u64) []u8 {
    return packet_samples.write(buffer, .{
        .family = family,
        .protocol = packet_samples.udp,
        .traffic_class = class,
        .payload = 40,
        .seed = number,
    });
}

test "a responder's peer is where it was until it confirms, and then where it confirmed from" {
    try withPair(.{ .connected = false }, struct {
        fn body(pair: *Pair) anyerror!void {
            const wire: Wire = try .open();
            defer wire.close();
            const before = (try pair.b.stats(Pair.peer_a)).remote;
            try pair.b.apply(&.{
                .{ .kind = .handshake_received, .peer = Pair.peer_a, .number = 148 },
                try scene.keypairInstall(Pair.peer_a, session, .b_to_a),
            });
            const stats = try pair.b.stats(Pair.peer_a);
            try testing.expectEqual(before, stats.remote);
            try testing.expectEqual(148, stats.rx_bytes);
            try testing.expect(stats.last_received_ns > 0);

            var room: [128]u8 = undefined;
            try wire.send(pair.b.endpoint().port, session.seal(.a_to_b, 0, &room, &.{}));
            _ = try pair.b.awaitEvent(.keypair_confirmed);
            // It was posted before: whoever hears of the session knows where the peer is.
            const roamed = for (pair.b.log[0..pair.b.log_count]) |event| {
                if (event.kind == .endpoint_roamed) break event;
            } else return error.NotRoamed;
            try testing.expectEqual(wire.endpoint(), roamed.remote);
            try testing.expectEqual(wire.endpoint(), (try pair.b.stats(Pair.peer_a)).remote);
        }
    }.body);
}

test "the outer header has the inner congestion bits and nothing else of its class" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            var wire: ClassWire = try .open();
            defer wire.close();
            try pair.a.apply(&.{.{
                .kind = .peer_endpoint_set,
                .peer = Pair.peer_b,
                .remote = wire.endpoint(),
            }});
            var room: [2048]u8 = undefined;
            var expected: [64]u8 = undefined;
            var classes: [64]u8 = undefined;
            for (families) |family| {
                // Runs of equal bits, and changes, in one batch or in several.
                for (&expected, 0..) |*class, i| {
                    class.* = @intCast((i / 3 + i / 7) % 4);
                    try pair.a.link.inject(classPacket(&room, family, 0xb8 | class.*, i));
                }
                try wire.receiveClasses(&classes);
                try testing.expectEqualSlices(u8, &expected, &classes);
            }
            // A super-packet's segments have the bits of all of it.
            var large: [scene.packet_room]u8 = undefined;
            const header, const packet = packet_samples.superPacket(&large, .{
                .payload = 10 * 1000,
                .traffic_class = 0xb8 | @as(u8, ecn.ect0),
            }, 1000);
            try pair.a.link.injectWith(&header, packet);
            try wire.receiveClasses(classes[0..10]);
            for (classes[0..10]) |class| try testing.expectEqual(ecn.ect0, class);
        }
    }.body);
}

test "congestion on the way arrives inside, and is a drop where the sender would not understand it" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            var wire: ClassWire = try .open();
            defer wire.close();
            const to = pair.b.endpoint();
            var counter: u64 = 100;
            var refused: u64 = 0;
            for (families) |family| for (0..4) |inner| for (0..4) |outer| {
                var room: [256]u8 = undefined;
                var sealed: [300]u8 = undefined;
                const packet = classPacket(&room, family, @intCast(0xb8 | inner), counter);
                const message = session.seal(.a_to_b, counter, &sealed, packet);
                counter += 1;
                // The rest of the outer class is the way's own.
                try wire.send(to, @intCast(0x20 | outer), message);
                const bits = ecn.decapsulate(@intCast(inner), @intCast(outer)) orelse {
                    refused += 1;
                    try pair.b.expectCounter(.ecn_refused, refused);
                    continue;
                };
                const expected = classPacket(&room, family, 0xb8 | @as(u8, bits), counter - 1);
                try pair.b.link.expectNext(expected);
            };
            try testing.expectEqual(2, refused);
            try pair.b.link.expectNothing();
        }
    }.body);
}

test "handshakes go out as AF41, cookie replies and data do not" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            var wire: ClassWire = try .open();
            defer wire.close();
            const kinds = [_]u32{ 1, 2, constants.message_introduction, 3, constants.message_introduction_cookie };
            for (kinds) |kind| {
                var bytes: [64]u8 = @splat(0);
                std.mem.writeInt(u32, bytes[0..4], kind, .little);
                const datagram: abi.Datagram = .{ .kind = .raw, .length = bytes.len, .remote = wire.endpoint() };
                try testing.expectEqual(1, pair.a.device.send(&.{datagram}, &bytes));
            }
            var classes: [kinds.len]u8 = undefined;
            try wire.receiveClasses(&classes);
            try testing.expectEqualSlices(u8, &.{ 0x88, 0x88, 0x88, 0, 0 }, &classes);
        }
    }.body);
}

test "who sends to where nobody is hears so at once, at a bounded rate" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            // Owned, and nowhere.
            const nowhere: abi.PeerRef = .{ .slot = 0, .generation = 1 };
            try pair.a.apply(&.{
                .{ .kind = .peer_add, .peer = nowhere },
                .{ .kind = .allowed_ip_add, .peer = nowhere, .prefix = scene.prefix4(.{ 10, 4, 5, 7 }, 32) },
            });
            var room: [100]u8 = undefined;
            for ([_][4]u8{ .{ 10, 5, 0, 1 }, .{ 10, 4, 5, 7 } }) |address| {
                const packet = makePacket(&room, .{ .length = 100 });
                packet[16..20].* = address;
                try expectAnswer(pair, packet, &.{ 3, 1 });
            }
            const packet = makePacket(&room, .{ .family = .v6, .length = 100 });
            packet[24] = 0xfd;
            try expectAnswer(pair, packet, &.{ 1, 3 });
            try pair.a.expectCounter(.icmp_sent, 3);

            // A packet that is sealed, or was, gets none.
            try pair.cross(.a_to_b, 1);
            try pair.a.link.expectNothing();
            const flood = 400; // the TUN holds 500
            for (0..flood) |_| try pair.a.link.inject(packet);
            try pair.a.expectCounter(.no_route, 2 + flood);
            try pair.cross(.a_to_b, 2);
            const sent = pair.a.counter(.icmp_sent);
            try testing.expect(sent < flood / 2);
            try pair.a.expectSum(&.{ .icmp_sent, .icmp_limited }, 3 + flood);
        }

        fn expectAnswer(pair: *Pair, packet: []const u8, kind: []const u8) !void {
            try pair.a.link.inject(packet);
            var buffer: [scene.packet_room]u8 = undefined;
            const answer = (try pair.a.link.receive(&buffer)).packet;
            const inner = inner_packet.parse(answer).?;
            const asked = inner_packet.parse(packet).?;
            try testing.expectEqual(asked.source, inner.destination);
            try testing.expectEqual(asked.destination, inner.source);
            const message = answer[inner.header_length..];
            try testing.expectEqualSlices(u8, kind, message[0..2]);
            try testing.expectEqualSlices(u8, packet, message[8..]);
        }
    }.body);
}

test "who sends what is longer than the MTU hears which length would pass, for super-packets too" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            var pair: Pair = try .openConnected();
            defer pair.close();
            errdefer pair.printCounters();
            const mtu = constants.mtu_default;
            var room: [scene.packet_room]u8 = undefined;
            for (families) |family| for ([_]u8{ packet_samples.tcp, packet_samples.udp }) |protocol| {
                var shape: packet_samples.Shape = .{ .family = family, .protocol = protocol };
                const headers = packet_samples.headerLength(shape);
                // Only super-packets get past the kernel's own look at lengths.
                shape.payload = 20_000;
                const virtio, const packet = packet_samples.superPacket(&room, shape, @intCast(mtu + 1 - headers));
                try expectAnswer(&pair, &virtio, packet, mtu);
            };
            try pair.a.expectCounter(.too_big, 4);
            try pair.a.expectCounter(.icmp_sent, 4);

            // It may be cut on the way.
            const virtio, const whole = packet_samples.superPacket(&room, .{
                .dont_fragment = false,
                .payload = 2 * (mtu + 1 - 52),
            }, mtu + 1 - 52);
            try pair.a.link.injectWith(&virtio, whole);
            try pair.b.awaitCounter(.tun_write_packets, 2);
            try pair.b.link.drain();

            // A larger MTU counts from its first packet, whether or not the news of it was read; a smaller
            // one from when it was.
            for ([_]u32{ 9000, 1300, mtu }) |changed| {
                const shrinks = changed < pair.a.device.info().mtu;
                try netlink.setMtu(pair.a.device.info().interface_index, changed);
                if (shrinks) {
                    const deadline: scene.Deadline = .start();
                    while (pair.a.device.info().mtu != changed) try deadline.wait(-1);
                }
                const fits = packet_samples.write(&room, .{ .payload = changed - 52 });
                try pair.a.link.inject(fits);
                try pair.b.link.expectNext(fits);
                const longer_virtio, const longer = packet_samples.superPacket(&room, .{
                    .payload = 2 * changed,
                }, @intCast(changed + 1 - 52));
                try expectAnswer(&pair, &longer_virtio, longer, changed);
            }
            try pair.cross(.a_to_b, 1);
        }

        fn expectAnswer(pair: *Pair, virtio: *const [constants.virtio_header_bytes]u8, packet: []const u8, mtu: u32) !void {
            try pair.a.link.injectWith(virtio, packet);
            var buffer: [scene.packet_room]u8 = undefined;
            const answer = (try pair.a.link.receive(&buffer)).packet;
            const inner = inner_packet.parse(answer).?;
            const asked = inner_packet.parse(packet).?;
            try testing.expectEqual(asked.source, inner.destination);
            const message = answer[inner.header_length..];
            const kind: [2]u8 = if (inner.family == .v4) .{ 3, 4 } else .{ 2, 0 };
            try testing.expectEqualSlices(u8, &kind, message[0..2]);
            try testing.expectEqual(mtu, std.mem.readInt(u32, message[4..8], .big));
            try testing.expectEqualSlices(u8, packet[0 .. message.len - 8], message[8..]);
            try pair.b.link.expectNothing();
        }
    }.body);
}

test "an authentic packet moves the endpoint even where its inner source is another's" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            const wire: Wire = try .open();
            defer wire.close();
            var room: [64]u8 = undefined;
            var sealed: [128]u8 = undefined;
            const packet = makePacket(&room, .{});
            packet[12..16].* = .{ 10, 77, 0, 1 };
            try wire.send(pair.b.endpoint().port, session.seal(.a_to_b, 50, &sealed, packet));
            try pair.b.expectCounter(.inner_source_refused, 1);
            try testing.expectEqual(wire.endpoint(), (try pair.b.stats(Pair.peer_a)).remote);
            try pair.b.link.expectNothing();
        }
    }.body);
}

test "a session index may be any number, STUN's magic cookie too" {
    try withPair(.{ .connected = false }, struct {
        fn body(pair: *Pair) anyerror!void {
            const wire: Wire = try .open();
            defer wire.close();
            // As STUN has it on the wire, at the place of the receiver's index.
            const cookie: u32 = @byteSwap(@as(u32, 0x2112_a442));
            var command = try scene.keypairInstall(Pair.peer_a, session, .b_to_a);
            command.local_index = cookie;
            try pair.b.apply(&.{command});
            var room: [64]u8 = undefined;
            var sealed: [128]u8 = undefined;
            const packet = makePacket(&room, .{});
            const message = session.seal(.a_to_b, 0, &sealed, packet);
            std.mem.writeInt(u32, message[4..8], cookie, .little);
            try wire.send(pair.b.endpoint().port, message);
            try pair.b.link.expectNext(packet);
        }
    }.body);
}

test "coalesced datagrams of any segment size, and the longest there are, do no harm" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            var sender: udp_linux.Udp = try .open(0, 0, .{});
            defer sender.close();
            const bytes = try testing.allocator.alloc(u8, constants.udp_payload_bytes_max);
            defer testing.allocator.free(bytes);
            var prng: std.Random.DefaultPrng = .init(25);
            var sent: u64 = 0;
            for ([_]u16{ 0, 1, 3, 4, 15, 31, 32, 33, 63, 64, 91, 92, 93, 147, 148, 149, 1199, 1200, 1452, 9000 }) |size| {
                for ([_]u8{ 1, 2, 3, 4, 0x6d }) |kind| {
                    prng.random().bytes(bytes);
                    const segments: usize = @min(60, bytes.len / @max(1, size));
                    // The last one shorter, and each one of a kind, with an index that is in use.
                    const total = if (size == 0) bytes.len else @as(usize, size) * segments -| size / 3;
                    var at: usize = 0;
                    while (at + 8 <= total) : (at += @max(8, size)) {
                        bytes[at..][0..4].* = .{ kind, 0, 0, 0 };
                        std.mem.writeInt(u32, bytes[at + 4 ..][0..4], session.index(.a_to_b), .little);
                        if (size == 0) break;
                    }
                    if (total == 0) continue;
                    const result = sender.sendBatch(&.{.{
                        .remote = pair.b.endpoint(),
                        .iovecs = &.{.{ .base = bytes.ptr, .len = total }},
                        .segment_size = size,
                    }});
                    try testing.expectEqual(linux.E.SUCCESS, result.errno);
                    sent += if (size == 0) 1 else (total + size - 1) / size;
                    try pair.b.awaitCounter(.udp_receive_datagrams, 1 + sent);
                }
            }
            // The first packet of the session is the only one that was ever opened.
            try pair.b.expectCounter(.opened_packets, 1);
            try testing.expectEqual(pair.a.endpoint(), (try pair.b.stats(Pair.peer_a)).remote);
            try pair.cross(.a_to_b, 1);
        }
    }.body);
}

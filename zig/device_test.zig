//! A session between two whole devices, over real TUNs and real UDP: inner packets, staging, allowed
//! IPs, roaming, session messages, keepalives. What strangers send is in device_hostile_test.zig,
//! super-packets are in device_offload_test.zig, changes under load in device_churn_test.zig. Needs
//! root.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const scene = @import("device_scene.zig");
const Device = @import("device.zig").Device;
const Netlink = @import("netlink.zig").Netlink;
const Pair = scene.Pair;
const Wire = scene.Wire;
const inOwnNamespace = scene.inOwnNamespace;
const withPair = scene.withPair;
const makePacket = scene.makePacket;
const linux = std.os.linux;
const testing = std.testing;

comptime {
    _ = @import("device_churn_test.zig");
    _ = @import("device_hostile_test.zig");
    _ = @import("device_offload_test.zig");
}

test "a device that cannot be opened says at what, and which errno" {
    try inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            var limit: linux.rlimit = undefined;
            try testing.expectEqual(.SUCCESS, linux.errno(linux.getrlimit(.NOFILE, &limit)));
            const none: linux.rlimit = .{ .cur = 0, .max = limit.max };
            try testing.expectEqual(.SUCCESS, linux.errno(linux.setrlimit(.NOFILE, &none)));
            defer _ = linux.setrlimit(.NOFILE, &limit);
            for ([_]struct { u32, abi.OpenStep }{ .{ 0, .tun }, .{ abi.config_flag_no_tun, .udp } }) |case| {
                var config: abi.Config = .{ .flags = case[0] };
                @memcpy(config.interface_name[0..3], "mv0");
                var device: ?*Device = null;
                try testing.expectEqual(.system, Device.open(testing.allocator, &config, &device));
                const failure = Device.openFailure();
                try testing.expectEqual(case[1], failure.step);
                try testing.expectEqual(@as(u32, @backingInt(linux.E.MFILE)), failure.system_errno);
            }
        }
    }.body);
}

test "inner packets of every length cross both ways, IPv4 and IPv6, unchanged and in order" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            var shape: scene.Shape = .{};
            for ([2]scene.Way{ .a_to_b, .b_to_a }) |way| {
                shape.way = way;
                shape.family = .v4;
                try crossAllLengths(pair, shape, 20);
                shape.family = .v6;
                try crossAllLengths(pair, shape, 40);
            }
            const packets = 1420 - 20 + 1 + 1420 - 40 + 1;
            for ([2]*const scene.Node{ &pair.a, &pair.b }) |node| {
                try node.expectCounter(.tun_read_packets, packets);
                try node.expectCounter(.tun_write_packets, packets);
                try node.expectCounter(.inner_source_refused, 0);
                try node.expectCounter(.udp_send_failed, 0);
            }
        }

        /// So many at a time that neither the TUN's queue nor the packet socket drops one.
        fn crossAllLengths(pair: *Pair, first: scene.Shape, length_min: usize) !void {
            var room: [1420]u8 = undefined;
            var shape = first;
            var length = length_min;
            while (length <= 1420) : (length += 100) {
                const end = @min(length + 100, 1421);
                for (length..end) |each| {
                    shape.length = each;
                    shape.number = @intCast(each);
                    try pair.sender(shape.way).link.inject(makePacket(&room, shape));
                }
                for (length..end) |each| {
                    shape.length = each;
                    shape.number = @intCast(each);
                    try pair.receiver(shape.way).link.expectNext(makePacket(&room, shape));
                }
            }
        }
    }.body);
}

test "an initiator speaks at once, a responder only after the first packet, and the doorbell tells" {
    try withPair(.{ .connected = false }, struct {
        fn body(pair: *Pair) anyerror!void {
            const bell = try pair.b.device.tables.doorbell.duplicate();
            defer _ = linux.close(bell);
            var byte: [8]u8 = undefined;

            const session: scene.Session = .{ .number = 1 };
            try pair.installResponder(session);
            var room: [100]u8 = undefined;
            const packet = makePacket(&room, .{ .way = .b_to_a, .length = 100, .number = 9 });
            try pair.b.link.inject(packet);
            const wanted = try pair.b.awaitEvent(.handshake_wanted);
            try testing.expectEqual(Pair.peer_a, wanted.peer);
            try pair.b.awaitCounter(.staged, 1);
            try pair.b.expectCounter(.sealed_packets, 0);
            try testing.expectEqual(0, (try pair.b.stats(Pair.peer_a)).keypair_at_ns);
            // Not armed since: whatever happened did not ring.
            try testing.expectEqual(linux.E.AGAIN, linux.errno(linux.read(bell, &byte, 1)));

            // The kernel may be late to say that the link is up.
            while (pair.b.device.arm()) _ = pair.b.takeEvent(.link_changed);
            try pair.installInitiator(session);
            const deadline: scene.Deadline = .start();
            try deadline.wait(bell);
            try testing.expectEqual(1, linux.read(bell, &byte, byte.len));
            try testing.expect(pair.b.device.arm());
            const confirmed = try pair.b.awaitEvent(.keypair_confirmed);
            try testing.expectEqual(Pair.peer_a, confirmed.peer);
            try testing.expectEqual(session.index(.a_to_b), confirmed.number);

            try pair.a.link.expectNext(packet);
            try pair.a.expectCounter(.keepalives_sent, 1);
            try pair.b.expectCounter(.keepalives_received, 1);
            try testing.expect((try pair.b.stats(Pair.peer_a)).keypair_at_ns != 0);
            try testing.expectEqual(null, pair.a.takeEvent(.keypair_confirmed));
        }
    }.body);
}

test "packets wait for a keypair, ask for it once a second, and leave in order when it comes" {
    try withPair(.{ .connected = false }, struct {
        fn body(pair: *Pair) anyerror!void {
            var room: [1420]u8 = undefined;
            var injected: u32 = 0;
            const first = while (true) : (injected += 1) {
                try pair.a.link.inject(stagedPacket(&room, injected));
                if (pair.a.takeEvent(.handshake_wanted)) |event| break event;
                try scene.Deadline.start().wait(-1);
            };
            const deadline: scene.Deadline = .start();
            const second = while (true) : (injected += 1) {
                try pair.a.link.inject(stagedPacket(&room, injected + 1));
                if (pair.a.takeEvent(.handshake_wanted)) |event| break event;
                for (0..20) |_| try deadline.wait(-1);
            };
            injected += 2;
            try testing.expect(second.at_ns - first.at_ns >= constants.ns_per_s);
            for ([2]abi.Event{ first, second }) |event| {
                try testing.expectEqual(Pair.peer_b, event.peer);
                try testing.expectEqual(@backingInt(abi.HandshakeReason.no_keypair), event.reason);
            }
            try pair.a.awaitCounter(.staged, injected);
            try testing.expect(injected < constants.staged_packets_max);
            try testing.expectEqual(injected, (try pair.a.stats(Pair.peer_b)).staged_packets);

            try pair.connect(.{ .number = 0 });
            for (0..injected) |number| try pair.b.link.expectNext(stagedPacket(&room, @intCast(number)));
            try pair.cross(.a_to_b, 1);
            try pair.a.expectCounter(.staged_dropped, 0);
            // The packets that waited were the sign of life: no keepalive beside them.
            try pair.a.expectCounter(.keepalives_sent, 0);
            try testing.expectEqual(0, (try pair.a.stats(Pair.peer_b)).staged_packets);
        }

        fn stagedPacket(room: []u8, number: u32) []u8 {
            return makePacket(room, .{ .length = 60 + number * 37 % 1360, .number = number });
        }
    }.body);
}

test "of more than 128 waiting packets the newest 128 are kept" {
    try withPair(.{ .connected = false }, struct {
        fn body(pair: *Pair) anyerror!void {
            var room: [1420]u8 = undefined;
            for (0..200) |number| {
                try pair.a.link.inject(makePacket(&room, .{ .length = 1420, .number = @intCast(number) }));
            }
            try pair.a.awaitCounter(.staged, 200);
            try pair.a.expectCounter(.staged_dropped, 72);
            try testing.expectEqual(128, (try pair.a.stats(Pair.peer_b)).staged_packets);
            try pair.connect(.{ .number = 0 });
            for (72..200) |number| {
                const packet = makePacket(&room, .{ .length = 1420, .number = @intCast(number) });
                try pair.b.link.expectNext(packet);
            }
            try pair.cross(.a_to_b, 1);
        }
    }.body);
}

test "staged packets are dropped when the handshake is given up, and when keypairs are" {
    try withPair(.{ .connected = false }, struct {
        fn body(pair: *Pair) anyerror!void {
            var room: [100]u8 = undefined;
            for ([2]abi.CommandKind{ .staged_drop, .keypairs_drop }, 1..) |kind, count| {
                try pair.a.link.inject(makePacket(&room, .{ .length = 100 }));
                try pair.a.awaitCounter(.staged, count);
                try pair.a.apply(&.{.{ .kind = kind, .peer = Pair.peer_b }});
                try testing.expectEqual(0, (try pair.a.stats(Pair.peer_b)).staged_packets);
            }
            try pair.connect(.{ .number = 0 });
            try pair.cross(.a_to_b, 1);
        }
    }.body);
}

test "a keypair without an endpoint, or with one that was taken away, keeps what waits" {
    try withPair(.{ .connected = false }, struct {
        fn body(pair: *Pair) anyerror!void {
            var room: [100]u8 = undefined;
            const packet = makePacket(&room, .{ .length = 100 });
            try pair.a.link.inject(packet);
            try pair.a.awaitCounter(.staged, 1);
            try pair.a.apply(&.{.{ .kind = .peer_endpoint_set, .peer = Pair.peer_b }});
            try pair.installResponder(.{ .number = 0 });
            try pair.installInitiator(.{ .number = 0 });
            try pair.a.link.inject(packet);
            try pair.a.awaitCounter(.no_endpoint, 1);
            try testing.expectEqual(1, (try pair.a.stats(Pair.peer_b)).staged_packets);
            try pair.a.expectCounter(.udp_send_datagrams, 0);

            const endpoint = pair.b.endpoint();
            try pair.a.apply(&.{.{ .kind = .peer_endpoint_set, .peer = Pair.peer_b, .remote = endpoint }});
            try pair.b.link.expectNext(packet);
        }
    }.body);
}

test "what waited on a responder goes before what comes when its keypair is just confirmed" {
    try withPair(.{ .connected = false }, struct {
        fn body(pair: *Pair) anyerror!void {
            // Turns by hand: the receive thread may confirm between any two lines of a turn.
            pair.b.device.stop();
            try pair.installResponder(.{ .number = 0 });
            try pair.installInitiator(.{ .number = 0 });
            var room: [100]u8 = undefined;
            for (0..3) |number| {
                const waiting = makePacket(&room, .{ .way = .b_to_a, .number = @intCast(number) });
                try pair.b.link.inject(waiting);
            }
            _ = pair.b.device.paths[0].tx.turn();
            try pair.b.expectCounter(.staged, 3);
            const slots = &pair.b.device.tables.peers[Pair.peer_a.slot].?.keypairs;
            try testing.expect(slots.confirm(slots.next.?));
            try pair.b.link.inject(makePacket(&room, .{ .way = .b_to_a, .number = 3 }));
            _ = pair.b.device.paths[0].tx.turn();
            for (0..4) |number| {
                const expected = makePacket(&room, .{ .way = .b_to_a, .number = @intCast(number) });
                try pair.a.link.expectNext(expected);
            }
        }
    }.body);
}

test "what is answered to a packet at once leaves in the turn that wrote it, unless transmit is awake" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            pair.b.device.stop();
            const path = &pair.b.device.paths[0];
            var room: [100]u8 = undefined;
            const sent_before = pair.b.counter(.udp_send_datagrams);
            for ([_]u64{ 0, std.math.maxInt(u64) }, 0..) |asleep_until_ns, number| {
                path.tx.asleep_until_ns.store(asleep_until_ns, .release);
                try pair.a.link.inject(makePacket(&room, .{ .way = .a_to_b, .number = @intCast(number) }));
                // The answer that the kernel would give to what the turn writes.
                const answer = makePacket(&room, .{ .way = .b_to_a, .number = @intCast(number) });
                try pair.b.link.inject(answer);
                const deadline: scene.Deadline = .start();
                while (!path.rx.turn()) try deadline.wait(path.rx.udp.fd);
                try testing.expectEqual(2 * number, pair.b.counter(.udp_send_datagrams) - sent_before);
            }
            for (0..2) |number| {
                try pair.a.link.expectNext(makePacket(&room, .{ .way = .b_to_a, .number = @intCast(number) }));
            }
            // Its timers are nearer than it sleeps: it is woken.
            var count: [8]u8 = undefined;
            try testing.expectEqual(8, linux.read(path.tx.lane.wake_transmit, &count, count.len));
        }
    }.body);
}

test "destinations without an owner or an endpoint are counted and go nowhere" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            const elsewhere: abi.PeerRef = .{ .slot = 0, .generation = 1 };
            const prefix = scene.prefix4(.{ 10, 4, 5, 7 }, 32);
            try pair.a.apply(&.{
                .{ .kind = .peer_add, .peer = elsewhere },
                .{ .kind = .allowed_ip_add, .peer = elsewhere, .prefix = prefix },
            });
            var room: [100]u8 = undefined;
            const packet = makePacket(&room, .{ .length = 100 });
            packet[16..20].* = .{ 10, 5, 0, 1 };
            try pair.a.link.inject(packet);
            packet[16..20].* = .{ 10, 4, 5, 7 };
            try pair.a.link.inject(packet);
            const packet6 = makePacket(&room, .{ .family = .v6, .length = 100 });
            packet6[24] = 0xfd;
            try pair.a.link.inject(packet6);
            try pair.cross(.a_to_b, 1);
            try pair.a.expectCounter(.no_route, 2);
            try pair.a.expectCounter(.no_endpoint, 1);

            // The prefix goes, and the wider one of B holds the address again.
            try pair.a.apply(&.{.{ .kind = .allowed_ip_remove, .peer = elsewhere, .prefix = prefix }});
            const back = makePacket(&room, .{ .length = 100 });
            back[16..20].* = .{ 10, 4, 5, 7 };
            try pair.a.link.inject(back);
            try pair.b.link.expectNext(back);
        }
    }.body);
}

test "a peer cannot speak from an address that a longer prefix gives to another" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            const other: abi.PeerRef = .{ .slot = 9, .generation = 1 };
            try pair.b.apply(&.{
                .{ .kind = .peer_add, .peer = other },
                .{ .kind = .allowed_ip_add, .peer = other, .prefix = scene.prefix4(.{ 10, 1, 7, 0 }, 24) },
                .{ .kind = .allowed_ip_add, .peer = other, .prefix = .{
                    .address = @as([15]u8, @splat(0xfd)) ++ .{1},
                    .bits = 128,
                    .family = 6,
                } },
            });
            var room: [100]u8 = undefined;
            for ([_][4]u8{ .{ 10, 1, 7, 9 }, .{ 10, 2, 0, 1 }, .{ 10, 4, 5, 6 } }) |source| {
                const packet = makePacket(&room, .{ .length = 100 });
                packet[12..16].* = source;
                try pair.a.link.inject(packet);
            }
            const packet6 = makePacket(&room, .{ .family = .v6, .length = 100 });
            packet6[23] = 1;
            try pair.a.link.inject(packet6);
            try pair.cross(.a_to_b, 1);
            try pair.b.expectCounter(.inner_source_refused, 4);
            try pair.b.expectCounter(.inner_malformed, 0);

            const own = makePacket(&room, .{ .length = 100 });
            own[12..16].* = .{ 10, 1, 8, 9 };
            try pair.a.link.inject(own);
            try pair.b.link.expectNext(own);
        }
    }.body);
}

test "a peer's packet goes where this node leads somebody, and nowhere else" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            var room: [100]u8 = undefined;
            const packet = makePacket(&room, .{ .length = 100 });
            const own = packet[16..20].*;
            try pair.b.device.setDestinations(&.{scene.prefix4(own, 32)});
            packet[19] +%= 1;
            try pair.a.link.inject(packet);
            packet[19] -%= 1;
            try pair.a.link.inject(packet);
            try pair.b.link.expectNext(packet);
            try pair.b.expectCounter(.inner_destination_refused, 1);
        }
    }.body);
}

test "a peer is where its newest packet came from, and a replay from elsewhere does not move it" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            const first: Wire = try .open();
            defer first.close();
            const second: Wire = try .open();
            defer second.close();
            const thief: Wire = try .open();
            defer thief.close();
            try pair.relayThrough(first);
            const port = pair.b.endpoint().port;
            var room: [64]u8 = undefined;
            var datagrams: [2][2048]u8 = undefined;
            var newest: []u8 = undefined;

            for ([2]Wire{ first, second }, &datagrams, 0..) |relay, *datagram, round| {
                const packet = makePacket(&room, .{ .number = @intCast(round) });
                try pair.a.link.inject(packet);
                newest = (try first.receive(datagram)).bytes;
                try relay.send(port, newest);
                try pair.b.link.expectNext(packet);
                const event = try pair.b.awaitEvent(.endpoint_roamed);
                try testing.expectEqual(Pair.peer_a, event.peer);
                try testing.expectEqual(relay.endpoint(), event.remote);
                try testing.expectEqual(scene.v4(.{ 127, 0, 0, 1 }, 0).address, event.local.address);
                try answersCome(pair, relay);
            }

            try thief.send(port, newest);
            newest[newest.len - 1] ^= 1;
            try thief.send(port, newest);
            try pair.b.awaitCounter(.not_authentic, 1);
            try pair.b.expectCounter(.replayed, 1);
            try answersCome(pair, second);
            try testing.expectEqual(null, pair.b.takeEvent(.endpoint_roamed));
            try testing.expectEqual(null, try thief.receiveNow(&datagrams[0]));
        }

        fn answersCome(pair: *Pair, relay: Wire) !void {
            var room: [64]u8 = undefined;
            var bytes: [2048]u8 = undefined;
            const packet = makePacket(&room, .{ .way = .b_to_a, .number = relay.port });
            try pair.b.link.inject(packet);
            const datagram = try relay.receive(&bytes);
            try testing.expectEqual(pair.b.endpoint().port, datagram.port);
            try testing.expectEqual(64 + 32, datagram.bytes.len);
            try relay.send(pair.a.endpoint().port, datagram.bytes);
            try pair.a.link.expectNext(packet);
        }
    }.body);
}

test "session messages arrive with their peer and equal bytes, staged ones too" {
    try withPair(.{ .connected = false }, struct {
        fn body(pair: *Pair) anyerror!void {
            var bytes: [constants.control_message_bytes_max]u8 = undefined;
            try testing.expectEqual(1, try say(pair, sessionMessage(&bytes, 700)));
            try pair.a.awaitCounter(.staged, 1);
            try pair.connect(.{ .number = 0 });
            try expectHeard(pair, sessionMessage(&bytes, 700));

            var length: usize = constants.control_header_bytes;
            while (length <= constants.control_message_bytes_max) : (length += 1) {
                const message = sessionMessage(&bytes, @intCast(length));
                try testing.expectEqual(1, try say(pair, message));
                try expectHeard(pair, message);
            }
            const messages = constants.control_message_bytes_max - 3 + 1;
            try pair.a.expectCounter(.session_messages_sent, messages);
            try pair.b.expectCounter(.session_messages_received, messages);
            try pair.b.expectCounter(.inner_malformed, 0);
            try pair.b.link.expectNothing();
        }
    }.body);
}

test "a session message whose header lies is malformed" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            const Lie = struct { kind: u8 = 1, says: u16, has: u16 };
            const lies = [_]Lie{
                .{ .says = 17, .has = 4 },      .{ .says = 33, .has = 32 },            .{ .says = 0, .has = 16 },
                .{ .says = 3, .has = 16 },      .{ .says = 65_535, .has = 16 },        .{ .says = 1233, .has = 1233 },
                .{ .says = 1500, .has = 1536 }, .{ .kind = 0, .says = 16, .has = 16 },
            };
            var bytes: [constants.control_datagram_bytes_max]u8 = @splat(0);
            for (lies) |lie| {
                bytes[0] = lie.kind;
                std.mem.writeInt(u16, bytes[2..4], lie.says, .little);
                try testing.expectEqual(1, try say(pair, bytes[0..lie.has]));
            }
            const truth = sessionMessage(&bytes, 99);
            try testing.expectEqual(1, try say(pair, truth));
            try expectHeard(pair, truth);
            try pair.b.expectCounter(.inner_malformed, lies.len);
            try pair.b.expectCounter(.session_messages_received, 1);

            // One for a peer that is gone is passed over, one that is too long refused.
            const gone: abi.Datagram = .{ .kind = .session_message, .length = 99, .peer = .{
                .slot = Pair.peer_b.slot,
                .generation = Pair.peer_b.generation + 1,
            } };
            _ = pair.a.device.send(&.{gone}, truth);
            const long: [constants.control_datagram_bytes_max + 1]u8 = @splat(1);
            _ = try say(pair, &long);
            try pair.a.expectCounter(.outbox_ring_full, 1);
            _ = try say(pair, truth);
            try expectHeard(pair, truth);
            try testing.expectEqual(null, pair.a.device.send(&.{.{ .kind = .raw, .offset = 8, .length = 100 }}, truth));
        }
    }.body);
}

fn sessionMessage(buffer: []u8, length: u16) []u8 {
    const message = buffer[0..length];
    for (message, 0..) |*byte, at| byte.* = @truncate(at ^ length);
    // Any type but that of a relayed frame, which the data plane takes itself.
    message[0] = 1 + @as(u8, @intCast(length % 15));
    if (message[0] == constants.control_relayed) message[0] = 1;
    message[1] = 0;
    std.mem.writeInt(u16, message[2..4], length, .little);
    return message;
}

fn say(pair: *Pair, message: []const u8) !usize {
    const datagram: abi.Datagram = .{
        .kind = .session_message,
        .length = @intCast(message.len),
        .peer = Pair.peer_b,
    };
    return pair.a.device.send(&.{datagram}, message) orelse error.Refused;
}

fn expectHeard(pair: *Pair, message: []const u8) !void {
    const deadline: scene.Deadline = .start();
    var datagrams: [2]abi.Datagram = undefined;
    var bytes: [4096]u8 = undefined;
    const count = while (true) {
        const count = pair.b.device.receive(&datagrams, &bytes);
        if (count > 0) break count;
        if (!pair.b.device.arm()) try deadline.wait(pair.b.device.tables.doorbell.fds[0]);
        _ = linux.read(pair.b.device.tables.doorbell.fds[0], &bytes, 8);
        while (pair.b.takeEvent(.keypair_confirmed)) |_| continue;
    };
    try testing.expectEqual(1, count);
    try testing.expectEqual(.session_message, datagrams[0].kind);
    try testing.expectEqual(Pair.peer_a, datagrams[0].peer);
    try testing.expectEqual(pair.a.endpoint(), datagrams[0].remote);
    try testing.expectEqualSlices(u8, message, bytes[datagrams[0].offset..][0..datagrams[0].length]);
}

test "persistent keepalives flow once a second, and ask for a keypair where there is none" {
    try withPair(.{ .connected = false }, struct {
        fn body(pair: *Pair) anyerror!void {
            try pair.a.apply(&.{.{ .kind = .peer_keepalive_set, .peer = Pair.peer_b, .number = 1 }});
            const wanted = try pair.a.awaitEvent(.handshake_wanted);
            try testing.expectEqual(@backingInt(abi.HandshakeReason.persistent_keepalive), wanted.reason);
            try pair.connect(.{ .number = 0 });
            // The first is the sign that the initiator has the keypair.
            try pair.b.awaitCounter(.keepalives_received, 1);
            const start_ns = (try pair.b.stats(Pair.peer_a)).last_received_ns;
            try pair.b.awaitCounter(.keepalives_received, 3);
            const took_ns = (try pair.b.stats(Pair.peer_a)).last_received_ns - start_ns;
            try testing.expect(took_ns > 1_900 * constants.ns_per_ms);
            try testing.expect(took_ns < 5_000 * constants.ns_per_ms);
            try pair.b.expectCounter(.opened_packets, pair.b.counter(.keepalives_received));
            try pair.b.link.expectNothing();
        }
    }.body);
}

//! A whole device while it is changed: ports, peers, keypairs, the link and the threads themselves,
//! most of it under traffic; and that nothing is left behind. Needs root.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const scene = @import("device_scene.zig");
const secrets = @import("secrets.zig");
const test_options = @import("test_options");
const Netlink = @import("netlink.zig").Netlink;
const Node = scene.Node;
const Pair = scene.Pair;
const Session = scene.Session;
const Traffic = scene.Traffic;
const Wire = scene.Wire;
const inOwnNamespace = scene.inOwnNamespace;
const withPair = scene.withPair;
const makePacket = scene.makePacket;
const linux = std.os.linux;
const testing = std.testing;

/// As `Pair.cross`, with other packets under way.
fn crossAmongOthers(pair: *Pair, way: scene.Way, number: u32) !void {
    var room: [64]u8 = undefined;
    const packet = makePacket(&room, .{ .way = way, .number = number });
    // What was not taken meanwhile fills the socket within a second.
    try pair.receiver(way).link.drain();
    const deadline: scene.Deadline = .start();
    while (!try pair.sender(way).link.offer(&scene.virtio_none, packet)) try deadline.wait(-1);
    try pair.receiver(way).link.awaitSame(packet);
}

test "the listening port changes under traffic; one that is taken changes nothing" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            var traffic: Traffic = .{ .links = .{ pair.a.link, pair.b.link } };
            try traffic.start();
            defer traffic.stop();

            for (0..5) |round| {
                const before = pair.b.device.info().listen_port;
                var status: [1]abi.Status = undefined;
                pair.b.device.apply(&.{.{ .kind = .listen_port_set }}, &status);
                try testing.expectEqual(0, status[0].code);
                try testing.expectEqual(pair.b.device.info().listen_port, status[0].value);
                try testing.expect(before != status[0].value);
                // A hears from the new port, and follows.
                const roamed = try pair.a.awaitEvent(.endpoint_roamed);
                try testing.expectEqual(pair.b.endpoint(), roamed.remote);
                try crossAmongOthers(pair, .a_to_b, @intCast(round));
                try crossAmongOthers(pair, .b_to_a, @intCast(round));
            }

            const taken: Wire = try .open();
            defer taken.close();
            const port = pair.b.device.info().listen_port;
            try pair.b.expectRefused(.address_in_use, .{ .kind = .listen_port_set, .number = taken.port });
            try pair.b.expectRefused(.invalid_argument, .{ .kind = .listen_port_set, .number = 65_536 });
            try testing.expectEqual(port, pair.b.device.info().listen_port);
            try pair.b.apply(&.{.{ .kind = .listen_port_set, .number = port }});
            try crossAmongOthers(pair, .a_to_b, 8);
            try crossAmongOthers(pair, .b_to_a, 8);
            try testing.expectEqual(null, pair.a.takeEvent(.endpoint_roamed));
        }
    }.body);
}

test "every datagram is received or counted as lost, over a change of the port" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            const wire: Wire = try .open();
            defer wire.close();
            var sent: u64 = 1;
            // Fewer in the second round: a fresh socket's count of losses begins at zero.
            for ([2]usize{ 40_000, 30_000 }) |flood| {
                pair.b.device.stop();
                try pair.b.apply(&.{.{ .kind = .listen_port_set }});
                const lost_before = pair.b.counter(.udp_receive_overflow);
                for (0..flood) |_| try wire.send(pair.b.endpoint().port, "lost");
                try testing.expectEqual(.ok, pair.b.device.start());
                try pair.a.apply(&.{.{
                    .kind = .peer_endpoint_set,
                    .peer = Pair.peer_b,
                    .remote = pair.b.endpoint(),
                }});
                try awaitDrained(pair.b.device.sockets.handshakes.?.fd);
                sent += flood + 1;
                try pair.cross(.a_to_b, @intCast(flood));
                const deadline: scene.Deadline = .start();
                while (pair.b.counter(.udp_receive_overflow) == lost_before) try deadline.wait(-1);
                const received = pair.b.counter(.udp_receive_datagrams);
                try testing.expectEqual(sent, received + pair.b.counter(.udp_receive_overflow));
            }
        }

        fn awaitDrained(fd: linux.fd_t) !void {
            const deadline: scene.Deadline = .start();
            var polled = [1]linux.pollfd{.{ .fd = fd, .events = linux.POLL.IN, .revents = 0 }};
            while (linux.poll(&polled, 1, 0) != 0) try deadline.wait(-1);
        }
    }.body);
}

test "a command for a peer that is gone, and a keypair that cannot be, change nothing and leak nothing" {
    try inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            const secrets_before = secrets.count();
            var pair: Pair = try .openConnected();
            errdefer pair.printCounters();
            const stale: abi.PeerRef = .{ .slot = Pair.peer_b.slot, .generation = 6 };
            const nobody: abi.PeerRef = .{ .slot = 9, .generation = 1 };
            const far: abi.PeerRef = .{ .slot = constants.peers_max, .generation = 1 };
            for ([_]abi.CommandKind{
                .peer_remove,       .peer_endpoint_set, .peer_keepalive_set, .allowed_ip_add,
                .allowed_ip_remove, .allowed_ips_clear, .keypairs_drop,      .staged_drop,
                .keypair_install,
            }) |kind| {
                for ([_]struct { abi.PeerRef, abi.Error }{
                    .{ stale, .stale_peer }, .{ nobody, .no_such_peer }, .{ far, .no_such_peer },
                }) |row| {
                    var command = try scene.keypairInstall(row[0], .{ .number = 9 }, .a_to_b);
                    command.kind = kind;
                    command.prefix = scene.prefix4(.{ 10, 4, 0, 0 }, 16);
                    try pair.a.expectRefused(row[1], command);
                    if (kind == .keypair_install) continue;
                    try secrets.free(command.secret_send);
                    try secrets.free(command.secret_receive);
                }
            }
            try pair.a.expectRefused(.peer_exists, .{ .kind = .peer_add, .peer = Pair.peer_b });
            try pair.a.expectRefused(.invalid_argument, .{ .kind = .peer_add, .peer = far });
            try pair.a.expectRefused(.invalid_argument, .{ .kind = .peer_add, .peer = .{ .slot = 8 } });
            try pair.a.expectRefused(.invalid_argument, .{
                .kind = .allowed_ip_add,
                .peer = Pair.peer_b,
                .prefix = .{ .family = 5 },
            });
            try pair.a.expectRefused(.invalid_argument, .{ .kind = @fromBackingInt(999) });

            try refuseKeypairs(&pair);
            try testing.expectEqual(secrets_before + 4, secrets.count());
            try pair.cross(.a_to_b, 1);
            try pair.cross(.b_to_a, 1);
            pair.close();
            try testing.expectEqual(secrets_before, secrets.count());
        }

        /// Bad handles in either place or both, and an index that is in use.
        fn refuseKeypairs(pair: *Pair) !void {
            var command = try scene.keypairInstall(Pair.peer_b, .{ .number = 9 }, .a_to_b);
            const good = command.secret_receive;
            try secrets.free(command.secret_send);
            try pair.a.expectRefused(.no_such_secret, command);
            try testing.expectEqual(null, secrets.get(good));
            try pair.a.expectRefused(.no_such_secret, command);
            command = try scene.keypairInstall(Pair.peer_b, .{ .number = 9 }, .a_to_b);
            try secrets.free(command.secret_receive);
            command.secret_receive = 0;
            try pair.a.expectRefused(.no_such_secret, command);
            command = try scene.keypairInstall(Pair.peer_b, .{ .number = 0 }, .a_to_b);
            try pair.a.expectRefused(.invalid_argument, command);
        }
    }.body);
}

test "peers and keypairs come and go thousands of times under traffic, and leave nothing behind" {
    try inOwnNamespace(struct {
        const CountingAllocator = std.heap.DebugAllocator(.{ .enable_memory_limit = true });

        fn body(_: *Netlink) anyerror!void {
            const descriptors = try scene.countEntries("/proc/self/fd");
            const threads = try scene.countEntries("/proc/self/task");
            const secrets_before = secrets.count();
            var counting: CountingAllocator = .init;
            var pair: Pair = try .openWith(.{ .allocator = counting.allocator() });
            errdefer pair.printCounters();

            const round = 40;
            try churn(&pair, 0, 3 * round);
            try testing.expectEqual(secrets_before, secrets.count());
            const bytes = counting.total_requested_bytes;
            try churn(&pair, 3 * round, @max(test_options.churn, 4 * round));
            try testing.expectEqual(secrets_before, secrets.count());
            try testing.expectEqual(bytes, counting.total_requested_bytes);

            pair.close();
            try testing.expectEqual(.ok, counting.deinit());
            try testing.expectEqual(descriptors, try scene.countEntries("/proc/self/fd"));
            // A thread that was joined leaves the process a moment later.
            const deadline: scene.Deadline = .start();
            while (try scene.countEntries("/proc/self/task") > threads) try deadline.wait(-1);
        }

        fn churn(pair: *Pair, first: u32, end: u32) !void {
            try pair.connect(sessionAt(first));
            var traffic: Traffic = .{ .links = .{ pair.a.link, pair.b.link } };
            try traffic.start();
            defer traffic.stop();
            const written = pair.a.counter(.tun_write_packets) + pair.b.counter(.tun_write_packets);
            for (first..end) |cycle| {
                try changeOnce(&pair.a, pair.b.endpoint(), @intCast(cycle), cycle >= first + 20);
                try changeOnce(&pair.b, pair.a.endpoint(), @intCast(cycle), cycle >= first + 20);
                try speak(&pair.a, Pair.peer_b, pair.b.endpoint());
                try speak(&pair.b, Pair.peer_a, pair.a.endpoint());
                try pair.a.link.drain();
                try pair.b.link.drain();
                if (cycle % 40 != 39) continue;
                try traffic.awaitMore(64);
                pair.a.log_count = 0;
                pair.b.log_count = 0;
                try pair.connect(sessionAt(cycle + 1));
            }
            for (end - 20..end) |cycle| {
                try pair.a.apply(&.{.{ .kind = .peer_remove, .peer = refOf(@intCast(cycle)) }});
                try pair.b.apply(&.{.{ .kind = .peer_remove, .peer = refOf(@intCast(cycle)) }});
            }
            traffic.stop();
            try crossAmongOthers(pair, .a_to_b, 1);
            try crossAmongOthers(pair, .b_to_a, 1);
            try testing.expect(traffic.taken.load(.monotonic) > 0);
            for ([2]*Node{ &pair.a, &pair.b }) |node| {
                try node.expectCounter(.handshakes_refused_no_key, end);
                try node.expectCounter(.not_authentic, 0);
                try node.expectCounter(.replayed, 0);
                try node.expectCounter(.malformed, 0);
            }
            const now = pair.a.counter(.tun_write_packets) + pair.b.counter(.tun_write_packets);
            try testing.expect(now - written > (end - first) / 4);
            try pair.a.apply(&.{.{ .kind = .keypairs_drop, .peer = Pair.peer_b }});
            try pair.b.apply(&.{.{ .kind = .keypairs_drop, .peer = Pair.peer_a }});
        }

        /// What the control plane does besides: a handshake message of no worth, a session message,
        /// and a look at what came.
        fn speak(node: *Node, peer: abi.PeerRef, remote: abi.Endpoint) !void {
            const length = constants.initiation_bytes;
            const bytes = [4]u8{ 1, 0, 0, 0 } ++ @as([length - 4]u8, @splat(0)) ++ [4]u8{ 1, 0, 4, 0 };
            const sent = node.device.send(&.{
                .{ .kind = .initiation, .length = length, .peer = peer, .remote = remote },
                .{ .kind = .session_message, .offset = length, .length = 4, .peer = peer },
            }, &bytes);
            try testing.expectEqual(2, sent);
            var datagrams: [64]abi.Datagram = undefined;
            var room: [4096]u8 = undefined;
            for (datagrams[0..node.device.receive(&datagrams, &room)]) |datagram| {
                try testing.expectEqual(.session_message, datagram.kind);
                try testing.expectEqual(peer, datagram.peer);
            }
            _ = try node.stats(peer);
        }

        /// Another every 40 cycles; of so many that one is long gone when its number comes again.
        fn sessionAt(cycle: usize) Session {
            return .{ .number = @intCast(1 + cycle / 40 % 100) };
        }

        fn refOf(cycle: u32) abi.PeerRef {
            return .{ .slot = 10 + cycle % 32, .generation = cycle + 1 };
        }

        /// A peer comes, takes some of the traffic's addresses and sends it into nowhere or under
        /// keys that the other end does not have; one that came 20 cycles ago goes.
        fn changeOnce(node: *Node, other: abi.Endpoint, cycle: u32, remove: bool) !void {
            const ref = refOf(cycle);
            const narrow: u8 = if (cycle % 3 == 0) 32 else 24;
            try node.apply(&.{
                .{ .kind = .peer_add, .peer = ref },
                .{ .kind = .peer_endpoint_set, .peer = ref, .remote = if (cycle % 2 == 0) other else .{} },
                .{ .kind = .allowed_ip_add, .peer = ref, .prefix = scene.prefix4(.{ 10, 4, 5, 6 }, narrow) },
                .{ .kind = .allowed_ip_add, .peer = ref, .prefix = scene.prefix4(.{ 10, 1, 2, 3 }, narrow) },
                .{ .kind = .allowed_ip_add, .peer = ref, .prefix = scene.prefix6(.{ 0xfd, 0 }, @truncate(cycle), 128) },
                .{ .kind = .peer_keepalive_set, .peer = ref, .number = cycle % 2 },
            });
            for (0..4) |number| {
                const way: scene.Way = if ((cycle + number) % 2 == 0) .a_to_b else .b_to_a;
                var command = try scene.keypairInstall(ref, .{ .number = 120 }, way);
                command.local_index = 0xc000_0000 + cycle * 4 + @as(u32, @intCast(number));
                try node.apply(&.{command});
            }
            if (cycle % 3 != 1) try node.apply(&.{.{ .kind = .allowed_ips_clear, .peer = ref }});
            if (cycle % 5 == 0) try node.apply(&.{.{ .kind = .keypairs_drop, .peer = ref }});
            if (remove) try node.apply(&.{.{ .kind = .peer_remove, .peer = refOf(cycle - 20) }});
        }
    }.body);
}

test "peers may come and go without end while no thread runs" {
    try withPair(.{ .connected = false }, struct {
        fn body(pair: *Pair) anyerror!void {
            pair.a.device.stop();
            for (0..constants.peers_max + 10) |number| {
                const ref: abi.PeerRef = .{ .slot = 7, .generation = @intCast(number + 1) };
                try pair.a.apply(&.{
                    .{ .kind = .peer_add, .peer = ref },
                    try scene.keypairInstall(ref, .{ .number = 9 }, .a_to_b),
                    .{ .kind = .peer_remove, .peer = ref },
                });
            }
            try testing.expectEqual(.ok, pair.a.device.start());
            try pair.connect(.{ .number = 0 });
            try pair.cross(.a_to_b, 1);
        }
    }.body);
}

test "threads stop and start again, and what waited meanwhile passes" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            try testing.expectEqual(.wrong_state, pair.a.device.start());
            var room: [100]u8 = undefined;
            for (0..10) |round| {
                const node = if (round % 2 == 0) &pair.a else &pair.b;
                node.device.stop();
                node.device.stop();
                const packet = makePacket(&room, .{ .length = 100, .number = @intCast(round) });
                try pair.a.link.inject(packet);
                try pair.b.link.expectNothing();
                try testing.expectEqual(.ok, node.device.start());
                try pair.b.link.expectNext(packet);
            }
        }
    }.body);
}

test "a link that is deleted is told of, and the device still stops and closes" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            var pair: Pair = try .openConnected();
            defer pair.close();
            errdefer pair.printCounters();
            const index = pair.a.device.info().interface_index;
            try testing.expectEqual(1, (try pair.a.awaitEvent(.link_changed)).reason);
            try netlink.setMtu(index, 1380);
            try testing.expectEqual(1380, (try pair.a.awaitEvent(.mtu_changed)).number);
            try testing.expectEqual(1380, pair.a.device.info().mtu);

            try netlink.deleteLink(index);
            _ = try pair.a.awaitEvent(.link_gone);
            try pair.a.expectRefused(.link_gone, .{ .kind = .mtu_set, .number = 1300 });
            // What comes for it is received and lost; and it still speaks for itself.
            var room: [100]u8 = undefined;
            try pair.b.link.inject(makePacket(&room, .{ .way = .b_to_a, .length = 100 }));
            try pair.a.awaitCounter(.tun_write_failed, 1);
            const message = [4]u8{ 1, 0, 16, 0 } ++ @as([12]u8, @splat(7));
            const datagram: abi.Datagram = .{
                .kind = .session_message,
                .length = message.len,
                .peer = Pair.peer_b,
            };
            try testing.expectEqual(1, pair.a.device.send(&.{datagram}, &message));
            try pair.b.awaitCounter(.session_messages_received, 1);
            try testing.expectEqual(null, pair.a.takeEvent(.link_gone));
            pair.a.device.stop();
            try testing.expectEqual(.ok, pair.a.device.start());
        }
    }.body);
}

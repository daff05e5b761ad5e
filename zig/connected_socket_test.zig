//! Connected sockets in two whole devices: a busy peer gets one, and whatever becomes of the peer,
//! the port or the other side, what is sent arrives. Needs root.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const scene = @import("device_scene.zig");
const Udp = @import("udp_linux.zig").Udp;
const Pair = scene.Pair;
const withPair = scene.withPair;
const testing = std.testing;

const options: scene.Options = .{ .flags = abi.config_flag_connected_sockets };

const burst = 64;

/// Enough to be busy, and everything comes out, once. Where the socket changes within a burst, what went by
/// the one may overtake what went by the other.
fn exchange(pair: *Pair, way: scene.Way) !void {
    var room: [300]u8 = undefined;
    var came: [scene.packet_room]u8 = undefined;
    var sent: u32 = 0;
    while (sent < 2 * constants.connected_busy_datagrams) : (sent += burst) {
        for (sent..sent + burst) |number|
            try pair.sender(way).link.inject(scene.makePacket(&room, .{ .way = way, .length = 200, .number = @intCast(number) }));
        var missing: std.bit_set.IntegerBitSet(burst) = .full;
        while (missing.count() > 0) {
            const packet = (try pair.receiver(way).link.receive(&came)).packet;
            const at = for (0..burst) |at| {
                const expected = scene.makePacket(&room, .{ .way = way, .length = 200, .number = @intCast(sent + at) });
                if (missing.isSet(at) and std.mem.eql(u8, expected, packet)) break at;
            } else return error.NotSent;
            missing.unset(at);
        }
    }
}

/// It comes to this, soon.
fn expectOpen(node: *const scene.Node, count: u32) !void {
    const deadline: scene.Deadline = .start();
    while (node.device.info().connected_sockets != count) try deadline.wait(-1);
}

test "busy peers get a connected socket each, which goes with the peer" {
    try withPair(.{ .options = options }, struct {
        fn body(pair: *Pair) anyerror!void {
            // Each learns which address of its own the other knows.
            try pair.cross(.a_to_b, 1);
            try pair.cross(.b_to_a, 2);
            try expectOpen(&pair.a, 0);
            try exchange(pair, .a_to_b);
            try expectOpen(&pair.a, 1);
            try exchange(pair, .b_to_a);
            try expectOpen(&pair.b, 1);
            // Both sides of the pair by their own now.
            try exchange(pair, .a_to_b);
            try pair.a.expectCounter(.connected_sockets_opened, 1);
            try pair.a.expectCounter(.udp_send_failed, 0);

            // The port is still this device's alone.
            try testing.expectError(error.AddressInUse, Udp.open(pair.a.endpoint().port, 0, .{}));
            try pair.a.apply(&.{.{ .kind = .peer_remove, .peer = Pair.peer_b }});
            // Any change that wakes transmit will do.
            try pair.a.apply(&.{
                .{ .kind = .peer_add, .peer = .{ .slot = 9, .generation = 1 } },
                .{ .kind = .peer_keepalive_set, .peer = .{ .slot = 9, .generation = 1 }, .number = 1 },
            });
            try expectOpen(&pair.a, 0);
        }
    }.body);
}

test "another port of ours or of the peer's, and a peer that is not there for a while" {
    try withPair(.{ .options = options }, struct {
        fn body(pair: *Pair) anyerror!void {
            try exchange(pair, .a_to_b);
            try exchange(pair, .b_to_a);
            try expectOpen(&pair.a, 1);

            const old_port = pair.a.endpoint().port;
            try pair.a.apply(&.{.{ .kind = .listen_port_set, .number = 0 }});
            try expectOpen(&pair.a, 0);
            // B sends to where A was until A speaks from its new port.
            try pair.cross(.a_to_b, 1);
            const roamed = try pair.b.awaitEvent(.endpoint_roamed);
            try testing.expectEqual(pair.a.endpoint().port, roamed.remote.port);
            try exchange(pair, .b_to_a);
            try exchange(pair, .a_to_b);
            try expectOpen(&pair.a, 1);
            try expectOpen(&pair.b, 1);
            try pair.a.expectCounter(.connected_sockets_opened, 2);
            try pair.b.expectCounter(.connected_sockets_opened, 2);

            // Nothing of the old port is left, so it can be had again.
            const deadline: scene.Deadline = .start();
            while (true) {
                var again = Udp.open(old_port, 0, .{}) catch {
                    try deadline.wait(-1);
                    continue;
                };
                again.close();
                break;
            }

            // What is sent to a port where nobody listens comes back as an ICMP error.
            const away = try Udp.open(0, 0, .{});
            const away_port = away.port;
            var closed = away;
            closed.close();
            try pair.a.apply(&.{.{ .kind = .peer_endpoint_set, .peer = Pair.peer_b, .remote = scene.v4(.{ 127, 0, 0, 1 }, away_port) }});
            var room: [300]u8 = undefined;
            const before = pair.a.counter(.udp_send_datagrams);
            for (0..2 * constants.connected_busy_datagrams / 64) |turn| {
                for (0..64) |number|
                    try pair.a.link.inject(scene.makePacket(&room, .{ .way = .a_to_b, .length = 200, .number = @intCast(number) }));
                try pair.a.awaitCounter(.udp_send_datagrams, before + 64 * (turn + 1));
            }
            try expectOpen(&pair.a, 1);
            try pair.a.expectCounter(.udp_send_failed, 0);
            try pair.a.apply(&.{.{ .kind = .peer_endpoint_set, .peer = Pair.peer_b, .remote = pair.b.endpoint() }});
            try exchange(pair, .a_to_b);
        }
    }.body);
}

test "datagrams of others that a new socket is given are received all the same" {
    try withPair(.{ .options = options }, struct {
        fn body(pair: *Pair) anyerror!void {
            try exchange(pair, .b_to_a);
            try exchange(pair, .a_to_b);
            try expectOpen(&pair.a, 1);
            // A stranger's datagrams come to the unconnected socket, the peer's to the other: both are read.
            const wire = try scene.Wire.open();
            defer wire.close();
            const before = pair.a.counter(.malformed) + pair.a.counter(.unknown_type);
            for (0..20) |_| try wire.send(pair.a.endpoint().port, &.{ 9, 9, 9, 9, 9 });
            try exchange(pair, .b_to_a);
            const deadline: scene.Deadline = .start();
            while (pair.a.counter(.malformed) + pair.a.counter(.unknown_type) < before + 20) try deadline.wait(-1);
        }
    }.body);
}

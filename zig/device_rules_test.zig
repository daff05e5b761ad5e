//! WireGuard's rules where only a whole device shows them: endpoints that wait for a confirmation,
//! marks of congestion, answers to inner packets that cannot go anywhere. Needs root.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const scene = @import("device_scene.zig");
const Netlink = @import("netlink.zig").Netlink;
const Pair = scene.Pair;
const Session = scene.Session;
const Wire = scene.Wire;
const inOwnNamespace = scene.inOwnNamespace;
const makePacket = scene.makePacket;
const testing = std.testing;

const session: Session = .{ .number = 0 };

test "a responder's peer is where it was until it confirms, and then where it confirmed from" {
    try inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            var pair: Pair = try .open();
            defer pair.close();
            errdefer pair.printCounters();
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
            try testing.expectEqual(1, pair.b.log_count);
            try testing.expectEqual(.endpoint_roamed, pair.b.log[0].kind);
            try testing.expectEqual(wire.endpoint(), pair.b.log[0].remote);
            try testing.expectEqual(wire.endpoint(), (try pair.b.stats(Pair.peer_a)).remote);
        }
    }.body);
}

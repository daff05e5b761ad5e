//! What a whole device tells the control plane, where that hears late: what it must know of a peer is told
//! again, and no peer fills the ring of events. Needs root.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const scene = @import("device_scene.zig");
const tables_ = @import("tables.zig");
const Node = scene.Node;
const Pair = scene.Pair;
const Session = scene.Session;
const Wire = scene.Wire;
const testing = std.testing;

test "what a full ring of events had no room for is told of a peer once there is" {
    try scene.withPair(.{ .connected = false }, struct {
        fn body(pair: *Pair) anyerror!void {
            const session: Session = .{ .number = 0 };
            fill(&pair.b);
            try pair.installResponder(session);
            try pair.installInitiator(session);
            try pair.b.awaitCounter(.keepalives_received, 1);
            try takeAllBut(&pair.b, .keypair_confirmed);
            try testing.expectEqual(session.index(.a_to_b), (try pair.b.awaitEvent(.keypair_confirmed)).number);

            fill(&pair.b);
            try pair.a.apply(&.{.{ .kind = .listen_port_set }});
            try pair.cross(.a_to_b, 1);
            try takeAllBut(&pair.b, .endpoint_roamed);
            try testing.expectEqual(pair.a.endpoint(), (try pair.b.awaitEvent(.endpoint_roamed)).remote);

            fill(&pair.b);
            const tables = &pair.b.device.tables;
            tables.lock.enterAll();
            tables.peers[Pair.peer_a.slot].?.session_ns = 1;
            tables.lock.leaveAll();
            // Each time that the timers run it finds no room.
            const deadline: scene.Deadline = .start();
            const untold = pair.b.counter(.event_ring_full) + 8;
            while (pair.b.counter(.event_ring_full) < untold) : (try deadline.wait(-1)) try runTimers(&pair.b);
            try takeAllBut(&pair.b, .session_expired);
            _ = try pair.b.awaitEvent(.session_expired);

            // Each was told once.
            try runTimers(&pair.b);
            try pair.cross(.b_to_a, 1);
            for ([_]abi.EventKind{ .keypair_confirmed, .endpoint_roamed, .session_expired }) |kind|
                try testing.expectEqual(null, pair.b.takeEvent(kind));
        }

        fn fill(node: *Node) void {
            while (node.device.tables.events.push(.{ .kind = .network_changed })) {}
        }

        /// What is in the ring, among which there is none of this kind yet.
        fn takeAllBut(node: *Node, kind: abi.EventKind) !void {
            var events: [constants.event_ring_events]abi.Event = undefined;
            for (events[0..node.device.events(&events)]) |event| try testing.expect(event.kind != kind);
            try runTimers(node);
        }
    }.body);
}

test "a peer that is elsewhere with each packet is told of now and then, and in the end where it is" {
    try scene.withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            const wires = [2]Wire{ try .open(), try .open() };
            defer for (wires) |wire| wire.close();
            const session: Session = .{ .number = 0 };
            const port = pair.b.endpoint().port;
            const first = 100;
            const packets = 1000;
            var room: [128]u8 = undefined;
            const start_ns = tables_.nowNs();
            for (0..packets) |number|
                try wires[number % 2].send(port, session.seal(.a_to_b, first + number, &room, &.{}));
            try pair.b.expectCounter(.keepalives_received, 1 + packets);
            // On a busy machine the last that was sent need not be the last that came.
            const stays = wires[1];
            try stays.send(port, session.seal(.a_to_b, first + packets, &room, &.{}));
            try pair.b.expectCounter(.keepalives_received, 2 + packets);
            // Of so many in a moment the first few are told, and where it is now, which is not there.
            const last = stays.endpoint();
            var told: u64 = 0;
            var heard: abi.Endpoint = .{};
            const deadline: scene.Deadline = .start();
            while (!std.meta.eql(heard, last)) : (try deadline.wait(-1)) {
                while (pair.b.takeEvent(.endpoint_roamed)) |event| : (told += 1) heard = event.remote;
            }
            const took_ns = tables_.nowNs() - start_ns;
            // Both threads may tell at the end of one interval.
            const at_once = 1 + constants.roams_at_once_ns / constants.paths_heard_interval_ns;
            try testing.expect(told <= 1 + at_once + 2 * took_ns / constants.paths_heard_interval_ns);
            try pair.b.expectCounter(.event_ring_full, 0);
        }
    }.body);
}

/// Now, and not within some seconds: whatever wakes the transmit thread has it look at them.
fn runTimers(node: *Node) !void {
    const peers = [_]abi.PeerRef{ Pair.peer_a, Pair.peer_b };
    for (peers) |peer| {
        var status: [1]abi.Status = undefined;
        node.device.apply(&.{.{ .kind = .peer_keepalive_set, .peer = peer }}, &status);
        if (status[0].code == 0) return;
    }
    return error.NoPeer;
}

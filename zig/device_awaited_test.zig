//! Packets for addresses that no peer holds yet, where a whole device shows it. Needs root.
const std = @import("std");
const abi = @import("abi.zig");
const inner_packet = @import("inner_packet.zig");
const scene = @import("device_scene.zig");
const Pair = scene.Pair;
const makePacket = scene.makePacket;
const prefix4 = scene.prefix4;
const testing = std.testing;

/// A's mesh is 10.5.0.0/16, and all else leads to B.
fn awaits(pair: *Pair) !void {
    try pair.a.apply(&.{
        .{ .kind = .destinations_await, .prefix = prefix4(.{ 10, 5, 0, 0 }, 16) },
        .{ .kind = .allowed_ip_add, .peer = Pair.peer_b, .prefix = prefix4(@splat(0), 0) },
    });
}

fn packetTo(room: []u8, last: u8, number: u32) []u8 {
    const packet = makePacket(room, .{ .length = 60, .number = number });
    packet[16..20].* = .{ 10, 5, 0, last };
    return packet;
}

fn expectUnreachable(pair: *Pair, packet: []const u8) !void {
    var buffer: [scene.packet_room]u8 = undefined;
    const answer = (try pair.a.link.receive(&buffer)).packet;
    const inner = inner_packet.parse(answer).?;
    try testing.expectEqualSlices(u8, &.{ 3, 1 }, answer[inner.header_length..][0..2]);
    try testing.expectEqualSlices(u8, packet, answer[inner.header_length + 8 ..]);
}

test "a packet waits for the peer of its address, is told of once, and goes nowhere else meanwhile" {
    try scene.withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            try awaits(pair);
            var rooms: [3][64]u8 = undefined;
            for (&rooms, 0..) |*room, number| try pair.a.link.inject(packetTo(room, 1, @intCast(number)));
            const event = try pair.a.awaitEvent(.destination_wanted);
            try testing.expectEqual(scene.v4(.{ 10, 5, 0, 1 }, 0), event.remote);
            try pair.a.expectCounter(.staged, 3);
            try pair.cross(.a_to_b, 100);
            try pair.b.link.expectNothing();
            try testing.expectEqual(null, pair.a.takeEvent(.destination_wanted));
            try pair.a.apply(&.{
                .{ .kind = .allowed_ip_add, .peer = Pair.peer_b, .prefix = prefix4(.{ 10, 5, 0, 1 }, 32) },
            });
            for (&rooms) |*room| try pair.b.link.expectNext(room[0..60]);
            const more = packetTo(&rooms[0], 1, 9);
            try pair.a.link.inject(more);
            try pair.b.link.expectNext(more);
            try pair.a.expectCounter(.staged, 3);
        }
    }.body);
}

test "what is nobody's is answered as unreachable, and for a second without another question" {
    try scene.withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            try awaits(pair);
            var rooms: [2][64]u8 = undefined;
            const packet = packetTo(&rooms[0], 2, 1);
            const other = packetTo(&rooms[1], 3, 2);
            try pair.a.link.inject(packet);
            try pair.a.link.inject(other);
            _ = try pair.a.awaitEvent(.destination_wanted);
            _ = try pair.a.awaitEvent(.destination_wanted);
            try pair.a.apply(&.{.{ .kind = .destination_refuse, .prefix = prefix4(.{ 10, 5, 0, 2 }, 32) }});
            try expectUnreachable(pair, packet);
            try pair.a.link.inject(packet);
            try expectUnreachable(pair, packet);
            // The other one goes on waiting.
            try pair.a.apply(&.{
                .{ .kind = .allowed_ip_add, .peer = Pair.peer_b, .prefix = prefix4(.{ 10, 5, 0, 3 }, 32) },
            });
            try pair.b.link.expectNext(other);
            try pair.a.expectCounter(.destinations_wanted, 2);
            try pair.a.expectRefused(.invalid_argument, .{
                .kind = .destination_refuse,
                .prefix = prefix4(.{ 10, 5, 0, 0 }, 24),
            });
        }
    }.body);
}

test "no peer speaks for an address that is awaited, not even one to whom everything is led" {
    try scene.withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            try awaits(pair);
            var room: [64]u8 = undefined;
            const packet = makePacket(&room, .{ .way = .b_to_a, .length = 60 });
            packet[12..16].* = .{ 10, 5, 0, 9 };
            packet[16..20].* = .{ 10, 1, 2, 3 };
            try pair.b.link.inject(packet);
            try pair.a.expectCounter(.inner_source_refused, 1);
            try pair.cross(.b_to_a, 7);
        }
    }.body);
}

test "what waits for a peer that goes too is dropped with the device, and nothing of it stays" {
    try scene.withPair(.{ .connected = false }, struct {
        fn body(pair: *Pair) anyerror!void {
            try awaits(pair);
            var room: [64]u8 = undefined;
            const member: abi.PeerRef = .{ .slot = 8, .generation = 1 };
            for (1..4) |last| try pair.a.link.inject(packetTo(&room, @intCast(last), 1));
            try pair.a.expectCounter(.destinations_wanted, 3);
            try pair.a.apply(&.{
                .{ .kind = .peer_add, .peer = member },
                .{ .kind = .allowed_ip_add, .peer = member, .prefix = prefix4(.{ 10, 5, 0, 1 }, 32) },
            });
            try testing.expectEqual(1, (try pair.a.stats(member)).staged_packets);
            try pair.a.apply(&.{.{ .kind = .peer_remove, .peer = member }});
            // Awaited again.
            try pair.a.link.inject(packetTo(&room, 1, 2));
            try pair.a.expectCounter(.destinations_wanted, 4);
        }
    }.body);
}

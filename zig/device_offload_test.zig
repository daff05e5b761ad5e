//! Super-packets through two whole devices: out of one TUN, through segmented sends, into the other.
//! What the kernel would have said to its own applications is compared byte by byte. Needs root.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const packet_samples = @import("packet_samples.zig");
const scene = @import("device_scene.zig");
const Netlink = @import("netlink.zig").Netlink;
const Pair = scene.Pair;
const Wire = scene.Wire;
const inOwnNamespace = scene.inOwnNamespace;
const withPair = scene.withPair;
const testing = std.testing;

const shapes = [_]packet_samples.Shape{
    .{ .family = .v4, .protocol = packet_samples.tcp },
    .{ .family = .v6, .protocol = packet_samples.tcp },
    .{ .family = .v4, .protocol = packet_samples.udp },
    .{ .family = .v6, .protocol = packet_samples.udp },
};

fn isUsable(pair: *const Pair, shape: packet_samples.Shape) !bool {
    const flags = pair.a.device.info().flags;
    // Every kernel that is supported has this much.
    try testing.expect(flags & abi.device_flag_tun_offload != 0);
    return shape.protocol == packet_samples.tcp or flags & abi.device_flag_tun_uso != 0;
}

/// The payload of a full segment at the default MTU.
fn segmentOf(shape: packet_samples.Shape) u16 {
    return @intCast(constants.mtu_default - packet_samples.headerLength(shape));
}

fn injectSuper(pair: *Pair, buffer: []u8, shape: packet_samples.Shape) ![]const u8 {
    const virtio, const packet = packet_samples.superPacket(buffer, shape, segmentOf(shape));
    try pair.a.link.injectWith(&virtio, packet);
    return packet[packet_samples.headerLength(shape)..];
}

/// Reads packets or super-packets until their payloads are `payload`: in order, with right sums.
fn expectStream(link: scene.Link, shape: packet_samples.Shape, payload: []const u8) !void {
    var room: [scene.packet_room]u8 = undefined;
    var at: usize = 0;
    while (at < payload.len) {
        const received = try link.receive(&room);
        const packet = received.packet;
        const headers = packet_samples.headerLength(shape);
        try testing.expectEqual(shape.protocol, packet_samples.protocolOf(packet));
        const needs_sum = received.virtio[0] & 1 != 0;
        if (needs_sum) {
            const field: usize = if (shape.protocol == packet_samples.udp) 6 else 16;
            const sum = packet_samples.get(packet_samples.transportOf(packet), field);
            try testing.expectEqual(packet_samples.pseudo(packet), sum);
        } else {
            try testing.expect(packet_samples.isCorrect(packet));
        }
        if (received.virtio[1] == 0) {
            try testing.expect(packet.len <= constants.mtu_default);
        } else {
            try testing.expect(needs_sum);
            try testing.expectEqual(segmentOf(shape), std.mem.readInt(u16, received.virtio[4..6], .little));
        }
        if (shape.protocol == packet_samples.tcp) {
            const sequence = std.mem.readInt(u32, packet_samples.transportOf(packet)[4..8], .big);
            try testing.expectEqual(shape.sequence + at, sequence);
        }
        const piece = packet[headers..];
        try testing.expectEqualSlices(u8, payload[at..][0..piece.len], piece);
        at += piece.len;
    }
}

test "super-packets leave the other TUN with equal bytes in order, in few writes" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            var buffer: [scene.packet_room]u8 = undefined;
            for (shapes) |row| {
                if (!try isUsable(pair, row)) continue;
                const writes_before = pair.b.counter(.tun_write_calls);
                const packets_before = pair.b.counter(.tun_write_packets);
                const sends_before = pair.a.counter(.udp_send_calls);
                var shape = row;
                for (0..10) |round| {
                    shape.payload = @as(usize, segmentOf(shape)) * 40 - round * 100;
                    shape.seed = round;
                    const payload = try injectSuper(pair, &buffer, shape);
                    try expectStream(pair.b.link, shape, payload);
                }
                const packets = 400;
                try pair.b.expectCounter(.tun_write_packets, packets_before + packets);
                const flags = pair.b.device.info().flags;
                if (flags & abi.device_flag_udp_segmentation != 0)
                    try testing.expect((pair.a.counter(.udp_send_calls) - sends_before) * 8 <= packets);
                if (flags & abi.device_flag_udp_gro != 0)
                    try testing.expect((pair.b.counter(.tun_write_calls) - writes_before) * 8 <= packets);
            }
            try pair.a.expectCounter(.tun_read_malformed, 0);
            try pair.a.expectCounter(.udp_segmentation_refused, 0);
            try pair.a.expectCounter(.udp_send_failed, 0);
            try pair.b.expectCounter(.tun_write_failed, 0);
        }
    }.body);
}

test "no datagram between two devices is longer than the MTU and 32 bytes" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            const wire: Wire = try .open();
            defer wire.close();
            try pair.relayThrough(wire);
            var buffer: [scene.packet_room]u8 = undefined;
            var datagram: [scene.packet_room]u8 = undefined;
            for (shapes) |row| {
                if (!try isUsable(pair, row)) continue;
                var shape = row;
                shape.payload = @as(usize, segmentOf(shape)) * 20 - 7;
                const payload = try injectSuper(pair, &buffer, shape);
                for (0..20) |number| {
                    const bytes = (try wire.receive(&datagram)).bytes;
                    try testing.expect(bytes.len <= constants.mtu_default + 32);
                    if (number < 19) try testing.expectEqual(constants.mtu_default + 32, bytes.len);
                    try wire.send(pair.b.endpoint().port, bytes);
                }
                try expectStream(pair.b.link, shape, payload);
            }
        }
    }.body);
}

test "a device without offloads takes the same super-packets from the kernel as packets" {
    try inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            const flags = abi.config_flag_no_tun_offload | abi.config_flag_no_udp_offload;
            var pair: Pair = try .openWith(.{ .flags = flags });
            defer pair.close();
            errdefer pair.printCounters();
            try testing.expectEqual(0, pair.a.device.info().flags);
            try pair.connect(.{ .number = 0 });
            var buffer: [scene.packet_room]u8 = undefined;
            for (shapes) |row| {
                var shape = row;
                shape.payload = @as(usize, segmentOf(shape)) * 20 - 7;
                const payload = try injectSuper(&pair, &buffer, shape);
                try expectStream(pair.b.link, shape, payload);
            }
            try pair.a.expectCounter(.tun_read_packets, 80);
            try pair.a.expectCounter(.udp_send_datagrams, 81);
            try pair.b.expectCounter(.tun_write_calls, 80);
        }
    }.body);
}

test "a path that refuses segmentation gets whole datagrams, and is not asked again for a while" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            var pair: Pair = try .openConnected();
            defer pair.close();
            errdefer pair.printCounters();
            if (pair.a.device.info().flags & abi.device_flag_udp_segmentation == 0) return;
            // Shorter than a sealed packet: segments cannot pass, but fragments can.
            try netlink.setMtu(scene.loopback_index, 1300);
            const port = pair.b.endpoint().port;
            var buffer: [scene.packet_room]u8 = undefined;
            for ([2]abi.Endpoint{
                scene.v4(.{ 127, 0, 0, 1 }, port), scene.v6(.{ 0, 0 }, 1, port),
            }, 1..) |endpoint, asked| {
                try pair.a.apply(&.{.{
                    .kind = .peer_endpoint_set,
                    .peer = Pair.peer_b,
                    .remote = endpoint,
                }});
                for (0..3) |round| {
                    var shape = shapes[round % 2];
                    shape.payload = @as(usize, segmentOf(shape)) * 40;
                    const payload = try injectSuper(&pair, &buffer, shape);
                    try expectStream(pair.b.link, shape, payload);
                    try pair.a.expectCounter(.udp_segmentation_refused, asked);
                }
                try pair.a.expectCounter(.udp_send_datagrams, 1 + 120 * asked);
            }
            try pair.a.expectCounter(.udp_send_failed, 0);
        }
    }.body);
}

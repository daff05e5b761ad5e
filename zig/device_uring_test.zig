//! Two whole devices that move packets by io_uring, or that were refused it: what comes through is
//! the same. Needs root.
const std = @import("std");
const abi = @import("abi.zig");
const io_scene = @import("io_scene.zig");
const scene = @import("device_scene.zig");
const Netlink = @import("netlink.zig").Netlink;
const Pair = scene.Pair;
const inOwnNamespace = scene.inOwnNamespace;
const withPair = scene.withPair;
const linux = std.os.linux;
const testing = std.testing;

/// More than are read ahead, received at once, or written in one submission.
const packets = 500;

fn exchange(pair: *Pair) !void {
    var room: [1500]u8 = undefined;
    for (std.enums.values(scene.Way)) |way| {
        var sent: u32 = 0;
        while (sent < packets) {
            // The TUN's queue is finite, so they go in bursts.
            const burst = @min(packets - sent, 100);
            for (sent..sent + burst) |number| {
                const packet = scene.makePacket(&room, .{ .way = way, .length = 60 + number % 1000, .number = @intCast(number) });
                try pair.sender(way).link.inject(packet);
            }
            for (sent..sent + burst) |number| {
                const packet = scene.makePacket(&room, .{ .way = way, .length = 60 + number % 1000, .number = @intCast(number) });
                try pair.receiver(way).link.expectNext(packet);
            }
            sent += burst;
        }
    }
}

fn expectState(pair: *const Pair, state: abi.IoUringState, errno: linux.E, refused: u64) !void {
    for ([_]*const scene.Node{ &pair.a, &pair.b }) |node| {
        try testing.expectEqual(state, node.device.info().io_uring);
        try testing.expectEqual(@as(u32, @backingInt(errno)), node.device.info().io_uring_errno);
        try node.expectCounter(.io_uring_refused, refused);
    }
}

test "packets in both directions, another port and a stop, all by io_uring" {
    try inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            for ([_]abi.IoUring{ .on, .sqpoll }) |choice| {
                var pair: Pair = try .openWith(.{ .io_uring = choice });
                defer pair.close();
                errdefer pair.printCounters();
                try pair.connect(.{ .number = 0 });
                try exchange(&pair);
                try pair.a.apply(&.{.{ .kind = .listen_port_set, .number = 0 }});
                // B learns where A is from what A sends.
                try pair.cross(.a_to_b, 1);
                try pair.cross(.b_to_a, 2);
                pair.b.device.stop();
                try testing.expectEqual(.ok, pair.b.device.start());
                try exchange(&pair);
                try expectState(&pair, if (choice == .on) .on else .sqpoll, .SUCCESS, 0);
                try pair.b.expectCounter(.tun_write_failed, 0);
            }
        }
    }.body);
}

test "where the kernel refuses io_uring packets go as ever, and the device says why" {
    try inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            try io_scene.refuseIoUring();
            var pair: Pair = try .openWith(.{ .io_uring = .on });
            defer pair.close();
            errdefer pair.printCounters();
            try pair.connect(.{ .number = 0 });
            try exchange(&pair);
            try expectState(&pair, .refused, .PERM, 1);
        }
    }.body);
}

test "a refusal that comes after the probe is met the same way" {
    try withPair(.{ .options = .{ .io_uring = .on }, .connected = false }, struct {
        fn body(pair: *Pair) anyerror!void {
            pair.a.device.stop();
            // The threads that are started from here on have it no more.
            try io_scene.refuseIoUring();
            try testing.expectEqual(.ok, pair.a.device.start());
            try pair.connect(.{ .number = 0 });
            try exchange(pair);
            try testing.expectEqual(.refused, pair.a.device.info().io_uring);
            try testing.expectEqual(.on, pair.b.device.info().io_uring);
            // By the thread that was first, or by each.
            try pair.a.awaitCounter(.io_uring_refused, 1);
        }
    }.body);
}

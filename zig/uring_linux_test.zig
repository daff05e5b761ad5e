//! io_uring against the real kernel: what comes through it is what the plain calls bring, in order,
//! across a socket that took another's place. Needs root, and a kernel that allows io_uring.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const scene = @import("io_scene.zig");
const Netlink = @import("netlink.zig").Netlink;
const system_errno = @import("system_errno.zig");
const udp_linux = @import("udp_linux.zig");
const uring = @import("uring_linux.zig");
const Udp = udp_linux.Udp;
const linux = std.os.linux;
const testing = std.testing;

/// A receiver on a socket of its own, what wakes it, and another socket that sends to it.
const Receiving = struct {
    sender: Udp,
    udp: Udp,
    batch: *udp_linux.ReceiveBatch,
    wake_fd: linux.fd_t,
    receiver: uring.Receiver,

    fn open(self: *Receiving, sqpoll: bool) !void {
        self.sender = try Udp.open(0, 0, .{});
        self.udp = try Udp.open(0, 0, .{});
        self.batch = try scene.makeBatch();
        self.wake_fd = @intCast(linux.eventfd(0, linux.EFD.CLOEXEC | linux.EFD.NONBLOCK));
        try self.receiver.open(testing.allocator, self.wake_fd, sqpoll);
    }

    fn close(self: *Receiving) void {
        self.receiver.close(testing.allocator);
        _ = linux.close(self.wake_fd);
        scene.freeBatch(self.batch);
        self.udp.close();
        self.sender.close();
    }

    fn address(self: *const Receiving) abi.Endpoint {
        return scene.v4(.{ 127, 0, 0, 1 }, self.udp.port);
    }

    fn receive(self: *Receiving) !usize {
        for (0..100) |_| {
            return self.receiver.receiveBatch(&self.udp, self.batch) catch |err| switch (err) {
                error.WouldBlock => {
                    try self.receiver.wait(&self.udp);
                    continue;
                },
                else => return err,
            };
        }
        return error.NothingCame;
    }
};

fn openSubmitter() !*uring.Submitter {
    const submitter = try testing.allocator.create(uring.Submitter);
    errdefer testing.allocator.destroy(submitter);
    try submitter.open(false);
    return submitter;
}

fn closeSubmitter(submitter: *uring.Submitter) void {
    submitter.close();
    testing.allocator.destroy(submitter);
}

test "segments, their size and their sender come through io_uring as through recvmmsg" {
    try scene.inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            for ([_]bool{ false, true }) |sqpoll| {
                var receiving: Receiving = undefined;
                try receiving.open(sqpoll);
                defer receiving.close();
                var bytes: [44 * 1452]u8 = undefined;
                for (&bytes, 0..) |*byte, i| byte.* = @truncate(i *% 31);
                const remote = receiving.address();
                // More rounds than there are buffers.
                for (0..3 * constants.receive_batch_messages) |round| {
                    const sent = receiving.sender.sendBatch(&.{scene.oneMessage(remote, &bytes, 1452)});
                    try testing.expectEqual(udp_linux.SendResult{ .sent = 1, .errno = .SUCCESS }, sent);
                    try testing.expectEqual(1, try receiving.receive());
                    const message = receiving.batch.message(0);
                    try testing.expectEqualSlices(u8, &bytes, message.payload);
                    try testing.expectEqual(1452, scene.segmentSize(message).?);
                    try testing.expectEqual(receiving.sender.port, message.remote.port);
                    try testing.expect(!message.truncated and !message.control_truncated);
                    var short: [8]u8 = undefined;
                    std.mem.writeInt(u64, &short, round, .little);
                    try receiving.sender.sendTo(remote, .{}, &short);
                    try testing.expectEqual(1, try receiving.receive());
                    try testing.expectEqualSlices(u8, &short, receiving.batch.message(0).payload);
                    try testing.expectEqual(null, scene.segmentSize(receiving.batch.message(0)));
                }
            }
        }
    }.body);
}

test "more datagrams than there are buffers come without a wait between them, in order" {
    try scene.inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            var receiving: Receiving = undefined;
            try receiving.open(false);
            defer receiving.close();
            const remote = receiving.address();
            const total = 5 * constants.receive_batch_messages + 3;
            for (0..total) |number| try receiving.sender.sendTo(remote, .{}, &.{@intCast(number)});
            var next: usize = 0;
            while (next < total) {
                for (0..try receiving.receiver.receiveBatch(&receiving.udp, receiving.batch)) |at| {
                    try testing.expectEqual(next, receiving.batch.message(at).payload[0]);
                    next += 1;
                }
            }
            try testing.expectError(error.WouldBlock, receiving.receiver.receiveBatch(&receiving.udp, receiving.batch));
        }
    }.body);
}

test "a socket that takes another's place is received from, and the other is let go of" {
    try scene.inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            var receiving: Receiving = undefined;
            try receiving.open(false);
            defer receiving.close();
            const port = receiving.udp.port;
            try receiving.sender.sendTo(receiving.address(), .{}, "before");
            try testing.expectEqual(1, try receiving.receive());

            var fresh = try Udp.open(0, 0, .{});
            const rc = linux.dup3(fresh.fd, receiving.udp.fd, @bitCast(linux.O{ .CLOEXEC = true }));
            try testing.expectEqual(linux.E.SUCCESS, linux.errno(rc));
            fresh.close();
            _ = receiving.udp.generation.fetchAdd(1, .release);
            // As device.zig does it: the wait that is on is woken.
            _ = linux.write(receiving.wake_fd, std.mem.asBytes(&@as(u64, 1)), 8);
            try receiving.sender.sendTo(scene.v4(.{ 127, 0, 0, 1 }, fresh.port), .{}, "after");
            try testing.expectEqual(1, try receiving.receive());
            try testing.expectEqualStrings("after", receiving.batch.message(0).payload);
            // Nobody holds the old socket, so its port is free.
            var again = try Udp.open(port, 0, .{});
            again.close();
        }
    }.body);
}

test "packets of a TUN are read in order, and where there are no more it says so" {
    try scene.inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            var tun = try scene.openTun(netlink, true);
            defer tun.close();
            var sender = try Udp.open(0, 0, .{});
            defer sender.close();
            const submitter = try openSubmitter();
            defer closeSubmitter(submitter);
            const room = try testing.allocator.alloc([constants.tun_read_bytes_max]u8, 8);
            defer testing.allocator.free(room);
            var buffers: [8][]u8 = undefined;
            for (&buffers, room) |*buffer, *one| buffer.* = one;
            for (0..5) |value| {
                const remote: @TypeOf(scene.v4(.{ 0, 0, 0, 0 }, 0)) = .{
                    .address = scene.v4(scene.tun_neighbour, 0).address,
                    .port = 9,
                    .family = 4,
                };
                try sender.sendTo(remote, .{}, &.{@intCast(value)});
            }
            var next: u8 = 0;
            for (try submitter.readAll(tun.fd, &buffers), buffers) |result, buffer| {
                if (result < 0) {
                    try testing.expectEqual(-@as(i32, @backingInt(linux.E.AGAIN)), result);
                    continue;
                }
                const packet = buffer[0..@intCast(result)];
                // IPv6's own news at link up are passed over.
                if (packet[constants.virtio_header_bytes] >> 4 != 4) continue;
                try testing.expectEqual(next, packet[packet.len - 1]);
                next += 1;
            }
            try testing.expectEqual(5, next);
        }
    }.body);
}

test "a batch is sent in order, up to the message that fails" {
    try scene.inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            var receiver = try Udp.open(0, 0, .{ .offload = false });
            defer receiver.close();
            var sender = try Udp.open(0, 0, .{});
            defer sender.close();
            const submitter = try openSubmitter();
            defer closeSubmitter(submitter);
            const batch = try scene.makeBatch();
            defer scene.freeBatch(batch);
            const good = scene.v4(.{ 127, 0, 0, 1 }, receiver.port);
            const bad = scene.v4(.{ 192, 0, 2, 1 }, 9);
            const texts = [_][]const u8{ "0", "1", "2", "3" };
            var iovecs: [4][1]std.posix.iovec_const = undefined;
            var messages: [4]udp_linux.SendMessage = undefined;
            for (texts, 0..) |text, at| {
                iovecs[at] = .{.{ .base = text.ptr, .len = text.len }};
                messages[at] = .{ .remote = if (at == 2) bad else good, .iovecs = &iovecs[at] };
            }
            const result = submitter.sendBatch(&sender, &messages);
            try testing.expectEqual(2, result.sent);
            try testing.expectEqual(linux.E.NETUNREACH, result.errno);
            try scene.awaitReadable(receiver.fd);
            try testing.expectEqual(2, try receiver.receiveBatch(batch));
            for (texts[0..2], 0..) |text, at| try testing.expectEqualStrings(text, batch.message(at).payload);
        }
    }.body);
}

test "the kernel's refusal is an error with its errno" {
    try scene.inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            try uring.probe(testing.allocator, false);
            try uring.probe(testing.allocator, true);
            try scene.refuseIoUring();
            try testing.expectError(error.Refused, uring.probe(testing.allocator, false));
            try testing.expectEqual(linux.E.PERM, system_errno.last());
        }
    }.body);
}

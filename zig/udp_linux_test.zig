//! The UDP socket against the real kernel: segments, batches, both families, and every refusal.
//! Needs root.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const control_message = @import("control_message.zig");
const scene = @import("io_scene.zig");
const system_errno = @import("system_errno.zig");
const Netlink = @import("netlink.zig").Netlink;
const Tun = @import("tun_linux.zig").Tun;
const udp_linux = @import("udp_linux.zig");
const Udp = udp_linux.Udp;
const linux = std.os.linux;
const testing = std.testing;
const inOwnNamespace = scene.inOwnNamespace;
const v4 = scene.v4;
const v6 = scene.v6;
const prefix4 = scene.prefix4;
const prefix6 = scene.prefix6;
const loopback_index = scene.loopback_index;
const awaitReadable = scene.awaitReadable;
const makeBatch = scene.makeBatch;
const freeBatch = scene.freeBatch;
const receiveOne = scene.receiveOne;
const segmentSize = scene.segmentSize;
const oneMessage = scene.oneMessage;
const openTun = scene.openTun;
const readTo = scene.readTo;

test "44 segments of 1,452 bytes go in one send and come in one receive" {
    try inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            var sender = try Udp.open(0, 0, .{});
            defer sender.close();
            var receiver = try Udp.open(0, 0, .{});
            defer receiver.close();
            const batch = try makeBatch();
            defer freeBatch(batch);
            try testing.expect(sender.dual_stack and receiver.gro);
            try testing.expect(sender.segments_max == 64 or sender.segments_max == 128);

            var bytes: [44 * 1452]u8 = undefined;
            for (&bytes, 0..) |*byte, i| byte.* = @truncate(i *% 31);
            for ([_]abi.Endpoint{ v4(.{ 127, 0, 0, 1 }, receiver.port), v6(.{ 0, 0 }, 1, receiver.port) }) |remote| {
                const sent = sender.sendBatch(&.{oneMessage(remote, &bytes, 1452)});
                try testing.expectEqual(udp_linux.SendResult{ .sent = 1, .errno = .SUCCESS }, sent);
                const message = try receiveOne(&receiver, batch);
                try testing.expectEqualSlices(u8, &bytes, message.payload);
                try testing.expectEqual(1452, segmentSize(message).?);
                try testing.expect(!message.truncated and !message.control_truncated);
                // A short datagram in the same buffer shows nothing of the segment size before it.
                try sender.sendTo(remote, .{}, "short");
                const short = try receiveOne(&receiver, batch);
                try testing.expectEqualStrings("short", short.payload);
                try testing.expectEqual(null, segmentSize(short));
            }
        }
    }.body);
}

test "the probed number of segments is the kernel's limit" {
    try inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            var udp = try Udp.open(0, 0, .{});
            defer udp.close();
            const bytes: [constants.udp_segments_max + 1]u8 = @splat(0);
            const remote = v4(.{ 127, 0, 0, 1 }, udp.port);
            const most = udp.sendBatch(&.{oneMessage(remote, bytes[0..udp.segments_max], 1)});
            try testing.expectEqual(linux.E.SUCCESS, most.errno);
            const too_many = udp.sendBatch(&.{oneMessage(remote, bytes[0 .. udp.segments_max + 1], 1)});
            try testing.expectEqual(linux.E.INVAL, too_many.errno);
        }
    }.body);
}

test "without loopback the old segment limit holds, and without offload there is none" {
    try inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            // A second namespace inside the first: its loopback was never set up.
            try testing.expectEqual(linux.E.SUCCESS, linux.errno(linux.unshare(linux.CLONE.NEWNET)));
            var udp = try Udp.open(0, 0, .{});
            defer udp.close();
            try testing.expectEqual(64, udp.segments_max);
            var plain = try Udp.open(0, 0, .{ .offload = false });
            defer plain.close();
            try testing.expectEqual(0, plain.segments_max);
            try testing.expect(!plain.gro);
        }
    }.body);
}

test "a segment longer than the MTU is refused, a datagram longer than it is fragmented" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            try netlink.setMtu(loopback_index, 1400);
            var udp = try Udp.open(0, 0, .{});
            defer udp.close();
            const batch = try makeBatch();
            defer freeBatch(batch);
            const bytes: [8 * 1452]u8 = @splat(7);
            const remote = v4(.{ 127, 0, 0, 1 }, udp.port);
            const refused = udp.sendBatch(&.{oneMessage(remote, &bytes, 1452)});
            try testing.expectEqual(0, refused.sent);
            try testing.expect(refused.errno == .MSGSIZE or refused.errno == .INVAL);
            try udp.sendTo(remote, .{}, bytes[0..1452]);
            try testing.expectEqual(1452, (try receiveOne(&udp, batch)).payload.len);
        }
    }.body);
}

test "a batch stops at the message that fails and goes on when the caller asks again" {
    try inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            var udp = try Udp.open(0, 0, .{});
            defer udp.close();
            const batch = try makeBatch();
            defer freeBatch(batch);
            const good = v4(.{ 127, 0, 0, 1 }, udp.port);
            const unreachable_remote = v4(.{ 192, 0, 2, 1 }, 9);
            // More than one system call's worth, the bad one in the second call.
            const total = udp_linux.send_call_messages + 8;
            const bad = udp_linux.send_call_messages + 3;
            var iovecs: [total][1]std.posix.iovec_const = undefined;
            var numbers: [total]u8 = undefined;
            var messages: [total]udp_linux.SendMessage = undefined;
            for (0..total) |i| {
                numbers[i] = @intCast(i);
                iovecs[i][0] = .{ .base = numbers[i..].ptr, .len = 1 };
                messages[i] = .{ .remote = if (i == bad) unreachable_remote else good, .iovecs = &iovecs[i] };
            }
            const first = udp.sendBatch(&messages);
            try testing.expectEqual(udp_linux.SendResult{ .sent = bad, .errno = .NETUNREACH }, first);
            const second = udp.sendBatch(messages[bad + 1 ..]);
            try testing.expectEqual(udp_linux.SendResult{ .sent = total - bad - 1, .errno = .SUCCESS }, second);

            var next: u8 = 0;
            while (next < total) {
                try awaitReadable(udp.fd);
                const count = try udp.receiveBatch(batch);
                for (0..count) |i| for (batch.message(i).payload) |number| {
                    if (next == bad) next += 1;
                    try testing.expectEqual(next, number);
                    next += 1;
                };
            }
            try testing.expectError(error.WouldBlock, udp.receiveBatch(batch));
        }
    }.body);
}

test "more messages are taken at a time while most are small, and few again when they are not" {
    try inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            var sender = try Udp.open(0, 0, .{});
            defer sender.close();
            var receiver = try Udp.open(0, 0, .{ .offload = false });
            defer receiver.close();
            const batch = try makeBatch();
            defer freeBatch(batch);
            const remote = v4(.{ 127, 0, 0, 1 }, receiver.port);
            const few = constants.receive_batch_messages;
            const many = constants.receive_batch_messages_max;
            const large: [constants.receive_small_bytes]u8 = @splat(0);
            for ([_][]const u8{ "small", &large }) |bytes| {
                for (0..few + 2 * many) |_| try sender.sendTo(remote, .{}, bytes);
                try awaitReadable(receiver.fd);
                const first = try receiver.receiveBatch(batch);
                const second = try receiver.receiveBatch(batch);
                const small = bytes.len < constants.receive_small_bytes;
                // What came before says how many are taken now.
                try testing.expectEqual(if (small) few else many, first);
                try testing.expectEqual(if (small) many else few, second);
                while (receiver.receiveBatch(batch)) |_| {} else |_| {}
                if (!small) continue;
                for (0..many) |_| try sender.sendTo(remote, .{}, bytes);
                try testing.expectEqual(many, try receiver.receiveBatch(batch));
            }
        }
    }.body);
}

test "the source address and the traffic class are chosen, and told to the receiver, for both families" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            for ([_]u8{ 1, 2 }) |last| {
                try netlink.addressAdd(loopback_index, prefix4(.{ 10, 9, 0, last }, 32));
                try netlink.addressAdd(loopback_index, prefix6(.{ 0xfd, 9 }, last, 128));
            }
            var udp = try Udp.open(0, 0, .{});
            defer udp.close();
            const batch = try makeBatch();
            defer freeBatch(batch);
            for ([_][2]abi.Endpoint{
                .{ v4(.{ 10, 9, 0, 1 }, udp.port), v4(.{ 10, 9, 0, 2 }, udp.port) },
                .{ v6(.{ 0xfd, 9 }, 1, udp.port), v6(.{ 0xfd, 9 }, 2, udp.port) },
            }) |pair| {
                var message = oneMessage(pair[0], "hello", 0);
                message.local = pair[1];
                message.tos = 0xb9; // EF, and ECT(1)
                // The arrival interface of a local endpoint must not bind the way out.
                message.local.scope = 4711;
                const received = try sendUntilReceived(&udp, message, batch);
                try testing.expectEqual(pair[1], received.remote);

                const control = control_message.parse(received.control);
                try testing.expectEqualSlices(u8, &pair[0].address, &control.local.?.address);
                try testing.expectEqual(pair[0].family, control.local.?.family);
                try testing.expectEqual(loopback_index, control.local.?.scope);
                try testing.expectEqual(0xb9, control.traffic_class.?);
            }
            // An address that is not ours (any more) is an error of this message, not a silent change.
            for ([_][2]abi.Endpoint{
                .{ v4(.{ 10, 9, 0, 1 }, udp.port), v4(.{ 10, 9, 0, 3 }, 0) },
                .{ v6(.{ 0xfd, 9 }, 1, udp.port), v6(.{ 0xfd, 9 }, 3, 0) },
            }) |pair| {
                try testing.expectError(error.System, udp.sendTo(pair[0], pair[1], "hello"));
                const e = system_errno.last();
                try testing.expect(e == .INVAL or (e == .NETUNREACH and pair[0].family == 4));
            }
        }
    }.body);
}

/// The kernel makes the local route of a new IPv6 address a moment after it has taken the address;
/// datagrams to it vanish until then.
fn sendUntilReceived(udp: *const Udp, message: udp_linux.SendMessage, batch: *udp_linux.ReceiveBatch) !udp_linux.ReceivedMessage {
    for (0..200) |_| {
        try testing.expectEqual(linux.E.SUCCESS, udp.sendBatch(&.{message}).errno);
        var polled = [1]linux.pollfd{.{ .fd = udp.fd, .events = linux.POLL.IN, .revents = 0 }};
        if (linux.poll(&polled, 1, 5) == 1) return receiveOne(udp, batch);
    }
    return error.NothingCame;
}

test "a link-local address is reached over the interface of its scope, from the one of its source" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            const buffer = try testing.allocator.alloc(u8, constants.tun_read_bytes_max);
            defer testing.allocator.free(buffer);
            var udp = try Udp.open(0, 0, .{});
            defer udp.close();
            var tuns = [2]Tun{ try openTun(netlink, false), try Tun.open("mvio%d", .{}) };
            defer for (&tuns) |*tun| tun.close();
            try netlink.linkUp(tuns[1].interface_index);
            for (&tuns) |*tun| try netlink.addressAdd(tun.interface_index, prefix6(.{ 0xfe, 0x80 }, 1, 64));
            for (&tuns) |*tun| {
                var remote = v6(.{ 0xfe, 0x80 }, 2, 9);
                var local = v6(.{ 0xfe, 0x80 }, 1, 0);
                remote.scope = tun.interface_index;
                local.scope = tun.interface_index;
                try udp.sendTo(remote, local, "hello");
                const packet = try readTo(tun, buffer, &remote.address);
                try testing.expectEqualSlices(u8, &local.address, packet[18..34]);
                // Without the remote's scope, the source's names the interface.
                remote.scope = 0;
                try udp.sendTo(remote, local, "hello");
                _ = try readTo(tun, buffer, &remote.address);
            }
        }
    }.body);
}

test "where there is no IPv6 an IPv4 socket does the same" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            try netlink.addressAdd(loopback_index, prefix4(.{ 10, 9, 0, 2 }, 32));
            var four = try Udp.open(0, 0, .{ .ipv6 = false });
            defer four.close();
            var both = try Udp.open(0, 0, .{});
            defer both.close();
            const batch = try makeBatch();
            defer freeBatch(batch);
            try testing.expect(!four.dual_stack and four.gro);
            for ([_][2]*const Udp{ .{ &four, &both }, .{ &both, &four } }) |way| {
                const bytes: [3000]u8 = @splat(1);
                var message = oneMessage(v4(.{ 127, 0, 0, 1 }, way[1].port), &bytes, 1000);
                message.local = v4(.{ 10, 9, 0, 2 }, 0);
                try testing.expectEqual(linux.E.SUCCESS, way[0].sendBatch(&.{message}).errno);
                const received = try receiveOne(way[1], batch);
                try testing.expectEqual(3000, received.payload.len);
                try testing.expectEqual(1000, segmentSize(received).?);
                try testing.expectEqual(v4(.{ 10, 9, 0, 2 }, way[0].port), received.remote);
                const local = control_message.parse(received.control).local.?;
                try testing.expectEqual(v4(.{ 127, 0, 0, 1 }, 0).address, local.address);
            }
            try testing.expectError(error.System, four.sendTo(v6(.{ 0, 0 }, 1, 9), .{}, "hello"));
            try testing.expectEqual(linux.E.AFNOSUPPORT, system_errno.last());
        }
    }.body);
}

test "a socket says why: the port is taken, nothing waits" {
    try inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            var udp = try Udp.open(0, 77, .{});
            defer udp.close();
            try udp.setMark(0);
            try testing.expect(udp.port != 0);
            try testing.expectError(error.AddressInUse, Udp.open(udp.port, 0, .{}));
            const batch = try makeBatch();
            defer freeBatch(batch);
            try testing.expectError(error.WouldBlock, udp.receiveBatch(batch));
            try testing.expect(udp.waitWritable(0));
        }
    }.body);
}

test "a socket that is full drops datagrams and says how many" {
    try inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            var udp = try Udp.open(0, 0, .{});
            defer udp.close();
            const small: c_int = 1;
            const set = linux.setsockopt(udp.fd, linux.SOL.SOCKET, linux.SO.RCVBUF, std.mem.asBytes(&small), 4);
            try testing.expectEqual(linux.E.SUCCESS, linux.errno(set));
            const batch = try makeBatch();
            defer freeBatch(batch);
            const remote = v4(.{ 127, 0, 0, 1 }, udp.port);
            for (0..100) |_| try udp.sendTo(remote, .{}, "hello");
            var received: usize = 0;
            while (udp.receiveBatch(batch)) |count| received += count else |_| {}
            try testing.expect(received < 100);
            try testing.expectEqual(100 - received, udp.lost());
        }
    }.body);
}

test "an empty datagram is a message of no bytes" {
    try inOwnNamespace(struct {
        fn body(_: *Netlink) anyerror!void {
            var udp = try Udp.open(0, 0, .{});
            defer udp.close();
            const batch = try makeBatch();
            defer freeBatch(batch);
            try udp.sendTo(v4(.{ 127, 0, 0, 1 }, udp.port), .{}, "");
            try testing.expectEqual(0, (try receiveOne(&udp, batch)).payload.len);
        }
    }.body);
}

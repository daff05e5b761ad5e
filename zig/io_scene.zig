//! The scene of the tests that ask the real kernel: a network namespace of one's own, addresses and
//! packets in one line each. Each test runs on a thread of its own inside a namespace that nobody
//! else sees and that goes with the thread and its descriptors. Needs root (CAP_SYS_ADMIN,
//! CAP_NET_ADMIN) and says so.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const control_message = @import("control_message.zig");
const Netlink = @import("netlink.zig").Netlink;
const Tun = @import("tun_linux.zig").Tun;
const udp_linux = @import("udp_linux.zig");
const Udp = udp_linux.Udp;
const linux = std.os.linux;
const testing = std.testing;

pub const loopback_index = 1;

const Scene = struct {
    netlink: Netlink,
    result: anyerror!void = error.NotRun,

    fn run(scene: *Scene, comptime body: fn (*Netlink) anyerror!void) void {
        scene.result = {};
        scene.inside(body) catch |failure| {
            if (@errorReturnTrace()) |trace| std.debug.dumpErrorReturnTrace(trace);
            scene.result = failure;
        };
    }

    fn inside(scene: *Scene, comptime body: fn (*Netlink) anyerror!void) anyerror!void {
        const e = linux.errno(linux.unshare(linux.CLONE.NEWNET));
        if (e != .SUCCESS) {
            std.debug.print("this test needs root: no network namespace ({t})\n", .{e});
            return error.NeedsRoot;
        }
        scene.netlink = try Netlink.open();
        defer scene.netlink.close();
        try scene.netlink.linkUp(loopback_index);
        try body(&scene.netlink);
    }
};

pub fn inOwnNamespace(comptime body: fn (*Netlink) anyerror!void) anyerror!void {
    var scene: Scene = .{ .netlink = undefined };
    const thread = try std.Thread.spawn(.{}, Scene.run, .{ &scene, body });
    thread.join();
    return scene.result;
}

pub fn v4(bytes: [4]u8, port: u16) abi.Endpoint {
    return .{ .address = @as([10]u8, @splat(0)) ++ [2]u8{ 0xff, 0xff } ++ bytes, .port = port, .family = 4 };
}

pub fn v6(first: [2]u8, last: u8, port: u16) abi.Endpoint {
    return .{ .address = first ++ @as([13]u8, @splat(0)) ++ [1]u8{last}, .port = port, .family = 6 };
}

pub fn prefix4(bytes: [4]u8, bits: u8) abi.Prefix {
    return .{ .address = bytes ++ @as([12]u8, @splat(0)), .bits = bits, .family = 4 };
}

pub fn prefix6(first: [2]u8, last: u8, bits: u8) abi.Prefix {
    return .{ .address = first ++ @as([13]u8, @splat(0)) ++ [1]u8{last}, .bits = bits, .family = 6 };
}

/// From here on this thread, and what it starts, has no io_uring: io_uring_setup fails with EPERM, as
/// in many a container.
pub fn refuseIoUring() !void {
    const load_number = 0x20;
    const equal = 0x15;
    const answer = 0x06;
    const allow = 0x7fff0000;
    const refuse = 0x00050000 | @as(u32, @backingInt(linux.E.PERM));
    const Instruction = extern struct { code: u16, yes: u8 = 0, no: u8 = 0, value: u32 };
    const program = [_]Instruction{
        .{ .code = load_number, .value = 0 },
        .{ .code = equal, .no = 1, .value = @backingInt(linux.SYS.io_uring_setup) },
        .{ .code = answer, .value = refuse },
        .{ .code = answer, .value = allow },
    };
    const Filter = extern struct { length: u16, instructions: [*]const Instruction };
    const filter: Filter = .{ .length = program.len, .instructions = &program };
    try testing.expectEqual(linux.E.SUCCESS, linux.errno(linux.seccomp(linux.SECCOMP.SET_MODE_FILTER, 0, &filter)));
}

const one_second_ms = 1000;

pub fn awaitReadable(fd: linux.fd_t) !void {
    var polled = [1]linux.pollfd{.{ .fd = fd, .events = linux.POLL.IN, .revents = 0 }};
    if (linux.poll(&polled, 1, one_second_ms) != 1) return error.NothingCame;
}

pub fn makeBatch() !*udp_linux.ReceiveBatch {
    const batch = try testing.allocator.create(udp_linux.ReceiveBatch);
    errdefer testing.allocator.destroy(batch);
    try batch.init(testing.allocator);
    return batch;
}

pub fn freeBatch(batch: *udp_linux.ReceiveBatch) void {
    batch.deinit(testing.allocator);
    testing.allocator.destroy(batch);
}

pub fn receiveOne(udp: *const Udp, batch: *udp_linux.ReceiveBatch) !udp_linux.ReceivedMessage {
    try awaitReadable(udp.fd);
    try testing.expectEqual(1, try udp.receiveBatch(batch));
    return batch.message(0);
}

pub fn segmentSize(message: udp_linux.ReceivedMessage) ?u16 {
    return control_message.parse(message.control).segment_size;
}

pub fn oneMessage(remote: abi.Endpoint, bytes: []const u8, segment_size: u16) udp_linux.SendMessage {
    const Held = struct {
        threadlocal var iovec: [1]std.posix.iovec_const = undefined;
    };
    Held.iovec[0] = .{ .base = bytes.ptr, .len = bytes.len };
    return .{ .remote = remote, .iovecs = &Held.iovec, .segment_size = segment_size };
}

pub const tun_address: [4]u8 = .{ 10, 99, 0, 1 };
pub const tun_neighbour: [4]u8 = .{ 10, 99, 0, 2 };

pub fn openTun(netlink: *Netlink, offload: bool) !Tun {
    var tun = try Tun.open("mvio%d", .{ .offload = offload });
    errdefer tun.close();
    try netlink.linkUp(tun.interface_index);
    try netlink.addressAdd(tun.interface_index, prefix4(tun_address, 24));
    return tun;
}

/// The next packet to an address, of 4 or 16 bytes; IPv6's own news at link up are passed over.
pub fn readTo(tun: *const Tun, buffer: []u8, destination: []const u8) ![]u8 {
    const at: usize = constants.virtio_header_bytes + @as(usize, if (destination.len == 4) 16 else 24);
    for (0..32) |_| {
        try awaitReadable(tun.fd);
        const packet = buffer[0..try tun.read(buffer)];
        if (packet.len < at + destination.len) continue;
        if (std.mem.eql(u8, packet[at..][0..destination.len], destination)) return packet;
    }
    return error.NothingCame;
}

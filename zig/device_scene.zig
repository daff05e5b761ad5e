//! The scene of the device tests: two whole devices in a network namespace of their own, real TUNs
//! and real UDP over loopback. Inner packets go in and come out through packet sockets bound to the
//! two TUNs, so no address, route or IP stack of the kernel has a say; a Wire is a stranger on the
//! underlay, or the relay between the two.
//!
//! A speaks from 10.1.0.0/16 and fdfd::/16, B from 10.4.0.0/16 and fefe::/16 (packet_samples.zig).
//! Every wait is for a condition and ends with an error after `deadline_ms`.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const io_scene = @import("io_scene.zig");
const metrics = @import("metrics.zig");
const secrets = @import("secrets.zig");
const tables_ = @import("tables.zig");
const transport = @import("transport.zig");
const Device = @import("device.zig").Device;
const Netlink = @import("netlink.zig").Netlink;
const linux = std.os.linux;
const testing = std.testing;

pub const deadline_ms = 10_000;
pub const virtio_none: [constants.virtio_header_bytes]u8 = @splat(0);

pub const v4 = io_scene.v4;
pub const v6 = io_scene.v6;
pub const prefix4 = io_scene.prefix4;
pub const prefix6 = io_scene.prefix6;
pub const loopback_index = io_scene.loopback_index;
pub const packet_room = constants.ip_packet_bytes_max + 1;

/// Runs the body in a namespace of its own, where no interface but loopback speaks IPv6 of itself.
pub fn inOwnNamespace(comptime body: fn (*Netlink) anyerror!void) anyerror!void {
    return io_scene.inOwnNamespace(struct {
        fn quiet(netlink: *Netlink) anyerror!void {
            const path = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
            const fd = try descriptor(linux.open(path, .{ .ACCMODE = .WRONLY }, 0));
            defer _ = linux.close(fd);
            _ = try succeeded(linux.write(fd, "1", 1));
            try body(netlink);
        }
    }.quiet);
}

fn succeeded(rc: usize) !usize {
    if (linux.errno(rc) == .SUCCESS) return rc;
    std.debug.print("system call failed: {t}\n", .{linux.errno(rc)});
    return error.SystemCallFailed;
}

fn descriptor(rc: usize) !linux.fd_t {
    return @intCast(try succeeded(rc));
}

fn setOption(fd: linux.fd_t, level: i32, name: u32, value: c_int) !void {
    _ = try succeeded(linux.setsockopt(fd, level, name, std.mem.asBytes(&value), @sizeOf(c_int)));
}

/// A point in time by which something must have happened.
pub const Deadline = struct {
    at_ns: u64,

    pub fn start() Deadline {
        return .{ .at_ns = tables_.nowNs() + deadline_ms * constants.ns_per_ms };
    }

    /// Until the descriptor is readable, or a moment passes where there is none (-1).
    pub fn wait(deadline: Deadline, fd: linux.fd_t) !void {
        const left_ms = (deadline.at_ns -| tables_.nowNs()) / constants.ns_per_ms;
        if (left_ms == 0) return error.NothingHappened;
        var polled = [1]linux.pollfd{.{ .fd = fd, .events = linux.POLL.IN, .revents = 0 }};
        _ = linux.poll(&polled, 1, if (fd < 0) 1 else @intCast(left_ms));
    }
};

/// A packet socket on a TUN: what it sends leaves through the TUN's descriptor, and it receives
/// what is written there. Super-packets carry their virtio header in both directions.
pub const Link = struct {
    fd: linux.fd_t,
    interface_index: u32,

    const PACKET_VNET_HDR = 15;
    const PACKET_IGNORE_OUTGOING = 23;
    const ETH_P_ALL = 3;

    pub const Received = struct { virtio: [constants.virtio_header_bytes]u8, packet: []u8 };

    pub fn open(interface_index: u32) !Link {
        // Raw, since only raw ones take a virtio header; a TUN has no link header to be seen.
        const kind = linux.SOCK.RAW | linux.SOCK.CLOEXEC | linux.SOCK.NONBLOCK;
        const fd = try descriptor(linux.socket(linux.AF.PACKET, kind, 0));
        errdefer _ = linux.close(fd);
        try setOption(fd, linux.SOL.PACKET, PACKET_VNET_HDR, 1);
        try setOption(fd, linux.SOL.PACKET, PACKET_IGNORE_OUTGOING, 1);
        try setOption(fd, linux.SOL.SOCKET, linux.SO.RCVBUFFORCE, 16 << 20);
        const link: Link = .{ .fd = fd, .interface_index = interface_index };
        const address = link.addressOf(ETH_P_ALL);
        _ = try succeeded(linux.bind(fd, @ptrCast(&address), @sizeOf(linux.sockaddr.ll)));
        return link;
    }

    pub fn close(link: Link) void {
        _ = linux.close(link.fd);
    }

    fn addressOf(link: Link, protocol: u16) linux.sockaddr.ll {
        return .{
            .protocol = std.mem.nativeToBig(u16, protocol),
            .ifindex = @intCast(link.interface_index),
            .hatype = 0,
            .pkttype = 0,
            .halen = 0,
            .addr = @splat(0),
        };
    }

    pub fn inject(link: Link, packet: []const u8) !void {
        return link.injectWith(&virtio_none, packet);
    }

    pub fn injectWith(link: Link, virtio: *const [constants.virtio_header_bytes]u8, packet: []const u8) !void {
        if (!try link.offer(virtio, packet)) return error.QueueFull;
    }

    /// false: the interface's queue is full, and the packet lost.
    pub fn offer(link: Link, virtio: *const [constants.virtio_header_bytes]u8, packet: []const u8) !bool {
        const address = link.addressOf(if (packet[0] >> 4 == 6) 0x86dd else 0x0800);
        const parts = [2]std.posix.iovec_const{
            .{ .base = virtio, .len = virtio.len },
            .{ .base = packet.ptr, .len = packet.len },
        };
        const message: linux.msghdr_const = .{
            .name = @ptrCast(&address),
            .namelen = @sizeOf(linux.sockaddr.ll),
            .iov = &parts,
            .iovlen = parts.len,
            .control = null,
            .controllen = 0,
            .flags = 0,
        };
        const rc = linux.sendmsg(link.fd, &message, 0);
        switch (linux.errno(rc)) {
            .SUCCESS => return true,
            .NOBUFS, .AGAIN => return false,
            else => |e| {
                std.debug.print("a packet of {d} bytes was not taken: {t}\n", .{ packet.len, e });
                return error.NotInjected;
            },
        }
    }

    /// The next packet. The buffer holds it after its virtio header.
    pub fn receive(link: Link, buffer: []u8) !Received {
        const deadline: Deadline = .start();
        while (true) {
            if (try link.receiveNow(buffer)) |received| return received;
            try deadline.wait(link.fd);
        }
    }

    pub fn receiveNow(link: Link, buffer: []u8) !?Received {
        const rc = linux.recvfrom(link.fd, buffer.ptr, buffer.len, 0, null, null);
        if (linux.errno(rc) == .AGAIN) return null;
        const length = try succeeded(rc);
        const head = constants.virtio_header_bytes;
        if (length < head) return error.NoVirtioHeader;
        return .{ .virtio = buffer[0..head].*, .packet = buffer[head..length] };
    }

    /// The next packet is this one.
    pub fn expectNext(link: Link, expected: []const u8) !void {
        var buffer: [packet_room]u8 = undefined;
        const received = try link.receive(&buffer);
        try testing.expectEqualSlices(u8, expected, received.packet);
    }

    /// Passes over others until this one comes.
    pub fn awaitSame(link: Link, expected: []const u8) !void {
        var buffer: [packet_room]u8 = undefined;
        const deadline: Deadline = .start();
        while (true) {
            const received = try link.receiveNow(&buffer) orelse {
                try deadline.wait(link.fd);
                continue;
            };
            if (std.mem.eql(u8, expected, received.packet)) return;
        }
    }

    /// Takes everything that waits: what nobody takes fills the socket, and then others are lost.
    pub fn drain(link: Link) !void {
        var buffer: [packet_room]u8 = undefined;
        while (try link.receiveNow(&buffer)) |_| {}
    }

    pub fn expectNothing(link: Link) !void {
        var buffer: [packet_room]u8 = undefined;
        try testing.expectEqual(null, try link.receiveNow(&buffer));
    }
};

/// A UDP socket of the test, on 127.0.0.1 unless another address is asked for.
pub const Wire = struct {
    fd: linux.fd_t,
    port: u16,

    pub const Received = struct { bytes: []u8, port: u16 };

    pub fn open() !Wire {
        return openAt(.{ 127, 0, 0, 1 });
    }

    /// Another address of loopback.
    pub fn openAt(loopback: [4]u8) !Wire {
        const kind = linux.SOCK.DGRAM | linux.SOCK.CLOEXEC | linux.SOCK.NONBLOCK;
        const fd = try descriptor(linux.socket(linux.AF.INET, kind, 0));
        errdefer _ = linux.close(fd);
        try setOption(fd, linux.SOL.SOCKET, linux.SO.RCVBUFFORCE, 16 << 20);
        var address = addressOf(0);
        address.addr = @bitCast(loopback);
        var length: linux.socklen_t = @sizeOf(linux.sockaddr.in);
        _ = try succeeded(linux.bind(fd, @ptrCast(&address), length));
        _ = try succeeded(linux.getsockname(fd, @ptrCast(&address), &length));
        return .{ .fd = fd, .port = std.mem.bigToNative(u16, address.port) };
    }

    pub fn close(wire: Wire) void {
        _ = linux.close(wire.fd);
    }

    pub fn endpoint(wire: Wire) abi.Endpoint {
        return v4(.{ 127, 0, 0, 1 }, wire.port);
    }

    pub fn send(wire: Wire, port: u16, bytes: []const u8) !void {
        const address = addressOf(port);
        const length = @sizeOf(linux.sockaddr.in);
        _ = try succeeded(linux.sendto(wire.fd, bytes.ptr, bytes.len, 0, @ptrCast(&address), length));
    }

    pub fn receive(wire: Wire, buffer: []u8) !Received {
        const deadline: Deadline = .start();
        while (true) {
            if (try wire.receiveNow(buffer)) |received| return received;
            try deadline.wait(wire.fd);
        }
    }

    pub fn receiveNow(wire: Wire, buffer: []u8) !?Received {
        var address = addressOf(0);
        var length: linux.socklen_t = @sizeOf(linux.sockaddr.in);
        const rc = linux.recvfrom(wire.fd, buffer.ptr, buffer.len, 0, @ptrCast(&address), &length);
        if (linux.errno(rc) == .AGAIN) return null;
        const bytes = buffer[0..try succeeded(rc)];
        return .{ .bytes = bytes, .port = std.mem.bigToNative(u16, address.port) };
    }

    fn addressOf(port: u16) linux.sockaddr.in {
        const loopback = [4]u8{ 127, 0, 0, 1 };
        return .{ .port = std.mem.nativeToBig(u16, port), .addr = @bitCast(loopback) };
    }
};

pub const Options = struct {
    allocator: std.mem.Allocator = testing.allocator,
    mtu: u32 = constants.mtu_default,
    /// abi.config_flag_*
    flags: u32 = 0,
    io_uring: abi.IoUring = .auto,
};

/// A device, the packet socket on its TUN, and the events that were drained and not asked for yet.
pub const Node = struct {
    device: *Device,
    link: Link,
    log: [512]abi.Event = undefined,
    log_count: usize = 0,

    /// `letter` tells the interfaces of one process apart.
    pub fn open(letter: u8, options: Options) !Node {
        var config: abi.Config = .{ .mtu = options.mtu, .flags = options.flags, .io_uring = options.io_uring };
        _ = try std.fmt.bufPrint(&config.interface_name, "mv{d}{c}", .{ linux.getpid(), letter });
        var device: ?*Device = null;
        switch (Device.open(options.allocator, &config, &device)) {
            .ok => {},
            else => |code| {
                std.debug.print("a device does not open: {t}; this test needs root\n", .{code});
                return error.DeviceRefused;
            },
        }
        errdefer device.?.close();
        var node: Node = .{ .device = device.?, .link = undefined };
        try node.apply(&.{.{ .kind = .link_up }});
        node.link = try .open(device.?.info().interface_index);
        return node;
    }

    pub fn close(node: *Node) void {
        node.link.close();
        node.device.close();
    }

    pub fn endpoint(node: *const Node) abi.Endpoint {
        return v4(.{ 127, 0, 0, 1 }, @intCast(node.device.info().listen_port));
    }

    /// Every command succeeds.
    pub fn apply(node: *Node, commands: []const abi.Command) !void {
        var statuses: [64]abi.Status = undefined;
        node.device.apply(commands, statuses[0..commands.len]);
        for (commands, statuses[0..commands.len]) |command, status| {
            if (status.code == 0) continue;
            std.debug.print("{t} failed: {d}, errno {d}\n", .{ command.kind, status.code, status.system_errno });
            return error.CommandFailed;
        }
    }

    pub fn expectRefused(node: *Node, code: abi.Error, command: abi.Command) !void {
        var status: [1]abi.Status = undefined;
        node.device.apply(&.{command}, &status);
        try testing.expectEqual(-@as(i32, @backingInt(code)), status[0].code);
    }

    pub fn counter(node: *const Node, which: abi.Counter) u64 {
        var values: [metrics.counters_count]u64 = undefined;
        _ = node.device.readCounters(&values);
        return values[@backingInt(which)];
    }

    /// It comes to this number and no higher. A thread counts what it wrote after the write, so a
    /// packet may be seen before its count.
    pub fn expectCounter(node: *const Node, which: abi.Counter, expected: u64) !void {
        return node.expectSum(&.{which}, expected);
    }

    /// As expectCounter, of several together.
    pub fn expectSum(node: *const Node, which: []const abi.Counter, expected: u64) !void {
        const deadline: Deadline = .start();
        while (true) {
            var total: u64 = 0;
            for (which) |each| total += node.counter(each);
            if (total == expected) return;
            if (total < expected) if (deadline.wait(-1)) continue else |_| {};
            std.debug.print("{t} and {d} more: {d}, not {d}\n", .{ which[0], which.len - 1, total, expected });
            return error.WrongCount;
        }
    }

    /// For the reader of a test that fails.
    pub fn printCounters(node: *const Node) void {
        std.debug.print("{s}:", .{node.device.interfaceName()});
        for (std.enums.values(abi.Counter)) |which| {
            const value = node.counter(which);
            if (value != 0) std.debug.print(" {t} {d}", .{ which, value });
        }
        std.debug.print("\n", .{});
    }

    pub fn awaitCounter(node: *const Node, which: abi.Counter, at_least: u64) !void {
        const deadline: Deadline = .start();
        while (node.counter(which) < at_least) deadline.wait(-1) catch |failure| {
            std.debug.print("counter {t}: {d} of {d}\n", .{ which, node.counter(which), at_least });
            return failure;
        };
    }

    pub fn stats(node: *const Node, ref: abi.PeerRef) !abi.PeerStats {
        var all: [64]abi.PeerStats = undefined;
        for (all[0..node.device.peerStats(&all)]) |entry| {
            if (std.meta.eql(entry.peer, ref)) return entry;
        }
        return error.NoSuchPeer;
    }

    /// The next event of this kind, with the doorbell as the loop of the control plane uses it.
    pub fn awaitEvent(node: *Node, kind: abi.EventKind) !abi.Event {
        const deadline: Deadline = .start();
        const bell = node.device.tables.doorbell.fds[0];
        while (true) {
            if (node.takeEvent(kind)) |event| return event;
            if (node.device.arm()) {
                // A datagram may be what waits: events only come later then.
                if (node.device.tables.events.isEmpty()) try deadline.wait(-1);
                continue;
            }
            deadline.wait(bell) catch |failure| {
                std.debug.print("no event {t}\n", .{kind});
                return failure;
            };
            var bytes: [8]u8 = undefined;
            _ = linux.read(bell, &bytes, bytes.len);
        }
    }

    pub fn takeEvent(node: *Node, kind: abi.EventKind) ?abi.Event {
        node.log_count += node.device.events(node.log[node.log_count..]);
        for (node.log[0..node.log_count], 0..) |event, at| {
            if (event.kind != kind) continue;
            std.mem.copyForwards(abi.Event, node.log[at..], node.log[at + 1 .. node.log_count]);
            node.log_count -= 1;
            return event;
        }
        return null;
    }
};

pub const Way = enum { a_to_b, b_to_a };

/// The keys and indices of a session by its number: known to the test, so that it can forge.
pub const Session = struct {
    number: u8,

    pub fn key(session: Session, way: Way) [32]u8 {
        return @splat(session.number * 2 + @as(u8, @backingInt(way)) + 1);
    }

    /// The index by which the receiver of this way knows the session.
    pub fn index(session: Session, way: Way) u32 {
        const base: u32 = if (way == .a_to_b) 0xb000_0000 else 0xa000_0000;
        return base | @as(u32, session.number) << 8 | 0x5a;
    }

    /// A transport message as the sender of this way would seal it.
    pub fn seal(session: Session, way: Way, counter: u64, buffer: []u8, text: []const u8) []u8 {
        const message = buffer[0 .. text.len + constants.transport_overhead_bytes];
        transport.writeHeader(message, session.index(way), counter);
        @memcpy(message[constants.transport_header_bytes..][0..text.len], text);
        const bytes = session.key(way);
        transport.sealBatch(&bytes, &.{.{ .bytes = message, .counter = counter }});
        return message;
    }
};

/// Two nodes. A knows B as `peer_b`, and B knows A as `peer_a`.
pub const Pair = struct {
    a: Node,
    b: Node,

    pub const peer_b: abi.PeerRef = .{ .slot = 3, .generation = 7 };
    pub const peer_a: abi.PeerRef = .{ .slot = 5, .generation = 2 };

    /// Both run and know the other, its prefixes and where it is; there is no keypair yet.
    pub fn open() !Pair {
        return openWith(.{});
    }

    pub fn openWith(options: Options) !Pair {
        var a: Node = try .open('a', options);
        errdefer a.close();
        var b: Node = try .open('b', options);
        errdefer b.close();
        try a.apply(&.{
            .{ .kind = .peer_add, .peer = peer_b, .key = @splat(0xb) },
            .{ .kind = .peer_endpoint_set, .peer = peer_b, .remote = b.endpoint() },
            .{ .kind = .allowed_ip_add, .peer = peer_b, .prefix = prefix4(.{ 10, 4, 0, 0 }, 16) },
            .{ .kind = .allowed_ip_add, .peer = peer_b, .prefix = prefix6(.{ 0xfe, 0xfe }, 0, 16) },
        });
        try b.apply(&.{
            .{ .kind = .peer_add, .peer = peer_a, .key = @splat(0xa) },
            .{ .kind = .peer_endpoint_set, .peer = peer_a, .remote = a.endpoint() },
            .{ .kind = .allowed_ip_add, .peer = peer_a, .prefix = prefix4(.{ 10, 1, 0, 0 }, 16) },
            .{ .kind = .allowed_ip_add, .peer = peer_a, .prefix = prefix6(.{ 0xfd, 0xfd }, 0, 16) },
        });
        try testing.expectEqual(.ok, a.device.start());
        try testing.expectEqual(.ok, b.device.start());
        return .{ .a = a, .b = b };
    }

    /// The same, with a session that both have confirmed.
    pub fn openConnected() !Pair {
        var pair: Pair = try .open();
        errdefer pair.close();
        errdefer pair.printCounters();
        try pair.connect(.{ .number = 0 });
        return pair;
    }

    pub fn printCounters(pair: *const Pair) void {
        pair.a.printCounters();
        pair.b.printCounters();
    }

    pub fn close(pair: *Pair) void {
        pair.a.close();
        pair.b.close();
    }

    pub fn connect(pair: *Pair, session: Session) !void {
        try pair.installResponder(session);
        try pair.installInitiator(session);
        const event = try pair.b.awaitEvent(.keypair_confirmed);
        try testing.expectEqual(session.index(.a_to_b), event.number);
    }

    pub fn installResponder(pair: *Pair, session: Session) !void {
        try pair.b.apply(&.{try keypairInstall(peer_a, session, .b_to_a)});
    }

    pub fn installInitiator(pair: *Pair, session: Session) !void {
        try pair.a.apply(&.{try keypairInstall(peer_b, session, .a_to_b)});
    }

    /// A cannot reach B itself any more, but what it sends comes to the wire.
    pub fn relayThrough(pair: *Pair, wire: Wire) !void {
        try pair.a.apply(&.{.{ .kind = .peer_endpoint_set, .peer = peer_b, .remote = wire.endpoint() }});
    }

    pub fn sender(pair: *Pair, way: Way) *Node {
        return if (way == .a_to_b) &pair.a else &pair.b;
    }

    pub fn receiver(pair: *Pair, way: Way) *Node {
        return if (way == .a_to_b) &pair.b else &pair.a;
    }

    /// A fence: when this packet has come out on the other side, all before it has been dealt with.
    pub fn cross(pair: *Pair, way: Way, number: u32) !void {
        var room: [64]u8 = undefined;
        const packet = makePacket(&room, .{ .way = way, .length = 60, .number = number });
        try pair.sender(way).link.inject(packet);
        try pair.receiver(way).link.expectNext(packet);
    }
};

/// How far a Pair is when a test begins.
pub const Begin = struct {
    options: Options = .{},
    /// Session 0 is there, and both have confirmed it.
    connected: bool = true,
};

/// Runs the body with a Pair in a namespace of its own; where it fails, both tell their counters.
pub fn withPair(comptime begin: Begin, comptime body: fn (*Pair) anyerror!void) anyerror!void {
    return inOwnNamespace(struct {
        fn run(_: *Netlink) anyerror!void {
            var pair: Pair = try .openWith(begin.options);
            defer pair.close();
            errdefer pair.printCounters();
            if (begin.connected) try pair.connect(.{ .number = 0 });
            try body(&pair);
        }
    }.run);
}

/// The command for the end that sends this way; A is the initiator.
pub fn keypairInstall(peer: abi.PeerRef, session: Session, sends: Way) !abi.Command {
    const receives: Way = if (sends == .a_to_b) .b_to_a else .a_to_b;
    const send_key = session.key(sends);
    const receive_key = session.key(receives);
    return .{
        .kind = .keypair_install,
        .peer = peer,
        .flags = if (sends == .a_to_b) abi.keypair_flag_initiator else 0,
        .secret_send = try secrets.import(&send_key),
        .secret_receive = try secrets.import(&receive_key),
        .local_index = session.index(receives),
        .remote_index = session.index(sends),
    };
}

pub const Shape = struct {
    way: Way = .a_to_b,
    family: enum { v4, v6 } = .v4,
    /// Of the whole packet, header included.
    length: usize = 60,
    number: u32 = 0,
};

/// An inner packet of a protocol that nobody coalesces; the number decides its content.
pub fn makePacket(buffer: []u8, shape: Shape) []u8 {
    const packet = buffer[0..shape.length];
    const experiment = 253; // RFC 3692
    const ends = [2]u8{ if (shape.way == .a_to_b) 0xfd else 0xfe, if (shape.way == .a_to_b) 0xfe else 0xfd };
    var prng: std.Random.DefaultPrng = .init(shape.number);
    switch (shape.family) {
        .v4 => {
            prng.random().bytes(packet[20..]);
            @memset(packet[0..20], 0);
            packet[0] = 0x45;
            std.mem.writeInt(u16, packet[2..4], @intCast(packet.len), .big);
            std.mem.writeInt(u16, packet[4..6], @truncate(shape.number), .big);
            packet[8] = 64;
            packet[9] = experiment;
            const a = [4]u8{ 10, 1, 2, 3 };
            const b = [4]u8{ 10, 4, 5, 6 };
            packet[12..16].* = if (shape.way == .a_to_b) a else b;
            packet[16..20].* = if (shape.way == .a_to_b) b else a;
        },
        .v6 => {
            prng.random().bytes(packet[40..]);
            @memset(packet[0..8], 0);
            std.mem.writeInt(u32, packet[0..4], 0x6000_0000 | (shape.number & 0xfffff), .big);
            std.mem.writeInt(u16, packet[4..6], @intCast(packet.len - 40), .big);
            packet[6] = experiment;
            packet[7] = 64;
            @memset(packet[8..24], ends[0]);
            @memset(packet[24..40], ends[1]);
        },
    }
    return packet;
}

/// Packets both ways without end, from a thread of its own, at a pace that both devices keep up
/// with; nobody expects any one of them to arrive.
pub const Traffic = struct {
    links: [2]Link,
    stopping: std.atomic.Value(bool) = .init(false),
    taken: std.atomic.Value(u64) = .init(0),
    thread: ?std.Thread = null,

    pub fn start(traffic: *Traffic) !void {
        traffic.thread = try .spawn(.{}, run, .{traffic});
    }

    pub fn stop(traffic: *Traffic) void {
        traffic.stopping.store(true, .release);
        if (traffic.thread) |thread| thread.join();
        traffic.thread = null;
    }

    /// Until so many more were taken: others may have this thread's processor.
    pub fn awaitMore(traffic: *Traffic, packets: u64) !void {
        const wanted = traffic.taken.load(.monotonic) + packets;
        const deadline: Deadline = .start();
        while (traffic.taken.load(.monotonic) < wanted) try deadline.wait(-1);
    }

    fn run(traffic: *Traffic) void {
        var number: u32 = 1_000_000;
        var room: [1420]u8 = undefined;
        while (!traffic.stopping.load(.acquire)) {
            for (0..16) |_| {
                number += 1;
                for (traffic.links, [2]Way{ .a_to_b, .b_to_a }) |link, way| {
                    const length = 60 + number % 1300;
                    const packet = makePacket(&room, .{ .way = way, .length = length, .number = number });
                    const taken = link.offer(&virtio_none, packet) catch false;
                    if (taken) _ = traffic.taken.fetchAdd(1, .monotonic);
                }
            }
            _ = linux.poll(&[0]linux.pollfd{}, 0, 1);
        }
    }
};

/// How many entries a directory has.
pub fn countEntries(path: [*:0]const u8) !usize {
    const fd = try descriptor(linux.open(path, .{ .DIRECTORY = true, .CLOEXEC = true }, 0));
    defer _ = linux.close(fd);
    var count: usize = 0;
    var buffer: [4096]u8 align(8) = undefined;
    while (true) {
        const length = try succeeded(linux.getdents64(fd, &buffer, buffer.len));
        if (length == 0) return count;
        var at: usize = 0;
        while (at < length) : (count += 1) at += std.mem.readInt(u16, buffer[at + 16 ..][0..2], .native);
    }
}

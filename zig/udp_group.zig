//! The sockets of a device: one for each lane, one for handshakes and one for strangers' data, on one port,
//! and the rule by which the kernel chooses among them (steering.zig). Makes system calls only; what a
//! datagram says is read elsewhere.
const std = @import("std");
const constants = @import("constants.zig");
const steering = @import("steering.zig");
const system_errno = @import("system_errno.zig");
const udp_linux = @import("udp_linux.zig");
const Udp = udp_linux.Udp;
const linux = std.os.linux;
const fail = system_errno.fail;
const assert = std.debug.assert;

/// The sockets of a device on one port: the kernel gives a transport message to the socket of the lane
/// that its receiver index names, or to the strangers' where none that was authentic came from its source
/// lately; and everything else, which anybody can make, to one of its own. So a flood fills those queues
/// and not the tunnel's. Without them: to the first lane's.
pub const Group = struct {
    members: [constants.lanes_max]Udp = undefined,
    count: u8 = 0,
    handshakes: ?Udp = null,
    strangers: ?Udp = null,

    /// `apart`: with sockets for handshakes and strangers, where the kernel can steer.
    pub fn open(count: u8, apart: bool, requested_port: u16, fwmark: u32, options: udp_linux.Options) udp_linux.OpenError!Group {
        assert(std.math.isPowerOfTwo(count) and count <= constants.lanes_max);
        var group: Group = .{};
        errdefer group.close();
        // Bound alone, it has a port that nobody else has. One that shares from the start joins whoever of
        // this user shares the port that is asked for, and is given such a port where it asks for any:
        // another device's, which then receives what is sent to this one.
        const first = &group.members[0];
        first.* = try .open(requested_port, fwmark, options);
        group.count = 1;
        if (count > 1 or apart) try first.share();
        var joining = options;
        joining.shared = true;
        for (group.members[1..count]) |*member| {
            member.* = try .open(first.port, fwmark, joining);
            group.count += 1;
        }
        if (apart) group.openAside(fwmark, joining);
        if (count > 1 and group.handshakes == null) try group.steerFirst();
        return group;
    }

    /// They are bound last, so that without them the places of the others are the same; both or neither.
    fn openAside(group: *Group, fwmark: u32, options: udp_linux.Options) void {
        var own = options;
        own.handshakes = true;
        group.handshakes = Udp.open(group.members[0].port, fwmark, own) catch return;
        own = options;
        own.receive_buffer_bytes = constants.strangers_buffer_bytes;
        group.strangers = Udp.open(group.members[0].port, fwmark, own) catch return group.closeAside();
        group.steerFirst() catch group.closeAside();
    }

    fn closeAside(group: *Group) void {
        if (group.handshakes) |*socket| socket.close();
        if (group.strangers) |*socket| socket.close();
        group.handshakes = null;
        group.strangers = null;
    }

    pub fn close(group: *Group) void {
        for (group.members[0..group.count]) |*member| member.close();
        group.count = 0;
        group.closeAside();
    }

    pub fn setMark(group: *Group, fwmark: u32) error{ PermissionDenied, System }!void {
        for (group.slice()) |*member| try member.setMark(fwmark);
        if (group.handshakes) |*socket| try socket.setMark(fwmark);
        if (group.strangers) |*socket| try socket.setMark(fwmark);
    }

    pub fn slice(group: *Group) []Udp {
        return group.members[0..group.count];
    }

    /// Another group of the same size in the place of this one's descriptors; it is closed.
    pub fn replace(group: *Group, fresh: *Group) error{System}!void {
        assert(group.count == fresh.count);
        defer fresh.close();
        for (group.slice(), fresh.slice()) |*old, *new| try replaceOne(old, new);
        // Where there is none any more, whoever reads it would read the old port.
        if (group.handshakes) |*old|
            try replaceOne(old, if (fresh.handshakes) |*new| new else return fail(.OPNOTSUPP, error.System));
        if (group.strangers) |*old|
            try replaceOne(old, if (fresh.strangers) |*new| new else return fail(.OPNOTSUPP, error.System));
    }

    fn replaceOne(old: *Udp, new: *const Udp) error{System}!void {
        const rc = linux.dup3(new.fd, old.fd, @bitCast(linux.O{ .CLOEXEC = true }));
        if (linux.errno(rc) != .SUCCESS) return fail(linux.errno(rc), error.System);
        old.port = new.port;
    }

    /// Of those whose order `steer` counts by.
    pub fn places(group: *const Group) steering.Places {
        return .{
            .lanes = group.count,
            .handshakes = if (group.handshakes == null) null else group.count,
            .strangers = if (group.strangers == null) null else group.count + 1,
        };
    }

    fn steerFirst(group: *const Group) udp_linux.OpenError!void {
        var room: steering.Room = undefined;
        return group.steer(steering.program(&room, group.places(), &.{}));
    }

    /// What the program returns is the place of a socket in the order in which they were bound.
    pub fn steer(group: *const Group, instructions: []const steering.Instruction) udp_linux.OpenError!void {
        const Program = extern struct { length: u16, instructions: [*]const steering.Instruction };
        const value: Program = .{ .length = @intCast(instructions.len), .instructions = instructions.ptr };
        const SO_ATTACH_REUSEPORT_CBPF = 51;
        const level = linux.SOL.SOCKET;
        const fd = group.members[0].fd;
        const rc = linux.setsockopt(fd, level, SO_ATTACH_REUSEPORT_CBPF, std.mem.asBytes(&value), @sizeOf(Program));
        if (linux.errno(rc) != .SUCCESS) return fail(linux.errno(rc), error.System);
    }
};

test "a transport message comes to the lane that its index names, and all else to the first" {
    const scene = @import("io_scene.zig");
    try scene.inOwnNamespace(struct {
        fn body(_: *@import("netlink.zig").Netlink) anyerror!void {
            var group: Group = try .open(4, false, 0, 0, .{});
            defer group.close();
            var sender: Udp = try .open(0, 0, .{});
            defer sender.close();
            const batch = try scene.makeBatch();
            defer scene.freeBatch(batch);
            const remote = scene.v4(.{ 127, 0, 0, 1 }, group.members[0].port);
            var message: [constants.transport_bytes_min]u8 = @splat(0xff);
            for (0..16) |low| {
                std.mem.writeInt(u32, message[0..4], constants.message_transport, .little);
                std.mem.writeInt(u32, message[4..8], 0xabcd_ef00 + @as(u32, @intCast(low)), .little);
                try sender.sendTo(remote, .{}, &message);
                const lane = &group.members[low % 4];
                try std.testing.expectEqualSlices(u8, &message, (try scene.receiveOne(lane, batch)).payload);
                // A handshake with the same bytes behind its type, and what is too short for any.
                message[0] = constants.message_initiation;
                for ([_][]const u8{ &message, message[0..3] }) |other| {
                    try sender.sendTo(remote, .{}, other);
                    const first = try scene.receiveOne(&group.members[0], batch);
                    try std.testing.expectEqualSlices(u8, other, first.payload);
                }
            }
        }
    }.body);
}

test "handshakes and strangers' data come by sockets of their own, over a change of the port too" {
    const scene = @import("io_scene.zig");
    try scene.inOwnNamespace(struct {
        fn body(_: *@import("netlink.zig").Netlink) anyerror!void {
            for ([_]u8{ 1, 2 }) |lanes| {
                var group: Group = try .open(lanes, true, 0, 0, .{});
                defer group.close();
                try expectApart(&group);
                var fresh: Group = try .open(lanes, true, 0, 0, .{});
                try group.replace(&fresh);
                try expectApart(&group);
                // One that is connected shares the port, and changes nothing for others.
                var busy = try group.members[0].openConnected(scene.v4(.{ 127, 0, 0, 1 }, 9), .{});
                defer busy.close();
                try expectApart(&group);
            }
        }

        fn expectApart(group: *Group) !void {
            var sender: Udp = try .open(0, 0, .{});
            defer sender.close();
            const batch = try scene.makeBatch();
            defer scene.freeBatch(batch);
            var room: steering.Room = undefined;
            const port = group.members[0].port;
            for ([_]@import("abi.zig").Endpoint{
                scene.v4(.{ 127, 0, 0, 1 }, port), scene.v6(.{ 0, 0 }, 1, port),
            }) |remote| {
                var from = remote;
                from.port = sender.port;
                const number = steering.numberOf(&from);
                const crowd: [constants.sources_max]u32 = @as([constants.sources_max - 1]u32, @splat(number +% 1)) ++ .{number};
                for ([_]?[]const u32{ &.{}, &.{number +% 1}, &.{number}, &crowd, crowd[0..100], null }, 0..) |known, variant| {
                    try group.steer(steering.program(&room, group.places(), known));
                    const strange = known != null and std.mem.indexOfScalar(u32, known.?, number) == null;
                    try std.testing.expectEqual(strange, variant < 2 or variant == 4);
                    for (0..8) |low| {
                        var message: [constants.transport_bytes_min]u8 = @splat(0);
                        message[0] = constants.message_transport;
                        message[4] = @intCast(low);
                        try sender.sendTo(remote, .{}, &message);
                        const lane = &group.members[low % group.count];
                        const socket = if (strange) &group.strangers.? else lane;
                        const got = try scene.receiveOne(socket, batch);
                        try std.testing.expectEqual(number, steering.numberOf(&got.remote));
                        for ([_]u8{ 0, 1, 2, 3, 0x6d }) |first| {
                            message[0] = first;
                            try sender.sendTo(remote, .{}, &message);
                            const received = try scene.receiveOne(&group.handshakes.?, batch);
                            const local = @import("control_message.zig").parse(received.control).local.?;
                            try std.testing.expectEqual(remote.family, local.family);
                            try std.testing.expectEqual(remote.address, local.address);
                        }
                    }
                }
            }
            try std.testing.expectEqual(0, group.handshakes.?.lost());
        }
    }.body);
}

test "a group is never given a port that another has, however few are left" {
    const scene = @import("io_scene.zig");
    try scene.inOwnNamespace(struct {
        fn body(_: *@import("netlink.zig").Netlink) anyerror!void {
            try allowPorts("40000 40001");
            // The kernel begins to look at a random one.
            for (0..16) |_| {
                var one: Group = try .open(1, true, 0, 0, .{});
                defer one.close();
                var other: Group = try .open(2, true, 0, 0, .{});
                defer other.close();
                try std.testing.expect(one.members[0].port != other.members[0].port);
                try std.testing.expectError(error.AddressInUse, Group.open(1, true, 0, 0, .{}));
            }
        }

        /// What the kernel chooses from where it is asked for any port.
        fn allowPorts(range: []const u8) !void {
            const rc = linux.open("/proc/sys/net/ipv4/ip_local_port_range", .{ .ACCMODE = .WRONLY }, 0);
            try std.testing.expectEqual(.SUCCESS, linux.errno(rc));
            const fd: linux.fd_t = @intCast(rc);
            defer _ = linux.close(fd);
            try std.testing.expectEqual(range.len, linux.write(fd, range.ptr, range.len));
        }
    }.body);
}

test "a port that is taken is refused, by one socket or by a group" {
    try @import("io_scene.zig").inOwnNamespace(struct {
        fn body(_: *@import("netlink.zig").Netlink) anyerror!void {
            var group: Group = try .open(2, false, 0, 0, .{});
            defer group.close();
            const port = group.members[0].port;
            try std.testing.expectEqual(port, group.members[1].port);
            try std.testing.expectError(error.AddressInUse, Group.open(2, false, port, 0, .{}));
            try std.testing.expectError(error.AddressInUse, Group.open(1, true, port, 0, .{}));
        }
    }.body);
}

//! rtnetlink against the real kernel: what was asked for is there, what was removed is not, and
//! others' changes are heard of. Needs root.
const std = @import("std");
const abi = @import("abi.zig");
const message = @import("netlink_message.zig");
const netlink_linux = @import("netlink.zig");
const scene = @import("io_scene.zig");
const system_errno = @import("system_errno.zig");
const Netlink = netlink_linux.Netlink;
const Tun = @import("tun_linux.zig").Tun;
const Udp = @import("udp_linux.zig").Udp;
const linux = std.os.linux;
const testing = std.testing;
const inOwnNamespace = scene.inOwnNamespace;
const prefix4 = scene.prefix4;
const prefix6 = scene.prefix6;
const loopback_index = scene.loopback_index;

/// Whether a file of this thread's namespace has `text` in it.
fn fileHas(path: [*:0]const u8, text: []const u8) !bool {
    const rc = linux.open(path, .{ .CLOEXEC = true }, 0);
    if (linux.errno(rc) != .SUCCESS) return error.CannotOpen;
    const fd: linux.fd_t = @intCast(rc);
    defer _ = linux.close(fd);
    var buffer: [64 * 1024]u8 = undefined;
    var length: usize = 0;
    while (length < buffer.len) {
        const got = linux.read(fd, buffer[length..].ptr, buffer.len - length);
        if (linux.errno(got) != .SUCCESS) return error.CannotRead;
        if (got == 0) break;
        length += got;
    }
    return std.mem.indexOf(u8, buffer[0..length], text) != null;
}

test "addresses come and go, and doing it twice is no error" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            var tun = try Tun.open("mvio0", .{});
            defer tun.close();
            const index = tun.interface_index;
            try netlink.linkUp(index);
            const four = prefix4(.{ 10, 77, 1, 2 }, 24);
            const six = prefix6(.{ 0xfd, 0x77 }, 5, 64);
            const six_line = "fd770000000000000000000000000005";
            for (0..2) |_| {
                try netlink.addressAdd(index, four);
                try netlink.addressAdd(index, six);
            }
            try testing.expect(try fileHas("/proc/thread-self/net/if_inet6", six_line));
            try testing.expect(try fileHas("/proc/thread-self/net/fib_trie", "10.77.1.2"));
            // The kernel's own route to 10.77.1.0/24.
            try testing.expect(try fileHas("/proc/thread-self/net/route", "mvio0\t00014D0A\t"));
            for (0..2) |_| {
                try netlink.addressRemove(index, four);
                try netlink.addressRemove(index, six);
            }
            try testing.expect(!try fileHas("/proc/thread-self/net/if_inet6", six_line));
            try testing.expect(!try fileHas("/proc/thread-self/net/fib_trie", "10.77.1.2"));
        }
    }.body);
}

test "routes come and go; one that leads elsewhere already is told apart from one that is there" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            var tun = try Tun.open("mvio0", .{});
            defer tun.close();
            var other = try Tun.open("mvio1", .{});
            defer other.close();
            const index = tun.interface_index;
            try netlink.linkUp(index);
            try netlink.linkUp(other.interface_index);
            // With host bits, which a route has not; and default routes.
            for ([_]abi.Prefix{
                prefix4(.{ 10, 78, 1, 2 }, 16), prefix6(.{ 0xfd, 0x78 }, 5, 48),
                prefix4(.{ 10, 79, 1, 2 }, 32), prefix6(.{ 0xfd, 0x79 }, 5, 128),
                prefix4(.{ 0, 0, 0, 0 }, 0),    prefix6(.{ 0, 0 }, 0, 0),
            }) |prefix| {
                try testing.expect(!try netlink.routeExists(index, prefix));
                for (0..2) |_| try netlink.routeAdd(index, prefix);
                try testing.expect(try netlink.routeExists(index, prefix));
                try testing.expectError(error.RouteTaken, netlink.routeAdd(other.interface_index, prefix));
                try netlink.routeRemove(other.interface_index, prefix);
                try testing.expect(try netlink.routeExists(index, prefix));
                for (0..2) |_| try netlink.routeRemove(index, prefix);
                try testing.expect(!try netlink.routeExists(index, prefix));
            }
            try netlink.routeAdd(index, prefix4(.{ 10, 78, 1, 2 }, 16));
            try testing.expect(try fileHas("/proc/thread-self/net/route", "mvio0\t00004E0A\t00000000\t0001\t"));
        }
    }.body);
}

test "where a datagram would leave follows the routes; from an address that is not ours, nowhere" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            var one = try Tun.open("mvio0", .{});
            defer one.close();
            var two = try Tun.open("mvio1", .{});
            defer two.close();
            try netlink.linkUp(one.interface_index);
            try netlink.linkUp(two.interface_index);
            try netlink.addressAdd(one.interface_index, prefix4(.{ 10, 77, 1, 2 }, 24));
            const datagram: message.Datagram4 = .{
                .to = .{ 10, 78, 0, 1 },
                .from = .{ 10, 77, 1, 2 },
                .to_port = 51820,
                .from_port = 51820,
                .mark = 7,
            };
            try testing.expectEqual(null, try netlink.wayOut(datagram));
            try netlink.routeAdd(one.interface_index, prefix4(.{ 10, 78, 0, 0 }, 16));
            try testing.expectEqual(one.interface_index, try netlink.wayOut(datagram));
            try netlink.routeAdd(two.interface_index, prefix4(.{ 10, 78, 0, 1 }, 32));
            try testing.expectEqual(two.interface_index, try netlink.wayOut(datagram));
            try netlink.addressRemove(one.interface_index, prefix4(.{ 10, 77, 1, 2 }, 24));
            try testing.expectEqual(null, try netlink.wayOut(datagram));
        }
    }.body);
}

test "MTU, state and the longest super-packet are set and read back" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            var tun = try Tun.open("mvio0", .{});
            defer tun.close();
            const index = tun.interface_index;
            try testing.expect(!(try netlink.getLink(index)).up);
            try netlink.linkUp(index);
            try netlink.setMtu(index, 1420);
            try netlink.setGsoMaxSize(index, 62_000);
            try netlink.setGsoMaxSegments(index, 44);
            try testing.expectEqual(netlink_linux.Link{
                .interface_index = index,
                .up = true,
                .mtu = 1420,
                .gso_max_size = 62_000,
                .gso_max_segments = 44,
            }, try netlink.getLink(index));
        }
    }.body);
}

test "a request says why: no such link, a value out of range, a prefix that is none, no rights" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            try testing.expectError(error.NoSuchLink, netlink.getLink(4711));
            try testing.expectError(error.NoSuchLink, netlink.linkUp(4711));
            try testing.expectError(error.NoSuchLink, netlink.addressAdd(4711, prefix4(.{ 10, 0, 0, 1 }, 24)));
            try testing.expectError(error.System, netlink.addressAdd(loopback_index, prefix4(.{ 10, 0, 0, 1 }, 33)));
            var tun = try Tun.open("mvio0", .{});
            defer tun.close();
            try testing.expectError(error.System, netlink.setMtu(tun.interface_index, 1 << 20));
            try testing.expectEqual(linux.E.INVAL, system_errno.last());
            // A down link takes no route.
            try testing.expectError(error.System, netlink.routeAdd(tun.interface_index, prefix4(.{ 10, 1, 0, 0 }, 16)));
            try testing.expectEqual(linux.E.NETDOWN, system_errno.last());
            // The last thing this thread does: give its rights away (setuid of this thread alone).
            try testing.expectEqual(linux.E.SUCCESS, linux.errno(linux.syscall1(.setuid, 65_534)));
            try testing.expectError(error.PermissionDenied, netlink.linkUp(loopback_index));
            try testing.expectError(error.PermissionDenied, Tun.open("mvio1", .{}));
            try testing.expectError(error.PermissionDenied, Udp.open(0, 5, .{}));
            var udp = try Udp.open(0, 0, .{});
            udp.close();
        }
    }.body);
}

test "the monitor tells of a new MTU, of up, and of the end, and of this link alone" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            var tun = try Tun.open("mvio0", .{});
            defer tun.close();
            const index = tun.interface_index;
            var monitor = try netlink_linux.Monitor.open();
            defer monitor.close();
            try testing.expectEqual(null, try monitor.read(index));

            try netlink.setMtu(loopback_index, 1500);
            try testing.expectEqual(null, try monitor.read(index));
            try netlink.setMtu(index, 1280);
            try testing.expectEqual(
                netlink_linux.Change{ .mtu = 1280, .up = false, .gone = false },
                (try monitor.read(index)).?,
            );
            try netlink.linkUp(index);
            try testing.expect((try monitor.read(index)).?.up);
            try netlink.setMtu(index, 1300);
            try netlink.deleteLink(index);
            try testing.expect((try monitor.read(index)).?.gone);
            try testing.expectError(error.NoSuchLink, netlink.getLink(index));
        }
    }.body);
}

test "a monitor that nobody read for too long says that news were lost" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            var monitor = try netlink_linux.Monitor.open();
            defer monitor.close();
            const small: c_int = 1;
            const set = linux.setsockopt(monitor.fd, linux.SOL.SOCKET, linux.SO.RCVBUF, std.mem.asBytes(&small), 4);
            try testing.expectEqual(linux.E.SUCCESS, linux.errno(set));
            for (0..32) |i| try netlink.setMtu(loopback_index, @intCast(1400 + i));
            try testing.expectError(error.EventsLost, monitor.read(loopback_index));
            try testing.expectEqual(1431, (try netlink.getLink(loopback_index)).mtu);
        }
    }.body);
}

test "rules of policy routing lead to a table of our own, and a flush takes ours alone" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            var tun = try Tun.open("mvio0", .{});
            defer tun.close();
            const index = tun.interface_index;
            try netlink.linkUp(index);
            const table = 0x6d760001;
            for ([_]abi.Prefix{ prefix4(.{ 10, 78, 0, 0 }, 16), prefix6(.{ 0xfd, 0x78 }, 0, 48) }) |prefix| {
                const rule: netlink_linux.Rule = .{ .prefix = prefix, .priority = 5201, .table = table, .suppress = 8, .mark = 7 };
                const jump: netlink_linux.Rule = .{ .prefix = prefix, .priority = 5200, .jump = 5203, .mark = 7, .is_marked = true };
                var others = rule;
                others.mark = 8;
                // Twice is no error, of either.
                for (0..2) |_| {
                    try netlink.routeAddIn(index, prefix, table);
                    try netlink.ruleAdd(.{ .prefix = prefix, .priority = 5203, .mark = 7 });
                    try netlink.ruleAdd(jump);
                    try netlink.ruleAdd(rule);
                    try netlink.ruleAdd(others);
                }
                for (0..2) |_| {
                    try netlink.ruleRemove(rule);
                    try netlink.routeRemoveIn(index, prefix, table);
                }
                try netlink.ruleAdd(rule);
            }
            try testing.expectEqual(0, try netlink.rulesFlush(5204, 10, 7));
            try testing.expectEqual(6, try netlink.rulesFlush(5200, 4, 7));
            try testing.expectEqual(0, try netlink.rulesFlush(5200, 4, 7));
            // Another device's, at the same place and for the same packets.
            try testing.expectEqual(2, try netlink.rulesFlush(5200, 4, 8));
        }
    }.body);
}

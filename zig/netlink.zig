//! What the device asks of the kernel about its interface: link up, MTU, addresses, routes, and
//! the news of the link that others change. Makes system calls only; the bytes are in
//! netlink_message.zig. A Netlink belongs to one thread at a time; every request waits for the
//! kernel's answer, at most request_timeout_ms. Asking for what already is, and removing what is
//! not there, are no errors.
const std = @import("std");
const abi = @import("abi.zig");
const message = @import("netlink_message.zig");
const system_errno = @import("system_errno.zig");
const linux = std.os.linux;
const fail = system_errno.fail;
const Request = message.Request;
pub const Link = message.Link;
pub const Rule = message.Rule;
pub const prefixValid = message.prefixValid;

pub const request_timeout_ms: u32 = 2000;
/// Longer than any datagram that rtnetlink sends of itself.
const receive_bytes: usize = 32 * 1024;
/// Datagrams read by one Monitor.read; the descriptor stays readable when more wait.
const monitor_datagrams_max: usize = 64;

/// Rules of one priority that a flush removes.
const rules_at_priority_max: usize = 256;

pub const Error = error{
    PermissionDenied,
    /// The interface does not exist (any more).
    NoSuchLink,
    /// The same prefix is routed to another interface already.
    RouteTaken,
    TimedOut,
    System,
};

pub const Netlink = struct {
    fd: linux.fd_t,
    sequence: u32,

    pub fn open() Error!Netlink {
        const fd = try openSocket(0);
        // Lets the kernel filter a dump of routes; an older one sends them all.
        const on: c_int = 1;
        const netlink_get_strict_chk = 12;
        _ = linux.setsockopt(fd, linux.SOL.NETLINK, netlink_get_strict_chk, std.mem.asBytes(&on), @sizeOf(c_int));
        return .{ .fd = fd, .sequence = 0 };
    }

    pub fn close(netlink: *Netlink) void {
        _ = linux.close(netlink.fd);
        netlink.fd = -1;
    }

    pub fn getLink(netlink: *Netlink, interface_index: u32) Error!Link {
        const Found = struct {
            link: ?Link = null,
            fn each(found: *@This(), answer: message.Message) void {
                if (answer.kind == message.RTM_NEWLINK) found.link = message.parseLink(answer.body) orelse return;
            }
        };
        var found: Found = .{};
        var request = Request.link(message.RTM_GETLINK, interface_index, 0, 0);
        try check(try netlink.ask(&request, &found, Found.each));
        const link = found.link orelse return fail(.PROTO, error.System);
        if (link.interface_index != interface_index) return fail(.PROTO, error.System);
        return link;
    }

    pub fn linkUp(netlink: *Netlink, interface_index: u32) Error!void {
        var request = Request.link(message.RTM_NEWLINK, interface_index, message.IFF_UP, message.IFF_UP);
        return check(try netlink.command(&request));
    }

    pub fn setMtu(netlink: *Netlink, interface_index: u32, mtu: u32) Error!void {
        return netlink.setLinkNumbers(interface_index, &.{.{ message.IFLA_MTU, mtu }});
    }

    /// The longest super-packet that the kernel may hand to the interface, IP header included, at
    /// most 65,535 bytes. Kernels since 6.3 keep a number of their own for IPv4; older ones pass
    /// over an attribute they do not know.
    pub fn setGsoMaxSize(netlink: *Netlink, interface_index: u32, bytes: u32) Error!void {
        return netlink.setLinkNumbers(interface_index, &.{
            .{ message.IFLA_GSO_MAX_SIZE, bytes },
            .{ message.IFLA_GSO_IPV4_MAX_SIZE, bytes },
        });
    }

    /// The most segments that a super-packet may have.
    pub fn setGsoMaxSegments(netlink: *Netlink, interface_index: u32, segments: u32) Error!void {
        return netlink.setLinkNumbers(interface_index, &.{.{ message.IFLA_GSO_MAX_SEGS, segments }});
    }

    pub fn deleteLink(netlink: *Netlink, interface_index: u32) Error!void {
        var request = Request.link(message.RTM_DELLINK, interface_index, 0, 0);
        return check(try netlink.command(&request));
    }

    /// The kernel adds the route to the prefix by itself. IPv6 goes without duplicate address
    /// detection, since a tunnel has no neighbours: the address may be a source at once, and
    /// receives a moment later, when the kernel's own worker has made its local route.
    pub fn addressAdd(netlink: *Netlink, interface_index: u32, prefix: abi.Prefix) Error!void {
        if (!message.prefixValid(prefix)) return fail(.INVAL, error.System);
        const flags = message.NLM_F_CREATE | message.NLM_F_EXCL;
        var request = Request.address(message.RTM_NEWADDR, flags, interface_index, prefix);
        return switch (try netlink.command(&request)) {
            .EXIST => {},
            else => |e| check(e),
        };
    }

    pub fn addressRemove(netlink: *Netlink, interface_index: u32, prefix: abi.Prefix) Error!void {
        if (!message.prefixValid(prefix)) return fail(.INVAL, error.System);
        var request = Request.address(message.RTM_DELADDR, 0, interface_index, prefix);
        return switch (try netlink.command(&request)) {
            .ADDRNOTAVAIL => {},
            else => |e| check(e),
        };
    }

    /// A route of the main table to the interface, without a gateway. The link must be up.
    pub fn routeAdd(netlink: *Netlink, interface_index: u32, prefix: abi.Prefix) Error!void {
        if (!message.prefixValid(prefix)) return fail(.INVAL, error.System);
        const flags = message.NLM_F_CREATE | message.NLM_F_EXCL;
        var request = Request.route(message.RTM_NEWROUTE, flags, interface_index, prefix);
        const e = try netlink.command(&request);
        if (e != .EXIST) return check(e);
        // To whom the route that exists leads is the difference between done and not at all.
        if (!try netlink.routeExists(interface_index, prefix)) return fail(.EXIST, error.RouteTaken);
    }

    pub fn routeRemove(netlink: *Netlink, interface_index: u32, prefix: abi.Prefix) Error!void {
        if (!message.prefixValid(prefix)) return fail(.INVAL, error.System);
        var request = Request.route(message.RTM_DELROUTE, 0, interface_index, prefix);
        return switch (try netlink.command(&request)) {
            .SRCH => {},
            else => |e| check(e),
        };
    }

    /// As `routeAdd`, to a table of our own, where nobody else's routes are; 0 is the main table.
    pub fn routeAddIn(netlink: *Netlink, interface_index: u32, prefix: abi.Prefix, number: u64) Error!void {
        if (number == 0) return netlink.routeAdd(interface_index, prefix);
        const table = std.math.cast(u32, number) orelse return fail(.INVAL, error.System);
        if (!message.prefixValid(prefix)) return fail(.INVAL, error.System);
        const flags = message.NLM_F_CREATE | message.NLM_F_EXCL;
        var request = Request.routeIn(message.RTM_NEWROUTE, flags, interface_index, prefix, table);
        return switch (try netlink.command(&request)) {
            .EXIST => {},
            else => |e| check(e),
        };
    }

    pub fn routeRemoveIn(netlink: *Netlink, interface_index: u32, prefix: abi.Prefix, number: u64) Error!void {
        if (number == 0) return netlink.routeRemove(interface_index, prefix);
        const table = std.math.cast(u32, number) orelse return fail(.INVAL, error.System);
        if (!message.prefixValid(prefix)) return fail(.INVAL, error.System);
        var request = Request.routeIn(message.RTM_DELROUTE, 0, interface_index, prefix, table);
        return switch (try netlink.command(&request)) {
            .SRCH => {},
            else => |e| check(e),
        };
    }

    pub fn ruleAdd(netlink: *Netlink, wanted: message.Rule) Error!void {
        if (!message.prefixValid(wanted.prefix)) return fail(.INVAL, error.System);
        const flags = message.NLM_F_CREATE | message.NLM_F_EXCL;
        var request = Request.rule(message.RTM_NEWRULE, flags, wanted);
        return switch (try netlink.command(&request)) {
            .EXIST => {},
            else => |e| check(e),
        };
    }

    pub fn ruleRemove(netlink: *Netlink, wanted: message.Rule) Error!void {
        if (!message.prefixValid(wanted.prefix)) return fail(.INVAL, error.System);
        var request = Request.rule(message.RTM_DELRULE, 0, wanted);
        return switch (try netlink.command(&request)) {
            .NOENT => {},
            else => |e| check(e),
        };
    }

    /// Removes the rules of both families that a device with this mark made, of this process or another
    /// one, at these priorities.
    pub fn rulesFlush(netlink: *Netlink, priority_first: u32, count: u32, mark: u32) Error!u32 {
        var removed: u32 = 0;
        for ([_]u8{ 4, 6 }) |family| {
            for (0..count) |at| {
                const priority = priority_first + @as(u32, @intCast(at));
                for (0..rules_at_priority_max) |_| {
                    var request = Request.rule(message.RTM_DELRULE, 0, .{
                        .prefix = .{ .family = family },
                        .priority = priority,
                        .mark = mark,
                        .is_place = true,
                    });
                    switch (try netlink.command(&request)) {
                        .SUCCESS => removed += 1,
                        // A kernel without IPv6 or without rules has none of ours.
                        .NOENT, .AFNOSUPPORT, .OPNOTSUPP => break,
                        else => |e| try check(e),
                    }
                }
            }
        }
        return removed;
    }

    pub fn routeExists(netlink: *Netlink, interface_index: u32, prefix: abi.Prefix) Error!bool {
        if (!message.prefixValid(prefix)) return fail(.INVAL, error.System);
        const Search = struct {
            wanted: message.Route,
            found: bool = false,
            fn each(search: *@This(), answer: message.Message) void {
                if (answer.kind != message.RTM_NEWROUTE) return;
                const route = message.parseRoute(answer.body) orelse return;
                if (std.meta.eql(route, search.wanted)) search.found = true;
            }
        };
        var search: Search = .{ .wanted = .{
            .prefix = message.masked(prefix),
            .table = message.route_table_main,
            .interface_index = interface_index,
        } };
        var request = Request.route(message.RTM_GETROUTE, message.NLM_F_DUMP, interface_index, prefix);
        try check(try netlink.ask(&request, &search, Search.each));
        return search.found;
    }

    /// The interface by which a datagram of ours would leave, as the kernel would send it. Null: by none,
    /// since nothing leads there or the address to send from is not of this machine.
    pub fn wayOut(netlink: *Netlink, datagram: message.Datagram4) Error!?u32 {
        const Found = struct {
            index: u32 = 0,
            fn each(found: *@This(), answer: message.Message) void {
                if (answer.kind != message.RTM_NEWROUTE) return;
                const route = message.parseRoute(answer.body) orelse return;
                found.index = route.interface_index;
            }
        };
        var found: Found = .{};
        var request = Request.way(datagram);
        return switch (try netlink.ask(&request, &found, Found.each)) {
            .SUCCESS => found.index,
            .INVAL, .NETUNREACH, .HOSTUNREACH, .ACCES => null,
            else => |e| fail(e, error.System),
        };
    }

    fn setLinkNumbers(netlink: *Netlink, interface_index: u32, numbers: []const struct { u16, u32 }) Error!void {
        var request = Request.link(message.RTM_NEWLINK, interface_index, 0, 0);
        for (numbers) |number| request.putNumber(number[0], number[1]);
        return check(try netlink.command(&request));
    }

    /// A request whose only answer is the verdict.
    fn command(netlink: *Netlink, request: *Request) Error!linux.E {
        return netlink.ask(request, {}, struct {
            fn each(_: void, _: message.Message) void {}
        }.each);
    }

    /// Sends a request, gives each message of the answer to `each`, and returns the verdict that
    /// ends it. Answers to an earlier request that was given up are passed over by their number.
    fn ask(
        netlink: *Netlink,
        request: *Request,
        context: anytype,
        comptime each: fn (@TypeOf(context), message.Message) void,
    ) Error!linux.E {
        netlink.sequence +%= 1;
        const bytes = request.finish(netlink.sequence);
        while (true) {
            const rc = linux.sendto(netlink.fd, bytes.ptr, bytes.len, linux.MSG.NOSIGNAL, null, 0);
            switch (linux.errno(rc)) {
                .SUCCESS => break,
                .INTR => continue,
                else => |e| return fail(e, error.System),
            }
        }

        const deadline_ms = nowMs() + request_timeout_ms;
        var buffer: [receive_bytes]u8 align(4) = undefined;
        while (true) {
            const left_ms = deadline_ms -| nowMs();
            if (left_ms == 0) return fail(.TIMEDOUT, error.TimedOut);
            const datagram = switch (receive(netlink.fd, &buffer)) {
                .bytes => |received| received,
                .stranger => continue,
                .nothing => {
                    try waitReadable(netlink.fd, left_ms);
                    continue;
                },
                .failed => |e| return fail(e, error.System),
            };
            var messages: message.Messages = .{ .rest = datagram };
            while (messages.next()) |answer| {
                if (answer.sequence != netlink.sequence) continue;
                switch (answer.kind) {
                    message.NLMSG_ERROR, message.NLMSG_DONE => return message.verdict(answer.body),
                    else => each(context, answer),
                }
            }
        }
    }
};

pub const Change = struct {
    /// 0 when gone.
    mtu: u32,
    up: bool,
    /// The interface was deleted, or moved to another network namespace.
    gone: bool,
};

/// News of all links. `fd` is readable when there may be some.
pub const Monitor = struct {
    fd: linux.fd_t,
    /// Something was said of addresses, routes or other links since this was last cleared.
    elsewhere: bool = false,

    pub fn open() Error!Monitor {
        // RTMGRP_LINK, and addresses and routes of IPv4 and IPv6.
        const groups = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
        return .{ .fd = try openSocket(groups) };
    }

    pub fn close(monitor: *Monitor) void {
        _ = linux.close(monitor.fd);
        monitor.fd = -1;
    }

    /// What became of the interface, the last word if there are several; null when nothing was
    /// said. The kernel also speaks of links whose MTU and state stayed the same. After EventsLost
    /// the link must be read with Netlink.getLink (NoSuchLink = gone).
    pub fn read(monitor: *Monitor, interface_index: u32) error{ EventsLost, System }!?Change {
        var change: ?Change = null;
        var buffer: [receive_bytes]u8 align(4) = undefined;
        for (0..monitor_datagrams_max) |_| {
            const datagram = switch (receive(monitor.fd, &buffer)) {
                .bytes => |received| received,
                .stranger => continue,
                .nothing => break,
                .failed => |e| return switch (e) {
                    // What was lost may have been anything.
                    .NOBUFS, .MSGSIZE => fail(e, error.EventsLost),
                    else => fail(e, error.System),
                },
            };
            change = monitor.lastWord(datagram, interface_index, change);
        }
        return change;
    }

    fn lastWord(monitor: *Monitor, datagram: []const u8, interface_index: u32, before: ?Change) ?Change {
        var change = before;
        var messages: message.Messages = .{ .rest = datagram };
        while (messages.next()) |news| {
            if (news.kind != message.RTM_NEWLINK and news.kind != message.RTM_DELLINK) {
                monitor.elsewhere = true;
                continue;
            }
            const link = message.parseLink(news.body) orelse continue;
            if (link.interface_index != interface_index) {
                monitor.elsewhere = true;
                continue;
            }
            if (change != null and change.?.gone) continue;
            if (news.kind == message.RTM_DELLINK) {
                change = .{ .mtu = 0, .up = false, .gone = true };
            } else if (link.mtu != 0) {
                change = .{ .mtu = link.mtu, .up = link.up, .gone = false };
            }
        }
        return change;
    }
};

fn openSocket(groups: u32) Error!linux.fd_t {
    const kind = linux.SOCK.RAW | linux.SOCK.CLOEXEC | linux.SOCK.NONBLOCK;
    const rc = linux.socket(linux.AF.NETLINK, kind, linux.NETLINK.ROUTE);
    if (linux.errno(rc) != .SUCCESS) return fail(linux.errno(rc), error.System);
    const fd: linux.fd_t = @intCast(rc);
    errdefer _ = linux.close(fd);
    const address: linux.sockaddr.nl = .{ .pid = 0, .groups = groups };
    const e = linux.errno(linux.bind(fd, @ptrCast(&address), @sizeOf(linux.sockaddr.nl)));
    if (e != .SUCCESS) return fail(e, error.System);
    return fd;
}

const Received = union(enum) {
    bytes: []const u8,
    /// Another process may write to the socket; only the kernel is listened to.
    stranger,
    nothing,
    /// MSGSIZE: the datagram was longer than the buffer.
    failed: linux.E,
};

fn receive(fd: linux.fd_t, buffer: []u8) Received {
    while (true) {
        var address: linux.sockaddr.nl = .{ .pid = 0, .groups = 0 };
        var length: linux.socklen_t = @sizeOf(linux.sockaddr.nl);
        // MSG_TRUNC: the result is the datagram's own length.
        const rc = linux.recvfrom(fd, buffer.ptr, buffer.len, linux.MSG.TRUNC, @ptrCast(&address), &length);
        switch (linux.errno(rc)) {
            .SUCCESS => {
                if (length != @sizeOf(linux.sockaddr.nl) or address.pid != 0) return .stranger;
                if (rc > buffer.len) return .{ .failed = .MSGSIZE };
                return .{ .bytes = buffer[0..rc] };
            },
            .INTR => continue,
            .AGAIN => return .nothing,
            else => |e| return .{ .failed = e },
        }
    }
}

/// Returns in time or before it, readable or not.
fn waitReadable(fd: linux.fd_t, timeout_ms: u64) Error!void {
    var polled = [1]linux.pollfd{.{ .fd = fd, .events = linux.POLL.IN, .revents = 0 }};
    const rc = linux.poll(&polled, 1, @intCast(timeout_ms));
    switch (linux.errno(rc)) {
        .SUCCESS, .INTR => {},
        else => |e| return fail(e, error.System),
    }
}

fn nowMs() u64 {
    var time: linux.timespec = undefined;
    _ = linux.clock_gettime(.MONOTONIC, &time);
    return @as(u64, @intCast(time.sec)) * 1000 + @as(u64, @intCast(time.nsec)) / 1_000_000;
}

/// Only EPERM speaks of rights: EACCES is what an interface without IPv6 answers to an address.
fn check(e: linux.E) Error!void {
    return switch (e) {
        .SUCCESS => {},
        .PERM => fail(e, error.PermissionDenied),
        .NODEV => fail(e, error.NoSuchLink),
        else => fail(e, error.System),
    };
}

test "of several words about one link the last counts, and deletion is final" {
    const Datagram = struct {
        fn of(kind: u16, interface_index: u32, mtu: u32) Request {
            var request = Request.link(kind, interface_index, message.IFF_UP, 0);
            request.putNumber(message.IFLA_MTU, mtu);
            return request;
        }
    };
    var change: ?Change = null;
    var monitor: Monitor = .{ .fd = -1 };
    for ([_]struct { u16, u32, u32, ?Change }{
        .{ message.RTM_NEWLINK, 8, 1500, null },
        .{ message.RTM_NEWLINK, 7, 1420, .{ .mtu = 1420, .up = true, .gone = false } },
        .{ message.RTM_NEWADDR, 7, 1000, .{ .mtu = 1420, .up = true, .gone = false } },
        .{ message.RTM_NEWLINK, 7, 0, .{ .mtu = 1420, .up = true, .gone = false } },
        .{ message.RTM_NEWLINK, 7, 1280, .{ .mtu = 1280, .up = true, .gone = false } },
        .{ message.RTM_DELLINK, 7, 1280, .{ .mtu = 0, .up = false, .gone = true } },
        .{ message.RTM_NEWLINK, 7, 1400, .{ .mtu = 0, .up = false, .gone = true } },
    }) |case| {
        var datagram = Datagram.of(case[0], case[1], case[2]);
        change = monitor.lastWord(datagram.finish(0), 7, change);
        try std.testing.expectEqual(case[3], change);
        // Whatever is not of this link is news of the machine's network.
        const own = case[0] != message.RTM_NEWADDR and case[1] == 7;
        try std.testing.expectEqual(!own, monitor.elsewhere);
        monitor.elsewhere = false;
    }
}

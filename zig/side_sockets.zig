//! Sockets beside the main one, for birthday probing: behind a NAT with a mapping for each destination,
//! a packet from each of them makes one more mapping that a member may guess. The one that is hit goes
//! on serving that member: an endpoint of IPv4 names it in `scope`, from 1 on; 0 is the main socket.
//!
//! They are opened once, by `apply`, and closed with the device: no thread ever finds one gone.
const std = @import("std");
const linux = std.os.linux;
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const udp_linux = @import("udp_linux.zig");
const Udp = udp_linux.Udp;

pub const SideSockets = struct {
    sockets: [constants.side_sockets_max]Udp = undefined,
    /// How many there are; what is below it never changes.
    count: std.atomic.Value(u32) = .init(0),
    /// Readable where any of them is; -1 before there are any.
    epoll: std.atomic.Value(linux.fd_t) = .init(-1),

    /// Opens as many as there can be, or as many as the system allows. Once.
    pub fn open(self: *SideSockets, fwmark: u32, options: udp_linux.Options) error{System}!void {
        if (self.epoll.load(.acquire) >= 0) return;
        const rc = linux.epoll_create1(linux.EPOLL.CLOEXEC);
        if (linux.errno(rc) != .SUCCESS) return error.System;
        const epoll: linux.fd_t = @intCast(rc);
        var opened: u32 = 0;
        while (opened < self.sockets.len) : (opened += 1) {
            self.sockets[opened] = Udp.open(0, fwmark, options) catch break;
            var event: linux.epoll_event = .{ .events = linux.EPOLL.IN, .data = .{ .u32 = opened + 1 } };
            _ = linux.epoll_ctl(epoll, linux.EPOLL.CTL_ADD, self.sockets[opened].fd, &event);
        }
        self.count.store(opened, .release);
        self.epoll.store(epoll, .release);
    }

    /// No thread uses them any more.
    pub fn close(self: *SideSockets) void {
        for (self.sockets[0..self.count.raw]) |*socket| socket.close();
        if (self.epoll.raw >= 0) _ = linux.close(self.epoll.raw);
        self.* = undefined;
    }

    /// The socket by which an endpoint is spoken to.
    pub fn of(self: *const SideSockets, remote: *const abi.Endpoint, main: *const Udp) *const Udp {
        if (remote.family != 4 or remote.scope == 0) return main;
        if (remote.scope > self.count.load(.acquire)) return main;
        return &self.sockets[remote.scope - 1];
    }

    /// Numbers of sockets that have something to read.
    pub fn ready(self: *const SideSockets, numbers: []u32) []u32 {
        const epoll = self.epoll.load(.acquire);
        if (epoll < 0) return numbers[0..0];
        var events: [8]linux.epoll_event = undefined;
        const rc = linux.epoll_wait(epoll, &events, @intCast(@min(events.len, numbers.len)), 0);
        if (linux.errno(rc) != .SUCCESS) return numbers[0..0];
        for (events[0..rc], numbers[0..rc]) |*event, *number| number.* = event.data.u32;
        return numbers[0..rc];
    }
};

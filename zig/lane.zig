//! What one lane shares with the control plane and with other lanes. A lane is a transmit and a
//! receive thread with a queue of the TUN and a socket of their own; every peer belongs to one,
//! by its slot, so that nonces, staging, windows and paths have one writing thread however many
//! lanes there are. Packets that the kernel gives to another lane are handed over.
const std = @import("std");
const linux = std.os.linux;
const Allocator = std.mem.Allocator;
const constants = @import("constants.zig");
const queue = @import("queue.zig");
const system_errno = @import("system_errno.zig");
const Awaited = @import("awaited.zig").Awaited;
const Handover = @import("handover.zig").Handover;

pub const Lane = struct {
    /// Session messages from the control plane, sealed by transmit.
    outbox: queue.DatagramRing,
    attention: queue.Attention,
    /// Transmit; apply.
    awaited: Awaited = .{},
    /// Packets read from the TUN queue of another lane, and datagrams received on the socket of
    /// another. Null in a device with one lane.
    to_transmit: ?Handover = null,
    to_receive: ?Handover = null,
    /// Transmit is past the tables with what it laid out, and not done sending it.
    sending: std.atomic.Value(bool) = .init(false),
    /// Eventfds that wake the threads out of their polls.
    wake_transmit: linux.fd_t,
    wake_receive: linux.fd_t,

    pub const InitError = error{ OutOfMemory, SystemResources };

    pub fn init(allocator: Allocator, alone: bool) InitError!Lane {
        var outbox = try queue.DatagramRing.init(allocator, constants.outbox_ring_datagrams);
        errdefer outbox.deinit(allocator);
        var attention = try queue.Attention.init(allocator);
        errdefer attention.deinit(allocator);
        var to_transmit: ?Handover = if (alone) null else try .init(allocator);
        errdefer if (to_transmit) |*handover| handover.deinit(allocator);
        var to_receive: ?Handover = if (alone) null else try .init(allocator);
        errdefer if (to_receive) |*handover| handover.deinit(allocator);
        const wake_transmit = try eventfd();
        errdefer _ = linux.close(wake_transmit);
        return .{
            .outbox = outbox,
            .attention = attention,
            .to_transmit = to_transmit,
            .to_receive = to_receive,
            .wake_transmit = wake_transmit,
            .wake_receive = try eventfd(),
        };
    }

    pub fn deinit(self: *Lane, allocator: Allocator) void {
        _ = linux.close(self.wake_transmit);
        _ = linux.close(self.wake_receive);
        self.awaited.deinit(allocator);
        if (self.to_receive) |*handover| handover.deinit(allocator);
        if (self.to_transmit) |*handover| handover.deinit(allocator);
        self.attention.deinit(allocator);
        self.outbox.deinit(allocator);
        self.* = undefined;
    }

    fn eventfd() error{SystemResources}!linux.fd_t {
        const rc = linux.eventfd(0, linux.EFD.CLOEXEC | linux.EFD.NONBLOCK);
        if (linux.errno(rc) != .SUCCESS) return system_errno.fail(linux.errno(rc), error.SystemResources);
        return @intCast(rc);
    }
};

pub fn wake(fd: linux.fd_t) void {
    const one: u64 = 1;
    _ = linux.write(fd, std.mem.asBytes(&one), 8);
}

//! Sockets beside the main one, for birthday probing: behind a NAT with a mapping for each destination,
//! a packet from each of them makes one more mapping that a member may guess. The one that is hit goes
//! on serving that member: an endpoint of IPv4 names it in `scope`, from 1 on; 0 is the main socket.
//!
//! `apply` opens them and says which are to go. Receive, which alone reads them, closes those, once no
//! transmit thread can be sending by one that it looked up before (Lane.sending). A number is a place:
//! it may be another socket's after the next `open`.
const std = @import("std");
const linux = std.os.linux;
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const udp_linux = @import("udp_linux.zig");
const Lane = @import("lane.zig").Lane;
const Udp = udp_linux.Udp;

const State = enum(u8) {
    /// `open` may fill it.
    free,
    open,
    /// Nobody sends by it any more; receive closes it.
    leaving,
};

const Slot = struct { state: std.atomic.Value(State) = .init(.free), udp: Udp = undefined };

/// By number, from 1 on.
pub const Numbers = std.bit_set.ArrayBitSet(usize, constants.side_sockets_max + 1);

pub const SideSockets = struct {
    slots: [constants.side_sockets_max]Slot = @splat(.{}),
    /// Some are to go.
    leaving: std.atomic.Value(bool) = .init(false),
    /// Readable where any of them is; -1 before there are any.
    epoll: std.atomic.Value(linux.fd_t) = .init(-1),

    // apply.

    /// Opens as many as there can be, or as many as the system allows.
    pub fn open(self: *SideSockets, fwmark: u32, options: udp_linux.Options) error{System}!void {
        if (self.epoll.raw < 0) {
            const rc = linux.epoll_create1(linux.EPOLL.CLOEXEC);
            if (linux.errno(rc) != .SUCCESS) return error.System;
            self.epoll.store(@intCast(rc), .release);
        }
        for (&self.slots, 1..) |*slot, number| {
            if (slot.state.load(.acquire) != .free) continue;
            slot.udp = Udp.open(0, fwmark, options) catch return;
            var event: linux.epoll_event = .{ .events = linux.EPOLL.IN, .data = .{ .u32 = @intCast(number) } };
            const rc = linux.epoll_ctl(self.epoll.raw, linux.EPOLL.CTL_ADD, slot.udp.fd, &event);
            if (linux.errno(rc) != .SUCCESS) return slot.udp.close();
            slot.state.store(.open, .release);
        }
    }

    /// All but these are to go. No packet thread works on the tables meanwhile.
    pub fn leaveAllBut(self: *SideSockets, used: *const Numbers) void {
        for (&self.slots, 1..) |*slot, number| {
            if (used.isSet(number) or slot.state.load(.monotonic) != .open) continue;
            slot.state.store(.leaving, .release);
            self.leaving.store(true, .release);
        }
    }

    /// How many serve.
    pub fn count(self: *const SideSockets) u32 {
        var found: u32 = 0;
        for (&self.slots) |*slot| found += @intFromBool(slot.state.load(.acquire) == .open);
        return found;
    }

    /// No thread uses them any more.
    pub fn close(self: *SideSockets) void {
        for (&self.slots) |*slot| if (slot.state.raw != .free) slot.udp.close();
        if (self.epoll.raw >= 0) _ = linux.close(self.epoll.raw);
        self.* = undefined;
    }

    // Any thread.

    /// The socket by which an endpoint is spoken to.
    pub fn of(self: *const SideSockets, remote: *const abi.Endpoint, main: *const Udp) *const Udp {
        if (remote.family != 4 or remote.scope == 0) return main;
        if (remote.scope > self.slots.len) return main;
        const slot = &self.slots[remote.scope - 1];
        return if (slot.state.load(.acquire) == .open) &slot.udp else main;
    }

    // Receive.

    /// Closes those that are to go, unless a transmit thread may still be sending by one.
    pub fn sweep(self: *SideSockets, lanes: []const Lane) void {
        if (!self.leaving.load(.acquire)) return;
        // Whoever begins to send from here on finds them leaving: `apply` held all sides in between.
        for (lanes) |*lane| if (lane.sending.load(.acquire)) return;
        self.leaving.store(false, .release);
        for (&self.slots) |*slot| {
            if (slot.state.load(.acquire) != .leaving) continue;
            slot.udp.close();
            slot.state.store(.free, .release);
        }
    }

    /// Numbers of sockets that have something to read.
    pub fn ready(self: *const SideSockets, numbers: []u32) []u32 {
        const epoll = self.epoll.load(.acquire);
        if (epoll < 0) return numbers[0..0];
        var events: [8]linux.epoll_event = undefined;
        const rc = linux.epoll_wait(epoll, &events, @intCast(@min(events.len, numbers.len)), 0);
        if (linux.errno(rc) != .SUCCESS) return numbers[0..0];
        var count_ready: usize = 0;
        for (events[0..rc]) |*event| {
            const number = event.data.u32;
            // One that `open` has not finished is seen at the next look.
            if (self.slots[number - 1].state.load(.acquire) == .free) continue;
            numbers[count_ready] = number;
            count_ready += 1;
        }
        return numbers[0..count_ready];
    }

    /// One that `ready` named.
    pub fn at(self: *const SideSockets, number: u32) *const Udp {
        return &self.slots[number - 1].udp;
    }
};

//! Connected UDP sockets for the few peers that are busy: the kernel keeps the route of each, and
//! prefers it for what its peer sends. The device's own socket stays unconnected, and serves
//! everybody else and every doubt. Owns the table of them: transmit opens a socket and says that it
//! is to go; receive, which may still be reading it, drains and closes it. They share the port, so
//! between bind and connect a new one may be given datagrams of others: whatever comes is read.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const lane_ = @import("lane.zig");
const udp_linux = @import("udp_linux.zig");
const Counters = @import("metrics.zig").Counters;
const Path = @import("peer.zig").Path;
const Peer = @import("peer.zig").Peer;
const Tables = @import("tables.zig").Tables;
const Udp = udp_linux.Udp;
const linux = std.os.linux;
const assert = std.debug.assert;

pub const sockets_max = constants.connected_sockets_max;
/// No socket of its own: the device's.
pub const none: u8 = std.math.maxInt(u8);

/// What a peer remembers of it: transmit.
pub const OfPeer = struct {
    slot: u8 = none,
    /// When counting began, and what had been sent to the peer then.
    since_ns: u64 = 0,
    since_packets: u64 = 0,
    /// Not to be tried before.
    again_ns: u64 = 0,
};

const State = enum(u8) {
    /// Transmit may open it.
    free,
    open,
    /// Receive drains and frees it.
    leaving,
};

const Slot = struct {
    state: std.atomic.Value(State) = .init(.free),
    udp: Udp = undefined,
    peer: abi.PeerRef = .{},
    path: Path = .{},
    used_ns: u64 = 0,
};

pub const Sockets = struct {
    enabled: bool = false,
    main: *const Udp = undefined,
    wake_receive: linux.fd_t = -1,
    slots: [sockets_max]Slot = @splat(.{}),
    /// The last socket that was received from; `sockets_max` is the device's own. Receive.
    source: usize = sockets_max,

    // Transmit.

    /// The socket for what this turn sends to a peer: a place in `slots`, or `none`.
    pub fn pick(self: *Sockets, counters: *Counters, peer: *Peer, path: *const Path, now_ns: u64) u8 {
        if (!self.enabled) return none;
        const own = &peer.connected;
        if (own.slot != none) {
            const slot = &self.slots[own.slot];
            if (self.serves(slot, peer.ref, path)) {
                slot.used_ns = now_ns;
                return own.slot;
            }
            // It roamed, or the port is another; or the slot is somebody else's by now.
            if (std.meta.eql(slot.peer, peer.ref)) self.leave(own.slot);
            own.* = .{};
        }
        const sent = peer.tx_packets.load(.monotonic);
        if (now_ns -| own.since_ns > constants.connected_busy_within_ns) {
            own.since_ns = now_ns;
            own.since_packets = sent;
        }
        if (sent -% own.since_packets < constants.connected_busy_datagrams or now_ns < own.again_ns) return none;
        own.slot = self.connect(peer.ref, path, now_ns) orelse {
            counters.add(.connected_sockets_refused, 1);
            own.again_ns = now_ns + constants.connected_retry_after_ns;
            return none;
        };
        counters.add(.connected_sockets_opened, 1);
        return own.slot;
    }

    fn serves(self: *const Sockets, slot: *const Slot, ref: abi.PeerRef, path: *const Path) bool {
        return slot.state.load(.monotonic) == .open and std.meta.eql(slot.peer, ref) and
            slot.path.equal(path) and slot.udp.generation.raw == self.main.generation.load(.acquire);
    }

    /// Null: as many as may be are open, or the system refuses.
    fn connect(self: *Sockets, ref: abi.PeerRef, path: *const Path, now_ns: u64) ?u8 {
        const at = for (&self.slots, 0..) |*slot, index| {
            if (slot.state.load(.acquire) == .free) break index;
        } else return null;
        const slot = &self.slots[at];
        slot.udp = self.main.openConnected(path.remote, path.local) catch return null;
        slot.peer = ref;
        slot.path = path.*;
        slot.used_ns = now_ns;
        slot.state.store(.open, .release);
        lane_.wake(self.wake_receive);
        return @intCast(at);
    }

    pub fn leave(self: *Sockets, at: u8) void {
        const slot = &self.slots[at];
        if (slot.state.load(.monotonic) != .open) return;
        slot.state.store(.leaving, .release);
        lane_.wake(self.wake_receive);
    }

    /// Lets go of those that are idle, whose peer is gone, or whose port is.
    pub fn sweep(self: *Sockets, tables: *const Tables, now_ns: u64) void {
        if (!self.enabled) return;
        for (&self.slots, 0..) |*slot, at| {
            if (slot.state.load(.monotonic) != .open) continue;
            const idle = now_ns -| slot.used_ns > constants.connected_idle_ns;
            const stale = slot.udp.generation.raw != self.main.generation.load(.acquire);
            const orphan = if (tables.peerAt(slot.peer)) |_| false else |_| true;
            if (idle or stale or orphan) self.leave(@intCast(at));
        }
    }

    /// Of what `pick` gave in this turn: the device's own where that one was left since.
    fn socketAt(self: *const Sockets, index: u8) *const Udp {
        if (index == none) return self.main;
        const slot = &self.slots[index];
        return if (slot.state.load(.monotonic) == .open) &slot.udp else self.main;
    }

    /// The end of the messages from `start` on that go through one socket, and it. Each has the
    /// `socket` that `pick` gave.
    pub fn runOf(self: *const Sockets, messages: anytype, start: usize) struct { usize, *const Udp } {
        const socket = messages[start].socket;
        var end = start + 1;
        while (end < messages.len and messages[end].socket == socket) end += 1;
        return .{ end, self.socketAt(socket) };
    }

    // Receive.

    /// Fills in what to wait for beside the device's own socket; how many.
    pub fn pollAll(self: *const Sockets, polled: []linux.pollfd) usize {
        var filled: usize = 0;
        for (&self.slots) |*slot| {
            if (slot.state.load(.acquire) == .free) continue;
            polled[filled] = .{ .fd = slot.udp.fd, .events = linux.POLL.IN, .revents = 0 };
            filled += 1;
        }
        return filled;
    }

    /// As Udp.receiveBatch, from whichever socket has datagrams; they take turns. `source` is then
    /// the place of that socket.
    pub fn receiveBatch(self: *Sockets, batch: *udp_linux.ReceiveBatch) udp_linux.ReceiveError!usize {
        for (0..sockets_max + 1) |_| {
            self.source = (self.source + 1) % (sockets_max + 1);
            if (self.source == sockets_max) return self.main.receiveBatch(batch) catch continue;
            const slot = &self.slots[self.source];
            const state = slot.state.load(.acquire);
            if (state == .free) continue;
            return slot.udp.receiveBatch(batch) catch {
                // Empty, and nobody sends through it any more.
                if (state == .leaving) {
                    slot.udp.close();
                    slot.state.store(.free, .release);
                }
                continue;
            };
        }
        return error.WouldBlock;
    }

    /// The socket that was received from last; null: the lane's own.
    pub fn lastSource(self: *const Sockets) ?*const Udp {
        return if (self.source == sockets_max) null else &self.slots[self.source].udp;
    }

    /// No thread uses them any more.
    pub fn close(self: *Sockets) void {
        for (&self.slots) |*slot| {
            if (slot.state.load(.acquire) != .free) slot.udp.close();
            slot.state.store(.free, .release);
        }
    }

    pub fn count(self: *const Sockets) u32 {
        var open: u32 = 0;
        for (&self.slots) |*slot| open += @intFromBool(slot.state.load(.monotonic) == .open);
        return open;
    }
};

comptime {
    assert(sockets_max < none);
}

//! What comes by the socket of its own that handshakes have (udp_group.zig): read by the receive thread of
//! the first lane (rx.zig), of which this is a part, beside its lane's socket.
//!
//! While the thread is busy it is read once a millisecond, many datagrams at a time, and under a flood it
//! takes no more than half of the thread: what the tunnel carries waits for no stranger, and a turn for every
//! few of them would cost more than they do.
const std = @import("std");
const linux = std.os.linux;
const constants = @import("constants.zig");
const tables_ = @import("tables.zig");
const udp_linux = @import("udp_linux.zig");
const Rx = @import("rx.zig").Rx;
const Udp = udp_linux.Udp;

pub const Handshakes = struct {
    /// Null: they come by the lane's socket.
    udp: ?*const Udp = null,
    /// Not to be read before, but where a sleep ended with it: asking costs as much as a datagram.
    due_ns: u64 = 0,
    /// It is a flood: no sleep ends with what comes.
    resting: bool = false,
    /// The batch came by it.
    reading: bool = false,
    lost_seen: u32 = 0,

    /// Whether handshakes may be in the batch.
    pub fn mayBeIn(self: *const Handshakes) bool {
        return self.udp == null or self.reading;
    }

    pub fn watched(self: *const Handshakes) linux.fd_t {
        const udp = self.udp orelse return -1;
        return if (self.resting) -1 else udp.fd;
    }

    /// How long a sleep may be; negative: any time.
    pub fn sleepMs(self: *const Handshakes) i32 {
        if (!self.resting) return -1;
        const left_ns = self.due_ns -| tables_.nowNs();
        return @intCast(std.math.divCeil(u64, left_ns, constants.ns_per_ms) catch unreachable);
    }

    /// A sleep is over; `came`: with a datagram for it.
    pub fn awoke(self: *Handshakes, came: bool) void {
        if (came or self.resting) self.due_ns = 0;
    }
};

pub fn receive(rx: *Rx) void {
    const self = &rx.handshakes;
    const udp = self.udp orelse return;
    // Of this turn, where something came by the lane's socket; else a sleep has ended.
    if (rx.now_ns < self.due_ns) return;
    const start_ns = tables_.nowNs();
    const wanted = rx.batch.wanted;
    defer rx.batch.wanted = wanted;
    self.reading = true;
    defer self.reading = false;
    var now_ns = start_ns;
    self.resting = false;
    while (now_ns -| start_ns < constants.handshakes_at_once_ns) : (now_ns = tables_.nowNs()) {
        rx.batch.wanted = constants.receive_batch_messages_max;
        const received = udp.receiveBatch(rx.batch) catch 0;
        if (received > 0) rx.takeBatch(received);
        if (received < constants.receive_batch_messages_max) break;
        self.resting = true;
    }
    if (self.resting) rx.countLostOf(udp.lost(), &self.lost_seen);
    self.due_ns = now_ns + @max(constants.handshakes_rest_ns, now_ns -| start_ns);
}

/// Judges the first MACs of a batch's messages together, as far as they are single datagrams. Data alone
/// is not looked at.
pub fn judgeTogether(rx: *Rx, received: usize) void {
    if (!rx.handshakes.mayBeIn()) return @memset(rx.mac1s[0..received], .unknown);
    var datagrams: [constants.receive_batch_messages_max][]const u8 = undefined;
    for (datagrams[0..received], 0..) |*datagram, at| datagram.* = rx.batch.payloadOf(at);
    rx.tables.gate.mac1s(datagrams[0..received], rx.mac1s[0..received]);
}

//! What comes by the sockets beside the lanes' (udp_group.zig): handshakes, and data from where none that was
//! authentic came lately. Both are read by the receive thread of the first lane (rx.zig), of which this
//! is a part.
//!
//! While the thread is busy they are read once a millisecond, many datagrams at a time, and under a flood they
//! take no more than half of the thread: what the tunnel carries waits for no stranger, and a turn for every
//! few of them would cost more than they do. Each handshake may be somebody's only one, so all are read that
//! there is time for; of data the next will do as well.
const std = @import("std");
const linux = std.os.linux;
const constants = @import("constants.zig");
const steering = @import("steering.zig");
const tables_ = @import("tables.zig");
const Group = @import("udp_group.zig").Group;
const Rx = @import("rx.zig").Rx;
const Udp = @import("udp_linux.zig").Udp;

const Which = enum { handshakes, strangers };

pub const Aside = struct {
    /// Null: what is theirs comes by the lane's socket.
    group: ?*const Group = null,
    handshakes: ?*const Udp = null,
    strangers: ?*const Udp = null,
    places: steering.Places = .{ .lanes = 1 },
    /// Not to be read before, but where a sleep ended with it: asking costs as much as a datagram.
    due_ns: u64 = 0,
    /// It is a flood: no sleep ends with what comes.
    resting: bool = false,
    /// By which the batch came; null: by none of them.
    reading: ?Which = null,
    lost_seen: [2]u32 = @splat(0),

    /// Before the thread runs.
    pub fn open(self: *Aside, group: *const Group) void {
        if (group.handshakes) |*udp| self.handshakes = udp;
        if (group.strangers) |*udp| self.strangers = udp;
        self.places = group.places();
        if (self.strangers != null) self.group = group;
    }

    fn socket(self: *const Aside, which: Which) ?*const Udp {
        return switch (which) {
            .handshakes => self.handshakes,
            .strangers => self.strangers,
        };
    }

    /// Whether handshakes may be in the batch.
    pub fn handshakesMayBeIn(self: *const Aside) bool {
        return self.handshakes == null or self.reading == .handshakes;
    }

    pub fn watch(self: *const Aside, polled: *[2]linux.pollfd) void {
        for (polled, [_]Which{ .handshakes, .strangers }) |*one, which| {
            const udp = if (self.resting) null else self.socket(which);
            one.* = .{ .fd = if (udp) |it| it.fd else -1, .events = linux.POLL.IN, .revents = 0 };
        }
    }

    /// How long a sleep may be; negative: any time.
    pub fn sleepMs(self: *const Aside) i32 {
        if (!self.resting) return -1;
        const left_ns = self.due_ns -| tables_.nowNs();
        return @intCast(std.math.divCeil(u64, left_ns, constants.ns_per_ms) catch unreachable);
    }

    /// A sleep is over; `called`: not by a socket.
    pub fn awoke(self: *Aside, polled: *const [2]linux.pollfd, called: bool) void {
        const came = polled[0].revents != 0 or polled[1].revents != 0;
        // A packet of the tunnel that ends the sleep does not end the rest.
        const rested = self.resting and tables_.nowNs() >= self.due_ns;
        if (came or called or rested) self.due_ns = 0;
    }
};

pub fn receive(rx: *Rx) void {
    const self = &rx.aside;
    // Of this turn, where something came by the lane's socket; else a sleep has ended.
    if (self.group == null or rx.now_ns < self.due_ns) return;
    const start_ns = tables_.nowNs();
    const wanted = rx.batch.wanted;
    self.resting = false;
    read(rx, .handshakes, start_ns);
    read(rx, .strangers, start_ns);
    // What came from them before the kernel knew them is first.
    if (steerAnew(rx)) read(rx, .strangers, start_ns);
    rx.batch.wanted = wanted;
    const now_ns = if (self.resting) tables_.nowNs() else start_ns;
    self.due_ns = now_ns + @max(constants.aside_rest_ns, now_ns -| start_ns);
}

/// Until it is empty, or it is enough.
fn read(rx: *Rx, which: Which, start_ns: u64) void {
    const self = &rx.aside;
    const udp = self.socket(which) orelse return;
    self.reading = which;
    defer self.reading = null;
    var total: usize = 0;
    while (true) {
        rx.batch.wanted = constants.receive_batch_messages_max;
        const received = udp.receiveBatch(rx.batch) catch 0;
        if (received > 0) rx.takeBatch(received);
        total += received;
        if (received < constants.receive_batch_messages_max) break;
        self.resting = true;
        const enough = switch (which) {
            .handshakes => tables_.nowNs() -| start_ns >= constants.handshakes_at_once_ns,
            .strangers => total >= constants.strangers_at_once,
        };
        if (enough) break;
    }
    if (total >= constants.receive_batch_messages_max)
        rx.countLostOf(udp.lost(), &self.lost_seen[@backingInt(which)]);
}

/// Whether there was news for the kernel of whom to take for known.
fn steerAnew(rx: *Rx) bool {
    const group = rx.aside.group.?;
    var room: steering.Room = undefined;
    const program = rx.tables.sources.news(&room, rx.aside.places, rx.now_ns) orelse return false;
    // Where the kernel refuses, all goes as it went.
    group.steer(program) catch return false;
    return true;
}

/// Judges the first MACs of a batch's messages together, as far as they are single datagrams. Data alone
/// is not looked at.
pub fn judgeTogether(rx: *Rx, received: usize) void {
    if (!rx.aside.handshakesMayBeIn()) return @memset(rx.mac1s[0..received], .unknown);
    var datagrams: [constants.receive_batch_messages_max][]const u8 = undefined;
    for (datagrams[0..received], 0..) |*datagram, at| datagram.* = rx.batch.payloadOf(at);
    rx.tables.gate.mac1s(datagrams[0..received], rx.mac1s[0..received]);
}

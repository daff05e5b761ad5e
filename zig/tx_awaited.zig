//! Packets to addresses that no peer holds and some peer may (awaited.zig): kept, told of, answered. A
//! part of the transmit thread (tx.zig), which calls it and holds its side.
const abi = @import("abi.zig");
const inner_packet = @import("inner_packet.zig");
const offload = @import("offload.zig");
const tx_size = @import("tx_size.zig");
const Address = @import("awaited.zig").Address;
const Tx = @import("tx.zig").Tx;

/// A packet of the TUN, whole.
pub fn keep(tx: *Tx, packet: []const u8, inner: *const inner_packet.Inner, split: *const offload.Split) bool {
    const mtu = tx.tables.mtu.load(.monotonic);
    if (tx_size.tooBigFor(tx, mtu, packet, inner, split)) return tx.refuse(.too_big);
    const awaited = &tx.lane.awaited;
    const address: Address = .of(inner);
    switch (awaited.judge(address, tx.now_ns)) {
        .nobody => {
            tx.answer(packet, inner, .no_host);
            return tx.refuse(.no_route);
        },
        .full => return tx.refuse(.destinations_full),
        .wait => {},
        .tell => tell(tx, &address),
    }
    tx.tables.policy.noteOutbound(tx.lane_number, inner, packet[0..inner.total_length], tx.now_ns);
    var dropped: u64 = 0;
    for (0..split.count) |segment| {
        tx.counters.add(.tun_read_packets, 1);
        const length = split.segmentLength(@intCast(segment));
        const into = awaited.reserve(tx.tables.allocator, length, &dropped) orelse {
            tx.counters.add(.staging_full, 1);
            continue;
        };
        _ = split.write(@intCast(segment), into);
        tx.counters.add(.staged, 1);
    }
    if (dropped > 0) tx.counters.add(.staged_dropped, dropped);
    return true;
}

fn tell(tx: *Tx, address: *const Address) void {
    tx.counters.add(.destinations_wanted, 1);
    tx.tables.post(&tx.counters, .{
        .kind = .destination_wanted,
        .at_ns = tx.now_ns,
        .remote = switch (address.family) {
            .v4 => .{ .address = @as([10]u8, @splat(0)) ++ .{ 0xff, 0xff } ++ address.bytes[0..4].*, .family = 4 },
            .v6 => .{ .address = address.bytes, .family = 6 },
        },
    });
}

/// Once a turn: what waits for nobody is answered.
pub fn answerRefused(tx: *Tx) void {
    const awaited = &tx.lane.awaited;
    if (!awaited.unanswered) return;
    const Answer = struct {
        tx: *Tx,

        pub fn take(self: @This(), packet: []const u8, inner: *const inner_packet.Inner) void {
            self.tx.answer(packet, inner, .no_host);
            self.tx.counters.add(.no_route, 1);
        }
    };
    var dropped: u64 = 0;
    awaited.takeRefused(tx.tables.allocator, &dropped, Answer{ .tx = tx });
    if (dropped > 0) tx.counters.add(.staged_dropped, dropped);
}

/// With the timers.
pub fn expire(tx: *Tx) void {
    var dropped: u64 = 0;
    tx.lane.awaited.expire(tx.tables.allocator, tx.now_ns, &dropped);
    if (dropped > 0) tx.counters.add(.staged_dropped, dropped);
}

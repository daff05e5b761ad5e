//! What a refused message becomes: its packets one by one. A part of the transmit thread (tx.zig).
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const udp_linux = @import("udp_linux.zig");
const Tx = @import("tx.zig").Tx;
const linux = std.os.linux;

/// A segmented send fails where a segment is longer than the path's MTU, or the interface has
/// no checksum offload: its packets go again one by one, which the kernel may fragment.
pub fn packetByPacket(tx: *Tx, at: usize, errno: linux.E) void {
    const message = tx.messages[at];
    const origin = tx.origins[at];
    const by_segmentation = switch (errno) {
        .MSGSIZE, .INVAL, .IO => message.segment_size != 0,
        else => false,
    };
    if (by_segmentation) {
        tx.counters.add(.udp_segmentation_refused, 1);
        if (tx.refused_count < tx.refused.len) {
            tx.refused[tx.refused_count] = origin.peer;
            tx.refused_count += 1;
        }
    }
    var segment_at = origin.first;
    for (0..origin.count) |_| {
        const segment = &tx.segments[segment_at];
        segment_at = segment.next;
        const bytes = tx.arena[segment.offset..][0..segment.length];
        if (by_segmentation and sendSingle(tx, message, message.local, bytes)) continue;
        // Perhaps the source address is gone: let the kernel choose another.
        if (message.local.family != 0 and sendSingle(tx, message, .{}, bytes)) continue;
        tx.counters.add(.udp_send_failed, 1);
    }
}

/// One datagram of a message, from another address perhaps.
fn sendSingle(tx: *Tx, of: udp_linux.SendMessage, local: abi.Endpoint, bytes: []const u8) bool {
    const message: udp_linux.SendMessage = .{
        .remote = of.remote,
        .local = local,
        .iovecs = &.{.{ .base = bytes.ptr, .len = bytes.len }},
        .tos = of.tos,
    };
    const udp = tx.tables.side.of(&of.remote, tx.udp);
    while (true) {
        udp.sendMessage(message) catch |err| switch (err) {
            error.WouldBlock => {
                if (tx.stopping.load(.acquire)) return false;
                _ = udp.waitWritable(100);
                continue;
            },
            error.System => return false,
        };
        tx.counters.add(.udp_send_calls, 1);
        tx.counters.add(.udp_send_datagrams, 1);
        return true;
    }
}

/// Remembers which paths take no segmented sends.
pub fn markRefused(tx: *Tx) void {
    for (tx.refused[0..tx.refused_count]) |ref| {
        const peer = tx.tables.peerAt(ref) catch continue;
        peer.unsegmented_until_ns = tx.now_ns + constants.segment_retry_after_ns;
    }
    tx.refused_count = 0;
}

//! Inner packets that are longer than the interface's MTU. Programs and the kernel's own forwarding never
//! send any; packet sockets do, and whoever else writes past the stack. A part of the transmit thread
//! (tx.zig), which drops them and says so to their sender.
const icmp = @import("icmp.zig");
const inner_packet = @import("inner_packet.zig");
const offload = @import("offload.zig");
const Tx = @import("tx.zig").Tx;

/// Whether it must not go; then its sender is told. All segments of a super-packet but the last are of
/// one length.
pub fn tooBig(tx: *Tx, packet: []const u8, inner: *const inner_packet.Inner, split: *const offload.Split) bool {
    const length = split.segmentLength(0);
    const known = tx.tables.mtu.load(.monotonic);
    if (length <= known) return false;
    if (length <= icmp.lengthMax(packet, inner.family, known)) return false;
    // What the monitor has told may be a moment old, and in another namespace it tells nothing: who was
    // right to send so much must not be told otherwise, for senders remember it for minutes.
    const mtu = (tx.tun orelse return false).mtu(tx.udp.fd) orelse return false;
    const length_max = icmp.lengthMax(packet, inner.family, mtu);
    if (length <= length_max) return false;
    tx.answer(packet, inner, .{ .too_big = length_max });
    return true;
}

//! Inner packets that are too long: for the interface, which programs and the kernel's own forwarding never
//! send, but packet sockets do and whoever else writes past the stack; or for the path to their peer, as
//! far as the control plane has found that out. A part of the transmit thread (tx.zig), which drops them
//! and says so to their sender.
const constants = @import("constants.zig");
const icmp = @import("icmp.zig");
const inner_packet = @import("inner_packet.zig");
const offload = @import("offload.zig");
const Peer = @import("peer.zig").Peer;
const Tx = @import("tx.zig").Tx;

/// Whether it must not go; then its sender is told. All segments of a super-packet but the last are of
/// one length.
pub fn tooBig(
    tx: *Tx,
    peer: *Peer,
    packet: []const u8,
    inner: *const inner_packet.Inner,
    split: *const offload.Split,
) bool {
    const length = split.segmentLength(0);
    const interface = tx.tables.mtu.load(.monotonic);
    const path = peer.mtuWithin(interface);
    if (length > constants.path_mtu_sure or path < interface) askFor(tx, peer, interface);
    return tooBigFor(tx, path, packet, inner, split);
}

/// As tooBig, of a path that carries so much; the interface's MTU where none is known.
pub fn tooBigFor(
    tx: *Tx,
    path: u32,
    packet: []const u8,
    inner: *const inner_packet.Inner,
    split: *const offload.Split,
) bool {
    const length = split.segmentLength(0);
    if (length <= path) return false;
    var length_max = icmp.lengthMax(packet, inner.family, path);
    if (length <= length_max) return false;
    if (path == tx.tables.mtu.load(.monotonic)) {
        // What the monitor has told may be a moment old, and in another namespace it tells nothing: who
        // was right to send so much must not be told otherwise, for senders remember it for minutes.
        const mtu = (tx.tun orelse return false).mtu(tx.udp.fd) orelse return false;
        length_max = icmp.lengthMax(packet, inner.family, mtu);
        if (length <= length_max) return false;
    }
    tx.answer(packet, inner, .{ .too_big = length_max });
    return true;
}

/// Whether the path carries such packets, or longer ones, is asked while there are any: that changes.
fn askFor(tx: *Tx, peer: *Peer, interface: u32) void {
    if (peer.member == 0 or tx.now_ns < peer.path_mtu_due_ns) return;
    peer.path_mtu_due_ns = tx.now_ns + constants.path_mtu_asked_every_ns;
    tx.tables.post(&tx.counters, .{
        .kind = .path_mtu_wanted,
        .peer = peer.ref,
        .number = interface,
        .at_ns = tx.now_ns,
    });
}

/// The turn's answers, to whoever sent what could go nowhere.
pub fn writeAnswers(tx: *Tx) void {
    const tun = tx.tun orelse return;
    const plain: [offload.VirtioNetHdr.size]u8 = @splat(0);
    for (0..tx.answers.count) |index| {
        const bytes = tx.answers.at(index);
        _ = tun.writev(&.{
            .{ .base = &plain, .len = plain.len },
            .{ .base = bytes.ptr, .len = bytes.len },
        }) catch {
            tx.counters.add(.tun_write_failed, 1);
            continue;
        };
        tx.counters.add(.icmp_sent, 1);
    }
    tx.answers.count = 0;
}

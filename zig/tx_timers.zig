//! A peer's timers, as far as packets alone move them: keepalives, data without an answer, and sessions
//! that have ended; and what the control plane could not be told of a peer before. Run by the transmit
//! thread of the peer's lane, which holds its side.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const tx_awaited = @import("tx_awaited.zig");
const Peer = @import("peer.zig").Peer;
const Tx = @import("tx.zig").Tx;

/// When to look again.
pub fn run(tx: *Tx) u64 {
    const never = std.math.maxInt(u64);
    var due: u64 = never;
    for (tx.tables.peers[0..tx.tables.peers_end]) |entry| {
        const peer = entry orelse continue;
        if (tx.tables.laneOf(peer.ref.slot) != tx.lane_number) continue;
        due = @min(due, runPeer(tx, peer));
    }
    tx_awaited.expire(tx);
    tx.connected.sweep(tx.tables, tx.now_ns);
    // Receive sets deadlines at least this far ahead, so they are seen in time.
    const look_again = tx.now_ns + constants.rekey_timeout_ns;
    return @min(due, look_again);
}

fn runPeer(tx: *Tx, peer: *Peer) u64 {
    var due: u64 = std.math.maxInt(u64);
    const keepalive = peer.keepalive_due_ns.load(.monotonic);
    if (keepalive != 0 and keepalive <= tx.now_ns) {
        sendKeepalive(tx, peer, .no_keypair);
        peer.keepalive_due_ns.store(0, .monotonic);
        if (peer.keepalive_again.swap(false, .monotonic)) {
            const next = tx.now_ns + constants.keepalive_timeout_ns;
            peer.keepalive_due_ns.store(next, .monotonic);
            due = next;
        }
    } else if (keepalive != 0) due = keepalive;

    const answer = peer.answer_due_ns.load(.monotonic);
    if (answer != 0 and answer <= tx.now_ns) {
        peer.answer_due_ns.store(0, .monotonic);
        tx.tables.want(&tx.counters, peer, .no_answer, tx.now_ns);
    } else if (answer != 0) due = @min(due, answer);

    if (peer.roam_untold.load(.monotonic)) {
        const tell = peer.roam_told_until_ns.load(.monotonic) -| constants.roams_at_once_ns;
        if (tell <= tx.now_ns) {
            peer.roam_untold.store(false, .monotonic);
            tx.tables.tellRoamed(&tx.counters, peer, tx.now_ns);
        } else due = @min(due, tell);
    }
    if (peer.confirm_untold.swap(false, .monotonic)) {
        // One that we initiated took its place; or there is none any more.
        if (peer.keypairs.current.load(.acquire)) |pair| if (!pair.initiator)
            tx.tables.tellConfirmed(&tx.counters, peer, pair.local_index, tx.now_ns);
    }

    const silent = peer.silent_due_ns.load(.monotonic);
    if (silent != 0 and silent <= tx.now_ns) {
        peer.silent_due_ns.store(0, .monotonic);
        tx.tables.post(&tx.counters, .{
            .kind = .path_silent,
            .peer = peer.ref,
            .at_ns = tx.now_ns,
        });
    } else if (silent != 0) due = @min(due, silent);

    if (peer.persistentDue()) |persistent| {
        if (persistent <= tx.now_ns) {
            sendKeepalive(tx, peer, .persistent_keepalive);
            due = @min(due, tx.now_ns + constants.ns_per_s);
        } else due = @min(due, persistent);
    }

    if (peer.session_ns != 0) {
        const expires = peer.session_ns + constants.session_wipe_after_ns;
        if (expires <= tx.now_ns) {
            const posted = tx.tables.tryPost(&tx.counters, .{
                .kind = .session_expired,
                .peer = peer.ref,
                .at_ns = tx.now_ns,
            });
            // Keys are wiped then: it is told until somebody hears.
            if (posted) peer.session_ns = 0;
        } else due = @min(due, expires);
    }
    return due;
}

fn sendKeepalive(tx: *Tx, peer: *Peer, reason: abi.HandshakeReason) void {
    if (peer.path.load().remote.family == 0) return;
    if (tx.usableKeypair(peer) == null) {
        tx.tables.want(&tx.counters, peer, reason, tx.now_ns);
        return;
    }
    if (tx.place(peer, 0, false) == .into) tx.counters.add(.keepalives_sent, 1);
}

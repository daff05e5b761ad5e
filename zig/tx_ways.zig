//! The ways that packets take where it is not their peer's address: through another member, as frames
//! in its session, or by a detour that the control plane names. A part of the transmit thread (tx.zig),
//! which calls it; owns how frames are laid out in the arena and sealed from the inside out.
const std = @import("std");
const root = @import("root");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const relay = @import("relay.zig");
const transport = @import("transport.zig");
const Keypair = @import("keypair.zig").Keypair;
const Path = @import("peer.zig").Path;
const Peer = @import("peer.zig").Peer;
const Tx = @import("tx.zig").Tx;

pub const no_detour: u8 = std.math.maxInt(u8);

/// The member in whose session a packet travels as a frame, and what the frame says.
pub const Carrier = struct { peer: *Peer, keypair: *Keypair, far: relay.Id };
/// The way that a packet takes: its peer's path, unless it is a detour.
pub const Way = struct {
    carrier: ?Carrier = null,
    detour: u8 = no_detour,
    /// 0 = as long as padding makes it.
    padded: usize = 0,
    whole: bool = false,
};
/// A message to be sealed before the frame around it is.
pub const Inner = struct { message: transport.Message, keypair: *Keypair };

/// Frames that receive passed on, each to its peer, or one hop nearer.
pub fn drainForwards(tx: *Tx) bool {
    // A library of tests alone ill-treats them (hostile_relay.zig).
    if (@hasDecl(root, "drainForwards")) return root.drainForwards(tx);
    const forwards = &tx.tables.relay.forwards;
    while (forwards.peek()) |slot| {
        const frame = slot.bytes[0..slot.datagram.length];
        switch (placeForward(tx, slot.datagram.peer, frame.len)) {
            .into => |into| {
                @memcpy(into, frame);
                tx.counters.add(.relayed_forwarded, 1);
            },
            .full => return false,
            .dropped => tx.counters.add(.relay_unavailable, 1),
        }
        forwards.pop();
    }
    return true;
}

/// A frame is not nested in another: the session of the next hop takes it as it is. What finds
/// no session is not staged.
pub fn placeForward(tx: *Tx, ref: abi.PeerRef, length: usize) Tx.Place {
    const peer = tx.tables.peerAt(ref) catch return .dropped;
    const path = peer.path.load();
    if (path.remote.family == 0) return .dropped;
    const way = wayTo(tx, peer, &path) orelse return .dropped;
    const next = if (way.carrier) |carrier| carrier.peer else peer;
    const pair = tx.usableKeypair(next) orelse {
        tx.tables.want(&tx.counters, next, .no_keypair, tx.now_ns);
        return .dropped;
    };
    const into = tx.lay(next, pair, length, .{}) orelse return .full;
    next.sent(tx.now_ns, false);
    tx.renew(next, pair);
    return .{ .into = into };
}

/// A session message by a path that the control plane names.
pub fn placeDetour(tx: *Tx, peer: *Peer, length: usize, datagram: *const abi.Datagram) Tx.Place {
    const pair = tx.usableKeypair(peer) orelse return .dropped;
    if (tx.detours_count == constants.detours_max) return .full;
    const path: Path = .{ .remote = datagram.remote, .local = datagram.local };
    var way = wayTo(tx, peer, &path) orelse {
        tx.counters.add(.relay_unavailable, 1);
        return .dropped;
    };
    if (way.carrier == null) way.detour = tx.detours_count;
    way.padded = @min(datagram.padded, constants.mtu_max);
    way.whole = way.padded > 0;
    const into = tx.lay(peer, pair, length, way) orelse return .full;
    if (way.carrier == null) {
        tx.detours[tx.detours_count] = path;
        tx.detours_count += 1;
    }
    return .{ .into = into };
}

/// Null: the path leads through a member that has no session, or is itself behind another.
pub fn wayTo(tx: *Tx, peer: *const Peer, path: *const Path) ?Way {
    if (path.remote.family != constants.family_relay) return .{};
    if (peer.member == 0 or tx.tables.relay.own == 0) return null;
    // Nonces of the relay's session may be another lane's.
    if (tx.tables.lanes.len > 1) return null;
    const carrier = tx.tables.peerAt(relay.carrierOf(&path.remote)) catch return null;
    switch (carrier.path.load().remote.family) {
        4, 6 => {},
        else => return null,
    }
    const pair = tx.usableKeypair(carrier) orelse {
        tx.tables.want(&tx.counters, carrier, .no_keypair, tx.now_ns);
        return null;
    };
    return .{ .carrier = .{ .peer = carrier, .keypair = pair, .far = peer.member } };
}

/// The packet's message, `total` bytes, as a frame in a message of the carrier's session.
pub fn layInFrame(
    tx: *Tx,
    peer: *Peer,
    pair: *Keypair,
    length: usize,
    total: usize,
    carrier: Carrier,
    whole: bool,
) ?[]u8 {
    const frame_bytes = relay.header_bytes + total;
    const text_bytes = std.mem.alignForward(usize, frame_bytes, constants.padding_multiple);
    const into = tx.lay(carrier.peer, carrier.keypair, text_bytes, .{ .whole = whole }) orelse return null;
    @memset(into[frame_bytes..], 0);
    const hops = constants.relay_hops_max;
    relay.writeHeader(into, frame_bytes, hops, tx.tables.relay.own, carrier.far);
    const message = into[relay.header_bytes..frame_bytes];
    const counter = pair.takeNonce();
    transport.writeHeader(message, pair.remote_index, counter);
    @memset(message[constants.transport_header_bytes + length ..], 0);
    tx.inners[tx.inners_count] = .{
        .message = .{ .bytes = message, .counter = counter },
        .keypair = pair,
    };
    tx.inners_count += 1;
    _ = peer.tx_bytes.fetchAdd(total, .monotonic);
    _ = peer.tx_packets.fetchAdd(1, .monotonic);
    return message[constants.transport_header_bytes..][0..length];
}

pub fn sealInners(tx: *Tx) void {
    const inners = tx.inners[0..tx.inners_count];
    for (inners, tx.jobs[0..inners.len]) |inner, *job| job.* = inner.message;
    var start: usize = 0;
    while (start < inners.len) {
        const pair = inners[start].keypair;
        var end = start + 1;
        while (end < inners.len and inners[end].keypair == pair) end += 1;
        transport.sealBatch(pair.send_key, tx.jobs[start..end]);
        start = end;
    }
}

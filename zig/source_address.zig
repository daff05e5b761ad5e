//! From which of our addresses a peer is spoken to: the one that it spoke to last, for as long as the
//! way from there leads out by the interface where the peer came in; else the kernel chooses. As the
//! kernel's WireGuard does it (`socket.c`, send4), which asks whenever its route or the peer's path is
//! another; and as there of IPv4 alone. A part of the transmit thread (tx.zig), which has one each.
const std = @import("std");
const linux = std.os.linux;
const constants = @import("constants.zig");
const netlink = @import("netlink.zig");
const Pacer = @import("pacer.zig").Pacer;
const Path = @import("peer.zig").Path;
const Peer = @import("peer.zig").Peer;
const Tx = @import("tx.zig").Tx;
const Udp = @import("udp_linux.zig").Udp;

pub const Sources = struct {
    /// Opened with the first question.
    connection: ?netlink.Netlink = null,
    /// A peer whose path is another all the time costs no more than this.
    questions: Pacer(constants.route_questions_per_s, constants.route_questions_burst) = .{},

    pub fn close(self: *Sources) void {
        if (self.connection) |*connection| connection.close();
        self.connection = null;
    }

    /// The peer's path, without an address of ours where that is no longer the one to speak from.
    pub fn pathOf(self: *Sources, tx: *const Tx, peer: *Peer) Path {
        var path = peer.path.load();
        if (path.remote.family != 4 or path.local.family != 4 or path.local.scope == 0) return path;
        const generation = tx.tables.routes_generation.load(.monotonic);
        const asked = std.hash.Wyhash.hash(generation, std.mem.asBytes(&path));
        // What may not be asked now is asked with a later packet.
        if (peer.source_asked != asked and self.questions.take(tx.now_ns)) {
            peer.source_asked = asked;
            peer.source_given_up = self.leadsElsewhere(&path, tx.udp);
        }
        if (peer.source_given_up and peer.source_asked == asked) path.local = .{};
        return path;
    }

    /// Where nobody can say, the address stays: a send that fails finds another (tx_resend.zig).
    fn leadsElsewhere(self: *Sources, path: *const Path, udp: *const Udp) bool {
        if (self.connection == null) self.connection = netlink.Netlink.open() catch return false;
        const way = self.connection.?.wayOut(.{
            .to = path.remote.address[12..16].*,
            .from = path.local.address[12..16].*,
            .to_port = path.remote.port,
            .from_port = udp.boundPort() catch return false,
            .mark = udp.mark() catch return false,
        }) catch return false;
        return way != path.local.scope;
    }
};

//! The gate: what stands between a stranger's datagram and the first Diffie-Hellman. Pure.
//!
//! A handshake message passes where its length is exact and its first MAC proves that the sender
//! knows this node's public key (WireGuard paper, section 5.4.4); an introduction, where its MAC
//! proves the same of the identity (docs/PROTOCOL.md). Everything else is refused before any state
//! is touched. It runs in the receive thread, so it holds while JavaScript is stalled.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const crypto = @import("crypto.zig");

const label_mac1 = "mac1----";
const label_introduction = "mvintro-";

pub const Verdict = union(enum) {
    pass: abi.DatagramKind,
    /// Why not, as the counter that counts it.
    refuse: abi.Counter,
};

pub const Gate = struct {
    /// Null: this node has no such key, and refuses.
    mac1_key: ?[32]u8 = null,
    introduction_key: ?[32]u8 = null,

    /// `public_key` all zero: none.
    pub fn setLocalKey(self: *Gate, public_key: *const [32]u8) void {
        self.mac1_key = labelled(label_mac1, public_key);
    }

    pub fn setIntroductionKey(self: *Gate, identity: *const [32]u8) void {
        self.introduction_key = labelled(label_introduction, identity);
    }

    fn labelled(label: []const u8, key: *const [32]u8) ?[32]u8 {
        if (crypto.isZero(key)) return null;
        var out: [32]u8 = undefined;
        crypto.hash(&out, &.{ label, key });
        return out;
    }

    /// Judges a datagram that is no transport message.
    pub fn judge(self: *const Gate, datagram: []const u8) Verdict {
        if (datagram.len < 4) return .{ .refuse = .malformed };
        switch (std.mem.readInt(u32, datagram[0..4], .little)) {
            constants.message_initiation => {
                if (datagram.len != constants.initiation_bytes) return .{ .refuse = .malformed };
                return self.judgeHandshake(datagram, .initiation);
            },
            constants.message_response => {
                if (datagram.len != constants.response_bytes) return .{ .refuse = .malformed };
                return self.judgeHandshake(datagram, .response);
            },
            constants.message_cookie_reply => {
                // Its own AEAD, keyed by our MAC1, is the judge.
                if (datagram.len != constants.cookie_reply_bytes) return .{ .refuse = .malformed };
                return .{ .pass = .cookie_reply };
            },
            constants.message_transport => return .{ .refuse = .malformed },
            constants.message_introduction => {
                if (datagram.len != constants.introduction_bytes) return .{ .refuse = .malformed };
                const key = self.introduction_key orelse
                    return .{ .refuse = .introduction_mac_invalid };
                if (!macMatches(&key, datagram)) return .{ .refuse = .introduction_mac_invalid };
                return .{ .pass = .introduction };
            },
            else => return .{ .refuse = .unknown_type },
        }
    }

    fn judgeHandshake(self: *const Gate, datagram: []const u8, kind: abi.DatagramKind) Verdict {
        const key = self.mac1_key orelse return .{ .refuse = .handshakes_refused_no_key };
        if (!macMatches(&key, datagram)) return .{ .refuse = .mac1_invalid };
        return .{ .pass = kind };
    }
};

/// The last 32 bytes are two MACs; the first covers all before it.
fn macMatches(key: *const [32]u8, datagram: []const u8) bool {
    const at = datagram.len - 2 * constants.mac_bytes;
    var expected: [constants.mac_bytes]u8 = undefined;
    crypto.mac(&expected, key, datagram[0..at]);
    return crypto.equal(&expected, datagram[at..][0..constants.mac_bytes]);
}

test "only exact lengths with the right MAC pass" {
    try crypto.init();
    const public_key: [32]u8 = @splat(5);
    var gate: Gate = .{};
    var datagram: [1300]u8 = @splat(3);
    const kinds = [_]struct { u32, usize, abi.DatagramKind, []const u8 }{
        .{ constants.message_initiation, 148, .initiation, label_mac1 },
        .{ constants.message_response, 92, .response, label_mac1 },
        .{ constants.message_introduction, 1200, .introduction, label_introduction },
    };
    for (kinds) |row| {
        std.mem.writeInt(u32, datagram[0..4], row[0], .little);
        const message = datagram[0..row[1]];
        var key: [32]u8 = undefined;
        crypto.hash(&key, &.{ row[3], &public_key });
        crypto.mac(message[row[1] - 32 ..][0..16], &key, message[0 .. row[1] - 32]);
        gate.setLocalKey(&@as([32]u8, @splat(0)));
        gate.setIntroductionKey(&@as([32]u8, @splat(0)));
        try std.testing.expect(gate.judge(message) == .refuse);
        gate.setLocalKey(&public_key);
        gate.setIntroductionKey(&public_key);
        try std.testing.expectEqual(row[2], gate.judge(message).pass);
        try std.testing.expectEqual(.malformed, gate.judge(datagram[0 .. row[1] + 1]).refuse);
        try std.testing.expectEqual(.malformed, gate.judge(datagram[0 .. row[1] - 1]).refuse);
        // Every byte that the MAC covers, and the MAC itself.
        for (4..row[1] - 16) |at| {
            message[at] ^= 0x40;
            try std.testing.expect(gate.judge(message) == .refuse);
            message[at] ^= 0x40;
        }
    }
}

test "every length of every type is judged without harm" {
    try crypto.init();
    var gate: Gate = .{};
    gate.setLocalKey(&@as([32]u8, @splat(1)));
    const datagram: [2048]u8 = @splat(0);
    var buffer = datagram;
    for (0..8) |kind| {
        buffer[0] = @intCast(kind);
        for (0..buffer.len) |length| {
            const verdict = gate.judge(buffer[0..length]);
            if (kind == 3 and length == 64) continue;
            try std.testing.expect(verdict == .refuse);
        }
    }
}

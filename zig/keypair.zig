//! Keypairs and the three slots that a peer keeps them in (WireGuard paper, section 6.3).
//!
//! The transmit thread owns `nonce`; the receive thread owns `window`, and moves keypairs between
//! slots when a responder's keypair is confirmed; the configuration installs and frees, with both
//! threads outside the tables. `current` is atomic, since transmit reads it while receive promotes.
//! Key bytes live in the arena of secrets; a keypair holds their handles and frees them.
const std = @import("std");
const assert = std.debug.assert;
const constants = @import("constants.zig");
const replay = @import("replay.zig");

pub const Keypair = struct {
    send_key: *const [constants.key_bytes]u8,
    receive_key: *const [constants.key_bytes]u8,
    send_secret: u32,
    receive_secret: u32,
    local_index: u32,
    remote_index: u32,
    initiator: bool,
    created_ns: u64,
    /// The next counter to send. Written by the transmit thread alone.
    nonce: u64 = 0,
    /// Written by the receive thread alone.
    window: replay.Window = .{},
    /// An initiator renews once on receive at 165 s (paper 6.2). Written by the receive thread.
    last_minute_renewed: bool = false,

    /// Whether a packet may be sealed with it now (paper 6.2; REJECT_AFTER_*).
    pub fn canSend(self: *const Keypair, now_ns: u64) bool {
        return self.nonce < constants.reject_after_messages and !self.isExpired(now_ns);
    }

    pub fn isExpired(self: *const Keypair, now_ns: u64) bool {
        return now_ns -| self.created_ns >= constants.reject_after_time_ns;
    }

    /// Whether an initiator should start a new handshake when it sends (paper 6.2).
    pub fn wantsRenewalOnSend(self: *const Keypair, now_ns: u64) bool {
        if (self.nonce >= constants.rekey_after_messages) return true;
        return self.initiator and now_ns -| self.created_ns >= constants.rekey_after_time_ns;
    }

    /// Whether an initiator that only receives should renew before its keypair is refused.
    pub fn wantsRenewalOnReceive(self: *const Keypair, now_ns: u64) bool {
        return self.initiator and !self.last_minute_renewed and
            now_ns -| self.created_ns >= constants.rekey_on_receive_after_ns;
    }

    /// Takes the next counter. The caller has asked `canSend`.
    pub fn takeNonce(self: *Keypair) u64 {
        assert(self.nonce < constants.reject_after_messages);
        defer self.nonce += 1;
        return self.nonce;
    }
};

/// Keypairs that an installation, or the end, left without a place; the caller frees them.
pub const Dropped = struct {
    keypairs: [3]?*Keypair = @splat(null),
    count: u8 = 0,

    fn add(self: *Dropped, keypair: ?*Keypair) void {
        const dropped = keypair orelse return;
        self.keypairs[self.count] = dropped;
        self.count += 1;
    }

    pub fn slice(self: *const Dropped) []const ?*Keypair {
        return self.keypairs[0..self.count];
    }
};

/// Always holds: while `next` waits there is no `previous`, so a confirmation drops no keypair.
pub const Slots = struct {
    current: std.atomic.Value(?*Keypair) = .init(null),
    previous: ?*Keypair = null,
    next: ?*Keypair = null,

    /// A handshake ended here. An initiator may use its keypair at once; a responder's waits in
    /// `next` until the first packet under it proves that the initiator has it.
    pub fn install(self: *Slots, keypair: *Keypair) Dropped {
        var dropped: Dropped = .{};
        if (!keypair.initiator) {
            dropped.add(self.next);
            dropped.add(self.previous);
            self.next = keypair;
            self.previous = null;
            return dropped;
        }
        const current = self.current.load(.monotonic);
        dropped.add(self.previous);
        if (self.next) |next| {
            // We initiated while our own response was unconfirmed: that keypair is the newer one
            // of the two that the peer may still send with.
            self.previous = next;
            self.next = null;
            dropped.add(current);
        } else {
            self.previous = current;
        }
        self.current.store(keypair, .release);
        return dropped;
    }

    /// An authentic packet arrived under `keypair`. True where that confirmed it: it is current now.
    pub fn confirm(self: *Slots, keypair: *Keypair) bool {
        if (self.next != keypair) return false;
        assert(self.previous == null);
        self.previous = self.current.load(.monotonic);
        self.next = null;
        self.current.store(keypair, .release);
        return true;
    }

    /// Empties all three.
    pub fn clear(self: *Slots) Dropped {
        var dropped: Dropped = .{};
        dropped.add(self.current.load(.monotonic));
        dropped.add(self.previous);
        dropped.add(self.next);
        self.current.store(null, .release);
        self.previous = null;
        self.next = null;
        return dropped;
    }

    pub fn holds(self: *const Slots, keypair: *const Keypair) bool {
        return self.current.load(.monotonic) == keypair or
            self.previous == keypair or self.next == keypair;
    }
};

fn testKeypair(initiator: bool) Keypair {
    const key = struct {
        const bytes: [constants.key_bytes]u8 = @splat(0);
    };
    return .{
        .send_key = &key.bytes,
        .receive_key = &key.bytes,
        .send_secret = 0,
        .receive_secret = 0,
        .local_index = 0,
        .remote_index = 0,
        .initiator = initiator,
        .created_ns = 0,
    };
}

test "a responder's keypair is not sent with before it is confirmed" {
    var slots: Slots = .{};
    var first = testKeypair(true);
    var second = testKeypair(false);
    try std.testing.expectEqual(0, slots.install(&first).count);
    try std.testing.expectEqual(0, slots.install(&second).count);
    try std.testing.expectEqual(&first, slots.current.raw.?);
    try std.testing.expect(!slots.confirm(&first));
    try std.testing.expect(slots.confirm(&second));
    try std.testing.expectEqual(&second, slots.current.raw.?);
    try std.testing.expectEqual(&first, slots.previous.?);
    try std.testing.expect(!slots.confirm(&second));
}

test "initiating over an unconfirmed response keeps that one as previous" {
    var slots: Slots = .{};
    var oldest = testKeypair(true);
    var response = testKeypair(false);
    var newest = testKeypair(true);
    _ = slots.install(&oldest);
    _ = slots.install(&response);
    const dropped = slots.install(&newest);
    try std.testing.expectEqual(1, dropped.count);
    try std.testing.expectEqual(&oldest, dropped.keypairs[0].?);
    try std.testing.expectEqual(&response, slots.previous.?);
    try std.testing.expectEqual(&newest, slots.current.raw.?);
    try std.testing.expectEqual(null, slots.next);
}

test "no keypair is both held and dropped, over random histories" {
    var prng = std.Random.DefaultPrng.init(7);
    const random = prng.random();
    var pool: [64]Keypair = undefined;
    for (0..2_000) |_| {
        var slots: Slots = .{};
        var live: std.StaticBitSet(64) = .empty;
        for (0..64) |step| {
            pool[step] = testKeypair(random.boolean());
            var dropped: Dropped = .{};
            switch (random.uintLessThan(u8, 8)) {
                0 => dropped = slots.clear(),
                1, 2, 3 => if (slots.next) |next| {
                    try std.testing.expectEqual(null, slots.previous);
                    try std.testing.expect(slots.confirm(next));
                },
                else => {
                    live.set(step);
                    dropped = slots.install(&pool[step]);
                },
            }
            for (dropped.slice()) |keypair| {
                const index = keypair.? - &pool[0];
                try std.testing.expect(live.isSet(index));
                live.unset(index);
            }
            var held: usize = 0;
            for (0..step + 1) |index| {
                try std.testing.expectEqual(live.isSet(index), slots.holds(&pool[index]) and live.isSet(index));
                if (live.isSet(index)) held += 1;
            }
            try std.testing.expect(held <= 3);
        }
    }
}

test "limits of age and messages" {
    const s = constants.ns_per_s;
    var keypair = testKeypair(true);
    keypair.created_ns = 1_000 * s;
    try std.testing.expect(!keypair.wantsRenewalOnSend(1_119 * s));
    try std.testing.expect(keypair.wantsRenewalOnSend(1_120 * s));
    try std.testing.expect(!keypair.wantsRenewalOnReceive(1_164 * s));
    try std.testing.expect(keypair.wantsRenewalOnReceive(1_165 * s));
    try std.testing.expect(keypair.canSend(1_179 * s));
    try std.testing.expect(!keypair.canSend(1_180 * s));
    // A clock that went back expires nothing and overflows nothing.
    try std.testing.expect(keypair.canSend(1));
    keypair.initiator = false;
    try std.testing.expect(!keypair.wantsRenewalOnSend(1_170 * s));
    keypair.nonce = constants.rekey_after_messages;
    try std.testing.expect(keypair.wantsRenewalOnSend(1_001 * s));
    keypair.nonce = constants.reject_after_messages - 1;
    try std.testing.expect(keypair.canSend(1_001 * s));
    try std.testing.expectEqual(constants.reject_after_messages - 1, keypair.takeNonce());
    try std.testing.expect(!keypair.canSend(1_001 * s));
}

//! The first MAC of handshakes and introductions: whoever made it knows this node's public key, or its
//! identity (WireGuard paper, section 5.4.4; docs/PROTOCOL.md). One by one, or as many side by side as there
//! are of one kind: of a flood it is most of the work. Pure.
const std = @import("std");
const constants = @import("constants.zig");
const cookie = @import("cookie.zig");
const crypto = @import("crypto.zig");
const mac_lanes = @import("mac_lanes.zig");
const lanes = mac_lanes.lanes;

/// What is known of a datagram's first MAC.
pub const Mac1 = enum { unknown, right, wrong };

/// Of what is public: they tell who knows this node, and keep nothing from who does.
pub const Keys = struct {
    mac1: [crypto.key_bytes]u8,
    mac1_lanes: mac_lanes.Key,
    cookie: [crypto.key_bytes]u8,

    /// Null for a key that is none.
    pub fn of(mac1_label: []const u8, cookie_label: []const u8, key: *const [32]u8) ?Keys {
        if (crypto.isZero(key)) return null;
        var keys: Keys = undefined;
        crypto.hash(&keys.mac1, &.{ mac1_label, key });
        keys.mac1_lanes = .of(&keys.mac1);
        crypto.hash(&keys.cookie, &.{ cookie_label, key });
        return keys;
    }

    /// The last 32 bytes are two MACs; the first covers all before it.
    pub fn matches(keys: *const Keys, datagram: []const u8, known: Mac1) bool {
        if (known != .unknown) return known == .right;
        var expected: [constants.mac_bytes]u8 = undefined;
        cookie.mac(&expected, &keys.mac1, datagram[0 .. datagram.len - cookie.macs_bytes]);
        return crypto.equal(&expected, cookie.mac1Of(datagram));
    }

    /// Says in `out` what `matches` would of each datagram of this type and length. Of one that has no
    /// company it says nothing.
    pub fn judge(keys: *const Keys, kind: u32, length: usize, datagrams: []const []const u8, out: []Mac1) void {
        var places: [lanes]usize = undefined;
        var count: usize = 0;
        for (datagrams, 0..) |datagram, at| {
            if (datagram.len != length or std.mem.readInt(u32, datagram[0..4], .little) != kind) continue;
            places[count] = at;
            count += 1;
            if (count < lanes) continue;
            keys.judgeLanes(length, datagrams, &places, out);
            count = 0;
        }
        if (count < 2) return;
        // Lanes that are left say the same again.
        @memset(places[count..], places[0]);
        keys.judgeLanes(length, datagrams, &places, out);
    }

    fn judgeLanes(
        keys: *const Keys,
        length: usize,
        datagrams: []const []const u8,
        places: *const [lanes]usize,
        out: []Mac1,
    ) void {
        var messages: [lanes][*]const u8 = undefined;
        for (&messages, places) |*message, at| message.* = datagrams[at].ptr;
        var expected: [lanes][constants.mac_bytes]u8 = undefined;
        mac_lanes.macs(&expected, &keys.mac1_lanes, messages, length - cookie.macs_bytes);
        for (&expected, places) |*mac, at|
            out[at] = if (crypto.equal(mac, cookie.mac1Of(datagrams[at]))) .right else .wrong;
    }
};

const testing = std.testing;

test "first MACs that are judged together are what they are alone" {
    try crypto.init();
    const keys = Keys.of("mac1----", "cookie--", &@splat(5)).?;
    const kind = constants.message_initiation;
    const length = constants.initiation_bytes;
    var prng: std.Random.DefaultPrng = .init(0x6d61_6331);
    const random = prng.random();
    var bytes: [32][length + 1]u8 = undefined;
    for (0..bytes.len + 1) |count| for (0..20) |_| {
        var datagrams: [bytes.len][]const u8 = undefined;
        var company: usize = 0;
        for (datagrams[0..count], bytes[0..count]) |*datagram, *room| {
            random.bytes(room);
            std.mem.writeInt(u32, room[0..4], kind, .little);
            const covered = length - cookie.macs_bytes;
            crypto.mac(room[covered..][0..constants.mac_bytes], &keys.mac1, room[0..covered]);
            datagram.* = room[0..length];
            switch (random.uintLessThan(u8, 4)) {
                0 => room[random.uintLessThan(usize, covered + constants.mac_bytes)] ^= 4,
                1 => datagram.* = room[0..random.uintAtMost(usize, room.len)],
                else => {},
            }
            const is_one = datagram.len == length and std.mem.readInt(u32, datagram.*[0..4], .little) == kind;
            company += @intFromBool(is_one);
        }
        var known: [bytes.len]Mac1 = @splat(.unknown);
        keys.judge(kind, length, datagrams[0..count], known[0..count]);
        var said: usize = 0;
        for (datagrams[0..count], known[0..count]) |datagram, mac1| {
            if (mac1 == .unknown) continue;
            said += 1;
            try testing.expectEqual(keys.matches(datagram, .unknown), mac1 == .right);
        }
        // All of them, or all but the last, which was left alone.
        try testing.expect(said == company or (said + 1 == company and company % lanes == 1));
    };
}

//! The gate: what stands between a stranger's datagram and the first Diffie-Hellman. Pure: time and
//! randomness are arguments. It runs in the receive thread: it holds while JavaScript is stalled.
//!
//! A handshake message passes where its length is exact and its MAC1 proves that the sender knows
//! this node's public key (WireGuard paper, section 5.4.4); an introduction, where its MAC proves
//! the same of the identity (docs/PROTOCOL.md). Under load (`load.zig`), the node's or the source's own,
//! either must also prove by a cookie that its source is its own, and keep to the limit of that source;
//! who has no cookie is sent one, in fewer bytes than came. What is refused changes nothing, and nothing is kept for a source that has proven nothing.
const std = @import("std");
const Allocator = std.mem.Allocator;
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const cookie_ = @import("cookie.zig");
const crypto = @import("crypto.zig");
const mac1_ = @import("mac1.zig");
const rate_limiter = @import("rate_limiter.zig");
const Cookies = cookie_.Cookies;
const load_ = @import("load.zig");
const Keys = mac1_.Keys;
const Load = load_.Load;
const Mac1 = mac1_.Mac1;
const SourceLoad = load_.SourceLoad;
const RateLimiter = rate_limiter.RateLimiter;

const label_mac1 = "mac1----";
const label_cookie = "cookie--";
const label_introduction = "mvintro-";
/// An introduction's answer under load is a cookie reply (paper, section 5.4.7) with another type
/// and a key of this label and the identity: "mvc1", then bytes 4 to 7 of the introduction, the
/// nonce, and the cookie, sealed with the introduction's MAC as additional data. Sent again, the
/// introduction has at 1,184 its cookie MAC: keyed by the cookie, over all before it.
const label_introduction_cookie = "mvcookie";

/// What a datagram says of itself, whoever sent it and however busy this node is.
pub const Verdict = union(enum) {
    pass: abi.DatagramKind,
    /// Why not, as the counter that counts it.
    refuse: abi.Counter,
};

/// What becomes of a datagram.
pub const Admission = union(enum) {
    pass: abi.DatagramKind,
    refuse: abi.Counter,
    /// Refused, and `reply` goes back to where it came from.
    answer: struct { why: abi.Counter, reply: cookie_.Reply },
};

/// Without `init` it judges, and under load admits nobody.
pub const Gate = struct {
    /// Null: this node has no such key, and refuses.
    handshake: ?Keys = null,
    introduction: ?Keys = null,
    cookies: Cookies = .{},
    limiter: RateLimiter = .{},
    load: Load = .{},
    sources: SourceLoad = .{},

    pub fn init(allocator: Allocator, random: cookie_.Random) Allocator.Error!Gate {
        var hash_key: [rate_limiter.hash_key_bytes]u8 = undefined;
        random(&hash_key);
        return .{
            .cookies = .{ .random = random },
            .limiter = try .init(allocator, constants.rate_limiter_entries_max, &hash_key),
            .sources = .init(&hash_key),
        };
    }

    pub fn deinit(self: *Gate, allocator: Allocator) void {
        self.cookies.wipe();
        self.limiter.deinit(allocator);
        self.* = undefined;
    }

    /// `public_key` all zero: none.
    pub fn setLocalKey(self: *Gate, public_key: *const [32]u8) void {
        self.handshake = .of(label_mac1, label_cookie, public_key);
    }

    pub fn setIntroductionKey(self: *Gate, identity: *const [32]u8) void {
        self.introduction = .of(label_introduction, label_introduction_cookie, identity);
    }

    /// Admits a datagram that is no transport message. `queued`: how many datagrams wait in the
    /// control ring.
    pub fn admit(
        self: *Gate,
        datagram: []const u8,
        remote: *const abi.Endpoint,
        now_ns: u64,
        queued: usize,
    ) Admission {
        return self.admitKnown(datagram, .unknown, remote, now_ns, queued);
    }

    /// As `admit`, of a datagram whose first MAC `mac1s` has judged, perhaps.
    pub fn admitKnown(
        self: *Gate,
        datagram: []const u8,
        mac1: Mac1,
        remote: *const abi.Endpoint,
        now_ns: u64,
        queued: usize,
    ) Admission {
        const kind = switch (self.judgeKnown(datagram, mac1)) {
            .refuse => |counter| return .{ .refuse = counter },
            .pass => |kind| kind,
        };
        switch (kind) {
            .cookie_reply, .introduction_cookie => {
                // Anybody can make one, so they get a share of the ring that is no load yet.
                if (queued >= constants.cookie_reply_ring_datagrams)
                    return .{ .refuse = .cookie_reply_ring_full };
                return .{ .pass = kind };
            },
            else => {
                // Of messages with a valid MAC alone: junk moves nothing. What comes through a member
                // has that member's quota, and cannot be sent a cookie.
                const relayed = remote.family == constants.family_relay;
                // Who is a load by himself is none for others: it costs no Diffie-Hellman beyond his limit.
                const of_source = !relayed and self.sources.arrive(remote, now_ns);
                if (of_source or self.load.arrive(now_ns, queued))
                    return self.admitUnderLoad(datagram, kind, remote, now_ns);
                return .{ .pass = kind };
            },
        }
    }

    /// Judges a datagram that is no transport message by itself alone.
    pub fn judge(self: *const Gate, datagram: []const u8) Verdict {
        return self.judgeKnown(datagram, .unknown);
    }

    /// The first MACs of handshakes and introductions, those of one kind side by side.
    pub fn mac1s(self: *const Gate, datagrams: []const []const u8, out: []Mac1) void {
        @memset(out, .unknown);
        if (self.handshake) |*keys| {
            keys.judge(constants.message_initiation, constants.initiation_bytes, datagrams, out);
            keys.judge(constants.message_response, constants.response_bytes, datagrams, out);
        }
        if (self.introduction) |*keys|
            keys.judge(constants.message_introduction, constants.introduction_bytes, datagrams, out);
    }

    fn judgeKnown(self: *const Gate, datagram: []const u8, mac1: Mac1) Verdict {
        if (datagram.len < 4) return .{ .refuse = .malformed };
        switch (std.mem.readInt(u32, datagram[0..4], .little)) {
            constants.message_initiation => {
                if (datagram.len != constants.initiation_bytes) return .{ .refuse = .malformed };
                return self.judgeHandshake(datagram, mac1, .initiation);
            },
            constants.message_response => {
                if (datagram.len != constants.response_bytes) return .{ .refuse = .malformed };
                return self.judgeHandshake(datagram, mac1, .response);
            },
            constants.message_cookie_reply => {
                // Its own AEAD, keyed by our MAC1, is the judge.
                if (datagram.len != constants.cookie_reply_bytes) return .{ .refuse = .malformed };
                return .{ .pass = .cookie_reply };
            },
            constants.message_transport => return .{ .refuse = .malformed },
            constants.message_introduction => {
                if (datagram.len != constants.introduction_bytes) return .{ .refuse = .malformed };
                const keys = self.introduction orelse
                    return .{ .refuse = .introduction_mac_invalid };
                if (!keys.matches(datagram, mac1))
                    return .{ .refuse = .introduction_mac_invalid };
                return .{ .pass = .introduction };
            },
            constants.message_introduction_cookie => {
                if (datagram.len != constants.cookie_reply_bytes) return .{ .refuse = .malformed };
                // Who has no identity asks nobody.
                if (self.introduction == null) return .{ .refuse = .introduction_mac_invalid };
                return .{ .pass = .introduction_cookie };
            },
            else => return .{ .refuse = .unknown_type },
        }
    }

    fn judgeHandshake(self: *const Gate, datagram: []const u8, mac1: Mac1, kind: abi.DatagramKind) Verdict {
        const keys = self.handshake orelse return .{ .refuse = .handshakes_refused_no_key };
        if (!keys.matches(datagram, mac1)) return .{ .refuse = .mac1_invalid };
        return .{ .pass = kind };
    }

    fn admitUnderLoad(
        self: *Gate,
        message: []const u8,
        kind: abi.DatagramKind,
        remote: *const abi.Endpoint,
        now_ns: u64,
    ) Admission {
        const introduction = kind == .introduction;
        const limited: abi.Counter =
            if (introduction) .introductions_limited else .handshakes_limited;
        var cookie = self.cookies.cookieOf(remote, now_ns);
        defer crypto.wipe(&cookie);
        if (cookie_.check(message, &cookie)) return switch (self.limiter.allow(remote, now_ns)) {
            .allowed => .{ .pass = kind },
            .limited => .{ .refuse = limited },
            .full => .{ .refuse = .rate_limiter_full },
        };
        const keys = if (introduction) &self.introduction.? else &self.handshake.?;
        const reply_kind = if (introduction)
            constants.message_introduction_cookie
        else
            constants.message_cookie_reply;
        return .{ .answer = .{
            .why = if (introduction) .introduction_cookie_invalid else .mac2_invalid,
            .reply = self.cookies.answer(reply_kind, &keys.cookie, message, &cookie),
        } };
    }
};

const testing = std.testing;
const ns_per_s = constants.ns_per_s;
const loaded = constants.load_datagrams;

/// A node, and what a client that knows its keys does.
const Scene = struct {
    gate: Gate,
    buffer: [constants.introduction_bytes]u8 = @splat(3),

    const public_key: [32]u8 = @splat(5);
    const identity: [32]u8 = @splat(6);
    const kinds = [_]abi.DatagramKind{ .initiation, .response, .introduction };

    fn init() !Scene {
        try crypto.init();
        var gate: Gate = try .init(testing.allocator, crypto.random);
        gate.setLocalKey(&public_key);
        gate.setIntroductionKey(&identity);
        return .{ .gate = gate };
    }

    fn deinit(self: *Scene) void {
        self.gate.deinit(testing.allocator);
    }

    fn admit(
        self: *Scene,
        message: []const u8,
        from: abi.Endpoint,
        at_ns: u64,
        queued: usize,
    ) Admission {
        return self.gate.admit(message, &from, at_ns, queued);
    }

    /// A message with a valid MAC1, and MAC2 where there is a cookie.
    fn make(self: *Scene, kind: abi.DatagramKind, cookie: ?cookie_.Cookie) []u8 {
        const number, const length = switch (kind) {
            .initiation => .{ constants.message_initiation, constants.initiation_bytes },
            .response => .{ constants.message_response, constants.response_bytes },
            .introduction => .{ constants.message_introduction, constants.introduction_bytes },
            else => unreachable,
        };
        std.mem.writeInt(u32, self.buffer[0..4], number, .little);
        const message = self.buffer[0..length];
        var mac1_key: [32]u8 = undefined;
        if (kind == .introduction)
            crypto.hash(&mac1_key, &.{ label_introduction, &identity })
        else
            crypto.hash(&mac1_key, &.{ label_mac1, &public_key });
        crypto.mac(message[length - 32 ..][0..16], &mac1_key, message[0 .. length - 32]);
        const mac2 = message[length - 16 ..][0..16];
        @memset(mac2, 0);
        if (cookie) |known| crypto.mac(mac2, &known, message[0 .. length - 16]);
        return message;
    }

    /// What the client finds in a reply to its message.
    fn open(message: []const u8, reply: *const cookie_.Reply) !cookie_.Cookie {
        const introduction = message.len == constants.introduction_bytes;
        const number = if (introduction) "mvc1" else "\x03\x00\x00\x00";
        try testing.expectEqualSlices(u8, number, reply[0..4]);
        try testing.expectEqualSlices(u8, message[4..8], reply[4..8]);
        var key: [32]u8 = undefined;
        if (introduction)
            crypto.hash(&key, &.{ label_introduction_cookie, &identity })
        else
            crypto.hash(&key, &.{ label_cookie, &public_key });
        var cookie: cookie_.Cookie = undefined;
        const mac1 = message[message.len - 32 ..][0..16];
        try testing.expect(crypto.openX(&cookie, reply[32..], mac1, reply[8..32], &key));
        return cookie;
    }

    /// The cookie that the node gives out under load.
    fn fetchCookie(self: *Scene, from: abi.Endpoint, at_ns: u64) !cookie_.Cookie {
        const message = self.make(.initiation, null);
        return open(message, &self.admit(message, from, at_ns, loaded).answer.reply);
    }
};

fn v4(address: u32, port: u16) abi.Endpoint {
    var endpoint: abi.Endpoint = .{ .port = port, .family = 4 };
    endpoint.address[10..12].* = .{ 0xff, 0xff };
    std.mem.writeInt(u32, endpoint.address[12..16], address, .big);
    return endpoint;
}

fn v6(upper: u64, lower: u64, port: u16) abi.Endpoint {
    var endpoint: abi.Endpoint = .{ .port = port, .family = 6 };
    std.mem.writeInt(u64, endpoint.address[0..8], upper, .big);
    std.mem.writeInt(u64, endpoint.address[8..16], lower, .big);
    return endpoint;
}

test "only exact lengths with the right MAC pass" {
    var scene: Scene = try .init();
    defer scene.deinit();
    const gate = &scene.gate;
    for (Scene.kinds) |kind| {
        const message = scene.make(kind, null);
        const none: [32]u8 = @splat(0);
        gate.setLocalKey(&none);
        gate.setIntroductionKey(&none);
        try testing.expect(gate.judge(message) == .refuse);
        gate.setLocalKey(&Scene.public_key);
        gate.setIntroductionKey(&Scene.identity);
        try testing.expectEqual(kind, gate.judge(message).pass);
        try testing.expectEqual(.malformed, gate.judge(message[0 .. message.len - 1]).refuse);
        var longer: [constants.introduction_bytes + 1]u8 = @splat(0);
        @memcpy(longer[0..message.len], message);
        try testing.expectEqual(.malformed, gate.judge(longer[0 .. message.len + 1]).refuse);
        // Every byte that the MAC covers, and the MAC itself.
        for (4..message.len - 16) |at| {
            message[at] ^= 0x40;
            try testing.expect(gate.judge(message) == .refuse);
            message[at] ^= 0x40;
        }
    }
}

test "every length of every type is judged without harm" {
    var scene: Scene = try .init();
    defer scene.deinit();
    var buffer: [2048]u8 = @splat(0);
    const introduction = constants.message_introduction;
    const introduction_cookie = constants.message_introduction_cookie;
    for ([_]u32{ 0, 1, 2, 3, 4, 5, introduction, introduction_cookie }) |number| {
        std.mem.writeInt(u32, buffer[0..4], number, .little);
        const is_cookie = number == constants.message_cookie_reply or number == introduction_cookie;
        for (0..buffer.len) |length| for ([_]usize{ 0, loaded }) |queued| {
            const admission = scene.admit(buffer[0..length], v4(1, 1), 0, queued);
            if (is_cookie and length == 64 and queued == 0) continue;
            try testing.expect(admission == .refuse);
        };
    }
}

test "without load no cookie is asked for, and no source is limited" {
    var scene: Scene = try .init();
    defer scene.deinit();
    for (Scene.kinds, 0..) |kind, round| for (0..constants.source_load_burst) |_| {
        const message = scene.make(kind, null);
        const now_ns = 4 * round * ns_per_s;
        try testing.expectEqual(kind, scene.admit(message, v4(1, 1), now_ns, loaded - 1).pass);
    };
    try testing.expectEqual(0, scene.gate.limiter.count);
}

test "under load a message without a cookie is answered with one, which lets the next pass" {
    var scene: Scene = try .init();
    defer scene.deinit();
    const counters = [_]abi.Counter{ .mac2_invalid, .mac2_invalid, .introduction_cookie_invalid };
    for (Scene.kinds, counters) |kind, why| {
        for ([_]abi.Endpoint{ v4(0xc000_0207, 9), v6(0x2001_0db8 << 32, 7, 9) }) |from| {
            const first = scene.make(kind, null);
            const admission = scene.admit(first, from, 5, loaded);
            try testing.expectEqual(why, admission.answer.why);
            try testing.expect(admission.answer.reply.len < first.len);
            const cookie = try Scene.open(first, &admission.answer.reply);
            const second = scene.make(kind, cookie);
            try testing.expectEqual(kind, scene.admit(second, from, 5, loaded).pass);
        }
    }
}

test "a cookie of another address, another port or an older secret is answered with a new one" {
    var scene: Scene = try .init();
    defer scene.deinit();
    const from = v4(0xc000_0207, 1000);
    const cookie = try scene.fetchCookie(from, 0);
    const message = scene.make(.initiation, cookie);
    const late_ns = constants.cookie_secret_lifetime_ns;
    try testing.expect(scene.admit(message, v4(0xc000_0207, 1001), 0, loaded) == .answer);
    try testing.expect(scene.admit(message, v4(0xc000_0208, 1000), 0, loaded) == .answer);
    try testing.expect(scene.admit(message, from, late_ns - 1, loaded) == .pass);
    const admission = scene.admit(message, from, late_ns, loaded);
    try testing.expectEqual(.mac2_invalid, admission.answer.why);
    const renewed = try Scene.open(message, &admission.answer.reply);
    const again = scene.make(.initiation, renewed);
    try testing.expect(scene.admit(again, from, late_ns, loaded) == .pass);
    // The limiter heard of none but the proven source.
    try testing.expectEqual(1, scene.gate.limiter.count);
}

test "a flood of valid MACs from sources that are not its own costs few Diffie-Hellmans, drained or not" {
    for (Scene.kinds) |kind| {
        var scene: Scene = try .init();
        defer scene.deinit();
        const per_s = 10_000;
        const message = scene.make(kind, null);
        for (0..3) |second| {
            var passed: u32 = 0;
            for (0..per_s) |i| {
                const now_ns = second * ns_per_s + i * (ns_per_s / per_s);
                const from = v4(@truncate(i *% 0x9E37_79B9), @truncate(i));
                // The control plane takes each one before the next.
                if (scene.admit(message, from, now_ns, 0) == .pass) passed += 1;
            }
            try testing.expect(passed <= @as(u32, if (second == 0) 500 else 0));
            // In the midst of it, whoever can be reached at his address is let in at the second try.
            const now_ns = second * ns_per_s + ns_per_s - 1;
            const from = v4(0xc000_0207, 9);
            const first = scene.make(kind, null);
            const answer = scene.admit(first, from, now_ns, 0).answer;
            const cookie = try Scene.open(first, &answer.reply);
            try testing.expect(scene.admit(scene.make(kind, cookie), from, now_ns, 0) == .pass);
            _ = scene.make(kind, null);
        }
    }
}

test "a source that floods is held to its limit from its burst on, and nobody else is asked for a cookie" {
    for ([_]u64{ 100, 200, 1_000, 20_000 }) |per_s| for (Scene.kinds) |kind| {
        var scene: Scene = try .init();
        defer scene.deinit();
        const from = v4(1, 1);
        var cookie: ?cookie_.Cookie = null;
        var passed: u64 = 0;
        var asked: u64 = 0;
        const seconds = 5;
        for (0..seconds * per_s) |i| {
            const now_ns = i * (ns_per_s / per_s);
            const message = scene.make(kind, cookie);
            switch (scene.admit(message, from, now_ns, 0)) {
                .pass => passed += 1,
                .refuse => {},
                .answer => |answer| cookie = try Scene.open(message, &answer.reply),
            }
            if (i % (per_s / 20) != 0) continue;
            const honest = scene.make(kind, null);
            if (scene.admit(honest, v4(2 + @as(u32, @intCast(i)), 9), now_ns, 0) != .pass) asked += 1;
        }
        // Of a hundred; one in a thousand shares the flood's cell.
        try testing.expect(asked <= 5);
        const limit = rate_limiter.packets_per_second * seconds + rate_limiter.packets_burst;
        try testing.expect(passed <= limit + constants.source_load_burst);
        try testing.expect(passed >= limit);
    };
}

test "who pretends to be at another's address has him prove that it is his, and no more" {
    var scene: Scene = try .init();
    defer scene.deinit();
    const from = v4(0xc000_0207, 9);
    for (0..10_000) |i| {
        const now_ns = i * (ns_per_s / 1000);
        _ = scene.admit(scene.make(.initiation, null), v4(0xc000_0207, @truncate(i)), now_ns, 0);
        if (i % 100 != 99) continue;
        const first = scene.make(.initiation, null);
        const cookie = try Scene.open(first, &scene.admit(first, from, now_ns, 0).answer.reply);
        try testing.expect(scene.admit(scene.make(.initiation, cookie), from, now_ns, 0) == .pass);
    }
}

test "two hundred peers behind one address that begin at once are all let in, most of them soon" {
    var scene: Scene = try .init();
    defer scene.deinit();
    const peers = 200;
    // As ours: again at once with a cookie, else after 5 s and up to a third more.
    var prng: std.Random.DefaultPrng = .init(1);
    var due_ns: [peers]?u64 = undefined;
    for (&due_ns) |*due| due.* = prng.random().uintLessThan(u64, ns_per_s / 3);
    var cookies: [peers]?cookie_.Cookie = @splat(null);
    var left: usize = peers;
    var left_after_second: usize = peers;
    var now_ns: u64 = 0;
    while (left > 0 and now_ns < 90 * ns_per_s) : (now_ns += constants.ns_per_ms) {
        if (now_ns == ns_per_s) left_after_second = left;
        for (&due_ns, &cookies, 0..) |*due, *cookie, number| {
            while (due.* != null and due.*.? <= now_ns) {
                const message = scene.make(.initiation, cookie.*);
                due.* = now_ns + constants.rekey_timeout_ns + prng.random().uintLessThan(u64, ns_per_s / 3);
                switch (scene.admit(message, v4(1, @intCast(1000 + number)), now_ns, 0)) {
                    .pass => {
                        due.* = null;
                        left -= 1;
                    },
                    .refuse => {},
                    .answer => |answer| {
                        cookie.* = try Scene.open(message, &answer.reply);
                        due.* = now_ns;
                    },
                }
            }
        }
    }
    try testing.expectEqual(0, left);
    try testing.expect(left_after_second <= peers - constants.source_load_burst);
}

test "under load a source with a cookie keeps to its limit, and others are not affected" {
    var scene: Scene = try .init();
    defer scene.deinit();
    const from = v4(1, 1);
    const other = v4(2, 1);
    const cookie = try scene.fetchCookie(from, 0);
    const others_cookie = try scene.fetchCookie(other, 0);
    for (Scene.kinds, 0..) |kind, round| {
        const counter: abi.Counter =
            if (kind == .introduction) .introductions_limited else .handshakes_limited;
        const now_ns = round * ns_per_s;
        var passed: u32 = 0;
        for (0..1000) |_| switch (scene.admit(scene.make(kind, cookie), from, now_ns, loaded)) {
            .pass => passed += 1,
            .refuse => |why| try testing.expectEqual(counter, why),
            .answer => return error.TestUnexpectedResult,
        };
        try testing.expectEqual(rate_limiter.packets_burst, passed);
        const honest = scene.make(kind, others_cookie);
        try testing.expectEqual(kind, scene.admit(honest, other, now_ns, loaded).pass);
    }
}

test "a full table refuses new sources, with a counter of its own" {
    var scene: Scene = try .init();
    defer scene.deinit();
    for (0..constants.rate_limiter_entries_max) |i| {
        _ = scene.gate.limiter.allow(&v4(@intCast(i), 1), 0);
    }
    const from = v6(7, 7, 7);
    const cookie = try scene.fetchCookie(from, 0);
    const message = scene.make(.initiation, cookie);
    try testing.expectEqual(.rate_limiter_full, scene.admit(message, from, 0, loaded).refuse);
    try testing.expect(scene.admit(message, from, ns_per_s + 1, loaded) == .pass);
}

test "cookie replies wait in a small part of the ring, and are no load" {
    var scene: Scene = try .init();
    defer scene.deinit();
    const limit = constants.cookie_reply_ring_datagrams;
    try testing.expect(limit < loaded);
    for ([_][]const u8{ "\x03\x00\x00\x00", "mvc1" }) |kind| {
        const message = scene.buffer[0..constants.cookie_reply_bytes];
        @memcpy(message[0..4], kind);
        try testing.expect(scene.admit(message, v4(1, 1), 0, limit - 1) == .pass);
        for ([_]usize{ limit, loaded, constants.control_ring_datagrams }) |queued| {
            const admission = scene.admit(message, v4(1, 1), 0, queued);
            try testing.expectEqual(.cookie_reply_ring_full, admission.refuse);
        }
    }
    try testing.expect(scene.admit(scene.make(.initiation, null), v4(1, 1), 0, limit) == .pass);
}

test "junk costs one MAC and changes nothing" {
    var scene: Scene = try .init();
    defer scene.deinit();
    const cookie = try scene.fetchCookie(v4(1, 1), 0);
    const before = scene.gate;
    for (Scene.kinds) |kind| for ([_]?cookie_.Cookie{ null, cookie }) |mac2| {
        const message = scene.make(kind, mac2);
        message[message.len - 17] ^= 1;
        for (0..100) |i| {
            cookie_.macs_made = 0;
            const admission = scene.admit(message, v4(1, @intCast(i)), 1000 * ns_per_s, 1000);
            const counter: abi.Counter =
                if (kind == .introduction) .introduction_mac_invalid else .mac1_invalid;
            try testing.expectEqual(counter, admission.refuse);
            try testing.expectEqual(1, cookie_.macs_made);
        }
        cookie_.macs_made = 0;
        try testing.expect(scene.admit(message[1..], v4(1, 1), 0, 1000) == .refuse);
        try testing.expectEqual(0, cookie_.macs_made);
    };
    try testing.expectEqualDeep(before, scene.gate);
}

test "what knows our key costs three MACs at most, whatever its second MAC" {
    var scene: Scene = try .init();
    defer scene.deinit();
    const cookie = try scene.fetchCookie(v4(1, 1), 0);
    const wrong: cookie_.Cookie = @splat(9);
    const macs = [_]struct { ?cookie_.Cookie, usize, u64 }{
        .{ null, 0, 1 }, .{ null, loaded, 2 }, .{ wrong, loaded, 3 }, .{ cookie, loaded, 3 },
    };
    for (macs) |row| {
        scene.gate.load = .{};
        const message = scene.make(.initiation, row[0]);
        cookie_.macs_made = 0;
        _ = scene.admit(message, v4(1, 1), 0, row[1]);
        try testing.expectEqual(row[2], cookie_.macs_made);
    }
}

/// Counts, and gives what no secret should be.
var drawn: u64 = 0;
fn countingRandom(out: []u8) void {
    drawn += 1;
    @memset(out, @truncate(drawn));
}

test "spoofed sources find no memory, however many, and get fewer bytes than they send" {
    var scene: Scene = try .init();
    defer scene.deinit();
    scene.gate.cookies.random = countingRandom;
    drawn = 0;
    const message = scene.make(.response, null);
    const entries = scene.gate.limiter.entries;
    var bytes_out: u64 = 0;
    // Every one costs three blocks of BLAKE2s and an AEAD, without optimisation 10 us.
    const sources = if (@import("builtin").mode == .debug) 100_000 else 1_000_000;
    for (0..sources) |i| {
        const from = v4(@truncate(i *% 0x9E37_79B9), @truncate(i));
        const admission = scene.admit(message, from, i, loaded);
        bytes_out += admission.answer.reply.len;
    }
    try testing.expectEqual(0, scene.gate.limiter.count);
    try testing.expectEqual(0, scene.gate.limiter.untouched);
    try testing.expectEqual(entries.ptr, scene.gate.limiter.entries.ptr);
    try testing.expectEqual(sources * constants.cookie_reply_bytes, bytes_out);
    try testing.expect(bytes_out < sources * message.len);
    // One secret, and nonces 32 at a time.
    try testing.expectEqual(1 + sources / 32, drawn);
}

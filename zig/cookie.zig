//! Cookies: how a node under load makes a sender prove that it receives what goes to its address
//! (WireGuard paper, sections 5.3 and 5.4.7; kernel `cookie.c`). Pure: time and randomness are
//! arguments.
//!
//! Owns the secret, a new one every 120 s; with it end all cookies that were made of it. Keeps
//! nothing for any sender: a cookie is a MAC over its address and port, made again to check it.
//! Does not know when cookies are needed; the gate does.
const std = @import("std");
const builtin = @import("builtin");
const assert = std.debug.assert;
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const crypto = @import("crypto.zig");

const secret_bytes = 32;
/// Nonces are drawn from the kernel so many at a time: a flood costs one call for all of them.
const nonces_drawn = 32;
/// At the end of a message: MAC1 over all before it, and MAC2 over all before that, MAC1 included.
pub const macs_bytes = 2 * constants.mac_bytes;

pub const Cookie = [constants.mac_bytes]u8;
pub const Reply = [constants.cookie_reply_bytes]u8;
pub const Random = *const fn (out: []u8) void;

comptime {
    // Type, receiver index, nonce, sealed cookie.
    const sealed_bytes = @sizeOf(Cookie) + crypto.tag_bytes;
    assert(constants.cookie_reply_bytes == 4 + 4 + crypto.xnonce_bytes + sealed_bytes);
    // An address that is not proven yet gets less than it sent.
    assert(constants.cookie_reply_bytes < constants.response_bytes);
    assert(constants.cookie_reply_bytes < constants.initiation_bytes);
    assert(constants.cookie_reply_bytes < constants.introduction_bytes);
}

/// MACs made by this thread, in tests only: what a stranger costs is counted there, not timed.
pub threadlocal var macs_made: if (builtin.is_test) u64 else void = if (builtin.is_test) 0 else {};

/// MAC() of the paper (section 5.4).
pub fn mac(out: *[constants.mac_bytes]u8, key: []const u8, data: []const u8) void {
    if (builtin.is_test) macs_made += 1;
    crypto.mac(out, key, data);
}

pub fn mac1Of(message: []const u8) *const [constants.mac_bytes]u8 {
    return message[message.len - macs_bytes ..][0..constants.mac_bytes];
}

fn mac2Of(message: []const u8) *const [constants.mac_bytes]u8 {
    return message[message.len - constants.mac_bytes ..][0..constants.mac_bytes];
}

/// Whether MAC2 of the message was made with the cookie.
pub fn check(message: []const u8, cookie: *const Cookie) bool {
    assert(message.len > macs_bytes);
    // Who has no cookie sends zeros: most of a flood, and not worth a MAC.
    if (crypto.isZero(mac2Of(message))) return false;
    var expected: [constants.mac_bytes]u8 = undefined;
    mac(&expected, cookie, message[0 .. message.len - constants.mac_bytes]);
    return crypto.equal(&expected, mac2Of(message));
}

pub const Cookies = struct {
    random: Random = crypto.random,
    secret: [secret_bytes]u8 = @splat(0),
    /// null: there is none yet.
    secret_since_ns: ?u64 = null,
    nonces: [nonces_drawn][crypto.xnonce_bytes]u8 = undefined,
    nonces_left: usize = 0,

    pub fn wipe(self: *Cookies) void {
        crypto.wipe(&self.secret);
        self.secret_since_ns = null;
    }

    /// The cookie of a source: MAC(secret, address, port), the port in network order.
    pub fn cookieOf(self: *Cookies, remote: *const abi.Endpoint, now_ns: u64) Cookie {
        self.renewSecret(now_ns);
        var source: [18]u8 = undefined;
        const address = if (remote.family == 4) remote.address[12..] else remote.address[0..];
        @memcpy(source[0..address.len], address);
        std.mem.writeInt(u16, source[address.len..][0..2], remote.port, .big);
        var cookie: Cookie = undefined;
        mac(&cookie, &self.secret, source[0 .. address.len + 2]);
        return cookie;
    }

    /// The cookie, sealed for whoever made MAC1 of the message. `kind` is the type of the reply;
    /// its receiver index is what follows the type of the message.
    pub fn answer(
        self: *Cookies,
        kind: u32,
        seal_key: *const [crypto.key_bytes]u8,
        message: []const u8,
        cookie: *const Cookie,
    ) Reply {
        assert(message.len >= constants.cookie_reply_bytes);
        var reply: Reply = undefined;
        std.mem.writeInt(u32, reply[0..4], kind, .little);
        reply[4..8].* = message[4..8].*;
        const nonce = reply[8..][0..crypto.xnonce_bytes];
        nonce.* = self.drawNonce();
        crypto.sealX(reply[8 + crypto.xnonce_bytes ..], cookie, mac1Of(message), nonce, seal_key);
        return reply;
    }

    fn renewSecret(self: *Cookies, now_ns: u64) void {
        if (self.secret_since_ns) |since_ns| {
            if (now_ns -| since_ns < constants.cookie_secret_lifetime_ns) return;
        }
        self.random(&self.secret);
        self.secret_since_ns = now_ns;
    }

    fn drawNonce(self: *Cookies) [crypto.xnonce_bytes]u8 {
        if (self.nonces_left == 0) {
            self.random(std.mem.asBytes(&self.nonces));
            self.nonces_left = nonces_drawn;
        }
        self.nonces_left -= 1;
        return self.nonces[nonces_drawn - 1 - self.nonces_left];
    }
};

const testing = std.testing;

/// Messages with both MACs, cookies and replies, computed by an independent implementation for the
/// public key 40..5f, the secret 80..9f and the nonce c0..d7; a message's other bytes are 7 i + 3.
const Vector = struct {
    kind: u32,
    length: usize,
    index: u32,
    address: []const u8,
    port: u16,
    mac1: [16]u8,
    cookie: Cookie,
    mac2: [16]u8,
    reply_kind: u32,
    reply: [64]u8,

    fn remote(self: *const Vector) abi.Endpoint {
        var endpoint: abi.Endpoint = .{ .port = self.port, .family = 6 };
        if (self.address.len == 16) {
            @memcpy(&endpoint.address, self.address);
            return endpoint;
        }
        endpoint.family = 4;
        endpoint.address[10..12].* = .{ 0xff, 0xff };
        @memcpy(endpoint.address[12..], self.address);
        return endpoint;
    }

    fn message(self: *const Vector, buffer: *[constants.introduction_bytes]u8) []u8 {
        for (buffer, 0..) |*byte, i| byte.* = @truncate(7 * i + 3);
        std.mem.writeInt(u32, buffer[0..4], self.kind, .little);
        std.mem.writeInt(u32, buffer[4..8], self.index, .little);
        const end = self.length - macs_bytes;
        buffer[end..][0..16].* = self.mac1;
        buffer[end + 16 ..][0..16].* = self.mac2;
        return buffer[0..self.length];
    }

    fn sealKey(self: *const Vector) [32]u8 {
        var public_key: [32]u8 = undefined;
        for (&public_key, 0x40..) |*byte, value| byte.* = @intCast(value);
        const is_introduction = self.kind == constants.message_introduction;
        var key: [32]u8 = undefined;
        crypto.hash(&key, &.{ if (is_introduction) "mvcookie" else "cookie--", &public_key });
        return key;
    }
};

const vectors = [_]Vector{
    .{
        .kind = constants.message_initiation,
        .length = constants.initiation_bytes,
        .index = 0x1122_3344,
        .address = &.{ 192, 0, 2, 7 },
        .port = 51820,
        .mac1 = crypto.hex("0f12ae269b0a8416d1a1eba9e67f6b0a"),
        .cookie = crypto.hex("bedeebae06059bbf147e06fda1d1e011"),
        .mac2 = crypto.hex("c6669f826bf4be8f8d0fa373d6ad148b"),
        .reply_kind = constants.message_cookie_reply,
        .reply = crypto.hex("0300000044332211c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7" ++
            "0b5911ffb81ccf48b24f13ccf94cafc19fef76d7528d469240860b8a6041e37c"),
    },
    .{
        .kind = constants.message_response,
        .length = constants.response_bytes,
        .index = 0x5566_7788,
        .address = &crypto.hex("20010db8000000010000000000000099"),
        .port = 4660,
        .mac1 = crypto.hex("bc3b5422a13fbee52f2f77093d705ca6"),
        .cookie = crypto.hex("5ff78ab016dc1c5de54630fbe5d50415"),
        .mac2 = crypto.hex("7ccfae28bd03bb36db7699d01ed5bbb3"),
        .reply_kind = constants.message_cookie_reply,
        .reply = crypto.hex("0300000088776655c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7" ++
            "ea7070e1a8c548aa437725cabd484bc50b7d6992775526b903b2444d9d130e41"),
    },
    .{
        .kind = constants.message_introduction,
        .length = constants.introduction_bytes,
        .index = 0x99aa_bbcc,
        .address = &.{ 203, 0, 113, 250 },
        .port = 65535,
        .mac1 = crypto.hex("ef8d9d5960fa51f38c02f6dfdcb6cb1c"),
        .cookie = crypto.hex("3b4500296fad2f1715beab3915066001"),
        .mac2 = crypto.hex("b5ded81fd95a084fe89916b0b6d2f124"),
        .reply_kind = constants.message_introduction_cookie,
        .reply = crypto.hex("6d766331ccbbaa99c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7" ++
            "56e42a4548fb3c692686de12af5de2796d34de1626a24590f011a54e79a74196"),
    },
};

/// Draws 80, 81, and so on as a secret, and nonces that each begin at c0.
fn ascending(out: []u8) void {
    for (out, 0..) |*byte, i| byte.* = if (out.len == secret_bytes)
        @intCast(0x80 + i)
    else
        @intCast(0xc0 + i % crypto.xnonce_bytes);
}

/// Like `ascending`, but never twice the same.
var draws: u8 = 0;
fn changing(out: []u8) void {
    draws +%= 1;
    @memset(out, draws);
}

test "cookies, MAC2 and cookie replies agree with an independent implementation" {
    try crypto.init();
    for (&vectors) |*vector| {
        var cookies: Cookies = .{ .random = ascending };
        var buffer: [constants.introduction_bytes]u8 = undefined;
        const message = vector.message(&buffer);
        const remote = vector.remote();
        const cookie = cookies.cookieOf(&remote, 5);
        try testing.expectEqual(vector.cookie, cookie);
        try testing.expect(check(message, &cookie));
        const key = vector.sealKey();
        const reply = cookies.answer(vector.reply_kind, &key, message, &cookie);
        try testing.expectEqual(vector.reply, reply);
    }
}

test "a cookie is good for one address and one port, and for the message as it was" {
    try crypto.init();
    for (&vectors) |*vector| {
        var cookies: Cookies = .{ .random = ascending };
        var buffer: [constants.introduction_bytes]u8 = undefined;
        const message = vector.message(&buffer);
        const remote = vector.remote();
        for (0..16) |bit| {
            var other = remote;
            other.port ^= @as(u16, 1) << @intCast(bit);
            try testing.expect(!check(message, &cookies.cookieOf(&other, 0)));
        }
        for (16 - vector.address.len..16) |at| {
            var other = remote;
            other.address[at] ^= 1;
            try testing.expect(!check(message, &cookies.cookieOf(&other, 0)));
        }
        for (0..message.len) |at| {
            message[at] ^= 1;
            try testing.expect(!check(message, &cookies.cookieOf(&remote, 0)));
            message[at] ^= 1;
        }
        try testing.expect(check(message, &cookies.cookieOf(&remote, 0)));
    }
}

test "a secret lives 120 s, and its cookies end with it" {
    try crypto.init();
    var cookies: Cookies = .{ .random = changing };
    const remote = vectors[0].remote();
    const start_ns = 77;
    var first = cookies.cookieOf(&remote, start_ns);
    var again = cookies.cookieOf(&remote, start_ns + constants.cookie_secret_lifetime_ns - 1);
    try testing.expectEqual(first, again);
    // A clock that goes back keeps it.
    again = cookies.cookieOf(&remote, 0);
    try testing.expectEqual(first, again);
    again = cookies.cookieOf(&remote, start_ns + constants.cookie_secret_lifetime_ns);
    try testing.expect(!std.mem.eql(u8, &first, &again));
    // The new one's time begins when it was made.
    first = again;
    again = cookies.cookieOf(&remote, start_ns + 2 * constants.cookie_secret_lifetime_ns - 1);
    try testing.expectEqual(first, again);
}

test "no two replies have the same nonce" {
    try crypto.init();
    var cookies: Cookies = .{};
    var buffer: [constants.introduction_bytes]u8 = undefined;
    const message = vectors[0].message(&buffer);
    const remote = vectors[0].remote();
    const key = vectors[0].sealKey();
    const sent = cookies.cookieOf(&remote, 0);
    var seen: std.AutoHashMapUnmanaged([crypto.xnonce_bytes]u8, void) = .empty;
    defer seen.deinit(testing.allocator);
    for (0..3 * nonces_drawn + 1) |_| {
        const reply = cookies.answer(constants.message_cookie_reply, &key, message, &sent);
        const nonce = reply[8..][0..crypto.xnonce_bytes];
        try testing.expect(!(try seen.getOrPut(testing.allocator, nonce.*)).found_existing);
        var cookie: Cookie = undefined;
        try testing.expect(crypto.openX(&cookie, reply[32..], mac1Of(message), nonce, &key));
        try testing.expectEqual(sent, cookie);
    }
}

test "a wiped giver has no secret, and makes another" {
    try crypto.init();
    var cookies: Cookies = .{ .random = changing };
    const remote = vectors[0].remote();
    const first = cookies.cookieOf(&remote, 0);
    cookies.wipe();
    try testing.expect(crypto.isZero(&cookies.secret));
    const again = cookies.cookieOf(&remote, 0);
    try testing.expect(!crypto.isZero(&cookies.secret));
    try testing.expect(!std.mem.eql(u8, &first, &again));
}

//! What an attacker can make without a key of its own: datagrams of every kind, as good as a stranger
//! knows how. Pure: bytes in a buffer, from a seed.
const std = @import("std");
const Blake2s128 = std.crypto.hash.blake2.Blake2s128;
const Blake2s256 = std.crypto.hash.blake2.Blake2s256;
const XChaCha20Poly1305 = std.crypto.aead.chacha_poly.XChaCha20Poly1305;

pub const initiation_bytes = 148;
pub const introduction_bytes = 1200;
pub const cookie_reply_bytes = 64;
const mac_bytes = 16;
const macs_bytes = 2 * mac_bytes;

pub const Kind = enum {
    /// An initiation whose MAC1 is wrong.
    bad_mac1,
    /// An initiation whose MAC1 is right: only Diffie-Hellman shows that it is none.
    good_mac1,
    /// An introduction with a valid MAC.
    introduction,
    /// A data packet with a random session index.
    data_random,
    /// A data packet with the index of a session that lives, and a tag that is wrong.
    data_index,
    /// Any type, any length that fits one frame.
    malformed,
};

pub const Forge = struct {
    kind: Kind,
    prng: std.Random.DefaultPrng,
    /// WireGuard's public key of the victim, or its identity where introductions are forged.
    key: [32]u8 = @splat(0),
    index: u32 = 0,
    data_bytes: usize = initiation_bytes,
    mac1_key: [32]u8 = undefined,
    cookie_key: [32]u8 = undefined,

    pub fn init(kind: Kind, seed: u64, key: [32]u8, index: u32) Forge {
        var forge: Forge = .{ .kind = kind, .prng = .init(seed), .key = key, .index = index };
        const introduction = kind == .introduction;
        labelled(&forge.mac1_key, if (introduction) "mvintro-" else "mac1----", &key);
        labelled(&forge.cookie_key, if (introduction) "mvcookie" else "cookie--", &key);
        return forge;
    }

    /// Fills `out` with the next datagram; its length.
    pub fn next(forge: *Forge, out: []u8) usize {
        const random = forge.prng.random();
        switch (forge.kind) {
            .bad_mac1 => return forge.initiation(out),
            .good_mac1 => {
                const length = forge.initiation(out);
                forge.sign(out[0..length], null);
                return length;
            },
            .introduction => {
                const length = introduction_bytes;
                random.bytes(out[0..256]);
                @memcpy(out[0..4], "mvi1");
                forge.sign(out[0..length], null);
                return length;
            },
            .data_random, .data_index => {
                const length = forge.data_bytes;
                random.bytes(out[0..length]);
                std.mem.writeInt(u32, out[0..4], 4, .little);
                if (forge.kind == .data_index) std.mem.writeInt(u32, out[4..8], forge.index, .little);
                // A counter far ahead: a window that believed it would drop all that is honest.
                std.mem.writeInt(u64, out[8..16], random.int(u64) >> 8, .little);
                return length;
            },
            .malformed => {
                const length = random.uintAtMost(usize, out.len);
                random.bytes(out[0..@min(length, 64)]);
                if (length >= 4 and random.boolean()) {
                    const types = [_]u32{ 1, 2, 3, 4, 0x3169_766d, 0x3163_766d };
                    const number = types[random.uintLessThan(usize, types.len)];
                    std.mem.writeInt(u32, out[0..4], number, .little);
                }
                return length;
            },
        }
    }

    fn initiation(forge: *Forge, out: []u8) usize {
        // Index, ephemeral and the first of the static key: enough to be another one each time.
        forge.prng.random().bytes(out[4..64]);
        std.mem.writeInt(u32, out[0..4], 1, .little);
        forge.prng.random().bytes(out[116..initiation_bytes]);
        return initiation_bytes;
    }

    /// Both MACs; without a cookie the second is zero.
    pub fn sign(forge: *const Forge, message: []u8, cookie: ?*const [mac_bytes]u8) void {
        const at = message.len - macs_bytes;
        mac(message[at..][0..mac_bytes], &forge.mac1_key, message[0..at]);
        const second = message[at + mac_bytes ..][0..mac_bytes];
        @memset(second, 0);
        if (cookie) |known| mac(second, known, message[0 .. at + mac_bytes]);
    }

    /// The cookie in a reply to a message of ours.
    pub fn openCookie(forge: *const Forge, reply: []const u8, message: []const u8) ?[mac_bytes]u8 {
        if (reply.len != cookie_reply_bytes) return null;
        var cookie: [mac_bytes]u8 = undefined;
        const mac1 = message[message.len - macs_bytes ..][0..mac_bytes];
        const tag = reply[48..64].*;
        XChaCha20Poly1305.decrypt(&cookie, reply[32..48], tag, mac1, reply[8..32].*, forge.cookie_key) catch
            return null;
        return cookie;
    }
};

fn labelled(out: *[32]u8, label: []const u8, key: *const [32]u8) void {
    var hash: Blake2s256 = .init(.{});
    hash.update(label);
    hash.update(key);
    hash.final(out);
}

fn mac(out: *[mac_bytes]u8, key: []const u8, message: []const u8) void {
    Blake2s128.hash(message, out, .{ .key = key });
}

//! Keyed BLAKE2s with 16 bytes of output (RFC 7693; MAC() of the WireGuard paper) of several messages
//! of one key and one length side by side: a message a lane. A flood of handshakes costs one MAC a
//! datagram, and this is that one.
//!
//! Owns the compression in lanes. The key's own block is compressed once, in `Key.of`. Always holds: what
//! depends on the messages or the key are sums and rotations, never addresses or branches. Pure.
const std = @import("std");
const assert = std.debug.assert;
const constants = @import("constants.zig");

/// What the least of the processors that are supported has: 128 bits.
pub const lanes = 4;
const Word = @Vector(lanes, u32);
const block_bytes = 64;
const mac_words = constants.mac_bytes / 4;

const initial = [8]u32{
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

/// The order of the message's words in each round.
const orders = [10][16]u8{
    .{ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 },
    .{ 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3 },
    .{ 11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4 },
    .{ 7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8 },
    .{ 9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13 },
    .{ 2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9 },
    .{ 12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11 },
    .{ 13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10 },
    .{ 6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5 },
    .{ 10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0 },
};

/// A key of 32 bytes, as the state behind the block that it fills.
pub const Key = struct {
    state: [8]u32,

    pub fn of(key: *const [constants.key_bytes]u8) Key {
        var state: [8]Word = undefined;
        for (&state, initial) |*word, number| word.* = @splat(number);
        // Key and digest length, fan-out and depth of 1.
        state[0] ^= @splat(0x0101_0000 | @as(u32, constants.key_bytes) << 8 | constants.mac_bytes);
        var block: [block_bytes]u8 = @splat(0);
        @memcpy(block[0..key.len], key);
        defer std.crypto.secureZero(u8, &block);
        compress(&state, &@splat(&block), block_bytes, false);
        var known: Key = undefined;
        for (&known.state, state) |*word, wide| word.* = wide[0];
        return known;
    }
};

/// The MACs of messages of `length` bytes each, at least one.
pub fn macs(out: *[lanes][constants.mac_bytes]u8, key: *const Key, messages: [lanes][*]const u8, length: usize) void {
    assert(length > 0);
    var state: [8]Word = undefined;
    for (&state, key.state) |*word, number| word.* = @splat(number);
    const whole = (length - 1) / block_bytes * block_bytes;
    var at: usize = 0;
    while (at < whole) : (at += block_bytes) {
        var blocks: [lanes]*const [block_bytes]u8 = undefined;
        for (&blocks, messages) |*block, message| block.* = message[at..][0..block_bytes];
        compress(&state, &blocks, block_bytes + at + block_bytes, false);
    }
    var last: [lanes][block_bytes]u8 = @splat(@splat(0));
    var blocks: [lanes]*const [block_bytes]u8 = undefined;
    for (&last, &blocks, messages) |*room, *block, message| {
        @memcpy(room[0 .. length - whole], message[whole..length]);
        block.* = room;
    }
    compress(&state, &blocks, block_bytes + length, true);
    for (out, 0..) |*mac, lane| {
        for (0..mac_words) |word| {
            const numbers: [lanes]u32 = state[word];
            std.mem.writeInt(u32, mac[4 * word ..][0..4], numbers[lane], .little);
        }
    }
}

/// `count`: bytes so far, the key's block and this one included.
fn compress(state: *[8]Word, blocks: *const [lanes]*const [block_bytes]u8, count: usize, last: bool) void {
    // Every index is a constant or of a constant table.
    @setRuntimeSafety(false);
    var words: [16]Word = undefined;
    for (&words, 0..) |*word, at| {
        var numbers: [lanes]u32 = undefined;
        for (&numbers, blocks) |*number, block| number.* = std.mem.readInt(u32, block[4 * at ..][0..4], .little);
        word.* = numbers;
    }
    var v: [16]Word = undefined;
    v[0..8].* = state.*;
    for (v[8..], initial) |*word, number| word.* = @splat(number);
    v[12] ^= @splat(@as(u32, @truncate(count)));
    v[13] ^= @splat(@as(u32, @truncate(count >> 32)));
    if (last) v[14] = ~v[14];
    for (&orders) |*order| {
        mix(&v, 0, 4, 8, 12, words[order[0]], words[order[1]]);
        mix(&v, 1, 5, 9, 13, words[order[2]], words[order[3]]);
        mix(&v, 2, 6, 10, 14, words[order[4]], words[order[5]]);
        mix(&v, 3, 7, 11, 15, words[order[6]], words[order[7]]);
        mix(&v, 0, 5, 10, 15, words[order[8]], words[order[9]]);
        mix(&v, 1, 6, 11, 12, words[order[10]], words[order[11]]);
        mix(&v, 2, 7, 8, 13, words[order[12]], words[order[13]]);
        mix(&v, 3, 4, 9, 14, words[order[14]], words[order[15]]);
    }
    for (state, v[0..8], v[8..]) |*word, low, high| word.* ^= low ^ high;
}

inline fn mix(
    v: *[16]Word,
    comptime a: usize,
    comptime b: usize,
    comptime c: usize,
    comptime d: usize,
    x: Word,
    y: Word,
) void {
    @setRuntimeSafety(false);
    v[a] = v[a] +% v[b] +% x;
    v[d] = turned(v[d] ^ v[a], 16);
    v[c] = v[c] +% v[d];
    v[b] = turned(v[b] ^ v[c], 12);
    v[a] = v[a] +% v[b] +% y;
    v[d] = turned(v[d] ^ v[a], 8);
    v[c] = v[c] +% v[d];
    v[b] = turned(v[b] ^ v[c], 7);
}

inline fn turned(word: Word, comptime bits: u5) Word {
    return word >> @splat(bits) | word << @splat(32 - @as(u6, bits));
}

const testing = std.testing;

test "MACs in lanes are those of BLAKE2s, of every length" {
    const Blake2s128 = std.crypto.hash.blake2.Blake2s128;
    var prng: std.Random.DefaultPrng = .init(0x6d61_6373);
    var key: [constants.key_bytes]u8 = undefined;
    var bytes: [lanes][1300]u8 = undefined;
    for (1..1300) |length| {
        prng.random().bytes(&key);
        var messages: [lanes][*]const u8 = undefined;
        for (&bytes, &messages) |*each, *message| {
            prng.random().bytes(each);
            message.* = each;
        }
        var out: [lanes][constants.mac_bytes]u8 = undefined;
        macs(&out, &.of(&key), messages, length);
        for (&out, &bytes) |*mac, *each| {
            var expected: [constants.mac_bytes]u8 = undefined;
            Blake2s128.hash(each[0..length], &expected, .{ .key = &key });
            try testing.expectEqualSlices(u8, &expected, mac);
        }
    }
}

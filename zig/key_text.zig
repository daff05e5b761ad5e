//! A key as text: 44 characters of base64 (RFC 4648 section 4), or 64 hexadecimal digits.
//!
//! Owns the two codecs. They take the same time for every key: no table is indexed, and no branch
//! taken, by a character or a byte of it. Lengths are in the types, so nothing is out of bounds.
//! Always holds: each key has one accepted base64 form; hexadecimal is accepted in either case
//! and written in lower case; where decoding fails, the output is zeros.
const std = @import("std");
const constants = @import("constants.zig");
const crypto = @import("crypto.zig");

pub const base64_bytes = 44;
pub const hex_bytes = 2 * constants.key_bytes;

const Key = [constants.key_bytes]u8;

/// All ones where `low <= value <= high`, else 0. The values are below 2^16.
inline fn between(value: i32, low: i32, high: i32) i32 {
    return ~(((value - low) | (high - value)) >> 31);
}

inline fn base64Character(value: i32) u8 {
    var character: i32 = between(value, 0, 25) & (value + 'A');
    character |= between(value, 26, 51) & (value - 26 + 'a');
    character |= between(value, 52, 61) & (value - 52 + '0');
    character |= between(value, 62, 62) & '+';
    character |= between(value, 63, 63) & '/';
    return @intCast(character);
}

/// 0 to 63, or -1.
inline fn base64Value(character: i32) i32 {
    var value: i32 = -1;
    value += between(character, 'A', 'Z') & (character - 'A' + 1);
    value += between(character, 'a', 'z') & (character - 'a' + 26 + 1);
    value += between(character, '0', '9') & (character - '0' + 52 + 1);
    value += between(character, '+', '+') & (62 + 1);
    value += between(character, '/', '/') & (63 + 1);
    return value;
}

pub fn encodeBase64(out: *[base64_bytes]u8, key: *const Key) void {
    for (0..10) |group| {
        const bytes = key[group * 3 ..][0..3];
        const word = @as(u24, bytes[0]) << 16 | @as(u24, bytes[1]) << 8 | bytes[2];
        inline for (0..4) |i| out[group * 4 + i] = base64Character(@as(u6, @truncate(word >> (18 - 6 * i))));
    }
    const word = @as(u18, key[30]) << 10 | @as(u18, key[31]) << 2;
    inline for (0..3) |i| out[40 + i] = base64Character(@as(u6, @truncate(word >> (12 - 6 * i))));
    out[43] = '=';
}

/// false: some character is no base64, or this is not the one form of its key.
pub fn decodeBase64(out: *Key, text: *const [base64_bytes]u8) bool {
    var bad: i32 = ~between(text[43], '=', '=');
    for (0..10) |group| {
        var word: i32 = 0;
        inline for (0..4) |i| {
            const value = base64Value(text[group * 4 + i]);
            bad |= value;
            word = word << 6 | (value & 63);
        }
        inline for (0..3) |i| out[group * 3 + i] = @truncate(@as(u32, @bitCast(word)) >> (16 - 8 * i));
    }
    var word: i32 = 0;
    inline for (0..3) |i| {
        const value = base64Value(text[40 + i]);
        bad |= value;
        word = word << 6 | (value & 63);
    }
    inline for (0..2) |i| out[30 + i] = @truncate(@as(u32, @bitCast(word)) >> (10 - 8 * i));
    // The two bits beyond the key are zero in the canonical form.
    bad |= ~between(word & 3, 0, 0);
    if (bad >= 0) return true;
    crypto.wipe(out);
    return false;
}

inline fn hexDigit(value: i32) u8 {
    return @intCast(value + '0' + (between(value, 10, 15) & ('a' - '0' - 10)));
}

/// 0 to 15, or -1.
inline fn hexValue(character: i32) i32 {
    var value: i32 = -1;
    value += between(character, '0', '9') & (character - '0' + 1);
    value += between(character, 'a', 'f') & (character - 'a' + 10 + 1);
    value += between(character, 'A', 'F') & (character - 'A' + 10 + 1);
    return value;
}

pub fn encodeHex(out: *[hex_bytes]u8, key: *const Key) void {
    for (key, 0..) |byte, i| {
        out[2 * i] = hexDigit(byte >> 4);
        out[2 * i + 1] = hexDigit(byte & 15);
    }
}

/// false: some character is no hexadecimal digit.
pub fn decodeHex(out: *Key, text: *const [hex_bytes]u8) bool {
    var bad: i32 = 0;
    for (out, 0..) |*byte, i| {
        const high = hexValue(text[2 * i]);
        const low = hexValue(text[2 * i + 1]);
        bad |= high | low;
        byte.* = @intCast((high & 15) << 4 | (low & 15));
    }
    if (bad >= 0) return true;
    crypto.wipe(out);
    return false;
}

const testing = std.testing;

test "both codecs agree with std on random keys, and give the key back" {
    try crypto.init();
    var generator: std.Random.DefaultPrng = .init(0x6d657368);
    for (0..500) |_| {
        var key: Key = undefined;
        generator.random().bytes(&key);
        var decoded: Key = undefined;

        var base64: [base64_bytes]u8 = undefined;
        encodeBase64(&base64, &key);
        var expected: [base64_bytes]u8 = undefined;
        try testing.expectEqualStrings(std.base64.standard.Encoder.encode(&expected, &key), &base64);
        try testing.expect(decodeBase64(&decoded, &base64));
        try testing.expectEqual(key, decoded);

        var hex: [hex_bytes]u8 = undefined;
        encodeHex(&hex, &key);
        try testing.expectEqualStrings(&std.fmt.bytesToHex(key, .lower), &hex);
        try testing.expect(decodeHex(&decoded, &hex));
        try testing.expectEqual(key, decoded);
        try testing.expect(decodeHex(&decoded, &std.fmt.bytesToHex(key, .upper)));
        try testing.expectEqual(key, decoded);
    }
}

test "at every place, exactly the characters of the alphabet are accepted" {
    try crypto.init();
    var decoded: Key = undefined;
    for (0..base64_bytes) |place| for (0..256) |character| {
        var text: [base64_bytes]u8 = @splat('A');
        text[43] = '=';
        text[place] = @intCast(character);
        const allowed = switch (place) {
            43 => character == '=',
            // Characters whose last two bits are zero.
            42 => std.mem.indexOfScalar(u8, "AEIMQUYcgkosw048", @intCast(character)) != null,
            else => character < 128 and (std.ascii.isAlphanumeric(@intCast(character)) or
                character == '+' or character == '/'),
        };
        try testing.expectEqual(allowed, decodeBase64(&decoded, &text));
        if (!allowed) try testing.expect(crypto.isZero(&decoded));
    };
    for (0..hex_bytes) |place| for (0..256) |character| {
        var text: [hex_bytes]u8 = @splat('7');
        text[place] = @intCast(character);
        try testing.expectEqual(character < 128 and std.ascii.isHex(@intCast(character)), decodeHex(&decoded, &text));
    };
}

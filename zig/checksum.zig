//! The Internet checksum (RFC 1071) at memory speed: sums, pseudo-headers, copy and sum in one.
//!
//! A `Sum` is unfinished: it adds up words in the order in which their bytes lie in memory, so
//! sums of pieces can be added to one another, if every piece but the last has an even length.
//! Owns no packet layout beyond the two pseudo-headers. Works for any length and alignment.

const std = @import("std");
const assert = std.debug.assert;

/// An unfinished sum. It never wraps: 2^63 bytes would be needed.
pub const Sum = u64;

/// Bytes summed in one step.
const block_size = 64;
const Block = @Vector(block_size / 8, u64);

comptime {
    // Words are read as they lie in memory and written back the same way.
    assert(@import("builtin").cpu.arch.endian() == .little);
}

/// Adds bytes to a sum of an even number of bytes.
pub fn add(initial: Sum, bytes: []const u8) Sum {
    return run(.read, initial, undefined, bytes);
}

/// Copies bytes, and adds them to a sum, in one pass. `to` is at least as long as `from`, and
/// does not overlap it.
pub fn addCopying(initial: Sum, to: []u8, from: []const u8) Sum {
    assert(to.len >= from.len);
    return run(.copy, initial, to[0..from.len], from);
}

/// Sums of 32-bit words are as good as sums of 16-bit words: 2^16 is 1 modulo 65,535. Each half
/// of a 64-bit lane is added on its own, so that no carry is lost. Nothing wraps (see `Sum`), and
/// not checking that makes this four times as fast.
inline fn run(comptime mode: enum { read, copy }, initial: Sum, to: []u8, from: []const u8) Sum {
    var sum = initial;
    var at: usize = 0;
    if (from.len >= block_size) {
        var low: Block = @splat(0);
        var high: Block = @splat(0);
        while (from.len - at >= block_size) : (at += block_size) {
            // Through pointers: a bit cast from an array of bytes is compiled byte by byte.
            const block = @as(*align(1) const Block, @ptrCast(from[at..][0..block_size])).*;
            low +%= block & @as(Block, @splat(0xffff_ffff));
            high +%= block >> @splat(32);
            if (mode == .copy)
                @as(*align(1) Block, @ptrCast(to[at..][0..block_size])).* = block;
        }
        sum +%= @reduce(.Add, low +% high);
    }
    while (from.len - at >= 8) : (at += 8) {
        const word = std.mem.readInt(u64, from[at..][0..8], .little);
        sum +%= (word & 0xffff_ffff) +% (word >> 32);
        if (mode == .copy) to[at..][0..8].* = from[at..][0..8].*;
    }
    while (from.len - at >= 2) : (at += 2) {
        sum +%= std.mem.readInt(u16, from[at..][0..2], .little);
        if (mode == .copy) to[at..][0..2].* = from[at..][0..2].*;
    }
    if (from.len != at) {
        // The last byte of an odd number is the first of a word.
        sum +%= from[at];
        if (mode == .copy) to[at] = from[at];
    }
    return sum;
}

/// Adds a 16-bit number in host order, as if it stood in the packet in network order.
pub fn addWord(initial: Sum, word: u16) Sum {
    return initial + @byteSwap(word);
}

/// The pseudo-header of TCP and UDP over IPv4 (RFC 9293 section 3.1): addresses in network
/// order, `length` the bytes of the transport header and its payload.
pub fn pseudo4(source: [4]u8, destination: [4]u8, protocol: u8, length: u16) Sum {
    const sum = add(add(0, &source), &destination);
    return addWord(addWord(sum, protocol), length);
}

/// The pseudo-header of upper-layer protocols over IPv6 (RFC 8200 section 8.1).
pub fn pseudo6(source: [16]u8, destination: [16]u8, protocol: u8, length: u32) Sum {
    const sum = add(add(0, &source), &destination);
    const high = addWord(sum, @intCast(length >> 16));
    return addWord(addWord(high, protocol), @truncate(length));
}

/// The sum as 16 bits, not complemented, in memory order.
pub fn fold(sum: Sum) u16 {
    const a = (sum & 0xffff_ffff) + (sum >> 32);
    const b = (a & 0xffff) + (a >> 16 & 0xffff) + (a >> 32);
    const c = (b & 0xffff) + (b >> 16);
    return @intCast((c & 0xffff) + (c >> 16));
}

/// Whether the sum over a header (and a pseudo-header), with its checksum in place, is right.
pub fn valid(sum: Sum) bool {
    return fold(sum) == 0xffff;
}

/// Writes the checksum that completes a sum taken with the field as zero.
pub fn store(field: *[2]u8, sum: Sum) void {
    std.mem.writeInt(u16, field, ~fold(sum), .little);
}

/// The same, where zero would mean "no checksum" (UDP): its other form is written instead.
pub fn storeNonzero(field: *[2]u8, sum: Sum) void {
    const complement = ~fold(sum);
    std.mem.writeInt(u16, field, if (complement == 0) 0xffff else complement, .little);
}

/// Writes a sum as it is: what the kernel expects in the field of a packet whose checksum it is
/// to complete.
pub fn storePartial(field: *[2]u8, sum: Sum) void {
    std.mem.writeInt(u16, field, fold(sum), .little);
}

const testing = std.testing;
const samples = @import("packet_samples.zig");

test "sums of every length and alignment equal the sum taken byte by byte" {
    var prng = std.Random.DefaultPrng.init(0x73756d);
    var storage: [2048 + 16]u8 = undefined;
    prng.random().bytes(&storage);
    var copies: [2048 + 16]u8 = undefined;
    for (0..16) |start| {
        var naive: u32 = 0;
        for (0..2049) |length| {
            const bytes = storage[start..][0..length];
            if (length > 0) naive = samples.checksumStep(naive, length - 1, bytes[length - 1]);
            try testing.expectEqual(naive, @byteSwap(fold(add(0, bytes))));

            const copy = copies[16 - start ..][0..length];
            @memset(&copies, 0xaa);
            try testing.expectEqual(naive, @byteSwap(fold(addCopying(0, copy, bytes))));
            try testing.expectEqualSlices(u8, bytes, copy);
            for (copies[16 - start + length ..]) |after| try testing.expectEqual(0xaa, after);
        }
    }
}

test "carries are not lost: bytes of all ones, up to 64 KiB" {
    const bytes = try testing.allocator.alloc(u8, 65536);
    defer testing.allocator.free(bytes);
    @memset(bytes, 0xff);
    for ([_]usize{ 2, 62, 64, 66, 126, 128, 65534, 65536 }) |length| {
        try testing.expectEqual(0xffff, fold(add(0, bytes[0..length])));
        try testing.expectEqual(0xffff, fold(add(std.math.maxInt(u32), bytes[0..length])));
    }
    try testing.expectEqual(0, fold(0));
    try testing.expectEqual(0xffff, fold(std.math.maxInt(u64)));
    try testing.expectEqual(1, fold(0x1_0000));
    try testing.expectEqual(1, fold(0x1_0000_0000_0000));
    try testing.expectEqual(0xffff, fold(0x0_ffff_0000));
}

test "folding agrees with arithmetic modulo 65,535" {
    var prng = std.Random.DefaultPrng.init(0x666f6c64);
    const random = prng.random();
    for (0..10_000) |_| {
        const sum = random.int(u64) >> random.int(u6);
        const folded = fold(sum);
        try testing.expectEqual(sum % 0xffff, folded % 0xffff);
        // Only nothing at all sums to zero.
        try testing.expectEqual(sum == 0, folded == 0);
    }
}

test "a sum may be continued after any even number of bytes" {
    var storage: [300]u8 = undefined;
    var prng = std.Random.DefaultPrng.init(1);
    prng.random().bytes(&storage);
    const whole = fold(add(0, &storage));
    var cut: usize = 0;
    while (cut <= storage.len) : (cut += 2) {
        try testing.expectEqual(whole, fold(add(add(0, storage[0..cut]), storage[cut..])));
    }
}

test "RFC 1071's example, and a header from life" {
    const example = [_]u8{ 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
    try testing.expectEqual(0xddf2, @byteSwap(fold(add(0, &example))));

    var header = [_]u8{
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
        0x00, 0x00, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
    };
    store(header[10..12], add(0, &header));
    try testing.expectEqual([2]u8{ 0xb8, 0x61 }, header[10..12].*);
    try testing.expect(valid(add(0, &header)));
    header[19] ^= 1;
    try testing.expect(!valid(add(0, &header)));
}

test "pseudo-headers equal their layout in the standards, summed" {
    const a4 = [4]u8{ 10, 200, 3, 4 };
    const b4 = [4]u8{ 250, 6, 7, 8 };
    const layout4 = a4 ++ b4 ++ [_]u8{ 0, 17, 0xfe, 0xdc };
    try testing.expectEqual(fold(add(0, &layout4)), fold(pseudo4(a4, b4, 17, 0xfedc)));

    const a6: [16]u8 = @splat(0xfd);
    const b6: [16]u8 = @splat(0x9a);
    const layout6 = a6 ++ b6 ++ [_]u8{ 0x12, 0x34, 0xfe, 0xdc, 0, 0, 0, 6 };
    try testing.expectEqual(fold(add(0, &layout6)), fold(pseudo6(a6, b6, 6, 0x1234_fedc)));
}

test "a UDP checksum is never written as zero" {
    var field: [2]u8 = undefined;
    storeNonzero(&field, 0xffff);
    try testing.expectEqual([2]u8{ 0xff, 0xff }, field);
    storeNonzero(&field, addWord(0, 0x1234));
    try testing.expectEqual([2]u8{ 0xed, 0xcb }, field);
    store(&field, 0xffff);
    try testing.expectEqual([2]u8{ 0, 0 }, field);
    storePartial(&field, addWord(0, 0x1234));
    try testing.expectEqual([2]u8{ 0x12, 0x34 }, field);
}

//! The batched cipher compiled for one level of the processor: the root of an object of its own.
//!
//! build.zig compiles this file once for each level, with that level's instructions, and links the
//! objects into a library that is compiled for the baseline; `aead_dispatch.zig` calls what is
//! exported here, after it has seen that the processor has the level.
//! Always holds: nothing is exported but functions named after the level.
const std = @import("std");
const builtin = @import("builtin");
const aead_batch = @import("aead_batch.zig");
const Message = aead_batch.Message;

const level: enum { avx512ifma, avx512, avx2, sse2, neon } = switch (builtin.cpu.arch) {
    .x86_64 => if (builtin.cpu.has(.x86, .avx512ifma))
        .avx512ifma
    else if (builtin.cpu.has(.x86, .avx512f))
        .avx512
    else if (builtin.cpu.has(.x86, .avx2))
        .avx2
    else
        .sse2,
    .aarch64 => .neon,
    else => @compileError("no level for this processor"),
};

const Batch = switch (level) {
    .avx512ifma => aead_batch.AeadBatch(16, .ifma),
    .avx512 => aead_batch.AeadBatch(16, .wide32),
    .avx2 => aead_batch.AeadBatch(8, .wide32),
    .sse2, .neon => aead_batch.AeadBatch(4, .wide32),
};

comptime {
    exportAs("seal", &seal);
    exportAs("open", &open);
    exportAs("keystream", &keystream);
    exportAs("poly1305", &poly1305);
}

fn exportAs(comptime name: []const u8, comptime function: anytype) void {
    @export(function, .{ .name = "aead_" ++ name ++ "_" ++ @tagName(level), .visibility = .hidden });
}

fn seal(key: *const [32]u8, messages: [*]Message, count: usize) callconv(.c) void {
    Batch.seal(@ptrCast(key), messages[0..count]);
}

fn open(key: *const [32]u8, messages: [*]Message, count: usize) callconv(.c) void {
    Batch.open(@ptrCast(key), messages[0..count]);
}

// The parts, for test vectors with other nonces and additional data. The library leaves them out:
// nothing there calls them.

/// XORs whole blocks of 64 bytes with the keystream from block `first` on.
fn keystream(
    key: *const [32]u8,
    nonce: *const [12]u8,
    first: u32,
    bytes: [*]u8,
    count: usize,
) callconv(.c) void {
    const words = Batch.words;
    const nonce_words: *align(1) const [3]u32 = @ptrCast(nonce);
    var nowhere: [64]u8 = @splat(0);
    var at: usize = 0;
    while (at < count) : (at += words) {
        var places: [words][*]u8 = @splat(&nowhere);
        for (places[0..@min(words, count - at)], at..) |*place, block| place.* = bytes + block * 64;
        const number = std.simd.iota(u32, words) +% @as(Batch.Chacha20.Word, @splat(first +% @as(u32, @intCast(at))));
        Batch.Chacha20.xor(1, @ptrCast(key), &.{.{
            .number = number,
            .nonce = .{ @splat(nonce_words[0]), @splat(nonce_words[1]), @splat(nonce_words[2]) },
            .from = @ptrCast(&places),
            .to = &places,
        }});
    }
}

/// The tag of whole blocks of 16 bytes, at least one. All lanes compute the same.
fn poly1305(key: *const [32]u8, bytes: [*]const u8, count: usize, tag: *[16]u8) callconv(.c) void {
    const Poly1305 = Batch.Poly1305;
    const words: *align(1) const [4]u64 = @ptrCast(key);
    const powers = Poly1305.powersOf(@splat(words[0]), @splat(words[1]));
    const factors = Poly1305.factorsOf(&powers);
    // As in a batch: blocks of zero in front that are not marked.
    const front = (4 - count % 4) % 4;
    var begin: [64]u8 = @splat(0);
    @memcpy(begin[16 * front ..], bytes[0 .. 64 - 16 * front]);
    var marks = Poly1305.all_marked;
    for (marks[0..front]) |*mark| mark.* = @splat(0);
    var sum: Poly1305.Number = @splat(@splat(0));
    Poly1305.add(&sum, &factors, &marks, &@splat(&begin), 1);
    const rest = bytes + 64 - 16 * front;
    Poly1305.add(&sum, &factors, &Poly1305.all_marked, &@splat(rest), (count + front) / 4 - 1);
    const low, const high = Poly1305.tags(sum, @splat(words[2]), @splat(words[3]));
    // Were the lanes not equal, the tag would be wrong.
    const differ = @reduce(.Or, (low ^ @as(Poly1305.Word, @splat(low[0]))) | (high ^ @as(Poly1305.Word, @splat(high[0]))));
    const out: *align(1) [2]u64 = @ptrCast(tag);
    out.* = .{ low[0] ^ differ, high[0] };
}

//! ChaCha20 (RFC 8439 section 2.3) with a block in each lane of a vector: as many blocks at once as
//! a vector has 32-bit words, of any packets of one key.
//!
//! Owns the rounds and the way from words in lanes to bytes in memory; knows nothing of packets.
//! Always holds: whatever the key and the text, the same instructions touch the same addresses.
const std = @import("std");
const assert = std.debug.assert;
const lane_memory = @import("lane_memory.zig");
const Half = lane_memory.Half;
const interleave = lane_memory.interleave;
const transposeQuads = lane_memory.transposeQuads;

pub const block_bytes = 64;
const block_words = 16;

/// What nothing up to the sleeves spells: "expand 32-byte k".
const constants = [4]u32{ 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };

/// `lanes` is 16, 8 or 4: how many 32-bit words a vector of the processor holds.
pub fn Chacha20(comptime lanes: comptime_int) type {
    assert(lanes == 16 or lanes == 8 or lanes == 4);
    return struct {
        pub const Word = @Vector(lanes, u32);
        const State = [block_words]Word;
        /// Vectors in a block's bytes.
        const parts = block_words / lanes;

        /// What `lanes` blocks at once are made of: number, nonce, and where the bytes come from
        /// and go to. `from` and `to` of a block are the same memory or apart; no block's `to` is
        /// another block's `from`.
        pub const Blocks = struct {
            number: Word,
            nonce: [3]Word,
            from: *const [lanes][*]const u8,
            to: *const [lanes][*]u8,
        };

        /// XORs 64 bytes of each block with its keystream. Two sets of blocks side by side fill the
        /// time that each spends waiting for itself, where there are registers for both.
        pub inline fn xor(comptime sets: comptime_int, key: *align(1) const [8]u32, blocks: *const [sets]Blocks) void {
            @setEvalBranchQuota(100_000);
            var states: [sets]State = undefined;
            inline for (&states, blocks) |*state, *set| state.* = begin(key, set);
            for (0..10) |_| {
                quarterRounds(sets, &states, .{ 4, 5, 6, 7 }, .{ 8, 9, 10, 11 }, .{ 12, 13, 14, 15 });
                quarterRounds(sets, &states, .{ 5, 6, 7, 4 }, .{ 10, 11, 8, 9 }, .{ 15, 12, 13, 14 });
            }
            inline for (&states, blocks) |*state, *set| {
                inline for (state, begin(key, set)) |*word, start| word.* +%= start;
                xorWords(state, set);
            }
        }

        inline fn begin(key: *align(1) const [8]u32, blocks: *const Blocks) State {
            var state: State = undefined;
            inline for (state[0..4], constants) |*word, constant| word.* = @splat(constant);
            inline for (state[4..12], key) |*word, key_word| word.* = @splat(key_word);
            state[12] = blocks.number;
            inline for (state[13..16], blocks.nonce) |*word, nonce_word| word.* = nonce_word;
            return state;
        }

        /// Four quarter rounds side by side: columns where the indices ascend, diagonals where
        /// they are turned.
        inline fn quarterRounds(
            comptime sets: comptime_int,
            states: *[sets]State,
            comptime b: [4]usize,
            comptime c: [4]usize,
            comptime d: [4]usize,
        ) void {
            const a = [4]usize{ 0, 1, 2, 3 };
            inline for (states) |*x| mix(sets, x, a, b, d, 16);
            inline for (states) |*x| mix(sets, x, c, d, b, 12);
            inline for (states) |*x| mix(sets, x, a, b, d, 8);
            inline for (states) |*x| mix(sets, x, c, d, b, 7);
        }

        /// to += from; with = rotate(with ^ to), in four places. With one set, two places at a
        /// time: that asks for fewer registers.
        inline fn mix(
            comptime sets: comptime_int,
            x: *State,
            comptime to: [4]usize,
            comptime from: [4]usize,
            comptime with: [4]usize,
            comptime count: u5,
        ) void {
            const places = if (sets == 1) 2 else 4;
            inline for (0..4 / places) |half| {
                const first = half * places;
                inline for (first..first + places) |i| x[to[i]] +%= x[from[i]];
                inline for (first..first + places) |i| x[with[i]] ^= x[to[i]];
                inline for (first..first + places) |i| x[with[i]] = rotate(x[with[i]], count);
            }
        }

        inline fn rotate(x: Word, comptime count: u5) Word {
            return (x << @splat(count)) | (x >> @splat(32 - @as(u6, count)));
        }

        inline fn xorWords(state: *const State, blocks: *const Blocks) void {
            const keystream = transpose(state);
            inline for (keystream, blocks.from, blocks.to) |row, from, to| {
                inline for (row, 0..) |word, part| {
                    const offset = part * @sizeOf(Word);
                    const text = @as(*align(1) const Word, @ptrCast(from + offset)).*;
                    @as(*align(1) Word, @ptrCast(to + offset)).* = text ^ word;
                }
            }
        }

        /// From word w of all blocks in vector w to all words of block b, in order, in row b.
        inline fn transpose(words: *const State) [lanes][parts]Word {
            // Within each 128 bits: word w of blocks 4q to 4q+3 becomes words 4g to 4g+3 of block
            // 4q+e, where q is the place of the 128 bits and g = w / 4.
            var quads: [4][4]Word = undefined;
            inline for (0..4) |g| {
                const low01 = interleave(u32, lanes, .low, words[4 * g], words[4 * g + 1]);
                const high01 = interleave(u32, lanes, .high, words[4 * g], words[4 * g + 1]);
                const low23 = interleave(u32, lanes, .low, words[4 * g + 2], words[4 * g + 3]);
                const high23 = interleave(u32, lanes, .high, words[4 * g + 2], words[4 * g + 3]);
                quads[0][g] = interleavePairs(.low, low01, low23);
                quads[1][g] = interleavePairs(.high, low01, low23);
                quads[2][g] = interleavePairs(.low, high01, high23);
                quads[3][g] = interleavePairs(.high, high01, high23);
            }
            const places = lanes / 4;
            var rows: [lanes][parts]Word = undefined;
            inline for (0..4) |e| {
                inline for (0..parts) |part| {
                    const turned = transposeQuads(u32, lanes, quads[e][part * places ..][0..places].*);
                    inline for (0..places) |q| rows[4 * q + e][part] = turned[q];
                }
            }
            return rows;
        }

        inline fn interleavePairs(comptime half: Half, a: Word, b: Word) Word {
            const Pairs = @Vector(lanes / 2, u64);
            return @bitCast(interleave(u64, lanes / 2, half, @as(Pairs, @bitCast(a)), @as(Pairs, @bitCast(b))));
        }
    };
}

//! Poly1305 (RFC 8439 section 2.5) with a message in each lane of a vector of 64-bit words.
//!
//! Owns the arithmetic modulo p = 2^130 - 5 and the bounds that make its lazy carries right; where
//! a message begins and ends is the caller's (`aead_batch.zig`).
//! Always holds: whatever the keys and the messages, the same instructions touch the same
//! addresses.
const std = @import("std");
const assert = std.debug.assert;
const lane_memory = @import("lane_memory.zig");

pub const block_bytes = 16;
/// Blocks that are added up before carries are passed on.
pub const step_blocks = 4;
pub const step_bytes = step_blocks * block_bytes;

pub const Multiplier = enum {
    /// AVX512 IFMA: 52 x 52 bits, the low or high 52 bits of the product added to 64 bits.
    ifma,
    /// 32 x 32 bits to 64 bits: every vector unit has it.
    wide32,
};

/// `lanes` is 8, 4 or 2: how many 64-bit words a vector of the processor holds.
pub fn Poly1305(comptime lanes: comptime_int, comptime multiplier: Multiplier) type {
    assert(lanes == 8 or lanes == 4 or lanes == 2);
    return struct {
        pub const Word = @Vector(lanes, u64);
        const Limbs = switch (multiplier) {
            .ifma => Limbs44(lanes),
            .wide32 => Limbs26(lanes),
        };
        pub const limbs = Limbs.widths.len;
        /// A number in each lane: the sum of its limbs, limb i worth 2^`offsets[i]`. It is
        /// *settled* where its limbs are below the bounds at `Limbs44` and `Limbs26`; what a
        /// function here returns is.
        pub const Number = [limbs]Word;

        /// The powers r^4, r^3, r^2, r of each lane, in this order.
        pub const Powers = [step_blocks]Number;

        /// A number as a factor: limb i of `folded` is limb i + 1 times `Limbs.fold`, for products
        /// that pass 2^130 and come back at the low end.
        const Factor = struct { limb: Number, folded: [limbs - 1]Word };
        pub const Factors = [step_blocks]Factor;

        const offsets = blk: {
            var sum: u8 = 0;
            var out: [limbs]u8 = undefined;
            for (&out, Limbs.widths) |*offset, width| {
                offset.* = sum;
                sum += width;
            }
            assert(sum == 130);
            break :blk out;
        };

        /// 2^128 in the highest limb: what is added to each block of 16 bytes.
        pub const mark: u64 = 1 << (128 - @as(u8, offsets[limbs - 1]));

        /// What is added to each block of a step.
        pub const Marks = [step_blocks]Word;
        pub const all_marked: Marks = @splat(@splat(mark));

        /// The powers of the one-time keys whose first 16 bytes are `low` and `high`.
        pub fn powersOf(low: Word, high: Word) Powers {
            const clamped_low = low & splat(0x0ffffffc_0fffffff);
            const r = split(clamped_low, high & splat(0x0ffffffc_0ffffffc), splat(0));
            const factor = factorOf(r);
            const r2 = product(r, &factor);
            const r3 = product(r2, &factor);
            const r4 = product(r2, &factorOf(r2));
            return .{ r4, r3, r2, r };
        }

        pub inline fn factorsOf(powers: *const Powers) Factors {
            var factors: Factors = undefined;
            inline for (&factors, powers) |*factor, number| factor.* = factorOf(number);
            return factors;
        }

        pub inline fn factorOf(number: Number) Factor {
            var folded: [limbs - 1]Word = undefined;
            inline for (&folded, number[1..]) |*limb, plain| limb.* = Limbs.foldOf(plain);
            return .{ .limb = number, .folded = folded };
        }

        pub inline fn product(a: Number, b: *const Factor) Number {
            var sums = Limbs.zero;
            Limbs.multiply(&sums, a, b.limb, b.folded);
            return Limbs.settle(sums);
        }

        /// Adds `count` steps of 64 bytes in each lane, lane i's from `from[i]` on. `first`: of
        /// each block of the first step, `mark`, or 0 in a lane whose message has not begun.
        ///
        /// A step is sum = (sum + m0) r^4 + m1 r^3 + m2 r^2 + m3 r.
        pub inline fn add(
            sum: *Number,
            factors: *const Factors,
            first: *const Marks,
            from: *const [lanes][*]const u8,
            count: usize,
        ) void {
            @setEvalBranchQuota(100_000);
            var now = sum.*;
            var marks = first;
            for (0..count) |step| {
                const words = load(from, step * step_bytes);
                var sums = Limbs.zero;
                // The block that waits for the sum of the step before comes last.
                inline for (.{ 1, 2, 3, 0 }) |block| {
                    var number = split(words[2 * block], words[2 * block + 1], marks[block]);
                    if (block == 0) inline for (&number, now) |*limb, before| {
                        limb.* +%= before;
                    };
                    Limbs.multiply(&sums, number, factors[block].limb, factors[block].folded);
                }
                now = Limbs.settle(sums);
                marks = &all_marked;
            }
            sum.* = now;
        }

        /// A number to the power of what is public, 1 or more.
        pub fn power(base: Number, exponent: usize) Number {
            assert(exponent > 0);
            const factor = factorOf(base);
            var number = base;
            var bit = std.math.log2_int(usize, exponent);
            while (bit > 0) {
                bit -= 1;
                number = product(number, &factorOf(number));
                if (exponent >> bit & 1 == 1) number = product(number, &factor);
            }
            return number;
        }

        /// Adds up the parts of messages: `parts` lanes, a power of two, hold those of a message in
        /// order, each to be multiplied by `distance` once for each that follows it. The sums are
        /// in the last lane of each message; the others hold nothing.
        pub fn join(sums: Number, distance: Number, parts: usize) Number {
            var sum = sums;
            var factor = distance;
            inline for (.{ 1, 2, 4 }) |step| {
                if (step < lanes and step < parts) {
                    const scaled = product(sum, &factorOf(factor));
                    const from = comptime blk: {
                        var mask: [lanes]i32 = undefined;
                        for (&mask, 0..) |*source, lane| source.* = @max(lane, step) - step;
                        break :blk mask;
                    };
                    inline for (&sum, scaled) |*limb, other|
                        limb.* +%= @shuffle(u64, other, undefined, from);
                    sum = Limbs.settle(Limbs.sumsOf(sum));
                    factor = product(factor, &factorOf(factor));
                }
            }
            return sum;
        }

        /// 64 bytes of each lane as eight words: word w of all lanes in vector w.
        pub inline fn load(from: *const [lanes][*]const u8, offset: usize) [8]Word {
            var words: [8]Word = undefined;
            inline for (0..8 / lanes) |part| {
                var rows: [lanes]Word = undefined;
                inline for (&rows, from) |*row, pointer| {
                    const at = pointer + offset + part * @sizeOf(Word);
                    row.* = @as(*align(1) const Word, @ptrCast(at)).*;
                }
                words[part * lanes ..][0..lanes].* = transpose(rows);
            }
            return words;
        }

        pub inline fn transpose(rows: [lanes]Word) [lanes]Word {
            const places = lanes / 2;
            var low: [places]Word = undefined;
            var high: [places]Word = undefined;
            inline for (0..places) |i| {
                low[i] = lane_memory.interleave(u64, lanes, .low, rows[2 * i], rows[2 * i + 1]);
                high[i] = lane_memory.interleave(u64, lanes, .high, rows[2 * i], rows[2 * i + 1]);
            }
            const even = lane_memory.transposeQuads(u64, lanes, low);
            const odd = lane_memory.transposeQuads(u64, lanes, high);
            var out: [lanes]Word = undefined;
            inline for (0..places) |i| {
                out[2 * i] = even[i];
                out[2 * i + 1] = odd[i];
            }
            return out;
        }

        /// The tags, (sum mod p + pad) mod 2^128, as low and high word. The pads are the second 16
        /// bytes of the one-time keys.
        pub fn tags(sum: Number, pad_low: Word, pad_high: Word) [2]Word {
            const low, const high = wordsOf(reduce(sum));
            const tag_low = low +% pad_low;
            const carry = @select(u64, tag_low < low, splat(1), splat(0));
            return .{ tag_low, high +% pad_high +% carry };
        }

        /// The one form below p. A settled number is below 2^130 + 2^118: where its carries pass
        /// 2^130 what stays is small, so the second round of carries ends below 2^130.
        inline fn reduce(settled: Number) Number {
            var a = settled;
            inline for (1..limbs) |i| carry1(&a, i);
            inline for (0..limbs - 1) |i| carry1(&a, i);
            // a + 5 passes 2^130 just where a is p or more.
            var b = a;
            b[0] +%= splat(5);
            inline for (0..limbs - 1) |i| carry1(&b, i);
            const over = splat(0) -% shiftRight(b[limbs - 1], Limbs.widths[limbs - 1]);
            b[limbs - 1] &= maskOf(limbs - 1);
            inline for (&a, b) |*limb, other| limb.* = (limb.* & ~over) | (other & over);
            return a;
        }

        /// Passes on what limb i has too much; 2^130 is 5.
        inline fn carry1(a: *Number, comptime i: usize) void {
            const over = shiftRight(a[i], Limbs.widths[i]);
            a[i] &= maskOf(i);
            if (i + 1 < limbs) a[i + 1] +%= over else a[0] +%= over +% shiftLeft(over, 2);
        }

        inline fn split(low: Word, high: Word, marks: Word) Number {
            var number: Number = undefined;
            inline for (&number, offsets, Limbs.widths, 0..) |*limb, offset, width, i| {
                limb.* = if (offset >= 64)
                    shiftRight(high, offset - 64)
                else if (offset + width > 64)
                    shiftRight(low, offset) | shiftLeft(high, 64 - offset)
                else
                    shiftRight(low, offset);
                limb.* = if (i + 1 < limbs) limb.* & maskOf(i) else limb.* | marks;
            }
            return number;
        }

        inline fn wordsOf(number: Number) [2]Word {
            var low = splat(0);
            var high = splat(0);
            inline for (number, offsets, Limbs.widths) |limb, offset, width| {
                if (offset < 64) low |= shiftLeft(limb, offset);
                if (offset >= 64) {
                    high |= shiftLeft(limb, offset - 64);
                } else if (offset + width > 64) high |= shiftRight(limb, 64 - offset);
            }
            return .{ low, high };
        }

        inline fn maskOf(comptime i: usize) Word {
            return @splat((1 << Limbs.widths[i]) - 1);
        }

        inline fn splat(value: u64) Word {
            return @splat(value);
        }
    };
}

/// Radix 2^44, for 52-bit multiplication.
///
/// Bounds. *Settled*: a0 < 2^44, a1 < 2^44 + 2^14, a2 < 2^42. A block's limbs are below 2^44, 2^44
/// and 2^41 with its mark, so a settled number plus a block is below 2^46 in each limb; a factor is
/// settled, so its limbs are below 2^45, folded (times 20) below 2^50: all are below the 2^52 that
/// the multiplier reads. (`product` and `join` stay below the same: what they multiply is settled.) Products are below 2^96: low halves below 2^52, high halves below 2^44. A
/// sum takes three of each from each of four blocks: low < 12 * 2^52 < 2^56, high < 2^48.
/// `settle`: limb 1 with its carry is below 2^56 + 2^12 + 2^56 < 2^58, limb 2 likewise. Limb 2 takes
/// no folded products: they are below 2^91, their high halves below 2^39, those summed below 2^43,
/// so what passes 2^130 is below 2^16 + 2^53 < 2^54, five times that below 2^57, limb 0 with it
/// below 2^58; the carry from there into limb 1 is below 2^14.
fn Limbs44(comptime lanes: comptime_int) type {
    assert(lanes == 8);
    return struct {
        const Word = @Vector(lanes, u64);
        const widths = [3]u8{ 44, 44, 42 };
        const Number = [widths.len]Word;
        const mask44: Word = @splat((1 << 44) - 1);
        const mask42: Word = @splat((1 << 42) - 1);

        /// Sums of the low 52 bits of products, and of what is above them.
        const Sums = struct { low: Number, high: Number };
        const zero: Sums = .{ .low = @splat(@splat(0)), .high = @splat(@splat(0)) };

        inline fn sumsOf(number: Number) Sums {
            return .{ .low = number, .high = @splat(@splat(0)) };
        }

        /// 2^132 is 2^2 * 2^130, and 2^130 is 5.
        inline fn foldOf(limb: Word) Word {
            return shiftLeft(limb, 4) +% shiftLeft(limb, 2);
        }

        inline fn multiply(sums: *Sums, a: Number, b: Number, folded: [widths.len - 1]Word) void {
            inline for (0..widths.len) |i| {
                inline for (0..widths.len) |j| {
                    const factor = if (i + j < widths.len) b[j] else folded[j - 1];
                    const at = (i + j) % widths.len;
                    sums.low[at] = vpmadd52luq(sums.low[at], a[i], factor);
                    sums.high[at] = vpmadd52huq(sums.high[at], a[i], factor);
                }
            }
        }

        /// A high half is worth 2^52: 2^8 in the next limb, 2^10 above the 42 bits of the last.
        inline fn settle(sums: Sums) Number {
            const low = sums.low;
            const high = sums.high;
            const a1 = low[1] +% shiftRight(low[0], 44) +% shiftLeft(high[0], 8);
            const a2 = low[2] +% shiftRight(a1, 44) +% shiftLeft(high[1], 8);
            const over = shiftRight(a2, 42) +% shiftLeft(high[2], 10);
            const a0 = (low[0] & mask44) +% over +% shiftLeft(over, 2);
            return .{ a0 & mask44, (a1 & mask44) +% shiftRight(a0, 44), a2 & mask42 };
        }
    };
}

/// Radix 2^26, for 32-bit multiplication.
///
/// Bounds. *Settled*: a0, a2, a3 < 2^26, a1 < 2^26 + 2^15, a4 < 2^26 + 2^13. A block's limbs are below
/// 2^26 (the highest, with its mark, below 2^25), so a settled number plus a block is below 2^28 in
/// each limb; a factor is settled, so its limbs are below 2^27, folded (times 5) below 2^30: all
/// are below 2^32. Products are below 2^58; a sum takes five from each of four blocks, and is below
/// 20 * 2^58 < 2^63.
/// `settle`: the first carry out of each limb is below 2^38 (limbs 0 and 3 pass on less than 2^37
/// before limbs 1 and 4 do), five times that below 2^41; so the second carry out of limb 0 is
/// below 2^15, and that out of limb 3, below 2^39 then, is below 2^13.
fn Limbs26(comptime lanes: comptime_int) type {
    return struct {
        const Word = @Vector(lanes, u64);
        const widths: [5]u8 = @splat(26);
        const Number = [widths.len]Word;
        const mask26: Word = @splat((1 << 26) - 1);
        const mask32: Word = @splat((1 << 32) - 1);

        const Sums = Number;
        const zero: Sums = @splat(@splat(0));

        inline fn sumsOf(number: Number) Sums {
            return number;
        }

        /// 2^130 is 5.
        inline fn foldOf(limb: Word) Word {
            return limb +% shiftLeft(limb, 2);
        }

        inline fn multiply(sums: *Sums, a: Number, b: Number, folded: [widths.len - 1]Word) void {
            inline for (0..widths.len) |i| {
                inline for (0..widths.len) |j| {
                    const factor = if (i + j < widths.len) b[j] else folded[j - 1];
                    // The masks change nothing: they say that the halves that are not multiplied
                    // are zero.
                    sums[(i + j) % widths.len] +%= (a[i] & mask32) *% (factor & mask32);
                }
            }
        }

        /// Two chains side by side: from limb 0 and from limb 3.
        inline fn settle(sums: Sums) Number {
            var a = sums;
            inline for (.{ 0, 3, 1, 4, 2, 0, 3 }) |i| {
                const over = shiftRight(a[i], 26);
                a[i] &= mask26;
                if (i == 4) a[0] +%= over +% shiftLeft(over, 2) else a[i + 1] +%= over;
            }
            return a;
        }
    };
}

inline fn shiftRight(a: anytype, comptime bits: u6) @TypeOf(a) {
    return a >> @splat(bits);
}

inline fn shiftLeft(a: anytype, comptime bits: u6) @TypeOf(a) {
    return a << @splat(bits);
}

extern fn @"llvm.x86.avx512.vpmadd52l.uq.512"(@Vector(8, u64), @Vector(8, u64), @Vector(8, u64)) @Vector(8, u64);
extern fn @"llvm.x86.avx512.vpmadd52h.uq.512"(@Vector(8, u64), @Vector(8, u64), @Vector(8, u64)) @Vector(8, u64);
const vpmadd52luq = @"llvm.x86.avx512.vpmadd52l.uq.512";
const vpmadd52huq = @"llvm.x86.avx512.vpmadd52h.uq.512";

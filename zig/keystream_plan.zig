//! Which blocks of ChaCha20 are computed next, whichever messages they are of, so that every lane
//! of every step has one but in the last.
//!
//! Owns the order of messages, the ends of messages that are no whole block, and keystream that is
//! computed before it may be used. Knows nothing of tags.
//! Always holds: a block's bytes are written once; what lay here is wiped by `wipe`.
const std = @import("std");
const builtin = @import("builtin");
const assert = std.debug.assert;
const aead_batch = @import("aead_batch.zig");
const chacha20_lanes = @import("chacha20_lanes.zig");
const lane_memory = @import("lane_memory.zig");
const copyShort = lane_memory.copyShort;
const Message = aead_batch.Message;
const messages_max = aead_batch.messages_max;
const block_bytes = chacha20_lanes.block_bytes;

/// Blocks that are laid out before they are computed: with one-time keys for all, one at least is
/// left for a message.
pub const blocks_max = 2 * messages_max;

const zeros: [block_bytes]u8 = @splat(0);

/// `words`: how many 32-bit words a vector of the processor holds.
pub fn KeystreamPlan(comptime words: comptime_int) type {
    return struct {
        const Self = @This();
        /// Two sets of lanes where the processor has 32 registers of vectors: room for both.
        const sets = if (words == 16 or builtin.cpu.arch == .aarch64) 2 else 1;
        const step_blocks = sets * words;
        const room = blocks_max + step_blocks;

        key: *align(1) const [8]u32,
        messages: []const Message,
        /// Block 0 of each message's keystream: r, pad, and 32 bytes that serve nothing.
        one_time: *[messages_max][block_bytes]u8,

        // The blocks that come next.
        number: [room]u32 align(64),
        nonce_low: [room]u32 align(64),
        nonce_high: [room]u32 align(64),
        from: [room]usize align(64),
        to: [room]usize align(64),
        planned: usize,
        /// Blocks that end a message and are not whole are encrypted here.
        partial: [messages_max][block_bytes]u8 align(64),
        partial_of: [messages_max]struct { to: [*]u8, length: usize },
        partials: usize,
        partials_most: usize,
        /// Where a step's lanes without a block write to.
        nowhere: [block_bytes]u8 align(64),

        /// Keystream of the first messages' first blocks, from the lanes that one-time keys left.
        ahead: [step_blocks][block_bytes]u8 align(64),
        ahead_of: [messages_max]struct { first: u8, count: u8 },
        ahead_count: usize,

        /// Messages in the order in which they are encrypted; those before `encrypted` are done,
        /// and `block` blocks of the next one.
        order: [messages_max]u8,
        ordered: usize,
        encrypted: usize,
        block: u32,
        blocks_left: usize,

        pub fn begin(
            self: *Self,
            key: *align(1) const [8]u32,
            messages: []const Message,
            one_time: *[messages_max][block_bytes]u8,
        ) void {
            self.key = key;
            self.messages = messages;
            self.one_time = one_time;
            self.planned = 0;
            self.partials = 0;
            self.partials_most = 0;
            self.ahead_count = 0;
            for (self.ahead_of[0..messages.len]) |*of| of.* = .{ .first = 0, .count = 0 };
            self.ordered = 0;
            self.encrypted = 0;
            self.block = 0;
            self.blocks_left = 0;
            self.planOneTime();
        }

        /// Block 0 of every message, encrypting zeros.
        fn planOneTime(self: *Self) void {
            for (self.messages, 0..) |*message, index| {
                self.number[index] = 0;
                self.nonce_low[index] = @truncate(message.counter);
                self.nonce_high[index] = @intCast(message.counter >> 32);
                self.from[index] = @intFromPtr(&zeros);
                self.to[index] = @intFromPtr(&self.one_time[index]);
            }
            self.planned = self.messages.len;
        }

        /// Computes the one-time keys alone and, in lanes that they leave, keystream for later.
        pub fn computeOneTime(self: *Self) void {
            const end = std.mem.alignForward(usize, self.planned, step_blocks);
            for (self.messages, self.ahead_of[0..self.messages.len]) |*message, *of| {
                if (self.planned == end) break;
                const count: u32 = @intCast(@min(end - self.planned, blocksOf(message.length)));
                of.* = .{ .first = @intCast(self.ahead_count), .count = @intCast(count) };
                self.planBlocks(message.counter, 1, &zeros, 0, @ptrCast(self.ahead[self.ahead_count..]), count);
                self.ahead_count += count;
            }
            self.run();
        }

        /// Puts a message behind those that are to be encrypted.
        pub fn append(self: *Self, index: u8) void {
            const message = &self.messages[index];
            const of = self.ahead_of[index];
            const blocks = blocksOf(message.length);
            for (self.ahead[of.first..][0..of.count], 0..) |*keystream, block| {
                const offset = block * block_bytes;
                const length = @min(block_bytes, message.length - offset);
                xorShort(message.to + offset, message.from + offset, keystream, length);
            }
            // Nothing is left to do, or nothing ever was.
            if (blocks == of.count) return;
            self.order[self.ordered] = index;
            self.ordered += 1;
            self.blocks_left += blocks - of.count;
        }

        /// Encrypts what is next, `count` blocks or fewer.
        pub fn encrypt(self: *Self, count: usize) void {
            const end = @min(self.planned + self.blocks_left, @max(self.planned, count));
            self.blocks_left -= end - self.planned;
            while (self.planned < end) self.planMessage(end - self.planned);
            self.run();
        }

        /// Messages with a lower index are encrypted, where all were appended in order.
        pub fn encryptedBefore(self: *const Self) usize {
            return if (self.blocks_left == 0) self.messages.len else self.order[self.encrypted];
        }

        /// At most `count` blocks of the message that is next in order.
        fn planMessage(self: *Self, count: usize) void {
            const index = self.order[self.encrypted];
            const message = &self.messages[index];
            if (self.block == 0) self.block = self.ahead_of[index].count;
            const offset = self.block * block_bytes;
            const left = message.length - offset;
            const whole: u32 = @intCast(@min(count, left / block_bytes));
            const from = message.from + offset;
            self.planBlocks(message.counter, self.block + 1, from, block_bytes, message.to + offset, whole);
            self.block += whole;
            const short = left - whole * block_bytes;
            if (short >= block_bytes) return;
            if (short > 0) {
                if (whole == count) return;
                self.planPartial(message, short);
            }
            self.encrypted += 1;
            self.block = 0;
        }

        fn planPartial(self: *Self, message: *const Message, length: u32) void {
            const offset = message.length - length;
            const bytes = &self.partial[self.partials];
            copyShort(bytes, message.from + offset, length);
            self.partial_of[self.partials] = .{ .to = message.to + offset, .length = length };
            self.partials += 1;
            self.planBlocks(message.counter, self.block + 1, bytes, 0, bytes, 1);
        }

        /// Lays out blocks that follow one another; `from_step` 0: they all read the same. Writes
        /// four at a time: what comes too much is overwritten by what is laid out next.
        inline fn planBlocks(
            self: *Self,
            counter: u64,
            first: u32,
            from: [*]const u8,
            comptime from_step: usize,
            to: [*]u8,
            count: u32,
        ) void {
            const Four32 = @Vector(4, u32);
            const Four64 = @Vector(4, usize);
            const offsets: Four64 = .{ 0, 1, 2, 3 };
            var number = Four32{ 0, 1, 2, 3 } +% @as(Four32, @splat(first));
            var from_four = offsets * @as(Four64, @splat(from_step)) +% @as(Four64, @splat(@intFromPtr(from)));
            var to_four = offsets * @as(Four64, @splat(block_bytes)) +% @as(Four64, @splat(@intFromPtr(to)));
            var done: u32 = 0;
            while (done < count) : (done += 4) {
                const at = self.planned + done;
                self.number[at..][0..4].* = number;
                self.nonce_low[at..][0..4].* = @as(Four32, @splat(@truncate(counter)));
                self.nonce_high[at..][0..4].* = @as(Four32, @splat(@intCast(counter >> 32)));
                self.from[at..][0..4].* = from_four;
                self.to[at..][0..4].* = to_four;
                number +%= @splat(4);
                from_four +%= @splat(4 * from_step);
                to_four +%= @splat(4 * block_bytes);
            }
            self.planned += count;
        }

        /// Computes what is laid out.
        fn run(self: *Self) void {
            const end = std.mem.alignForward(usize, self.planned, step_blocks);
            for (self.from[self.planned..end], self.to[self.planned..end]) |*from, *to| {
                from.* = @intFromPtr(&zeros);
                to.* = @intFromPtr(&self.nowhere);
            }
            var at: usize = 0;
            while (at < self.planned) {
                const left = self.planned - at;
                if (left > words) {
                    at += self.runSets(words, sets, at);
                } else if (left > words / 2 or words < 16) {
                    at += self.runSets(words, 1, at);
                } else {
                    // Half the lanes take little more than half the time.
                    at += self.runSets(words / 2, 1, at);
                }
            }
            self.planned = 0;
            for (self.partial_of[0..self.partials], self.partial[0..self.partials]) |of, *bytes|
                copyShort(of.to, bytes, of.length);
            self.partials_most = @max(self.partials_most, self.partials);
            self.partials = 0;
        }

        /// Computes `count` sets of blocks from `at` on, each of `width`; returns how many blocks.
        inline fn runSets(self: *Self, comptime width: comptime_int, comptime count: comptime_int, at: usize) usize {
            const Lanes = chacha20_lanes.Chacha20(width);
            var blocks: [count]Lanes.Blocks = undefined;
            inline for (&blocks, 0..) |*set, i| {
                const first = at + i * width;
                set.* = .{
                    .number = self.number[first..][0..width].*,
                    .nonce = .{
                        @splat(0),
                        self.nonce_low[first..][0..width].*,
                        self.nonce_high[first..][0..width].*,
                    },
                    .from = @ptrCast(self.from[first..][0..width]),
                    .to = @ptrCast(self.to[first..][0..width]),
                };
            }
            Lanes.xor(count, self.key, &blocks);
            return count * width;
        }

        pub fn wipe(self: *Self) void {
            lane_memory.wipe(std.mem.sliceAsBytes(self.partial[0..self.partials_most]));
            lane_memory.wipe(std.mem.sliceAsBytes(self.ahead[0..self.ahead_count]));
            lane_memory.wipe(&self.nowhere);
        }
    };
}

fn blocksOf(length: u32) u32 {
    return (length + block_bytes - 1) / block_bytes;
}

/// XORs at most 64 bytes with keystream, which it overwrites.
inline fn xorShort(to: [*]u8, from: [*]const u8, keystream: *[block_bytes]u8, length: usize) void {
    const Block = @Vector(block_bytes / 8, u64);
    var text: [block_bytes]u8 align(64) = @splat(0);
    copyShort(&text, from, length);
    const block: *align(1) Block = @ptrCast(keystream);
    block.* ^= @as(*const Block, @ptrCast(&text)).*;
    copyShort(to, keystream, length);
}

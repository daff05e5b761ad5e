//! ChaCha20-Poly1305 (RFC 8439) of many messages of one key at once, as WireGuard uses it: no
//! additional data, a nonce of 4 zero bytes and a 64-bit counter.
//!
//! Owns how messages are laid over lanes. ChaCha20: a block a lane, whichever message it is of, so
//! that no lane is idle. Poly1305: a message a lane, and a lane that ends takes the next message.
//! Knows nothing of processors: `aead_level.zig` compiles this file for each level.
//! Always holds: time and addresses depend on the lengths and on what was authentic, on nothing
//! else; keys and keystream that lay in memory here are wiped at the end of a call.
const std = @import("std");
const builtin = @import("builtin");
const assert = std.debug.assert;
const chacha20_lanes = @import("chacha20_lanes.zig");
const poly1305_lanes = @import("poly1305_lanes.zig");

pub const tag_bytes = 16;
pub const length_max = 65_535;
/// Messages in one call. More would put the one-time keys out of the nearest cache.
pub const messages_max = 64;

/// Crosses from one object to another: C layout.
pub const Message = extern struct {
    /// The text, to be sealed; or the sealed text and its tag, to be opened.
    from: [*]const u8,
    /// Room for the other of both; equal to `from`, or apart from it.
    to: [*]u8,
    counter: u64,
    /// Bytes of text, without the tag: at most `length_max`.
    length: u32,
    /// Set by `open`; where it is false, the text is zeros.
    authentic: bool = false,
};

/// Blocks of keystream that are laid out before they are computed.
const plan_blocks = 128;
/// Bytes whose tags are computed before they are decrypted, so that they are still in the cache.
const window_bytes = 12 * 1024;

/// Room behind the plan for blocks that fill a step.
const slack = 32;

const block_bytes = chacha20_lanes.block_bytes;
const step_bytes = poly1305_lanes.step_bytes;
const step_blocks = poly1305_lanes.step_blocks;

/// More steps than any message has.
const never = std.math.maxInt(u32);

const zeros: [block_bytes]u8 = @splat(0);

comptime {
    // The first plan holds all blocks of one-time keys, and at least one more.
    assert(plan_blocks > messages_max);
}

/// `vector_words`: how many 32-bit words a vector of the processor holds.
pub fn AeadBatch(comptime vector_words: comptime_int, comptime multiplier: poly1305_lanes.Multiplier) type {
    return struct {
        pub const words = vector_words;
        pub const Chacha20 = chacha20_lanes.Chacha20(words);
        const lanes = words / 2;
        pub const Poly1305 = poly1305_lanes.Poly1305(lanes, multiplier);
        const Word = Poly1305.Word;
        /// Blocks of a step, in vectors: two where there are registers for two states.
        const sets = if (words == 16 or builtin.cpu.arch == .aarch64) 2 else 1;
        const Mode = enum { seal, open };

        pub fn seal(key: *align(1) const [8]u32, messages: []Message) void {
            var call: Call(.seal) = undefined;
            call.begin(key, messages);
            for (0..messages.len) |index| call.append(@intCast(index));
            var keyed = false;
            while (call.blocks_left > 0) {
                call.encrypt(@min(call.blocks_left, plan_blocks));
                if (!keyed) call.computePowers();
                keyed = true;
                call.authenticate(call.encrypted, call.blocks_left == 0);
            }
            call.wipe();
        }

        pub fn open(key: *align(1) const [8]u32, messages: []Message) void {
            var call: Call(.open) = undefined;
            call.begin(key, messages);
            call.encrypt(messages.len);
            call.computePowers();
            var available: usize = 0;
            while (available < messages.len) {
                var bytes: usize = 0;
                while (available < messages.len and bytes < window_bytes) : (available += 1)
                    bytes += messages[available].length;
                const last = available == messages.len;
                call.authenticate(available, last);
                while (call.blocks_left >= @as(usize, if (last) 1 else plan_blocks)) {
                    call.encrypt(@min(call.blocks_left, plan_blocks));
                }
            }
            call.wipe();
        }

        /// Where a lane of Poly1305 reads from: a copy of the message's first blocks, behind those
        /// that are left out; the message; a copy of its end, with the lengths.
        const Stage = enum(u8) { first, middle, last };

        const Lane = struct {
            stage: Stage,
            message: u8,
            /// Blocks that the first step leaves out.
            front: u8,
            /// Steps between the first and the last.
            middle_steps: u32,
        };
        const Steps = @Vector(lanes, u32);
        const Addresses = @Vector(lanes, usize);
        const LaneSet = @Int(.unsigned, lanes);
        const all_lanes = std.math.maxInt(LaneSet);

        fn Call(comptime mode: Mode) type {
            return struct {
                const Self = @This();

                key: *align(1) const [8]u32,
                messages: []Message,

                /// Block 0 of each message's keystream: r, pad, and 32 bytes that serve nothing.
                one_time: [messages_max][block_bytes]u8 align(64),
                powers: [messages_max / lanes]Poly1305.Powers,

                // ChaCha20: the blocks that come next.
                number: [plan_blocks + slack]u32 align(64),
                nonce_low: [plan_blocks + slack]u32 align(64),
                nonce_high: [plan_blocks + slack]u32 align(64),
                from: [plan_blocks + slack]usize align(64),
                to: [plan_blocks + slack]usize align(64),
                planned: usize,
                /// Blocks that end a message and are not whole are encrypted here.
                partial: [messages_max][block_bytes]u8 align(64),
                partial_of: [messages_max]struct { to: [*]u8, length: usize },
                partials: usize,
                partials_most: usize,
                /// Where a step's lanes without a block write to.
                nowhere: [block_bytes]u8 align(64),

                /// Messages in the order in which they are encrypted; those before `encrypted` are
                /// done, and `block` blocks of the next one.
                order: [messages_max]u8,
                ordered: usize,
                encrypted: usize,
                block: u32,
                one_time_left: bool,
                blocks_left: usize,

                // Poly1305.
                sum: Poly1305.Number,
                factors: Poly1305.Factors,
                /// Of the next step alone: those after it have all marks.
                marks: Poly1305.Marks,
                lane: [lanes]Lane,
                lane_from: Addresses,
                /// Steps until the lane's stage ends.
                lane_steps: Steps,
                idle: LaneSet,
                taken: usize,
                /// The first step of each lane's message, and behind it the last.
                ends: [lanes][2 * step_bytes]u8 align(64),

                // Messages that were summed up and wait for the tag.
                ended: usize,
                ended_message: [lanes]u8,
                ended_sum: Poly1305.Number,

                fn begin(self: *Self, key: *align(1) const [8]u32, messages: []Message) void {
                    assert(messages.len > 0 and messages.len <= messages_max);
                    self.key = key;
                    self.messages = messages;
                    self.planned = 0;
                    self.partials = 0;
                    self.partials_most = 0;
                    self.ordered = 0;
                    self.encrypted = 0;
                    self.block = 0;
                    self.one_time_left = true;
                    self.blocks_left = messages.len;
                    self.lane_steps = @splat(never);
                    self.idle = all_lanes;
                    self.taken = 0;
                    self.ended = 0;
                    self.marks = Poly1305.all_marked;
                }

                fn append(self: *Self, index: u8) void {
                    self.order[self.ordered] = index;
                    self.ordered += 1;
                    self.blocks_left += blocksOf(self.messages[index].length);
                }

                /// The next `count` blocks: of one-time keys, then of messages in their order.
                fn encrypt(self: *Self, count: usize) void {
                    self.plan(count);
                    var at: usize = 0;
                    while (at < self.planned) {
                        if (self.planned - at > words) {
                            Chacha20.xor(sets, self.key, &self.blocksAt(sets, at));
                            at += sets * words;
                        } else {
                            Chacha20.xor(1, self.key, &self.blocksAt(1, at));
                            at += words;
                        }
                    }
                    const partials = self.partials;
                    for (self.partial_of[0..partials], self.partial[0..partials]) |of, *bytes|
                        copyShort(of.to, bytes, of.length);
                    self.partials_most = @max(self.partials_most, partials);
                    self.partials = 0;
                }

                inline fn blocksAt(self: *Self, comptime count: comptime_int, at: usize) [count]Chacha20.Blocks {
                    var blocks: [count]Chacha20.Blocks = undefined;
                    inline for (&blocks, 0..) |*vector, i| {
                        const first = at + i * words;
                        vector.* = .{
                            .number = self.number[first..][0..words].*,
                            .nonce = .{
                                @splat(0),
                                self.nonce_low[first..][0..words].*,
                                self.nonce_high[first..][0..words].*,
                            },
                            .from = @ptrCast(self.from[first..][0..words]),
                            .to = @ptrCast(self.to[first..][0..words]),
                        };
                    }
                    return blocks;
                }

                fn plan(self: *Self, count: usize) void {
                    assert(count <= self.blocks_left and count <= plan_blocks);
                    self.planned = 0;
                    self.blocks_left -= count;
                    if (self.one_time_left) self.planOneTime();
                    self.one_time_left = false;
                    while (self.planned < count) self.planMessage(count - self.planned);
                    // Those without text have no block that would be planned.
                    while (self.encrypted < self.ordered and self.messages[self.order[self.encrypted]].length == 0)
                        self.encrypted += 1;
                    const end = std.mem.alignForward(usize, self.planned, sets * words);
                    for (self.from[self.planned..end], self.to[self.planned..end]) |*from, *to| {
                        from.* = @intFromPtr(&zeros);
                        to.* = @intFromPtr(&self.nowhere);
                    }
                }

                /// At most `count` blocks of the message that is next in order.
                fn planMessage(self: *Self, count: usize) void {
                    const message = &self.messages[self.order[self.encrypted]];
                    const offset = self.block * block_bytes;
                    const left = message.length - offset;
                    const whole: u32 = @intCast(@min(count, left / block_bytes));
                    self.planBlocks(message.counter, self.block + 1, message.from + offset, message.to + offset, whole);
                    self.block += whole;
                    const short = left - whole * block_bytes;
                    if (short < block_bytes) {
                        if (short > 0) {
                            if (whole == count) return;
                            self.planPartial(message, short);
                        }
                        self.encrypted += 1;
                        self.block = 0;
                    }
                }

                fn planPartial(self: *Self, message: *const Message, length: u32) void {
                    const offset = message.length - length;
                    const bytes = &self.partial[self.partials];
                    copyShort(bytes, message.from + offset, length);
                    self.partial_of[self.partials] = .{ .to = message.to + offset, .length = length };
                    self.partials += 1;
                    self.planBlocks(message.counter, self.block + 1, bytes, bytes, 1);
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

                /// Lays out blocks that follow one another. Writes four at a time: what comes too
                /// much is overwritten by what is laid out next.
                inline fn planBlocks(
                    self: *Self,
                    counter: u64,
                    first: u32,
                    from: [*]const u8,
                    to: [*]u8,
                    count: u32,
                ) void {
                    const Four32 = @Vector(4, u32);
                    const Four64 = @Vector(4, usize);
                    const offsets: Four64 = .{ 0, block_bytes, 2 * block_bytes, 3 * block_bytes };
                    var number = Four32{ 0, 1, 2, 3 } +% @as(Four32, @splat(first));
                    var from_four = offsets +% @as(Four64, @splat(@intFromPtr(from)));
                    var to_four = offsets +% @as(Four64, @splat(@intFromPtr(to)));
                    var done: u32 = 0;
                    while (done < count) : (done += 4) {
                        const at = self.planned + done;
                        self.number[at..][0..4].* = number;
                        self.nonce_low[at..][0..4].* = @as(Four32, @splat(@truncate(counter)));
                        self.nonce_high[at..][0..4].* = @as(Four32, @splat(@intCast(counter >> 32)));
                        self.from[at..][0..4].* = from_four;
                        self.to[at..][0..4].* = to_four;
                        number +%= @splat(4);
                        from_four +%= @splat(4 * block_bytes);
                        to_four +%= @splat(4 * block_bytes);
                    }
                    self.planned += count;
                }

                /// The powers of all one-time keys, as many at once as there are lanes.
                fn computePowers(self: *Self) void {
                    var at: usize = 0;
                    while (at < self.messages.len) : (at += lanes) {
                        var from: [lanes][*]const u8 = undefined;
                        for (&from, at..) |*pointer, index|
                            pointer.* = &self.one_time[@min(index, self.messages.len - 1)];
                        const block = Poly1305.load(&from, 0);
                        self.powers[at / lanes] = Poly1305.powersOf(block[0], block[1]);
                    }
                }

                /// Adds up messages before `available`. Returns when there is a lane without a
                /// message; where they are the `last` ones, when all have ended.
                fn authenticate(self: *Self, available: usize, last: bool) void {
                    while (true) {
                        if (self.idle != 0) {
                            if (self.taken < available) self.take(available);
                            if (self.idle != 0 and !last) return;
                            if (self.idle == all_lanes) break;
                        }
                        self.advance();
                    }
                    if (self.ended > 0) self.writeTags();
                }

                /// Gives lanes without a message the next ones.
                fn take(self: *Self, available: usize) void {
                    if (self.idle == all_lanes and self.taken % lanes == 0 and self.taken + lanes <= available) {
                        self.sum = @splat(@splat(0));
                        const powers = &self.powers[self.taken / lanes];
                        inline for (&self.factors, powers) |*factor, *power| factor.* = Poly1305.factorOf(power.*);
                        for (0..lanes) |lane| self.takeText(lane, self.taken + lane);
                        self.taken += lanes;
                        self.idle = 0;
                        return;
                    }
                    while (self.idle != 0 and self.taken < available) {
                        const lane: usize = @ctz(self.idle);
                        self.takeKey(lane, self.taken);
                        self.takeText(lane, self.taken);
                        self.taken += 1;
                        self.idle &= self.idle - 1;
                    }
                    inline for (&self.factors) |*factor| factor.* = Poly1305.factorOf(factor.limb);
                }

                fn takeKey(self: *Self, lane: usize, index: usize) void {
                    inline for (&self.sum) |*limb| set(limb, lane, 0);
                    const powers = &self.powers[index / lanes];
                    inline for (&self.factors, powers) |*factor, *power| {
                        inline for (&factor.limb, power) |*to, *from|
                            set(to, lane, get(from, index % lanes));
                    }
                }

                fn takeText(self: *Self, lane: usize, index: usize) void {
                    const length = self.messages[index].length;
                    const text = self.textOf(index);
                    // The text in blocks of 16 bytes, padded with zeros, and a block of lengths
                    // (RFC 8439 section 2.8); in front of them, blocks of zero without a mark,
                    // which add nothing to a sum of nothing, so that all are whole steps.
                    const blocks = (length + 15) / 16 + 1;
                    const steps = (blocks + step_blocks - 1) / step_blocks;
                    const front = steps * step_blocks - blocks;
                    const state = &self.lane[lane];
                    state.message = @intCast(index);
                    state.front = @intCast(front);
                    inline for (0..step_blocks - 1) |block| {
                        if (block < front) set(&self.marks[block], lane, 0);
                    }
                    const ends = &self.ends[lane];
                    if (steps == 1) {
                        ends[step_bytes..].* = @splat(0);
                        copyShort(ends[step_bytes + front * 16 ..].ptr, text, length);
                        store(u64, ends[2 * step_bytes - 8 ..], length);
                        return self.enter(lane, .last, ends[step_bytes..], 1);
                    }
                    // 33 to 48 bytes are left for the last step.
                    const end_offset = (steps - 1) * step_bytes - front * 16;
                    const missing: u7 = @intCast(48 - (length - end_offset));
                    ends[step_bytes..][0..32].* = text[end_offset..][0..32].*;
                    store(u128, ends[step_bytes + 32 ..], load(u128, text + length - 16) >> (8 * missing));
                    store(u128, ends[step_bytes + 48 ..], @as(u128, length) << 64);
                    state.middle_steps = steps - 2;
                    if (front == 0) return self.enter(lane, .middle, text, steps - 1);
                    ends[0..step_bytes].* = @splat(0);
                    for (front..step_blocks) |block|
                        store(u128, ends[block * 16 ..].ptr, load(u128, text + (block - front) * 16));
                    if (steps == 2) return self.enter(lane, .last, ends, 2);
                    self.enter(lane, .first, ends, 1);
                }

                fn textOf(self: *const Self, index: usize) [*]const u8 {
                    const message = &self.messages[index];
                    return if (mode == .seal) message.to else message.from;
                }

                inline fn enter(self: *Self, lane: usize, stage: Stage, from: [*]const u8, steps: u32) void {
                    self.lane[lane].stage = stage;
                    set(&self.lane_from, lane, @intFromPtr(from));
                    set(&self.lane_steps, lane, steps);
                }

                /// As many steps as there are until some lane's stage ends.
                fn advance(self: *Self) void {
                    const steps = @reduce(.Min, self.lane_steps);
                    // A lane without a message reads along with another; what it adds up is never
                    // looked at.
                    const busy = get(&self.lane_from, @ctz(~self.idle));
                    const idle: @Vector(lanes, bool) = @bitCast(self.idle);
                    const from: [lanes]usize = @select(usize, idle, @as(Addresses, @splat(busy)), self.lane_from);
                    Poly1305.add(&self.sum, &self.factors, &self.marks, @ptrCast(&from), steps);
                    self.marks = Poly1305.all_marked;
                    self.lane_from +%= @splat(steps * step_bytes);
                    self.lane_steps -%= @splat(steps);
                    var over: LaneSet = @bitCast(self.lane_steps == @as(Steps, @splat(0)));
                    while (over != 0) : (over &= over - 1) self.nextStage(@ctz(over));
                }

                fn nextStage(self: *Self, lane: usize) void {
                    const state = &self.lane[lane];
                    switch (state.stage) {
                        .last => self.endMessage(lane),
                        .first => {
                            const text = self.textOf(state.message) + step_bytes - 16 * @as(usize, state.front);
                            self.enter(lane, .middle, text, state.middle_steps);
                        },
                        .middle => self.enter(lane, .last, self.ends[lane][step_bytes..], 1),
                    }
                }

                fn endMessage(self: *Self, lane: usize) void {
                    inline for (&self.ended_sum, &self.sum) |*to, *from|
                        set(to, self.ended, get(from, lane));
                    self.ended_message[self.ended] = self.lane[lane].message;
                    self.ended += 1;
                    set(&self.lane_steps, lane, never);
                    self.idle |= @as(LaneSet, 1) << @intCast(lane);
                    if (self.ended == lanes) self.writeTags();
                }

                /// The tags of what has ended: written, or compared with those that came.
                fn writeTags(self: *Self) void {
                    var from: [lanes][*]const u8 = undefined;
                    for (&from, 0..) |*pointer, at|
                        pointer.* = &self.one_time[self.ended_message[@min(at, self.ended - 1)]];
                    const one_time = Poly1305.load(&from, 0);
                    const low, const high = Poly1305.tags(self.ended_sum, one_time[2], one_time[3]);
                    const lows: [lanes]u64 = low;
                    const highs: [lanes]u64 = high;
                    for (self.ended_message[0..self.ended], 0..) |index, at| {
                        const message = &self.messages[index];
                        if (mode == .seal) {
                            store(u64, message.to + message.length, lows[at]);
                            store(u64, message.to + message.length + 8, highs[at]);
                        } else {
                            const tag = message.from + message.length;
                            const difference = (lows[at] ^ load(u64, tag)) | (highs[at] ^ load(u64, tag + 8));
                            message.authentic = difference == 0;
                            if (message.authentic) {
                                self.append(index);
                            } else @memset(message.to[0..message.length], 0);
                        }
                    }
                    self.ended = 0;
                }

                fn wipe(self: *Self) void {
                    wipeBytes(std.mem.sliceAsBytes(self.one_time[0..self.messages.len]));
                    const groups = (self.messages.len + lanes - 1) / lanes;
                    wipeBytes(std.mem.sliceAsBytes(self.powers[0..groups]));
                    wipeBytes(std.mem.asBytes(&self.sum));
                    wipeBytes(std.mem.asBytes(&self.factors));
                    wipeBytes(std.mem.sliceAsBytes(self.partial[0..self.partials_most]));
                    wipeBytes(std.mem.asBytes(&self.nowhere));
                    wipeBytes(std.mem.asBytes(&self.ended_sum));
                }
            };
        }

        fn blocksOf(length: u32) u32 {
            return (length + block_bytes - 1) / block_bytes;
        }

        // A vector's elements where the vector lies in memory.

        inline fn get(vector: anytype, lane: usize) @typeInfo(@TypeOf(vector.*)).vector.child {
            const T = @typeInfo(@TypeOf(vector.*)).vector.child;
            return @as(*const [lanes]T, @ptrCast(vector))[lane];
        }

        inline fn set(vector: anytype, lane: usize, value: @typeInfo(@TypeOf(vector.*)).vector.child) void {
            const T = @typeInfo(@TypeOf(vector.*)).vector.child;
            @as(*[lanes]T, @ptrCast(vector))[lane] = value;
        }
    };
}

/// Copies at most 64 bytes, with no call.
inline fn copyShort(to: [*]u8, from: [*]const u8, length: usize) void {
    assert(length <= 64);
    inline for (.{ 32, 16, 8, 4, 2 }) |size| {
        if (length >= size) {
            // Both ends: they meet or overlap.
            const Bytes = @Vector(size, u8);
            const begin = @as(*align(1) const Bytes, @ptrCast(from)).*;
            const end = @as(*align(1) const Bytes, @ptrCast(from + length - size)).*;
            @as(*align(1) Bytes, @ptrCast(to)).* = begin;
            @as(*align(1) Bytes, @ptrCast(to + length - size)).* = end;
            return;
        }
    }
    if (length == 1) to[0] = from[0];
}

// Through pointers: a bit cast from an array of bytes is compiled byte by byte.

inline fn load(comptime T: type, from: [*]const u8) T {
    return @as(*align(1) const T, @ptrCast(from)).*;
}

inline fn store(comptime T: type, to: [*]u8, value: T) void {
    @as(*align(1) T, @ptrCast(to)).* = value;
}

/// Zeros that the compiler keeps.
fn wipeBytes(bytes: []u8) void {
    @memset(bytes, 0);
    asm volatile (""
        :
        : [bytes] "r" (bytes.ptr),
        : .{ .memory = true });
}

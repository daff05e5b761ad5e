//! Poly1305 of many messages: a message a lane, and a lane whose message has ended takes the next
//! one. Of few messages, several lanes share one.
//!
//! Owns how a message is laid over steps of 64 bytes, and when a tag is written or compared.
//! Knows nothing of keystream but the one-time keys.
//! Always holds: what depends on the text or the keys are sums, never addresses or branches.
const std = @import("std");
const assert = std.debug.assert;
const aead_batch = @import("aead_batch.zig");
const lane_memory = @import("lane_memory.zig");
const poly1305_lanes = @import("poly1305_lanes.zig");
const copyShort = lane_memory.copyShort;
const get = lane_memory.get;
const set = lane_memory.set;
const load = lane_memory.load;
const store = lane_memory.store;
const Message = aead_batch.Message;
const messages_max = aead_batch.messages_max;
const step_bytes = poly1305_lanes.step_bytes;
const step_blocks = poly1305_lanes.step_blocks;
const poly_bytes = poly1305_lanes.block_bytes;

/// More steps than any message has.
const never = std.math.maxInt(u32);

/// Messages of fewer steps than this are not shared by lanes: putting the parts together would
/// take longer than it saves.
const shared_steps_min = 4;

pub const Direction = enum { seal, open };

/// `lanes`: how many 64-bit words a vector of the processor holds.
pub fn TagLanes(
    comptime lanes: comptime_int,
    comptime multiplier: poly1305_lanes.Multiplier,
    comptime direction: Direction,
) type {
    return struct {
        const Self = @This();
        const Poly1305 = poly1305_lanes.Poly1305(lanes, multiplier);
        const Steps = @Vector(lanes, u32);
        const Addresses = @Vector(lanes, usize);
        const LaneSet = @Int(.unsigned, lanes);
        const all_lanes = std.math.maxInt(LaneSet);

        /// Where a lane reads: a copy of its message's first step; the message; a copy of its
        /// last step, or of both where there are no others.
        const Stage = enum(u8) { first, middle, last };

        const Lane = struct {
            stage: Stage,
            message: u8,
            /// Blocks that the first step leaves out.
            front: u8,
            /// Whether the lane has its message's last step.
            ends: bool,
            middle_steps: u32,
        };

        messages: []Message,
        one_time: *const [messages_max][64]u8,
        powers: [messages_max / lanes]Poly1305.Powers,

        sum: Poly1305.Number,
        factors: Poly1305.Factors,
        /// Of the next step alone: those after it have all marks.
        marks: Poly1305.Marks,
        lane: [lanes]Lane,
        from: Addresses,
        /// Steps until the lane's stage ends.
        steps: Steps,
        idle: LaneSet,
        taken: usize,
        /// Lanes that share a message.
        parts: usize,
        /// The first step of each lane's message, and behind it the last.
        ends: [lanes][2 * step_bytes]u8 align(64),

        // Messages that were summed up and wait for the tag; shared ones, at their lanes' places.
        ended: usize,
        ended_message: [lanes]u8,
        ended_sum: Poly1305.Number,

        /// Messages whose tags were right, since the caller last took them out.
        authentic: [messages_max]u8,
        authentic_count: usize,

        /// The one-time keys are there already.
        pub fn begin(self: *Self, messages: []Message, one_time: *const [messages_max][64]u8) void {
            self.messages = messages;
            self.one_time = one_time;
            self.steps = @splat(never);
            self.idle = all_lanes;
            self.taken = 0;
            self.parts = 1;
            self.ended = 0;
            self.authentic_count = 0;
            self.marks = Poly1305.all_marked;
            var at: usize = 0;
            while (at < messages.len) : (at += lanes) {
                var from: [lanes][*]const u8 = undefined;
                for (&from, at..) |*pointer, index| pointer.* = &one_time[@min(index, messages.len - 1)];
                const block = Poly1305.load(&from, 0);
                self.powers[at / lanes] = Poly1305.powersOf(block[0], block[1]);
            }
        }

        /// How many lanes share a message: 1 where there are more messages than half the lanes, or
        /// where they are short.
        pub fn partsOf(messages: []const Message) usize {
            if (messages.len > lanes / 2) return 1;
            const longest = longestSteps(messages);
            if (longest < shared_steps_min) return 1;
            const wanted = std.math.ceilPowerOfTwoAssert(usize, longest);
            return @min(wanted, lanes / std.math.ceilPowerOfTwoAssert(usize, messages.len));
        }

        fn longestSteps(messages: []const Message) usize {
            var longest: usize = 0;
            for (messages) |*message| longest = @max(longest, Shape.of(message.length).steps);
            return longest;
        }

        /// Adds up messages before `available`. Returns when there is a lane without a message;
        /// where they are the `last` ones, when all have ended.
        pub fn add(self: *Self, available: usize, last: bool) void {
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

        /// Adds up all messages, `parts` lanes for each: each lane the same number of steps, the
        /// last lane the last ones.
        pub fn addShared(self: *Self, parts: usize) void {
            const longest = longestSteps(self.messages);
            const part_steps = (longest + parts - 1) / parts;
            self.parts = parts;
            self.ended_sum = @splat(@splat(0));
            for (0..lanes) |lane| self.takeKey(lane, @min(lane / parts, self.messages.len - 1));
            inline for (&self.factors) |*factor| factor.* = Poly1305.factorOf(factor.limb);
            const distance = Poly1305.power(self.factors[0].limb, part_steps);
            for (self.messages, 0..) |*message, index| {
                const steps = Shape.of(message.length).steps;
                // As if steps of nothing came first.
                const missing = parts * part_steps - steps;
                for (0..parts) |part| {
                    const end = (part + 1) * part_steps;
                    if (end <= missing) continue;
                    const first = @max(part * part_steps, missing) - missing;
                    const lane = index * parts + part;
                    self.takeText(lane, index, @intCast(first), @intCast(end - missing));
                    self.idle &= ~(@as(LaneSet, 1) << @intCast(lane));
                }
            }
            while (self.idle != all_lanes) self.advance();
            const sums = Poly1305.join(self.ended_sum, distance, parts);
            for (0..self.messages.len) |index| {
                inline for (&self.ended_sum, &sums) |*to, *from|
                    set(to, index, get(from, index * parts + parts - 1));
                self.ended_message[index] = @intCast(index);
            }
            self.ended = self.messages.len;
            self.writeTags();
        }

        /// Gives lanes without a message the next ones.
        fn take(self: *Self, available: usize) void {
            if (self.idle == all_lanes and self.taken % lanes == 0 and self.taken + lanes <= available) {
                self.sum = @splat(@splat(0));
                const powers = &self.powers[self.taken / lanes];
                inline for (&self.factors, powers) |*factor, *power| factor.* = Poly1305.factorOf(power.*);
                for (0..lanes) |lane| self.takeWhole(lane, self.taken + lane);
                self.taken += lanes;
                self.idle = 0;
                return;
            }
            while (self.idle != 0 and self.taken < available) {
                const lane: usize = @ctz(self.idle);
                self.takeKey(lane, self.taken);
                self.takeWhole(lane, self.taken);
                self.taken += 1;
                self.idle &= self.idle - 1;
            }
            inline for (&self.factors) |*factor| factor.* = Poly1305.factorOf(factor.limb);
        }

        fn takeKey(self: *Self, lane: usize, index: usize) void {
            inline for (&self.sum) |*limb| set(limb, lane, 0);
            const powers = &self.powers[index / lanes];
            inline for (&self.factors, powers) |*factor, *power| {
                inline for (&factor.limb, power) |*to, *from| set(to, lane, get(from, index % lanes));
            }
        }

        inline fn takeWhole(self: *Self, lane: usize, index: usize) void {
            self.takeText(lane, index, 0, Shape.of(self.messages[index].length).steps);
        }

        /// Gives a lane the message's steps from `first` to before `end`.
        inline fn takeText(self: *Self, lane: usize, index: usize, first: u32, end: u32) void {
            const length = self.messages[index].length;
            const text = self.textOf(index);
            const shape: Shape = .of(length);
            const front = shape.front;
            const state = &self.lane[lane];
            state.* = .{
                .stage = .middle,
                .message = @intCast(index),
                .front = @intCast(front),
                .ends = end == shape.steps,
                .middle_steps = end - first,
            };
            const ends = &self.ends[lane];
            if (shape.steps == 1) {
                self.leaveOut(lane, front);
                ends[step_bytes..].* = @splat(0);
                copyShort(ends[step_bytes + front * poly_bytes ..].ptr, text, length);
                store(u64, ends[2 * step_bytes - 8 ..], length);
                return self.enter(lane, .last, ends[step_bytes..], 1);
            }
            if (state.ends) {
                state.middle_steps -= 1;
                // 33 to 48 bytes of text are left for the last step, then the lengths.
                const last = ends[step_bytes..];
                const offset = (shape.steps - 1) * step_bytes - front * poly_bytes;
                const missing: u7 = @intCast(48 - (length - offset));
                last[0..32].* = text[offset..][0..32].*;
                store(u128, last[32..], load(u128, text + length - 16) >> (8 * missing));
                store(u128, last[48..], @as(u128, length) << 64);
            }
            if (first == 0 and front > 0) {
                self.leaveOut(lane, front);
                state.middle_steps -= 1;
                ends[0..step_bytes].* = @splat(0);
                for (front..step_blocks) |block|
                    store(u128, ends[block * poly_bytes ..].ptr, load(u128, text + (block - front) * poly_bytes));
                if (shape.steps == 2 and end == 2) return self.enter(lane, .last, ends, 2);
                return self.enter(lane, .first, ends, 1);
            }
            if (state.middle_steps == 0) return self.enter(lane, .last, ends[step_bytes..], 1);
            self.enter(lane, .middle, text + first * step_bytes - front * poly_bytes, state.middle_steps);
        }

        inline fn leaveOut(self: *Self, lane: usize, front: u32) void {
            inline for (0..step_blocks - 1) |block| {
                if (block < front) set(&self.marks[block], lane, 0);
            }
        }

        fn textOf(self: *const Self, index: usize) [*]const u8 {
            const message = &self.messages[index];
            return if (direction == .seal) message.to else message.from;
        }

        inline fn enter(self: *Self, lane: usize, stage: Stage, from: [*]const u8, steps: u32) void {
            self.lane[lane].stage = stage;
            set(&self.from, lane, @intFromPtr(from));
            set(&self.steps, lane, steps);
        }

        /// As many steps as there are until some lane's stage ends.
        fn advance(self: *Self) void {
            const steps = @reduce(.Min, self.steps);
            // A lane without a message reads along with another; what it adds up is never looked
            // at.
            const busy = get(&self.from, @ctz(~self.idle));
            const idle: @Vector(lanes, bool) = @bitCast(self.idle);
            const from: [lanes]usize = @select(usize, idle, @as(Addresses, @splat(busy)), self.from);
            Poly1305.add(&self.sum, &self.factors, &self.marks, @ptrCast(&from), steps);
            self.marks = Poly1305.all_marked;
            self.from +%= @splat(steps * step_bytes);
            self.steps -%= @splat(steps);
            var over: LaneSet = @bitCast(self.steps == @as(Steps, @splat(0)));
            while (over != 0) : (over &= over - 1) self.nextStage(@ctz(over));
        }

        fn nextStage(self: *Self, lane: usize) void {
            const state = &self.lane[lane];
            if (state.stage == .first and state.middle_steps > 0) {
                const text = self.textOf(state.message) + step_bytes - state.front * @as(usize, poly_bytes);
                self.enter(lane, .middle, text, state.middle_steps);
            } else if (state.stage != .last and state.ends) {
                self.enter(lane, .last, self.ends[lane][step_bytes..], 1);
            } else {
                self.endLane(lane);
            }
        }

        fn endLane(self: *Self, lane: usize) void {
            const place = if (self.parts > 1) lane else self.ended;
            inline for (&self.ended_sum, &self.sum) |*to, *from| set(to, place, get(from, lane));
            set(&self.steps, lane, never);
            self.idle |= @as(LaneSet, 1) << @intCast(lane);
            if (self.parts > 1) return;
            self.ended_message[place] = self.lane[lane].message;
            self.ended += 1;
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
                if (direction == .seal) {
                    store(u64, message.to + message.length, lows[at]);
                    store(u64, message.to + message.length + 8, highs[at]);
                    continue;
                }
                const tag = message.from + message.length;
                const difference = (lows[at] ^ load(u64, tag)) | (highs[at] ^ load(u64, tag + 8));
                message.authentic = difference == 0;
                if (message.authentic) {
                    self.authentic[self.authentic_count] = index;
                    self.authentic_count += 1;
                } else @memset(message.to[0..message.length], 0);
            }
            self.ended = 0;
        }

        pub fn wipe(self: *Self) void {
            const groups = (self.messages.len + lanes - 1) / lanes;
            lane_memory.wipe(std.mem.sliceAsBytes(self.powers[0..groups]));
            lane_memory.wipe(std.mem.asBytes(&self.sum));
            lane_memory.wipe(std.mem.asBytes(&self.factors));
            lane_memory.wipe(std.mem.asBytes(&self.ended_sum));
        }
    };
}

/// A message in blocks of 16 bytes: the text, padded with zeros, and a block of lengths (RFC 8439
/// section 2.8). In front of them come blocks of zero without a mark, so that all are whole steps:
/// they add nothing to a sum of nothing.
const Shape = struct {
    steps: u32,
    front: u32,

    inline fn of(length: u32) Shape {
        const blocks = (length + poly_bytes - 1) / poly_bytes + 1;
        const steps = (blocks + step_blocks - 1) / step_blocks;
        return .{ .steps = steps, .front = steps * step_blocks - blocks };
    }
};

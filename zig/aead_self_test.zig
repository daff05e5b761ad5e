//! Compares an implementation of the batched cipher with libsodium on random batches: little at
//! every start of the library, much in the tests and in scripts/aead-check.
//!
//! Owns what a batch looks like: how many messages, which lengths, in place or apart, at which
//! alignments, which of them are tampered with. Chooses nothing (`aead_dispatch.zig` does).
//! Always holds: a seed makes the same batches everywhere.
const std = @import("std");
const assert = std.debug.assert;
const aead_dispatch = @import("aead_dispatch.zig");
const Implementation = aead_dispatch.Implementation;
const Message = aead_dispatch.Message;
const libsodium = &aead_dispatch.libsodium;
const tag_bytes = aead_dispatch.tag_bytes;

/// The longest message in a batch.
pub const length_long = aead_dispatch.length_max;
const length_short = 2048;
pub const batch_messages_max = 130;

/// Whether the implementation agrees with libsodium on some hundred messages: every length to 400,
/// every number of lanes taken, left and taken again.
pub fn passes(implementation: *const Implementation) bool {
    var memory: [4][12 * 1024]u8 align(64) = undefined;
    var comparison: Comparison = .init(&memory[0], &memory[1], &memory[2], &memory[3], 0x6d657368);
    for (0..10) |index| {
        if (comparison.batch(implementation, 40, .{ .from = @intCast(index * 40) }) != null) return false;
    }
    for ([_]usize{ 1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33, 64, 65, batch_messages_max }) |count| {
        for (0..2) |_| {
            if (comparison.batch(implementation, count, .mostly_short) != null) return false;
        }
    }
    return true;
}

pub const Lengths = union(enum) {
    /// 99 of 100 log-uniform to 2,048, one uniform to the longest; some are multiples of 64 or 0.
    mostly_short,
    /// One after the other from this on.
    from: u32,
};

/// Where an implementation went wrong.
pub const Difference = struct {
    what: enum { sealed, opened, accepted, refused, not_wiped, outside },
    messages: usize,
    message: usize,
    length: u32,
    in_place: bool,
};

/// Random batches over four pieces of memory of the same size.
pub const Comparison = struct {
    plain: []u8,
    sealed: []u8,
    work: []u8,
    outside: []u8,
    prng: std.Random.DefaultPrng,
    /// Messages compared, and how many of them were tampered with.
    compared: u64 = 0,
    tampered: u64 = 0,

    pub fn init(plain: []u8, sealed: []u8, work: []u8, outside: []u8, seed: u64) Comparison {
        assert(plain.len == sealed.len and plain.len == work.len and plain.len == outside.len);
        var self: Comparison = .{
            .plain = plain,
            .sealed = sealed,
            .work = work,
            .outside = outside,
            .prng = .init(seed),
        };
        self.prng.random().bytes(plain);
        self.prng.random().bytes(outside);
        return self;
    }

    /// Seals a batch of at most `count` messages, as many as there is room for, with libsodium and
    /// with the implementation; tampers with some; opens it. Null: no difference.
    pub fn batch(self: *Comparison, implementation: *const Implementation, count: usize, lengths: Lengths) ?Difference {
        const random = self.prng.random();
        var key: [32]u8 = undefined;
        random.bytes(&key);
        const in_place = random.boolean();
        var storage: [batch_messages_max]Message = undefined;
        const messages = storage[0..self.layOut(&storage, count, lengths)];
        const used = if (messages.len == 0) return null else end: {
            const last = messages[messages.len - 1];
            break :end @intFromPtr(last.to) - @intFromPtr(self.work.ptr) + last.length + tag_bytes;
        };
        self.compared += messages.len;

        for (messages) |*message| message.to = self.at(self.sealed, message.to);
        libsodium.sealBatch(&key, messages);
        // What lies between the messages stays as it was.
        @memcpy(self.work[0..used], self.outside[0..used]);
        for (messages) |*message| {
            message.to = self.at(self.work, message.to);
            if (in_place) {
                @memcpy(message.to[0..message.length], message.from[0..message.length]);
                message.from = message.to;
            }
        }
        implementation.sealBatch(&key, messages);
        for (messages, 0..) |*message, index| {
            const expected = self.at(self.sealed, message.to)[0 .. message.length + tag_bytes];
            if (!std.mem.eql(u8, expected, message.to[0..expected.len]))
                return differs(.sealed, messages, index, in_place);
        }
        if (self.wroteOutside(messages, tag_bytes)) |index| return differs(.outside, messages, index, in_place);
        return self.open(implementation, &key, messages, used, in_place);
    }

    fn open(
        self: *Comparison,
        implementation: *const Implementation,
        key: *const [32]u8,
        messages: []Message,
        used: usize,
        in_place: bool,
    ) ?Difference {
        const random = self.prng.random();
        var tampered: std.StaticBitSet(batch_messages_max) = .empty;
        @memcpy(self.work[0..used], self.outside[0..used]);
        for (messages, 0..) |*message, index| {
            const bytes = self.at(self.sealed, message.to)[0 .. message.length + tag_bytes];
            if (random.uintLessThan(u8, 8) == 0) {
                tampered.set(index);
                self.tampered += 1;
                // The tag as often as the text, however short the tag is.
                const position = if (random.boolean()) random.uintLessThan(usize, bytes.len) else bytes.len - 1 - random.uintLessThan(usize, tag_bytes);
                bytes[position] ^= @as(u8, 1) << random.int(u3);
            }
            if (in_place) @memcpy(message.to[0..bytes.len], bytes);
            message.from = if (in_place) message.to else bytes.ptr;
        }
        implementation.openBatch(key, messages);
        for (messages, 0..) |*message, index| {
            const text = message.to[0..message.length];
            if (tampered.isSet(index)) {
                if (message.authentic) return differs(.accepted, messages, index, in_place);
                if (!std.mem.allEqual(u8, text, 0)) return differs(.not_wiped, messages, index, in_place);
                continue;
            }
            if (!message.authentic) return differs(.refused, messages, index, in_place);
            if (!std.mem.eql(u8, self.at(self.plain, message.to)[0..text.len], text))
                return differs(.opened, messages, index, in_place);
        }
        if (self.wroteOutside(messages, if (in_place) tag_bytes else 0)) |index|
            return differs(.outside, messages, index, in_place);
        return null;
    }

    /// Messages one after the other in `work` with up to 63 bytes between them, their texts at the
    /// same places in `plain`. Their number.
    fn layOut(self: *Comparison, storage: *[batch_messages_max]Message, count: usize, lengths: Lengths) usize {
        const random = self.prng.random();
        var used: usize = 0;
        for (storage[0..count], 0..) |*message, index| {
            used += random.uintLessThan(usize, 64);
            if (used + tag_bytes > self.work.len) return index;
            const room: u32 = @intCast(@min(self.work.len - used - tag_bytes, length_long));
            const length = switch (lengths) {
                .mostly_short => self.randomLength(room),
                .from => |first| if (first + index > room) return index else first + @as(u32, @intCast(index)),
            };
            message.* = .{
                .from = self.plain[used..].ptr,
                .to = self.work[used..].ptr,
                .counter = random.int(u64) >> random.int(u6),
                .length = length,
            };
            used += length + tag_bytes;
        }
        return count;
    }

    fn randomLength(self: *Comparison, room: u32) u32 {
        const random = self.prng.random();
        const short = @as(u32, 1) << random.uintAtMost(u5, std.math.log2_int(u32, length_short));
        const length = if (random.uintLessThan(u8, 100) == 0)
            random.uintAtMost(u32, room)
        else
            @min(room, random.intRangeAtMost(u32, short / 2, short));
        return switch (random.uintLessThan(u8, 32)) {
            0 => 0,
            1, 2 => length & ~@as(u32, 63),
            3, 4 => length & ~@as(u32, 127),
            else => length,
        };
    }

    /// The first message behind whose last byte something was written.
    fn wroteOutside(self: *const Comparison, messages: []const Message, after: usize) ?usize {
        for (messages, 0..) |*message, index| {
            const begin = @intFromPtr(message.to) - @intFromPtr(self.work.ptr) + message.length + after;
            const end = if (index + 1 < messages.len)
                @intFromPtr(messages[index + 1].to) - @intFromPtr(self.work.ptr)
            else
                begin;
            if (!std.mem.eql(u8, self.work[begin..end], self.outside[begin..end])) return index;
        }
        return null;
    }

    /// The place in `memory` of what is at `pointer` in one of the other pieces.
    fn at(self: *const Comparison, memory: []u8, pointer: [*]u8) [*]u8 {
        for ([_][]u8{ self.work, self.sealed }) |piece| {
            const offset = @intFromPtr(pointer) -% @intFromPtr(piece.ptr);
            if (offset < piece.len) return memory[offset..].ptr;
        }
        unreachable;
    }
};

fn differs(
    what: @FieldType(Difference, "what"),
    messages: []const Message,
    index: usize,
    in_place: bool,
) Difference {
    return .{
        .what = what,
        .messages = messages.len,
        .message = index,
        .length = messages[index].length,
        .in_place = in_place,
    };
}

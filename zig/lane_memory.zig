//! Between vectors and memory: single lanes, short copies, squares turned, secrets wiped.
//!
//! Owns what both halves of the batched cipher need and no other file has. Knows no cipher.
//! Always holds: addresses depend on lengths and places alone.
const std = @import("std");
const assert = std.debug.assert;

fn Element(comptime Pointer: type) type {
    return @typeInfo(@typeInfo(Pointer).pointer.child).vector.child;
}

/// A lane of a vector that lies in memory.
pub inline fn get(vector: anytype, lane: usize) Element(@TypeOf(vector)) {
    return @as([*]const Element(@TypeOf(vector)), @ptrCast(vector))[lane];
}

/// Writes a lane of a vector that lies in memory.
pub inline fn set(vector: anytype, lane: usize, value: Element(@TypeOf(vector))) void {
    @as([*]Element(@TypeOf(vector)), @ptrCast(vector))[lane] = value;
}

/// Copies at most 64 bytes, with no call.
pub inline fn copyShort(to: [*]u8, from: [*]const u8, length: usize) void {
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

pub inline fn load(comptime T: type, from: [*]const u8) T {
    return @as(*align(1) const T, @ptrCast(from)).*;
}

pub inline fn store(comptime T: type, to: [*]u8, value: T) void {
    @as(*align(1) T, @ptrCast(to)).* = value;
}

/// Zeros that the compiler keeps.
pub fn wipe(bytes: []u8) void {
    @memset(bytes, 0);
    asm volatile (""
        :
        : [bytes] "r" (bytes.ptr),
        : .{ .memory = true });
}

pub const Half = enum { low, high };

/// Elements of a and b in turn, from the lower or the upper half of each 128 bits.
pub inline fn interleave(
    comptime T: type,
    comptime count: comptime_int,
    comptime half: Half,
    a: @Vector(count, T),
    b: @Vector(count, T),
) @Vector(count, T) {
    const each = 16 / @sizeOf(T);
    comptime var mask: [count]i32 = undefined;
    comptime for (0..count) |i| {
        const within = i % each;
        const source: i32 = @intCast(i - within + within / 2 + if (half == .high) each / 2 else 0);
        mask[i] = if (within % 2 == 0) source else ~source;
    };
    return @shuffle(T, a, b, mask);
}

/// A square of 128-bit elements, rows against columns.
pub inline fn transposeQuads(
    comptime T: type,
    comptime count: comptime_int,
    rows: [count * @sizeOf(T) / 16]@Vector(count, T),
) [count * @sizeOf(T) / 16]@Vector(count, T) {
    switch (rows.len) {
        1 => return rows,
        2 => return .{
            pickQuads(T, count, .{ 0, 2 }, rows[0], rows[1]),
            pickQuads(T, count, .{ 1, 3 }, rows[0], rows[1]),
        },
        4 => {
            const even01 = pickQuads(T, count, .{ 0, 2, 4, 6 }, rows[0], rows[1]);
            const odd01 = pickQuads(T, count, .{ 1, 3, 5, 7 }, rows[0], rows[1]);
            const even23 = pickQuads(T, count, .{ 0, 2, 4, 6 }, rows[2], rows[3]);
            const odd23 = pickQuads(T, count, .{ 1, 3, 5, 7 }, rows[2], rows[3]);
            return .{
                pickQuads(T, count, .{ 0, 2, 4, 6 }, even01, even23),
                pickQuads(T, count, .{ 0, 2, 4, 6 }, odd01, odd23),
                pickQuads(T, count, .{ 1, 3, 5, 7 }, even01, even23),
                pickQuads(T, count, .{ 1, 3, 5, 7 }, odd01, odd23),
            };
        },
        else => comptime unreachable,
    }
}

/// The 128-bit elements named by `picks` from those of a, then of b.
inline fn pickQuads(
    comptime T: type,
    comptime count: comptime_int,
    comptime picks: [count * @sizeOf(T) / 16]usize,
    a: @Vector(count, T),
    b: @Vector(count, T),
) @Vector(count, T) {
    const each = 16 / @sizeOf(T);
    comptime var mask: [count]i32 = undefined;
    comptime for (0..count) |i| {
        const source = picks[i / each] * each + i % each;
        mask[i] = if (source < count) @intCast(source) else ~@as(i32, @intCast(source - count));
    };
    return @shuffle(T, a, b, mask);
}

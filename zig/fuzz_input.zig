//! How a target reads the bytes of its input as choices, and how a generator writes them. Reading
//! beyond the end gives zeros, so every sequence of bytes means something.
const std = @import("std");

pub const Reader = struct {
    bytes: []const u8,

    pub fn init(bytes: []const u8) Reader {
        return .{ .bytes = bytes };
    }

    pub fn isDone(self: *const Reader) bool {
        return self.bytes.len == 0;
    }

    pub fn int(self: *Reader, comptime T: type) T {
        var value: [@sizeOf(T)]u8 = @splat(0);
        const found = self.take(value.len);
        @memcpy(value[0..found.len], found);
        return std.mem.readInt(T, &value, .little);
    }

    pub fn below(self: *Reader, limit: u16) u16 {
        return self.int(if (limit <= 256) u8 else u16) % limit;
    }

    pub fn chance(self: *Reader, one_of: u8) bool {
        return self.int(u8) % one_of == 0;
    }

    /// As many bytes, or what is left.
    pub fn take(self: *Reader, count: usize) []const u8 {
        const found = self.bytes[0..@min(count, self.bytes.len)];
        self.bytes = self.bytes[found.len..];
        return found;
    }
};

pub const Writer = struct {
    bytes: []u8,
    length: usize = 0,

    pub fn int(self: *Writer, comptime T: type, value: T) void {
        var bytes: [@sizeOf(T)]u8 = undefined;
        std.mem.writeInt(T, &bytes, value, .little);
        self.put(&bytes);
    }

    /// What does not fit is left out.
    pub fn put(self: *Writer, bytes: []const u8) void {
        const fits = bytes[0..@min(bytes.len, self.bytes.len - self.length)];
        @memcpy(self.bytes[self.length..][0..fits.len], fits);
        self.length += fits.len;
    }

    /// Room to be written to.
    pub fn reserve(self: *Writer, count: usize) []u8 {
        const room = self.bytes[self.length..][0..@min(count, self.bytes.len - self.length)];
        self.length += room.len;
        return room;
    }

    pub fn random(self: *Writer, source: std.Random, count: usize) []u8 {
        const room = self.reserve(count);
        source.bytes(room);
        return room;
    }
};

/// For targets whose input is a program of small choices.
pub fn generateProgram(random: std.Random, buffer: []u8) usize {
    const bytes = buffer[0..random.uintAtMost(usize, @min(buffer.len, 96))];
    random.bytes(bytes);
    return bytes.len;
}

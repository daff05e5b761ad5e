//! What the programs of this directory share: their clock, and what they print.
const std = @import("std");
const linux = std.os.linux;

/// Two hexadecimal digits for each byte of the longest frame, and some words.
const text_bytes_max = 2 * 1514 + 64;

/// On stdout, at once; nothing where it is too long.
pub fn say(comptime format: []const u8, values: anytype) void {
    var buffer: [text_bytes_max]u8 = undefined;
    const text = std.fmt.bufPrint(&buffer, format, values) catch return;
    _ = linux.write(1, text.ptr, text.len);
}

/// CLOCK_MONOTONIC, in ns.
pub fn now() u64 {
    var time: linux.timespec = undefined;
    _ = linux.clock_gettime(.MONOTONIC, &time);
    return @as(u64, @intCast(time.sec)) * std.time.ns_per_s + @as(u64, @intCast(time.nsec));
}

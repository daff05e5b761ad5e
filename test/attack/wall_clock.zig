//! Another wall clock for a program that is started with this library in LD_PRELOAD: CLOCK_REALTIME
//! moved by the seconds that the file named in WALL_CLOCK_SHIFT holds, read at every call. Other
//! clocks, and who asks the kernel directly, are not touched. For tests of what a clock that jumps
//! does to a node; no part of the library.
const std = @import("std");
const linux = std.os.linux;

export fn clock_gettime(id: linux.clockid_t, time: *linux.timespec) c_int {
    if (linux.errno(linux.clock_gettime(id, time)) != .SUCCESS) return -1;
    if (id == .REALTIME or id == .REALTIME_COARSE) time.sec += shift();
    return 0;
}

export fn gettimeofday(time: *linux.timeval, _: ?*anyopaque) c_int {
    var now: linux.timespec = undefined;
    _ = linux.clock_gettime(.REALTIME, &now);
    time.sec = now.sec + shift();
    time.usec = @divTrunc(now.nsec, 1000);
    return 0;
}

extern fn getenv(name: [*:0]const u8) ?[*:0]const u8;

/// 0 where the file says nothing.
fn shift() i64 {
    const path = getenv("WALL_CLOCK_SHIFT") orelse return 0;
    const rc = linux.open(path, .{ .CLOEXEC = true }, 0);
    if (linux.errno(rc) != .SUCCESS) return 0;
    const fd: i32 = @intCast(rc);
    defer _ = linux.close(fd);
    var text: [32]u8 = undefined;
    const length = linux.read(fd, &text, text.len);
    if (linux.errno(length) != .SUCCESS) return 0;
    return std.fmt.parseInt(i64, std.mem.trim(u8, text[0..length], " \n"), 10) catch 0;
}

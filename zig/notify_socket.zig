//! A supervisor's notification socket (sd_notify(3)): one datagram says one thing. Here because Bun
//! has no Unix datagram sockets. Keeps nothing open and never waits: a supervisor that does not read
//! loses a word.
const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;

pub const text_bytes_max: usize = 4096;
pub const Error = error{ InvalidArgument, NoSuchFile, PermissionDenied, System };

/// `path` as NOTIFY_SOCKET has it: absolute, or an abstract one with `@` for its leading zero.
pub fn notify(path: []const u8, text: []const u8) Error!void {
    var address: linux.sockaddr.un = .{ .path = @splat(0) };
    if (path.len < 2 or path.len >= address.path.len) return error.InvalidArgument;
    if (path[0] != '/' and path[0] != '@') return error.InvalidArgument;
    if (std.mem.indexOfScalar(u8, path, 0) != null) return error.InvalidArgument;
    if (text.len == 0 or text.len > text_bytes_max) return error.InvalidArgument;
    @memcpy(address.path[0..path.len], path);
    if (path[0] == '@') address.path[0] = 0;
    // An abstract name ends where its length says, any other with a zero.
    const name_bytes = if (path[0] == '@') path.len else path.len + 1;
    const address_bytes = @offsetOf(linux.sockaddr.un, "path") + name_bytes;
    assert(address_bytes <= @sizeOf(linux.sockaddr.un));

    const opened = linux.socket(linux.AF.UNIX, linux.SOCK.DGRAM | linux.SOCK.CLOEXEC, 0);
    if (linux.errno(opened) != .SUCCESS) return error.System;
    const fd: i32 = @intCast(opened);
    defer _ = linux.close(fd);
    const flags = linux.MSG.NOSIGNAL | linux.MSG.DONTWAIT;
    const sent = linux.sendto(fd, text.ptr, text.len, flags, @ptrCast(&address), @intCast(address_bytes));
    return switch (linux.errno(sent)) {
        .SUCCESS => {},
        .NOENT, .CONNREFUSED => error.NoSuchFile,
        .ACCES, .PERM => error.PermissionDenied,
        else => error.System,
    };
}

test "what is said arrives as one datagram, at a path and at an abstract name" {
    const pid = linux.getpid();
    inline for (.{ "/tmp/meshvpn-notify-{d}.sock", "@meshvpn-notify-{d}" }) |format| {
        var buffer: [64]u8 = undefined;
        const path = try std.fmt.bufPrint(&buffer, format, .{pid});
        var address: linux.sockaddr.un = .{ .path = @splat(0) };
        @memcpy(address.path[0..path.len], path);
        if (path[0] == '@') address.path[0] = 0;
        const length = @offsetOf(linux.sockaddr.un, "path") + path.len + @intFromBool(path[0] == '/');

        const fd: i32 = @intCast(linux.socket(linux.AF.UNIX, linux.SOCK.DGRAM | linux.SOCK.CLOEXEC, 0));
        defer _ = linux.close(fd);
        try std.testing.expectEqual(linux.E.SUCCESS, linux.errno(linux.bind(fd, @ptrCast(&address), @intCast(length))));
        defer if (path[0] == '/') {
            _ = linux.unlink(@ptrCast(&address.path));
        };

        try notify(path, "READY=1\nSTATUS=here");
        var received: [64]u8 = undefined;
        const got = linux.recvfrom(fd, &received, received.len, linux.MSG.DONTWAIT, null, null);
        try std.testing.expectEqualStrings("READY=1\nSTATUS=here", received[0..got]);
    }
}

test "a socket that is not there and a name that cannot be one are errors" {
    try std.testing.expectError(error.NoSuchFile, notify("/tmp/meshvpn-notify-nobody.sock", "READY=1"));
    try std.testing.expectError(error.InvalidArgument, notify("relative", "READY=1"));
    try std.testing.expectError(error.InvalidArgument, notify(&@as([200]u8, @splat(0x2f)), "READY=1"));
    try std.testing.expectError(error.InvalidArgument, notify("/tmp/x", ""));
}

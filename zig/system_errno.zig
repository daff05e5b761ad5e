//! The errno behind an error that a system-call file returned: the error names what a caller acts
//! on, the errno is for the operator (abi.Status.system_errno). One value a thread, so the two
//! threads of a device never see each other's. Owned by whoever called last: read it at once after
//! an error, on the same thread; it means nothing after a success.
const std = @import("std");
const linux = std.os.linux;

threadlocal var last_errno: linux.E = .SUCCESS;

/// Remembers `errno` and gives `named` back: `return system_errno.fail(e, error.LinkGone)`.
pub fn fail(errno: linux.E, named: anytype) @TypeOf(named) {
    last_errno = errno;
    return named;
}

/// What failed before is forgotten.
pub fn clear() void {
    last_errno = .SUCCESS;
}

/// The errno of the last failure on this thread.
pub fn last() linux.E {
    return last_errno;
}

/// The same as a number, as `abi.Status` carries it.
pub fn lastNumber() u32 {
    return @backingInt(last_errno);
}

test "the errno of a failure is kept for the thread that saw it" {
    const failed: error{LinkGone}!void = fail(.BADFD, error.LinkGone);
    try std.testing.expectError(error.LinkGone, failed);
    try std.testing.expectEqual(linux.E.BADFD, last());
    try std.testing.expectEqual(@as(u32, 77), lastNumber());

    const Other = struct {
        var seen: linux.E = .BADFD;
        fn run() void {
            seen = last();
        }
    };
    const thread = try std.Thread.spawn(.{}, Other.run, .{});
    thread.join();
    try std.testing.expectEqual(linux.E.SUCCESS, Other.seen);
}

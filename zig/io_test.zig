//! `zig test zig/io_test.zig -lc`: the files that make system calls, with all their tests. Needs root.
comptime {
    _ = @import("netlink.zig");
    _ = @import("netlink_message.zig");
    _ = @import("netlink_test.zig");
    _ = @import("system_errno.zig");
    _ = @import("tun_linux.zig");
    _ = @import("tun_linux_test.zig");
    _ = @import("udp_linux.zig");
    _ = @import("udp_linux_test.zig");
    _ = @import("uring_linux.zig");
    _ = @import("uring_linux_test.zig");
}

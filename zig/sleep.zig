//! How a packet thread sleeps: what it worked on does not lie in its stack meanwhile.
const linux = @import("std").os.linux;
const crypto = @import("crypto.zig");

/// Under load a thread is called again after microseconds, and wiping before each sleep would cost it
/// its first-level cache each time. So only a sleep of this long wipes.
const wiped_after_ms = 10;

/// poll(2): returns after an event or `timeout_ms` (negative: none).
pub fn poll(polled: []linux.pollfd, timeout_ms: i32) void {
    const count: linux.nfds_t = @intCast(polled.len);
    if (timeout_ms < 0 or timeout_ms > wiped_after_ms) {
        if (linux.poll(polled.ptr, count, wiped_after_ms) != 0) return;
        crypto.wipeStack();
        _ = linux.poll(polled.ptr, count, if (timeout_ms < 0) timeout_ms else timeout_ms - wiped_after_ms);
        return;
    }
    _ = linux.poll(polled.ptr, count, timeout_ms);
}

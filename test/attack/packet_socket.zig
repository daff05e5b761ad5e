//! A socket for whole frames on one interface, past the stack of the namespace.
const std = @import("std");
const linux = std.os.linux;

/// Which frames it receives.
pub const none: u16 = 0;
pub const every: u16 = 0x0003;
pub const ipv4: u16 = 0x0800;

pub fn open(interface: u32, protocol: u16) !i32 {
    const order = std.mem.nativeToBig(u16, protocol);
    const rc = linux.socket(linux.AF.PACKET, linux.SOCK.RAW, order);
    if (linux.errno(rc) != .SUCCESS) return error.NoPacketSocket;
    const fd: i32 = @intCast(rc);
    var address: linux.sockaddr.ll = .{
        .protocol = order,
        .ifindex = @intCast(interface),
        .hatype = 0,
        .pkttype = 0,
        .halen = 0,
        .addr = @splat(0),
    };
    const bound = linux.bind(fd, @ptrCast(&address), @sizeOf(linux.sockaddr.ll));
    if (linux.errno(bound) != .SUCCESS) return error.NoInterface;
    return fd;
}

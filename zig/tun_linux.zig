//! A TUN device of Linux: opening it, its offloads, and one read and one vectored write of a packet
//! behind its 10-byte virtio header (struct virtio_net_hdr, host byte order). With offloads a
//! packet may be a super-packet of up to 64 KiB or carry a partial checksum; without, the header is
//! there all the same and says nothing. Makes system calls only: what the header means is not read
//! here; addresses, MTU and the link's state are in netlink.zig. The descriptor never blocks.
const std = @import("std");
const constants = @import("constants.zig");
const system_errno = @import("system_errno.zig");
const linux = std.os.linux;
const fail = system_errno.fail;
const assert = std.debug.assert;

pub const OpenError = error{
    /// Not 1 to 15 of [a-zA-Z0-9_.-], with at most one `%d` that the kernel replaces by a number.
    InvalidName,
    /// CAP_NET_ADMIN is missing, or /dev/net/tun may not be opened.
    PermissionDenied,
    /// /dev/net/tun is absent or has no driver.
    NoTun,
    /// Another process holds the interface, or an interface that is no TUN has the name.
    InterfaceBusy,
    System,
};
pub const ReadError = error{ WouldBlock, LinkGone, System };
pub const WriteError = error{
    WouldBlock,
    /// The interface was deleted: nothing will ever work again on this descriptor.
    LinkGone,
    /// The interface is down; this packet is lost.
    LinkDown,
    /// The kernel takes neither this packet nor this header.
    PacketRefused,
    System,
};

pub const Options = struct {
    /// false: every packet is at most one MTU with complete checksums.
    offload: bool = true,
    /// Whether `openQueue` will be called.
    queues: bool = false,
};

pub const name_bytes_max: usize = linux.IFNAMESIZE - 1;

pub const Tun = struct {
    fd: linux.fd_t,
    interface_index: u32,
    /// Zero-terminated and padded with zeros.
    interface_name: [linux.IFNAMESIZE]u8,
    /// Partial checksums and TCP super-packets (TUN_F_CSUM, TSO4, TSO6) in both directions.
    offload: bool,
    /// UDP super-packets too (TUN_F_USO4, USO6: Linux 6.2).
    offload_uso: bool,

    /// Creates the interface, or attaches to a persistent one that nobody holds. It goes when the
    /// descriptor is closed, unless it is persistent. The link is down until netlink.linkUp.
    pub fn open(requested_name: []const u8, options: Options) OpenError!Tun {
        if (!nameValid(requested_name)) return fail(.INVAL, error.InvalidName);
        const fd = try openClone();
        errdefer _ = linux.close(fd);

        const interface_name = try setInterface(fd, requested_name, options.queues);
        try setHeaderLength(fd);
        var tun: Tun = .{
            .fd = fd,
            .interface_index = try interfaceIndex(interface_name),
            .interface_name = interface_name,
            .offload = false,
            .offload_uso = false,
        };
        try tun.setOffloads(options.offload);
        return tun;
    }

    /// Another descriptor of an interface that was opened with `queues`: packets to it are spread by
    /// flow, and a flow that was written through one descriptor comes back through it.
    pub fn openQueue(tun: *const Tun) OpenError!Tun {
        const fd = try openClone();
        errdefer _ = linux.close(fd);
        _ = try setInterface(fd, tun.name(), true);
        var queue = tun.*;
        queue.fd = fd;
        return queue;
    }

    pub fn close(tun: *Tun) void {
        _ = linux.close(tun.fd);
        tun.fd = -1;
    }

    pub fn name(tun: *const Tun) []const u8 {
        return std.mem.sliceTo(&tun.interface_name, 0);
    }

    /// One packet and its virtio header, in bytes. A shorter buffer would cut a super-packet
    /// without a sign, so `buffer` must take the longest.
    pub fn read(tun: *const Tun, buffer: []u8) ReadError!usize {
        assert(buffer.len >= constants.tun_read_bytes_max);
        while (true) {
            const rc = linux.read(tun.fd, buffer.ptr, buffer.len);
            switch (linux.errno(rc)) {
                .SUCCESS => return rc,
                .INTR => continue,
                .AGAIN => return error.WouldBlock,
                .BADFD => return fail(.BADFD, error.LinkGone),
                else => |e| return fail(e, error.System),
            }
        }
    }

    /// Writes one packet, its virtio header first, gathered from `parts` (at most 1,024). The
    /// kernel takes all of it or nothing. Returns bytes.
    pub fn writev(tun: *const Tun, parts: []const std.posix.iovec_const) WriteError!usize {
        assert(parts.len > 0 and parts.len <= std.posix.IOV_MAX);
        while (true) {
            const rc = linux.writev(tun.fd, parts.ptr, parts.len);
            switch (linux.errno(rc)) {
                .SUCCESS => return rc,
                .INTR => continue,
                .AGAIN => return error.WouldBlock,
                .BADFD => return fail(.BADFD, error.LinkGone),
                .IO => return fail(.IO, error.LinkDown),
                .INVAL, .MSGSIZE => |e| return fail(e, error.PacketRefused),
                else => |e| return fail(e, error.System),
            }
        }
    }

    /// What the kernel says now; `socket` is any of the namespace where the interface was made. Null where
    /// it is not there any more.
    pub fn mtu(tun: *const Tun, socket: linux.fd_t) ?u32 {
        var request: InterfaceRequest = .{ .value = .{ .index = @intCast(tun.interface_index) } };
        if (ioctl(socket, SIOCGIFNAME, @intFromPtr(&request)) != .SUCCESS) return null;
        if (ioctl(socket, SIOCGIFMTU, @intFromPtr(&request)) != .SUCCESS) return null;
        return @intCast(request.value.mtu);
    }

    /// Asks for everything, then for what an older kernel knows. TSO_ECN is left out: a
    /// super-packet with CWR set would need its first segment treated apart, so the kernel splits
    /// those few itself.
    fn setOffloads(tun: *Tun, wanted: bool) OpenError!void {
        if (!wanted) {
            const e = ioctl(tun.fd, TUNSETOFFLOAD, 0);
            return if (e == .SUCCESS) {} else fail(e, error.System);
        }
        const tso = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
        // The kernel takes USO4 and USO6 only together.
        for ([_]usize{ tso | TUN_F_USO4 | TUN_F_USO6, tso, 0 }) |flags| {
            switch (ioctl(tun.fd, TUNSETOFFLOAD, flags)) {
                .SUCCESS => {
                    tun.offload = flags & TUN_F_TSO4 != 0;
                    tun.offload_uso = flags & TUN_F_USO4 != 0;
                    return;
                },
                .INVAL => continue,
                else => |e| return fail(e, error.System),
            }
        }
        return fail(.INVAL, error.System);
    }
};

/// dev_valid_name of the kernel, and stricter: names end up in messages and file names.
pub fn nameValid(name: []const u8) bool {
    if (name.len == 0 or name.len > name_bytes_max) return false;
    if (std.mem.eql(u8, name, ".") or std.mem.eql(u8, name, "..")) return false;
    const pattern_at = std.mem.indexOf(u8, name, "%d");
    for (name, 0..) |byte, i| switch (byte) {
        'a'...'z', 'A'...'Z', '0'...'9', '_', '.', '-' => {},
        '%' => if (pattern_at != i) return false,
        else => return false,
    };
    return true;
}

fn openClone() OpenError!linux.fd_t {
    const flags: linux.O = .{ .ACCMODE = .RDWR, .CLOEXEC = true, .NONBLOCK = true };
    while (true) {
        const rc = linux.open("/dev/net/tun", flags, 0);
        switch (linux.errno(rc)) {
            .SUCCESS => return @intCast(rc),
            .INTR => continue,
            .PERM, .ACCES => |e| return fail(e, error.PermissionDenied),
            .NOENT, .NODEV, .NXIO => |e| return fail(e, error.NoTun),
            else => |e| return fail(e, error.System),
        }
    }
}

/// The name the interface got.
fn setInterface(
    fd: linux.fd_t,
    requested_name: []const u8,
    queues: bool,
) OpenError![linux.IFNAMESIZE]u8 {
    const several: u16 = if (queues) IFF_MULTI_QUEUE else 0;
    const flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | several;
    var request: InterfaceRequest = .{ .value = .{ .flags = flags } };
    @memcpy(request.name[0..requested_name.len], requested_name);
    switch (ioctl(fd, TUNSETIFF, @intFromPtr(&request))) {
        .SUCCESS => return request.name,
        .PERM, .ACCES => |e| return fail(e, error.PermissionDenied),
        // EINVAL, the name being valid: it belongs to an interface of another kind.
        .BUSY, .INVAL => |e| return fail(e, error.InterfaceBusy),
        else => |e| return fail(e, error.System),
    }
}

/// A persistent interface may have been left with another length.
fn setHeaderLength(fd: linux.fd_t) OpenError!void {
    const length: c_int = constants.virtio_header_bytes;
    const e = ioctl(fd, TUNSETVNETHDRSZ, @intFromPtr(&length));
    if (e != .SUCCESS) return fail(e, error.System);
}

fn interfaceIndex(interface_name: [linux.IFNAMESIZE]u8) OpenError!u32 {
    const rc = linux.socket(linux.AF.UNIX, linux.SOCK.DGRAM | linux.SOCK.CLOEXEC, 0);
    if (linux.errno(rc) != .SUCCESS) return fail(linux.errno(rc), error.System);
    const socket: linux.fd_t = @intCast(rc);
    defer _ = linux.close(socket);

    var request: InterfaceRequest = .{ .name = interface_name, .value = .{ .index = 0 } };
    const e = ioctl(socket, linux.SIOCGIFINDEX, @intFromPtr(&request));
    if (e != .SUCCESS) return fail(e, error.System);
    return @intCast(request.value.index);
}

fn ioctl(fd: linux.fd_t, request: u32, argument: usize) linux.E {
    while (true) {
        const e = linux.errno(linux.ioctl(fd, request, argument));
        if (e != .INTR) return e;
    }
}

/// struct ifreq, of which three members are used.
const InterfaceRequest = extern struct {
    name: [linux.IFNAMESIZE]u8 = @splat(0),
    value: extern union {
        flags: u16,
        index: i32,
        mtu: i32,
        padding: [24]u8,
    },
};

// linux/sockios.h
const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFMTU: u32 = 0x8921;
// linux/if_tun.h; the encoding of these numbers is the same on x86_64 and aarch64.
const TUNSETIFF: u32 = 0x400454ca;
const TUNSETOFFLOAD: u32 = 0x400454d0;
const TUNSETVNETHDRSZ: u32 = 0x400454d8;
const IFF_TUN: u16 = 0x0001;
const IFF_MULTI_QUEUE: u16 = 0x0100;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
const TUN_F_CSUM: usize = 0x01;
const TUN_F_TSO4: usize = 0x02;
const TUN_F_TSO6: usize = 0x04;
const TUN_F_USO4: usize = 0x20;
const TUN_F_USO6: usize = 0x40;

comptime {
    assert(@sizeOf(InterfaceRequest) == 40);
    assert(constants.virtio_header_bytes == 10);
}

test "an interface name is 1 to 15 plain characters, with at most one number pattern" {
    for ([_][]const u8{ "wg0", "wg%d", "%d", "mesh_0.1-a", "abcdefghijklmno" }) |name| {
        try std.testing.expect(nameValid(name));
    }
    for ([_][]const u8{
        "",     ".",   "..",     "abcdefghijklmnop", "a/b",    "a b",
        "wg%s", "wg%", "%d%d",   "wg\x00",           "w\xc3g", "a:b",
        "a\n",  "%%d", "wg%dd%",
    }) |name| {
        try std.testing.expect(!nameValid(name));
    }
}

//! TUN devices against the real kernel: packets and super-packets both ways, and every refusal.
//! Needs root.
const std = @import("std");
const constants = @import("constants.zig");
const scene = @import("io_scene.zig");
const system_errno = @import("system_errno.zig");
const Netlink = @import("netlink.zig").Netlink;
const Tun = @import("tun_linux.zig").Tun;
const udp_linux = @import("udp_linux.zig");
const Udp = udp_linux.Udp;
const linux = std.os.linux;
const testing = std.testing;
const inOwnNamespace = scene.inOwnNamespace;
const v4 = scene.v4;
const makeBatch = scene.makeBatch;
const freeBatch = scene.freeBatch;
const receiveOne = scene.receiveOne;
const segmentSize = scene.segmentSize;
const oneMessage = scene.oneMessage;
const tun_address = scene.tun_address;
const tun_neighbour = scene.tun_neighbour;
const openTun = scene.openTun;
const readTo = scene.readTo;

const ping: [56]u8 = @splat(0x70);

test "a small packet goes out through the TUN and one comes in" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            for ([_]bool{ true, false }) |offload| {
                var tun = try openTun(netlink, offload);
                defer tun.close();
                try testing.expect(std.mem.startsWith(u8, tun.name(), "mvio"));
                try testing.expectEqual(offload, tun.offload);
                var udp = try Udp.open(0, 0, .{});
                defer udp.close();

                const buffer = try testing.allocator.alloc(u8, constants.tun_read_bytes_max);
                defer testing.allocator.free(buffer);
                try udp.sendTo(v4(tun_neighbour, 9), .{}, &ping);
                const packet = try readToNeighbour(&tun, buffer);
                try testing.expectEqual(10 + 28 + 56, packet.len);
                try testing.expectEqualStrings(&ping, packet[38..]);
                // VIRTIO_NET_HDR_F_NEEDS_CSUM: with offloads the kernel leaves the sum to the reader.
                try testing.expectEqual(offload, packet[0] & 1 != 0);

                const batch = try makeBatch();
                defer freeBatch(batch);
                const virtio: [10]u8 = @splat(0);
                const headers = packetHeaders(tun_neighbour, tun_address, udp.port, 4);
                const written = try tun.writev(&.{
                    .{ .base = &virtio, .len = 10 },
                    .{ .base = &headers, .len = 28 },
                    .{ .base = "pong", .len = 4 },
                });
                try testing.expectEqual(42, written);
                const message = try receiveOne(&udp, batch);
                try testing.expectEqualStrings("pong", message.payload);
                try testing.expectEqual(v4(tun_neighbour, 4000), message.remote);
            }
        }
    }.body);
}

test "with USO a UDP super-packet of 20 datagrams is one read" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            var tun = try openTun(netlink, true);
            defer tun.close();
            if (!tun.offload_uso) return error.KernelWithoutUso;
            var udp = try Udp.open(0, 0, .{});
            defer udp.close();
            const buffer = try testing.allocator.alloc(u8, constants.tun_read_bytes_max);
            defer testing.allocator.free(buffer);

            const bytes: [20_000]u8 = @splat(0x5a);
            const sent = udp.sendBatch(&.{oneMessage(v4(tun_neighbour, 9), &bytes, 1000)});
            try testing.expectEqual(udp_linux.SendResult{ .sent = 1, .errno = .SUCCESS }, sent);
            const packet = try readToNeighbour(&tun, buffer);
            try testing.expectEqual(20_038, packet.len);
            try testing.expectEqual(5, packet[1]); // VIRTIO_NET_HDR_GSO_UDP_L4
            try testing.expectEqual(1000, std.mem.readInt(u16, packet[4..6], .little));
        }
    }.body);
}

test "a UDP super-packet written to the TUN reaches a socket whole, with its segment size" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            var tun = try openTun(netlink, true);
            defer tun.close();
            if (!tun.offload_uso) return error.KernelWithoutUso;
            var udp = try Udp.open(0, 0, .{});
            defer udp.close();
            const batch = try makeBatch();
            defer freeBatch(batch);

            const bytes: [20_000]u8 = @splat(0x5a);
            // flags NEEDS_CSUM, gso UDP_L4, hdr_len 28, gso_size 1000, csum_start 20, csum_offset 6
            const virtio = [10]u8{ 1, 5, 28, 0, 0xe8, 0x03, 20, 0, 6, 0 };
            var headers = packetHeaders(tun_neighbour, tun_address, udp.port, bytes.len);
            // A partial checksum holds the sum of the pseudo-header, from which the kernel goes on.
            var sum: u32 = linux.IPPROTO.UDP + 8 + bytes.len;
            for (6..10) |i| sum += std.mem.readInt(u16, headers[2 * i ..][0..2], .big);
            while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
            std.mem.writeInt(u16, headers[26..28], @intCast(sum), .big);
            _ = try tun.writev(&.{
                .{ .base = &virtio, .len = 10 },
                .{ .base = &headers, .len = 28 },
                .{ .base = &bytes, .len = bytes.len },
            });
            const message = try receiveOne(&udp, batch);
            try testing.expectEqual(bytes.len, message.payload.len);
            try testing.expectEqual(1000, segmentSize(message).?);
        }
    }.body);
}

test "a TUN says why: busy, no TUN's name, bad name, nothing to read, link down, refused, gone" {
    try inOwnNamespace(struct {
        fn body(netlink: *Netlink) anyerror!void {
            try testing.expectError(error.InvalidName, Tun.open("no/name", .{}));
            try testing.expectError(error.InterfaceBusy, Tun.open("lo", .{}));
            try testing.expectEqual(linux.E.INVAL, system_errno.last());
            var tun = try Tun.open("mvio0", .{});
            defer tun.close();
            try testing.expectEqualStrings("mvio0", tun.name());
            try testing.expectError(error.InterfaceBusy, Tun.open("mvio0", .{}));
            try testing.expectEqual(linux.E.BUSY, system_errno.last());

            const buffer = try testing.allocator.alloc(u8, constants.tun_read_bytes_max);
            defer testing.allocator.free(buffer);
            const packet = @as([10]u8, @splat(0)) ++ packetHeaders(tun_neighbour, tun_address, 1, 0);
            const parts = [1]std.posix.iovec_const{.{ .base = &packet, .len = packet.len }};
            try testing.expectError(error.WouldBlock, tun.read(buffer));
            try testing.expectError(error.LinkDown, tun.writev(&parts));
            try netlink.linkUp(tun.interface_index);
            try testing.expectEqual(packet.len, try tun.writev(&parts));
            // A virtio header alone, and one with a segmentation that does not exist.
            try testing.expectError(error.PacketRefused, tun.writev(&.{.{ .base = &packet, .len = 10 }}));
            var strange = packet;
            strange[1] = 0x3f;
            try testing.expectError(error.PacketRefused, tun.writev(&.{.{ .base = &strange, .len = strange.len }}));

            try netlink.deleteLink(tun.interface_index);
            try testing.expectError(error.LinkGone, tun.read(buffer));
            try testing.expectEqual(linux.E.BADFD, system_errno.last());
            try testing.expectError(error.LinkGone, tun.writev(&parts));
        }
    }.body);
}

/// The next packet to the neighbour.
fn readToNeighbour(tun: *const Tun, buffer: []u8) ![]u8 {
    return readTo(tun, buffer, &tun_neighbour);
}

/// IPv4 and UDP headers for `payload_bytes`, with a correct IPv4 checksum and none for UDP.
fn packetHeaders(source: [4]u8, destination: [4]u8, port: u16, payload_bytes: u16) [28]u8 {
    var headers: [28]u8 = @splat(0);
    headers[0] = 0x45;
    std.mem.writeInt(u16, headers[2..4], 28 + payload_bytes, .big);
    headers[8] = 64;
    headers[9] = linux.IPPROTO.UDP;
    headers[12..16].* = source;
    headers[16..20].* = destination;
    var sum: u32 = 0;
    for (0..10) |i| sum += std.mem.readInt(u16, headers[2 * i ..][0..2], .big);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    std.mem.writeInt(u16, headers[10..12], ~@as(u16, @intCast(sum)), .big);
    std.mem.writeInt(u16, headers[20..22], 4000, .big);
    std.mem.writeInt(u16, headers[22..24], port, .big);
    std.mem.writeInt(u16, headers[24..26], 8 + payload_bytes, .big);
    return headers;
}

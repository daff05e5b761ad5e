//! Where packets of peers may go to: this node's own addresses, and the networks that it offers to lead
//! into. What they send elsewhere would be forwarded by a kernel that forwards, whatever it forwards
//! for. Pure. Without any there is no limit, as in WireGuard itself.
const std = @import("std");
const assert = std.debug.assert;
const Allocator = std.mem.Allocator;
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const inner_packet = @import("inner_packet.zig");
const Family = inner_packet.Family;
const Inner = inner_packet.Inner;

pub const Destinations = struct {
    networks: []const Network = &.{},

    /// Address and mask by the bytes of an address, in whatever order this processor has them.
    const Network = struct { family: Family, address: u128, mask: u128 };

    /// All sides are held. Prefixes are valid.
    pub fn set(self: *Destinations, allocator: Allocator, prefixes: []const abi.Prefix) error{OutOfMemory}!void {
        assert(prefixes.len <= constants.destinations_max);
        const networks = try allocator.alloc(Network, prefixes.len);
        for (networks, prefixes) |*network, *prefix| network.* = networkOf(prefix);
        allocator.free(self.networks);
        self.networks = networks;
    }

    pub fn deinit(self: *Destinations, allocator: Allocator) void {
        allocator.free(self.networks);
        self.* = .{};
    }

    pub fn admits(self: *const Destinations, inner: *const Inner) bool {
        if (self.networks.len == 0) return true;
        const address: u128 = @bitCast(inner.destination);
        for (self.networks) |*network| {
            if (network.family == inner.family and address & network.mask == network.address) return true;
        }
        return false;
    }

    fn networkOf(prefix: *const abi.Prefix) Network {
        var mask: [16]u8 = @splat(0);
        for (0..prefix.bits) |bit| mask[bit / 8] |= @as(u8, 0x80) >> @intCast(bit % 8);
        const bits: u128 = @bitCast(mask);
        return .{
            .family = if (prefix.family == 4) .v4 else .v6,
            .address = @as(u128, @bitCast(prefix.address)) & bits,
            .mask = bits,
        };
    }
};

const testing = std.testing;

fn to(family: Family, bytes: []const u8) Inner {
    var inner: Inner = .{
        .family = family,
        .source = @splat(0),
        .destination = @splat(0),
        .total_length = 40,
        .header_length = 20,
        .protocol = 17,
        .ecn = 0,
    };
    @memcpy(inner.destination[0..bytes.len], bytes);
    return inner;
}

fn prefixOf(family: u8, bytes: []const u8, bits: u8) abi.Prefix {
    var prefix: abi.Prefix = .{ .family = family, .bits = bits };
    @memcpy(prefix.address[0..bytes.len], bytes);
    return prefix;
}

test "with no limit everything passes, and else only what lies in one of the networks" {
    var destinations: Destinations = .{};
    defer destinations.deinit(testing.allocator);
    try testing.expect(destinations.admits(&to(.v4, &.{ 8, 8, 8, 8 })));
    try destinations.set(testing.allocator, &.{
        prefixOf(4, &.{ 10, 99, 1, 2 }, 32),
        prefixOf(4, &.{ 192, 168, 8, 0 }, 21),
        prefixOf(6, &.{ 0xfd, 0x07 }, 16),
    });
    for ([_]struct { [4]u8, bool }{
        .{ .{ 10, 99, 1, 2 }, true },      .{ .{ 10, 99, 1, 3 }, false },    .{ .{ 192, 168, 8, 0 }, true },
        .{ .{ 192, 168, 15, 255 }, true }, .{ .{ 192, 168, 16, 0 }, false }, .{ .{ 8, 8, 8, 8 }, false },
        // The first bytes of fd07::/16 are no IPv4 address in it.
        .{ .{ 0xfd, 0x07, 0, 0 }, false },
    }) |case| try testing.expectEqual(case[1], destinations.admits(&to(.v4, &case[0])));
    try testing.expect(destinations.admits(&to(.v6, &.{ 0xfd, 0x07, 1 })));
    try testing.expect(!destinations.admits(&to(.v6, &.{ 0xfd, 0x08 })));
    try testing.expect(!destinations.admits(&to(.v6, &.{ 10, 99, 1, 2 })));
}

test "an exit node takes everything of the families that it offers" {
    var destinations: Destinations = .{};
    defer destinations.deinit(testing.allocator);
    try destinations.set(testing.allocator, &.{prefixOf(4, &.{}, 0)});
    try testing.expect(destinations.admits(&to(.v4, &.{ 8, 8, 8, 8 })));
    try testing.expect(!destinations.admits(&to(.v6, &.{ 0x20, 0x01 })));
    try destinations.set(testing.allocator, &.{});
    try testing.expect(destinations.admits(&to(.v6, &.{ 0x20, 0x01 })));
}

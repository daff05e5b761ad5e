//! Cryptokey routing: the longest prefix that holds an address, and the peer that owns it.
//!
//! Owns two binary tries with compressed paths (IPv4 and IPv6) over one array of nodes linked
//! by index. Does not own peers: an owner is the slot number the caller gives.
//! Always holds: a prefix has one owner; a node without an owner has two children, so there
//! are never more than two nodes a prefix; removal gives back every node it makes needless.
//! Only `insert` allocates. A look-up touches no more nodes than the address has bits.

const std = @import("std");
const assert = std.debug.assert;
const Allocator = std.mem.Allocator;
const constants = @import("constants.zig");
const Address = @import("awaited.zig").Address;
const Family = @import("inner_packet.zig").Family;

/// Most prefixes of all peers together; beyond it `insert` fails with `error.Full`.
pub const prefixes_max = constants.prefixes_max;

/// An IP prefix. Bits past the first `bits` are ignored.
pub const Prefix = struct {
    /// In network order; IPv4 uses the first four bytes.
    addr: [16]u8,
    bits: u8,
    family: Family,

    /// Where it holds one address alone.
    pub fn address(prefix: *const Prefix) ?Address {
        return switch (prefix.family) {
            .v4 => if (prefix.bits != 32) null else .{
                .bytes = prefix.addr[0..4].* ++ @as([12]u8, @splat(0)),
                .family = .v4,
            },
            .v6 => if (prefix.bits != 128) null else .{ .bytes = prefix.addr, .family = .v6 },
        };
    }
};

/// No node, and no owner.
const none: u32 = std.math.maxInt(u32);

const Node = struct {
    /// The prefix, its first bit in the highest place, zeros after its last.
    key: u128,
    children: [2]u32 = .{ none, none },
    owner: u32 = none,
    /// Neighbours in the list of the prefixes of one owner.
    owner_next: u32 = none,
    owner_previous: u32 = none,
    bits: u8,
    family: Family,
};

pub const AllowedIps = struct {
    nodes: std.ArrayList(Node) = .empty,
    /// Unused nodes, chained by `children[0]`.
    free: u32 = none,
    /// Nodes in use, branches included.
    nodes_used: u32 = 0,
    /// Prefixes held.
    count: u32 = 0,
    roots: [2]u32 = .{ none, none },
    /// First prefix of each owner that has any.
    owners: std.AutoHashMapUnmanaged(u32, u32) = .empty,

    pub fn deinit(self: *AllowedIps, allocator: Allocator) void {
        self.nodes.deinit(allocator);
        self.owners.deinit(allocator);
        self.* = undefined;
    }

    /// The owner of the longest prefix that holds an IPv4 address (network order), or null.
    pub fn lookup4(self: *const AllowedIps, addr: [4]u8) ?u32 {
        return self.lookup(self.roots[0], key4(addr));
    }

    /// The owner of the longest prefix that holds an IPv6 address (network order), or null.
    pub fn lookup6(self: *const AllowedIps, addr: [16]u8) ?u32 {
        return self.lookup(self.roots[1], std.mem.readInt(u128, &addr, .big));
    }

    fn lookup(self: *const AllowedIps, root: u32, key: u128) ?u32 {
        const nodes = self.nodes.items;
        var owner: u32 = none;
        var at = root;
        while (at != none) {
            const node = &nodes[at];
            if (@clz(node.key ^ key) < node.bits) break;
            if (node.owner != none) owner = node.owner;
            // A node of all bits has no children to choose from.
            if (node.bits == 128) break;
            at = node.children[bitAt(key, node.bits)];
        }
        return if (owner == none) null else owner;
    }

    /// Gives a prefix to an owner; a prefix that another owner has is moved. On an error nothing
    /// has changed. `error.Invalid`: more bits than the family has.
    pub fn insert(
        self: *AllowedIps,
        allocator: Allocator,
        prefix: Prefix,
        owner: u32,
    ) error{ Full, Invalid, OutOfMemory }!void {
        assert(owner != none);
        const key = keyOf(prefix) orelse return error.Invalid;
        const bits = prefix.bits;
        // Everything that can fail comes first, so that links may be held while nodes are taken.
        if (self.count >= prefixes_max and !self.contains(prefix, key)) return error.Full;
        try self.nodes.ensureUnusedCapacity(allocator, 2);
        try self.owners.ensureUnusedCapacity(allocator, 1);

        var link = &self.roots[rootIndex(prefix.family)];
        while (link.* != none) {
            const node = self.ref(link.*);
            const common = @min(@clz(node.key ^ key), node.bits, bits);
            if (common < node.bits) break;
            if (node.bits == bits) {
                self.setOwner(link.*, owner);
                return;
            }
            link = &node.children[bitAt(key, node.bits)];
        }

        const below = link.*;
        const leaf = self.take(prefix.family, key, bits);
        if (below == none) {
            link.* = leaf;
        } else {
            const node = self.ref(below);
            const common = @min(@clz(node.key ^ key), node.bits, bits);
            if (common == bits) {
                // The new prefix holds the one that stood here.
                self.ref(leaf).children[bitAt(node.key, bits)] = below;
                link.* = leaf;
            } else {
                const branch = self.take(prefix.family, masked(key, common), common);
                self.ref(branch).children[bitAt(key, common)] = leaf;
                self.ref(branch).children[bitAt(node.key, common)] = below;
                link.* = branch;
            }
        }
        self.setOwner(leaf, owner);
    }

    /// Takes a prefix from an owner; false if it was not theirs.
    pub fn remove(self: *AllowedIps, prefix: Prefix, owner: u32) bool {
        assert(owner != none);
        const key = keyOf(prefix) orelse return false;
        return self.removeKey(prefix.family, key, prefix.bits, owner);
    }

    /// Takes every prefix from an owner; returns how many there were.
    pub fn removeOwner(self: *AllowedIps, owner: u32) u32 {
        assert(owner != none);
        var removed: u32 = 0;
        while (self.owners.get(owner)) |first| {
            const node = self.ref(first).*;
            const was_held = self.removeKey(node.family, node.key, node.bits, owner);
            assert(was_held);
            removed += 1;
        }
        return removed;
    }

    fn removeKey(self: *AllowedIps, family: Family, key: u128, bits: u8, owner: u32) bool {
        var parent_link: ?*u32 = null;
        var link = &self.roots[rootIndex(family)];
        while (link.* != none) {
            const node = self.ref(link.*);
            if (node.bits > bits or @clz(node.key ^ key) < node.bits) return false;
            if (node.bits == bits) {
                if (node.owner != owner) return false;
                self.unlink(parent_link, link);
                return true;
            }
            parent_link = link;
            link = &node.children[bitAt(key, node.bits)];
        }
        return false;
    }

    /// Takes the owner from the node behind `link`, and removes the nodes which that leaves
    /// without a purpose: the node, and a branch above it that has one child left.
    fn unlink(self: *AllowedIps, parent_link: ?*u32, link: *u32) void {
        const index = link.*;
        self.clearOwner(index);
        const children = self.ref(index).children;
        if (children[0] != none and children[1] != none) return;
        link.* = if (children[0] != none) children[0] else children[1];
        self.release(index);
        if (link.* != none) return;

        const above = parent_link orelse return;
        const parent = self.ref(above.*);
        if (parent.owner != none) return;
        const sibling = if (parent.children[0] != none) parent.children[0] else parent.children[1];
        assert(sibling != none);
        const parent_index = above.*;
        above.* = sibling;
        self.release(parent_index);
    }

    fn contains(self: *const AllowedIps, prefix: Prefix, key: u128) bool {
        var index = self.roots[rootIndex(prefix.family)];
        while (index != none) {
            const node = &self.nodes.items[index];
            if (node.bits > prefix.bits or @clz(node.key ^ key) < node.bits) return false;
            if (node.bits == prefix.bits) return node.owner != none;
            index = node.children[bitAt(key, node.bits)];
        }
        return false;
    }

    /// Makes `index` the first in its new owner's list.
    fn setOwner(self: *AllowedIps, index: u32, owner: u32) void {
        if (self.ref(index).owner == owner) return;
        if (self.ref(index).owner != none) self.clearOwner(index);
        const entry = self.owners.getOrPutAssumeCapacity(owner);
        const next = if (entry.found_existing) entry.value_ptr.* else none;
        entry.value_ptr.* = index;
        if (next != none) self.ref(next).owner_previous = index;
        const node = self.ref(index);
        node.owner = owner;
        node.owner_next = next;
        node.owner_previous = none;
        self.count += 1;
    }

    fn clearOwner(self: *AllowedIps, index: u32) void {
        const node = self.ref(index);
        assert(node.owner != none);
        if (node.owner_next != none) self.ref(node.owner_next).owner_previous = node.owner_previous;
        if (node.owner_previous != none) {
            self.ref(node.owner_previous).owner_next = node.owner_next;
        } else if (node.owner_next != none) {
            self.owners.getPtr(node.owner).?.* = node.owner_next;
        } else {
            const known = self.owners.remove(node.owner);
            assert(known);
        }
        node.owner = none;
        self.count -= 1;
    }

    fn take(self: *AllowedIps, family: Family, key: u128, bits: u8) u32 {
        self.nodes_used += 1;
        const index = self.free;
        if (index == none) {
            self.nodes.appendAssumeCapacity(.{ .key = key, .bits = bits, .family = family });
            return @intCast(self.nodes.items.len - 1);
        }
        self.free = self.ref(index).children[0];
        self.ref(index).* = .{ .key = key, .bits = bits, .family = family };
        return index;
    }

    fn release(self: *AllowedIps, index: u32) void {
        assert(self.ref(index).owner == none);
        self.ref(index).children = .{ self.free, none };
        self.free = index;
        self.nodes_used -= 1;
    }

    fn ref(self: *AllowedIps, index: u32) *Node {
        return &self.nodes.items[index];
    }
};

fn rootIndex(family: Family) usize {
    return switch (family) {
        .v4 => 0,
        .v6 => 1,
    };
}

fn key4(addr: [4]u8) u128 {
    return @as(u128, std.mem.readInt(u32, &addr, .big)) << 96;
}

/// The prefix as a number with its host bits cleared; null if it has too many bits.
fn keyOf(prefix: Prefix) ?u128 {
    switch (prefix.family) {
        .v4 => {
            if (prefix.bits > 32) return null;
            return masked(key4(prefix.addr[0..4].*), prefix.bits);
        },
        .v6 => {
            if (prefix.bits > 128) return null;
            return masked(std.mem.readInt(u128, &prefix.addr, .big), prefix.bits);
        },
    }
}

fn masked(key: u128, bits: u8) u128 {
    assert(bits <= 128);
    if (bits == 0) return 0;
    return key & (@as(u128, std.math.maxInt(u128)) << @intCast(128 - bits));
}

fn bitAt(key: u128, bit: u8) u1 {
    assert(bit < 128);
    return @truncate(key >> @intCast(127 - bit));
}

const testing = std.testing;

fn prefix4(a: u8, b: u8, c: u8, d: u8, bits: u8) Prefix {
    return .{ .addr = [4]u8{ a, b, c, d } ++ @as([12]u8, @splat(0)), .bits = bits, .family = .v4 };
}

fn prefix6(words: [4]u32, bits: u8) Prefix {
    return .{ .addr = addr6(words), .bits = bits, .family = .v6 };
}

fn addr6(words: [4]u32) [16]u8 {
    var addr: [16]u8 = undefined;
    for (words, 0..) |word, at| std.mem.writeInt(u32, addr[at * 4 ..][0..4], word, .big);
    return addr;
}

/// What the header of this file promises of the nodes.
fn expectSound(table: *const AllowedIps) !void {
    var used: u32 = 0;
    var owned: u32 = 0;
    for (table.roots) |root| try expectSoundBelow(table, root, &used, &owned);
    try testing.expectEqual(table.nodes_used, used);
    try testing.expectEqual(table.count, owned);
    var unused: u32 = 0;
    var free = table.free;
    while (free != none) : (free = table.nodes.items[free].children[0]) unused += 1;
    try testing.expectEqual(table.nodes.items.len, used + unused);
}

fn expectSoundBelow(table: *const AllowedIps, index: u32, used: *u32, owned: *u32) !void {
    if (index == none) return;
    const node = table.nodes.items[index];
    used.* += 1;
    if (node.owner != none) owned.* += 1;
    try testing.expectEqual(masked(node.key, node.bits), node.key);
    for (node.children, 0..) |child, side| {
        if (child == none) {
            try testing.expect(node.owner != none);
            continue;
        }
        const below = table.nodes.items[child];
        try testing.expect(below.bits > node.bits);
        try testing.expectEqual(node.key, masked(below.key, node.bits));
        try testing.expectEqual(side, bitAt(below.key, node.bits));
        try expectSoundBelow(table, child, used, owned);
    }
}

test "an address belongs to the owner of the longest prefix that holds it" {
    const a = testing.allocator;
    var table: AllowedIps = .{};
    defer table.deinit(a);
    try testing.expectEqual(null, table.lookup4(.{ 192, 168, 4, 20 }));
    const inserts = [_]struct { Prefix, u32 }{
        .{ prefix4(192, 168, 4, 0, 24), 0 },
        .{ prefix4(192, 168, 4, 4, 32), 1 },
        .{ prefix4(192, 168, 0, 0, 16), 2 },
        .{ prefix4(192, 95, 5, 64, 27), 3 },
        // Host bits are ignored: this is 192.95.5.64/27 once more, moved to another owner.
        .{ prefix4(192, 95, 5, 65, 27), 2 },
        .{ prefix4(0, 0, 0, 0, 0), 4 },
        .{ prefix4(64, 15, 112, 0, 20), 6 },
        .{ prefix4(64, 15, 123, 211, 25), 5 },
        .{ prefix4(10, 0, 0, 0, 25), 0 },
        .{ prefix4(10, 0, 0, 128, 25), 1 },
        .{ prefix4(10, 1, 0, 0, 30), 0 },
        .{ prefix4(10, 1, 0, 4, 30), 1 },
        .{ prefix4(10, 1, 0, 8, 29), 2 },
        .{ prefix4(10, 1, 0, 16, 29), 3 },
        .{ prefix6(.{ 0x26075300, 0x60006b00, 0, 0xc05f0543 }, 128), 3 },
        .{ prefix6(.{ 0x26075300, 0x60006b00, 0, 0 }, 64), 2 },
        .{ prefix6(.{ 0, 0, 0, 0 }, 0), 4 },
        .{ prefix6(.{ 0x24046800, 0, 0, 0 }, 32), 5 },
        .{ prefix6(.{ 0x24046800, 0x40040800, 0xdeadbeef, 0xdeadbeef }, 64), 0 },
        .{ prefix6(.{ 0x24046800, 0x40040800, 0xdeadbeef, 0xdeadbeef }, 128), 1 },
        .{ prefix6(.{ 0x24446800, 0x40e40800, 0xdeaebeef, 0xdefbeef }, 128), 2 },
        .{ prefix6(.{ 0x24446800, 0xf0e40800, 0xeeaebeef, 0 }, 98), 1 },
    };
    for (inserts) |insert| try table.insert(a, insert[0], insert[1]);
    try expectSound(&table);

    const cases4 = [_]struct { [4]u8, u32 }{
        .{ .{ 192, 168, 4, 20 }, 0 },    .{ .{ 192, 168, 4, 0 }, 0 },
        .{ .{ 192, 168, 4, 4 }, 1 },     .{ .{ 192, 168, 200, 182 }, 2 },
        .{ .{ 192, 95, 5, 68 }, 2 },     .{ .{ 192, 95, 5, 96 }, 4 },
        .{ .{ 64, 15, 116, 26 }, 6 },    .{ .{ 64, 15, 127, 3 }, 6 },
        .{ .{ 64, 15, 123, 210 }, 5 },   .{ .{ 64, 15, 123, 127 }, 6 },
        .{ .{ 64, 15, 128, 0 }, 4 },     .{ .{ 10, 0, 0, 52 }, 0 },
        .{ .{ 10, 0, 0, 220 }, 1 },      .{ .{ 10, 1, 0, 2 }, 0 },
        .{ .{ 10, 1, 0, 6 }, 1 },        .{ .{ 10, 1, 0, 10 }, 2 },
        .{ .{ 10, 1, 0, 20 }, 3 },       .{ .{ 10, 1, 0, 24 }, 4 },
        .{ .{ 255, 255, 255, 255 }, 4 },
    };
    for (cases4) |case| try testing.expectEqual(case[1], table.lookup4(case[0]));
    const cases6 = [_]struct { [4]u32, u32 }{
        .{ .{ 0x26075300, 0x60006b00, 0, 0xc05f0543 }, 3 },
        .{ .{ 0x26075300, 0x60006b00, 0, 0xc02e01ee }, 2 },
        .{ .{ 0x26075300, 0x60006b01, 0, 0 }, 4 },
        .{ .{ 0x24046800, 0x40040806, 0, 0x1006 }, 5 },
        .{ .{ 0x24046800, 0x40040806, 0x1234, 0x5678 }, 5 },
        .{ .{ 0x240467ff, 0x40040806, 0x1234, 0x5678 }, 4 },
        .{ .{ 0x24046801, 0x40040806, 0x1234, 0x5678 }, 4 },
        .{ .{ 0x24046800, 0x40040800, 0x1234, 0x5678 }, 0 },
        .{ .{ 0x24046800, 0x40040800, 0, 0 }, 0 },
        .{ .{ 0x24046800, 0x40040800, 0x10101010, 0x10101010 }, 0 },
        .{ .{ 0x24046800, 0x40040800, 0xdeadbeef, 0xdeadbeef }, 1 },
        .{ .{ 0x24446800, 0xf0e40800, 0xeeaebeef, 0x12345678 }, 1 },
        .{ .{ 0x24446800, 0xf0e40800, 0xeeaebeef, 0x42345678 }, 4 },
    };
    for (cases6) |case| try testing.expectEqual(case[1], table.lookup6(addr6(case[0])));
}

test "a removed owner or prefix no longer answers, what it covered does" {
    const a = testing.allocator;
    var table: AllowedIps = .{};
    defer table.deinit(a);
    try table.insert(a, prefix4(1, 0, 0, 0, 32), 0);
    try table.insert(a, prefix4(64, 0, 0, 0, 32), 0);
    try table.insert(a, prefix4(128, 0, 0, 0, 32), 0);
    try table.insert(a, prefix4(192, 0, 0, 0, 32), 0);
    try table.insert(a, prefix4(255, 0, 0, 0, 32), 0);
    try table.insert(a, prefix4(192, 0, 0, 0, 8), 1);
    try testing.expectEqual(0, table.lookup4(.{ 192, 0, 0, 0 }));
    try testing.expectEqual(5, table.removeOwner(0));
    try testing.expectEqual(0, table.removeOwner(0));
    for ([_]u8{ 1, 64, 128, 255 }) |first| {
        try testing.expectEqual(null, table.lookup4(.{ first, 0, 0, 0 }));
    }
    try testing.expectEqual(1, table.lookup4(.{ 192, 0, 0, 0 }));
    try expectSound(&table);

    // Only its owner can lose a prefix, and only that very prefix.
    try testing.expect(!table.remove(prefix4(192, 0, 0, 0, 8), 0));
    try testing.expect(!table.remove(prefix4(192, 0, 0, 0, 9), 1));
    try testing.expect(!table.remove(prefix4(192, 0, 0, 0, 7), 1));
    try testing.expect(!table.remove(prefix6(.{ 0xc0000000, 0, 0, 0 }, 8), 1));
    try testing.expect(table.remove(prefix4(192, 1, 2, 3, 8), 1));
    try testing.expectEqual(null, table.lookup4(.{ 192, 0, 0, 0 }));
    try testing.expectEqual(0, table.nodes_used);
}

test "a branch made for two prefixes is no prefix, and goes with one of them" {
    const a = testing.allocator;
    var table: AllowedIps = .{};
    defer table.deinit(a);
    try table.insert(a, prefix4(10, 0, 0, 0, 25), 1);
    try table.insert(a, prefix4(10, 0, 0, 128, 25), 2);
    try testing.expectEqual(3, table.nodes_used);
    try testing.expect(!table.remove(prefix4(10, 0, 0, 0, 24), 1));
    try table.insert(a, prefix4(10, 0, 0, 0, 24), 3);
    try testing.expectEqual(3, table.nodes_used);
    try testing.expect(table.remove(prefix4(10, 0, 0, 0, 24), 3));
    try testing.expectEqual(3, table.nodes_used);
    try testing.expect(table.remove(prefix4(10, 0, 0, 0, 25), 1));
    try testing.expectEqual(1, table.nodes_used);
    try testing.expectEqual(2, table.lookup4(.{ 10, 0, 0, 129 }));
    try expectSound(&table);
}

test "a prefix with more bits than its family is refused" {
    const a = testing.allocator;
    var table: AllowedIps = .{};
    defer table.deinit(a);
    try testing.expectError(error.Invalid, table.insert(a, prefix4(10, 0, 0, 0, 33), 1));
    try testing.expectError(error.Invalid, table.insert(a, prefix6(.{ 0, 0, 0, 0 }, 129), 1));
    try testing.expect(!table.remove(prefix4(10, 0, 0, 0, 255), 1));
    try testing.expectEqual(0, table.nodes_used);
}

test "when memory runs out a table is what it was" {
    var failing = testing.FailingAllocator.init(testing.allocator, .{});
    const a = failing.allocator();
    var table: AllowedIps = .{};
    defer table.deinit(a);
    try table.insert(a, prefix4(10, 0, 0, 0, 8), 1);
    failing.fail_index = failing.alloc_index;
    failing.resize_fail_index = failing.resize_index;
    var held: u32 = 1;
    const failed = while (held < 1000) : (held += 1) {
        const prefix = prefix4(10, @intCast(held >> 8), @truncate(held), 0, 24);
        table.insert(a, prefix, held) catch |err| break err;
    } else return error.TestUnexpectedResult;
    try testing.expectEqual(error.OutOfMemory, failed);
    try testing.expectEqual(held, table.count);
    try expectSound(&table);
}

test "a peer with 65,280 prefixes of each family is found by every one of them" {
    const a = testing.allocator;
    var table: AllowedIps = .{};
    defer table.deinit(a);
    const each = 65_280;
    for (0..each) |number| {
        const n: u32 = @intCast(number);
        try table.insert(a, prefix4(10, @intCast(n >> 8), @truncate(n), 0, 24), 7);
        try table.insert(a, prefix6(.{ 0x20010db8, n << 8, 0, 0 }, 56), 7);
    }
    try testing.expectEqual(2 * each, table.count);
    try testing.expect(table.nodes_used <= 4 * each);
    for (0..each) |number| {
        const n: u32 = @intCast(number);
        try testing.expectEqual(7, table.lookup4(.{ 10, @intCast(n >> 8), @truncate(n), 9 }));
        try testing.expectEqual(7, table.lookup6(addr6(.{ 0x20010db8, n << 8, 1, 2 })));
    }
    try testing.expectEqual(2 * each, table.removeOwner(7));
    try testing.expectEqual(0, table.nodes_used);
    try expectSound(&table);
}

test "the limit on prefixes is kept; moving a prefix at the limit is allowed" {
    const a = testing.allocator;
    var table: AllowedIps = .{};
    defer table.deinit(a);
    try table.insert(a, prefix4(10, 0, 0, 0, 24), 1);
    // A table of a million prefixes would take seconds here; only its count is what matters.
    table.count = prefixes_max;
    try testing.expectError(error.Full, table.insert(a, prefix4(10, 0, 1, 0, 24), 1));
    try testing.expectError(error.Full, table.insert(a, prefix4(10, 0, 0, 0, 25), 1));
    try table.insert(a, prefix4(10, 0, 0, 0, 24), 2);
    try testing.expectEqual(2, table.lookup4(.{ 10, 0, 0, 1 }));
    table.count = 1;
    try expectSound(&table);
}

test "random histories agree with a list of prefixes" {
    const a = testing.allocator;
    const Held = struct { prefix: Prefix, owner: u32 };
    var prng = std.Random.DefaultPrng.init(0x616c6c6f776564);
    const random = prng.random();
    var table: AllowedIps = .{};
    defer table.deinit(a);
    var model: std.ArrayList(Held) = .empty;
    defer model.deinit(a);
    for (0..12_000) |step| {
        // Few distinct bytes, so that prefixes nest, meet and are met by the look-ups.
        var prefix: Prefix = .{ .addr = @splat(0), .bits = 0, .family = .v4 };
        if (random.boolean()) prefix.family = .v6;
        const size: usize = if (prefix.family == .v4) 4 else 16;
        for (prefix.addr[0..size]) |*byte| byte.* = @as(u8, random.int(u2)) * 85 +% random.int(u1);
        prefix.bits = @intCast(random.uintAtMost(usize, size * 8));
        const owner = random.uintLessThan(u32, 40);
        const known = for (model.items, 0..) |held, at| {
            if (held.prefix.family != prefix.family or held.prefix.bits != prefix.bits) continue;
            if (keyOf(held.prefix).? == keyOf(prefix).?) break at;
        } else null;
        switch (random.uintLessThan(u8, 8)) {
            0...3 => if (known) |at| {
                try table.insert(a, prefix, owner);
                model.items[at].owner = owner;
            } else if (model.items.len < 2000) {
                try table.insert(a, prefix, owner);
                try model.append(a, .{ .prefix = prefix, .owner = owner });
            },
            4...6 => if (model.items.len > 0) {
                const at = random.uintLessThan(usize, model.items.len);
                const held = model.items[at];
                // Often the owner is not the one who asks.
                const asks = if (random.boolean()) held.owner else owner;
                try testing.expectEqual(asks == held.owner, table.remove(held.prefix, asks));
                if (asks == held.owner) _ = model.swapRemove(at);
            },
            else => if (random.uintLessThan(u8, 40) == 0) {
                var removed: u32 = 0;
                var at: usize = 0;
                while (at < model.items.len) {
                    if (model.items[at].owner == owner) {
                        _ = model.swapRemove(at);
                        removed += 1;
                    } else at += 1;
                }
                try testing.expectEqual(removed, table.removeOwner(owner));
            },
        }
        var best: ?Held = null;
        for (model.items) |held| {
            if (held.prefix.family != prefix.family) continue;
            if (best != null and best.?.prefix.bits >= held.prefix.bits) continue;
            var whole = prefix;
            whole.bits = held.prefix.bits;
            if (keyOf(whole).? == keyOf(held.prefix).?) best = held;
        }
        const expected: ?u32 = if (best) |held| held.owner else null;
        const found = switch (prefix.family) {
            .v4 => table.lookup4(prefix.addr[0..4].*),
            .v6 => table.lookup6(prefix.addr),
        };
        try testing.expectEqual(expected, found);
        try testing.expectEqual(model.items.len, table.count);
        if (step % 256 == 0) try expectSound(&table);
    }
    for (0..40) |owner| _ = table.removeOwner(@intCast(owner));
    try testing.expectEqual(0, table.nodes_used);
}

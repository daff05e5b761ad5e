//! Who may reach which port of this node: rules for the first packet of a flow, and the flows that are
//! let through. What this node begins is answered; what others begin needs a rule. Pure: packets and
//! the time are arguments.
//!
//! All packet threads use it at once, each within its side of the table lock: transmit notes what
//! leaves, receive judges what comes. What they share is a table of atomic words, a flow's fingerprint and the
//! second of its last packet in one, so that a word is never read half. Rules change under all sides.
const std = @import("std");
const assert = std.debug.assert;
const Allocator = std.mem.Allocator;
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const inner_packet = @import("inner_packet.zig");
const Inner = inner_packet.Inner;

const icmp4 = 1;
const tcp = 6;
const udp = 17;
const icmp6 = 58;

/// Words of a peer's set of rules.
pub fn setWords(rules: usize) usize {
    return (rules + 63) / 64;
}

/// Of which peers which named rules speak.
pub const Named = struct {
    peers: []const abi.PeerRef = &.{},
    /// A set for each, as long as `setWords` says.
    sets: []const u64 = &.{},
};

/// Seconds without a packet after which a flow must be let in, or begun, anew.
const tcp_idle_s = 3600;
const udp_idle_s = 180;
const other_idle_s = 60;

pub const Policy = struct {
    rules: []const abi.PolicyRule = &.{},
    /// What happens to what no rule speaks of.
    default_allow: bool = true,
    /// Of the peer in each slot: whose set it is, and the bits of the named rules that speak of it.
    generations: []u32 = &.{},
    sets: []u64 = &.{},
    flows: ?*Flows = null,
    /// Of each lane: the flow of the last packet, which the next one mostly is of as well. Receive.
    last_in: [constants.lanes_max]Last = @splat(.{}),
    /// The same; transmit.
    last_out: [constants.lanes_max]Last = @splat(.{}),

    const Last = struct { tuple: Tuple = .none, at_s: u32 = 0 };

    /// All sides are held. With a seed, which keys the fingerprints, what was let through before is
    /// judged anew; without one it stays.
    pub fn set(
        self: *Policy,
        allocator: Allocator,
        rules: []const abi.PolicyRule,
        named: Named,
        default_allow: bool,
        seed: ?[16]u8,
    ) error{OutOfMemory}!void {
        assert(rules.len <= constants.policy_rules_max);
        const words = setWords(rules.len);
        assert(named.sets.len == named.peers.len * words);
        var slots: usize = 0;
        for (named.peers) |peer| slots = @max(slots, @as(usize, peer.slot) + 1);
        assert(slots <= constants.peers_max);
        const copy = try allocator.dupe(abi.PolicyRule, rules);
        errdefer allocator.free(copy);
        const generations = try allocator.alloc(u32, slots);
        errdefer allocator.free(generations);
        const sets = try allocator.alloc(u64, slots * words);
        errdefer allocator.free(sets);
        const flows = self.flows orelse try allocator.create(Flows);
        if (self.flows == null or seed != null) flows.reset(seed orelse @splat(0));
        @memset(generations, 0);
        @memset(sets, 0);
        for (named.peers, 0..) |peer, at| {
            generations[peer.slot] = peer.generation;
            @memcpy(sets[peer.slot * words ..][0..words], named.sets[at * words ..][0..words]);
        }
        self.freeTables(allocator);
        self.* = .{
            .rules = copy,
            .default_allow = default_allow,
            .generations = generations,
            .sets = sets,
            .flows = flows,
        };
    }

    pub fn deinit(self: *Policy, allocator: Allocator) void {
        self.freeTables(allocator);
        if (self.flows) |flows| allocator.destroy(flows);
        self.* = .{};
    }

    fn freeTables(self: *Policy, allocator: Allocator) void {
        allocator.free(self.rules);
        allocator.free(self.generations);
        allocator.free(self.sets);
    }

    /// Transmit side: what comes back of this flow is let in.
    pub fn noteOutbound(self: *Policy, lane: u8, inner: *const Inner, packet: []const u8, now_ns: u64) void {
        const flows = self.active() orelse return;
        const tuple = Tuple.of(inner, packet, .outbound) orelse return;
        // Neither names a flow: as one of port 0, it would let another in.
        if (tuple.partial or tuple.is_error) return;
        const now_s = seconds(now_ns);
        const last = &self.last_out[lane];
        if (now_s == last.at_s and tuple.equal(&last.tuple)) return;
        flows.note(&tuple, now_s);
        last.* = .{ .tuple = tuple, .at_s = now_s };
    }

    /// Receive side: whether the packet, which that peer sent under an address of its own, may go on.
    /// `packet` is cut to its length.
    pub fn admits(
        self: *Policy,
        lane: u8,
        peer: abi.PeerRef,
        inner: *const Inner,
        packet: []const u8,
        now_ns: u64,
    ) bool {
        const flows = self.active() orelse return true;
        const tuple = Tuple.of(inner, packet, .inbound) orelse return false;
        const now_s = seconds(now_ns);
        const last = &self.last_in[lane];
        if (now_s == last.at_s and tuple.equal(&last.tuple)) return true;
        // Errors belong to flows whose packet they carry; a path's MTU is learnt from them.
        if (tuple.is_error) return true;
        if (tuple.partial) return self.allowsNew(peer, &tuple);
        if (!flows.renew(&tuple, now_s)) {
            if (!self.allowsNew(peer, &tuple)) return false;
            flows.note(&tuple, now_s);
        }
        last.* = .{ .tuple = tuple, .at_s = now_s };
        return true;
    }

    /// With nothing to refuse, packets cost nothing.
    fn active(self: *const Policy) ?*Flows {
        if (self.rules.len == 0 and self.default_allow) return null;
        return self.flows;
    }

    /// The first rule that speaks of it decides.
    fn allowsNew(self: *const Policy, peer: abi.PeerRef, tuple: *const Tuple) bool {
        const named = self.setOf(peer);
        for (self.rules, 0..) |*rule, at| {
            if (rule.named != 0) {
                if (named.len == 0) continue;
                if (named[at / 64] >> @intCast(at % 64) & 1 == 0) continue;
            }
            if (speaksOf(rule, tuple)) return rule.action != 0;
        }
        return self.default_allow;
    }

    /// Empty: no named rule speaks of it.
    fn setOf(self: *const Policy, peer: abi.PeerRef) []const u64 {
        if (peer.slot >= self.generations.len) return &.{};
        if (self.generations[peer.slot] != peer.generation) return &.{};
        const words = setWords(self.rules.len);
        return self.sets[peer.slot * words ..][0..words];
    }
};

fn seconds(now_ns: u64) u32 {
    return @truncate(now_ns / constants.ns_per_s);
}

fn speaksOf(rule: *const abi.PolicyRule, tuple: *const Tuple) bool {
    const protocol = if (tuple.protocol == icmp6 and tuple.family == 6) icmp4 else tuple.protocol;
    if (rule.protocol != 0 and rule.protocol != protocol) return false;
    const any_port = rule.port_first == 0 and rule.port_last == std.math.maxInt(u16);
    if (!any_port) {
        if (!tuple.has_ports) return false;
        if (tuple.local_port < rule.port_first or tuple.local_port > rule.port_last) return false;
    }
    if (rule.destination.family == 0) return true;
    if (rule.destination.family != tuple.family) return false;
    return prefixHolds(&rule.destination.address, rule.destination.bits, &tuple.localAddress());
}

fn prefixHolds(prefix: *const [16]u8, bits: u8, address: *const [16]u8) bool {
    assert(bits <= 128);
    const whole = bits / 8;
    if (!std.mem.eql(u8, prefix[0..whole], address[0..whole])) return false;
    const rest: u3 = @truncate(bits);
    if (rest == 0) return true;
    const mask = @as(u8, 0xff) << @intCast(8 - @as(u4, rest));
    return (prefix[whole] ^ address[whole]) & mask == 0;
}

const Direction = enum { inbound, outbound };

/// A flow as this node sees it, whoever began it. Its identity is five words, so that two are compared,
/// and hashed, without a loop over bytes.
const Tuple = struct {
    /// Remote address, local address, then family, protocol and ports.
    words: [5]u64,
    local_port: u16 = 0,
    protocol: u8,
    family: u8,
    /// A fragment, or too short for ports: it is of no flow.
    partial: bool = false,
    /// The first fragment has them too, and without it the rest is worth nothing: else whoever cuts
    /// his packets would pass by what is denied.
    has_ports: bool = false,
    /// An ICMP error.
    is_error: bool = false,

    const none: Tuple = .{ .words = @splat(0), .protocol = 0, .family = 0 };

    /// Null where the headers lead out of the packet.
    fn of(inner: *const Inner, packet: []const u8, direction: Direction) ?Tuple {
        assert(packet.len >= inner.total_length);
        const found = inner_packet.transport(packet, inner) orelse return null;
        const outbound = direction == .outbound;
        const remote = if (outbound) &inner.destination else &inner.source;
        const local = if (outbound) &inner.source else &inner.destination;
        const family: u8 = @backingInt(inner.family);
        var tuple: Tuple = .{
            .words = .{
                std.mem.readInt(u64, remote[0..8], .little),
                std.mem.readInt(u64, remote[8..16], .little),
                std.mem.readInt(u64, local[0..8], .little),
                std.mem.readInt(u64, local[8..16], .little),
                @as(u64, family) << 56 | @as(u64, found.protocol) << 48,
            },
            .protocol = found.protocol,
            .family = family,
        };
        const header = packet[found.offset..inner.total_length];
        if (found.fragment) {
            tuple.partial = true;
            if (found.later or (found.protocol != tcp and found.protocol != udp)) return tuple;
        }
        switch (found.protocol) {
            tcp, udp => {
                tuple.has_ports = header.len >= 4;
                tuple.partial = tuple.partial or !tuple.has_ports;
                if (!tuple.has_ports) return tuple;
                const source = std.mem.readInt(u16, header[0..2], .big);
                const destination = std.mem.readInt(u16, header[2..4], .big);
                if (outbound) tuple.setPorts(destination, source) else tuple.setPorts(source, destination);
            },
            icmp4, icmp6 => {
                tuple.partial = header.len < 8;
                if (tuple.partial) return tuple;
                const kind = header[0];
                tuple.is_error = if (found.protocol == icmp4)
                    kind == 3 or kind == 11 or kind == 12
                else
                    kind >= 1 and kind <= 4;
                // An echo and its answer are one flow, by its identifier; an echo of the other side is another.
                const request: u8 = if (found.protocol == icmp4) 8 else 128;
                const theirs = @intFromBool((kind == request) != outbound);
                tuple.setPorts(theirs, std.mem.readInt(u16, header[4..6], .big));
            },
            else => {},
        }
        return tuple;
    }

    fn setPorts(self: *Tuple, remote_port: u16, local_port: u16) void {
        self.local_port = local_port;
        self.words[4] |= @as(u64, remote_port) << 16 | local_port;
    }

    /// Whole flows alone are remembered, so nothing but the words needs a look.
    fn equal(self: *const Tuple, other_: *const Tuple) bool {
        var different: u64 = @intFromBool(self.partial) | @as(u64, @intFromBool(self.is_error));
        for (self.words, other_.words) |a, b| different |= a ^ b;
        return different == 0;
    }

    fn localAddress(self: *const Tuple) [16]u8 {
        var address: [16]u8 = undefined;
        std.mem.writeInt(u64, address[0..8], self.words[2], .little);
        std.mem.writeInt(u64, address[8..16], self.words[3], .little);
        return address;
    }

    fn idle(self: *const Tuple) u32 {
        return switch (self.protocol) {
            tcp => tcp_idle_s,
            udp => udp_idle_s,
            else => other_idle_s,
        };
    }
};

/// Flows by fingerprint, in buckets. A full bucket loses the one that was silent longest.
const Flows = struct {
    const ways = 4;
    const age_bits = 20;
    const Word = std.atomic.Value(u64);

    key: [2]u64,
    words: [constants.policy_flow_buckets][ways]Word,

    fn reset(self: *Flows, seed: [16]u8) void {
        self.key = .{ std.mem.readInt(u64, seed[0..8], .little), std.mem.readInt(u64, seed[8..16], .little) };
        @memset(&self.words, @splat(.init(0)));
    }

    const Place = struct { bucket: *[ways]Word, fingerprint: u64 };

    fn place(self: *Flows, tuple: *const Tuple) Place {
        const hash = hashOf(self.key, &tuple.words);
        // Never 0, which is an empty word; bits of its own, so that a bucket tells nothing of it.
        const fingerprint = @max(1, hash >> age_bits);
        return .{ .bucket = &self.words[hash % constants.policy_flow_buckets], .fingerprint = fingerprint };
    }

    /// SipHash-1-3 over five words (Aumasson and Bernstein, 2012), its length left out: it never differs.
    fn hashOf(key: [2]u64, words: *const [5]u64) u64 {
        var v: [4]u64 = .{
            key[0] ^ 0x736f6d6570736575,
            key[1] ^ 0x646f72616e646f6d,
            key[0] ^ 0x6c7967656e657261,
            key[1] ^ 0x7465646279746573,
        };
        for (words) |word| {
            v[3] ^= word;
            sipRound(&v);
            v[0] ^= word;
        }
        v[2] ^= 0xff;
        inline for (0..3) |_| sipRound(&v);
        return v[0] ^ v[1] ^ v[2] ^ v[3];
    }

    inline fn sipRound(v: *[4]u64) void {
        const rotl = std.math.rotl;
        v[0] +%= v[1];
        v[1] = rotl(u64, v[1], 13) ^ v[0];
        v[0] = rotl(u64, v[0], 32);
        v[2] +%= v[3];
        v[3] = rotl(u64, v[3], 16) ^ v[2];
        v[0] +%= v[3];
        v[3] = rotl(u64, v[3], 21) ^ v[0];
        v[2] +%= v[1];
        v[1] = rotl(u64, v[1], 17) ^ v[2];
        v[2] = rotl(u64, v[2], 32);
    }

    /// Whether the flow is known and has not been silent for too long; it is fresh again then.
    fn renew(self: *Flows, tuple: *const Tuple, now_s: u32) bool {
        const at = self.place(tuple);
        for (at.bucket) |*word| {
            const value = word.load(.monotonic);
            if (value >> age_bits != at.fingerprint) continue;
            const silent = age(value, now_s);
            if (silent > tuple.idle()) return false;
            if (silent != 0) word.store(wordOf(at.fingerprint, now_s), .monotonic);
            return true;
        }
        return false;
    }

    fn wordOf(fingerprint: u64, now_s: u32) u64 {
        return fingerprint << age_bits | (now_s & age_mask);
    }

    fn note(self: *Flows, tuple: *const Tuple, now_s: u32) void {
        const at = self.place(tuple);
        var oldest = &at.bucket[0];
        var oldest_age: u64 = 0;
        for (at.bucket) |*word| {
            const value = word.load(.monotonic);
            if (value >> age_bits == at.fingerprint) {
                oldest = word;
                break;
            }
            const silent = if (value == 0) std.math.maxInt(u64) else age(value, now_s);
            if (silent > oldest_age) {
                oldest = word;
                oldest_age = silent;
            }
        }
        // The other thread may take the same word in this moment: then one flow is judged anew.
        oldest.store(wordOf(at.fingerprint, now_s), .monotonic);
    }

    const age_mask: u32 = (1 << age_bits) - 1;

    /// Modulo twelve days; what is so old by chance is of a fingerprint that nobody can choose.
    fn age(value: u64, now_s: u32) u64 {
        return (now_s -% @as(u32, @truncate(value))) & age_mask;
    }
};

comptime {
    assert(std.math.isPowerOfTwo(constants.policy_flow_buckets));
    assert(tcp_idle_s < Flows.age_mask);
}

const testing = std.testing;

/// A policy and the time, with packets between 10.0.0.1 (other) and 10.0.0.2 (this node).
const Scene = struct {
    policy: Policy = .{},
    now_ns: u64 = 5 * constants.ns_per_s,

    /// Named rules speak of `friend` alone.
    fn set(self: *Scene, rules: []const abi.PolicyRule, default_allow: bool) !void {
        try self.setNamed(rules, default_allow, &.{friend}, &.{std.math.maxInt(u64)}, @splat(7));
    }

    fn setNamed(
        self: *Scene,
        rules: []const abi.PolicyRule,
        default_allow: bool,
        peers: []const abi.PeerRef,
        sets: []const u64,
        seed: ?[16]u8,
    ) !void {
        const words = peers.len * setWords(rules.len);
        const named: Named = .{ .peers = peers, .sets = sets[0..words] };
        try self.policy.set(testing.allocator, rules, named, default_allow, seed);
    }

    fn deinit(self: *Scene) void {
        self.policy.deinit(testing.allocator);
    }

    fn in(self: *Scene, packet: []const u8) bool {
        return self.inFrom(friend, packet);
    }

    fn inFrom(self: *Scene, peer: abi.PeerRef, packet: []const u8) bool {
        const inner = inner_packet.parse(packet).?;
        return self.policy.admits(0, peer, &inner, packet, self.now_ns);
    }

    fn out(self: *Scene, packet: []const u8) void {
        const inner = inner_packet.parse(packet).?;
        self.policy.noteOutbound(0, &inner, packet, self.now_ns);
    }
};

/// An IPv4 packet; `flags` of fragments in network order.
fn packet4(buffer: *[40]u8, from: [4]u8, to: [4]u8, protocol: u8, header: [8]u8, fragment: u16) []const u8 {
    buffer.* = @splat(0);
    buffer[0] = 0x45;
    std.mem.writeInt(u16, buffer[2..4], 40, .big);
    std.mem.writeInt(u16, buffer[6..8], fragment, .big);
    buffer[9] = protocol;
    buffer[12..16].* = from;
    buffer[16..20].* = to;
    buffer[20..28].* = header;
    return buffer;
}

fn ports(source: u16, destination: u16) [8]u8 {
    var header: [8]u8 = @splat(0);
    std.mem.writeInt(u16, header[0..2], source, .big);
    std.mem.writeInt(u16, header[2..4], destination, .big);
    return header;
}

const friend: abi.PeerRef = .{ .slot = 3, .generation = 2 };
const other = [4]u8{ 10, 0, 0, 1 };
const third = [4]u8{ 10, 0, 0, 3 };
const own = [4]u8{ 10, 0, 0, 2 };

fn ruleFor(protocol: u8, first: u16, last: u16, allow: bool) abi.PolicyRule {
    return .{ .port_first = first, .port_last = last, .protocol = protocol, .action = @intFromBool(allow) };
}

fn ruleTo(address: [4]u8, bits: u8, protocol: u8, first: u16, allow: bool) abi.PolicyRule {
    var made = ruleFor(protocol, first, first, allow);
    made.destination = .{ .address = address ++ @as([12]u8, @splat(0)), .bits = bits, .family = 4 };
    return made;
}

fn ruleNamed(protocol: u8, first: u16, last: u16, allow: bool) abi.PolicyRule {
    var made = ruleFor(protocol, first, last, allow);
    made.named = 1;
    return made;
}

test "without rules everything passes and nothing is kept" {
    var scene: Scene = .{};
    defer scene.deinit();
    var buffer: [40]u8 = undefined;
    try testing.expect(scene.in(packet4(&buffer, other, own, tcp, ports(4000, 22), 0)));
    try testing.expect(scene.policy.flows == null);
}

test "the first rule that speaks of a packet decides, then the default" {
    var scene: Scene = .{};
    defer scene.deinit();
    try scene.set(&.{
        ruleFor(tcp, 23, 23, false),
        ruleFor(tcp, 22, 24, true),
        ruleFor(icmp4, 0, 65535, true),
    }, false);
    var buffer: [40]u8 = undefined;
    const cases = [_]struct { u8, u16, bool }{
        .{ tcp, 22, true }, .{ tcp, 23, false }, .{ tcp, 24, true }, .{ tcp, 25, false }, .{ udp, 22, false },
    };
    for (cases) |case| {
        const protocol, const port, const passes = case;
        try testing.expectEqual(passes, scene.in(packet4(&buffer, other, own, protocol, ports(4000, port), 0)));
    }
    try testing.expect(scene.in(packet4(&buffer, other, own, icmp4, .{ 8, 0, 0, 0, 0, 9, 0, 1 }, 0)));
}

test "a named rule speaks of those peers in whose set it is, and of no later one in the same slot" {
    var scene: Scene = .{};
    defer scene.deinit();
    var buffer: [40]u8 = undefined;
    // As many rules before it that its bit is in the second word.
    var rules: [70]abi.PolicyRule = @splat(ruleNamed(tcp, 80, 80, false));
    rules[65] = ruleNamed(tcp, 22, 22, true);
    rules[66] = ruleNamed(udp, 53, 53, true);
    const second: abi.PeerRef = .{ .slot = 0, .generation = 1 };
    const sets = [_]u64{ 0, 1 << 1, 1, 1 << 2 };
    try scene.setNamed(&rules, false, &.{ friend, second }, &sets, @splat(7));
    const ssh = packet4(&buffer, other, own, tcp, ports(4000, 22), 0);
    for ([_]abi.PeerRef{
        second,
        .{ .slot = friend.slot, .generation = friend.generation + 1 },
        .{ .slot = friend.slot + 1, .generation = 1 },
        .{ .slot = 1, .generation = 0 },
    }) |peer| try testing.expect(!scene.inFrom(peer, ssh));
    try testing.expect(scene.inFrom(friend, ssh));
    const dns = packet4(&buffer, third, own, udp, ports(4000, 53), 0);
    try testing.expect(!scene.inFrom(friend, dns));
    try testing.expect(scene.inFrom(second, dns));
}

test "flows stay where nobody has lost a right" {
    var scene: Scene = .{};
    defer scene.deinit();
    var buffer: [40]u8 = undefined;
    const rules = [_]abi.PolicyRule{ruleNamed(tcp, 22, 22, true)};
    try scene.setNamed(&rules, false, &.{friend}, &.{1}, @splat(7));
    const packet = packet4(&buffer, other, own, tcp, ports(4000, 22), 0);
    try testing.expect(scene.in(packet));
    scene.now_ns += 2 * constants.ns_per_s;
    try scene.setNamed(&rules, false, &.{}, &.{}, null);
    try testing.expect(scene.in(packet));
    try scene.setNamed(&rules, false, &.{}, &.{}, @splat(8));
    try testing.expect(!scene.in(packet));
}

test "a rule for a destination speaks of no other, nor of the other family" {
    var scene: Scene = .{};
    defer scene.deinit();
    var buffer: [40]u8 = undefined;
    try scene.set(&.{ruleTo(.{ 10, 0, 8, 0 }, 21, tcp, 80, true)}, false);
    for ([_]struct { [4]u8, bool }{
        .{ .{ 10, 0, 8, 1 }, true }, .{ .{ 10, 0, 15, 1 }, true }, .{ .{ 10, 0, 16, 1 }, false }, .{ own, false },
    }) |case| {
        const packet = packet4(&buffer, other, case[0], tcp, ports(4000, 80), 0);
        try testing.expectEqual(case[1], scene.in(packet));
    }
}

test "what this node begins is answered, by that host and port alone, and for a time" {
    var scene: Scene = .{};
    defer scene.deinit();
    try scene.set(&.{}, false);
    var buffer: [40]u8 = undefined;
    const answer = ports(53, 4000);
    try testing.expect(!scene.in(packet4(&buffer, other, own, udp, answer, 0)));
    scene.out(packet4(&buffer, own, other, udp, ports(4000, 53), 0));
    try testing.expect(scene.in(packet4(&buffer, other, own, udp, answer, 0)));
    try testing.expect(!scene.in(packet4(&buffer, third, own, udp, answer, 0)));
    try testing.expect(!scene.in(packet4(&buffer, other, own, udp, ports(54, 4000), 0)));
    try testing.expect(!scene.in(packet4(&buffer, other, own, tcp, answer, 0)));
    scene.now_ns += (udp_idle_s + 1) * constants.ns_per_s;
    try testing.expect(!scene.in(packet4(&buffer, other, own, udp, answer, 0)));
}

test "the hash is SipHash-1-3, but for the length of what it hashes" {
    const bytes: [16]u8 = @splat(3);
    const words: [5]u64 = .{ 1, 2, 3, 4, 5 };
    const key: [2]u64 = @splat(std.mem.readInt(u64, bytes[0..8], .little));
    // The reference ends with a word that holds the length; one with it as a word of data is the same.
    var data: [32]u8 = undefined;
    for (words[0..4], 0..) |word, at| std.mem.writeInt(u64, data[at * 8 ..][0..8], word, .little);
    const last = @as(u64, data.len) << 56;
    const reference = std.crypto.auth.siphash.SipHash64(1, 3).toInt(&data, &bytes);
    try testing.expectEqual(reference, Flows.hashOf(key, &.{ 1, 2, 3, 4, last }));
}

test "an echo is answered, and lets no echo of the other side in" {
    var scene: Scene = .{};
    defer scene.deinit();
    try scene.set(&.{}, false);
    var buffer: [40]u8 = undefined;
    scene.out(packet4(&buffer, own, other, icmp4, .{ 8, 0, 0, 0, 0, 9, 0, 1 }, 0));
    try testing.expect(scene.in(packet4(&buffer, other, own, icmp4, .{ 0, 0, 0, 0, 0, 9, 0, 1 }, 0)));
    try testing.expect(!scene.in(packet4(&buffer, other, own, icmp4, .{ 8, 0, 0, 0, 0, 9, 0, 1 }, 0)));
    try testing.expect(!scene.in(packet4(&buffer, other, own, icmp4, .{ 0, 0, 0, 0, 0, 8, 0, 1 }, 0)));
    // Too large for a link on the way: the path's MTU is learnt so.
    try testing.expect(scene.in(packet4(&buffer, other, own, icmp4, .{ 3, 4, 0, 0, 0, 0, 5, 0 }, 0)));
}

test "fragments are of no flow, and rules for ports speak of the first one alone" {
    var scene: Scene = .{};
    defer scene.deinit();
    var buffer: [40]u8 = undefined;
    try scene.set(&.{ruleFor(udp, 53, 53, true)}, false);
    const first = packet4(&buffer, other, own, udp, ports(4000, 53), 0x2000);
    try testing.expect(scene.in(first));
    try testing.expect(!scene.in(packet4(&buffer, other, own, udp, ports(4000, 54), 0x2000)));
    try testing.expect(!scene.in(packet4(&buffer, other, own, udp, ports(4000, 53), 0x0010)));
    try scene.set(&.{ruleFor(udp, 0, 65535, true)}, false);
    try testing.expect(scene.in(packet4(&buffer, other, own, udp, ports(4000, 54), 0x2000)));
    try testing.expect(scene.in(packet4(&buffer, other, own, udp, ports(0, 0), 0x0010)));
}

test "who cuts his packets does not pass by what is denied" {
    var scene: Scene = .{};
    defer scene.deinit();
    try scene.set(&.{ruleFor(tcp, 22, 22, false)}, true);
    var buffer: [40]u8 = undefined;
    try testing.expect(!scene.in(packet4(&buffer, other, own, tcp, ports(4000, 22), 0x2000)));
    try testing.expect(scene.in(packet4(&buffer, other, own, tcp, ports(4000, 23), 0x2000)));
    try testing.expect(scene.in(packet4(&buffer, other, own, tcp, ports(4000, 22), 0x0010)));
    // A fragment header, and nothing is missing.
    var packet: [68]u8 = @splat(0);
    packet[0] = 0x60;
    packet[4..7].* = .{ 0, 28, 44 };
    packet[40] = tcp;
    packet[51] = 22;
    try testing.expect(!scene.in(&packet));
    packet[51] = 23;
    try testing.expect(scene.in(&packet));
}

test "a flow that was let in is judged anew when the rules change" {
    var scene: Scene = .{};
    defer scene.deinit();
    var buffer: [40]u8 = undefined;
    const packet = packet4(&buffer, other, own, tcp, ports(4000, 22), 0);
    try scene.set(&.{ruleFor(tcp, 22, 22, true)}, false);
    try testing.expect(scene.in(packet));
    try scene.set(&.{}, false);
    try testing.expect(!scene.in(packet));
}

test "IPv6 is judged by prefix, behind extension headers too" {
    var scene: Scene = .{};
    defer scene.deinit();
    var network: [16]u8 = @splat(0);
    network[0] = 0xfd;
    try scene.set(&.{.{
        .destination = .{ .address = network, .bits = 9, .family = 6 },
        .port_first = 22,
        .port_last = 22,
        .protocol = tcp,
        .action = 1,
    }}, false);
    var packet: [60]u8 = @splat(0);
    packet[0] = 0x60;
    packet[5] = 20;
    packet[6] = 60; // destination options, 8 bytes, then TCP
    packet[8] = 0xfd;
    packet[24] = 0xfd;
    packet[40] = tcp;
    std.mem.writeInt(u16, packet[48..50], 4000, .big);
    std.mem.writeInt(u16, packet[50..52], 22, .big);
    try testing.expect(scene.in(&packet));
    packet[25] = 0x80; // outside the nine bits
    try testing.expect(!scene.in(&packet));
    packet[25] = 0x00;
    packet[51] = 23;
    try testing.expect(!scene.in(&packet));
}

test "more flows than there is room for push the oldest out, and none lets a stranger in" {
    var scene: Scene = .{};
    defer scene.deinit();
    try scene.set(&.{}, false);
    var buffer: [40]u8 = undefined;
    const count = 60_000;
    for (0..count) |port| {
        scene.now_ns += constants.ns_per_s / 1000;
        scene.out(packet4(&buffer, own, other, udp, ports(@intCast(port), 53), 0));
    }
    var held: usize = 0;
    for (0..count) |port| {
        held += @intFromBool(scene.in(packet4(&buffer, other, own, udp, ports(53, @intCast(port)), 0)));
        try testing.expect(!scene.in(packet4(&buffer, third, own, udp, ports(53, @intCast(port)), 0)));
    }
    try testing.expect(held > constants.policy_flow_buckets * 3);
    // The newest are there.
    try testing.expect(scene.in(packet4(&buffer, other, own, udp, ports(53, count - 1), 0)));
}

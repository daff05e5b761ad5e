//! Packets that come and go under a policy, held against a list of flows and the rules in their order.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const inner_packet = @import("inner_packet.zig");
const input_ = @import("fuzz_input.zig");
const samples = @import("packet_samples.zig");
const policy_ = @import("policy.zig");
const Policy = policy_.Policy;
const Reader = input_.Reader;
const Target = @import("fuzz.zig").Target;

pub const targets = [_]Target{
    .{ .name = "policy", .bytes_max = 512, .generate = input_.generateProgram, .one = policy },
};

const rules_max = 6;
const others = 4;
const steps_max = 40;
const protocols = [_]u8{ 6, 17, 1, 47 };
const ports = [_]u16{ 22, 0, 80, 65_535 };

/// A packet by what was chosen of it, not by its bytes.
const Packet = struct {
    outbound: bool,
    v6: bool,
    remote: u8,
    /// 1 also in IPv6, where it is 58.
    protocol: u8,
    remote_port: u16,
    local_port: u16,
    fragment: bool,
    /// Not the first.
    later: bool,
    icmp_kind: enum { request, answer, failure },

    fn read(reader: *Reader) Packet {
        const what = reader.int(u8);
        const how = reader.int(u8);
        return .{
            .outbound = what & 1 != 0,
            .v6 = what & 2 != 0,
            .remote = what >> 2 & 3,
            .protocol = protocols[what >> 4 & 3],
            .fragment = what >> 6 == 3,
            .later = what >> 6 == 3 and how >> 6 & 1 != 0,
            .remote_port = ports[how & 3],
            .local_port = ports[how >> 2 & 3],
            .icmp_kind = switch (how >> 4 & 3) {
                0, 1 => .request,
                2 => .answer,
                else => .failure,
            },
        };
    }

    fn write(self: Packet, buffer: *[80]u8) []u8 {
        @memset(buffer, 0);
        const start: usize = if (self.v6) (if (self.fragment) 48 else 40) else 20;
        const packet = buffer[0 .. start + 8];
        const remote = self.remote << 6 | 1;
        const protocol = if (self.v6 and self.protocol == 1) 58 else self.protocol;
        if (self.v6) {
            packet[0] = 0x60;
            samples.put(packet, 4, @intCast(packet.len - 40));
            packet[6] = if (self.fragment) 44 else protocol;
            if (self.fragment) packet[40] = protocol;
            if (self.later) samples.put(packet, 42, 1 << 3);
            packet[if (self.outbound) 24 else 8] = 0xfd;
            packet[if (self.outbound) 39 else 23] = remote;
            packet[if (self.outbound) 8 else 24] = 0xfd;
            packet[if (self.outbound) 23 else 39] = 0x10;
        } else {
            packet[0] = 0x45;
            samples.put(packet, 2, @intCast(packet.len));
            if (self.fragment) samples.put(packet, 6, if (self.later) 0x2001 else 0x2000);
            packet[9] = protocol;
            packet[if (self.outbound) 16 else 12] = 10;
            packet[if (self.outbound) 19 else 15] = remote;
            packet[if (self.outbound) 12 else 16] = 10;
            packet[if (self.outbound) 15 else 19] = 0x10;
        }
        const header = packet[start..];
        if (self.protocol == 1) {
            header[0] = switch (self.icmp_kind) {
                .request => if (self.v6) 128 else 8,
                .answer => if (self.v6) 129 else 0,
                .failure => if (self.v6) 1 else 3,
            };
            samples.put(header, 4, self.local_port);
        } else if (self.protocol != 47) {
            samples.put(header, 0, if (self.outbound) self.local_port else self.remote_port);
            samples.put(header, 2, if (self.outbound) self.remote_port else self.local_port);
        }
        return packet;
    }

    /// Both ends' names for it; who began an echo is part of it.
    fn flow(self: Packet) u64 {
        var name: u64 = @as(u64, self.remote) << 40 | @as(u64, self.protocol) << 48 | @as(u64, @intFromBool(self.v6)) << 56;
        switch (self.protocol) {
            47 => {},
            1 => name |= self.local_port | @as(u64, @intFromBool((self.icmp_kind == .request) == self.outbound)) << 16,
            else => name |= @as(u64, self.remote_port) << 16 | self.local_port,
        }
        return name;
    }

    fn isFailure(self: Packet) bool {
        return self.protocol == 1 and self.icmp_kind == .failure and !self.fragment;
    }

    fn idle(self: Packet) u64 {
        return switch (self.protocol) {
            6 => 3600,
            17 => 180,
            else => 60,
        };
    }
};

const Model = struct {
    rules: [rules_max]abi.PolicyRule = undefined,
    count: usize = 0,
    /// Of each of the others.
    sets: [others]u64 = @splat(0),
    default_allow: bool = true,
    flows: [steps_max]struct { name: u64, at_s: u64 } = undefined,
    flows_count: usize = 0,

    fn isOpen(self: *const Model) bool {
        return self.count == 0 and self.default_allow;
    }

    fn note(self: *Model, name: u64, now_s: u64) void {
        for (self.flows[0..self.flows_count]) |*known| if (known.name == name) {
            known.at_s = now_s;
            return;
        };
        self.flows[self.flows_count] = .{ .name = name, .at_s = now_s };
        self.flows_count += 1;
    }

    fn holds(self: *const Model, packet: Packet, now_s: u64) bool {
        for (self.flows[0..self.flows_count]) |known| {
            if (known.name == packet.flow()) return now_s - known.at_s <= packet.idle();
        }
        return false;
    }

    fn allows(self: *const Model, packet: Packet) bool {
        for (self.rules[0..self.count], 0..) |rule, at| {
            if (rule.named != 0 and self.sets[packet.remote] >> @intCast(at) & 1 == 0) continue;
            if (rule.protocol != 0 and rule.protocol != packet.protocol) continue;
            if (rule.port_first != 0 or rule.port_last != 65_535) {
                if (packet.later or packet.protocol == 1 or packet.protocol == 47) continue;
                if (packet.local_port < rule.port_first or packet.local_port > rule.port_last) continue;
            }
            const to = rule.destination;
            if (to.family == 0) return rule.action != 0;
            if ((to.family == 6) != packet.v6) continue;
            // Ours ends in 0x10: the upper half of the last byte tells ours from others.
            const rest = to.bits - @as(u8, if (packet.v6) 120 else 24);
            const last = to.address[if (packet.v6) 15 else 3];
            if (rest > 0 and (0x10 ^ last) >> @intCast(8 - rest) != 0) continue;
            return rule.action != 0;
        }
        return self.default_allow;
    }
};

fn readRule(reader: *Reader) abi.PolicyRule {
    const what = reader.int(u8);
    var rule: abi.PolicyRule = .{ .action = what & 1, .named = what >> 1 & 1 };
    const v6 = what & 4 != 0;
    if (what & 8 != 0) {
        rule.destination.family = if (v6) 6 else 4;
        rule.destination.address[0] = if (v6) 0xfd else 10;
        rule.destination.address[if (v6) 15 else 3] = reader.int(u8) & 0x30;
        rule.destination.bits = (if (v6) @as(u8, 120) else 24) + ([_]u8{ 0, 2, 3, 4 })[reader.int(u8) & 3];
    }
    rule.protocol = ([_]u8{ 0, 6, 17, 1, 47, 6, 0, 6 })[what >> 4 & 7];
    if (what >> 7 != 0) {
        rule.port_first = ports[reader.int(u8) & 3];
        rule.port_last = rule.port_first +| reader.int(u8);
    }
    return rule;
}

/// Rules, and then packets in and out with time between them.
fn policy(input: []const u8) !u64 {
    const Shared = struct {
        var policy: Policy = .{};
    };
    var reader: Reader = .init(input);
    var model: Model = .{};
    const first = reader.int(u8);
    model.default_allow = first & 1 == 0;
    model.count = (first >> 1) % (rules_max + 1);
    for (model.rules[0..model.count]) |*rule| rule.* = readRule(&reader);
    var peers: [others]abi.PeerRef = undefined;
    for (&peers, &model.sets, 0..) |*peer, *set, at| {
        peer.* = .{ .slot = @intCast(at), .generation = 1 };
        set.* = reader.int(u8);
    }
    const words = others * policy_.setWords(model.count);
    const named: policy_.Named = .{ .peers = &peers, .sets = model.sets[0..words] };
    const rules = model.rules[0..model.count];
    try Shared.policy.set(std.heap.c_allocator, rules, named, model.default_allow, @splat(first));

    var now_s: u64 = 1_000;
    var outcome: u64 = 0;
    for (0..steps_max) |step| {
        if (reader.isDone()) break;
        const lane: u8 = @intCast(step % constants.lanes_max);
        now_s += ([_]u64{ 0, 0, 1, 59, 60, 61, 121, 3_500 })[reader.int(u8) & 7];
        const packet: Packet = .read(&reader);
        var buffer: [80]u8 = undefined;
        const bytes = packet.write(&buffer);
        const inner = inner_packet.parse(bytes) orelse return error.NoPacket;
        if (packet.outbound) {
            Shared.policy.noteOutbound(lane, &inner, bytes, now_s * constants.ns_per_s);
            if (!packet.fragment and !packet.isFailure()) model.note(packet.flow(), now_s);
            continue;
        }
        const admitted = Shared.policy.admits(lane, peers[packet.remote], &inner, bytes, now_s * constants.ns_per_s);
        const known = !packet.fragment and model.holds(packet, now_s);
        const expected = model.isOpen() or packet.isFailure() or known or model.allows(packet);
        if (admitted != expected) return error.AnotherVerdict;
        if (admitted and !packet.fragment and !packet.isFailure()) model.note(packet.flow(), now_s);
        outcome |= @as(u64, 1) << @intCast(@as(u6, @intFromBool(admitted)) | @as(u6, @intFromBool(known)) << 1 |
            @as(u6, @intFromBool(packet.v6)) << 2 | @as(u6, @intFromBool(packet.fragment)) << 3);
    }
    return outcome;
}

//! Tests of coalescing, through its public functions: what merges, what does not, and that both
//! leave every flow as it was.

const std = @import("std");
const coalesce = @import("coalesce.zig");
const inner_packet = @import("inner_packet.zig");
const offload = @import("offload.zig");
const samples = @import("packet_samples.zig");
const testing = std.testing;
const Coalescer = coalesce.Coalescer;
const Split = offload.Split;
const VirtioNetHdr = offload.VirtioNetHdr;
const packets_max = coalesce.packets_max;

/// A coalescer, memory for the packets of a batch, and what comes out of it.
const Bench = struct {
    coalescer: *Coalescer,
    memory: []u8,
    used: usize = 0,
    gathered: *coalesce.Gathered,
    /// A write in one piece, as the kernel sees it.
    flat: []u8,

    fn init(options: coalesce.Options) !Bench {
        const a = testing.allocator;
        const bench: Bench = .{
            .coalescer = try a.create(Coalescer),
            .memory = try a.alloc(u8, 4 << 20),
            .gathered = try a.create(coalesce.Gathered),
            .flat = try a.alloc(u8, VirtioNetHdr.size + 65536),
        };
        bench.coalescer.init(options);
        return bench;
    }

    fn deinit(self: *Bench) void {
        const a = testing.allocator;
        a.destroy(self.coalescer);
        a.free(self.memory);
        a.destroy(self.gathered);
        a.free(self.flat);
    }

    fn reset(self: *Bench) void {
        self.coalescer.reset();
        self.used = 0;
    }

    fn make(self: *Bench, shape: samples.Shape) []u8 {
        const packet = samples.write(self.memory[self.used..], shape);
        self.used += packet.len;
        return packet;
    }

    fn addShape(self: *Bench, shape: samples.Shape) !void {
        try testing.expect(self.coalescer.add(self.make(shape)));
    }

    /// The write with this index: its virtio header, its packet, and the packets it is made of.
    fn write(self: *Bench, index: u32) !struct { VirtioNetHdr, []u8, u32 } {
        @memset(std.mem.asBytes(self.gathered), 0xee);
        const result = self.coalescer.gather(index, self.gathered);
        var length: usize = 0;
        for (result.iovecs) |part| {
            @memcpy(self.flat[length..][0..part.len], part.base[0..part.len]);
            length += part.len;
        }
        try testing.expectEqual(result.bytes, length);
        const header = VirtioNetHdr.read(self.flat[0..VirtioNetHdr.size]);
        return .{ header, self.flat[VirtioNetHdr.size..length], result.packets };
    }

    /// How many packets each write is made of.
    fn expectGroups(self: *Bench, expected: []const u32) !void {
        try testing.expectEqual(expected.len, self.coalescer.count());
        for (expected, 0..) |packets, index| {
            const header, _, const merged = try self.write(@intCast(index));
            try testing.expectEqual(packets, merged);
            try testing.expectEqual(packets > 1, header.gso_type != offload.gso_none);
            if (packets == 1) try testing.expectEqual(VirtioNetHdr{}, header);
        }
    }
};

test "to split a super-packet and coalesce its segments is to change nothing" {
    var prng = std.Random.DefaultPrng.init(0x6964656e74);
    const random = prng.random();
    var bench = try Bench.init(.{});
    defer bench.deinit();
    const storage = try testing.allocator.alloc(u8, 65536);
    defer testing.allocator.free(storage);
    for (0..400) |round| {
        const is_tcp = round & 2 == 0;
        const segment = 1 + random.uintLessThan(u16, if (round % 8 < 4) 1500 else 30_000);
        const shape: samples.Shape = .{
            .family = if (round & 1 == 0) .v4 else .v6,
            .protocol = if (is_tcp) samples.tcp else samples.udp,
            .payload = @min(65_000, segment + 1 +
                random.uintLessThan(usize, segment * @as(usize, coalesce.udp_parts_max - 1))),
            .options = @as(usize, random.uintLessThan(u8, 11)) * 4,
            .sequence = random.int(u32),
            .flags = if (random.boolean()) 0x10 else 0x18,
            .window = random.int(u16),
            .identification = random.int(u16),
            .dont_fragment = random.boolean(),
            .traffic_class = random.int(u8),
            .hop_limit = random.int(u8),
            .seed = round,
        };
        const header, const packet = samples.superPacket(storage, shape, segment);
        const plan = try Split.init(VirtioNetHdr.read(&header), packet);
        try testing.expect(plan.count > 1);
        bench.reset();
        for (0..plan.count) |index| {
            const written = plan.write(@intCast(index), bench.memory[bench.used..]);
            bench.used += written.len;
            try testing.expect(bench.coalescer.add(written));
        }
        try testing.expectEqual(1, bench.coalescer.count());
        const header_after, const packet_after, const merged = try bench.write(0);
        try testing.expectEqual(plan.count, merged);
        try testing.expectEqual(VirtioNetHdr.read(&header), header_after);
        try testing.expectEqualSlices(u8, packet, packet_after);
    }
}

test "a packet continues a group only if nothing but its place in the stream differs" {
    const tcp4: samples.Shape = .{};
    const tcp6: samples.Shape = .{ .family = .v6 };
    const udp4: samples.Shape = .{ .protocol = samples.udp };
    const udp6: samples.Shape = .{ .protocol = samples.udp, .family = .v6 };
    // The field of the second packet which is changed, its value, and whether they still merge.
    const Case = struct { samples.Shape, []const u8, u32, bool };
    const cases = [_]Case{
        .{ tcp4, "sequence", 101, true },        .{ tcp6, "sequence", 101, true },
        .{ tcp4, "sequence", 100, false },       .{ tcp4, "sequence", 102, false },
        .{ tcp4, "sequence", 1, false },         .{ tcp4, "acknowledged", 78, false },
        .{ tcp4, "window", 503, false },         .{ tcp4, "options", 8, false },
        .{ tcp4, "options", 16, false },         .{ tcp4, "source_port", 4001, false },
        .{ tcp4, "destination_port", 1, false }, .{ tcp4, "traffic_class", 3, false },
        .{ tcp4, "hop_limit", 63, false },       .{ tcp4, "payload", 101, false },
        .{ tcp4, "payload", 99, true },          .{ tcp4, "payload", 1, true },
        .{ tcp4, "payload", 0, false },          .{ tcp4, "identification", 500, true },
        .{ tcp4, "flags", 0x18, true },          .{ tcp4, "flags", 0x11, false },
        .{ tcp4, "flags", 0x12, false },         .{ tcp4, "flags", 0x14, false },
        .{ tcp4, "flags", 0x30, false },         .{ tcp4, "flags", 0x50, false },
        .{ tcp4, "flags", 0x90, false },         .{ tcp4, "flags", 0x00, false },
        .{ tcp6, "traffic_class", 1, false },    .{ tcp6, "hop_limit", 1, false },
        .{ udp4, "payload", 100, true },         .{ udp6, "payload", 100, true },
        .{ udp4, "payload", 1, true },           .{ udp4, "payload", 101, false },
        .{ udp4, "payload", 0, false },          .{ udp4, "source_port", 1, false },
        .{ udp6, "destination_port", 1, false }, .{ udp4, "hop_limit", 1, false },
        .{ udp4, "traffic_class", 1, false },    .{ udp6, "hop_limit", 1, false },
        .{ udp4, "identification", 500, true },
    };
    var bench = try Bench.init(.{});
    defer bench.deinit();
    for (cases) |case| {
        errdefer std.debug.print("{s} = {d}\n", .{ case[1], case[2] });
        const first, const field, const value, const merges = case;
        var second = first;
        second.sequence = first.sequence + 100;
        second.identification = first.identification + 1;
        inline for (@typeInfo(samples.Shape).@"struct".field_names) |name| {
            const Field = @FieldType(samples.Shape, name);
            if (@typeInfo(Field) == .int and std.mem.eql(u8, name, field)) {
                @field(second, name) = @intCast(value);
            }
        }
        bench.reset();
        try bench.addShape(first);
        try bench.addShape(second);
        try bench.expectGroups(if (merges) &.{2} else &.{ 1, 1 });
    }
}

test "without DF only consecutive identifications merge; fixed DF of another kind does not" {
    var bench = try Bench.init(.{});
    defer bench.deinit();
    for ([_]u8{ samples.tcp, samples.udp }) |protocol| {
        for ([_]struct { u16, u16, bool, bool }{
            .{ 9, 10, false, true },  .{ 9, 9, false, false },
            .{ 9, 11, false, false }, .{ 65535, 0, false, true },
            .{ 9, 10, true, false },
        }) |case| {
            bench.reset();
            const first: samples.Shape = .{
                .protocol = protocol,
                .identification = case[0],
                .dont_fragment = false,
            };
            var second = first;
            second.sequence += 100;
            second.identification = case[1];
            second.dont_fragment = case[2];
            try bench.addShape(first);
            try bench.addShape(second);
            try bench.expectGroups(if (case[3]) &.{2} else &.{ 1, 1 });
        }
    }
}

test "a short packet or a push ends its group, and later ones begin another" {
    var bench = try Bench.init(.{});
    defer bench.deinit();
    try bench.addShape(.{ .sequence = 0 });
    try bench.addShape(.{ .sequence = 100, .payload = 50 });
    try bench.addShape(.{ .sequence = 150 });
    try bench.addShape(.{ .sequence = 250, .flags = 0x18 });
    try bench.addShape(.{ .sequence = 350 });
    try bench.addShape(.{ .sequence = 450 });
    try bench.expectGroups(&.{ 2, 2, 2 });
    _, const pushed, _ = try bench.write(1);
    try testing.expectEqual(0x18, pushed[20 + 13]);

    bench.reset();
    try bench.addShape(.{ .sequence = 0, .flags = 0x18 });
    try bench.addShape(.{ .sequence = 100 });
    try bench.addShape(.{ .sequence = 200 });
    try bench.expectGroups(&.{ 1, 2 });
}

test "packets that may not merge are not overtaken by their flow" {
    var bench = try Bench.init(.{});
    defer bench.deinit();
    // An acknowledgement without data, between data.
    try bench.addShape(.{ .sequence = 0 });
    try bench.addShape(.{ .sequence = 100, .payload = 0 });
    try bench.addShape(.{ .sequence = 100 });
    try bench.addShape(.{ .sequence = 200 });
    try bench.expectGroups(&.{ 1, 1, 2 });

    // Another flow between the same addresses, and an unrelated one, do not disturb.
    bench.reset();
    try bench.addShape(.{ .sequence = 0 });
    try bench.addShape(.{ .sequence = 5, .source_port = 9, .flags = 0x02 });
    try bench.addShape(.{ .protocol = samples.udp });
    try bench.addShape(.{ .family = .v6, .flags = 0x04 });
    try bench.addShape(.{ .sequence = 100 });
    try bench.addShape(.{ .protocol = samples.udp });
    try bench.expectGroups(&.{ 2, 1, 2, 1 });
}

test "a fragment closes what is open between its addresses, and nothing else" {
    var bench = try Bench.init(.{});
    defer bench.deinit();
    const Portless = enum { fragment, options, short_tcp, icmp };
    for ([_]Portless{ .fragment, .options, .short_tcp, .icmp }) |kind| {
        bench.reset();
        try bench.addShape(.{ .sequence = 0 });
        try bench.addShape(.{ .family = .v6, .sequence = 0 });
        const elsewhere = bench.make(.{ .sequence = 0 });
        elsewhere[15] = 99;
        samples.complete(elsewhere);
        try testing.expect(bench.coalescer.add(elsewhere));
        const odd = bench.make(.{ .protocol = samples.udp });
        switch (kind) {
            .fragment => samples.put(odd, 6, 0x2000),
            .options => odd[0] = 0x46,
            .short_tcp => {
                odd[9] = samples.tcp;
                samples.put(odd, 2, 39);
            },
            .icmp => odd[9] = 1,
        }
        try testing.expect(bench.coalescer.add(odd));
        try bench.addShape(.{ .sequence = 100 });
        try bench.addShape(.{ .family = .v6, .sequence = 100 });
        const again = bench.make(.{ .sequence = 100 });
        again[15] = 99;
        samples.complete(again);
        try testing.expect(bench.coalescer.add(again));
        if (kind == .icmp) {
            try bench.expectGroups(&.{ 2, 2, 2, 1 });
        } else {
            try bench.expectGroups(&.{ 1, 2, 2, 1, 1 });
        }
    }
    // An IPv6 extension header hides the ports as well.
    bench.reset();
    try bench.addShape(.{ .family = .v6, .sequence = 0 });
    const hidden = bench.make(.{ .family = .v6, .sequence = 100 });
    hidden[6] = 44;
    try testing.expect(bench.coalescer.add(hidden));
    try bench.addShape(.{ .family = .v6, .sequence = 100 });
    try bench.expectGroups(&.{ 1, 1, 1 });
}

test "a packet with a wrong checksum stays alone and unchanged" {
    var bench = try Bench.init(.{});
    defer bench.deinit();
    for ([_]inner_packet.Family{ .v4, .v6 }) |family| {
        for ([_]u8{ samples.tcp, samples.udp }) |protocol| for (0..4) |broken| {
            bench.reset();
            var broken_packet: []u8 = undefined;
            for (0..4) |number| {
                const packet = bench.make(.{
                    .family = family,
                    .protocol = protocol,
                    .sequence = @intCast(number * 100),
                });
                if (number == broken) {
                    packet[packet.len - 1] ^= 0x40;
                    broken_packet = packet;
                }
                try testing.expect(bench.coalescer.add(packet));
            }
            try bench.expectGroups(([_][]const u32{
                &.{ 1, 3 }, &.{ 1, 1, 2 }, &.{ 2, 1, 1 }, &.{ 3, 1 },
            })[broken]);
            const at: u32 = ([_]u32{ 0, 1, 1, 1 })[broken];
            _, const packet, _ = try bench.write(at);
            try testing.expectEqualSlices(u8, broken_packet, packet);
        };
    }
}

test "a wrong checksum of the IPv4 header is not made right" {
    var bench = try Bench.init(.{});
    defer bench.deinit();
    for (0..2) |broken| {
        bench.reset();
        for (0..2) |number| {
            const packet = bench.make(.{ .sequence = @intCast(number * 100) });
            if (number == broken) packet[10] ^= 1;
            try testing.expect(bench.coalescer.add(packet));
        }
        try bench.expectGroups(&.{ 1, 1 });
    }
}

test "odd transport headers are not merged, though their checksums are right" {
    var bench = try Bench.init(.{});
    defer bench.deinit();
    const Odd = struct { protocol: u8, at: usize, word: u16 };
    for ([_]Odd{
        .{ .protocol = samples.udp, .at = 24, .word = 107 }, // length
        .{ .protocol = samples.udp, .at = 24, .word = 109 },
        .{ .protocol = samples.tcp, .at = 32, .word = 0x4010 }, // a header of 16 bytes
        .{ .protocol = samples.tcp, .at = 32, .word = 0x8110 }, // a reserved bit
        .{ .protocol = samples.tcp, .at = 32, .word = 0xf010 }, // longer than the packet
    }) |odd| {
        bench.reset();
        for (0..2) |number| {
            const packet = bench.make(.{
                .protocol = odd.protocol,
                .payload = 8,
                .sequence = @intCast(number * if (odd.word == 0x4010) @as(usize, 24) else 8),
            });
            samples.put(packet, odd.at, odd.word);
            samples.complete(packet);
            try testing.expect(bench.coalescer.add(packet));
        }
        try bench.expectGroups(&.{ 1, 1 });
    }

    // An urgent pointer without URG means nothing, but would be lost.
    bench.reset();
    for (0..2) |number| {
        const packet = bench.make(.{ .sequence = @intCast(number * 100) });
        if (number == 1) samples.put(packet, 38, 1);
        samples.complete(packet);
        try testing.expect(bench.coalescer.add(packet));
    }
    try bench.expectGroups(&.{ 1, 1 });
}

test "UDP without a checksum is not merged" {
    var bench = try Bench.init(.{});
    defer bench.deinit();
    for (0..2) |_| {
        const packet = bench.make(.{ .protocol = samples.udp });
        samples.put(packet, 26, 0);
        try testing.expect(bench.coalescer.add(packet));
    }
    try bench.expectGroups(&.{ 1, 1 });
}

test "what the TUN does not take is not merged" {
    const tcp_and_udp = [_]samples.Shape{
        .{ .sequence = 0 },
        .{ .protocol = samples.udp },
        .{ .sequence = 100 },
        .{ .protocol = samples.udp },
    };
    var bench = try Bench.init(.{ .udp = false });
    defer bench.deinit();
    for (tcp_and_udp) |shape| try bench.addShape(shape);
    try bench.expectGroups(&.{ 2, 1, 1 });
    bench.coalescer.init(.{ .tcp = false });
    for (tcp_and_udp) |shape| try bench.addShape(shape);
    try bench.expectGroups(&.{ 1, 2, 1 });
}

test "padding is cut off, alone and merged; what is no packet passes as it is" {
    var bench = try Bench.init(.{});
    defer bench.deinit();
    for (0..3) |number| {
        const packet = bench.make(.{ .sequence = @intCast(number * 104), .payload = 104 });
        if (number == 2) packet[13 + 20] = 0x14;
        const padded = bench.memory[bench.used - packet.len .. bench.used + 8];
        @memset(padded[packet.len..], 0);
        bench.used += 8;
        try testing.expect(bench.coalescer.add(padded));
    }
    try testing.expect(bench.coalescer.add("no packet at all"));
    try bench.expectGroups(&.{ 2, 1, 1 });
    _, const merged, _ = try bench.write(0);
    try testing.expectEqual(52 + 2 * 104, merged.len);
    _, const alone, _ = try bench.write(1);
    try testing.expectEqual(52 + 104, alone.len);
    _, const other, _ = try bench.write(2);
    try testing.expectEqualStrings("no packet at all", other);
}

test "a super-packet stays within 65,535 bytes and its number of parts" {
    var bench = try Bench.init(.{});
    defer bench.deinit();
    for (0..100) |number| {
        try bench.addShape(.{ .sequence = @intCast(number * 1400), .payload = 1400 });
    }
    try bench.expectGroups(&.{ 46, 46, 8 });
    for ([_]usize{ 1083, 1084 }, [_][]const u32{ &.{47}, &.{ 46, 1 } }) |last, groups| {
        bench.reset();
        for (0..47) |number| {
            const payload = if (number == 46) last else 1400;
            try bench.addShape(.{ .sequence = @intCast(number * 1400), .payload = payload });
        }
        try bench.expectGroups(groups);
    }
    bench.reset();
    for (0..100) |_| try bench.addShape(.{ .protocol = samples.udp, .payload = 10 });
    try bench.expectGroups(&.{ 64, 36 });
    bench.reset();
    for (0..600) |number| try bench.addShape(.{ .sequence = @intCast(number), .payload = 1 });
    try bench.expectGroups(&.{ 512, 88 });
}

test "a full batch says so, and loses nothing" {
    var bench = try Bench.init(.{});
    defer bench.deinit();
    const packet = bench.make(.{ .protocol = samples.udp });
    for (0..packets_max) |_| try testing.expect(bench.coalescer.add(packet));
    try testing.expect(!bench.coalescer.add(packet));
    var packets: u32 = 0;
    for (0..bench.coalescer.count()) |index| {
        _, _, const merged = try bench.write(@intCast(index));
        packets += merged;
    }
    try testing.expectEqual(packets_max, packets);
    bench.coalescer.reset();
    try testing.expect(bench.coalescer.add(packet));
    try bench.expectGroups(&.{1});
}

/// The packets of one flow, one after the other.
fn collect(flows: []std.ArrayList(u8), packet: []const u8) !void {
    // The low byte of the source port.
    const flow = samples.transportOf(packet)[1];
    try flows[flow].appendSlice(testing.allocator, packet);
}

test "coalesced and split again, every flow is what it was, byte for byte and in order" {
    const a = testing.allocator;
    var prng = std.Random.DefaultPrng.init(0x6f72646572);
    const random = prng.random();
    var bench = try Bench.init(.{});
    defer bench.deinit();
    const storage = try a.alloc(u8, 65536);
    defer a.free(storage);
    var merged_most: u32 = 0;
    for (0..60) |round| {
        // More flows than the table has room for, in every second round.
        const flow_count: usize = if (round % 2 == 0) 8 else 160;
        var shapes: [160]samples.Shape = undefined;
        for (shapes[0..flow_count], 0..) |*shape, flow| {
            shape.* = .{
                .source_port = @intCast(flow),
                .family = if (random.boolean()) .v4 else .v6,
                .protocol = if (random.boolean()) samples.tcp else samples.udp,
                .sequence = random.int(u32),
                .payload = 40 + random.uintLessThan(usize, 200),
                .dont_fragment = random.boolean(),
            };
        }
        var before: [160]std.ArrayList(u8) = @splat(.empty);
        defer for (&before) |*list| list.deinit(a);
        var after: [160]std.ArrayList(u8) = @splat(.empty);
        defer for (&after) |*list| list.deinit(a);

        bench.reset();
        const size = random.intRangeAtMost(usize, 1, packets_max);
        var flow: usize = 0;
        for (0..size) |number| {
            // Packets of a flow come in bursts.
            if (random.uintLessThan(u8, 6) == 0) flow = random.uintLessThan(usize, flow_count);
            const shape = &shapes[flow];
            var this = shape.*;
            this.seed = number;
            switch (random.uintLessThan(u8, 30)) {
                0 => this.payload = random.uintAtMost(usize, this.payload),
                1 => this.flags = 0x18,
                2 => this.flags = random.int(u8),
                3 => shape.sequence +%= random.int(u8),
                4 => shape.acknowledged += 1,
                5 => this.window += 1,
                6 => this.traffic_class = 3,
                else => {},
            }
            const packet = bench.make(this);
            if (random.uintLessThan(u8, 40) == 0) packet[packet.len - 1] ^= 1;
            shape.sequence +%= @intCast(this.payload);
            shape.identification +%= 1;
            try testing.expect(bench.coalescer.add(packet));
            try collect(&before, packet);
        }
        for (0..bench.coalescer.count()) |index| {
            const header, const packet, const merged = try bench.write(@intCast(index));
            const plan = try Split.init(header, packet);
            try testing.expectEqual(merged, plan.count);
            merged_most = @max(merged_most, merged);
            for (0..plan.count) |at| try collect(&after, plan.write(@intCast(at), storage));
        }
        for (before, after) |one, other| try testing.expectEqualSlices(u8, one.items, other.items);
    }
    try testing.expect(merged_most > 10);
}

test "random bytes and damaged packets pass, and are never read beyond their end" {
    var prng = std.Random.DefaultPrng.init(0x636f616c);
    const random = prng.random();
    var bench = try Bench.init(.{});
    defer bench.deinit();
    var merged: u32 = 0;
    for (0..300) |_| {
        bench.reset();
        var sequence: u32 = 0;
        for (0..100) |_| {
            var packet = bench.make(.{
                .family = if (random.uintLessThan(u8, 5) > 0) .v4 else .v6,
                .protocol = if (random.uintLessThan(u8, 5) > 0) samples.tcp else samples.udp,
                .sequence = sequence,
            });
            sequence += 100;
            switch (random.uintLessThan(u8, 8)) {
                0 => packet[random.uintLessThan(usize, packet.len)] = random.int(u8),
                1 => packet[random.uintLessThan(usize, 40)] ^= @as(u8, 1) << random.int(u3),
                2 => packet = packet[0..random.uintAtMost(usize, packet.len)],
                3 => {
                    packet = packet[0..random.uintAtMost(usize, packet.len)];
                    if (packet.len > 1) random.bytes(packet[1..]);
                },
                else => {},
            }
            try testing.expect(bench.coalescer.add(packet));
        }
        var packets: u32 = 0;
        for (0..bench.coalescer.count()) |index| {
            const header, const packet, const count = try bench.write(@intCast(index));
            packets += count;
            if (count > 1) {
                merged += count;
                _ = try Split.init(header, packet);
            }
        }
        try testing.expectEqual(100, packets);
    }
    try testing.expect(merged > 1000);
}

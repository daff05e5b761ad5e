//! Packets inside the tunnel: their headers, the virtio header and the splitting behind it, the
//! coalescing of what arrives, and the control messages beside a datagram. Each is held against the
//! same rules written once more, as plainly as possible.
const std = @import("std");
const abi = @import("abi.zig");
const coalesce = @import("coalesce.zig");
const control_message = @import("control_message.zig");
const inner_packet = @import("inner_packet.zig");
const input_ = @import("fuzz_input.zig");
const offload = @import("offload.zig");
const samples = @import("packet_samples.zig");
const Coalescer = coalesce.Coalescer;
const Reader = input_.Reader;
const Split = offload.Split;
const Target = @import("fuzz.zig").Target;
const VirtioNetHdr = offload.VirtioNetHdr;
const Writer = input_.Writer;

const super_bytes_max = VirtioNetHdr.size + 65_536;

pub const targets = [_]Target{
    .{ .name = "ip-headers", .bytes_max = 512, .generate = generateHeaders, .one = ipHeaders },
    .{ .name = "virtio", .bytes_max = super_bytes_max, .generate = generateVirtio, .one = virtio },
    .{ .name = "split-coalesce", .bytes_max = 64, .generate = input_.generateProgram, .one = splitCoalesce },
    .{ .name = "coalesce-split", .bytes_max = 512, .generate = input_.generateProgram, .one = coalesceSplit },
    .{ .name = "control-message", .bytes_max = 320, .generate = generateControl, .one = controlMessage },
};

/// Packets in the order in which they were made or came out. The bytes are elsewhere.
pub const Packets = struct {
    const packets_max = 256;

    bytes: [packets_max][]const u8 = undefined,
    flows: [packets_max]u64 = undefined,
    count: usize = 0,

    pub fn add(self: *Packets, packet: []const u8) void {
        self.bytes[self.count] = packet;
        self.flows[self.count] = flowOf(packet);
        self.count += 1;
    }
};

/// Addresses and protocol, and the ports of what has plain headers.
fn flowOf(packet: []const u8) u64 {
    var hasher: std.hash.Wyhash = .init(packet[0] >> 4);
    const addresses, const protocol, const plain: usize = if (packet[0] >> 4 == 4)
        .{ packet[12..20], packet[9], if (packet[0] == 0x45 and samples.get(packet, 6) & 0x3fff == 0) 20 else 0 }
    else
        .{ packet[8..40], packet[6], 40 };
    hasher.update(addresses);
    hasher.update(&.{protocol});
    const is_known = protocol == samples.tcp or protocol == samples.udp;
    if (is_known and plain != 0 and packet.len >= plain + 4) hasher.update(packet[plain..][0..4]);
    return hasher.final();
}

/// What a coalescer's writes are to the other side of a TUN, split again into packets.
pub const Output = struct {
    wanted: *const Packets,
    got: Packets = .{},
    outcome: u64 = 0,

    var storage: [512 * 1024]u8 = undefined;
    var gathered: coalesce.Gathered = undefined;
    var used: usize = 0;

    pub fn collect(self: *Output, coalescer: *const Coalescer) !void {
        if (self.got.count == 0) used = 0;
        for (0..coalescer.count()) |index| {
            const write = coalescer.gather(@intCast(index), &gathered);
            const flat = storage[used..];
            var length: usize = 0;
            for (write.iovecs) |part| {
                @memcpy(flat[length..][0..part.len], part.base[0..part.len]);
                length += part.len;
            }
            used += length;
            if (length != write.bytes) return error.WriteOfAnotherLength;
            const header = VirtioNetHdr.read(flat[0..VirtioNetHdr.size]);
            const packet = flat[VirtioNetHdr.size..length];
            if (write.packets == 1) {
                if (!std.meta.eql(header, .{})) return error.HeaderOfOnePacket;
                self.got.add(packet);
                continue;
            }
            self.outcome |= @as(u64, 1) << @intCast(header.gso_type);
            const plan = try Split.init(header, packet);
            if (plan.count != write.packets) return error.AnotherNumberOfSegments;
            for (0..plan.count) |at| {
                const segment = plan.write(@intCast(at), storage[used..]);
                used += segment.len;
                if (!samples.isCorrect(segment)) return error.ChecksumWrong;
                self.got.add(segment);
            }
        }
    }

    /// Nothing is lost, made up or changed, and every flow is in its order.
    pub fn expectSameFlows(self: *const Output) !void {
        if (self.got.count != self.wanted.count) return error.AnotherNumberOfPackets;
        var taken: std.StaticBitSet(Packets.packets_max) = .empty;
        for (self.wanted.bytes[0..self.wanted.count], self.wanted.flows[0..self.wanted.count]) |packet, flow| {
            const at = for (self.got.flows[0..self.got.count], 0..) |other, at| {
                if (other == flow and !taken.isSet(at)) break at;
            } else return error.PacketMissing;
            taken.set(at);
            if (!isSame(packet, self.got.bytes[at])) return error.PacketChanged;
        }
    }

    /// But for what a super-packet does not carry: numbers that nobody needs, since the packet may
    /// not be fragmented, and which of the two zeros TCP's checksum is.
    fn isSame(a: []const u8, b: []const u8) bool {
        if (a.len != b.len) return false;
        if (std.mem.eql(u8, a, b)) return true;
        var copies: [2][65_536]u8 = undefined;
        for (&copies, [2][]const u8{ a, b }) |*copy, packet| {
            @memcpy(copy[0..packet.len], packet);
            if (packet.len < 20) return false;
            var transport: usize = 40;
            if (packet[0] >> 4 == 4) {
                transport = 20;
                if (packet[6] & 0x40 != 0) {
                    @memset(copy[4..6], 0);
                    @memset(copy[10..12], 0);
                }
            }
            const is_tcp = samples.protocolOf(packet) == samples.tcp and packet.len >= transport + 18;
            if (is_tcp and samples.get(copy[transport..], 16) == 0) samples.put(copy[transport..], 16, 0xffff);
        }
        return std.mem.eql(u8, copies[0][0..a.len], copies[1][0..b.len]);
    }
};

/// A plaintext of a transport message: a packet in its padding, whole more often than not.
pub fn makeText(random: std.Random, room: *[2048]u8) []u8 {
    switch (random.uintLessThan(u8, 10)) {
        0 => return room[0..0],
        1 => {
            const length = random.uintLessThan(u16, 1300);
            random.bytes(room[0..length]);
            if (length >= 4) {
                room[0] &= 15;
                std.mem.writeInt(u16, room[2..4], if (random.boolean()) length else random.uintLessThan(u16, 1400), .little);
            }
            return room[0..length];
        },
        else => {},
    }
    const packet = samples.write(room, .{
        .family = if (random.boolean()) .v4 else .v6,
        .protocol = if (random.boolean()) samples.tcp else samples.udp,
        .source_port = random.uintLessThan(u16, 3),
        .payload = random.uintLessThan(usize, 600),
        .options = @as(usize, random.uintLessThan(u8, 11)) * 4,
        .sequence = random.uintLessThan(u32, 4) * 100,
        .flags = if (random.boolean()) 0x10 else random.int(u8),
        .identification = random.uintLessThan(u16, 4),
        .dont_fragment = random.boolean(),
        .seed = random.int(u8),
    });
    if (random.uintLessThan(u8, 4) == 0) {
        const at = random.uintLessThan(usize, @min(packet.len, 80));
        packet[at] = if (random.boolean()) random.int(u8) else 9;
    }
    const padded = std.mem.alignForward(usize, packet.len, 16);
    @memset(room[packet.len..padded], 0);
    return if (random.uintLessThan(u8, 8) == 0) room[0..random.uintAtMost(usize, padded)] else room[0..padded];
}

fn ipHeaders(input: []const u8) !u64 {
    const found = inner_packet.parse(input);
    const expected = headersOf(input);
    if (found == null or expected == null) return if (found == null and expected == null) 0 else error.AnotherVerdict;
    const inner = found.?;
    if (inner.total_length != expected.?.total or inner.header_length != expected.?.header) return error.AnotherLength;
    if (inner.total_length > input.len or inner.header_length > inner.total_length) return error.BeyondThePacket;
    for ([_]u32{ 0, 576, 1280, 1420, 65_455 }) |mtu| {
        const padded = inner_packet.paddedLength(inner.total_length, mtu);
        if (padded < inner.total_length or padded - inner.total_length >= 16) return error.PaddingOfAnotherLength;
        if (mtu != 0 and inner.total_length <= mtu and padded > mtu) return error.PaddingBeyondMtu;
    }
    const transport = inner_packet.transport(input, &inner);
    const walked = walk(input[0..inner.total_length], inner.family == .v4);
    if (transport == null or walked == null) return if (transport == null and walked == null) 1 else error.AnotherChain;
    if (transport.?.offset != walked.?.offset or transport.?.protocol != walked.?.protocol or
        transport.?.fragment != walked.?.fragment) return error.AnotherTransport;
    return @as(u64, walked.?.headers) * 4 + @intFromBool(walked.?.fragment) + 2;
}

fn headersOf(bytes: []const u8) ?struct { total: usize, header: usize } {
    if (bytes.len == 0) return null;
    const is_v4 = bytes[0] >> 4 == 4;
    if (!is_v4 and bytes[0] >> 4 != 6) return null;
    if (bytes.len < @as(usize, if (is_v4) 20 else 40)) return null;
    const header: usize = if (is_v4) @as(usize, bytes[0] & 15) * 4 else 40;
    const total = if (is_v4) samples.get(bytes, 2) else 40 + samples.get(bytes, 4);
    if (header < 20 or total < header or total > bytes.len) return null;
    return .{ .total = total, .header = header };
}

const Walked = struct { offset: usize, protocol: u8, fragment: bool, headers: u8 };

/// The chain of extension headers, by recursion.
fn walk(packet: []const u8, is_v4: bool) ?Walked {
    if (is_v4) return .{
        .offset = @as(usize, packet[0] & 15) * 4,
        .protocol = packet[9],
        .fragment = samples.get(packet, 6) & 0x3fff != 0,
        .headers = 0,
    };
    return walkFrom(packet, .{ .offset = 40, .protocol = packet[6], .fragment = false, .headers = 0 });
}

fn walkFrom(packet: []const u8, at: Walked) ?Walked {
    const extensions = [_]u8{ 0, 43, 44, 51, 60, 135, 139, 140 };
    if (std.mem.indexOfScalar(u8, &extensions, at.protocol) == null) return at;
    if (at.headers == inner_packet.extension_headers_max or packet.len < at.offset + 8) return null;
    const units: usize = packet[at.offset + 1];
    const length = switch (at.protocol) {
        44 => 8,
        51 => units * 4 + 8,
        else => units * 8 + 8,
    };
    if (packet.len < at.offset + length) return null;
    return walkFrom(packet, .{
        .offset = at.offset + length,
        .protocol = packet[at.offset],
        .fragment = at.fragment or at.protocol == 44,
        .headers = at.headers + 1,
    });
}

fn generateHeaders(random: std.Random, buffer: []u8) usize {
    const bytes = buffer[0..random.uintAtMost(usize, 200)];
    random.bytes(bytes);
    if (bytes.len < 40) return bytes.len;
    const is_v4 = random.uintLessThan(u8, 4) == 0;
    bytes[0] = if (is_v4) 0x40 | random.intRangeAtMost(u8, 4, 8) else 0x60;
    if (random.boolean()) bytes[2] = 0;
    samples.put(bytes, 4, @intCast(bytes.len - 40));
    const extensions = [_]u8{ 0, 43, 44, 51, 60, 135, 6, 17 };
    var at: usize = 40;
    bytes[6] = extensions[random.int(u3)];
    while (at + 8 <= bytes.len and !is_v4) {
        bytes[at] = extensions[random.int(u3)];
        bytes[at + 1] = if (random.uintLessThan(u8, 8) == 0) random.int(u8) else random.int(u1);
        at += (@as(usize, bytes[at + 1]) + 1) * 8;
    }
    return bytes.len;
}

/// A virtio header and a packet: refused, or in segments that lie exactly where they should and
/// together are the packet's payload. Of very many, some are written: any may be, at any time.
fn virtio(input: []const u8) !u64 {
    if (input.len < VirtioNetHdr.size) return 0;
    const header = VirtioNetHdr.read(input[0..VirtioNetHdr.size]);
    const packet = input[VirtioNetHdr.size..];
    const plan = Split.init(header, packet) catch |err| return switch (err) {
        error.Malformed => 1,
        error.Unsupported => 2,
    };
    if (plan.count == 0) return error.NoSegments;
    if (plan.kind == .whole and plan.count != 1) return error.WholeInParts;
    const payload = plan.packet[plan.header_length..];
    if (plan.kind != .whole) {
        if (plan.count != std.math.divCeil(usize, payload.len, header.gso_size) catch 0) return error.AnotherNumberOfSegments;
    }
    const is_plain = plan.kind != .whole and plan.transport_at == inner_packet.ipv6_header_size - 20 * @as(u32, @intFromBool(plan.family == .v4));
    const sum_known = is_plain and (header.flags & offload.needs_csum == 0 or samples.get(plan.packet[plan.transport_at..], if (plan.kind == .tcp) 16 else 6) % 0xffff ==
        samples.pseudo(plan.packet) % 0xffff);
    const step = @max(1, plan.count / 12);
    var at: u32 = 0;
    while (at < plan.count) : (at += if (at + step < plan.count or at + 1 == plan.count) step else plan.count - 1 - at) {
        var room: [65_536]u8 = undefined;
        const length = plan.segmentLength(at);
        if (length > plan.segmentLengthMax()) return error.LongerThanTheFirst;
        const segment = plan.write(at, room[0..length]);
        if (segment.len != length) return error.AnotherLength;
        if (plan.kind == .whole) {
            if (segment.len != packet.len) return error.AnotherLength;
            continue;
        }
        const from = @as(usize, at) * header.gso_size;
        const part = payload[from..@min(payload.len, from + header.gso_size)];
        if (!std.mem.eql(u8, part, segment[plan.header_length..])) return error.AnotherPayload;
        const inner = inner_packet.parse(segment) orelse return error.NoPacket;
        if (inner.total_length != segment.len) return error.LengthOfAnotherPacket;
        if (sum_known and !samples.isCorrect(segment)) return error.ChecksumWrong;
    }
    return @as(u64, @backingInt(plan.kind)) << 8 | @as(u64, @backingInt(plan.family)) << 4 |
        @as(u64, @intFromBool(plan.count > 1)) << 1 | @intFromBool(sum_known) | 1 << 16;
}

fn generateVirtio(random: std.Random, buffer: []u8) usize {
    const payload = if (random.uintLessThan(u8, 64) == 0) random.uintLessThan(usize, 65_000) else random.uintLessThan(usize, 3000);
    const shape = randomShape(random, payload);
    const segment = 1 + random.uintLessThan(u16, if (random.boolean()) 1500 else 65_535);
    var header, const packet = samples.superPacket(buffer[VirtioNetHdr.size..], shape, segment);
    if (random.uintLessThan(u8, 4) == 0) header[random.uintLessThan(usize, header.len)] = random.int(u8);
    if (random.uintLessThan(u8, 4) == 0) header[0..2].* = .{ random.int(u1), 0 };
    if (random.uintLessThan(u8, 4) == 0) packet[random.uintLessThan(usize, @min(packet.len, 100))] = random.int(u8);
    buffer[0..VirtioNetHdr.size].* = header;
    return VirtioNetHdr.size + packet.len;
}

fn randomShape(random: std.Random, payload: usize) samples.Shape {
    return .{
        .family = if (random.boolean()) .v4 else .v6,
        .protocol = if (random.boolean()) samples.tcp else samples.udp,
        .payload = payload,
        .options = @as(usize, random.uintLessThan(u8, 11)) * 4,
        .sequence = random.int(u32),
        .flags = if (random.boolean()) 0x10 else random.int(u8),
        .window = random.int(u16),
        .identification = random.int(u16),
        .dont_fragment = random.boolean(),
        .traffic_class = random.int(u8),
        .seed = random.int(u16),
    };
}

var shared_coalescer: Coalescer = undefined;
var packet_memory: [256 * 1024]u8 = undefined;
var flat_memory: [VirtioNetHdr.size + 65_536]u8 = undefined;
var gathered_memory: coalesce.Gathered = undefined;

/// The shape of a super-packet: what it is split into comes together again as it was.
fn splitCoalesce(input: []const u8) !u64 {
    var reader: Reader = .init(input);
    const choices = reader.int(u8);
    const segment = 1 + reader.int(u16) % 2000;
    const is_tcp = choices & 1 == 0;
    const shape: samples.Shape = .{
        .family = if (choices & 2 == 0) .v4 else .v6,
        .protocol = if (is_tcp) samples.tcp else samples.udp,
        .payload = @min(12_000, segment + 1 + reader.int(u16) % (@as(u32, segment) * (coalesce.udp_parts_max - 1))),
        .options = @as(usize, choices >> 4) % 11 * 4,
        .flags = if (choices & 4 == 0) 0x10 else 0x18,
        .dont_fragment = choices & 8 == 0,
        .sequence = reader.int(u32),
        .acknowledged = reader.int(u32),
        .window = reader.int(u16),
        .identification = reader.int(u16),
        .traffic_class = reader.int(u8),
        .hop_limit = reader.int(u8),
        .source_port = reader.int(u16),
        .destination_port = reader.int(u16),
        .seed = reader.int(u16),
    };
    const header, const packet = samples.superPacket(&flat_memory, shape, segment);
    const plan = try Split.init(VirtioNetHdr.read(&header), packet);
    shared_coalescer.init(.{});
    var used: usize = 0;
    for (0..plan.count) |at| {
        const written = plan.write(@intCast(at), packet_memory[used..]);
        used += written.len;
        if (!samples.isCorrect(written)) return error.ChecksumWrong;
        if (!shared_coalescer.add(written)) return error.NoRoom;
    }
    if (shared_coalescer.count() != 1) return error.InSeveralParts;
    const write = shared_coalescer.gather(0, &gathered_memory);
    if (write.packets != plan.count) return error.SegmentsMissing;
    var room: [VirtioNetHdr.size + 65_536]u8 = undefined;
    var length: usize = 0;
    for (write.iovecs) |part| {
        @memcpy(room[length..][0..part.len], part.base[0..part.len]);
        length += part.len;
    }
    if (!std.mem.eql(u8, room[0..VirtioNetHdr.size], &header)) return error.AnotherHeader;
    if (!std.mem.eql(u8, room[VirtioNetHdr.size..length], packet)) return error.AnotherPacket;
    return choices & 3 | @as(u64, @min(plan.count, 15)) << 2;
}

/// A program of packets of a few flows, each continuing its flow or not, sound or not: coalesced
/// and split again, every flow is what it was.
fn coalesceSplit(input: []const u8) !u64 {
    var reader: Reader = .init(input);
    const options = reader.int(u8);
    shared_coalescer.init(.{ .tcp = options & 3 != 1, .udp = options & 3 != 2 });
    var wanted: Packets = .{};
    var sequences: [8]u32 = @splat(0xffff_f800);
    var numbers: [8]u16 = @splat(0);
    var used: usize = 0;
    for (0..48) |_| {
        if (reader.isDone()) break;
        const what = reader.int(u8);
        const how = reader.int(u8);
        const flow = what & 7;
        const payloads = [_]usize{ 100, 100, 100, 100, 99, 101, 0, 1 };
        const flags = [_]u8{ 0x10, 0x10, 0x10, 0x10, 0x10, 0x18, 0x11, 0x90 };
        const shape: samples.Shape = .{
            .family = if (flow & 1 == 0) .v4 else .v6,
            .protocol = if (flow & 2 == 0) samples.tcp else samples.udp,
            .source_port = 4000 + @as(u16, flow >> 2),
            .payload = payloads[what >> 3 & 7],
            .flags = flags[how & 7],
            .sequence = sequences[flow] +% @as(u32, if (how >> 3 == 1) 1 else 0),
            .identification = numbers[flow],
            .dont_fragment = options & 4 == 0,
            .options = if (how >> 3 == 2) 0 else 12,
            .traffic_class = if (how >> 3 == 3) 3 else 0,
            .seed = what,
        };
        const packet = samples.write(packet_memory[used..], shape);
        used += packet.len + 16;
        sequences[flow] +%= @intCast(shape.payload);
        numbers[flow] +%= if (how >> 3 == 4) 2 else 1;
        if (how >> 3 == 5) {
            const at = reader.int(u8) % @min(packet.len, 60);
            packet[at] ^= reader.int(u8);
        }
        const parsed = headersOf(packet) orelse {
            if (inner_packet.parse(packet) != null) return error.AnotherVerdict;
            continue;
        };
        // Padding is cut off by whom it is for.
        const whole = packet[0..parsed.total];
        wanted.add(whole);
        if (!shared_coalescer.add(whole)) return error.NoRoom;
    }
    var out: Output = .{ .wanted = &wanted };
    try out.collect(&shared_coalescer);
    try out.expectSameFlows();
    return out.outcome << 8 | @as(u64, wanted.count - @min(wanted.count, shared_coalescer.count()));
}

/// A control area: what is read from it is what a plain walk finds.
fn controlMessage(input: []const u8) !u64 {
    const found = control_message.parse(input);
    var expected: control_message.Control = .{};
    var at: usize = 0;
    while (at + 16 <= input.len) {
        const length = std.mem.readInt(u64, input[at..][0..8], .little);
        if (length < 16 or length > input.len - at) break;
        const level = std.mem.readInt(i32, input[at + 8 ..][0..4], .little);
        const kind = std.mem.readInt(i32, input[at + 12 ..][0..4], .little);
        apply(&expected, level, kind, input[at + 16 .. at + @as(usize, @intCast(length))]);
        at += (@as(usize, @intCast(length)) + 7) / 8 * 8;
    }
    if (!std.meta.eql(found, expected)) return error.AnotherReading;
    if (found.segment_size) |size| if (size == 0) return error.SegmentsOfNothing;
    return @as(u64, @intFromBool(found.segment_size != null)) | @as(u64, @intFromBool(found.local != null)) << 1 |
        @as(u64, @intFromBool(found.traffic_class != null)) << 2;
}

fn apply(to: *control_message.Control, level: i32, kind: i32, data: []const u8) void {
    const mapped = @as([10]u8, @splat(0)) ++ [2]u8{ 0xff, 0xff };
    if (level == 17 and kind == 104) {
        // An int, or 16 bits in older kernels.
        const size: i64 = if (data.len >= 4) std.mem.readInt(i32, data[0..4], .little) else if (data.len >= 2) std.mem.readInt(u16, data[0..2], .little) else 0;
        if (size > 0 and size <= 65_535) to.segment_size = @intCast(size);
    } else if (level == 0 and kind == 8 and data.len >= 12) {
        to.local = .{ .address = mapped ++ data[4..8].*, .scope = std.mem.readInt(u32, data[0..4], .little), .family = 4 };
    } else if (level == 0 and kind == 1 and data.len >= 1) {
        to.traffic_class = data[0];
    } else if (level == 41 and kind == 50 and data.len >= 20) {
        const is_mapped = std.mem.eql(u8, data[0..12], &mapped);
        to.local = .{ .address = data[0..16].*, .scope = std.mem.readInt(u32, data[16..20], .little), .family = if (is_mapped) 4 else 6 };
    } else if (level == 41 and kind == 67 and data.len >= 4) {
        to.traffic_class = data[0];
    }
}

fn generateControl(random: std.Random, buffer: []u8) usize {
    var writer: Writer = .{ .bytes = buffer };
    const kinds = [_][2]i32{ .{ 17, 104 }, .{ 0, 8 }, .{ 0, 1 }, .{ 41, 50 }, .{ 41, 67 }, .{ 1, 40 }, .{ 17, 8 }, .{ 3, 3 } };
    for (0..random.uintLessThan(usize, 6)) |_| {
        const level, const kind = kinds[random.int(u3)];
        const length = random.uintLessThan(usize, 24);
        const said: u64 = if (random.uintLessThan(u8, 8) == 0) random.int(u64) >> random.int(u6) else 16 + length;
        writer.int(u64, said);
        writer.int(i32, level);
        writer.int(i32, kind);
        const data = writer.random(random, length);
        if (data.len >= 12 and random.boolean()) data[0..12].* = @as([10]u8, @splat(0)) ++ [2]u8{ 0xff, 0xff };
        if (level == 17 and data.len >= 4) @memset(data[2..4], 0);
        _ = writer.random(random, std.mem.alignForward(usize, length, 8) - length);
    }
    return writer.length;
}

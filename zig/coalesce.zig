//! Groups inner packets of one flow, in order, into super-packets for one TUN write each.
//!
//! Owns the rules of what may be merged (those of the kernel's GRO), and a table of open flows
//! for the length of one batch. Does not own or change packets: payloads are gathered from where
//! they lie. The inverse of `offload.Split`.
//! Always holds: no packet is lost; packets of one flow leave in the order in which they came;
//! what is merged under a checksum that the kernel will trust was checked first.

const std = @import("std");
const assert = std.debug.assert;
const checksum = @import("checksum.zig");
const constants = @import("constants.zig");
const inner_packet = @import("inner_packet.zig");
const offload = @import("offload.zig");
const segment_rules = @import("segment.zig");
const Segment = segment_rules.Segment;
const same = segment_rules.same;
const sameAddresses = segment_rules.sameAddresses;
const get = segment_rules.get;
const VirtioNetHdr = offload.VirtioNetHdr;
const iovec_const = std.posix.iovec_const;

/// Packets in one batch.
pub const packets_max = constants.receive_batch_segments;
/// Packets in one TCP super-packet: a write takes at most 1,024 vectors.
pub const tcp_parts_max = 512;
/// Packets in one UDP super-packet: as many as the kernel's own GRO merges.
pub const udp_parts_max = 64;
/// Flows with an open group, at once. Where more want in, one of them is closed: it merges less.
pub const flows_max = 64;
/// Places in which a flow may stand.
const flow_probes = 4;

/// IPv6 and TCP with all its options: the longest headers that are merged.
const header_length_max = inner_packet.ipv6_header_size + offload.tcp_header_size_max;
const ipv4_header_size = inner_packet.ipv4_header_size_min;

/// No group, and no part.
const none: u16 = std.math.maxInt(u16);

comptime {
    assert(packets_max < none);
    assert(tcp_parts_max + 1 <= 1024);
    assert(udp_parts_max <= tcp_parts_max);
    assert(std.math.isPowerOfTwo(flows_max));
}

/// Room for what one write is made of. Whatever is in it before does not matter.
pub const Gathered = struct {
    head: [VirtioNetHdr.size + header_length_max]u8,
    iovecs: [1 + tcp_parts_max]iovec_const,
};

/// One write to the TUN: a virtio header and a packet, or a super-packet.
pub const Write = struct {
    /// Into a `Gathered`, and into the packets that were added.
    iovecs: []const iovec_const,
    /// Bytes, the virtio header included.
    bytes: u32,
    /// How many of the packets that were added are in it.
    packets: u32,
    /// So many again, where each is a datagram that a program takes one by one.
    datagrams: u32 = 0,
};

/// What the TUN takes.
pub const Options = segment_rules.Options;

pub const Coalescer = struct {
    options: Options,
    group_count: u32,
    part_count: u32,
    groups: [packets_max]Group,
    parts: [packets_max]Part,
    /// The group that is open for a flow, by the flow's hash; or none; or a closed group.
    flows: [flows_max]u16,

    /// Makes it ready for a first batch; nothing else needs to be set before.
    pub fn init(self: *Coalescer, options: Options) void {
        self.options = options;
        self.reset();
    }

    /// Forgets the batch, before the packets' memory is used for others.
    pub fn reset(self: *Coalescer) void {
        self.group_count = 0;
        self.part_count = 0;
        self.flows = @splat(none);
    }

    /// Takes the next packet, which must stay in place until `reset`. Bytes after its end (its
    /// padding) are left off. False if the batch is full: write it, `reset`, and add again.
    pub fn add(self: *Coalescer, packet: []const u8) bool {
        if (self.part_count == packets_max) return false;
        switch (segment_rules.classify(packet, self.options)) {
            .segment => |*segment| self.addSegment(segment),
            .blocker => |*segment| {
                if (self.findFlow(segment)) |group| group.open = false;
                _ = self.addGroup(segment.packet, none);
            },
            .portless => |portless| {
                self.closeBetween(portless);
                _ = self.addGroup(portless, none);
            },
            .other => |other| _ = self.addGroup(other, none),
        }
        return true;
    }

    /// How many writes the batch has become. They are to be made in the order of their index.
    pub fn count(self: *const Coalescer) u32 {
        return self.group_count;
    }

    /// Makes up the write with this index. `out` and the packets must stay until it is done.
    pub fn gather(self: *const Coalescer, index: u32, out: *Gathered) Write {
        assert(index < self.group_count);
        const group = &self.groups[index];
        const opener = self.parts[group.first].bytes;
        if (group.parts == 1) {
            out.head[0..VirtioNetHdr.size].* = @splat(0);
            out.iovecs[0] = vector(out.head[0..VirtioNetHdr.size]);
            out.iovecs[1] = vector(opener);
            return .{
                .iovecs = out.iovecs[0..2],
                .bytes = @intCast(VirtioNetHdr.size + opener.len),
                .packets = 1,
            };
        }
        const head = out.head[0 .. VirtioNetHdr.size + group.header_length];
        @memcpy(head[VirtioNetHdr.size..], opener[0..group.header_length]);
        head[0..VirtioNetHdr.size].* = @bitCast(group.finishHeaders(head[VirtioNetHdr.size..]));
        out.iovecs[0] = vector(head);
        out.iovecs[1] = vector(opener[group.header_length..]);
        var used: usize = 2;
        var next = self.parts[group.first].next;
        while (next != none) : (next = self.parts[next].next) {
            out.iovecs[used] = vector(self.parts[next].bytes);
            used += 1;
        }
        assert(used == @as(usize, group.parts) + 1);
        return .{
            .iovecs = out.iovecs[0..used],
            .bytes = @intCast(VirtioNetHdr.size + group.total_length),
            .packets = group.parts,
            .datagrams = if (group.is_tcp) 0 else group.parts,
        };
    }

    fn addSegment(self: *Coalescer, segment: *const Segment) void {
        var verified = false;
        if (self.findFlow(segment)) |group| {
            if (group.takes(segment)) {
                const opener = self.parts[group.first].bytes;
                verified = segment.checksumsValid(segment.packet);
                if (verified and !group.verified) {
                    // Late: a packet that stays alone is judged by the kernel anyway.
                    group.verified = segment.checksumsValid(opener);
                }
                if (verified and group.verified) {
                    self.append(group, segment);
                    return;
                }
                group.open = false;
                if (!verified) {
                    _ = self.addGroup(segment.packet, none);
                    return;
                }
            }
            group.open = false;
        }
        if (segment.push) {
            // It ends the group it would begin.
            _ = self.addGroup(segment.packet, none);
        } else {
            self.openGroup(segment, verified);
        }
    }

    fn append(self: *Coalescer, group: *Group, segment: *const Segment) void {
        const payload = segment.packet[segment.header_length..];
        const part = self.addPart(payload);
        self.parts[group.last].next = part;
        group.last = part;
        group.parts += 1;
        group.total_length += @intCast(payload.len);
        group.next_sequence +%= @intCast(payload.len);
        group.push = segment.push;
        group.open = payload.len == group.segment_payload and !segment.push and
            group.parts < group.partsMax();
    }

    fn openGroup(self: *Coalescer, segment: *const Segment, verified: bool) void {
        assert(!segment.push);
        const slot = self.slotFor(segment.hash);
        const group = self.addGroup(segment.packet, slot);
        const payload: u16 = @intCast(segment.packet.len - segment.header_length);
        group.open = true;
        group.verified = verified;
        group.push = false;
        group.is_tcp = segment.is_tcp;
        group.transport_at = segment.transport_at;
        group.header_length = segment.header_length;
        group.segment_payload = payload;
        group.next_sequence = segment.sequence +% payload;
        group.opener = segment.packet.ptr;
    }

    /// A group of one packet, which is closed; and its slot among the flows, or none.
    fn addGroup(self: *Coalescer, packet: []const u8, slot: u16) *Group {
        const part = self.addPart(packet);
        const group = &self.groups[self.group_count];
        if (slot != none) self.flows[slot] = @intCast(self.group_count);
        self.group_count += 1;
        group.first = part;
        group.last = part;
        group.parts = 1;
        group.total_length = @intCast(packet.len);
        group.open = false;
        return group;
    }

    fn addPart(self: *Coalescer, bytes: []const u8) u16 {
        assert(self.part_count < packets_max);
        const part: u16 = @intCast(self.part_count);
        self.part_count += 1;
        self.parts[part] = .{ .bytes = bytes, .next = none };
        return part;
    }

    /// The open group of the flow a packet belongs to.
    fn findFlow(self: *Coalescer, segment: *const Segment) ?*Group {
        for (0..flow_probes) |probe| {
            const index = self.flows[(segment.hash + probe) % flows_max];
            if (index == none) continue;
            const group = &self.groups[index];
            if (group.open and group.isFlowOf(segment)) return group;
        }
        return null;
    }

    /// A slot without an open group; or else the first choice, whose group nobody finds any more.
    fn slotFor(self: *const Coalescer, hash: u32) u16 {
        for (0..flow_probes) |probe| {
            const slot = (hash + probe) % flows_max;
            const index = self.flows[slot];
            if (index == none or !self.groups[index].open) return @intCast(slot);
        }
        return @intCast(hash % flows_max);
    }

    /// Closes every flow between the two addresses of a packet whose ports cannot be read, which
    /// may belong to any of them.
    fn closeBetween(self: *Coalescer, packet: []const u8) void {
        for (self.flows) |index| {
            if (index == none) continue;
            const group = &self.groups[index];
            if (group.open and sameAddresses(group.opener, packet)) group.open = false;
        }
    }
};

const Part = struct {
    /// The first of a group: the whole packet. Later ones: the payload.
    bytes: []const u8,
    next: u16,
};

const Group = struct {
    first: u16,
    last: u16,
    parts: u16,
    /// Length of the super-packet so far, headers once.
    total_length: u32,
    /// Whether another packet of the flow may be appended. All that follows is set only then.
    open: bool,
    /// The checksums of the first packet are known to be right.
    verified: bool,
    push: bool,
    is_tcp: bool,
    transport_at: u16,
    header_length: u16,
    /// Payload of each packet but the last.
    segment_payload: u16,
    next_sequence: u32,
    /// The first packet.
    opener: [*]const u8,

    fn partsMax(self: *const Group) u16 {
        return if (self.is_tcp) tcp_parts_max else udp_parts_max;
    }

    fn isFlowOf(self: *const Group, segment: *const Segment) bool {
        if (self.is_tcp != segment.is_tcp) return false;
        if (!sameAddresses(self.opener, segment.packet)) return false;
        const ports = self.opener[self.transport_at..][0..4];
        return std.mem.eql(u8, ports, segment.packet[segment.transport_at..][0..4]);
    }

    /// Whether a packet of the same flow continues this group: all but its checksums.
    fn takes(self: *const Group, segment: *const Segment) bool {
        const a = self.opener;
        const b = segment.packet;
        if (self.header_length != segment.header_length) return false;
        const payload = b.len - segment.header_length;
        if (payload > self.segment_payload) return false;
        if (self.total_length + payload > constants.ip_packet_bytes_max) return false;
        if (self.transport_at == ipv4_header_size) {
            // Version, header length and traffic class; DF; TTL.
            if (!same(2, a, b, 0) or !same(2, a, b, 6) or a[8] != b[8]) return false;
            // Without DF a packet may yet be fragmented, and then its number matters.
            const is_numbered = get(b, 6) & segment_rules.dont_fragment == 0;
            if (is_numbered and get(b, 4) != get(a, 4) +% self.parts) return false;
        } else {
            // Version, traffic class and flow label; hop limit.
            if (!same(4, a, b, 0) or a[7] != b[7]) return false;
        }
        if (!self.is_tcp) return true;
        if (segment.sequence != self.next_sequence) return false;
        const tcp_a = a[self.transport_at..];
        const tcp_b = b[self.transport_at..];
        // Acknowledgement and header length; window; urgent pointer; options.
        if (!same(5, tcp_a, tcp_b, 8) or !same(2, tcp_a, tcp_b, 14)) return false;
        if (!same(2, tcp_a, tcp_b, 18)) return false;
        const options = self.header_length - self.transport_at - offload.tcp_header_size_min;
        return std.mem.eql(u8, tcp_a[20..][0..options], tcp_b[20..][0..options]);
    }

    /// Makes the first packet's headers those of the super-packet, and its virtio header.
    fn finishHeaders(self: *const Group, headers: []u8) [VirtioNetHdr.size]u8 {
        assert(headers.len == self.header_length);
        assert(self.parts > 1 and self.total_length <= constants.ip_packet_bytes_max);
        const transport = headers[self.transport_at..];
        const length: u16 = @intCast(self.total_length - self.transport_at);
        const protocol = if (self.is_tcp) offload.protocol_tcp else offload.protocol_udp;
        const is_ipv4 = self.transport_at == ipv4_header_size;
        const field: u16 = if (self.is_tcp) offload.tcp_checksum_at else offload.udp_checksum_at;
        if (self.is_tcp) {
            if (self.push) transport[offload.tcp_flags_at] |= offload.tcp_flag_psh;
        } else {
            std.mem.writeInt(u16, transport[4..6], length, .big);
        }
        const pseudo = if (is_ipv4)
            checksum.pseudo4(headers[12..16].*, headers[16..20].*, protocol, length)
        else
            checksum.pseudo6(headers[8..24].*, headers[24..40].*, protocol, length);
        checksum.storePartial(transport[field..][0..2], pseudo);
        if (is_ipv4) {
            offload.finishIpv4(headers[0..ipv4_header_size], @intCast(self.total_length));
        } else {
            std.mem.writeInt(u16, headers[4..6], length, .big);
        }
        const tcp_type = if (is_ipv4) offload.gso_tcpv4 else offload.gso_tcpv6;
        return std.mem.toBytes(VirtioNetHdr{
            .flags = offload.needs_csum,
            .gso_type = if (self.is_tcp) tcp_type else offload.gso_udp_l4,
            .hdr_len = self.header_length,
            .gso_size = self.segment_payload,
            .csum_start = self.transport_at,
            .csum_offset = field,
        });
    }
};

fn vector(bytes: []const u8) iovec_const {
    return .{ .base = bytes.ptr, .len = bytes.len };
}

test {
    _ = @import("coalesce_test.zig");
}

//! To which socket of a device (udp_group.zig) the kernel gives a datagram: a program of classic BPF, and
//! what it has to know. Pure: the program is bytes, time an argument.
//!
//! Data from where authentic data came lately goes to the lane of its session; data from anywhere else to
//! a socket of strangers, and what is no data to that of handshakes (rx_aside.zig). So what a stranger sends
//! does not lie between what a tunnel carries, nor in its queue. It decides about nothing else: whoever
//! roams is heard by the strangers' socket, and known from then on.
const std = @import("std");
const assert = std.debug.assert;
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const Mutex = @import("table_lock.zig").Mutex;

pub const Instruction = extern struct { code: u16, true_skip: u8 = 0, false_skip: u8 = 0, k: u32 = 0 };
pub const Room = [instructions_max]Instruction;
const instructions_max = 40 + constants.sources_max;

/// Places of sockets, in the order in which they were bound: one for each lane, then these.
pub const Places = struct {
    lanes: u8,
    /// Null: there is none, and its datagrams go to the first lane, or where they belong.
    handshakes: ?u8 = null,
    strangers: ?u8 = null,
};

const load_word = 0x20;
const load_half = 0x28;
const load_byte = 0x30;
const jump = 0x05;
const jump_equal = 0x15;
const bit_and = 0x54;
const multiply = 0x24;
const xor_x = 0xac;
const to_x = 0x07;
const return_k = 0x06;
const return_a = 0x16;
/// Loads from the network header instead of the datagram (SKF_NET_OFF).
const network = 0xfff0_0000;
const protocol_udp = 17;
const port_factor = 0x9e37_79b1;

/// The program over a datagram from its first byte on; what it returns is the place of a socket. A load beyond
/// the datagram ends it with 0. `known`: sources; null: all are.
pub fn program(room: *Room, places: Places, known: ?[]const u32) []const Instruction {
    assert(std.math.isPowerOfTwo(places.lanes));
    var writer: Writer = .{ .room = room };
    writer.all(&.{
        .{ .code = load_word },
        .{ .code = jump_equal, .true_skip = 1, .k = @byteSwap(constants.message_transport) },
        .{ .code = return_k, .k = places.handshakes orelse 0 },
    });
    if (places.strangers) |strangers| if (known) |sources| writer.strangersOut(strangers, sources);
    writer.all(&.{
        // The receiver index is little-endian: its low bits are in its first byte.
        .{ .code = load_byte, .k = 4 },
        .{ .code = bit_and, .k = places.lanes - 1 },
        .{ .code = return_a },
    });
    return room[0..writer.count];
}

const Writer = struct {
    room: *Room,
    count: usize = 0,

    fn all(writer: *Writer, instructions: []const Instruction) void {
        @memcpy(writer.room[writer.count..][0..instructions.len], instructions);
        writer.count += instructions.len;
    }

    fn strangersOut(writer: *Writer, strangers: u8, known: []const u32) void {
        const of_v4 = [_]Instruction{
            .{ .code = load_half, .k = network + 20 },
            .{ .code = multiply, .k = port_factor },
            .{ .code = to_x },
            .{ .code = load_word, .k = network + 12 },
            .{ .code = xor_x },
        };
        const of_v6 = [_]Instruction{
            // A header between is nobody's that we know.
            .{ .code = load_byte, .k = network + 6 },
            .{ .code = jump_equal, .true_skip = 1, .k = protocol_udp },
            .{ .code = return_k, .k = strangers },
            .{ .code = load_half, .k = network + 40 },
            .{ .code = multiply, .k = port_factor },
            .{ .code = to_x },
            .{ .code = load_word, .k = network + 8 },
            .{ .code = xor_x },
            .{ .code = to_x },
            .{ .code = load_word, .k = network + 12 },
            .{ .code = xor_x },
            .{ .code = to_x },
            .{ .code = load_word, .k = network + 16 },
            .{ .code = xor_x },
            .{ .code = to_x },
            .{ .code = load_word, .k = network + 20 },
            .{ .code = xor_x },
            .{ .code = jump, .k = of_v4.len },
        };
        writer.all(&.{
            .{ .code = load_byte, .k = network },
            // Without options: IPv4's header is 20 bytes.
            .{ .code = jump_equal, .true_skip = 3 + of_v6.len, .k = 0x45 },
            .{ .code = bit_and, .k = 0xf0 },
            .{ .code = jump_equal, .true_skip = 1, .k = 0x60 },
            .{ .code = return_k, .k = strangers },
        });
        writer.all(&of_v6);
        writer.all(&of_v4);
        for (known, 0..) |source, at| writer.all(&.{
            .{ .code = jump_equal, .true_skip = @intCast(known.len - at), .k = source },
        });
        writer.all(&.{.{ .code = return_k, .k = strangers }});
    }
};

/// As the program makes it of a datagram. Another source may have the same number, for whoever likes to
/// compute one: he could as well pretend to be the first.
pub fn numberOf(remote: *const abi.Endpoint) u32 {
    var number = @as(u32, remote.port) *% port_factor;
    const start: usize = if (remote.family == 4) 12 else 0;
    var at = start;
    while (at < remote.address.len) : (at += 4) number ^= std.mem.readInt(u32, remote.address[at..][0..4], .big);
    return number;
}

/// From where authentic data came lately, or will soon. Receive of any lane learns, the control plane
/// expects; receive of the first lane has the kernel know.
pub const Sources = struct {
    mutex: Mutex = .{},
    known: [constants.sources_max]u32 = undefined,
    count: usize = 0,
    begun_ns: u64 = 0,
    /// There were more than are told apart: until then nobody is a stranger.
    crowded_until_ns: std.atomic.Value(u64) = .init(0),
    /// The kernel is to be told.
    changed: std.atomic.Value(bool) = .init(false),
    changed_ns: u64 = 0,

    /// Authentic data came from there, and not as from one that is known.
    pub fn learn(self: *Sources, remote: *const abi.Endpoint, now_ns: u64) void {
        _ = self.tell(remote, now_ns, constants.ns_per_s);
    }

    /// Authentic data is about to come from there. Whether that is news.
    pub fn expect(self: *Sources, remote: *const abi.Endpoint, now_ns: u64) bool {
        return self.tell(remote, now_ns, std.math.maxInt(u64));
    }

    fn tell(self: *Sources, remote: *const abi.Endpoint, now_ns: u64, again_after_ns: u64) bool {
        if (remote.family == constants.family_relay) return false;
        const number = numberOf(remote);
        self.mutex.lock();
        defer self.mutex.unlock();
        if (std.mem.indexOfScalar(u32, self.known[0..self.count], number) == null) {
            self.add(number, now_ns);
        } else {
            // It was in the queue before the kernel knew. Or the kernel's sockets are others now.
            if (now_ns -| self.changed_ns < again_after_ns) return false;
        }
        self.changed_ns = now_ns;
        self.changed.store(true, .release);
        return true;
    }

    fn add(self: *Sources, number: u32, now_ns: u64) void {
        if (self.count == self.known.len) {
            // Roaming fills it slowly, and whoever is still there is learnt again.
            if (now_ns -| self.begun_ns < constants.sources_crowded_ns)
                self.crowded_until_ns.store(now_ns + constants.sources_crowded_ns, .monotonic);
            self.count = 0;
        }
        if (self.count == 0) self.begun_ns = now_ns;
        self.known[self.count] = number;
        self.count += 1;
    }

    /// The sockets are others.
    pub fn forget(self: *Sources) void {
        self.mutex.lock();
        defer self.mutex.unlock();
        self.count = 0;
        self.crowded_until_ns.store(0, .monotonic);
        self.changed.store(true, .release);
    }

    /// Null where the kernel knows all. Receive of the first lane.
    pub fn news(self: *Sources, room: *Room, places: Places, now_ns: u64) ?[]const Instruction {
        const crowded_until_ns = self.crowded_until_ns.load(.monotonic);
        const over = crowded_until_ns != 0 and now_ns >= crowded_until_ns;
        if (!self.changed.load(.acquire) and !over) return null;
        self.mutex.lock();
        defer self.mutex.unlock();
        self.changed.store(false, .monotonic);
        if (over) self.crowded_until_ns.store(0, .monotonic);
        const crowded = self.crowded_until_ns.load(.monotonic) != 0;
        return program(room, places, if (crowded) null else self.known[0..self.count]);
    }
};

const testing = std.testing;

fn v4(address: u32, port: u16) abi.Endpoint {
    var endpoint: abi.Endpoint = .{ .port = port, .family = 4 };
    endpoint.address[10..12].* = .{ 0xff, 0xff };
    std.mem.writeInt(u32, endpoint.address[12..16], address, .big);
    return endpoint;
}

test "who is known is told once, and once more where the kernel seems to have forgotten" {
    var sources: Sources = .{};
    var room: Room = undefined;
    const places: Places = .{ .lanes = 1, .handshakes = 1, .strangers = 2 };
    const second = constants.ns_per_s;
    try testing.expectEqual(null, sources.news(&room, places, 0));
    sources.learn(&v4(1, 2), second);
    try testing.expect(sources.news(&room, places, second) != null);
    for (0..100) |_| sources.learn(&v4(1, 2), second + second / 2);
    try testing.expectEqual(null, sources.news(&room, places, second));
    sources.learn(&v4(1, 2), 3 * second);
    try testing.expect(sources.news(&room, places, 3 * second) != null);
    sources.learn(&v4(1, 3), 3 * second);
    try testing.expect(sources.news(&room, places, 3 * second) != null);
    try testing.expectEqual(2, sources.count);
    // Whoever is expected is known before he speaks.
    try testing.expect(!sources.expect(&v4(1, 3), 8 * second));
    try testing.expectEqual(null, sources.news(&room, places, 8 * second));
    try testing.expect(sources.expect(&v4(1, 4), 8 * second));
    try testing.expect(sources.news(&room, places, 8 * second) != null);
    // Through a member: the member is the source.
    sources.learn(&.{ .family = constants.family_relay }, 9 * second);
    try testing.expectEqual(null, sources.news(&room, places, 9 * second));
    sources.forget();
    try testing.expectEqual(0, sources.count);
    try testing.expect(sources.news(&room, places, 3 * second) != null);
}

test "of more sources than are told apart none is a stranger for a while, and those that roam fill no table" {
    var sources: Sources = .{};
    var room: Room = undefined;
    const places: Places = .{ .lanes = 1, .handshakes = 1, .strangers = 2 };
    const few = program(&room, places, null).len;
    const interval = constants.sources_crowded_ns;
    for (0..constants.sources_max) |number| sources.learn(&v4(7, @intCast(number)), 1);
    try testing.expect(sources.news(&room, places, 1).?.len > constants.sources_max);
    sources.learn(&v4(8, 8), 1);
    try testing.expectEqual(few, sources.news(&room, places, 1).?.len);
    try testing.expectEqual(null, sources.news(&room, places, interval));
    try testing.expect(sources.news(&room, places, interval + 1).?.len > few);
    try testing.expectEqual(null, sources.news(&room, places, interval + 1));
    // One a minute.
    sources = .{};
    for (0..1000) |minute| {
        const now_ns = minute * 60 * constants.ns_per_s;
        sources.learn(&v4(9, @intCast(minute)), now_ns);
        try testing.expect(sources.news(&room, places, now_ns).?.len > few);
    }
}

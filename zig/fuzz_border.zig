//! What the control plane hands over, and what operators' tools send: commands and datagrams at the
//! border, the rings between the threads, keys as text, and WireGuard's configuration protocol.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const input_ = @import("fuzz_input.zig");
const key_text = @import("key_text.zig");
const queue = @import("queue.zig");
const secrets = @import("secrets.zig");
const tables_ = @import("tables.zig");
const uapi_text = @import("uapi_text.zig");
const Device = @import("device.zig").Device;
const Reader = input_.Reader;
const Target = @import("fuzz.zig").Target;
const Writer = input_.Writer;

pub const targets = [_]Target{
    .{ .name = "rings", .bytes_max = 512, .generate = input_.generateProgram, .one = rings },
    .{ .name = "border", .bytes_max = 512, .generate = input_.generateProgram, .one = border },
    .{ .name = "keys", .bytes_max = 128, .generate = generateKeys, .one = keys },
    .{ .name = "uapi", .bytes_max = 8192, .generate = generateUapi, .one = uapi },
};

const allocator = std.heap.page_allocator;

/// A program over the three rings, each beside a list. Indices begin anywhere, so that they wrap.
fn rings(input: []const u8) !u64 {
    const Shared = struct {
        var datagrams: ?queue.DatagramRing = null;
        var attention: ?queue.Attention = null;
    };
    if (Shared.datagrams == null) {
        Shared.datagrams = try .init(allocator, 4);
        Shared.attention = try .init(allocator);
    }
    var reader: Reader = .init(input);
    const ring = &Shared.datagrams.?;
    const begin = reader.int(u32);
    ring.head.raw = begin;
    ring.tail.raw = begin;
    const attention = &Shared.attention.?;
    while (attention.pop()) |_| {}
    var event_slots: [constants.event_ring_reserved + 4]abi.Event = undefined;
    var events: queue.EventRing = .{ .slots = &event_slots };

    var lengths: [4]usize = undefined;
    var marks: [4]u8 = undefined;
    var waiting: usize = 0;
    var listed: [3]bool = @splat(false);
    var event_marks: [event_slots.len]u64 = undefined;
    var event_count: usize = 0;
    var outcome: u64 = 0;
    for (0..200) |step| {
        if (reader.isDone()) break;
        const mark: u8 = @truncate(step + 1);
        switch (reader.int(u8) % 6) {
            0, 1 => {
                var bytes: [constants.control_datagram_bytes_max + 8]u8 = undefined;
                const length = (reader.int(u16) *| 7) % (bytes.len + 1);
                @memset(bytes[0..length], mark);
                const fits = length <= constants.control_datagram_bytes_max and waiting < 4;
                if (ring.push(.{ .kind = .raw, .offset = 9, .length = 9 }, bytes[0..length]) != fits) return error.AnotherPush;
                if (!fits) {
                    outcome |= 1;
                    continue;
                }
                lengths[waiting] = length;
                marks[waiting] = mark;
                waiting += 1;
            },
            2 => if (ring.peek()) |slot| {
                if (waiting == 0 or slot.datagram.length != lengths[0] or slot.datagram.offset != 0) return error.AnotherDatagram;
                for (slot.bytes[0..slot.datagram.length]) |byte| if (byte != marks[0]) return error.AnotherByte;
                ring.pop();
                waiting -= 1;
                std.mem.copyForwards(usize, lengths[0..waiting], lengths[1 .. waiting + 1]);
                std.mem.copyForwards(u8, marks[0..waiting], marks[1 .. waiting + 1]);
            } else if (waiting != 0) return error.DatagramLost,
            3 => {
                const kind: abi.EventKind = @fromBackingInt(reader.int(u8) % 8);
                const reserved = kind == .link_gone or kind == .fatal or kind == .uapi_request;
                const limit: usize = if (reserved) event_slots.len else 4;
                if (events.push(.{ .kind = kind, .number = step }) != (event_count < limit)) return error.AnotherPush;
                if (event_count >= limit) {
                    outcome |= 2;
                    continue;
                }
                event_marks[event_count] = step;
                event_count += 1;
            },
            4 => {
                var out: [8]abi.Event = undefined;
                const cap = reader.int(u8) % (out.len + 1);
                const count = events.drain(out[0..cap]);
                if (count != @min(cap, event_count)) return error.AnotherCount;
                for (out[0..count], event_marks[0..count]) |event, expected| if (event.number != expected) return error.AnotherEvent;
                event_count -= count;
                std.mem.copyForwards(u64, event_marks[0..event_count], event_marks[count .. count + event_count]);
            },
            else => {
                const choice = reader.int(u8);
                const slots = [3]u32{ 0, 7, constants.peers_max - 1 };
                if (choice & 0x80 != 0) {
                    const slot = attention.pop() orelse {
                        for (listed) |is_listed| if (is_listed) return error.SlotLost;
                        continue;
                    };
                    const at = std.mem.indexOfScalar(u32, &slots, slot) orelse return error.SlotOfNobody;
                    if (!listed[at]) return error.SlotTwice;
                    listed[at] = false;
                    outcome |= 4;
                } else {
                    const at = choice % 3;
                    if (attention.push(slots[at]) == listed[at]) return error.AnotherPush;
                    listed[at] = true;
                }
            },
        }
        if (ring.count() != waiting or ring.isEmpty() != (waiting == 0)) return error.AnotherCount;
        if (events.isEmpty() != (event_count == 0)) return error.AnotherCount;
    }
    return outcome << 8 | @as(u64, waiting) << 4 | @min(15, event_count);
}

/// A program of commands, datagrams and reads at the border of a device without an interface.
/// Statuses are a small model's; whatever was done, nothing is left when the peers are gone.
fn border(input: []const u8) !u64 {
    const Shared = struct {
        var device: ?*Device = null;
        var baseline: u32 = 0;
    };
    if (Shared.device == null) {
        const code = Device.open(allocator, &.{ .flags = abi.config_flag_no_tun }, &Shared.device);
        if (code != .ok) return error.DeviceRefused;
        Shared.baseline = secrets.count();
    }
    const device = Shared.device.?;
    var reader: Reader = .init(input);
    var generations: [4]u32 = @splat(0);
    var outcome: u64 = 0;
    for (0..40) |_| {
        if (reader.isDone()) break;
        const choice = reader.int(u8);
        if (choice & 0xc0 == 0xc0) {
            try passDatagrams(device, &reader);
            continue;
        }
        const command = try readCommand(&reader, choice);
        var status: [1]abi.Status = undefined;
        device.apply(&.{command}, &status);
        const slot = command.peer.slot;
        const known = if (slot < generations.len) generations[slot] else 0;
        const code: abi.Error = @fromBackingInt(-status[0].code);
        outcome |= @as(u64, 1) << @intCast(@backingInt(code));
        switch (command.kind) {
            .peer_add => {
                const expected: abi.Error = if (slot >= constants.peers_max or command.peer.generation == 0)
                    .invalid_argument
                else if (known != 0) .peer_exists else .ok;
                if (code != expected) return error.AnotherStatus;
                if (code == .ok) generations[slot] = command.peer.generation;
            },
            .local_key_set, .introduction_key_set => if (code != .ok) return error.AnotherStatus,
            .destinations_await, .destination_refuse => if (code != .ok and code != .invalid_argument)
                return error.AnotherStatus,
            .peer_remove,
            .peer_endpoint_set,
            .peer_keepalive_set,
            .allowed_ip_add,
            .allowed_ip_remove,
            .allowed_ips_clear,
            .keypair_install,
            .keypairs_drop,
            .staged_drop,
            => {
                const is_known = known != 0 and known == command.peer.generation;
                if (!is_known and code != .no_such_peer and code != .stale_peer and code != .invalid_argument)
                    return error.AnotherStatus;
                if (is_known and (code == .no_such_peer or code == .stale_peer)) return error.AnotherStatus;
                if (command.kind == .peer_remove and code == .ok) generations[slot] = 0;
            },
            else => if (code == .ok) return error.UnknownCommandTaken,
        }
    }
    for (generations, 0..) |generation, slot| {
        if (generation == 0) continue;
        var status: [1]abi.Status = undefined;
        device.apply(&.{.{ .kind = .peer_remove, .peer = .{ .slot = @intCast(slot), .generation = generation } }}, &status);
        if (status[0].code != 0) return error.PeerStays;
    }
    var events: [16]abi.Event = undefined;
    while (device.events(&events) > 0) {}
    if (secrets.count() != Shared.baseline) return error.SecretLeft;
    if (device.tables.sessions.count != 0) return error.SessionLeft;
    _ = device.tables.allowed_ips.removeOwner(tables_.awaited_owner);
    if (device.tables.allowed_ips.count != 0) return error.PrefixLeft;
    while (device.tables.lanes[0].attention.pop()) |_| {}
    while (device.tables.lanes[0].outbox.peek()) |_| device.tables.lanes[0].outbox.pop();
    while (device.tables.inbox.peek()) |_| device.tables.inbox.pop();
    return outcome;
}

fn readCommand(reader: *Reader, choice: u8) !abi.Command {
    const numbers = [_]u32{ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 30, 31, 5 };
    const kind: abi.CommandKind = @fromBackingInt(numbers[choice & 15]);
    const what = reader.int(u8);
    const slots = [_]u32{ 0, 1, 2, 3, 0, 1, constants.peers_max, std.math.maxInt(u32) };
    var command: abi.Command = .{
        .kind = switch (kind) {
            // System calls are no part of this.
            .listen_port_set, .fwmark_set, .mtu_set, .link_up, .address_add, .address_remove, .route_add, .route_remove, .rule_add, .rule_remove => @fromBackingInt(999),
            else => kind,
        },
        .flags = what >> 7,
        .peer = .{ .slot = slots[what & 7], .generation = what >> 3 & 3 },
        .number = reader.int(u16),
        .local_index = reader.int(u8) & 7,
        .remote_index = 1,
        .prefix = .{ .bits = reader.int(u8) & 63, .family = if (what & 0x20 == 0) 4 else 6 },
        .remote = .{ .family = reader.int(u8) & 7 },
    };
    command.prefix.address[0] = reader.int(u8) & 0xc1;
    if (command.kind != .keypair_install) return command;
    const key: [32]u8 = @splat(3);
    if (choice & 0x10 == 0) command.secret_send = try secrets.import(&key) else command.secret_send = reader.int(u8);
    if (choice & 0x20 == 0) command.secret_receive = try secrets.import(&key);
    return command;
}

/// Offsets and lengths are the caller's; those outside its bytes are refused, whole.
fn passDatagrams(device: *Device, reader: *Reader) !void {
    var bytes: [2048]u8 = @splat(7);
    var datagrams: [3]abi.Datagram = undefined;
    const count = reader.int(u8) % (datagrams.len + 1);
    const length = reader.int(u16) % (bytes.len + 1);
    var inside = true;
    for (datagrams[0..count]) |*datagram| {
        const wide = reader.chance(4);
        datagram.* = .{
            .kind = if (reader.chance(3)) .raw else .session_message,
            .offset = if (wide) reader.int(u32) else reader.int(u16) % 1024,
            .length = if (wide) reader.int(u32) else reader.int(u16) % 1024,
            .peer = .{ .slot = reader.int(u8) & 3, .generation = 1 },
        };
        if (@as(u64, datagram.offset) + datagram.length > length) inside = false;
    }
    const taken = device.send(datagrams[0..count], bytes[0..length]);
    if ((taken != null) != inside) return error.OutsideTheBytes;
    const cap = reader.int(u8) % (datagrams.len + 1);
    const room = reader.int(u16) % (bytes.len + 1);
    for (0..2) |_| _ = device.tables.inbox.push(.{ .kind = .raw }, bytes[0 .. reader.int(u16) % 1024]);
    var used: usize = 0;
    for (datagrams[0..device.receive(datagrams[0..cap], bytes[0..room])]) |datagram| {
        if (datagram.offset != used) return error.NotSideBySide;
        used += datagram.length;
    }
    if (used > room) return error.OutsideTheBytes;
}

/// A text that may be a key, in both of a key's forms; and, of its first bytes, the key's texts.
fn keys(input: []const u8) !u64 {
    var outcome: u64 = 0;
    if (input.len >= key_text.base64_bytes) {
        const text = input[0..key_text.base64_bytes];
        var key: [32]u8 = @splat(1);
        const taken = key_text.decodeBase64(&key, text);
        var expected: [33]u8 = undefined;
        const decoder = std.base64.standard.Decoder;
        const size = decoder.calcSizeForSlice(text) catch 0;
        const sound = size == 32 and if (decoder.decode(expected[0..32], text)) true else |_| false;
        // The other decoder, too, takes one form of a key alone.
        if (taken != sound) return error.AnotherVerdict;
        if (taken and !std.mem.eql(u8, &key, expected[0..32])) return error.AnotherKey;
        if (!taken and !std.mem.allEqual(u8, &key, 0)) return error.RemainsOfAKey;
        if (taken) {
            var back: [key_text.base64_bytes]u8 = undefined;
            key_text.encodeBase64(&back, &key);
            if (!std.mem.eql(u8, &back, text)) return error.TwoTextsOfOneKey;
            outcome |= 1;
        }
    }
    if (input.len >= key_text.hex_bytes) {
        const text = input[0..key_text.hex_bytes];
        var key: [32]u8 = @splat(1);
        const taken = key_text.decodeHex(&key, text);
        var expected: [32]u8 = undefined;
        const sound = if (std.fmt.hexToBytes(&expected, text)) |_| true else |_| false;
        if (taken != sound) return error.AnotherVerdict;
        if (taken and !std.mem.eql(u8, &key, &expected)) return error.AnotherKey;
        if (!taken and !std.mem.allEqual(u8, &key, 0)) return error.RemainsOfAKey;
        if (taken) outcome |= 2;
    }
    if (input.len >= 32) {
        const key = input[0..32];
        var base64: [key_text.base64_bytes]u8 = undefined;
        var hex: [key_text.hex_bytes]u8 = undefined;
        var back: [32]u8 = undefined;
        key_text.encodeBase64(&base64, key);
        if (!key_text.decodeBase64(&back, &base64) or !std.mem.eql(u8, &back, key)) return error.KeyLost;
        key_text.encodeHex(&hex, key);
        if (!key_text.decodeHex(&back, &hex) or !std.mem.eql(u8, &back, key)) return error.KeyLost;
        outcome |= 4;
    }
    return outcome;
}

fn generateKeys(random: std.Random, buffer: []u8) usize {
    var key: [32]u8 = undefined;
    random.bytes(&key);
    const length: usize = if (random.boolean()) key_text.base64_bytes else key_text.hex_bytes;
    if (length == key_text.hex_bytes)
        key_text.encodeHex(buffer[0..key_text.hex_bytes], &key)
    else
        key_text.encodeBase64(buffer[0..key_text.base64_bytes], &key);
    const near = "AZaz09+/=-_ \n@gG";
    if (random.boolean()) buffer[random.uintLessThan(usize, length)] = near[random.int(u4)];
    if (random.uintLessThan(u8, 8) == 0) buffer[random.uintLessThan(usize, length)] = random.int(u8);
    return length;
}

/// A stream of configuration requests. However it arrives, its requests are the same; a request
/// that is taken holds no key, and everything it made can be given back.
fn uapi(input: []const u8) !u64 {
    const baseline = secrets.count();
    var whole: uapi_text.Scanner = .{};
    const result = whole.advance(input);
    var pieces: uapi_text.Scanner = .{};
    var at: usize = 0;
    while (at < input.len) {
        at = @min(input.len, at + 1 + input[at] % 64);
        const partly = pieces.advance(input[0..at]);
        if (partly == .more) continue;
        if (!std.meta.eql(partly, result)) return error.OtherwiseInPieces;
        break;
    } else if (result != .more and input.len > 0) return error.OtherwiseInPieces;
    const end = switch (result) {
        .more => return 0,
        .refused => return 1,
        .whole => |end| end,
    };
    var room: [8192]u8 = undefined;
    const request = room[0..end];
    @memcpy(request, input[0..end]);
    const length = uapi_text.clean(request) catch |err| {
        if (err != error.Malformed) return err;
        if (!std.mem.allEqual(u8, request, 0)) return error.RemainsOfARequest;
        if (secrets.count() != baseline) return error.SecretLeft;
        return 2;
    };
    const cleaned = request[0..length];
    var outcome: u64 = 3;
    var lines = std.mem.splitScalar(u8, cleaned, '\n');
    while (lines.next()) |line| {
        for ([_][]const u8{ "private_key=", "preshared_key=" }) |name| {
            if (!std.ascii.startsWithIgnoreCase(line, name)) continue;
            if (line.len > name.len + 11 or line[name.len] != '@') return error.KeyStays;
            outcome |= 4;
        }
    }
    const filled_length = try uapi_text.filledLength(cleaned);
    var filled: [16 * 1024]u8 = undefined;
    if (filled_length > filled.len) return error.LongerThanItsParts;
    try uapi_text.fill(filled[0..filled_length], cleaned);
    if (filled_length != end) return error.AnotherLength;
    uapi_text.freeHandles(cleaned);
    if (secrets.count() != baseline) return error.SecretLeft;
    return outcome;
}

fn generateUapi(random: std.Random, buffer: []u8) usize {
    const key = "a8dac1d8a70a751f0f699fb14ba1cff7b79cf4fbd8f09f44c6e6a90d0369604f";
    const zeros: [64]u8 = @splat('0');
    const parts = [_][]const u8{
        "private_key=" ++ key ++ "\n", "preshared_key=" ++ key ++ "\n", "public_key=" ++ key ++ "\n", "preshared_key=" ++ zeros ++ "\n",
        "listen_port=51820\n",         "endpoint=[::1]:5\n",            "allowed_ip=10.0.0.0/8\n",    "replace_peers=true\n",
        "fwmark=0x1\n",                "\n",                            "get=1\n",                    "set=1\n",
        "private_key=",                key,                             "@7\n",                       "PRESHARED_KEY =",
    };
    var writer: Writer = .{ .bytes = buffer };
    writer.put(if (random.boolean()) "set=1\n" else "get=1\n");
    for (0..random.uintLessThan(usize, 16)) |_| {
        const choice = random.uintLessThan(usize, parts.len * 2);
        if (choice < parts.len) writer.put(parts[choice]) else writer.put(parts[random.uintLessThan(usize, 8)]);
        if (random.uintLessThan(u8, 64) == 0) _ = writer.random(random, random.uintLessThan(usize, 5000));
    }
    writer.put("\n");
    return writer.length;
}

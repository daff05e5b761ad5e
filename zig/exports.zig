//! The functions of a device that leave the library, `meshvpn_*` with C's calling convention; those
//! of cryptography are in primitives.zig. They check what the caller gives, and call; no logic lives
//! here. All are for one thread of the caller, the one that runs the control plane. Results below
//! zero are `-abi.Error`.
const std = @import("std");
const builtin = @import("builtin");
const abi = @import("abi.zig");
const abi_json = @import("abi_json.zig");
const constants = @import("constants.zig");
const netlink = @import("netlink.zig");
const policy = @import("policy.zig");
const tables = @import("tables.zig");
const Device = @import("device.zig").Device;

comptime {
    _ = @import("primitives.zig");
}

/// Caller's arrays are at most this long: a larger number is a mistake.
const items_max: u32 = 1 << 20;
const rules_flush_max: u32 = 4096;

var devices: [constants.devices_max]?*Device = @splat(null);

fn failed(err: abi.Error) i32 {
    return -@as(i32, @backingInt(err));
}

fn deviceAt(number: i32) ?*Device {
    if (number < 0 or number >= devices.len) return null;
    return devices[@intCast(number)];
}

export fn meshvpn_abi_version() u32 {
    return abi.version;
}

/// The layout of everything that crosses, as JSON: its length, or -buffer_too_small.
export fn meshvpn_abi_json(out: [*]u8, capacity: u32) i32 {
    if (capacity < abi_json.json.len) return failed(.buffer_too_small);
    @memcpy(out[0..abi_json.json.len], abi_json.json);
    return @intCast(abi_json.json.len);
}

export fn meshvpn_now_ns() u64 {
    return tables.nowNs();
}

/// A device number.
export fn meshvpn_open(config: *const abi.Config) i32 {
    const number = for (devices, 0..) |device, index| {
        if (device == null) break index;
    } else return failed(.table_full);
    var opened: ?*Device = null;
    const result = Device.open(std.heap.c_allocator, config, &opened);
    if (result != .ok) return failed(result);
    devices[number] = opened;
    return @intCast(number);
}

/// Why the last `meshvpn_open` failed.
export fn meshvpn_open_failure(out: *abi.OpenFailure) i32 {
    out.* = Device.openFailure();
    return 0;
}

export fn meshvpn_start(number: i32) i32 {
    const device = deviceAt(number) orelse return failed(.no_such_device);
    return failed(device.start());
}

export fn meshvpn_stop(number: i32) i32 {
    const device = deviceAt(number) orelse return failed(.no_such_device);
    device.stop();
    return 0;
}

export fn meshvpn_close(number: i32) i32 {
    const device = deviceAt(number) orelse return failed(.no_such_device);
    devices[@intCast(number)] = null;
    device.close();
    return 0;
}

/// A duplicate of the control plane's end, which the caller closes: event loops close what they are
/// given.
export fn meshvpn_doorbell_fd(number: i32) i32 {
    const device = deviceAt(number) orelse return failed(.no_such_device);
    return device.tables.doorbell.duplicate() catch failed(.system);
}

/// 1: something waits already.
export fn meshvpn_arm(number: i32) i32 {
    const device = deviceAt(number) orelse return failed(.no_such_device);
    return @intFromBool(device.arm());
}

export fn meshvpn_apply(
    number: i32,
    commands: [*]const abi.Command,
    count: u32,
    statuses: [*]abi.Status,
) i32 {
    const device = deviceAt(number) orelse return failed(.no_such_device);
    if (count > items_max) return failed(.invalid_argument);
    device.apply(commands[0..count], statuses[0..count]);
    return @intCast(count);
}

/// The rules in force from now on, in place of those before. Of each of the peers `sets` holds the bits
/// of the named rules that speak of it, in words of 64, the first rule lowest.
export fn meshvpn_policy_set(
    number: i32,
    rules: [*]const abi.PolicyRule,
    count: u32,
    peers: [*]const abi.PeerRef,
    sets: [*]const u64,
    peers_count: u32,
    flags: u32,
) i32 {
    const device = deviceAt(number) orelse return failed(.no_such_device);
    if (count > constants.policy_rules_max or peers_count > constants.policy_peers_max) return failed(.table_full);
    for (rules[0..count]) |*rule| {
        const bits_max: u8 = switch (rule.destination.family) {
            0 => 0,
            4 => 32,
            6 => 128,
            else => return failed(.invalid_argument),
        };
        if (rule.destination.bits > bits_max) return failed(.invalid_argument);
    }
    for (peers[0..peers_count]) |peer| {
        if (peer.slot >= constants.peers_max) return failed(.no_such_peer);
    }
    const named: policy.Named = .{
        .peers = peers[0..peers_count],
        .sets = sets[0 .. peers_count * policy.setWords(count)],
    };
    device.setPolicy(rules[0..count], named, flags) catch return failed(.out_of_memory);
    return 0;
}

/// Where packets of peers may go to from now on, in place of what was said before; none: anywhere.
export fn meshvpn_destinations_set(number: i32, prefixes: [*]const abi.Prefix, count: u32) i32 {
    const device = deviceAt(number) orelse return failed(.no_such_device);
    if (count > constants.destinations_max) return failed(.table_full);
    for (prefixes[0..count]) |*prefix| {
        if (!netlink.prefixValid(prefix.*)) return failed(.invalid_argument);
    }
    device.setDestinations(prefixes[0..count]) catch return failed(.out_of_memory);
    return 0;
}

/// Removes the routing rules that a device with this mark made at these priorities, whether its process
/// lives or not; how many there were.
export fn meshvpn_rules_flush(priority_first: u32, count: u32, mark: u32) i32 {
    if (mark == 0) return failed(.invalid_argument);
    if (count > rules_flush_max or priority_first > std.math.maxInt(u32) - count) return failed(.invalid_argument);
    var connection = netlink.Netlink.open() catch return failed(.system);
    defer connection.close();
    const removed = connection.rulesFlush(priority_first, count, mark) catch |err| return failed(switch (err) {
        error.PermissionDenied => .permission_denied,
        else => .system,
    });
    return @intCast(removed);
}

export fn meshvpn_events(number: i32, out: [*]abi.Event, capacity: u32) i32 {
    const device = deviceAt(number) orelse return failed(.no_such_device);
    if (capacity > items_max) return failed(.invalid_argument);
    return @intCast(device.events(out[0..capacity]));
}

export fn meshvpn_receive(
    number: i32,
    datagrams: [*]abi.Datagram,
    capacity: u32,
    bytes: [*]u8,
    bytes_capacity: u32,
) i32 {
    const device = deviceAt(number) orelse return failed(.no_such_device);
    if (capacity > items_max) return failed(.invalid_argument);
    return @intCast(device.receive(datagrams[0..capacity], bytes[0..bytes_capacity]));
}

export fn meshvpn_send(
    number: i32,
    datagrams: [*]const abi.Datagram,
    count: u32,
    bytes: [*]const u8,
    bytes_length: u32,
) i32 {
    const device = deviceAt(number) orelse return failed(.no_such_device);
    if (count > items_max) return failed(.invalid_argument);
    const taken = device.send(datagrams[0..count], bytes[0..bytes_length]) orelse
        return failed(.invalid_argument);
    return @intCast(taken);
}

export fn meshvpn_counters(number: i32, out: [*]u64, capacity: u32) i32 {
    const device = deviceAt(number) orelse return failed(.no_such_device);
    if (capacity > items_max) return failed(.invalid_argument);
    return @intCast(device.readCounters(out[0..capacity]));
}

export fn meshvpn_peer_stats(number: i32, out: [*]abi.PeerStats, capacity: u32) i32 {
    const device = deviceAt(number) orelse return failed(.no_such_device);
    if (capacity > items_max) return failed(.invalid_argument);
    return @intCast(device.peerStats(out[0..capacity]));
}

export fn meshvpn_device_info(number: i32, out: *abi.DeviceInfo) i32 {
    const device = deviceAt(number) orelse return failed(.no_such_device);
    out.* = device.info();
    return 0;
}

/// The oldest whole UAPI request, key lines replaced by handles, which are the caller's now: its
/// length, 0 = none waits, -buffer_too_small = try a longer buffer. Its id must be answered.
export fn meshvpn_uapi_receive(number: i32, id: *u32, out: [*]u8, capacity: u32) i32 {
    const device = deviceAt(number) orelse return failed(.no_such_device);
    const server = device.uapi orelse return failed(.wrong_state);
    return switch (server.receive(out[0..capacity])) {
        .none => 0,
        .too_small => failed(.buffer_too_small),
        .request => |request| blk: {
            id.* = request.id;
            break :blk @intCast(request.len);
        },
    };
}

/// Answers a UAPI request; handles in key lines are lent, and written out as keys.
export fn meshvpn_uapi_reply(number: i32, id: u32, answer: [*]const u8, length: u32) i32 {
    const device = deviceAt(number) orelse return failed(.no_such_device);
    const server = device.uapi orelse return failed(.wrong_state);
    server.reply(id, answer[0..length]) catch |err| return failed(switch (err) {
        error.OutOfMemory => .out_of_memory,
        else => .invalid_argument,
    });
    return 0;
}

//! A wire that is bad on purpose: it carries frames between two interfaces of its namespace, and to
//! WireGuard's datagrams it does what a seed says: delays them (so that they overtake one another),
//! sends them twice, changes a bit, cuts them short, loses them, and sends again what it carried
//! long ago. Addresses stay, but for what a thief sends: on SIGUSR1 a copy of each datagram goes, as if
//! from an address of his own, ahead of the original; on the next one behind it; on the next none. What
//! is sent to him he counts and keeps. On SIGTERM it says as JSON what it did. No part of the library.
const std = @import("std");
const linux = std.os.linux;
const frame = @import("frame.zig");
const faults = @import("faults.zig");
const packet_socket = @import("packet_socket.zig");
const program = @import("program.zig");
const now = program.now;
const say = program.say;

const frame_bytes_max = 2048;
/// Frames that wait for their time; beyond, a frame goes at once.
const waiting_max = 4096;
/// Of the past, in each direction, for replays.
const kept_max = 4096;

const Options = struct {
    interfaces: [2]u32 = @splat(0),
    port: u16 = 51820,
    plan: faults.Plan = .{},
    /// The thief's IPv4 address; 0: there is none.
    thief: u32 = 0,
};

const thief_port_first = 40_000;
/// He takes them in turn.
const thief_ports = 3;
/// Between a copy and its original, or the other way about.
const thief_lead_ns = 2 * std.time.ns_per_ms;
const Theft = enum(u8) { none, ahead, behind };
const Stolen = struct { datagrams: u64 = 0, bytes: u64 = 0, answers: u64 = 0, answer_bytes: u64 = 0, answer_longest: u64 = 0 };

const Frame = struct { bytes: [frame_bytes_max]u8, length: usize };
const Waiting = struct { due_ns: u64, side: u1, frame: Frame };

const Relay = struct {
    fds: [2]i32,
    options: Options,
    faults: [2]faults.Faults,
    waiting: [waiting_max]Waiting = undefined,
    waiting_count: usize = 0,
    kept: [2][kept_max]Frame = undefined,
    kept_count: [2]usize = @splat(0),
    did: faults.Did = .{},
    stolen: Stolen = .{},

    /// One frame from an interface, if there is one.
    fn take(relay: *Relay, side: u1) bool {
        var got: Frame = .{ .bytes = undefined, .length = 0 };
        var from: linux.sockaddr.ll = undefined;
        var from_bytes: linux.socklen_t = @sizeOf(linux.sockaddr.ll);
        const rc = linux.recvfrom(relay.fds[side], &got.bytes, got.bytes.len, linux.MSG.DONTWAIT, @ptrCast(&from), &from_bytes);
        if (linux.errno(rc) != .SUCCESS) return false;
        // What goes out of the interface is seen too.
        const packet_outgoing = 4;
        if (from.pkttype == packet_outgoing) return true;
        got.length = rc;
        const found = frame.parse(got.bytes[0..rc]) orelse {
            relay.put(~side, &got);
            return true;
        };
        if (relay.options.thief != 0 and found.to == relay.options.thief) {
            relay.stolen.answers += 1;
            relay.stolen.answer_bytes += found.payload.len;
            relay.stolen.answer_longest = @max(relay.stolen.answer_longest, found.payload.len);
            return true;
        }
        // The kernel may have left the checksum to a device that is not there.
        @memset(got.bytes[40..42], 0);
        if (found.from_port != relay.options.port and found.to_port != relay.options.port) {
            relay.put(~side, &got);
            return true;
        }
        const theft = thefts.load(.monotonic);
        if (relay.options.thief != 0 and theft != .none) relay.steal(side, &got, theft) else relay.carry(side, &got);
        return true;
    }

    fn steal(relay: *Relay, side: u1, original: *const Frame, theft: Theft) void {
        var copy = original.*;
        const port = thief_port_first + relay.stolen.datagrams % thief_ports;
        frame.setSource(&copy.bytes, relay.options.thief, @intCast(port));
        relay.stolen.datagrams += 1;
        relay.stolen.bytes += copy.length - frame.headers_bytes;
        relay.put(~side, if (theft == .ahead) &copy else original);
        relay.later(~side, if (theft == .ahead) original else &copy, thief_lead_ns);
    }

    fn carry(relay: *Relay, side: u1, original: *const Frame) void {
        relay.did.carried += 1;
        const kept = &relay.kept[side];
        const count = &relay.kept_count[side];
        const fate = relay.faults[side].next();
        if (fate.replay and count.* > 0) {
            relay.did.replayed += 1;
            const at = fate.choice % @min(count.*, kept_max);
            relay.later(~side, &kept[at], fate.delay_ns);
        }
        kept[count.* % kept_max] = original.*;
        count.* += 1;
        if (fate.lose) {
            relay.did.lost += 1;
            return;
        }
        if (fate.delay_ns > 0) relay.did.delayed += 1;
        if (fate.duplicate) {
            relay.did.duplicated += 1;
            relay.later(~side, original, fate.delay_ns / 2);
        }
        var changed = original.*;
        const payload_bytes = changed.length - frame.headers_bytes;
        if (fate.corrupt and payload_bytes > 0) {
            relay.did.corrupted += 1;
            const bit = fate.choice % (payload_bytes * 8);
            changed.bytes[frame.headers_bytes + bit / 8] ^= @as(u8, 1) << @intCast(bit % 8);
        }
        if (fate.truncate and payload_bytes > 0) {
            relay.did.truncated += 1;
            changed.length = frame.shorten(&changed.bytes, fate.choice % payload_bytes);
        }
        relay.later(~side, &changed, fate.delay_ns);
    }

    fn later(relay: *Relay, side: u1, what: *const Frame, delay_ns: u64) void {
        if (delay_ns == 0 or relay.waiting_count == waiting_max) return relay.put(side, what);
        relay.waiting[relay.waiting_count] = .{ .due_ns = now() + delay_ns, .side = side, .frame = what.* };
        relay.waiting_count += 1;
    }

    /// Sends what is due; when the next will be.
    fn release(relay: *Relay) ?u64 {
        var next_ns: ?u64 = null;
        var at: usize = 0;
        const now_ns = now();
        while (at < relay.waiting_count) {
            const waits = &relay.waiting[at];
            if (waits.due_ns > now_ns) {
                next_ns = @min(next_ns orelse waits.due_ns, waits.due_ns);
                at += 1;
                continue;
            }
            relay.put(waits.side, &waits.frame);
            relay.waiting_count -= 1;
            relay.waiting[at] = relay.waiting[relay.waiting_count];
        }
        return next_ns;
    }

    fn put(relay: *Relay, side: u1, what: *const Frame) void {
        _ = linux.sendto(relay.fds[side], &what.bytes, what.length, linux.MSG.DONTWAIT, null, 0);
    }
};

var stopping: std.atomic.Value(bool) = .init(false);

fn stop(_: linux.SIG) callconv(.c) void {
    stopping.store(true, .monotonic);
}

var thefts: std.atomic.Value(Theft) = .init(.none);

fn nextTheft(_: linux.SIG) callconv(.c) void {
    thefts.store(switch (thefts.load(.monotonic)) {
        .none => .ahead,
        .ahead => .behind,
        .behind => .none,
    }, .monotonic);
}

pub fn main(process: std.process.Init.Minimal) !void {
    const options = parse(process.args) catch {
        std.debug.print("usage: relay --left INDEX --right INDEX [--OPTION VALUE]...\n", .{});
        std.process.exit(2);
    };
    const action: linux.Sigaction = .{ .handler = .{ .handler = stop }, .mask = linux.sigemptyset(), .flags = 0 };
    _ = linux.sigaction(.TERM, &action, null);
    const steal: linux.Sigaction = .{ .handler = .{ .handler = nextTheft }, .mask = linux.sigemptyset(), .flags = 0 };
    _ = linux.sigaction(.USR1, &steal, null);
    const relay = try std.heap.page_allocator.create(Relay);
    relay.* = .{
        .fds = .{ try open(options.interfaces[0]), try open(options.interfaces[1]) },
        .options = options,
        .faults = .{ .init(options.plan, 0), .init(options.plan, 1) },
    };
    say("ready\n", .{});
    while (!stopping.load(.monotonic)) {
        const next_ns = relay.release();
        const wait_ms: i32 = if (next_ns) |due| @intCast(@min(100, (due -| now()) / std.time.ns_per_ms)) else 100;
        var polled = [_]linux.pollfd{
            .{ .fd = relay.fds[0], .events = linux.POLL.IN, .revents = 0 },
            .{ .fd = relay.fds[1], .events = linux.POLL.IN, .revents = 0 },
        };
        _ = linux.poll(&polled, polled.len, wait_ms);
        for ([_]u1{ 0, 1 }) |side| {
            var taken: usize = 0;
            while (taken < 64 and relay.take(side)) taken += 1;
        }
    }
    const did = relay.did;
    say("{{\"carried\":{d},\"lost\":{d},\"delayed\":{d},\"duplicated\":{d},\"corrupted\":{d},\"truncated\":{d},\"replayed\":{d},", .{
        did.carried, did.lost, did.delayed, did.duplicated, did.corrupted, did.truncated, did.replayed,
    });
    const stolen = relay.stolen;
    say("\"stolen\":{d},\"stolen_bytes\":{d},\"answers\":{d},\"answer_bytes\":{d},\"answer_longest\":{d}}}\n", .{
        stolen.datagrams, stolen.bytes, stolen.answers, stolen.answer_bytes, stolen.answer_longest,
    });
}

fn open(interface: u32) !i32 {
    const fd = try packet_socket.open(interface, packet_socket.every);
    const bytes: c_int = 8 << 20;
    _ = linux.setsockopt(fd, linux.SOL.SOCKET, linux.SO.RCVBUFFORCE, std.mem.asBytes(&bytes), 4);
    return fd;
}

fn parse(list: std.process.Args) !Options {
    var args: std.process.Args.Iterator = .init(list);
    _ = args.next();
    var options: Options = .{};
    while (args.next()) |arg| {
        if (arg.len < 3) return error.Usage;
        const value = args.next() orelse return error.Usage;
        const number = try std.fmt.parseInt(u64, value, 10);
        const Name = enum { left, right, port, seed, @"delay-ms", delay, lose, duplicate, corrupt, truncate, replay, thief };
        const plan = &options.plan;
        switch (std.meta.stringToEnum(Name, arg[2..]) orelse return error.Usage) {
            .left => options.interfaces[0] = @intCast(number),
            .right => options.interfaces[1] = @intCast(number),
            .port => options.port = @intCast(number),
            .seed => plan.seed = number,
            .@"delay-ms" => plan.delay_ns_max = number * std.time.ns_per_ms,
            .delay => plan.delay = @intCast(number),
            .lose => plan.lose = @intCast(number),
            .duplicate => plan.duplicate = @intCast(number),
            .corrupt => plan.corrupt = @intCast(number),
            .truncate => plan.truncate = @intCast(number),
            .replay => plan.replay = @intCast(number),
            .thief => options.thief = @intCast(number),
        }
    }
    return options;
}

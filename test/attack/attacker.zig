//! The attacker of scripts/hostile, run in a network namespace of its own. It floods a victim with
//! forged datagrams from as many addresses as it likes, storms it with malformed ones of any length,
//! asks it for handshakes from its real address as a client under load would, or listens to the wire.
//! The last line that it prints is JSON: what it sent, how fast, and what came back. No part of the
//! library.
const std = @import("std");
const linux = std.os.linux;
const forge_ = @import("forge.zig");
const Forge = forge_.Forge;
const frame = @import("frame.zig");
const packet_socket = @import("packet_socket.zig");
const program = @import("program.zig");
const now = program.now;
const say = program.say;

const batch_max = 64;
const frame_bytes_max = 1514;
const pause_ns = 200 * std.time.ns_per_us;
const datagram_bytes_max = 65_507;
const udp_segment = 103;

const Options = struct {
    mode: enum { flood, storm, ask, listen },
    kind: forge_.Kind = .bad_mac1,
    interface: u32 = 0,
    mac: [6]u8 = @splat(0),
    own_mac: [6]u8 = @splat(0),
    to: u32 = 0,
    port: u16 = 51820,
    /// First of the addresses that it pretends to have, and how many.
    from: u32 = 0xc612_0001,
    sources: u32 = 1,
    rate: u64 = 1000,
    seconds: u64 = 1,
    count: u64 = std.math.maxInt(u64),
    key: [32]u8 = @splat(0),
    index: u32 = 0,
    seed: u64 = 1,
};

const Sent = struct { datagrams: u64 = 0, bytes: u64 = 0, answers: u64 = 0, answer_bytes: u64 = 0 };

pub fn main(process: std.process.Init.Minimal) !void {
    const options = parse(process.args) catch {
        std.debug.print("usage: attacker flood|storm|ask|listen [--OPTION VALUE]...\n", .{});
        std.process.exit(2);
    };
    const start_ns = now();
    const sent = switch (options.mode) {
        .flood => try flood(&options),
        .storm => try storm(&options),
        .ask => try ask(&options),
        .listen => return listen(&options),
    };
    const seconds = @as(f64, @floatFromInt(now() - start_ns)) / std.time.ns_per_s;
    say("{{\"sent\":{d},\"bytes\":{d},\"seconds\":{d:.3},\"per_second\":{d:.0},\"answers\":{d},\"answer_bytes\":{d}}}\n", .{
        sent.datagrams,                                    sent.bytes,   seconds,
        @as(f64, @floatFromInt(sent.datagrams)) / seconds, sent.answers, sent.answer_bytes,
    });
}

/// Whole frames, past the stack of this namespace: any source address will do.
fn flood(options: *const Options) !Sent {
    const fd = try packet_socket.open(options.interface, packet_socket.none);
    const bypass: c_int = 1;
    const packet_qdisc_bypass = 20;
    _ = linux.setsockopt(fd, linux.SOL.PACKET, packet_qdisc_bypass, std.mem.asBytes(&bypass), 4);
    var forge: Forge = .init(options.kind, options.seed, options.key, options.index);
    const Static = struct {
        var frames: [batch_max][frame_bytes_max]u8 = @splat(@splat(0));
    };
    var vectors: [batch_max]std.posix.iovec_const = undefined;
    var headers: [batch_max]linux.mmsghdr = undefined;
    var pace: Pace = .init(options);
    var sent: Sent = .{};
    while (pace.next(sent.datagrams)) |wanted| {
        const count = @min(wanted, batch_max);
        for (0..count) |at| {
            const bytes = &Static.frames[at];
            const length = forge.next(bytes[frame.headers_bytes..][0 .. 1500 - 28]);
            const number = sent.datagrams + at;
            const total = frame.write(bytes, .{
                .to_mac = options.mac,
                .from_mac = options.own_mac,
                .from = options.from +% @as(u32, @intCast(number % options.sources)),
                .to = options.to,
                .from_port = @intCast(1024 + number / options.sources % 60_000),
                .to_port = options.port,
            }, length);
            vectors[at] = .{ .base = bytes, .len = total };
            headers[at] = header(vectors[at..].ptr);
            sent.bytes += length;
        }
        sent.datagrams += try sendAll(fd, headers[0..count]);
    }
    return sent;
}

/// From the real address, by the kernel: lengths that take fragments, and segments of odd sizes
/// that the victim's socket receives as one.
fn storm(options: *const Options) !Sent {
    const fd = try udpSocket(options);
    var prng: std.Random.DefaultPrng = .init(options.seed);
    const random = prng.random();
    var forge: Forge = .init(.malformed, options.seed, options.key, 0);
    const Static = struct {
        var bytes: [datagram_bytes_max]u8 = @splat(0x5a);
    };
    const bytes = &Static.bytes;
    var pace: Pace = .init(options);
    var sent: Sent = .{};
    while (pace.next(sent.datagrams)) |_| {
        const chance = random.uintLessThan(u32, 100);
        // Few are huge: each is 45 packets on the wire.
        const room: usize = if (chance < 2) datagram_bytes_max else if (chance < 12) 9000 else 1472;
        const length = forge.next(bytes[0..room]);
        // A segment size needs a length beyond it; the kernel takes at most 128 segments.
        const size = 1 + random.uintLessThan(u16, 1400);
        const segmented = random.boolean() and length > size and length <= @as(usize, size) * 64;
        if (sendOne(fd, bytes[0..length], if (segmented) size else 0)) {
            sent.datagrams += if (segmented) (length + size - 1) / size else 1;
            sent.bytes += length;
        }
    }
    return sent;
}

/// Handshakes from one real address that proves itself by every cookie that it gets.
fn ask(options: *const Options) !Sent {
    const fd = try udpSocket(options);
    const introductions = options.kind == .introduction;
    const kind: forge_.Kind = if (introductions) .introduction else .good_mac1;
    var forge: Forge = .init(kind, options.seed, options.key, 0);
    var message: [forge_.introduction_bytes]u8 = @splat(0);
    // The one that the next cookie reply is sealed for: others' replies do not open.
    var asked: [forge_.introduction_bytes]u8 = @splat(0);
    var cookie: ?[16]u8 = null;
    var pace: Pace = .init(options);
    var sent: Sent = .{};
    while (pace.next(sent.datagrams)) |wanted| {
        for (0..@min(wanted, batch_max)) |_| {
            const length = forge.next(&message);
            forge.sign(message[0..length], if (cookie) |*known| known else null);
            if (cookie == null and sent.datagrams % 64 == 0) @memcpy(asked[0..length], message[0..length]);
            if (!sendOne(fd, message[0..length], 0)) continue;
            sent.datagrams += 1;
            sent.bytes += length;
            var reply: [2048]u8 = undefined;
            while (true) {
                const rc = linux.recvfrom(fd, &reply, reply.len, linux.MSG.DONTWAIT, null, null);
                if (linux.errno(rc) != .SUCCESS) break;
                sent.answers += 1;
                sent.answer_bytes += rc;
                if (cookie == null) cookie = forge.openCookie(reply[0..rc], asked[0..length]);
            }
        }
    }
    return sent;
}

/// Prints `count` UDP payloads of the wire, in hexadecimal, each behind its addresses and ports.
fn listen(options: *const Options) !void {
    const fd = try packet_socket.open(options.interface, packet_socket.ipv4);
    say("listening\n", .{});
    var bytes: [frame_bytes_max]u8 = undefined;
    var left = options.count;
    const until_ns = now() + options.seconds * std.time.ns_per_s;
    while (left > 0 and now() < until_ns) {
        const rc = linux.recvfrom(fd, &bytes, bytes.len, linux.MSG.DONTWAIT, null, null);
        if (linux.errno(rc) != .SUCCESS) {
            sleep(pause_ns);
            continue;
        }
        const found = frame.parse(bytes[0..rc]) orelse continue;
        if (found.to_port != options.port and found.from_port != options.port) continue;
        if (found.payload.len < 4 or found.payload[0] != options.index) continue;
        say("{x:0>8} {d} {x:0>8} {d} {x}\n", .{
            found.from, found.from_port, found.to, found.to_port, found.payload,
        });
        left -= 1;
    }
}

/// How many are due.
const Pace = struct {
    rate: u64,
    start_ns: u64,
    end_ns: u64,
    count: u64,
    /// Due, and given up.
    missed: u64 = 0,

    fn init(options: *const Options) Pace {
        const start_ns = now();
        return .{
            .rate = options.rate,
            .start_ns = start_ns,
            .end_ns = start_ns + options.seconds * std.time.ns_per_s,
            .count = options.count,
        };
    }

    /// Null when it is over. Waits until at least one is due; what could not be sent in time is
    /// not made up for beyond a tenth of a second.
    fn next(pace: *Pace, sent: u64) ?u64 {
        if (sent >= pace.count) return null;
        while (true) {
            const at_ns = now();
            if (at_ns >= pace.end_ns) return null;
            const ever: u64 = @intCast(@as(u128, at_ns - pace.start_ns) * pace.rate / std.time.ns_per_s);
            pace.missed = @max(pace.missed, ever -| sent -| @max(1, pace.rate / 10));
            const due = ever - pace.missed;
            if (due > sent) return @min(due - sent, pace.count - sent);
            sleep(pause_ns);
        }
    }
};

fn sendAll(fd: i32, headers: []linux.mmsghdr) !usize {
    var done: usize = 0;
    while (done < headers.len) {
        const rc = linux.sendmmsg(fd, headers[done..].ptr, @intCast(headers.len - done), 0);
        switch (linux.errno(rc)) {
            .SUCCESS => done += rc,
            .NOBUFS, .AGAIN, .INTR => sleep(pause_ns),
            else => return error.SendFailed,
        }
    }
    return done;
}

fn sendOne(fd: i32, bytes: []const u8, segment_bytes: u16) bool {
    const vector: std.posix.iovec_const = .{ .base = bytes.ptr, .len = bytes.len };
    const Control = extern struct { len: usize, level: c_int, kind: c_int, size: u16, padding: [6]u8 };
    var control: Control = .{ .len = 18, .level = 17, .kind = udp_segment, .size = segment_bytes, .padding = @splat(0) };
    var message: linux.msghdr_const = .{
        .name = null,
        .namelen = 0,
        .iov = (&vector)[0..1].ptr,
        .iovlen = 1,
        .control = if (segment_bytes > 0) &control else null,
        .controllen = if (segment_bytes > 0) @sizeOf(Control) else 0,
        .flags = 0,
    };
    return linux.errno(linux.sendmsg(fd, &message, 0)) == .SUCCESS;
}

fn header(vector: [*]std.posix.iovec_const) linux.mmsghdr {
    return .{ .hdr = .{
        .name = null,
        .namelen = 0,
        .iov = @ptrCast(vector),
        .iovlen = 1,
        .control = null,
        .controllen = 0,
        .flags = 0,
    }, .len = 0 };
}

fn udpSocket(options: *const Options) !i32 {
    const rc = linux.socket(linux.AF.INET, linux.SOCK.DGRAM, 0);
    if (linux.errno(rc) != .SUCCESS) return error.NoSocket;
    const fd: i32 = @intCast(rc);
    var address: linux.sockaddr.in = .{
        .port = std.mem.nativeToBig(u16, options.port),
        .addr = std.mem.nativeToBig(u32, options.to),
    };
    const connected = linux.connect(fd, @ptrCast(&address), @sizeOf(linux.sockaddr.in));
    if (linux.errno(connected) != .SUCCESS) return error.NoRoute;
    return fd;
}

fn parse(list: std.process.Args) !Options {
    var args: std.process.Args.Iterator = .init(list);
    _ = args.next();
    var options: Options = .{ .mode = undefined };
    options.mode = std.meta.stringToEnum(@TypeOf(options.mode), args.next() orelse "") orelse return error.Usage;
    while (args.next()) |arg| {
        if (arg.len < 3) return error.Usage;
        const value = args.next() orelse return error.Usage;
        const Name = enum { kind, interface, mac, @"own-mac", to, port, from, sources, rate, seconds, count, key, index, seed };
        switch (std.meta.stringToEnum(Name, arg[2..]) orelse return error.Usage) {
            .kind => options.kind = std.meta.stringToEnum(forge_.Kind, value) orelse return error.Usage,
            .interface => options.interface = try std.fmt.parseInt(u32, value, 10),
            .mac => _ = try std.fmt.hexToBytes(&options.mac, value),
            .@"own-mac" => _ = try std.fmt.hexToBytes(&options.own_mac, value),
            .to => options.to = try std.fmt.parseInt(u32, value, 16),
            .port => options.port = try std.fmt.parseInt(u16, value, 10),
            .from => options.from = try std.fmt.parseInt(u32, value, 16),
            .sources => options.sources = @max(1, try std.fmt.parseInt(u32, value, 10)),
            .rate => options.rate = try std.fmt.parseInt(u64, value, 10),
            .seconds => options.seconds = try std.fmt.parseInt(u64, value, 10),
            .count => options.count = try std.fmt.parseInt(u64, value, 10),
            .key => _ = try std.fmt.hexToBytes(&options.key, value),
            .index => options.index = try std.fmt.parseInt(u32, value, 10),
            .seed => options.seed = try std.fmt.parseInt(u64, value, 10),
        }
    }
    return options;
}

fn sleep(ns: u64) void {
    const time: linux.timespec = .{ .sec = 0, .nsec = @intCast(ns) };
    _ = linux.nanosleep(&time, null);
}

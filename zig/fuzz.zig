//! The program behind scripts/fuzz: feeds each target of the data plane as many inputs as are asked
//! for, with every safety check of the compiler in the code that takes them.
//!
//! Owns the making of inputs (a target's own generator, and mutations of what was of use before),
//! the clock over each, and what is said when one fails. An input is bytes, and a target starts
//! from the same state for each, so that the bytes alone repeat a failure; the same seed makes the
//! same inputs. No part of the library.
const std = @import("std");
const linux = std.os.linux;
const crypto = @import("crypto.zig");
const print = std.debug.print;

extern "c" fn alarm(seconds: c_uint) c_uint;

/// What a target file says of itself.
pub const Target = struct {
    name: []const u8,
    /// Inputs unless told otherwise: fewer where each costs a Diffie-Hellman.
    inputs: u64 = 1_000_000,
    bytes_max: usize,
    /// Writes an input that gets past the first checks; its length.
    generate: *const fn (random: std.Random, buffer: []u8) usize,
    /// Fails where a rule is broken. The result tells apart what became of the input: an input
    /// with a new one is kept, and mutated later on.
    one: *const fn (input: []const u8) anyerror!u64,
};

const targets = @import("fuzz_datagram.zig").targets ++ @import("fuzz_gate.zig").targets ++
    @import("fuzz_relay.zig").targets ++ @import("fuzz_packet.zig").targets ++ @import("fuzz_policy.zig").targets ++
    @import("fuzz_border.zig").targets;

/// An input that takes longer, each of several times, is a way to stall a thread.
const slow_ns = std.time.ns_per_ms;
/// An input that takes this long never ends.
const stuck_s = 20;
/// Inputs worth mutating.
const pool_max = 512;
/// An input of the corpus beyond this is named by its line alone.
const shown_bytes_max = 4096;

const Options = struct {
    target: *const Target,
    inputs: u64,
    seed: u64 = 1,
    corpus: ?[:0]const u8 = null,
    /// How many of the shortest inputs with a new outcome go into the corpus.
    collect: usize = 0,
    /// This one alone, in hexadecimal.
    input: ?[]const u8 = null,
};

pub const panic = std.debug.FullPanic(panicked);
pub const std_options: std.Options = .{ .enable_segfault_handler = false };

/// What runs now, for whoever is called when it fails.
var running: struct { options: Options = undefined, input: []const u8 = &.{}, kept: bool = true } = .{};

pub fn main(process: std.process.Init.Minimal) !void {
    const options = parse(process.args) catch |err| {
        if (err != error.Listed) print("usage: fuzz TARGET [--inputs N | --share N] [--seed N] [--corpus FILE] [--input HEX] | --list\n", .{});
        std.process.exit(if (err == error.Listed) 0 else 2);
    };
    running.options = options;
    catchSignals();
    try crypto.init();
    var fuzzer: Fuzzer = try .init(std.heap.page_allocator, options);
    try fuzzer.run();
}

fn parse(list: std.process.Args) !Options {
    var args: std.process.Args.Iterator = .init(list);
    _ = args.next();
    var options: Options = .{ .target = undefined, .inputs = 0 };
    var target: ?*const Target = null;
    var inputs: ?u64 = null;
    var share: u64 = 1;
    while (args.next()) |arg| {
        if (std.mem.eql(u8, arg, "--list")) {
            for (&targets) |*each| print("{s}\n", .{each.name});
            return error.Listed;
        }
        if (arg[0] != '-') {
            target = for (&targets) |*each| {
                if (std.mem.eql(u8, arg, each.name)) break each;
            } else return error.Usage;
            continue;
        }
        const value = args.next() orelse return error.Usage;
        if (std.mem.eql(u8, arg, "--inputs")) {
            inputs = try std.fmt.parseInt(u64, value, 10);
        } else if (std.mem.eql(u8, arg, "--share")) {
            share = @max(1, try std.fmt.parseInt(u64, value, 10));
        } else if (std.mem.eql(u8, arg, "--seed")) {
            options.seed = try std.fmt.parseInt(u64, value, 10);
        } else if (std.mem.eql(u8, arg, "--collect")) {
            options.collect = try std.fmt.parseInt(usize, value, 10);
        } else if (std.mem.eql(u8, arg, "--corpus")) {
            options.corpus = value;
        } else if (std.mem.eql(u8, arg, "--input")) {
            options.input = value;
        } else return error.Usage;
    }
    options.target = target orelse return error.Usage;
    options.inputs = inputs orelse options.target.inputs / share;
    return options;
}

const Fuzzer = struct {
    options: Options,
    target: *const Target,
    prng: std.Random.DefaultPrng,
    allocator: std.mem.Allocator,
    buffer: []u8,
    pool: [pool_max][]u8 = undefined,
    pool_count: usize = 0,
    outcomes: std.AutoHashMapUnmanaged(u64, void) = .empty,
    slowest_ns: u64 = 0,

    fn init(allocator: std.mem.Allocator, options: Options) !Fuzzer {
        return .{
            .options = options,
            .target = options.target,
            .prng = .init(options.seed),
            .allocator = allocator,
            .buffer = try allocator.alloc(u8, options.target.bytes_max),
        };
    }

    fn run(self: *Fuzzer) !void {
        if (self.options.input) |text| {
            running.kept = false;
            const hex = if (std.mem.eql(u8, text, "-")) "" else text;
            const bytes = try std.fmt.hexToBytes(try self.allocator.alloc(u8, hex.len / 2), hex);
            try self.feed(bytes);
            return print("{s}: nothing is wrong with this input\n", .{self.target.name});
        }
        const known = try self.readCorpus();
        const known_outcomes = self.pool_count;
        running.kept = self.options.corpus != null;
        const began_ns = now();
        for (0..self.options.inputs) |number| {
            if (number % 1024 == 0) _ = alarm(stuck_s);
            try self.feed(self.make());
        }
        const elapsed_ns = @max(1, now() - began_ns);
        print("{s}: {d} inputs and {d} of the corpus, {d} outcomes, {d:.1} s, {d}/s, the slowest {d:.2} ms\n", .{
            self.target.name,
            self.options.inputs,
            known,
            self.outcomes.count(),
            @as(f64, @floatFromInt(elapsed_ns)) / std.time.ns_per_s,
            self.options.inputs * std.time.ns_per_s / elapsed_ns,
            @as(f64, @floatFromInt(self.slowest_ns)) / std.time.ns_per_ms,
        });
        self.collect(self.pool[known_outcomes..self.pool_count]);
    }

    fn collect(self: *const Fuzzer, fresh: [][]u8) void {
        const path = self.options.corpus orelse return;
        std.mem.sort([]u8, fresh, {}, struct {
            fn isShorter(_: void, a: []u8, b: []u8) bool {
                return a.len < b.len;
            }
        }.isShorter);
        for (fresh[0..@min(fresh.len, self.options.collect)]) |input| appendHex(path, input);
    }

    /// Feeds every line, and keeps it for mutation. How many there are.
    fn readCorpus(self: *Fuzzer) !usize {
        running.kept = false;
        const path = self.options.corpus orelse return 0;
        const text = try readFile(self.allocator, path);
        var lines = std.mem.tokenizeScalar(u8, text, '\n');
        var count: usize = 0;
        while (lines.next()) |line| {
            if (line[0] == '#') continue;
            const hex = if (std.mem.eql(u8, line, "-")) "" else line;
            const bytes = std.fmt.hexToBytes(try self.allocator.alloc(u8, hex.len / 2), hex) catch {
                print("{s}: a line that is no hexadecimal: {s}\n", .{ path, line });
                return error.CorpusMalformed;
            };
            count += 1;
            _ = alarm(stuck_s);
            if (bytes.len > self.target.bytes_max) return error.CorpusMalformed;
            try self.feed(bytes);
        }
        return count;
    }

    /// Fresh, or made of what had an outcome of its own.
    fn make(self: *Fuzzer) []u8 {
        const random = self.prng.random();
        if (self.pool_count == 0 or random.boolean())
            return self.buffer[0..self.target.generate(random, self.buffer)];
        const base = self.pool[random.uintLessThan(usize, self.pool_count)];
        @memcpy(self.buffer[0..base.len], base);
        var length = base.len;
        for (0..random.intRangeAtMost(usize, 1, 4)) |_| length = self.mutate(random, length);
        return self.buffer[0..length];
    }

    fn mutate(self: *Fuzzer, random: std.Random, length: usize) usize {
        const bytes = self.buffer;
        if (length == 0) {
            bytes[0] = random.int(u8);
            return 1;
        }
        const at = random.uintLessThan(usize, length);
        const rest = length - at;
        switch (random.uintLessThan(u8, 9)) {
            0, 1 => bytes[at] ^= @as(u8, 1) << random.int(u3),
            2 => bytes[at] = random.int(u8),
            3 => bytes[at] +%= if (random.boolean()) 1 else 255,
            4 => {
                const edges = [_]u64{ 0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0xffff_ffff, std.math.maxInt(u64), std.math.maxInt(u64) - 0x2000 };
                var value: [8]u8 = undefined;
                std.mem.writeInt(u64, &value, edges[random.uintLessThan(usize, edges.len)], if (random.boolean()) .little else .big);
                const count = @min(rest, @as(usize, 1) << random.int(u2));
                @memcpy(bytes[at..][0..count], value[0..count]);
            },
            // Cut off, cut out, make room, copy from elsewhere.
            5 => return at,
            6 => {
                const count = random.intRangeAtMost(usize, 1, @min(rest, 32));
                std.mem.copyForwards(u8, bytes[at .. length - count], bytes[at + count .. length]);
                return length - count;
            },
            7 => {
                const count = random.intRangeAtMost(usize, 1, 32);
                if (length + count > bytes.len) return length;
                std.mem.copyBackwards(u8, bytes[at + count .. length + count], bytes[at..length]);
                random.bytes(bytes[at..][0..count]);
                return length + count;
            },
            else => {
                const other = self.pool[random.uintLessThan(usize, self.pool_count)];
                if (other.len == 0) return length;
                const from = random.uintLessThan(usize, other.len);
                const count = @min(other.len - from, bytes.len - at);
                @memcpy(bytes[at..][0..count], other[from..][0..count]);
                return @max(length, at + count);
            },
        }
        return length;
    }

    fn feed(self: *Fuzzer, input: []const u8) !void {
        running.input = input;
        const began_ns = now();
        const outcome = self.target.one(input) catch |err| {
            var name: [64]u8 = undefined;
            report(std.fmt.bufPrint(&name, "{t}", .{err}) catch "an error");
            return err;
        };
        var elapsed_ns = now() - began_ns;
        if (elapsed_ns > slow_ns) {
            // Others use this processor too.
            for (0..8) |_| {
                const again_ns = now();
                _ = try self.target.one(input);
                elapsed_ns = @min(elapsed_ns, now() - again_ns);
            }
            if (elapsed_ns > slow_ns) {
                report("takes more than a millisecond");
                return error.Slow;
            }
        }
        self.slowest_ns = @max(self.slowest_ns, elapsed_ns);
        if (self.pool_count == pool_max) return;
        const found = try self.outcomes.getOrPut(self.allocator, outcome);
        if (found.found_existing) return;
        self.pool[self.pool_count] = try self.allocator.dupe(u8, input);
        self.pool_count += 1;
    }
};

/// Says which input it was, and keeps it in the corpus. Called from wherever a failure is noticed.
fn report(what: []const u8) void {
    const options = running.options;
    const name = options.target.name;
    const input = running.input;
    // Whatever fails while this speaks is not the input's fault.
    print("\n{s}: {s} (seed {d})\n", .{ name, what, options.seed });
    print("  an input of {d} bytes: ", .{input.len});
    if (input.len <= shown_bytes_max) print("{x}\n", .{input}) else print("{x}...\n", .{input[0..64]});
    if (options.input != null) return;
    if (running.kept) if (options.corpus) |path| {
        appendHex(path, input);
        print("  kept as the last line of {s}\n", .{path});
    };
    print("  again: scripts/fuzz --inputs 0 {s}", .{name});
    if (input.len <= shown_bytes_max) print(", or scripts/fuzz --input {x} {s}", .{ input, name });
    print("\n", .{});
}

fn panicked(message: []const u8, first_trace_address: ?usize) noreturn {
    @branchHint(.cold);
    report(message);
    std.debug.defaultPanic(message, first_trace_address);
}

fn catchSignals() void {
    const action: linux.Sigaction = .{
        .handler = .{ .handler = onSignal },
        .mask = linux.sigemptyset(),
        .flags = linux.SA.RESETHAND,
    };
    for ([_]linux.SIG{ .SEGV, .BUS, .ILL, .FPE, .ALRM, .ABRT }) |signal| _ = linux.sigaction(signal, &action, null);
}

fn onSignal(signal: linux.SIG) callconv(.c) void {
    report(switch (signal) {
        .ALRM => "does not end",
        else => "a fault",
    });
    linux.exit_group(1);
}

fn now() u64 {
    var time: linux.timespec = undefined;
    _ = linux.clock_gettime(.MONOTONIC, &time);
    return @as(u64, @intCast(time.sec)) * std.time.ns_per_s + @as(u64, @intCast(time.nsec));
}

fn readFile(allocator: std.mem.Allocator, path: [:0]const u8) ![]u8 {
    const rc = linux.open(path, .{ .CLOEXEC = true }, 0);
    if (linux.errno(rc) != .SUCCESS) return allocator.alloc(u8, 0);
    const fd: linux.fd_t = @intCast(rc);
    defer _ = linux.close(fd);
    const bytes = try allocator.alloc(u8, 16 << 20);
    var used: usize = 0;
    while (used < bytes.len) {
        const got = linux.read(fd, bytes[used..].ptr, bytes.len - used);
        if (linux.errno(got) != .SUCCESS) return error.Unreadable;
        if (got == 0) break;
        used += got;
    }
    return bytes[0..used];
}

fn appendHex(path: [:0]const u8, input: []const u8) void {
    const rc = linux.open(path, .{ .ACCMODE = .WRONLY, .APPEND = true, .CREAT = true, .CLOEXEC = true }, 0o644);
    if (linux.errno(rc) != .SUCCESS) return print("  {s} cannot be written: {t}\n", .{ path, linux.errno(rc) });
    const fd: linux.fd_t = @intCast(rc);
    defer _ = linux.close(fd);
    const digits = "0123456789abcdef";
    var line: [4096]u8 = undefined;
    if (input.len == 0) _ = linux.write(fd, "-", 1);
    var at: usize = 0;
    while (at < input.len) {
        const count = @min(input.len - at, line.len / 2);
        for (input[at..][0..count], 0..) |byte, i| {
            line[2 * i] = digits[byte >> 4];
            line[2 * i + 1] = digits[byte & 15];
        }
        _ = linux.write(fd, &line, 2 * count);
        at += count;
    }
    _ = linux.write(fd, "\n", 1);
}

//! The program behind scripts/aead-check: compares every level that this processor has with
//! libsodium on as many random messages as are asked for, or measures them beside one another.
//!
//! Owns its command line and the loads that are measured; what is compared is
//! `aead_self_test.zig`. No part of the library.
const std = @import("std");
const linux = std.os.linux;
const aead_dispatch = @import("aead_dispatch.zig");
const aead_self_test = @import("aead_self_test.zig");
const crypto = @import("crypto.zig");
const Implementation = aead_dispatch.Implementation;
const Message = aead_dispatch.Message;
const print = std.debug.print;

const Options = struct {
    cases: u64 = 1_000_000,
    seed: ?u64 = null,
    level: ?[]const u8 = null,
    bench: bool = false,
};

pub fn main(process: std.process.Init.Minimal) !void {
    const options = parse(process.args) catch {
        print("usage: aead-check [--cases N] [--seed N] [--level NAME] [--bench]\n", .{});
        std.process.exit(2);
    };
    try crypto.init();
    var storage: [8]*const Implementation = undefined;
    const implementations = supported(&storage, options.level);
    if (implementations.len == 0) {
        print("aead-check: this processor has no such level\n", .{});
        std.process.exit(1);
    }
    if (options.bench) return bench(implementations);

    var seed: [8]u8 = undefined;
    crypto.random(&seed);
    for (implementations) |implementation|
        try check(implementation, options.cases, options.seed orelse std.mem.readInt(u64, &seed, .little));
}

fn parse(list: std.process.Args) !Options {
    var options: Options = .{};
    var args: std.process.Args.Iterator = .init(list);
    _ = args.next();
    while (args.next()) |arg| {
        if (std.mem.eql(u8, arg, "--bench")) {
            options.bench = true;
            continue;
        }
        const value = args.next() orelse return error.Usage;
        if (std.mem.eql(u8, arg, "--cases")) {
            options.cases = try std.fmt.parseInt(u64, value, 10);
        } else if (std.mem.eql(u8, arg, "--seed")) {
            options.seed = try std.fmt.parseInt(u64, value, 10);
        } else if (std.mem.eql(u8, arg, "--level")) {
            options.level = value;
        } else return error.Usage;
    }
    return options;
}

fn supported(storage: *[8]*const Implementation, only: ?[]const u8) []*const Implementation {
    const processor: aead_dispatch.Processor = .detect();
    var count: usize = 0;
    for (aead_dispatch.linked) |*level| {
        if (!level.supported(processor)) continue;
        if (only) |name| if (!std.mem.eql(u8, name, level.implementation.name)) continue;
        storage[count] = &level.implementation;
        count += 1;
    }
    return storage[0..count];
}

/// Batches of any size, and each length to 2,100 in batches of every size once around.
fn check(implementation: *const Implementation, cases: u64, seed: u64) !void {
    const bytes = 1 << 20;
    const memory = try std.heap.page_allocator.alloc(u8, 4 * bytes);
    defer std.heap.page_allocator.free(memory);
    var comparison: aead_self_test.Comparison = .init(
        memory[0..bytes],
        memory[bytes .. 2 * bytes],
        memory[2 * bytes .. 3 * bytes],
        memory[3 * bytes ..],
        seed,
    );
    const began_ns = now();
    var length: u32 = 0;
    var count: usize = 1;
    while (length <= 2100) : (length += @intCast(count)) {
        count = count % aead_self_test.batch_messages_max + 1;
        try report(implementation, seed, &comparison, comparison.batch(implementation, count, .{ .from = length }));
    }
    while (comparison.compared < cases) {
        count = 1 + comparison.prng.random().uintLessThan(usize, aead_self_test.batch_messages_max);
        try report(implementation, seed, &comparison, comparison.batch(implementation, count, .mostly_short));
    }
    print("{s}: {} messages equal libsodium's, {} tampered with were refused (seed {}, {} s)\n", .{
        implementation.name,
        comparison.compared,
        comparison.tampered,
        seed,
        (now() - began_ns) / std.time.ns_per_s,
    });
}

fn report(
    implementation: *const Implementation,
    seed: u64,
    comparison: *const aead_self_test.Comparison,
    difference: ?aead_self_test.Difference,
) !void {
    const found = difference orelse return;
    print("{s}: differs from libsodium after {} messages, seed {}: {}\n", .{
        implementation.name, comparison.compared, seed, found,
    });
    std.process.exit(1);
}

const Load = struct { name: []const u8, lengths: []const u32 };

const loads = [_]Load{
    .{ .name = "64x1424", .lengths = &@as([64]u32, @splat(1424)) },
    .{ .name = "64x256", .lengths = &@as([64]u32, @splat(256)) },
    .{ .name = "64x64", .lengths = &@as([64]u32, @splat(64)) },
    .{ .name = "super", .lengths = &(@as([46]u32, @splat(1440)) ++ [_]u32{200}) },
    .{ .name = "mixed", .lengths = &mixed },
    .{ .name = "8x1424", .lengths = &@as([8]u32, @splat(1424)) },
    .{ .name = "4x1424", .lengths = &@as([4]u32, @splat(1424)) },
    .{ .name = "3x1424", .lengths = &@as([3]u32, @splat(1424)) },
    .{ .name = "2x1424", .lengths = &@as([2]u32, @splat(1424)) },
    .{ .name = "1x1424", .lengths = &.{1424} },
    .{ .name = "4x96", .lengths = &@as([4]u32, @splat(96)) },
    .{ .name = "2x96", .lengths = &@as([2]u32, @splat(96)) },
    .{ .name = "1x96", .lengths = &.{96} },
};

/// 64 lengths from 32 to 1,440.
const mixed: [64]u32 = blk: {
    var lengths: [64]u32 = undefined;
    for (&lengths, 0..) |*length, index| length.* = 32 + (index * 857 + 311) % 1409;
    break :blk lengths;
};

const rounds = 15;
const arena_bytes = 112 * 1024;
const Medians = [loads.len]u64;

/// Nanoseconds of processor time a message, the median of rounds in which all take turns.
fn bench(levels: []*const Implementation) !void {
    var implementations: [9]*const Implementation = undefined;
    @memcpy(implementations[0..levels.len], levels);
    implementations[levels.len] = &aead_dispatch.libsodium;
    const count = levels.len + 1;
    const arena = try std.heap.page_allocator.alloc(u8, arena_bytes);
    defer std.heap.page_allocator.free(arena);
    @memset(arena, 0);

    var tenths: [9][2][loads.len][rounds]u64 = undefined;
    for (0..rounds) |round| {
        for (implementations[0..count], tenths[0..count]) |implementation, *times| {
            for (loads, 0..) |load, index| {
                const seal_tenths, const open_tenths = measure(implementation, load.lengths, arena);
                times[0][index][round] = seal_tenths;
                times[1][index][round] = open_tenths;
            }
        }
    }
    print("ns a message     ", .{});
    for (loads) |load| print("{s:>9}", .{load.name});
    print("\n", .{});
    for ([_][]const u8{ "seal", "open" }, 0..) |direction, which| {
        for (implementations[0..count], tenths[0..count]) |implementation, *times| {
            print("{s} {s:<12}", .{ direction, implementation.name });
            for (&times[which]) |*one| {
                std.mem.sort(u64, one, {}, std.sort.asc(u64));
                print("{d:>7}.{}", .{ one[rounds / 2] / 10, one[rounds / 2] % 10 });
            }
            print("\n", .{});
        }
    }
}

/// Tenths of a nanosecond a message to seal and to open, in place, over batches that fill the
/// arena, so that each is as far from the nearest cache as in life.
fn measure(implementation: *const Implementation, lengths: []const u32, arena: []u8) [2]u64 {
    const key: [32]u8 = @splat(7);
    const messages_max = arena_bytes / (64 + 32);
    var messages: [messages_max]Message = undefined;
    var used: usize = 0;
    var count: usize = 0;
    while (count + lengths.len <= messages_max) {
        var bytes: usize = 0;
        for (lengths) |length| bytes += length + 32;
        if (used + bytes > arena.len) break;
        for (lengths) |length| {
            // Behind a header of 16 bytes, as in a datagram.
            const place = arena[used + 16 ..].ptr;
            messages[count] = .{ .from = place, .to = place, .counter = count, .length = length };
            used += length + 32;
            count += 1;
        }
    }
    const batches = count / lengths.len;
    var seal_ns: u64 = 0;
    var open_ns: u64 = 0;
    for (0..6) |_| {
        const a = now();
        for (0..batches) |index| implementation.sealBatch(&key, messages[index * lengths.len ..][0..lengths.len]);
        const b = now();
        for (0..batches) |index| implementation.openBatch(&key, messages[index * lengths.len ..][0..lengths.len]);
        open_ns += now() - b;
        seal_ns += b - a;
        for (messages[0..count]) |*message| if (!message.authentic) unreachable;
    }
    return .{ seal_ns * 10 / (6 * count), open_ns * 10 / (6 * count) };
}

/// Of this thread's processor time: other programs that run do not count.
fn now() u64 {
    var time: linux.timespec = undefined;
    if (linux.errno(linux.clock_gettime(.THREAD_CPUTIME_ID, &time)) != .SUCCESS) unreachable;
    return @as(u64, @intCast(time.sec)) * std.time.ns_per_s + @as(u64, @intCast(time.nsec));
}

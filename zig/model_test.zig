//! The keypair slots, the replay window and the allowed IPs against models that are too simple to
//! be wrong, on 100,000 random histories each. (The limiter's are in rate_limiter.zig.) A history
//! is decided by its seed, which a failure prints.
const std = @import("std");
const allowed_ips = @import("allowed_ips.zig");
const constants = @import("constants.zig");
const keypair_ = @import("keypair.zig");
const replay = @import("replay.zig");
const AllowedIps = allowed_ips.AllowedIps;
const Keypair = keypair_.Keypair;
const Prefix = allowed_ips.Prefix;
const testing = std.testing;

const histories_count = 100_000;

fn expectHistories(context: anytype, comptime body: fn (@TypeOf(context), std.Random) anyerror!void) !void {
    for (0..histories_count) |seed| try expectHistory(context, body, seed);
}

fn expectHistory(context: anytype, comptime body: fn (@TypeOf(context), std.Random) anyerror!void, seed: u64) !void {
    errdefer std.debug.print("the history of seed {d}\n", .{seed});
    var prng: std.Random.DefaultPrng = .init(seed);
    try body(context, prng.random());
}

/// Every counter that was accepted, as a list.
const WindowModel = struct {
    const steps_max = 40;

    accepted: [steps_max]u64 = undefined,
    count: usize = 0,
    highest: u64 = 0,

    fn commit(model: *WindowModel, counter: u64) bool {
        if (counter >= constants.reject_after_messages) return false;
        if (model.highest > counter and model.highest - counter > replay.window_size) return false;
        for (model.accepted[0..model.count]) |known| if (known == counter) return false;
        model.accepted[model.count] = counter;
        model.count += 1;
        model.highest = @max(model.highest, counter);
        return true;
    }
};

test "the replay window agrees with a list of counters on 100,000 random histories" {
    try expectHistories({}, struct {
        fn body(_: void, random: std.Random) anyerror!void {
            const limit = constants.reject_after_messages;
            const size = replay.window_size;
            var window: replay.Window = .{};
            var model: WindowModel = .{};
            var near: u64 = switch (random.uintLessThan(u8, 4)) {
                0 => random.uintAtMost(u64, limit),
                1 => limit - random.uintLessThan(u64, 3 * size),
                else => 0,
            };
            for (0..random.intRangeAtMost(usize, 1, WindowModel.steps_max)) |_| {
                const counter = switch (random.uintLessThan(u8, 8)) {
                    0 => near +| random.uintLessThan(u64, 3 * size),
                    1 => near -| random.uintLessThan(u64, 2 * size),
                    2 => near -| (size - 2 + random.uintLessThan(u64, 5)),
                    3 => near -| random.uintLessThan(u64, 130),
                    4 => if (model.count > 0) model.accepted[random.uintLessThan(usize, model.count)] else 0,
                    else => near +| random.uintLessThan(u64, 3),
                };
                const expected = model.commit(counter);
                try testing.expectEqual(expected, window.check(counter) and window.commit(counter));
                near = @max(near, model.highest);
            }
        }
    }.body);
}

/// The kernel's rules (noise.c, add_new_keypair and wg_noise_received_with_keypair), of numbers.
const SlotsModel = struct {
    previous: ?u8 = null,
    current: ?u8 = null,
    next: ?u8 = null,

    const Event = enum { initiated, responded, confirmed, confirmed_other, cleared };

    fn step(model: SlotsModel, event: Event, fresh: u8) SlotsModel {
        return switch (event) {
            .initiated => .{ .previous = model.next orelse model.current, .current = fresh },
            .responded => .{ .current = model.current, .next = fresh },
            .confirmed => if (model.next == null)
                model
            else
                .{ .previous = model.current, .current = model.next },
            .confirmed_other => model,
            .cleared => .{},
        };
    }

    fn holds(model: SlotsModel, number: u8) bool {
        return model.previous == number or model.current == number or model.next == number;
    }
};

/// The slots, the model, and a keypair for each step.
const SlotsBench = struct {
    const steps_max = 40;

    slots: keypair_.Slots = .{},
    model: SlotsModel = .{},
    pool: *[steps_max]Keypair,
    count: u8 = 0,

    const key_bytes: [32]u8 = @splat(0);

    fn makePool() [steps_max]Keypair {
        return @splat(.{
            .send_key = &key_bytes,
            .receive_key = &key_bytes,
            .send_secret = 0,
            .receive_secret = 0,
            .local_index = 0,
            .remote_index = 0,
            .initiator = false,
            .created_ns = 0,
        });
    }

    fn step(bench: *SlotsBench, event: SlotsModel.Event) !void {
        const fresh = bench.count;
        bench.count += 1;
        bench.pool[fresh].initiator = event == .initiated;
        const before = bench.model;
        bench.model = before.step(event, fresh);
        const dropped = switch (event) {
            .initiated, .responded => bench.slots.install(&bench.pool[fresh]),
            .confirmed => blk: {
                if (bench.slots.next) |next| try testing.expect(bench.slots.confirm(next));
                break :blk keypair_.Dropped{};
            },
            .confirmed_other => blk: {
                const current = bench.slots.current.raw orelse break :blk keypair_.Dropped{};
                try testing.expect(!bench.slots.confirm(current));
                if (bench.slots.previous) |previous| try testing.expect(!bench.slots.confirm(previous));
                break :blk keypair_.Dropped{};
            },
            .cleared => bench.slots.clear(),
        };
        try testing.expectEqual(bench.model.previous, bench.numberOf(bench.slots.previous));
        try testing.expectEqual(bench.model.current, bench.numberOf(bench.slots.current.raw));
        try testing.expectEqual(bench.model.next, bench.numberOf(bench.slots.next));
        // Given back is exactly what was held and is not any more, each once.
        var gone: usize = 0;
        for (0..fresh) |number| {
            if (before.holds(@intCast(number)) and !bench.model.holds(@intCast(number))) gone += 1;
        }
        try testing.expectEqual(gone, dropped.slice().len);
        for (dropped.slice(), 0..) |entry, at| {
            const number = bench.numberOf(entry).?;
            try testing.expect(before.holds(number) and !bench.model.holds(number));
            for (dropped.slice()[0..at]) |other| try testing.expect(other != entry);
        }
    }

    fn numberOf(bench: *const SlotsBench, keypair: ?*const Keypair) ?u8 {
        const held = keypair orelse return null;
        return @intCast(held - &bench.pool[0]);
    }
};

test "the keypair slots agree with the kernel's rules on 100,000 random histories" {
    var pool = SlotsBench.makePool();
    try expectHistories(&pool, struct {
        fn body(keypairs: *[SlotsBench.steps_max]Keypair, random: std.Random) anyerror!void {
            var bench: SlotsBench = .{ .pool = keypairs };
            for (0..random.intRangeAtMost(usize, 1, SlotsBench.steps_max)) |_| {
                try bench.step(random.enumValue(SlotsModel.Event));
            }
        }
    }.body);
}

test "the keypair slots agree with the kernel's rules on every history of six events" {
    const events = comptime std.enums.values(SlotsModel.Event);
    const length = 6;
    var pool = SlotsBench.makePool();
    for (0..std.math.powi(usize, events.len, length) catch unreachable) |history| {
        errdefer std.debug.print("history {d}\n", .{history});
        var bench: SlotsBench = .{ .pool = &pool };
        var rest = history;
        for (0..length) |_| {
            try bench.step(events[rest % events.len]);
            rest /= events.len;
        }
    }
}

/// Every prefix with its owner, as a list.
const PrefixModel = struct {
    const Held = struct { prefix: Prefix, owner: u32 };
    const held_max = 24;

    held: [held_max]Held = undefined,
    count: usize = 0,

    fn find(model: *const PrefixModel, prefix: Prefix) ?usize {
        for (model.held[0..model.count], 0..) |held, at| {
            if (held.prefix.bits == prefix.bits and covers(held.prefix, prefix)) return at;
        }
        return null;
    }

    fn insert(model: *PrefixModel, prefix: Prefix, owner: u32) void {
        if (model.find(prefix)) |at| {
            model.held[at].owner = owner;
        } else {
            model.held[model.count] = .{ .prefix = prefix, .owner = owner };
            model.count += 1;
        }
    }

    fn remove(model: *PrefixModel, prefix: Prefix, owner: u32) bool {
        const at = model.find(prefix) orelse return false;
        if (model.held[at].owner != owner) return false;
        model.drop(at);
        return true;
    }

    fn removeOwner(model: *PrefixModel, owner: u32) u32 {
        var removed: u32 = 0;
        var at = model.count;
        while (at > 0) {
            at -= 1;
            if (model.held[at].owner != owner) continue;
            model.drop(at);
            removed += 1;
        }
        return removed;
    }

    fn drop(model: *PrefixModel, at: usize) void {
        model.count -= 1;
        model.held[at] = model.held[model.count];
    }

    fn lookup(model: *const PrefixModel, address: Prefix) ?u32 {
        var best: ?Held = null;
        for (model.held[0..model.count]) |held| {
            if (!covers(held.prefix, address)) continue;
            if (best == null or held.prefix.bits > best.?.prefix.bits) best = held;
        }
        return if (best) |held| held.owner else null;
    }

    /// Whether the first bits of the address are those of the prefix.
    fn covers(prefix: Prefix, address: Prefix) bool {
        if (prefix.family != address.family) return false;
        for (0..prefix.bits) |bit| {
            const difference = prefix.addr[bit / 8] ^ address.addr[bit / 8];
            if (difference >> @intCast(7 - bit % 8) & 1 != 0) return false;
        }
        return true;
    }
};

test "the allowed IPs agree with a list of prefixes on 100,000 random histories" {
    var arena: std.heap.ArenaAllocator = .init(testing.allocator);
    defer arena.deinit();
    try expectHistories(&arena, struct {
        fn body(memory: *std.heap.ArenaAllocator, random: std.Random) anyerror!void {
            _ = memory.reset(.retain_capacity);
            const a = memory.allocator();
            var table: AllowedIps = .{};
            var model: PrefixModel = .{};
            for (0..random.intRangeAtMost(usize, 1, PrefixModel.held_max)) |_| {
                const prefix = if (model.count > 0 and random.boolean())
                    model.held[random.uintLessThan(usize, model.count)].prefix
                else
                    randomPrefix(random);
                const owner = random.uintLessThan(u32, 4);
                switch (random.uintLessThan(u8, 8)) {
                    0...4 => {
                        try table.insert(a, prefix, owner);
                        model.insert(prefix, owner);
                    },
                    5, 6 => try testing.expectEqual(model.remove(prefix, owner), table.remove(prefix, owner)),
                    else => try testing.expectEqual(model.removeOwner(owner), table.removeOwner(owner)),
                }
                try testing.expectEqual(model.count, table.count);
                for ([_]Prefix{ prefix, randomPrefix(random) }) |address| {
                    const found = switch (address.family) {
                        .v4 => table.lookup4(address.addr[0..4].*),
                        .v6 => table.lookup6(address.addr),
                    };
                    try testing.expectEqual(model.lookup(address), found);
                }
            }
            for (0..4) |owner| _ = table.removeOwner(@intCast(owner));
            try testing.expectEqual(0, table.nodes_used);
        }

        /// Of few distinct bytes, so that prefixes nest, meet and are met.
        fn randomPrefix(random: std.Random) Prefix {
            var prefix: Prefix = .{ .addr = @splat(0), .bits = 0, .family = .v4 };
            if (random.boolean()) prefix.family = .v6;
            const size: usize = if (prefix.family == .v4) 4 else 16;
            for (prefix.addr[0..size]) |*byte| byte.* = @as(u8, random.int(u1)) * 0xf0 + random.int(u1);
            prefix.bits = @intCast(random.uintAtMost(usize, size * 8));
            return prefix;
        }
    }.body);
}

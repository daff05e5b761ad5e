//! Tests of the batched cipher on every level that this processor has. Run by `zig build test`,
//! which links the levels; scripts/aead-check compares more messages.
const std = @import("std");
const builtin = @import("builtin");
const testing = std.testing;
const linux = std.os.linux;
const aead_dispatch = @import("aead_dispatch.zig");
const aead_self_test = @import("aead_self_test.zig");
const crypto = @import("crypto.zig");
const Implementation = aead_dispatch.Implementation;
const Message = aead_dispatch.Message;

/// The levels under test; from now on the other tests use the widest, too.
fn supported(storage: *[8]aead_dispatch.Level) ![]aead_dispatch.Level {
    try crypto.init();
    aead_dispatch.levels = aead_dispatch.linked;
    const processor: aead_dispatch.Processor = .detect();
    var count: usize = 0;
    for (aead_dispatch.linked) |level| {
        if (!level.supported(processor)) continue;
        storage[count] = level;
        count += 1;
    }
    return storage[0..count];
}

const Room = struct {
    memory: [4][]u8,

    fn init(bytes: usize) !Room {
        var room: Room = undefined;
        for (&room.memory) |*piece| piece.* = try testing.allocator.alloc(u8, bytes);
        return room;
    }

    fn deinit(room: *Room) void {
        for (room.memory) |piece| testing.allocator.free(piece);
    }

    fn comparison(room: *const Room, seed: u64) aead_self_test.Comparison {
        return .init(room.memory[0], room.memory[1], room.memory[2], room.memory[3], seed);
    }
};

fn expectEqual(difference: ?aead_self_test.Difference, implementation: *const Implementation) !void {
    const found = difference orelse return;
    std.debug.print("{s}: {}\n", .{ implementation.name, found });
    return error.TestUnexpectedResult;
}

test "every level agrees with libsodium on random batches, and refuses what was tampered with" {
    var storage: [8]aead_dispatch.Level = undefined;
    var room: Room = try .init(400_000);
    defer room.deinit();
    for (try supported(&storage)) |*level| {
        var comparison = room.comparison(0x61656164);
        while (comparison.compared < 50_000) {
            const count = 1 + comparison.prng.random().uintLessThan(usize, aead_self_test.batch_messages_max);
            try expectEqual(comparison.batch(&level.implementation, count, .mostly_short), &level.implementation);
        }
        try testing.expect(comparison.tampered > comparison.compared / 16);
    }
}

test "every level agrees with libsodium on every length to 2,100" {
    var storage: [8]aead_dispatch.Level = undefined;
    var room: Room = try .init(400_000);
    defer room.deinit();
    for (try supported(&storage)) |*level| {
        var comparison = room.comparison(2100);
        for ([_]usize{ 1, 2, 3, 4, 8, 100 }) |count| {
            var length: u32 = 0;
            while (length <= 2100) : (length += @intCast(count))
                try expectEqual(comparison.batch(&level.implementation, count, .{ .from = length }), &level.implementation);
        }
    }
}

test "the longest messages, and lengths that end where a step ends" {
    var storage: [8]aead_dispatch.Level = undefined;
    var room: Room = try .init(1_200_000);
    defer room.deinit();
    for (try supported(&storage)) |*level| {
        var comparison = room.comparison(65535);
        for ([_]u32{ 65_519, 65_407, 32_767, 16_383, 8_191, 4_095 }) |first| {
            for ([_]usize{ 1, 2, 3, 4, 9, 17 }) |count|
                try expectEqual(comparison.batch(&level.implementation, count, .{ .from = first }), &level.implementation);
        }
    }
}

test "a byte that differs anywhere is refused, and the neighbours are opened" {
    var storage: [8]aead_dispatch.Level = undefined;
    const length = 150;
    const key: [32]u8 = @splat(3);
    for (try supported(&storage)) |*level| {
        for (0..length + 16) |position| {
            var bytes: [9][length + 16]u8 = undefined;
            var messages: [9]Message = undefined;
            for (&bytes, &messages, 0..) |*buffer, *message, index| {
                buffer.* = @splat(@intCast(index + 1));
                message.* = .{ .from = buffer, .to = buffer, .counter = index, .length = length };
            }
            level.implementation.sealBatch(&key, &messages);
            const index = position % messages.len;
            bytes[index][position] ^= 0x40;
            level.implementation.openBatch(&key, &messages);
            for (&messages, &bytes, 0..) |*message, *buffer, other| {
                try testing.expectEqual(other != index, message.authentic);
                const expected: u8 = if (other == index) 0 else @intCast(other + 1);
                try testing.expect(std.mem.allEqual(u8, buffer[0..length], expected));
            }
        }
    }
}

test "nothing is read or written before a message or behind it" {
    var storage: [8]aead_dispatch.Level = undefined;
    const page = std.heap.pageSize();
    // A page in use between two that may not be touched.
    const mapped = linux.mmap(null, 3 * page, .{}, .{ .TYPE = .PRIVATE, .ANONYMOUS = true }, -1, 0);
    if (linux.errno(mapped) != .SUCCESS) return error.OutOfMemory;
    const base: [*]u8 = @ptrFromInt(mapped);
    defer _ = linux.munmap(base, 3 * page);
    const allowed = linux.mprotect(base + page, page, .{ .READ = true, .WRITE = true });
    try testing.expectEqual(.SUCCESS, linux.errno(allowed));
    const middle = base[page .. 2 * page];

    const key: [32]u8 = @splat(5);
    for (try supported(&storage)) |*level| {
        for (0..700) |length| {
            const sealed = length + 16;
            var others: [4][64]u8 = undefined;
            for ([_]usize{ 1, 5 }) |count| {
                for ([_][*]u8{ middle.ptr, middle[page - sealed ..].ptr }) |place| {
                    @memset(place[0..length], 9);
                    var messages: [5]Message = undefined;
                    for (messages[1..], &others) |*message, *other|
                        message.* = .{ .from = other, .to = other, .counter = 8, .length = 40 };
                    messages[0] = .{ .from = place, .to = place, .counter = 7, .length = @intCast(length) };
                    level.implementation.sealBatch(&key, messages[0..count]);
                    level.implementation.openBatch(&key, messages[0..count]);
                    try testing.expect(messages[0].authentic);
                    try testing.expect(std.mem.allEqual(u8, place[0..length], 9));
                }
            }
        }
    }
}

// The parts of a level, for vectors with any nonce and additional data.
const Keystream = fn (*const [32]u8, *const [12]u8, u32, [*]u8, usize) callconv(.c) void;
const Poly1305 = fn (*const [32]u8, [*]const u8, usize, *[16]u8) callconv(.c) void;

const Parts = struct {
    keystream: *const Keystream,
    poly1305: *const Poly1305,

    fn of(name: []const u8) Parts {
        inline for (aead_dispatch.linked) |level| {
            const linked = comptime level.implementation.name;
            if (std.mem.eql(u8, linked, name)) return .{
                .keystream = @extern(*const Keystream, .{ .name = "aead_keystream_" ++ linked }),
                .poly1305 = @extern(*const Poly1305, .{ .name = "aead_poly1305_" ++ linked }),
            };
        }
        unreachable;
    }

    /// ChaCha20-Poly1305 as RFC 8439 section 2.8 puts it together: XORs `text` in place with the
    /// keystream and returns the tag of `additional` and of the ciphertext: `text` before where it
    /// is opened, after where it is sealed.
    fn aead(parts: Parts, key: *const [32]u8, nonce: *const [12]u8, additional: []const u8, text: []u8, seal: bool) ![16]u8 {
        var one_time: [64]u8 = @splat(0);
        parts.keystream(key, nonce, 0, &one_time, 1);
        var blocks: [2048]u8 = @splat(0);
        const cipher_at = std.mem.alignForward(usize, additional.len, 16);
        const lengths_at = cipher_at + std.mem.alignForward(usize, text.len, 16);
        if (lengths_at + 64 > blocks.len) return error.VectorTooLong;
        @memcpy(blocks[0..additional.len], additional);
        if (!seal) @memcpy(blocks[cipher_at..][0..text.len], text);
        var work: [2048]u8 = @splat(0);
        @memcpy(work[0..text.len], text);
        parts.keystream(key, nonce, 1, &work, (text.len + 63) / 64);
        @memcpy(text, work[0..text.len]);
        if (seal) @memcpy(blocks[cipher_at..][0..text.len], text);
        std.mem.writeInt(u64, blocks[lengths_at..][0..8], additional.len, .little);
        std.mem.writeInt(u64, blocks[lengths_at + 8 ..][0..8], text.len, .little);
        var tag: [16]u8 = undefined;
        parts.poly1305(one_time[0..32], &blocks, lengths_at / 16 + 1, &tag);
        return tag;
    }
};

test "every level's parts agree with RFC 8439 sections 2.4.2, 2.8.2 and A.3" {
    var storage: [8]aead_dispatch.Level = undefined;
    const key = crypto.hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    const sunscreen = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for " ++
        "the future, sunscreen would be it.";
    for (try supported(&storage)) |*level| {
        const parts: Parts = .of(level.implementation.name);
        var text: [128]u8 = @splat(0);
        @memcpy(text[0..sunscreen.len], sunscreen);
        parts.keystream(&key, &crypto.hex("000000000000004a00000000"), 1, &text, 2);
        try testing.expectEqualSlices(u8, &crypto.hex("6e2e359a2568f98041ba0728dd0d6981" ++
            "e97e7aec1d4360c20a27afccfd9fae0bf91b65c5524733ab8f593dabcd62b357" ++
            "1639d624e65152ab8f530c359f0861d807ca0dbf500d6a6156a38e088a22b65e" ++
            "52bc514d16ccf806818ce91ab77937365af90bbf74a35be6b40b8eedf2785e42" ++
            "874d"), text[0..sunscreen.len]);

        var sealed: [sunscreen.len]u8 = sunscreen.*;
        const tag = try parts.aead(
            &crypto.hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"),
            &crypto.hex("070000004041424344454647"),
            &crypto.hex("50515253c0c1c2c3c4c5c6c7"),
            &sealed,
            true,
        );
        try testing.expectEqual(crypto.hex("1ae10b594f09e26a7e902ecbd0600691"), tag);

        // Section A.3, vectors 7 to 11: sums next to 2^130 and to p, carries that go all the way.
        const r2 = "0200000000000000000000000000000000000000000000000000000000000000";
        const r1 = "0100000000000000000000000000000000000000000000000000000000000000";
        const r4 = "0100000000000000040000000000000000000000000000000000000000000000";
        const ones = "ffffffffffffffffffffffffffffffff";
        const Vector = struct { []const u8, []const u8, []const u8 };
        inline for ([_]Vector{
            .{ r2, ones, "03000000000000000000000000000000" },
            .{
                "02000000000000000000000000000000" ++ ones,
                "02000000000000000000000000000000",
                "03000000000000000000000000000000",
            },
            .{
                r1,
                ones ++ "f0ffffffffffffffffffffffffffffff" ++ "11000000000000000000000000000000",
                "05000000000000000000000000000000",
            },
            .{
                r1,
                ones ++ "fbfefefefefefefefefefefefefefefe" ++ "01010101010101010101010101010101",
                "00000000000000000000000000000000",
            },
            .{ r2, "fdffffffffffffffffffffffffffffff", "faffffffffffffffffffffffffffffff" },
            .{
                r4,
                "e33594d7505e43b900000000000000003394d7505e4379cd0100000000000000" ++
                    "0000000000000000000000000000000001000000000000000000000000000000",
                "14000000000000005500000000000000",
            },
        }) |vector| {
            var blocks: [64]u8 = @splat(0);
            const bytes = crypto.hex(vector[1][0..vector[1].len]);
            blocks[0..bytes.len].* = bytes;
            var out: [16]u8 = undefined;
            parts.poly1305(&crypto.hex(vector[0][0..64]), &blocks, bytes.len / 16, &out);
            try testing.expectEqual(crypto.hex(vector[2][0..32]), out);
        }
    }
}

test "every level's Poly1305 agrees with std's where sums are largest" {
    var storage: [8]aead_dispatch.Level = undefined;
    const largest = crypto.hex("ffffff0ffcffff0ffcffff0ffcffff0f" ++ "ffffffffffffffffffffffffffffffff");
    var prng: std.Random.DefaultPrng = .init(130);
    const random = prng.random();
    var bytes: [16 * 300]u8 = undefined;
    for (try supported(&storage)) |*level| {
        const parts: Parts = .of(level.implementation.name);
        for (0..3000) |index| {
            var key = largest;
            // Limbs of ones and limbs of zeros, wherever the limbs begin.
            if (index % 4 != 0) for (key[0..16]) |*byte| {
                byte.* = if (random.boolean()) 0xff else 0;
            };
            const count = 1 + random.uintLessThan(usize, bytes.len / 16);
            for (bytes[0 .. 16 * count]) |*byte| {
                byte.* = if (index % 2 == 0 or random.uintLessThan(u8, 8) > 0) 0xff else 0;
            }
            var tag: [16]u8 = undefined;
            parts.poly1305(&key, &bytes, count, &tag);
            var expected: [16]u8 = undefined;
            std.crypto.onetimeauth.Poly1305.create(&expected, bytes[0 .. 16 * count], &key);
            try testing.expectEqual(expected, tag);
        }
    }
}

test "every level's parts pass Wycheproof" {
    const vectors = @embedFile("chacha20-poly1305-vectors");
    var storage: [8]aead_dispatch.Level = undefined;
    for (try supported(&storage)) |*level| {
        const parts: Parts = .of(level.implementation.name);
        var lines = std.mem.tokenizeScalar(u8, vectors, '\n');
        var count: usize = 0;
        while (lines.next()) |line| {
            if (line[0] == '#') continue;
            errdefer std.debug.print("{s}: {s}\n", .{ level.implementation.name, line });
            try runVector(parts, line);
            count += 1;
        }
        try testing.expectEqual(316, count);
    }
}

fn runVector(parts: Parts, line: []const u8) !void {
    var fields = std.mem.tokenizeScalar(u8, line, ' ');
    _ = fields.next().?;
    const valid = std.mem.eql(u8, fields.next().?, "valid");
    var storage: [5][1024]u8 = undefined;
    var bytes: [5][]u8 = undefined;
    for (&bytes, &storage) |*field, *room| {
        const text = fields.next().?;
        field.* = if (text[0] == '-') room[0..0] else try std.fmt.hexToBytes(room, text);
    }
    const key, const nonce, const additional, const text, const sealed = bytes;
    const opened = sealed[0 .. sealed.len - 16];
    var copy: [1024]u8 = undefined;
    @memcpy(copy[0..sealed.len], sealed);

    var tag = try parts.aead(key[0..32], nonce[0..12], additional, opened, false);
    try testing.expectEqual(valid, std.mem.eql(u8, &tag, sealed[sealed.len - 16 ..]));
    if (valid) {
        try testing.expectEqualSlices(u8, text, opened);
        tag = try parts.aead(key[0..32], nonce[0..12], additional, opened, true);
        try testing.expectEqualSlices(u8, copy[0..sealed.len], sealed);
    }
}

/// A level that does the wrong thing in one case.
const Broken = struct {
    fn sealShort(key: *const [32]u8, messages: [*]Message, count: usize) callconv(.c) void {
        aead_dispatch.libsodium.seal(key, messages, count);
        for (messages[0..count]) |*message| {
            if (message.length == 130) message.to[129] ^= 1;
        }
    }

    fn sealBeyond(key: *const [32]u8, messages: [*]Message, count: usize) callconv(.c) void {
        aead_dispatch.libsodium.seal(key, messages, count);
        for (messages[0..count]) |*message| {
            if (message.length == 100) message.to[116] ^= 1;
        }
    }

    fn openAll(key: *const [32]u8, messages: [*]Message, count: usize) callconv(.c) void {
        aead_dispatch.libsodium.open(key, messages, count);
        for (messages[0..count]) |*message| message.authentic = true;
    }

    fn openUnwiped(key: *const [32]u8, messages: [*]Message, count: usize) callconv(.c) void {
        aead_dispatch.libsodium.open(key, messages, count);
        for (messages[0..count]) |*message| {
            if (!message.authentic and message.length > 0) message.to[0] = 1;
        }
    }

    fn always(_: aead_dispatch.Processor) bool {
        return true;
    }

    fn never(_: aead_dispatch.Processor) bool {
        return false;
    }
};

test "a level that differs from libsodium is not chosen" {
    try crypto.init();
    const sodium = &aead_dispatch.libsodium;
    const before = aead_dispatch.levels;
    defer aead_dispatch.levels = before;
    const broken = [_]Implementation{
        .{ .name = "a", .seal = Broken.sealShort, .open = sodium.open },
        .{ .name = "b", .seal = Broken.sealBeyond, .open = sodium.open },
        .{ .name = "c", .seal = sodium.seal, .open = Broken.openAll },
        .{ .name = "d", .seal = sodium.seal, .open = Broken.openUnwiped },
    };
    for (broken) |implementation| {
        aead_dispatch.levels = &.{.{ .implementation = implementation, .supported = Broken.always }};
        const chosen = try aead_dispatch.choose(.auto);
        try testing.expectEqualStrings("libsodium", chosen.implementation.name);
        try testing.expectError(error.Unavailable, aead_dispatch.choose(.batch));
    }
    const right: Implementation = .{ .name = "right", .seal = sodium.seal, .open = sodium.open };
    aead_dispatch.levels = &.{
        .{ .implementation = right, .supported = Broken.never },
        .{ .implementation = broken[0], .supported = Broken.always },
        .{ .implementation = right, .supported = Broken.always },
    };
    try testing.expectEqual(&aead_dispatch.levels[2], try aead_dispatch.choose(.batch));
    const forced = try aead_dispatch.choose(.libsodium);
    try testing.expectEqualStrings("libsodium", forced.implementation.name);
}

test "auto takes the widest level of this processor, and what is asked for is taken" {
    var storage: [8]aead_dispatch.Level = undefined;
    const levels = try supported(&storage);
    try testing.expect(levels.len > 0);
    try aead_dispatch.setMode(.libsodium);
    try testing.expectEqualStrings("libsodium", aead_dispatch.name());
    try aead_dispatch.setMode(.auto);
    try testing.expectEqualStrings(levels[0].implementation.name, aead_dispatch.name());
    if (aead_dispatch.Processor.detect().avx2) {
        const held = try aead_dispatch.choose(.avx2);
        try testing.expectEqualStrings("avx2", held.implementation.name);
    } else try testing.expectError(error.Unavailable, aead_dispatch.choose(.avx2));
}

test "a level is taken for supported just where the kernel names its instructions" {
    if (builtin.cpu.arch != .x86_64) return error.SkipZigTest;
    var flags: [16 * 1024]u8 = undefined;
    const file = linux.open("/proc/cpuinfo", .{}, 0);
    if (linux.errno(file) != .SUCCESS) return error.SkipZigTest;
    defer _ = linux.close(@intCast(file));
    const text = flags[0..linux.read(@intCast(file), &flags, flags.len)];
    const processor: aead_dispatch.Processor = .detect();
    try testing.expectEqual(hasAll(text, &.{ "avx2", "bmi1", "bmi2", "fma", "movbe", "abm", "f16c" }), processor.avx2);
    try testing.expectEqual(hasAll(text, &.{ "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl" }), processor.avx512);
    try testing.expectEqual(hasAll(text, &.{"avx512ifma"}), processor.avx512ifma);
}

fn hasAll(text: []const u8, flags: []const []const u8) bool {
    for (flags) |flag| {
        var words = std.mem.tokenizeAny(u8, text, " \t\n");
        while (words.next()) |word| {
            if (std.mem.eql(u8, word, flag)) break;
        } else return false;
    }
    return true;
}

test "two threads seal and open at once" {
    var storage: [8]aead_dispatch.Level = undefined;
    for (try supported(&storage)) |*level| {
        var failed: std.atomic.Value(bool) = .init(false);
        const other = try std.Thread.spawn(.{}, compareSome, .{ &level.implementation, 1, &failed });
        compareSome(&level.implementation, 2, &failed);
        other.join();
        try testing.expect(!failed.load(.acquire));
    }
}

fn compareSome(implementation: *const Implementation, seed: u64, failed: *std.atomic.Value(bool)) void {
    var memory: [4][64 * 1024]u8 = undefined;
    var comparison: aead_self_test.Comparison = .init(&memory[0], &memory[1], &memory[2], &memory[3], seed);
    for (0..100) |_| {
        if (comparison.batch(implementation, 64, .mostly_short) != null) failed.store(true, .release);
    }
}

//! Which implementation seals and opens batches: the widest that this processor supports and that
//! agrees with libsodium here and now, else libsodium itself.
//!
//! Owns the choice, the border to the objects that are compiled for each level of the processor
//! (`aead_level.zig`), and the rules that all implementations share. Does not own: the cipher.
//! Always holds: no wide instruction runs before CPUID and XGETBV have said that it may; any
//! threads may seal and open at once; text that is not authentic is zeros.
const std = @import("std");
const builtin = @import("builtin");
const assert = std.debug.assert;
const aead_batch = @import("aead_batch.zig");
const aead_self_test = @import("aead_self_test.zig");
const crypto = @import("crypto.zig");

pub const Message = aead_batch.Message;
pub const tag_bytes = aead_batch.tag_bytes;
pub const length_max = aead_batch.length_max;
/// What an implementation takes in one call; `sealBatch` and `openBatch` take any number.
pub const messages_max = aead_batch.messages_max;

pub const Mode = enum {
    /// The widest level that works here, else libsodium.
    auto,
    /// The widest level that works here, else an error.
    batch,
    libsodium,
    /// Held to AVX2, else an error.
    avx2,
};

/// At most `messages_max` messages at once, at least one.
pub const Work = fn (key: *const [32]u8, messages: [*]Message, count: usize) callconv(.c) void;

pub const Implementation = struct {
    name: []const u8,
    seal: *const Work,
    open: *const Work,

    /// Seals messages of one key. Each `from` and `to` are the same or apart; room for the tag
    /// follows the text in `to`. Counters of one key never repeat.
    pub fn sealBatch(self: *const Implementation, key: *const [32]u8, messages: []const Message) void {
        for (messages) |*message| checkMemory(message, message.length, message.length + tag_bytes);
        // Sealing writes nothing in the list.
        self.inParts(.seal, key, @constCast(messages));
    }

    /// Opens messages of one key; the tag follows the text in `from`. Sets `authentic`.
    pub fn openBatch(self: *const Implementation, key: *const [32]u8, messages: []Message) void {
        for (messages) |*message| checkMemory(message, message.length + tag_bytes, message.length);
        self.inParts(.open, key, messages);
    }

    fn inParts(
        self: *const Implementation,
        comptime direction: enum { seal, open },
        key: *const [32]u8,
        messages: []Message,
    ) void {
        const work = if (direction == .seal) self.seal else self.open;
        var rest = messages;
        while (rest.len > 0) {
            const count = @min(rest.len, messages_max);
            work(key, rest.ptr, count);
            rest = rest[count..];
        }
    }
};

/// In place or apart; what overlaps in part would be encrypted twice or not at all.
fn checkMemory(message: *const Message, from_bytes: usize, to_bytes: usize) void {
    assert(message.length <= length_max);
    const from = @intFromPtr(message.from);
    const to = @intFromPtr(message.to);
    assert(from == to or from + from_bytes <= to or to + to_bytes <= from);
}

pub const libsodium: Implementation = .{
    .name = "libsodium",
    .seal = sealOneByOne,
    .open = openOneByOne,
};

fn sealOneByOne(key: *const [32]u8, messages: [*]Message, count: usize) callconv(.c) void {
    for (messages[0..count]) |*message| {
        const text = message.from[0..message.length];
        crypto.seal(message.to[0 .. message.length + tag_bytes], text, &.{}, message.counter, key);
    }
}

fn openOneByOne(key: *const [32]u8, messages: [*]Message, count: usize) callconv(.c) void {
    for (messages[0..count]) |*message| {
        const sealed = message.from[0 .. message.length + tag_bytes];
        message.authentic =
            crypto.open(message.to[0..message.length], sealed, &.{}, message.counter, key);
    }
}

/// The levels in the library, the widest first. The smallest batches were measured, with
/// scripts/aead-check --bench and others of its kind.
pub const linked: []const Level = switch (builtin.cpu.arch) {
    .x86_64 => &.{
        .{ .implementation = levelNamed("avx512ifma"), .supported = Processor.hasAvx512Ifma },
        .{ .implementation = levelNamed("avx512"), .supported = Processor.hasAvx512, .alone_bytes_min = 1200 },
        .{ .implementation = levelNamed("avx2"), .supported = Processor.hasAvx2, .alone_bytes_min = 1200 },
        .{ .implementation = levelNamed("sse2"), .supported = Processor.hasBaseline, .messages_min = 4 },
    },
    .aarch64 => &.{
        .{ .implementation = levelNamed("neon"), .supported = Processor.hasBaseline },
    },
    else => &.{},
};

/// What `choose` looks at. The tests of one file alone are linked with none of the objects: where
/// they are (`zig build test`), aead_test.zig sets this to `linked` before anything is chosen.
pub var levels: []const Level = if (builtin.is_test) &.{} else linked;

pub const Level = struct {
    implementation: Implementation,
    supported: *const fn (Processor) bool,
    /// Fewer messages than this go to libsodium, which is faster then.
    messages_min: usize = 1,
    /// So does a message alone that has fewer bytes.
    alone_bytes_min: u32 = 0,

    fn fit(self: *const Level, messages: []const Message) *const Implementation {
        if (messages.len < self.messages_min) return &libsodium;
        if (messages.len == 1 and messages[0].length < self.alone_bytes_min) return &libsodium;
        return &self.implementation;
    }
};

/// libsodium as a level, for want of another.
const none: Level = .{ .implementation = libsodium, .supported = Processor.hasBaseline };

fn levelNamed(comptime level: []const u8) Implementation {
    return .{
        .name = level,
        .seal = @extern(*const Work, .{ .name = "aead_seal_" ++ level }),
        .open = @extern(*const Work, .{ .name = "aead_open_" ++ level }),
    };
}

var chosen: std.atomic.Value(?*const Level) = .init(null);

/// From now on, in all threads. error.Unavailable: no level works on this processor; nothing was
/// changed.
pub fn setMode(mode: Mode) error{Unavailable}!void {
    chosen.store(try choose(mode), .release);
}

/// What is in use, as status shows it: the name of a level, or "libsodium".
pub fn name() []const u8 {
    return current().implementation.name;
}

/// Seals messages of one key: see `Implementation.sealBatch`.
pub fn sealBatch(key: *const [32]u8, messages: []const Message) void {
    current().fit(messages).sealBatch(key, messages);
}

/// Opens messages of one key: see `Implementation.openBatch`.
pub fn openBatch(key: *const [32]u8, messages: []Message) void {
    current().fit(messages).openBatch(key, messages);
}

fn current() *const Level {
    if (chosen.load(.acquire)) |level| return level;
    // Threads that come here at the same time find the same.
    const level = choose(.auto) catch unreachable;
    chosen.store(level, .release);
    return level;
}

/// The level for a mode. Takes some milliseconds: it proves itself against libsodium.
pub fn choose(mode: Mode) error{Unavailable}!*const Level {
    if (mode == .libsodium) return &none;
    const processor: Processor = .detect();
    for (levels) |*level| {
        if (mode == .avx2 and !std.mem.eql(u8, level.implementation.name, "avx2")) continue;
        if (!level.supported(processor)) continue;
        if (aead_self_test.passes(&level.implementation)) return level;
    }
    return if (mode == .auto) &none else error.Unavailable;
}

/// Which levels may run: what the processor has, and what the system saves for each thread.
pub const Processor = struct {
    avx2: bool = false,
    avx512: bool = false,
    avx512ifma: bool = false,

    pub fn hasBaseline(_: Processor) bool {
        return true;
    }
    pub fn hasAvx2(self: Processor) bool {
        return self.avx2;
    }
    pub fn hasAvx512(self: Processor) bool {
        return self.avx512;
    }
    pub fn hasAvx512Ifma(self: Processor) bool {
        return self.avx512ifma;
    }

    pub fn detect() Processor {
        if (builtin.cpu.arch != .x86_64) return .{};
        const leaf_max = cpuid(0, 0).a;
        const extended_max = cpuid(0x8000_0000, 0).a;
        if (leaf_max < 7 or extended_max < 0x8000_0001) return .{};
        const leaf1 = cpuid(1, 0);
        const leaf7 = cpuid(7, 0);
        const extended = cpuid(0x8000_0001, 0);
        // XGETBV exists where the system uses XSAVE.
        const saved: u32 = if (all(leaf1.c, &.{27})) xgetbv0() else 0;
        // What a compiler may use at x86-64-v3: SSE3, SSSE3, FMA, CMPXCHG16B, SSE4.1, SSE4.2,
        // MOVBE, POPCNT, AVX and F16C; BMI1, AVX2 and BMI2; LAHF and LZCNT. Saved: XMM and YMM.
        const v3 = all(leaf1.c, &.{ 0, 9, 12, 13, 19, 20, 22, 23, 28, 29 }) and
            all(leaf7.b, &.{ 3, 5, 8 }) and all(extended.c, &.{ 0, 5 }) and all(saved, &.{ 1, 2 });
        // At x86-64-v4: AVX512 F, DQ, CD, BW and VL. Saved: mask registers, and both parts of ZMM.
        const v4 = v3 and all(leaf7.b, &.{ 16, 17, 28, 30, 31 }) and all(saved, &.{ 5, 6, 7 });
        return .{ .avx2 = v3, .avx512 = v4, .avx512ifma = v4 and all(leaf7.b, &.{21}) };
    }

    fn all(word: u32, comptime bits: []const u5) bool {
        comptime var mask: u32 = 0;
        inline for (bits) |bit| mask |= 1 << bit;
        return word & mask == mask;
    }

    const Leaf = struct { a: u32, b: u32, c: u32, d: u32 };

    fn cpuid(leaf: u32, subleaf: u32) Leaf {
        var a: u32 = undefined;
        var b: u32 = undefined;
        var c: u32 = undefined;
        var d: u32 = undefined;
        asm volatile ("cpuid"
            : [a] "={eax}" (a),
              [b] "={ebx}" (b),
              [c] "={ecx}" (c),
              [d] "={edx}" (d),
            : [leaf] "{eax}" (leaf),
              [subleaf] "{ecx}" (subleaf),
        );
        return .{ .a = a, .b = b, .c = c, .d = d };
    }

    /// The lower half of XCR0.
    fn xgetbv0() u32 {
        return asm volatile ("xgetbv"
            : [low] "={eax}" (-> u32),
            : [register] "{ecx}" (@as(u32, 0)),
            : .{ .edx = true });
    }
};

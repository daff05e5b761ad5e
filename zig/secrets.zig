//! The one place where secrets live: a fixed number of 32-byte slots, known outside by handles.
//!
//! Owns the memory (locked, left out of core dumps, wiped in a child process, between guard
//! pages) and the handles; every secret is owned by whoever holds its handle, and is freed once.
//! Does not know what a secret is for.
//! Always holds: a free slot is zeros; a handle is never 0, and one that was freed is refused
//! until its slot was used 32,767 times more; any thread may call anything at any time.
const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const constants = @import("constants.zig");
const crypto = @import("crypto.zig");
const Mutex = @import("table_lock.zig").Mutex;

pub const Secret = [constants.key_bytes]u8;

/// The slot's index in the low bits, above it the generation of this use of the slot.
pub const Handle = u32;
/// What stands for "no secret" where one may be absent.
pub const none: Handle = 0;

const index_bits = std.math.log2_int(usize, constants.secrets_max);
const Index = @Int(.unsigned, index_bits);
const Generation = @Int(.unsigned, 32 - index_bits);
const arena_bytes = constants.secrets_max * @sizeOf(Secret);

/// A freed slot waits behind this many others, so that a stale handle is refused for long.
const resting_min = 1024;

comptime {
    assert(std.math.isPowerOfTwo(constants.secrets_max));
    assert(@bitSizeOf(Generation) <= 15);
    assert(resting_min < constants.secrets_max / 2);
    assert(arena_bytes % (64 * 1024) == 0);
}

/// A slot: its generation, and in the lowest bit whether it is in use. 0 = never used.
const State = packed struct(u16) {
    used: bool = false,
    generation: Generation = 0,
    padding: @Int(.unsigned, 15 - @bitSizeOf(Generation)) = 0,
};

var mutex: Mutex = .{};
var slots: std.atomic.Value(?[*]Secret) = .init(null);
var states: [constants.secrets_max]std.atomic.Value(u16) = @splat(.init(0));
var used_count: std.atomic.Value(u32) = .init(0);

// Under the mutex: slots never used yet begin at `fresh`; freed ones rest in a queue, linked.
var fresh: u32 = 0;
var resting: u32 = 0;
var resting_first: u32 = 0;
var resting_last: u32 = 0;
var resting_next: [constants.secrets_max]Index = undefined;

/// How the kernel took the arena: locked whole, page by page, or (some page) not at all.
var lock_mode: enum { whole, by_page, refused } = .whole;

pub const Error = error{NoSuchSecret};
pub const MakeError = error{ OutOfMemory, SecretsFull, CryptoUnavailable };

/// Maps the arena; idempotent. Every function that makes a secret calls it.
pub fn init() error{ OutOfMemory, CryptoUnavailable }!void {
    if (slots.load(.acquire) != null) return;
    try crypto.init();
    mutex.lock();
    defer mutex.unlock();
    if (slots.load(.monotonic) != null) return;

    const guard_bytes = std.heap.pageSize();
    const whole_bytes = arena_bytes + 2 * guard_bytes;
    const flags: linux.MAP = .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .NORESERVE = true };
    const mapped = linux.mmap(null, whole_bytes, .{}, flags, -1, 0);
    if (linux.errno(mapped) != .SUCCESS) return error.OutOfMemory;
    const base: [*]u8 = @ptrFromInt(mapped + guard_bytes);
    if (linux.errno(linux.mprotect(base, arena_bytes, .{ .READ = true, .WRITE = true })) != .SUCCESS) {
        _ = linux.munmap(base - guard_bytes, whole_bytes);
        return error.OutOfMemory;
    }
    // Each of these only adds protection; a kernel that refuses one still runs.
    _ = linux.madvise(base, arena_bytes, linux.MADV.DONTDUMP);
    _ = linux.madvise(base, arena_bytes, linux.MADV.WIPEONFORK);
    if (linux.errno(linux.mlock2(base, arena_bytes, .{ .ONFAULT = true })) != .SUCCESS) lock_mode = .by_page;
    slots.store(@ptrCast(base), .release);
}

/// Whether every page that has held a secret is locked into memory, and so never swapped out.
pub fn locked() bool {
    mutex.lock();
    defer mutex.unlock();
    return slots.load(.monotonic) != null and lock_mode != .refused;
}

/// Secrets in use.
pub fn count() u32 {
    return used_count.load(.monotonic);
}

pub const Reserved = struct { handle: Handle, bytes: *Secret };

/// A new secret of zeros, for the caller to fill in place before it gives the handle away.
pub fn reserve() MakeError!Reserved {
    try init();
    mutex.lock();
    defer mutex.unlock();
    const index: u32 = if (fresh < constants.secrets_max and resting < resting_min)
        takeFresh()
    else
        takeRested() orelse return error.SecretsFull;

    var state: State = @bitCast(states[index].load(.monotonic));
    assert(!state.used);
    // Generation 0 is skipped, so that no handle is 0.
    state = .{ .used = true, .generation = @max(1, state.generation +% 1) };
    states[index].store(@bitCast(state), .release);
    _ = used_count.fetchAdd(1, .monotonic);
    const bytes = &slots.load(.monotonic).?[index];
    assert(crypto.isZero(bytes));
    return .{ .handle = @as(u32, state.generation) << index_bits | index, .bytes = bytes };
}

fn takeFresh() u32 {
    const index = fresh;
    fresh += 1;
    const page_bytes = std.heap.pageSize();
    const offset = index * @sizeOf(Secret);
    if (lock_mode == .by_page and offset % page_bytes == 0) {
        const base: [*]u8 = @ptrCast(slots.load(.monotonic).?);
        if (linux.errno(linux.mlock(base + offset, page_bytes)) != .SUCCESS) lock_mode = .refused;
    }
    return index;
}

fn takeRested() ?u32 {
    if (resting == 0) return null;
    const index = resting_first;
    resting_first = resting_next[index];
    resting -= 1;
    return index;
}

/// A copy of 32 bytes. The caller wipes its own.
pub fn import(bytes: *const Secret) MakeError!Handle {
    const reserved = try reserve();
    reserved.bytes.* = bytes.*;
    return reserved.handle;
}

/// A new X25519 private key, clamped.
pub fn generateX25519() MakeError!Handle {
    const reserved = try reserve();
    crypto.random(reserved.bytes);
    crypto.clamp(reserved.bytes);
    return reserved.handle;
}

/// The secret's bytes, which stay where they are until the handle is freed; null for a handle
/// that is 0, stale or made up. Whoever owns the handle makes sure that nobody frees it meanwhile.
pub fn get(handle: Handle) ?*const Secret {
    const index = liveIndex(handle) orelse return null;
    return &slots.load(.acquire).?[index];
}

/// As `get`, with an error.
pub fn pointer(handle: Handle) Error!*const Secret {
    return get(handle) orelse error.NoSuchSecret;
}

fn liveIndex(handle: Handle) ?u32 {
    const index: Index = @truncate(handle);
    const expected: State = .{ .used = true, .generation = @intCast(handle >> index_bits) };
    if (states[index].load(.acquire) != @as(u16, @bitCast(expected))) return null;
    return index;
}

/// Wipes the secret and ends its handle.
pub fn free(handle: Handle) Error!void {
    mutex.lock();
    defer mutex.unlock();
    const index = liveIndex(handle) orelse return error.NoSuchSecret;
    var state: State = @bitCast(states[index].load(.monotonic));
    state.used = false;
    states[index].store(@bitCast(state), .release);
    crypto.wipe(&slots.load(.monotonic).?[index]);
    _ = used_count.fetchSub(1, .monotonic);

    if (resting == 0) resting_first = index else resting_next[resting_last] = @intCast(index);
    resting_last = index;
    resting += 1;
}

/// Keeps this process's memory from other processes of the same user and from core dumps.
pub fn harden() error{System}!void {
    const dumpable = linux.prctl(@backingInt(linux.PR.SET_DUMPABLE), 0, 0, 0, 0);
    const no_core: linux.rlimit = .{ .cur = 0, .max = 0 };
    const core = linux.setrlimit(.CORE, &no_core);
    if (linux.errno(dumpable) != .SUCCESS or linux.errno(core) != .SUCCESS) return error.System;
}

const testing = std.testing;

test "a secret keeps its bytes until it is freed, and its slot is zeros afterwards" {
    const baseline = count();
    const bytes: Secret = @splat(0x5a);
    const handle = try import(&bytes);
    try testing.expect(handle != none);
    try testing.expectEqual(baseline + 1, count());
    const kept = try pointer(handle);
    try testing.expectEqual(bytes, kept.*);
    try free(handle);
    try testing.expect(crypto.isZero(kept));
    try testing.expectEqual(baseline, count());
}

test "a freed handle, 0 and a made-up handle are refused" {
    const baseline = count();
    const handle = try generateX25519();
    try free(handle);
    try testing.expectError(error.NoSuchSecret, free(handle));
    try testing.expectError(error.NoSuchSecret, pointer(handle));
    try testing.expectEqual(null, get(none));
    try testing.expectError(error.NoSuchSecret, free(none));
    for ([_]Handle{ 1, 0x1_0000, 0x8000_0000, std.math.maxInt(Handle) }) |made_up| {
        try testing.expectError(error.NoSuchSecret, free(made_up));
    }
    try testing.expectEqual(baseline, count());
}

test "a generated key is clamped, and no two are the same" {
    const first = try generateX25519();
    defer free(first) catch unreachable;
    const second = try generateX25519();
    defer free(second) catch unreachable;
    const bytes = get(first).?;
    try testing.expectEqual(0, bytes[0] & 7);
    try testing.expectEqual(64, bytes[31] & 0xc0);
    try testing.expect(!std.mem.eql(u8, bytes, get(second).?));
}

test "a slot rests before it is used again, under another handle" {
    const baseline = count();
    const bytes: Secret = @splat(3);
    const stale = try import(&bytes);
    try free(stale);
    var others: usize = 0;
    while (true) : (others += 1) {
        const handle = try import(&bytes);
        try free(handle);
        try testing.expect(handle != stale);
        if (@as(Index, @truncate(handle)) == @as(Index, @truncate(stale))) break;
    }
    try testing.expect(others >= resting_min - 1);
    try testing.expectEqual(null, get(stale));
    try testing.expectEqual(baseline, count());
}

test "a generation that wraps skips 0" {
    const handle = try generateX25519();
    const index: Index = @truncate(handle);
    try free(handle);
    const exhausted: State = .{ .generation = std.math.maxInt(Generation) };
    states[index].store(@bitCast(exhausted), .monotonic);
    while (true) {
        const next = try import(&@as(Secret, @splat(4)));
        try free(next);
        if (@as(Index, @truncate(next)) != index) continue;
        try testing.expectEqual(1, next >> index_bits);
        return;
    }
}

test "the arena is full at its limit and not before, and usable again afterwards" {
    const baseline = count();
    const handles = try testing.allocator.alloc(Handle, constants.secrets_max - baseline);
    defer testing.allocator.free(handles);
    const bytes: Secret = @splat(7);
    for (handles) |*handle| handle.* = try import(&bytes);
    try testing.expectError(error.SecretsFull, reserve());
    try free(handles[handles.len / 2]);
    handles[handles.len / 2] = try generateX25519();
    for (handles) |handle| try free(handle);
    try testing.expectEqual(baseline, count());
}

test "threads make and free secrets beside one another" {
    const baseline = count();
    const Worker = struct {
        fn run(failures: *std.atomic.Value(u32), pattern: u8) void {
            const bytes: Secret = @splat(pattern);
            for (0..500) |_| {
                var handles: [8]Handle = undefined;
                for (&handles) |*handle| handle.* = import(&bytes) catch return;
                for (handles) |handle| {
                    const kept = get(handle) orelse {
                        _ = failures.fetchAdd(1, .monotonic);
                        continue;
                    };
                    if (!std.mem.eql(u8, kept, &bytes)) _ = failures.fetchAdd(1, .monotonic);
                    free(handle) catch {
                        _ = failures.fetchAdd(1, .monotonic);
                    };
                }
            }
        }
    };
    var failures: std.atomic.Value(u32) = .init(0);
    var threads: [3]std.Thread = undefined;
    for (&threads, 1..) |*thread, pattern| {
        thread.* = try std.Thread.spawn(.{}, Worker.run, .{ &failures, @as(u8, @intCast(pattern)) });
    }
    for (threads) |thread| thread.join();
    try testing.expectEqual(0, failures.load(.monotonic));
    try testing.expectEqual(baseline, count());
}

/// The lines of the arena's mapping in /proc/self/smaps, as far as `VmFlags`.
fn arenaFlags(buffer: []u8) ![]const u8 {
    const fd = linux.open("/proc/self/smaps", .{ .CLOEXEC = true }, 0);
    try testing.expectEqual(.SUCCESS, linux.errno(fd));
    defer _ = linux.close(@intCast(fd));
    var len: usize = 0;
    while (len < buffer.len) {
        const got = linux.read(@intCast(fd), buffer.ptr + len, buffer.len - len);
        if (linux.errno(got) != .SUCCESS or got == 0) break;
        len += got;
    }
    var start_buffer: [24]u8 = undefined;
    const start = try std.fmt.bufPrint(&start_buffer, "{x}-", .{@intFromPtr(slots.load(.monotonic).?)});
    const at = std.mem.indexOf(u8, buffer[0..len], start) orelse return error.NotMapped;
    const flags = std.mem.indexOfPos(u8, buffer[0..len], at, "VmFlags:") orelse return error.NotMapped;
    return buffer[flags .. std.mem.indexOfScalarPos(u8, buffer[0..len], flags, '\n') orelse len];
}

test "the arena stays out of core dumps, and is wiped in a child" {
    try init();
    const buffer = try testing.allocator.alloc(u8, 1 << 20);
    defer testing.allocator.free(buffer);
    const flags = try arenaFlags(buffer);
    try testing.expect(std.mem.indexOf(u8, flags, " dd") != null);
    try testing.expect(std.mem.indexOf(u8, flags, " wf") != null);
    if (locked() and lock_mode == .whole) try testing.expect(std.mem.indexOf(u8, flags, " lo") != null);
}

test "a hardened process leaves no core and is closed to debuggers" {
    const before = linux.prctl(@backingInt(linux.PR.GET_DUMPABLE), 0, 0, 0, 0);
    try harden();
    try testing.expectEqual(0, linux.prctl(@backingInt(linux.PR.GET_DUMPABLE), 0, 0, 0, 0));
    var limit: linux.rlimit = undefined;
    try testing.expectEqual(.SUCCESS, linux.errno(linux.getrlimit(.CORE, &limit)));
    try testing.expectEqual(linux.rlimit{ .cur = 0, .max = 0 }, limit);
    // Other tests read /proc/self, which is root's while this holds.
    _ = linux.prctl(@backingInt(linux.PR.SET_DUMPABLE), before, 0, 0, 0);
}

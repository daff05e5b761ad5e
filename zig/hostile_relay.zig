//! The library with a relay that ill-treats what it forwards, for tests of those who rely on one. Built by
//! `zig build hostile-relay` alone, under a name that nothing loads by itself; what is published cannot do
//! this. The file that MESHVPN_HOSTILE_RELAY names says how, and may say something else at any time:
//! drop, lose (every second one), replay (each frame twice, and an old one with it), reorder, corrupt; anything else is honesty.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const relay = @import("relay.zig");
const tx_ways = @import("tx_ways.zig");
const Tx = @import("tx.zig").Tx;
const linux = std.os.linux;

comptime {
    _ = @import("exports.zig");
}

const Mode = enum { honest, drop, lose, replay, reorder, corrupt };
const Frame = struct { to: abi.PeerRef = .{}, bytes: [constants.control_datagram_bytes_max]u8 = undefined, length: usize = 0 };

const kept_max = 64;
/// So many come out in the reverse order.
const turned_max = 4;

/// Of the one device of a daemon, in its transmit turn alone.
var kept: [kept_max]Frame = @splat(.{});
var kept_count: usize = 0;
var turned: [turned_max]Frame = undefined;
var turned_count: usize = 0;

/// In the place of tx_ways.drainForwards. What the arena has no room for is lost: nobody relies on it.
pub fn drainForwards(tx: *Tx) bool {
    const forwards = &tx.tables.relay.forwards;
    if (forwards.isEmpty()) return true;
    const mode = currentMode();
    while (forwards.peek()) |slot| : (forwards.pop()) {
        var frame: Frame = .{ .to = slot.datagram.peer, .length = slot.datagram.length };
        @memcpy(frame.bytes[0..frame.length], slot.bytes[0..frame.length]);
        treat(tx, &frame, mode);
    }
    flush(tx);
    return true;
}

fn treat(tx: *Tx, frame: *Frame, mode: Mode) void {
    switch (mode) {
        .honest => forward(tx, frame),
        .drop => {},
        .lose => {
            kept_count += 1;
            if (kept_count % 2 == 0) forward(tx, frame);
        },
        .replay => {
            forward(tx, frame);
            forward(tx, frame);
            if (kept_count > 0) forward(tx, &kept[kept_count * 7 % @min(kept_count, kept_max)]);
            kept[kept_count % kept_max] = frame.*;
            kept_count += 1;
        },
        .reorder => {
            turned[turned_count] = frame.*;
            turned_count += 1;
            if (turned_count == turned_max) flush(tx);
        },
        .corrupt => {
            // One in eight, behind the datagram's own header.
            kept_count += 1;
            if (kept_count % 8 == 0) frame.bytes[frame.length - 1 - kept_count % 16] ^= 1;
            forward(tx, frame);
        },
    }
}

fn flush(tx: *Tx) void {
    while (turned_count > 0) {
        turned_count -= 1;
        forward(tx, &turned[turned_count]);
    }
}

fn forward(tx: *Tx, frame: *const Frame) void {
    switch (tx_ways.placeForward(tx, frame.to, frame.length)) {
        .into => |into| {
            @memcpy(into, frame.bytes[0..frame.length]);
            tx.counters.add(.relayed_forwarded, 1);
        },
        .full, .dropped => tx.counters.add(.relay_unavailable, 1),
    }
}

fn currentMode() Mode {
    const path = std.c.getenv("MESHVPN_HOSTILE_RELAY") orelse return .honest;
    const rc = linux.open(path, .{ .CLOEXEC = true }, 0);
    if (linux.errno(rc) != .SUCCESS) return .honest;
    const fd: linux.fd_t = @intCast(rc);
    defer _ = linux.close(fd);
    var word: [16]u8 = undefined;
    const length = linux.read(fd, &word, word.len);
    if (linux.errno(length) != .SUCCESS) return .honest;
    return std.meta.stringToEnum(Mode, std.mem.trim(u8, word[0..length], " \n")) orelse .honest;
}

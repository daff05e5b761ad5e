//! ChaCha20-Poly1305 (RFC 8439) of many messages of one key at once, as WireGuard uses it: no
//! additional data, a nonce of 4 zero bytes and a 64-bit counter.
//!
//! Owns the order of keystream and tags: sealing encrypts first, opening compares tags first and
//! decrypts only what is authentic. Knows nothing of processors: `aead_level.zig` compiles this
//! file for each level.
//! Always holds: time and addresses depend on the lengths and on what was authentic, on nothing
//! else; arrays of keys and keystream are wiped at the end of a call (what the compiler spilled from
//! registers is not, as in libsodium).
const std = @import("std");
const assert = std.debug.assert;
const lane_memory = @import("lane_memory.zig");
const chacha20_lanes = @import("chacha20_lanes.zig");
const keystream_plan = @import("keystream_plan.zig");
const poly1305_lanes = @import("poly1305_lanes.zig");
const tag_lanes = @import("tag_lanes.zig");

pub const tag_bytes = 16;
pub const length_max = 65_535;
/// Messages in one call. More would put the one-time keys out of the nearest cache.
pub const messages_max = 64;

/// Crosses from one object to another: C layout.
pub const Message = extern struct {
    /// The text, to be sealed; or the sealed text and its tag, to be opened.
    from: [*]const u8,
    /// Room for the other of both; equal to `from`, or apart from it.
    to: [*]u8,
    counter: u64,
    /// Bytes of text, without the tag: at most `length_max`.
    length: u32,
    /// Set by `open`; where it is false, the text is zeros.
    authentic: bool = false,
};

/// Bytes whose tags are computed before they are decrypted, so that they are still in the cache.
const window_bytes = 12 * 1024;

/// `vector_words`: how many 32-bit words a vector of the processor holds.
pub fn AeadBatch(comptime vector_words: comptime_int, comptime multiplier: poly1305_lanes.Multiplier) type {
    return struct {
        pub const words = vector_words;
        pub const Chacha20 = chacha20_lanes.Chacha20(words);
        pub const Poly1305 = poly1305_lanes.Poly1305(words / 2, multiplier);

        fn Call(comptime direction: tag_lanes.Direction) type {
            return struct {
                one_time: [messages_max][chacha20_lanes.block_bytes]u8 align(64),
                plan: keystream_plan.KeystreamPlan(words),
                tags: tag_lanes.TagLanes(words / 2, multiplier, direction),

                fn wipe(call: *@This()) void {
                    const count = call.plan.messages.len;
                    lane_memory.wipe(std.mem.sliceAsBytes(call.one_time[0..count]));
                    call.plan.wipe();
                    call.tags.wipe();
                }
            };
        }

        pub fn seal(key: *align(1) const [8]u32, messages: []Message) void {
            assert(messages.len > 0 and messages.len <= messages_max);
            var call: Call(.seal) = undefined;
            const plan = &call.plan;
            const tags = &call.tags;
            plan.begin(key, messages, &call.one_time);
            for (0..messages.len) |index| plan.append(@intCast(index));
            plan.encrypt(keystream_plan.blocks_max);
            tags.begin(messages, &call.one_time);
            const parts = @TypeOf(call.tags).partsOf(messages);
            if (parts == 1) tags.add(plan.encryptedBefore(), plan.blocks_left == 0);
            while (plan.blocks_left > 0) {
                plan.encrypt(keystream_plan.blocks_max);
                if (parts == 1) tags.add(plan.encryptedBefore(), plan.blocks_left == 0);
            }
            if (parts > 1) tags.addShared(parts);
            call.wipe();
        }

        pub fn open(key: *align(1) const [8]u32, messages: []Message) void {
            assert(messages.len > 0 and messages.len <= messages_max);
            var call: Call(.open) = undefined;
            const plan = &call.plan;
            const tags = &call.tags;
            plan.begin(key, messages, &call.one_time);
            plan.computeOneTime();
            tags.begin(messages, &call.one_time);
            const parts = @TypeOf(call.tags).partsOf(messages);
            var available: usize = 0;
            while (available < messages.len) {
                var bytes: usize = 0;
                while (available < messages.len and (bytes < window_bytes or parts > 1)) : (available += 1)
                    bytes += messages[available].length;
                const last = available == messages.len;
                if (parts > 1) tags.addShared(parts) else tags.add(available, last);
                for (tags.authentic[0..tags.authentic_count]) |index| plan.append(index);
                tags.authentic_count = 0;
                while (plan.blocks_left >= @as(usize, if (last) 1 else keystream_plan.blocks_max))
                    plan.encrypt(keystream_plan.blocks_max);
            }
            call.wipe();
        }
    };
}

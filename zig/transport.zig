//! Transport data messages (WireGuard paper, section 5.4.6), many at a time: header, seal, open.
//! Pure. The batch is the unit, because the cipher works on many messages at once
//! (`aead_dispatch.zig`).
//!
//! A message: type u32 = 4, receiver index u32, counter u64 (all little-endian), then the padded
//! inner packet, then the 16-byte tag. The header is not authenticated: its fields choose the key
//! and the nonce, so a change of either fails the tag.
const std = @import("std");
const assert = std.debug.assert;
const constants = @import("constants.zig");
const aead = @import("aead_dispatch.zig");

/// Only in the library that measures what the cipher costs (cipher_free.zig).
const cipher_free = @hasDecl(@import("root"), "cipher_free");

const header_bytes = constants.transport_header_bytes;
const tag_bytes = constants.tag_bytes;

/// One message to seal or to open in place.
pub const Message = struct {
    /// Header, text, tag: at least `transport_bytes_min`.
    bytes: []u8,
    counter: u64,
    /// Set by `openBatch`; the text is zeros where it is false.
    authentic: bool = false,

    /// What is between header and tag.
    pub fn text(self: *const Message) []u8 {
        return self.bytes[header_bytes .. self.bytes.len - tag_bytes];
    }
};

pub fn writeHeader(message: []u8, receiver_index: u32, counter: u64) void {
    std.mem.writeInt(u32, message[0..4], constants.message_transport, .little);
    std.mem.writeInt(u32, message[4..8], receiver_index, .little);
    std.mem.writeInt(u64, message[8..16], counter, .little);
}

/// The caller has checked that the message has `transport_bytes_min` bytes.
pub fn receiverIndex(message: []const u8) u32 {
    return std.mem.readInt(u32, message[4..8], .little);
}

pub fn counterOf(message: []const u8) u64 {
    return std.mem.readInt(u64, message[8..16], .little);
}

/// Seals messages of one key in place. Their counters differ: the caller took each one once.
pub fn sealBatch(key: *const [constants.key_bytes]u8, messages: []const Message) void {
    if (cipher_free) return;
    var cipher: [aead.messages_max]aead.Message = undefined;
    var rest = messages;
    while (rest.len > 0) {
        const count = @min(rest.len, cipher.len);
        for (cipher[0..count], rest[0..count]) |*to, *message| to.* = cipherMessage(message);
        aead.sealBatch(key, cipher[0..count]);
        rest = rest[count..];
    }
}

/// Opens messages of one key in place.
pub fn openBatch(key: *const [constants.key_bytes]u8, messages: []Message) void {
    if (cipher_free) {
        for (messages) |*message| message.authentic = true;
        return;
    }
    var cipher: [aead.messages_max]aead.Message = undefined;
    var rest = messages;
    while (rest.len > 0) {
        const count = @min(rest.len, cipher.len);
        for (cipher[0..count], rest[0..count]) |*to, *message| to.* = cipherMessage(message);
        aead.openBatch(key, cipher[0..count]);
        for (cipher[0..count], rest[0..count]) |*from, *message| message.authentic = from.authentic;
        rest = rest[count..];
    }
}

fn cipherMessage(message: *const Message) aead.Message {
    assert(message.bytes.len >= constants.transport_bytes_min);
    const text = message.text();
    return .{
        .from = text.ptr,
        .to = text.ptr,
        .counter = message.counter,
        .length = @intCast(text.len),
    };
}

test "what is sealed opens under the same key and counter only" {
    try @import("crypto.zig").init();
    const key: [32]u8 = @splat(7);
    var bytes: [3][64]u8 = undefined;
    var messages: [3]Message = undefined;
    for (&bytes, &messages, 0..) |*buffer, *message, index| {
        buffer.* = @splat(@intCast(index));
        writeHeader(buffer, 9, index);
        message.* = .{ .bytes = buffer, .counter = index };
    }
    sealBatch(&key, &messages);
    bytes[2][20] ^= 1;
    messages[1].counter = 5;
    openBatch(&key, &messages);
    try std.testing.expect(messages[0].authentic);
    try std.testing.expect(!messages[1].authentic);
    try std.testing.expect(!messages[2].authentic);
    try std.testing.expectEqualSlices(u8, &@as([32]u8, @splat(0)), messages[0].text());
    try std.testing.expectEqual(9, receiverIndex(&bytes[0]));
    try std.testing.expectEqual(1, counterOf(&bytes[1]));
}

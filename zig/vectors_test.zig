//! Published vectors that are too many to stand beside the code, from test/vectors. Those of
//! X25519, XChaCha20-Poly1305 and Ed25519 are run through the border (test/contract/vectors.ts).
const std = @import("std");
const testing = std.testing;

test "keyed BLAKE2s-256 gives the answers that its authors publish, to every length of 0 to 255 bytes" {
    var lines = std.mem.tokenizeScalar(u8, @embedFile("blake2s-keyed-vectors"), '\n');
    var key: [32]u8 = undefined;
    for (&key, 0..) |*byte, at| byte.* = @intCast(at);
    var text: [256]u8 = undefined;
    for (&text, 0..) |*byte, at| byte.* = @intCast(at);
    var length: usize = 0;
    while (lines.next()) |line| {
        if (line[0] == '#') continue;
        errdefer std.debug.print("a text of {d} bytes\n", .{length});
        var expected: [32]u8 = undefined;
        _ = try std.fmt.hexToBytes(&expected, line);
        var digest: [32]u8 = undefined;
        std.crypto.hash.blake2.Blake2s256.hash(text[0..length], &digest, .{ .key = &key });
        try testing.expectEqual(expected, digest);
        length += 1;
    }
    try testing.expectEqual(256, length);
}

//! The text of WireGuard's cross-platform configuration protocol, as far as bytes are concerned:
//! where a request ends, and how keys leave it and enter an answer.
//!
//! Owns no memory and no socket. A key line is `private_key=` or `preshared_key=`; outside it
//! holds 64 hexadecimal digits, inside `@` and a handle in decimal, `@0` for a key of zeros.
//! Always holds: a request that was cleaned holds no byte of a key, and its handles belong to
//! whoever has the text; a request that is refused leaves no secret behind. Meaning is not here.
const std = @import("std");
const assert = std.debug.assert;
const crypto = @import("crypto.zig");
const key_text = @import("key_text.zig");
const secrets = @import("secrets.zig");

pub const line_bytes_max = 4096;

/// Longest form of a key inside: `@4294967295`.
const handle_text_bytes_max = 11;

const KeyKind = enum {
    private_key,
    preshared_key,

    fn prefix(kind: KeyKind) []const u8 {
        return switch (kind) {
            .private_key => "private_key=",
            .preshared_key => "preshared_key=",
        };
    }
};

comptime {
    // So that cleaning can be done in place.
    assert(handle_text_bytes_max < key_text.hex_bytes);
}

/// Finds the end of the first request of a stream that arrives piece by piece; looks at each byte
/// once. A request is `get=1` or `set=1`, more lines, and an empty line.
pub const Scanner = struct {
    /// Bytes that have been looked at, and where the line begins that they end in.
    at: usize = 0,
    line_start: usize = 0,

    pub const Result = union(enum) {
        more,
        /// The length of the request, its empty line included.
        whole: usize,
        /// A NUL byte, a line that is too long, or another operation: the stream makes no sense.
        refused,
    };

    /// `bytes` is the stream from its first request's beginning, as far as it has arrived.
    pub fn advance(scanner: *Scanner, bytes: []const u8) Result {
        assert(scanner.at <= bytes.len);
        while (scanner.at < bytes.len) : (scanner.at += 1) {
            const byte = bytes[scanner.at];
            if (byte == 0) return .refused;
            if (byte != '\n') {
                if (scanner.at - scanner.line_start >= line_bytes_max) return .refused;
                continue;
            }
            const line = bytes[scanner.line_start..scanner.at];
            if (scanner.line_start == 0) {
                const known = std.mem.eql(u8, line, "get=1") or std.mem.eql(u8, line, "set=1");
                if (!known) return .refused;
            } else if (line.len == 0) return .{ .whole = scanner.at + 1 };
            scanner.line_start = scanner.at + 1;
        }
        return .more;
    }
};

pub const CleanError = (error{Malformed} || secrets.MakeError);

/// Replaces the keys of a whole request by handles, in place, and returns its new length. What is
/// behind that length, and after an error everything, is wiped.
pub fn clean(request: []u8) CleanError!usize {
    var written: usize = 0;
    errdefer {
        freeHandles(request[0..written]);
        crypto.wipe(request);
    }
    var start: usize = 0;
    while (start < request.len) {
        const end = std.mem.indexOfScalarPos(u8, request, start, '\n') orelse return error.Malformed;
        written += try cleanLine(request[written..], request[start..end]);
        request[written] = '\n';
        written += 1;
        start = end + 1;
    }
    crypto.wipe(request[written..]);
    return written;
}

/// Writes a line without its newline to `dst`, which may begin before it in the same memory.
fn cleanLine(dst: []u8, line: []const u8) CleanError!usize {
    const kind = keyKind(line) orelse {
        if (resemblesKeyLine(line)) return error.Malformed;
        std.mem.copyForwards(u8, dst, line);
        return line.len;
    };
    const prefix = kind.prefix();
    const value = line[prefix.len..];
    if (value.len != key_text.hex_bytes) return error.Malformed;
    const handle = try importHex(value[0..key_text.hex_bytes], kind);
    var text: [handle_text_bytes_max]u8 = undefined;
    const replaced = std.fmt.bufPrint(&text, "@{d}", .{handle}) catch unreachable;
    std.mem.copyForwards(u8, dst, prefix);
    @memcpy(dst[prefix.len..][0..replaced.len], replaced);
    return prefix.len + replaced.len;
}

fn importHex(digits: *const [key_text.hex_bytes]u8, kind: KeyKind) CleanError!secrets.Handle {
    const reserved = try secrets.reserve();
    const decoded = key_text.decodeHex(reserved.bytes, digits);
    if (!decoded or crypto.isZero(reserved.bytes)) {
        secrets.free(reserved.handle) catch unreachable;
        return if (decoded) secrets.none else error.Malformed;
    }
    // As other implementations do, so that all show the same private key.
    if (kind == .private_key) crypto.clamp(reserved.bytes);
    return reserved.handle;
}

fn keyKind(line: []const u8) ?KeyKind {
    for (std.enums.values(KeyKind)) |kind| {
        if (std.mem.startsWith(u8, line, kind.prefix())) return kind;
    }
    return null;
}

/// Whether a line that is no key line names a key all the same, in other letters or behind other
/// characters: refused, since a key may stand there, which must not pass as an unknown line.
fn resemblesKeyLine(line: []const u8) bool {
    for (line, 0..) |character, i| {
        // Both names begin with this letter.
        if (character | 0x20 != 'p') continue;
        for (std.enums.values(KeyKind)) |kind| {
            if (std.ascii.startsWithIgnoreCase(line[i..], @tagName(kind))) return true;
        }
    }
    return false;
}

/// Frees the secrets of a cleaned request that nobody takes.
pub fn freeHandles(cleaned: []const u8) void {
    var lines = std.mem.splitScalar(u8, cleaned, '\n');
    while (lines.next()) |line| {
        const kind = keyKind(line) orelse continue;
        const handle = parseHandle(line[kind.prefix().len..]) orelse continue;
        if (handle == secrets.none) continue;
        // The text came from here: its handles are live, and nobody else's.
        secrets.free(handle) catch unreachable;
    }
}

fn parseHandle(value: []const u8) ?secrets.Handle {
    if (value.len < 2 or value.len > handle_text_bytes_max or value[0] != '@') return null;
    for (value[1..]) |digit| if (!std.ascii.isDigit(digit)) return null;
    return std.fmt.parseInt(secrets.Handle, value[1..], 10) catch null;
}

pub const FillError = error{ Malformed, NoSuchSecret };

/// How long an answer is once its keys are filled in.
pub fn filledLength(answer: []const u8) FillError!usize {
    var length = answer.len;
    var lines = std.mem.splitScalar(u8, answer, '\n');
    while (lines.next()) |line| {
        const kind = keyKind(line) orelse continue;
        const value = line[kind.prefix().len..];
        const handle = parseHandle(value) orelse return error.Malformed;
        if (handle != secrets.none and secrets.get(handle) == null) return error.NoSuchSecret;
        length += key_text.hex_bytes - value.len;
    }
    return length;
}

/// Writes the answer with its keys into `out`, whose length is `filledLength(answer)`. After an
/// error (a secret was freed meanwhile) the caller wipes `out`.
pub fn fill(out: []u8, answer: []const u8) FillError!void {
    var written: usize = 0;
    var lines = std.mem.splitScalar(u8, answer, '\n');
    while (lines.next()) |line| {
        if (keyKind(line)) |kind| {
            const prefix = kind.prefix();
            @memcpy(out[written..][0..prefix.len], prefix);
            written += prefix.len;
            const handle = parseHandle(line[prefix.len..]) orelse return error.Malformed;
            const zeros: secrets.Secret = @splat(0);
            const key = if (handle == secrets.none) &zeros else try secrets.pointer(handle);
            key_text.encodeHex(out[written..][0..key_text.hex_bytes], key);
            written += key_text.hex_bytes;
        } else {
            @memcpy(out[written..][0..line.len], line);
            written += line.len;
        }
        if (lines.index != null) {
            out[written] = '\n';
            written += 1;
        }
    }
    assert(written == out.len);
}

const testing = std.testing;

/// A key whose digits are easy to look for, clamped as a private key.
const key_hex = "a8dac1d8a70a751f0f699fb14ba1cff7b79cf4fbd8f09f44c6e6a90d0369604f";
const zero_hex: [64]u8 = @splat('0');

fn cleanedText(buffer: []u8, request: []const u8) CleanError![]u8 {
    @memcpy(buffer[0..request.len], request);
    return buffer[0..try clean(buffer[0..request.len])];
}

fn handleIn(text: []const u8, name: []const u8) !secrets.Handle {
    const at = std.mem.indexOf(u8, text, name) orelse return error.Missing;
    const end = std.mem.indexOfScalarPos(u8, text, at, '\n').?;
    return parseHandle(text[at + name.len .. end]) orelse error.Missing;
}

test "keys leave a request as handles, and enter the answer again" {
    const baseline = secrets.count();
    var buffer: [1024]u8 = @splat(0xee);
    const request = "set=1\nprivate_key=" ++ key_hex ++ "\nlisten_port=51820\npublic_key=" ++ key_hex ++
        "\npreshared_key=" ++ key_hex ++ "\npreshared_key=" ++ zero_hex ++ "\nendpoint=[::1]:5\n\n";
    const text = try cleanedText(&buffer, request);
    const private = try handleIn(text, "private_key=");
    const preshared = try handleIn(text, "preshared_key=");
    var expected: [1024]u8 = undefined;
    try testing.expectEqualStrings(try std.fmt.bufPrint(&expected, "set=1\nprivate_key=@{d}\nlisten_port=51820\npublic_key=" ++
        key_hex ++ "\npreshared_key=@{d}\npreshared_key=@0\nendpoint=[::1]:5\n\n", .{ private, preshared }), text);
    try testing.expectEqual(baseline + 2, secrets.count());
    try testing.expect(crypto.isZero(buffer[text.len..request.len]));

    var out: [1024]u8 = undefined;
    const filled = out[0..try filledLength(text)];
    try fill(filled, text);
    try testing.expectEqualStrings(request, filled);
    freeHandles(text);
    try testing.expectEqual(baseline, secrets.count());
    try testing.expectError(error.NoSuchSecret, filledLength(text));
}

test "a private key is clamped, a preshared key is not" {
    var buffer: [512]u8 = undefined;
    const ones: [64]u8 = @splat('F');
    const text = try cleanedText(&buffer, "set=1\nprivate_key=" ++ ones ++ "\npreshared_key=" ++ ones ++ "\n\n");
    defer freeHandles(text);
    const private = try secrets.pointer(try handleIn(text, "private_key="));
    try testing.expectEqual(0xf8, private[0]);
    try testing.expectEqual(0x7f, private[31]);
    const preshared = try secrets.pointer(try handleIn(text, "preshared_key="));
    try testing.expectEqual(@as(secrets.Secret, @splat(0xff)), preshared.*);
}

test "a malformed key line refuses the whole request: no secret stays, no digit stays" {
    const baseline = secrets.count();
    const lines = [_][]const u8{
        "private_key=",                    "private_key=" ++ key_hex[1..],     "private_key=" ++ key_hex ++ "0",
        "private_key=" ++ key_hex ++ "\r", "private_key= " ++ key_hex[1..],    "private_key=g" ++ key_hex[1..],
        "preshared_key=@5",                "preshared_key=" ++ key_hex ++ " ", "PRIVATE_KEY=" ++ key_hex,
        " private_key=" ++ key_hex,        "private_key =" ++ key_hex,         "private_key",
        "Preshared_Key=" ++ key_hex,       "private_key:" ++ key_hex,          "\tpreshared_key\t=" ++ key_hex,
    };
    for (lines) |line| {
        var buffer: [1024]u8 = undefined;
        var request_buffer: [512]u8 = undefined;
        const request = try std.fmt.bufPrint(&request_buffer, "set=1\nprivate_key=" ++ key_hex ++ "\n{s}\n\n", .{line});
        try testing.expectError(error.Malformed, cleanedText(&buffer, request));
        try testing.expect(crypto.isZero(buffer[0..request.len]));
        try testing.expectEqual(baseline, secrets.count());
    }
}

test "an answer with a handle that is stale or no number is refused" {
    try testing.expectError(error.NoSuchSecret, filledLength("private_key=@1\n\n"));
    for ([_][]const u8{ "private_key=1", "private_key=@", "private_key=@4294967296", "private_key=@1x", "private_key=@-1", "private_key=@_1" }) |line| {
        try testing.expectError(error.Malformed, filledLength(line));
    }
}

test "a request ends at its empty line, however it arrives" {
    const stream = "set=1\nlisten_port=1\n\nget=1\n\n";
    for (0..21) |cut| {
        var scanner: Scanner = .{};
        try testing.expectEqual(.more, scanner.advance(stream[0..cut]));
        try testing.expectEqual(Scanner.Result{ .whole = 21 }, scanner.advance(stream));
    }
    var scanner: Scanner = .{};
    try testing.expectEqual(Scanner.Result{ .whole = 7 }, scanner.advance(stream[21..]));
}

test "a NUL byte, an over-long line and an unknown operation make no sense" {
    const long: [line_bytes_max + 1]u8 = @splat('a');
    for ([_][]const u8{ "\x00", "get=1\n\x00", "\n", "\n\n", "get=2\n", "GET / HTTP/1.1\r\n", "get=1\r\n", "set=1\n" ++ long, &long }) |stream| {
        var scanner: Scanner = .{};
        try testing.expectEqual(.refused, scanner.advance(stream));
    }
    var scanner: Scanner = .{};
    try testing.expectEqual(.more, scanner.advance("set=1\n" ++ long[1..] ++ "\n"));
}

test "no byte sequence breaks the scanner or leaks a secret" {
    try testing.fuzz({}, fuzzOne, .{});
    var generator: std.Random.DefaultPrng = .init(0x75617069);
    const random = generator.random();
    for (0..5_000) |_| {
        var stream: Pieces = .{};
        stream.add(random.uintLessThan(usize, 2));
        for (0..random.uintLessThan(usize, 24)) |_| stream.add(random.uintLessThan(usize, Pieces.all.len));
        stream.add(Pieces.newline);
        stream.add(Pieces.newline);
        try checkStream(stream.buffer[0..stream.used]);
    }
}

fn fuzzOne(_: void, smith: *testing.Smith) !void {
    var stream: Pieces = .{};
    while (!smith.eos()) stream.add(smith.valueRangeLessThan(u8, 0, Pieces.all.len));
    try checkStream(stream.buffer[0..stream.used]);
}

/// A stream made of pieces that nearly make sense.
const Pieces = struct {
    buffer: [4096]u8 = undefined,
    used: usize = 0,

    const newline = 2;
    const all = [_][]const u8{
        "get=1\n", "set=1\n", "\n", "private_key=", "preshared_key=", key_hex, &zero_hex, "@", "7", "x", "\x00", "=", " ",
    };

    fn add(pieces: *Pieces, index: usize) void {
        const piece = all[index];
        if (pieces.used + piece.len > pieces.buffer.len) return;
        @memcpy(pieces.buffer[pieces.used..][0..piece.len], piece);
        pieces.used += piece.len;
    }
};

fn checkStream(stream: []u8) !void {
    const baseline = secrets.count();
    var scanner: Scanner = .{};
    const end = switch (scanner.advance(stream)) {
        .more, .refused => return,
        .whole => |end| end,
    };
    if (clean(stream[0..end])) |length| {
        try testing.expect(length <= end);
        const inside = stream[0..length];
        for ([_][]const u8{ "private_key=" ++ key_hex, "preshared_key=" ++ key_hex }) |raw| {
            try testing.expectEqual(null, std.mem.indexOf(u8, inside, raw));
        }
        var out: [16 * 1024]u8 = undefined;
        try fill(out[0..try filledLength(inside)], inside);
        freeHandles(inside);
    } else |err| {
        try testing.expectEqual(error.Malformed, err);
        try testing.expect(crypto.isZero(stream[0..end]));
    }
    try testing.expectEqual(baseline, secrets.count());
}

//! Handshake messages at the gate: what passes, what is refused and as what, and what a cookie is
//! good for, held against the rules in the order of the paper.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const cookie_ = @import("cookie.zig");
const crypto = @import("crypto.zig");
const gate_ = @import("gate.zig");
const input_ = @import("fuzz_input.zig");
const Gate = gate_.Gate;
const Reader = input_.Reader;
const Target = @import("fuzz.zig").Target;
const Writer = input_.Writer;

pub const targets = [_]Target{
    .{ .name = "initiation", .bytes_max = 1400, .generate = generateHandshake, .one = initiation },
    .{ .name = "response", .bytes_max = 1400, .generate = generateHandshake, .one = response },
    .{ .name = "cookie", .bytes_max = 1400, .generate = generateHandshake, .one = cookie },
};

pub const public_key: [32]u8 = @splat(5);
pub const identity: [32]u8 = @splat(6);

var shared_gate: ?Gate = null;
var now_ns: u64 = 1_000 * constants.ns_per_s;

/// Time has passed since the last input, so that no source is remembered.
fn freshGate() !*Gate {
    if (shared_gate == null) {
        shared_gate = try .init(std.heap.page_allocator, crypto.random);
        shared_gate.?.setLocalKey(&public_key);
        shared_gate.?.setIntroductionKey(&identity);
    }
    now_ns += 2 * constants.ns_per_s;
    shared_gate.?.load = .{};
    shared_gate.?.sources = .{};
    return &shared_gate.?;
}

/// Makes the first MAC right, as whoever knows this node can.
pub fn stampMac1(message: []u8) void {
    if (message.len < 36) return;
    const introduction = std.mem.readInt(u32, message[0..4], .little) == constants.message_introduction;
    var key: [32]u8 = undefined;
    if (introduction) crypto.hash(&key, &.{ "mvintro-", &identity }) else crypto.hash(&key, &.{ "mac1----", &public_key });
    crypto.mac(message[message.len - 32 ..][0..16], &key, message[0 .. message.len - 32]);
}

fn initiation(input: []const u8) !u64 {
    return handshake(input, constants.message_initiation, constants.initiation_bytes);
}

fn response(input: []const u8) !u64 {
    return handshake(input, constants.message_response, constants.response_bytes);
}

/// A handshake message at the gate: choices, a source, and the message, which is held against the
/// rules in the order of the paper. A cookie that comes back lets it in, once, and from there only.
fn handshake(input: []const u8, kind: u32, length: usize) !u64 {
    const gate = try freshGate();
    var reader: Reader = .init(input);
    const choices = reader.int(u8);
    const remote = readSource(&reader);
    const queued = reader.int(u16) % constants.control_ring_datagrams;
    const body = reader.take(1300);
    var room: [1300]u8 = undefined;
    @memcpy(room[0..body.len], body);
    const message = if (choices & 1 != 0) room[0..body.len] else room[0..length];
    if (body.len < message.len) @memset(room[body.len..message.len], 0);
    if (message.len >= 4) std.mem.writeInt(u32, message[0..4], kind, .little);
    if (choices & 2 == 0) stampMac1(message);

    const admission = gate.admit(message, &remote, now_ns, queued);
    const exact = message.len == length;
    if (!exact) return expectRefusal(admission, .malformed);
    var stamped = room;
    stampMac1(stamped[0..length]);
    const right = std.mem.eql(u8, stamped[0..length], message);
    if (!right) return expectRefusal(admission, .mac1_invalid);
    const loaded = queued >= constants.load_datagrams;
    if (!loaded) return if (admission == .pass) 2 else error.RefusedWithoutLoad;
    const answer = switch (admission) {
        .answer => |answer| answer,
        else => return error.PassedWithoutCookie,
    };
    if (answer.why != .mac2_invalid) return error.CountedElsewhere;
    if (!std.mem.eql(u8, answer.reply[4..8], message[4..8])) return error.AnswerToNobody;
    var key: [32]u8 = undefined;
    crypto.hash(&key, &.{ "cookie--", &public_key });
    var made: cookie_.Cookie = undefined;
    if (!crypto.openX(&made, answer.reply[32..64], message[length - 32 ..][0..16], answer.reply[8..32], &key))
        return error.CookieDoesNotOpen;
    crypto.mac(message[length - 16 ..][0..16], &made, message[0 .. length - 16]);
    var elsewhere = remote;
    elsewhere.port +%= 1;
    if (gate.admit(message, &elsewhere, now_ns, queued) == .pass) return error.CookieOfAnotherPort;
    // Sticky for a second, whatever waits now.
    if (gate.admit(message, &remote, now_ns + 999 * constants.ns_per_ms, 0) != .pass) return error.CookieRefused;
    message[length - 1] ^= 1;
    if (gate.admit(message, &remote, now_ns + 999 * constants.ns_per_ms, 0) == .pass) return error.ForgedCookieTaken;
    return 3;
}

fn expectRefusal(admission: gate_.Admission, counter: abi.Counter) !u64 {
    return switch (admission) {
        .refuse => |why| if (why == counter) @backingInt(why) + 16 else error.CountedElsewhere,
        else => error.NotRefused,
    };
}

fn readSource(reader: *Reader) abi.Endpoint {
    const family: u8 = if (reader.int(u8) & 1 == 0) 4 else 6;
    var remote: abi.Endpoint = .{ .port = reader.int(u16), .family = family };
    const address = reader.take(16);
    @memcpy(remote.address[0..address.len], address);
    if (family == 4) remote.address[0..12].* = @as([10]u8, @splat(0)) ++ [2]u8{ 0xff, 0xff };
    return remote;
}

/// Cookie replies at the gate, which passes them by their length while few wait; and one of our own
/// making, of which every change is noticed by whom it is for.
fn cookie(input: []const u8) !u64 {
    const gate = try freshGate();
    var reader: Reader = .init(input);
    const choices = reader.int(u8);
    const remote = readSource(&reader);
    const queued = reader.int(u16) % constants.control_ring_datagrams;
    const change_at = reader.int(u8) % constants.cookie_reply_bytes;
    const change = reader.int(u8);
    const body = reader.take(1300);
    var room: [1300]u8 = @splat(0);
    @memcpy(room[0..body.len], body);
    const kind: u32 = if (choices & 2 == 0) constants.message_cookie_reply else constants.message_introduction_cookie;
    std.mem.writeInt(u32, room[0..4], kind, .little);
    const length = if (choices & 1 == 0) constants.cookie_reply_bytes else body.len;
    const admission = gate.admit(room[0..length], &remote, now_ns, queued);
    if (length != constants.cookie_reply_bytes) return expectRefusal(admission, .malformed);
    if (queued >= constants.cookie_reply_ring_datagrams) return expectRefusal(admission, .cookie_reply_ring_full);
    if (admission != .pass) return error.RefusedWithoutReason;
    if (gate.load.sticky.seen_ns != null) return error.LoadFromAnybody;

    const message = room[0..constants.initiation_bytes];
    var key: [32]u8 = undefined;
    crypto.hash(&key, &.{ "cookie--", &public_key });
    var given = gate.cookies.cookieOf(&remote, now_ns);
    var reply = gate.cookies.answer(kind, &key, message, &given);
    reply[change_at] ^= change;
    var opened: cookie_.Cookie = undefined;
    const whole = crypto.openX(&opened, reply[32..64], cookie_.mac1Of(message), reply[8..32], &key);
    // Type and index are for finding the session; the rest is sealed.
    if (whole != (change == 0 or change_at < 8)) return error.ChangeNotNoticed;
    if (whole and !std.mem.eql(u8, &opened, &given)) return error.AnotherCookie;
    return @as(u64, @intFromBool(whole)) + 1;
}

fn generateHandshake(random: std.Random, buffer: []u8) usize {
    var writer: Writer = .{ .bytes = buffer };
    const choices = random.int(u8);
    writer.int(u8, if (random.uintLessThan(u8, 4) == 0) choices else choices & 0xfc);
    writer.int(u8, random.int(u8));
    _ = writer.random(random, 2 + 16);
    writer.int(u16, if (random.boolean()) random.int(u16) else random.uintLessThan(u16, 160));
    writer.int(u16, random.int(u16));
    _ = writer.random(random, random.uintAtMost(usize, if (random.boolean()) 150 else 1300));
    return writer.length;
}

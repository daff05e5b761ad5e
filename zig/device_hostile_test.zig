//! What strangers, thieves and hostile peers send to a whole device: it is counted, and changes
//! nothing that it must not change. Needs root.
const std = @import("std");
const abi = @import("abi.zig");
const constants = @import("constants.zig");
const crypto = @import("crypto.zig");
const scene = @import("device_scene.zig");
const Pair = scene.Pair;
const Session = scene.Session;
const Wire = scene.Wire;
const withPair = scene.withPair;
const makePacket = scene.makePacket;
const testing = std.testing;

const session: Session = .{ .number = 0 };

/// A's next packet as it lies on the underlay, kept from B.
fn capture(pair: *Pair, wire: Wire, buffer: []u8, packet: []const u8) ![]u8 {
    try pair.relayThrough(wire);
    try pair.a.link.inject(packet);
    return (try wire.receive(buffer)).bytes;
}

test "a datagram that comes again is counted and not delivered again, early or late" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            const wire: Wire = try .open();
            defer wire.close();
            const port = pair.b.endpoint().port;
            var room: [64]u8 = undefined;
            var datagrams: [20][128]u8 = undefined;
            var lengths: [20]usize = undefined;
            for (&datagrams, &lengths, 0..) |*datagram, *length, number| {
                const packet = makePacket(&room, .{ .number = @intCast(number) });
                length.* = (try capture(pair, wire, datagram, packet)).len;
            }
            // The newest first: every other order within the window is good.
            var at: usize = datagrams.len;
            while (at > 0) {
                at -= 1;
                const datagram = datagrams[at][0..lengths[at]];
                for (0..3) |_| try wire.send(port, datagram);
                try pair.b.link.expectNext(makePacket(&room, .{ .number = @intCast(at) }));
            }
            for (&datagrams, lengths) |*datagram, length| try wire.send(port, datagram[0..length]);
            try pair.a.apply(&.{.{
                .kind = .peer_endpoint_set,
                .peer = Pair.peer_b,
                .remote = pair.b.endpoint(),
            }});
            try pair.cross(.a_to_b, 99);
            try pair.b.expectCounter(.replayed, datagrams.len * 3);
            try pair.b.expectCounter(.not_authentic, 0);
        }
    }.body);
}

test "a datagram with one bit flipped, cut or longer changes nothing" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            const wire: Wire = try .open();
            defer wire.close();
            const port = pair.b.endpoint().port;
            var room: [64]u8 = undefined;
            const packet = makePacket(&room, .{ .length = 64, .number = 1 });
            var buffer: [2048]u8 = @splat(0);
            const datagram = try capture(pair, wire, &buffer, packet);
            try testing.expectEqual(64 + constants.transport_overhead_bytes, datagram.len);

            for (0..datagram.len * 8) |bit| {
                const mask = @as(u8, 1) << @intCast(bit % 8);
                datagram[bit / 8] ^= mask;
                try wire.send(port, datagram);
                datagram[bit / 8] ^= mask;
            }
            for (0..datagram.len) |length| try wire.send(port, buffer[0..length]);
            try wire.send(port, buffer[0 .. datagram.len + 1]);
            try wire.send(port, buffer[0 .. datagram.len + 16]);
            const refused = datagram.len * 8 + datagram.len + 2;
            // The empty one is no datagram to the counter, and nobody's.
            try pair.b.awaitCounter(.udp_receive_datagrams, 1 + refused - 1);
            try testing.expectEqual(pair.a.endpoint(), (try pair.b.stats(Pair.peer_a)).remote);
            try pair.b.expectCounter(.opened_packets, 1);

            // Neither the window nor the endpoint moved: the packet is as new as ever.
            try wire.send(port, datagram);
            try pair.b.link.expectNext(packet);
            try testing.expectEqual(wire.endpoint(), (try pair.b.stats(Pair.peer_a)).remote);
            try pair.b.expectCounter(.unknown_type, 32);
            try pair.b.expectCounter(.unknown_index, 32);
            try pair.b.expectCounter(.not_authentic, (datagram.len - 8) * 8 + datagram.len - 32 + 2);
            try pair.b.expectCounter(.malformed, 32);
            try pair.b.expectCounter(.replayed, 0);
        }
    }.body);
}

test "counters end at the limit, and what is sealed beyond it is not opened" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            const wire: Wire = try .open();
            defer wire.close();
            const port = pair.b.endpoint().port;
            const limit = constants.reject_after_messages;
            var room: [64]u8 = undefined;
            var buffer: [128]u8 = undefined;
            const packet = makePacket(&room, .{ .length = 64, .number = 1 });
            try wire.send(port, session.seal(.a_to_b, std.math.maxInt(u64), &buffer, packet));
            try wire.send(port, session.seal(.a_to_b, limit, &buffer, packet));
            try wire.send(port, session.seal(.a_to_b, limit - 1, &buffer, packet));
            try pair.b.link.expectNext(packet);
            try pair.b.expectCounter(.counter_limit, 2);
            // The window is at its end now; what A sends itself is far behind it.
            try wire.send(port, session.seal(.a_to_b, 5, &buffer, packet));
            try wire.send(port, session.seal(.a_to_b, limit - 2, &buffer, packet));
            try pair.b.link.expectNext(packet);
            try pair.b.expectCounter(.replayed, 1);
        }
    }.body);
}

test "datagrams of every length and type from a stranger do no harm" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            const wire: Wire = try .open();
            defer wire.close();
            const port = pair.b.endpoint().port;
            try pair.b.apply(&.{
                .{ .kind = .local_key_set, .key = @splat(0xb) },
                .{ .kind = .introduction_key_set, .key = @splat(0xb) },
            });
            const kinds = [_]u32{ 1, 2, 3, 4, 4, 5, 0, constants.message_introduction, 0xffff_ffff };
            var prng: std.Random.DefaultPrng = .init(testing.random_seed);
            var bytes: [65_507]u8 = undefined;
            var sent: u64 = 0;
            for (0..1601) |length| {
                for (kinds, 0..) |kind, variant| {
                    const datagram = bytes[0..length];
                    prng.random().bytes(datagram);
                    if (length >= 4) std.mem.writeInt(u32, datagram[0..4], kind, .little);
                    // A transport message to a session that exists.
                    if (length >= 8 and variant == 4)
                        std.mem.writeInt(u32, datagram[4..8], session.index(.a_to_b), .little);
                    try wire.send(port, datagram);
                    sent += 1;
                }
                // In step, so that the socket's buffer holds them all.
                if (length % 100 == 0) try pair.cross(.a_to_b, @intCast(length));
            }
            prng.random().bytes(&bytes);
            try wire.send(port, &bytes);
            try pair.cross(.a_to_b, 1);

            try pair.b.expectSum(&.{
                .malformed,       .unknown_type,  .unknown_index,            .mac1_invalid,
                .not_authentic,   .counter_limit, .introduction_mac_invalid, .handshakes_received,
                .keypair_expired,
            }, sent + 1);
            // A cookie reply has no MAC before its own.
            try pair.b.expectCounter(.handshakes_received, 1);
            try testing.expectEqual(pair.a.endpoint(), (try pair.b.stats(Pair.peer_a)).remote);
            try testing.expectEqual(null, pair.b.takeEvent(.endpoint_roamed));
            try pair.b.link.expectNothing();
        }
    }.body);
}

test "a flood of data from strangers fills no queue of who is known, or was just answered" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            const wire: Wire = try .open();
            defer wire.close();
            const answered: Wire = try .open();
            defer answered.close();
            try pair.cross(.a_to_b, 1);
            const response = [_]u8{constants.message_response} ++ @as([91]u8, @splat(0));
            const datagrams = [_]abi.Datagram{.{
                .kind = .response,
                .remote = answered.endpoint(),
                .length = response.len,
            }};
            try testing.expectEqual(1, pair.b.device.send(&datagrams, &response));
            // It has told the kernel when it has read what comes after.
            for (0..2) |number| {
                try wire.send(pair.b.endpoint().port, "some");
                try pair.b.awaitCounter(.unknown_type, number + 1);
            }
            pair.b.device.stop();
            var buffer: [256]u8 = undefined;
            var room: [64]u8 = undefined;
            var forged = @as([148]u8, @splat(7));
            std.mem.writeInt(u32, forged[0..4], constants.message_transport, .little);
            std.mem.writeInt(u32, forged[4..8], session.index(.a_to_b), .little);
            std.mem.writeInt(u64, forged[8..16], 1 << 40, .little);
            const flood = 30_000;
            for (0..flood) |_| try wire.send(pair.b.endpoint().port, &forged);
            const first = makePacket(&room, .{ .number = 9 });
            try answered.send(pair.b.endpoint().port, session.seal(.a_to_b, 1000, &buffer, first));
            try testing.expectEqual(.ok, pair.b.device.start());
            try pair.b.link.awaitSame(first);
            try pair.b.expectCounter(.replayed, 0);
            const deadline: scene.Deadline = .start();
            while (pair.b.counter(.not_authentic) + pair.b.counter(.udp_receive_overflow) < flood) try deadline.wait(-1);
            // A tenth of them found room.
            try testing.expect(pair.b.counter(.udp_receive_overflow) > flood / 2);
            try pair.cross(.a_to_b, 2);
        }
    }.body);
}

test "a device whose control plane is stalled asks for cookies, and admits who has one" {
    try withPair(.{ .connected = false }, struct {
        fn body(pair: *Pair) anyerror!void {
            const wire: Wire = try .open();
            defer wire.close();
            const public_key: [32]u8 = @splat(0xb);
            try pair.b.apply(&.{.{ .kind = .local_key_set, .key = public_key }});
            const port = pair.b.endpoint().port;
            var mac1_key: [32]u8 = undefined;
            crypto.hash(&mac1_key, &.{ "mac1----", &public_key });
            var message: [constants.initiation_bytes]u8 = @splat(0);
            message[0] = constants.message_initiation;
            crypto.mac(message[116..132], &mac1_key, message[0..116]);
            // Nobody takes what arrives. No address alone may make up the load.
            for (0..constants.load_datagrams / constants.source_load_burst) |number| {
                const one: Wire = try .openAt(.{ 127, 0, 0, @intCast(2 + number) });
                defer one.close();
                for (0..constants.source_load_burst) |_| try one.send(port, &message);
            }
            try pair.b.awaitCounter(.handshakes_received, constants.load_datagrams);
            const over = 1000;
            for (0..over) |number| {
                try wire.send(port, &message);
                if (number % 100 == 99) try pair.b.awaitCounter(.mac2_invalid, number + 1);
            }
            try pair.b.awaitCounter(.cookie_replies_sent, over);
            try pair.b.expectCounter(.handshakes_received, constants.load_datagrams);

            var buffer: [256]u8 = undefined;
            const reply = (try wire.receive(&buffer)).bytes;
            try testing.expectEqual(constants.cookie_reply_bytes, reply.len);
            var key: [32]u8 = undefined;
            crypto.hash(&key, &.{ "cookie--", &public_key });
            var cookie: [16]u8 = undefined;
            try testing.expect(
                crypto.openX(&cookie, reply[32..64], message[116..132], reply[8..32], &key),
            );
            crypto.mac(message[132..148], &cookie, message[0..132]);
            for (0..100) |_| try wire.send(port, &message);
            const first = constants.load_datagrams;
            try pair.b.awaitCounter(.udp_receive_datagrams, first + over + 100);
            const passed = pair.b.counter(.handshakes_received) - first;
            // Five at once, and one for each 50 ms that this takes.
            try testing.expect(passed >= 5 and passed < 50);
            try pair.b.expectCounter(.handshakes_limited, 100 - passed);
            try pair.b.expectCounter(.control_ring_full, 0);
        }
    }.body);
}

test "a peer that seals nonsense harms nobody, and its sound packets still pass" {
    try withPair(.{}, struct {
        fn body(pair: *Pair) anyerror!void {
            const wire: Wire = try .open();
            defer wire.close();
            const port = pair.b.endpoint().port;
            var prng: std.Random.DefaultPrng = .init(testing.random_seed);
            var text: [1600]u8 = undefined;
            var buffer: [1700]u8 = undefined;
            var room: [64]u8 = undefined;
            var counter: u64 = 100;
            for (1..1601) |length| {
                for (0..4) |variant| {
                    nonsense(prng.random(), text[0..length], @intCast(variant));
                    try wire.send(port, session.seal(.a_to_b, counter, &buffer, text[0..length]));
                    counter += 1;
                }
                if (length % 100 != 0) continue;
                // A's own packets are behind these, but within the window.
                const fence = makePacket(&room, .{ .number = @intCast(length) });
                try pair.a.link.inject(fence);
                try pair.b.link.awaitSame(fence);
            }
            const opened = 1 + counter - 100 + 16;
            try pair.b.expectCounter(.opened_packets, opened);
            try pair.b.expectSum(&.{
                .inner_malformed,   .inner_source_refused, .session_messages_received,
                .tun_write_packets, .tun_write_failed,     .keepalives_received,
                .relayed_refused,
            }, opened);
            try testing.expect(pair.b.counter(.inner_malformed) > 1000);
            try testing.expect(pair.b.counter(.tun_write_packets) > 1000);
        }

        /// Random bytes that look the more like packets the higher the variant.
        fn nonsense(random: std.Random, text: []u8, variant: u2) void {
            random.bytes(text);
            const looks_v6 = random.boolean();
            if (variant == 0) return;
            // Too short for the header of a session message.
            if (text.len < 4 and variant == 3) {
                text[0] = 1;
                return;
            }
            text[0] = if (looks_v6) 0x60 else 0x40 | @as(u8, random.intRangeAtMost(u4, 4, 15));
            if (text.len < 40 or variant == 1) return;
            const protocols = [_]u8{ 6, 17, 1, 58, 0, 44 };
            const protocol = protocols[random.uintLessThan(usize, protocols.len)];
            if (looks_v6) {
                text[6] = protocol;
                @memset(text[8..24], 0xfd);
                if (variant == 3) std.mem.writeInt(u16, text[4..6], @intCast(text.len - 40), .big);
            } else {
                text[9] = protocol;
                text[12..16].* = .{ 10, 1, 2, 3 };
                if (variant == 3) std.mem.writeInt(u16, text[2..4], @intCast(text.len), .big);
            }
        }
    }.body);
}

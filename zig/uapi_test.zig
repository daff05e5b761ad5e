//! Tests of the configuration socket, from outside: real clients on real sockets, in a directory
//! of the test's own. Nothing here sleeps: a test waits for a notice, for bytes or for an end,
//! and fails after ten seconds.
const std = @import("std");
const testing = std.testing;
const linux = std.os.linux;
const secrets = @import("secrets.zig");
const uapi = @import("uapi.zig");
const uapi_client = @import("uapi_client.zig");

const key_hex = "a8dac1d8a70a751f0f699fb14ba1cff7b79cf4fbd8f09f44c6e6a90d0369604f";
const patience_ms = 10_000;

/// A server and what it said: the place of a device.
const Scene = struct {
    directory_buffer: [64]u8 = undefined,
    directory: [:0]const u8 = "",
    /// Eventfds that count notices.
    requests: linux.fd_t = -1,
    removals: linux.fd_t = -1,
    server: *uapi.Server = undefined,
    secrets_before: u32 = 0,

    fn init(scene: *Scene, name: []const u8) !void {
        scene.secrets_before = secrets.count();
        scene.directory = try std.fmt.bufPrintSentinel(
            &scene.directory_buffer,
            "/tmp/meshvpn-uapi-{d}-{s}",
            .{ linux.getpid(), name },
            0,
        );
        scene.requests = @intCast(linux.eventfd(0, linux.EFD.CLOEXEC | linux.EFD.SEMAPHORE));
        scene.removals = @intCast(linux.eventfd(0, linux.EFD.CLOEXEC | linux.EFD.SEMAPHORE));
    }

    fn start(scene: *Scene, idle_timeout_ms: u64) !void {
        scene.server = try scene.open(idle_timeout_ms);
    }

    fn open(scene: *Scene, idle_timeout_ms: u64) uapi.OpenError!*uapi.Server {
        return .open(testing.allocator, "wg0", .{
            .notify = .{ .context = scene, .call = noticed },
            .directory = scene.directory,
            .idle_timeout_ms = idle_timeout_ms,
        });
    }

    fn noticed(context: ?*anyopaque, notice: uapi.Notice) void {
        const scene: *Scene = @ptrCast(@alignCast(context.?));
        const one: u64 = 1;
        const fd = if (notice == .request) scene.requests else scene.removals;
        _ = linux.write(fd, std.mem.asBytes(&one), 8);
    }

    /// Closes what is open; the directory must be empty, and no secret left, then.
    fn end(scene: *Scene) !void {
        scene.server.close();
        try scene.endClosed();
    }

    fn endClosed(scene: *Scene) !void {
        _ = linux.close(scene.requests);
        _ = linux.close(scene.removals);
        try testing.expectEqual(.SUCCESS, linux.errno(linux.rmdir(scene.directory)));
        try testing.expectEqual(scene.secrets_before, secrets.count());
    }

    fn socketPath(scene: *const Scene) ![108:0]u8 {
        var path: [108:0]u8 = @splat(0);
        _ = try std.fmt.bufPrint(&path, "{s}/wg0.sock", .{scene.directory});
        return path;
    }

    fn connect(scene: *const Scene) !Connection {
        const fd = linux.socket(linux.AF.UNIX, linux.SOCK.STREAM | linux.SOCK.CLOEXEC, 0);
        try testing.expectEqual(.SUCCESS, linux.errno(fd));
        const path = try scene.socketPath();
        const address: linux.sockaddr.un = .{ .path = path[0..108].* };
        const connected = linux.connect(@intCast(fd), &address, @sizeOf(linux.sockaddr.un));
        try testing.expectEqual(.SUCCESS, linux.errno(connected));
        return .{ .fd = @intCast(fd) };
    }

    /// Waits for the notice of a request, and takes it.
    fn receive(scene: *Scene, out: []u8) !struct { id: u32, text: []const u8 } {
        while (true) switch (scene.server.receive(out)) {
            .request => |request| return .{ .id = request.id, .text = out[0..request.len] },
            .too_small => return error.TooSmall,
            .none => try waitFor(scene.requests),
        };
    }

    fn expectRequest(scene: *Scene, expected: []const u8) !u32 {
        var buffer: [512]u8 = undefined;
        const request = try scene.receive(&buffer);
        try testing.expectEqualStrings(expected, request.text);
        return request.id;
    }
};

fn waitFor(fd: linux.fd_t) !void {
    var descriptor: [1]linux.pollfd = .{.{ .fd = fd, .events = linux.POLL.IN, .revents = 0 }};
    if (linux.poll(&descriptor, 1, patience_ms) != 1) return error.NothingHappened;
    var count: u64 = 0;
    _ = linux.read(fd, std.mem.asBytes(&count), 8);
}

const Connection = struct {
    fd: linux.fd_t,

    fn send(connection: Connection, bytes: []const u8) !void {
        var sent: usize = 0;
        while (sent < bytes.len) {
            const put = linux.sendto(connection.fd, bytes[sent..].ptr, bytes.len - sent, linux.MSG.NOSIGNAL, null, 0);
            if (linux.errno(put) != .SUCCESS) return error.SendFailed;
            sent += put;
        }
    }

    fn readSome(connection: Connection, out: []u8) !usize {
        var descriptor: [1]linux.pollfd = .{.{ .fd = connection.fd, .events = linux.POLL.IN, .revents = 0 }};
        if (linux.poll(&descriptor, 1, patience_ms) != 1) return error.NothingHappened;
        const got = linux.read(connection.fd, out.ptr, out.len);
        return if (linux.errno(got) == .SUCCESS) got else 0;
    }

    fn expect(connection: Connection, expected: []const u8) !void {
        var buffer: [1024]u8 = undefined;
        var got: usize = 0;
        while (got < expected.len) {
            const some = try connection.readSome(buffer[got..]);
            if (some == 0) return error.ClosedEarly;
            got += some;
        }
        try testing.expectEqualStrings(expected, buffer[0..got]);
    }

    fn expectEnd(connection: Connection) !void {
        var byte: [1]u8 = undefined;
        try testing.expectEqual(0, try connection.readSome(&byte));
    }

    fn close(connection: Connection) void {
        _ = linux.close(connection.fd);
    }
};

test "a request is answered, and the socket is private from its first moment to its last" {
    var scene: Scene = .{};
    try scene.init("answer");
    try scene.start(patience_ms);
    const path = try scene.socketPath();
    var status: linux.Statx = undefined;
    _ = linux.statx(linux.AT.FDCWD, &path, 0, .{ .MODE = true, .TYPE = true }, &status);
    try testing.expectEqual(linux.S.IFSOCK | 0o600, status.mode);

    const client = try scene.connect();
    defer client.close();
    for (0..3) |_| {
        try client.send("get=1\n\n");
        try scene.server.reply(try scene.expectRequest("get=1\n\n"), "listen_port=5\nerrno=0\n\n");
        try client.expect("listen_port=5\nerrno=0\n\n");
    }
    try testing.expect(!scene.server.pending());
    try scene.end();
    try client.expectEnd();
}

test "the text of a request never holds a key, and the client sees its own again" {
    var scene: Scene = .{};
    try scene.init("keys");
    try scene.start(patience_ms);
    const client = try scene.connect();
    defer client.close();
    try client.send("set=1\nprivate_key=" ++ key_hex ++ "\npreshared_key=" ++ key_hex ++ "\n\n");
    var buffer: [512]u8 = @splat(0);
    const request = try scene.receive(&buffer);
    try testing.expectEqual(null, std.mem.indexOf(u8, &buffer, key_hex[0..8]));
    try testing.expectEqual(scene.secrets_before + 2, secrets.count());

    var lines = std.mem.splitScalar(u8, request.text, '\n');
    try testing.expectEqualStrings("set=1", lines.next().?);
    const private = lines.next().?;
    const preshared = lines.next().?;
    var answer_buffer: [256]u8 = undefined;
    const answer = try std.fmt.bufPrint(&answer_buffer, "{s}\n{s}\npreshared_key=@0\nerrno=0\n\n", .{ private, preshared });
    try scene.server.reply(request.id, answer);
    const zeros: [64]u8 = @splat('0');
    try client.expect("private_key=" ++ key_hex ++ "\npreshared_key=" ++ key_hex ++ "\npreshared_key=" ++ zeros ++ "\nerrno=0\n\n");

    const private_handle = try std.fmt.parseInt(u32, private["private_key=@".len..], 10);
    const preshared_handle = try std.fmt.parseInt(u32, preshared["preshared_key=@".len..], 10);
    try secrets.free(private_handle);
    try secrets.free(preshared_handle);
    // An answer that lends what is gone is an error for both.
    try client.send("get=1\n\n");
    const id = try scene.expectRequest("get=1\n\n");
    try testing.expectError(error.NoSuchSecret, scene.server.reply(id, answer));
    try client.expect(uapi_client.answer_failed);
    try scene.end();
}

test "a half-sent request keeps nobody waiting, and is answered once it is whole" {
    var scene: Scene = .{};
    try scene.init("half");
    try scene.start(patience_ms);
    const slow = try scene.connect();
    defer slow.close();
    try slow.send("set=1\nlisten_po");
    const quick = try scene.connect();
    defer quick.close();
    try quick.send("get=1\n\n");
    try scene.server.reply(try scene.expectRequest("get=1\n\n"), "errno=0\n\n");
    try quick.expect("errno=0\n\n");

    try slow.send("rt=7\n");
    try slow.send("\n");
    const id = try scene.expectRequest("set=1\nlisten_port=7\n\n");
    // The other client is served while this request is with its taker.
    try quick.send("get=1\n\n");
    const other = try scene.expectRequest("get=1\n\n");
    try testing.expect(other != id);
    try scene.server.reply(other, "errno=0\n\n");
    try quick.expect("errno=0\n\n");
    try scene.server.reply(id, "errno=1\n\n");
    try slow.expect("errno=1\n\n");
    try scene.end();
}

test "requests sent together are answered in order, also after the client stopped sending" {
    var scene: Scene = .{};
    try scene.init("order");
    try scene.start(patience_ms);
    const client = try scene.connect();
    defer client.close();
    try client.send("get=1\n\nset=1\nfwmark=1\n\nget=1\n\nset=1\nnever");
    _ = linux.shutdown(client.fd, linux.SHUT.WR);
    for ([_][]const u8{ "get=1\n\n", "set=1\nfwmark=1\n\n", "get=1\n\n" }, 0..) |text, number| {
        const id = try scene.expectRequest(text);
        try testing.expectEqual(.none, scene.server.receive(&.{}));
        var answer: [16]u8 = undefined;
        const expected = try std.fmt.bufPrint(&answer, "errno={d}\n\n", .{number});
        try scene.server.reply(id, expected);
        try client.expect(expected);
        try testing.expectError(error.NoSuchRequest, scene.server.reply(id, expected));
    }
    try client.expectEnd();
    try scene.end();
}

test "a malformed key is answered at once, and the connection goes on" {
    var scene: Scene = .{};
    try scene.init("malformed");
    try scene.start(patience_ms);
    const client = try scene.connect();
    defer client.close();
    try client.send("set=1\nprivate_key=" ++ key_hex ++ "\npreshared_key=" ++ key_hex[1..] ++ "\n\nget=1\n\n");
    try client.expect(uapi_client.answer_invalid);
    try testing.expectEqual(scene.secrets_before, secrets.count());
    try scene.server.reply(try scene.expectRequest("get=1\n\n"), "errno=0\n\n");
    try client.expect("errno=0\n\n");
    try scene.end();
}

test "garbage, a NUL byte and a line without end are answered once, and end the connection" {
    var scene: Scene = .{};
    try scene.init("garbage");
    try scene.start(patience_ms);
    const long: [5000]u8 = @splat('a');
    for ([_][]const u8{ "GET / HTTP/1.1\r\n", "\n", "get=1\n\x00\n", "set=1\n" ++ long, &long }) |garbage| {
        const client = try scene.connect();
        defer client.close();
        try client.send(garbage);
        try client.expect(uapi_client.answer_invalid);
        try client.expectEnd();
    }
    try testing.expect(!scene.server.pending());
    try scene.end();
}

test "the request of a client that vanished is still carried out, its answer dropped" {
    var scene: Scene = .{};
    try scene.init("vanished");
    try scene.start(patience_ms);
    const hasty = try scene.connect();
    try hasty.send("set=1\nfwmark=1\n\nset=1\nfwmark=2\n\n");
    hasty.close();
    try scene.server.reply(try scene.expectRequest("set=1\nfwmark=1\n\n"), "errno=0\n\n");
    try scene.server.reply(try scene.expectRequest("set=1\nfwmark=2\n\n"), "errno=0\n\n");

    const client = try scene.connect();
    defer client.close();
    try client.send("get=1\n\n");
    try scene.server.reply(try scene.expectRequest("get=1\n\n"), "errno=0\n\n");
    try client.expect("errno=0\n\n");
    try scene.end();
}

test "a request that does not fit says how much it needs, and waits" {
    var scene: Scene = .{};
    try scene.init("small");
    try scene.start(patience_ms);
    const client = try scene.connect();
    defer client.close();
    try client.send("get=1\n\n");
    try waitFor(scene.requests);
    var small: [6]u8 = undefined;
    try testing.expectEqual(uapi.Received{ .too_small = 7 }, scene.server.receive(&small));
    try testing.expect(scene.server.pending());
    _ = try scene.expectRequest("get=1\n\n");
    try scene.end();
}

test "a configuration of 65,280 peers fits in one request, and a slow reader gets all of its answer" {
    var scene: Scene = .{};
    try scene.init("large");
    try scene.start(patience_ms);
    const allocator = testing.allocator;
    var text: std.ArrayList(u8) = .empty;
    defer text.deinit(allocator);
    try text.appendSlice(allocator, "set=1\n");
    for (0..65_280) |i| {
        var line: [160]u8 = undefined;
        try text.appendSlice(allocator, try std.fmt.bufPrint(
            &line,
            "public_key=" ++ key_hex ++ "\nallowed_ip=10.0.{d}.{d}/32\nallowed_ip=fd00::{x}/128\n",
            .{ i >> 8, i & 255, i },
        ));
    }
    try text.append(allocator, '\n');
    try testing.expect(text.items.len < uapi_client.request_bytes_max);

    const client = try scene.connect();
    defer client.close();
    try client.send(text.items);
    const buffer = try allocator.alloc(u8, text.items.len);
    defer allocator.free(buffer);
    const request = try scene.receive(buffer);
    try testing.expect(std.mem.eql(u8, text.items, request.text));
    try scene.server.reply(request.id, request.text);

    // This client has not read anything yet: another one is not kept waiting by that.
    const quick = try scene.connect();
    defer quick.close();
    try quick.send("get=1\n\n");
    try scene.server.reply(try scene.expectRequest("get=1\n\n"), "errno=0\n\n");
    try quick.expect("errno=0\n\n");

    @memset(buffer, 0);
    var got: usize = 0;
    while (got < buffer.len) {
        const some = try client.readSome(buffer[got..]);
        if (some == 0) return error.ClosedEarly;
        got += some;
    }
    try testing.expect(std.mem.eql(u8, text.items, buffer));
    try scene.end();
}

test "a request without end is refused at the limit" {
    var scene: Scene = .{};
    try scene.init("limit");
    try scene.start(patience_ms);
    const client = try scene.connect();
    defer client.close();
    const lines = try testing.allocator.alloc(u8, 1 << 20);
    defer testing.allocator.free(lines);
    for (lines, 0..) |*byte, i| byte.* = if (i % 64 == 63) '\n' else 'a';
    try client.send("set=1\n");
    // The server may close while the rest is still being sent.
    for (0..17) |_| client.send(lines) catch break;
    try client.expect(uapi_client.answer_invalid);
    try client.expectEnd();
    try scene.end();
}

test "one connection too many is closed and counted, and there is room again afterwards" {
    var scene: Scene = .{};
    try scene.init("many");
    try scene.start(patience_ms);
    var clients: [uapi.clients_max]Connection = undefined;
    for (&clients) |*client| client.* = try scene.connect();
    // Each is known to be accepted once it has been answered.
    for (clients) |client| {
        try client.send("get=1\n\n");
        try scene.server.reply(try scene.expectRequest("get=1\n\n"), "errno=0\n\n");
        try client.expect("errno=0\n\n");
    }
    const refused = try scene.connect();
    try refused.expectEnd();
    refused.close();
    try testing.expectEqual(1, scene.server.refusedCount());

    _ = linux.shutdown(clients[3].fd, linux.SHUT.WR);
    try clients[3].expectEnd();
    clients[3].close();
    clients[3] = try scene.connect();
    try clients[3].send("get=1\n\n");
    try scene.server.reply(try scene.expectRequest("get=1\n\n"), "errno=0\n\n");
    try clients[3].expect("errno=0\n\n");
    for (clients) |client| client.close();
    try scene.end();
}

test "a client that stops in the middle is given up, one that is merely quiet is not" {
    var scene: Scene = .{};
    try scene.init("idle");
    try scene.start(100);
    const quiet = try scene.connect();
    defer quiet.close();
    try quiet.send("get=1\n\n");
    try scene.server.reply(try scene.expectRequest("get=1\n\n"), "errno=0\n\n");
    try quiet.expect("errno=0\n\n");
    const half = try scene.connect();
    defer half.close();
    try half.send("set=1\nprivate_key=" ++ key_hex);
    try half.expectEnd();
    try quiet.send("get=1\n\n");
    try scene.server.reply(try scene.expectRequest("get=1\n\n"), "errno=0\n\n");
    try quiet.expect("errno=0\n\n");
    try scene.end();
}

test "a live socket is in use, one that a dead process left is replaced, another file is left alone" {
    var scene: Scene = .{};
    try scene.init("stale");
    try scene.start(patience_ms);
    try testing.expectError(error.UapiInUse, scene.open(patience_ms));
    const path = try scene.socketPath();
    // A bound socket that nobody listens at any more, as after a kill.
    var kept: [108:0]u8 = @splat(0);
    _ = try std.fmt.bufPrint(&kept, "{s}/kept", .{scene.directory});
    try testing.expectEqual(.SUCCESS, linux.errno(linux.link(&path, &kept)));
    scene.server.close();
    try testing.expectEqual(.SUCCESS, linux.errno(linux.rename(&kept, &path)));
    try scene.start(patience_ms);
    scene.server.close();

    // The same of one that was killed between bind() and listen().
    var unlistened = path;
    unlistened[std.mem.sliceTo(&path, 0).len] = '~';
    try testing.expectEqual(.SUCCESS, linux.errno(linux.mknod(&unlistened, linux.S.IFSOCK | 0o600, 0)));
    try scene.start(patience_ms);
    try testing.expectEqual(.NOENT, linux.errno(linux.unlink(&unlistened)));
    scene.server.close();

    const file = linux.open(&path, .{ .CREAT = true, .EXCL = true }, 0o600);
    _ = linux.close(@intCast(file));
    try testing.expectError(error.UapiInUse, scene.open(patience_ms));
    try testing.expectEqual(.SUCCESS, linux.errno(linux.unlink(&path)));
    try scene.endClosed();
}

test "removing the socket file is told once, and another socket in its place is left alone" {
    var scene: Scene = .{};
    try scene.init("removed");
    try scene.start(patience_ms);
    const path = try scene.socketPath();
    try testing.expectEqual(.SUCCESS, linux.errno(linux.unlink(&path)));
    try waitFor(scene.removals);
    const old = scene.server;
    try scene.start(patience_ms);
    old.close();
    const client = try scene.connect();
    defer client.close();
    try client.send("get=1\n\n");
    try scene.server.reply(try scene.expectRequest("get=1\n\n"), "errno=0\n\n");
    try client.expect("errno=0\n\n");
    try scene.end();
}

test "closing forgets the secrets of requests that nobody took" {
    var scene: Scene = .{};
    try scene.init("forget");
    try scene.start(patience_ms);
    const client = try scene.connect();
    defer client.close();
    try client.send("set=1\nprivate_key=" ++ key_hex ++ "\n\n");
    try waitFor(scene.requests);
    try testing.expectEqual(scene.secrets_before + 1, secrets.count());
    try scene.end();
}

test "a name that is no interface's is refused before anything is made" {
    for ([_][]const u8{ "", "a/b", "..//", "sixteen-letters-", "a b", "\x00" }) |name| {
        var scene: Scene = .{};
        const opened = uapi.Server.open(testing.allocator, name, .{
            .notify = .{ .context = &scene, .call = Scene.noticed },
            .directory = "/tmp/meshvpn-uapi-never",
        });
        try testing.expectError(error.NameInvalid, opened);
    }
}

//! WireGuard's cross-platform configuration socket, /var/run/wireguard/NAME.sock: a server whose
//! thread moves bytes and keys, and knows no meaning.
//!
//! Owns the socket file, the connections and one thread, which alone touches their descriptors.
//! Requests are fetched with `receive` and answered with `reply` by whoever was notified; what a
//! request says is not decided here, and no key is seen there (`uapi_text.zig`).
//! Always holds: no client waits for another one; the socket is its owner's alone from the start.
const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const crypto = @import("crypto.zig");
const Mutex = @import("table_lock.zig").Mutex;
const uapi_client = @import("uapi_client.zig");
const Client = uapi_client.Client;
const system_errno = @import("system_errno.zig");

pub const clients_max = 16;
pub const interface_name_bytes_max = 15;
const thread_stack_bytes = 1 << 20;
/// Whether the socket file is still there is looked up this often where the kernel will not tell;
/// and the pause before another accept after one that found no resources.
const look_again_after_ms = 1000;

pub const Notice = enum {
    /// `receive` has something.
    request,
    /// Somebody removed the socket file: by convention, the device is to end. Told once.
    socket_removed,
};

/// Called by the server's thread, without any lock held.
pub const Notify = struct {
    context: ?*anyopaque = null,
    call: *const fn (context: ?*anyopaque, notice: Notice) void,
};

pub const Options = struct {
    notify: Notify,
    directory: []const u8 = "/var/run/wireguard",
    /// A client in the middle of a request, or of reading its answer, may pause this long.
    idle_timeout_ms: u64 = 30_000,
};

pub const OpenError = error{ UapiInUse, NameInvalid, PermissionDenied, OutOfMemory, System };
pub const ReplyError = (uapi_client.AnswerError || error{NoSuchRequest});

pub const Received = union(enum) {
    none,
    request: struct { id: u32, len: usize },
    /// The buffer that the next request needs, in bytes.
    too_small: usize,
};

const Path = [108:0]u8;
const FileIdentity = struct { inode: u64, device_major: u32, device_minor: u32 };

pub const Server = struct {
    allocator: std.mem.Allocator,
    options: Options,
    path: Path,
    /// What `path` was when it was bound.
    identity: FileIdentity,
    listener: linux.fd_t,
    /// An eventfd: there is something to do beside what the sockets say.
    wake: linux.fd_t,
    /// inotify on the socket file, or -1.
    watch: linux.fd_t,
    thread: std.Thread = undefined,
    stopping: std.atomic.Value(bool) = .init(false),
    refused: std.atomic.Value(u64) = .init(0),

    mutex: Mutex = .{},
    // Under the mutex.
    clients: [clients_max]Client = @splat(.{}),
    request_count: u32 = 0,

    // The thread's own.
    removal_told: bool = false,
    accept_after_ms: u64 = 0,

    /// Opens the socket of an interface and starts the thread. `allocator` must be safe to use
    /// from several threads; `options.directory` and the notify context outlive the server.
    pub fn open(allocator: std.mem.Allocator, interface_name: []const u8, options: Options) OpenError!*Server {
        const path = try socketPath(options.directory, interface_name);
        try makeDirectory(options.directory);
        const listener = try listen(&path);
        errdefer _ = linux.close(listener);
        const identity = identityOf(&path) catch return error.System;
        errdefer unlinkOwn(&path, identity);

        const server = try allocator.create(Server);
        errdefer allocator.destroy(server);
        const wake = linux.eventfd(0, linux.EFD.CLOEXEC | linux.EFD.NONBLOCK);
        if (linux.errno(wake) != .SUCCESS) return openError(linux.errno(wake));
        errdefer _ = linux.close(@intCast(wake));
        server.* = .{
            .allocator = allocator,
            .options = options,
            .path = path,
            .identity = identity,
            .listener = listener,
            .wake = @intCast(wake),
            .watch = watchFile(&path),
        };
        errdefer if (server.watch >= 0) {
            _ = linux.close(server.watch);
        };
        server.thread = std.Thread.spawn(.{ .stack_size = thread_stack_bytes }, run, .{server}) catch
            return error.OutOfMemory;
        return server;
    }

    /// Ends the thread and every connection, and removes the socket file if it is still this one.
    /// Nobody may be in, or call, another function. Requests that were taken are the taker's.
    pub fn close(server: *Server) void {
        server.stopping.store(true, .release);
        server.ring();
        server.thread.join();
        unlinkOwn(&server.path, server.identity);
        for (&server.clients) |*client| client.close(server.allocator);
        _ = linux.close(server.listener);
        _ = linux.close(server.wake);
        if (server.watch >= 0) _ = linux.close(server.watch);
        server.allocator.destroy(server);
    }

    /// Connections closed because there were `clients_max` already.
    pub fn refusedCount(server: *const Server) u64 {
        return server.refused.load(.monotonic);
    }

    /// Whether `receive` has something.
    pub fn pending(server: *Server) bool {
        server.mutex.lock();
        defer server.mutex.unlock();
        return server.firstQueued() != null;
    }

    /// Copies the oldest whole request into `out`. Its handles are the caller's from now on, and
    /// its id must be answered.
    pub fn receive(server: *Server, out: []u8) Received {
        server.mutex.lock();
        defer server.mutex.unlock();
        const client = server.firstQueued() orelse return .none;
        const len = client.request_len;
        if (len > out.len) return .{ .too_small = len };
        client.take(out);
        return .{ .request = .{ .id = client.id, .len = len } };
    }

    fn firstQueued(server: *Server) ?*Client {
        var first: ?*Client = null;
        for (&server.clients) |*client| {
            if (client.state != .queued) continue;
            // Ids grow, until they wrap.
            if (first == null or @as(i32, @bitCast(client.id -% first.?.id)) < 0) first = client;
        }
        return first;
    }

    /// Answers a request; the handles in the answer are lent. A client that is gone gets nothing,
    /// which is no error. After an error other than `NoSuchRequest` the client was told `errno=`.
    pub fn reply(server: *Server, id: u32, answer: []const u8) ReplyError!void {
        defer server.ring();
        server.mutex.lock();
        defer server.mutex.unlock();
        for (&server.clients) |*client| {
            if (client.state == .taken and client.id == id) return client.setAnswer(server.allocator, answer);
        }
        return error.NoSuchRequest;
    }

    fn ring(server: *Server) void {
        const one: u64 = 1;
        _ = linux.write(server.wake, std.mem.asBytes(&one), @sizeOf(u64));
    }

    /// The thread: waits without the lock, works with it, notifies without it.
    fn run(server: *Server) void {
        var descriptors: [3 + clients_max]linux.pollfd = undefined;
        while (true) {
            const timeout_ms = server.prepare(&descriptors);
            crypto.wipeStack();
            const ready = linux.poll(&descriptors, descriptors.len, timeout_ms);
            if (server.stopping.load(.acquire)) return;
            switch (linux.errno(ready)) {
                .SUCCESS => {},
                .INTR => continue,
                // No memory for the kernel's own work: try again later, without spinning.
                else => {
                    pause();
                    continue;
                },
            }
            server.turn(&descriptors);
            if (!server.removal_told and server.fileGone()) {
                server.removal_told = true;
                server.options.notify.call(server.options.notify.context, .socket_removed);
            }
        }
    }

    /// Fills the poll set; the timeout in ms, -1 for none. A descriptor below zero is left out.
    fn prepare(server: *Server, descriptors: *[3 + clients_max]linux.pollfd) i32 {
        const now = nowMs();
        var timeout: ?u64 = null;
        if (server.watch < 0 and !server.removal_told) timeout = look_again_after_ms;
        const accepting = now >= server.accept_after_ms;
        if (!accepting) timeout = earlier(timeout, server.accept_after_ms - now);
        const listener = if (accepting) server.listener else -1;
        const own = [_]linux.fd_t{ listener, server.wake, server.watch };
        for (descriptors[0..3], own) |*descriptor, fd| {
            descriptor.* = .{ .fd = fd, .events = linux.POLL.IN, .revents = 0 };
        }
        server.mutex.lock();
        defer server.mutex.unlock();
        for (descriptors[3..], &server.clients) |*descriptor, *client| {
            const events = client.events();
            descriptor.* = .{ .fd = if (events == 0) -1 else client.fd, .events = events, .revents = 0 };
            if (client.patience(now, server.options.idle_timeout_ms)) |ms| timeout = earlier(timeout, ms);
        }
        return @intCast(@min(timeout orelse return -1, std.math.maxInt(i32)));
    }

    fn turn(server: *Server, descriptors: *const [3 + clients_max]linux.pollfd) void {
        if (descriptors[1].revents != 0) drain(server.wake);
        if (descriptors[2].revents != 0) drain(server.watch);
        const now = nowMs();
        var queued = false;
        {
            server.mutex.lock();
            defer server.mutex.unlock();
            for (descriptors[3..], &server.clients) |descriptor, *client| {
                // A reply may have moved the client on since the poll set was made.
                const before = client.state;
                if (descriptor.revents != 0) switch (before) {
                    .reading => client.read(server.allocator, now),
                    .answering => client.write(server.allocator, now),
                    .closed, .queued, .taken => {},
                };
                if (client.state == .queued and before != .queued) {
                    client.id = server.nextId();
                    queued = true;
                }
                if (client.patience(now, server.options.idle_timeout_ms) == 0) client.close(server.allocator);
            }
            if (descriptors[0].revents != 0) server.accept(now);
        }
        if (queued) server.options.notify.call(server.options.notify.context, .request);
    }

    /// Never 0, and not used again for 2^32 requests.
    fn nextId(server: *Server) u32 {
        server.request_count +%= 1;
        if (server.request_count == 0) server.request_count = 1;
        return server.request_count;
    }

    fn accept(server: *Server, now_ms: u64) void {
        // As many as can be taken, or refused, before the others have their turn again.
        for (0..clients_max) |_| {
            const flags = linux.SOCK.CLOEXEC | linux.SOCK.NONBLOCK;
            const accepted = linux.accept4(server.listener, null, null, flags);
            switch (linux.errno(accepted)) {
                .SUCCESS => {},
                .AGAIN => return,
                .INTR, .CONNABORTED => continue,
                else => {
                    server.accept_after_ms = now_ms + look_again_after_ms;
                    return;
                },
            }
            const fd: linux.fd_t = @intCast(accepted);
            const place = for (&server.clients) |*client| {
                if (client.state == .closed) break client;
            } else {
                _ = server.refused.fetchAdd(1, .monotonic);
                _ = linux.close(fd);
                continue;
            };
            place.open(fd, now_ms);
        }
    }

    fn fileGone(server: *const Server) bool {
        const found = identityOf(&server.path) catch |err| return err == error.Gone;
        return !std.meta.eql(found, server.identity);
    }
};

fn socketPath(directory: []const u8, interface_name: []const u8) OpenError!Path {
    if (interface_name.len == 0 or interface_name.len > interface_name_bytes_max) return error.NameInvalid;
    for (interface_name) |character| {
        if (!std.ascii.isAlphanumeric(character) and std.mem.indexOfScalar(u8, "_=+.-", character) == null) {
            return error.NameInvalid;
        }
    }
    var path: Path = @splat(0);
    _ = std.fmt.bufPrint(&path, "{s}/{s}.sock", .{ directory, interface_name }) catch return error.NameInvalid;
    // One byte must be left to end the path.
    return if (path[path.len - 1] == 0) path else error.NameInvalid;
}

/// The directory and those above it, 0755.
fn makeDirectory(directory: []const u8) OpenError!void {
    var path: Path = @splat(0);
    for (directory, 0..) |character, i| {
        if (character == '/' and i > 0) _ = linux.mkdir(&path, 0o755);
        path[i] = character;
    }
    switch (linux.errno(linux.mkdir(&path, 0o755))) {
        .SUCCESS, .EXIST => {},
        else => |errno| return openError(errno),
    }
}

/// A listening socket at the path. A file that a dead process left is replaced; a socket at which
/// somebody listens, or a file that is no socket, is `UapiInUse`.
fn listen(path: *const Path) OpenError!linux.fd_t {
    const opened = linux.socket(linux.AF.UNIX, linux.SOCK.STREAM | linux.SOCK.CLOEXEC | linux.SOCK.NONBLOCK, 0);
    if (linux.errno(opened) != .SUCCESS) return openError(linux.errno(opened));
    const fd: linux.fd_t = @intCast(opened);
    errdefer _ = linux.close(fd);
    // The file gets the mode that the socket has when it is bound: at no time another one.
    const mode = linux.errno(linux.fchmod(fd, 0o600));
    if (mode != .SUCCESS) return openError(mode);

    // `wg` removes a socket at which nobody listens as a dead process's, so the file gets its name
    // when it is listened at: between bind() and listen() it has one at which `wg` does not look.
    const unlistened = try unlistenedPath(path);
    const address = socketAddress(&unlistened);
    var bound = linux.errno(linux.bind(fd, @ptrCast(&address), @sizeOf(linux.sockaddr.un)));
    if (bound == .ADDRINUSE) {
        try removeStale(&unlistened);
        bound = linux.errno(linux.bind(fd, @ptrCast(&address), @sizeOf(linux.sockaddr.un)));
    }
    try named(bound);
    defer _ = linux.unlink(&unlistened);
    const listening = linux.errno(linux.listen(fd, clients_max));
    if (listening != .SUCCESS) return openError(listening);

    var linked = linux.errno(linux.link(&unlistened, path));
    if (linked == .EXIST) {
        try removeStale(path);
        linked = linux.errno(linux.link(&unlistened, path));
    }
    try named(linked);
    return fd;
}

/// What came of giving the socket a name.
fn named(errno: linux.E) OpenError!void {
    switch (errno) {
        .SUCCESS => {},
        .ADDRINUSE, .EXIST => return error.UapiInUse,
        else => return openError(errno),
    }
}

/// Where the socket is bound before it is listened at; `wg` looks at names that end in ".sock".
fn unlistenedPath(path: *const Path) OpenError!Path {
    var unlistened = path.*;
    const length = std.mem.sliceTo(&unlistened, 0).len;
    if (length + 1 >= unlistened.len) return error.NameInvalid;
    unlistened[length] = '~';
    return unlistened;
}

fn removeStale(path: *const Path) OpenError!void {
    const opened = linux.socket(linux.AF.UNIX, linux.SOCK.STREAM | linux.SOCK.CLOEXEC | linux.SOCK.NONBLOCK, 0);
    if (linux.errno(opened) != .SUCCESS) return openError(linux.errno(opened));
    defer _ = linux.close(@intCast(opened));
    const address = socketAddress(path);
    switch (linux.errno(linux.connect(@intCast(opened), &address, @sizeOf(linux.sockaddr.un)))) {
        .CONNREFUSED => {},
        .NOENT => return,
        .ACCES, .PERM => |errno| return openError(errno),
        // Connected, or its queue is full: somebody lives there.
        else => return error.UapiInUse,
    }
    var status: linux.Statx = undefined;
    const looked = linux.statx(linux.AT.FDCWD, path, linux.AT.SYMLINK_NOFOLLOW, .{ .TYPE = true }, &status);
    if (linux.errno(looked) == .SUCCESS and !linux.S.ISSOCK(status.mode)) return error.UapiInUse;
    _ = linux.unlink(path);
}

fn socketAddress(path: *const Path) linux.sockaddr.un {
    var address: linux.sockaddr.un = .{ .path = undefined };
    @memcpy(&address.path, path);
    return address;
}

fn identityOf(path: *const Path) error{ Gone, System }!FileIdentity {
    var status: linux.Statx = undefined;
    const looked = linux.statx(linux.AT.FDCWD, path, linux.AT.SYMLINK_NOFOLLOW, .{ .INO = true }, &status);
    switch (linux.errno(looked)) {
        .SUCCESS => {},
        .NOENT, .NOTDIR => |errno| return system_errno.fail(errno, error.Gone),
        else => |errno| return system_errno.fail(errno, error.System),
    }
    return .{ .inode = status.ino, .device_major = status.dev_major, .device_minor = status.dev_minor };
}

fn unlinkOwn(path: *const Path, identity: FileIdentity) void {
    const found = identityOf(path) catch return;
    if (std.meta.eql(found, identity)) _ = linux.unlink(path);
}

/// Unlinking an open socket's file changes its link count, which is ATTRIB.
fn watchFile(path: *const Path) linux.fd_t {
    const opened = linux.inotify_init1(linux.IN.CLOEXEC | linux.IN.NONBLOCK);
    if (linux.errno(opened) != .SUCCESS) return -1;
    const mask = linux.IN.ATTRIB | linux.IN.DELETE_SELF | linux.IN.MOVE_SELF;
    const added = linux.inotify_add_watch(@intCast(opened), path, mask);
    if (linux.errno(added) == .SUCCESS) return @intCast(opened);
    _ = linux.close(@intCast(opened));
    return -1;
}

fn drain(fd: linux.fd_t) void {
    var bytes: [1024]u8 = undefined;
    _ = linux.read(fd, &bytes, bytes.len);
}

fn openError(errno: linux.E) OpenError {
    return system_errno.fail(errno, switch (errno) {
        .ACCES, .PERM, .ROFS => error.PermissionDenied,
        .NOMEM, .NOBUFS => error.OutOfMemory,
        else => error.System,
    });
}

fn nowMs() u64 {
    var now: linux.timespec = undefined;
    _ = linux.clock_gettime(.MONOTONIC, &now);
    return @as(u64, @intCast(now.sec)) * 1000 + @as(u64, @intCast(now.nsec)) / 1_000_000;
}

fn pause() void {
    var none: [0]linux.pollfd = .{};
    _ = linux.poll(&none, 0, look_again_after_ms);
}

fn earlier(a: ?u64, b: u64) u64 {
    return @min(a orelse b, b);
}

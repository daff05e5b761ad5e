//! A key file: one secret as one line of base64, readable by its owner alone.
//!
//! Owns the file's form and the way it reaches the disk; the secret goes between the file and the
//! arena, and what passes over the stack is wiped.
//! Always holds: a file that others may read, that another user owns, or that is not exactly one
//! key is refused; a stored file is there whole or not at all, also after a power cut.
const std = @import("std");
const linux = std.os.linux;
const crypto = @import("crypto.zig");
const key_text = @import("key_text.zig");
const secrets = @import("secrets.zig");
const system_errno = @import("system_errno.zig");

/// The line without and with its newline.
const line_bytes_max = key_text.base64_bytes + 1;
const temporary_prefix = ".meshvpn-key-";

pub const FileError = error{ NoSuchFile, PermissionDenied, InvalidPath, System };
pub const LoadError = (FileError || secrets.MakeError || error{ KeyFileOpenToOthers, KeyFileInvalid });
pub const StoreError = (FileError || secrets.Error || error{ FileExists, CryptoUnavailable });

/// Reads a key file into the arena. The caller owns the handle.
pub fn load(path: []const u8) LoadError!secrets.Handle {
    var path_buffer: [linux.PATH_MAX]u8 = undefined;
    const path_z = try terminated(&path_buffer, path);
    // Non-blocking: a pipe under this name must not hang whoever opens it.
    const flags: linux.O = .{ .NOFOLLOW = true, .CLOEXEC = true, .NONBLOCK = true, .NOCTTY = true };
    const opened = linux.open(path_z, flags, 0);
    switch (linux.errno(opened)) {
        .SUCCESS => {},
        .LOOP, .NXIO, .ISDIR => return error.KeyFileInvalid,
        else => |errno| return fileError(errno),
    }
    const fd: linux.fd_t = @intCast(opened);
    defer _ = linux.close(fd);
    try checkPrivate(fd);

    var line: [line_bytes_max + 1]u8 = undefined;
    defer crypto.wipe(&line);
    var len: usize = 0;
    while (len < line.len) {
        const got = linux.read(fd, line[len..].ptr, line.len - len);
        switch (linux.errno(got)) {
            .SUCCESS => if (got == 0) break,
            .INTR => continue,
            else => |errno| return fileError(errno),
        }
        len += got;
    }
    const whole = len == key_text.base64_bytes or (len == line_bytes_max and line[len - 1] == '\n');
    if (!whole) return error.KeyFileInvalid;

    const reserved = try secrets.reserve();
    if (key_text.decodeBase64(reserved.bytes, line[0..key_text.base64_bytes])) return reserved.handle;
    secrets.free(reserved.handle) catch unreachable;
    return error.KeyFileInvalid;
}

/// A regular file of this user or root, with no permission for anybody else.
fn checkPrivate(fd: linux.fd_t) LoadError!void {
    var status: linux.Statx = undefined;
    const wanted: linux.STATX = .{ .TYPE = true, .MODE = true, .UID = true };
    switch (linux.errno(linux.statx(fd, "", linux.AT.EMPTY_PATH, wanted, &status))) {
        .SUCCESS => {},
        else => |errno| return fileError(errno),
    }
    if (!linux.S.ISREG(status.mode)) return error.KeyFileInvalid;
    const ours = status.uid == linux.geteuid() or status.uid == 0;
    if (!ours or status.mode & 0o077 != 0) return error.KeyFileOpenToOthers;
}

/// Writes the secret as a key file: under another name first, so that a crash never leaves part of
/// one. Without `replace` an existing file, of any kind, is left alone: `error.FileExists`.
pub fn store(handle: secrets.Handle, path: []const u8, replace: bool) StoreError!void {
    const secret = try secrets.pointer(handle);
    const name = std.fs.path.basenamePosix(path);
    if (name.len == 0 or std.mem.endsWith(u8, path, "/")) return error.InvalidPath;
    var name_buffer: [linux.PATH_MAX]u8 = undefined;
    const name_z = try terminated(&name_buffer, name);
    const directory = try openDirectory(path);
    defer _ = linux.close(directory);

    var random: [8]u8 = undefined;
    crypto.random(&random);
    var temporary_buffer: [temporary_prefix.len + 2 * random.len + 1]u8 = undefined;
    const temporary = std.fmt.bufPrintSentinel(
        &temporary_buffer,
        temporary_prefix ++ "{s}",
        .{std.fmt.bytesToHex(random, .lower)},
        0,
    ) catch unreachable;
    try writeTemporary(directory, temporary, secret);
    errdefer _ = linux.unlinkat(directory, temporary, 0);
    try giveName(directory, temporary, name_z, replace);
    // Some file systems cannot sync a directory; the file itself is on the disk then.
    _ = linux.fsync(directory);
}

fn openDirectory(path: []const u8) StoreError!linux.fd_t {
    var path_buffer: [linux.PATH_MAX]u8 = undefined;
    const path_z = try terminated(&path_buffer, std.fs.path.dirnamePosix(path) orelse ".");
    const opened = linux.open(path_z, .{ .DIRECTORY = true, .CLOEXEC = true }, 0);
    if (linux.errno(opened) != .SUCCESS) return fileError(linux.errno(opened));
    return @intCast(opened);
}

fn writeTemporary(directory: linux.fd_t, name: [*:0]const u8, secret: *const secrets.Secret) FileError!void {
    const flags: linux.O = .{ .ACCMODE = .WRONLY, .CREAT = true, .EXCL = true, .NOFOLLOW = true, .CLOEXEC = true };
    const opened = linux.openat(directory, name, flags, 0o600);
    if (linux.errno(opened) != .SUCCESS) return fileError(linux.errno(opened));
    const fd: linux.fd_t = @intCast(opened);
    defer _ = linux.close(fd);
    errdefer _ = linux.unlinkat(directory, name, 0);

    var line: [line_bytes_max]u8 = undefined;
    defer crypto.wipe(&line);
    key_text.encodeBase64(line[0..key_text.base64_bytes], secret);
    line[key_text.base64_bytes] = '\n';
    var written: usize = 0;
    while (written < line.len) {
        const put = linux.write(fd, line[written..].ptr, line.len - written);
        switch (linux.errno(put)) {
            .SUCCESS => written += put,
            .INTR => {},
            else => |errno| return fileError(errno),
        }
    }
    // A strange umask may have taken the owner's own permission.
    const mode = linux.errno(linux.fchmod(fd, 0o600));
    if (mode != .SUCCESS) return fileError(mode);
    const synced = linux.errno(linux.fsync(fd));
    if (synced != .SUCCESS) return fileError(synced);
}

fn giveName(directory: linux.fd_t, temporary: [*:0]const u8, name: [*:0]const u8, replace: bool) StoreError!void {
    const flags: linux.RENAME = .{ .NOREPLACE = !replace };
    const renamed = linux.errno(linux.renameat2(directory, temporary, directory, name, flags));
    switch (renamed) {
        .SUCCESS => return,
        .EXIST => return error.FileExists,
        .INVAL, .NOSYS => {},
        else => |errno| return fileError(errno),
    }
    // This file system cannot refuse to replace, but a second link does.
    if (replace) return fileError(renamed);
    switch (linux.errno(linux.linkat(directory, temporary, directory, name, 0))) {
        .SUCCESS => _ = linux.unlinkat(directory, temporary, 0),
        .EXIST => return error.FileExists,
        else => |errno| return fileError(errno),
    }
}

fn terminated(buffer: *[linux.PATH_MAX]u8, path: []const u8) error{InvalidPath}![*:0]const u8 {
    if (path.len == 0 or path.len >= buffer.len) return error.InvalidPath;
    if (std.mem.indexOfScalar(u8, path, 0) != null) return error.InvalidPath;
    @memcpy(buffer[0..path.len], path);
    buffer[path.len] = 0;
    return @ptrCast(buffer);
}

fn fileError(errno: linux.E) FileError {
    return system_errno.fail(errno, switch (errno) {
        .NOENT, .NOTDIR => error.NoSuchFile,
        .ACCES, .PERM, .ROFS => error.PermissionDenied,
        .NAMETOOLONG => error.InvalidPath,
        else => error.System,
    });
}

const testing = std.testing;

/// A directory of this test's own, by its number and the process id, and what is in it.
const Scratch = struct {
    buffer: [64]u8 = undefined,
    len: usize = 0,

    fn init(scratch: *Scratch, number: u32) !void {
        const made = try std.fmt.bufPrintSentinel(&scratch.buffer, "/tmp/meshvpn-key-file-{d}-{d}", .{ linux.getpid(), number }, 0);
        scratch.len = made.len;
        try testing.expectEqual(.SUCCESS, linux.errno(linux.mkdir(made, 0o700)));
    }

    fn deinit(scratch: *Scratch, names: []const []const u8) !void {
        for (names) |name| {
            var buffer: [128]u8 = undefined;
            try testing.expectEqual(.SUCCESS, linux.errno(linux.unlink(try scratch.pathOf(&buffer, name))));
        }
        // Fails where a temporary file was left behind.
        try testing.expectEqual(.SUCCESS, linux.errno(linux.rmdir(scratch.buffer[0..scratch.len :0])));
    }

    fn pathOf(scratch: *const Scratch, buffer: *[128]u8, name: []const u8) ![:0]const u8 {
        return std.fmt.bufPrintSentinel(buffer, "{s}/{s}", .{ scratch.buffer[0..scratch.len], name }, 0);
    }

    fn write(scratch: *const Scratch, name: []const u8, content: []const u8, mode: u32) !void {
        var buffer: [128]u8 = undefined;
        const flags: linux.O = .{ .ACCMODE = .WRONLY, .CREAT = true, .TRUNC = true };
        const fd = linux.open(try scratch.pathOf(&buffer, name), flags, mode);
        try testing.expectEqual(.SUCCESS, linux.errno(fd));
        defer _ = linux.close(@intCast(fd));
        try testing.expectEqual(content.len, linux.write(@intCast(fd), content.ptr, content.len));
        try testing.expectEqual(.SUCCESS, linux.errno(linux.fchmod(@intCast(fd), @intCast(mode))));
    }
};

test "what is stored is loaded again, is private, and is replaced only when asked" {
    const baseline = secrets.count();
    var scratch: Scratch = .{};
    try scratch.init(1);
    var buffer: [128]u8 = undefined;
    const path = try scratch.pathOf(&buffer, "key");
    const first = try secrets.import(&@as(secrets.Secret, @splat(0xa5)));
    const second = try secrets.generateX25519();

    try store(first, path, false);
    try testing.expectError(error.FileExists, store(second, path, false));
    const loaded = try load(path);
    try testing.expectEqual(secrets.get(first).?.*, secrets.get(loaded).?.*);
    var status: linux.Statx = undefined;
    _ = linux.statx(linux.AT.FDCWD, path, 0, .{ .MODE = true }, &status);
    try testing.expectEqual(0o600, status.mode & 0o7777);

    try store(second, path, true);
    const replaced = try load(path);
    try testing.expectEqual(secrets.get(second).?.*, secrets.get(replaced).?.*);
    for ([_]secrets.Handle{ first, second, loaded, replaced }) |handle| try secrets.free(handle);
    try scratch.deinit(&.{"key"});
    try testing.expectError(error.NoSuchSecret, store(first, path, true));
    try testing.expectEqual(baseline, secrets.count());
}

test "a file that others may read, a link, a directory and a pipe are refused" {
    const baseline = secrets.count();
    var scratch: Scratch = .{};
    try scratch.init(2);
    var buffer: [128]u8 = undefined;
    const line = "paWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaU=\n";
    for ([_]u32{ 0o640, 0o604, 0o601, 0o620, 0o666 }) |mode| {
        try scratch.write("key", line, mode);
        try testing.expectError(error.KeyFileOpenToOthers, load(try scratch.pathOf(&buffer, "key")));
    }
    try scratch.write("key", line, 0o400);
    const path = try scratch.pathOf(&buffer, "key");
    try secrets.free(try load(path));

    var other_buffer: [128]u8 = undefined;
    const link = try scratch.pathOf(&other_buffer, "link");
    try testing.expectEqual(.SUCCESS, linux.errno(linux.symlink(path, link)));
    try testing.expectError(error.KeyFileInvalid, load(link));
    const pipe = try scratch.pathOf(&other_buffer, "pipe");
    try testing.expectEqual(.SUCCESS, linux.errno(linux.mknod(pipe, linux.S.IFIFO | 0o600, 0)));
    try testing.expectError(error.KeyFileInvalid, load(pipe));
    try testing.expectError(error.KeyFileInvalid, load(scratch.buffer[0..scratch.len]));
    try testing.expectError(error.NoSuchFile, load(try scratch.pathOf(&other_buffer, "none")));
    try testing.expectError(error.NoSuchFile, load(try scratch.pathOf(&other_buffer, "none/key")));
    try testing.expectError(error.InvalidPath, load(""));
    try testing.expectError(error.InvalidPath, load("/tmp/a\x00b"));
    try scratch.deinit(&.{ "key", "link", "pipe" });
    try testing.expectEqual(baseline, secrets.count());
}

test "a file owned by another user is refused" {
    if (linux.geteuid() != 0) return error.SkipZigTest;
    var scratch: Scratch = .{};
    try scratch.init(3);
    var buffer: [128]u8 = undefined;
    try scratch.write("key", "paWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaU=\n", 0o600);
    const path = try scratch.pathOf(&buffer, "key");
    try testing.expectEqual(.SUCCESS, linux.errno(linux.chown(path, 65_534, 65_534)));
    try testing.expectError(error.KeyFileOpenToOthers, load(path));
    try scratch.deinit(&.{"key"});
}

test "anything but exactly one canonical line is refused" {
    const baseline = secrets.count();
    var scratch: Scratch = .{};
    try scratch.init(4);
    var buffer: [128]u8 = undefined;
    const good = "paWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaU=";
    const refused = [_][]const u8{
        "",                  good[0..43],         good ++ "\n\n",               good ++ "\r\n",
        good ++ " ",         " " ++ good,         good ++ "\n" ++ good ++ "\n", good[0..43] ++ "A",
        good[0..42] ++ "V=", good[0..42] ++ "==", good[0..40] ++ "-_U=",        "\n" ++ good,
    };
    for (refused) |content| {
        try scratch.write("key", content, 0o600);
        try testing.expectError(error.KeyFileInvalid, load(try scratch.pathOf(&buffer, "key")));
    }
    const long: [5000]u8 = @splat('A');
    try scratch.write("key", &long, 0o600);
    try testing.expectError(error.KeyFileInvalid, load(try scratch.pathOf(&buffer, "key")));
    try scratch.write("key", good, 0o600);
    try secrets.free(try load(try scratch.pathOf(&buffer, "key")));
    try scratch.deinit(&.{"key"});
    try testing.expectEqual(baseline, secrets.count());
}

test "a key is not stored where there is no directory, or under no name" {
    const handle = try secrets.generateX25519();
    defer secrets.free(handle) catch unreachable;
    try testing.expectError(error.NoSuchFile, store(handle, "/nonexistent-directory/key", false));
    try testing.expectError(error.InvalidPath, store(handle, "/tmp/", false));
    try testing.expectError(error.InvalidPath, store(handle, "", false));
}

//! Whether the packet threads of a device use io_uring, and the two ends of each that do: Inbound
//! for receive, Outbound for transmit, which go the usual way where it is off, refused, or fails.
//! A ring belongs to one thread, so each is opened and closed by the thread that uses it.
const std = @import("std");
const abi = @import("abi.zig");
const crypto = @import("crypto.zig");
const coalesce = @import("coalesce.zig");
const constants = @import("constants.zig");
const system_errno = @import("system_errno.zig");
const tun_linux = @import("tun_linux.zig");
const udp_linux = @import("udp_linux.zig");
const uring = @import("uring_linux.zig");
const Counters = @import("metrics.zig").Counters;
const Allocator = std.mem.Allocator;
const Tun = tun_linux.Tun;
const Udp = udp_linux.Udp;
const linux = std.os.linux;

/// Reads that are asked for at once after a packet that was no super-packet.
const reads_ahead = 16;
/// A packet shorter than this may be one of many.
const small_bytes = 2048;
/// Writes gathered for one submission.
const writes_max = 16;

/// What was asked for, and what became of it: any thread may read it.
pub const Use = struct {
    state: std.atomic.Value(abi.IoUringState) = .init(.off),
    /// errno of what was refused.
    errno: std.atomic.Value(u32) = .init(0),

    /// Asks the kernel; its refusal is told, never an error.
    pub fn decide(self: *Use, allocator: Allocator, wanted: abi.IoUring, counters: *Counters) error{InvalidArgument}!void {
        const state: abi.IoUringState = switch (wanted) {
            // Measured: no faster than the plain calls in any of its four parts.
            .auto, .off => return,
            .on => .on,
            .sqpoll => .sqpoll,
            _ => return error.InvalidArgument,
        };
        self.state.store(state, .monotonic);
        uring.probe(allocator, state == .sqpoll) catch |err| self.refuse(err, counters);
    }

    pub fn inUse(self: *const Use) bool {
        const state = self.state.load(.monotonic);
        return state == .on or state == .sqpoll;
    }

    fn refuse(self: *Use, err: uring.OpenError, counters: *Counters) void {
        const errno = switch (err) {
            error.OutOfMemory => @as(u32, @backingInt(linux.E.NOMEM)),
            error.Refused => system_errno.lastNumber(),
        };
        self.errno.store(errno, .monotonic);
        self.state.store(.refused, .monotonic);
        counters.add(.io_uring_refused, 1);
    }

    fn fail(self: *Use, counters: *Counters) void {
        self.refuse(system_errno.fail(.IO, error.Refused), counters);
    }
};

/// What receive takes datagrams from, and writes packets by.
pub const Inbound = struct {
    use: ?*Use = null,
    allocator: Allocator = undefined,
    receiver: ?*uring.Receiver = null,
    writer: ?*Writer = null,

    const Writer = struct {
        submitter: uring.Submitter,
        gathered: [writes_max]coalesce.Gathered,
    };

    /// On the thread that will use it.
    pub fn start(self: *Inbound, allocator: Allocator, wake_fd: linux.fd_t, counters: *Counters) void {
        self.allocator = allocator;
        const use = self.use orelse return;
        if (!use.inUse()) return;
        self.open(wake_fd, use.state.load(.monotonic) == .sqpoll) catch |err| use.refuse(err, counters);
    }

    fn open(self: *Inbound, wake_fd: linux.fd_t, sqpoll: bool) uring.OpenError!void {
        const receiver = try self.allocator.create(uring.Receiver);
        errdefer self.allocator.destroy(receiver);
        try receiver.open(self.allocator, wake_fd, sqpoll);
        errdefer receiver.close(self.allocator);
        const writer = try self.allocator.create(Writer);
        errdefer self.allocator.destroy(writer);
        try writer.submitter.open(sqpoll);
        self.receiver = receiver;
        self.writer = writer;
    }

    /// On the same thread.
    pub fn stop(self: *Inbound) void {
        if (self.receiver) |receiver| {
            receiver.close(self.allocator);
            self.allocator.destroy(receiver);
        }
        if (self.writer) |writer| {
            writer.submitter.close();
            self.allocator.destroy(writer);
        }
        self.receiver = null;
        self.writer = null;
    }

    pub fn receiveBatch(self: *Inbound, udp: *const Udp, batch: *udp_linux.ReceiveBatch, counters: *Counters) udp_linux.ReceiveError!usize {
        const receiver = self.receiver orelse return udp.receiveBatch(batch);
        return receiver.receiveBatch(udp, batch) catch |err| switch (err) {
            error.WouldBlock => err,
            error.System => {
                self.giveUp(counters);
                return udp.receiveBatch(batch);
            },
        };
    }

    /// false: not by io_uring, so the caller waits as ever.
    pub fn wait(self: *Inbound, udp: *const Udp, counters: *Counters) bool {
        const receiver = self.receiver orelse return false;
        crypto.wipeStack();
        receiver.wait(udp) catch {
            self.giveUp(counters);
            return false;
        };
        return true;
    }

    /// false: not by io_uring.
    pub fn writeTun(self: *Inbound, tun: *const Tun, coalescer: *const coalesce.Coalescer, counters: *Counters) bool {
        const writer = self.writer orelse return false;
        var at: usize = 0;
        while (at < coalescer.count()) {
            const count = @min(coalescer.count() - at, writes_max);
            var writes: [writes_max]coalesce.Write = undefined;
            var parts: [writes_max][]const std.posix.iovec_const = undefined;
            for (writes[0..count], parts[0..count], writer.gathered[0..count], at..) |*write, *part, *gathered, index| {
                write.* = coalescer.gather(@intCast(index), gathered);
                part.* = write.iovecs;
            }
            at += count;
            const results = writer.submitter.writeAll(tun.fd, parts[0..count]) catch {
                for (writes[0..count]) |write| counters.add(.tun_write_failed, write.packets);
                continue;
            };
            counters.add(.tun_write_calls, 1);
            for (writes[0..count], results) |write, result| {
                if (result < 0) {
                    counters.add(.tun_write_failed, write.packets);
                    continue;
                }
                counters.add(.tun_write_packets, write.packets);
                counters.add(.tun_write_bytes, write.bytes);
            }
        }
        return true;
    }

    fn giveUp(self: *Inbound, counters: *Counters) void {
        if (self.use) |use| use.fail(counters);
        self.stop();
    }
};

/// What transmit reads packets from, and sends messages by.
pub const Outbound = struct {
    use: ?*Use = null,
    allocator: Allocator = undefined,
    reader: ?*Reader = null,
    sender: ?*uring.Submitter = null,

    /// Packets that were read ahead.
    const Reader = struct {
        submitter: uring.Submitter,
        buffers: [reads_ahead][constants.tun_read_bytes_max]u8,
        filled: [reads_ahead][]const u8,
        at: usize,
        count: usize,
        ahead: bool,
    };

    /// On the thread that will use it.
    pub fn start(self: *Outbound, allocator: Allocator, counters: *Counters) void {
        self.allocator = allocator;
        const use = self.use orelse return;
        if (!use.inUse()) return;
        self.open(use.state.load(.monotonic) == .sqpoll) catch |err| use.refuse(err, counters);
    }

    fn open(self: *Outbound, sqpoll: bool) uring.OpenError!void {
        const reader = try self.allocator.create(Reader);
        errdefer self.allocator.destroy(reader);
        try reader.submitter.open(sqpoll);
        errdefer reader.submitter.close();
        reader.at = 0;
        reader.count = 0;
        reader.ahead = false;
        const sender = try self.allocator.create(uring.Submitter);
        errdefer self.allocator.destroy(sender);
        try sender.open(sqpoll);
        self.reader = reader;
        self.sender = sender;
    }

    /// On the same thread. Packets that were read ahead and not taken are lost.
    pub fn stop(self: *Outbound) void {
        if (self.reader) |reader| {
            reader.submitter.close();
            std.crypto.secureZero(u8, std.mem.asBytes(&reader.buffers));
            self.allocator.destroy(reader);
        }
        if (self.sender) |sender| {
            sender.close();
            self.allocator.destroy(sender);
        }
        self.reader = null;
        self.sender = null;
    }

    /// Whether only the thread that started it may use it.
    pub fn isBound(self: *const Outbound) bool {
        return self.reader != null or self.sender != null;
    }

    /// As Tun.read. After a small packet it reads ahead.
    pub fn read(self: *Outbound, tun: *const Tun, buffer: []u8) tun_linux.ReadError!usize {
        const reader = self.reader orelse return tun.read(buffer);
        if (reader.at == reader.count and reader.ahead) readAhead(reader, tun);
        if (reader.at < reader.count) {
            const packet = reader.filled[reader.at];
            reader.at += 1;
            @memcpy(buffer[0..packet.len], packet);
            return packet.len;
        }
        const length = try tun.read(buffer);
        reader.ahead = length < small_bytes;
        return length;
    }

    /// Where nothing comes of it the plain read says why.
    fn readAhead(reader: *Reader, tun: *const Tun) void {
        reader.at = 0;
        reader.count = 0;
        reader.ahead = false;
        var buffers: [reads_ahead][]u8 = undefined;
        for (&buffers, &reader.buffers) |*buffer, *room| buffer.* = room;
        const results = reader.submitter.readAll(tun.fd, &buffers) catch return;
        // After one that found nothing another may have: packets come meanwhile.
        for (results, &reader.buffers) |result, *room| {
            if (result < 0) continue;
            reader.filled[reader.count] = room[0..@intCast(result)];
            reader.count += 1;
        }
        reader.ahead = reader.count == reads_ahead;
    }

    pub fn sendBatch(self: *Outbound, udp: *const Udp, messages: []const udp_linux.SendMessage) udp_linux.SendResult {
        const sender = self.sender orelse return udp.sendBatch(messages);
        return sender.sendBatch(udp, messages);
    }
};

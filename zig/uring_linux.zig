//! io_uring as a second way through the two borders of the packet path, behind the same calls as
//! udp_linux.zig and tun_linux.zig: datagrams received by one multishot RECVMSG into a ring of
//! provided buffers; messages sent, and TUN packets read and written, as one submission. Each
//! object belongs to the thread that opened it (IORING_SETUP_SINGLE_ISSUER). Decides nothing: who
//! uses it, and what happens where the kernel refuses, is in uring_use.zig.
const std = @import("std");
const constants = @import("constants.zig");
const system_errno = @import("system_errno.zig");
const udp_linux = @import("udp_linux.zig");
const linux = std.os.linux;
const IoUring = linux.IoUring;
const Allocator = std.mem.Allocator;
const Udp = udp_linux.Udp;
const assert = std.debug.assert;
const iovec_const = std.posix.iovec_const;
const page = std.heap.page_size_min;

/// Requests in one submission.
pub const batch_max: usize = 64;
/// Buffers for the kernel to fill: as many as a receive batch has messages, so that no more memory
/// goes through the cache than without io_uring.
const buffers_count: u16 = constants.receive_batch_messages;
const buffers_group: u16 = 0;
const header_bytes = @sizeOf(linux.io_uring_recvmsg_out);
/// Longer than any address, so that the control messages behind it are aligned.
const name_bytes = 32;
/// What the kernel lays in front of a received datagram.
const front_bytes = header_bytes + name_bytes + udp_linux.receive_control_bytes;
const buffer_bytes = std.mem.alignForward(usize, front_bytes + udp_linux.receive_buffer_bytes, page);
/// SQPOLL: how long the kernel's thread spins after the last request.
const sqpoll_idle_ms = 10;
/// Of preadv2(2), linux/fs.h: O_NONBLOCK alone would have the ring wait by a poll.
const rwf_nowait: u32 = 8;

// What a completion is of; a receive carries its request's serial number.
const of_wake: u64 = 1 << 32;
const of_cancel: u64 = 2 << 32;

/// system_errno.last says why.
pub const OpenError = error{ Refused, OutOfMemory };

fn openRing(entries: u16, sqpoll: bool) OpenError!IoUring {
    const deferred: u32 = linux.IORING_SETUP_SINGLE_ISSUER |
        linux.IORING_SETUP_DEFER_TASKRUN | linux.IORING_SETUP_TASKRUN_FLAG;
    var parameters = std.mem.zeroInit(linux.io_uring_params, .{
        .flags = if (sqpoll) @as(u32, linux.IORING_SETUP_SQPOLL) else deferred,
        .sq_thread_idle = sqpoll_idle_ms,
    });
    return IoUring.init_params(entries, &parameters) catch |err| refused(err);
}

/// The standard library knows the errno by these names.
fn refused(err: anyerror) OpenError {
    return system_errno.fail(switch (err) {
        error.PermissionDenied => .PERM,
        error.SystemOutdated => .NOSYS,
        error.SystemResources => .NOMEM,
        error.ProcessFdQuotaExceeded => .MFILE,
        error.SystemFdQuotaExceeded => .NFILE,
        error.ArgumentsInvalid => .INVAL,
        else => .IO,
    }, error.Refused);
}

/// Submits what is queued and takes what is complete, at least `least` where that is not there yet.
fn enter(ring: *IoUring, least: u32) error{System}!void {
    const submit = ring.flush_sq();
    const state = @atomicLoad(u32, ring.sq.flags, .acquire);
    const work = linux.IORING_SQ_TASKRUN | linux.IORING_SQ_CQ_OVERFLOW | linux.IORING_SQ_NEED_WAKEUP;
    if (submit == 0 and least <= ring.cq_ready() and state & work == 0) return;
    var flags: u32 = linux.IORING_ENTER_GETEVENTS;
    if (state & linux.IORING_SQ_NEED_WAKEUP != 0) flags |= linux.IORING_ENTER_SQ_WAKEUP;
    _ = ring.enter(submit, least, flags) catch |err| switch (err) {
        error.SignalInterrupt => {},
        else => return error.System,
    };
}

/// Receives from one UDP socket, and waits for it and for an eventfd at once.
pub const Receiver = struct {
    ring: IoUring,
    buffer_ring: *align(page) linux.io_uring_buf_ring,
    buffers: []align(page) u8,
    wake_fd: linux.fd_t,
    /// What a receive says of each datagram; the kernel reads it at submission.
    header: linux.msghdr,
    /// The receive that is under way, and the generation of the socket it is for.
    serial: u32 = 0,
    generation: u32 = 0,
    receiving: bool = false,
    /// Why the last one ended.
    ended_errno: linux.E = .SUCCESS,
    waking: bool = false,
    woken: bool = false,
    /// Buffers that the caller reads until the next receiveBatch.
    held: [buffers_count]u16 = undefined,
    held_count: usize = 0,
    completions: [2 * @as(usize, buffers_count)]linux.io_uring_cqe = undefined,
    completions_at: usize = 0,
    completions_count: usize = 0,

    /// `wake_fd` ends a wait, and is read then.
    pub fn open(self: *Receiver, allocator: Allocator, wake_fd: linux.fd_t, sqpoll: bool) OpenError!void {
        var ring = try openRing(2 * buffers_count, sqpoll);
        errdefer ring.deinit();
        const alignment = comptime std.mem.Alignment.fromByteUnits(page);
        const buffers = try allocator.alignedAlloc(u8, alignment, @as(usize, buffers_count) * buffer_bytes);
        errdefer allocator.free(buffers);
        const buffer_ring = IoUring.setup_buf_ring(ring.fd, buffers_count, buffers_group, .{ .inc = false }) catch |err|
            return refused(err);
        IoUring.buf_ring_init(buffer_ring);
        self.* = .{
            .ring = ring,
            .buffer_ring = buffer_ring,
            .buffers = buffers,
            .wake_fd = wake_fd,
            .header = .{
                .name = null,
                .namelen = name_bytes,
                .iov = undefined,
                .iovlen = 0,
                .control = null,
                .controllen = udp_linux.receive_control_bytes,
                .flags = 0,
            },
        };
        for (0..buffers_count) |id| self.provide(@intCast(id), @intCast(id));
        IoUring.buf_ring_advance(buffer_ring, buffers_count);
    }

    /// What was received and not taken is lost. The buffers outlive every request on them: those
    /// are cancelled, and their ends awaited, first.
    pub fn close(self: *Receiver, allocator: Allocator) void {
        self.cancelAll();
        IoUring.free_buf_ring(self.ring.fd, self.buffer_ring, buffers_count, buffers_group);
        self.ring.deinit();
        std.crypto.secureZero(u8, self.buffers);
        allocator.free(self.buffers);
    }

    /// As Udp.receiveBatch: what came stays in `batch` until the next call.
    pub fn receiveBatch(
        self: *Receiver,
        udp: *const Udp,
        batch: *udp_linux.ReceiveBatch,
    ) udp_linux.ReceiveError!usize {
        self.giveBack();
        batch.count = 0;
        while (true) {
            try self.request(udp);
            if (self.completions_at == self.completions_count) try self.reap(0);
            while (self.completions_at < self.completions_count and self.held_count < buffers_count) {
                self.take(self.completions[self.completions_at], batch);
                self.completions_at += 1;
            }
            if (batch.count > 0) return batch.count;
            // The receive ended because all buffers were taken, and they are given back: there is more.
            if (self.receiving or self.ended_errno != .NOBUFS) return error.WouldBlock;
        }
    }

    /// Sleeps until there is a datagram or the eventfd was written.
    pub fn wait(self: *Receiver, udp: *const Udp) error{System}!void {
        self.giveBack();
        if (self.woken) {
            self.woken = false;
            return;
        }
        try self.request(udp);
        if (self.completions_at == self.completions_count) try self.reap(1);
    }

    fn giveBack(self: *Receiver) void {
        for (self.held[0..self.held_count], 0..) |id, offset| self.provide(id, @intCast(offset));
        IoUring.buf_ring_advance(self.buffer_ring, @intCast(self.held_count));
        self.held_count = 0;
    }

    fn provide(self: *Receiver, id: u16, offset: u16) void {
        const mask = IoUring.buf_ring_mask(buffers_count);
        IoUring.buf_ring_add(self.buffer_ring, self.bufferAt(id), id, mask, offset);
    }

    fn bufferAt(self: *Receiver, id: u16) []align(page) u8 {
        return @alignCast(self.buffers[@as(usize, id) * buffer_bytes ..][0..buffer_bytes]);
    }

    /// Queues what must be under way. A receive holds on to its socket, so one that has lost its
    /// place is let go of.
    fn request(self: *Receiver, udp: *const Udp) error{System}!void {
        const generation = udp.generation.load(.acquire);
        if (self.receiving and generation != self.generation) {
            const sqe = self.ring.get_sqe() catch return error.System;
            sqe.prep_cancel(self.serial, 0);
            sqe.user_data = of_cancel;
            self.receiving = false;
        }
        if (!self.receiving) {
            const sqe = self.ring.get_sqe() catch return error.System;
            self.serial +%= 1;
            self.generation = generation;
            sqe.prep_recvmsg_multishot(udp.fd, &self.header, 0);
            sqe.flags |= linux.IOSQE_BUFFER_SELECT;
            sqe.buf_index = buffers_group;
            sqe.user_data = self.serial;
            self.receiving = true;
        }
        if (!self.waking) {
            const sqe = self.ring.get_sqe() catch return error.System;
            sqe.prep_poll_add(self.wake_fd, linux.POLL.IN);
            sqe.user_data = of_wake;
            self.waking = true;
        }
    }

    fn reap(self: *Receiver, least: u32) error{System}!void {
        self.completions_at = 0;
        self.completions_count = 0;
        try enter(&self.ring, least);
        self.completions_count = self.ring.copy_cqes(&self.completions, 0) catch return error.System;
    }

    fn take(self: *Receiver, completion: linux.io_uring_cqe, batch: *udp_linux.ReceiveBatch) void {
        if (completion.user_data == of_wake) {
            self.waking = false;
            self.woken = true;
            var count: [8]u8 = undefined;
            _ = linux.read(self.wake_fd, &count, count.len);
            return;
        }
        if (completion.user_data == of_cancel) return;
        // It ends where no buffer is left, or on an error of the socket: the next request is anew.
        const ended = completion.flags & linux.IORING_CQE_F_MORE == 0;
        if (ended and completion.user_data == self.serial) {
            self.receiving = false;
            self.ended_errno = if (completion.res < 0) completion.err() else .SUCCESS;
        }
        const id = completion.buffer_id() catch return;
        self.held[self.held_count] = id;
        self.held_count += 1;
        if (completion.res < @as(i32, front_bytes)) return;
        const filled = self.bufferAt(id)[0..@intCast(completion.res)];
        const out: *const linux.io_uring_recvmsg_out = @ptrCast(filled.ptr);
        batch.put(.{
            .name = @ptrCast(@alignCast(filled[header_bytes..].ptr)),
            .namelen = @min(out.namelen, name_bytes),
            .iov = undefined,
            .iovlen = 1,
            .control = filled[header_bytes + name_bytes ..].ptr,
            .controllen = @min(out.controllen, udp_linux.receive_control_bytes),
            .flags = out.flags,
        }, filled[front_bytes..]);
    }

    fn cancelAll(self: *Receiver) void {
        const sqe = self.ring.get_sqe() catch return;
        sqe.prep_cancel(0, linux.IORING_ASYNC_CANCEL_ANY | linux.IORING_ASYNC_CANCEL_ALL);
        sqe.user_data = of_cancel;
        while (true) {
            self.reap(1) catch return;
            for (self.completions[0..self.completions_count]) |completion| {
                if (completion.user_data == of_cancel) return;
            }
        }
    }
};

/// Requests that the kernel carries out in order within one call.
pub const Submitter = struct {
    ring: IoUring,
    results: [batch_max]i32 = undefined,

    pub fn open(self: *Submitter, sqpoll: bool) OpenError!void {
        self.* = .{ .ring = try openRing(batch_max, sqpoll) };
    }

    pub fn close(self: *Submitter) void {
        self.ring.deinit();
    }

    /// One packet into each of `buffers`: its length, or -EAGAIN where there was none.
    pub fn readAll(self: *Submitter, fd: linux.fd_t, buffers: []const []u8) error{System}![]const i32 {
        for (buffers, 0..) |buffer, at| {
            const sqe = self.ring.get_sqe() catch return error.System;
            sqe.prep_read(fd, buffer, 0);
            sqe.rw_flags = rwf_nowait;
            sqe.user_data = at;
        }
        return self.run(buffers.len);
    }

    /// One write for each gathered packet: what each gave, below 0 -errno.
    pub fn writeAll(self: *Submitter, fd: linux.fd_t, writes: []const []const iovec_const) error{System}![]const i32 {
        for (writes, 0..) |parts, at| {
            const sqe = self.ring.get_sqe() catch return error.System;
            sqe.prep_writev(fd, parts, 0);
            sqe.rw_flags = rwf_nowait;
            sqe.user_data = at;
        }
        return self.run(writes.len);
    }

    /// As Udp.sendBatch.
    pub fn sendBatch(self: *Submitter, udp: *const Udp, messages: []const udp_linux.SendMessage) udp_linux.SendResult {
        var sent: usize = 0;
        while (sent < messages.len) {
            const call = messages[sent..@min(messages.len, sent + udp_linux.send_call_messages)];
            var prepared: udp_linux.PreparedSend = undefined;
            prepared.fill(udp, call);
            for (prepared.headers[0..call.len], 0..) |*header, at| {
                const sqe = self.ring.get_sqe() catch return .{ .sent = sent, .errno = .IO };
                sqe.prep_sendmsg(udp.fd, @ptrCast(&header.hdr), udp_linux.send_flags);
                // Linked: what comes after one that fails is cancelled, not sent.
                if (at + 1 < call.len) sqe.flags |= linux.IOSQE_IO_LINK;
                sqe.user_data = at;
            }
            const results = self.run(call.len) catch return .{ .sent = sent, .errno = .IO };
            for (results) |result| {
                if (result < 0) return .{ .sent = sent, .errno = @fromBackingInt(@as(u16, @intCast(-result))) };
                sent += 1;
            }
        }
        return .{ .sent = sent, .errno = .SUCCESS };
    }

    fn run(self: *Submitter, count: usize) error{System}![]const i32 {
        assert(count > 0 and count <= batch_max);
        var done: usize = 0;
        while (done < count) {
            try enter(&self.ring, @intCast(count - done));
            var completions: [batch_max]linux.io_uring_cqe = undefined;
            const reaped = self.ring.copy_cqes(&completions, 0) catch return error.System;
            for (completions[0..reaped]) |completion| self.results[@intCast(completion.user_data)] = completion.res;
            done += reaped;
        }
        return self.results[0..count];
    }
};

/// Whether all of it works here, by a datagram that a socket of its own sends to itself.
pub fn probe(allocator: Allocator, sqpoll: bool) OpenError!void {
    var udp: Udp = Udp.open(0, 0, .{}) catch return error.Refused;
    defer udp.close();
    const wake_fd = try eventfd();
    defer _ = linux.close(wake_fd);
    const batch = try allocator.create(udp_linux.ReceiveBatch);
    defer allocator.destroy(batch);
    const receiver = try allocator.create(Receiver);
    defer allocator.destroy(receiver);
    try receiver.open(allocator, wake_fd, sqpoll);
    defer receiver.close(allocator);

    // The socket may not reach itself; what is sure to come is the wake.
    _ = linux.write(wake_fd, std.mem.asBytes(&@as(u64, 1)), 8);
    while (true) {
        _ = receiver.receiveBatch(&udp, batch) catch |err| switch (err) {
            error.WouldBlock => {},
            error.System => return system_errno.fail(.IO, error.Refused),
        };
        // A kernel that does not know multishot RECVMSG has ended it by now.
        if (!receiver.receiving) return system_errno.fail(.INVAL, error.Refused);
        if (receiver.woken) return;
        receiver.wait(&udp) catch return system_errno.fail(.IO, error.Refused);
    }
}

fn eventfd() OpenError!linux.fd_t {
    const rc = linux.eventfd(0, linux.EFD.CLOEXEC | linux.EFD.NONBLOCK);
    if (linux.errno(rc) != .SUCCESS) return system_errno.fail(linux.errno(rc), error.Refused);
    return @intCast(rc);
}

comptime {
    assert((header_bytes + name_bytes) % 8 == 0);
    assert(std.math.isPowerOfTwo(buffers_count) and std.math.isPowerOfTwo(batch_max));
    assert(udp_linux.send_call_messages <= batch_max);
}
